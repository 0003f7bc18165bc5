package node

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

// contestant answers requests.
type contestant struct {
	name  string
	pid   int
	count int // requests of a round
	load  load

	rate, cpu []float64 // of all rounds: requests a second, processor time in µs
	took      tally     // of all rounds
}

// BenchmarkGate measures requests a second in a closed loop over TLS 1.3, on one machine that also has the callers and the
// service behind:
//
//   - nginx: a plain reverse proxy, two workers, kept connections, its usual access log
//   - httputil: net/http/httputil.ReverseProxy
//   - gate: the node in front of the same service with full duty: access token, DPoP proof that is verified and remembered
//     for each request, PoPP token, door, caps, records of a FHIR answer counted, ledger durable, access event in its file
//   - vsdm: master data from the node itself, with the same duty, sealed records and logged check numbers
//
// All get the same bytes of headers; answers are of about the same size. Rounds alternate, and the figures are medians. Each
// contestant, the service and the callers are processes of their own, except that the node is the one that measures, which
// does nothing meanwhile. With conn=new every request has a TLS handshake of its own, as those of practices have that ask
// every few minutes.
func BenchmarkGate(b *testing.B) {
	g := newGround(b, allInsurers)
	for _, w := range []wayToAsk{
		{name: "http=1.1", connections: 128, streams: 1},
		{name: "http=2", connections: 16, streams: 8, h2: true},
		{name: "conn=new", connections: 128, streams: 1, fresh: true},
	} {
		b.Run(w.name, func(b *testing.B) {
			g.b = b
			g.renew()
			for range b.N {
				contest(b, g.contestants(b, w), long(3, 7))
			}
		})
	}
}

// wayToAsk is how callers use connections.
type wayToAsk struct {
	name                 string
	connections, streams int
	h2, fresh            bool
}

func (g *ground) contestants(b *testing.B, w wayToAsk) []*contestant {
	b.Helper()
	var proxyAddress string
	plain := startPeer(b, errand{Proxy: &plainProxy{Upstream: "http://" + g.upstream, Certificate: g.h.cfg.HTTP.Certificate, Key: g.h.cfg.HTTP.Key}}, &proxyAddress)
	nginxAddress, nginxPID := g.nginx(w.h2)
	fhir := g.load(g.calls(fhirRead, g.everyInsurer(), oneGroup))
	fhir.Connections, fhir.Streams, fhir.H2, fhir.Fresh = w.connections, w.streams, w.h2, w.fresh
	vsdm := fhir
	vsdm.Calls = g.calls(cardCheck, g.everyInsurer(), oneGroup)
	elsewhere := func(address string) load {
		l := fhir
		l.Address, l.Reuse = address, true
		return l
	}
	share := 1
	if w.fresh {
		share = 4
	}
	return []*contestant{
		{name: "nginx", pid: nginxPID, count: 24_000 / share, load: elsewhere(nginxAddress)},
		{name: "httputil", pid: plain.cmd.Process.Pid, count: 12_000 / share, load: elsewhere(proxyAddress)},
		{name: "gate", pid: os.Getpid(), count: 8_000 / share, load: fhir},
		{name: "vsdm", pid: os.Getpid(), count: 8_000 / share, load: vsdm},
	}
}

func contest(b *testing.B, all []*contestant, rounds int) {
	b.Helper()
	size := map[string]int64{}
	for round := range rounds + 1 {
		for _, c := range all {
			if c.load.Count = c.count; round == 0 { // to warm up
				c.load.Count = c.count / 8
			}
			p := startLoad(b, c.load)
			stop := func() {}
			if round == rounds && c.pid == os.Getpid() {
				stop = profile(b, c.name)
			}
			before := processorOf(b, c.pid)
			o := p.play()
			used := processorOf(b, c.pid) - before
			stop()
			p.end()
			t := o.must(b, everybody)
			if round == 0 {
				continue
			}
			n := float64(t.Count)
			c.rate, c.cpu = append(c.rate, n/o.Elapsed.Seconds()), append(c.cpu, float64(used.Microseconds())/n)
			c.took.Took = append(c.took.Took, t.Took...)
			size[c.name] = t.Bytes / int64(t.Count)
			b.Logf("round %d %-8s %6.0f/s, %4.0f µs of its processor time and %3.0f of the callers' each", round, c.name, n/o.Elapsed.Seconds(),
				float64(used.Microseconds())/n, float64(o.CPU.Microseconds())/n)
		}
	}
	for _, c := range all {
		b.ReportMetric(median(c.rate), c.name+"/s")
		b.ReportMetric(median(c.cpu), c.name+"-cpu-µs")
		b.ReportMetric(float64(c.took.quantile(0.99).Microseconds())/1000, c.name+"-p99-ms")
		if c.name == "gate" || c.name == "vsdm" {
			b.ReportMetric(ratio(c, all[0]), c.name+":nginx")
			b.ReportMetric(ratio(c, all[1]), c.name+":httputil")
		}
	}
	b.ReportMetric(0, "ns/op")
	b.Logf("bytes of an answer: %v", size)
}

// profile writes down where this process spends its time, if QUERSCHOTT_PROFILE names a directory for it.
func profile(b *testing.B, name string) (stop func()) {
	b.Helper()
	dir := os.Getenv("QUERSCHOTT_PROFILE")
	if dir == "" {
		return func() {}
	}
	f, err := os.Create(filepath.Join(dir, name+".cpu"))
	if err != nil {
		b.Fatal(err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		b.Fatal(err)
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// ratio compares rounds that followed each other.
func ratio(c, to *contestant) float64 {
	var list []float64
	for i := range c.rate {
		list = append(list, c.rate[i]/to.rate[i])
	}
	return median(list)
}

// freeAddress is a loopback address that nobody listens on, and none of those that the system gives out: whoever leaves it
// for a moment finds it free again.
func freeAddress(b testing.TB) string {
	b.Helper()
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close() // it has served its purpose
			return address
		}
	}
}

func listens(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// BenchmarkPace measures 1,000 card checks a second that are due whatever becomes of those before, for as many seconds as
// -benchtime has rounds. Time counts from when a check was due. gematik allows such a service 100 ms for 99 of 100 at a load of its
// own stating.
func BenchmarkPace(b *testing.B) {
	const rate = 1000
	g := newGround(b, allInsurers)
	l := g.load(g.calls(cardCheck, g.everyInsurer(), oneGroup))
	l.Rate, l.Count = rate, rate*b.N
	p := startLoad(b, l)
	before := processor(b)
	o := p.play()
	t := o.must(b, everybody)
	b.ReportMetric(float64((processor(b)-before).Microseconds())/float64(t.Count), "cpu-µs/check")
	b.ReportMetric(float64(t.Count)/o.Elapsed.Seconds(), "checks/s")
	t.report(b, "")
	p.end()
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSockets measures 310 requests a second with full duty while 301 WebSockets are open through the gate, each of which
// sends a message a second (the official load of a ZETA PEP: gemSpec_ZETA A_26486-01).
func BenchmarkSockets(b *testing.B) {
	g := newGround(b, allInsurers)
	for range b.N {
		g.renew()
		l := g.load(g.calls(fhirRead, g.everyInsurer(), oneGroup))
		l.Tunnels = g.calls(socket, g.everyInsurer(), oneGroup)[:301]
		l.Rate, l.Count = 310, 310*long(30, 300)
		p := startLoad(b, l)
		if open := g.http.Stats().Tunnels; open != 301 {
			b.Fatalf("%d tunnels are open", open)
		}
		o := p.play()
		t := o.must(b, everybody)
		t.report(b, "")
		o.must(b, tunnelGroup).report(b, "message-")
		b.ReportMetric(float64(t.Count)/o.Elapsed.Seconds(), "requests/s")
		p.end()
	}
	b.ReportMetric(0, "ns/op")
}

// report gives the figures that requirements name, in milliseconds.
func (t *tally) report(b *testing.B, name string) {
	b.Helper()
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(t.mean()), name+"avg-ms")
	for _, q := range []float64{0.5, 0.9, 0.99, 0.999} {
		b.ReportMetric(ms(t.quantile(q)), name+"p"+strings.TrimPrefix(fmt.Sprint(q*100), "0.")+"-ms")
	}
}
