package outbox

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
)

func TestPutRefusesWhatSMTPCannotCarry(t *testing.T) {
	o := open(t, celltest.NewMemory(), Options{MaxBody: 1000})
	good := letter("good", practice)
	for _, c := range []struct {
		name   string
		change func(*Mail)
		want   querschott.Code
	}{
		{"no ID", func(m *Mail) { m.ID = "" }, querschott.CodeInvalid},
		{"long ID", func(m *Mail) { m.ID = strings.Repeat("x", 2000) }, querschott.CodeInvalid},
		{"no recipient", func(m *Mail) { m.To = "" }, querschott.CodeInvalid},
		{"no domain", func(m *Mail) { m.To = "praxis" }, querschott.CodeInvalid},
		{"empty domain", func(m *Mail) { m.To = "praxis@" }, querschott.CodeInvalid},
		{"no local part", func(m *Mail) { m.To = "@provider" }, querschott.CodeInvalid},
		{"end of the command", func(m *Mail) { m.To = "a@b> SIZE=1\r\nRCPT TO:<c@d" }, querschott.CodeInvalid},
		{"space", func(m *Mail) { m.To = "a b@c" }, querschott.CodeInvalid},
		{"not ASCII", func(m *Mail) { m.To = "müller@provider" }, querschott.CodeInvalid},
		{"sender", func(m *Mail) { m.From = "nobody" }, querschott.CodeInvalid},
		{"no body", func(m *Mail) { m.Body = nil }, querschott.CodeInvalid},
		{"CR alone", func(m *Mail) { m.Body = []byte("a\r\n\r.\rb\r\n") }, querschott.CodeInvalid},
		{"CR at the end", func(m *Mail) { m.Body = []byte("a\r") }, querschott.CodeInvalid},
		{"large", func(m *Mail) { m.Body = make([]byte, 1001) }, querschott.CodeTooLarge},
	} {
		bad := good
		c.change(&bad)
		if err := o.PutAll(context.Background(), good, bad); err == nil || querschott.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	if n, err := o.Count(practice); n != 0 || err != nil {
		t.Errorf("the mailbox has %d mails after nothing but refusals, %v", n, err)
	}
	mustPut(t, o, good)
	if err := o.PutAll(context.Background()); err != nil {
		t.Errorf("nothing put: %v", err)
	}
}

func TestMailbox(t *testing.T) {
	at := time.UnixMilli(1800000000000)
	store := celltest.NewMemory()
	o := open(t, store, Options{Now: func() time.Time { return at }})
	a, b := letter("a", "Praxis@Provider.KIM.telematik"), letter("b", practice)
	mustPut(t, o, a, b, letter("c", "other@provider.kim.telematik"), a)
	if n := store.Commits(); n != 1 {
		t.Errorf("%d commits for one PutAll into mailboxes, want one", n)
	}
	at = at.Add(time.Hour)
	mustPut(t, o, b, letter("d", practice))

	list, err := o.List("PRAXIS@provider.kim.telematik")
	if err != nil || len(list) != 3 {
		t.Fatalf("List: %v, %v; want three", list, err)
	}
	if last := list[2]; !last.At.Equal(at) || last.Size != int64(len(letter("d", practice).Body)) {
		t.Errorf("the last one is %+v", last)
	}
	bodies := map[string]bool{}
	for _, e := range list {
		body, err := o.Get(practice, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		bodies[string(body)] = true
	}
	if !bodies[string(a.Body)] || !bodies[string(b.Body)] {
		t.Errorf("bodies: %v", bodies)
	}
	for _, id := range []string{"", "zz", list[0].ID + "00", strings.Repeat("0", 48)} {
		if _, err := o.Get(practice, id); querschott.CodeOf(err) != querschott.CodeNotFound {
			t.Errorf("Get(%q): %v", id, err)
		}
		if err := o.Delete(practice, id); err != nil {
			t.Errorf("Delete(%q): %v", id, err)
		}
	}
	if _, err := o.Get("other@provider.kim.telematik", list[0].ID); querschott.CodeOf(err) != querschott.CodeNotFound {
		t.Errorf("a mail can be read from another mailbox: %v", err)
	}
	if err := o.Delete(strings.ToUpper(practice), list[0].ID); err != nil {
		t.Fatal(err)
	}
	mustPut(t, o, a, b)
	if n, err := o.Count(practice); n != 2 || err != nil {
		t.Errorf("two mails should be left, and none come back: %d, %v", n, err)
	}
	wantStatus(t, o, 0, 0)
}

// Whoever writes the store cannot pass one mail off as another.
func TestMovedMailDoesNotOpen(t *testing.T) {
	store := celltest.NewMemory()
	o := open(t, store, Options{})
	mustPut(t, o, letter("a", practice), letter("b", "other@provider.kim.telematik"))
	a, b := boxOf(practice), boxOf("other@provider.kim.telematik")
	lists := map[boxID]Entry{}
	for box, address := range map[boxID]string{a: practice, b: "other@provider.kim.telematik"} {
		l, err := o.List(address)
		if err != nil || len(l) != 1 {
			t.Fatal(l, err)
		}
		lists[box] = l[0]
	}
	ra, _ := parseRef(lists[a].ID)
	rb, _ := parseRef(lists[b].ID)
	value, err := store.Get(boxKey(b, rb))
	if err != nil {
		t.Fatal(err)
	}
	var batch cell.Batch
	batch.Put(boxKey(a, ra), value)
	if err := store.Commit(&batch); err != nil {
		t.Fatal(err)
	}
	if body, err := o.Get(practice, lists[a].ID); err == nil {
		t.Errorf("a mail moved between mailboxes opened: %q", body)
	}
}

// A failed Put is repeated, whatever the store made of it, and remains one mail.
func TestPutThatFails(t *testing.T) {
	for _, relayed := range []bool{false, true} {
		for _, f := range []celltest.Failure{celltest.Undone, celltest.Done} {
			bubble(t, func(t *testing.T) {
				s := newRelayServer(t)
				store := celltest.NewMemory()
				opt := Options{}
				if relayed {
					opt.Relay = s.relay()
				}
				o := open(t, store, opt)
				start(t, o)
				store.FailNext(f)
				if err := o.Put(context.Background(), letter("a", practice)); !errors.Is(err, celltest.ErrInjected) {
					t.Fatalf("Put with a failing store: %v", err)
				}
				pass(time.Minute)
				mustPut(t, o, letter("a", practice))
				pass(time.Minute)
				n, err := o.Count(practice)
				if err != nil {
					t.Fatal(err)
				}
				if n+len(s.got()) != 1 || relayed != (n == 0) {
					t.Errorf("relay %v, failure %d: %d mails in the mailbox, %d at the relay", relayed, f, n, len(s.got()))
				}
				wantStatus(t, o, 0, 0)
			})
		}
	}
}

func TestSameIDAtOnce(t *testing.T) {
	store := celltest.NewMemory()
	o := open(t, store, Options{})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			list := []Mail{letter("a", practice), letter("b", practice), letter("c", practice)}
			list = append(list[i%3:], list[:i%3]...)
			mustPut(t, o, list[:1+i%3]...)
		})
	}
	wg.Wait()
	if n, err := o.Count(practice); n != 3 || err != nil {
		t.Errorf("%d mails, %v; want 3", n, err)
	}
}

// A Put that waits for the same ID elsewhere gives up with its context.
func TestPutWaitsNoLongerThanItsContext(t *testing.T) {
	o := open(t, celltest.NewMemory(), Options{})
	if err := o.claims.take(context.Background(), hashID("a")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := o.Put(ctx, letter("a", practice)); !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v", err)
	}
	o.claims.release(hashID("a"))
	mustPut(t, o, letter("a", practice))
}

// IDs of mail that is done are forgotten after the retention, those of mail that still waits are not.
func TestRetention(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		store := celltest.NewMemory()
		local := func(a string) bool { return strings.HasSuffix(a, "@here.example") }
		o := open(t, store, Options{Relay: s.relay(), Local: local, Paused: true, Retention: 48 * time.Hour})
		start(t, o)
		mails := letters("a", "here.example", pruneBatch+20)
		mustPut(t, o, mails...)
		mustPut(t, o, letter("waits", practice))
		pass(47 * time.Hour)
		mustPut(t, o, mails...)
		if diff := cmp.Diff(len(mails)+1, keysOf(t, store)["s"]); diff != "" {
			t.Errorf("IDs before the retention ends (-want +got):\n%s", diff)
		}
		pass(3 * time.Hour)
		kinds := keysOf(t, store)
		if kinds["s"] != 1 || kinds["p"] != 0 || kinds["b"] != len(mails) || kinds["m"] != 1 {
			t.Errorf("keys after the retention: %v", kinds)
		}
		mustPut(t, o, mails[0], letter("waits", practice))
		if n, err := o.Count(mails[0].To); n != 2 || err != nil {
			t.Errorf("a mail put again after the retention is a mail of its own: %d, %v", n, err)
		}
		wantStatus(t, o, 1, 0)
	})
}

func TestLargeMail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		local := func(a string) bool { return a == practice }
		o := open(t, celltest.NewMemory(), Options{Relay: s.relay(), Local: local})
		start(t, o)
		m := letter("a", "far@away.example")
		m.Body = bytes.Repeat([]byte(".23456789012345678901234567890\r\n"), 3<<20/32)
		mustPut(t, o, m)
		pass(time.Minute)
		if got := s.got(); len(got) != 1 || got[0].body != string(m.Body) {
			t.Errorf("the relay has %d mails", len(got))
		}
		m.ID, m.To, m.Body = "largest", practice, bytes.Repeat(m.Body, 10)
		mustPut(t, o, m)
		list, err := o.List(practice)
		if err != nil || len(list) != 1 || list[0].Size != 30<<20 {
			t.Fatal(list, err)
		}
		if body, err := o.Get(practice, list[0].ID); err != nil || !bytes.Equal(body, m.Body) {
			t.Errorf("the mailbox has another body, %v", err)
		}
		var three []Mail
		for _, id := range []string{"b", "c", "d"} {
			m.ID = id
			three = append(three, m)
		}
		if err := o.PutAll(context.Background(), three...); querschott.CodeOf(err) != querschott.CodeTooLarge {
			t.Errorf("90 MiB at once: %v", err)
		}
	})
}
