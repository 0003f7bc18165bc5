package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/service"
)

// BenchmarkProxy compares the way through this package with net/http/httputil.ReverseProxy in front of the same service, both
// behind an HTTP server of the standard library.
func BenchmarkProxy(b *testing.B) {
	patient, err := json.Marshal(patientForTests(kvnr(1)))
	if err != nil {
		b.Fatal(err)
	}
	entries := make([]any, 100)
	for i := range entries {
		entries[i] = map[string]any{"resource": patientForTests(kvnr(i)), "search": map[string]any{"mode": "match"}}
	}
	bundle, err := json.Marshal(map[string]any{"resourceType": "Bundle", "entry": entries})
	if err != nil {
		b.Fatal(err)
	}
	for name, body := range map[string][]byte{"patient": patient, "bundle-of-100": bundle} {
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/fhir+json")
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			_, _ = w.Write(body)
		}))
		b.Cleanup(up.Close)
		target, err := url.Parse(up.URL)
		if err != nil {
			b.Fatal(err)
		}
		plain := httputil.NewSingleHostReverseProxy(target)
		plain.Transport = &http.Transport{MaxIdleConnsPerHost: 32, DisableCompression: true}
		w := newWorldAt(b, up.URL+"/fhir", func(s *Settings) { s.Public = "" })
		b.Run(name+"/querschott", func(b *testing.B) { drive(b, http.HandlerFunc(w.serve), len(body)) })
		b.Run(name+"/ReverseProxy", func(b *testing.B) { drive(b, plain, len(body)) })
	}
}

func drive(b *testing.B, h http.Handler, size int) {
	front := httptest.NewServer(h)
	defer front.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32, DisableCompression: true}}
	defer client.CloseIdleConnections()
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := client.Get(front.URL + "/fhir/Patient/" + kvnr(1))
			if err != nil {
				b.Error(err)
				return
			}
			n, err := io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if err != nil || int(n) != size {
				b.Errorf("%d bytes of %d, %v", n, size, err)
				return
			}
		}
	})
}

// serve does the least that a gate does around a backend.
func (w *world) serve(out http.ResponseWriter, raw *http.Request) {
	a, err := w.proxy.Backend(raw.Context(), &gate.Request{
		Request: service.Request{
			ID: requestID, Compartment: querschott.Compartment{Insurer: one, Service: querschott.EPA}, Method: raw.Method, Body: raw.Body,
		},
		Raw: raw, Identity: &ident.Identity{}, Remote: netip.MustParseAddr("192.0.2.7"),
	})
	if err != nil {
		http.Error(out, err.Error(), http.StatusBadGateway)
		return
	}
	for name, values := range a.Header {
		out.Header()[name] = values
	}
	out.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	out.WriteHeader(a.Status)
	_, _ = out.Write(a.Body)
}

// BenchmarkCount is the cost of counting alone.
func BenchmarkCount(b *testing.B) {
	entries := make([]any, 1000)
	for i := range entries {
		entries[i] = map[string]any{"resource": patientForTests(kvnr(i)), "search": map[string]any{"mode": "match"}}
	}
	bundle, err := json.Marshal(map[string]any{"resourceType": "Bundle", "entry": entries})
	if err != nil {
		b.Fatal(err)
	}
	r := &rule{Rule: Rule{Count: "fhir"}}
	b.SetBytes(int64(len(bundle)))
	b.ReportAllocs()
	for b.Loop() {
		c := r.counterFor("application/fhir+json")
		if err := c.write(bundle); err != nil {
			b.Fatal(err)
		}
		if in := c.take(); in.records != 1000 {
			b.Fatal(in.records)
		}
	}
}
