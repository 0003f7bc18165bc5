package node

import (
	"net/http"
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

// BenchmarkIsolation measures what 79 insurers notice of a flood on the 80th: twenty times its usual share, in phases that
// alternate with phases without. With requests=usual the flood is card checks like all others; with requests=slow each is one
// that the service behind the gate takes a second to answer.
func BenchmarkIsolation(b *testing.B) {
	g := newGround(b, allInsurers)
	const rate = 640
	phase := time.Duration(long(5, 10)) * time.Second
	for _, w := range []struct {
		name         string
		usual, flood kind
	}{
		{"requests=usual", cardCheck, cardCheck},
		{"requests=slow", fhirRead, slowRead},
	} {
		b.Run(w.name, func(b *testing.B) {
			g.b = b
			g.renew()
			var p99, p50 [2][]float64
			for round := range b.N*long(4, 7) + 1 {
				for flooded := range 2 {
					usual := startLoad(b, g.usual(w.usual, rate, phase))
					var flood *peer
					if flooded == 1 {
						flood = startLoad(b, g.flood(w.flood, 20*rate/allInsurers, phase))
						flood.begin()
					}
					t := usual.play().must(b, theOthers)
					usual.end()
					a, z := float64(t.quantile(0.5).Microseconds())/1000, float64(t.quantile(0.99).Microseconds())/1000
					if flood != nil {
						b.Logf("round %d: flood %v", round, flood.outcome().group(theFlood).Status)
						flood.end()
					}
					if round > 0 { // the first is to warm up
						b.Logf("round %d: flood %v: p50 %.2f ms, p99 %.2f ms", round, flooded == 1, a, z)
						p50[flooded], p99[flooded] = append(p50[flooded], a), append(p99[flooded], z)
					}
				}
			}
			b.ReportMetric(median(p50[0]), "quiet-p50-ms")
			b.ReportMetric(median(p50[1]), "flood-p50-ms")
			b.ReportMetric(median(p99[0]), "quiet-p99-ms")
			b.ReportMetric(median(p99[1]), "flood-p99-ms")
			b.ReportMetric(median(p99[1])/median(p99[0]), "flood:quiet")
			b.ReportMetric(0, "ns/op")
		})
	}
}
