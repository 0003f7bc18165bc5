package door

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

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
	owner     map[string]querschott.Actor // key name -> operator, or MachineActor
}

// newRoster refuses names and keys that would let one person pass for two, or for the platform.
func newRoster(operators []Operator, machine note.Verifier, glass string) (*roster, error) {
	for _, op := range operators {
		if op.Name == BreakGlassActor {
			return nil, fmt.Errorf("an operator cannot be named %q", op.Name)
		}
	}
	if glass != "" { // its key must be nobody else's either
		operators = append(slices.Clone(operators), Operator{Name: BreakGlassActor, Keys: []string{glass}})
	}
	r := &roster{owner: map[string]querschott.Actor{}}
	var all []note.Verifier
	if machine != nil {
		r.owner[machine.Name()] = MachineActor
		all = append(all, machine)
	}
	holder := map[string]querschott.Actor{} // public key -> operator
	for _, op := range operators {
		name := string(op.Name)
		if name == "" || op.Name == MachineActor || len(name) > maxActor || !plain(name) || strings.Contains(name, ",") {
			return nil, fmt.Errorf("an operator cannot be named %q", op.Name)
		}
		for _, k := range op.Keys {
			v, err := note.NewVerifier(k)
			if err != nil {
				return nil, fmt.Errorf("couldn't read a key of operator %s: %w", op.Name, err)
			}
			if other, taken := r.owner[v.Name()]; taken {
				return nil, fmt.Errorf("%s and %s share the key name %s; key names must differ", other, op.Name, v.Name())
			}
			public, err := base64.StdEncoding.DecodeString(strings.SplitN(k, "+", 3)[2]) // name+hash+key, says NewVerifier
			if err != nil {
				return nil, fmt.Errorf("couldn't read a key of operator %s: %w", op.Name, err)
			}
			if other, taken := holder[string(public)]; taken {
				return nil, fmt.Errorf("operators %s and %s share a key under two names; whoever has it would count as two", other, op.Name)
			}
			r.owner[v.Name()], holder[string(public)] = op.Name, op.Name
			all = append(all, v)
		}
	}
	r.verifiers = note.VerifierList(all...)
	return r, nil
}

// name returns whose key a signer's is, "" if it is nobody's.
func (r *roster) name(s note.Signer) querschott.Actor {
	if _, err := r.verifiers.Verifier(s.Name(), s.KeyHash()); err != nil {
		return ""
	}
	return r.owner[s.Name()]
}

// operator is name for what only operators may do.
func (r *roster) operator(s note.Signer) (querschott.Actor, error) {
	who := r.name(s)
	if who == "" || who == MachineActor || who == BreakGlassActor {
		return "", querschott.RefuseAs(querschott.CodeForbidden, "order.stranger", "the key %.64q is not an operator's", s.Name())
	}
	return who, nil
}

// signed is an order together with who has signed it.
type signed struct {
	order     Order
	step      Step  // instead of an order: a step
	shares    []int // of the order's plan
	every     time.Duration
	operators []querschott.Actor // different operators, in the order of their signatures
	raw       []byte             // the note with the signatures of known keys and no others
}

// open verifies a signed note and the order in it. The first signature must be the actor's.
func (r *roster) open(raw []byte) (*signed, error) {
	if len(raw) > maxNote {
		return nil, querschott.RefuseAs(querschott.CodeInvalid, "order.long", "a signed order has at most %d bytes", maxNote)
	}
	n, err := note.Open(raw, r.verifiers)
	if err != nil {
		return nil, &querschott.Error{
			Code: querschott.CodeForbidden, Key: "order.unsigned", Public: "the order is not signed by an operator of this node", Err: err,
		}
	}
	o, err := ParseOrder(n.Text)
	if err != nil {
		return nil, err
	}
	if raw, err = note.Sign(&note.Note{Text: n.Text, Sigs: n.Sigs}); err != nil {
		return nil, fmt.Errorf("couldn't copy the order: %w", err)
	}
	s := &signed{order: o, raw: raw}
	if s.shares, s.every, err = o.Stages.parse(); err != nil {
		return nil, err
	}
	for _, sig := range n.Sigs {
		if who := r.owner[sig.Name]; who != MachineActor && who != BreakGlassActor && !slices.Contains(s.operators, who) {
			s.operators = append(s.operators, who)
		}
	}
	first := r.owner[n.Sigs[0].Name]
	if o.Actor != first {
		return nil, querschott.RefuseAs(querschott.CodeForbidden,
			"order.actor", "the order names %s as its actor, but %s signed it first", o.Actor, first)
	}
	s.order.Approver = approvers(s.operators, o.Actor)
	return s, nil
}

// widens reports whether the move needs two operators.
func (s *signed) widens() bool { return Widens(s.order.Compartment.Service, s.order.From, s.order.To) }

// enough reports whether the signatures suffice for the move. For one that narrows, any known key does.
func (s *signed) enough() bool { return !s.widens() || len(s.operators) >= 2 }

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
