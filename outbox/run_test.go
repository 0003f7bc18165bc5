package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
)

// deletesMail tells the batch that takes a mail out of the queue from all others.
func deletesMail(b *cell.Batch) bool {
	return slices.ContainsFunc(b.Ops(), func(op cell.Op) bool { return op.Delete && op.Key[1] == byte(kindMail) })
}

// The process ends between the relay's answer and the note of it: the same bytes are sent again, once.
func TestCrashBetweenSendAndNote(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		store := celltest.NewMemory()
		store.Inject(func(b *cell.Batch) celltest.Failure {
			if deletesMail(b) {
				return celltest.Undone
			}
			return celltest.None
		})
		o := open(t, store, Options{Relay: s.relay()})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- o.Run(ctx) }()
		mustPut(t, o, letter("a", practice))
		pass(time.Minute)
		if n := len(s.got()); n != 1 {
			t.Fatalf("the relay has %d mails while the note of it fails, want one", n)
		}
		store = store.Crash()
		cancel()
		<-ended

		o = open(t, store, Options{Relay: s.relay()})
		wantStatus(t, o, 1, 0)
		start(t, o)
		mustPut(t, o, letter("a", practice))
		pass(time.Hour)
		wantStatus(t, o, 0, 0)
		got := s.got()
		if len(got) != 2 || got[0].body != got[1].body {
			t.Errorf("the relay has %+v, want the same mail twice", got)
		}
	})
}

// The note fails for a while, with and without having been written: the mail is not sent again meanwhile.
func TestNoteThatFails(t *testing.T) {
	for _, f := range []celltest.Failure{celltest.Undone, celltest.Done} {
		bubble(t, func(t *testing.T) {
			s := newRelayServer(t)
			s.onRcpt = func(_ *smtp.Conn, to string) error {
				if strings.HasPrefix(to, "p000") {
					return permanentReply()
				}
				if strings.HasPrefix(to, "p001") && len(s.tries()) < 10 {
					return transientReply()
				}
				return nil
			}
			store := celltest.NewMemory()
			o := open(t, store, Options{Relay: s.relay(), Workers: 2})
			mustPut(t, o, letters("a", "one.example", 4)...)
			failures := 0
			store.Inject(func(*cell.Batch) celltest.Failure {
				if failures++; failures%3 != 0 {
					return f
				}
				return celltest.None
			})
			start(t, o)
			pass(time.Minute / 2)
			wantStatus(t, o, 1, 1)
			pass(24 * time.Hour)
			wantStatus(t, o, 0, 1)
			got := s.recipients()
			slices.Sort(got)
			if diff := cmp.Diff([]string{"p001@one.example", "p002@one.example", "p003@one.example"}, got); diff != "" {
				t.Errorf("failure %d: at the relay (-want +got):\n%s", f, diff)
			}
			if err := o.Retry(context.Background(), "a-000"); err != nil && !errors.Is(err, celltest.ErrInjected) {
				t.Error(err)
			}
			pass(24 * time.Hour)
			wantStatus(t, o, 0, 1)
		})
	}
}

// Mail queued for the relay goes into mailboxes when there is no relay any more.
func TestQueueBecomesLocal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		s.down = true
		store := celltest.NewMemory()
		o := open(t, store, Options{Relay: s.relay()})
		mails := letters("a", "one.example", 40)
		mustPut(t, o, mails...)
		first := true
		store.Inject(func(b *cell.Batch) celltest.Failure {
			if first = !first; first {
				return celltest.Done
			}
			return celltest.None
		})
		o = open(t, store, Options{})
		start(t, o)
		pass(time.Minute)
		wantStatus(t, o, 0, 0)
		for _, m := range mails {
			if n, err := o.Count(m.To); n != 1 || err != nil {
				t.Errorf("%s has %d mails, %v", m.To, n, err)
			}
		}
	})
}

// Mail that is damaged in the store is shown, and the others go out.
func TestDamagedMail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		store := celltest.NewMemory()
		o := open(t, store, Options{Relay: s.relay()})
		mustPut(t, o, letters("a", "one.example", 3)...)
		lo := cell.Key(cell.SpaceOutbox, kindMail)
		good := celltest.Dump(t, store, lo, cell.PrefixEnd(lo))
		var b cell.Batch
		b.Put([]byte(good[0].Key), []byte(good[1].Value))
		b.Delete([]byte(good[1].Key))
		if err := store.Commit(&b); err != nil {
			t.Fatal(err)
		}
		start(t, o)
		pass(time.Minute)
		wantStatus(t, o, 0, 2)
		failed, err := o.Failed()
		if err != nil || len(failed) != 2 {
			t.Fatal(failed, err)
		}
		b.Reset()
		b.Put([]byte(good[0].Key), []byte(good[0].Value))
		if err := store.Commit(&b); err != nil {
			t.Fatal(err)
		}
		for _, f := range failed {
			if err := o.Retry(context.Background(), f.ID); err != nil {
				t.Error(err)
			}
		}
		pass(time.Minute)
		wantStatus(t, o, 0, 1)
		if n := len(s.got()); n != 2 {
			t.Errorf("the relay has %d mails, want the whole one and the mended one", n)
		}
	})
}

func TestRunEndsWithItsStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := celltest.NewMemory()
		o := open(t, store, Options{})
		done := make(chan error, 1)
		go func() { done <- o.Run(context.Background()) }()
		pass(time.Second)
		if err := o.Run(context.Background()); err == nil {
			t.Error("Run ran twice")
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Hour)
		select {
		case err := <-done:
			if !errors.Is(err, cell.ErrClosed) {
				t.Errorf("Run with a closed store: %v", err)
			}
		default:
			t.Error("Run goes on with a closed store")
		}
	})
}

// counting counts what is read of a store.
type counting struct {
	*celltest.Memory
	gets, scans atomic.Int64
}

func (c *counting) Get(key []byte) ([]byte, error) {
	c.gets.Add(1)
	return c.Memory.Get(key)
}

func (c *counting) Scan(lo, hi []byte, fn func(k, v []byte) error) error {
	c.scans.Add(1)
	return c.Memory.Scan(lo, hi, fn)
}

// Opening reads keys only, and memory holds a handful of each domain.
func TestOpenReadsNoMail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		s.onRcpt = func(*smtp.Conn, string) error { return transientReply() }
		store := &counting{Memory: celltest.NewMemory()}
		o := open(t, store, Options{Relay: s.relay()})
		for d := range 5 {
			mustPut(t, o, letters(fmt.Sprint(d), fmt.Sprintf("d%d.example", d), 400)...)
		}
		store.gets.Store(0)
		store.scans.Store(0)
		o = open(t, store, Options{Relay: s.relay()})
		if g, n := store.gets.Load(), store.scans.Load(); g != 0 || n != 2 {
			t.Errorf("Open made %d reads and %d scans", g, n)
		}
		wantStatus(t, o, 2000, 0)
		stop := start(t, o)
		pass(time.Second)
		stop()
		o.mu.Lock()
		for _, l := range o.q.lanes {
			if len(l.ready) > handful || len(l.inHand) > handful {
				t.Errorf("a domain has %d mails in memory", len(l.inHand))
			}
		}
		o.mu.Unlock()
		if g := store.gets.Load(); g > 5*(tolerance+standardWorkers)+2000 {
			t.Errorf("%d mails were read while every domain refuses", g)
		}
	})
}

// Many domains come and go; what memory knows about them goes with them.
func TestLanesAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		o := open(t, celltest.NewMemory(), Options{Relay: s.relay()})
		start(t, o)
		for i := range 100 {
			mustPut(t, o, letter(fmt.Sprint(i), fmt.Sprintf("a@d%d.example", i)))
		}
		pass(time.Minute)
		wantStatus(t, o, 0, 0)
		o.kick()
		pass(time.Second)
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.q.lanes) != 0 || len(o.q.later) != 0 || len(o.q.line) != 0 {
			t.Errorf("%d domains are remembered, %d later, %d in line", len(o.q.lanes), len(o.q.later), len(o.q.line))
		}
	})
}

func TestOldest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		s.onRcpt = func(_ *smtp.Conn, to string) error {
			switch {
			case strings.HasPrefix(to, "never"):
				return permanentReply()
			case strings.HasPrefix(to, "later"):
				return transientReply()
			}
			return nil
		}
		o := open(t, celltest.NewMemory(), Options{Relay: s.relay()})
		start(t, o)
		begun := time.Now()
		mustPut(t, o, letter("a", "now@a.example"), letter("b", "never@b.example"))
		pass(time.Minute)
		if got := o.Status().Oldest; !got.IsZero() {
			t.Errorf("oldest of nothing: %v", got)
		}
		mustPut(t, o, letter("c", "later@c.example"))
		second := time.Now()
		pass(time.Minute)
		mustPut(t, o, letter("d", "later@d.example"))
		pass(time.Minute)
		if got := o.Status().Oldest; !got.Equal(second) {
			t.Errorf("oldest: %v, want %v", got, second)
		}
		s.set(func() { s.onRcpt = func(*smtp.Conn, string) error { return transientReply() } })
		if err := o.Retry(context.Background(), "b"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if got := o.Status().Oldest; !got.Equal(begun) {
			t.Errorf("oldest after the retry of an older one: %v, want %v", got, begun)
		}
	})
}

func TestPauseBetweenAttempts(t *testing.T) {
	for n, want := range []time.Duration{time.Minute, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute} {
		for range 100 {
			if got := pause(firstPause, lastPause, n); got > want || got < want*8/10 {
				t.Fatalf("pause %d: %v", n, got)
			}
		}
	}
	for _, n := range []int{9, 31, 32, 64, 1 << 16} {
		if got := pause(firstPause, lastPause, n); got > lastPause || got < lastPause*8/10 {
			t.Errorf("pause %d: %v", n, got)
		}
	}
}

// Whatever fails and restarts: every acknowledged mail gets out, the relay has the bytes that were put, mailboxes have no
// mail twice, and the counts are those of the store.
func TestModel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rapid.Check(endless{t}, func(r *rapid.T) { model(t, r) })
	})
}

// endless is a test that does not tell its deadline, which is on another clock than the bubble.
type endless struct{ *testing.T }

// Deadline hides the one of the test.
func (endless) Deadline() (time.Time, bool) { return time.Time{}, false }

type world struct {
	r     *rapid.T
	s     *relayServer
	store *celltest.Memory
	o     *Outbox
	stop  func()

	put   map[string]Mail // acknowledged, or perhaps there
	acked map[string]bool
	crash int // how often the process ended with mail perhaps on its way
}

func (w *world) boot(t *testing.T) {
	local := func(a string) bool { return strings.HasSuffix(a, "@here.example") }
	w.o = open(t, w.store, Options{Relay: w.s.relay(), Local: local, Workers: rapid.IntRange(1, 4).Draw(w.r, "workers")})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.o.Run(ctx) }()
	w.stop = func() {
		cancel()
		<-done // with an error if the store was taken away before
	}
}

func (w *world) putSome() {
	id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"}).Draw(w.r, "id")
	to := rapid.SampledFrom([]string{"x@here.example", "x@one.example", "y@one.example", "x@two.example", "no@two.example"}).Draw(w.r, "to")
	m := letter(id, to)
	if old, ok := w.put[id]; ok {
		m = old // the same ID is the same mail
	}
	w.put[id] = m
	if err := w.o.Put(context.Background(), m); err == nil {
		w.acked[id] = true
	} else if !errors.Is(err, celltest.ErrInjected) {
		w.r.Fatal(err)
	}
}

func model(t *testing.T, r *rapid.T) {
	w := &world{r: r, s: newRelayServer(t), store: celltest.NewMemory(), put: map[string]Mail{}, acked: map[string]bool{}}
	var mood atomic.Int32 // how the relay is
	w.s.onRcpt = func(c *smtp.Conn, to string) error {
		switch {
		case mood.Load() == 1:
			return transientReply()
		case mood.Load() == 2:
			_ = c.Conn().Close()
			return transientReply()
		case strings.HasPrefix(to, "no@"):
			return permanentReply()
		}
		return nil
	}
	w.boot(t)
	for range rapid.IntRange(1, 25).Draw(r, "steps") {
		switch rapid.IntRange(0, 8).Draw(r, "step") {
		case 0, 1, 2:
			w.putSome()
		case 3:
			pass(rapid.SampledFrom([]time.Duration{0, time.Second, 2 * time.Minute, 5 * time.Hour}).Draw(r, "time"))
		case 4:
			mood.Store(rapid.Int32Range(0, 2).Draw(r, "mood"))
		case 5:
			down := rapid.Bool().Draw(r, "down")
			w.s.set(func() { w.s.down = down })
		case 6:
			plan := rapid.SliceOfN(rapid.SampledFrom([]celltest.Failure{celltest.None, celltest.Undone, celltest.Done}), 1, 4).Draw(r, "failures")
			w.store.Inject(func(*cell.Batch) celltest.Failure {
				if len(plan) == 0 {
					return celltest.None
				}
				f := plan[0]
				plan = plan[1:]
				return f
			})
		case 7:
			w.crash++
			w.store = w.store.Crash()
			w.stop()
			w.boot(t)
		case 8:
			for id := range w.put {
				_ = w.o.Retry(context.Background(), id) // most of them are not refused
			}
		}
	}
	mood.Store(0)
	w.store.Inject(nil)
	w.s.set(func() { w.s.down = false })
	pass(24 * time.Hour)
	w.check(t)
	w.stop()
}

func (w *world) check(t *testing.T) {
	failed, err := w.o.Failed()
	if err != nil {
		w.r.Fatal(err)
	}
	kinds := keysOf(t, w.store)
	if st := w.o.Status(); st.Queued != 0 || st.Failed != len(failed) || kinds["d"] != 0 || kinds["a"] != 0 || kinds["m"] != len(failed) {
		w.r.Fatalf("after a day of good weather: %+v, keys %v, %d refused", st, kinds, len(failed))
	}
	byBody := map[string]int{}
	for _, a := range w.s.got() {
		byBody[a.to+"\n"+a.body]++
	}
	for id, m := range w.put {
		atRelay := byBody[m.To+"\n"+string(m.Body)]
		refused := slices.ContainsFunc(failed, func(f Refused) bool { return f.ID == id })
		inBox := 0
		list, err := w.o.List(m.To)
		if err != nil {
			w.r.Fatal(err)
		}
		for _, e := range list {
			if body, err := w.o.Get(m.To, e.ID); err != nil || string(body) == string(m.Body) {
				inBox++
			}
		}
		switch {
		case strings.HasSuffix(m.To, "@here.example"):
			if inBox > 1 || w.acked[id] && inBox != 1 || atRelay != 0 || refused {
				w.r.Fatalf("%s: %d in the mailbox, %d at the relay", id, inBox, atRelay)
			}
		case strings.HasPrefix(m.To, "no@"):
			if w.acked[id] && !refused || atRelay != 0 {
				w.r.Fatalf("%s: refused %v, %d at the relay", id, refused, atRelay)
			}
		case w.acked[id] && atRelay == 0 || atRelay > 1+w.crash || refused || inBox != 0:
			w.r.Fatalf("%s: %d at the relay after %d crashes, refused %v", id, atRelay, w.crash, refused)
		}
	}
}
