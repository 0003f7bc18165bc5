package door

import (
	"context"
	"time"

	"github.com/querschott/querschott"
)

// elsewhere refuses an order that another book has to decide.
func (b *Book) elsewhere() error {
	if b.cfg.Publisher == "" {
		return nil
	}
	return querschott.RefuseAs(querschott.CodeForbidden,
		"door.elsewhere", "this node is a gate and decides about no door: give the order at the node that keeps the book, %s", b.cfg.Publisher)
}

// wait begins without an order of the other book. What was closed stays closed; everything else is on hold.
func (d *door) wait(c querschott.Compartment, last querschott.DoorState) {
	o := Order{Compartment: c, Reason: "no order has come from the book yet"}
	if last == querschott.Closed {
		o.To = querschott.Closed
	}
	d.current.Store(&signed{order: o})
	d.replaced, d.stop = context.WithCancelCause(context.Background())
}

// Adopt puts an order in force that another book has decided and the caller has verified, with the state that is allowed here
// at this moment, which may let out less than the order, and the share of its stage. It returns when all enforcers have
// answered; calls for one compartment come one after another. The ledger gets every order once, and a closing before Adopt
// returns if it can: a gate that has acknowledged it and is killed must remember it.
func (b *Book) Adopt(ctx context.Context, o Order, to querschott.DoorState, share int) error {
	d, err := b.door(o.Compartment)
	if err != nil {
		return err
	}
	start := time.Now()
	replaced := d.adopt(ctx, o, to, share)
	record, stop := b.patiently(context.WithoutCancel(ctx))
	recorded := begin(record, func() error { // beside the enforcers: Run repeats what fails
		defer stop()
		return b.record(record, d)
	})
	ctx, cancel := b.patiently(ctx)
	defer cancel()
	closes := o.To == querschott.Closed
	o.To = to
	err = b.enforce(ctx, replaced, o, start)
	if closes {
		_ = recorded() // it is in force all the same
	}
	return err
}

// adopt is swap for orders of another book.
func (d *door) adopt(ctx context.Context, o Order, to querschott.DoorState, share int) (replaced context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o.Epoch > d.adopted {
		d.adopted = o.Epoch
		d.unrecorded = append(d.unrecorded, o)
		d.history = append(d.history, o)
		d.history = d.history[max(0, len(d.history)-maxHistory):]
	}
	shares := o.Stages.Shares()
	o.To = to
	d.current.Store(&signed{order: o, shares: shares})
	d.step.Store(&signed{step: Step{Compartment: o.Compartment, Epoch: o.Epoch, Share: share}})
	d.stop(errOvertaken)
	d.replaced, d.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	return d.replaced
}

// Obeyed returns how the enforcers have answered to the latest order of a door since the start; false if there was none.
func (b *Book) Obeyed(c querschott.Compartment) (Change, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change, ok := b.published[c]
	return change, ok
}
