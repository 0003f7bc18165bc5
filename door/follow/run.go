package follow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/querschott/querschott"
)

// Waits between two attempts to reach the publisher.
const (
	firstWait = 100 * time.Millisecond
	longest   = 10 * time.Second
)

// Run follows the publisher until the context ends, and holds what must be held without it.
func (f *Follower) Run(ctx context.Context) error {
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() { f.watch(ctx) })
	wait := firstWait
	for ctx.Err() == nil {
		before := f.lease()
		if err := f.once(ctx); err != nil && ctx.Err() == nil {
			f.cfg.Log.Warn("no contact with the door book", "err", err)
		}
		if f.lease().After(before) {
			wait = firstWait // it was there
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2)): // not all gates at once
		}
		wait = min(2*wait, longest)
	}
	return nil
}

func (f *Follower) lease() time.Time {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.until
}

// once follows one connection to its end.
func (f *Follower) once(ctx context.Context) error {
	conn, err := f.cfg.Dial(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	s := &session{f: f, conn: conn}
	defer s.work.Wait() // after the connection is closed
	defer conn.Close()  //nolint:errcheck // nothing is left to lose
	for {
		if err := conn.SetReadDeadline(time.Now().Add(f.cfg.Lease)); err != nil {
			return err
		}
		m, err := readFrame(conn)
		if err != nil {
			return err
		}
		if err := s.take(ctx, m); err != nil {
			return err
		}
	}
}

// session is what a follower remembers of one connection.
type session struct {
	f      *Follower
	conn   net.Conn
	number uint64
	list   *partial // the publisher sends one after another
	work   sync.WaitGroup

	mu sync.Mutex // one answer after another
}

// partial is a list of which some parts are there.
type partial struct {
	name  string
	epoch uint64
	next  int
	parts int
	data  []byte
}

// take looks at one frame. An error ends the connection; the next one begins with everything in force.
func (s *session) take(ctx context.Context, m frame) error {
	if m.Number != s.number+1 {
		return fmt.Errorf("frame %d follows frame %d", m.Number, s.number)
	}
	s.number = m.Number
	switch m.Kind {
	case kindOrder:
		o, err := s.f.take(m)
		if err != nil {
			s.f.cfg.Log.Error("an order from the door book is refused", "compartment", clean(m.Compartment), "err", err)
			return s.answer(m.Number, 0, err)
		}
		s.work.Go(func() { // doors do not wait for each other
			_ = s.answer(m.Number, o.Epoch, s.f.obey(ctx, o.Compartment)) // what cannot be answered ends the connection
		})
		return nil
	case kindList:
		return s.answer(m.Number, m.Epoch, s.collect(m))
	case kindBeat:
		s.f.renew(ctx, &s.work)
		return s.answer(m.Number, 0, nil)
	}
	return errors.New("the publisher sends what only a gate sends")
}

func (s *session) answer(number, epoch uint64, fault error) error {
	a := frame{Kind: kindAck, Number: number, Epoch: epoch, Applied: s.f.cfg.Now().UTC()}
	if fault != nil {
		a.Fault = clean(fault.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.f.cfg.Lease / 3)); err != nil {
		return err
	}
	err := writeFrame(s.conn, a)
	if err != nil {
		_ = s.conn.Close() // half a frame may be out
	}
	return err
}

// collect takes a part of a list, and the list with its last one.
func (s *session) collect(m frame) error {
	if m.Part == 0 {
		s.list = &partial{name: m.Name, epoch: m.Epoch, parts: m.Parts}
	}
	p := s.list
	if p == nil || p.name != m.Name || p.epoch != m.Epoch || p.parts != m.Parts || p.next != m.Part || len(m.Data) > maxPart {
		s.list = nil
		return errors.New("a part of the list is missing or too long")
	}
	p.data = append(p.data, m.Data...)
	if p.next++; p.next < p.parts {
		return nil
	}
	s.list = nil
	return s.f.takeList(m.Name, m.Epoch, p.data)
}

func (f *Follower) takeList(name string, epoch uint64, data []byte) error {
	f.mu.RLock()
	known := f.lists[name]
	f.mu.RUnlock()
	switch {
	case f.cfg.List == nil:
		return errors.New("this gate takes no lists")
	case epoch < known:
		return fmt.Errorf("epoch %d of the list is older than %d", epoch, known)
	case epoch == known:
		return nil
	}
	if err := f.cfg.List(name, epoch, data); err != nil {
		return err
	}
	f.mu.Lock()
	f.lists[name] = epoch
	f.mu.Unlock()
	return nil
}

// renew begins a lease. Whoever was told to hold for want of contact is told otherwise.
func (f *Follower) renew(ctx context.Context, work *sync.WaitGroup) {
	f.mu.Lock()
	f.until = f.cfg.Now().Add(f.cfg.Lease)
	f.mu.Unlock()
	f.settleAll(ctx, work)
}

// settleAll tells the gate of every door whose state is another one than it was last told.
func (f *Follower) settleAll(ctx context.Context, work *sync.WaitGroup) {
	var moved []querschott.Compartment
	f.mu.RLock()
	now := f.cfg.Now()
	for c, d := range f.doors {
		if !d.settling && f.effective(d, now).To != d.told {
			moved = append(moved, c)
		}
	}
	f.mu.RUnlock()
	for _, c := range moved {
		work.Go(func() { f.settle(ctx, c) })
	}
}

// watch has the gate hold what its lease or an order's end forbids. Current has said so before.
func (f *Follower) watch(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	tick := time.NewTicker(min(time.Second, f.cfg.Lease/10))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.settleAll(ctx, &work)
		}
	}
}
