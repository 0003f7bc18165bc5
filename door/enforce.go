package door

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/querschott/querschott"
)

// Enforcer is told of every order in force and returns when nothing of the compartment happens any more that the order
// forbids. It must be quick, and must not call the book to move a door. Calls for one compartment come one after another,
// with rising epochs. The context ends when a later order replaces this one: whatever the call has begun is then undone by
// the next call.
type Enforcer func(ctx context.Context, o Order) error

// Change is an order that came into force.
type Change struct {
	Order   Order         `json:"order"`
	Share   int           `json:"share"` // per cent; less than 100 while it opens in stages
	Applied time.Time     `json:"applied"`
	Obeyed  time.Duration `json:"obeyed_ns"`        // from the start of the move until the last enforcer had answered
	Silent  []string      `json:"silent,omitempty"` // enforcers that failed, or did not answer within Config.Patience
}

// DefaultPatience is how long an order waits to hear from enforcers, disk and ledger before it says that they were silent.
// It is in force all the same.
const DefaultPatience = 5 * time.Second

var errOvertaken = errors.New("a later order came into force")

// patiently bounds the wait for an order's answers.
func (b *Book) patiently(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, b.cfg.Patience, fmt.Errorf("no answer within %s", b.cfg.Patience))
}

type enforcer struct {
	name string
	obey Enforcer
	told map[querschott.Compartment]*told // fixed
}

// told is the last order that an enforcer was told of for one compartment.
type told struct {
	turn  turn // held during the call, guards the field below
	epoch uint64
}

// Enforce registers who must obey. It is called while the node is put together, before doors move.
func (b *Book) Enforce(name string, obey Enforcer) {
	e := &enforcer{name, obey, map[querschott.Compartment]*told{}}
	for c := range b.doors {
		e.told[c] = &told{turn: newTurn()}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.enforcers = append(b.enforcers, e)
}

func (e *enforcer) tell(ctx context.Context, o Order) error {
	t := e.told[o.Compartment]
	if err := t.turn.take(ctx); err != nil {
		return err
	}
	defer t.turn.give()
	if o.Epoch < t.epoch {
		return errOvertaken
	}
	t.epoch = o.Epoch
	return e.obey(ctx, o)
}

// enforce tells all enforcers, waits for them as long as ctx allows, and tells the subscribers. The enforcers' own context,
// replaced, lasts until the next order.
func (b *Book) enforce(ctx, replaced context.Context, o Order, start time.Time) error {
	change := Change{Order: o, Share: b.Share(o.Compartment), Applied: b.cfg.Now().UTC()}
	b.mu.Lock()
	all := b.enforcers
	b.mu.Unlock()
	answers := make([]func() error, len(all))
	for i, e := range all {
		answers[i] = begin(ctx, func() error { return e.tell(replaced, o) })
	}
	var failed error
	for i, answer := range answers {
		if err := answer(); err != nil {
			change.Silent = append(change.Silent, all[i].name)
			failed = errors.Join(failed, fmt.Errorf("the door is %s, but %s has not obeyed: %w", o.To, all[i].name, err))
		}
	}
	change.Obeyed = time.Since(start)
	b.publish(change)
	return failed
}

// turn is a lock that one may stop waiting for.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turn) give() { <-t }

// begin runs f beside the caller. The function that it returns waits for f, until ctx ends.
func begin(ctx context.Context, f func() error) (answer func() error) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return func() error {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Subscribe returns a channel of changes; for one door, their epochs rise. A subscriber that does not keep up misses changes;
// it never slows a door. The channel is not closed.
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

// publish drops a change whose enforcers took so long that a later one is known already.
func (b *Book) publish(c Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.Order.Epoch < b.published[c.Order.Compartment].Order.Epoch {
		return
	}
	b.published[c.Order.Compartment] = c
	for ch := range b.subscribers {
		select {
		case ch <- c:
		default:
		}
	}
}
