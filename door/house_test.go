package door_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

var (
	eau  = querschott.Compartment{Insurer: "109500969", Service: querschott.EAU}
	vsdm = querschott.Compartment{Insurer: "109500969", Service: querschott.VSDM}
)

// failer is what helpers need of testing.TB and rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

type key struct {
	note.Signer
	vkey string
}

// keys holds a key for each name; "anna card" is a second key of anna.
var keys = sync.OnceValue(func() map[string]key {
	all := map[string]key{}
	for _, who := range []string{"anna", "anna card", "bob", "carol", "querschott", "stranger", "other stranger"} {
		skey, vkey, err := note.GenerateKey(rand.Reader, strings.ReplaceAll(who, " ", ".")+"@example")
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

func operators() []door.Operator {
	return []door.Operator{
		{Name: "anna", Keys: []string{keys()["anna"].vkey, keys()["anna card"].vkey}},
		{Name: "bob", Keys: []string{keys()["bob"].vkey}},
		{Name: "carol", Keys: []string{keys()["carol"].vkey}},
	}
}

// house is the ground that a book stands on; it outlives the book.
type house struct {
	t      failer
	fs     disk.FS
	ledger *ledger
	now    func() time.Time

	patience time.Duration // 0: as it is by default; else nobody is silent on a busy machine
}

func newHouse(t failer) *house {
	start := time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)
	return &house{t: t, fs: crashdisk.New(), ledger: &ledger{}, now: func() time.Time { return start }, patience: time.Hour}
}

func (h *house) config() door.Config {
	v, err := note.NewVerifier(keys()["querschott"].vkey)
	if err != nil {
		h.t.Fatalf("couldn't read the platform's key: %v", err)
	}
	return door.Config{
		FS: h.fs, Dir: "doors", Compartments: []querschott.Compartment{eau, vsdm}, Operators: operators(),
		Machine: keys()["querschott"].Signer, MachineKey: v,
		Record: h.ledger.Record, Last: h.ledger.Last, Now: h.now, Log: slog.New(slog.DiscardHandler),
		Patience: h.patience,
	}
}

func (h *house) open() *door.Book {
	h.t.Helper()
	b, err := door.Open(h.config())
	if err != nil {
		h.t.Fatalf("couldn't open the book: %v", err)
	}
	return b
}

func request(c querschott.Compartment, to querschott.DoorState) door.Request {
	return door.Request{Compartment: c, To: to, Reason: "a test", Incident: "VF-2026-001"}
}

// narrow sets a door and expects the order to be in force without any complaint.
func (h *house) narrow(b *door.Book, who string, c querschott.Compartment, to querschott.DoorState) door.Order {
	h.t.Helper()
	out, err := b.Set(context.Background(), request(c, to), keys()[who])
	if err != nil || out.Order == nil || b.State(c) != to {
		h.t.Fatalf("%s sets %s to %s: got %+v, %v, state %s", who, c, to, out, err, b.State(c))
	}
	return *out.Order
}

// widen has anna propose and bob approve.
func (h *house) widen(b *door.Book, r door.Request) door.Order {
	h.t.Helper()
	out, err := b.Set(context.Background(), r, keys()["anna"])
	if err != nil || out.Proposal == nil {
		h.t.Fatalf("anna proposes %s for %s: got %+v, %v", r.To, r.Compartment, out, err)
	}
	if out, err = b.Approve(context.Background(), out.Proposal.ID, keys()["bob"]); err != nil || out.Order == nil {
		h.t.Fatalf("bob approves %s for %s: got %+v, %v", r.To, r.Compartment, out, err)
	}
	return *out.Order
}

// signed returns an order under the signatures of the given keys.
func (h *house) signed(o door.Order, who ...string) []byte {
	h.t.Helper()
	var signers []note.Signer
	for _, w := range who {
		signers = append(signers, keys()[w])
	}
	raw, err := note.Sign(&note.Note{Text: o.Text()}, signers...)
	if err != nil {
		h.t.Fatalf("couldn't sign: %v", err)
	}
	return raw
}

func (h *house) readFile(name string) []byte {
	h.t.Helper()
	raw, err := disk.ReadFile(h.fs, name, 1<<20)
	if err != nil {
		h.t.Fatalf("couldn't read %s: %v", name, err)
	}
	return raw
}

func (h *house) writeFile(name string, raw []byte) {
	h.t.Helper()
	if err := disk.WriteFile(h.fs, name, raw); err != nil {
		h.t.Fatalf("couldn't write %s: %v", name, err)
	}
}

// ledger is a fake that checks the promises of Config.Record itself, and fails with and without having done its work.
type ledger struct {
	before func(door.Order)                        // may hang
	fail   func(door.Order) (done bool, err error) // nil: never fails

	mu      sync.Mutex
	entries []door.Order
	steps   []door.Step
	busy    map[querschott.Compartment]bool
	broken  error // the first broken promise
}

func (l *ledger) Record(_ context.Context, o door.Order) error {
	l.mu.Lock()
	if l.busy == nil {
		l.busy = map[querschott.Compartment]bool{}
	}
	if l.busy[o.Compartment] {
		l.broken = errors.Join(l.broken, fmt.Errorf("two calls at once for %s", o.Compartment))
	}
	l.busy[o.Compartment] = true
	l.mu.Unlock()
	if l.before != nil {
		l.before(o)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy[o.Compartment] = false
	done, err := true, error(nil)
	if l.fail != nil {
		done, err = l.fail(o)
	}
	if !done {
		return err
	}
	if last, ok := l.last(o.Compartment); ok {
		again := o.Epoch == last.Epoch && (o == last || door.Widens(o.Compartment.Service, last.From, last.To))
		if o.Epoch <= last.Epoch && !again {
			l.broken = errors.Join(l.broken, fmt.Errorf("epoch %d of %s comes after %d", o.Epoch, o.Compartment, last.Epoch))
		}
	}
	l.entries = append(l.entries, o)
	return err
}

func (l *ledger) last(c querschott.Compartment) (o door.Order, ok bool) {
	for _, e := range l.entries {
		if e.Compartment == c {
			o, ok = e, true
		}
	}
	return o, ok
}

func (l *ledger) Last(c querschott.Compartment) (door.Mark, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, ok := l.last(c)
	m := door.Mark{Epoch: o.Epoch, To: o.To, Stages: o.Stages}
	if shares := o.Stages.Shares(); len(shares) > 0 {
		m.Share = shares[0]
	}
	for _, st := range l.steps {
		if st.Compartment == c && st.Epoch == o.Epoch {
			m.Share = st.Share
		}
	}
	return m, ok
}

// of returns what was recorded of a compartment.
func (l *ledger) of(c querschott.Compartment) []door.Order {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []door.Order
	for _, o := range l.entries {
		if o.Compartment == c {
			list = append(list, o)
		}
	}
	return list
}

func (l *ledger) check(t failer) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		t.Fatalf("the ledger was used badly: %v", l.broken)
	}
}
