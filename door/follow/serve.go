package follow

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

// Serve talks to one gate until the connection or the context ends. The caller has made sure who the gate is, by its
// client certificate. A gate that connects again ends its earlier connection.
func (p *Publisher) Serve(ctx context.Context, conn net.Conn, name string) error {
	l := newLink(conn)
	defer l.close()
	stop := context.AfterFunc(ctx, l.close)
	defer stop()
	if err := p.join(name, l); err != nil {
		return err
	}
	defer p.leave(name, l)
	go p.listen(l)
	err := p.feed(l)
	return fmt.Errorf("the connection of gate %s has ended: %w", name, err)
}

// join gives a gate everything that is in force.
func (p *Publisher) join(name string, l *link) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.gates[name]
	if g == nil {
		return querschott.Refuse(querschott.CodeForbidden, "no gate is named %.64q", name)
	}
	l.heard = p.cfg.Now()
	if g.link != nil {
		g.link.close()
	}
	g.link, g.last = l, l
	for _, c := range p.cfg.Book.Compartments {
		l.push(c)
	}
	for _, n := range p.lists {
		l.pushList(n)
	}
	return nil
}

func (p *Publisher) leave(name string, l *link) {
	l.close()
	p.mu.Lock()
	if g := p.gates[name]; g.link == l {
		g.link = nil
	}
	p.mu.Unlock()
	p.tellWaiting()
}

// listen takes answers. A gate that says nothing for a lease is given up.
func (p *Publisher) listen(l *link) {
	defer l.close()
	for {
		if err := l.conn.SetReadDeadline(time.Now().Add(p.cfg.Lease)); err != nil {
			return
		}
		f, err := readFrame(l.conn)
		if err == nil {
			err = l.hear(f, p.cfg.Now())
		}
		if err != nil {
			p.cfg.Log.Debug("a gate's connection ends", "err", err)
			return
		}
		p.tellWaiting()
	}
}

// feed sends orders before parts of lists, and the first heartbeat after everything that is in force.
func (p *Publisher) feed(l *link) error {
	timeout := p.cfg.Lease / 3
	beat := time.NewTicker(timeout)
	defer beat.Stop()
	due := true
	for {
		select {
		case <-beat.C:
			due = true
		default:
		}
		sentAny, err := p.feedOne(l, &due, timeout)
		if err != nil {
			return err
		}
		if sentAny {
			continue
		}
		select {
		case <-l.wake:
		case <-beat.C:
			due = true
		case <-l.down:
			return net.ErrClosed
		}
	}
}

func (p *Publisher) feedOne(l *link, due *bool, timeout time.Duration) (sentAny bool, err error) {
	if c, push, ok := l.popDoor(); ok {
		f, o := p.orderFrame(c)
		return true, l.send(f, sent{door: c, push: push, epoch: o.Epoch}, timeout)
	}
	if *due && l.started() {
		*due = false
		return true, l.send(frame{Kind: kindBeat}, sent{}, timeout)
	}
	if f, ok := l.popPart(); ok {
		about := sent{}
		if f.Part == f.Parts-1 {
			about = sent{list: f.Name, epoch: f.Epoch}
		}
		return true, l.send(f, about, timeout)
	}
	if *due { // nothing is left to send before the first one
		*due = false
		return true, l.send(frame{Kind: kindBeat}, sent{}, timeout)
	}
	return false, nil
}

func (l *link) started() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.beaten
}

// orderFrame carries the order in force, and the opening that it narrows if it lets anything out.
func (p *Publisher) orderFrame(c querschott.Compartment) (frame, door.Order) {
	raw, step := p.cfg.Book.Notes(c)
	o := p.remember(raw)
	f := frame{Kind: kindOrder, Compartment: c.String(), Note: raw, Step: step}
	if !door.Widens(c.Service, o.From, o.To) && door.Widens(c.Service, querschott.Closed, o.To) {
		p.mu.Lock()
		f.Base = p.bases[c].raw
		p.mu.Unlock()
	}
	return f, o
}
