package mail

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/querschott/querschott"
)

// Server is the entrance. Its listeners run in [Server.Run].
//
// mu guards the maps; all but sessions hold no zeros.
type Server struct {
	cfg      Config
	counters *counters
	memory   *semaphore.Weighted // bytes of bodies under way
	refusals *semaphore.Weighted // connections that are being told why they cannot stay
	halt     chan error          // the first error after which the node must stop
	done     sync.WaitGroup      // sessions

	mu         sync.Mutex
	sessions   map[*session]struct{}
	perIP      map[netip.Addr]int
	perAccount map[querschott.Actor]int
	bodies     map[querschott.Actor]int64 // bytes of memory
}

// New checks the configuration and makes a server that does not run yet.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Limits.BodyMemory < cfg.Limits.MaxMail {
		return nil, fmt.Errorf("couldn't set up the mail entrance: memory for bodies is %d bytes, less than one message of %d",
			cfg.Limits.BodyMemory, cfg.Limits.MaxMail)
	}
	return &Server{
		cfg:        cfg,
		counters:   newCounters(),
		memory:     semaphore.NewWeighted(cfg.Limits.BodyMemory),
		refusals:   semaphore.NewWeighted(64),
		halt:       make(chan error, 1),
		sessions:   map[*session]struct{}{},
		perIP:      map[netip.Addr]int{},
		perAccount: map[querschott.Actor]int{},
		bodies:     map[querschott.Actor]int64{},
	}, nil
}

// Run serves the listeners: on those in starttls a session begins in the clear and can do nothing before STARTTLS, on
// those in implicit it begins with the TLS handshake. Run closes the listeners.
//
// When ctx ends, waiting sessions are told 421, messages under way have Limits.Grace to finish, and Run returns nil. It
// returns an error if a listener fails, or the error with [querschott.ErrHalt] that intake, ledger or outbox reported.
func (s *Server) Run(ctx context.Context, starttls, implicit []net.Listener) error {
	hard, cut := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx by the time of grace
	defer cut()
	group, running := errgroup.WithContext(ctx)
	for i, l := range append(append([]net.Listener(nil), starttls...), implicit...) {
		stop := context.AfterFunc(running, func() { _ = l.Close() }) // its error shows in Accept
		group.Go(func() error {
			defer stop()
			return s.accept(running, hard, l, i >= len(starttls))
		})
	}
	group.Go(func() error {
		select {
		case err := <-s.halt:
			return err
		case <-running.Done():
			return nil
		}
	})
	err := group.Wait()
	s.finish(cut)
	if ctx.Err() != nil && !errors.Is(err, querschott.ErrHalt) {
		return nil
	}
	return err
}

// accept takes connections until the listener is closed.
func (s *Server) accept(running, hard context.Context, l net.Listener, implicit bool) error {
	pause := time.Millisecond
	for {
		nc, err := l.Accept()
		if running.Err() != nil {
			if nc != nil {
				_ = nc.Close() // nothing was said on it
			}
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("couldn't accept mail connections: %w", err)
			}
			// Mostly a want of file descriptors: it passes when sessions end.
			s.cfg.Log.Error("mail connections cannot be accepted", "err", err)
			select {
			case <-time.After(pause):
			case <-running.Done():
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = time.Millisecond
		s.admit(hard, nc, implicit)
	}
}

// admit starts a session, or a refusal if there are too many.
func (s *Server) admit(hard context.Context, nc net.Conn, implicit bool) {
	peer := peerOf(nc)
	s.mu.Lock()
	var c *session
	if s.perIP[peer] < s.cfg.Limits.PerIP && (len(s.sessions) < s.cfg.Limits.Connections || s.makeWay()) {
		c = newSession(hard, s, nc, peer)
		s.sessions[c] = struct{}{}
		s.perIP[peer]++
	}
	s.mu.Unlock()
	if c == nil {
		s.counters.count(replyConnections)
		s.refuse(nc, implicit)
		return
	}
	s.counters.sessions.Add(1)
	s.done.Go(func() { //nolint:contextcheck // a session carries the context of its connection
		defer s.leave(c)
		c.serve(implicit)
	})
}

// makeWay ends the session that has been without a login for longest: whoever only connects must not keep those out who
// have mail. The caller holds mu.
func (s *Server) makeWay() bool {
	var oldest *session
	for c := range s.sessions {
		if !c.entered && !c.ousted && (oldest == nil || c.loginBy.Before(oldest.loginBy)) {
			oldest = c
		}
	}
	if oldest == nil {
		return false
	}
	oldest.ousted = true
	s.counters.transient[CauseConnections].Add(1)
	oldest.sever()
	return true
}

// refuse tells a connection why it cannot stay, if that can be done without being held up.
func (s *Server) refuse(nc net.Conn, implicit bool) {
	if !s.refusals.TryAcquire(1) {
		_ = nc.Close() // the sender sees a lost connection and repeats
		return
	}
	s.done.Go(func() {
		defer s.refusals.Release(1)
		defer func() { _ = nc.Close() }() // whatever happened, it is over
		_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
		if implicit {
			nc = tls.Server(nc, s.cfg.TLS)
		}
		w := bufio.NewWriter(nc)
		_, _ = w.WriteString(replyConnections.String())
		_ = w.Flush() // a sender that does not hear it sees a lost connection
	})
}

func (s *Server) leave(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c)
	if s.perIP[c.peer]--; s.perIP[c.peer] == 0 {
		delete(s.perIP, c.peer)
	}
	if c.credential != nil {
		if s.perAccount[c.credential.Actor]--; s.perAccount[c.credential.Actor] == 0 {
			delete(s.perAccount, c.credential.Actor)
		}
	}
	s.counters.sessions.Add(-1)
}

// enter counts a session to its account; false if the account has as many as it may.
func (s *Server) enter(session *session, c querschott.Credential) bool {
	limit := s.cfg.Limits.PerPractice
	if c.Role == querschott.RoleRelay {
		limit = s.cfg.Limits.PerRelay
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.perAccount[c.Actor] >= limit {
		return false
	}
	s.perAccount[c.Actor]++
	session.entered = true
	return true
}

// reserve takes memory for a body, of what all have and of what its account may have: one stolen account that sends slowly
// must not hold what all the others need.
func (s *Server) reserve(c querschott.Credential, n int64) bool {
	limit := s.cfg.Limits.Practice
	if c.Role == querschott.RoleRelay {
		limit = s.cfg.Limits.Relay
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bodies[c.Actor]+n > limit || !s.memory.TryAcquire(n) {
		return false
	}
	s.bodies[c.Actor] += n
	return true
}

func (s *Server) unreserve(c querschott.Credential, n int64) {
	s.memory.Release(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bodies[c.Actor] -= n; s.bodies[c.Actor] == 0 {
		delete(s.bodies, c.Actor)
	}
}

// finish ends all sessions: those that wait for a command at once, the others when their message is answered, at the
// latest after the time of grace.
func (s *Server) finish(cut context.CancelFunc) {
	s.mu.Lock()
	for c := range s.sessions {
		c.nudge()
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		s.done.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return
	case <-time.After(s.cfg.Limits.Grace):
	}
	cut()
	s.mu.Lock()
	for c := range s.sessions {
		c.sever()
	}
	s.mu.Unlock()
	<-ended
}

// stop reports an error after which nothing on disk can be trusted.
func (s *Server) stop(err error) {
	if !errors.Is(err, querschott.ErrHalt) {
		return
	}
	select {
	case s.halt <- err:
	default: // one is enough
	}
}

func peerOf(nc net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	if err != nil {
		return netip.Addr{} // not from a network: all such connections share one limit
	}
	return ap.Addr().Unmap().WithZone("")
}
