package watch

import (
	"fmt"
	"strings"

	"github.com/querschott/querschott"
)

// Detectors that compare with the past are shown an actor who has one: some quiet weeks, as they would hold them, and then a day that must
// be found. All of it is forgotten again before the next event.

// prover is a detector that says at the end of the day what it has found.
type prover interface {
	// proves reports whether an actor's day would be told of.
	proves(a *actor, now int64) bool
}

// past gives a profile twenty days of one value, and a sum that has begun.
func past(f *profile, value float32, sum float64) {
	for f.n = 0; f.n < 20; f.n++ {
		f.days[f.n] = value
	}
	f.next, f.c = f.n, sum
}

// seasoned are the attacks for detectors that need a past.
func (s *selfTest) seasoned() []trial {
	person := func(i int, e *querschott.Access) { e.Person = fmt.Sprintf("selftest-%d", i) }
	reason := func(i int, e *querschott.Access) { person(i, e); e.ReasonRef = e.Person }
	return []trial{
		{"D7", 1, func(_ int, e *querschott.Access) {
			e.Person, e.ReasonRef, e.Address, e.Binding = "selftest", "selftest", "selftest", "selftest"
		}, func(w *Watch, a *actor, e *Event) {
			h := &a.clerk().habit
			if d, ok := detector[*stolenLogin](w); ok {
				d.held.keys++
			}
			h.days, h.day = habitDays+10, e.Day-1
			h.networks[0], h.keys[0] = 1, 1
		}},
		{"D8", 120, func(i int, e *querschott.Access) {
			person(i, e)
			e.Role, e.Service = querschott.RolePractice, querschott.VSDM
		}, func(w *Watch, a *actor, _ *Event) {
			t := &practiceTrail{}
			for d := range t.past {
				t.n[d] = uint8(len(t.past[d]))
				for i := range t.past[d] {
					t.past[d][i] = 10
				}
			}
			a.practice = t
			if d, ok := detector[*practice](w); ok {
				d.held.keys++
			}
		}},
		{"D9", 1, func(_ int, e *querschott.Access) { e.Person = "selftest" }, func(w *Watch, a *actor, e *Event) {
			g := &a.clerk().gaze
			g.visits = append(g.visits, visit{person: e.Subject, last: e.Sec - 86400, day: int32(e.Day - 1), days: 4, times: 8})
			if d, ok := detector[*curiosity](w); ok {
				d.held.keys++
			}
		}},
		{"D10", 2 * int(slowRule.oneFloor), person, func(_ *Watch, a *actor, _ *Event) { past(&a.clerk().slow, 2, 0) }},
		{"D13", 1, func(_ int, e *querschott.Access) { e.Service, e.Person = serviceTest, "" }, func(w *Watch, _ *actor, e *Event) {
			d, ok := detector[*flood](w)
			if !ok {
				return
			}
			t := &tide{bucket: e.Sec/10 - 1, count: 2 * floodLeast, high: floodRow - 1}
			for i := range t.slots {
				t.slots[i], t.seen[i] = 10, floodKnown
			}
			d.services[serviceTest] = t
		}},
		{"D15", 5 * muleMost, func(i int, e *querschott.Access) {
			person(i, e)
			e.Actor = querschott.Actor(fmt.Sprintf("selftest-%d", i%5))
		}, func(w *Watch, a *actor, e *Event) {
			if d, ok := detector[*mules](w); ok && d.groups[muleGroup{e.Tenant, roleTest}] == nil {
				if sum := d.sum(e, &a.clerk().mule); sum != nil {
					past(&sum.profile, 10, 0)
				}
			}
		}},
		{"R2", int(caseRule.least) + 5, reason, func(_ *Watch, a *actor, _ *Event) { past(&a.clerk().cases, 10, caseRule.h-2) }},
		{"R3", int(personRule.least) + 5, reason, func(_ *Watch, a *actor, _ *Event) { past(&a.clerk().persons, 10, personRule.h-2) }},
	}
}

// serviceTest is a service that nobody asks for.
const serviceTest querschott.Service = "selftest"

// detector returns the detector of a type, false if it is not at work.
func detector[D Detector](w *Watch) (d D, ok bool) {
	for _, x := range w.detectors {
		if d, ok = x.(D); ok {
			return d, true
		}
	}
	return d, false
}

// erase forgets a played actor's profile at once, with the peers that only played actors have. It reports whether it was one.
func (p *profiler) erase(f *profile) bool {
	if f.group == nil || !strings.HasPrefix(f.group.name, "g\x00"+string(roleTest)) {
		return false
	}
	p.all, p.present = without(p.all, f), without(p.present, f)
	delete(p.groups, f.group.name)
	delete(p.groups, f.role.name)
	return true
}

// without removes the last of a list that is f.
func without(list []*profile, f *profile) []*profile {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == f {
			list[i] = list[len(list)-1]
			return list[:len(list)-1]
		}
	}
	return list
}

// forget takes out the sum of played actors.
func (d *mules) forget(a *actor) {
	if !a.test || a.staff == nil || a.staff.mule.sum == nil {
		return
	}
	if t := &a.staff.mule; d.groups[t.key] == t.sum && d.profiler.erase(&t.sum.profile) {
		delete(d.groups, t.key)
	}
}

// proves implements prover. The actor stands on today's list no longer.
func (d *curiosity) proves(a *actor, now int64) bool {
	last := len(d.today) - 1
	if last < 0 || d.today[last] != a {
		return false
	}
	d.today = d.today[:last]
	return a.staff.gaze.score(now).Score >= curiousMin
}
