package eval

import (
	"maps"
	"slices"
	"strconv"
)

// Report is everything that was measured, at one share of accesses without a reason.
type Report struct {
	Drill       string  `json:"drill"` // "eval"
	Seeds       int     `json:"seeds"`
	First       uint64  `json:"first_seed"`
	Days        int     `json:"days"`
	WarmUp      int     `json:"warm_up_days"`
	WorkingDays float64 `json:"working_days"` // that are counted, over all seeds
	Staff       float64 `json:"staff"`
	Practices   float64 `json:"practices"`
	Insurers    int     `json:"insurers"`
	Unexplained float64 `json:"unexplained"` // as set
	Explained   float64 `json:"explained"`   // share of desk accesses with a reason, as the early warning shows it
	Events      uint64  `json:"events"`
	Lost        uint64  `json:"lost"`    // numbers of gates that never came, on purpose
	Evicted     uint64  `json:"evicted"` // actors that detectors forgot; must be 0

	Spreads                          // of all attacks
	False       Interval             `json:"false_alarms_per_day"`       // per working day, alarms about staff scaled to 30,000; gates and groups as they are; without practices and the app
	FalseCalm   Interval             `json:"false_alarms_per_day_calm"`  // of these, about people to whom nothing happens that looks like an attack
	FalseSmall  Interval             `json:"false_alarms_per_day_small"` // per working day of the staff that there were, everything
	FalseLive   Interval             `json:"false_live_alarms_per_day_small"`
	FalseBy     map[string]float64   `json:"false_alarms_by_cause"` // per working day of the staff that there were
	FalseOf     map[string]float64   `json:"false_alarms_by_kind"`  // staff, groups, gates, practices, app
	LookAlike   map[string]float64   `json:"false_alarms_by_look_alike"`
	Budget      float64              `json:"budget_per_day"`
	Precision   Interval             `json:"precision"`                // of alarms, at the density of attacks in these worlds, which is far above a real one
	WrongHolds  Interval             `json:"wrong_holds_per_day"`      // scaled to 30,000 staff
	WrongBy     map[string]float64   `json:"wrong_holds_by_cause"`     // per working day of the staff that there were
	WrongDoors  Interval             `json:"wrong_doors_per_6_months"` // of 130 working days
	DoorsBy     map[string]float64   `json:"wrong_doors_by_cause"`     // per 6 months
	Doors       int                  `json:"doors_closed"`             // in all worlds, rightly or wrongly
	Prevented   int                  `json:"prevented"`                // attacks whose credential was held already; not counted
	Asked       int                  `json:"two_persons_asked"`        // in all worlds
	Refused     map[string]float64   `json:"refused_ordinary_per_million"`
	Recall      Interval             `json:"recall"` // of all attacks, families alike
	Families    []*Family            `json:"scenarios"`
	Methods     []*Method            `json:"methods,omitempty"`
	Ablation    map[string]*Ablation `json:"ablation,omitempty"`
	NoCanaries  *Interval            `json:"recall_without_canaries,omitempty"`
	OpenRecall  *Interval            `json:"recall_uncontained,omitempty"` // of the same attacks when nothing is held, which methods and ablation are about
	Shuffled    *Interval            `json:"recall_shuffled_labels,omitempty"`
	Examples    []Example            `json:"false_alarms"` // the first of each seed
	Wrongly     []Example            `json:"wrong_holds"`  // the first of each seed, with the arithmetic of the alarm that led to it
	closed      []*seedResult
	opened      []*seedResult
	familyNames []string
}

// Spreads are how long attacks lasted and what they got: the median, the 95th percentile, the worst.
type Spreads struct {
	Detected       float64 `json:"detected_after_s"` // from the first request to the first alarm, of those found
	Detected95     float64 `json:"detected_after_s_p95"`
	Contained      float64 `json:"contained_after_s"` // to when the first of its credentials was held, of those of which one was
	Contained95    float64 `json:"contained_after_s_p95"`
	ContainedShare float64 `json:"contained_share"`
	Records        float64 `json:"records_reached"` // persons, until the end: of those not found too
	Records95      float64 `json:"records_reached_p95"`
	RecordsMax     float64 `json:"records_reached_max"`
	Before         float64 `json:"records_before_alarm"` // of those found
	Before95       float64 `json:"records_before_alarm_p95"`
}

// Family is how one family of attacks ended.
type Family struct {
	Drill string `json:"drill"`
	Runs  int    `json:"runs"`
	Found int    `json:"found"`
	Spreads
	Recall   Interval            `json:"recall"`
	AtBudget Interval            `json:"recall_at_budget"`
	Within   map[string]Interval `json:"recall_within_active_days"`
	FoundBy  map[string]int      `json:"found_by"` // runs that a detector raised an alarm about
	Missed   []uint64            `json:"missed_seeds"`
}

// Method is one way of finding attacks, measured while nothing is contained.
type Method struct {
	Name     string              `json:"name"`
	False    float64             `json:"false_alarms_per_day"` // scaled to 30,000 staff
	LookedAt float64             `json:"looked_at"`            // share of alarms that there is time for
	Recall   map[string]float64  `json:"recall"`               // by family, if everything is looked at
	AtBudget map[string]Interval `json:"recall_at_budget"`
	All      Interval            `json:"recall_at_budget_all"`
}

// Ablation is what happens without a detector, while nothing is contained.
type Ablation struct {
	False  float64               `json:"false_alarms_per_day"` // that it raises, scaled
	Recall map[string][2]float64 `json:"recall"`               // with and without it, of the families that lose
	Alone  int                   `json:"found_by_it_alone"`    // runs
}

// within are the numbers of active days that are reported.
var within = []int{1, 3, 10}

// score computes the report.
func (r *Report) score() {
	for _, f := range r.familyNames {
		r.Families = append(r.Families, r.family(f))
	}
	var all []*run
	for _, s := range r.closed {
		all = append(all, s.runs...)
	}
	r.Spreads = spreads(all)
	r.Recall = r.ratio(r.closed, func(s *seedResult) ratio {
		return share(s.runs, func(x *run) float64 { return boolean(x.found != nil) })
	})
	r.alarms()
	if len(r.opened) > 0 {
		r.compare()
	}
}

func (r *Report) ratio(seeds []*seedResult, of func(*seedResult) ratio) Interval {
	list := make([]ratio, len(seeds))
	for i, s := range seeds {
		list[i] = of(s)
	}
	return interval(list)
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func share(runs []*run, of func(*run) float64) (x ratio) {
	for _, r := range runs {
		x.above, x.below = x.above+of(r), x.below+1
	}
	return x
}

// named returns the runs of a family.
func named(runs []*run, family string) (list []*run) {
	for _, r := range runs {
		if r.family.Name == family {
			list = append(list, r)
		}
	}
	return list
}

func spreads(runs []*run) Spreads {
	var detected, contained, records, before []float64
	for _, r := range runs {
		records = append(records, float64(r.reached))
		if r.found != nil {
			detected = append(detected, r.found.at.Sub(r.began).Seconds())
			before = append(before, float64(r.found.persons))
		}
		if !r.contained.IsZero() {
			contained = append(contained, r.contained.Sub(r.began).Seconds())
		}
	}
	return Spreads{
		quantile(detected, .5), quantile(detected, .95), quantile(contained, .5), quantile(contained, .95),
		round(float64(len(contained)) / float64(max(len(runs), 1))),
		quantile(records, .5), quantile(records, .95), quantile(records, 1), quantile(before, .5), quantile(before, .95),
	}
}

func (r *Report) family(name string) *Family {
	f := &Family{Drill: name, Within: map[string]Interval{}, FoundBy: map[string]int{}, Missed: []uint64{}}
	var all []*run
	for _, s := range r.closed {
		for _, x := range named(s.runs, name) {
			all = append(all, x)
			if x.found == nil {
				f.Missed = append(f.Missed, s.seed)
				continue
			}
			f.Found++
			for d := range x.first {
				f.FoundBy[d]++
			}
		}
	}
	f.Runs, f.Spreads = len(all), spreads(all)
	f.Recall = r.ratio(r.closed, func(s *seedResult) ratio {
		return share(named(s.runs, name), func(x *run) float64 { return boolean(x.found != nil) })
	})
	p := r.lookedAt(total(r.closed, ours))
	f.AtBudget = r.ratio(r.closed, func(s *seedResult) ratio {
		return share(named(s.runs, name), func(x *run) float64 { return chance(alarmsOf(x, ours), p) })
	})
	for _, n := range within {
		f.Within[strconv.Itoa(n)] = r.ratio(r.closed, func(s *seedResult) (q ratio) {
			for _, x := range named(s.runs, name) {
				soon := x.found != nil && x.found.days <= n
				if soon || x.found != nil || len(x.days) >= n || x.over {
					q.above, q.below = q.above+boolean(soon), q.below+1
				}
			}
			return q
		})
	}
	return f
}

// ours selects the detectors of the house.
func ours(detector string) bool { return !baseline(detector) }

// total returns the false alarms of some detectors per working day, scaled to full size.
func total(seeds []*seedResult, of func(string) bool) float64 {
	n, days := 0.0, 0.0
	for _, s := range seeds {
		days += s.workingDays
		for d, v := range s.falseBy {
			if of(d) {
				n += v
			}
		}
	}
	return n / max(days, 1)
}

// lookedAt is the share of alarms that there is time for.
func (r *Report) lookedAt(falseAlarms float64) float64 {
	return min(1, r.Budget/max(falseAlarms, 1e-9))
}

func alarmsOf(x *run, of func(string) bool) (n int) {
	for d, k := range x.alarms {
		if of(d) {
			n += k
		}
	}
	return n
}

// alarms computes what false alarms there were, and what they led to.
func (r *Report) alarms() {
	r.FalseBy, r.FalseOf, r.LookAlike, r.WrongBy, r.Refused = map[string]float64{}, map[string]float64{}, map[string]float64{}, map[string]float64{}, map[string]float64{}
	r.DoorsBy = map[string]float64{}
	ordinary := 0.0
	for _, s := range r.closed {
		r.WorkingDays += s.workingDays
		r.Events, r.Lost, r.Evicted = r.Events+s.events, r.Lost+s.lost, r.Evicted+s.evicted
		r.Staff, r.Practices, r.Insurers = s.staff, s.practices, s.insurers
		r.Explained += s.explained / float64(len(r.closed))
		r.Examples, r.Wrongly = append(r.Examples, s.examples...), append(r.Wrongly, s.wrongly...)
		add(r.FalseBy, s.alarms)
		add(r.FalseOf, s.falseKinds)
		add(r.LookAlike, s.lookAlike)
		add(r.WrongBy, s.wrongHolds)
		add(r.DoorsBy, s.wrongDoors)
		r.Doors, r.Asked, r.Prevented = r.Doors+s.doors, r.Asked+s.asked, r.Prevented+s.prevented
		add(r.Refused, map[string]int{"held": s.refusedHeld, "door": s.refusedDoor, "cap": s.refusedCap})
		ordinary += float64(s.ordinaryAll)
	}
	for _, m := range []map[string]float64{r.FalseBy, r.FalseOf, r.LookAlike, r.WrongBy} {
		for k := range m {
			m[k] = round(m[k] / r.WorkingDays)
		}
	}
	for k := range r.DoorsBy {
		r.DoorsBy[k] = round(130 * r.DoorsBy[k] / r.WorkingDays)
	}
	for k := range r.Refused {
		r.Refused[k] = round(1e6 * r.Refused[k] / max(ordinary, 1))
	}
	r.Explained = round(r.Explained)
	days := func(of func(*seedResult) float64) Interval {
		return r.ratio(r.closed, func(s *seedResult) ratio { return ratio{of(s), s.workingDays} })
	}
	r.False = days(func(s *seedResult) float64 { return s.workingDays * total([]*seedResult{s}, ours) })
	r.FalseCalm = days(func(s *seedResult) float64 { return s.calm })
	r.FalseSmall = days(func(s *seedResult) float64 { return float64(sum(s.alarms)) })
	r.FalseLive = days(func(s *seedResult) float64 { return float64(s.falseLive) })
	r.WrongHolds = days(func(s *seedResult) float64 { return s.wrongFull })
	r.WrongDoors = days(func(s *seedResult) float64 { return 130 * float64(sum(s.wrongDoors)) })
	r.Precision = r.ratio(r.closed, func(s *seedResult) ratio { return ratio{float64(s.trueAlarms), float64(s.trueAlarms + sum(s.alarms))} })
}

func sum(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

func add(to map[string]float64, m map[string]int) {
	for k, v := range m {
		to[k] += float64(v)
	}
}

// compare computes what was measured while nothing was contained.
func (r *Report) compare() {
	names := map[string]bool{}
	for _, s := range r.opened {
		for d := range s.falseBy {
			names[d] = true
		}
		for _, x := range s.runs {
			for d := range x.first {
				names[d] = true
			}
		}
	}
	r.Methods = append(r.Methods, r.method("all detectors", ours))
	r.Ablation = map[string]*Ablation{}
	for _, d := range slices.Sorted(maps.Keys(names)) {
		if baseline(d) {
			r.Methods = append(r.Methods, r.method(shown(d), func(n string) bool { return n == d }))
			continue
		}
		r.Ablation[d] = r.without(d)
	}
	found := func(of func(string) bool) *Interval {
		i := r.ratio(r.opened, func(s *seedResult) ratio {
			return share(s.runs, func(x *run) float64 { return boolean(alarmsOf(x, of) > 0) })
		})
		return &i
	}
	r.OpenRecall, r.NoCanaries = found(ours), found(func(d string) bool { return ours(d) && d != "D3" })
	shuffled := r.ratio(r.opened, func(s *seedResult) (q ratio) {
		for _, c := range s.covered {
			q.above, q.below = q.above+c, q.below+1
		}
		return q
	})
	r.Shuffled = &shuffled
}

// Alone returns how many runs each detector alone finds.
func (r *Report) Alone() map[string]float64 {
	m := map[string]float64{}
	for d, a := range r.Ablation {
		m[d] = float64(a.Alone)
	}
	return m
}

func (r *Report) method(name string, of func(string) bool) *Method {
	m := &Method{Name: name, False: round(total(r.opened, of)), Recall: map[string]float64{}, AtBudget: map[string]Interval{}}
	p := r.lookedAt(m.False)
	m.LookedAt = round(p)
	budget := func(x *run) float64 { return chance(alarmsOf(x, of), p) }
	for _, f := range r.familyNames {
		m.Recall[f] = r.ratio(r.opened, func(s *seedResult) ratio {
			return share(named(s.runs, f), func(x *run) float64 { return boolean(alarmsOf(x, of) > 0) })
		}).Value
		m.AtBudget[f] = r.ratio(r.opened, func(s *seedResult) ratio { return share(named(s.runs, f), budget) })
	}
	m.All = r.ratio(r.opened, func(s *seedResult) ratio { return share(s.runs, budget) })
	return m
}

// without compares what is found with and without a detector.
func (r *Report) without(detector string) *Ablation {
	a := &Ablation{False: round(total(r.opened, func(d string) bool { return d == detector })), Recall: map[string][2]float64{}}
	rest := func(d string) bool { return ours(d) && d != detector }
	for _, f := range r.familyNames {
		n, with, less := 0.0, 0.0, 0.0
		for _, s := range r.opened {
			for _, x := range named(s.runs, f) {
				n, with, less = n+1, with+boolean(alarmsOf(x, ours) > 0), less+boolean(alarmsOf(x, rest) > 0)
			}
		}
		if a.Alone += int(with - less); with > less {
			a.Recall[f] = [2]float64{round(with / n), round(less / n)}
		}
	}
	return a
}
