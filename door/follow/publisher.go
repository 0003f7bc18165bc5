package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

// DefaultLease is how long a gate obeys its last orders without a heartbeat.
const DefaultLease = time.Minute

// DefaultPatience is how long an order waits for gates that are connected; it is shorter than the book's own patience, so
// that the book hears which gates were silent.
const DefaultPatience = 4 * time.Second

// Book is what the publisher needs of a door book.
type Book struct {
	Compartments []querschott.Compartment
	Notes        func(querschott.Compartment) (order, step []byte) // [door.Book.Notes]
	Keys         *door.Keys
}

// PublisherConfig is what a publisher needs. Gates are the names of all gates there are: one that was never heard of is
// missing.
type PublisherConfig struct {
	Book     Book
	Gates    []string
	Lease    time.Duration // zero: DefaultLease; the same at the gates
	Patience time.Duration // zero: DefaultPatience
	Now      func() time.Time
	Log      *slog.Logger
}

// Publisher sends orders to gates. All methods may be called at the same time.
type Publisher struct {
	cfg PublisherConfig

	mu      sync.Mutex // guards the fields below; taken before a link's lock
	gates   map[string]*gate
	bases   map[querschott.Compartment]base
	lists   map[string]*list
	changed chan struct{} // closed and replaced with every answer and every connection that ends
}

type gate struct {
	link *link // nil: not connected
	last *link // the last one, for what the gate said; nil: there was none
}

// base is the last opening of a door, and its note.
type base struct {
	epoch uint64
	raw   []byte
}

// NewPublisher makes a publisher; Enforce must be registered at the book, and Serve called for each connection.
func NewPublisher(cfg PublisherConfig) (*Publisher, error) {
	if cfg.Book.Notes == nil || cfg.Book.Keys == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("a publisher needs a book, keys, a clock and a log")
	}
	if cfg.Lease == 0 {
		cfg.Lease = DefaultLease
	}
	if cfg.Patience == 0 {
		cfg.Patience = DefaultPatience
	}
	p := &Publisher{
		cfg: cfg, gates: map[string]*gate{}, bases: map[querschott.Compartment]base{}, lists: map[string]*list{},
		changed: make(chan struct{}),
	}
	for _, name := range cfg.Gates {
		p.gates[name] = &gate{}
	}
	for _, c := range cfg.Book.Compartments {
		raw, _ := cfg.Book.Notes(c)
		p.remember(raw)
	}
	return p, nil
}

// remember keeps the last opening of a door: what narrows it later is believed because of it.
func (p *Publisher) remember(raw []byte) door.Order {
	if raw == nil {
		return door.Order{}
	}
	o, err := p.cfg.Book.Keys.Verify(raw)
	if err != nil {
		p.cfg.Log.Error("an order in force does not verify; gates will not take it", "err", err)
		return door.Order{}
	}
	if door.Widens(o.Compartment.Service, o.From, o.To) {
		p.mu.Lock()
		if o.Epoch > p.bases[o.Compartment].epoch {
			p.bases[o.Compartment] = base{o.Epoch, raw}
		}
		p.mu.Unlock()
	}
	return o
}

// Enforce is the [door.Enforcer] of the gates.
func (p *Publisher) Enforce(ctx context.Context, o door.Order) error {
	raw, _ := p.cfg.Book.Notes(o.Compartment)
	p.remember(raw)
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Patience)
	defer cancel()
	asked, missing := p.push(o.Compartment)
	silent := p.await(ctx, func() ([]string, bool) { return unanswered(asked, o.Compartment) })
	return complaint(append(missing, silent...))
}

// await asks who is silent again with every answer, as long as waiting may change something.
func (p *Publisher) await(ctx context.Context, who func() (silent []string, waiting bool)) []string {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		silent, waiting := who()
		if waiting {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
			}
		}
		return silent
	}
}

func complaint(missing []string) error {
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	const named = 10
	if n := len(missing); n > named {
		missing = append(missing[:named], fmt.Sprintf("and %d more", n-named))
	}
	return fmt.Errorf("no answer, or a fault, from %s", strings.Join(missing, ", "))
}

// wanted is what a gate was asked for.
type wanted struct {
	name string
	link *link
	push uint64
}

func (p *Publisher) push(c querschott.Compartment) (asked []wanted, missing []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, g := range p.gates {
		if g.link == nil {
			missing = append(missing, name)
			continue
		}
		w := wanted{name, g.link, g.link.push(c)}
		if p.silent(g) {
			missing = append(missing, name)
			continue
		}
		asked = append(asked, w)
	}
	return asked, missing
}

// silent reports whether nothing was heard of a gate for a lease. The caller holds p.mu.
func (p *Publisher) silent(g *gate) bool {
	return p.cfg.Now().Sub(p.seen(g)) > p.cfg.Lease
}

// seen returns when a gate was last heard of. The caller holds p.mu.
func (p *Publisher) seen(g *gate) time.Time {
	if g.last == nil {
		return time.Time{}
	}
	g.last.mu.Lock()
	defer g.last.mu.Unlock()
	return g.last.heard
}

// unanswered names who has not obeyed, and says whether waiting may change that.
func unanswered(asked []wanted, c querschott.Compartment) (silent []string, waiting bool) {
	for _, w := range asked {
		switch a := w.link.about(c); {
		case a.push >= w.push && a.fault == "":
		case a.push >= w.push:
			silent = append(silent, w.name+" ("+a.fault+")")
		default:
			silent = append(silent, w.name)
			select {
			case <-w.link.down:
			default:
				waiting = true
			}
		}
	}
	return silent, waiting
}

// Publish sends a list, such as the deny list, to all gates, and to those that connect later. An epoch that is not later
// than the last one of the name is refused.
func (p *Publisher) Publish(name string, epoch uint64, data []byte) error {
	if name == "" || len(name) > maxName || epoch == 0 || len(data) > maxPart*maxParts {
		return querschott.Refuse(querschott.CodeInvalid, "a list has a name of 1 to %d bytes, an epoch and at most %d bytes", maxName, maxPart*maxParts)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.lists[name]; old != nil && epoch <= old.epoch {
		return querschott.Refuse(querschott.CodeConflict, "epoch %d of the list %s is not later than %d", epoch, name, old.epoch)
	}
	n := &list{name, epoch, slices.Clone(data)}
	p.lists[name] = n
	for _, g := range p.gates {
		if g.link != nil {
			g.link.pushList(n)
		}
	}
	return nil
}

// Spread waits until every gate that is connected has taken a list in this epoch or a later one, and names those that have
// not, as Enforce does.
func (p *Publisher) Spread(ctx context.Context, name string, epoch uint64) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Patience)
	defer cancel()
	return complaint(p.await(ctx, func() (silent []string, waiting bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for gate, g := range p.gates {
			switch {
			case g.link == nil || p.silent(g):
				silent = append(silent, gate)
			default:
				a := g.link.aboutList(name)
				if a.epoch >= epoch && a.fault == "" {
					continue
				}
				waiting = waiting || a.epoch < epoch
				if a.fault != "" {
					gate += " (" + a.fault + ")"
				}
				silent = append(silent, gate)
			}
		}
		return silent, waiting
	}))
}

func (p *Publisher) tellWaiting() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}
