package http

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
)

// Server is the entrance. Its listeners run in [Server.Run].
type Server struct {
	cfg         Config
	router      *router
	networks    *rates[netip.Prefix]
	credentials *rates[querschott.CredentialID]
	reaches     *Counter
	lanes       sync.Map // querschott.Compartment -> *lane; only compartments that this platform has, and those without an insurer
	attempts    *attempts
	conns       *conns
	stats       counters
	halt        chan error    // the first error after which the node must stop
	obedience   time.Duration // how long requests that were told to end may take
	visits      sync.RWMutex  // held for reading by every request; whoever gets it for writing knows that none is under way
}

// New checks the configuration and makes a server that does not run yet.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	table, err := newRouter(cfg.Routes)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, router: table, attempts: newAttempts(), halt: make(chan error, 1), obedience: cfg.Limits.Grace,
		networks: newRates[netip.Prefix](cfg.Limits.Keys), credentials: newRates[querschott.CredentialID](cfg.Limits.Keys),
		reaches: NewCounter(cfg.Limits),
	}
	s.conns = newConns(&s.cfg.Limits, &s.stats)
	return s, nil
}

// Run serves the listeners, with TLS on each, and closes them.
//
// When ctx ends, tunnels are cut, requests under way have Limits.Grace to finish, and Run returns nil. It returns an error
// if a listener fails, or the error with [querschott.ErrHalt] that the ledger reported.
func (s *Server) Run(ctx context.Context, listeners ...net.Listener) error {
	srv := s.server(context.WithoutCancel(ctx))
	group, running := errgroup.WithContext(ctx)
	for _, l := range listeners {
		group.Go(func() error {
			err := srv.ServeTLS(&listener{l, s.conns}, "", "")
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("couldn't accept HTTP connections: %w", err)
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
	group.Go(func() error { s.settleAll(running); return nil })
	group.Go(func() error {
		<-running.Done()
		return s.finish(srv) //nolint:contextcheck // the context has ended; what is under way has its own time
	})
	err := group.Wait()
	s.settle(context.WithoutCancel(ctx))
	return err
}

// server sets the limits that net/http enforces.
func (s *Server) server(base context.Context) *http.Server {
	l := &s.cfg.Limits
	return &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		TLSConfig:         s.cfg.TLS,
		ReadHeaderTimeout: l.HeaderTime,
		IdleTimeout:       l.Idle,

		DisableGeneralOptionsHandler: true, // nothing is answered past the gate
		MaxHeaderBytes:               l.Header,
		ConnState:                    s.conns.state,
		ConnContext:                  s.conns.place,
		BaseContext:                  func(net.Listener) context.Context { return base },
		ErrorLog:                     log.New(brokenConns{&s.stats}, "", 0),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: l.Streams, MaxReceiveBufferPerStream: maxReceived, MaxReceiveBufferPerConnection: 4 * maxReceived,
			SendPingTimeout: l.Idle, WriteByteTimeout: l.WriteTime,
		},
	}
}

// serve keeps Run from returning before all requests have.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.visits.RLock()
	defer s.visits.RUnlock()
	s.ServeHTTP(w, r)
}

// finish lets requests under way end, and makes those end that do not.
func (s *Server) finish(srv *http.Server) error {
	s.severAll(func(t *transit) bool { return t.tunnel })
	grace, cancel := context.WithTimeout(context.Background(), s.cfg.Limits.Grace)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		s.severAll(func(*transit) bool { return true })
		_ = srv.Close() // its connections are to end, whatever they say
	}
	ended := make(chan struct{})
	go func() {
		s.visits.Lock()
		defer s.visits.Unlock()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(s.obedience):
		return errors.New("couldn't end all HTTP requests: a service does not answer")
	}
}

func (s *Server) severAll(which func(*transit) bool) {
	s.lanes.Range(func(_, l any) bool {
		l.(*lane).sever(which, errStop)
		return true
	})
}

// settleAll writes down every minute what was refused before identification.
func (s *Server) settleAll(ctx context.Context) {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.settle(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// brokenConns counts what net/http would log: lines with addresses, about connections that strangers broke.
type brokenConns struct{ stats *counters }

func (b brokenConns) Write(p []byte) (int, error) {
	b.stats.broken.Add(1)
	return len(p), nil
}

func jitter(n int64) int64 { return rand.Int64N(n) }
