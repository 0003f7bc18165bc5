package attack

import (
	"math"
	"slices"
	"time"
)

// mule is one credential at work.
type mule struct {
	r      *Run
	number int
	who    Holder
	rate   float64 // requests a day at full speed
	slow   float64 // what is left of the rate after backing off
	tries  int
	burst  int
	gap    time.Duration
	ramp   time.Duration
	work   int // days of a cycle at work
	pause  int
	wait   time.Duration
	rotate int // persons after which something changes, 0 never

	day     time.Time   // that is planned next
	days    int         // planned so far
	times   []time.Time // of today's requests to come
	done    bool
	refused int // in a row
	served  int // since the last rotation
	at      time.Time
	again   *Access // what was refused and is tried again

	network, key int
	place        int // in the order of persons
	listed, own  []int
}

func newMule(r *Run, number int, h Holder) *mule {
	f, rnd := r.f, r.rnd
	m := &mule{
		r: r, number: number, who: h, rate: f.Rate.Persons.draw(rnd) * f.perDay(), slow: 1, tries: int(f.Refused.Tries.draw(rnd)),
		burst: int(f.Rate.Burst.draw(rnd)), gap: f.Rate.Gap.draw(rnd), ramp: f.Rate.Ramp.draw(rnd), work: int(f.Rate.Work.draw(rnd)),
		pause: int(f.Rate.Pause.draw(rnd)), wait: f.Refused.Wait.draw(rnd), rotate: int(f.Rotate.After.draw(rnd)),
	}
	y, month, d := r.begin.Date()
	m.day = time.Date(y, month, d, 0, 0, 0, 0, r.begin.Location()).AddDate(0, 0, -1) // its night may reach into the first day
	m.move()
	return m
}

// move makes the mule somebody else's credential.
func (m *mule) move() {
	f, rnd := m.r.f, m.r.rnd
	if f.From.Network != "own" {
		m.network = 1 + rnd.IntN(1<<20)
	}
	if f.From.Key != "own" {
		m.key = 1 + rnd.IntN(1<<30)
	}
	m.place, m.own, m.listed = rnd.IntN(1<<30), nil, nil
}

// ready plans days until there is a request to make; false when there will be none.
func (m *mule) ready() bool {
	for !m.done && len(m.times) == 0 {
		if !m.day.Before(m.r.end) {
			m.done = true
			break
		}
		m.times = m.plan()
		m.day = m.day.AddDate(0, 0, 1)
		m.days++
	}
	return !m.done
}

// plan draws the times of a day's requests.
func (m *mule) plan() []time.Time {
	f := m.r.f
	weekend := m.day.Weekday() == time.Saturday || m.day.Weekday() == time.Sunday
	if f.Rate.Days == "working" && weekend || f.Rate.Days == "weekend" && !weekend {
		return nil
	}
	if m.pause > 0 && (m.days+m.number)%(m.work+m.pause) >= m.work {
		return nil
	}
	n := m.rate * m.slow * math.Exp(f.Rate.Jitter*m.r.rnd.NormFloat64())
	if m.ramp > 0 {
		n *= min(1, float64(m.day.Add(day).Sub(m.r.begin))/float64(m.ramp))
	}
	whole, part := math.Modf(min(max(n, 0), maxPerDay))
	if m.r.rnd.Float64() < part {
		whole++
	}
	times := m.spread(int(whole))
	keep := times[:0]
	for _, t := range times {
		if !t.Before(m.r.begin) && t.Before(m.r.end) && t.After(m.at) {
			keep = append(keep, t)
		}
	}
	return keep
}

// spread puts n requests into the hours of a day, in order.
func (m *mule) spread(n int) []time.Time {
	h := m.r.f.Rate.Hours
	first, long := m.day.Add(time.Duration(h.From)*time.Minute), time.Duration(h.To-h.From)*time.Minute
	times := make([]time.Time, 0, n)
	at := func(share float64) time.Time { return first.Add(time.Duration(share * float64(long))) }
	switch m.r.f.Rate.Spacing {
	case "even":
		for i := range n {
			times = append(times, at((float64(i)+0.3+0.4*m.r.rnd.Float64())/float64(n)))
		}
	case "bursts":
		for len(times) < n {
			t := at(m.r.rnd.Float64())
			for range min(m.burst, n-len(times)) {
				times = append(times, t)
				t = t.Add(time.Duration(float64(m.gap) * (0.5 + m.r.rnd.Float64())))
			}
		}
	default:
		for range n {
			times = append(times, at(m.r.rnd.Float64()))
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// request makes the next one.
func (m *mule) request() Access {
	m.at, m.times = m.times[0], m.times[1:]
	a := Access{}
	if m.again != nil {
		a = *m.again
		a.Again = true
	} else {
		m.choose(&a)
	}
	a.At, a.Mule, a.Holder, a.Network, a.Key = m.at, m.number, m.who, m.network, m.key
	if m.r.f.From.Network == "many" {
		a.Network = 1 + (m.network+m.r.rnd.IntN(256))%(1<<20)
	}
	m.again = &a
	return a
}

// choose draws whom a request is about, and why it says so.
func (m *mule) choose(a *Access) {
	f, rnd := m.r.f, m.r.rnd
	a.Identified = f.Who.Known == 1 || rnd.Float64() < f.Who.Known
	a.Token, a.Action, a.Unseen, a.Insurer = f.From.Token, f.Rate.Action, f.From.Unseen, m.who.Insurer
	if a.Insurer < 0 {
		a.Insurer = m.r.bySize(-1)
	}
	a.Reason.Kind = "none"
	if f.Reasons.Give != "none" && rnd.Float64() < f.Reasons.Share {
		if a.Reason = (Reason{f.Reasons.Give, m.r.reason}); f.Reasons.Give == "new" || f.Reasons.Give == "copied" {
			a.Reason.Number = rnd.Uint64()
		}
	}
	switch x := rnd.Float64(); {
	case x < f.Persons.Missing:
		a.Person = -1
	case x < f.Persons.Missing+f.Persons.Foreign:
		if f.Who.Channel != App {
			a.Insurer = m.r.bySize(a.Insurer)
		}
		a.Person = rnd.IntN(max(m.r.land.Insurers()[a.Insurer].Persons, 1))
	case x < f.Persons.Missing+f.Persons.Foreign+f.Persons.Own:
		a.Person = m.listedOf(&m.own, Own)
	default:
		a.Person = m.person(a.Insurer)
	}
}

// maxKnown is how many persons of one choice a mule looks at.
const maxKnown = 20_000

func (m *mule) person(insurer int) int {
	f, n := m.r.f, max(m.r.land.Insurers()[insurer].Persons, 1)
	switch f.Persons.Choose {
	case Random:
		return m.r.rnd.IntN(n)
	case Sequential:
		m.place++
		return m.place % n
	case List:
		m.place++
		return f.Persons.List[m.place%len(f.Persons.List)] % n
	default:
		return m.listedOf(&m.listed, f.Persons.Choose)
	}
}

// listedOf returns the next person of a choice; a random one if there is none.
func (m *mule) listedOf(list *[]int, c Choice) int {
	if *list == nil {
		*list = m.r.land.Known(m.who, c, maxKnown)
	}
	if len(*list) == 0 {
		return m.r.rnd.IntN(max(m.r.land.Insurers()[max(m.who.Insurer, 0)].Persons, 1))
	}
	m.place++
	return (*list)[m.place%len(*list)]
}

// react takes in how the last request ended.
func (m *mule) react(o Outcome) {
	if o.Result == Served || o.Result == Missing || o.Result == Denied {
		m.again, m.refused = nil, 0
		if o.Result == Served {
			m.r.served++
			m.served++
		}
		if m.rotate > 0 && m.served >= m.rotate {
			m.served = 0
			m.turn()
		}
		return
	}
	m.refused++
	switch m.r.f.Refused.Then {
	case "stop":
		m.done = true
	case "rotate":
		if o.Result == Held || m.refused >= m.tries {
			m.done = !m.next()
		}
	case "back-off":
		m.slow /= 2
		m.done = m.refused >= m.tries
	default:
		m.done = m.refused >= m.tries
	}
	m.sleep(max(m.wait, o.RetryAfter))
}

// turn changes what a family changes by itself.
func (m *mule) turn() {
	for _, w := range m.r.f.Rotate.What {
		switch w {
		case "credential":
			m.next()
		case "network":
			m.network = 1 + m.r.rnd.IntN(1<<20)
		default:
			m.key = 1 + m.r.rnd.IntN(1<<30)
		}
	}
}

// next goes on with a spare credential; false when there is none.
func (m *mule) next() bool {
	if len(m.r.spares) == 0 {
		return false
	}
	m.who, m.r.spares = m.r.spares[0], m.r.spares[1:]
	m.refused, m.again = 0, nil
	m.move()
	return true
}

// sleep lets requests of the next time be. The one that was refused takes the place of the first behind it, or is made right
// then if the day's plan is over.
func (m *mule) sleep(d time.Duration) {
	if m.done {
		return
	}
	until := m.at.Add(d)
	i := slices.IndexFunc(m.times, func(t time.Time) bool { return t.After(until) })
	if i < 0 {
		i = len(m.times)
	}
	m.times = m.times[i:]
	if until.Before(m.r.end) && (len(m.times) == 0 || m.r.f.Refused.Then != "back-off") {
		m.times = slices.Insert(m.times, 0, until)
	}
}
