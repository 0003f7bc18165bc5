package node

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/incident"
	"github.com/querschott/querschott/scope"
)

// A stolen credential reads one person after the other. The cap stops it at the person; then it is held, whatever it asks
// for, and so is whoever stands behind it. Nobody else is.
func TestAStolenCredentialIsHeld(t *testing.T) {
	h, m := newDeskHouse(t)
	n := h.run()
	n.openAll()
	const persons = 25
	for k := range persons {
		if _, err := n.PutInsured(h.compartment(0, querschott.VSDM), h.world.MasterData(h.person(0, k))); err != nil {
			t.Fatal(err)
		}
	}
	thief, colleague := n.clerk(m, 0, "c.mueller"), n.clerk(m, 0, "d.schulz")
	read := func(c *clerk, k int) int {
		return c.ask(t.Context(), "/desk/v1/person/", c.insurer, map[string]string{
			"reason": fmt.Sprintf("case:VG-%d", 100+k), "person": h.person(0, k).Number.Reveal(),
		}).Status
	}
	reached := 0
	for k := range persons {
		if read(thief, k) == http.StatusOK {
			reached++
		}
	}
	if reached != 20 {
		t.Errorf("%d persons were reached, the cap is 20", reached)
	}
	h.until("the credential is held", func() bool { return read(thief, 0) == http.StatusForbidden })
	thief.key, thief.change = newKey(t), nil // another key, the same employee
	if got := read(thief, 0); got != http.StatusForbidden {
		t.Errorf("with another key: %d", got)
	}
	if got := read(colleague, 0); got != http.StatusOK {
		t.Errorf("a colleague: %d", got)
	}
	runs := n.contain.engine.Runs()
	if len(runs) == 0 || runs[len(runs)-1].Deeds[0].State != contain.Done || runs[len(runs)-1].Deeds[0].Action.Kind != contain.HoldCredential {
		t.Fatalf("what was done: %+v", runs)
	}
	held := 0
	for _, v := range n.Denied() {
		if v.Until.After(time.Now().Add(23*time.Hour)) && (v.Dimension == ident.ByActor || v.Dimension == ident.ByCredential) {
			held++
		}
	}
	if held != 2 {
		t.Errorf("the deny list is %+v", n.Denied())
	}
	heldAgain := func(after string) {
		k := 0
		h.until("who goes on "+after+" is held again", func() bool {
			k++
			read(thief, k%persons)
			return len(n.Denied()) == 2
		})
	}
	if err := n.Admit(t.Context(), "anna", n.Denied()...); err != nil {
		t.Fatal(err)
	}
	heldAgain("after somebody let him in by mistake")
	var last contain.Run
	h.until("the second run", func() bool {
		list := n.contain.engine.Runs()
		i := slices.IndexFunc(list, func(r contain.Run) bool { return r.ID != runs[len(runs)-1].ID && r.Deeds[0].State == contain.Done })
		if i >= 0 {
			last = list[i]
		}
		return i >= 0
	})
	if err := n.denied.Remove(n.denied.List()...); err != nil { // as if the time were over
		t.Fatal(err)
	}
	if _, err := n.undoDeed(t.Context(), &last, last.Deeds[0], ""); err != nil {
		t.Fatal(err)
	}
	heldAgain("after his time was over")
	n.stop() // before anybody has asked whom it reached
	n = h.run()
	var found []incident.Entry
	h.until("whom it reached", func() bool {
		c, err := n.cases.book.Case(runs[len(runs)-1].Case)
		found = nil
		if err == nil {
			found = reachOf(c)
		}
		return len(found) > 0
	})
	e := found[0].Evidence
	if len(found) != 1 || e.Grade != scope.GradeReached || *e.Bounds != (scope.Bounds{Lower: 20, Best: 20, Upper: 20}) || e.Insurer != h.world.Insurers()[0].IK {
		t.Errorf("the incident says of its reach: %+v", found)
	}
}
