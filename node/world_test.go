package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/wait"
	"github.com/querschott/querschott/ledger"
)

const (
	relayUser = "fachdienst@praxis.kim.telematik-test"
	anna      = querschott.Actor("anna")
	ben       = querschott.Actor("ben")
)

// invented is one world for all tests of a size: enrolling its practices costs more than most tests.
var invented = struct {
	sync.Mutex
	worlds map[int]*drill.World
	ca     *drill.CA
}{worlds: map[int]*drill.World{}}

func inventedWorld(tb testing.TB, insurers int) (*drill.World, *drill.CA) {
	tb.Helper()
	invented.Lock()
	defer invented.Unlock()
	if invented.ca == nil {
		ca, err := drill.NewCA(time.Now())
		if err != nil {
			tb.Fatal(err)
		}
		invented.ca = ca
	}
	w := invented.worlds[insurers]
	if w == nil {
		w = drill.NewWorld(7, insurers, 100*insurers)
		if err := w.Enrol(invented.ca); err != nil {
			tb.Fatal(err)
		}
		invented.worlds[insurers] = w
	}
	return w, invented.ca
}

// house is a node's directory with an invented world around it.
type house struct {
	tb       testing.TB
	dir      string
	cfg      *Config
	world    *drill.World
	ca       *drill.CA
	password string // of relayUser
	log      *logbook
	opt      Options
}

// logbook keeps everything that was logged.
type logbook struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newHouse makes a directory with some insurers, two operators and a relay's account. It listens on free loopback ports.
func newHouse(tb testing.TB, insurers int, change ...func(*Config)) *house {
	tb.Helper()
	return newHouseWith(tb, insurers, []querschott.Service{querschott.EAU, querschott.Letter}, change...)
}

func newHouseWith(tb testing.TB, insurers int, services []querschott.Service, change ...func(*Config)) *house {
	tb.Helper()
	dir, err := os.MkdirTemp("", "qs") // the socket's path must be short
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &house{tb: tb, dir: dir, log: &logbook{}}
	h.world, h.ca = inventedWorld(tb, insurers)
	server, err := h.ca.Server("localhost", "127.0.0.1")
	if err != nil {
		tb.Fatal(err)
	}
	if err := server.Write(dir, "server"); err != nil {
		tb.Fatal(err)
	}
	cfg := Default()
	cfg.Domain = "test.querschott.example"
	cfg.Mail.Hostname, cfg.Mail.Certificate, cfg.Mail.Key = "localhost", "server.crt", "server.key"
	cfg.Mail.StartTLS, cfg.Mail.TLS, cfg.Console.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Intake.Segment, cfg.Intake.MaxMail = 1<<20, 512<<10
	for _, fn := range change {
		fn(&cfg)
	}
	h.opt = Options{
		Version: "test", Log: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		patience: time.Hour, // on a busy machine everybody obeys late
	}
	init := InitOptions{Config: cfg, Operators: []querschott.Actor{anna, ben}, WorkFactor: 4}
	if cfg.Keyring.Unlock == "passphrase" {
		init.Passphrase = passphrase
		h.opt.Passphrase = passphrase
	}
	for _, in := range h.world.Insurers() {
		init.Insurers = append(init.Insurers, Insurer{
			IK: in.IK, Name: in.Name, Insured: in.Insured, Addresses: []string{string(in.Address)},
			Services: services,
		})
	}
	if h.cfg, err = Init(dir, init); err != nil {
		tb.Fatal(err)
	}
	acc, err := ident.OpenAccounts(disk.OS{}, h.cfg.Mail.Accounts, time.Now)
	if err != nil {
		tb.Fatal(err)
	}
	if h.password, err = acc.Add(relayUser, querschott.RoleRelay); err != nil {
		tb.Fatal(err)
	}
	return h
}

func passphrase() ([]byte, error) { return []byte("four words are enough"), nil }

// compartment names a service of the i-th insurer.
func (h *house) compartment(i int, s querschott.Service) querschott.Compartment {
	return querschott.Compartment{Insurer: h.world.Insurers()[i].IK, Service: s}
}

// live is a node that runs until stop is called or the test ends.
type live struct {
	*Node
	h    *house
	stop func()
}

// open opens the node without running it.
func (h *house) open() *Node {
	h.tb.Helper()
	n, err := Open(h.tb.Context(), h.cfg, h.opt)
	if err != nil {
		h.tb.Fatal(err)
	}
	n.canary.patience = h.opt.patience
	return n
}

// run opens the node and runs it.
func (h *house) run() *live {
	h.tb.Helper()
	return h.runs(h.open())
}

// runs runs a node that is open.
func (h *house) runs(n *Node) *live {
	h.tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.tb.Context()))
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	r := &live{Node: n, h: h}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.tb.Errorf("the node ended with: %v", err)
		}
		if err := n.Close(); err != nil {
			h.tb.Errorf("the node did not close: %v", err)
		}
	})
	h.tb.Cleanup(r.stop)
	return r
}

func (h *house) signer(name querschott.Actor) note.Signer {
	h.tb.Helper()
	s, err := LoadOperatorKey(filepath.Join(h.dir, "operators", string(name)+".key"))
	if err != nil {
		h.tb.Fatal(err)
	}
	return s
}

// move has both operators sign, for many doors at the same time.
func (r *live) move(to querschott.DoorState, cs ...querschott.Compartment) {
	r.h.tb.Helper()
	a, b := r.h.signer(anna), r.h.signer(ben)
	var g errgroup.Group
	g.SetLimit(16)
	for _, c := range cs {
		g.Go(func() error {
			_, err := r.Order(r.h.tb.Context(), door.Request{Compartment: c, To: to, Reason: "test"}, anna, a, b)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		r.h.tb.Fatal(err)
	}
}

// openAll opens every door.
func (r *live) openAll() {
	r.h.tb.Helper()
	r.move(querschott.Open, r.Compartments()...)
}

// notes writes n sick notes for the i-th insurer.
func (h *house) notes(i, n int) []drill.Mail {
	h.tb.Helper()
	in := h.world.Insurers()[i]
	first, persons := in.Persons()
	list := make([]drill.Mail, n)
	for k := range list {
		p := h.world.Practices()[k%len(h.world.Practices())]
		m, err := p.SickNote(h.world.Person(first+k%persons), time.Now())
		if err != nil {
			h.tb.Fatal(err)
		}
		list[k] = m
	}
	return list
}

// client is a relay's connection over implicit TLS, logged in.
func (r *live) client() *smtp.Client {
	r.h.tb.Helper()
	c := r.anonymous()
	if err := c.Auth(sasl.NewPlainClient("", relayUser, r.h.password)); err != nil {
		r.h.tb.Fatal(err)
	}
	return c
}

// anonymous is a connection without a login.
func (r *live) anonymous() *smtp.Client {
	r.h.tb.Helper()
	c, err := smtp.DialTLS(r.Addresses().TLS, r.h.clientTLS())
	if err != nil {
		r.h.tb.Fatal(err)
	}
	return c
}

func (h *house) clientTLS() *tls.Config {
	return &tls.Config{RootCAs: h.ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}
}

// handIn gives one mail to the node as a practice's relay does and returns the answer.
func handIn(c *smtp.Client, m *drill.Mail) (string, error) {
	err := c.Mail(string(m.From), &smtp.MailOptions{Return: smtp.DSNReturnHeaders})
	if err != nil {
		return "", err
	}
	if err := c.Rcpt(string(m.To), &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure}}); err != nil {
		return "", err
	}
	w, err := c.Data()
	if err != nil {
		return "", err
	}
	if _, err := w.Write(m.Body); err != nil {
		return "", err
	}
	answer, err := w.CloseWithResponse()
	if err != nil {
		return "", err
	}
	return answer.StatusText, nil
}

// send hands in mails that must all be accepted.
func (r *live) send(mails ...drill.Mail) {
	r.h.tb.Helper()
	c := r.client()
	for i := range mails {
		if _, err := handIn(c, &mails[i]); err != nil {
			r.h.tb.Fatal(err)
		}
	}
	if err := c.Quit(); err != nil {
		r.h.tb.Fatal(err)
	}
}

// until waits for a state that the node reaches by itself, as long as the test has time.
func (h *house) until(what string, ok func() bool) {
	h.tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := wait.Over(h.tb)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			h.tb.Fatalf("waited in vain for: %s\n%s", what, h.log)
		}
	}
}

// count says how many of the mails are in their cells.
func (r *live) count(mails []drill.Mail) (n int) {
	r.h.tb.Helper()
	for i := range mails {
		in, err := r.Delivered(mails[i].Compartment, mails[i].Binding())
		if err != nil {
			r.h.tb.Fatal(err)
		}
		if in {
			n++
		}
	}
	return n
}

// arrive waits until all mails are in their cells.
func (r *live) arrive(mails ...drill.Mail) {
	r.h.tb.Helper()
	r.h.until("delivery", func() bool { return r.count(mails) == len(mails) })
}

// origin names a log of the ledger; the insurer is "" for the platform's.
func (h *house) origin(insurer querschott.IK) string {
	return ledger.InsurerOrigin(h.cfg.Domain, insurer, time.Now().UTC().Year())
}
