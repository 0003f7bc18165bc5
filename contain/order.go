package contain

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/querschott/querschott"
)

// What OpenC2 1.0 calls the moves of a door. Opening (restore, allow) is no order of a playbook.
var doorVerbs = map[string]querschott.DoorState{
	"deny": querschott.Closed, "redirect": querschott.Hold, "contain": querschott.ReadOnly,
}

// parseOrder reads an OpenC2 command for our actuator profile:
//
//	{"action":"deny","target":{"x-querschott-door:credential":{"credential":"__credential__:value","actor":"__actor__:value"}}}
//	{"action":"redirect","target":{"x-querschott-door:door":{"tenant":"__insurer__:value","service":"desk"}}}
//
// Targets are credential, session, group (deny), door and insurer (deny: closed, redirect: hold, contain: read-only).
func parseOrder(content []byte) (o order, err error) {
	v, err := decodeJSON(content)
	if err != nil {
		return o, err
	}
	top, _ := v.(map[string]any)
	if err := onlyKeys(top, "action", "target", "actuator"); err != nil {
		return o, err
	}
	action, _ := top["action"].(string)
	targets, _ := top["target"].(map[string]any)
	if len(targets) != 1 {
		return o, errors.New("an OpenC2 command has exactly one target")
	}
	if a, there := top["actuator"]; there {
		m, _ := a.(map[string]any)
		if err := onlyKeys(m, Actuator); err != nil || len(m) != 1 {
			return o, fmt.Errorf("the actuator is not %s", Actuator)
		}
	}
	for name, target := range targets {
		kind, ours := strings.CutPrefix(name, Actuator+":")
		words, ok := target.(map[string]any)
		if !ours || !ok {
			return o, fmt.Errorf("the target %.60q is none of %s", name, Actuator)
		}
		o, err = orderOf(action, kind, words)
	}
	return o, err
}

// orderOf makes an order of verb, kind of target and the target's words.
func orderOf(action, kind string, words map[string]any) (o order, err error) {
	word := func(name string) string {
		s, _ := words[name].(string)
		if s == "" || len(s) > 200 {
			err = errors.Join(err, fmt.Errorf("the target's %s is missing or too long", name))
		}
		return s
	}
	switch kind {
	case "credential", "session":
		o.kind = map[string]ActionKind{"credential": HoldCredential, "session": HoldSession}[kind]
		o.credential, o.actor = word("credential"), word("actor")
		err = errors.Join(err, onlyKeys(words, "credential", "actor"))
	case "group":
		o.kind, o.group = HoldGroup, word("group")
		err = errors.Join(err, onlyKeys(words, "group"))
	case "door":
		o.kind, o.insurer, o.service = MoveDoor, word("tenant"), word("service")
		err = errors.Join(err, onlyKeys(words, "tenant", "service"), plainCompartment(o))
		return o, errors.Join(err, o.moves(action))
	case "insurer":
		o.kind, o.insurer = ShutInsurer, word("tenant")
		err = errors.Join(err, onlyKeys(words, "tenant"), plainInsurer(o.insurer))
		return o, errors.Join(err, o.moves(action))
	default:
		return o, fmt.Errorf("there is no target %.40q", kind)
	}
	if action != "deny" {
		err = errors.Join(err, fmt.Errorf("the action %.40q does nothing to a %s here", action, kind))
	}
	return o, err
}

// moves takes the state to which doors are moved from the verb.
func (o *order) moves(verb string) error {
	to, ok := doorVerbs[verb]
	if o.to = to; !ok {
		return fmt.Errorf("the action %.40q moves no door here", verb)
	}
	return nil
}

// plainInsurer refuses what is neither a variable nor an insurer's IK.
func plainInsurer(word string) error {
	if _, variable := variableOf(word); variable {
		return nil
	}
	_, err := querschott.ParseIK(word)
	return err
}

// plainCompartment refuses names that are neither variables nor those of an insurer and a service.
func plainCompartment(o order) error {
	if err := plainInsurer(o.insurer); err != nil {
		return err
	}
	if _, variable := variableOf(o.service); !variable {
		if _, err := querschott.ParseService(o.service); err != nil {
			return err
		}
	}
	return nil
}

func onlyKeys(object map[string]any, known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%.60q is not executed here", name)
		}
	}
	return nil
}

// inverse is the OpenC2 action that undoes an order.
func (o order) inverse() string {
	if o.kind.moves() {
		return "restore"
	}
	return "allow"
}

// errNobody says that an order cannot be carried out because the alarm says nothing of whom it would be about.
var errNobody = errors.New("the alarm names nobody whom the order could be about")

// action puts the values of variables into an order.
func (o order) action(values map[string]string) (Action, error) {
	value := func(word string) string {
		if name, ok := variableOf(word); ok {
			return values[name]
		}
		return word
	}
	a := Action{
		Kind: o.kind, Credential: querschott.CredentialID(value(o.credential)), Actor: querschott.Actor(value(o.actor)), Group: value(o.group), To: o.to,
	}
	switch o.kind {
	case MoveDoor:
	case ShutInsurer:
		ik, err := querschott.ParseIK(value(o.insurer))
		a.Insurer = ik
		return a, err
	default:
		if a.Credential == "" && a.Actor == "" && a.Group == "" {
			return a, errNobody
		}
		return a, nil
	}
	c, err := querschott.ParseCompartment(value(o.insurer) + "/" + value(o.service))
	a.Compartment = c
	return a, err
}
