package watch

// cases is R2: how many different reasons an actor gives in a day, against its past and its peers. Whoever forges a reason
// for each person reaches nobody without one, but cannot help giving many.
type cases struct{ daily }

// caseRule: days differ more in how much is done than in how much of it lacks a reason, so the deviation is wider. One
// day alone says nothing: a campaign gives a reason for each person, too.
var caseRule = rule{
	k: 1.75, h: 12, oneFloor: 600, oneSD: 20, oneTimes: 10, relative: 0.25, least: 60, ownDays: 10, others: 8, share: 1.5,
}

func newCases() *cases { return &cases{daily{profiler: newProfiler(caseRule)}} }

func (*cases) Name() string { return "R2" }

func (d *cases) forget(a *actor) {
	if a.staff != nil {
		d.profiler.forget(&a.staff.cases, a.test)
	}
}

func (d *cases) Observe(e *Event, to []Alarm) []Alarm {
	if e.Result != Reached || !e.Explained || e.Job || !reasons(e.Role) {
		return to
	}
	d.day = e.Day
	f := &e.actor.clerk().cases
	d.profiler.open(f, e, peerGroup)
	if !e.given().fresh {
		return to
	}
	v := d.profiler.add(f, 1)
	if v.cause == "" {
		return to
	}
	return append(to, e.alarm("R2", "reasons-"+v.cause, Statistical, Medium, v.numbers("reasons")...).since(f.first, f.events))
}
