//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/internal/wait"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/service/eau"
)

// lamp says whether the node can be reached, and where.
type lamp struct {
	mu   sync.Mutex // guards the fields below
	at   string     // "": it is down
	lit  chan struct{}
	life int // counts how often it came up

	answered chan struct{} // something for each answer that somebody got
}

func newLamp() *lamp { return &lamp{lit: make(chan struct{}), answered: make(chan struct{}, 1000)} }

// answer says that somebody got an answer.
func (l *lamp) answer() {
	select {
	case l.answered <- struct{}{}:
	default: // nobody counts
	}
}

// await waits for so many answers of a process.
func (l *lamp) await(t *testing.T, p *process, answers int) {
	t.Helper()
	ctx, cancel := wait.Context(t)
	defer cancel()
	for range answers {
		select {
		case <-l.answered:
		case <-p.ended: // by itself
			return
		case <-ctx.Done():
			t.Fatal("waited in vain for answers")
		}
	}
}

func (l *lamp) set(at string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.answered) > 0 {
		<-l.answered // of an earlier life
	}
	if l.at = at; at != "" {
		l.life++
		close(l.lit)
		l.lit = make(chan struct{})
	}
}

// wait returns the address of the node, as soon as it is up.
func (l *lamp) wait(ctx context.Context) (string, error) {
	for {
		l.mu.Lock()
		at, lit := l.at, l.lit
		l.mu.Unlock()
		if at != "" {
			return at, nil
		}
		select {
		case <-lit:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// numbered is one mail of a sender, and how it went.
type numbered struct {
	drill.Mail
	person   querschott.KVNR
	attempts int // how often the whole mail was sent
	receipt  string
}

// correspondent sends one numbered mail after the other, each again and again until it gets its 250.
type correspondent struct {
	practice *drill.Practice
	password string
	sent     []*numbered // those with a 250, in order; the number is the place
	pending  *numbered   // without an answer when the test ended: nobody knows
	other    []string    // answers that are neither a 250 nor a connection that broke
}

func (s *correspondent) run(ctx context.Context, i *installation, l *lamp, rng *rand.Rand) error {
	var c *letterCarrier
	defer func() { c.hangUp() }()
	for ctx.Err() == nil {
		m, err := s.write(i.world, rng)
		if err != nil {
			return err
		}
		s.pending = m
		for m.receipt == "" {
			at, err := l.wait(ctx)
			if err != nil {
				return nil // the test has ended
			}
			if c == nil || c.at != at {
				c.hangUp()
				if c, err = dial(ctx, at, i.tls(), string(s.practice.KIM), s.password); err != nil {
					c = nil
					continue
				}
			}
			m.attempts++
			if m.receipt, err = c.deliver(string(m.From), string(m.To), m.Body); err == nil {
				l.answer()
				break
			}
			if code := codeOf(err); code != 0 {
				s.other = append(s.other, err.Error())
			}
			c.hangUp()
			c = nil
			if len(s.other) > 100 {
				return fmt.Errorf("more than 100 refusals, the last was %s", s.other[100])
			}
		}
		s.sent, s.pending = append(s.sent, m), nil
	}
	return nil
}

func (s *correspondent) write(w *drill.World, rng *rand.Rand) (*numbered, error) {
	in := w.Insurers()[rng.IntN(len(w.Insurers()))]
	first, n := in.Persons()
	about := w.Person(first + rng.IntN(n))
	m, err := s.practice.SickNote(about, time.Now())
	return &numbered{Mail: m, person: about.Number}, err
}

// TestKill kills the process with SIGKILL at random moments, of its start too, while four practices send to three
// insurers, and then holds it to all that they were promised.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 30
	i := install(t, 3)
	if long() { // the race detector has seen the thirty; without it the same hour has more kills
		rounds, i.program = 2000, plain
	}
	senders := make([]*correspondent, 4)
	for n := range senders {
		p := i.world.Practices()[n]
		senders[n] = &correspondent{practice: p, password: i.account(t, string(p.KIM))}
	}
	p, _ := i.serve(t)
	i.openAll(t)
	p.stop(t)

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	l := newLamp()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var g errgroup.Group
	for n, s := range senders {
		rng := rand.New(rand.NewPCG(seed, uint64(n+1)))
		g.Go(func() error { return s.run(ctx, i, l, rng) })
	}
	starts := killRounds(t, i, l, rounds, 20, rand.New(rand.NewPCG(seed, 0)))
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(starts)
	promised := 0
	for _, s := range senders {
		promised += len(s.sent)
		for _, text := range s.other {
			t.Errorf("%s was refused: %s", s.practice.KIM, text)
		}
	}
	if len(starts) < 22 || promised < len(starts) {
		t.Fatalf("%d starts and %d promises in %d rounds prove nothing", len(starts), promised, rounds)
	}
	t.Logf("%d starts after a kill, %d mails promised; from the start to ready: median %s, longest %s", len(starts), promised,
		starts[len(starts)/2].Round(time.Millisecond), starts[len(starts)-1].Round(time.Millisecond))

	auditStopped(t, i, senders)
	settle(t, i, senders)
	checkCells(t, i, senders)
}

// killRounds returns how long the starts took that got to their end.
// A life ends at a random moment of the work that comes after a random number of answers, at most so many; one of each four, and
// which one is random, in the middle of its start.
func killRounds(t *testing.T, i *installation, l *lamp, rounds, answers int, rng *rand.Rand) []time.Duration {
	t.Helper()
	var starts []time.Duration
	longest, early := time.Second, 0
	for round := range rounds {
		if d, ok := t.Deadline(); ok && round >= 30 && time.Until(d) < 10*time.Minute {
			t.Logf("stopped after %d of %d rounds: the test's time is over; -timeout sets it", round, rounds)
			break
		}
		if round%4 == 0 {
			early = round + rng.IntN(4)
		}
		begun := time.Now()
		p := i.start(t)
		if round == early { // in the middle of the start
			<-time.After(time.Duration(rng.Int64N(int64(longest))))
			p.kill(t)
			continue
		}
		at, ok := <-p.ready
		if !ok {
			<-p.ended
			t.Fatalf("the node did not start again: %v\n%s", p.err, tail(p.log.String(), 8<<10))
		}
		starts = append(starts, time.Since(begun))
		longest = slices.Max(starts)
		l.set(at.TLS)
		l.await(t, p, rng.IntN(answers+1))
		<-time.After(time.Duration(rng.Int64N(int64(20 * time.Millisecond))))
		l.set("")
		p.kill(t)
	}
	return starts
}

// auditStopped opens the node without its entrances and looks for every promise in journal and cells.
func auditStopped(t *testing.T, i *installation, senders []*correspondent) {
	t.Helper()
	quiet := *i.load(t)
	quiet.Mail.StartTLS, quiet.Mail.TLS = "", ""
	n, err := node.Open(t.Context(), &quiet, node.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	var books drill.Books
	for _, s := range senders {
		for _, m := range s.sent {
			books.Add(drill.Promise{Binding: m.Binding(), Compartment: m.Compartment, Receipt: m.receipt})
		}
	}
	v, err := drill.Audit(&books, n.WaitingBindings, n.Delivered)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("after the last kill: %d delivered, %d waiting, %d lost", v.Delivered, v.Waiting, v.Lost)
	if v.Lost > 0 {
		t.Errorf("%d of %d promises are lost, among them %v", v.Lost, v.Promised, v.Examples)
	}
	r, err := n.VerifyLedger(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Faults) > 0 {
		t.Errorf("the ledger has %d faults: %v", len(r.Faults), r.Faults)
	}
}

// settle lets the node deliver what waits and looks for every promise in the ledger.
func settle(t *testing.T, i *installation, senders []*correspondent) {
	t.Helper()
	p, _ := i.serve(t)
	client := i.client(t)
	eventually(t, "nothing waits any more", func() bool {
		s, err := client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Mail.Waiting == 0
	})
	arrived := arrivals(t, client)
	for _, s := range senders {
		for n, m := range s.sent {
			b := m.Binding()
			if count := arrived[hex.EncodeToString(b[:])]; count < 1 || count > m.attempts {
				t.Errorf("mail %d of %s was sent %d times and stands in the ledger %d times", n, m.From, m.attempts, count)
			}
		}
	}
	p.stop(t)
}

// arrivals counts the ledger's entries of arrivals by the message that they name.
func arrivals(t *testing.T, client *node.Client) map[string]int {
	t.Helper()
	origins, err := client.LedgerOrigins(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	const page = 5000
	for _, o := range origins {
		if strings.Contains(o.Origin, "commits") {
			continue
		}
		for from := uint64(0); ; from += page {
			list, err := client.LedgerShow(t.Context(), o.Origin, from, from+page)
			if err != nil {
				t.Fatalf("%s: %v", o.Origin, err)
			}
			for _, e := range list {
				if e.Kind == "arrival" {
					found[e.Detail["message"]]++
				}
			}
			if len(list) < page {
				break
			}
		}
	}
	return found
}

// place is where one message stands in its compartment.
type place struct {
	seq    uint64
	number int
}

// checkCells opens the cells as the insurers would: every mail is stored once and for all further attempts marked as a
// duplicate, unaltered, and per sender and compartment in the order in which it was sent.
func checkCells(t *testing.T, i *installation, senders []*correspondent) {
	t.Helper()
	var cs []querschott.Compartment
	for _, in := range i.world.Insurers() {
		cs = append(cs, querschott.Compartment{Insurer: in.IK, Service: querschott.EAU})
	}
	v := openVaults(t, i.load(t), cs...)
	defer v.close(t)
	for _, s := range senders {
		order := map[querschott.Compartment][]place{}
		for n, m := range s.sent {
			copies := copiesOf(v.person(t, m.Compartment, m.person), m.Mail)
			if len(copies) == 0 || len(copies) > m.attempts {
				t.Errorf("mail %d of %s was sent %d times and is stored %d times", n, m.From, m.attempts, len(copies))
				continue
			}
			for k, c := range copies {
				if (k == 0) != taken(c.Result) || (k > 0) != (c.Result == eau.Duplicate) || string(c.Body) != string(m.Body) || c.Document != m.Document.String() {
					t.Errorf("copy %d of mail %d of %s: result %s; document %s; octets unaltered: %t",
						k, n, m.From, c.Result, c.Document, string(c.Body) == string(m.Body))
				}
			}
			order[m.Compartment] = append(order[m.Compartment], place{copies[0].Seq, n})
		}
		for c, places := range order {
			slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.seq, b.seq) })
			if !slices.IsSortedFunc(places, func(a, b place) int { return cmp.Compare(a.number, b.number) }) {
				t.Errorf("the mails of %s are not in order in %s: %v", s.practice.KIM, c, places)
			}
		}
	}
}

// copiesOf picks the copies of one mail.
func copiesOf(list []stored, m drill.Mail) []stored {
	var copies []stored
	for _, s := range list {
		if intake.BindingOf(s.Sender, s.MessageID) == m.Binding() {
			copies = append(copies, s)
		}
	}
	return copies
}
