package drill

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Badge is what a practice shows an issuer of access tokens.
type Badge struct {
	Practice *Practice
	Key      *ecdsa.PrivateKey // that the token shall be bound to
}

// CheckerConfig says how cards are checked.
type CheckerConfig struct {
	World *World
	URL   string // of the entrance, without a path
	TLS   *tls.Config
	// Access returns an access token and when it ends; Presence the proof that a person's card is in the practice.
	Access   func(context.Context, Badge) (token string, expires time.Time, err error)
	Presence func(context.Context, *Practice, Person) (token string, err error)
	// Ready returns when the insurer knows the person. Nil: everybody is known.
	Ready func(context.Context, Person) error
	// Refused is told of every refusal for now, by many goroutines. Nil: nobody is.
	Refused func(*CardAnswer)

	Practices int     // how many check cards, 0: 40
	Rate      float64 // checks per second, of all together
	Seed      uint64
}

// CheckerStats counts what became of checks.
type CheckerStats struct {
	Checked     uint64        // answered with master data or that they are unchanged
	NotModified uint64        // of these, unchanged
	Refused     uint64        // for now: 503 or 429. A practice reads the card instead and checks it again another time
	Errors      uint64        // every other answer, and none
	Late        uint64        // did not begin: too many were under way
	Trouble     string        // the last error
	P50, P99    time.Duration // of checks in the last ten to twenty seconds
}

// Checker is practices that check health cards online, at the pace of patients who come in.
type Checker struct {
	cfg    CheckerConfig
	client *http.Client
	desks  []*desk
	rate   atomic.Uint64 // checks in a thousand seconds

	mu   sync.Mutex // guards took
	took latencies

	checked, unchanged, refused, failed, late atomic.Uint64
	trouble                                   atomic.Pointer[string]
}

// desk is where one practice reads cards. Its token is renewed when it is about to end.
type desk struct {
	practice *Practice
	key      *ecdsa.PrivateKey

	mu      sync.Mutex // guards the fields below
	token   string
	expires time.Time
	known   map[int]string // entity tags by person
}

const (
	deskPatients = 200              // whose master data a practice keeps at hand
	regulars     = 0.6              // share of patients who were there before
	renewBefore  = 30 * time.Second // of a token's end
	cardPatience = 20 * time.Second
	atOnce       = 32 // checks under way
)

// NewChecker makes the practices and their keys.
func NewChecker(cfg CheckerConfig) (*Checker, error) {
	if cfg.Practices == 0 {
		cfg.Practices = 40
	}
	c := &Checker{cfg: cfg, client: &http.Client{
		Timeout:   cardPatience,
		Transport: &http.Transport{TLSClientConfig: cfg.TLS, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: atOnce},
	}}
	c.SetRate(cfg.Rate)
	all := cfg.World.Practices()
	for i := range min(cfg.Practices, len(all)) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("couldn't make a practice's key: %w", err)
		}
		c.desks = append(c.desks, &desk{practice: all[i], key: key, known: map[int]string{}})
	}
	return c, nil
}

// SetRate changes how many cards are checked per second.
func (c *Checker) SetRate(perSecond float64) { c.rate.Store(uint64(perSecond * 1000)) }

// Stats returns the counters.
func (c *Checker) Stats() CheckerStats {
	s := CheckerStats{Checked: c.checked.Load(), NotModified: c.unchanged.Load(), Refused: c.refused.Load(), Errors: c.failed.Load(), Late: c.late.Load()}
	if t := c.trouble.Load(); t != nil {
		s.Trouble = *t
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s.P50, s.P99 = c.took.quantile(now, 0.5), c.took.quantile(now, 0.99)
	return s
}

// Run checks cards until the context ends. What is under way then is not counted.
func (c *Checker) Run(ctx context.Context) error {
	defer c.client.CloseIdleConnections()
	rng := mathrand.New(mathrand.NewPCG(c.cfg.Seed, 0x63617264))
	pace := pacer{rng: rng}
	mix := mixture{w: c.cfg.World, rng: rng}
	var g errgroup.Group
	g.SetLimit(atOnce)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return g.Wait()
		case <-timer.C:
		}
		for {
			due, again := pace.due(time.Now(), float64(c.rate.Load())/1000)
			if !due {
				timer.Reset(min(time.Until(again), time.Second))
				break
			}
			d := c.desks[rng.IntN(len(c.desks))]
			who := c.patient(d, rng, &mix)
			if !g.TryGo(func() error { c.check(ctx, d, who); return nil }) {
				c.late.Add(1)
			}
		}
	}
}

// patient is somebody who was there before, or somebody else.
func (c *Checker) patient(d *desk, rng *mathrand.Rand, mix *mixture) Person {
	d.mu.Lock()
	defer d.mu.Unlock()
	if rng.Float64() < regulars {
		for index := range d.known { // in an order that is nobody's
			return c.cfg.World.Person(index)
		}
	}
	return mix.about(c.cfg.World.pick(rng.IntN(c.cfg.World.Insured())))
}

func (c *Checker) check(ctx context.Context, d *desk, who Person) {
	answer, err := c.ask(ctx, d, who)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		c.fail(err.Error())
	case answer.Status == http.StatusOK || answer.Status == http.StatusNotModified:
		c.mu.Lock()
		c.took.add(time.Now(), answer.Took)
		c.mu.Unlock()
		c.checked.Add(1)
		if answer.Status == http.StatusNotModified {
			c.unchanged.Add(1)
		}
		d.keep(who, answer.ETag)
	case answer.Status == http.StatusServiceUnavailable || answer.Status == http.StatusTooManyRequests:
		c.refused.Add(1)
		if c.cfg.Refused != nil {
			c.cfg.Refused(answer)
		}
	default:
		c.fail(fmt.Sprintf("a card check was answered with %d %.200s", answer.Status, answer.Body))
	}
}

func (c *Checker) fail(why string) {
	c.failed.Add(1)
	c.trouble.Store(&why)
}

func (c *Checker) ask(ctx context.Context, d *desk, who Person) (*CardAnswer, error) {
	if c.cfg.Ready != nil {
		if err := c.cfg.Ready(ctx, who); err != nil {
			return nil, err
		}
	}
	access, err := d.access(ctx, c.cfg.Access)
	if err != nil {
		return nil, err
	}
	presence, err := c.cfg.Presence(ctx, d.practice, who)
	if err != nil {
		return nil, err
	}
	check := CardCheck{URL: c.cfg.URL, Access: access, Key: d.key, Presence: presence, Known: d.tag(who), Version: "1.0"}
	if d.practice.index%4 == 0 { // some programs prefer XML
		check.Accept = "application/fhir+xml"
	}
	return check.Do(ctx, c.client, time.Now())
}

func (d *desk) access(ctx context.Context, issue func(context.Context, Badge) (string, time.Time, error)) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().Add(renewBefore).Before(d.expires) {
		return d.token, nil
	}
	var err error
	d.token, d.expires, err = issue(ctx, Badge{d.practice, d.key})
	return d.token, err
}

func (d *desk) tag(who Person) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[who.Index]
}

// keep remembers an entity tag in place of somebody else's.
func (d *desk) keep(who Person, tag string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, there := d.known[who.Index]; !there && len(d.known) >= deskPatients {
		for index := range d.known {
			delete(d.known, index)
			break
		}
	}
	d.known[who.Index] = tag
}
