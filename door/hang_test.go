package door_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

// stuckDisk hangs when a file is created whose name contains stuck.
type stuckDisk struct {
	disk.FS
	stuck   string
	release chan struct{}
}

func (d *stuckDisk) Create(name string) (disk.File, error) {
	if d.stuck != "" && strings.Contains(name, d.stuck) {
		<-d.release
	}
	return d.FS.Create(name)
}

// TestClosingWaitsForNothing hangs the ledger or the disk for one compartment: its closing is in force at once, whoever
// ordered it hears of the trouble after five seconds, other compartments notice nothing, and when the trouble ends ledger
// and disk get what they missed.
func TestClosingWaitsForNothing(t *testing.T) {
	for name, hang := range map[string]func(*house, chan struct{}){
		"ledger": func(h *house, release chan struct{}) {
			h.ledger.before = func(o door.Order) {
				if o.Compartment == eau {
					<-release
				}
			}
		},
		"disk": func(h *house, release chan struct{}) {
			d := h.fs.(*stuckDisk)
			d.stuck, d.release = "eau", release
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.fs, h.now, h.patience = &stuckDisk{FS: h.fs}, time.Now, 0
				b := h.open()
				h.widen(b, request(eau, querschott.Open))
				h.widen(b, request(vsdm, querschott.Open))
				release := make(chan struct{})
				hang(h, release)
				ctx, cancel := context.WithCancel(context.Background())
				ran := make(chan error)
				go func() { ran <- b.Run(ctx) }()

				answer := make(chan error)
				start := time.Now()
				go func() {
					_, err := b.Set(ctx, request(eau, querschott.Closed), keys()["carol"])
					answer <- err
				}()
				synctest.Wait()
				if got := b.State(eau); got != querschott.Closed || time.Since(start) != 0 {
					t.Errorf("after %s the door is %s, want closed at once", time.Since(start), got)
				}
				h.narrow(b, "carol", vsdm, querschott.Closed)
				if took := time.Since(start); took != 0 {
					t.Errorf("the other compartment's closing took %s", took)
				}
				if err := <-answer; err == nil || time.Since(start) != 5*time.Second {
					t.Errorf("the answer came after %s: %v; want an error after 5s", time.Since(start), err)
				}
				close(release)
				<-time.After(2 * time.Second)
				synctest.Wait()
				cancel()
				if err := <-ran; err != nil {
					t.Error(err)
				}
				o, _ := b.Current(eau)
				if got := h.ledger.of(eau); len(got) != 2 || got[1] != o {
					t.Errorf("the ledger has %+v", got)
				}
				if got, _ := h.open().Current(eau); got != o {
					t.Errorf("a restart finds %+v, want %+v", got, o)
				}
				h.ledger.check(t)
			})
		})
	}
}

// TestLedgerAndDiskFail has both fail instead of hang: the closing is in force, the error names what is missing, and Run makes
// up for it.
func TestLedgerAndDiskFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.now = time.Now
		b := h.open()
		h.widen(b, request(eau, querschott.Open))
		var broken atomic.Bool
		broken.Store(true)
		h.ledger.fail = func(door.Order) (bool, error) {
			if broken.Load() {
				return false, errors.New("no ledger")
			}
			return true, nil
		}
		h.fs.(*crashdisk.Disk).Fail(func(string, string) error {
			if broken.Load() {
				return errors.New("no disk")
			}
			return nil
		})
		out, err := b.Set(t.Context(), request(eau, querschott.Closed), keys()["anna"])
		if out.Order == nil || b.State(eau) != querschott.Closed {
			t.Fatalf("got %+v, %v, state %s", out, err, b.State(eau))
		}
		for _, want := range []string{"a restart may forget it", "the ledger does not have it yet", "no disk", "no ledger"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error does not say %q: %v", want, err)
			}
		}
		out, _ = b.Set(t.Context(), request(eau, querschott.Open), keys()["anna"])
		if out.Proposal == nil {
			t.Fatal("anna cannot propose while ledger and disk fail")
		}
		if o, err := b.Approve(t.Context(), out.Proposal.ID, keys()["bob"]); err == nil || b.State(eau) != querschott.Closed {
			t.Errorf("a door opened that the ledger does not know of: %+v", o)
		}
		broken.Store(false)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		synctest.Wait()
		cancel()
		<-done
		if got := h.ledger.of(eau); len(got) != 2 || got[1].To != querschott.Closed {
			t.Errorf("the ledger has %+v", got)
		}
		b = h.open()
		if o, _ := b.Current(eau); o.Epoch != 2 || o.To != querschott.Closed || len(b.Proposals()) != 1 {
			t.Errorf("a restart finds %+v and proposals %+v", o, b.Proposals())
		}
	})
}

// TestOpeningOvertaken closes a door while its opening is in the ledger's hands.
func TestOpeningOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		b := h.open()
		release := make(chan struct{})
		h.ledger.before = func(o door.Order) {
			if o.To == querschott.Open {
				<-release
			}
		}
		out, err := b.Set(t.Context(), request(eau, querschott.Open), keys()["anna"])
		if err != nil {
			t.Fatal(err)
		}
		opened := make(chan error)
		go func() {
			_, err := b.Approve(t.Context(), out.Proposal.ID, keys()["bob"])
			opened <- err
		}()
		synctest.Wait()
		var written atomic.Int32
		h.fs.(*crashdisk.Disk).Fail(func(op, name string) error {
			if op == "rename" && strings.Contains(name, ".order") {
				written.Add(1)
			}
			return nil
		})
		closed := make(chan error)
		go func() {
			_, err := b.Set(t.Context(), request(eau, querschott.Closed), keys()["carol"])
			closed <- err
		}()
		synctest.Wait()
		if got := b.State(eau); got != querschott.Closed {
			t.Fatalf("the door is %s", got)
		}
		close(release)
		if err := <-opened; querschott.CodeOf(err) != querschott.CodeConflict {
			t.Errorf("the opening ended with %v, want a conflict", err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if n := written.Load(); n != 1 {
			t.Errorf("%d order files were written, want the closing's only", n)
		}
		if l := h.ledger.of(eau); len(l) != 2 || l[1].To != querschott.Closed || l[1].Epoch != 1 {
			t.Errorf("the ledger has %+v, want the closing last", l)
		}
		if o, _ := h.open().Current(eau); o.To != querschott.Closed || o.Actor != "carol" {
			t.Errorf("a restart finds %+v", o)
		}
		h.ledger.check(t)
	})
}

// TestWithdrawnWhileApproving withdraws a proposal while its approval is in the ledger's hands: it does not come into force.
func TestWithdrawnWhileApproving(t *testing.T) {
	h := newHouse(t)
	b := h.open()
	out, err := b.Set(t.Context(), request(eau, querschott.Open), keys()["anna"])
	if err != nil {
		t.Fatal(err)
	}
	id := out.Proposal.ID
	h.ledger.before = func(door.Order) {
		if err := b.Withdraw(t.Context(), id, keys()["anna"]); err != nil {
			t.Error(err)
		}
	}
	if _, err := b.Approve(t.Context(), id, keys()["bob"]); querschott.CodeOf(err) != querschott.CodeConflict || b.State(eau) != querschott.Hold {
		t.Errorf("got %v and a door that is %s", err, b.State(eau))
	}
	if o, _ := h.open().Current(eau); o.To != querschott.Hold {
		t.Errorf("a restart finds %+v", o)
	}
}

// TestEnforcers hangs an enforcer in an opening: the closing after it ends the hanging call's context, is told afterwards, and
// the enforcer's last word is the closing.
func TestEnforcers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.now = time.Now
		b := h.open()
		var keysInMemory atomic.Bool
		b.Enforce("pump", func(ctx context.Context, o door.Order) error {
			if o.To == querschott.Open {
				<-ctx.Done() // slow, and then it does what it was told all the same
				keysInMemory.Store(true)
				return context.Cause(ctx)
			}
			keysInMemory.Store(false)
			return nil
		})
		b.Enforce("gate", func(context.Context, door.Order) error { return nil })
		b.Enforce("broken", func(context.Context, door.Order) error { return errors.New("broken for good") })
		changes, cancel := b.Subscribe(10)
		defer cancel()
		out, err := b.Set(t.Context(), request(eau, querschott.Open), keys()["anna"])
		if err != nil {
			t.Fatal(err)
		}
		opened := make(chan error)
		go func() {
			_, err := b.Approve(t.Context(), out.Proposal.ID, keys()["bob"])
			opened <- err
		}()
		<-time.After(time.Second)
		closed, err := b.Set(t.Context(), request(eau, querschott.Closed), keys()["carol"])
		if closed.Order == nil || err == nil || !strings.Contains(err.Error(), "broken has not obeyed: broken for good") || strings.Contains(err.Error(), "pump") {
			t.Errorf("got %+v, %v", closed, err)
		}
		if keysInMemory.Load() {
			t.Error("the pump went on after it had acknowledged the closing")
		}
		if err := <-opened; err == nil || !strings.Contains(err.Error(), "pump has not obeyed: a later order came into force") {
			t.Errorf("the opening's answer: %v", err)
		}
		var last door.Change
		for len(changes) > 0 {
			c := <-changes
			if c.Order.Epoch <= last.Order.Epoch {
				t.Errorf("epoch %d was published after %d", c.Order.Epoch, last.Order.Epoch)
			}
			last = c
		}
		if diff := cmp.Diff([]string{"broken"}, last.Silent); last.Order != *closed.Order || diff != "" {
			t.Errorf("the last change is %+v; silent (-want +got):\n%s", last, diff)
		}
		if !last.Applied.Equal(time.Now()) {
			t.Errorf("applied at %s, want %s", last.Applied, time.Now())
		}
	})
}

// TestEnforcerHangs expects an answer after five seconds that names who is silent.
func TestEnforcerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.now, h.patience = time.Now, 0
		b := h.open()
		release := make(chan struct{})
		b.Enforce("gate", func(context.Context, door.Order) error { <-release; return nil })
		start := time.Now()
		out, err := b.Set(t.Context(), request(eau, querschott.Closed), keys()["anna"])
		if out.Order == nil || err == nil || !strings.Contains(err.Error(), "gate has not obeyed: no answer within 5s") || time.Since(start) != 5*time.Second {
			t.Errorf("after %s: %+v, %v", time.Since(start), out, err)
		}
		if len(h.ledger.of(eau)) != 1 {
			t.Error("the ledger waited for the enforcer")
		}
		close(release)
	})
}

// TestSubscribersAreNotWaitedFor has subscribers that never read.
func TestSubscribersAreNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.now = time.Now
		b := h.open()
		full, cancel := b.Subscribe(1)
		_, cancelZero := b.Subscribe(0)
		start := time.Now()
		for range 10 {
			h.narrow(b, "anna", eau, querschott.Closed)
			h.narrow(b, "bob", eau, querschott.Hold)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("doors took %s", took)
		}
		if c := <-full; c.Order.Epoch != 1 {
			t.Errorf("the buffered change has epoch %d", c.Order.Epoch)
		}
		cancel()
		cancelZero()
		h.narrow(b, "anna", eau, querschott.Closed)
		if len(full) != 0 {
			t.Error("a cancelled subscription got a change")
		}
	})
}

// TestLateToEnforce has a hold overtake a closing that is in force and has told nobody yet: enforcers and subscribers hear of the
// hold only, and whoever closed is told so.
func TestLateToEnforce(t *testing.T) {
	h := newHouse(t)
	var b *door.Book
	clock, overtaken := h.now, false
	h.now = func() time.Time {
		if b != nil && b.State(eau) == querschott.Closed && !overtaken {
			overtaken = true
			h.narrow(b, "bob", eau, querschott.Hold)
		}
		return clock()
	}
	b = h.open()
	var told []uint64
	b.Enforce("gate", func(_ context.Context, o door.Order) error { told = append(told, o.Epoch); return nil })
	changes, cancel := b.Subscribe(10)
	defer cancel()
	out, err := b.Set(t.Context(), request(eau, querschott.Closed), keys()["anna"])
	if out.Order == nil || err == nil || !strings.Contains(err.Error(), "a later order came into force") {
		t.Errorf("got %+v, %v", out, err)
	}
	if diff := cmp.Diff([]uint64{2}, told); diff != "" {
		t.Errorf("the enforcer was told of (-want +got):\n%s", diff)
	}
	if c := <-changes; c.Order.Epoch != 2 || len(changes) != 0 {
		t.Errorf("the first change is %+v, %d follow", c, len(changes))
	}
}

// TestClosedWhileCatchingUp closes a door while the ledger gets what it must have before an opening: the ledger never gets that
// opening.
func TestClosedWhileCatchingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		b := h.open()
		h.ledger.fail = func(door.Order) (bool, error) { return false, errors.New("no ledger") }
		if out, _ := b.Set(t.Context(), request(eau, querschott.Closed), keys()["anna"]); out.Order == nil {
			t.Fatal("the door is not closed")
		}
		h.ledger.fail = nil
		out, err := b.Set(t.Context(), request(eau, querschott.Open), keys()["anna"])
		if err != nil {
			t.Fatal(err)
		}
		held := make(chan error, 1)
		h.ledger.before = func(o door.Order) {
			if o.Epoch == 1 {
				go func() {
					_, err := b.Set(context.WithoutCancel(t.Context()), request(eau, querschott.Hold), keys()["carol"])
					held <- err
				}()
				synctest.Wait()
			}
		}
		if _, err := b.Approve(t.Context(), out.Proposal.ID, keys()["bob"]); querschott.CodeOf(err) != querschott.CodeConflict {
			t.Errorf("the opening ended with %v, want a conflict", err)
		}
		if err := <-held; err != nil {
			t.Error(err)
		}
		for i, o := range h.ledger.of(eau) {
			if want := []querschott.DoorState{querschott.Closed, querschott.Hold}; i >= len(want) || o.To != want[i] {
				t.Errorf("the ledger's order %d is %+v", i, o)
			}
		}
		h.ledger.check(t)
	})
}

// TestEverybodyAtOnce moves two doors from many goroutines, for the race detector and the invariants that enforcers and the
// ledger can see.
func TestEverybodyAtOnce(t *testing.T) {
	h := newHouse(t)
	b := h.open()
	var mu sync.Mutex
	seen := map[querschott.Compartment]door.Order{}
	b.Enforce("gate", func(_ context.Context, o door.Order) error {
		mu.Lock()
		defer mu.Unlock()
		if o.Epoch <= seen[o.Compartment].Epoch {
			t.Errorf("an enforcer was told epoch %d after %d", o.Epoch, seen[o.Compartment].Epoch)
		}
		seen[o.Compartment] = o
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running, movers sync.WaitGroup
	running.Go(func() { _ = b.Run(ctx) })
	var opened atomic.Int32
	for i := range 8 {
		c := []querschott.Compartment{eau, vsdm}[i%2]
		who := []string{"anna", "bob", "carol", "anna card"}[i/2]
		movers.Go(func() {
			for n := range 25 {
				to := []querschott.DoorState{querschott.Closed, querschott.Open, querschott.Hold, querschott.Open}[(n+i/2)%4]
				out, err := b.Set(ctx, request(c, to), keys()[who])
				code := querschott.CodeOf(err)
				if err != nil && code != querschott.CodeConflict && !strings.Contains(err.Error(), "a later order came into force") {
					t.Errorf("%s sets %s: %+v, %v", who, to, out, err)
				}
				for _, p := range b.Proposals() {
					if out, err := b.Approve(ctx, p.ID, keys()[who]); err == nil && out.Order != nil {
						opened.Add(1)
					}
				}
				_, _, _ = b.State(c), b.History(c), b.Compartments()
			}
		})
	}
	movers.Wait()
	cancel()
	running.Wait()
	if opened.Load() == 0 {
		t.Error("no door was ever opened: the test is too tame")
	}
	h.ledger.check(t)
	again := h.open()
	for _, c := range b.Compartments() {
		o, _ := b.Current(c)
		if got, _ := again.Current(c); got != o {
			t.Errorf("%s: a restart finds %+v, want %+v", c, got, o)
		}
		l := h.ledger.of(c)
		if len(l) == 0 || l[len(l)-1] != o || seen[c] != o {
			t.Errorf("%s: in force %+v, the enforcer's last word is %+v", c, o, seen[c])
		}
	}
}

// TestCloseTogether has everybody narrow the same door in the same moment. Who closes is told that it is closed, also if a hold
// has overtaken the order; enforcers and subscribers hear of rising epochs only.
func TestCloseTogether(t *testing.T) {
	h := newHouse(t)
	b := h.open()
	var told atomic.Uint64
	b.Enforce("gate", func(_ context.Context, o door.Order) error {
		if before := told.Swap(o.Epoch); before >= o.Epoch {
			t.Errorf("an enforcer was told epoch %d after %d", o.Epoch, before)
		}
		return nil
	})
	changes, cancel := b.Subscribe(1000)
	defer cancel()
	for range 60 {
		h.widen(b, request(eau, querschott.Open))
		var all sync.WaitGroup
		for i, who := range []string{"anna", "bob", "carol", "querschott"} {
			all.Go(func() {
				to := []querschott.DoorState{querschott.Closed, querschott.Hold}[i%2]
				out, err := b.Set(t.Context(), request(eau, to), keys()[who])
				fine := err == nil || out.Order != nil && strings.Contains(err.Error(), "a later order came into force")
				if !fine && (to == querschott.Closed && !strings.Contains(err.Error(), "already closed") || querschott.CodeOf(err) != querschott.CodeConflict) {
					t.Errorf("%s sets %s: %v", who, to, err)
				}
			})
		}
		all.Wait()
	}
	for last := uint64(0); len(changes) > 0; {
		c := <-changes
		if c.Order.Epoch <= last {
			t.Errorf("epoch %d was published after %d", c.Order.Epoch, last)
		}
		last = c.Order.Epoch
	}
}

// TestExpiryOvertaken has two people open a door while the platform signs the end of what was before: the opening stays.
func TestExpiryOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.now = time.Now
		cfg := h.config()
		var b *door.Book
		cfg.Machine = slowSigner{cfg.Machine, sync.OnceFunc(func() { h.widen(b, request(eau, querschott.Open)) })}
		b, err := door.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		h.narrow(b, "carol", eau, querschott.Closed)
		r := request(eau, querschott.Hold)
		r.Expires = time.Now().Add(time.Hour)
		if _, err := b.Set(t.Context(), r, keys()["carol"]); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- b.Run(ctx) }()
		<-time.After(2 * time.Hour)
		cancel()
		<-ran
		if o, _ := b.Current(eau); o.To != querschott.Open || o.Epoch != 3 {
			t.Errorf("in force is %+v, want the opening", o)
		}
	})
}

// slowSigner is a signer during whose work something else happens.
type slowSigner struct {
	note.Signer
	meanwhile func()
}

func (s slowSigner) Sign(msg []byte) ([]byte, error) {
	s.meanwhile()
	return s.Signer.Sign(msg)
}

// TestOvertaken moves the door between draft and signature.
func TestOvertaken(t *testing.T) {
	const open, hold, closed, readOnly = querschott.Open, querschott.Hold, querschott.Closed, querschott.ReadOnly
	for _, c := range []struct {
		to, meanwhile, want querschott.DoorState
		served              bool
	}{
		{closed, hold, closed, true},
		{closed, readOnly, closed, true},
		{hold, readOnly, hold, true},
		{hold, closed, closed, false},     // would take in mail that somebody has just stopped
		{readOnly, closed, closed, false}, // would widen
		{readOnly, hold, hold, false},     // would widen
	} {
		h := newHouse(t)
		b := h.open()
		h.widen(b, request(vsdm, open))
		once := sync.OnceFunc(func() { h.narrow(b, "carol", vsdm, c.meanwhile) })
		out, err := b.Set(t.Context(), request(vsdm, c.to), slowSigner{keys()["anna"], once})
		if (err == nil) != c.served || err != nil && querschott.CodeOf(err) != querschott.CodeConflict || out.Proposal != nil || b.State(vsdm) != c.want {
			t.Errorf("%s, meanwhile %s: got %+v, %v, the door is %s", c.to, c.meanwhile, out, err, b.State(vsdm))
		}
	}
}
