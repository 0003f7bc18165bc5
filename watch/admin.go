package watch

import (
	"time"

	"github.com/querschott/querschott"
)

// admin is D12: acts of administration that nobody ordered. Whoever grants rights, exports keys, changes the early warning or
// moves a door gives a reference (a ticket, an incident, a run of a playbook) and is an operator or the platform itself.
type admin struct{}

// acts are the actions of administration with the causes of their alarms.
var acts = map[string]string{
	"grant": "grant", "role": "grant", "key": "key", "key-export": "key", "config": "config", "detector": "defence", "canary": "defence",
	"policy": "defence", "log": "defence", "door": "door", "ledger-gap": "ledger-gap",
}

func (admin) Name() string { return "D12" }

func (admin) Stats() Stats { return Stats{} }

func (admin) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (admin) Observe(e *Event, to []Alarm) []Alarm {
	if e.Action == "read" {
		return to
	}
	cause, ok := acts[e.Action]
	if !ok {
		return to
	}
	runs := e.Role == querschott.RoleOperator || e.Role == querschott.RoleMachine || e.Role == "admin"
	number := Number{"acts", 1, "acts"}
	switch {
	case e.Result == Denied:
		return append(to, e.alarm("D12", cause+"-refused", Exact, High, number))
	case e.Result != Reached:
		return to
	case cause == "ledger-gap":
		return append(to, e.alarm("D12", cause, Exact, Critical, number))
	case !runs:
		return append(to, e.alarm("D12", cause+"-by-"+kindOf(e.Role), Exact, Critical, number))
	case !e.Explained:
		return append(to, e.alarm("D12", cause+"-without-order", Exact, High, number))
	}
	return to
}

// kindOf names a role in a cause; words of other people's roles are not passed on.
func kindOf(r querschott.Role) string {
	switch r {
	case querschott.RoleStaff, querschott.RolePractice, querschott.RoleInsured, querschott.RolePartner, querschott.RoleRelay:
		return string(r)
	default:
		return "stranger"
	}
}
