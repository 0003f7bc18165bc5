package intake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/seal"
)

// Closing stops at the next message and forgets the keys at once; what the interrupted turn did has no effect. Opening
// goes on where it was.
func TestClosingStopsAtTheNextMessage(t *testing.T) {
	h := newHouse(t, 1)
	c := h.cs[0]
	j := h.journal(mem(crashdisk.New()))
	defer h.close(j)
	want := h.fill(j, c, 20)
	inside, release := make(chan *seal.Keys), make(chan struct{})
	var calls atomic.Int64
	p := h.pump(j, func(ctx context.Context, m *Message, tx *Tx) (Note, error) {
		if calls.Add(1) == 5 {
			inside <- tx.Keys
			<-release
		}
		return effects(ctx, m, tx)
	})
	defer run(p)()
	if err := p.Obey(t.Context(), c, 1, querschott.Open); err != nil {
		t.Fatal(err)
	}
	keys := <-inside
	impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := p.Obey(impatient, c, 2, querschott.Hold); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the order was acknowledged while a message was on its way: %v", err)
	}
	if _, err := keys.Person("A123456780"); !errors.Is(err, seal.ErrForgotten) || p.KeysInMemory() != 0 {
		t.Errorf("a handler that hangs keeps the keys in memory: %v", err)
	}
	obeyed := make(chan error)
	go func() { obeyed <- p.Obey(t.Context(), c, 2, querschott.Hold) }()
	close(release)
	if err := <-obeyed; err != nil {
		t.Fatal(err)
	}
	if got := calls.Load(); got != 5 {
		t.Errorf("%d messages were looked at after the order", got-5)
	}
	if got := h.effects(c); len(got) != 0 || p.Stats().Delivered != 0 {
		t.Errorf("%d messages had an effect", len(got))
	}
	if len(p.Trouble()) != 0 {
		t.Errorf("a door on hold is shown as trouble: %v", p.Trouble())
	}
	if err := p.Obey(t.Context(), c, 3, querschott.Open); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return p.Stats().Delivered == 20 })
	if diff := cmp.Diff(want, bodies(h.effects(c))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// sink is a cell that is quick and keeps nothing.
type sink struct{ cell.Store }

func (sink) Get([]byte) ([]byte, error) { return nil, cell.ErrNotFound }
func (sink) Commit(*cell.Batch) error   { return nil }

// A flood in one compartment delays the others by two turns of it at most: counted in messages, with one worker.
func TestFloodDelaysNobody(t *testing.T) {
	const flood, others, senders = 20000, 79, 100
	h := newHouse(t, 1+others)
	for _, c := range h.cs {
		h.cells[c.Insurer] = sink{}
	}
	j := h.journal(mem(crashdisk.New()))
	defer h.close(j)
	var sending sync.WaitGroup
	for w := range senders {
		sending.Go(func() {
			for i := range flood / senders {
				if err := h.append(j, h.cs[0], fmt.Sprint(w, i), ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	sending.Wait()
	var mu sync.Mutex // guards the rest
	var flooded, came int
	var delays []int
	arrived := map[querschott.Compartment]int{}
	p := h.pump(j, func(_ context.Context, m *Message, _ *Tx) (Note, error) {
		mu.Lock()
		if m.Compartment == h.cs[0] {
			flooded++
			n := flooded
			mu.Unlock()
			const apart = flood / (2 * others) // so that the last of them comes in the middle of the flood
			if i := n / apart; n%apart == 0 && i <= others {
				return Note{Result: "stored"}, h.append(j, h.cs[i], "", "")
			}
			return Note{Result: "stored"}, nil
		}
		defer mu.Unlock()
		at, heard := arrived[m.Compartment]
		if !heard { // delivered before anybody was told of it
			at = flooded
		}
		delays = append(delays, flooded-at)
		came++
		return Note{Result: "stored"}, nil
	})
	p.cfg.Workers, p.long = 1, time.Hour // a worker that is replaced delivers beside a turn, not before it
	j.Notify(func(c querschott.Compartment) {
		p.wake(c) // first: who tells the pump may have to wait for a processor meanwhile, and that is not the pump's delay
		mu.Lock()
		arrived[c] = flooded
		mu.Unlock()
	})
	defer run(p)()
	if err := p.OpenAll(h.all(1)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { mu.Lock(); defer mu.Unlock(); return came == others })
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(delays)
	// The turn that is under way when a message arrives, and one more if the flood is before it in the line.
	if worst := delays[len(delays)-1]; worst > 2*turnMessages {
		t.Errorf("%d messages of the flood were delivered before another insurer's one", worst)
	}
	t.Logf("messages of the flood before another's: median %d, worst %d", delays[len(delays)/2], delays[len(delays)-1])
}

// Cells that hang take no worker away from the others.
func TestHangingCellsDelayNobody(t *testing.T) {
	h := newHouse(t, 8)
	j := h.journal(mem(crashdisk.New()))
	defer h.close(j)
	hang := make(chan struct{})
	for i, c := range h.cs {
		h.fill(j, c, 1)
		if i < 6 {
			h.memory(i).Inject(func(*cell.Batch) celltest.Failure { <-hang; return celltest.None })
		}
	}
	p := h.pump(j, effects)
	defer run(p)()
	defer close(hang)
	if err := p.OpenAll(h.all(1)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return j.Waiting(h.cs[6])+j.Waiting(h.cs[7]) == 0 })
}

// A message at which its handler panics is kept as it came, flagged, without what the handler had done before.
func TestPanickingHandler(t *testing.T) {
	h := newHouse(t, 1)
	c := h.cs[0]
	j := h.journal(mem(crashdisk.New()))
	defer h.close(j)
	want := h.fill(j, c, 10)
	p := h.drain(j, func(ctx context.Context, m *Message, tx *Tx) (Note, error) {
		n, err := effects(ctx, m, tx)
		if m.MessageID == "3" {
			panic("a bug")
		}
		return n, err
	})
	if diff := cmp.Diff(slices.Delete(slices.Clone(want), 3, 4), bodies(h.effects(c))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s := p.Stats(); s.Delivered != 10 || s.Flagged != 1 {
		t.Errorf("%+v", s)
	}
	h.kept(c, want[3])
}

// kept expects that a cell has one flagged message as it came.
func (h *house) kept(c querschott.Compartment, body string) {
	h.t.Helper()
	store := h.cells[c.Insurer]
	flags, err := Flags(store, c, 10)
	if err != nil || len(flags) != 1 || len(flags[0].Findings) != 1 {
		h.t.Fatalf("flags %+v, %v", flags, err)
	}
	keys, err := h.ring.Unlock(c)
	if err != nil {
		h.t.Fatal(err)
	}
	value, _, err := cell.NewVault(store, c, keys[c]).GetRecord("", RecordName(flags[0].Seq))
	if err != nil {
		h.t.Fatal(err)
	}
	about, message, err := ParseStored(value)
	if err != nil || string(message) != body || about.Seq != flags[0].Seq {
		h.t.Errorf("kept %q, %+v, %v", message, about, err)
	}
}

// A message that its handler refuses for ever does not hold up those behind it for ever. A cell that fails does: that is
// not the message's fault.
func TestPoisonousMessage(t *testing.T) {
	h := newHouse(t, 1)
	c := h.cs[0]
	j := h.journal(mem(crashdisk.New()))
	defer h.close(j)
	want := h.fill(j, c, 10)
	sick := true
	poison := func(ctx context.Context, m *Message, tx *Tx) (Note, error) {
		if sick || m.MessageID == "3" {
			return Note{}, errors.New("cannot")
		}
		return effects(ctx, m, tx)
	}
	p := h.pump(j, poison)
	if err := p.OpenAll(h.all(1)); err != nil {
		t.Fatal(err)
	}
	ch := p.chambers[c]
	turn := func() {
		ch.mu.Lock()
		keys, tries := ch.keys, ch.tries
		ch.mu.Unlock()
		if err := p.turn(t.Context(), ch, keys, 1, tries); err != nil {
			ch.mu.Lock()
			ch.tries++
			ch.mu.Unlock()
		} else {
			ch.mu.Lock()
			ch.tries = 0
			ch.mu.Unlock()
		}
	}
	for range 3 * patience {
		turn()
	}
	if got := p.Stats().Delivered; got != 0 {
		t.Errorf("%d messages were given up although none passes", got)
	}
	sick = false
	turn() // the head alone
	turn() // those before the poisonous one
	if got := p.Stats().Delivered; got != 3 {
		t.Errorf("%d delivered, want the 3 before", got)
	}
	for range patience + 2 {
		turn()
	}
	if diff := cmp.Diff(slices.Delete(slices.Clone(want), 3, 4), bodies(h.effects(c))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h.kept(c, want[3])
}

// A commit that failed after it was done is not done again.
func TestFailedCommits(t *testing.T) {
	for name, f := range map[string]celltest.Failure{"done": celltest.Done, "undone": celltest.Undone} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, 1)
			j := h.journal(mem(crashdisk.New()))
			defer h.close(j)
			want := h.fill(j, h.cs[0], 100)
			h.memory(0).FailNext(f)
			p := h.drain(j, effects)
			if diff := cmp.Diff(want, bodies(h.effects(h.cs[0]))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if s := p.Stats(); s.Delivered != 100 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Nothing reaches a cell that the ledger has not.
func TestLedgerBeforeCell(t *testing.T) {
	h := newHouse(t, 1)
	j := h.journal(mem(crashdisk.New()))
	defer h.close(j)
	want := h.fill(j, h.cs[0], 100)
	broken, recorded := true, map[uint64]bool{}
	h.record = func(_ context.Context, list []Delivery) error {
		if broken {
			broken = false
			return errors.New("the ledger has no room")
		}
		for _, d := range list {
			recorded[d.Seq] = true
		}
		return nil
	}
	h.memory(0).Inject(func(*cell.Batch) celltest.Failure {
		if len(recorded) == 0 {
			t.Error("committed before it was recorded")
		}
		return celltest.None
	})
	h.drain(j, effects)
	got := h.effects(h.cs[0])
	if diff := cmp.Diff(want, bodies(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, e := range got {
		if !recorded[e.seq] {
			t.Errorf("message %d is in the cell and not in the ledger", e.seq)
		}
	}
}

// A ledger that hangs does not keep a door from closing.
func TestClosingCancelsTheLedger(t *testing.T) {
	h := newHouse(t, 1)
	j := h.journal(mem(crashdisk.New()))
	defer h.close(j)
	h.fill(j, h.cs[0], 1)
	inside := make(chan struct{})
	h.record = func(ctx context.Context, _ []Delivery) error {
		close(inside)
		<-ctx.Done()
		return ctx.Err()
	}
	p := h.pump(j, effects)
	defer run(p)()
	if err := p.Obey(t.Context(), h.cs[0], 1, querschott.Open); err != nil {
		t.Fatal(err)
	}
	<-inside
	if err := p.Obey(t.Context(), h.cs[0], 2, querschott.Closed); err != nil {
		t.Error(err)
	}
	if len(h.effects(h.cs[0])) != 0 || j.Waiting(h.cs[0]) != 1 {
		t.Error("something was delivered")
	}
}

// Keys that were rotated after unlocking are unlocked again; a keyring that cannot be read for a moment costs a moment.
func TestKeysAreUnlockedAgain(t *testing.T) {
	h := newHouse(t, 2)
	c := h.cs[0]
	j := h.journal(mem(crashdisk.New()))
	defer h.close(j)
	var fail atomic.Bool
	h.unlock = func(cs ...querschott.Compartment) (map[querschott.Compartment]*seal.Keys, error) {
		if fail.Load() {
			return nil, errors.New("the keyring cannot be read")
		}
		return h.ring.Unlock(cs...)
	}
	p := h.pump(j, effects)
	defer run(p)()
	fail.Store(true)
	if err := p.Obey(t.Context(), c, 1, querschott.Open); err == nil {
		t.Error("nobody is told that the keys are missing")
	}
	h.fill(j, c, 1)
	waitFor(t, func() bool { return len(p.Trouble()) == 1 })
	fail.Store(false)
	waitFor(t, func() bool { return p.Stats().Delivered == 1 })
	if err := h.ring.Rotate(c); err != nil {
		t.Fatal(err)
	}
	j.cfg.Contexts.Sweep()
	waitFor(t, func() bool { // until there is a context under the new version
		x, err := j.cfg.Contexts.For(c)
		return err == nil && x.ID[3] == 2
	})
	h.fill(j, c, 1)
	waitFor(t, func() bool { return j.Waiting(c) == 0 && len(p.Trouble()) == 0 })
	if p.KeysInMemory() != 1 {
		t.Errorf("keys of %d", p.KeysInMemory())
	}
	if err := p.Obey(t.Context(), c, 2, querschott.Hold); err != nil || p.KeysInMemory() != 0 {
		t.Errorf("%v, keys of %d in memory", err, p.KeysInMemory())
	}
}

// A cell that cannot be read at the start is tried again; it does not silently stay shut.
func TestCellThatComesLater(t *testing.T) {
	h := newHouse(t, 1)
	j := h.journal(mem(crashdisk.New()))
	defer h.close(j)
	want := h.fill(j, h.cs[0], 3)
	var there atomic.Bool
	p, err := NewPump(PumpConfig{
		Journal: j, Unlock: h.unlock, Keep: effects, Record: h.record, Now: time.Now, Log: h.log,
		Cell: func(ik querschott.IK) (cell.Store, error) {
			if !there.Load() {
				return nil, errors.New("not open")
			}
			return h.cells[ik], nil
		},
	}, h.cs)
	if err != nil {
		t.Fatal(err)
	}
	defer run(p)()
	if err := p.OpenAll(h.all(1)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return strings.Contains(p.Trouble()[h.cs[0]], "nothing can be delivered") })
	there.Store(true)
	waitFor(t, func() bool { return j.Waiting(h.cs[0]) == 0 })
	if diff := cmp.Diff(want, bodies(h.effects(h.cs[0]))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// No key stays when the pump has ended, also for orders that come later.
func TestEndedPumpHoldsNoKey(t *testing.T) {
	h := newHouse(t, 3)
	j := h.journal(mem(crashdisk.New()))
	defer h.close(j)
	p := h.pump(j, effects)
	stop := run(p)
	if err := p.OpenAll(h.all(1)); err != nil || p.KeysInMemory() != 3 {
		t.Fatal(err, p.KeysInMemory())
	}
	stop()
	if err := p.OpenAll(h.all(2)); err != nil || p.KeysInMemory() != 0 {
		t.Errorf("%v, keys of %d in memory", err, p.KeysInMemory())
	}
}

// Keep recognises a message that came before.
func TestKeepNotesDuplicates(t *testing.T) {
	h := newHouse(t, 1)
	c := h.cs[0]
	j := h.journal(mem(crashdisk.New()))
	defer h.close(j)
	for _, id := range []string{"1", "2", "1"} {
		if err := h.append(j, c, id, "body"); err != nil {
			t.Fatal(err)
		}
	}
	if s := h.drain(j, Keep).Stats(); s.Delivered != 3 || s.Duplicates != 1 {
		t.Errorf("%+v", s)
	}
	for id, want := range map[string]bool{"1": true, "2": true, "3": false} {
		if got, err := Delivered(h.cells[c.Insurer], c, BindingOf("a@b", id)); err != nil || got != want {
			t.Errorf("message %s: %v, %v", id, got, err)
		}
	}
}

// Any orders in any sequence, restarts and failing commits: the doors are obeyed, and in the end everything has arrived
// once and in order.
func TestDoorsModel(t *testing.T) {
	h := newHouse(t, 3)
	h.seg, h.body = 64<<10, 1<<10
	rapid.Check(t, func(rt *rapid.T) {
		d := crashdisk.New()
		for _, c := range h.cs {
			h.cells[c.Insurer] = celltest.NewMemory()
		}
		var p *Pump
		var stop func()
		j := h.journal(mem(d))
		epochs, open := map[querschott.Compartment]uint64{}, map[querschott.Compartment]bool{}
		begin := func() {
			p = h.pump(j, effects)
			stop = run(p)
			clear(epochs)
			clear(open)
		}
		begin()
		want := map[querschott.Compartment][]string{}
		drawn := rapid.IntRange(0, len(h.cs)-1)
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				c := h.cs[drawn.Draw(rt, "compartment")]
				body := fmt.Sprint(len(want[c]))
				if err := h.append(j, c, body, body); err != nil {
					rt.Fatal(err)
				}
				want[c] = append(want[c], body)
			},
			"order": func(rt *rapid.T) {
				c := h.cs[drawn.Draw(rt, "compartment")]
				epoch := rapid.Uint64Range(1, 20).Draw(rt, "epoch")
				state := rapid.SampledFrom([]querschott.DoorState{querschott.Open, querschott.Hold, querschott.ReadOnly, querschott.Closed}).Draw(rt, "state")
				if err := p.Obey(t.Context(), c, epoch, state); err != nil {
					rt.Fatal(err)
				}
				if epoch >= epochs[c] {
					epochs[c], open[c] = epoch, state.Delivers()
				}
			},
			"commit fails": func(rt *rapid.T) {
				i := drawn.Draw(rt, "compartment")
				h.memory(i).FailNext(rapid.SampledFrom([]celltest.Failure{celltest.Done, celltest.Undone}).Draw(rt, "how"))
			},
			"restart": func(rt *rapid.T) {
				stop()
				if err := j.Close(); err != nil {
					rt.Fatal(err)
				}
				j = h.journal(mem(d))
				begin()
			},
			"": func(rt *rapid.T) {
				n := 0
				for _, c := range h.cs {
					if open[c] {
						n++
						continue
					}
					if got, waiting := len(h.effects(c)), j.Waiting(c); got+waiting < len(want[c]) {
						rt.Fatalf("%s: %d in the cell and %d waiting of %d", c, got, waiting, len(want[c]))
					}
				}
				if got := p.KeysInMemory(); got != n {
					rt.Fatalf("keys of %d in memory, %d doors are open", got, n)
				}
			},
		})
		for i, c := range h.cs {
			h.memory(i).Inject(nil)
			if err := p.Obey(t.Context(), c, 100, querschott.Open); err != nil {
				rt.Fatal(err)
			}
		}
		waitFor(t, func() bool { return len(j.Backlogs()) == 0 })
		stop()
		for _, c := range h.cs {
			if diff := cmp.Diff(want[c], bodies(h.effects(c))); diff != "" {
				rt.Errorf("%s (-want +got):\n%s", c, diff)
			}
		}
		if err := j.Close(); err != nil {
			rt.Error(err)
		}
	})
}

// A message's contents are on no disk in the clear.
func TestNothingInTheClear(t *testing.T) {
	h := newHouse(t, 1)
	d := crashdisk.New()
	j := h.journal(mem(d))
	if _, err := j.Append(t.Context(), Arrival{
		Compartment: h.cs[0], Sender: "praxis@arzt.example", Recipient: "kasse@example", MessageID: "id-4711", Body: []byte("the secret body"),
	}); err != nil {
		t.Fatal(err)
	}
	h.close(j)
	f, err := d.Open(mem(d).path(1))
	if err != nil {
		t.Fatal(err)
	}
	all := make([]byte, h.seg)
	if _, err := f.ReadAt(all, 0); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"praxis@", "kasse@", "id-4711", "secret"} {
		if bytes.Contains(all, []byte(word)) {
			t.Errorf("%q stands there in the clear", word)
		}
	}
}
