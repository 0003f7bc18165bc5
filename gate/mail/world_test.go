package mail

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/internal/wait"
)

const (
	practice  = "praxis.mueller@arzt.kim.telematik-test"
	relay     = "relay@fachdienst.kim.telematik-test"
	password  = "correct"
	eauBox    = "eau@kasse-eins.kim.telematik-test"
	letterBox = "post@kasse-eins.kim.telematik-test"
	otherBox  = "eau@kasse-zwei.kim.telematik-test"

	one querschott.IK = "109500969"
	two querschott.IK = "101575519"
)

// world is everything around the entrance. Its fakes check what they are given, and fail on demand, before or after
// they have done their work.
type world struct {
	t testing.TB

	mu        sync.Mutex
	arrivals  []intake.Arrival
	taken     []Taken
	notices   map[string]DSN
	doors     map[querschott.Compartment]Door
	sick      error // what the directory fails with
	revoked   bool
	before    func(step string) error // step: append, record, notify
	after     func(step string) error
	forgetful bool // do not keep bodies
	log       bytes.Buffer
}

func newWorld(t testing.TB) *world {
	return &world{t: t, notices: map[string]DSN{}, doors: map[querschott.Compartment]Door{}}
}

func (w *world) config() Config {
	return Config{
		Hostname:   "mail.querschott.test",
		TLS:        testTLS(w.t),
		StatusPage: "https://status.querschott.test",
		Authenticate: func(user, pass string) (querschott.Credential, bool) {
			role := map[string]querschott.Role{practice: querschott.RolePractice, relay: querschott.RoleRelay}[strings.ToLower(user)]
			return querschott.Credential{ID: "kim/0123", Actor: querschott.Actor(strings.ToLower(user)), Role: role}, role != "" && pass == password
		},
		Valid: func(querschott.Credential) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return !w.revoked
		},
		Directory: w.directory,
		Door: func(c querschott.Compartment) Door {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.doors[c]
		},
		Append: w.append,
		Record: w.record,
		Notify: w.notify,
		Log:    slog.New(slog.NewTextHandler(&lockedWriter{w: w}, nil)),
		Limits: Limits{ // what no test lets run out does not run out on a busy machine either
			Login: time.Hour, Idle: time.Hour, Block: time.Hour, Body: time.Hour, Write: time.Hour, Lookup: time.Hour, Accept: time.Hour, Grace: time.Hour,
		},
	}
}

type lockedWriter struct{ w *world }

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.log.Write(p)
}

func (w *world) directory(_ context.Context, address string) (querschott.IK, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if address != strings.ToLower(address) {
		w.t.Errorf("the directory was asked for %q, which is not in lower case", address)
	}
	if w.sick != nil {
		return "", w.sick
	}
	switch address {
	case eauBox, letterBox:
		return one, nil
	case otherBox:
		return two, nil
	}
	return "", querschott.Refuse(querschott.CodeUnknownHere, "not known")
}

func (w *world) append(_ context.Context, a intake.Arrival) (intake.Receipt, error) {
	if err := w.fault(&w.before, "append"); err != nil {
		return intake.Receipt{}, err
	}
	if !a.Compartment.Service.ByMail() || len(a.Body) == 0 || a.Sender != strings.ToLower(a.Sender) || a.Received.IsZero() {
		w.t.Errorf("the intake was given %+v", a)
	}
	w.mu.Lock()
	if w.forgetful {
		a.Body = nil
	}
	w.arrivals = append(w.arrivals, a)
	receipt := intake.Receipt{Seq: uint64(len(w.arrivals)), Copies: 2, At: a.Received}
	w.mu.Unlock()
	return receipt, w.fault(&w.after, "append")
}

func (w *world) record(_ context.Context, taken Taken) error {
	if err := w.fault(&w.before, "record"); err != nil {
		return err
	}
	w.mu.Lock()
	if n := taken.Receipt.Seq; n == 0 || n > uint64(len(w.arrivals)) || w.arrivals[n-1].Compartment != taken.Compartment {
		w.t.Errorf("recorded what was not taken in: %+v", taken)
	}
	w.taken = append(w.taken, taken)
	w.mu.Unlock()
	return w.fault(&w.after, "record")
}

func (w *world) notify(_ context.Context, dsn DSN) error {
	if err := w.fault(&w.before, "notify"); err != nil {
		return err
	}
	w.mu.Lock()
	w.notices[dsn.ID] = dsn
	w.mu.Unlock()
	return w.fault(&w.after, "notify")
}

// fault runs the fault that is set at this moment, if any.
func (w *world) fault(set *func(string) error, step string) error {
	w.mu.Lock()
	fn := *set
	w.mu.Unlock()
	if fn == nil {
		return nil
	}
	return fn(step)
}

func (w *world) set(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

// got returns how many messages were taken in, recorded and notified about.
func (w *world) got() [3]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return [3]int{len(w.arrivals), len(w.taken), len(w.notices)}
}

func (w *world) last() intake.Arrival {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.arrivals) == 0 {
		w.t.Fatal("nothing was taken in")
	}
	return w.arrivals[len(w.arrivals)-1]
}

// gate is a running entrance.
type gate struct {
	t                  testing.TB
	w                  *world
	srv                *Server
	starttls, implicit string
	stop               func() error
}

func (w *world) start(change func(*Config)) *gate {
	w.t.Helper()
	cfg := w.config()
	if change != nil {
		change(&cfg)
	}
	srv, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	plain, secured := listen(w.t), listen(w.t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx, []net.Listener{plain}, []net.Listener{secured}) }()
	g := &gate{t: w.t, w: w, srv: srv, starttls: plain.Addr().String(), implicit: secured.Addr().String()}
	g.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	w.t.Cleanup(func() {
		if err := g.stop(); err != nil && !errors.Is(err, querschott.ErrHalt) {
			w.t.Errorf("Run: %v", err)
		}
	})
	return g
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var (
	testCert  = sync.OnceValues(makeCert)
	clientTLS = &tls.Config{InsecureSkipVerify: true} // the certificate is the test's own
	dialed    atomic.Int64
)

func makeCert() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.querschott.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mail.querschott.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func testTLS(t testing.TB) *tls.Config {
	t.Helper()
	cert, err := testCert()
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// peer is a client that says exactly what it is told to.
type peer struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

// raw connects in the clear and reads the greeting.
func (g *gate) raw() *peer {
	g.t.Helper()
	nc, err := net.Dial("tcp", g.starttls)
	if err != nil {
		g.t.Fatal(err)
	}
	p := newPeer(g.t, nc)
	p.want("220")
	return p
}

// dial connects with TLS and reads the greeting.
func (g *gate) dial() *peer {
	g.t.Helper()
	nc, err := tls.Dial("tcp", g.implicit, clientTLS)
	if err != nil {
		g.t.Fatal(err)
	}
	p := newPeer(g.t, nc)
	p.want("220")
	return p
}

// login connects and authenticates.
func (g *gate) login(user string) *peer {
	g.t.Helper()
	p := g.dial()
	p.do("EHLO practice", "250")
	p.do("AUTH PLAIN "+plainResponse(user, password), "235 2.7.0")
	return p
}

// ready goes on to where the message may be sent.
func (g *gate) ready(user string) *peer {
	g.t.Helper()
	p := g.login(user)
	p.do("MAIL FROM:<"+user+">", "250 2.1.0")
	p.do("RCPT TO:<"+eauBox+"> NOTIFY=SUCCESS", "250 2.1.5")
	return p
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	dialed.Add(1)
	t.Cleanup(func() { _ = nc.Close() }) // mostly closed already
	_ = nc.SetDeadline(wait.End(t))
	return &peer{t: t, nc: nc, r: bufio.NewReader(nc)}
}

func plainResponse(user, pass string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + pass))
}

// send writes octets as they are.
func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := p.nc.Write([]byte(s)); err != nil {
		p.t.Fatalf("couldn't send %.40q: %v", s, err)
	}
}

// reply reads one answer, all lines of it.
func (p *peer) reply() (string, error) {
	var b strings.Builder
	for {
		line, err := p.r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String(), err
		}
		if len(line) < 4 || line[3] != '-' {
			return b.String(), nil
		}
	}
}

// want reads one answer and checks how it begins.
func (p *peer) want(begin string) string {
	p.t.Helper()
	got, err := p.reply()
	if err != nil || !strings.HasPrefix(got, begin) {
		p.t.Fatalf("answered %q (%v), want %s", got, err, begin)
	}
	return got
}

// do sends a command and checks how the answer begins.
func (p *peer) do(command, begin string) string {
	p.t.Helper()
	p.send(command + "\r\n")
	got, err := p.reply()
	if err != nil || !strings.HasPrefix(got, begin) {
		p.t.Fatalf("%.60q was answered %q (%v), want %s", command, got, err, begin)
	}
	return got
}

// gone checks that the server has ended the connection.
func (p *peer) gone() {
	p.t.Helper()
	if got, err := p.reply(); err == nil {
		p.t.Fatalf("answered %q, want the end of the connection", got)
	}
}

// message is a KIM mail of the service with a body of about size bytes.
func message(from, dienstkennung string, size int) string {
	const line = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB\r\n"
	return "From: <" + from + ">\r\nTo: <" + eauBox + ">\r\nSubject: KOM-LE-Nachricht\r\nMessage-ID: <4711@arzt>\r\n" +
		"Date: Mon, 2 Mar 2026 08:00:00 +0100\r\nX-KIM-Dienstkennung: " + dienstkennung + "\r\n" +
		"Content-Type: application/pkcs7-mime;\r\n smime-type=authenticated-enveloped-data; name=smime.p7m\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat(line, size/len(line)+1)
}

func eau() string { return message(practice, "eAU;Lieferung;V1.2", 2000) }

// closeDoors shuts compartments of an insurer.
func (w *world) closeDoors(insurer querschott.IK, services ...querschott.Service) {
	w.set(func() {
		for _, s := range services {
			w.doors[querschott.Compartment{Insurer: insurer, Service: s}] = Door{State: querschott.Closed, Incident: "V-2026-003"}
		}
	})
}

func onStep(step string, err error) func(string) error {
	return func(s string) error {
		if s == step {
			return err
		}
		return nil
	}
}

var errInjected = fmt.Errorf("injected")
