package follow_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/door/follow"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

var (
	vsdm = querschott.Compartment{Insurer: "109500969", Service: querschott.VSDM}
	eau  = querschott.Compartment{Insurer: "109500969", Service: querschott.EAU}
)

type key struct {
	note.Signer
	vkey string
}

var keys = sync.OnceValue(func() map[string]key {
	all := map[string]key{}
	for _, who := range []string{"anna", "bob", "stranger", "querschott"} {
		skey, vkey, err := note.GenerateKey(rand.Reader, who+"@example")
		if err != nil {
			panic(err)
		}
		s, err := note.NewSigner(skey)
		if err != nil {
			panic(err)
		}
		all[who] = key{s, vkey}
	}
	return all
})

// world is a book with a publisher, and a network that can be cut.
type world struct {
	t    testing.TB
	book *door.Book
	keys *door.Keys
	pub  *follow.Publisher
	cut  atomic.Bool

	remembered func(querschott.Compartment) (uint64, querschott.DoorState, bool) // by the gates, nil: nothing

	mu    sync.Mutex
	conns []net.Conn
	work  sync.WaitGroup
}

func operators() []door.Operator {
	return []door.Operator{{Name: "anna", Keys: []string{keys()["anna"].vkey}}, {Name: "bob", Keys: []string{keys()["bob"].vkey}}}
}

func newWorld(t testing.TB, gates ...string) *world {
	t.Helper()
	machine, err := note.NewVerifier(keys()["querschott"].vkey)
	if err != nil {
		t.Fatal(err)
	}
	all := []querschott.Compartment{vsdm, eau}
	w := &world{t: t}
	w.book, err = door.Open(door.Config{
		FS: crashdisk.New(), Dir: "doors", Compartments: all, Operators: operators(), Machine: keys()["querschott"].Signer, MachineKey: machine,
		Record: func(context.Context, door.Order) error { return nil }, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if w.keys, err = door.NewKeys(operators(), machine, ""); err != nil {
		t.Fatal(err)
	}
	w.pub, err = follow.NewPublisher(follow.PublisherConfig{
		Book: follow.Book{Compartments: all, Notes: w.book.Notes, Keys: w.keys}, Gates: gates, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.book.Enforce("the gates", w.pub.Enforce)
	return w
}

// dial connects a gate to the publisher.
func (w *world) dial(name string) (net.Conn, error) {
	if w.cut.Load() {
		return nil, errors.New("the network is down")
	}
	here, there := net.Pipe()
	w.mu.Lock()
	w.conns = append(w.conns, here)
	w.mu.Unlock()
	w.work.Go(func() { _ = w.pub.Serve(context.Background(), there, name) })
	return here, nil
}

// partition ends all connections, and there are no others until it is over.
func (w *world) partition() {
	w.cut.Store(true)
	w.hangUp()
}

func (w *world) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// post is a gate: it remembers what it was told.
type post struct {
	*follow.Follower
	mu    sync.Mutex
	told  map[querschott.Compartment]querschott.DoorState
	lists map[string]string
}

func (w *world) config(p *post, dial func(context.Context) (net.Conn, error)) follow.FollowerConfig {
	return follow.FollowerConfig{
		Compartments: []querschott.Compartment{vsdm, eau}, Keys: w.keys, Dial: dial, Last: w.remembered, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Apply: func(_ context.Context, o door.Order, to querschott.DoorState, _ int) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.told[o.Compartment] = to
			return nil
		},
		List: func(name string, _ uint64, data []byte) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			if string(data) == "refuse me" {
				return errors.New("no")
			}
			p.lists[name] = string(data)
			return nil
		},
	}
}

// gate starts a gate that runs until the test ends it.
func (w *world) gate(ctx context.Context, dial func(context.Context) (net.Conn, error)) *post {
	w.t.Helper()
	p := &post{told: map[querschott.Compartment]querschott.DoorState{}, lists: map[string]string{}}
	var err error
	if p.Follower, err = follow.NewFollower(w.config(p, dial)); err != nil {
		w.t.Fatal(err)
	}
	w.work.Go(func() { _ = p.Run(ctx) })
	return p
}

func (w *world) named(name string) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) { return w.dial(name) }
}

func (w *world) open(c querschott.Compartment) error {
	w.t.Helper()
	r := door.Request{Compartment: c, To: querschott.Open, Reason: "a test"}
	out, err := w.book.Set(context.Background(), r, keys()["anna"])
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.book.Approve(context.Background(), out.Proposal.ID, keys()["bob"])
	return err
}

func (w *world) set(c querschott.Compartment, to querschott.DoorState) error {
	_, err := w.book.Set(context.Background(), door.Request{Compartment: c, To: to, Reason: "a test"}, keys()["anna"])
	return err
}

func (p *post) want(t *testing.T, c querschott.Compartment, to querschott.DoorState) {
	t.Helper()
	o, _ := p.Current(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	if told := p.told[c]; o.To != to || told != to {
		t.Errorf("%s is %s and the gate was told %s, want %s", c, o.To, told, to)
	}
	if share := p.Share(c); share != 100 {
		t.Errorf("%s is open to %d %% without stages", c, share)
	}
}

// inWorld runs a test on a clock that moves when everybody waits.
func inWorld(t *testing.T, gates []string, f func(t *testing.T, ctx context.Context, w *world)) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		w := newWorld(t, gates...)
		f(t, ctx, w)
		cancel()
		w.partition()
		w.work.Wait()
	})
}

// pass lets time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
