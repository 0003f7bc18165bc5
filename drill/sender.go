package drill

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/wire/kim"
)

// Defaults of a SenderConfig.
const (
	DefaultConnections = 4
	DefaultRetry       = 2 * time.Second // practice software waits four hours; a demonstration shall show it
)

// maxWaiting bounds what waits to be repeated. While it is reached nothing fresh is written.
const maxWaiting = 200_000

// SenderConfig says who sends where.
type SenderConfig struct {
	World *World      // enrolled
	Addr  string      // host:port of the mail door
	TLS   *tls.Config // whom to trust; nil: what the machine trusts
	// StartTLS asks for encryption on a connection that begins without; otherwise it is encrypted from the start.
	StartTLS bool
	// Login returns the account for AUTH PLAIN. A relay returns the same for all practices and keeps its connections; if
	// every practice has its own, a connection is given up when another practice has its turn.
	Login       func(practice kim.Address) (user, password string)
	Connections int                                     // at the same time; 0: DefaultConnections
	Rate        float64                                 // mails per second at the start; see SetRate
	Shape       func(time.Time) float64                 // factor of the rate over the day; nil: always 1; EveningBurst
	Retry       time.Duration                           // until a refused mail is repeated, doubled to 32 times of it; 0: DefaultRetry
	Seed        uint64                                  // of what is sent
	Now         func() time.Time                        // nil: time.Now
	Dial        func(context.Context) (net.Conn, error) // nil: TCP to Addr
}

// Sender sends the mail of a world's practices to a mail door, and keeps books of what the door has promised. All methods
// may be called at the same time.
type Sender struct {
	cfg   SenderConfig
	books Books
	lines []*line

	mu      sync.Mutex // guards everything below
	rate    float64
	floods  []flood
	busy    int // mails in the hands of a line
	stats   Stats
	latency latencies
	idle    chan struct{} // closed as soon as there is nothing to do; nil if nobody waits for that
}

type flood struct {
	insurer *Insurer
	left    int
}

// Stats counts since the start. Made = Accepted + Rejected + Waiting + those on their way at this moment.
type Stats struct {
	Made             uint64        `json:"made"`              // mails written, however often they were tried
	Again            uint64        `json:"again"`             // of them, copies of accepted mails, sent on purpose
	Accepted         uint64        `json:"accepted"`          // 250
	Refused          uint64        `json:"refused"`           // answers 4xx; each means another try
	Rejected         uint64        `json:"rejected"`          // answers 5xx; the mail is given up
	ConnectionErrors uint64        `json:"connection_errors"` // no connection, no login, or lost without an answer
	Waiting          int           `json:"waiting"`           // mails that will be repeated
	Flooding         int           `json:"flooding"`          // mails of floods not yet written
	P50              time.Duration `json:"p50"`               // from MAIL FROM to the 250, over the last 10 to 20 seconds
	P99              time.Duration `json:"p99"`
	Trouble          string        `json:"trouble,omitempty"` // the last refusal, rejection or connection error
}

// NewSender makes a sender. It sends while [Sender.Run] runs.
func NewSender(cfg SenderConfig) (*Sender, error) {
	if cfg.World == nil || cfg.Login == nil || cfg.Addr == "" && cfg.Dial == nil {
		return nil, errors.New("couldn't make a sender: it needs a world, an address and logins")
	}
	if cfg.World.practices[0].signer == nil {
		return nil, fmt.Errorf("couldn't make a sender: %w", errNotEnrolled)
	}
	if cfg.Connections == 0 {
		cfg.Connections = DefaultConnections
	}
	if cfg.Retry == 0 {
		cfg.Retry = DefaultRetry
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Shape == nil {
		cfg.Shape = func(time.Time) float64 { return 1 }
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{Timeout: answerTimeout}).DialContext(ctx, "tcp", cfg.Addr)
		}
	}
	cfg.TLS = clientTLS(cfg.TLS, cfg.Addr)
	s := &Sender{cfg: cfg, rate: cfg.Rate}
	for i := range cfg.Connections {
		s.lines = append(s.lines, &line{
			s: s, wake: make(chan struct{}, 1),
			pace: pacer{rng: rand.New(rand.NewPCG(cfg.Seed, uint64(2*i)))},
			mix:  mixture{w: cfg.World, rng: rand.New(rand.NewPCG(cfg.Seed, uint64(2*i+1)))},
		})
	}
	return s, nil
}

// clientTLS completes a configuration with the server's name and with a cache of sessions.
func clientTLS(c *tls.Config, addr string) *tls.Config {
	if c == nil {
		c = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	c = c.Clone()
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(addr) // without a port the handshake fails and says so
	}
	if c.ClientSessionCache == nil {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	return c
}

// Run sends until the context ends. An error means that a mail could not be written, which is a fault of this program.
func (s *Sender) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range s.lines {
		g.Go(func() error { return l.run(ctx) })
	}
	return g.Wait()
}

// SetRate changes how many mails are written each second, over all practices; 0 stops writing, repeating goes on.
func (s *Sender) SetRate(perSecond float64) {
	s.mu.Lock()
	s.rate = perSecond
	s.settle()
	s.mu.Unlock()
	s.wakeAll()
}

// Flood writes n sick notes for one insurer, as fast as the connections carry them, besides the ordinary mail.
func (s *Sender) Flood(insurer querschott.IK, n int) error {
	in, ok := s.cfg.World.Insurer(insurer)
	if !ok {
		return fmt.Errorf("couldn't flood %s: this world has no such insurer", insurer)
	}
	s.mu.Lock()
	s.floods = append(s.floods, flood{in, n})
	s.stats.Flooding += n
	s.mu.Unlock()
	s.wakeAll()
	return nil
}

func (s *Sender) wakeAll() {
	for _, l := range s.lines {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Drain stops writing and waits until every mail has got its 250 or its 5xx. Run must be running.
func (s *Sender) Drain(ctx context.Context) error {
	s.SetRate(0)
	for {
		s.mu.Lock()
		if s.quiet() {
			s.mu.Unlock()
			return nil
		}
		if s.idle == nil {
			s.idle = make(chan struct{})
		}
		idle := s.idle
		s.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return fmt.Errorf("couldn't wait until all mail is sent: %w", ctx.Err())
		}
	}
}

func (s *Sender) quiet() bool {
	return s.rate == 0 && s.busy == 0 && s.stats.Waiting == 0 && s.stats.Flooding == 0
}

// settle tells whoever waits that there is nothing to do. s.mu is held.
func (s *Sender) settle() {
	if s.idle != nil && s.quiet() {
		close(s.idle)
		s.idle = nil
	}
}

// Stats returns the counters.
func (s *Sender) Stats() Stats {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.P50, st.P99 = s.latency.quantile(now, 0.5), s.latency.quantile(now, 0.99)
	return st
}

// Books returns what the mail door has promised.
func (s *Sender) Books() *Books { return &s.books }

// pick gives a line its next mail, or says when to ask again. A mail that is repeated and a fresh one take turns.
func (s *Sender) pick(l *line, now time.Time) (j job, until time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rate := s.rate * s.cfg.Shape(now) / float64(len(s.lines))
	if s.stats.Waiting >= maxWaiting {
		rate = 0
	}
	cut := now.Before(l.down)
	if !cut && !l.repeated {
		if j, ok := l.shelf.take(now); ok {
			l.repeated = true
			s.stats.Waiting--
			s.busy++
			return j, now, true
		}
	}
	l.repeated = false
	due, until := l.pace.due(now, rate)
	switch {
	case due && cut: // the practice writes, and cannot send
		j := s.made(l.mix.next(now))
		j.due = l.down
		l.shelf.put(j)
		s.stats.Waiting++
		return job{}, now, false
	case due:
		s.busy++
		return s.made(l.mix.next(now)), now, true
	case cut:
		return job{}, earlier(until, l.down), false
	case len(s.floods) > 0:
		s.busy++
		return s.made(l.mix.flood(s.flooded(), now)), now, true
	case len(l.shelf) > 0:
		until = earlier(until, l.shelf[0].due)
	}
	return job{}, until, false
}

func (s *Sender) made(j job) job {
	s.stats.Made++
	if j.again {
		s.stats.Again++
	}
	return j
}

// flooded takes one mail off the oldest flood.
func (s *Sender) flooded() *Insurer {
	f := &s.floods[0]
	in := f.insurer
	s.stats.Flooding--
	if f.left--; f.left <= 0 {
		s.floods = s.floods[1:]
	}
	return in
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// count closes a try: fn counts it, s.mu is held meanwhile.
func (s *Sender) count(fn func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	fn(&s.stats)
	s.settle()
}
