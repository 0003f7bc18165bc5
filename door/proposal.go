package door

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
)

// Proposal is an order that lacks the signature of a second operator.
type Proposal struct {
	ID          string                 `json:"id"` // "109500969/eau@8"
	Compartment querschott.Compartment `json:"compartment"`
	From        querschott.DoorState   `json:"from"`
	To          querschott.DoorState   `json:"to"`
	Actor       querschott.Actor       `json:"actor"`
	Incident    string                 `json:"incident,omitempty"`
	Reason      string                 `json:"reason"`
	At          time.Time              `json:"at"`
	Expires     time.Time              `json:"expires"` // after that it must be proposed again
	Note        []byte                 `json:"note"`    // the signed order, to be cosigned
}

func (s *signed) proposal() Proposal {
	o := s.order
	return Proposal{
		ID: fmt.Sprintf("%s@%d", o.Compartment, o.Epoch), Compartment: o.Compartment, From: o.From, To: o.To,
		Actor: o.Actor, Incident: o.Incident, Reason: o.Reason, At: o.At, Expires: o.At.Add(ProposalTTL), Note: s.raw,
	}
}

// propose keeps an order for a second operator. A compartment has one proposal; a later one takes its place only if the
// same actor made both.
func (b *Book) propose(d *door, s *signed) (Outcome, error) {
	d.mu.Lock()
	err := b.check(s, d.current.Load())
	if old := d.proposal; err == nil && old != nil && !b.stale(old, d) && old.order.Actor != s.order.Actor {
		err = querschott.Refuse(querschott.CodeConflict, "%s has already proposed to set %s to %s: approve that, or ask for its withdrawal",
			old.order.Actor, s.order.Compartment, old.order.To)
	}
	if err == nil {
		d.proposal = s
	}
	d.mu.Unlock()
	if err != nil {
		return Outcome{}, err
	}
	b.wake()
	p := s.proposal()
	if err := b.write(d, s, "proposal"); err != nil {
		return Outcome{Proposal: &p}, fmt.Errorf("the proposal stands, but a restart would forget it: %w", err)
	}
	return Outcome{Proposal: &p}, nil
}

// stale reports whether the door has moved or too much time has passed since a proposal.
func (b *Book) stale(s *signed, d *door) bool {
	return s.order.Epoch != d.current.Load().Epoch+1 || b.cfg.Now().After(s.order.At.Add(ProposalTTL))
}

// Proposals returns what waits for a second operator, ordered by compartment.
func (b *Book) Proposals() []Proposal {
	var list []Proposal
	for _, d := range b.doors {
		d.mu.Lock()
		if s := d.proposal; s != nil && !b.stale(s, d) {
			list = append(list, s.proposal())
		}
		d.mu.Unlock()
	}
	slices.SortFunc(list, func(x, y Proposal) int { return x.Compartment.Compare(y.Compartment) })
	return list
}

func (b *Book) find(id string) (*door, *signed, error) {
	for _, d := range b.doors {
		d.mu.Lock()
		s := d.proposal
		live := s != nil && !b.stale(s, d)
		d.mu.Unlock()
		if live && s.proposal().ID == id {
			return d, s, nil
		}
	}
	return nil, nil, querschott.Refuse(querschott.CodeNotFound, "there is no proposal %.40q; it may have been approved, withdrawn or run out", id)
}

// Approve signs a proposal as the second operator; the order is in force when Approve returns it. What the platform itself
// proposed needs two operators, so after the first of them it is still a proposal. Whoever has signed already gets
// CodeForbidden.
func (b *Book) Approve(ctx context.Context, id string, s note.Signer) (Outcome, error) {
	_, p, err := b.find(id)
	if err != nil {
		return Outcome{}, err
	}
	who := b.roster.name(s)
	if who == "" || who == MachineActor {
		return Outcome{}, querschott.Refuse(querschott.CodeForbidden, "only an operator can approve")
	}
	if slices.Contains(p.operators, who) {
		return Outcome{}, querschott.Refuse(querschott.CodeForbidden, "%s has already signed this proposal; a different operator must approve it", who)
	}
	raw, err := Cosign(p.raw, b.roster.verifiers, s)
	if err != nil {
		return Outcome{}, err
	}
	return b.Submit(ctx, raw)
}

// Withdraw removes a proposal. Every operator may.
func (b *Book) Withdraw(_ context.Context, id string, s note.Signer) error {
	d, p, err := b.find(id)
	if err != nil {
		return err
	}
	if b.roster.name(s) == "" {
		return querschott.Refuse(querschott.CodeForbidden, "only an operator can withdraw a proposal")
	}
	d.mu.Lock()
	if d.proposal == p {
		d.proposal = nil
	}
	d.mu.Unlock()
	b.wake()
	return b.unlink(d, p.order.Compartment)
}

func (b *Book) unlink(d *door, c querschott.Compartment) error {
	d.file.Lock()
	defer d.file.Unlock()
	if err := b.cfg.FS.Remove(b.path(c, "proposal")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("couldn't remove the proposal's file: %w", err)
	}
	return b.cfg.FS.SyncDir(b.cfg.Dir)
}
