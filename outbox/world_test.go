package outbox

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/seal"
)

// relayServer is a mail server that fails as told. It is reached through pipes, so that it works in a bubble of synctest.
type relayServer struct {
	server   *smtp.Server
	conns    chan net.Conn
	implicit bool // TLS from the start

	mu       sync.Mutex // guards all below
	calls    int
	down     bool
	accepted []accepted
	attempts []time.Time // of every MAIL
	// What the server says at a step to a mail; nil: yes.
	onMail func(from string) error
	onRcpt func(c *smtp.Conn, to string) error
	onData func(c *smtp.Conn, to string) error
	hung   chan struct{} // closed when the test is over
}

// accepted is a mail that the server has taken.
type accepted struct {
	from, to, body string
	at             time.Time
}

func newRelayServer(t *testing.T) *relayServer {
	s := &relayServer{conns: make(chan net.Conn), hung: make(chan struct{})}
	s.server = smtp.NewServer(s)
	s.server.Domain = "relay.example"
	s.server.AllowInsecureAuth = true
	s.server.ErrorLog = log.New(io.Discard, "", 0)
	go func() { _ = s.server.Serve(s) }()
	t.Cleanup(func() {
		close(s.hung)
		_ = s.server.Close()
	})
	return s
}

func (s *relayServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// Accept implements net.Listener.
func (s *relayServer) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.hung:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (s *relayServer) Close() error { return nil }

// Addr implements net.Listener.
func (s *relayServer) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25} }

func (s *relayServer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	s.mu.Lock()
	s.calls++
	down := s.down
	s.mu.Unlock()
	if down {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	select {
	case s.conns <- s.protect(there):
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.hung:
		return nil, net.ErrClosed
	}
}

// protect wraps the server's end of a connection if it speaks TLS from the start.
func (s *relayServer) protect(c net.Conn) net.Conn {
	if !s.implicit {
		return c
	}
	return tls.Server(c, s.server.TLSConfig)
}

func (s *relayServer) relay() *Relay {
	return &Relay{Address: "127.0.0.1:25", TLS: RelayPlain, Hello: "node.example", dial: s.dial}
}

// NewSession implements smtp.Backend.
func (s *relayServer) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &relaySession{s: s, c: c}, nil
}

func (s *relayServer) got() []accepted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.accepted)
}

// recipients returns to whom the server has taken mail, in its order.
func (s *relayServer) recipients() []string {
	var list []string
	for _, a := range s.got() {
		list = append(list, a.to)
	}
	return list
}

func (s *relayServer) callCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *relayServer) tries() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.attempts)
}

type relaySession struct {
	s        *relayServer
	c        *smtp.Conn
	from, to string
	begun    bool // a transaction that was not ended
}

func (x *relaySession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (x *relaySession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "node" || password != "right" {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "wrong password"}
		}
		return nil
	}), nil
}

func (x *relaySession) Mail(from string, _ *smtp.MailOptions) error {
	x.s.mu.Lock()
	x.s.attempts = append(x.s.attempts, time.Now())
	hook := x.s.onMail
	x.s.mu.Unlock()
	if x.begun { // RFC 5321 section 4.1.4: servers may refuse this
		return &smtp.SMTPError{Code: 503, EnhancedCode: smtp.EnhancedCode{5, 5, 1}, Message: "nested MAIL"}
	}
	x.from, x.begun = from, true
	if hook != nil {
		return hook(from)
	}
	return nil
}

func (x *relaySession) Rcpt(to string, _ *smtp.RcptOptions) error {
	x.s.mu.Lock()
	hook := x.s.onRcpt
	x.s.mu.Unlock()
	x.to = to
	if hook != nil {
		return hook(x.c, to)
	}
	return nil
}

func (x *relaySession) Data(r io.Reader) error {
	x.s.mu.Lock()
	hook := x.s.onData
	x.s.mu.Unlock()
	if hook != nil {
		if _, err := io.CopyN(io.Discard, r, 10); err != nil {
			return err
		}
		if err := hook(x.c, x.to); err != nil {
			return err
		}
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	x.s.set(func() {
		x.s.accepted = append(x.s.accepted, accepted{x.from, x.to, string(body), time.Now()})
	})
	return nil
}

func (x *relaySession) Reset()        { x.begun = false }
func (x *relaySession) Logout() error { return nil }

func transientReply() error {
	return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 4, 1}, Message: "try later"}
}

func permanentReply() error {
	return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
}

func testBox() *seal.Box { return seal.NewBox(bytes.Repeat([]byte{7}, 32)) }

func open(t testing.TB, store cell.Store, opt Options) *Outbox {
	t.Helper()
	o, err := Open(store, testBox(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// start runs an outbox; stop ends it and waits.
func start(t *testing.T, o *Outbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

const practice = "praxis@provider.kim.telematik"

func letter(id, to string) Mail {
	body := "From: <node@example>\r\nMessage-ID: <" + id + "@example>\r\n\r\n.hidden dot\r\nEnd of " + id + "\r\n"
	return Mail{ID: id, To: to, Body: []byte(body), Created: time.Unix(1700000000, 0)}
}

func letters(prefix, domain string, n int) []Mail {
	var list []Mail
	for i := range n {
		list = append(list, letter(fmt.Sprintf("%s-%03d", prefix, i), fmt.Sprintf("p%03d@%s", i, domain)))
	}
	return list
}

func mustPut(t testing.TB, o *Outbox, mails ...Mail) {
	t.Helper()
	if err := o.PutAll(context.Background(), mails...); err != nil {
		t.Fatal(err)
	}
}

// bubble runs a test on a clock of its own.
func bubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// pass lets time pass and everything settle.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func wantStatus(t *testing.T, o *Outbox, queued, failed int) {
	t.Helper()
	if s := o.Status(); s.Queued != queued || s.Failed != failed {
		t.Errorf("status: %d queued, %d failed; want %d and %d", s.Queued, s.Failed, queued, failed)
	}
}

// keysOf counts the keys of each kind in a store.
func keysOf(t testing.TB, s cell.Store) map[string]int {
	t.Helper()
	kinds := map[string]int{}
	for _, p := range celltest.Dump(t, s, nil, nil) {
		if !strings.HasPrefix(p.Key, "o") {
			t.Errorf("key %q is not in the space of the outbox", p.Key)
		}
		kinds[p.Key[1:2]]++
	}
	return kinds
}
