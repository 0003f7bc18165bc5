package node

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
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

// flooders are those of the ground's practices that take part in a flood, and do nothing else: whoever is held for it is missed
// by nobody.
const flooders = groundPractices / 4

// usual is what all insurers are asked together, in an open loop.
func (g *ground) usual(what kind, rate float64, d time.Duration) load {
	l := g.load(g.callsOf(flooders, groundPractices-flooders, what, g.everyInsurer(), besides(0)))
	l.Rate, l.Count = rate, int(rate*d.Seconds())
	return l
}

// flood is what the first insurer is asked besides.
func (g *ground) flood(what kind, rate float64, d time.Duration) load {
	l := g.load(g.callsOf(0, flooders, what, []int{0}, func(int) string { return theFlood }))
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
	usual := g.usual(fhirRead, 60, 3*time.Second)
	usual.Connections = most // after a busy machine's pause they have no more under way at once than one of them may
	others := startLoad(t, usual)
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

// Kinds of phases: two without a flood, which differ in nothing but their name; one with a flood whose requests are all
// served; one with a flood of requests that the service behind the gate answers slowly, of which most are more than a
// compartment may have under way and waiting.
const (
	phaseQuiet = iota
	phaseControl
	phaseServed
	phaseRefused
	phaseKinds
)

const (
	floodTimes = 20
	phaseTime  = 1500 * time.Millisecond

	// settling is the part of a phase in which what happens is counted to none: what the flood before has left, as many requests
	// as may be under way and wait, is answered in it.
	settling = 500 * time.Millisecond
)

// isolationSamples names a file to which the benchmark adds what it measured, and from which it takes what was measured before
// at the same rate: a machine that is quiet for minutes at a time gets one comparison out of several runs.
const isolationSamples = "QUERSCHOTT_SAMPLES"

// BenchmarkIsolation measures what 79 insurers notice of a flood on the 80th, twenty times its usual share. One load of all
// insurers goes on all the time, on the same connections, in an open loop; time counts from when a request was due. Phases of
// one and a half seconds follow each other in blocks of four, one of each kind in an order drawn by lot. -benchtime says how many
// blocks.
//
// What is compared are the p99 of all answers in phases with a flood and of those in both kinds of phases without; and of
// these two with one another ("control"), which shows what the method itself makes of nothing. "low" and "high" are between
// what drawing the blocks anew gives in nine of ten cases, so the true figure lies above "high" once in twenty.
//
// Whoever measures has a process of its own that goes before all others, as its own waiting is not the gate's. The floods'
// callers go after all others: they would stand elsewhere.
func BenchmarkIsolation(b *testing.B) {
	const underWay, slow = 2, 150 * time.Millisecond // at a time in a compartment; twice as many wait
	g := newGroundBehind(b, allInsurers, slow, func(c *Config) {
		c.HTTP.Limits.Concurrent = underWay
	})
	for _, rate := range []float64{160, 400} {
		b.Run(fmt.Sprintf("rate=%.0f", rate), func(b *testing.B) {
			g.b = b
			g.renew()
			p := newPhases(b.N)
			usual := g.usual(cardCheck, rate, p.long())
			usual.Phase, usual.Asks, usual.Nice = phaseTime, p.which(phaseQuiet, phaseControl, phaseServed, phaseRefused), -10
			others := startLoad(b, usual)
			floods := map[int]*peer{}
			for kind, what := range map[int]kind{phaseServed: cardCheck, phaseRefused: slowRead} {
				l := g.flood(what, floodTimes*rate/allInsurers, p.long())
				l.Phase, l.Asks, l.Connections, l.Nice = phaseTime, p.which(kind), 100, 19
				floods[kind] = startLoad(b, l)
				floods[kind].begin()
			}
			before := processor(b)
			o := others.play()
			b.ReportMetric((processor(b)-before).Seconds()/p.long().Seconds(), "node-cores")
			b.ReportMetric(o.CPU.Seconds()/p.long().Seconds(), "measuring-cores")
			for kind, name := range map[int]string{phaseServed: "served", phaseRefused: "refused"} {
				b.Logf("the flood that is %s: %v", name, floods[kind].outcome().statuses())
				floods[kind].end()
			}
			others.end()
			compare(b, gathered(b, fmt.Sprintf("rate=%.0f", rate), p.blocks(b, o)))
			b.ReportMetric(0, "ns/op")
		})
	}
}

// phaseOf names a group in one phase.
func phaseOf(group string, phase int) string { return fmt.Sprintf("%s %d", group, phase) }

// settled names a group's requests while phases settle.
func settled(group string) string { return group + ", settling" }

// when returns when the i-th request is due, and its group; false if it is not asked.
func (l *load) when(i int) (at time.Duration, group string, asked bool) {
	group = l.Calls[i%len(l.Calls)].Group
	at = time.Duration(float64(i) / l.Rate * float64(time.Second))
	if l.Phase == 0 {
		return at, group, true
	}
	phase := int(at / l.Phase)
	if at%l.Phase < settling {
		group = settled(group)
	} else {
		group = phaseOf(group, phase)
	}
	return at, group, phase < len(l.Asks) && l.Asks[phase]
}

// phases are the kinds of what follows each other.
type phases []int

func newPhases(blocks int) (p phases) {
	for range blocks {
		p = append(p, rand.Perm(phaseKinds)...)
	}
	return p
}

func (p phases) long() time.Duration { return time.Duration(len(p)) * phaseTime }

// which says of each phase whether it is of one of these kinds.
func (p phases) which(kinds ...int) []bool {
	list := make([]bool, len(p))
	for i := range list {
		list[i] = slices.Contains(kinds, p[i])
	}
	return list
}

// block is what the answers of one block took, in µs.
type block [phaseKinds][]uint32

// blocks takes the others' times, of whom none may have been refused, also while phases settle.
func (p phases) blocks(b *testing.B, o *outcome) []block {
	b.Helper()
	o.must(b, settled(theOthers))
	list := make([]block, len(p)/phaseKinds)
	for i, kind := range p {
		list[i/phaseKinds][kind] = o.must(b, phaseOf(theOthers, i)).Took
	}
	return list
}

// gathered adds blocks to those of earlier runs, if there is a file for that.
func gathered(b *testing.B, name string, list []block) []block {
	b.Helper()
	dir := os.Getenv(isolationSamples)
	if dir == "" {
		return list
	}
	file := filepath.Join(dir, name+".json")
	var before []block
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &before)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.Fatal(err)
	}
	list = append(before, list...)
	if data, err = json.Marshal(list); err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	return list
}

// drawn is what one answer took, and in which block.
type drawn struct {
	took  uint32
	block int
}

// sample is the times of some kinds of phases, sorted.
type sample []drawn

func sampleOf(blocks []block, kinds ...int) (s sample) {
	for i := range blocks {
		for _, kind := range kinds {
			for _, took := range blocks[i][kind] {
				s = append(s, drawn{took, i})
			}
		}
	}
	slices.SortFunc(s, func(x, y drawn) int { return cmp.Compare(x.took, y.took) })
	return s
}

// quantile is the time in ms that such a part of the answers does not exceed when each block counts as often as it was drawn.
func (s sample) quantile(q float64, times []int) float64 {
	all := 0
	for _, d := range s {
		all += times[d.block]
	}
	below := 0
	for _, d := range s {
		if below += times[d.block]; float64(below) >= q*float64(all) {
			return float64(d.took) / 1000
		}
	}
	return 0
}

// compare reports the others' times with and without floods.
func compare(b *testing.B, blocks []block) {
	b.Helper()
	once := slices.Repeat([]int{1}, len(blocks))
	none := sampleOf(blocks, phaseQuiet, phaseControl)
	b.ReportMetric(float64(len(blocks)), "blocks")
	for _, q := range []float64{0.5, 0.99} {
		b.ReportMetric(none.quantile(q, once), fmt.Sprintf("none-p%.0f-ms", q*100))
	}
	for _, c := range []struct {
		name string
		kind int
		with sample
	}{
		{"control", phaseControl, sampleOf(blocks, phaseQuiet)},
		{"served", phaseServed, none},
		{"refused", phaseRefused, none},
	} {
		s := sampleOf(blocks, c.kind)
		b.ReportMetric(s.quantile(0.99, once), c.name+"-p99-ms")
		b.ReportMetric(s.quantile(0.99, once)/c.with.quantile(0.99, once), c.name+":none")
		var again []float64
		for range 1000 {
			times := make([]int, len(blocks))
			for range blocks {
				times[rand.IntN(len(blocks))]++
			}
			again = append(again, s.quantile(0.99, times)/c.with.quantile(0.99, times))
		}
		slices.Sort(again)
		b.ReportMetric(again[len(again)/20], c.name+"-low")
		b.ReportMetric(again[len(again)-1-len(again)/20], c.name+"-high")
	}
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
