package node

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

// Order moves a door with the signatures of the given operators, the first of whom drafts it. Opening takes two of them.
func (n *Node) Order(ctx context.Context, r door.Request, who querschott.Actor, signers ...note.Signer) (door.Outcome, error) {
	if len(signers) == 0 {
		return door.Outcome{}, errors.New("an order needs a signature")
	}
	o, err := n.doors.Draft(r, who)
	if err != nil {
		return door.Outcome{}, err
	}
	raw, err := note.Sign(&note.Note{Text: o.Text()}, signers...)
	if err != nil {
		return door.Outcome{}, fmt.Errorf("couldn't sign the order: %w", err)
	}
	return n.doors.Submit(ctx, raw)
}

// Changes returns a channel of the orders that come into force.
func (n *Node) Changes(buffer int) (<-chan door.Change, func()) { return n.doors.Subscribe(buffer) }

// Door returns the order in force.
func (n *Node) Door(c querschott.Compartment) door.Order {
	o, _ := n.doors.Current(c)
	return o
}

// Compartments lists the compartments of the node.
func (n *Node) Compartments() []querschott.Compartment { return n.doors.Compartments() }
