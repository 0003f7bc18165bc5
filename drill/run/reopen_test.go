package run

import (
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/node"
)

// What is seen of doors becomes stages, falls and a count of those that are open to everybody.
func TestClimb(t *testing.T) {
	one, other := querschott.Compartment{Insurer: "109500969", Service: querschott.Desk}, querschott.Compartment{Insurer: "109500969", Service: querschott.EAU}
	c := newClimb(2)
	see := func(k querschott.Compartment, to querschott.DoorState, p door.Plan, share, second int) {
		c.note(k, node.DoorView{Order: door.Order{To: to, Stages: p}, Share: share}, c.begin.Add(time.Duration(second)*time.Second))
	}
	see(one, querschott.Closed, "", 100, 0) // not open yet: no stage
	for i, share := range []int{10, 10, 50, 10, 50, 100} {
		see(one, querschott.Open, reopenPlan, share, i+1)
	}
	see(other, querschott.Open, reopenPlan, 10, 4)
	see(other, querschott.Open, "", 100, 5) // not under the plan
	if len(c.r.FellBack) != 2 || c.r.FellBack[0] != (Fall{one.String(), 50, 10, 4}) || c.r.FellBack[1] != (Fall{other.String(), 10, 0, 5}) {
		t.Errorf("falls: %+v", c.r.FellBack)
	}
	if s := c.r.Stages; s[0] != (Stage{10, 2, 1, 4}) || s[1] != (Stage{50, 1, 3, 3}) || s[2] != (Stage{100, 1, 6, 6}) {
		t.Errorf("stages: %+v", s)
	}
	if c.whole() != 1 {
		t.Errorf("%d doors are open to everybody", c.whole())
	}
}
