package watch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// Policy is what an operator decides about the early warning. The zero value is a sensible one: the gate's own caps, no
// registered jobs, everything in shadow mode.
type Policy struct {
	Caps        map[querschott.Role]Cap `json:"caps"`        // how many different persons one actor may reach; in place of the standard of the role
	Jobs        []Job                   `json:"jobs"`        // registered mass accesses
	Maintenance []Ticket                `json:"maintenance"` // when identities of remote maintenance may work
	Off         []string                `json:"off"`         // detectors that do not run
	Live        []string                `json:"live"`        // detectors whose alarms may lead to something; "D3/canary-second" is one cause of a detector
	Budget      int                     `json:"budget"`      // statistical alarms per insurer and week; default 1
}

// DefaultPolicy is what a node goes by that was told nothing else: facts about somebody's credential, and slow theft, may lead
// to something; everything else is in shadow mode, rules too.
func DefaultPolicy() *Policy {
	return &Policy{Live: []string{"D1", "D2", "D3/canary-second", "D4/foreign-insurer", "D4/foreign-insurer-reached", "D10/unexplained-sum", "D10/unexplained-day", "D10/unexplained-far", "D14"}}
}

// Cap is how many different persons one actor may reach in a minute, a quarter of an hour and 24 hours.
type Cap struct {
	Minute  int `json:"minute"`
	Quarter int `json:"quarter_hour"`
	Day     int `json:"day"`
}

// Job is a mass access that was registered beforehand. Events name it in reason_ref.
type Job struct {
	ID      string             `json:"id"`
	From    time.Time          `json:"from"`
	To      time.Time          `json:"to"`
	Persons int                `json:"persons"`           // how many different persons it may reach
	Insurer querschott.IK      `json:"insurer,omitempty"` // whose data it may reach, "" for any
	Actors  []querschott.Actor `json:"actors,omitempty"`  // who works on it, none for anybody
}

// standardCaps are those of the gate, so that a recording is judged as the gate would have. Roles that the house does not
// know come from other people's events and are kinds of staff.
var standardCaps = map[querschott.Role]Cap{
	querschott.RoleInsured:  {Minute: 10, Quarter: 10, Day: 20},
	querschott.RoleStaff:    {Minute: 20, Quarter: 100, Day: 600},
	querschott.RolePartner:  {Minute: 3000, Quarter: 30_000, Day: 500_000},
	querschott.RolePractice: {Minute: 300, Quarter: 1500, Day: 10_000},
	querschott.RoleRelay:    {Minute: 300, Quarter: 1500, Day: 10_000},
	querschott.RoleOperator: {Minute: 300, Quarter: 1500, Day: 10_000},
	querschott.RoleMachine:  {Minute: 300, Quarter: 1500, Day: 10_000},
	querschott.RoleUnknown:  {Minute: 300, Quarter: 1500, Day: 10_000},
}

// maxPolicy bounds a policy's file.
const maxPolicy = 16 << 20

// ParsePolicy reads a policy in JSON. Unknown keys, unknown detectors and impossible values are errors.
func ParsePolicy(r io.Reader) (*Policy, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPolicy+1))
	if err != nil {
		return nil, fmt.Errorf("couldn't read the policy: %w", err)
	}
	if len(data) > maxPolicy {
		return nil, fmt.Errorf("the policy is longer than %d bytes", maxPolicy)
	}
	p := &Policy{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("the policy cannot be read: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the policy")
	}
	return p, p.check()
}

func (p *Policy) check() error {
	for role, c := range p.Caps {
		if c.Minute < 1 || c.Quarter < c.Minute || c.Day < c.Quarter {
			return fmt.Errorf("caps of %s: they must be above 0 and rise from minute to quarter_hour to day", role)
		}
	}
	seen := map[string]bool{}
	for _, j := range p.Jobs {
		switch {
		case j.ID == "" || seen[j.ID]:
			return fmt.Errorf("job %q: every job has an id of its own", j.ID)
		case j.Persons < 1 || !j.From.Before(j.To):
			return fmt.Errorf("job %q: it needs persons above 0 and a time from which to which it lasts", j.ID)
		}
		seen[j.ID] = true
	}
	for _, t := range p.Maintenance {
		if t.ID == "" || len(t.Actors) == 0 || !t.From.Before(t.To) {
			return fmt.Errorf("maintenance %q: it needs an id, actors, and a time from which to which it lasts", t.ID)
		}
	}
	for _, d := range slices.Concat(p.Off, p.Live) {
		name, _, _ := strings.Cut(d, "/")
		if _, ok := labels[name]; !ok && !strings.HasPrefix(d, "sigma/") {
			return fmt.Errorf("there is no detector %q", d)
		}
	}
	if p.Budget < 0 {
		return errors.New("the budget is not below 0")
	}
	return nil
}

// limit returns the caps of a role.
func (p *Policy) limit(r querschott.Role) Cap {
	if c, ok := p.Caps[r]; ok {
		return c
	}
	if c, ok := standardCaps[r]; ok {
		return c
	}
	return standardCaps[querschott.RoleStaff]
}
