package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/door/follow"
	"github.com/querschott/querschott/ident/mtls"
)

// openFollower makes this node a gate of another one's book. It follows nobody before Run.
func (n *Node) openFollower() error {
	c := &n.cfg.Doors.Follow
	keys, err := LoadBookKeys(c.Keys)
	if err != nil {
		return fmt.Errorf("couldn't read the keys of the book: %w", err)
	}
	verifiers, err := keys.verifiers()
	if err != nil {
		return err
	}
	pins := parsePins(c.Pins)
	conf, err := linkTLS(c.Certificate, c.Key, func(cert *x509.Certificate) error {
		if !slices.Contains(pins, mtls.PinOf(cert)) {
			return errors.New("who answers is not the node with the book: its key has another pin")
		}
		return inDates(cert, n.opt.Now())
	})
	if err != nil {
		return err
	}
	remembered := n.lastOrders()
	n.follower, err = follow.NewFollower(follow.FollowerConfig{
		Compartments: compartments(n.insurers), Keys: verifiers,
		Last: func(c querschott.Compartment) (uint64, querschott.DoorState, bool) {
			m, ok := remembered(c)
			return m.Epoch, m.To, ok
		},
		Dial: func(ctx context.Context) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, gateHello)
			defer cancel()
			return (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", c.Address)
		},
		Apply: func(ctx context.Context, o door.Order, to querschott.DoorState, share int) error {
			return n.doors.Adopt(ctx, o, to, share)
		},
		List:  n.takeList,
		Lease: time.Duration(n.cfg.Doors.Lease), Now: n.opt.Now, Log: n.log,
	})
	return err
}

// current returns a door's order in force. At a gate the follower is asked, which knows at every moment whether the lease
// has run out; the book here hears of it a moment later.
func (n *Node) current(c querschott.Compartment) (door.Order, bool) {
	if n.follower != nil {
		return n.follower.Current(c)
	}
	return n.doors.Current(c)
}

// followTrouble says that this gate hears nothing from the book.
func (n *Node) followTrouble() []Trouble {
	if n.follower == nil {
		return nil
	}
	until := n.follower.Contact()
	if n.opt.Now().Before(until) {
		return nil
	}
	text := "this gate has not reached the book of doors at " + n.cfg.Doors.Follow.Address + " since its start"
	if !until.IsZero() {
		text = "this gate has not heard from the book of doors at " + n.cfg.Doors.Follow.Address + ", and its lease has run out " + n.opt.Now().Sub(until).Round(time.Second).String() + " ago"
	}
	return []Trouble{{
		Text: text + ": it holds every door",
		Fix:  "look whether that node runs, whether the network lets this gate through, and whether the pins fit ('querschott door gates' there)",
	}}
}
