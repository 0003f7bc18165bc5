package watch

import (
	"time"
)

// shared is R1: one reason given for very many persons. A case has a family, a call has a caller; what explains hundreds is a
// mass access and has to be registered as a job. It does not judge what several actors work on together: that is a
// campaign which somebody forgot to register, and its ceiling is a question for its owner.
type shared struct {
	trails *table[reasonTrail]
	users  *table[distinct] // who gave the reason, by reason
}

// reasonTrail is the reasons that one actor gave today: the persons behind the one it gave last most often.
type reasonTrail struct {
	day  int
	by   map[uint64]*distinct
	told bool
}

const (
	reasonPersons = 40  // persons behind one reason of one actor in a day
	reasonUsers   = 3   // actors from which on it is a common task
	reasonsHeld   = 400 // reasons of one actor and day that are looked at
)

func newShared(keys int) *shared {
	return &shared{trails: newTable[reasonTrail](keys / 8), users: newTable[distinct](keys / 8)}
}

func (*shared) Name() string { return "R1" }

func (d *shared) Stats() Stats {
	s, u := d.trails.stats(), d.users.stats()
	return Stats{s.Keys + u.Keys, s.Evicted} // a forgotten reason only loses its other users
}

func (d *shared) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *shared) Observe(e *Event, to []Alarm) []Alarm {
	if e.Result != Reached || e.Subject == 0 || !e.Explained || e.Job || !reasons(e.Role) {
		return to
	}
	t := d.trails.get(e.Who)
	if t.day != e.Day {
		t.day, t.told = e.Day, false
		clear(t.by)
	}
	r := hash(e.ReasonRef)
	s := t.by[r]
	if s == nil {
		if len(t.by) >= reasonsHeld {
			return to
		}
		if t.by == nil {
			t.by = map[uint64]*distinct{}
		}
		s = &distinct{}
		t.by[r] = s
	}
	if !s.add(e.Subject) || s.count() < 2 {
		return to
	}
	u := d.users.get(e.ReasonRef)
	if u.count() < reasonUsers {
		u.add(hash(e.Who))
	}
	if n := s.count(); !t.told && n > reasonPersons && u.count() < reasonUsers {
		t.told = true
		to = append(to, e.alarm("R1", "one-reason-many-persons", Statistical, Medium, Number{"persons", float64(n), "persons/day"},
			Number{"limit", reasonPersons, "persons/day"}, Number{"actors", float64(u.count()), "actors"}))
	}
	return to
}

// cases is R2: how many different reasons an actor gives in a day, against its past and its peers. Whoever forges a reason
// for each person reaches nobody without one, but cannot help giving many.
type cases struct {
	profiler *profiler
	today    *table[caseTrail]
	calendar calendar
	day      int
}

type caseTrail struct {
	day  int
	seen distinct
}

// caseRule: days differ more in how much is done than in how much of it lacks a reason, so the deviation is wider. One
// day alone says nothing: a campaign gives a reason for each person, too.
var caseRule = rule{
	k: 1.75, h: 12, oneFloor: 600, oneSD: 20, oneTimes: 10, relative: 0.25, least: 60, ownDays: 10, others: 8, share: 1.5,
}

func newCases(keys int) *cases {
	return &cases{profiler: newProfiler(caseRule, keys), today: newTable[caseTrail](keys)}
}

func (*cases) Name() string { return "R2" }

func (d *cases) Stats() Stats { return d.profiler.keys.stats() }

func (d *cases) Observe(e *Event, to []Alarm) []Alarm {
	if e.Result != Reached || !e.Explained || e.Job || !reasons(e.Role) {
		return to
	}
	d.day = e.Day
	f := d.profiler.open(e.Who, e, peerGroup)
	t := d.today.get(e.Who)
	if t.day != e.Day {
		t.seen.reset()
		t.day = e.Day
	}
	if !t.seen.add(hash(e.ReasonRef)) {
		return to
	}
	v := d.profiler.add(f, 1)
	if v.cause == "" {
		return to
	}
	return append(to, e.alarm("R2", "reasons-"+v.cause, Statistical, Medium, v.numbers(&caseRule, "reasons")...).since(f.first, f.events))
}

func (d *cases) Tick(now time.Time, to []Alarm) []Alarm {
	e := Event{At: now}
	d.calendar.set(&e)
	if e.Day > d.day && d.day != 0 {
		d.profiler.close(func(*profile) {})
		d.day = e.Day
	}
	return to
}
