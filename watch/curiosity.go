package watch

import (
	"cmp"
	"slices"
	"time"

	"github.com/querschott/querschott"
)

// curiosity is D9: somebody looks at the same person again and again and never says why. One look without a reason is
// paperwork; coming back on other days is interest. It makes a ranked list every day and tells of no more than the budget.
// Its answer is a letter to the employee, no door.
type curiosity struct {
	held     held
	today    []*actor // who came back to somebody today
	calendar calendar
	day      int
	told     map[querschott.IK]int // alarms of the running week
	week     int
	budget   int
	credit   float64 // alarms that may be told of all insurers together
	list     []Curious
}

// Curious is a place in the ranked list of a day.
type Curious struct {
	Insurer querschott.IK    `json:"insurer"`
	Actor   querschott.Actor `json:"actor"`
	Score   float64          `json:"score"`
	Visits  int              `json:"visits"`  // to the person that he came back to most, without a reason
	Days    int              `json:"days"`    // on which they were
	Persons int              `json:"persons"` // that he came back to
}

// gaze is what one actor looked at without a reason.
type gaze struct {
	mark    uint64 // a bit for each person, to look no further
	visits  []visit
	insurer querschott.IK
	service querschott.Service
	day     int // on which it was put on today's list
}

type visit struct {
	person uint64
	last   int64
	day    int32
	days   uint16
	times  uint16
}

const (
	visitsHeld  = 32   // persons of one actor
	visitApart  = 600  // seconds after which looking again is coming back
	visitForget = 28   // days
	curiousMin  = 6.5  // score from which on somebody is named
	curiousList = 10   // places of an insurer in the list
	curiousOf   = 5000 // actors for whom there is one alarm a week, however many insurers they are of
	curiousSave = 7    // alarms that may be saved up
)

func newCuriosity(budget int) *curiosity {
	return &curiosity{told: map[querschott.IK]int{}, budget: max(budget, 1), credit: 1}
}

func (*curiosity) Name() string { return "D9" }

func (d *curiosity) Stats() Stats { return d.held.stats() }

func (d *curiosity) forget(a *actor) {
	if a.staff != nil && a.staff.gaze.visits != nil {
		d.held.drop(a)
		a.staff.gaze.visits = nil
	}
}

func (d *curiosity) Observe(e *Event, to []Alarm) []Alarm {
	if !e.needsReason() {
		return to
	}
	d.day = e.Day
	g := &e.actor.clerk().gaze
	bit := uint64(1) << (e.Subject >> 58)
	if e.Explained {
		if g.mark&bit != 0 { // he has a case of this person; the reference was forgotten
			g.visits = slices.DeleteFunc(g.visits, func(v visit) bool { return v.person == e.Subject })
		}
		return to
	}
	if g.visits == nil {
		d.held.keys++
		g.visits = make([]visit, 0, 4)
	}
	g.mark |= bit
	g.insurer, g.service = e.home(), e.Service
	if d.visit(g, e) && g.day != e.Day {
		g.day = e.Day
		d.today = append(d.today, e.actor)
	}
	return to
}

// visit notes a look and reports whether he came back to somebody.
func (d *curiosity) visit(g *gaze, e *Event) bool {
	oldest := -1
	for i := range g.visits {
		v := &g.visits[i]
		if v.person == e.Subject {
			if e.Sec-v.last < visitApart {
				v.last = e.Sec
				return false
			}
			v.last = e.Sec
			v.times = min(v.times+1, 1000)
			if v.day != int32(e.Day) {
				v.day = int32(e.Day)
				v.days++
			}
			return true
		}
		if oldest < 0 || v.last < g.visits[oldest].last {
			oldest = i
		}
	}
	v := visit{person: e.Subject, last: e.Sec, day: int32(e.Day), days: 1, times: 1}
	if len(g.visits) < visitsHeld {
		g.visits = append(g.visits, v)
	} else {
		g.visits[oldest] = v
	}
	return false
}

// score is how much coming back there is: days weigh more than looks on one day.
func (g *gaze) score(now int64) (c Curious) {
	for _, v := range g.visits {
		if v.times < 2 || now-v.last > visitForget*86400 {
			continue
		}
		c.Persons++
		s := float64(v.times-1)*0.5 + float64(v.days-1)*1.5
		c.Score = max(c.Score, s) + min(c.Score, s)/4
		if int(v.times) > c.Visits {
			c.Visits, c.Days = int(v.times), int(v.days)
		}
	}
	return c
}

func (d *curiosity) Tick(now time.Time, to []Alarm) []Alarm {
	e := Event{At: now}
	d.calendar.set(&e)
	if e.Day <= d.day {
		return to
	}
	d.day = e.Day
	if w := (e.Day + 3) / 7; w != d.week {
		d.week = w
		clear(d.told)
	}
	d.rank(now)
	d.credit = min(d.credit+float64(d.held.keys)/(7*curiousOf), curiousSave)
	for i, c := range d.list {
		if a := d.named(i); a != nil && c.Score >= curiousMin && d.told[c.Insurer] < d.budget && d.credit >= 1 {
			d.credit--
			d.told[c.Insurer]++
			to = append(to, *a)
		}
	}
	d.today = d.today[:0]
	return to
}

// rank makes the list of the day: the first of each insurer.
func (d *curiosity) rank(now time.Time) {
	d.list = d.list[:0]
	d.today = slices.DeleteFunc(d.today, func(a *actor) bool { return a.staff.gaze.visits == nil })
	score := func(a *actor) Curious {
		c := a.staff.gaze.score(now.Unix())
		c.Insurer, c.Actor = a.staff.gaze.insurer, querschott.Actor(a.name)
		return c
	}
	slices.SortFunc(d.today, func(a, b *actor) int {
		x, y := score(a), score(b)
		return cmp.Or(cmp.Compare(x.Insurer, y.Insurer), cmp.Compare(y.Score, x.Score), cmp.Compare(x.Actor, y.Actor))
	})
	places := 0
	d.today = slices.DeleteFunc(d.today, func(a *actor) bool {
		c := score(a)
		if len(d.list) == 0 || d.list[len(d.list)-1].Insurer != c.Insurer {
			places = 0
		}
		if places++; places > curiousList {
			return true
		}
		d.list = append(d.list, c)
		return false
	})
}

// named is the alarm about a place in the list.
func (d *curiosity) named(i int) *Alarm {
	c, a := d.list[i], d.today[i]
	g := &a.staff.gaze
	last := int64(0)
	for _, v := range g.visits {
		last = max(last, v.last)
	}
	al := Alarm{
		Time: time.Unix(last, 0).UTC(), Actor: c.Actor, Insurer: c.Insurer, Service: g.service, Detector: "D9", Cause: "comes-back",
		Kind: Statistical, Severity: Low, Arithmetic: []Number{
			{"score", c.Score, "points"},
			{"limit", curiousMin, "points"},
			{"visits", float64(c.Visits), "looks without a reason"},
			{"days", float64(c.Days), "days"},
			{"persons", float64(c.Persons), "persons"},
		},
	}
	al.Events = Span{al.Time, al.Time, c.Visits}
	return &al
}
