package watch

import "time"

// stolenLogin is D7: an employee whose credential comes from a network and with a key that were never seen, and then does
// what it never did. Each of them alone is a new laptop or a train; together they are for the analyst's list. It contains nothing.
type stolenLogin struct{ held held }

// habit is where somebody usually works from.
type habit struct {
	days     int // with at least one event
	day      int
	networks [6]uint64 // those used last; a ring
	keys     [4]uint64
	services uint8 // bits by service code
	n, k     uint8
	fresh    uint8 // signs of today
	first    int64
}

const (
	signNetwork = 1 << iota
	signKey
	signService
	signNight
)

const habitDays = 10 // days after which somebody has habits

func (*stolenLogin) Name() string { return "D7" }

func (d *stolenLogin) Stats() Stats { return d.held.stats() }

func (d *stolenLogin) forget(a *actor) {
	if a.staff != nil && a.staff.habit.days > 0 {
		d.held.drop(a)
	}
}

func (d *stolenLogin) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *stolenLogin) Observe(e *Event, to []Alarm) []Alarm {
	if e.Result != Reached || !reasons(e.Role) || e.Address == "" && e.Binding == "" {
		return to
	}
	h := &e.actor.clerk().habit
	if h.day != e.Day {
		if h.days == 0 {
			d.held.keys++
		}
		h.day, h.fresh, h.first = e.Day, 0, e.Sec
		h.days++
	}
	before := h.fresh
	if e.Address != "" && remember(h.networks[:], &h.n, hash(network(e.Address))) {
		h.fresh |= signNetwork
	}
	if e.Binding != "" && remember(h.keys[:], &h.k, hash(e.Binding)) {
		h.fresh |= signKey
	}
	if bit := uint8(1) << e.Service.Code(); h.services&bit == 0 {
		h.services |= bit
		h.fresh |= signService
	}
	if e.Minute < 5*60 || e.Minute >= 22*60 {
		h.fresh |= signNight
	}
	const both = signNetwork | signKey
	if h.days <= habitDays || h.fresh == before || h.fresh&both != both || h.fresh&(signService|signNight) == 0 {
		return to
	}
	sign := func(bit uint8) float64 {
		if h.fresh&bit != 0 {
			return 1
		}
		return 0
	}
	return append(to, e.alarm("D7", "new-network-and-key", Statistical, Low, Number{"new_network", 1, "yes=1"}, Number{"new_key", 1, "yes=1"},
		Number{"new_service", sign(signService), "yes=1"}, Number{"at_night", sign(signNight), "yes=1"},
		Number{"days_known", float64(h.days - 1), "days"}).since(h.first, 1))
}

// remember puts a value into a ring of those used last and reports whether it was not there.
func remember(ring []uint64, next *uint8, v uint64) bool {
	for _, known := range ring {
		if known == v {
			return false
		}
	}
	ring[*next] = v
	*next = (*next + 1) % uint8(len(ring))
	return true
}
