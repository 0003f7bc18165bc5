package watch

import (
	"github.com/querschott/querschott"
)

// mules is D15: many actors who each stay below what is noticed. The unexplained persons of a group, one role of one insurer,
// are compared with the group's past and with the same role elsewhere. One actor adds at most what D10 would not notice.
type mules struct {
	daily
	groups map[muleGroup]*muleSum
}

// muleSum is one group.
type muleSum struct {
	name    string
	profile profile
}

// muleGroup is whose sum is taken.
type muleGroup struct {
	insurer querschott.IK
	role    querschott.Role
}

// muleTrail is one actor's part of its group's sum.
type muleTrail struct {
	day  int
	seen distinct
	key  muleGroup
	sum  *muleSum
}

// muleRule compares sums of groups, which differ less from day to day than persons do.
var muleRule = rule{
	k: 1.5, h: 12, oneFloor: 100, oneSD: 12, oneTimes: 4, relative: 0.15, least: 60, ownDays: 10, others: 3, share: 4,
}

const muleMost = 30 // persons that one actor adds to the sum of its group

func newMules(sharp float64) *mules {
	return &mules{daily: daily{profiler: newProfiler(muleRule.sharpened(sharp))}, groups: map[muleGroup]*muleSum{}}
}

func (*mules) Name() string { return "D15" }

// sum returns the group of an actor, nil if there are too many groups.
func (d *mules) sum(e *Event, t *muleTrail) *muleSum {
	k := muleGroup{e.Tenant, e.Role}
	if t.sum != nil && t.key == k {
		return t.sum
	}
	s := d.groups[k]
	if s == nil {
		if len(d.groups) >= maxGroups {
			return nil
		}
		s = &muleSum{name: "group:" + string(e.Tenant) + "/" + string(e.Role)}
		d.groups[k] = s
	}
	t.key, t.sum = k, s
	return s
}

func (d *mules) Observe(e *Event, to []Alarm) []Alarm {
	if !e.needsReason() || e.Tenant == "" {
		return to
	}
	d.day = e.Day
	t := &e.actor.clerk().mule
	sum := d.sum(e, t)
	if sum == nil {
		return to
	}
	f := &sum.profile
	d.profiler.open(f, e, func(e *Event) (string, string) { return string(e.Role), string(e.Role) })
	if e.Explained {
		return to
	}
	if t.day != e.Day {
		t.seen.reset()
		t.day = e.Day
	}
	if t.seen.count() >= muleMost || !t.seen.add(e.Subject) {
		return to
	}
	v := d.profiler.add(f, 1)
	if v.cause == "" {
		return to
	}
	a := e.alarm("D15", "group-"+v.cause, Statistical, High, v.numbers("persons")...).since(f.first, f.events)
	a.Actor, a.Credential = querschott.Actor(sum.name), ""
	return append(to, a)
}
