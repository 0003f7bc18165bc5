package door_test

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

var errPower = errors.New("the power is gone")

// TestCrash takes the power away at a random disk operation, several times over, with a ledger that fails with and without
// having done its work. What was acknowledged is there afterwards, or something that lets out less; and what is open has two
// signatures.
func TestCrash(t *testing.T) {
	for seed := range uint64(80) {
		rng := rand.New(rand.NewPCG(seed, 1))
		h := newHouse(t)
		d := crashdisk.New()
		acked := map[querschott.Compartment]door.Order{eau: {Compartment: eau}, vsdm: {Compartment: vsdm}}
		for range 4 {
			h.fs = d
			b := h.open()
			var left atomic.Int64
			left.Store(rng.Int64N(50))
			d.Fail(func(string, string) error {
				if left.Add(-1) < 0 {
					return errPower
				}
				return nil
			})
			h.ledger.fail = func(door.Order) (bool, error) {
				if left.Load() < 0 || rng.IntN(20) == 0 {
					return rng.IntN(2) == 0, errPower
				}
				return true, nil
			}
			tried := map[querschott.Compartment][]door.Order{}
			for left.Load() >= 0 {
				o, err := moveAtRandom(h, b, rng)
				switch {
				case o.Actor == "": // nothing was to be moved
				case err == nil:
					acked[o.Compartment], tried[o.Compartment] = o, nil
				default:
					tried[o.Compartment] = append(tried[o.Compartment], o)
				}
			}
			d = d.Crash(rng)
			h.fs = d
			b = h.open()
			for c, was := range acked {
				acked[c] = h.afterCrash(seed, b, was, tried[c])
			}
		}
		h.ledger.check(t)
	}
}

// moveAtRandom returns the order that was tried, and what came of it.
func moveAtRandom(h *house, b *door.Book, rng *rand.Rand) (door.Order, error) {
	r := request([]querschott.Compartment{eau, vsdm}[rng.IntN(2)], querschott.DoorState(rng.IntN(4)))
	if rng.IntN(2) == 0 {
		r.To = querschott.Open
	}
	out, err := b.Set(context.Background(), r, keys()["anna"])
	if out.Order != nil {
		return *out.Order, err
	}
	if out.Proposal == nil {
		return door.Order{}, err
	}
	cur, _ := b.Current(r.Compartment)
	o := door.Order{Compartment: r.Compartment, Epoch: cur.Epoch + 1, From: cur.To, To: r.To, Actor: "anna", Approver: "bob"}
	out, err = b.Approve(context.Background(), out.Proposal.ID, keys()["bob"])
	if now, _ := b.Current(r.Compartment); (out.Order != nil) != (now.Epoch == o.Epoch) {
		h.t.Fatalf("the approval says %+v, %v, the door is %+v", out, err, now)
	}
	if out.Order != nil {
		o = *out.Order
	}
	return o, err
}

// afterCrash checks what a door was found as and returns it.
func (h *house) afterCrash(seed uint64, b *door.Book, was door.Order, tried []door.Order) door.Order {
	h.t.Helper()
	c := was.Compartment
	o, _ := b.Current(c)
	allowed := false
	for _, a := range append(tried, was) {
		allowed = allowed || !door.Widens(c.Service, a.To, o.To) && (a.To != querschott.Closed || o.To == querschott.Closed)
	}
	if !allowed || o.Epoch < was.Epoch {
		h.t.Fatalf("seed %d: acknowledged %+v, tried %+v, found %+v", seed, was, tried, o)
	}
	if o.To == querschott.Open && (o.Approver == "" || o.Approver == o.Actor) {
		h.t.Fatalf("seed %d: open with one signature: %+v", seed, o)
	}
	return o
}

// TestUntrustedFiles puts every kind of wrong file in the place of a door's order.
func TestUntrustedFiles(t *testing.T) {
	const file = "doors/109500969-vsdm.order"
	later := func(from, to querschott.DoorState) func(door.Order) door.Order {
		return func(o door.Order) door.Order {
			o.Epoch, o.From, o.To, o.Inverse, o.Actor = o.Epoch+1, from, to, from, "anna"
			return o
		}
	}
	const hold, open, readOnly = querschott.Hold, querschott.Open, querschott.ReadOnly
	for name, forge := range map[string]func(h *house, o door.Order, raw []byte) []byte{
		"empty":     func(*house, door.Order, []byte) []byte { return nil },
		"zeros":     func(*house, door.Order, []byte) []byte { return make([]byte, 512) },
		"huge":      func(_ *house, _ door.Order, raw []byte) []byte { return append(raw, strings.Repeat("\n", 9000)...) },
		"unsigned":  func(_ *house, o door.Order, _ []byte) []byte { return []byte(o.Text()) },
		"strangers": func(h *house, o door.Order, _ []byte) []byte { return h.signed(o, "stranger", "other stranger") },
		"one operator": func(h *house, o door.Order, _ []byte) []byte {
			return h.signed(later(hold, open)(o), "anna")
		},
		"one operator with two keys": func(h *house, o door.Order, _ []byte) []byte {
			return h.signed(later(hold, open)(o), "anna", "anna card")
		},
		"one operator and the platform": func(h *house, o door.Order, _ []byte) []byte {
			return h.signed(later(hold, open)(o), "anna", "querschott")
		},
		"one operator and a stranger": func(h *house, o door.Order, _ []byte) []byte {
			return h.signed(later(hold, open)(o), "anna", "stranger")
		},
		"a narrowing of what the door is not": func(h *house, o door.Order, _ []byte) []byte {
			return h.signed(later(open, readOnly)(o), "anna")
		},
		"no move":     func(h *house, o door.Order, _ []byte) []byte { return h.signed(later(open, open)(o), "anna", "bob") },
		"wrong first": func(h *house, o door.Order, _ []byte) []byte { return h.signed(later(hold, open)(o), "bob", "anna") },
		"foreign": func(h *house, o door.Order, _ []byte) []byte {
			o.Compartment = eau
			return h.signed(later(hold, open)(o), "anna", "bob")
		},
		"not a text that we write": func(h *house, o door.Order, _ []byte) []byte {
			text := strings.Replace(later(hold, open)(o).Text(), "epoch ", "epoch 0", 1)
			return resign(h, text, "anna", "bob")
		},
	} {
		for _, state := range []querschott.DoorState{querschott.Hold, querschott.Closed} {
			for _, remembered := range []bool{true, false} {
				h := newHouse(t)
				b := h.open()
				h.widen(b, request(vsdm, open))
				o := h.narrow(b, "carol", vsdm, state)
				raw := h.readFile(file)
				h.writeFile(file, forge(h, o, raw))
				cfg := h.config()
				want := state // the ledger says so
				if !remembered {
					cfg.Last, want = nil, hold
				}
				again, err := door.Open(cfg)
				if err != nil {
					t.Fatal(err)
				}
				if got := again.State(vsdm); got != want {
					t.Errorf("%s, instead of %s, ledger %v: the door is %s, want %s", name, state, remembered, got, want)
				}
			}
		}
	}
}

func resign(h *house, text string, who ...string) []byte {
	o, _ := door.ParseOrder(text)
	raw := h.signed(o, who...)
	_, sigs, _ := strings.Cut(string(raw), "\n\n")
	return []byte(text + "\n" + sigs)
}

// TestDamagedFile cuts an opening's file at every length and flips a bit in every byte: it is the same order or none.
func TestDamagedFile(t *testing.T) {
	const file = "doors/109500969-eau.order"
	h := newHouse(t)
	h.widen(h.open(), request(eau, querschott.Open))
	raw := h.readFile(file)
	want, _ := h.open().Current(eau)
	if want.To != querschott.Open {
		t.Fatalf("undamaged: %+v", want)
	}
	damaged := func(name string, at int, bytes []byte) {
		h.writeFile(file, bytes)
		if o, _ := h.open().Current(eau); o != want && o.To != querschott.Hold {
			t.Errorf("%s at %d: %+v", name, at, o)
		}
	}
	for i := range raw {
		damaged("cut", i, raw[:i])
		flipped := append([]byte(nil), raw...)
		flipped[i] ^= 1 << (i % 8)
		damaged("flipped", i, flipped)
	}
}

// TestUnrecordedOpening restores the file of an opening that two people have signed and that never came into force.
func TestUnrecordedOpening(t *testing.T) {
	const file = "doors/109500969-eau.order"
	h := newHouse(t)
	b := h.open()
	o, err := b.Draft(request(eau, querschott.Open), "anna")
	if err != nil {
		t.Fatal(err)
	}
	h.writeFile(file, h.signed(o, "anna", "bob"))
	if got := h.open().State(eau); got != querschott.Hold {
		t.Errorf("never recorded: the door is %s", got)
	}
	h.narrow(b, "carol", eau, querschott.Closed) // takes epoch 1
	h.writeFile(file, h.signed(o, "anna", "bob"))
	if got := h.open().State(eau); got != querschott.Closed {
		t.Errorf("overtaken by a closing: the door is %s", got)
	}
	o.From, o.To, o.Inverse = querschott.Open, querschott.Hold, querschott.Open
	h.writeFile(file, h.signed(o, "anna"))
	if got := h.open().State(eau); got != querschott.Closed {
		t.Errorf("a hold of the closing's epoch: the door is %s", got)
	}
}

// TestOpeningFailsOnDisk has the disk fail when the opening's file is already in its place. Who approved is told that the door
// stays on hold, so it is on hold after a restart too.
func TestOpeningFailsOnDisk(t *testing.T) {
	h := newHouse(t)
	b := h.open()
	h.narrow(b, "carol", eau, querschott.Closed)
	h.narrow(b, "carol", eau, querschott.Hold)
	out, err := b.Set(t.Context(), request(eau, querschott.Open), keys()["anna"])
	if err != nil {
		t.Fatal(err)
	}
	var failed atomic.Bool
	h.fs.(*crashdisk.Disk).Fail(func(op, _ string) error {
		if op == "syncdir" && !failed.Swap(true) {
			return errPower
		}
		return nil
	})
	if _, err := b.Approve(t.Context(), out.Proposal.ID, keys()["bob"]); !errors.Is(err, errPower) || b.State(eau) != querschott.Hold {
		t.Errorf("got %v and a door that is %s", err, b.State(eau))
	}
	if got := h.open().State(eau); got != querschott.Hold {
		t.Errorf("after a restart the door is %s", got)
	}
	if _, err := b.Approve(t.Context(), out.Proposal.ID, keys()["bob"]); err != nil || b.State(eau) != querschott.Open {
		t.Errorf("the second try: %v and a door that is %s", err, b.State(eau))
	}
	if got := h.open().State(eau); got != querschott.Open {
		t.Errorf("after another restart the door is %s", got)
	}
	if _, err := h.fs.Open("doors/109500969-eau.proposal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the proposal's file is still there: %v", err)
	}
	h.ledger.check(t)
}

// TestRestartRecords restarts while the ledger lacks a closing, also one that has defeated a recorded opening of the same epoch.
func TestRestartRecords(t *testing.T) {
	for _, overtakes := range []bool{false, true} {
		h := newHouse(t)
		b := h.open()
		if overtakes {
			o, err := b.Draft(request(eau, querschott.Open), "anna")
			if err != nil {
				t.Fatal(err)
			}
			o.Approver = "bob"
			if err := h.ledger.Record(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
		h.ledger.fail = func(door.Order) (bool, error) { return false, errPower }
		out, err := b.Set(t.Context(), request(eau, querschott.Closed), keys()["carol"])
		if out.Order == nil || err == nil {
			t.Fatalf("got %+v, %v", out, err)
		}
		h.ledger.fail = nil
		b = h.open()
		if o, _ := b.Current(eau); o != *out.Order {
			t.Errorf("after a restart: %+v, want %+v", o, *out.Order)
		}
		h.narrow(b, "carol", eau, querschott.Hold)
		if l := h.ledger.of(eau); len(l) < 2 || l[len(l)-2] != *out.Order {
			t.Errorf("the ledger has %+v", l)
		}
	}
}
