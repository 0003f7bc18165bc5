package watch_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/querschott/querschott"
)

// traffic is an invented world: clerks of three insurers with their habits, practices with card readers, users of the app.
// The same settings give the same events. What an event means stands in none of them.
type traffic struct {
	seed       uint64
	clerks     int
	practices  int
	users      int
	days       int
	unexpl     float64 // share of a clerk's accesses without a reason
	newProcess float64 // share of a clerk's days on which everything lacks its reason six times as often
	gates      int
	begin      time.Time
	extra      map[int][]func(day time.Time, add func(querschott.Access)) // what happens besides, by day
	factor     map[int]float64                                            // of all clerks, by day

	silent    string // a gate that sends nothing in the afternoon of silentDay
	silentDay int

	rnd   *rand.Rand
	staff []*clerk
	seq   map[string]uint64
}

type clerk struct {
	name    string
	tenant  querschott.IK
	rate    float64
	address string
	binding string
	start   int // minute of the day
	cases   int
}

var tenants = []querschott.IK{"109500969", "104940005", "101575519"}

// strangers is how many persons each insurer has.
const strangers = 50_000

// population is the pseudonyms, made once.
var population = func() (p [strangers]string) {
	for i := range p {
		p[i] = fmt.Sprintf("%016x", uint64(i)*0x9e3779b97f4a7c15+1)
	}
	return p
}()

func newTraffic() *traffic {
	return &traffic{
		seed: 1, clerks: 30, days: 20, unexpl: 0.03, gates: 1, begin: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), // a Monday
		extra: map[int][]func(time.Time, func(querschott.Access)){}, factor: map[int]float64{}, seq: map[string]uint64{},
	}
}

// play tells all events in order.
func (w *traffic) play(tell func(*querschott.Access)) {
	w.rnd = rand.New(rand.NewPCG(w.seed, 7))
	w.hire()
	var day []querschott.Access
	for d := range w.days {
		day = day[:0]
		at := w.begin.AddDate(0, 0, d)
		add := func(e querschott.Access) { day = append(day, e) }
		w.work(d, at, add)
		w.treat(d, at, add)
		w.browse(at, add)
		for _, f := range w.extra[d] {
			f(at, add)
		}
		slices.SortStableFunc(day, func(a, b querschott.Access) int { return a.Time.Compare(b.Time) })
		for i := range day {
			e := &day[i]
			if e.Gate == "" {
				e.Gate = string(rune('a' + i%w.gates))
			}
			if e.Gate == w.silent && d == w.silentDay && e.Time.Hour() >= 13 {
				e.Gate = "a"
			}
			w.seq[e.Gate]++
			e.Seq, e.RequestID = w.seq[e.Gate], "r"
			if e.Outcome == "" {
				e.Outcome, e.Status, e.Records = "success", 200, 1
			}
			if e.Outcome != "never sent" {
				tell(e)
			}
		}
	}
}

// hire draws the clerks: case work, call centre, benefits, managers, IT, audit, and how much each of them does.
func (w *traffic) hire() {
	for i := range w.clerks {
		rate := []struct{ upTo, rate float64 }{{.45, 60}, {.70, 110}, {.85, 40}, {.93, 6}, {.96, 3}, {1, 25}}
		x, k := float64(i)/float64(w.clerks), 0
		for x >= rate[k].upTo {
			k++
		}
		w.staff = append(w.staff, &clerk{
			name: fmt.Sprintf("clerk-%d", i+1), tenant: tenants[i%len(tenants)], rate: rate[k].rate * math.Exp(0.35*w.rnd.NormFloat64()),
			address: fmt.Sprintf("10.0.%d.%d", i%len(tenants), i%250), binding: fmt.Sprintf("key-%d", i), start: 7*60 + w.rnd.IntN(120),
		})
	}
}

// event is an access of a clerk at a minute of the day.
func (c *clerk) event(day time.Time, minute float64, person int, reason string) querschott.Access {
	return querschott.Access{
		Time: day.Add(time.Duration(minute * float64(time.Minute))).Truncate(time.Microsecond), Service: querschott.Desk, Insurer: c.tenant, Tenant: c.tenant,
		Actor: querschott.Actor(c.name), Credential: querschott.CredentialID("c:" + c.name), Role: querschott.RoleStaff, Action: "read",
		Query: "GET person", Person: population[person%strangers], ReasonRef: reason, Address: c.address, Binding: c.binding,
	}
}

// reason opens another case.
func (c *clerk) reason() string {
	c.cases++
	return "case-" + c.name + "-" + strconv.Itoa(c.cases)
}

func (w *traffic) work(d int, at time.Time, add func(querschott.Access)) {
	wd := at.Weekday()
	if wd == time.Saturday || wd == time.Sunday {
		return
	}
	f := []float64{0, 1.25, 1.05, 1, 0.95, 0.75}[wd]
	if d%28 >= 23 {
		f *= 1.35 // the end of a month
	}
	if g := w.factor[d]; g > 0 {
		f *= g
	}
	for _, c := range w.staff {
		if w.rnd.Float64() < 0.18 {
			continue // absent
		}
		n, unexpl := c.rate*f*math.Exp(0.22*w.rnd.NormFloat64()), w.unexpl
		if w.rnd.Float64() < 0.004 {
			n = min(n*(3+3*w.rnd.Float64()), 500) // a campaign
		}
		if w.rnd.Float64() < w.newProcess {
			unexpl = min(6*unexpl, 1)
		}
		if w.rnd.Float64() < 0.01 {
			c.address = fmt.Sprintf("192.0.%d.%d", w.rnd.IntN(200), w.rnd.IntN(250)) // from elsewhere
		}
		if w.rnd.Float64() < 0.002 {
			c.binding = fmt.Sprintf("key-%x", w.rnd.Uint64()) // a new computer
		}
		for range int(n) {
			minute, reason := float64(c.start)+520*w.rnd.Float64(), c.reason()
			if w.rnd.Float64() < unexpl {
				reason = ""
			}
			e := c.event(at, minute, w.rnd.IntN(strangers), reason)
			if w.rnd.Float64() < 0.02 {
				e.Outcome, e.Cause, e.Status, e.Person = "failed", "not-there", 404, ""
			}
			add(e)
		}
	}
}

func (w *traffic) treat(d int, at time.Time, add func(querschott.Access)) {
	wd := at.Weekday()
	if wd == time.Saturday || wd == time.Sunday {
		return
	}
	f := []float64{0, 1.5, 1.05, 0.8, 1, 0.7}[wd]
	if d%91 < 14 {
		f *= 2.2 // the quarter begins, every card is read once
	}
	for i := range w.practices {
		size := 8 + 72*float64(i*i)/float64(w.practices*w.practices)
		for range int(size * f * math.Exp(0.2*w.rnd.NormFloat64())) {
			add(check(i+1, at, float64(8*60)+540*w.rnd.Float64(), w.rnd.IntN(strangers)))
		}
	}
}

// check is a card check of a practice.
func check(practice int, at time.Time, minute float64, person int) querschott.Access {
	return querschott.Access{
		Time: at.Add(time.Duration(minute * float64(time.Minute))).Truncate(time.Microsecond), Service: querschott.VSDM, Insurer: tenants[person%3],
		Actor: querschott.Actor(fmt.Sprintf("practice-%d", practice)), Credential: querschott.CredentialID(fmt.Sprintf("smc-b-%d", practice)),
		Role: querschott.RolePractice, Action: "read", Query: "GET vsd", Person: population[person], Address: fmt.Sprintf("198.18.%d.1", practice%250),
		Binding: fmt.Sprintf("card-%d", practice),
	}
}

// user is an access of the app's user to a person; its own has the same number.
func user(n int, at time.Time, minute float64, person int) querschott.Access {
	return querschott.Access{
		Time: at.Add(time.Duration(minute * float64(time.Minute))), Service: querschott.App, Insurer: tenants[n%3], Tenant: tenants[n%3],
		Actor: querschott.Actor(fmt.Sprintf("user-%d", n)), Credential: querschott.CredentialID(fmt.Sprintf("session-%d", n)),
		Role: querschott.RoleInsured, Action: "read", Query: "GET own", Person: population[person], Address: fmt.Sprintf("203.0.%d.%d", n%30, n%250),
		Binding: fmt.Sprintf("phone-%d", n),
	}
}

func (w *traffic) browse(at time.Time, add func(querschott.Access)) {
	for i := range w.users {
		if w.rnd.Float64() < 0.3 {
			minute := 400 + 900*w.rnd.Float64()
			for k := range 1 + w.rnd.IntN(3) { // himself, children
				add(user(i+1, at, minute+float64(k), i+strangers/2*min(k, 1)+k))
			}
			if w.rnd.Float64() < 0.01 {
				e := user(i+1, at, minute+5, i+9)
				e.Outcome, e.Cause, e.Status = "denied", "foreign-person", 403
				add(e)
			}
		}
	}
}

// on adds something to a day.
func (w *traffic) on(day int, f func(at time.Time, add func(querschott.Access))) {
	w.extra[day] = append(w.extra[day], f)
}

// steal makes somebody use a clerk's credential for so many persons on every working day.
func (w *traffic) steal(number, from, perDay int, reason func(*clerk) string) {
	for d := from; d < w.days; d++ {
		w.on(d, func(at time.Time, add func(querschott.Access)) {
			if wd := at.Weekday(); wd == time.Saturday || wd == time.Sunday {
				return
			}
			c := w.staff[number-1]
			for range perDay {
				add(c.event(at, 8*60+500*w.rnd.Float64(), w.rnd.IntN(strangers), reason(c)))
			}
		})
	}
}

func noReason(*clerk) string { return "" }
