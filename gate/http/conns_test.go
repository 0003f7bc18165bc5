package http

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/internal/wait"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
)

func (w *world) dial() net.Conn {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.addr, w.tls("http/1.1"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(wait.End(w.t))
	return c
}

const getFixed = "GET /fixed HTTP/1.1\r\nHost: gate.example\r\nAuthorization: Test practice\r\n\r\n"

// ended waits until the server has ended a connection, and returns what it said.
func ended(t *testing.T, c net.Conn) string {
	t.Helper()
	_ = c.SetReadDeadline(wait.End(t))
	b, err := io.ReadAll(c)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Error("the connection is still open")
	}
	return string(b)
}

func TestTLS(t *testing.T) {
	for name, tc := range map[string]struct {
		server  uint16
		client  *tls.Config
		version uint16 // 0: no connection
	}{
		"1.3":               {0, &tls.Config{}, tls.VersionTLS13},
		"1.2 to 1.3":        {0, &tls.Config{MaxVersion: tls.VersionTLS12}, 0},
		"1.2":               {tls.VersionTLS12, &tls.Config{MaxVersion: tls.VersionTLS12}, tls.VersionTLS12},
		"1.2 prefers 1.3":   {tls.VersionTLS12, &tls.Config{}, tls.VersionTLS13},
		"1.2 with CBC":      {tls.VersionTLS12, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, 0},
		"1.2 with RSA keys": {tls.VersionTLS12, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, 0},
		"1.1":               {tls.VersionTLS12, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, 0},
	} {
		w := open(t, func(c *Config) { c.TLS.MinVersion = tc.server })
		cfg := tc.client.Clone()
		cfg.RootCAs, cfg.ServerName = w.roots, "gate.example"
		c, err := tls.Dial("tcp", w.addr, cfg)
		if tc.version == 0 {
			if err == nil {
				t.Errorf("%s: connected", name)
				_ = c.Close()
			}
			continue
		}
		if err != nil || c.ConnectionState().Version != tc.version {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = c.Close()
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration passes")
	}
	old := newWorld(t).srv.cfg
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS11}
	if _, err := New(old); err == nil {
		t.Error("TLS 1.1 passes")
	}
}

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t)
	b := w.backend
	for name, tc := range map[string]func(*Config){
		"no door":        func(c *Config) { c.Door = nil },
		"no ledger":      func(c *Config) { c.Record = nil },
		"no stream":      func(c *Config) { c.Stream = nil },
		"no TLS":         func(c *Config) { c.TLS = nil },
		"no status page": func(c *Config) { c.StatusPage = "" },
		"no name":        func(c *Config) { c.Routes = []Route{{Path: "/", Public: true, Backend: b}} },
		"no path":        func(c *Config) { c.Routes = []Route{{Name: "a", Path: "x", Public: true, Backend: b}} },
		"dot path":       func(c *Config) { c.Routes = []Route{{Name: "a", Path: "/../", Public: true, Backend: b}} },
		"no backend":     func(c *Config) { c.Routes = []Route{{Name: "a", Path: "/", Public: true}} },
		"no tenant":      func(c *Config) { c.Routes = []Route{{Name: "a", Path: "/", Service: "epa", Backend: b}} },
		"public tenant": func(c *Config) {
			c.Routes = []Route{{Name: "a", Path: "/", Public: true, Tenant: Tenant{From: FromCaller}, Backend: b}}
		},
		"no service": func(c *Config) {
			c.Routes = []Route{{Name: "a", Path: "/", Tenant: Tenant{From: FromCaller}, Backend: b}}
		},
		"path tenant": func(c *Config) {
			c.Routes = []Route{{Name: "a", Path: "/x", Service: "epa", Tenant: Tenant{From: FromPath}, Backend: b}}
		},
		"header tenant": func(c *Config) {
			c.Routes = []Route{{Name: "a", Path: "/x", Service: "epa", Tenant: Tenant{From: FromHeader}, Backend: b}}
		},
		"spelt header": func(c *Config) {
			c.Routes = []Route{{Name: "a", Path: "/x", Service: "epa", Tenant: Tenant{From: FromHeader, Header: "x-a"}, Backend: b}}
		},
		"no locator": func(c *Config) {
			c.Routes = []Route{{Name: "a", Path: "/x", Service: "epa", Tenant: Tenant{From: FromLocator}, Backend: b}}
		},
		"no presence": func(c *Config) {
			c.Routes = []Route{{Name: "a", Path: "/x", Service: "epa", Tenant: Tenant{From: FromPresence}, Backend: b}}
		},
		"the same name":   func(c *Config) { c.Routes = append(c.Routes, c.Routes[0]) },
		"the same path":   func(c *Config) { r := c.Routes[0]; r.Name = "other"; c.Routes = append(c.Routes, r) },
		"host with colon": func(c *Config) { c.Routes[0].Host = "a:1" },
		"host in capital": func(c *Config) { c.Routes[0].Host = "A" },
	} {
		cfg := newWorld(t).srv.cfg
		tc(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: passes", name)
		}
	}
}

// Slow senders and receivers are let go in time, and take nothing from others meanwhile.
func TestSlowClients(t *testing.T) {
	const soon = 300 * time.Millisecond
	serve := func(ctx context.Context, r *gate.Request) (*service.Answer, error) {
		if r.Method == "POST" {
			if _, err := io.ReadAll(r.Body); err != nil {
				return nil, err
			}
		}
		if r.Query.Has("large") {
			return &service.Answer{Status: 200, Body: make([]byte, 64<<20), Facts: read("")}, nil
		}
		return plain(ctx, r)
	}
	letGo := func(name string, limit func(*Limits), try func(t *testing.T, w *world)) {
		t.Run(name, func(t *testing.T) {
			w := open(t, func(c *Config) { limit(&c.Limits) })
			w.serve = serve
			try(t, w)
			w.await(func() bool { return w.srv.Stats().Connections == 0 })
		})
	}
	header := func(l *Limits) { l.HeaderTime = soon }
	body := func(l *Limits) { l.BodyStart, l.BodyRate = soon, 1_000_000 }
	letGo("no handshake", header, func(t *testing.T, w *world) {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		ended(t, c)
	})
	letGo("header drop by drop", header, func(t *testing.T, w *world) {
		c, err := tls.Dial("tcp", w.addr, w.tls("http/1.1"))
		for err != nil { // a handshake that took too long
			c, err = tls.Dial("tcp", w.addr, w.tls("http/1.1"))
		}
		defer c.Close()
		go func() {
			for _, b := range []byte(strings.Repeat("GET /fixed HTTP/1.1\r\nX: y\r\n", 100)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				<-time.After(20 * time.Millisecond)
			}
		}()
		ended(t, c)
	})
	letGo("body drop by drop", body, func(t *testing.T, w *world) {
		c := w.dial()
		_, _ = io.WriteString(c, "POST /fixed HTTP/1.1\r\nHost: gate.example\r\nAuthorization: Test practice\r\nContent-Length: 1000\r\n\r\n")
		go func() {
			for range 1000 {
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
				<-time.After(20 * time.Millisecond)
			}
		}()
		if got := ended(t, c); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("got %q", got)
		}
	})
	letGo("body that nobody reads", body, func(t *testing.T, w *world) {
		c := w.dial()
		_, _ = io.WriteString(c, "POST /desk/"+string(two)+" HTTP/1.1\r\nHost: gate.example\r\nAuthorization: Test insured\r\nContent-Length: 1000\r\n\r\n")
		if got := ended(t, c); !strings.HasPrefix(got, "HTTP/1.1 403 ") {
			t.Errorf("got %q", got)
		}
	})
	letGo("answer that nobody takes", func(l *Limits) { l.WriteTime = soon }, func(_ *testing.T, w *world) {
		c := w.dial()
		_, _ = io.WriteString(c, "GET /fixed?large HTTP/1.1\r\nHost: gate.example\r\nAuthorization: Test practice\r\n\r\n")
		w.await(func() bool { return len(w.take()) > 0 })
		w.await(func() bool { return w.srv.Stats().InFlight == 0 })
	})
	letGo("idle", func(l *Limits) { l.Idle = soon }, func(t *testing.T, w *world) {
		c := w.dial()
		_, _ = io.WriteString(c, getFixed)
		if got := ended(t, c); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("got %q", got)
		}
	})
}

func TestHeaderOfHundredMegabytes(t *testing.T) {
	w := open(t)
	c := w.dial()
	_, _ = io.WriteString(c, "GET /fixed HTTP/1.1\r\nHost: gate.example\r\n")
	line, sent := []byte("X-Filler: "+strings.Repeat("x", 32<<10)+"\r\n"), 0
	for sent < 100<<20 {
		n, err := c.Write(line)
		sent += n
		if err != nil {
			break
		}
	}
	if sent > 10<<20 {
		t.Errorf("%d bytes of a header were taken", sent)
	}
	if got := ended(t, c); got != "" && !strings.HasPrefix(got, "HTTP/1.1 431 ") {
		t.Errorf("got %q", got)
	}
	resp, err := w.client(true).Do(ask{target: "/fixed", as: "practice", header: http.Header{"X-Filler": {strings.Repeat("x", 1<<20)}}}.request(t))
	if err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != 431 {
			t.Errorf("HTTP/2: got %v", resp)
		}
	}
}

// Pairs of requests that machines in front may take for one, or the other way round. No second request may come out of a
// message whose end is in doubt.
func TestSmuggling(t *testing.T) {
	const head = "Host: gate.example\r\nAuthorization: Test practice\r\n"
	for name, tc := range map[string]struct {
		octets  string
		answers int // how many requests were answered with 200
	}{
		"two honest requests":  {"POST /fixed HTTP/1.1\r\n" + head + "Content-Length: 1\r\n\r\nx" + getFixed, 2},
		"chunked, then a GET":  {"POST /fixed HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + getFixed, 1},
		"CL.TE":                {"POST /fixed HTTP/1.1\r\n" + head + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + getFixed, 1},
		"TE.CL":                {"POST /fixed HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n1\r\nx\r\n0\r\n\r\n" + getFixed, 1},
		"two lengths":          {"POST /fixed HTTP/1.1\r\n" + head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx" + getFixed, 0},
		"length with plus":     {"POST /fixed HTTP/1.1\r\n" + head + "Content-Length: +1\r\n\r\nx" + getFixed, 0},
		"length with a list":   {"POST /fixed HTTP/1.1\r\n" + head + "Content-Length: 1, 1\r\n\r\nx" + getFixed, 0},
		"hidden TE":            {"POST /fixed HTTP/1.1\r\n" + head + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + getFixed, 0},
		"unknown TE":           {"POST /fixed HTTP/1.1\r\n" + head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + getFixed, 0},
		"two TE":               {"POST /fixed HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + getFixed, 0},
		"compressed TE":        {"POST /fixed HTTP/1.1\r\n" + head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + getFixed, 0},
		"two hosts":            {"GET /fixed HTTP/1.1\r\nHost: gate.example\r\nHost: one.example\r\nAuthorization: Test practice\r\n\r\n", 0},
		"no host":              {"GET /fixed HTTP/1.1\r\nAuthorization: Test practice\r\n\r\n", 0},
		"space before colon":   {"GET /fixed HTTP/1.1\r\nHost : gate.example\r\nAuthorization: Test practice\r\n\r\n", 0},
		"bare CR":              {"GET /fixed HTTP/1.1\r\nHost: gate.example\r\nX: a\rAuthorization: Test practice\r\n\r\n", 0},
		"NUL":                  {"GET /fixed HTTP/1.1\r\n" + head + "X: a\x00b\r\n\r\n", 0},
		"chunk ended by LF":    {"POST /fixed HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n" + getFixed, 0},
		"chunk length too big": {"POST /fixed HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\nx\r\n0\r\n\r\n" + getFixed, 0},
		"body behind a GET":    {"GET /fixed HTTP/1.1\r\n" + head + "Content-Length: " + fmt.Sprint(len(getFixed)) + "\r\n\r\n" + getFixed, 1},
		"HTTP/1.0":             {"GET /fixed HTTP/1.0\r\n" + head + "\r\n", 0},
		"HTTP/0.9":             {"GET /fixed\r\n\r\n", 0},
		"h2c":                  {"GET /fixed HTTP/1.1\r\n" + head + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", 1},
		"h2 by heart":          {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, func(c *Config) { c.Limits.Idle = 100 * time.Millisecond }) // ends what waits for more
			w.serve = func(ctx context.Context, r *gate.Request) (*service.Answer, error) {
				if _, err := io.ReadAll(r.Body); err != nil {
					return nil, err
				}
				return plain(ctx, r)
			}
			got := w.raw(tc.octets)
			if n := strings.Count(got, "HTTP/1.1 200 "); n != tc.answers {
				t.Errorf("%d requests were answered, want %d: %q", n, tc.answers, got)
			}
			if len(w.take()) > max(tc.answers, 1) {
				t.Error("more entries than requests")
			}
		})
	}
}

// Tricks on whom a request is about, as scanners send them: nothing of it reaches a service.
func TestTargetTricks(t *testing.T) {
	for _, target := range []string{
		"/desk/" + string(one) + "/../" + string(two) + "/x", "/desk/" + string(one) + "%2f..%2f" + string(two), "/desk/%2e%2e/desk/" + string(one),
		"/desk/" + string(one) + "%2Fx", "/desk/" + string(one) + "%5cx", "/desk/" + string(one) + "\\x", "/desk//" + string(one), "//desk/" + string(one),
		"/desk/" + string(one) + "/./x", "/desk/" + string(one) + ";a=b/x", "/desk/" + string(one) + "/..;/x", "/desk/" + string(one) + "%00", "/desk/" + string(one) + "%0a",
		"/desk/%2509500969", "/desk/" + string(one) + "%252f..", "/desk/" + string(one) + "/%ff", "/desk/" + string(one) + "#/x",
		"http://one.example/fixed", "https://gate.example/fixed", "*", "/.%2e/fixed", "/%2e/fixed", "/desk/.%00./x", "gate.example:443",
	} {
		for _, method := range []string{"GET", "OPTIONS"} {
			w := open(t)
			got := w.raw(method + " " + target + " HTTP/1.1\r\nHost: gate.example\r\nAuthorization: Test practice\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") {
				t.Errorf("%s %s: got %q", method, target, got)
			}
			if len(w.seen) != 0 {
				t.Errorf("%s %s reached the service as %q of %v", method, target, w.last().Path, w.last().Compartment)
			}
		}
	}
	for _, host := range []string{"gate.example.", "one.example.", "gate..example", "gate.example:x", "[::1", "gate.example/x", "user@gate.example", "", "gate_example:443:443", "[fe80::1%25eth0]"} {
		w := open(t)
		got := w.raw("GET /fixed HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Test practice\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 400 ") || len(w.seen) != 0 {
			t.Errorf("host %q: got %q", host, got)
		}
	}
	for _, host := range []string{"gate.example", "GATE.example:443", "127.0.0.1", "[::1]:8443"} {
		w := open(t)
		if got := w.raw("GET /fixed HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Test practice\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("host %q: got %q", host, got)
		}
	}
	w := open(t)
	if got := w.raw("CONNECT gate.example:443 HTTP/1.1\r\nHost: gate.example\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("CONNECT: got %q", got)
	}
}

func TestBodies(t *testing.T) {
	w := open(t)
	var n atomic.Int64
	failed := make(chan error, 10)
	w.serve = func(ctx context.Context, r *gate.Request) (*service.Answer, error) {
		b, err := io.ReadAll(r.Body)
		n.Store(int64(len(b)))
		if err != nil {
			failed <- err
			return nil, err
		}
		return plain(ctx, r)
	}
	chunked := func(size int) answer {
		return w.ask(ask{method: "POST", target: "/desk/" + string(one), as: "practice", body: io.MultiReader(strings.NewReader(strings.Repeat("x", size)))})
	}
	if got := chunked(1000); got.status != 200 || n.Load() != 1000 {
		t.Errorf("a body of the largest size: got %v with %d bytes", got, n.Load())
	}
	if got := chunked(1001); got.status != 413 || n.Load() > 1000 {
		t.Errorf("a body over it: got %v with %d bytes", got, n.Load())
	}
	if got := chunked(10_000_000); got.status != 413 {
		t.Errorf("a body far over it: got %v", got)
	}
	// A compressed bomb stays compressed.
	bomb := ask{method: "POST", target: "/desk/" + string(one), as: "practice", body: strings.NewReader("\x1f\x8b\x08"), header: http.Header{"Content-Encoding": {"gzip"}}}
	if got := w.ask(bomb); got.status != 200 || n.Load() != 3 {
		t.Errorf("a compressed body: got %v with %d bytes", got, n.Load())
	}
	c := w.dial()
	_, _ = io.WriteString(c, "POST /fixed HTTP/1.1\r\nHost: gate.example\r\nAuthorization: Test practice\r\nContent-Length: 10\r\n\r\nabc")
	_ = c.(*tls.Conn).CloseWrite()
	w.await(func() bool { return w.srv.Stats().InFlight == 0 && len(failed) == 3 })
	if e := w.take(); e[len(e)-1].Outcome != ledger.OutcomeDenied || e[len(e)-1].Reason != ledger.ReasonInvalidInput {
		t.Errorf("a body that broke off is recorded as %+v", e[len(e)-1])
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	w := open(t, func(c *Config) { c.Limits.Connections, c.Limits.PerNetwork = 3, 100 })
	inside, finish := make(chan struct{}, 3), make(chan struct{})
	w.serve = func(ctx context.Context, r *gate.Request) (*service.Answer, error) {
		inside <- struct{}{}
		<-finish
		return plain(ctx, r)
	}
	idle, busy := w.dial(), w.dial()
	_, _ = io.WriteString(busy, getFixed)
	<-inside
	third := w.dial()
	_, _ = io.WriteString(third, getFixed)
	<-inside
	fourth := w.dial() // makes the idle one go
	ended(t, idle)
	if st := w.srv.Stats(); st.OustedConns != 1 || st.Connections != 3 {
		t.Errorf("stats are %+v", st)
	}
	_, _ = io.WriteString(fourth, getFixed)
	<-inside
	if c, err := tls.Dial("tcp", w.addr, w.tls("http/1.1")); err == nil {
		t.Error("there is a fourth busy connection")
		_ = c.Close()
	}
	if st := w.srv.Stats(); st.RefusedConns != 1 {
		t.Errorf("stats are %+v", st)
	}
	close(finish)
	for _, c := range []net.Conn{busy, third, fourth} {
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
			t.Errorf("a busy connection got %v, %v", resp, err)
		}
	}
}

func TestConnectionsPerNetwork(t *testing.T) {
	w := open(t, func(c *Config) { c.Limits.PerNetwork = 2 })
	a, _ := w.dial(), w.dial()
	if c, err := tls.Dial("tcp", w.addr, w.tls("http/1.1")); err == nil {
		t.Error("there is a third connection")
		_ = c.Close()
	}
	_ = a.Close()
	w.await(func() bool { return w.srv.Stats().Connections == 1 })
	w.dial()
}

// When the node stops, requests under way have their time, and the minute's refusals are written down.
func TestStop(t *testing.T) {
	w := newWorld(t)
	inside, finish := make(chan struct{}), make(chan struct{})
	w.serve = func(ctx context.Context, r *gate.Request) (*service.Answer, error) {
		close(inside)
		<-finish
		return plain(ctx, r)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.srv.Run(ctx, l) }()
	w.ask(ask{target: "/fixed"})
	got := make(chan answer)
	go func() { got <- w.ask(ask{target: "/fixed", as: "practice"}) }()
	<-inside
	cancel()
	w.await(func() bool { _, err := net.Dial("tcp", w.addr); return err != nil })
	close(finish)
	if a := <-got; a.status != 200 {
		t.Errorf("the request under way got %v", a)
	}
	if err := <-done; err != nil {
		t.Errorf("the server ended with %v", err)
	}
	if e := w.take(); len(e) != 2 || detail(e[1], "count") != "1" {
		t.Errorf("the entries are %+v", e)
	}
}

// A service that does not come to an end is told so; one that does not listen does not keep the node.
func TestStopWithoutEnd(t *testing.T) {
	for _, obedient := range []bool{true, false} {
		w := newWorld(t, func(c *Config) { c.Limits.Grace = 200 * time.Millisecond })
		if obedient {
			w.srv.obedience = time.Hour
		}
		inside, finish := make(chan struct{}), make(chan struct{})
		defer close(finish)
		w.serve = func(ctx context.Context, _ *gate.Request) (*service.Answer, error) {
			close(inside)
			if !obedient {
				<-finish
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w.addr = l.Addr().String()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- w.srv.Run(ctx, l) }()
		c := w.dial()
		_, _ = io.WriteString(c, getFixed)
		<-inside
		cancel()
		if err := <-done; (err == nil) != obedient {
			t.Errorf("obedient %v: the server ended with %v", obedient, err)
		}
	}
}

func TestListenerFails(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := w.srv.Run(t.Context(), l); err == nil || querschott.CodeOf(err) != querschott.CodeInternal {
		t.Errorf("the server ended with %v", err)
	}
}
