package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/incident"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/watch"
)

// Where playbooks and runs lie in the data directory.
const (
	playbookDir = "playbooks"
	runDir      = "runs"
)

const (
	containEvents = 8192 // that wait to be remembered; what does not fit is missing in previews
	heldPatience  = time.Second
	groupMost     = 500 // actors that one order about a group holds
)

// containment is what the node does about alarms.
type containment struct {
	library *contain.Library
	engine  *contain.Engine
	recent  *contain.Recent
	events  *access.Subscription
	now     func() time.Time

	rehearsing  sync.Mutex   // held by the dry run under way
	read, total atomic.Int64 // bytes of it

	mu    sync.Mutex // guards the judge
	judge *contain.Judge

	caseFor func(context.Context, *watch.Alarm) string // the case of an alarm; nil: there is no book of cases
	note    func(ctx context.Context, ref string, said, why words) error
}

func (n *Node) openContainment(context.Context) (err error) {
	trust, err := n.playbookTrust()
	if err != nil {
		return err
	}
	c := &containment{recent: contain.NewRecent(), judge: contain.NewJudge(n.cfg.Contain.judge()), now: n.opt.Now}
	if c.library, err = contain.OpenLibrary(disk.OS{}, n.path(playbookDir), trust); err != nil {
		return err
	}
	for _, what := range c.library.Damaged() {
		n.log.Error("ALARM: a playbook cannot be trusted and is left out", "err", what, "fix", "import it again")
	}
	c.engine, err = contain.OpenEngine(contain.Config{
		FS: disk.OS{}, Dir: n.path(runDir), Library: c.library, Automatic: contain.Automatic(n.cfg.Contain.Automatic),
		Patience: n.opt.patience, Now: n.opt.Now,
		Hands: contain.Hands{Do: n.doDeed, Undo: n.undoDeed, Tell: n.tellDeed},
		Ended: func(r *contain.Run) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.judge.Learn(r, n.opt.Now())
			n.forgetReleased(c.judge, r, r.Deeds...)
		},
		Alarm: func(what string, err error) {
			n.log.Error("ALARM: containment is in trouble", "what", what, "err", err, "fix", "see 'querschott contain list'")
		},
	})
	if err != nil {
		return err
	}
	runs := c.engine.Runs()
	c.judge.Remember(n.alarms.book.list(AlarmQuery{Most: alarmsHeld}), runs, n.opt.Now())
	for i := range runs {
		n.forgetReleased(c.judge, &runs[i], runs[i].Deeds...)
	}
	c.events = n.stream.Subscribe("containment", containEvents)
	if n.cases != nil {
		c.caseFor = n.caseFor
		c.note = func(ctx context.Context, ref string, said, why words) error {
			return n.noteCase(ctx, ref, incident.Entry{
				Kind: incident.Action, Happened: n.opt.Now(), Text: said.en, TextDE: said.de, Why: why.en, WhyDE: why.de,
			})
		}
	}
	n.contain = c
	n.onAlarm(n.containAlarm)
	return nil
}

// playbookTrust says whose signatures under playbooks count.
func (n *Node) playbookTrust() (contain.Trust, error) {
	t := contain.Trust{Operators: map[querschott.Actor][]contain.Key{}, Insurers: map[querschott.IK][]contain.Key{}}
	for _, op := range n.operators {
		for _, vkey := range op.Keys {
			key, err := contain.KeyOf(vkey)
			if err != nil {
				return t, fmt.Errorf("operator %s: %w", op.Name, err)
			}
			t.Operators[op.Name] = append(t.Operators[op.Name], key)
		}
	}
	for _, in := range n.insurers {
		for _, vkey := range in.Keys {
			key, err := contain.KeyOf(vkey)
			if err != nil {
				return t, fmt.Errorf("insurer %s: %w", in.IK, err)
			}
			t.Insurers[in.IK] = append(t.Insurers[in.IK], key)
		}
	}
	return t, nil
}

// run carries out and remembers until the context ends.
func (c *containment) run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return c.engine.Work(ctx) })
	g.Go(func() error {
		stop := context.AfterFunc(ctx, c.events.Close)
		defer stop()
		for e := range c.events.Events() {
			c.recent.Event(&e)
		}
		return nil
	})
	g.Go(func() error {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			c.engine.Tick(ctx)
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
	return g.Wait()
}

// containAlarm judges an alarm and begins what follows from it.
func (n *Node) containAlarm(ctx context.Context, a *watch.Alarm) {
	c := n.contain
	c.mu.Lock()
	d := c.judge.Judge(a, n.opt.Now())
	c.mu.Unlock()
	n.spare(&d)
	c.withdraw(d.Ask)
	if len(d.Actions)+len(d.Ask) == 0 {
		return
	}
	ref := ""
	if c.caseFor != nil {
		ref = c.caseFor(ctx, a)
	}
	r, err := c.engine.Start(a, d, ref)
	if r == nil {
		c.withdraw(d.Actions)
	}
	if err != nil {
		n.log.Error("ALARM: containment: what was decided may not be carried out", "detector", a.Detector, "cause", a.Cause, "err", err,
			"fix", "see 'querschott contain list'; hold the credential with 'querschott revoke add'")
	}
}

// withdraw tells the judge what is not carried out.
func (c *containment) withdraw(list []contain.Action) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.judge.Withdraw(list, c.now())
}

// spare keeps the platform from shutting out those who defend it: what is about an operator or the platform itself is asked for.
func (n *Node) spare(d *contain.Decision) {
	ours := func(a contain.Action) bool {
		if isDoors(&a) {
			return false
		}
		return a.Actor == door.MachineActor || slices.ContainsFunc(n.operators, func(o Operator) bool { return o.Name == a.Actor })
	}
	for _, a := range d.Actions {
		if ours(a) {
			d.Ask, d.Why = append(d.Ask, a), contain.BecauseOfOperator()
		}
	}
	d.Actions = slices.DeleteFunc(d.Actions, ours)
}

// doDeed puts an action in force. Done twice it changes nothing more.
func (n *Node) doDeed(ctx context.Context, r *contain.Run, d *contain.Deed) (string, error) {
	switch d.Action.Kind {
	case contain.MoveDoor:
		return n.moveDoor(ctx, r, d, d.Action.Compartment)
	case contain.ShutInsurer:
		return n.shutInsurer(ctx, r, d)
	default:
	}
	list, err := n.denials(r, d)
	if err != nil {
		return "", err
	}
	err = n.Deny(ctx, list...)
	if err != nil {
		return fmt.Sprintf("%d entries, deny list epoch %d", len(list), n.denied.Epoch()), err
	}
	wait, cancel := context.WithTimeout(ctx, heldPatience)
	defer cancel()
	return fmt.Sprintf("%d entries, deny list: %s", len(list), n.DenyEnforced(wait).Full()), nil
}

// denials are the deny entries of an action. They are the same when it is done again.
func (n *Node) denials(r *contain.Run, d *contain.Deed) ([]ident.Revocation, error) {
	var list []ident.Revocation
	deny := func(by ident.Dimension, value string) {
		if value != "" {
			list = append(list, ident.Revocation{
				Dimension: by, Value: value, Reason: "alarm " + r.Alarm.Detector + "/" + r.Alarm.Cause, From: d.At, Until: d.Until,
				Actors: append([]querschott.Actor{door.MachineActor}, d.By[:min(len(d.By), 2)]...), Run: runName(r, d),
			})
		}
	}
	switch a := d.Action; a.Kind {
	case contain.HoldCredential:
		deny(ident.ByCredential, string(a.Credential))
		deny(ident.ByActor, string(a.Actor))
	case contain.HoldSession:
		deny(ident.ByCredential, string(a.Credential))
	case contain.HoldGroup:
		for _, who := range n.contain.recent.Members(a.Group, d.At, groupMost) {
			deny(ident.ByActor, string(who))
		}
	default:
		return nil, fmt.Errorf("nobody carries out %s here", a.Kind)
	}
	if len(list) == 0 {
		return nil, errors.New("nobody is known whom it is about")
	}
	return list, nil
}

// runName names a deed in deny list and door order: the case, if there is one, and the run.
func runName(r *contain.Run, d *contain.Deed) string {
	return strings.TrimSpace(r.Case + " " + r.ID + " " + d.Key[max(0, len(d.Key)-12):])
}

// moveDoor narrows a door in the name of the platform. A door that lets out no more than the order would is left as it is.
func (n *Node) moveDoor(ctx context.Context, r *contain.Run, d *contain.Deed, c querschott.Compartment) (string, error) {
	cur, ok := n.doors.Current(c)
	switch to := d.Action.To; {
	case !ok:
		return "", fmt.Errorf("there is no compartment %s here", c)
	case cur.To == to || door.Widens(c.Service, cur.To, to) || cur.To == querschott.Closed:
		return fmt.Sprintf("the door was %s already, epoch %d", cur.To, cur.Epoch), nil
	}
	out, err := n.doors.Set(ctx, door.Request{
		Compartment: c, To: d.Action.To, Reason: "alarm " + r.Alarm.Detector + "/" + r.Alarm.Cause + ", " + doorMark(r, d), Incident: r.Case, Expires: d.Until,
	}, n.machine)
	if out.Order == nil {
		return "", errors.Join(err, errors.New("the door was not moved"))
	}
	return n.Enforced(c).Full(), err
}

// doorMark ends the reason of a door's order: by it the deed that moved the door is known again.
func doorMark(r *contain.Run, d *contain.Deed) string {
	if d.Action.Kind == contain.ShutInsurer {
		return r.ID + " (all doors of the insurer)"
	}
	return r.ID
}

// doorsOf are the compartments whose doors a deed is about.
func (n *Node) doorsOf(a *contain.Action) []querschott.Compartment {
	if a.Kind == contain.MoveDoor {
		return []querschott.Compartment{a.Compartment}
	}
	return slices.DeleteFunc(n.doors.Compartments(), func(c querschott.Compartment) bool { return c.Insurer != a.Insurer })
}

// shutInsurer moves all doors of an insurer side by side. One that does not answer keeps none of the others.
func (n *Node) shutInsurer(ctx context.Context, r *contain.Run, d *contain.Deed) (string, error) {
	all := n.doorsOf(d.Action)
	if len(all) == 0 {
		return "", fmt.Errorf("insurer %s has no door here", d.Action.Insurer)
	}
	errs := make([]error, len(all))
	var work sync.WaitGroup
	for i, c := range all {
		work.Go(func() {
			if _, err := n.moveDoor(ctx, r, d, c); err != nil {
				errs[i] = fmt.Errorf("%s: %w", c, err)
			}
		})
	}
	work.Wait()
	served := 0
	for _, c := range all {
		if cur, _ := n.doors.Current(c); cur.To == d.Action.To || cur.To == querschott.Closed {
			served++
		}
	}
	return fmt.Sprintf("%d of %d doors of insurer %s are %s or closed", served, len(all), d.Action.Insurer, d.Action.To), errors.Join(errs...)
}

// letIn tells judge and early warning who is off the deny list, so that who breaks a rule again is held again.
func (n *Node) letIn(list []ident.Revocation) {
	for _, v := range list {
		var actor querschott.Actor
		var credential querschott.CredentialID
		switch v.Dimension {
		case ident.ByActor:
			actor = querschott.Actor(v.Value)
		case ident.ByCredential:
			credential = querschott.CredentialID(v.Value)
		default:
			continue // the judge holds by nothing else
		}
		n.forgive(actor, credential)
	}
}

// forgive makes judge and early warning look at an actor or a credential as at one that was never held.
func (n *Node) forgive(actor querschott.Actor, credential querschott.CredentialID) {
	n.contain.mu.Lock()
	n.contain.judge.Released(actor, credential)
	n.contain.mu.Unlock()
	n.alarms.watch.Released(actor, credential)
}

// forgetReleased keeps the judge from believing that somebody is held whom an operator has let in meanwhile, beside the run. The
// caller holds the judge.
func (n *Node) forgetReleased(j *contain.Judge, r *contain.Run, deeds ...*contain.Deed) {
	list := n.denied.List()
	for _, d := range deeds {
		if d.State != contain.Done || d.Action == nil || isDoors(d.Action) {
			continue
		}
		name := runName(r, d)
		if !slices.ContainsFunc(list, func(v ident.Revocation) bool { return v.Run == name }) {
			j.Released(d.Action.Actor, d.Action.Credential)
		}
	}
}

// undoDeed takes an action back. A door is not opened by it: the platform proposes that, and two operators decide.
func (n *Node) undoDeed(ctx context.Context, r *contain.Run, d *contain.Deed, by querschott.Actor) (string, error) {
	if isDoors(d.Action) {
		return n.proposeOpenings(ctx, r, d)
	}
	name := runName(r, d)
	var list []ident.Revocation
	for _, v := range n.denied.List() {
		if v.Run == name {
			list = append(list, v)
		}
	}
	if len(list) == 0 { // its time was over, or somebody was quicker
		n.forgive(d.Action.Actor, d.Action.Credential)
		return "the deny list has no entry of it any more", nil
	}
	if by == "" {
		by = door.MachineActor
	}
	if err := n.Admit(ctx, by, list...); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d entries are off the deny list, epoch %d", len(list), n.denied.Epoch()), nil
}

// isDoors reports whether an action is about doors, not about who asks.
func isDoors(a *contain.Action) bool {
	return a.Kind == contain.MoveDoor || a.Kind == contain.ShutInsurer
}

// proposeOpenings proposes to open every door that a deed has moved.
func (n *Node) proposeOpenings(ctx context.Context, r *contain.Run, d *contain.Deed) (string, error) {
	if d.Action.Kind == contain.MoveDoor {
		return n.proposeOpening(ctx, r, d, d.Action.Compartment)
	}
	var list []string
	var errs error
	for _, c := range n.doorsOf(d.Action) {
		text, err := n.proposeOpening(ctx, r, d, c)
		list, errs = append(list, c.String()+": "+text), errors.Join(errs, err)
	}
	return strings.Join(list, "; "), errs
}

func (n *Node) proposeOpening(ctx context.Context, r *contain.Run, d *contain.Deed, c querschott.Compartment) (string, error) {
	cur, _ := n.doors.Current(c)
	if cur.Actor != door.MachineActor || !strings.HasSuffix(cur.Reason, doorMark(r, d)) {
		return fmt.Sprintf("somebody has moved the door since: it is %s, epoch %d", cur.To, cur.Epoch), nil
	}
	if slices.ContainsFunc(n.doors.Proposals(), func(p door.Proposal) bool { return p.Compartment == c }) {
		return "opening the door is proposed already: 'querschott door pending'", nil
	}
	out, err := n.doors.Set(ctx, door.Request{Compartment: c, To: cur.Inverse, Reason: "containment is over: " + r.ID, Incident: r.Case}, n.machine)
	switch {
	case out.Proposal != nil:
		return fmt.Sprintf("it is proposed to two operators to set the door %s: %s", cur.Inverse, out.Proposal.ID), err
	case out.Order != nil:
		return fmt.Sprintf("the door is %s, epoch %d", out.Order.To, out.Order.Epoch), err
	}
	return "", err
}

var deedOutcomes = map[contain.State]ledger.Outcome{
	contain.Begun: ledger.OutcomeUnknown, contain.Done: ledger.OutcomeSuccess, contain.Failed: ledger.OutcomeFailed, contain.Asked: ledger.OutcomeDeferred,
	contain.Refused: ledger.OutcomeDenied, contain.Lapsed: ledger.OutcomeDenied, contain.Seen: ledger.OutcomeSuccess,
	contain.Released: ledger.OutcomeSuccess, contain.Over: ledger.OutcomeSuccess,
}

// tellDeed records what has become of a deed: who, why, by which playbook.
func (n *Node) tellDeed(ctx context.Context, r *contain.Run, d *contain.Deed) error {
	n.contain.mu.Lock()
	n.contain.judge.Settled(d, n.opt.Now())
	n.forgetReleased(n.contain.judge, r, d)
	n.contain.mu.Unlock()
	who, role := door.MachineActor, querschott.RoleMachine
	if len(d.By) > 0 {
		who, role = d.By[len(d.By)-1], querschott.RoleOperator
	}
	e := ledger.Entry{
		Kind: ledger.KindPlaybookStep, At: n.opt.Now(), Action: ledger.ActionExecute, Data: ledger.DataAccount, Outcome: deedOutcomes[d.State],
		Reason: ledger.ReasonPlaybook, Role: role, Purpose: ledger.PurposeSecurity, Actor: who,
	}
	what := d.Manual
	if a := d.Action; a != nil {
		e.Compartment, what = a.Compartment, actionText(a)
		if isDoors(a) {
			e.Data = ledger.DataDoorOrder
		}
		if a.Insurer != "" { // into the log of the insurer
			e.Compartment.Insurer = a.Insurer
		}
	}
	why := r.Decision.Why
	if d.Why != (contain.Reason{}) {
		why = d.Why
	}
	e.Detail = []ledger.Field{
		{Name: "run", Value: r.ID},
		{Name: "step", Value: d.Key},
		{Name: "state", Value: string(d.State)},
		{Name: "what", Value: what},
		{Name: "why", Value: why.String()},
		{Name: "alarm", Value: r.Alarm.Detector + "/" + r.Alarm.Cause},
		{Name: "signals", Value: strings.Join(r.Decision.Signals, " ")},
		{Name: "playbook", Value: r.Playbook},
		{Name: "playbook-sha256", Value: r.Digest},
		{Name: "effect", Value: d.Effect},
		{Name: "incident", Value: r.Case},
	}
	n.log.Info("containment", "run", r.ID, "state", string(d.State), "alarm", r.Alarm.Detector+"/"+r.Alarm.Cause, "effect", d.Effect)
	err := n.append(ctx, e)
	if r.Case != "" && d.State == contain.Done && holdsCredential(d) {
		n.reach.ask(r.Case)
	}
	if n.contain.note != nil && r.Case != "" {
		said := words{en: sentences(string(d.State)+": "+what, d.Effect), de: sentences(germanStates[d.State]+": "+germanAction(d), n.germanEffect(r, d))}
		err = errors.Join(err, n.contain.note(ctx, r.Case, said, words{en: why.String(), de: why.In("de")}))
	}
	return err
}

// deniedBy says in which capacity the deny list was changed.
func deniedBy(who querschott.Actor) (querschott.Role, ledger.ReasonKind) {
	if who == door.MachineActor {
		return querschott.RoleMachine, ledger.ReasonPlaybook
	}
	return querschott.RoleOperator, ledger.ReasonOperator
}
