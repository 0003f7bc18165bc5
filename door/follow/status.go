package follow

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/querschott/querschott"
)

// GateStatus is what is known of one gate.
type GateStatus struct {
	Name         string        `json:"name"`
	Connected    bool          `json:"connected"`
	Missing      bool          `json:"missing"` // not connected, or nothing was heard of it for a lease
	Acknowledged uint64        `json:"acknowledged"`
	Lag          int           `json:"lag"` // frames without an answer
	LastContact  time.Time     `json:"last_contact,omitzero"`
	Doors        []DoorStatus  `json:"doors,omitempty"`
	Lists        []ListVersion `json:"lists,omitempty"`
}

// DoorStatus is what a gate last said about a door.
type DoorStatus struct {
	Compartment querschott.Compartment `json:"compartment"`
	Epoch       uint64                 `json:"epoch"`
	Applied     time.Time              `json:"applied_at,omitzero"` // by the gate's clock
	Fault       string                 `json:"fault,omitempty"`     // why it has not obeyed
}

// ListVersion is what a gate last said about a list.
type ListVersion struct {
	Name    string    `json:"name"`
	Epoch   uint64    `json:"epoch"`
	Applied time.Time `json:"applied_at,omitzero"` // by the gate's clock
	Fault   string    `json:"fault,omitempty"`     // why it has kept an earlier edition
}

// Status says of each gate, in order of names, what it has.
func (p *Publisher) Status() []GateStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]GateStatus, 0, len(p.gates))
	for name, g := range p.gates {
		s := GateStatus{Name: name, Connected: g.link != nil, Missing: g.link == nil || p.silent(g), LastContact: p.seen(g)}
		if g.last != nil {
			g.last.report(&s)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b GateStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func (l *link) report(s *GateStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Acknowledged, s.Lag = l.acked, len(l.sent)
	for c, a := range l.doing {
		s.Doors = append(s.Doors, DoorStatus{c, a.epoch, a.applied, a.fault})
	}
	slices.SortFunc(s.Doors, func(a, b DoorStatus) int { return a.Compartment.Compare(b.Compartment) })
	for name, a := range l.known {
		s.Lists = append(s.Lists, ListVersion{name, a.epoch, a.applied, a.fault})
	}
	slices.SortFunc(s.Lists, func(a, b ListVersion) int { return cmp.Compare(a.Name, b.Name) })
}

// Enforced says how many gates enforce an epoch of a door, and since when all of those do.
func (p *Publisher) Enforced(c querschott.Compartment, epoch uint64) string {
	n, since, all := 0, time.Time{}, p.Status()
	for _, g := range all {
		for _, d := range g.Doors {
			if d.Compartment == c && d.Epoch == epoch && d.Fault == "" && !g.Missing {
				n++
				if d.Applied.After(since) {
					since = d.Applied
				}
			}
		}
	}
	text := fmt.Sprintf("%d of %d gates enforce epoch %d of %s", n, len(all), epoch, c)
	if n > 0 {
		text += " since " + since.UTC().Format(time.RFC3339Nano)
	}
	return text
}
