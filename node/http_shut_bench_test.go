package node

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

// inProcess makes n requests that go into the entrance without a network, each from another one.
func (g *ground) inProcess(calls []loadCall, n int) (list []*http.Request) {
	g.b.Helper()
	l := g.load(calls)
	if err := l.prepare(); err != nil {
		g.b.Fatal(err)
	}
	for i := range n {
		c := &calls[i%len(calls)]
		proof, err := l.sign(c)
		if err != nil {
			g.b.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, l.Base+c.Path+"?"+c.Query, nil)
		r.URL.Scheme, r.URL.Host = "", ""
		r.RemoteAddr = fmt.Sprintf("127.2.%d.%d:1", i/200, 1+i%200)
		for name, value := range c.Header {
			r.Header.Set(name, value)
		}
		r.Header.Set("Authorization", "DPoP "+l.Callers[c.Caller].Access)
		r.Header.Set(zeta.HeaderDPoP, proof)
		list = append(list, r)
	}
	return list
}

// BenchmarkShut measures, without a network, how soon the next request is refused when somebody gives the order to close a
// door. Requests are whole ones, with tokens, proofs and the ledger's entry before the answer.
//
//   - in-force: from before the order is drafted and signed until the door is closed. No request that the gate lets in later
//     is served
//   - refused: from the same moment until the first refusal has left
//   - refusal: what a request took that began when the door was closed
//   - obeyed: until the order returns: it is on disk, in the ledger, and nothing is under way any more
//
// With callers=paced there is a request each millisecond, a thousand a second for this one compartment; with callers=busy two
// callers ask all the time and leave no processor idle, so that whoever gives the order waits for one of them.
func BenchmarkShut(b *testing.B) {
	g := newGround(b, allInsurers)
	for _, w := range []struct {
		name string
		ask  func(asked []*asked, late func() bool, warm func())
	}{
		{"callers=paced", g.paced},
		{"callers=busy", g.busy},
	} {
		b.Run(w.name, func(b *testing.B) {
			g.b = b
			changes, cancel := g.Changes(1 << 10)
			defer cancel()
			var inForce, refused, refusal, obeyed []time.Duration
			for round := range b.N {
				if round%100 == 0 {
					g.renew()
				}
				insurer := round % allInsurers
				c := g.h.compartment(insurer, querschott.VSDM)
				s := g.shut(c, g.inProcess(g.calls(cardCheck, []int{insurer}, oneGroup), 60), w.ask)
				for o := range changes {
					if o.Order.Compartment == c && o.Order.To == querschott.Closed {
						s.applied = o.Applied
						break
					}
				}
				inForce = append(inForce, s.applied.Sub(s.given))
				obeyed = append(obeyed, s.returned.Sub(s.given))
				first, own := s.refusals(b, c)
				refused, refusal = append(refused, first), append(refusal, own...)
				g.move(querschott.Open, c)
			}
			percentiles(b, "in-force-", inForce)
			percentiles(b, "refused-", refused)
			percentiles(b, "refusal-", refusal)
			percentiles(b, "obeyed-", obeyed)
			b.ReportMetric(0, "ns/op")
		})
	}
}

// asked is a request and what became of it.
type asked struct {
	r            *http.Request
	began, ended time.Time // zero: it was not asked
	status       int
}

func (g *ground) serve(a *asked) {
	w := httptest.NewRecorder()
	a.began = time.Now()
	g.http.ServeHTTP(w, a.r)
	a.ended, a.status = time.Now(), w.Code
}

// busy is two callers who ask all the time, and twice more when it is late. They call warm when some were served.
func (g *ground) busy(list []*asked, late func() bool, warm func()) {
	var next, served atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for more := 0; more < 2; {
				i := int(next.Add(1)) - 1
				if i >= len(list) {
					return
				}
				if late() {
					more++
				}
				g.serve(list[i])
				if served.Add(1) == 6 {
					warm()
				}
			}
		})
	}
	wg.Wait()
}

// paced asks each millisecond, whatever becomes of the requests before, and twice more when it is late.
func (g *ground) paced(list []*asked, late func() bool, warm func()) {
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	more := 0
	for i, a := range list {
		<-tick.C
		if i == 6 {
			warm()
		}
		if late() {
			more++
		}
		wg.Go(func() { g.serve(a) })
		if more == 2 {
			break
		}
	}
	wg.Wait()
}

// shutting is what happened while a door was closed.
type shutting struct {
	given, applied, returned time.Time
	asked                    []*asked
}

// shut closes a door while callers ask.
func (g *ground) shut(c querschott.Compartment, requests []*http.Request, ask func([]*asked, func() bool, func())) *shutting {
	g.b.Helper()
	signer := g.h.signer(anna)
	s := &shutting{}
	for _, r := range requests {
		s.asked = append(s.asked, &asked{r: r})
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	warm := make(chan struct{})
	wg.Go(func() { ask(s.asked, done.Load, sync.OnceFunc(func() { close(warm) })) })
	<-warm
	s.given = time.Now()
	_, err := g.Order(g.b.Context(), door.Request{Compartment: c, To: querschott.Closed, Reason: "benchmark"}, anna, signer)
	s.returned = time.Now()
	done.Store(true)
	wg.Wait()
	if err != nil {
		g.b.Fatal(err)
	}
	return s
}

// refusals returns when the first request was refused, since the order was given, and what those took that began when the door
// was closed. None of these may have been served.
func (s *shutting) refusals(b *testing.B, c querschott.Compartment) (first time.Duration, own []time.Duration) {
	b.Helper()
	for _, a := range s.asked {
		switch {
		case a.status == http.StatusServiceUnavailable:
			if d := a.ended.Sub(s.given); first == 0 || d < first {
				first = d
			}
			if a.began.After(s.applied) {
				own = append(own, a.ended.Sub(a.began))
			}
		case a.status == http.StatusOK && a.began.After(s.applied):
			b.Fatalf("%s was served after its door had closed", c)
		case a.status != 0 && a.status != http.StatusOK:
			b.Fatalf("got %d", a.status)
		}
	}
	if first == 0 {
		b.Fatal("nobody was refused")
	}
	return first, own
}

// BenchmarkHTTPStart measures opening a node of 80 insurers with an HTTP entrance and master data of 50,000 persons, and the
// memory of one that has all doors open and no traffic.
func BenchmarkHTTPStart(b *testing.B) {
	const persons = 50_000
	h, m := newVSDMHouse(b, allInsurers, func(c *Config) {
		c.HTTP.DevIssuers, c.HTTP.AccessLog = false, "access.ndjson"
		c.HTTP.AccessIssuers = []IssuerConfig{{Issuer: accessIssuer, Keys: "issuers.json"}}
		c.HTTP.PresenceIssuers = []IssuerConfig{{Issuer: presenceIssuer, Keys: "issuers.json"}}
	})
	h.opt.Log, h.opt.DevIssuer = nil, nil
	keys, err := json.Marshal(jose.KeySet{m.id.ID: m.id})
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "issuers.json"), keys, 0o600); err != nil {
		b.Fatal(err)
	}
	n := h.run()
	n.openAll()
	many := drill.NewWorld(7, allInsurers, persons)
	h.parallel(allInsurers, func(i int) error {
		first, all := many.Insurers()[i].Persons()
		return n.stock(many, i, first, all)
	})
	n.stop()
	b.ResetTimer()
	for range b.N {
		again, err := Open(b.Context(), h.cfg, h.opt)
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		if err := again.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/start")
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run", "^TestIdleNode$") //nolint:gosec // this test itself
	cmd.Env = append(os.Environ(), idleDirectory+"="+h.cfg.file)
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	b.ReportMetric(kilobytes(b, string(out), "VmRSS:")/1024, "MiB")
	b.ReportMetric(kilobytes(b, string(out), "VmHWM:")/1024, "peak-MiB")
}
