package door

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
)

// Proposal is an order that lacks the signature of a second operator.
type Proposal struct {
	ID          string                 `json:"id"` // "109500969/eau@8-" and 32 hex digits of the text's SHA-256
	Compartment querschott.Compartment `json:"compartment"`
	From        querschott.DoorState   `json:"from"`
	To          querschott.DoorState   `json:"to"`
	Actor       querschott.Actor       `json:"actor"`
	Incident    string                 `json:"incident,omitempty"`
	Reason      string                 `json:"reason"`
	Stages      Plan                   `json:"stages,omitempty"`
	At          time.Time              `json:"at"`
	Expires     time.Time              `json:"expires"` // after that it must be proposed again
	Note        []byte                 `json:"note"`    // the signed order, to be cosigned
}

// id names an order by its text, so that whoever approves it signs what they have seen and not what has taken its place.
func (s *signed) id() string {
	text := s.order.Text()
	return fmt.Sprintf("%s@%d-%.16x", s.order.Compartment, s.order.Epoch, sha256.Sum256([]byte(text)))
}

func (s *signed) proposal() Proposal {
	o := s.order
	return Proposal{
		ID: s.id(), Compartment: o.Compartment, From: o.From, To: o.To,
		Actor: o.Actor, Incident: o.Incident, Reason: o.Reason, Stages: o.Stages, At: o.At, Expires: o.At.Add(ProposalTTL), Note: slices.Clone(s.raw),
	}
}

// propose keeps an order for a second operator. A compartment has one proposal at a time.
func (b *Book) propose(ctx context.Context, d *door, s *signed) (Outcome, error) {
	d.mu.Lock()
	err := b.check(d, s)
	if old := d.proposal; err == nil && old != nil && !b.stale(d, old) {
		switch {
		case old.same(s) && len(s.operators) <= len(old.operators):
			s = old // said again
		case !old.yields(s):
			err = querschott.RefuseAs(querschott.CodeConflict, "proposal.other", "%s has already proposed to set %s to %s: approve that, or withdraw it",
				old.order.Actor, s.order.Compartment, old.order.To)
		}
	}
	if err == nil {
		d.proposal = s
	}
	d.mu.Unlock()
	if err != nil {
		return Outcome{}, err
	}
	p := s.proposal()
	if err := b.store(ctx, d); err != nil {
		return Outcome{Proposal: &p}, fmt.Errorf("the proposal stands, but a restart would forget it: %w", err)
	}
	return Outcome{Proposal: &p}, nil
}

func (s *signed) same(t *signed) bool { return s.order.Text() == t.order.Text() }

// yields reports whether a proposal makes way for another: with more signatures under the same text, a later one of the same
// actor, or an operator's instead of the platform's. An earlier one, sent again by whoever has kept it, takes nobody's place.
func (s *signed) yields(to *signed) bool {
	if s.same(to) || s.order.Actor != to.order.Actor {
		return s.same(to) || s.order.Actor == MachineActor || s.order.Actor == BreakGlassActor
	}
	return !to.order.At.Before(s.order.At)
}

// stale reports whether the door has moved or too much time has passed since a proposal. The caller holds d.mu.
func (b *Book) stale(d *door, s *signed) bool {
	return s.order.Epoch != d.current.Load().order.Epoch+1 || b.cfg.Now().After(s.order.At.Add(ProposalTTL))
}

// Proposals returns what waits for a second operator, ordered by compartment.
func (b *Book) Proposals() []Proposal {
	var list []Proposal
	for _, d := range b.doors {
		d.mu.Lock()
		if s := d.proposal; s != nil && !b.stale(d, s) {
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
		live := s != nil && !b.stale(d, s)
		d.mu.Unlock()
		if live && s.id() == id {
			return d, s, nil
		}
	}
	return nil, nil, querschott.RefuseAs(querschott.CodeNotFound,
		"proposal.gone", "there is no proposal %.80q; it may have been approved, replaced, withdrawn or run out", id)
}

// Approve signs a proposal as the second operator; the order is in force when Approve returns it. What the platform itself
// proposed needs two operators, so after the first of them it is still a proposal. Whoever has signed already gets
// CodeForbidden.
func (b *Book) Approve(ctx context.Context, id string, s note.Signer) (Outcome, error) {
	_, p, err := b.find(id)
	if err != nil {
		return Outcome{}, err
	}
	who, err := b.roster.operator(s)
	if err != nil {
		return Outcome{}, err
	}
	if slices.Contains(p.operators, who) {
		return Outcome{}, querschott.RefuseAs(querschott.CodeForbidden,
			"proposal.yours", "%s has already signed this proposal; a different operator must approve it", who)
	}
	raw, err := Cosign(p.raw, b.roster.verifiers, s)
	if err != nil {
		return Outcome{}, err
	}
	return b.Submit(ctx, raw)
}

// Withdraw takes a proposal back for good: not even who has cosigned it already can bring it into force. Every operator may.
func (b *Book) Withdraw(ctx context.Context, id string, s note.Signer) error {
	d, p, err := b.find(id)
	if err != nil {
		return err
	}
	if _, err := b.roster.operator(s); err != nil {
		return err
	}
	d.mu.Lock()
	if !b.stale(d, p) {
		if d.withdrawn == nil {
			d.withdrawn = map[string]bool{}
		}
		d.withdrawn[id] = true
	}
	if d.proposal != nil && d.proposal.same(p) {
		d.proposal = nil
	}
	d.mu.Unlock()
	return b.store(ctx, d)
}
