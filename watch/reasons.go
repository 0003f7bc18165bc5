package watch

import (
	"time"
)

// shared is R1: one reason given for very many persons. A case has a family, a call has a caller; what explains hundreds is a
// mass access and has to be registered as a job. It does not judge what several actors work on together: that is a
// campaign which somebody forgot to register, and its ceiling is a question for its owner.
type shared struct {
	held  held
	users *table[distinct] // who gave the reason, by reason; only of reasons for several persons
}

// reasonTrail is the reasons that one actor gave today, a table with open addressing. R2 counts them, R1 looks at each.
type reasonTrail struct {
	day   int
	n     int
	known bool // it is counted in held
	told  bool
	by    []reasonUse
}

// given is what an event's reason was to its actor before the event.
type given struct {
	use   *reasonUse // nil: the actor gave so many today that this one is not held
	fresh bool       // it was not given today
}

// given notes the event's reason once, whichever detector asks first.
func (e *Event) given() given {
	if e.noted {
		return e.reason
	}
	t := &e.actor.clerk().reasons
	if t.day != e.Day {
		t.begin(e.Day)
	}
	reason := max(e.cause, 1)
	use := t.use(reason)
	switch {
	case use.reason != 0:
		e.reason = given{use, false}
	case t.n > reasonsHeld:
		e.reason = given{nil, true}
	default:
		*use = reasonUse{reason: reason, first: e.Subject}
		e.reason = given{use, true}
	}
	e.noted = true
	return e.reason
}

// reasonUse is for whom a reason was given.
type reasonUse struct {
	reason uint64 // 0: a free place
	first  uint64
	all    *distinct // nil: the first one only
}

const (
	reasonPersons = 40   // persons behind one reason of one actor in a day
	reasonUsers   = 3    // actors from which on it is a common task
	reasonsHeld   = 1500 // reasons of one actor and day that are looked at
)

func newShared(keys int) *shared { return &shared{users: newTable[distinct](keys / 8)} }

func (*shared) Name() string { return "R1" }

func (d *shared) Stats() Stats {
	s, u := d.held.stats(), d.users.stats()
	return Stats{s.Keys + u.Keys, s.Evicted} // a forgotten reason only loses its other users
}

func (d *shared) forget(a *actor) {
	if a.staff != nil && a.staff.reasons.known {
		d.held.drop(a)
	}
}

// use returns the entry of a reason, nil when there is no room.
func (t *reasonTrail) use(reason uint64) *reasonUse {
	if 4*(t.n+1) > 3*len(t.by) {
		if t.n >= reasonsHeld {
			return t.find(reason)
		}
		old := t.by
		t.by = make([]reasonUse, max(8, 2*len(old)))
		for i := range old {
			if old[i].reason != 0 {
				*t.find(old[i].reason) = old[i]
			}
		}
	}
	u := t.find(reason)
	if u.reason == 0 {
		t.n++
	}
	return u
}

// find returns the place of a reason, or the free one where it may be put.
func (t *reasonTrail) find(reason uint64) *reasonUse {
	mask := len(t.by) - 1
	for i := int(reason) & mask; ; i = (i + 1) & mask {
		if u := &t.by[i]; u.reason == reason || u.reason == 0 {
			return u
		}
	}
}

// begin begins another day.
func (t *reasonTrail) begin(day int) {
	if t.day, t.n, t.told = day, 0, false; len(t.by) > 256 {
		t.by = nil
	}
	clear(t.by)
}

// add notes a person and returns for how many the reason was given.
func (u *reasonUse) add(person uint64) (n int, fresh bool) {
	switch {
	case u.all != nil:
		fresh = u.all.add(person)
		return u.all.count(), fresh
	case u.first == person:
		return 1, false
	case u.first == 0: // nobody was reached with it so far
		u.first = person
		return 1, true
	}
	u.all = &distinct{}
	u.all.add(u.first)
	u.all.add(person)
	return 2, true
}

func (d *shared) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *shared) Observe(e *Event, to []Alarm) []Alarm {
	if e.Result != Reached || e.Subject == 0 || !e.Explained || e.Job || !reasons(e.Role) {
		return to
	}
	g, t := e.given(), &e.actor.clerk().reasons
	if !t.known {
		t.known = true
		d.held.keys++
	}
	if g.fresh || g.use == nil {
		return to
	}
	n, fresh := g.use.add(e.Subject)
	if !fresh || n < 2 {
		return to
	}
	u := d.users.get(e.ReasonRef)
	if u.count() < reasonUsers {
		u.add(hash(e.Who))
	}
	if !t.told && n > reasonPersons && u.count() < reasonUsers {
		t.told = true
		to = append(to, e.alarm("R1", "one-reason-many-persons", Statistical, Medium, Number{"persons", float64(n), "persons/day"},
			Number{"limit", reasonPersons, "persons/day"}, Number{"actors", float64(u.count()), "actors"}))
	}
	return to
}
