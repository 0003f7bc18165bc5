package door

import (
	"context"
	"fmt"
	"time"
)

// Enforcer is told of every order in force and returns when nothing of the compartment happens any more that the order
// forbids. It must be quick, and must not call the book to move a door.
type Enforcer func(ctx context.Context, o Order) error

type enforcer struct {
	name string
	obey Enforcer
}

// Change is an order that came into force.
type Change struct {
	Order  Order         `json:"order"`
	Obeyed time.Duration `json:"obeyed_ns"` // from the start of the move until every enforcer had answered
}

// Enforce registers who must obey. It is called while the node is put together, before doors move.
func (b *Book) Enforce(name string, obey Enforcer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.enforcers = append(b.enforcers, enforcer{name, obey})
}

// enforce waits for all enforcers, at most obeyTimeout, and tells the subscribers.
func (b *Book) enforce(ctx context.Context, o Order, start time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), obeyTimeout)
	defer cancel()
	b.mu.Lock()
	all := b.enforcers
	b.mu.Unlock()
	answers := make(chan error, len(all))
	for _, e := range all {
		go func() {
			err := e.obey(ctx, o)
			if err != nil {
				err = fmt.Errorf("the door is %s, but %s has not obeyed: %w", o.To, e.name, err)
			}
			answers <- err
		}()
	}
	var failed error
	for range all {
		select {
		case err := <-answers:
			if err != nil && failed == nil {
				failed = err
			}
		case <-ctx.Done():
			failed = fmt.Errorf("the door is %s, but not every part of the node has answered within %s", o.To, obeyTimeout)
		}
	}
	b.publish(Change{Order: o, Obeyed: time.Since(start)})
	b.wake()
	return failed
}

// Subscribe returns a channel of changes. A subscriber that does not keep up misses changes; it never slows a door.
func (b *Book) Subscribe(buffer int) (<-chan Change, func()) {
	ch := make(chan Change, buffer)
	b.mu.Lock()
	b.subscribers[ch] = struct{}{}
	b.mu.Unlock()
	return ch, func() {
		b.mu.Lock()
		delete(b.subscribers, ch)
		b.mu.Unlock()
	}
}

func (b *Book) publish(c Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ch := range b.subscribers {
		select {
		case ch <- c:
		default:
		}
	}
}

func (b *Book) wake() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// retryRecord is how long Run waits before it offers the ledger again what the ledger could not take.
const retryRecord = time.Second

// Run carries out expiries and brings the ledger what it missed, until the context ends.
//
// An order that has expired is undone by the platform if that narrows; if undoing it would widen, the platform proposes it
// and two operators decide.
func (b *Book) Run(ctx context.Context) error {
	for {
		wait := b.expire(ctx)
		if b.settle(ctx) > 0 {
			wait = min(wait, retryRecord)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-b.kick:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// expire undoes what has run out and returns how long to wait for the next one.
func (b *Book) expire(ctx context.Context) time.Duration {
	next := time.Hour
	for c, d := range b.doors {
		cur := d.current.Load()
		if cur.Expires.IsZero() || b.cfg.Machine == nil {
			continue
		}
		if left := cur.Expires.Sub(b.cfg.Now()); left > 0 {
			next = min(next, left)
			continue
		}
		if d.proposed(cur.Epoch + 1) {
			continue
		}
		_, err := b.Set(ctx, Request{Compartment: c, To: cur.Inverse, Incident: cur.Incident, Reason: "the order before this one has expired"}, b.cfg.Machine)
		if err != nil {
			b.cfg.Log.Error("couldn't undo an expired order", "compartment", c.String(), "err", err)
			next = min(next, retryRecord)
		}
	}
	return next
}

func (d *door) proposed(epoch uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.proposal != nil && d.proposal.order.Epoch == epoch
}

// settle offers the ledger the orders that it does not have and returns how many are left.
func (b *Book) settle(ctx context.Context) int {
	b.mu.Lock()
	todo := b.unrecorded
	b.unrecorded = nil
	b.mu.Unlock()
	for i, o := range todo {
		if err := b.cfg.Record(ctx, o); err != nil {
			b.mu.Lock()
			b.unrecorded = append(todo[i:], b.unrecorded...)
			left := len(b.unrecorded)
			b.mu.Unlock()
			b.cfg.Log.Error("the ledger lacks door orders", "orders", left, "err", err)
			return left
		}
	}
	return 0
}
