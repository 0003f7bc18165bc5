package node

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"
)

// Groups of insurers while one of them is flooded.
const (
	theFlooded = "flooded"
	theOthers  = "others"
	theFlood   = "flood"
)

func besides(flooded int) func(int) string {
	return func(insurer int) string {
		if insurer == flooded {
			return theFlooded
		}
		return theOthers
	}
}

// usual is what all insurers are asked together, in an open loop.
func (g *ground) usual(what kind, rate float64, d time.Duration) load {
	l := g.load(g.calls(what, g.everyInsurer(), besides(0)))
	l.Rate, l.Count = rate, int(rate*d.Seconds())
	return l
}

// flood is what the first insurer is asked besides.
func (g *ground) flood(what kind, rate float64, d time.Duration) load {
	l := g.load(g.calls(what, []int{0}, func(int) string { return theFlood }))
	l.Rate, l.Count, l.Connections = rate, int(rate*d.Seconds()), 300
	return l
}

// A flood on one insurer that is more than it may have under way at the same time, of requests that are answered slowly, costs
// the others no request.
func TestFloodOnOneInsurer(t *testing.T) {
	const insurers, most = 3, 8
	g := newGround(t, insurers, func(c *Config) {
		c.HTTP.Limits.Concurrent = most
		c.HTTP.Routes[0].Proxy.Limits.Connections = most
	})
	others := startLoad(t, g.usual(fhirRead, 60, 3*time.Second))
	flood := startLoad(t, g.flood(slowRead, 60, 3*time.Second))
	flood.begin()
	quiet := others.play()
	if x := quiet.group(theOthers); x.failures() > 0 || x.Count == 0 {
		t.Errorf("the others: %d requests, answers %v, %d connections broke (%s)", x.Count, x.Status, x.Broken, x.Trouble)
	}
	for status := range quiet.group(theFlooded).Status {
		if status != http.StatusOK && status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
			t.Errorf("the flooded insurer: answers %v", quiet.group(theFlooded).Status)
		}
	}
	if x := flood.outcome().group(theFlood); x.failures() == 0 || x.Broken > 0 {
		t.Errorf("the flood: %d requests, answers %v, %d connections broke (%s); want that some are refused", x.Count, x.Status, x.Broken, x.Trouble)
	}
}

// BenchmarkIsolation measures what 79 insurers notice of a flood on the 80th, twenty times its usual share. One load of all
// insurers goes on all the time, on the same connections. Phases of two seconds follow each other in pairs: one with the flood,
// one without, which of them first is drawn by lot. -benchtime says how many pairs. What is compared are the times of all
// answers in both kinds of phases, and pair by pair; "low" and "high" are between what drawing the pairs anew gives in nine of
// ten cases. With flood=none there is none in either kind: what shows then is the machine's.
//
// Whoever measures has a process of its own that goes before all others, as its own waiting is not the gate's; the floods'
// callers have another one. With requests=slow the flood are requests that the service behind the gate takes a second to answer.
func BenchmarkIsolation(b *testing.B) {
	g := newGround(b, allInsurers)
	for _, w := range []struct {
		name         string
		usual, flood kind
		rate, times  float64
	}{
		{"requests=usual/rate=160/flood=none", cardCheck, cardCheck, 160, 0},
		{"requests=usual/rate=160/flood=20", cardCheck, cardCheck, 160, 20},
		{"requests=usual/rate=400/flood=20", cardCheck, cardCheck, 400, 20},
		{"requests=slow/rate=160/flood=20", fhirRead, slowRead, 160, 20},
	} {
		b.Run(w.name, func(b *testing.B) {
			g.b = b
			g.renew()
			p := newPhases(b.N)
			usual := g.usual(w.usual, w.rate, p.all())
			usual.Phase, usual.Asks, usual.First = phaseTime, p.always(), true
			others := startLoad(b, usual)
			var flood *peer
			if w.times > 0 {
				l := g.flood(w.flood, w.times*w.rate/allInsurers, p.all())
				l.Phase, l.Asks, l.Connections = phaseTime, p.flooded, 100
				flood = startLoad(b, l)
				flood.begin()
			}
			before := processor(b)
			o := others.play()
			b.ReportMetric(float64((processor(b)-before).Milliseconds())/float64(p.all().Milliseconds()), "node-cores")
			b.ReportMetric(float64(o.CPU.Milliseconds())/float64(p.all().Milliseconds()), "measuring-cores")
			if flood != nil {
				b.Logf("the flood: %v", flood.outcome().statuses())
				flood.end()
			}
			others.end()
			p.compare(b, o)
			b.ReportMetric(0, "ns/op")
		})
	}
}

const phaseTime = 2 * time.Second

// settling is the part of a phase in which what happens is counted to none: it may come from the phase before.
const settling = 300 * time.Millisecond

// phaseOf names a group in one phase.
func phaseOf(group string, phase int) string { return fmt.Sprintf("%s %d", group, phase) }

// when returns when the i-th request is due, and its group; false if it is not asked.
func (l *load) when(i int) (at time.Duration, group string, asked bool) {
	group = l.Calls[i%len(l.Calls)].Group
	at = time.Duration(float64(i) / l.Rate * float64(time.Second))
	if l.Phase == 0 {
		return at, group, true
	}
	phase := int(at / l.Phase)
	if at%l.Phase < settling {
		group = "settling"
	} else {
		group = phaseOf(group, phase)
	}
	return at, group, phase < len(l.Asks) && l.Asks[phase]
}

// phases are what a comparison consists of.
type phases struct {
	flooded []bool
	lot     *rand.Rand
}

func newPhases(pairs int) *phases {
	p := &phases{lot: rand.New(rand.NewPCG(7, uint64(pairs)))}
	for range pairs {
		first := p.lot.IntN(2) == 0
		p.flooded = append(p.flooded, first, !first)
	}
	return p
}

func (p *phases) all() time.Duration { return time.Duration(len(p.flooded)) * phaseTime }

func (p *phases) always() []bool {
	list := make([]bool, len(p.flooded))
	for i := range list {
		list[i] = true
	}
	return list
}

// compare reports the others' times with and without a flood.
func (p *phases) compare(b *testing.B, o *outcome) {
	b.Helper()
	var pairs [][2][]uint32 // without, with
	var ratios []float64
	for i := 0; i < len(p.flooded); i += 2 {
		var pair [2][]uint32
		var p99 [2]float64
		for k := range 2 {
			t := o.must(b, phaseOf(theOthers, i+k))
			at := 0
			if p.flooded[i+k] {
				at = 1
			}
			p99[at] = float64(t.quantile(0.99))
			pair[at] = t.Took
		}
		pairs, ratios = append(pairs, pair), append(ratios, p99[1]/p99[0])
	}
	for k, name := range []string{"quiet-", "flood-"} {
		all := tally{}
		for _, pair := range pairs {
			all.Took = append(all.Took, pair[k]...)
		}
		for _, q := range []float64{0.5, 0.99} {
			b.ReportMetric(float64(all.quantile(q).Microseconds())/1000, fmt.Sprintf("%sp%.0f-ms", name, q*100))
		}
	}
	b.ReportMetric(pooled(pairs), "p99-flood:quiet")
	b.ReportMetric(median(ratios), "p99-of-pairs")
	var again []float64
	for range 500 {
		drawn := make([][2][]uint32, len(pairs))
		for i := range drawn {
			drawn[i] = pairs[p.lot.IntN(len(pairs))]
		}
		again = append(again, pooled(drawn))
	}
	slices.Sort(again)
	b.ReportMetric(again[len(again)/20], "low")
	b.ReportMetric(again[len(again)-1-len(again)/20], "high")
}

// pooled compares the p99 of all answers.
func pooled(pairs [][2][]uint32) float64 {
	var p99 [2]float64
	for k := range p99 {
		t := tally{}
		for _, pair := range pairs {
			t.Took = append(t.Took, pair[k]...)
		}
		p99[k] = float64(t.quantile(0.99))
	}
	return p99[1] / p99[0]
}

// statuses are the answers of all groups.
func (o *outcome) statuses() map[int]int {
	all := map[int]int{}
	for _, t := range o.Groups {
		for status, n := range t.Status {
			all[status] += n
		}
	}
	return all
}
