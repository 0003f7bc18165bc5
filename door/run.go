package door

import (
	"context"
	"sync"
	"time"

	"github.com/querschott/querschott"
)

// beat is how often Run looks whether an order has expired and whether ledger or disk lack one. A look costs a few
// nanoseconds per door, and a clock that jumps does no harm.
const beat = time.Second

// Run carries out expiries and brings ledger and disk what they missed, until the context ends.
//
// An order that has expired is undone by the platform if that narrows; if undoing it would widen, the platform proposes it
// and two operators decide.
func (b *Book) Run(ctx context.Context) error {
	var each sync.WaitGroup // side by side: a hanging ledger or disk holds up no expiry
	for _, work := range []func(context.Context){b.expire, b.climb, b.recordAll, b.storeAll} {
		each.Go(func() {
			ticker := time.NewTicker(beat)
			defer ticker.Stop()
			for ctx.Err() == nil {
				work(ctx)
				select {
				case <-ctx.Done():
				case <-ticker.C:
				}
			}
		})
	}
	each.Wait()
	return nil
}

// expire undoes what has run out.
func (b *Book) expire(ctx context.Context) {
	var all sync.WaitGroup
	for _, d := range b.doors {
		if o := d.current.Load().order; !o.Expires.IsZero() && !o.Expires.After(b.cfg.Now()) && b.cfg.Machine != nil {
			all.Go(func() { b.undo(ctx, d, o) })
		}
	}
	all.Wait()
}

// ReasonExpired is the reason of what the platform orders because an order has expired.
const ReasonExpired = "the order before this one has expired"

func (b *Book) undo(ctx context.Context, d *door, o Order) {
	if Widens(o.Compartment.Service, o.To, o.Inverse) && !b.mayAsk(d) {
		return
	}
	r := Request{Compartment: o.Compartment, To: o.Inverse, Incident: o.Incident, Reason: ReasonExpired}
	if b.staged() && Widens(o.Compartment.Service, o.To, o.Inverse) {
		r.Stages = DefaultPlan
	}
	next, err := b.Draft(r, MachineActor)
	if next.Epoch != o.Epoch+1 {
		return // somebody has moved the door: what has expired is over anyway
	}
	var out Outcome
	if err == nil {
		out, err = b.signAndSubmit(ctx, next, b.cfg.Machine)
	}
	if overtaken := out.Order == nil && querschott.CodeOf(err) == querschott.CodeConflict; err != nil && !overtaken {
		b.cfg.Log.Error("an expired order was not undone as it should be", "compartment", o.Compartment.String(), "err", err)
	}
}

// mayAsk reports whether the platform may propose to undo the order in force: nobody else has proposed anything, and
// whoever has withdrawn the platform's proposal gets some rest.
func (b *Book) mayAsk(d *door) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := b.cfg.Now()
	if d.proposal != nil && !b.stale(d, d.proposal) || !d.asked.IsZero() && now.Sub(d.asked) < ProposalTTL {
		return false
	}
	d.asked = now
	return true
}

func (b *Book) recordAll(ctx context.Context) {
	for c, d := range b.doors {
		if err := b.record(ctx, d); err != nil && ctx.Err() == nil {
			b.cfg.Log.Error("the ledger lacks door orders", "compartment", c.String(), "err", err)
			return // the others would fare no better
		}
	}
}

func (b *Book) storeAll(ctx context.Context) {
	for c, d := range b.doors {
		if err := b.store(ctx, d); err != nil && ctx.Err() == nil {
			b.cfg.Log.Error("a restart would not find a door as it is", "compartment", c.String(), "err", err)
			return
		}
	}
}

// record gives the ledger what it lacks of a door, oldest first.
func (b *Book) record(ctx context.Context, d *door) error {
	if err := d.ledger.take(ctx); err != nil {
		return err
	}
	defer d.ledger.give()
	return b.recordInTurn(ctx, d)
}

// recordInTurn is record for callers that hold d.ledger.
func (b *Book) recordInTurn(ctx context.Context, d *door) error {
	for {
		o, ok := d.firstUnrecorded()
		if !ok {
			return b.recordOwed(ctx, d)
		}
		if err := b.cfg.Record(ctx, o); err != nil {
			return err
		}
		d.mu.Lock()
		d.unrecorded = d.unrecorded[1:]
		d.mu.Unlock()
	}
}

func (d *door) firstUnrecorded() (Order, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.unrecorded) == 0 {
		return Order{}, false
	}
	return d.unrecorded[0], true
}
