package door

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
)

// Operator is somebody who may order doors to move.
type Operator struct {
	Name querschott.Actor
	Keys []string // C2SP vkeys; a person may have several: on a card, and the one the console signs with
}

// roster knows which key belongs to whom.
type roster struct {
	verifiers note.Verifiers
	owner     map[string]querschott.Actor // key name -> operator
	machine   string                      // key name of the platform itself; it may only narrow
}

func newRoster(operators []Operator, machine note.Verifier) (*roster, error) {
	r := &roster{owner: map[string]querschott.Actor{}}
	var all []note.Verifier
	for _, op := range operators {
		for _, k := range op.Keys {
			v, err := note.NewVerifier(k)
			if err != nil {
				return nil, fmt.Errorf("couldn't read a key of operator %s: %w", op.Name, err)
			}
			if other, taken := r.owner[v.Name()]; taken {
				return nil, fmt.Errorf("operators %s and %s share the key name %s; key names must differ", other, op.Name, v.Name())
			}
			r.owner[v.Name()] = op.Name
			all = append(all, v)
		}
	}
	if machine != nil {
		if _, taken := r.owner[machine.Name()]; taken {
			return nil, fmt.Errorf("the platform's own key name %s is also an operator's", machine.Name())
		}
		r.machine = machine.Name()
		all = append(all, machine)
	}
	r.verifiers = note.VerifierList(all...)
	return r, nil
}

// signed is an order together with who has signed it.
type signed struct {
	order     Order
	operators []querschott.Actor // different operators, in the order of their signatures
	machine   bool
	raw       []byte
}

// open verifies a signed note and the order in it. The first signature must be the actor's.
func (r *roster) open(raw []byte) (*signed, error) {
	if len(raw) > maxNote {
		return nil, querschott.Refuse(querschott.CodeInvalid, "a signed order has at most %d bytes", maxNote)
	}
	n, err := note.Open(raw, r.verifiers)
	if err != nil {
		return nil, &querschott.Error{Code: querschott.CodeForbidden, Public: "the order is not signed by an operator of this node", Err: err}
	}
	o, err := ParseOrder(n.Text)
	if err != nil {
		return nil, err
	}
	s := &signed{order: o, raw: raw}
	first := querschott.Actor("")
	for i, sig := range n.Sigs {
		who, isOperator := r.owner[sig.Name]
		if !isOperator {
			s.machine, who = true, MachineActor
		} else if !slices.Contains(s.operators, who) {
			s.operators = append(s.operators, who)
		}
		if i == 0 {
			first = who
		}
	}
	if o.Actor != first {
		return nil, querschott.Refuse(querschott.CodeForbidden, "the order names %s as its actor, but %s signed it first", o.Actor, first)
	}
	s.order.Approver = approvers(s.operators, o.Actor)
	return s, nil
}

// enough reports whether the signatures suffice for the move.
func (s *signed) enough() bool {
	if Widens(s.order.Compartment.Service, s.order.From, s.order.To) {
		return len(s.operators) >= 2
	}
	return len(s.operators) >= 1 || s.machine
}

// approvers names the operators who signed after the actor.
func approvers(operators []querschott.Actor, actor querschott.Actor) querschott.Actor {
	var names []string
	for _, who := range operators {
		if who != actor {
			names = append(names, string(who))
		}
	}
	return querschott.Actor(strings.Join(names, ", "))
}
