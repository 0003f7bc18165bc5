//go:build e2e

package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/ident/mtls"
)

// look is what somebody outside can tell of an answer.
type look struct {
	status int
	size   int
	header string
	text   string // without the request's name and the number that was asked for
}

func lookOf(resp *http.Response, body []byte) look {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(resp.Header)), func(s string) bool { return s == "Dpop-Nonce" })
	text := strings.ReplaceAll(string(body), resp.Header.Get("X-Request-Id"), "ID")
	return look{resp.StatusCode, len(body), strings.Join(names, ","), text}
}

// operation is one way of asking the service of master data for a person.
type operation struct {
	name   string
	accept string
	query  string
	header map[string]string
	tag    bool // with the entity tag of the data that the own insurer has of the person
}

// operations are all that the service has, and ways of asking for another insurer than the proof names.
func operations(own querschott.IK) []operation {
	const j, x = "application/fhir+json", "application/fhir+xml"
	return []operation{
		{name: "json", accept: j, query: "?profileVersion=1.0"},
		{name: "json 1.1", accept: j, query: "?profileVersion=1.1"},
		{name: "xml", accept: x, query: "?profileVersion=1.0"},
		{name: "xml 1.1", accept: x, query: "?profileVersion=1.1"},
		{name: "unchanged?", accept: j, query: "?profileVersion=1.0", tag: true},
		{name: "own insurer in header and query", accept: j, query: "?profileVersion=1.0&insurerId=" + string(own), header: map[string]string{
			"X-Insurer": string(own), "ZETA-PoPP-Token-Content": "e30", "X-Forwarded-Host": string(own) + ".example", "Forwarded": "host=" + string(own),
		}},
	}
}

// ask makes one request of a practice for a person at an insurer.
func (p *practice) ask(t testing.TB, number querschott.KVNR, ik querschott.IK, o *operation, tag string) (look, error) {
	shown, err := p.presence(number, ik)
	if err != nil {
		return look{}, err
	}
	const path = "/vsdservice/v1/vsdmbundle"
	proof, err := drill.Proof(p.key, http.MethodGet, p.e.base+path, p.access, p.nonce, time.Now())
	if err != nil {
		return look{}, err
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.e.base+path+o.query, nil)
	if err != nil {
		return look{}, err
	}
	known := "0"
	if o.tag {
		known = tag
	}
	for name, value := range map[string]string{"Authorization": "DPoP " + p.access, "DPoP": proof, "PoPP": shown, "If-None-Match": known, "Accept": o.accept} {
		req.Header.Set(name, value)
	}
	for name, value := range o.header {
		req.Header.Set(name, value)
	}
	seen, header, err := exchange(p.client, req)
	if nonce := header.Get("DPoP-Nonce"); nonce != "" && nonce != p.nonce { // whoever asks so much is asked for one
		if p.nonce = nonce; seen.status == http.StatusUnauthorized {
			return p.ask(t, number, ik, o, tag)
		}
	}
	seen.text = strings.ReplaceAll(seen.text, number.Reveal(), "NUMBER") // the caller's own words
	return seen, err
}

func do(client *http.Client, req *http.Request) (look, error) {
	seen, _, err := exchange(client, req)
	return seen, err
}

func exchange(client *http.Client, req *http.Request) (look, http.Header, error) {
	resp, err := client.Do(req)
	if err != nil {
		return look{}, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return lookOf(resp, body), resp.Header, err
}

// TestNobodyReachesAnotherInsurer asks every insurer for every other insurer's persons, in every way that there is, and has
// every insurer's machine reach for every other insurer's compartment of an existing service.
func TestNobodyReachesAnotherInsurer(t *testing.T) {
	t.Parallel()
	const insurers = drill.DefaultInsurers
	var reached atomic.Int64 // requests that came through to the service behind the gate
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		w.Header().Set("Content-Type", "application/fhir+json")
		_, _ = fmt.Fprintf(w, `{"resourceType":"Patient","id":"1","identifier":[{"system":"x","value":%q}]}`, r.URL.Path)
	}))
	defer behind.Close()
	e := installHTTP(t, insurers, unlimited)
	e.program = plain // so many requests; the race detector sees the others
	clients := e.machines(t)
	e.set(t, map[string]string{"http.machines": clients.config, "http.routes": fmt.Sprintf(
		`[{name: existing, path: /fhir/, who: [certificate], proxy: {upstream: %q, service: epa, insurer: ["path:insurer"], unmatched: refuse, rules: [{name: all, path: "/fhir/{insurer}/{rest...}", count: fhir}]}}]`, behind.URL)})
	p, _ := e.serve(t)
	e.openAll(t)
	e.deliver(t, 1)

	e.foreignPersons(t)
	e.foreignCompartments(t, clients, &reached)
	p.stop(t)
}

// foreignPersons shows proofs of one insurer's persons under every other insurer's number.
func (e *entrance) foreignPersons(t *testing.T) {
	t.Helper()
	all := e.world.Insurers()
	readers := make([]*practice, 8)
	for n := range readers {
		readers[n] = e.practice(t, n)
	}
	var tried, leaks, told atomic.Int64
	var g errgroup.Group
	g.SetLimit(len(readers))
	free := make(chan *practice, len(readers))
	for _, r := range readers {
		free <- r
	}
	for n, in := range all {
		g.Go(func() error {
			p := <-free
			defer func() { free <- p }()
			who := e.person(in, 0)
			got, err := p.check(t.Context(), who.Number, in.IK)
			if err != nil || got.Status != http.StatusOK {
				return fmt.Errorf("the own insurer's answer is %+v, %w", got, err)
			}
			for k, other := range all {
				if k == n || t.Failed() {
					continue
				}
				nobody := e.person(other, 50) // whose data the insurer does not have
				for i, o := range operations(in.IK) {
					if i > 0 && i != 1+(n+k)%(len(operations(""))-1) && !long() { // each pair of insurers has two operations, each operation 1,200 pairs
						continue
					}
					foreign, err := p.ask(t, who.Number, other.IK, &o, got.ETag)
					if err != nil {
						return err
					}
					unknown := foreign
					if (n+k)%8 == 0 || !strings.Contains(foreign.text, "UNKNOWN_KVNR") {
						if unknown, err = p.ask(t, nobody.Number, other.IK, &o, got.ETag); err != nil {
							return err
						}
						told.Add(1)
					}
					tried.Add(1)
					if foreign.status < 400 || strings.Contains(foreign.text, who.Family) {
						leaks.Add(1)
						t.Errorf("%s, a person of %s at %s: %+v", o.name, in.IK, other.IK, foreign)
					}
					if foreign != unknown {
						t.Errorf("%s, at %s: a person of %s is answered %+v, somebody unknown %+v", o.name, other.IK, in.IK, foreign, unknown)
					}
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("card checks: %d leaks of %d tried; %d answers compared with those for somebody unknown", leaks.Load(), tried.Load(), told.Load())
	each := 2
	if long() {
		each = len(operations(""))
	}
	if want := int64(len(all) * (len(all) - 1) * each); tried.Load() != want {
		t.Errorf("%d were tried, there are %d", tried.Load(), want)
	}
}

// clientCertificate is a certificate that a machine has made for itself: its pin says who it is.
func clientCertificate(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// machines are clients with a certificate of each insurer.
type machines struct {
	config string
	by     map[querschott.IK]*http.Client
}

func (e *entrance) machines(t *testing.T) *machines {
	t.Helper()
	m := &machines{by: map[querschott.IK]*http.Client{}}
	var lines []string
	for _, in := range e.world.Insurers() {
		cert := clientCertificate(t, "kasse-"+string(in.IK))
		lines = append(lines, fmt.Sprintf("{name: kasse-%s, pins: [%q], role: partner, insurer: %q, services: [epa]}", in.IK, mtls.PinOf(cert.Leaf).String(), in.IK))
		tr := &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs: e.ca.Pool(), MinVersion: tls.VersionTLS13,
			Certificates: []tls.Certificate{*cert},
		}, ForceAttemptHTTP2: true}
		t.Cleanup(tr.CloseIdleConnections)
		m.by[in.IK] = &http.Client{Transport: tr, Timeout: time.Minute}
	}
	m.config = "[" + strings.Join(lines, ", ") + "]"
	return m
}

// foreignCompartments has every insurer's machine reach for every other insurer's data in the service behind the gate.
func (e *entrance) foreignCompartments(t *testing.T, m *machines, reached *atomic.Int64) {
	t.Helper()
	all := e.world.Insurers()
	var tried, leaks atomic.Int64
	var g errgroup.Group
	g.SetLimit(8)
	for n, in := range all {
		g.Go(func() error {
			client := m.by[in.IK]
			own, err := reach(t, client, e.base, http.MethodGet, "/fhir/"+string(in.IK)+"/Patient/1", nil, "")
			if err != nil || own.status != http.StatusOK {
				return fmt.Errorf("insurer %s reaches its own data with %+v, %w", in.IK, own, err)
			}
			for k, other := range all {
				if other == in {
					continue
				}
				path := "/fhir/" + string(other.IK) + "/Patient"
				pretend := map[string]string{"X-Insurer": string(in.IK), "X-Original-URL": "/fhir/" + string(in.IK) + "/Patient/1", "X-Forwarded-Host": "localhost"}
				for i, try := range []struct {
					method, path, body string
					header             map[string]string
				}{
					{http.MethodGet, path + "/1", "", nil},
					{http.MethodGet, path + "?name=a", "", pretend},
					{http.MethodPost, path, `{"resourceType":"Patient"}`, nil},
					{http.MethodPut, path + "/1", `{"resourceType":"Patient"}`, pretend},
					{http.MethodDelete, path + "/1", "", nil},
				} {
					if i > 0 && i != 1+(n+k)%4 && !long() {
						continue
					}
					got, err := reach(t, client, e.base, try.method, try.path, try.header, try.body)
					if err != nil {
						return err
					}
					tried.Add(1)
					if got.status != http.StatusForbidden && got.status != http.StatusNotFound {
						leaks.Add(1)
						t.Errorf("%s of %s: %s %s is answered %+v", in.IK, other.IK, try.method, try.path, got)
					}
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("existing service: %d leaks of %d tried", leaks.Load(), tried.Load())
	if want := int64(len(all)); reached.Load() != want {
		t.Errorf("%d requests reached the service behind the gate, %d were meant to", reached.Load(), want)
	}
	stranger := e.https(t)
	if got, err := reach(t, stranger, e.base, http.MethodGet, "/fhir/"+string(all[0].IK)+"/Patient/1", nil, ""); err != nil || got.status != http.StatusUnauthorized {
		t.Errorf("somebody without a certificate is answered %+v, %v", got, err)
	}
}

func reach(t testing.TB, client *http.Client, base, method, path string, header map[string]string, body string) (look, error) {
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return look{}, err
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	return do(client, req)
}
