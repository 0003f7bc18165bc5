package node

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/wire/zeta"
)

// An existing FHIR server stands behind the gate that 'querschott init gate' makes.
func TestGateInFrontOfAnExistingService(t *testing.T) {
	var asked atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		for name := range r.Header {
			if strings.HasPrefix(name, "Zeta-") {
				t.Errorf("the service got %s from a stranger", name)
			}
		}
		w.Header().Set("Content-Type", "application/fhir+json")
		if err := json.NewEncoder(w).Encode(map[string]any{"resourceType": "Patient", "id": "p1", "path": r.URL.Path}); err != nil {
			t.Error(err)
		}
	}))
	defer upstream.Close()
	h := newHouseWith(t, 2, []querschott.Service{querschott.EPA}, func(c *Config) {
		made, err := GateConfig(Gate{Upstream: upstream.URL + "/fhir", Dev: true})
		if err != nil {
			t.Fatal(err)
		}
		c.HTTP, c.Mail.StartTLS, c.Mail.TLS = made.HTTP, made.Mail.StartTLS, made.Mail.TLS
		c.HTTP.Listen, c.HTTP.Certificate, c.HTTP.Key = "127.0.0.1:0", "server.crt", "server.key"
	})
	m := newMint(t)
	h.opt.DevIssuer = m.issuer()
	n := h.run()
	n.openAll()
	x := n.reader(m)
	c := h.compartment(0, querschott.EPA)
	ask := func(path string, insurer querschott.IK) (int, string, string) {
		t.Helper()
		base := n.Addresses().HTTP
		access := m.access(x.practice, x.key, base, time.Now())
		for nonce := ""; ; {
			proof, err := drill.Proof(x.key, http.MethodGet, base+path, access, nonce, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "DPoP "+access)
			req.Header.Set("DPoP", proof)
			req.Header.Set("X-Insurer", string(insurer))
			req.Header.Set(zeta.HeaderUserInfo, "e30")
			resp, err := x.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if next := resp.Header.Get("DPoP-Nonce"); resp.StatusCode == http.StatusUnauthorized && next != "" && nonce == "" {
				nonce = next
				continue
			}
			return resp.StatusCode, string(body), resp.Header.Get("X-Request-Id")
		}
	}
	status, body, id := ask("/fhir/Patient/p1", c.Insurer)
	if status != http.StatusOK || !strings.Contains(body, `"/fhir/Patient/p1"`) {
		t.Fatalf("%d %s", status, body)
	}
	if e := h.entryOf(n, c.Insurer, id); e == nil || e.Leaf.Outcome != ledger.OutcomeSuccess || e.Leaf.Records != 1 || e.Leaf.Service != querschott.EPA {
		t.Errorf("the ledger says %+v", e)
	}
	before := asked.Load()
	if status, body, _ := ask("/fhir/Patient/p1", "109500969"); status != http.StatusNotFound {
		t.Errorf("for an insurer that is not here: %d %s", status, body)
	}
	if status, body, _ := ask("/fhir/Patient/p1", ""); status != http.StatusNotFound {
		t.Errorf("for no insurer: %d %s", status, body)
	}
	n.move(querschott.Closed, c)
	if status, body, _ := ask("/fhir/Patient/p1", c.Insurer); status != http.StatusServiceUnavailable || !strings.Contains(body, "door-closed") {
		t.Errorf("behind a closed door: %d %s", status, body)
	}
	if asked.Load() != before {
		t.Error("the service was asked for what was refused")
	}
	if status, body, _ := ask("/fhir/Patient/p1", h.compartment(1, querschott.EPA).Insurer); status != http.StatusOK {
		t.Errorf("the other insurer: %d %s", status, body)
	}
}

func TestGateConfig(t *testing.T) {
	for _, tc := range []struct {
		name string
		g    Gate
		want string
	}{
		{"no upstream", Gate{}, "is not written"},
		{"no address", Gate{Upstream: "fhir"}, "is not written"},
		{"service by mail", Gate{Upstream: "https://fhir.example", Service: querschott.EAU}, "not one of epa"},
		{"insurer that is none", Gate{Upstream: "https://fhir.example", Insurer: "1"}, "nine digits"},
	} {
		if _, err := GateConfig(tc.g); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	for _, upstream := range []string{"https://fhir.example", "https://fhir.example/", "https://fhir.example/base/R4/", "http://127.0.0.1:8080/fhir"} {
		cfg, err := GateConfig(Gate{Upstream: upstream, Insurer: "109500969"})
		if err != nil {
			t.Errorf("%s: %v", upstream, err)
			continue
		}
		dir := t.TempDir()
		made, err := Init(dir, InitOptions{Config: cfg, Operators: []querschott.Actor{anna, ben}})
		if err != nil {
			t.Errorf("%s: %v", upstream, err)
			continue
		}
		if r := made.HTTP.Routes; len(r) != 1 || len(r[0].Proxy.Rules) != len(cfg.HTTP.Routes[0].Proxy.Rules) || r[0].Proxy.Insurer[0] != "value:109500969" {
			t.Errorf("%s: the routes are %+v", upstream, r)
		}
	}
}
