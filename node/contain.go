package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/watch"
)

// Containment is what was done about an alarm.
type Containment struct {
	Alarm    watch.Alarm      `json:"alarm"`
	Incident string           `json:"incident,omitempty"`
	Decision contain.Decision `json:"decision"`
	Decided  time.Time        `json:"decided"`
	Enforced time.Time        `json:"enforced,omitzero"` // when everything that was decided was in force
	Failed   []string         `json:"failed,omitempty"`
}

// containment acts on alarms.
type containment struct {
	judge *contain.Judge // the hub's goroutine owns it

	mu   sync.Mutex // guards the field below
	done []Containment
}

const maxContainments = 1000 // that are remembered; the ledger has all

func (n *Node) openContainment(context.Context) error {
	n.acts = &containment{judge: contain.NewJudge(contain.JudgeConfig{})}
	n.onAlarm(n.contain)
	return nil
}

// contain does what the judge decides about an alarm.
func (n *Node) contain(ctx context.Context, a *watch.Alarm) {
	now := n.opt.Now().UTC()
	d := n.acts.judge.Judge(a, now)
	if len(d.Actions)+len(d.Ask) == 0 {
		return
	}
	c := Containment{Alarm: *a, Incident: n.caseFor(ctx, a), Decision: d, Decided: now}
	for _, act := range d.Actions {
		if err := n.act(ctx, act, c.Incident); err != nil {
			c.Failed = append(c.Failed, err.Error())
			n.log.Error("ALARM: what was decided about an alarm could not be done", "action", string(act.Kind), "detector", a.Detector, "err", err,
				"fix", "shut the door or revoke the credential by hand")
		}
	}
	if len(d.Actions) > 0 && len(c.Failed) == 0 {
		c.Enforced = n.opt.Now().UTC()
	}
	n.acts.mu.Lock()
	defer n.acts.mu.Unlock()
	if n.acts.done = append(n.acts.done, c); len(n.acts.done) > maxContainments {
		n.acts.done = n.acts.done[1:]
	}
	n.log.Warn("ALARM: contained", "detector", a.Detector, "cause", a.Cause, "insurer", string(a.Insurer), "why", d.Why,
		"done", len(d.Actions), "asked", len(d.Ask))
}

// act does one thing. It is in force when act returns, whatever the error says.
func (n *Node) act(ctx context.Context, a contain.Action, incident string) error {
	until := n.opt.Now().Add(a.TTL)
	switch a.Kind {
	case contain.HoldCredential, contain.HoldSession:
		entry := ident.Revocation{
			Dimension: ident.ByCredential, Value: string(a.Credential), Reason: a.Reason, Until: until,
			Actors: []querschott.Actor{door.MachineActor}, Run: incident,
		}
		list := []ident.Revocation{entry}
		if a.Actor != "" && a.Kind == contain.HoldCredential { // whatever else it presents
			entry.Dimension, entry.Value = ident.ByActor, string(a.Actor)
			list = append(list, entry)
		}
		return n.Deny(ctx, list...)
	case contain.MoveDoor:
		_, err := n.doors.Set(ctx, door.Request{Compartment: a.Compartment, To: a.To, Reason: a.Reason, Incident: incident, Expires: until}, n.machine)
		return err
	default:
		return fmt.Errorf("%s is never done without two persons", a.Kind)
	}
}

// Contained returns what was done about alarms, oldest first, at most the last thousand.
func (n *Node) Contained() []Containment {
	n.acts.mu.Lock()
	defer n.acts.mu.Unlock()
	return append([]Containment(nil), n.acts.done...)
}

// deniedBy says in which capacity the deny list was changed.
func deniedBy(who querschott.Actor) (querschott.Role, ledger.ReasonKind) {
	if who == door.MachineActor {
		return querschott.RoleMachine, ledger.ReasonPlaybook
	}
	return querschott.RoleOperator, ledger.ReasonOperator
}
