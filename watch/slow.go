package watch

import (
	"time"

	"github.com/querschott/querschott"
)

// slow is D10, slow and low, and the half of D1 that needs a baseline: persons whom an actor reached without a reason. Each
// day's number is compared with the actor's own past, shrunk to its peers; what is above adds up over days. It is judged
// with every event, not at the end of the day.
type slow struct {
	profiler *profiler
	calendar calendar
	day      int
	limits   map[*peers]float64 // of persons in 28 days, by role
	groups   map[*peers]int     // day on which it was told last that a group's work is not linked
	pools    map[*peers]*pool
}

// pool is what the rising members of a group say together.
type pool struct {
	day   int // of the last look
	rises int // of the group then
	until int // day up to which its members' rise is about strangers
}

// slowTrail is what one actor reached without a reason.
type slowTrail struct {
	day   int
	seen  distinct    // today
	week  int         // number of the newest week
	weeks [4]distinct // by week modulo 4
	told  int         // week of the last alarm
	known *acquaintances
	far   float64 // persons of today above which nothing ordinary explains them; 0: told, or not near it
}

// slowRule: k and h let an ordinary actor cross once in some thousand days. The one-day rule stands above what a day of
// postponed paperwork brings.
var slowRule = rule{
	k: 1.5, h: 12, oneFloor: 40, oneSD: 12, oneTimes: 12, relative: 0.2, least: 8, ownDays: 5, strangers: true, others: 8, together: true, share: 1.5,
	risers: 0.2,
}

const (
	farTimes   = 2   // times the one-day limit
	monthDaily = 25  // persons of one day that count: one odd day is no habit
	monthLeast = 150 // persons in 28 days below which nobody stands out
	monthTimes = 4.5 // times what 90 % of the role stay below
)

func newSlow(sharp float64) *slow {
	return &slow{profiler: newProfiler(slowRule.sharpened(sharp)), limits: map[*peers]float64{}, groups: map[*peers]int{}, pools: map[*peers]*pool{}}
}

func (*slow) Name() string { return "D10" }

func (d *slow) Stats() Stats { return d.profiler.stats() }

func (d *slow) forget(a *actor) {
	if a.staff != nil {
		d.profiler.forget(&a.staff.slow, a.test)
	}
}

// peerGroup names whom an actor is compared with.
func peerGroup(e *Event) (group, role string) {
	role = string(e.Role) + "\x00" + e.Profession
	return role + "\x00" + string(e.Tenant), role
}

func (d *slow) Observe(e *Event, to []Alarm) []Alarm {
	if !e.needsReason() {
		return to
	}
	d.day = e.Day
	c := e.actor.clerk()
	f, t := &c.slow, &c.trail
	if f.group == nil {
		f.trail, t.known = t, &c.known
	}
	d.profiler.open(f, e, peerGroup)
	if e.Explained {
		return to
	}
	if t.day != e.Day {
		t.seen.reset()
		t.day, t.far = e.Day, 0
	}
	if !t.seen.add(e.Subject) {
		return to
	}
	k := &c.known
	if k.unexplained(e); !e.Stranger { // a person of his own work; the reference was forgotten
		return to
	}
	t.roll(e.Day)
	if t.seen.count() <= monthDaily {
		t.weeks[t.week%4].add(e.Subject)
	}
	own, strangers := k.mixture()
	away := k.away()
	strangers = strangers || !own && (away || d.pooled(f.group, e.Day))
	f.busy, f.apart = k.busy(), strangers
	v := d.profiler.add(f, 1)
	switch {
	case v.together:
		return d.unlinked(e, f.group, v, to)
	case t.far > 0 && f.value > t.far:
		t.far = 0
		return append(to, e.alarm("D10", "unexplained-far", Statistical, High, Number{"today", f.value, "persons"},
			Number{"expected", f.base, "persons"}).since(f.first, f.events))
	case v.cause == "":
		return to
	}
	t.far = farTimes * v.limit
	// What may hold somebody by itself: persons of a mixture that his work never had, or who are reached while he is away, or
	// strangers of the group's, or a second day of it within a week. Work as ever without its references is held for a day far above all others only.
	severity := Medium
	if strangers || f.rest > 0 && (!own || away || v.cause == "day") {
		severity = d.grave(f)
	}
	numbers := append(v.numbers("persons"), Number{"without_reason", k.bare, "persons/3 days"}, Number{"known_of_them", k.bareKnown, "persons/3 days"},
		Number{"known_share", k.known / max(k.all, 1), "of accesses with a reason"}, Number{"while_away", k.bareAway, "persons/3 days"})
	return append(to, e.alarm("D10", "unexplained-"+v.cause, Statistical, severity, numbers...).since(f.first, f.events))
}

// grave is how grave what somebody does may be at most. Where only his peers say what is usual, nobody is held unless he is far above
// it: one whose work is about more strangers than theirs would be, in his first busy week.
func (d *slow) grave(f *profile) Severity {
	if f.n < d.profiler.rule.ownDays {
		return Medium
	}
	return High
}

// pooled reports whether those of a group who rise have risen, within the last week, with persons who are not of their work. A process
// that is not linked is about the group's work.
func (d *slow) pooled(g *peers, day int) bool {
	if g.risen[0] < fewest && d.pools[g] == nil {
		return false
	}
	p := d.pools[g]
	if p == nil {
		p = &pool{}
		d.pools[g] = p
	}
	if g.risen[0] >= fewest && (p.day != day || g.rises-p.rises > len(g.members)/4) {
		p.day, p.rises = day, g.rises
		var list []*acquaintances
		for _, f := range g.members {
			if f.risen {
				list = append(list, f.trail.known)
			}
		}
		if strange(list) {
			p.until = day + restDays
		}
	}
	return day <= p.until
}

// unlinked tells that many of a group reach more persons without a reason than each of them used to, and whom their work is
// about: once in a week, and of nobody by name.
func (d *slow) unlinked(e *Event, g *peers, v verdict, to []Alarm) []Alarm {
	if e.Day-d.groups[g] < restDays {
		return to
	}
	d.groups[g] = e.Day
	a := e.alarm("D10", "group-unlinked", Statistical, Medium, Number{"members", float64(max(len(g.members), g.there)), "actors"},
		Number{"rising", float64(max(g.risen[0], g.risen[1])), "actors"}, Number{"common_factor", v.g, "times"})
	a.Actor, a.Credential = querschott.Actor("group:"+string(e.Tenant)+"/"+string(e.Role)), ""
	return append(to, a)
}

// roll forgets weeks that are over.
func (t *slowTrail) roll(day int) {
	w := (day + 3) / 7
	if t.week == 0 {
		t.week = w
	}
	for ; t.week < w; t.week++ {
		t.weeks[(t.week+1)%4].reset()
	}
}

// bound is at least the number of different persons in the last four weeks.
func (t *slowTrail) bound() (n int) {
	for i := range t.weeks {
		n += t.weeks[i].count()
	}
	return n
}

func (t *slowTrail) month() int {
	var all distinct
	for i := range t.weeks {
		all.merge(&t.weeks[i])
	}
	return all.count()
}

func (d *slow) Tick(now time.Time, to []Alarm) []Alarm {
	e := Event{At: now}
	d.calendar.set(&e)
	if e.Day <= d.day || len(d.profiler.present) == 0 {
		return to
	}
	bounds := map[*peers][]float64{}
	d.profiler.close(func(f *profile) {
		t := f.trail
		b := t.bound()
		bounds[f.role] = append(bounds[f.role], float64(b))
		if limit := d.limits[f.role]; limit > 0 && float64(b) > limit && t.week-t.told >= 4 {
			to = d.overMonth(f, t, limit, to)
		}
	})
	for role, list := range bounds {
		if len(list) >= crowd {
			d.limits[role] = max(monthLeast, monthTimes*quantile(list, 0.9))
		}
	}
	d.day = e.Day
	return to
}

// overMonth compares four weeks with what the role does. It finds those who were never different from themselves.
func (d *slow) overMonth(f *profile, t *slowTrail, limit float64, to []Alarm) []Alarm {
	n := float64(t.month())
	if n <= limit || f.told {
		return to
	}
	t.told = t.week
	a := *f.who
	a.Detector, a.Cause, a.Kind, a.Severity, a.Time = "D10", "unexplained-month", Statistical, Medium, time.Unix(f.last, 0).UTC()
	a.Arithmetic = []Number{{"persons", n, "persons/28 days"}, {"limit", limit, "persons/28 days"}}
	a.Events = Span{time.Unix(f.first, 0).UTC(), a.Time, f.events}
	return append(to, a)
}
