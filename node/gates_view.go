package node

import (
	"context"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door/follow"
	"github.com/querschott/querschott/web/console"
)

// GatesView is how all gates are.
type GatesView struct {
	Lease     time.Duration `json:"lease_ns"`
	Book      string        `json:"book,omitempty"` // where the book is that this node follows
	Gates     []GateView    `json:"gates"`          // the node's own first
	Strangers uint64        `json:"strangers"`      // connections to the address for gates that were refused
}

// GateView is how one gate is, as far as this node knows.
type GateView struct {
	Name     string    `json:"name"`
	Missing  bool      `json:"missing"`
	Doors    int       `json:"doors"`                // in how many doors it enforces the order in force
	Of       int       `json:"of"`                   // doors there are
	Since    time.Time `json:"since,omitzero"`       // of the latest of those orders
	Deny     uint64    `json:"deny_epoch"`           // of the deny list that it has
	Lease    time.Time `json:"lease_until,omitzero"` // when it holds everything if nothing is heard
	LastSeen time.Time `json:"last_seen,omitzero"`
	Epochs   []AtGate  `json:"epochs"`
	Faults   []string  `json:"faults,omitempty"`
}

// AtGate is what a gate enforces of one door.
type AtGate struct {
	Compartment querschott.Compartment `json:"compartment"`
	Epoch       uint64                 `json:"epoch"`
	Wanted      uint64                 `json:"wanted"` // the epoch of the order in force
	Since       time.Time              `json:"since,omitzero"`
}

// Gates says how all gates are.
func (n *Node) Gates() GatesView {
	v := GatesView{Lease: time.Duration(n.cfg.Doors.Lease), Gates: []GateView{n.ownGate()}}
	if n.follower != nil {
		v.Book, v.Gates[0].Lease = n.cfg.Doors.Follow.Address, n.follower.Contact()
	}
	if n.gates == nil {
		return v
	}
	v.Strangers = n.gates.strangers.Load()
	for _, s := range n.gates.publisher.Status() {
		v.Gates = append(v.Gates, n.gateView(s))
	}
	return v
}

func (n *Node) ownGate() GateView {
	g := GateView{Name: ownGate, Deny: n.denied.Epoch(), LastSeen: n.opt.Now()}
	if n.follower != nil {
		g.Deny, _ = n.denied.Followed()
		g.Missing = !n.opt.Now().Before(n.follower.Contact())
	}
	for _, c := range n.doors.Compartments() {
		o, _ := n.doors.Current(c)
		at := AtGate{Compartment: c, Epoch: o.Epoch, Wanted: o.Epoch, Since: n.started}
		if change, ok := n.doors.Obeyed(c); ok {
			at.Since = change.Applied.Add(change.Obeyed)
		}
		g.take(at)
	}
	return g
}

// take counts a door that a gate obeys.
func (g *GateView) take(at AtGate) {
	g.Epochs = append(g.Epochs, at)
	if g.Of++; at.Epoch != at.Wanted || g.Missing {
		return
	}
	if g.Doors++; at.Since.After(g.Since) {
		g.Since = at.Since
	}
}

func (n *Node) gateView(s follow.GateStatus) GateView {
	g := GateView{Name: s.Name, Missing: s.Missing, LastSeen: s.LastContact, Deny: listAt(s, denyList).Epoch}
	if !s.LastContact.IsZero() {
		g.Lease = s.LastContact.Add(time.Duration(n.cfg.Doors.Lease))
	}
	for _, c := range n.doors.Compartments() {
		o, _ := n.doors.Current(c)
		d := doorAt(s, c)
		at := AtGate{Compartment: c, Epoch: d.Epoch, Wanted: o.Epoch, Since: d.Applied}
		switch {
		case d.Fault != "":
			g.Faults = append(g.Faults, c.String()+": "+d.Fault)
			g.Of++
			g.Epochs = append(g.Epochs, at)
		case d.Applied.IsZero():
			g.Of++
		default:
			g.take(at)
		}
	}
	if d := listAt(s, denyList); d.Fault != "" {
		g.Faults = append(g.Faults, "deny list: "+d.Fault)
	}
	return g
}

// consoleEnforced is what the page of a door shows.
func (n *Node) consoleEnforced(c querschott.Compartment) console.Enforced {
	e := n.Enforced(c)
	return console.Enforced{Gates: e.Gates, Of: e.Of, Since: e.Since, Missing: e.Missing}
}

// Gates returns how all gates are.
func (c *Client) Gates(ctx context.Context) (GatesView, error) {
	return get[GatesView](ctx, c, "/v1/gates", nil)
}

// BookKeys returns the public keys with which gates verify what the node's book says.
func (c *Client) BookKeys(ctx context.Context) (BookKeys, error) {
	return get[BookKeys](ctx, c, "/v1/gates/keys", nil)
}

// DenyEnforced says how many gates refuse whom the deny list names; it waits some seconds for those that are connected.
func (c *Client) DenyEnforced(ctx context.Context) (Enforced, error) {
	return get[Enforced](ctx, c, "/v1/gates/deny", nil)
}
