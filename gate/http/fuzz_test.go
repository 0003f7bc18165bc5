package http

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
)

// once is a listener that has one connection.
type once struct {
	conn chan net.Conn
	end  chan struct{}
}

func (o *once) Accept() (net.Conn, error) {
	select {
	case c := <-o.conn:
		return c, nil
	case <-o.end:
		return nil, net.ErrClosed
	}
}
func (o *once) Close() error   { return nil }
func (o *once) Addr() net.Addr { return &net.TCPAddr{} }

// scripted is a connection whose caller has said everything already.
type scripted struct {
	in     *bytes.Reader
	closed chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
	end sync.Once
}

func (s *scripted) Read(p []byte) (int, error) { return s.in.Read(p) }

func (s *scripted) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *scripted) Close() error                   { s.end.Do(func() { close(s.closed) }); return nil }
func (*scripted) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (*scripted) SetDeadline(time.Time) error      { return nil }
func (*scripted) SetReadDeadline(time.Time) error  { return nil }
func (*scripted) SetWriteDeadline(time.Time) error { return nil }

// FuzzConnection sends raw octets through the whole path of a request, without TLS. Whatever comes: no panic, every answer
// is well formed, the service is asked only for whom the ledger names, and no answer of the service leaves that is not
// recorded.
func FuzzConnection(f *testing.F) {
	const head = "Host: gate.example\r\nAuthorization: Test practice\r\n"
	for _, s := range []string{
		getFixed,
		"GET /vsd/v1/bundle?profileVersion=1.0 HTTP/1.1\r\n" + head + "PoPP: 109500969/A123456780\r\nIf-None-Match: 0\r\n\r\n",
		"POST /desk/101575519/x HTTP/1.1\r\nHost: gate.example\r\nAuthorization: Test clerk\r\nContent-Length: 3\r\n\r\nabc" + getFixed,
		"POST /queue/109500969 HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"GET /head HTTP/1.1\r\n" + head + "X-Insurer: 109500969\r\nX_insurer: 101575519\r\nConnection: X-Insurer\r\n\r\n",
		"GET /ws HTTP/1.1\r\n" + head + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nxyz",
		"GET /desk/109500969/%2e%2e/101575519 HTTP/1.1\r\n" + head + "ZETA-User-Info: x\r\nForwarded: for=1.1.1.1\r\n\r\n",
		"GET /found/odd?p=A123456780 HTTP/1.1\r\n" + head + "Expect: 100-continue\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\n" + head + "\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	} {
		f.Add([]byte(s))
	}
	w := newWorld(f, func(c *Config) {
		l := &c.Limits
		l.Network, l.Credential = Rate{1e6, 1e6}, Rate{1e6, 1e6}
		l.HeaderTime, l.BodyStart, l.Idle, l.Quiet, l.Tunnel = time.Second, time.Second, time.Second, time.Second, time.Second
		l.Reach = Reach{1e6, 1e6, 1e6}
	})
	w.serve = func(_ context.Context, r *gate.Request) (*service.Answer, error) {
		if _, err := io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		facts := service.Facts{Action: ledger.ActionRead, Outcome: ledger.OutcomeSuccess}
		return &service.Answer{Status: 200, Header: http.Header{"Served": {r.ID}}, Body: []byte("served"), Facts: facts}, nil
	}
	srv := w.srv.server(context.Background())
	srv.ErrorLog = nil
	accept := &once{make(chan net.Conn), make(chan struct{})}
	go func() { _ = srv.Serve(&listener{accept, w.srv.conns}) }()
	f.Cleanup(func() { close(accept.end); _ = srv.Close() })
	f.Fuzz(func(t *testing.T, octets []byte) {
		w.t = t
		w.take()
		w.set(func() { w.seen = nil })
		c := &scripted{in: bytes.NewReader(octets), closed: make(chan struct{})}
		accept.conn <- c
		<-c.closed
		w.await(func() bool { return w.srv.Stats().InFlight == 0 })
		if n := w.srv.Stats().Panics; n != 0 {
			t.Fatalf("%d panics: %s", n, w.log.String())
		}
		w.judgeAnswers(t, c.out.Bytes(), w.judgeSeen(t))
	})
}

// judgeSeen checks what the service was asked against the ledger, and returns the requests that may have been answered.
func (w *world) judgeSeen(t *testing.T) map[string]bool {
	entries := map[string]ledger.Entry{}
	for _, e := range w.take() {
		entries[e.RequestID] = e
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	recorded := map[string]bool{}
	for id := range entries {
		recorded[id] = true
	}
	for _, r := range w.seen {
		e, ok := entries[r.ID]
		if r.Raw.URL.Path == "/public" {
			recorded[r.ID] = true
			continue
		}
		if !ok || e.Compartment != r.Compartment {
			t.Errorf("the service was asked about %v, the ledger says %+v", r.Compartment, e)
		}
		if own := r.Caller.Insurer; own != "" && own != r.Compartment.Insurer && r.Compartment.Insurer != "" {
			t.Errorf("a caller of %s reached %s", own, r.Compartment)
		}
		for name := range r.Header {
			if kindOf(name) != endToEnd {
				t.Errorf("the service sees the header %s", name)
			}
		}
		if strings.Contains(r.Path, "..") && hostile("/"+r.Path) != "" {
			t.Errorf("the service sees the path %q", r.Path)
		}
		if _, err := querschott.ParseIK(string(r.Compartment.Insurer)); err != nil && r.Compartment.Insurer != "" {
			t.Errorf("the service is asked about the insurer %q", r.Compartment.Insurer)
		}
	}
	return recorded
}

func (w *world) judgeAnswers(t *testing.T, got []byte, recorded map[string]bool) {
	for r := bufio.NewReader(bytes.NewReader(got)); ; {
		if _, err := r.Peek(1); err != nil {
			return
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("an answer cannot be read: %v\n%q", err, got)
		}
		if resp.StatusCode == http.StatusContinue {
			continue
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return
		}
		if id := resp.Header.Get("Served"); id != "" && !recorded[id] {
			t.Errorf("an answer left that is not recorded: %q", got)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return // of HEAD, or cut off by the deadline
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/a/b", "/a//b", "/../x", "/a%2fb", "/%252e", "http://x/y", "*", "/a;b", "/\x00"} {
		f.Add(s, "gate.example")
	}
	f.Fuzz(func(t *testing.T, target, host string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")))
		if err != nil || hostileURL(r) != "" {
			return
		}
		// What passes is understood alike by everybody who decodes once, twice, or cleans.
		p := r.URL.Path
		if p[0] != '/' || strings.Contains(p, "//") || strings.Contains(p+"/", "/../") || strings.Contains(p+"/", "/./") || strings.ContainsAny(p, "%\\;\x00\r\n") {
			t.Errorf("the path %q passes", p)
		}
		if n := strings.Count(r.URL.EscapedPath(), "/"); n != strings.Count(p, "/") {
			t.Errorf("%q has %d segments, %q as it came", p, strings.Count(p, "/"), r.URL.EscapedPath())
		}
		if h := hostName(r.Host); !validHost(h) || h != strings.ToLower(h) || strings.HasSuffix(h, ".") {
			t.Errorf("the host %q passes", h)
		}
	})
}

func FuzzForwardedFor(f *testing.F) {
	f.Add("203.0.113.9, 10.1.1.1", "127.0.0.1")
	f.Add("::1,,[::1]:80, unknown", "10.0.0.1")
	trusted := prefixes("10.0.0.0/8", "127.0.0.0/8")
	f.Fuzz(func(t *testing.T, header, peer string) {
		from := peerOf(net.JoinHostPort(peer, "1"))
		got, hop := caller(from, http.Header{"X-Forwarded-For": {header}}, trusted)
		if hop != within(from, trusted) || !hop && got != from {
			t.Errorf("%s is believed: %v, %v", peer, got, hop)
		}
		if hop && !within(got, trusted) && !strings.Contains(header, ".") && !strings.Contains(header, ":") {
			t.Errorf("%q names %v", header, got)
		}
		if got.Zone() != "" || got.Is4In6() {
			t.Errorf("the caller is %v", got)
		}
	})
}
