package http

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/wait"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/zeta"
)

const (
	one querschott.IK = "109500969"
	two querschott.IK = "101575519"
)

func kvnr(n int) querschott.KVNR {
	s := fmt.Sprintf("A%08d", n)
	return querschott.KVNR(s + string(querschott.KVNRCheckDigit(s)))
}

// world is everything around the entrance. Its ledger checks what it is given and that nothing has left before it answers;
// it fails on demand, before or after it has done its work.
type world struct {
	t   testing.TB
	srv *Server

	addr    string
	roots   *x509.CertPool
	written atomic.Int64 // bytes that left all connections
	arrived atomic.Int64 // written when the last request was identified
	watch   atomic.Bool  // nothing may leave between identification and the end of Record
	stop    context.CancelFunc
	ended   chan error
	events  *access.Subscription
	clock   atomic.Int64 // ns added to the clock that is judged by

	mu      sync.Mutex
	doors   map[querschott.Compartment]door.Order
	entries []ledger.Entry
	before  func() error // of Record
	after   func() error
	invalid map[querschott.CredentialID]bool
	people  map[string]*ident.Identity // by the word behind Authorization: Test
	serve   func(context.Context, *gate.Request) (*service.Answer, error)
	seen    []*gate.Request
	log     bytes.Buffer
}

func (w *world) Write(p []byte) (int, error) { // the log
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.clock.Load())) }

func (w *world) door(c querschott.Compartment) (door.Order, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, ok := w.doors[c]
	return o, ok
}

// move moves a door and has the gate obey.
func (w *world) move(c querschott.Compartment, to querschott.DoorState) {
	w.t.Helper()
	w.mu.Lock()
	o := w.doors[c]
	o.Compartment, o.From, o.To, o.Epoch, o.Incident = c, o.To, to, o.Epoch+1, "VF-2026-001"
	w.doors[c] = o
	w.mu.Unlock()
	if err := w.srv.Obey(context.Background(), o); err != nil {
		w.t.Errorf("the gate did not obey: %v", err)
	}
}

// record is the ledger. It refuses what the real one would refuse.
func (w *world) record(ctx context.Context, entries ...ledger.Entry) error {
	left := w.arrived.Load()
	w.mu.Lock()
	before, after := w.before, w.after
	w.mu.Unlock()
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if e.Kind == 0 || e.At.IsZero() || e.RequestID == "" && e.Role != querschott.RoleUnknown {
			w.t.Errorf("an entry is not complete: %+v", e)
		}
		if _, err := querschott.ParseIK(string(e.Compartment.Insurer)); err != nil && e.Compartment.Insurer != "" {
			w.t.Errorf("an entry names the insurer %q", e.Compartment.Insurer)
		}
		if len(e.Detail) > 30 {
			w.t.Errorf("an entry has %d details", len(e.Detail))
		}
	}
	w.mu.Lock()
	w.entries = append(w.entries, entries...)
	w.mu.Unlock()
	if after != nil {
		if err := after(); err != nil {
			return err
		}
	}
	if now := w.written.Load(); w.watch.Load() && now != left {
		w.t.Errorf("%d bytes left before the ledger answered", now-left)
	}
	return ctx.Err()
}

func (w *world) identify(_ context.Context, r *http.Request, route *Route) (*ident.Identity, error) {
	w.arrived.Store(w.written.Load())
	word, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Test ")
	if !ok {
		return nil, zeta.NoToken(zeta.ReasonNoToken, "there is none")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	id, ok := w.people[word]
	if !ok {
		return nil, querschott.Refuse(querschott.CodeUnauthorized, "not identified")
	}
	if w.invalid[id.Credential.ID+"/known"] {
		return id, zeta.Denied(zeta.ReasonRevoked, nil)
	}
	if p := r.Header.Get("Popp"); p != "" && route.Presence != PresenceNone {
		own := *id
		ik, patient, _ := strings.Cut(p, "/")
		own.Presence = &querschott.Presence{Insurer: ik, Patient: patient, Actor: id.Caller.Actor}
		return &own, nil
	}
	if route.Presence == PresenceRequired {
		return nil, zeta.NoPresence()
	}
	return id, nil
}

func (w *world) valid(id *ident.Identity) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.invalid[id.Credential.ID] || w.invalid[querschott.CredentialID(id.Facts.Insurer)] {
		return ident.ErrRevoked
	}
	return nil
}

// backend hands requests to the test's service.
func (w *world) backend(ctx context.Context, r *gate.Request) (*service.Answer, error) {
	w.mu.Lock()
	w.seen = append(w.seen, r)
	serve := w.serve
	w.mu.Unlock()
	return serve(ctx, r)
}

func read(p querschott.KVNR) service.Facts {
	f := service.Facts{Action: ledger.ActionRead, Data: ledger.DataInsured, Fields: "master-data", Outcome: ledger.OutcomeSuccess, Person: p}
	if p != "" {
		f.Records = 1
	}
	return f
}

// plain answers everything with the same words.
func plain(_ context.Context, r *gate.Request) (*service.Answer, error) {
	p := querschott.KVNR("")
	if r.Presence != nil && r.Compartment.Insurer != "" {
		p = querschott.KVNR(r.Presence.Patient)
	}
	return &service.Answer{Status: 200, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte("hello"), Facts: read(p)}, nil
}

func routes(w *world) []Route {
	b := w.backend
	later := func(context.Context, *gate.Request) (*service.Answer, error) {
		return &service.Answer{Status: 202, Facts: service.Facts{Action: ledger.ActionCreate, Outcome: ledger.OutcomeDeferred}}, nil
	}
	misfit := func(_ context.Context, r *gate.Request) (*service.Answer, error) {
		return &service.Answer{Status: 405, Header: http.Header{"Allow": {"GET"}}, Body: []byte("79040 " + r.Header.Get("Accept"))}, nil
	}
	early := func(_ context.Context, r *gate.Request) (*service.Answer, error) {
		if r.Query.Get("early") == "" {
			return nil, nil
		}
		return &service.Answer{Status: 400, Body: []byte("79401"), Facts: service.Facts{Outcome: ledger.OutcomeDenied, Cause: ledger.ReasonInvalidInput}}, nil
	}
	return []Route{
		{
			Name: "vsdm", Path: "/vsd/v1/bundle", Service: querschott.VSDM, Tenant: Tenant{From: FromPresence}, Presence: PresenceRequired,
			Methods: []string{"GET"}, Misfit: misfit, Form: FormZETA, Unplaced: true, Early: early, Backend: b, Data: ledger.DataInsured, Purpose: ledger.PurposeTreatment,
		},
		{Name: "desk", Path: "/desk/", Methods: []string{"GET", "HEAD", "POST"}, Service: querschott.Desk, Tenant: Tenant{From: FromPath}, Backend: b, MaxBody: 1000},
		{Name: "queue", Path: "/queue/", Methods: []string{"GET", "POST"}, Service: querschott.Desk, Tenant: Tenant{From: FromPath}, Backend: b, Later: later},
		{Name: "head", Path: "/head", Methods: []string{"GET"}, Service: querschott.EPA, Tenant: Tenant{From: FromHeader, Header: "X-Insurer"}, Backend: b},
		{
			Name: "host", Host: "one.example", Path: "/", Methods: []string{"GET"}, Service: querschott.EPA,
			Tenant: Tenant{From: FromHost, Hosts: map[string]querschott.IK{"one.example": one}}, Backend: b,
		},
		{Name: "own", Path: "/own", Methods: []string{"GET"}, Service: querschott.App, Tenant: Tenant{From: FromCaller}, Roles: []querschott.Role{querschott.RoleInsured}, Backend: b},
		{Name: "fixed", Path: "/fixed", Methods: []string{"GET", "POST"}, Service: querschott.EPA, Tenant: Tenant{From: FromRoute, Insurer: one}, Backend: b},
		{
			Name: "found", Path: "/found/", Methods: []string{"GET", "POST"}, Service: querschott.EPA, Tenant: Tenant{From: FromLocator}, Backend: b,
			Locate: func(_ context.Context, r *gate.Request) (gate.Place, error) {
				if r.Path == "bad" {
					return gate.Place{}, querschott.Refuse(querschott.CodeInvalid, "no such thing")
				}
				return gate.Place{Insurer: one, Person: querschott.KVNR(r.Query.Get("p")), Known: r.Path != "odd"}, nil
			},
		},
		{Name: "public", Path: "/public", Methods: []string{"GET"}, Public: true, Backend: b},
		{Name: "tunnel", Path: "/ws", Methods: []string{"GET"}, Service: querschott.EPA, Tenant: Tenant{From: FromRoute, Insurer: one}, Tunnel: w.echo},
	}
}

// echo is a tunnel whose service says everything twice.
func (w *world) echo(_ context.Context, r *gate.Request) (*gate.Passage, error) {
	if r.Raw.Header.Get("X-No") != "" {
		return &gate.Passage{Answer: &service.Answer{Status: 403, Body: []byte("no"), Facts: service.Facts{Outcome: ledger.OutcomeDenied}}}, nil
	}
	a, b := net.Pipe()
	go func() {
		defer func() { _ = b.Close() }()
		buf := make([]byte, 100)
		for {
			n, err := b.Read(buf)
			if err != nil {
				return
			}
			if _, err := b.Write(bytes.Repeat(buf[:n], 2)); err != nil {
				return
			}
		}
	}()
	return &gate.Passage{Header: http.Header{"Sec-Websocket-Accept": {"x"}, "X-Request-Id": {"theirs"}}, Conn: a, Facts: read("")}, nil
}

func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	w := &world{
		t: t, doors: map[querschott.Compartment]door.Order{}, invalid: map[querschott.CredentialID]bool{}, serve: plain,
		ended: make(chan error, 1), people: map[string]*ident.Identity{},
	}
	for _, ik := range []querschott.IK{one, two} {
		for _, s := range querschott.Services() {
			c := querschott.Compartment{Insurer: ik, Service: s}
			w.doors[c] = door.Order{Compartment: c, To: querschott.Open, Epoch: 7}
		}
	}
	w.person("practice", querschott.RolePractice, "", "")
	w.person("clerk", querschott.RoleStaff, two, "")
	w.person("insured", querschott.RoleInsured, one, kvnr(1))
	w.person("partner", querschott.RolePartner, "", "")
	stream := access.NewStream("g1")
	w.events = stream.Subscribe("test", 10_000)
	cfg := Config{
		StatusPage: "https://status.example/", Version: "2.0.0", Identify: w.identify, Valid: w.valid, Door: w.door, Record: w.record, Stream: stream,
		Pseudonym: func(_ querschott.Compartment, p querschott.KVNR) string {
			return "p" + fmt.Sprint(len(p)) + string(p.Reveal()[9])
		},
		Now: w.now, Log: slog.New(slog.NewTextHandler(w, nil)), TLS: w.certificate(), Routes: routes(w),
		Jitter: func(n int64) int64 { return n / 2 },
		Limits: Limits{ // what no test lets run out does not run out on a busy machine either
			HeaderTime: time.Hour, BodyStart: time.Hour, WriteTime: time.Hour, Idle: time.Hour, Identify: time.Hour, Service: time.Hour,
			Record: time.Hour, Patience: time.Hour, Grace: time.Hour,
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.srv = srv
	return w
}

func (w *world) person(name string, role querschott.Role, insurer querschott.IK, own querschott.KVNR) {
	actor := querschott.Actor("1-" + name)
	w.people[name] = &ident.Identity{
		Credential: querschott.Credential{ID: querschott.CredentialID("c-" + name), Actor: actor, Role: role},
		Caller:     querschott.Caller{Actor: actor, Role: role, Profession: "1.2.276.0.76.4.50", Insurer: insurer, Person: own},
		Binding:    "thumb-" + name,
	}
}

func (w *world) certificate() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"gate.example", "one.example", "two.example"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	w.roots = x509.NewCertPool()
	w.roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// meter counts what leaves.
type meter struct {
	net.Listener
	w *world
}

type metered struct {
	net.Conn
	w *world
}

func (m meter) Accept() (net.Conn, error) {
	c, err := m.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return metered{c, m.w}, nil
}

func (m metered) Write(p []byte) (int, error) {
	m.w.written.Add(int64(len(p)))
	return m.Conn.Write(p)
}

// open runs the server on a listener of its own until the test ends.
func open(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	w := newWorld(t, change...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	go func() { w.ended <- w.srv.Run(ctx, meter{l, w}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-w.ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return w
}

func (w *world) tls(protocols ...string) *tls.Config {
	return &tls.Config{RootCAs: w.roots, ServerName: "gate.example", NextProtos: protocols}
}

// client speaks HTTP/1.1 or, if two is set, HTTP/2, to whatever host.
func (w *world) client(two bool) *http.Client {
	t := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: w.roots},
		ForceAttemptHTTP2: two, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", w.addr)
		},
	}
	if !two {
		t.TLSClientConfig.NextProtos = []string{"http/1.1"}
		t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// ask is one request.
type ask struct {
	method, target, as, popp string
	host                     string
	header                   http.Header
	body                     io.Reader
}

func (a ask) request(t testing.TB) *http.Request {
	t.Helper()
	method, host := a.method, a.host
	if method == "" {
		method = "GET"
	}
	if host == "" {
		host = "gate.example"
	}
	r, err := http.NewRequest(method, "https://"+host+a.target, a.body)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range a.header {
		r.Header[name] = values
	}
	if a.as != "" {
		r.Header.Set("Authorization", "Test "+a.as)
	}
	if a.popp != "" {
		r.Header.Set("PoPP", a.popp)
	}
	return r
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func (a answer) String() string { return fmt.Sprintf("%d %q %v", a.status, a.body, a.err) }

// member returns a member of a JSON body.
func (a answer) member(name string) string {
	var m map[string]json.RawMessage
	if json.Unmarshal([]byte(a.body), &m) != nil {
		return ""
	}
	return strings.Trim(string(m[name]), `"`)
}

func do(t testing.TB, c *http.Client, a ask) answer {
	t.Helper()
	resp, err := c.Do(a.request(t))
	if err != nil {
		t.Fatalf("%s %s: %v", a.method, a.target, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), err}
}

func (w *world) ask(a ask) answer {
	w.t.Helper()
	return do(w.t, w.client(false), a)
}

// take returns the entries that were recorded, and forgets them.
func (w *world) take() []ledger.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entries
	w.entries = nil
	return e
}

// heard returns the events that were published.
func (w *world) heard() (events []querschott.Access) {
	for {
		select {
		case e := <-w.events.Events():
			events = append(events, e)
		default:
			return events
		}
	}
}

func (w *world) last() *gate.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		w.t.Fatal("no request reached the service")
	}
	return w.seen[len(w.seen)-1]
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func detail(e ledger.Entry, name string) string {
	for _, f := range e.Detail {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// raw sends bytes over a new TLS connection and returns everything that comes back until the connection ends.
func (w *world) raw(octets string) string {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.addr, w.tls("http/1.1"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	go func() { _, _ = io.WriteString(c, octets) }()
	_ = c.SetReadDeadline(wait.End(w.t))
	b, err := io.ReadAll(c)
	if err != nil {
		w.t.Logf("the connection ended with %v", err)
	}
	return string(b)
}

func headerNames(h http.Header) string {
	return strings.Join(slices.Sorted(maps.Keys(h)), ",")
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// run runs a server while f does, and wants it to end with an error.
func run(t *testing.T, w *world, f func(), want error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	ended := make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { ended <- w.srv.Run(ctx, l) }()
	f()
	if err := <-ended; !errors.Is(err, want) {
		t.Errorf("the server ended with %v, want %v", err, want)
	}
}
