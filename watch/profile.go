package watch

import (
	"math"
	"slices"
	"time"

	"github.com/querschott/querschott"
)

// rule is the arithmetic of a cumulative sum over daily values. The letters are those of the manual.
type rule struct {
	k, h      float64 // allowance per day, and the sum that is an alarm
	oneFloor  float64 // one-day rule: u > max(oneFloor, mu + oneSD sd, oneTimes mu)
	oneSD     float64
	oneTimes  float64
	relative  float64 // sd is at least this share of mu
	least     float64 // a day below it adds nothing to the sum
	ownDays   int     // own days from which on the own mean counts
	strangers bool    // an actor without own days is compared with its peers
	others    int     // present keys from which on they say how much today is more than usual; 0: never
	together  bool    // who rises with most of his group is explained by it, however much it rises
	risers    float64 // share of a group that explains its other members by rising, though the rest does not; 0: never
	share     float64 // deviations above its mean up to which a key's value counts for the others
}

const (
	remembered  = 60 // present days that the own mean looks back
	ownWeight   = 50 // weight of the own mean against
	peerWeight  = 20 // the peers'
	winsor      = 8  // z counts at most this
	maxFrozen   = 10 // present days after which a suspicious actor is learned from again
	restDays    = 7
	seldom      = 1.0 / 6000 // alarms for each member's day above which a rule becomes stricter
	seldomLeast = 3          // alarms of the last weeks below which it does not
	strictest   = 2.0
	fewPeers    = 8    // members below which a group asks its role
	crowd       = 20   // members present from which on a group has a common factor
	maxCommon   = 3.0  // the common factor is at most this
	fewest      = 3    // members present below which nobody is explained by the others
	fewRisers   = 6    // below which all of them must rise, not most
	maxLift     = 30.0 // which is at most this
	risenSD     = 3    // deviations above which a day has risen
)

// daily is what detectors share whose profiles end their day together.
type daily struct {
	profiler *profiler
	calendar calendar
	day      int // that goes on, 0: nothing was seen yet
}

func (d *daily) Stats() Stats { return d.profiler.stats() }

func (d *daily) Tick(now time.Time, to []Alarm) []Alarm {
	e := Event{At: now}
	d.calendar.set(&e)
	if e.Day > d.day && d.day != 0 {
		d.profiler.close(func(*profile) {})
		d.day = e.Day
	}
	return to
}

// profile is what is known of one key: its own past, and today. What every event needs stands first.
type profile struct {
	group, role *peers
	day         int // the day of what follows
	last        int64
	value       float64
	told        bool    // an alarm was raised today
	risen       bool    // today is far above what is expected of the key itself
	apart       bool    // what it does is not what its group does; no group explains it
	gone        bool    // its actor is forgotten
	base        float64 // expected today before the common factor
	sd          float64
	busy        float64 // how many times as much as usual its work is today; 0: as usual
	c           float64 // the cumulative sum up to yesterday
	first       int64
	events      int

	who    *Alarm     // whom an alarm of the end of the day would name
	trail  *slowTrail // of D10
	n      int        // days that are filled
	next   int
	rest   int                 // present days for which an alarm was told already, so that the next one needs twice as much
	frozen int                 // present days that were not learned from, in a row
	days   [remembered]float32 // values of the last present days, seasonality taken out
}

// peers is a group of keys that are compared: one role of one insurer, or one role everywhere.
type peers struct {
	name    string     // in profiler.groups
	members []*profile // present today
	means   []float64  // own means of all members that were seen in the last days, rebuilt daily
	median  float64
	high    float64 // 90 % have a smaller mean
	sd      float64 // median of the members' own
	known   int     // members that have an own mean
	told    int     // alarms of today

	strict float64 // the sum's limit is so many times the rule's; 0: once
	rate   float64 // alarms for each member's day, of the last weeks
	recent float64 // alarms of the last weeks

	lift   float64 // what the middle member does today, as a multiple of what is expected of it; see peers.middle
	lifted int     // members' values that had risen when it was taken
	rises  int     // of members' values today
	risen  [2]int  // members that rose, today and on the day before
	there  int     // members on the day before

	value    float64 // today, each member capped
	expected float64 // today
	weekday  [7]float64
}

// profiler keeps profiles and judges daily values, while the day lasts.
type profiler struct {
	rule    rule
	all     []*profile // that were ever open and are not forgotten
	gone    int        // of them, to be forgotten at the end of the day
	evicted uint64
	groups  map[string]*peers
	present []*profile
	day     int
	wd      time.Weekday
}

func newProfiler(r rule) *profiler { return &profiler{rule: r, groups: map[string]*peers{}} }

func (p *profiler) stats() Stats { return Stats{Keys: len(p.all) - p.gone, Evicted: p.evicted} }

// forget takes a profile out at the end of the day.
func (p *profiler) forget(f *profile, test bool) {
	if test && p.erase(f) {
		return
	}
	if f.group != nil && !f.gone {
		f.gone = true
		if p.gone++; !test {
			p.evicted++
		}
	}
}

// maxGroups bounds the groups; a key of a further group is compared with its role only.
const maxGroups = 65536

func (p *profiler) peers(name string) *peers {
	g := p.groups[name]
	if g == nil {
		g = &peers{name: name}
		for i := range g.weekday {
			g.weekday[i] = 1
		}
		if len(p.groups) < maxGroups {
			p.groups[name] = g
		}
	}
	return g
}

// open makes the profile of a key one that is present today. Group and role are asked for once a day.
func (p *profiler) open(f *profile, e *Event, group func(*Event) (group, role string)) {
	if f.group != nil && f.day == e.Day {
		f.last = e.Sec
		return
	}
	if f.group == nil {
		p.all = append(p.all, f)
	}
	p.day, p.wd = e.Day, e.Weekday
	g, r := group(e)
	f.group, f.role = p.peers("g\x00"+g), p.peers("r\x00"+r)
	f.day, f.value, f.told, f.first, f.last, f.events = e.Day, 0, false, e.Sec, e.Sec, 0
	f.risen, f.apart, f.busy = false, false, 0
	f.base, f.sd = p.expect(f)
	f.who = &Alarm{Actor: querschott.Actor(e.Who), Credential: e.Credential, Insurer: e.home(), Service: e.Service}
	p.present = append(p.present, f)
	for _, g := range [...]*peers{f.group, f.role} {
		g.members = append(g.members, f)
		g.expected += f.base
	}
}

// circle is whom a key is compared with.
func (f *profile) circle() *peers {
	if f.group.known >= fewPeers {
		return f.group
	}
	return f.role
}

// expect returns mean and deviation of a key for today, before the common factor; (0, 0) when nothing is known.
func (p *profiler) expect(f *profile) (mu, sd float64) {
	c := f.circle()
	factor := f.role.weekday[p.wd]
	if f.n < p.rule.ownDays {
		if !p.rule.strangers || c.known < fewPeers {
			return 0, 0
		}
		mu = c.high * factor
		return mu, max(c.sd*factor, math.Sqrt(mu+1), p.rule.relative*mu)
	}
	m, s := f.own()
	if c.known >= fewPeers {
		m = (ownWeight*m + peerWeight*c.median) / (ownWeight + peerWeight)
	}
	mu = m * factor
	return mu, max(s*factor, math.Sqrt(mu+1), p.rule.relative*mu)
}

// own returns mean and standard deviation of the remembered days.
func (f *profile) own() (mean, sd float64) {
	if f.n == 0 {
		return 0, 0
	}
	sum, sq := 0.0, 0.0
	for _, v := range f.days[:f.n] {
		sum += float64(v)
		sq += float64(v) * float64(v)
	}
	mean = sum / float64(f.n)
	return mean, math.Sqrt(max(sq/float64(f.n)-mean*mean, 0.3))
}

// capped is what one member may add to its group, so that nobody hides behind a crowd that is mostly himself.
func (p *profiler) capped(f *profile) float64 { return min(f.value, f.base+p.rule.share*f.sd) }

// common is how much more than usual the peers do today: a wave of flu, a peak of calls, a form that lost its reference.
// The key itself is left out. Below 1 it is 1: a quiet day makes nobody suspicious.
func (p *profiler) common(f *profile) float64 {
	if p.rule.others == 0 {
		return 1
	}
	g := f.group
	if len(g.members) < crowd {
		g = f.role
	}
	if len(g.members) < p.rule.others {
		return 1
	}
	const ballast = 10
	return min(max((g.value-p.capped(f)+ballast)/(g.expected-f.base+ballast), 1), maxCommon)
}

// verdict is the arithmetic of a day so far.
type verdict struct {
	cause                    string // "" for no alarm
	u, mu, sd, z, c, g, peer float64
	h                        float64 // limit of c
	limit                    float64
	n, known                 int
	together                 bool // there would be an alarm if the group did not do the same
}

// add raises today's value and judges it.
func (p *profiler) add(f *profile, by float64) verdict {
	before := p.capped(f)
	f.value += by
	f.events++
	if d := p.capped(f) - before; d != 0 {
		f.group.value += d
		f.role.value += d
	}
	if f.told {
		return verdict{}
	}
	f.group.rises++
	v := p.judge(f, max(p.common(f), f.busy))
	if !f.risen && v.z >= risenSD && f.value >= p.rule.least {
		f.risen = true
		f.group.risen[0]++
	}
	if v.cause != "" {
		alone := v.g
		v = p.judge(f, p.explains(f, v.g))
		v.together = v.g > alone && v.cause == ""
	}
	f.told = v.cause != ""
	return v
}

// explains is how much more than usual a key may do today by what its group does, at least g.
func (p *profiler) explains(f *profile, g float64) float64 {
	if f.apart || !p.rule.together {
		return g
	}
	return max(g, f.group.middle(), p.riseOf(f.group))
}

// riseOf is how much more than expected those members of a group do who rise, if there are so many of them that it is the
// group's matter: a process that some of its roles work on and that is not linked. Below that it is 1.
func (p *profiler) riseOf(g *peers) float64 {
	if p.rule.risers == 0 || float64(max(g.risen[0], g.risen[1])) < max(fewest, p.rule.risers*float64(max(len(g.members), g.there))) {
		return 1
	}
	list := make([]float64, 0, len(g.members))
	for _, f := range g.members {
		if f.risen {
			list = append(list, (f.value+1)/(f.base+1))
		}
	}
	if len(list) < fewest { // the others come later today
		return maxLift
	}
	return min(max(quantile(list, 0.9), 1), maxLift)
}

// middle is how much more than expected the middle member of a group does today; of a small group the one that does least. It moves when most
// members do and not before, so that a few thieves explain nobody: a process whose cases are not linked yet, a form that
// lost its reference at one insurer. What the group does is told of as the group's.
func (g *peers) middle() float64 {
	if len(g.members) < fewest {
		return 1
	}
	most := 0.5
	if len(g.members) < fewRisers {
		most = 0
	}
	if g.lift == 0 || g.rises-g.lifted > len(g.members)/4 {
		list := make([]float64, 0, len(g.members))
		for _, f := range g.members {
			list = append(list, (f.value+1)/(f.base+1))
		}
		g.lift, g.lifted = min(max(quantile(list, most), 1), maxLift), g.rises
	}
	return g.lift
}

// judge compares today with what is expected when everybody does g times as much.
func (p *profiler) judge(f *profile, g float64) verdict {
	if f.sd == 0 {
		return verdict{}
	}
	r := &p.rule
	v := verdict{u: f.value, mu: f.base * g, sd: f.sd * g, g: g, n: f.n, peer: f.circle().median, known: f.circle().known}
	v.z = min((v.u-v.mu)/v.sd, winsor)
	v.c = max(0, f.c+v.z-r.k)
	v.h = r.h * max(f.role.strict, 1)
	if f.rest > 0 {
		v.h = max(v.h, 2*r.h)
	}
	v.limit = max(r.oneFloor, v.mu+r.oneSD*v.sd, r.oneTimes*v.mu)
	switch {
	case v.u > v.limit:
		v.cause = "day"
	case v.c > v.h && v.u >= r.least:
		v.cause = "sum"
	}
	return v
}

// numbers is the verdict as an alarm's arithmetic.
func (v *verdict) numbers(unit string) []Number {
	return []Number{
		{"today", v.u, unit},
		{"expected", v.mu, unit},
		{"deviation", v.sd, unit},
		{"z", v.z, "deviations"},
		{"sum", v.c, "deviations"},
		{"sum_limit", v.h, "deviations"},
		{"day_limit", v.limit, unit},
		{"peer_median", v.peer, unit + "/day"},
		{"peers", float64(v.known), "actors"},
		{"own_days", float64(v.n), "days"},
		{"common_factor", v.g, "times"},
	}
}

// close ends the day: sums go on, baselines learn, groups are drawn anew. end is called for each key that was present,
// before its baseline learns.
func (p *profiler) close(end func(*profile)) {
	for _, f := range p.present {
		v := p.judge(f, p.explains(f, max(p.common(f), f.busy)))
		end(f)
		switch {
		case f.told:
			f.c, f.rest = 0, restDays
			f.role.told++
		case f.sd > 0:
			f.c = v.c
		}
		if f.rest > 0 && !f.told {
			f.rest--
		}
		p.learn(f, &v)
	}
	p.control()
	p.season()
	p.regroup()
	p.present = p.present[:0]
}

// learn takes the day into the own baseline, unless the key is suspicious. What stands out is cut, so that one odd day
// does not hide the next.
func (p *profiler) learn(f *profile, v *verdict) {
	if (f.told || f.c > p.rule.h/2) && f.frozen < maxFrozen {
		f.frozen++
		return
	}
	if f.c <= p.rule.h/2 && !f.told {
		f.frozen = 0
	}
	u := f.value
	if f.sd > 0 {
		u = min(u, v.mu+3*v.sd)
		u /= v.g
	}
	u /= f.role.weekday[p.wd]
	f.days[f.next] = float32(u)
	f.next = (f.next + 1) % remembered
	f.n = min(f.n+1, remembered)
}

// control keeps the alarms of a role at a rate that people can look at: where work is noisier than the rule expects, the
// sum needs more. It takes several different members to move it, and it moves slowly.
func (p *profiler) control() {
	const memory, up, down = 0.05, 1.06, 0.98
	seen := map[*peers]bool{}
	for _, f := range p.present {
		g := f.role
		if seen[g] || len(g.members) < crowd {
			continue
		}
		seen[g] = true
		g.rate += memory * (float64(g.told)/float64(len(g.members)) - g.rate)
		g.recent = g.recent*(1-memory) + float64(g.told)
		g.told = 0
		g.strict = max(g.strict, 1)
		if g.recent > seldomLeast && g.rate > seldom {
			g.strict = min(g.strict*up, strictest)
		} else {
			g.strict = max(g.strict*down, 1)
		}
	}
}

// season learns how the role's weekdays differ.
func (p *profiler) season() {
	const rate, ballast = 0.15, 20
	seen := map[*peers]bool{}
	for _, f := range p.present {
		g := f.role
		if seen[g] || len(g.members) < p.rule.others || g.expected == 0 {
			continue
		}
		seen[g] = true
		ratio := (g.value + ballast) / (g.expected + ballast) * g.weekday[p.wd]
		g.weekday[p.wd] += rate * (min(max(ratio, 0.5), 2) - g.weekday[p.wd])
	}
}

// regroup draws the peers' figures anew from everybody who is known.
func (p *profiler) regroup() {
	for _, g := range p.groups {
		g.there, g.risen = len(g.members), [2]int{0, g.risen[0]}
		clear(g.members)
		g.members, g.means, g.value, g.expected = g.members[:0], g.means[:0], 0, 0
		g.lift, g.lifted, g.rises = 0, 0, 0
	}
	sds := map[*peers][]float64{}
	if p.gone > 0 {
		p.all = slices.DeleteFunc(p.all, func(f *profile) bool { return f.gone })
		p.gone = 0
	}
	for _, f := range p.all {
		if f.n == 0 || p.day-f.day > remembered {
			continue
		}
		m, sd := f.own()
		for _, g := range [...]*peers{f.group, f.role} {
			g.means = append(g.means, m)
			sds[g] = append(sds[g], sd)
		}
	}
	for _, g := range p.groups {
		g.known = len(g.means)
		g.median, g.high, g.sd = quantile(g.means, 0.5), quantile(g.means, 0.9), quantile(sds[g], 0.5)
	}
}
