package crowd

import (
	"time"

	"github.com/querschott/querschott"
)

// Delivery is the way from the gates to the detectors: one event in twenty comes twice, somewhat late, with a wrong clock, or
// all events of a gate come together after a while. It is used by one goroutine.
type Delivery struct {
	seed  uint64
	tell  func(*querschott.Access)
	seq   map[string]uint64
	n     uint64
	late  []querschott.Access // some seconds, by when they come
	stall []querschott.Access // events of the gate that does not get through
	hour  int64
	gate  string // that does not get through in this hour
	last  string // that did not get through last
	until time.Time
}

// NewDelivery makes a delivery to a detector.
func NewDelivery(seed uint64, tell func(*querschott.Access)) *Delivery {
	return &Delivery{seed: seed, tell: tell, seq: map[string]uint64{}}
}

const (
	share2 = 0.02             // of events come twice, and as many late
	shareW = 0.01             // of events have a wrong clock
	stalls = 0.005            // of hours begin with a gate that does not get through
	stalln = 25 * time.Minute // for so long
)

// Send numbers an event and tells it, sooner or later. An unseen one only takes its number.
func (d *Delivery) Send(a *querschott.Access, unseen bool) {
	d.seq[a.Gate]++
	a.Seq = d.seq[a.Gate]
	d.n++
	if unseen {
		return
	}
	d.clock(a.Time)
	if d.gate == a.Gate {
		d.stall = append(d.stall, *a)
		return
	}
	dice := throw(d.seed, 'd', d.n)
	switch x := dice.share(); {
	case x < share2:
		d.say(a)
		d.say(a)
	case x < 2*share2:
		d.late = append(d.late, *a)
	case x < 2*share2+shareW:
		a.Time = a.Time.Add(time.Duration(dice.n(120_000)-60_000) * time.Millisecond)
		d.say(a)
	default:
		d.say(a)
	}
	if len(d.late) > 0 && a.Time.Sub(d.late[0].Time) > 10*time.Second || len(d.late) > 64 {
		d.say(&d.late[0])
		d.late = d.late[1:]
	}
}

func (d *Delivery) say(a *querschott.Access) {
	d.tell(a)
}

// Stalled reports whether a gate does not get through, or did not a moment ago: its silence is a fact.
func (d *Delivery) Stalled(gate string, now time.Time) bool {
	return gate != "" && gate == d.last && now.Sub(d.until) < 30*time.Minute
}

// clock begins and ends the times in which a gate does not get through.
func (d *Delivery) clock(now time.Time) {
	if h := now.Unix() / 3600; h != d.hour {
		d.hour = h
		if dice := throw(d.seed, 'h', uint64(h)); d.gate == "" && dice.chance(stalls) {
			d.gate = gates[dice.n(len(gates))]
			d.last, d.until = d.gate, now.Add(stalln)
		}
	}
	if d.gate != "" && now.Unix()%3600 >= int64(stalln/time.Second) {
		d.gate = ""
		d.release()
	}
}

func (d *Delivery) release() {
	for i := range d.stall {
		d.say(&d.stall[i])
	}
	d.stall = d.stall[:0]
}

// Close tells what is under way.
func (d *Delivery) Close() {
	d.release()
	for i := range d.late {
		d.say(&d.late[i])
	}
	d.late = nil
}
