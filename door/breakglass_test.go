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
