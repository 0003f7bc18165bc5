package door_test

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/internal/disk"
)

// follower is a book that decides nothing.
func (h *house) follower() *door.Book {
	h.t.Helper()
	c := h.config()
	c.Publisher = "book.example:7443"
	b, err := door.Open(c)
	if err != nil {
		h.t.Fatalf("couldn't open a book that follows: %v", err)
	}
	return b
}

// TestAdopt follows another book: its orders are in force, told to enforcers and recorded once, and ours are refused.
func TestAdopt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, there := newHouse(t), newHouse(t)
		decides := there.open()
		opened := there.widen(decides, door.Request{Compartment: vsdm, To: querschott.Open, Reason: "a test", Expires: there.now().Add(time.Hour)})
		b := h.follower()
		var told []door.Order
		b.Enforce("a gate", func(_ context.Context, o door.Order) error { told = append(told, o); return nil })
		for _, to := range []querschott.DoorState{querschott.Open, querschott.Hold, querschott.Open} { // contact is lost and found
			if err := b.Adopt(t.Context(), opened, to, 100); err != nil || b.State(vsdm) != to {
				t.Errorf("adopted as %s: %v, the door is %s", to, err, b.State(vsdm))
			}
		}
		synctest.Wait()
		if got := h.ledger.of(vsdm); len(got) != 1 || got[0] != opened {
			t.Errorf("recorded: %+v", got)
		}
		if len(told) != 3 || told[1].To != querschott.Hold || told[1].Epoch != opened.Epoch {
			t.Errorf("the enforcer was told %+v", told)
		}
		if c, ok := b.Obeyed(vsdm); !ok || c.Order.To != querschott.Open || len(c.Silent) != 0 {
			t.Errorf("obeyed: %+v, %v", c, ok)
		}
		_, err := b.Set(t.Context(), request(vsdm, querschott.Closed), keys()["anna"])
		if querschott.CodeOf(err) != querschott.CodeForbidden || b.State(vsdm) != querschott.Open {
			t.Errorf("an order here: %v, the door is %s", err, b.State(vsdm))
		}
		if _, err := b.Draft(request(vsdm, querschott.Closed), "anna"); querschott.CodeOf(err) != querschott.CodeForbidden {
			t.Errorf("a draft here: %v", err)
		}
		shut := there.narrow(decides, "bob", vsdm, querschott.Closed)
		if err := b.Adopt(t.Context(), shut, querschott.Closed, 100); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := h.follower().State(vsdm); got != querschott.Closed {
			t.Errorf("after a restart a closed door is %s", got)
		}
		if _, err := disk.ReadFile(h.fs, "doors/109500969-vsdm.order", 1<<20); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a book that follows writes files: %v", err)
		}
	})
}

// TestAdoptedClosingIsRemembered has the ledger stand still: a closing is in force at once, and acknowledged when a gate that is
// killed would remember it.
func TestAdoptedClosingIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, there := newHouse(t), newHouse(t)
		b := h.follower()
		release := make(chan struct{})
		h.ledger.before = func(door.Order) { <-release }
		adopted := make(chan error, 1)
		shut := there.narrow(there.open(), "bob", vsdm, querschott.Closed)
		go func() { adopted <- b.Adopt(t.Context(), shut, querschott.Closed, 100) }()
		synctest.Wait()
		if got := b.State(vsdm); got != querschott.Closed || len(adopted) != 0 {
			t.Errorf("while the ledger stands still the door is %s, acknowledged: %t", got, len(adopted) != 0)
		}
		close(release)
		if err := <-adopted; err != nil {
			t.Error(err)
		}
		if got := h.follower().State(vsdm); got != querschott.Closed {
			t.Errorf("killed and started again, the door is %s", got)
		}
	})
}

// TestAdoptedStages has the share of a stage, and the lowest one while it is not known.
func TestAdoptedStages(t *testing.T) {
	h := newHouse(t)
	b := h.follower()
	o := door.Order{Compartment: vsdm, Epoch: 3, To: querschott.Open, Stages: door.DefaultPlan}
	for _, share := range []int{10, 50, 100} {
		if err := b.Adopt(t.Context(), o, querschott.Open, share); err != nil || b.Share(vsdm) != share {
			t.Errorf("%v, open to %d %%, want %d", err, b.Share(vsdm), share)
		}
	}
	if err := b.Adopt(t.Context(), o, querschott.Hold, 10); err != nil || b.State(vsdm) != querschott.Hold {
		t.Errorf("%v, the door is %s", err, b.State(vsdm))
	}
}
