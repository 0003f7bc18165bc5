package http

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// conns are the connections that are open.
type conns struct {
	max, perNetwork int
	stats           *counters

	mu       sync.Mutex // guards the fields below, and those of their connections that say so
	all      map[*conn]struct{}
	networks map[netip.Prefix]int // no zeros
}

// conn is one connection.
type conn struct {
	net.Conn
	set     *conns
	network netip.Prefix
	idle    time.Time // guarded by conns.mu: since when it has no request; zero while it has one
	gone    bool      // guarded by conns.mu

	mu    sync.Mutex // guards the fields below
	holds bool
	held  *[]byte // nil: nothing
}

func newConns(l *Limits, stats *counters) *conns {
	return &conns{max: l.Connections, perNetwork: l.PerNetwork, stats: stats, all: map[*conn]struct{}{}, networks: map[netip.Prefix]int{}}
}

func (s *conns) open() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.all))
}

// admit takes a connection in, nil if there is no room.
func (s *conns) admit(nc net.Conn) *conn {
	c := &conn{Conn: nc, set: s, network: network(peerOf(nc.RemoteAddr().String())), idle: time.Now()}
	s.mu.Lock()
	var ousted *conn
	ok := s.networks[c.network] < s.perNetwork
	if ok && len(s.all) >= s.max {
		ousted = s.longestIdle()
		ok = ousted != nil
		s.drop(ousted)
	}
	if ok {
		s.all[c] = struct{}{}
		s.networks[c.network]++
	}
	s.mu.Unlock()
	if ousted != nil {
		s.stats.ousted.Add(1)
		_ = ousted.Conn.Close() // it makes way whatever it says
	}
	if !ok {
		s.stats.refused.Add(1)
		return nil
	}
	return c
}

// longestIdle returns the connection that has been without a request for longest, nil if all are busy. The caller holds mu.
func (s *conns) longestIdle() (oldest *conn) {
	for c := range s.all {
		if !c.idle.IsZero() && (oldest == nil || c.idle.Before(oldest.idle)) {
			oldest = c
		}
	}
	return oldest
}

// drop forgets a connection. The caller holds mu.
func (s *conns) drop(c *conn) {
	if c == nil || c.gone {
		return
	}
	c.gone = true
	delete(s.all, c)
	if s.networks[c.network]--; s.networks[c.network] == 0 {
		delete(s.networks, c.network)
	}
}

// Close ends the connection and makes room for another.
func (c *conn) Close() error {
	c.set.mu.Lock()
	c.set.drop(c)
	c.set.mu.Unlock()
	return c.Conn.Close()
}

// maxHeld is how much of an answer is held back, in bytes. More is written as it comes.
const maxHeld = 64 << 10

var heldBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// Write writes to the network, or holds back what is to be written until [conn.release].
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.holds {
		return c.Conn.Write(b)
	}
	if c.held == nil {
		c.held = heldBuffers.Get().(*[]byte)
	}
	if *c.held = append(*c.held, b...); len(*c.held) > maxHeld {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// hold keeps back what is written: an answer leaves TLS in several records, and each would be a write of its own.
func (c *conn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds = true
}

// release writes what was held back.
func (c *conn) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds = false
	if c.held == nil {
		return nil
	}
	err := c.flush()
	if cap(*c.held) <= 2*maxHeld {
		heldBuffers.Put(c.held)
	}
	c.held = nil
	return err
}

// flush writes what was held back. The caller holds mu.
func (c *conn) flush() error {
	_, err := c.Conn.Write(*c.held)
	*c.held = (*c.held)[:0]
	return err
}

// connKey is the key of a request's *conn in its context.
type connKey struct{}

// place puts the connection into the context of its requests.
func (s *conns) place(ctx context.Context, nc net.Conn) context.Context {
	if c := ours(nc); c != nil {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// ours returns the connection that net/http knows by another name, nil if it is none of the listener's.
func ours(nc net.Conn) *conn {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, _ := nc.(*conn)
	return c
}

// state follows what net/http says of a connection.
func (s *conns) state(nc net.Conn, state http.ConnState) {
	c := ours(nc)
	if c == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateIdle:
		c.idle = time.Now()
	case http.StateActive, http.StateHijacked:
		c.idle = time.Time{}
	case http.StateNew, http.StateClosed:
	}
}

// listener admits connections.
type listener struct {
	net.Listener
	conns *conns
}

// Accept waits for the next connection for which there is room.
func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.conns.admit(nc); c != nil {
			return c, nil
		}
		_ = nc.Close() // the caller sees a lost connection and comes back
	}
}

func peerOf(addr string) netip.Addr {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return netip.Addr{} // not from a network
	}
	return ap.Addr().Unmap().WithZone("")
}
