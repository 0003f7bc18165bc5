package node

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

const slowPlan door.Plan = "10,50,100 every 24h0m0s"

// openInStages has both operators open a door under a plan.
func (r *live) openInStages(c querschott.Compartment, p door.Plan) door.Order {
	r.h.tb.Helper()
	out, err := r.Order(r.h.tb.Context(), door.Request{Compartment: c, To: querschott.Open, Reason: "test", Stages: p}, anna, r.h.signer(anna), r.h.signer(ben))
	if err != nil || out.Order == nil {
		r.h.tb.Fatalf("the door did not open in stages: %+v, %v", out, err)
	}
	return *out.Order
}

// An operator who can write the data directory gets nobody past a stage: the ledger remembers the plan.
func TestTamperedPlanMeansHold(t *testing.T) {
	h, _ := newVSDMHouse(t, 1)
	n := h.run()
	c, kept := h.compartment(0, querschott.VSDM), h.compartment(0, querschott.EAU)
	o := n.openInStages(c, slowPlan)
	n.openInStages(kept, slowPlan)
	n.stop()

	o.Epoch, o.From, o.To, o.Inverse, o.Stages = o.Epoch+1, querschott.Open, querschott.ReadOnly, querschott.Open, ""
	raw, err := note.Sign(&note.Note{Text: o.Text()}, h.signer(anna))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(h.cfg.Data, "doors", string(c.Insurer)+"-"+string(c.Service)+".order")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	n = h.run()
	if got := n.Door(c).To; got != querschott.Hold {
		t.Errorf("with an order without the plan the door is %s, want hold", got)
	}
	if o := n.Door(kept); o.To != querschott.Open || o.Stages != slowPlan || n.doors.Share(kept) != 10 {
		t.Errorf("the other door is %s, %q at %d %%", o.To, o.Stages, n.doors.Share(kept))
	}
}
