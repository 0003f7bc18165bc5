package door

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// MachineActor is the actor of orders that the platform itself gives: an expiry, a playbook. It may only narrow.
const MachineActor querschott.Actor = "querschott"

// BreakGlassActor is the actor of orders under the key for emergencies. It narrows alone and counts among no two operators.
const BreakGlassActor querschott.Actor = "break-glass"

// breakGlassTTL is how old an order may be that was left for a node that did not answer.
const breakGlassTTL = 24 * time.Hour

// ProposalTTL is how long a proposal waits for its second operator.
const ProposalTTL = time.Hour

// clockSkew is how far ahead of ours the clock of an operator's machine may be.
const clockSkew = 5 * time.Minute

const maxHistory = 100

// Config is what a book needs.
type Config struct {
	FS           disk.FS
	Dir          string
	Compartments []querschott.Compartment
	Operators    []Operator
	Machine      note.Signer   // signs orders of MachineActor; nil: there are none, and no order can expire
	MachineKey   note.Verifier // verifies them

	BreakGlass string // vkey of the key for emergencies, "" if there is none

	// Record writes an order to the ledger; it is durable on nil. Calls for one compartment come one after another, in
	// the order in which the ledger shall have them. An order that Record has failed on comes again.
	Record func(context.Context, Order) error

	// Judge says why an interval of an opening in stages was bad, nil if it was good, [ErrUnjudged] if it is neither. RecordStep writes a step to the ledger,
	// as Record does an order. Without either no door opens in stages.
	Judge      func(c querschott.Compartment, since, until time.Time) error
	RecordStep func(context.Context, Order, Step) error

	// Last returns what the ledger remembers of a compartment, false if there is nothing. Nil: nobody remembers, and a file is
	// believed for its signatures alone.
	Last func(querschott.Compartment) (Mark, bool)

	// Publisher names where another book decides that this one follows: orders come by [Book.Adopt], what is sent here is
	// refused, and nothing is written. "": this book decides.
	Publisher string

	Patience time.Duration // with enforcers, disk and ledger; zero: DefaultPatience
	Now      func() time.Time
	Log      *slog.Logger
}

// Mark is what the ledger remembers of a door: the last order that was recorded, and how far it had come with its stages.
type Mark struct {
	Epoch  uint64
	To     querschott.DoorState
	Stages Plan
	Share  int // per cent, of an order with stages
}

// Book holds the doors of a node. All methods may be called at the same time.
type Book struct {
	cfg    Config
	roster *roster
	doors  map[querschott.Compartment]*door // fixed after Open

	mu          sync.Mutex // guards the fields below
	enforcers   []*enforcer
	subscribers map[chan Change]struct{}
	published   map[querschott.Compartment]Change // the latest that subscribers were told of
}

// door is one compartment's state. Its locks are taken in the order ledger, file, mu.
type door struct {
	current atomic.Pointer[signed] // the order in force; replaced under mu
	step    atomic.Pointer[signed] // how far it has come with its stages, nil: the first one; replaced under mu

	mu         sync.Mutex // guards moves in memory; never held while waiting for anything
	proposal   *signed
	withdrawn  map[string]bool // proposals for the next epoch that may not come into force any more
	asked      time.Time       // when the platform last proposed to undo the order in force
	unrecorded []Order         // in force, and the ledger does not know yet; oldest first
	history    []Order         // since start, oldest first, at most maxHistory
	adopted    uint64          // the latest epoch that came from another book, or that the ledger remembers
	owed       []owedStep      // steps in force that the ledger does not know yet
	watched    watched
	replaced   context.Context         // ends with the order in force
	stop       context.CancelCauseFunc // ends what enforcers still do about the order in force

	ledger turn // serialises the door's way into the ledger, and with it everything that widens

	file   turn // serialises writes of the door's files and guards the field below
	onDisk struct{ order, proposal, step *signed }
}

// Open reads the doors' files. A door without a valid file is on hold, which is said in the log. An opening that has run out
// while the node was down is undone before Open returns.
func Open(cfg Config) (*Book, error) {
	r, err := newRoster(cfg.Operators, cfg.MachineKey, cfg.BreakGlass)
	if err != nil {
		return nil, err
	}
	if cfg.Machine != nil && r.name(cfg.Machine) != MachineActor {
		return nil, fmt.Errorf("the platform signs with the key %s, which is not the one that verifies its orders", cfg.Machine.Name())
	}
	if cfg.Patience == 0 {
		cfg.Patience = DefaultPatience
	}
	if cfg.Publisher != "" {
		cfg.Machine, cfg.Judge, cfg.RecordStep = nil, nil, nil // the platform decides where the book is
	} else if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("couldn't make the directory of the doors: %w", err)
	}
	b := &Book{
		cfg: cfg, roster: r,
		doors:       map[querschott.Compartment]*door{},
		subscribers: map[chan Change]struct{}{},
		published:   map[querschott.Compartment]Change{},
	}
	for _, c := range cfg.Compartments {
		b.doors[c] = b.load(c)
	}
	b.expire(context.Background())
	return b, nil
}

// load never fails: what cannot be trusted is hold.
func (b *Book) load(c querschott.Compartment) *door {
	last, known := Mark{}, false
	if b.cfg.Last != nil {
		last, known = b.cfg.Last(c)
	}
	d := &door{ledger: newTurn(), file: newTurn(), adopted: last.Epoch}
	if b.cfg.Publisher != "" {
		d.wait(c, last.To)
		return d
	}
	s, err := b.read(c, "order")
	if err == nil {
		err = b.distrust(s, last)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && !known:
		s = &signed{order: Order{Compartment: c}}
	case err != nil:
		safe := querschott.Hold
		if last.To == querschott.Closed || s != nil && s.order.To == querschott.Closed {
			safe = querschott.Closed // an old closing is no reason to take mail in
		}
		b.cfg.Log.Error("the order of a door cannot be trusted", "compartment", c.String(), "state", safe.String(), "err", err,
			"fix", "have two operators open it again")
		s = &signed{order: Order{Compartment: c, Epoch: last.Epoch, To: safe, Reason: reasonDistrusted}}
	case s.order.Epoch > last.Epoch || s.order.To != last.To:
		d.unrecorded = []Order{s.order}
	}
	d.current.Store(s)
	d.onDisk.order = s
	d.replaced, d.stop = context.WithCancelCause(context.Background())
	b.loadStep(c, d, last)
	b.loadProposal(c, d)
	return d
}

// distrust says why a door's file must not be believed, nil if it may. Whoever writes our files can put there whatever was
// ever signed, and a single operator can sign a narrowing of a state that the door is not in. So the file may not let out
// more than the last order in the ledger does: what widens is in the ledger before it is in a file.
func (b *Book) distrust(s *signed, last Mark) error {
	o, service := s.order, s.order.Compartment.Service
	switch {
	case o.From == o.To:
		return errors.New("it moves nothing")
	case !s.enough():
		return errors.New("it lacks a signature")
	case !o.Expires.IsZero() && b.cfg.Machine == nil:
		return errors.New("it expires, and the node has no key to undo it with")
	case b.cfg.Last == nil && len(s.operators) < 2 && Widens(service, querschott.Closed, o.To):
		return errors.New("it lets something out with one signature, and no ledger says that the door was open before")
	case b.cfg.Last == nil:
		return nil
	case o.Epoch < last.Epoch:
		return fmt.Errorf("it has epoch %d, but the ledger remembers epoch %d: the file was rolled back", o.Epoch, last.Epoch)
	case o.Epoch == last.Epoch && o.To != last.To && !Widens(service, o.To, last.To): // otherwise it defeated that opening
		return fmt.Errorf("the ledger remembers another order of epoch %d", o.Epoch)
	case Widens(service, last.To, o.To):
		return errors.New("it lets something out that the ledger does not know of")
	case !last.binds(service, o):
		return fmt.Errorf("the ledger remembers an opening in stages, %q at %d %%, and the order has the stages %q", last.Stages, last.Share, o.Stages)
	}
	return nil
}

// binds reports whether an order keeps the plan that the ledger remembers. Whoever may narrow alone could otherwise turn an
// opening for a tenth of the callers into one for all of them who read. Behind its last stage a door is open like any other,
// and what follows needs no plan.
func (m Mark) binds(service querschott.Service, o Order) bool {
	if m.Stages == "" || o.Stages == m.Stages || !Widens(service, querschott.Closed, o.To) {
		return true
	}
	return m.Share == whole && o.Epoch > m.Epoch && o.Stages == ""
}

func (b *Book) loadProposal(c querschott.Compartment, d *door) {
	p, err := b.read(c, "proposal")
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		b.cfg.Log.Warn("a proposal cannot be trusted and is dropped", "compartment", c.String(), "err", err)
		p = &signed{}
	}
	d.onDisk.proposal = p
	if cur := d.current.Load().order; err == nil && p.order.Epoch == cur.Epoch+1 && p.order.From == cur.To {
		d.proposal = p
	}
}

// State returns a door's state: one map look-up and one atomic load. A compartment that the book does not know is on hold.
func (b *Book) State(c querschott.Compartment) querschott.DoorState {
	if d, ok := b.doors[c]; ok {
		return d.current.Load().order.To
	}
	return querschott.Hold
}

// Current returns the order in force. A door that was never ordered has epoch 0 and is on hold.
func (b *Book) Current(c querschott.Compartment) (Order, bool) {
	d, ok := b.doors[c]
	if !ok {
		return Order{}, false
	}
	return d.current.Load().order, true
}

// Compartments returns all compartments in order.
func (b *Book) Compartments() []querschott.Compartment {
	list := make([]querschott.Compartment, 0, len(b.doors))
	for c := range b.doors {
		list = append(list, c)
	}
	slices.SortFunc(list, querschott.Compartment.Compare)
	return list
}

// History returns the orders of a door since the node started, oldest first, at most 100; the ledger has all of them.
func (b *Book) History(c querschott.Compartment) []Order {
	d, ok := b.doors[c]
	if !ok {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.history)
}

func (b *Book) door(c querschott.Compartment) (*door, error) {
	if d, ok := b.doors[c]; ok {
		return d, nil
	}
	return nil, querschott.RefuseAs(querschott.CodeNotFound, "door.unknown", "there is no compartment %s on this node", c)
}
