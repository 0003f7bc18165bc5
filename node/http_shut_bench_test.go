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
		r.RemoteAddr = fmt.Sprintf("127.2.0.%d:1", 1+i)
		for name, value := range c.Header {
			r.Header.Set(name, value)
		}
		r.Header.Set("Authorization", "DPoP "+l.Callers[c.Caller].Access)
		r.Header.Set(zeta.HeaderDPoP, proof)
		list = append(list, r)
	}
	return list
}

// BenchmarkShut measures, without a network, from the moment at which somebody gives the order to close a door until the first
// request is refused, while two callers ask all the time; and until the order returns, when it is on disk, in the ledger, and
// nothing is under way any more. No request that begins after that may be served.
func BenchmarkShut(b *testing.B) {
	g := newGround(b, allInsurers)
	signer := g.h.signer(anna)
	var refused, obeyed []time.Duration
	b.ResetTimer()
	for round := range b.N {
		b.StopTimer()
		if round%100 == 0 {
			g.renew()
		}
		insurer := round % allInsurers
		calls := g.calls(cardCheck, []int{insurer}, oneGroup)
		requests := g.inProcess(calls, 40)
		c := g.h.compartment(insurer, querschott.VSDM)
		b.StartTimer()
		first, returned := g.shut(c, requests, func() error {
			_, err := g.Order(b.Context(), door.Request{Compartment: c, To: querschott.Closed, Reason: "benchmark"}, anna, signer)
			return err
		})
		b.StopTimer()
		refused, obeyed = append(refused, first), append(obeyed, returned)
		g.move(querschott.Open, c)
		b.StartTimer()
	}
	b.StopTimer()
	percentiles(b, "refused-", refused)
	percentiles(b, "obeyed-", obeyed)
	b.ReportMetric(0, "ns/op")
}

// shut closes a door while callers ask, and returns when the first was refused and when the order returned, both since it was
// given.
func (g *ground) shut(c querschott.Compartment, requests []*http.Request, order func() error) (first, returned time.Duration) {
	g.b.Helper()
	type answer struct {
		began, ended time.Time
		status       int
	}
	answers := make([]answer, len(requests))
	var next, served atomic.Int64
	var done atomic.Bool
	var wg sync.WaitGroup
	warm := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for late := 0; late < 2; {
				i := int(next.Add(1)) - 1
				if i >= len(requests) {
					return
				}
				if done.Load() {
					late++
				}
				began, w := time.Now(), httptest.NewRecorder()
				g.http.ServeHTTP(w, requests[i])
				answers[i] = answer{began, time.Now(), w.Code}
				if served.Add(1) == 6 {
					close(warm)
				}
			}
		})
	}
	<-warm
	at := time.Now()
	if err := order(); err != nil {
		g.b.Fatal(err)
	}
	end := time.Now()
	done.Store(true)
	wg.Wait()
	for _, a := range answers {
		switch {
		case a.status == http.StatusServiceUnavailable && (first == 0 || a.ended.Sub(at) < first):
			first = a.ended.Sub(at)
		case a.status == http.StatusOK && a.began.After(end):
			g.b.Fatalf("%s was served after its door had closed", c)
		case a.status != 0 && a.status != http.StatusOK && a.status != http.StatusServiceUnavailable:
			g.b.Fatalf("got %d", a.status)
		}
	}
	if first == 0 {
		g.b.Fatal("nobody was refused")
	}
	return first, end.Sub(at)
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
