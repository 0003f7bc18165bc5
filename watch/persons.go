package watch

// persons is R3: how many different persons an actor reaches, whatever reasons it gives. Invented, copied and worn-out reasons
// all explain an access, but whoever carries off data cannot help reaching more persons than he used to: over days against
// his past and his peers, and within a quarter of an hour against his own busiest ones.
type persons struct{ daily }

// paceTrail is how fast one actor works at its busiest.
type paceTrail struct {
	day   int
	peak  int // most persons in a quarter of an hour today
	days  int
	usual float32 // what peak usually is
	told  bool
}

// personRule: as for R2, but a campaign alone is no alarm: the sum must come from several days.
var personRule = rule{
	k: 1.75, h: 15, oneFloor: 400, oneSD: 20, oneTimes: 10, relative: 0.25, least: 40, ownDays: 10, others: 8, together: true, share: 1.5,
}

const (
	paceLeast = 45 // persons in a quarter of an hour below which nobody is too fast
	paceTimes = 4  // times the usual peak
	paceDays  = 5  // days before there is a usual one
)

func newPersons() *persons { return &persons{daily{profiler: newProfiler(personRule)}} }

func (*persons) Name() string { return "R3" }

func (d *persons) forget(a *actor) {
	if a.staff != nil {
		d.profiler.forget(&a.staff.persons, a.test)
	}
}

func (d *persons) Observe(e *Event, to []Alarm) []Alarm {
	if !e.Fresh || e.Job || !reasons(e.Role) {
		return to
	}
	d.day = e.Day
	c := e.actor.clerk()
	f := &c.persons
	d.profiler.open(f, e, peerGroup)
	if v := d.profiler.add(f, 1); v.cause != "" {
		to = append(to, e.alarm("R3", "persons-"+v.cause, Statistical, Medium, v.numbers("persons")...).since(f.first, f.events))
	}
	p, n := &c.pace, int(e.actor.bulk.count[1])
	if p.day != e.Day {
		p.turn(e.Day)
	}
	if n <= p.peak {
		return to
	}
	p.peak = n
	if limit := max(paceLeast, paceTimes*p.usual); !p.told && p.days >= paceDays && float32(n) > limit {
		p.told = true
		to = append(to, e.alarm("R3", "pace", Statistical, Medium, Number{"persons", float64(n), "persons/15 min"}, Number{"limit", float64(limit), "persons/15 min"},
			Number{"usual_peak", float64(p.usual), "persons/15 min"}, Number{"own_days", float64(p.days), "days"}).since(e.Sec-900, n))
	}
	return to
}

// turn takes in the day that has ended. One odd day does not teach the next.
func (p *paceTrail) turn(day int) {
	if p.day != 0 {
		peak := float32(p.peak)
		if p.days >= paceDays {
			peak = min(peak, 2*p.usual+2)
		}
		p.days++
		p.usual += (peak - p.usual) / float32(min(p.days, 20))
	}
	p.day, p.peak, p.told = day, 0, false
}
