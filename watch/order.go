package watch

import (
	"slices"
	"time"

	"github.com/querschott/querschott"
)

// order follows the numbers of each gate's events. It finds events that come twice, and numbers that never come.
type order struct {
	gates map[string]*gateLog
	lost  uint64 // numbers that never came, all gates together
	holes uint64 // of these, out of streams that were whole before
	found []gap  // not yet told
}

// gap is numbers of a gate that never came.
type gap struct {
	gate string
	at   time.Time
	lost uint64
	from uint64
}

// reorder is how far the numbers of one gate may be out of order.
const reorder = 1024

// maxGates bounds the gates that are followed; the numbers of others are not looked at.
const maxGates = 4096

type gateLog struct {
	name   string
	top    uint64          // highest number so far
	ring   [reorder]uint64 // hash of the event that had the number, by number modulo reorder; 0: not seen
	base   uint64          // numbers up to here are judged
	streak uint64          // numbers judged since the last gap
	marked uint64          // highest number when the last ten minutes ended
	whole  bool            // so many numbers came in a row once that a gap is news
}

func newOrder() *order { return &order{gates: map[string]*gateLog{}} }

// take reports whether an event is seen for the first time.
func (o *order) take(e *querschott.Access) bool {
	g := o.gates[e.Gate]
	if g == nil {
		if len(o.gates) >= maxGates {
			return true
		}
		g = &gateLog{name: e.Gate, base: e.Seq - 1, top: e.Seq - 1}
		o.gates[e.Gate] = g
	}
	h := hash(e.RequestID, e.Person, e.Outcome, string(e.Credential)) ^ uint64(e.Time.UnixNano()) | 1
	switch {
	case e.Seq+reorder <= g.top || e.Seq == 1 && g.top > 1 && g.ring[1] != h:
		o.close(g, g.top, e.Time) // the gate's process began anew
		g.ring = [reorder]uint64{}
		g.base, g.top, g.streak, g.marked = e.Seq-1, e.Seq-1, 0, 0
	case e.Seq <= g.top:
		at := &g.ring[e.Seq%reorder]
		if *at == h {
			return false
		}
		if e.Seq <= g.base { // before the first number that was seen, or already judged as lost
			return true
		}
		*at = h
		return true
	}
	if e.Seq > reorder {
		o.close(g, e.Seq-reorder, e.Time)
	}
	for n := max(g.top+1, e.Seq-min(e.Seq, reorder-1)); n < e.Seq; n++ {
		g.ring[n%reorder] = 0
	}
	g.ring[e.Seq%reorder] = h
	g.top = e.Seq
	return true
}

// settle judges everything before an event of a stream that brings numbers in their order: what it has left out never comes.
func (o *order) settle(e *querschott.Access) {
	if g := o.gates[e.Gate]; g != nil && e.Seq == g.top && g.base+1 < e.Seq {
		g.whole = true
		o.close(g, e.Seq-1, e.Time)
	}
}

// mark judges what is older than ten minutes: it will not come any more.
func (o *order) mark(now time.Time) {
	for _, g := range o.names() {
		o.close(g, g.marked, now)
		g.marked = g.top
	}
}

// close judges the numbers up to and including to: each must have come.
func (o *order) close(g *gateLog, to uint64, at time.Time) {
	if to <= g.base {
		return
	}
	lost, from := uint64(0), uint64(0)
	n := g.base + 1
	for ; n <= to && n <= g.top; n++ {
		if g.ring[n%reorder] == 0 {
			if lost++; from == 0 {
				from = n
			}
		}
	}
	if to > g.top { // a jump: nothing between came
		if from == 0 {
			from = g.top + 1
		}
		lost += to - g.top
	}
	passed := to - g.base - lost
	g.base = to
	if lost == 0 {
		g.streak += passed
		g.whole = g.whole || g.streak >= whole
		return
	}
	o.lost += lost
	if g.whole {
		o.holes += lost
	}
	if g.streak >= whole && len(o.found) < maxGates {
		o.found = append(o.found, gap{g.name, at, lost, from})
	}
	g.streak = 0
}

// whole is how many numbers in a row make a stream one without gaps. A recording that somebody cut down to one service has
// gaps everywhere; they are counted, but no news.
const whole = 500

// names returns the gates in the order of their names.
func (o *order) names() []*gateLog {
	list := make([]*gateLog, 0, len(o.gates))
	for _, g := range o.gates {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *gateLog) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return list
}
