package node

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/internal/wait"
	"github.com/querschott/querschott/ledger"
)

// TestBreakGlassWithAndWithoutNode: two of the five shares shut a door over the socket of a running node, and of one that is
// down when it starts. The page with its login is not there at all.
func TestBreakGlassWithAndWithoutNode(t *testing.T) {
	h := newHouse(t, 1, func(c *Config) { c.Console.Listen = "" })
	list, err := NewBreakGlass(h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewBreakGlass(h.cfg); err == nil {
		t.Error("a second key takes the place of the first")
	}
	if _, err := BreakGlassSigner(h.cfg, list[0], list[0]); err == nil {
		t.Error("one share is enough")
	}
	key, err := BreakGlassSigner(h.cfg, list[4], list[1])
	if err != nil {
		t.Fatal(err)
	}
	c := h.compartment(0, querschott.EAU)
	order := func(to querschott.DoorState) (Moved, bool, error) {
		return breakGlass(context.Background(), h.cfg, DraftRequest{Compartment: c, To: to, Reason: "attack"}, key, time.Hour)
	}
	n := h.run()
	if m, deferred, err := order(querschott.Closed); err != nil || deferred || m.Order == nil || n.Door(c).To != querschott.Closed {
		t.Fatalf("with the node: %+v, %v, %v", m, deferred, err)
	}
	if m, _, err := order(querschott.Open); err != nil || m.Order != nil || m.Proposal == nil {
		t.Fatalf("opening: %+v, %v, want a proposal", m, err)
	}
	n.stop()
	if _, deferred, err := order(querschott.Hold); err != nil || !deferred {
		t.Fatalf("without the node: %v, %v", deferred, err)
	}
	if _, _, err := order(querschott.Open); err == nil {
		t.Error("an opening is left for the node")
	}
	n = h.run()
	if o := n.Door(c); o.To != querschott.Hold || o.Actor != door.BreakGlassActor || o.Epoch != 2 {
		t.Fatalf("after the start: %+v", o)
	}
	if got := strings.Count(h.log.String(), "the key for emergencies was used"); got != 3 {
		t.Errorf("%d alarms, want one for each order and one for the proposal", got)
	}
	proposed := 0
	for e, err := range n.ledger.Scan(h.origin(c.Insurer), 0, 1000) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Leaf.Kind == ledger.KindNodeChange && e.Payload != nil && e.Payload.Actor == door.BreakGlassActor {
			proposed++
		}
	}
	if proposed != 1 {
		t.Errorf("the ledger has %d entries about the proposal", proposed)
	}
	if m, ok := n.ledger.LastDoors()[c]; !ok || m.Epoch != 2 {
		t.Errorf("the ledger's last entry about the door is %+v", m)
	}
	changes, done := n.Changes(8)
	defer done()
	d := DraftRequest{Compartment: c, To: querschott.Closed, Reason: "attack"}
	if err := leaveOrder(h.cfg, d, key); err != nil { // as if the socket hung
		t.Fatal(err)
	}
	select {
	case ch := <-changes:
		if ch.Order.To != querschott.Closed {
			t.Errorf("the running node did %+v", ch.Order)
		}
	case <-wait.Over(t):
		t.Error("the running node did not find the order")
	}
}
