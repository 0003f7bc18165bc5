package contain

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// Playbook is an agreed reaction: a file in the form of CACAO Security Playbooks 2.0 (OASIS Committee Specification 01), of
// which exactly the steps start, end, action, if-condition, switch-condition, parallel and playbook-action are executed, with the
// commands openc2-http (actuator profile x-querschott-door) and manual.
type Playbook struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedBy string    `json:"created_by"`
	Created   time.Time `json:"created"`
	Modified  time.Time `json:"modified"`
	From      time.Time `json:"valid_from,omitzero"`
	Until     time.Time `json:"valid_until,omitzero"`
	Revoked   bool      `json:"revoked,omitempty"`
	Triggers  []string  `json:"triggers"` // "D1", "D1/cap-minute" or "*"
	Digest    string    `json:"digest"`   // SHA-256 of its canonical form without signatures, hex

	start      string
	steps      map[string]*step
	constants  map[string]string // variables with a value
	signatures []signature
	raw        []byte
	top        map[string]any // the file as it was read; never changed
}

type step struct {
	id, kind, name               string
	completion, success, failure string // steps that follow
	condition                    []comparison
	onTrue, onFalse              string
	variable                     string // of a switch
	cases                        map[string]string
	branches                     []string
	playbook                     string
	commands                     []command
	ttl, deadline                time.Duration
}

// next is what follows when a step has succeeded.
func (s *step) next() string {
	if s.completion != "" {
		return s.completion
	}
	return s.success
}

// command is one order of a step.
type command struct {
	manual string // what a person shall do; "" for an order
	order  order
}

// order is an OpenC2 command of our actuator profile. Words may hold variables.
type order struct {
	kind                     ActionKind
	credential, actor, group string
	insurer, service         string
	to                       querschott.DoorState
}

// Fault is one reason why a playbook cannot be executed as it stands.
type Fault struct {
	Step   string `json:"step,omitempty"` // "" if it is about the whole
	Reason string `json:"reason"`
}

// Faults are all of them. A playbook with one is not imported.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, e := range f {
		lines[i] = e.Reason
		if e.Step != "" {
			lines[i] = e.Step + ": " + e.Reason
		}
	}
	return "the playbook cannot be executed: " + strings.Join(lines, "; ")
}

const maxFaults = 50

// ParsePlaybook reads a playbook and refuses what this program cannot execute exactly as it stands there. The error is of type
// [Faults]. Signatures are looked at by [Trust.Check].
func ParsePlaybook(data []byte) (*Playbook, error) {
	v, err := decodeJSON(data)
	if err != nil {
		return nil, Faults{{"", err.Error()}}
	}
	top, ok := v.(map[string]any)
	if !ok {
		return nil, Faults{{"", "it is no JSON object"}}
	}
	r := &reader{p: &Playbook{steps: map[string]*step{}, constants: map[string]string{}, raw: slices.Clone(data), top: top}}
	r.external, r.agents = map[string]bool{}, map[string]string{}
	r.top(top)
	if len(r.faults) == 0 {
		r.graph()
	}
	if len(r.faults) > 0 {
		return nil, r.faults
	}
	if r.p.Digest, err = digest(top); err != nil {
		return nil, Faults{{"", err.Error()}}
	}
	return r.p, nil
}

// digest is over everything but the signatures.
func digest(top map[string]any) (string, error) {
	rest := make(map[string]any, len(top))
	for k, v := range top {
		if k != "signatures" {
			rest[k] = v
		}
	}
	b, err := appendCanonical(nil, rest)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), err
}

// Raw returns the file.
func (p *Playbook) Raw() []byte { return slices.Clone(p.raw) }

// Doors returns which insurers' doors the playbook moves: IKs, or "*" for that of the alarm.
func (p *Playbook) Doors() []string {
	seen := map[string]bool{}
	for _, s := range p.steps {
		for _, c := range s.commands {
			switch {
			case c.manual != "" || !c.order.kind.moves():
			case strings.HasPrefix(c.order.insurer, "__"):
				seen["*"] = true
			default:
				seen[c.order.insurer] = true
			}
		}
	}
	list := make([]string, 0, len(seen))
	for ik := range seen {
		list = append(list, ik)
	}
	slices.Sort(list)
	return list
}

// Calls returns the playbooks that this one runs.
func (p *Playbook) Calls() []string {
	var list []string
	for _, s := range p.steps {
		if s.playbook != "" && !slices.Contains(list, s.playbook) {
			list = append(list, s.playbook)
		}
	}
	slices.Sort(list)
	return list
}

// fits says how exactly a playbook is meant for an alarm: 0 not at all, 1 for every alarm, 2 for the detector, 3 for the cause.
func (p *Playbook) fits(detector, cause string) int {
	best := 0
	for _, t := range p.Triggers {
		switch t {
		case "*":
			best = max(best, 1)
		case detector:
			best = max(best, 2)
		case detector + "/" + cause:
			best = max(best, 3)
		}
	}
	return best
}

// inForce reports whether a playbook may be run at a time.
func (p *Playbook) inForce(now time.Time) bool {
	return !p.Revoked && !now.Before(p.From) && (p.Until.IsZero() || now.Before(p.Until))
}

// comparison is one term of a condition: a variable and what it shall be, or shall not be.
type comparison struct {
	variable, value string
	not             bool
}

// parseCondition reads terms joined by AND: __name__:value = 'text' or __name__:value != 'text'. It is the part of STIX
// patterning that compares a variable with a word.
func parseCondition(s string) ([]comparison, error) {
	if len(s) > 500 {
		return nil, errors.New("the condition is longer than 500 bytes")
	}
	var all []comparison
	for term := range strings.SplitSeq(s, " AND ") {
		var c comparison
		name, value, ok := strings.Cut(term, " != ")
		c.not = ok
		if !ok {
			if name, value, ok = strings.Cut(term, " = "); !ok {
				return nil, fmt.Errorf("the condition %.60q is not of the form __name__:value = 'text'", s)
			}
		}
		c.variable, ok = variableOf(strings.TrimSpace(name))
		value = strings.TrimSpace(value)
		if !ok || len(value) < 2 || value[0] != '\'' || value[len(value)-1] != '\'' || strings.Contains(value[1:len(value)-1], "'") {
			return nil, fmt.Errorf("the condition %.60q is not of the form __name__:value = 'text'", s)
		}
		c.value = value[1 : len(value)-1]
		all = append(all, c)
	}
	return all, nil
}

// variableOf reads "__name__:value".
func variableOf(s string) (string, bool) {
	name, ok := strings.CutSuffix(s, ":value")
	return name, ok && variableName.MatchString(name)
}
