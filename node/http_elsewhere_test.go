package node

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/service/vsdm"
)

// candidate is whom somebody asks an insurer for, to learn from how long the answer takes where a person is insured.
type candidate int

const (
	ofNobody    candidate = iota // a number that no insurer knows
	ofAnother                    // the number of another insurer's person
	ofAnotherDo                  // the same, whom somebody has asked that insurer for right before
	ofItsOwn                     // the insurer's own person, who is answered with data
	candidates
)

var candidateNames = [candidates]string{"nobody", "elsewhere", "elsewhere-just-asked", "own"}

// status is what a candidate is answered.
func (c candidate) status() int {
	if c == ofItsOwn {
		return http.StatusOK
	}
	return http.StatusNotFound
}

// asks is a card check of a person at an insurer, whether or not it is that person's.
func (g *ground) asks(number querschott.KVNR, at querschott.IK) loadCall {
	caller := rand.IntN(len(g.practices))
	return loadCall{Caller: caller, Path: vsdm.Path, Query: "profileVersion=1.0", Header: map[string]string{
		"PoPP": g.m.presence(g.practices[caller].Practice, number, at, time.Now()), "Accept": "application/fhir+json", "If-None-Match": "0",
	}}
}

// stranger is somebody of the world whom no insurer has stored.
func (g *ground) stranger() drill.Person {
	first, all := g.h.world.Insurers()[0].Persons()
	return g.h.world.Person(first + groundPersons + rand.IntN(min(all-groundPersons, groundPersons)))
}

// whom draws somebody of that kind. asked is the other insurer's person whom somebody has just asked for.
func (g *ground) whom(c candidate, asked drill.Person) querschott.KVNR {
	switch c {
	case ofNobody:
		return g.stranger().Number
	case ofAnotherDo:
		return asked.Number
	case ofItsOwn:
		return g.someone(0, rand.IntN(groundPersons)).Number
	default:
		for {
			if p := g.another(); p.Number != asked.Number {
				return p.Number
			}
		}
	}
}

// another is a person of another insurer than the first.
func (g *ground) another() drill.Person {
	return g.someone(1+rand.IntN(g.insurers-1), rand.IntN(groundPersons))
}

// timings asks the first insurer, without a network, one request after the other, each time for a candidate drawn by lot and each
// time after a person of another insurer was asked for there. It returns what the answers took, in µs.
func (g *ground) timings(trials int) (took [candidates][]float64) {
	g.b.Helper()
	const batch = 100 // proofs are valid for a short time
	here := g.h.world.Insurers()[0].IK
	for done := 0; done < trials; done += batch {
		if done%(20*batch) == 0 {
			g.renew()
		}
		var calls []loadCall
		var kinds []candidate
		for range batch {
			first, kind := g.another(), candidate(rand.IntN(int(candidates)))
			calls = append(calls, g.asks(first.Number, first.Insurer.IK), g.asks(g.whom(kind, first), here))
			kinds = append(kinds, kind)
		}
		requests := g.inProcess(calls, len(calls))
		for i, kind := range kinds {
			for k, want := range []int{http.StatusOK, kind.status()} {
				w, begin := httptest.NewRecorder(), time.Now()
				g.http.ServeHTTP(w, requests[2*i+k])
				if k == 1 {
					took[kind] = append(took[kind], float64(time.Since(begin).Nanoseconds())/1000)
				}
				if w.Code != want {
					g.b.Fatalf("%s, request %d: got %d %s, want %d", candidateNames[kind], k, w.Code, w.Body, want)
				}
			}
		}
	}
	return took
}

// slower is how often one of the second takes longer than one of the first: 0.5 if their times tell nothing, 1 if each of them
// tells all.
func slower(than, of []float64) float64 {
	than = slices.Sorted(slices.Values(than))
	sum := 0.0
	for _, t := range of {
		below, equal := slices.BinarySearch(than, t)
		sum += float64(below)
		if equal {
			sum += 0.5
		}
	}
	return sum / float64(len(than)) / float64(len(of))
}

// How long an insurer takes to say that it does not know a person does not tell whether another insurer does, nor whether
// somebody has just asked there. Whether the insurer itself knows the person does show: the same method sees it.
func TestTimeDoesNotTellWhereSomebodyIsInsured(t *testing.T) {
	g := newGround(t, 3)
	// A busy machine hides also the difference that is there, and then the round shows nothing.
	var took [candidates][]float64
	seen := 0.0
	for range 5 {
		took = g.timings(1200)
		if seen = slower(took[ofNobody], took[ofItsOwn]); seen >= 0.62 {
			break
		}
		t.Logf("own persons: only %.2f of the answers take longer than those for nobody", seen)
	}
	if seen < 0.62 {
		t.Errorf("own persons: %.2f of the answers take longer than those for nobody; the method sees nothing", seen)
	}
	// With 300 answers of each kind, drawn by lot, chance alone moves the share by 0.024 (standard deviation) whatever else the
	// machine does.
	for _, c := range []candidate{ofAnother, ofAnotherDo} {
		if got := slower(took[ofNobody], took[c]); got < 0.38 || got > 0.62 {
			t.Errorf("%s: %.2f of the answers take longer than those for nobody, want 0.5", candidateNames[c], got)
		}
	}
}

// BenchmarkElsewhere measures how much the time of an answer tells, with as many requests as -benchtime says: how often one of
// that kind takes longer than one for a number that nobody knows, and the difference of the medians. "low" and "high" are between
// what drawing the answers anew gives in nine of ten cases.
func BenchmarkElsewhere(b *testing.B) {
	g := newGround(b, allInsurers)
	b.ResetTimer()
	took := g.timings(b.N)
	b.StopTimer()
	b.ReportMetric(median(took[ofNobody]), "nobody-p50-µs")
	for c := ofAnother; c < candidates; c++ {
		if len(took[c]) == 0 || len(took[ofNobody]) == 0 {
			continue
		}
		b.ReportMetric(slower(took[ofNobody], took[c]), candidateNames[c]+"-slower")
		b.ReportMetric(median(took[c])-median(took[ofNobody]), candidateNames[c]+"-µs")
		var again []float64
		for range 500 {
			again = append(again, median(redrawn(took[c]))-median(redrawn(took[ofNobody])))
		}
		slices.Sort(again)
		b.ReportMetric(again[len(again)/20], candidateNames[c]+"-low-µs")
		b.ReportMetric(again[len(again)-1-len(again)/20], candidateNames[c]+"-high-µs")
	}
	b.ReportMetric(0, "ns/op")
	b.Logf("answers: %d, %d, %d, %d", len(took[0]), len(took[1]), len(took[2]), len(took[3]))
}

func redrawn(list []float64) []float64 {
	again := make([]float64, len(list))
	for i := range again {
		again[i] = list[rand.IntN(len(list))]
	}
	return again
}
