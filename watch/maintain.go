package watch

import (
	"time"

	"github.com/querschott/querschott"
)

// maintenance is D16: a supplier's identity that works while no ticket is open for it. Tickets are registered like jobs.
type maintenance struct {
	tickets map[querschott.Actor][]Ticket
}

// Ticket is a time in which a maintenance identity may work.
type Ticket struct {
	ID     string             `json:"id"`
	From   time.Time          `json:"from"`
	To     time.Time          `json:"to"`
	Actors []querschott.Actor `json:"actors"`
}

// RoleMaintenance is how events name an identity of remote maintenance; whoever a ticket names is one in any case.
const RoleMaintenance querschott.Role = "maintenance"

func newMaintenance(p *Policy) *maintenance {
	d := &maintenance{tickets: map[querschott.Actor][]Ticket{}}
	for _, t := range p.Maintenance {
		for _, a := range t.Actors {
			d.tickets[a] = append(d.tickets[a], t)
		}
	}
	return d
}

func (*maintenance) Name() string { return "D16" }

func (d *maintenance) Stats() Stats { return Stats{Keys: len(d.tickets)} }

func (d *maintenance) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *maintenance) Observe(e *Event, to []Alarm) []Alarm {
	if len(d.tickets) == 0 && e.Role != RoleMaintenance {
		return to
	}
	list, known := d.tickets[e.Actor]
	if !known && e.Role != RoleMaintenance {
		return to
	}
	for _, t := range list {
		if !e.At.Before(t.From) && e.At.Before(t.To) {
			return to
		}
	}
	return append(to, e.alarm("D16", "no-ticket", Exact, High, Number{"tickets", float64(len(list)), "registered tickets"}, Number{"requests", 1, "requests"}))
}
