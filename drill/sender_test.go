package drill

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/internal/wait"
	"github.com/querschott/querschott/wire/kim"
)

// conduct is what a mail door does with one mail.
type conduct int

const (
	accept conduct = iota
	refuse         // 451
	leave          // 421
	reject         // 550
	drop           // cut the connection, the mail is not stored
	forget         // store the mail and cut the connection before the answer
)

// mailDoor is a go-smtp server that misbehaves, and writes down what it has stored.
type mailDoor struct {
	decide   func(nth int, m received) conduct
	password string
	relay    string // an account that may send for everybody

	mu      sync.Mutex
	nth     int
	stored  map[letterbox]int
	octets  map[string][32]byte // by Message-ID
	answers map[conduct]int
	faults  []string
	logins  int
	peak    int // sessions at the same time
	open    int
}

type received struct {
	header      kim.Header
	compartment querschott.Compartment
}

func newMailDoor(decide func(int, received) conduct) *mailDoor {
	return &mailDoor{
		decide: decide, password: "geheim", stored: map[letterbox]int{},
		octets: map[string][32]byte{}, answers: map[conduct]int{},
	}
}

func (d *mailDoor) fault(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, fmt.Sprintf(format, args...))
}

// inCell lets the audit look into what the door has stored.
func (d *mailDoor) inCell(c querschott.Compartment, b intake.Binding) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stored[letterbox{c, b}] > 0, nil
}

func noJournal(func(querschott.Compartment, intake.Binding)) error { return nil }

// session is one connection to a mail door.
type session struct {
	d      *mailDoor
	w      *World
	conn   *smtp.Conn
	user   string
	from   string
	to     *Insurer
	logged sync.Once
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if password != s.d.password {
			return smtp.ErrAuthFailed
		}
		s.user = user
		s.d.mu.Lock()
		s.d.logins++
		s.d.mu.Unlock()
		return nil
	}), nil
}

func (s *session) Mail(from string, o *smtp.MailOptions) error {
	if s.user == "" || s.user != from && s.user != s.d.relay {
		s.d.fault("MAIL FROM is %s, logged in is %q", from, s.user)
	}
	if o.Return != smtp.DSNReturnHeaders || o.EnvelopeID == "" || o.Size == 0 {
		s.d.fault("MAIL options %+v", o)
	}
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, o *smtp.RcptOptions) error {
	if fmt.Sprint(o.Notify) != "[SUCCESS FAILURE]" || o.OriginalRecipient != to {
		s.d.fault("RCPT options %+v", o)
	}
	in, ok := s.w.Mailbox(kim.Address(to))
	if !ok {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such mailbox"}
	}
	s.to = in
	return nil
}

func (s *session) Data(r io.Reader) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m := received{header: kim.ReadHeader(body)}
	m.compartment = querschott.Compartment{Insurer: s.to.IK, Service: m.header.Service()}
	return s.judge(m, body)
}

func (s *session) judge(m received, body []byte) error {
	d := s.d
	d.mu.Lock()
	d.nth++
	nth := d.nth
	if seen, hash := d.octets[m.header.MessageID], sha256.Sum256(body); seen == ([32]byte{}) {
		d.octets[m.header.MessageID] = hash
	} else if seen != hash {
		d.faults = append(d.faults, "a repeated mail has other octets")
	}
	d.mu.Unlock()
	what := d.decide(nth, m)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers[what]++
	if what == accept || what == forget {
		d.stored[letterbox{m.compartment, intake.BindingOf(s.from, strings.Trim(m.header.MessageID, "<>"))}]++
	}
	switch what {
	case accept:
		return nil
	case refuse:
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "the door is closed"}
	case leave:
		_ = s.conn.Conn().SetReadDeadline(time.Unix(1, 0)) // what RFC 5321 3.8 says: answer and close
		return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "the node is stopping"}
	case reject:
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "not you"}
	case drop, forget:
		_ = s.conn.Conn().Close()
		return errors.New("cut")
	}
	return nil
}

func (s *session) Reset() {}

func (s *session) Logout() error {
	s.logged.Do(func() {
		s.d.mu.Lock()
		s.d.open--
		s.d.mu.Unlock()
	})
	return nil
}

// serve starts the door and returns the sender's configuration for it.
func (d *mailDoor) serve(t *testing.T, w *World, ca *CA, l net.Listener, startTLS bool) SenderConfig {
	t.Helper()
	id, err := ca.Server("127.0.0.1", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.open++
		d.peak = max(d.peak, d.open)
		return &session{d: d, w: w, conn: c}, nil
	}))
	server.Domain, server.EnableDSN, server.MaxMessageBytes = "localhost", true, 1<<20
	server.ErrorLog = log.New(io.Discard, "", 0)
	config := &tls.Config{Certificates: []tls.Certificate{id.TLS()}, Time: func() time.Time { return demoDay }, MinVersion: tls.VersionTLS13}
	if startTLS {
		server.TLSConfig = config
	} else {
		l = tls.NewListener(l, config)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // ends with an error when it is closed
	}()
	t.Cleanup(func() { // the sender has ended; a connection that has only begun may not be closed under its goroutine
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	})
	return SenderConfig{
		World: w, Addr: l.Addr().String(), StartTLS: startTLS,
		TLS:   &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", Time: func() time.Time { return demoDay }},
		Login: func(p kim.Address) (string, string) { return string(p), d.password },
		Retry: 5 * time.Millisecond, Rate: 400, Seed: 1,
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// start runs a sender until the test ends.
func start(t *testing.T, cfg SenderConfig) *Sender {
	t.Helper()
	s, err := NewSender(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func drain(t *testing.T, s *Sender) Stats {
	t.Helper()
	ctx, cancel := wait.Context(t)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Fatalf("%v; %+v", err, s.Stats())
	}
	return s.Stats()
}

func (d *mailDoor) noFaults(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, f := range d.faults {
		if i < 5 {
			t.Error(f)
		}
	}
}

// after returns a channel that is closed when the door has decided about n mails.
func after(n int, decide func(int, received) conduct) (<-chan struct{}, func(int, received) conduct) {
	reached := make(chan struct{})
	var once sync.Once
	return reached, func(nth int, m received) conduct {
		if nth >= n {
			once.Do(func() { close(reached) })
		}
		return decide(nth, m)
	}
}

// Whatever the door does, every mail ends with a 250 or a 5xx, every 250 is in the books, and what is in the books is
// behind the door.
func TestSenderAtADoorThatMisbehaves(t *testing.T) {
	w, ca := enrolled(t)
	for _, startTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("starttls=%v", startTLS), func(t *testing.T) {
			reached, decide := after(150, func(nth int, _ received) conduct {
				return [...]conduct{accept, refuse, accept, drop, accept, leave, accept, accept, forget, accept, refuse, accept, reject}[nth%13]
			})
			d := newMailDoor(decide)
			s := start(t, d.serve(t, w, ca, listen(t), startTLS))
			<-reached
			st := drain(t, s)
			d.noFaults(t)
			if st.Made != st.Accepted+st.Rejected || st.Waiting != 0 {
				t.Errorf("made %d, accepted %d, rejected %d, waiting %d", st.Made, st.Accepted, st.Rejected, st.Waiting)
			}
			if got := d.answers; st.Accepted != uint64(got[accept]) || st.Rejected != uint64(got[reject]) ||
				st.Refused != uint64(got[refuse]+got[leave]) || st.ConnectionErrors < uint64(got[drop]+got[forget]) {
				t.Errorf("the sender counts %+v, the door %v", st, got)
			}
			if n := s.Books().Len(); n != int(st.Accepted) {
				t.Errorf("%d promises, %d mails accepted", n, st.Accepted)
			}
			if v, err := Audit(s.Books(), noJournal, d.inCell); err != nil || v.Lost != 0 || v.Delivered != v.Promised {
				t.Errorf("verdict %+v, %v", v, err)
			}
			if r := s.Books().At(0).Receipt; !strings.HasPrefix(r, "2.0.0 OK") {
				t.Errorf("the receipt says %q", r)
			}
			if st.P50 == 0 || st.P99 < st.P50 || st.Trouble == "" {
				t.Errorf("p50 %v, p99 %v, trouble %q", st.P50, st.P99, st.Trouble)
			}
		})
	}
}

// A door that answers 250 and throws the mail away: the audit must find out.
func TestAuditConvictsADoorThatLies(t *testing.T) {
	w, ca := enrolled(t)
	reached, decide := after(60, func(int, received) conduct { return accept })
	d := newMailDoor(decide)
	s := start(t, d.serve(t, w, ca, listen(t), false))
	<-reached
	drain(t, s)
	victim := s.Books().At(17)
	d.mu.Lock()
	delete(d.stored, letterbox{victim.Compartment, victim.Binding})
	d.mu.Unlock()
	v, err := Audit(s.Books(), noJournal, d.inCell)
	if err != nil || v.Lost == 0 || v.Examples[0].Binding != victim.Binding {
		t.Errorf("verdict %+v, %v", v, err)
	}
}

func TestMixture(t *testing.T) {
	w := NewWorld(1, 20, 2000)
	newMixture := func(seed uint64) *mixture { return &mixture{w: w, rng: rand.New(rand.NewPCG(seed, 0))} }
	const n = 40_000
	kinds, insurers, twins, fresh := map[kind]int{}, map[querschott.IK]int{}, 0, 0
	cancelled := map[[16]byte]bool{}
	m := newMixture(9)
	for range n {
		j := m.next(demoDay)
		r := j.recipe
		if j.again {
			twins++
			if r.again > 0 {
				fresh++
			}
			continue
		}
		kinds[r.kind]++
		insurers[w.Person(int(r.person)).Insurer.IK]++
		if r.kind == stornoMail {
			if cancelled[r.cancels] {
				t.Fatal("a sick note is cancelled twice")
			}
			cancelled[r.cancels] = true
		}
		m.accepted(r)
	}
	near := func(what string, got int, share float64) {
		if want := share * n; float64(got) < 0.8*want || float64(got) > 1.2*want {
			t.Errorf("%s: %d of %d, want about %.0f", what, got, n, want)
		}
	}
	near("sick notes", kinds[noteMail], 0.895)
	near("cancellations", kinds[stornoMail], shareStorno)
	near("letters", kinds[letterMail], shareLetter)
	near("repetitions", twins, shareAgain)
	if fresh == 0 || fresh == twins {
		t.Errorf("%d of %d repetitions have a Message-ID of their own", fresh, twins)
	}
	largest, smallest := w.Insurers()[0], w.Insurers()[19]
	near("mails to the largest insurer", insurers[largest.IK], float64(largest.Insured)/25e6)
	near("mails to the smallest insurer", insurers[smallest.IK], float64(smallest.Insured)/25e6)
}

func TestASickNoteIsCancelledOnce(t *testing.T) {
	w := NewWorld(1, 20, 2000)
	m := &mixture{w: w, rng: rand.New(rand.NewPCG(1, 0))}
	notes := map[[16]byte]bool{}
	for range 3 * recalls {
		r := w.practices[0].recipe(noteMail, w.Person(1), demoDay)
		m.accepted(r)
		notes[w.practices[0].document(r)] = true
	}
	for len(m.recent) > 0 {
		r := m.storno(demoDay)
		if !notes[r.cancels] {
			t.Fatal("it cancels what was never accepted, or twice")
		}
		delete(notes, r.cancels)
	}
	if len(notes) != 2*recalls {
		t.Errorf("%d of %d sick notes were cancelled", 3*recalls-len(notes), 3*recalls)
	}
}

// However much waits to be repeated, practices go on writing; and the other way round.
func TestFreshAndRepeatedMailTakeTurns(t *testing.T) {
	w, _ := enrolled(t)
	s, err := NewSender(SenderConfig{
		World: w, Addr: "127.0.0.1:1", Login: func(kim.Address) (string, string) { return "", "" }, Rate: 1e6, Connections: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	l := s.lines[0]
	for range 100 {
		l.shelf.put(job{tries: 1, due: demoDay})
	}
	s.stats.Waiting = 100
	s.pick(l, demoDay)
	repeated, fresh := 0, 0
	for i := range 50 {
		j, _, ok := s.pick(l, demoDay.Add(time.Duration(i)*time.Millisecond))
		switch {
		case ok && j.tries > 0:
			repeated++
		case ok:
			fresh++
		}
	}
	if repeated < 20 || fresh < 20 || s.Stats().Waiting != 100-repeated-1 {
		t.Errorf("%d repeated and %d fresh mails, %d wait", repeated, fresh, s.Stats().Waiting)
	}
}

func TestFlood(t *testing.T) {
	w, ca := enrolled(t)
	victim := w.Insurers()[len(w.Insurers())-1]
	d := newMailDoor(func(int, received) conduct { return accept })
	cfg := d.serve(t, w, ca, listen(t), false)
	cfg.Rate = 0
	s := start(t, cfg)
	if err := s.Flood("100000000", 5); err == nil {
		t.Error("an insurer of no world was flooded")
	}
	for range 2 {
		if err := s.Flood(victim.IK, 50); err != nil {
			t.Fatal(err)
		}
	}
	if st := drain(t, s); st.Made != 100 || st.Accepted != 100 || st.Flooding != 0 {
		t.Errorf("%+v", st)
	}
	for p := range s.Books().All() {
		if p.Compartment != (querschott.Compartment{Insurer: victim.IK, Service: querschott.EAU}) {
			t.Fatalf("a mail of the flood went to %s", p.Compartment)
		}
	}
	d.noFaults(t)
}

func TestARelayKeepsItsConnections(t *testing.T) {
	w, ca := enrolled(t)
	reached, decide := after(60, func(int, received) conduct { return accept })
	d := newMailDoor(decide)
	d.relay = "relay@kim.kim.telematik-test"
	cfg := d.serve(t, w, ca, listen(t), false)
	cfg.Login = func(kim.Address) (string, string) { return d.relay, d.password }
	s := start(t, cfg)
	<-reached
	drain(t, s)
	d.noFaults(t)
	if d.logins > DefaultConnections || d.peak > DefaultConnections {
		t.Errorf("%d logins and %d connections at the same time, want at most %d", d.logins, d.peak, DefaultConnections)
	}
}

func TestWrongPassword(t *testing.T) {
	w, ca := enrolled(t)
	d := newMailDoor(func(int, received) conduct { return accept })
	cfg := d.serve(t, w, ca, listen(t), false)
	tries := make(chan struct{}, 1000)
	cfg.Login = func(p kim.Address) (string, string) {
		select {
		case tries <- struct{}{}:
		default:
		}
		return string(p), "falsch-und-geheim"
	}
	s := start(t, cfg)
	for range 20 {
		<-tries
	}
	st := s.Stats()
	if st.Accepted != 0 || st.Rejected != 0 || st.ConnectionErrors == 0 || d.nth != 0 {
		t.Errorf("%+v", st)
	}
	if strings.Contains(st.Trouble, "falsch") || !strings.Contains(st.Trouble, "log in") {
		t.Errorf("the trouble is %q", st.Trouble)
	}
}

// pipes is a listener for connections inside the process, so that time can be that of the test.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 465} }

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// quick returns a configuration for a bubble of its own time.
func (d *mailDoor) quick(t *testing.T, w *World, ca *CA) SenderConfig {
	p := newPipes()
	cfg := d.serve(t, w, ca, p, false)
	cfg.Dial, cfg.Retry, cfg.Connections, cfg.Rate = p.dial, 0, 1, 0
	return cfg
}
