package node

import (
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/gate/proxy"
	"github.com/querschott/querschott/service/vsdm"
	"github.com/querschott/querschott/wire/vsd"
)

// ground is a node of many insurers with both kinds of service behind its HTTP entrance: master data, and a FHIR server in
// another process. Everything that callers are bound to holds with its defaults: rates, reach, connections.
type ground struct {
	*live
	b         testing.TB
	m         *mint
	upstream  string // address of the FHIR server
	insurers  int
	practices []groundPractice
	callers   []loadCaller
	nonce     string
	asker     *reader // asks for nonces, always with the same key; it takes part in no load
}

type groundPractice struct {
	*drill.Practice
	caller loadCaller
}

const (
	fhirPath   = "/fhir/"
	slowPath   = fhirPath + "Slow/"
	socketPath = fhirPath + "socket"

	groundPersons   = 25  // of each insurer whose cards are checked, at most
	groundPractices = 200 // that check them
	slowAnswer      = time.Second
)

func newGround(b testing.TB, insurers int, change ...func(*Config)) *ground {
	b.Helper()
	return newGroundBehind(b, insurers, slowAnswer, change...)
}

// newGroundBehind is a ground whose FHIR server takes so long where it is slow.
func newGroundBehind(b testing.TB, insurers int, slow time.Duration, change ...func(*Config)) *ground {
	b.Helper()
	backend := &plainBackend{Body: sampleAnswer(b), Slow: slow}
	var upstream string
	startPeer(b, errand{Backend: backend}, &upstream)
	change = append([]func(*Config){func(c *Config) {
		c.HTTP.Listen, c.HTTP.Certificate, c.HTTP.Key = "127.0.0.1:0", "server.crt", "server.key"
		c.HTTP.DevIssuers, c.HTTP.AccessLog = true, "access.ndjson"
		c.HTTP.Routes = []RouteConfig{fhirRoute("http://" + upstream + strings.TrimSuffix(fhirPath, "/"))}
	}}, change...)
	h := newHouseWith(b, insurers, []querschott.Service{querschott.VSDM, querschott.EPA}, change...)
	m := newMint(b)
	h.opt.DevIssuer, h.opt.Log = m.issuer(), nil
	g := &ground{live: h.run(), b: b, m: m, upstream: upstream, insurers: insurers}
	g.openAll()
	h.parallel(insurers, func(i int) error {
		first, all := h.world.Insurers()[i].Persons()
		return g.stock(h.world, i, first, min(all, groundPersons))
	})
	for _, p := range h.world.Practices()[:groundPractices] {
		key := newKey(b)
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			b.Fatal(err)
		}
		g.practices = append(g.practices, groundPractice{p, loadCaller{Key: der, Access: m.access(p, key, g.Addresses().HTTP, time.Now())}})
	}
	g.asker = g.reader(m)
	g.asker.practice = h.world.Practices()[groundPractices]
	g.renew()
	return g
}

// stock imports the master data of a world's persons of the i-th insurer.
func (r *live) stock(w *drill.World, i, first, persons int) error {
	now := time.Now()
	bundles := func(yield func(vsdm.Bundle) bool) {
		for k := range persons {
			e := vsd.Envelope{ID: vsd.ID{1}, Created: vsd.InstantOf(now)}
			data, err := vsd.Render(w.MasterData(w.Person(first+k)), vsd.V10, vsd.JSON, e)
			if !yield(vsdm.Bundle{Data: data, Err: err}) {
				return
			}
		}
	}
	p, err := r.vsdm.Import(r.h.tb.Context(), r.h.compartment(i, querschott.VSDM), bundles, nil)
	if err == nil && p.Added != persons {
		err = fmt.Errorf("%d of %d persons were imported: %v", p.Added, persons, p.Refusals)
	}
	return err
}

// someone is the k-th person of an insurer, begun anew where it has no more.
func (g *ground) someone(i, k int) drill.Person {
	_, persons := g.h.world.Insurers()[i].Persons()
	return g.h.person(i, k%persons)
}

// fhirRoute is a gate in front of a FHIR server that asks for everything that callers can prove.
func fhirRoute(upstream string) RouteConfig {
	p := proxy.Default(upstream)
	p.Service, p.Insurer = string(querschott.EPA), []string{"header:X-Insurer"}
	p.Limits.Connections = 128
	p.Rules = append([]proxy.Rule{
		{Name: "socket", Path: socketPath + "/{person}", Person: []string{"path:person"}, Count: "none", Stream: true},
		{Name: "slow", Path: slowPath + "{person}", Person: []string{"path:person"}, Fields: "patient", Count: "fhir"},
	}, p.Rules...)
	return RouteConfig{Name: "fhir", Path: fhirPath, Who: []string{byToken}, Presence: "required", Scopes: []string{"vsdservice"}, Proxy: p}
}

// sampleAnswer is a FHIR bundle of a usual size, about somebody.
func sampleAnswer(b testing.TB) []byte {
	b.Helper()
	var list strings.Builder
	for i := range 12 {
		fmt.Fprintf(&list, `,{"resource":{"resourceType":"Observation","id":"o%d","status":"final","code":{"text":"%s"},"subject":{"reference":"Patient/p"}}}`,
			i, strings.Repeat("Befund ", 48))
	}
	return []byte(`{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"Patient","id":"p","identifier":[` +
		`{"system":"http://fhir.de/sid/gkv/kvid-10","value":"` + somebody + `"}]}}` + list.String() + `]}`)
}

// renew gets a nonce, and tokens that are valid for their full time.
func (g *ground) renew() {
	g.b.Helper()
	now := time.Now()
	got := g.asker.check(g.b.Context(), g.h.person(0, 0))
	if got.Status != 200 {
		g.b.Fatalf("got %d %s", got.Status, got.Body)
	}
	g.callers = nil
	for i := range g.practices {
		p := &g.practices[i]
		key, err := x509.ParseECPrivateKey(p.caller.Key)
		if err != nil {
			g.b.Fatal(err)
		}
		p.caller.Access = g.m.access(p.Practice, key, g.Addresses().HTTP, now)
		g.callers = append(g.callers, p.caller)
	}
	g.nonce = g.tokens.Nonce()
}

// kind is a kind of request.
type kind int

const (
	cardCheck kind = iota // master data from the node itself
	fhirRead              // a bundle from the service behind it
	slowRead              // the same, but the service takes a second
	socket
)

// calls lists requests of some practices about every person of some insurers, in an order that has no pattern. Each practice
// asks for ten persons. group names the group of an insurer.
func (g *ground) calls(what kind, insurers []int, group func(insurer int) string) (list []loadCall) {
	g.b.Helper()
	return g.callsOf(0, len(g.practices), what, insurers, group)
}

// callsOf lists requests of so many practices from the first on.
func (g *ground) callsOf(first, practices int, what kind, insurers []int, group func(insurer int) string) (list []loadCall) {
	g.b.Helper()
	now := time.Now()
	for k := range len(insurers) * groundPersons {
		i := insurers[k%len(insurers)]
		who, caller := g.someone(i, k/len(insurers)), first+k%practices
		number := who.Number.Reveal()
		c := loadCall{Caller: caller, Group: group(i), Header: map[string]string{
			"PoPP": g.m.presence(g.practices[caller].Practice, who.Number, who.Insurer.IK, now), "Accept": "application/fhir+json",
		}}
		switch what {
		case cardCheck:
			c.Path, c.Query, c.Header["If-None-Match"] = "/vsdservice/v1/vsdmbundle", "profileVersion=1.0", "0"
		case fhirRead:
			c.Path = fhirPath + "Patient/" + number
		case slowRead:
			c.Path = slowPath + number
		case socket:
			c.Path = socketPath + "/" + number
			c.Header["Connection"], c.Header["Upgrade"] = "Upgrade", "websocket"
			c.Header["Sec-WebSocket-Version"], c.Header["Sec-WebSocket-Key"] = "13", "AAAAAAAAAAAAAAAAAAAAAA=="
		}
		if what != cardCheck {
			c.Header["X-Insurer"] = string(who.Insurer.IK)
		}
		list = append(list, c)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func (g *ground) everyInsurer() []int {
	list := make([]int, g.insurers)
	for i := range list {
		list[i] = i
	}
	return list
}

// everybody is a group's name.
const everybody = "all"

func oneGroup(int) string { return everybody }

// load is a load on this node, but for what makes it one.
func (g *ground) load(calls []loadCall) load {
	return load{
		Base: g.Addresses().HTTP, Address: strings.TrimPrefix(g.Addresses().HTTP, "https://"), CA: g.authority(),
		Nonce: g.nonce, Callers: g.callers, Calls: calls, Connections: 64, Streams: 1,
	}
}

// authority is the file of the CA that everybody's server certificate chains to.
func (g *ground) authority() string {
	g.b.Helper()
	if err := g.h.ca.WriteCertificate(g.h.dir, "load-ca"); err != nil {
		g.b.Fatal(err)
	}
	return filepath.Join(g.h.dir, "load-ca.crt")
}

func startLoad(b testing.TB, l load) *peer {
	b.Helper()
	var ready bool
	return startPeer(b, errand{Load: &l}, &ready)
}

// nginx is a plain reverse proxy behind TLS, with the settings of its distribution, kept connections to the service, and one
// worker per core.
func (g *ground) nginx(h2 bool) (address string, pid int) {
	g.b.Helper()
	if _, err := exec.LookPath("nginx"); err != nil {
		g.b.Skip("nginx is not installed")
	}
	dir, err := os.MkdirTemp("", "qs")
	if err != nil {
		g.b.Fatal(err)
	}
	g.b.Cleanup(func() { _ = os.RemoveAll(dir) })
	address = freeAddress(g.b)
	user, protocol := "", ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	if h2 {
		protocol = "http2"
	}
	conf := fmt.Sprintf(`%s
worker_processes 2;
pid %[2]s/pid;
error_log %[2]s/error.log;
events { worker_connections 1024; }
http {
  access_log %[2]s/access.log;
  client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/fastcgi; uwsgi_temp_path %[2]s/uwsgi; scgi_temp_path %[2]s/scgi;
  sendfile on; tcp_nopush on; keepalive_requests 10000000;
  upstream backend { server %[3]s; keepalive 128; keepalive_requests 10000000; }
  server {
    listen %[4]s ssl %[5]s;
    ssl_certificate %[6]s; ssl_certificate_key %[7]s; ssl_protocols TLSv1.3;
    location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }
  }
}
`, user, dir, g.upstream, address, protocol, g.h.cfg.HTTP.Certificate, g.h.cfg.HTTP.Key)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		g.b.Fatal(err)
	}
	cmd := exec.Command("nginx", "-p", dir, "-c", file, "-g", "daemon off;") //nolint:gosec // a file of this test
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		g.b.Fatal(err)
	}
	g.b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	g.h.until("nginx", func() bool { return listens(address) && len(children(cmd.Process.Pid)) >= 2 })
	return address, cmd.Process.Pid
}

// tickTime is the unit of processor time in /proc.
const tickTime = 10 * time.Millisecond

// processorOf returns the processor time of a process and of its children that are alive, such as nginx's workers. Children of
// this process are callers, services and other contestants, which are not counted to it.
func processorOf(b testing.TB, pid int) time.Duration {
	b.Helper()
	if pid == os.Getpid() {
		all, err := usedSelf()
		if err != nil {
			b.Fatal(err)
		}
		return all
	}
	var all time.Duration
	for _, p := range append(children(pid), pid) {
		f := statOf(p)
		if len(f) < 13 {
			b.Fatalf("process %d has ended", p)
		}
		for _, at := range []int{11, 12} { // utime and stime
			ticks, err := strconv.ParseInt(f[at], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			all += time.Duration(ticks) * tickTime
		}
	}
	return all
}

// statOf returns the fields of /proc/PID/stat behind the name.
func statOf(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return strings.Fields(rest)
}

func children(pid int) (list []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if f := statOf(child); err == nil && len(f) > 1 && f[1] == strconv.Itoa(pid) {
			list = append(list, child)
		}
	}
	return list
}

// usedSelf returns the processor time of this process.
func usedSelf() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// must ends a measurement whose requests were not all answered with 200.
func (o *outcome) must(b testing.TB, group string) *tally {
	b.Helper()
	t := o.group(group)
	if t.failures() > 0 || t.Count == 0 {
		b.Fatalf("%s: %d requests, answers %v, %d connections broke (%s)", group, t.Count, t.Status, t.Broken, t.Trouble)
	}
	return t
}
