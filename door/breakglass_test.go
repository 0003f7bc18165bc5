package door_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

// glassHouse is a house where the stranger's key is the one for emergencies.
func glassHouse(t *testing.T) (*house, *door.Book) {
	h := newHouse(t)
	cfg := h.config()
	cfg.BreakGlass = keys()["stranger"].vkey
	b, err := door.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h, b
}

func TestBreakGlassNarrowsAndNeverOpens(t *testing.T) {
	h, b := glassHouse(t)
	ctx := context.Background()
	h.widen(b, request(vsdm, querschott.Open))
	h.ledger.fail = func(door.Order) (bool, error) { return false, errors.New("no ledger") }
	cur, _ := b.Current(vsdm)
	o := cur.Next(request(vsdm, querschott.Closed), door.BreakGlassActor, h.now().Add(-20*time.Hour))
	raw := h.signed(o, "stranger")
	if out, err := b.SubmitEmergency(ctx, raw); out.Order == nil || err == nil || b.State(vsdm) != querschott.Closed {
		t.Fatalf("without a ledger: %+v, %v; want it in force, and to hear of the ledger", out, err)
	}
	h.ledger.fail = nil
	out, err := b.Set(ctx, request(vsdm, querschott.Open), keys()["stranger"])
	if err != nil || out.Proposal == nil {
		t.Fatalf("opens: %+v, %v, want a proposal", out, err)
	}
	if out, err := b.Approve(ctx, out.Proposal.ID, keys()["stranger"]); err == nil || out.Order != nil {
		t.Fatal("the key for emergencies approves")
	}
	if out, err := b.Approve(ctx, out.Proposal.ID, keys()["anna"]); err != nil || out.Order != nil {
		t.Fatalf("one operator and the key for emergencies: %+v, %v", out, err)
	}
	if out, err := b.Approve(ctx, out.Proposal.ID, keys()["bob"]); err != nil || out.Order == nil {
		t.Fatalf("two operators: %+v, %v", out, err)
	}
	found := false
	for _, l := range h.ledger.of(vsdm) {
		found = found || l.Actor == door.BreakGlassActor && l.To == querschott.Closed
	}
	if !found {
		t.Error("the ledger has no entry of the use")
	}
	if out, err := b.SubmitEmergency(ctx, raw); err == nil || out.Order != nil {
		t.Error("an old order closes again")
	}
}

func TestBreakGlassOrdersOfOthersAreRefused(t *testing.T) {
	h, b := glassHouse(t)
	h.widen(b, request(vsdm, querschott.Open))
	cur, _ := b.Current(vsdm)
	for what, raw := range map[string][]byte{
		"an operator's": h.signed(cur.Next(request(vsdm, querschott.Closed), "anna", h.now()), "anna"),
		"forged":        h.signed(cur.Next(request(vsdm, querschott.Closed), door.BreakGlassActor, h.now()), "anna"),
		"too old":       h.signed(cur.Next(request(vsdm, querschott.Closed), door.BreakGlassActor, h.now().Add(-25*time.Hour)), "stranger"),
		"unsigned":      []byte(cur.Next(request(vsdm, querschott.Closed), door.BreakGlassActor, h.now()).Text()),
	} {
		if out, err := b.SubmitEmergency(context.Background(), raw); err == nil || out.Order != nil {
			t.Errorf("%s: %+v, %v", what, out, err)
		}
	}
	cfg := h.config()
	cfg.BreakGlass = keys()["bob"].vkey
	if _, err := door.Open(cfg); err == nil {
		t.Error("an operator's key is the one for emergencies too")
	}
}

// TestOvertakenEmergencyStillCloses leaves an order and moves the door before it is found: it closes all the same, as an order of the
// platform in the next epoch, unless somebody has let something out again after it was signed.
func TestOvertakenEmergencyStillCloses(t *testing.T) {
	h := newHouse(t)
	now := h.now()
	h.now = func() time.Time { return now }
	cfg := h.config()
	cfg.BreakGlass = keys()["stranger"].vkey
	b, err := door.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	left := func(c querschott.Compartment, to querschott.DoorState) []byte {
		cur, _ := b.Current(c)
		return h.signed(cur.Next(request(c, to), door.BreakGlassActor, now), "stranger")
	}
	h.widen(b, request(vsdm, querschott.Open))
	raw := left(vsdm, querschott.Closed)
	now = now.Add(time.Minute)
	h.narrow(b, "anna", vsdm, querschott.ReadOnly)
	now = now.Add(time.Minute)
	out, err := b.SubmitEmergency(t.Context(), raw)
	if err != nil || out.Order == nil || b.State(vsdm) != querschott.Closed {
		t.Fatalf("overtaken by a narrowing: %+v, %v, the door is %s", out, err, b.State(vsdm))
	}
	if o := out.Order; o.Actor != door.MachineActor || o.Epoch != 3 || o.Incident != "VF-2026-001" ||
		o.Reason != "ordered at 2026-11-23T13:00:00.000000Z under the key for emergencies: a test" {
		t.Errorf("the order is %+v", o)
	}
	refused := func(when string, raw []byte) {
		t.Helper()
		c, before := vsdm, b.State(vsdm)
		if out, err := b.SubmitEmergency(t.Context(), raw); err == nil || out.Order != nil || b.State(c) != before {
			t.Errorf("%s: %+v, %v", when, out, err)
		}
	}
	refused("a second time", raw)
	h.narrow(b, "anna", vsdm, querschott.Hold)
	refused("after one operator has let mail in again", raw)

	raw = left(vsdm, querschott.Closed)
	now = now.Add(time.Minute)
	h.widen(b, request(vsdm, querschott.Open))
	refused("after two operators have opened", raw)
	raw = left(vsdm, querschott.Hold)
	now = now.Add(time.Minute)
	h.narrow(b, "bob", vsdm, querschott.Closed)
	refused("hold, where the door was closed meanwhile", raw)
	h.widen(b, request(eau, querschott.Open))
	raw = left(eau, querschott.Closed)
	h.narrow(b, "anna", eau, querschott.Hold)
	now = now.Add(25 * time.Hour)
	if out, err := b.SubmitEmergency(t.Context(), raw); err == nil || out.Order != nil {
		t.Errorf("a day old: %+v, %v", out, err)
	}
}
