package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

// FollowerConfig is what a follower needs.
type FollowerConfig struct {
	Compartments []querschott.Compartment // others are not known at this gate
	Keys         *door.Keys
	Dial         func(context.Context) (net.Conn, error) // makes sure that it is the publisher

	// Apply makes the gate obey and returns when it does. It gets the order as it was signed, the state that the gate may be
	// in, and the share of its stage. Calls for one compartment come one after another; the context ends when a later order
	// comes. It is told of an order again, with another state, when contact is lost and found.
	Apply func(ctx context.Context, o door.Order, to querschott.DoorState, share int) error

	// Last returns what the gate remembers of a door from before its start: no older order is taken then, and what was closed
	// stays closed. Nil: it remembers nothing.
	Last func(querschott.Compartment) (epoch uint64, to querschott.DoorState, ok bool)

	// List takes a whole list; an error keeps the earlier one. Nil: lists are refused.
	List func(name string, epoch uint64, data []byte) error

	Lease time.Duration // zero: DefaultLease; the same at the publisher
	Now   func() time.Time
	Log   *slog.Logger
}

// Follower holds the doors of a gate. All methods may be called at the same time.
type Follower struct {
	cfg   FollowerConfig
	doors map[querschott.Compartment]*local // fixed

	mu    sync.RWMutex // guards the fields below and those of all doors
	until time.Time    // of the lease
	lists map[string]uint64
}

// local is one door as the gate knows it.
type local struct {
	order    door.Order // last-known-good
	least    uint64     // the epoch that the gate remembers from before its start
	step     door.Step
	blocked  bool // the publisher has no signed order
	told     querschott.DoorState
	stop     context.CancelFunc // ends the call of Apply under way and those that wait
	settling bool

	turn chan struct{} // full while Apply runs
}

// NewFollower makes a follower whose doors are all on hold.
func NewFollower(cfg FollowerConfig) (*Follower, error) {
	if cfg.Keys == nil || cfg.Dial == nil || cfg.Apply == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("a follower needs keys, somebody to dial, somebody who obeys, a clock and a log")
	}
	if cfg.Lease == 0 {
		cfg.Lease = DefaultLease
	}
	f := &Follower{cfg: cfg, doors: map[querschott.Compartment]*local{}, lists: map[string]uint64{}}
	for _, c := range cfg.Compartments {
		d := &local{order: door.Order{Compartment: c}, stop: func() {}, turn: make(chan struct{}, 1)}
		if cfg.Last != nil {
			epoch, to, _ := cfg.Last(c)
			if d.least = epoch; to == querschott.Closed {
				d.order.To = to
			}
		}
		f.doors[c] = d
	}
	return f, nil
}

// Contact returns until when the gate may do what it was ordered without hearing more; zero: it has heard nothing yet.
func (f *Follower) Contact() time.Time { return f.lease() }

// Current returns the order that the gate obeys, with the state that is safe if there is no contact; false for a
// compartment that the gate does not know.
func (f *Follower) Current(c querschott.Compartment) (door.Order, bool) {
	d, ok := f.doors[c]
	if !ok {
		return door.Order{}, false
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.effective(d, f.cfg.Now()), true
}

// effective is the order in force with the state that the gate may be in. The caller holds f.mu.
func (f *Follower) effective(d *local, now time.Time) door.Order {
	o := d.order
	over := !o.Expires.IsZero() && !o.Expires.After(now) && !door.Widens(o.Compartment.Service, o.To, o.Inverse)
	if o.To != querschott.Closed && (d.blocked || over || !now.Before(f.until)) {
		o.To = querschott.Hold
	}
	return o
}

// Share returns to how many per cent a door is open that opens in stages.
func (f *Follower) Share(c querschott.Compartment) int {
	d, ok := f.doors[c]
	if !ok {
		return 100
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	return d.share()
}

// share is [Follower.Share] for callers that hold f.mu.
func (d *local) share() int {
	if d.step.Epoch == d.order.Epoch && d.step.Share > 0 {
		return d.step.Share
	}
	if shares := d.order.Stages.Shares(); len(shares) > 0 {
		return shares[0]
	}
	return 100
}

// take judges an order from the publisher. When it returns nil, Current answers with it.
func (f *Follower) take(m frame) (door.Order, error) {
	c, err := querschott.ParseCompartment(m.Compartment)
	if err != nil {
		return door.Order{}, err
	}
	d, ok := f.doors[c]
	if !ok {
		return door.Order{}, fmt.Errorf("this gate has no compartment %s", c)
	}
	if len(m.Note) == 0 {
		return f.block(d), nil
	}
	o, err := f.cfg.Keys.Verify(m.Note)
	if err != nil {
		return door.Order{}, err
	}
	if o.Compartment != c {
		return door.Order{}, fmt.Errorf("it is an order for %s", o.Compartment)
	}
	var step door.Step
	if len(m.Step) > 0 {
		if step, err = f.cfg.Keys.VerifyStep(m.Step, o); err != nil {
			return door.Order{}, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.follows(d, o, step, m.Base); err != nil {
		return door.Order{}, err
	}
	d.order, d.step, d.blocked = o, step, false
	return o, nil
}

// block holds a door for which the publisher has no signed order. It lets nothing out, so it needs no signature.
func (f *Follower) block(d *local) door.Order {
	f.mu.Lock()
	defer f.mu.Unlock()
	d.blocked = true
	return door.Order{Compartment: d.order.Compartment}
}

// follows says why an order may not replace the one that the gate has. The caller holds f.mu.
func (f *Follower) follows(d *local, o door.Order, step door.Step, baseNote []byte) error {
	cur, service := d.order, o.Compartment.Service
	switch {
	case o.Epoch < max(cur.Epoch, d.least):
		return fmt.Errorf("epoch %d is older than epoch %d", o.Epoch, max(cur.Epoch, d.least))
	case o.Epoch == cur.Epoch && o.Text() != cur.Text():
		return fmt.Errorf("it is another order of epoch %d", o.Epoch)
	case o.Epoch == cur.Epoch && step.Number < d.step.Number:
		return fmt.Errorf("step %d is older than step %d", step.Number, d.step.Number)
	case o.Epoch == cur.Epoch || !door.Widens(service, cur.To, o.To) || door.Widens(service, o.From, o.To):
		return nil
	}
	base, err := f.cfg.Keys.Verify(baseNote)
	if err != nil {
		return fmt.Errorf("it lets something out here, and the opening that it narrows cannot be verified: %w", err)
	}
	if base.Compartment != o.Compartment || base.Epoch <= cur.Epoch || base.Epoch >= o.Epoch ||
		!door.Widens(service, base.From, base.To) || door.Widens(service, base.To, o.To) {
		return errors.New("it lets something out here, and is not based on a later opening")
	}
	return nil
}

// obey has the gate do what Current says because of an order; it ends what is under way because of an earlier one.
func (f *Follower) obey(ctx context.Context, c querschott.Compartment) error {
	d := f.doors[c]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.mu.Lock()
	d.stop()
	d.stop = cancel
	f.mu.Unlock()
	return f.apply(ctx, d)
}

// settle has the gate do what Current says without an order: a lease or an order has run out, or contact is back.
func (f *Follower) settle(ctx context.Context, c querschott.Compartment) {
	d := f.doors[c]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.mu.Lock()
	if d.settling || f.effective(d, f.cfg.Now()).To == d.told {
		f.mu.Unlock()
		return
	}
	before := d.stop
	d.stop, d.settling = func() { before(); cancel() }, true
	f.mu.Unlock()
	err := f.apply(ctx, d)
	f.mu.Lock()
	d.settling = false
	f.mu.Unlock()
	if err != nil && !errors.Is(err, context.Canceled) {
		f.cfg.Log.Error("the gate has not obeyed", "compartment", c.String(), "err", err)
	}
}

// apply runs Apply in the door's turn.
func (f *Follower) apply(ctx context.Context, d *local) error {
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("a later order came: %w", ctx.Err())
	}
	defer func() { <-d.turn }()
	if ctx.Err() != nil {
		return fmt.Errorf("a later order came: %w", ctx.Err())
	}
	f.mu.Lock()
	o, to, share := d.order, f.effective(d, f.cfg.Now()).To, d.share()
	d.told = to
	f.mu.Unlock()
	return f.cfg.Apply(ctx, o, to, share)
}
