package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door/follow"
	"github.com/querschott/querschott/ident/mtls"
)

const (
	gatesName   = "one of the gates" // among the enforcers of the book
	gateHello   = 5 * time.Second
	gateCallers = 256 // connections of gates at the same time, strangers included
	gateRest    = 100 * time.Millisecond
)

// gates is the link to the gates that follow this node's book.
type gates struct {
	publisher *follow.Publisher
	tls       *tls.Config
	names     map[mtls.Pin]string
	now       func() time.Time
	strangers atomic.Uint64 // connections that were refused

	mu     sync.Mutex // held while the deny list is published, guards denied
	denied uint64     // the epoch of the deny list that was published
}

// openGates binds the address for gates. Doors have not moved yet, so no gate misses an order.
func (n *Node) openGates(ctx context.Context) (err error) {
	c := &n.cfg.Doors.Gates
	if c.Listen == "" {
		return nil
	}
	g := &gates{names: map[mtls.Pin]string{}, now: n.opt.Now}
	for _, k := range c.Known {
		for _, pin := range parsePins(k.Pins) {
			g.names[pin] = k.Name
		}
	}
	if g.tls, err = linkTLS(c.Certificate, c.Key, g.judge); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; 'querschott door gates add' makes it while the node runs without doors.gates.listen", err)
	} else if err != nil {
		return err
	}
	g.publisher, err = follow.NewPublisher(follow.PublisherConfig{
		Book:  follow.Book{Compartments: n.doors.Compartments(), Notes: n.doors.Notes, Keys: n.bookKeys},
		Gates: c.gateNames(), Lease: time.Duration(n.cfg.Doors.Lease),
		Patience: n.opt.patience * 4 / 5, Now: n.opt.Now, Log: n.log,
	})
	if err != nil {
		return err
	}
	listeners, err := listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	n.sockets.gates, n.gates = listeners[0], g
	if len(c.Known) > 0 {
		n.doors.Enforce(gatesName, g.publisher.Enforce)
	}
	return g.deny(n)
}

// BookKeys are the public keys with which a gate verifies what this node's book says.
func (n *Node) BookKeys() (BookKeys, error) {
	if n.follower != nil {
		return BookKeys{}, querschott.Refuse(querschott.CodeForbidden, "this node is a gate itself; ask the node with the book, %s", n.cfg.Doors.Follow.Address)
	}
	glass, err := n.cfg.glassKey()
	return BookKeys{Domain: n.cfg.Domain, Machine: n.vkey, BreakGlass: glass, Operators: n.roster}, err
}

// judge knows a gate by its certificate's key.
func (g *gates) judge(c *x509.Certificate) error {
	if _, known := g.names[mtls.PinOf(c)]; !known {
		return errors.New("no gate is known by this certificate")
	}
	return inDates(c, g.now())
}

// serveGates talks to gates until the context ends. Strangers are dropped before anything is said to them.
func (n *Node) serveGates(ctx context.Context) error {
	l := n.sockets.gates
	var all sync.WaitGroup
	defer all.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	room := make(chan struct{}, gateCallers)
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			n.log.Error("couldn't accept a gate's connection", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(gateRest):
			}
			continue
		}
		select {
		case room <- struct{}{}:
			all.Go(func() {
				defer func() { <-room }()
				n.serveGate(ctx, conn)
			})
		default:
			_ = conn.Close() // too many
		}
	}
}

func (n *Node) serveGate(ctx context.Context, raw net.Conn) {
	g := n.gates
	conn := tls.Server(raw, g.tls)
	defer conn.Close() //nolint:errcheck // nothing is left to lose
	hello, cancel := context.WithTimeout(ctx, gateHello)
	defer cancel()
	if err := conn.HandshakeContext(hello); err != nil {
		g.strangers.Add(1)
		n.log.Debug("a connection to the address for gates was refused", "from", raw.RemoteAddr().String(), "err", err)
		return
	}
	name := g.names[mtls.PinOf(conn.ConnectionState().PeerCertificates[0])]
	n.log.Info("a gate is connected", "gate", name, "from", raw.RemoteAddr().String())
	err := g.publisher.Serve(ctx, conn, name)
	if ctx.Err() == nil {
		n.log.Warn("a gate is no longer connected", "gate", name, "err", err)
	}
}

// trouble names the gates that are missing, and those that do not obey.
func (g *gates) trouble(now time.Time) (list []Trouble) {
	if g == nil {
		return nil
	}
	for _, s := range g.publisher.Status() {
		if s.Missing {
			last := "never seen since the start"
			if !s.LastContact.IsZero() {
				last = "last seen " + now.Sub(s.LastContact).Round(time.Second).String() + " ago"
			}
			list = append(list, Trouble{
				Text: fmt.Sprintf("the gate %s is missing (%s); without contact it holds everything after its lease", s.Name, last),
				Fix:  "look whether it runs and reaches doors.gates.listen; take it out of doors.gates.known if there is none any more",
			})
		}
		for _, d := range s.Doors {
			if d.Fault != "" {
				list = append(list, Trouble{Compartment: &d.Compartment, Text: "the gate " + s.Name + " does not obey: " + d.Fault, Fix: "see the log of the gate"})
			}
		}
		for _, l := range s.Lists {
			if l.Fault != "" {
				list = append(list, Trouble{Text: "the gate " + s.Name + " has not taken the " + l.Name + " list: " + l.Fault, Fix: "see the log of the gate"})
			}
		}
	}
	return list
}

// Enforced says how many gates enforce the order in force of a door. The node's own gate is one of them.
type Enforced struct {
	Gates   int       `json:"gates"`
	Of      int       `json:"of"`
	Epoch   uint64    `json:"epoch"`
	Since   time.Time `json:"since,omitzero"`    // when the last of those began
	Missing []string  `json:"missing,omitempty"` // those that do not enforce it, or are not heard of
}

// String is the sentence of a decision that is in force.
func (e Enforced) String() string {
	gates := "gates enforce"
	if e.Of == 1 {
		gates = "gate enforces"
	}
	text := fmt.Sprintf("%d of %d %s epoch %d", e.Gates, e.Of, gates, e.Epoch)
	if e.Gates > 0 && !e.Since.IsZero() {
		text += " since " + e.Since.UTC().Format("2006-01-02T15:04:05.000Z07:00")
	}
	return text
}

// Full names those too that are missing.
func (e Enforced) Full() string {
	if len(e.Missing) == 0 {
		return e.String()
	}
	return e.String() + "; not: " + strings.Join(e.Missing, ", ")
}

// ownGate is what Enforced calls the gate of this node.
const ownGate = "this node"

// Enforced says how many gates enforce the order in force of a door.
func (n *Node) Enforced(c querschott.Compartment) Enforced {
	o, _ := n.doors.Current(c)
	e := Enforced{Of: 1, Epoch: o.Epoch, Gates: 1, Since: n.started}
	if change, ok := n.doors.Obeyed(c); ok && change.Order.Epoch == o.Epoch {
		e.Since = change.Applied.Add(change.Obeyed)
		for _, who := range change.Silent {
			if who != gatesName {
				e.Gates, e.Since, e.Missing = 0, time.Time{}, []string{ownGate}
			}
		}
	}
	if n.gates == nil {
		return e
	}
	for _, s := range n.gates.publisher.Status() {
		e.add(s.Name, s.Missing, doorAt(s, c), o.Epoch)
	}
	return e
}

func doorAt(s follow.GateStatus, c querschott.Compartment) follow.DoorStatus {
	for _, d := range s.Doors {
		if d.Compartment == c {
			return d
		}
	}
	return follow.DoorStatus{}
}

func (e *Enforced) add(name string, missing bool, d follow.DoorStatus, epoch uint64) {
	e.Of++
	if missing || d.Fault != "" || d.Epoch != epoch || d.Applied.IsZero() {
		e.Missing = append(e.Missing, name)
		return
	}
	e.Gates++
	if d.Applied.After(e.Since) {
		e.Since = d.Applied
	}
}
