package watch

import (
	"math"
	"time"

	"github.com/querschott/querschott"
)

// practice is D8: card checks of a practice against its own weekdays of the last quarter, and at night against its own nights. A
// practice whose past is not known yet may be one that works at night, such as an emergency service. What moves all practices,
// a Monday or the start of a quarter, is taken out by what the others do today.
type practice struct {
	held     held
	calendar calendar
	day      int
	counts   [2][]float64 // daily counts of yesterday and of today, for those without a past
	strange  float64      // what 95 % of the practices stayed below on their last days; 0: nobody has a past yet

	expected, value float64 // of all practices present today, each capped
}

// practiceTrail is one practice's past: the last 13 values of each weekday.
type practiceTrail struct {
	past    [7][13]uint16
	n, next [7]uint8

	day    int
	first  int64
	count  int
	night  int
	nights float32 // what a night usually has
	mean   float64 // of today's weekday
	sd     float64
	limit  int  // for today, before the common factor
	known  bool // it has a past of its own: five days, or three of this weekday
	told   bool // nothing more is to be said today
	late   bool // told of the night
}

const (
	tail        = 1e-7 // how unlikely a count must be
	nightLeast  = 10   // card checks between 22:00 and 05:00 below which no night is odd
	nightTimes  = 4    // times what its nights usually have
	strangeBase = 40   // card checks a day that nobody is suspected for without a past
)

func (*practice) Name() string { return "D8" }

func (d *practice) Stats() Stats { return d.held.stats() }

func (d *practice) forget(a *actor) {
	if a.practice != nil {
		d.held.drop(a)
	}
}

func (d *practice) Observe(e *Event, to []Alarm) []Alarm {
	if e.Role != querschott.RolePractice || e.Service.ByMail() || e.Result != Reached && e.Result != NotFound {
		return to
	}
	d.day = e.Day
	t := e.actor.practice
	if t == nil {
		t = &practiceTrail{}
		e.actor.practice = t
		d.held.keys++
	}
	if t.day != e.Day {
		d.begin(t, e)
	}
	t.count++
	if float64(t.count) <= t.mean+3*t.sd {
		d.value += played(e)
	}
	if e.Minute < 5*60 || e.Minute >= 22*60 {
		if t.night++; t.known && !t.late && t.night >= nightLeast && float32(t.night) > nightTimes*t.nights+nightLeast-1 {
			t.late = true
			to = append(to, e.alarm("D8", "practice-night", Statistical, Medium, Number{"checks", float64(t.night), "checks at night"},
				Number{"usual", float64(t.nights), "checks at night"}).since(t.first, t.night))
		}
	}
	if t.told || t.count <= t.limit {
		return to
	}
	g := 1.0
	if d.expected > 0 {
		g = min(max((d.value+10)/(d.expected+10), 1), maxCommon)
	}
	mu := t.mean*g + 2*t.sd*g
	if p := poissonTail(t.count, mu); p < tail {
		t.told = true
		to = append(to, e.alarm("D8", "practice-volume", Statistical, High, Number{"checks", float64(t.count), "checks/day"},
			Number{"weekday_mean", t.mean, "checks/day"}, Number{"weekday_deviation", t.sd, "checks/day"}, Number{"common_factor", g, "times"},
			Number{"tail", p, "probability"}, Number{"days", float64(t.n[e.Weekday]), "days"}).since(t.first, t.count))
	}
	return to
}

// played is what an event adds to what all practices do: nothing if the watch plays it.
func played(e *Event) float64 {
	if e.Test {
		return 0
	}
	return 1
}

// begin puts the last day into the past and says what is expected of today.
func (d *practice) begin(t *practiceTrail, e *Event) {
	if t.day != 0 {
		wd := (t.day + 4) % 7
		n := float64(t.count)
		if t.told && t.sd > 0 {
			n = min(n, t.mean+2*t.sd) // a stolen identity must not teach what is usual
		}
		t.past[wd][t.next[wd]] = uint16(min(n, math.MaxUint16))
		t.next[wd] = (t.next[wd] + 1) % 13
		t.n[wd] = min(t.n[wd]+1, 13)
		t.nights += 0.1 * (float32(min(t.night, 200)) - t.nights)
		d.counts[1] = append(d.counts[1], n)
	}
	t.day, t.first, t.count, t.night, t.told, t.late = e.Day, e.Sec, 0, 0, false, false
	t.mean, t.sd = t.usual(int(e.Weekday))
	if t.known = t.sd > 0; !t.known { // no past: what is large for a practice, once the others have one
		if t.told = d.strange == 0; !t.told {
			t.mean = max(2*d.strange, strangeBase)
			t.sd = math.Sqrt(t.mean)
		}
	} else {
		d.expected += t.mean * played(e)
	}
	t.limit = int(t.mean + 2*t.sd)
}

// usual returns mean and deviation of a weekday; while it has fewer than three values, the largest of all days. (0, 0) is no
// past.
func (t *practiceTrail) usual(wd int) (mean, sd float64) {
	if t.n[wd] < 3 {
		days := 0
		for i := range t.past {
			for _, v := range t.past[i][:t.n[i]] {
				mean = max(mean, float64(v))
				days++
			}
		}
		if days < 5 { // a week
			return 0, 0
		}
		return mean, math.Sqrt(max(mean+1, 0.06*mean*mean))
	}
	sum, sq, n := 0.0, 0.0, float64(t.n[wd])
	for _, v := range t.past[wd][:t.n[wd]] {
		sum += float64(v)
		sq += float64(v) * float64(v)
	}
	mean = sum / n
	// The spread of few days is itself uncertain, and days differ more than a Poisson process does.
	return mean, math.Sqrt(max(sq/n-mean*mean, mean+1, 0.06*mean*mean)) * (1 + 2/n)
}

func (d *practice) Tick(now time.Time, to []Alarm) []Alarm {
	e := Event{At: now}
	d.calendar.set(&e)
	if e.Day <= d.day {
		return to
	}
	d.day, d.value, d.expected = e.Day, 0, 0
	if len(d.counts[1]) >= fewPeers {
		d.strange = quantile(d.counts[1], 0.95)
		d.counts[0], d.counts[1] = d.counts[1], d.counts[0][:0]
	}
	return to
}

// poissonTail returns the probability of n or more when mu are expected.
func poissonTail(n int, mu float64) float64 {
	if float64(n) <= mu {
		return 1
	}
	lg, _ := math.Lgamma(float64(n) + 1)
	term := math.Exp(float64(n)*math.Log(mu) - mu - lg)
	sum := term
	for k := n + 1; term > sum*1e-12; k++ {
		term *= mu / float64(k)
		sum += term
	}
	return sum
}
