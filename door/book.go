package door

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// MachineActor is the actor of orders that the platform itself gives: an expiry, a playbook.
const MachineActor querschott.Actor = "querschott"

// ProposalTTL is how long a proposal waits for its second operator.
const ProposalTTL = time.Hour

// clockSkew is how far ahead of ours the clock of an operator's machine may be.
const clockSkew = 5 * time.Minute

// obeyTimeout is how long an order waits to hear from its enforcers before it says that they were silent. The order is in
// force all the same.
const obeyTimeout = 5 * time.Second

// Config is what a book needs.
type Config struct {
	FS           disk.FS
	Dir          string
	Compartments []querschott.Compartment
	Operators    []Operator
	Machine      note.Signer                                 // signs orders of MachineActor; nil: there are none
	MachineKey   note.Verifier                               // verifies them
	Record       func(context.Context, Order) error          // writes the order to the ledger; durable on nil
	LastEpoch    func(querschott.Compartment) (uint64, bool) // what the ledger remembers; nil: nothing
	Now          func() time.Time
	Log          *slog.Logger
}

// Book holds the doors of a node. All methods may be called at the same time.
type Book struct {
	cfg    Config
	roster *roster
	doors  map[querschott.Compartment]*door // fixed after Open
	kick   chan struct{}                    // wakes Run when an expiry may have moved

	mu          sync.Mutex // guards the fields below
	enforcers   []enforcer
	subscribers map[chan Change]struct{}
	unrecorded  []Order // in force, and the ledger does not know yet
}

// door is one compartment's state.
type door struct {
	current atomic.Pointer[Order] // the order in force

	mu       sync.Mutex // guards moves in memory; never held while waiting for disk or ledger
	proposal *signed
	history  []Order // since start, oldest first, at most maxHistory

	file sync.Mutex // serialises writes of the door's files
}

const maxHistory = 100

// Open reads the doors' files. A door without a valid file is on hold, which is said in the log.
func Open(cfg Config) (*Book, error) {
	r, err := newRoster(cfg.Operators, cfg.MachineKey)
	if err != nil {
		return nil, err
	}
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("couldn't make the directory of the doors: %w", err)
	}
	b := &Book{
		cfg: cfg, roster: r, kick: make(chan struct{}, 1),
		doors:       map[querschott.Compartment]*door{},
		subscribers: map[chan Change]struct{}{},
	}
	for _, c := range cfg.Compartments {
		b.doors[c] = b.load(c)
	}
	return b, nil
}

// load never fails: what cannot be trusted is hold.
func (b *Book) load(c querschott.Compartment) *door {
	d := &door{}
	floor := uint64(0)
	known := false
	if b.cfg.LastEpoch != nil {
		floor, known = b.cfg.LastEpoch(c)
	}
	o, err := b.read(c, "order")
	switch {
	case err == nil && !o.enough():
		err = errors.New("it lacks a signature")
	case err == nil && known && o.order.Epoch < floor:
		err = fmt.Errorf("it has epoch %d, but the ledger remembers epoch %d: the file was rolled back", o.order.Epoch, floor)
	case errors.Is(err, fs.ErrNotExist) && !known:
		d.current.Store(&Order{Compartment: c})
		return d
	}
	if err != nil {
		safe := querschott.Hold
		if o != nil && o.order.To == querschott.Closed {
			safe = querschott.Closed // an old closing is no reason to take mail in
		}
		b.cfg.Log.Error("the order of a door cannot be trusted", "compartment", c.String(), "state", safe.String(), "err", err,
			"fix", "have two operators open it again")
		d.current.Store(&Order{Compartment: c, Epoch: floor, To: safe, Reason: "the order file could not be trusted"})
		return d
	}
	d.current.Store(&o.order)
	if !known || o.order.Epoch > floor {
		b.unrecorded = append(b.unrecorded, o.order)
	}
	if p, err := b.read(c, "proposal"); err == nil && p.order.Epoch == o.order.Epoch+1 && p.order.From == o.order.To {
		d.proposal = p
	}
	return d
}

func (b *Book) read(c querschott.Compartment, kind string) (*signed, error) {
	raw, err := disk.ReadFile(b.cfg.FS, b.path(c, kind), maxNote)
	if err != nil {
		return nil, err
	}
	s, err := b.roster.open(raw)
	if err != nil {
		return nil, err
	}
	if s.order.Compartment != c {
		return nil, fmt.Errorf("it is an order for %s", s.order.Compartment)
	}
	return s, nil
}

func (b *Book) path(c querschott.Compartment, kind string) string {
	return filepath.Join(b.cfg.Dir, fileName(c, kind))
}

// State returns a door's state: one map look-up and one atomic load. A compartment that the book does not know is on hold.
func (b *Book) State(c querschott.Compartment) querschott.DoorState {
	if d, ok := b.doors[c]; ok {
		return d.current.Load().To
	}
	return querschott.Hold
}

// Current returns the order in force. A door that was never ordered has epoch 0 and is on hold.
func (b *Book) Current(c querschott.Compartment) (Order, bool) {
	d, ok := b.doors[c]
	if !ok {
		return Order{}, false
	}
	return *d.current.Load(), true
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

// History returns the orders of a door since the node started, oldest first; the ledger has all of them.
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
	return nil, querschott.Refuse(querschott.CodeNotFound, "there is no compartment %s on this node", c)
}
