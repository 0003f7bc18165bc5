package node

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/incident"
	"github.com/querschott/querschott/watch"
	"github.com/querschott/querschott/web/console"
)

// Limits of what the operators' page shows at once.
const (
	shownHeld      = 50
	shownExplained = 12
	explainedEvery = 10 * time.Second // a report of the early warning is made at most so often for the page
)

// explained keeps the shares of accesses with a reason, so that looking at the page costs the detectors nothing.
type explained struct {
	mu   sync.Mutex // guards the rest
	at   time.Time
	list []console.Explained
}

func (e *explained) look(w *watch.Watch, now time.Time) []console.Explained {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.at.IsZero() && now.Sub(e.at).Abs() < explainedEvery {
		return e.list
	}
	e.at, e.list = now, nil
	for _, s := range w.Report().Explained {
		c, err := querschott.ParseCompartment(s.Compartment)
		if need := s.Reached - s.Implied; err == nil && need > 0 {
			e.list = append(e.list, console.Explained{Compartment: c, Need: need, Given: s.Explained})
		}
	}
	slices.SortFunc(e.list, func(a, b console.Explained) int {
		return cmp.Or(cmp.Compare(a.Percent(), b.Percent()), cmp.Compare(b.Need, a.Need), cmp.Compare(a.Compartment.String(), b.Compartment.String()))
	})
	e.list = e.list[:min(len(e.list), shownExplained)]
	return e.list
}

// warnings returns the alarms since the start, under pseudonyms.
func (c *cases) warnings() []console.Warning {
	c.mu.Lock()
	heard := slices.Clone(c.alarms)
	c.mu.Unlock()
	list := make([]console.Warning, 0, len(heard))
	for _, h := range heard {
		w := console.Warning{Time: h.alarm.Time, Source: h.source, Live: h.alarm.Mode == watch.Live, Folded: h.alarm.Folded, Over: h.alarm.OverBudget, Case: h.ref}
		if w.Source.Actor != "" {
			w.Source.Actor = querschott.Actor(c.name(string(w.Source.Actor)))
		}
		w.Source.Credential = ""
		list = append(list, w)
	}
	return list
}

// heldID names a deny entry to whoever releases it without showing whom it names.
func (c *cases) heldID(v *ident.Revocation) string {
	return c.name(string(v.Dimension) + "\n" + v.Value + "\n" + v.Subject + "\n" + string(v.Insurer) + "\n" + v.Run)
}

// named are the dimensions whose values are no names of anybody.
var named = []ident.Dimension{ident.ByNetwork, ident.ByProduct, ident.ByVersion, ident.ByInsurer, ident.ByProofAge, ident.ByPresenceBefore}

// held returns who is on the deny list at this moment, newest first.
func (n *Node) held() []console.Held {
	var list []console.Held
	now := n.opt.Now()
	for _, v := range n.Denied() {
		if v.Planned && v.From.After(now) || !v.Until.IsZero() && !v.Until.After(now) {
			continue
		}
		h := console.Held{ID: n.cases.heldID(&v), What: string(v.Dimension), Who: v.Value, Since: v.From, Until: v.Until, Reason: incident.Clean(v.Reason, 400), By: v.Actors}
		if alarm, ok := strings.CutPrefix(v.Reason, "alarm "); ok && slices.Contains(v.Actors, door.MachineActor) {
			detector, cause, _ := strings.Cut(alarm, "/")
			s := incident.Source{Detector: detector, Cause: cause}
			h.Reason, h.German = alarmText("en", &s), alarmText("de", &s)
		}
		if !slices.Contains(named, v.Dimension) {
			h.Who = n.cases.name(v.Value)
		}
		if ref, ok := n.caseOf(v.Run); ok {
			h.Case = ref
		}
		list = append(list, h)
	}
	slices.SortStableFunc(list, func(a, b console.Held) int { return b.Since.Compare(a.Since) })
	return list[:min(len(list), shownHeld)]
}

// caseOf finds the case that a deny entry names: as such, or before the run of a playbook.
func (n *Node) caseOf(run string) (ref string, ok bool) {
	ref, _, _ = strings.Cut(run, " ")
	_, err := n.cases.book.Case(ref)
	return ref, err == nil
}

// releaseHeld takes an entry off the deny list. The ledger has who did it and why before it happens, the incident after.
func (n *Node) releaseHeld(ctx context.Context, who querschott.Actor, id, reason string) error {
	for _, v := range n.Denied() {
		if n.cases.heldID(&v) != id {
			continue
		}
		reason = incident.Clean(reason, 400)
		v.Reason = reason
		if err := n.Admit(ctx, who, v); err != nil {
			return err
		}
		ref, ok := n.caseOf(v.Run)
		if !ok {
			return nil // it was held without a case
		}
		what := func(language string) string {
			return incident.Word(language, "held."+string(v.Dimension)) + " " + n.cases.name(v.Value)
		}
		return n.noteCase(ctx, ref, incident.Entry{
			Kind: incident.Action, By: who, Text: "released: " + what("en"), TextDE: "freigegeben: " + what("de"), Why: reason,
		})
	}
	return querschott.RefuseAs(querschott.CodeNotFound, "held.gone", "nobody is held under that name any more")
}
