package door

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
)

// Request is what an operator wants.
type Request struct {
	Compartment querschott.Compartment
	To          querschott.DoorState
	Reason      string    // mandatory, one line
	Incident    string    // reference, may be empty
	Expires     time.Time // zero: never
	Stages      Plan      // of what lets something out; empty: at once
}

// Outcome is what became of it: exactly one field is set.
type Outcome struct {
	Order    *Order    `json:"order,omitempty"`    // in force
	Proposal *Proposal `json:"proposal,omitempty"` // waits for a second operator
}

// Draft makes the order that the actor would have to sign: the next epoch of the door as it is at this moment. What narrows
// an opening for a time gets the opening's end, unless the request names an earlier one.
func (b *Book) Draft(r Request, actor querschott.Actor) (Order, error) {
	d, err := b.door(r.Compartment)
	if err != nil {
		return Order{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	cur := d.current.Load().order
	o := cur.Next(r, actor, b.cfg.Now())
	if must := d.bound(r.To); must != "" {
		o.Stages = must
	}
	return o, b.check(d, &signed{order: o})
}

// Next makes the order that follows this one. It is not checked.
func (o Order) Next(r Request, actor querschott.Actor, now time.Time) Order {
	next := Order{
		Compartment: r.Compartment, Epoch: o.Epoch + 1, From: o.To, To: r.To, At: now.UTC().Truncate(time.Microsecond),
		Expires: r.Expires, Actor: actor, Incident: r.Incident, Reason: r.Reason, Stages: r.Stages,
	}
	inverse, latest := o.undo(r.To)
	next.Inverse = inverse
	if !latest.IsZero() && (next.Expires.IsZero() || next.Expires.After(latest)) {
		next.Expires = latest
	}
	if !next.Expires.IsZero() {
		next.Expires = next.Expires.UTC().Truncate(time.Microsecond)
	}
	return next
}

// Sign signs an order's text, the first step of every move.
func Sign(o Order, s note.Signer) ([]byte, error) {
	return note.Sign(&note.Note{Text: o.Text()}, s)
}

// Cosign adds a signature to a signed order, and to nothing else.
func Cosign(raw []byte, known note.Verifiers, s note.Signer) ([]byte, error) {
	n, err := note.Open(raw, known)
	if err != nil {
		return nil, fmt.Errorf("couldn't verify the proposal: %w", err)
	}
	if _, err := ParseOrder(n.Text); err != nil {
		return nil, err
	}
	return note.Sign(n, s)
}

// Set drafts, signs and submits in one step. A narrowing that another order overtakes is drafted again, unless it would then
// widen or undo a closing: two people who close at the same moment are both served.
func (b *Book) Set(ctx context.Context, r Request, s note.Signer) (Outcome, error) {
	if err := b.elsewhere(); err != nil {
		return Outcome{}, err
	}
	actor := b.roster.name(s)
	if actor == "" {
		return Outcome{}, querschott.RefuseAs(querschott.CodeForbidden, "order.stranger", "the key %.64q is not an operator's", s.Name())
	}
	var overtaken error
	for {
		o, err := b.Draft(r, actor)
		if err != nil {
			return Outcome{}, err
		}
		widens := Widens(o.Compartment.Service, o.From, o.To)
		if overtaken != nil && (widens || o.From == querschott.Closed) {
			return Outcome{}, overtaken
		}
		out, err := b.signAndSubmit(ctx, o, s)
		if cur, _ := b.Current(o.Compartment); widens || err == nil || out.Order != nil || cur.Epoch < o.Epoch {
			return out, err
		}
		overtaken = err
	}
}

func (b *Book) signAndSubmit(ctx context.Context, o Order, s note.Signer) (Outcome, error) {
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
// Errors: CodeForbidden (signatures), CodeConflict (drafted against an older epoch, withdrawn, no move), CodeInvalid,
// CodeNotFound.
func (b *Book) Submit(ctx context.Context, raw []byte) (Outcome, error) {
	if err := b.elsewhere(); err != nil {
		return Outcome{}, err
	}
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
		return b.propose(ctx, d, s)
	case s.widens():
		return b.widen(ctx, d, s)
	default:
		return b.narrow(ctx, d, s)
	}
}

// lasts returns how old an order may be. What narrows under the key for emergencies may have had to wait for the node.
func (s *signed) lasts() time.Duration {
	if s.order.Actor == BreakGlassActor && !s.widens() {
		return breakGlassTTL
	}
	return ProposalTTL
}

// check refuses an order that may not follow the one in force. The caller holds d.mu.
func (b *Book) check(d *door, s *signed) error {
	cur, o, now := d.current.Load().order, s.order, b.cfg.Now()
	if err := b.elsewhere(); err != nil {
		return err
	}
	if err := o.checkWords(); err != nil {
		return err
	}
	if err := Legal(cur.To, o.To); err != nil {
		return err
	}
	inverse, latest := cur.undo(o.To)
	switch {
	case o.Epoch != cur.Epoch+1 || o.From != cur.To:
		return querschott.RefuseAs(querschott.CodeConflict,
			"door.moved", "the door %s has moved since: it is %s in epoch %d; look again and repeat the order", o.Compartment, cur.To, cur.Epoch)
	case o.Inverse != inverse:
		return querschott.RefuseAs(querschott.CodeInvalid, "order.inverse", "the inverse of this order is %s, not %s", inverse, o.Inverse)
	case o.At.After(now.Add(clockSkew)):
		return dated("order.future", "the order is dated %s, which is in the future; check the clocks", o.At)
	case o.At.Before(now.Add(-s.lasts())):
		return querschott.RefuseAs(querschott.CodeConflict, "order.old", "the order is older than %s; draft it again", s.lasts())
	case !o.Expires.IsZero() && !o.Expires.After(now):
		return querschott.RefuseAs(querschott.CodeInvalid, "order.expired", "the order has already expired")
	case !o.Expires.IsZero() && b.cfg.Machine == nil:
		return querschott.RefuseAs(querschott.CodeInvalid, "order.no-expiry", "no order can expire here: the platform has no key to undo it with")
	case !latest.IsZero() && (o.Expires.IsZero() || o.Expires.After(latest)):
		return dated("order.until", "two operators have opened the door until %s, so this order must end then too", latest)
	case d.withdrawn[s.id()]:
		return querschott.RefuseAs(querschott.CodeConflict, "order.withdrawn", "this order was withdrawn; draft it again")
	}
	return b.checkPlan(d, o)
}

// dated refuses something because of a time, which pages write as their readers do.
func dated(key, format string, at time.Time) error {
	return &querschott.Error{Code: querschott.CodeInvalid, Key: key, Args: []any{at}, Public: fmt.Sprintf(format, formatTime(at))}
}

// checkNow is check for callers that do not hold d.mu.
func (b *Book) checkNow(d *door, s *signed) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return b.check(d, s)
}

// narrow puts the order in force first and does everything else after.
func (b *Book) narrow(ctx context.Context, d *door, s *signed) (Outcome, error) {
	start, o := time.Now(), s.order
	replaced, err := b.swap(ctx, d, s)
	if err != nil {
		return Outcome{}, err
	}
	// Whoever ordered it may hang up; what follows must still happen.
	ctx, cancel := b.patiently(context.WithoutCancel(ctx))
	defer cancel()
	stored := begin(ctx, func() error { return b.store(ctx, d) })
	recorded := begin(ctx, func() error { return b.record(ctx, d) })
	err = b.enforce(ctx, replaced, o, start)
	if e := stored(); e != nil {
		err = errors.Join(err, fmt.Errorf("the door is %s, but a restart may forget it: %w", o.To, e))
	}
	if e := recorded(); e != nil {
		err = errors.Join(err, fmt.Errorf("the door is %s, but the ledger does not have it yet: %w", o.To, e))
	}
	return Outcome{Order: &o}, err
}

// widen records and writes the order first and puts it in force last.
func (b *Book) widen(ctx context.Context, d *door, s *signed) (Outcome, error) {
	start, o := time.Now(), s.order
	replaced, err := b.agree(ctx, d, s)
	if err != nil {
		return Outcome{}, err
	}
	ctx, cancel := b.patiently(context.WithoutCancel(ctx))
	defer cancel()
	stored := begin(ctx, func() error { return b.store(ctx, d) }) // the proposal's file goes
	return Outcome{Order: &o}, errors.Join(b.enforce(ctx, replaced, o, start), stored())
}

// agree takes an order that widens through ledger and file into force. The ledger has every earlier order of the door before
// this one, and no later one before the door has moved.
func (b *Book) agree(ctx context.Context, d *door, s *signed) (replaced context.Context, err error) {
	if err := d.ledger.take(ctx); err != nil {
		return nil, fmt.Errorf("couldn't reach the ledger, the door stays %s: %w", s.order.From, err)
	}
	defer d.ledger.give()
	if err := b.recordInTurn(ctx, d); err != nil {
		return nil, fmt.Errorf("couldn't record the orders before this one, the door stays %s: %w", s.order.From, err)
	}
	if err := b.checkNow(d, s); err != nil { // after that no order before this one can be missing in the ledger
		return nil, err
	}
	if err := b.cfg.Record(ctx, s.order); err != nil {
		return nil, fmt.Errorf("couldn't record the order, the door stays %s: %w", s.order.From, err)
	}
	if err = b.storeAhead(ctx, d, s); err == nil {
		replaced, err = b.swap(ctx, d, s)
	}
	if err != nil { // the file may hold the order that did not come into force, and the caller may have hung up
		return nil, fmt.Errorf("the door did not become %s: %w", s.order.To, errors.Join(err, b.store(context.WithoutCancel(ctx), d)))
	}
	return replaced, nil
}

// swap makes the order the one in force. The context that it returns ends when another one replaces it.
func (b *Book) swap(ctx context.Context, d *door, s *signed) (replaced context.Context, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := b.check(d, s); err != nil {
		return nil, err
	}
	d.current.Store(s)
	d.step.Store(nil)
	d.proposal, d.withdrawn, d.asked = nil, nil, time.Time{}
	if !s.widens() {
		d.unrecorded = append(d.unrecorded, s.order)
	}
	d.history = append(d.history, s.order)
	if len(d.history) > maxHistory {
		d.history = d.history[1:]
	}
	if d.stop != nil {
		d.stop(errOvertaken)
	}
	d.replaced, d.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	return d.replaced, nil
}
