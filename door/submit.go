package door

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// Request is what an operator wants.
type Request struct {
	Compartment querschott.Compartment
	To          querschott.DoorState
	Reason      string    // mandatory, one line
	Incident    string    // reference, may be empty
	Expires     time.Time // zero: never
}

// Outcome is what became of it: exactly one field is set.
type Outcome struct {
	Order    *Order    `json:"order,omitempty"`    // in force
	Proposal *Proposal `json:"proposal,omitempty"` // waits for a second operator
}

// Draft makes the order that the actor would have to sign: the next epoch of the door as it is at this moment.
func (b *Book) Draft(r Request, actor querschott.Actor) (Order, error) {
	d, err := b.door(r.Compartment)
	if err != nil {
		return Order{}, err
	}
	cur := d.current.Load()
	o := Order{
		Compartment: r.Compartment, Epoch: cur.Epoch + 1, From: cur.To, To: r.To, Inverse: inverse(cur.To),
		At: b.cfg.Now().UTC().Truncate(time.Microsecond), Actor: actor, Incident: r.Incident, Reason: r.Reason,
	}
	if !r.Expires.IsZero() {
		o.Expires = r.Expires.UTC().Truncate(time.Microsecond)
	}
	return o, b.check(&signed{order: o}, cur)
}

// Sign signs an order's text, the first step of every move.
func Sign(o Order, s note.Signer) ([]byte, error) {
	return note.Sign(&note.Note{Text: o.Text()}, s)
}

// Cosign adds a signature to a signed order.
func Cosign(raw []byte, known note.Verifiers, s note.Signer) ([]byte, error) {
	n, err := note.Open(raw, known)
	if err != nil {
		return nil, fmt.Errorf("couldn't verify the proposal: %w", err)
	}
	return note.Sign(n, s)
}

// Set drafts, signs and submits in one step.
func (b *Book) Set(ctx context.Context, r Request, s note.Signer) (Outcome, error) {
	o, err := b.Draft(r, b.roster.name(s))
	if err != nil {
		return Outcome{}, err
	}
	raw, err := Sign(o, s)
	if err != nil {
		return Outcome{}, fmt.Errorf("couldn't sign the order: %w", err)
	}
	return b.Submit(ctx, raw)
}

// Submit takes a signed order. It narrows: it is in force when Submit has looked at it, whatever happens after; an error
// then says what else went wrong, and Outcome.Order is set all the same. It widens: with the signatures of two operators it
// is recorded, written and in force when Submit returns nil; with one it becomes a proposal.
//
// Errors: CodeForbidden (signatures), CodeConflict (drafted against an older epoch, no move), CodeInvalid, CodeNotFound.
func (b *Book) Submit(ctx context.Context, raw []byte) (Outcome, error) {
	s, err := b.roster.open(raw)
	if err != nil {
		return Outcome{}, err
	}
	d, err := b.door(s.order.Compartment)
	if err != nil {
		return Outcome{}, err
	}
	switch {
	case !s.enough():
		return b.propose(d, s)
	case Widens(s.order.Compartment.Service, s.order.From, s.order.To):
		return b.widen(ctx, d, s)
	default:
		return b.narrow(ctx, d, s)
	}
}

// check refuses an order that may not follow the one in force.
func (b *Book) check(s *signed, cur *Order) error {
	o, now := s.order, b.cfg.Now()
	if err := o.checkWords(); err != nil {
		return err
	}
	if err := Legal(cur.To, o.To); err != nil {
		return err
	}
	switch {
	case o.Epoch != cur.Epoch+1 || o.From != cur.To:
		return querschott.Refuse(querschott.CodeConflict,
			"the door %s has moved since: it is %s in epoch %d; look again and repeat the order", o.Compartment, cur.To, cur.Epoch)
	case o.Inverse != inverse(o.From):
		return querschott.Refuse(querschott.CodeInvalid, "the inverse of this order is %s, not %s", inverse(o.From), o.Inverse)
	case o.At.After(now.Add(clockSkew)):
		return querschott.Refuse(querschott.CodeInvalid, "the order is dated %s, which is in the future; check the clocks", formatTime(o.At))
	case o.At.Before(now.Add(-ProposalTTL)):
		return querschott.Refuse(querschott.CodeConflict, "the order is older than %s; draft it again", ProposalTTL)
	case !o.Expires.IsZero() && !o.Expires.After(now):
		return querschott.Refuse(querschott.CodeInvalid, "the order has already expired")
	}
	return nil
}

// narrow puts the order in force first and does everything else after.
func (b *Book) narrow(ctx context.Context, d *door, s *signed) (Outcome, error) {
	start := time.Now()
	if err := b.swap(d, s); err != nil {
		return Outcome{}, err
	}
	ctx = context.WithoutCancel(ctx) // whoever ordered it may hang up; what follows must still happen
	o := s.order
	written := make(chan error, 1)
	go func() { written <- b.write(d, s, "order") }()
	obeyed := b.enforce(ctx, o, start)
	err := <-written
	if err != nil {
		err = fmt.Errorf("the door is %s, but a restart would forget it: %w", o.To, err)
	}
	if recErr := b.cfg.Record(ctx, o); recErr != nil {
		b.remember(o)
		err = errors.Join(err, fmt.Errorf("the door is %s, but the ledger does not have it yet: %w", o.To, recErr))
	}
	return Outcome{Order: &o}, errors.Join(obeyed, err)
}

// widen records and writes the order first and puts it in force last.
func (b *Book) widen(ctx context.Context, d *door, s *signed) (Outcome, error) {
	start := time.Now()
	if err := b.check(s, d.current.Load()); err != nil {
		return Outcome{}, err
	}
	o := s.order
	if err := b.cfg.Record(ctx, o); err != nil {
		return Outcome{}, fmt.Errorf("couldn't record the order, the door stays %s: %w", o.From, err)
	}
	if err := b.write(d, s, "order"); err != nil {
		return Outcome{}, fmt.Errorf("couldn't write the order, the door stays %s: %w", o.From, err)
	}
	if err := b.swap(d, s); err != nil {
		return Outcome{}, err // an order in between has won, and its own write comes after ours
	}
	return Outcome{Order: &o}, errors.Join(b.enforce(ctx, o, start), b.unlink(d, o.Compartment))
}

// swap makes the order the one in force.
func (b *Book) swap(d *door, s *signed) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := b.check(s, d.current.Load()); err != nil {
		return err
	}
	o := s.order
	d.current.Store(&o)
	d.proposal = nil
	d.history = append(d.history, o)
	if len(d.history) > maxHistory {
		d.history = d.history[1:]
	}
	return nil
}

// write puts the order on disk, unless a later one is in force: then that one's write is waiting, or done.
func (b *Book) write(d *door, s *signed, kind string) error {
	d.file.Lock()
	defer d.file.Unlock()
	cur := d.current.Load()
	if cur.Epoch > s.order.Epoch || cur.Epoch == s.order.Epoch && cur.Text() != s.order.Text() {
		return nil
	}
	return disk.WriteFile(b.cfg.FS, b.path(s.order.Compartment, kind), s.raw)
}

// name returns whose key a signer's is.
func (r *roster) name(s note.Signer) querschott.Actor {
	if s.Name() == r.machine {
		return MachineActor
	}
	return r.owner[s.Name()]
}

// remember keeps an order that the ledger must still get; Run repeats it.
func (b *Book) remember(o Order) {
	b.mu.Lock()
	b.unrecorded = append(b.unrecorded, o)
	b.mu.Unlock()
	b.wake()
}
