package door

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/querschott/querschott"
)

// SubmitEmergency takes an order that was left for a node that did not answer: under the key for emergencies, and only if it
// narrows. If the door has moved since it was signed, and it still narrows, the platform gives the order anew in the door's
// next epoch: closing needs no agreement, and who closes must not lose against whoever moved the door at the same time. It loses
// only against those who have let something out again after it was signed: two operators who opened, or one who has let mail in
// where the door was closed.
func (b *Book) SubmitEmergency(ctx context.Context, raw []byte) (Outcome, error) {
	s, err := b.roster.open(raw)
	if err != nil {
		return Outcome{}, err
	}
	if s.order.Actor != BreakGlassActor || s.widens() {
		return Outcome{}, querschott.Refuse(querschott.CodeForbidden, "only what narrows, under the key for emergencies, can be left for a node")
	}
	out, err := b.Submit(ctx, raw)
	if querschott.CodeOf(err) != querschott.CodeConflict || out.Order != nil || !b.overtaken(s) {
		return out, err
	}
	o := s.order
	reason := "ordered at " + formatTime(o.At) + " under the key for emergencies: " + o.Reason
	reason = strings.TrimSpace(strings.ToValidUTF8(reason[:min(len(reason), MaxReason)], ""))
	again, failed := b.Set(ctx, Request{Compartment: o.Compartment, To: o.To, Reason: reason, Incident: o.Incident}, b.cfg.Machine)
	if again.Order == nil {
		return again, errors.Join(err, failed)
	}
	return again, failed
}

// overtaken reports whether an order for an emergency only lacks the door's epoch: it is young enough, would narrow the door as it
// is, and nobody has let anything out after it was signed.
func (b *Book) overtaken(s *signed) bool {
	d, err := b.door(s.order.Compartment)
	if err != nil || b.cfg.Machine == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	cur, o, now := d.current.Load().order, s.order, b.cfg.Now()
	if o.Epoch > cur.Epoch || o.At.Before(now.Add(-breakGlassTTL)) || o.At.After(now.Add(clockSkew)) {
		return false
	}
	if cur.To == o.To || cur.To == querschott.Closed || Widens(o.Compartment.Service, cur.To, o.To) {
		return false
	}
	return !slices.ContainsFunc(append(slices.Clone(d.history), cur), func(later Order) bool {
		return later.At.After(o.At) && (later.From == querschott.Closed || Widens(o.Compartment.Service, later.From, later.To))
	})
}
