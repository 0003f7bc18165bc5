package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/incident"
	"github.com/querschott/querschott/scope"
)

const (
	reachSettles = 2 * time.Second // answers that were under way when a credential was held have their entries by then
	reachBefore  = 24 * time.Hour  // so long before the first event of its alarm a held credential is looked at
	reachMost    = 100             // credentials of one case that are asked for together
)

// reach puts into every case whose data its held credentials reached. It asks the ledger's index some seconds after a
// credential is held, once for all that were held meanwhile.
type reach struct {
	wake chan struct{}

	mu      sync.Mutex // guards waiting
	waiting map[string]bool
}

func newReach() *reach { return &reach{wake: make(chan struct{}, 1), waiting: map[string]bool{}} }

// ask has the reach of a case looked up soon.
func (r *reach) ask(ref string) {
	r.mu.Lock()
	r.waiting[ref] = true
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // somebody is awake already
	}
}

func (r *reach) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for ref := range r.waiting {
		list = append(list, ref)
	}
	clear(r.waiting)
	slices.Sort(list)
	return list
}

// findReach looks up what is asked for until the context ends. Cases whose credentials were held by a process that ended
// before it could ask are asked for first.
func (n *Node) findReach(ctx context.Context) error {
	for ref := range n.heldIn("") {
		if c, err := n.cases.book.Case(ref); err == nil && c.Status != incident.Closed && len(reachOf(c)) == 0 {
			n.reach.ask(ref)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.reach.wake:
		}
		if !waited(ctx, reachSettles) {
			return nil
		}
		for _, ref := range n.reach.take() {
			if err := n.noteReach(ctx, ref); err != nil && ctx.Err() == nil {
				n.log.Error("ALARM: it could not be found out whose data were reached", "incident", ref, "err", err,
					"fix", "ask with 'querschott incident evidence "+ref+" --credential ...'")
			}
		}
	}
}

func waited(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// caught are the credentials that were held in one case.
type caught struct {
	credentials []querschott.CredentialID
	from        time.Time
}

// heldIn returns which credentials were held in a case, or in every one.
func (n *Node) heldIn(ref string) map[string]caught {
	list := map[string]caught{}
	for _, r := range n.contain.engine.Runs() {
		if r.Case == "" || ref != "" && r.Case != ref {
			continue
		}
		c := list[r.Case]
		for _, d := range r.Deeds {
			if holdsCredential(d) && !slices.Contains(c.credentials, d.Action.Credential) && len(c.credentials) < reachMost {
				c.credentials = append(c.credentials, d.Action.Credential)
				if from := r.Alarm.Events.First.Add(-reachBefore); c.from.IsZero() || from.Before(c.from) {
					c.from = from
				}
				list[r.Case] = c
			}
		}
	}
	return list
}

// holdsCredential reports whether a deed held a credential, even if it is over.
func holdsCredential(d *contain.Deed) bool {
	held := []contain.State{contain.Done, contain.Released, contain.Over}
	return d.Action != nil && d.Action.Credential != "" && slices.Contains(held, d.State) &&
		(d.Action.Kind == contain.HoldCredential || d.Action.Kind == contain.HoldSession)
}

// noteReach asks the ledger's index, and makes its answer the case's evidence.
func (n *Node) noteReach(ctx context.Context, ref string) error {
	h, ok := n.heldIn(ref)[ref]
	if !ok {
		return nil
	}
	q := scope.Question{Credentials: h.credentials, From: h.from, To: n.opt.Now().Truncate(time.Second).Add(time.Second)}
	a, err := n.Scope(ctx, q)
	if err != nil {
		return err
	}
	found := incident.FromScope(a, false)
	nobody := func(e incident.Evidence) bool { return e.Bounds == nil || e.Bounds.Upper == 0 }
	if slices.ContainsFunc(found, func(e incident.Evidence) bool { return !nobody(e) }) {
		found = slices.DeleteFunc(found, nobody)
	} else {
		found = []incident.Evidence{{Grade: scope.GradeNoSign, Source: incident.HeldSource(len(h.credentials)), From: q.From, To: q.To, Coverage: a.Coverage, Bounds: &scope.Bounds{}}}
	}
	for i := range found {
		found[i].Source = incident.HeldSource(len(h.credentials))
		if err := n.putReach(ctx, ref, &found[i]); err != nil {
			return err
		}
	}
	return nil
}

// reachOf returns what stands in a case about the reach of its held credentials.
func reachOf(c *incident.Case) []incident.Entry {
	return slices.DeleteFunc(c.Standing(incident.Finding), func(e incident.Entry) bool {
		return e.By != door.MachineActor || !e.Evidence.OfHeld()
	})
}

// putReach adds evidence, or puts it in the place of what was found before about the same insurer.
func (n *Node) putReach(ctx context.Context, ref string, found *incident.Evidence) error {
	c, err := n.cases.book.Case(ref)
	if err != nil {
		return err
	}
	e := incident.Entry{
		Kind: incident.Finding, By: door.MachineActor, Evidence: found,
		Text: "reach of the held credentials", TextDE: "Reichweite der gesperrten Ausweise",
	}
	for _, old := range reachOf(c) {
		if old.Evidence.Insurer != found.Insurer && old.Evidence.Insurer != "" {
			continue
		}
		if old.Evidence.Grade == found.Grade && old.Evidence.Source == found.Source && *old.Evidence.Bounds == *found.Bounds {
			return nil
		}
		e.Kind, e.As, e.Supersedes, e.Why, e.WhyDE = incident.Correction, incident.Finding, old.N, "asked again", "erneut gefragt"
	}
	_, err = n.cases.book.Append(ctx, ref, c.Version, e)
	if querschott.CodeOf(err) == querschott.CodeConflict { // somebody wrote meanwhile
		n.reach.ask(ref)
		return nil
	}
	return err
}
