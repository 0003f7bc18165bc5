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
