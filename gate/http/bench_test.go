package http

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
)

// book is doors as the node has them: a fixed map.
func book(c *Config) {
	doors := map[querschott.Compartment]door.Order{}
	for i := range 80 {
		for _, s := range querschott.Services() {
			c := querschott.Compartment{Insurer: querschott.IKFromNumber(uint32(109500000 + i)), Service: s}
			doors[c] = door.Order{Compartment: c, To: querschott.Open, Epoch: 7}
		}
	}
	doors[querschott.Compartment{Insurer: one, Service: querschott.VSDM}] = door.Order{To: querschott.Open}
	doors[querschott.Compartment{Insurer: one, Service: querschott.EPA}] = door.Order{To: querschott.Open}
	c.Door = func(c querschott.Compartment) (door.Order, bool) { o, ok := doors[c]; return o, ok }
}

func BenchmarkDoorDecision(b *testing.B) {
	w := newWorld(b, book)
	c := querschott.Compartment{Insurer: one, Service: querschott.VSDM}
	b.ReportAllocs()
	for b.Loop() {
		if _, v := w.srv.decide(c, "someone", false, false); v != pass {
			b.Fatal("refused")
		}
	}
}

func TestDoorDecisionAllocatesNothing(t *testing.T) {
	w := newWorld(t, book)
	c := querschott.Compartment{Insurer: one, Service: querschott.VSDM}
	if n := testing.AllocsPerRun(1000, func() { w.srv.decide(c, "someone", false, false) }); n != 0 {
		t.Errorf("a decision of the door allocates %v times, want 0", n)
	}
}

// BenchmarkPipeline is a request from its header to its answer, without network, TLS, tokens and ledger.
func BenchmarkPipeline(b *testing.B) {
	who := &ident.Identity{
		Credential: querschott.Credential{ID: "c", Actor: "1-a", Role: querschott.RolePartner}, Caller: querschott.Caller{Actor: "1-a", Role: querschott.RolePartner},
		Presence: &querschott.Presence{Insurer: string(one), Patient: string(kvnr(1))},
	}
	body := make([]byte, 4096)
	w := newWorld(b, book, func(c *Config) {
		c.Identify = func(context.Context, *http.Request, *Route) (*ident.Identity, error) { return who, nil }
		c.Valid = nil
		c.Record = func(context.Context, ...ledger.Entry) error { return nil }
		c.Pseudonym = func(querschott.Compartment, querschott.KVNR) string { return "00112233445566778899aabbccddeeff" }
		c.Routes[0].Backend = func(context.Context, *gate.Request) (*service.Answer, error) {
			return &service.Answer{Status: 200, Header: http.Header{"Content-Type": {"application/fhir+json"}, "Etag": {`"x"`}}, Body: body, Facts: read(kvnr(1))}, nil
		}
		c.Limits.Credential, c.Limits.Network = Rate{1e9, 1e9}, Rate{1e9, 1e9}
	})
	w.events.Close()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := httptest.NewRequest("GET", "https://gate.example/vsd/v1/bundle?profileVersion=1.0", nil)
		r.URL.Scheme, r.URL.Host = "", ""
		r.RemoteAddr = "127.0.0.1:1234"
		for name, value := range map[string]string{
			"Authorization": "DPoP x", "Dpop": "y", "Popp": "z", "If-None-Match": "0", "Accept": "application/fhir+json", "User-Agent": "bench",
		} {
			r.Header.Set(name, value)
		}
		for pb.Next() {
			rec := httptest.NewRecorder()
			w.srv.ServeHTTP(rec, r)
			if rec.Code != 200 {
				b.Fatalf("got %d %s", rec.Code, rec.Body)
			}
		}
	})
}

// BenchmarkClosedDoor is the time from the closing of a door to the first refusal, in one process.
func BenchmarkClosedDoor(b *testing.B) {
	var mu sync.Mutex
	now := door.Order{To: querschott.Open}
	w := newWorld(b, func(c *Config) {
		c.Door = func(querschott.Compartment) (door.Order, bool) {
			mu.Lock()
			defer mu.Unlock()
			return now, true
		}
	})
	c := querschott.Compartment{Insurer: one, Service: querschott.VSDM}
	var took time.Duration
	for b.Loop() {
		start := time.Now()
		mu.Lock()
		now = door.Order{Compartment: c, To: querschott.Closed, Epoch: now.Epoch + 1}
		mu.Unlock()
		if err := w.srv.Obey(b.Context(), now); err != nil {
			b.Fatal(err)
		}
		if _, v := w.srv.decide(c, "someone", false, false); v != refuse {
			b.Fatal("served")
		}
		took += time.Since(start)
		mu.Lock()
		now.To = querschott.Open
		mu.Unlock()
	}
	b.ReportMetric(float64(took.Microseconds())/float64(b.N), "µs/closed")
}
