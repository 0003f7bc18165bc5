package proxy

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/door"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ledger"
)

// entrance is the whole gate for HTTP in front of a service, with doors and a ledger that the test keeps.
type entrance struct {
	t      testing.TB
	srv    *gatehttp.Server
	addr   string
	roots  *x509.CertPool
	client *http.Client

	mu      sync.Mutex // guards what follows
	doors   map[querschott.Compartment]door.Order
	entries []ledger.Entry
}

func newEntrance(t testing.TB, service http.Handler) *entrance {
	w := newWorld(t, service, func(s *Settings) {
		s.Limits.Buffer = 4 << 10
		s.Rules = append([]Rule{{Name: "events", Path: "/fhir/events", Count: "events"}, {Name: "socket", Path: "/fhir/socket", Count: "none"}}, s.Rules...)
	})
	e := &entrance{t: t, doors: map[querschott.Compartment]door.Order{}}
	for _, ik := range []querschott.IK{one, two} {
		c := querschott.Compartment{Insurer: ik, Service: querschott.EPA}
		e.doors[c] = door.Order{Compartment: c, To: querschott.Open, Epoch: 1}
	}
	var err error
	if e.srv, err = gatehttp.New(e.config(w.proxy)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.addr = l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.srv.Run(ctx, l) }()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: e.roots, ServerName: "gate.example"},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", e.addr)
		},
	}
	e.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e *entrance) config(p *Proxy) gatehttp.Config {
	return gatehttp.Config{
		TLS: e.certificate(), StatusPage: "https://status.example/", Stream: access.NewStream("g1"),
		Identify: func(context.Context, *http.Request, *gatehttp.Route) (*ident.Identity, error) {
			who := querschott.Credential{ID: "c-1", Actor: "1-practice", Role: querschott.RolePractice}
			return &ident.Identity{Credential: who, Caller: querschott.Caller{Actor: who.Actor, Role: who.Role}}, nil
		},
		Door: func(c querschott.Compartment) (door.Order, bool) {
			e.mu.Lock()
			defer e.mu.Unlock()
			o, ok := e.doors[c]
			return o, ok
		},
		Record: func(_ context.Context, entries ...ledger.Entry) error {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.entries = append(e.entries, entries...)
			return nil
		},
		Pseudonym: func(_ querschott.Compartment, k querschott.KVNR) string { return fmt.Sprint(len(k)) },
		Routes: []gatehttp.Route{{
			Name: "fhir", Path: "/fhir/", Service: querschott.EPA, Tenant: gatehttp.Tenant{From: gatehttp.FromLocator},
			Locate: p.Locate, Backend: p.Backend, Tunnel: p.Tunnel, Write: p.Writes,
		}},
	}
}

func (e *entrance) certificate() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		e.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, DNSNames: []string{"gate.example"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		e.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		e.t.Fatal(err)
	}
	e.roots = x509.NewCertPool()
	e.roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// move moves the door of an insurer's compartment and has the gate obey.
func (e *entrance) move(ik querschott.IK, to querschott.DoorState) {
	e.t.Helper()
	c := querschott.Compartment{Insurer: ik, Service: querschott.EPA}
	e.mu.Lock()
	o := e.doors[c]
	o.From, o.To, o.Epoch = o.To, to, o.Epoch+1
	e.doors[c] = o
	e.mu.Unlock()
	if err := e.srv.Obey(e.t.Context(), o); err != nil {
		e.t.Errorf("the gate did not obey: %v", err)
	}
}

func (e *entrance) do(method, target, body string, headers ...string) *http.Response {
	e.t.Helper()
	r, err := http.NewRequestWithContext(e.t.Context(), method, "https://gate.example"+target, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	r.Header.Set("X-Insurer", string(one))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := e.client.Do(r)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// taken returns the entries since the last call.
func (e *entrance) taken() []ledger.Entry {
	e.mu.Lock()
	defer e.mu.Unlock()
	entries := e.entries
	e.entries = nil
	return entries
}

func TestBehindTheWholeGate(t *testing.T) {
	up := newFHIRForTests(t, 300)
	e := newEntrance(t, up)

	resp := e.do("GET", "/fhir/Patient/"+kvnr(0), "")
	body, err := io.ReadAll(resp.Body)
	entries := e.taken()
	if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), kvnr(0)) || len(entries) != 1 {
		t.Fatalf("%d, %q, %v, %d entries", resp.StatusCode, body, err, len(entries))
	}
	if got := entries[0]; got.Records != 1 || got.Person.Reveal() != kvnr(0) || got.Action != ledger.ActionRead || got.Epoch != 1 || got.Compartment.Insurer != one {
		t.Errorf("the entry: %+v", got)
	}

	if resp = e.do("POST", "/fhir/Observation", `{"subject":{"reference":"Patient/`+kvnr(3)+`"}}`, "Content-Type", "application/json"); resp.StatusCode != 201 || !strings.HasPrefix(resp.Header.Get("Location"), "https://gate.example/fhir/Observation/1") {
		t.Errorf("create: %d, %v", resp.StatusCode, resp.Header)
	}
	e.taken()

	e.move(one, querschott.Closed)
	before := len(up.seen)
	if resp = e.do("GET", "/fhir/Patient/"+kvnr(0), ""); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("closed: %d, %v", resp.StatusCode, resp.Header)
	}
	if resp = e.do("GET", "/fhir/Patient/"+kvnr(0), "", "X-Insurer", string(two)); resp.StatusCode != 200 {
		t.Errorf("the other insurer: %d", resp.StatusCode)
	}
	if len(up.seen) != before+1 {
		t.Errorf("the service got %d requests", len(up.seen)-before)
	}

	e.move(one, querschott.ReadOnly)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	if resp = e.do("POST", "/fhir/Observation/_search", "patient="+kvnr(0), form...); resp.StatusCode != 200 {
		t.Errorf("a search by POST at a door that is open for reading: %d", resp.StatusCode)
	}
	if resp = e.do("POST", "/fhir/Observation", "{}"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a write at a door that is open for reading: %d", resp.StatusCode)
	}
	for target, want := range map[string]int{
		"/fhir/a/b/c/d/e": 404, "/fhir/Patient/a%2fb": 400, "/fhir/Patient;x/1": 400, "/fhir/Patient/" + kvnr(0): 200,
	} {
		if resp = e.do("GET", target, ""); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", target, resp.StatusCode, want)
		}
	}
	if resp = e.do("GET", "/fhir/Patient/1", "", "X-Insurer", "123456789"); resp.StatusCode != 404 {
		t.Errorf("an insurer that is none: %d", resp.StatusCode)
	}
}

// A long answer through the whole gate has an entry for each of its pieces, which together have all records and persons.
func TestLongAnswerBehindTheWholeGate(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"resourceType":"Bundle","entry":[`)
	const n = 250 // different persons; the gate's own caps allow 300 a minute
	for i := range n {
		fmt.Fprintf(&b, `{"resource":{"resourceType":"Patient","id":%q,"text":%q}},`, kvnr(i), strings.Repeat("x", 500))
	}
	body := strings.TrimSuffix(b.String(), ",") + "]}"
	e := newEntrance(t, answering(200, "application/fhir+json", body))
	resp := e.do("GET", "/fhir/Patient", "")
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != body {
		t.Fatalf("%d bytes of %d, %v", len(got), len(body), err)
	}
	records, persons := uint32(0), map[querschott.KVNR]bool{}
	entries := e.taken()
	for _, entry := range entries {
		records += entry.Records
		for _, k := range append(entry.Persons, entry.Person) {
			persons[k] = true
		}
	}
	delete(persons, "")
	if records != n || len(persons) != n || len(entries) < 4 {
		t.Errorf("%d records, %d persons in %d entries", records, len(persons), len(entries))
	}
}

// A stream through the whole gate is recorded event by event and ends when the door closes.
func TestStreamBehindTheWholeGate(t *testing.T) {
	e := newEntrance(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\ndata: 2\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	resp := e.do("GET", "/fhir/events", "")
	in := bufio.NewReader(resp.Body)
	for range 4 {
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	records := uint32(0)
	for _, entry := range e.taken() {
		records += entry.Records
	}
	if records != 2 {
		t.Errorf("%d events recorded", records)
	}
	e.move(one, querschott.Closed)
	if _, err := in.ReadString('\n'); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
}

// A WebSocket through the whole gate carries bytes both ways and ends when the door closes.
func TestTunnelBehindTheWholeGate(t *testing.T) {
	e := newEntrance(t, newFHIRForTests(t, 1))
	conn, err := tls.Dial("tcp", e.addr, &tls.Config{RootCAs: e.roots, ServerName: "gate.example", NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /fhir/socket HTTP/1.1\r\nHost: gate.example\r\nX-Insurer: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", one, socketKey)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-Websocket-Accept") != accept(socketKey) || len(e.taken()) != 1 {
		t.Fatalf("%+v, %v", resp, err)
	}
	if _, err := io.WriteString(conn, "\x81\x05hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 7)
	if _, err := io.ReadFull(in, got); err != nil || string(got) != "\x81\x05hello" {
		t.Fatalf("%q, %v", got, err)
	}
	e.move(one, querschott.Closed)
	if _, err := in.ReadByte(); err == nil {
		t.Error("the tunnel is open behind a closed door")
	}
}
