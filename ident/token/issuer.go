package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/wire/jose"
)

// Source says how an issuer's keys are found.
type Source string

// The sources.
const (
	Static     Source = "static"     // [IssuerConfig.Keys]; nothing is asked
	Metadata   Source = "metadata"   // RFC 8414: a document with jwks_uri
	KeySet     Source = "key-set"    // [IssuerConfig.URL] is the key set itself
	Federation Source = "federation" // OpenID Federation: entity statement, then a signed key set
)

// IssuerConfig describes one issuer of tokens. Durations of zero are the defaults.
type IssuerConfig struct {
	Issuer string // the claim iss, compared exactly
	Source Source
	Keys   jose.KeySet // Static only
	URL    string      // of the document, "" for the well-known place below the issuer
	// Pins are RFC 7638 thumbprints. If there are any, only these keys are believed; of a federation, these keys of entity
	// statements.
	Pins   []string
	Client *http.Client // for all sources but Static; never follows redirects here
	// Staff reports whether the issuer vouches for the employees of an insurer; nil: for nobody's. See [ident.ProfessionInsurer].
	Staff func(querschott.IK) bool
	// StaffOnly: it vouches for nobody else. An insurer's own provider must not be able to name a practice, or an insured person
	// of another insurer.
	StaffOnly bool
	Plain     bool // http instead of https is allowed, for tests and demonstrations

	Refresh   time.Duration // 300 s: how old keys get before they are asked for again; a shorter max-age shortens it
	MinReload time.Duration // 10 s: between two attempts, whoever wants them
	KeepFor   time.Duration // 24 h: how long keys serve after they should have been renewed
	Timeout   time.Duration // 5 s: of one attempt

	// FS and File keep the last known keys across restarts, "" for not. Readers learn nothing secret; writers can make the
	// gate believe a key until the issuer is reached.
	FS   disk.FS
	File string

	Now func() time.Time
	// NewKey is told the thumbprint of a key that this gate never saw of this issuer; nil for nobody. It must not ask the
	// issuer anything.
	NewKey func(issuer, thumbprint string)
}

// IssuerStatus is what the status page shows of an issuer.
type IssuerStatus struct {
	Issuer  string
	Source  Source
	Keys    []string      // thumbprints, sorted
	Loaded  time.Time     // when the issuer last confirmed them; zero for never, or static
	Age     time.Duration // since then
	Until   time.Time     // when they end unless renewed; zero for static
	Stale   bool          // a renewal is overdue
	Dropped bool
	Frozen  bool
	Err     string // of the last attempt, "" if it went well
}

// Issuer holds the keys of one issuer. All methods may be called at the same time; finding a key takes no lock.
//
// keys is replaced as a whole, never changed; mu is held by those who replace it and guards what stands below it.
type Issuer struct {
	cfg     IssuerConfig
	keys    atomic.Pointer[keys]
	dropped atomic.Bool
	frozen  atomic.Bool
	waiting atomic.Int32 // requests that wait for an attempt

	mu      sync.Mutex
	tried   time.Time // when the last attempt began
	running chan struct{}
	err     error
	seen    map[string]bool // thumbprints that were reported
}

// keys is one state of an issuer's keys.
type keys struct {
	set      jose.KeySet
	loaded   time.Time
	renew    time.Time // when to ask again
	until    time.Time // when they end; zero: never
	etag     string
	modified string
}

// maxWaiting bounds the requests that wait for one attempt: a storm of unknown keys shall not hold up memory.
const maxWaiting = 256

var (
	errDropped = errors.New("the issuer was dropped")
	errNoKeys  = errors.New("there are no keys of the issuer")
	errTooOld  = errors.New("the keys of the issuer are too old")
	errUnknown = errors.New("the issuer has no such key")
)

// NewIssuer checks the description and, if there is a file, takes over the last known keys. It asks nobody: that is for
// [Issuer.Run] and for the first token.
func NewIssuer(cfg IssuerConfig) (*Issuer, error) {
	standard(&cfg.Refresh, 300*time.Second)
	standard(&cfg.MinReload, 10*time.Second)
	standard(&cfg.KeepFor, 24*time.Hour)
	standard(&cfg.Timeout, 5*time.Second)
	i := &Issuer{cfg: cfg, seen: map[string]bool{}}
	if err := i.check(); err != nil {
		return nil, fmt.Errorf("couldn't set up issuer %q: %w", cfg.Issuer, err)
	}
	if cfg.Source == Static {
		set := pinned(cfg.Keys, cfg.Pins)
		if len(set) == 0 {
			return nil, fmt.Errorf("couldn't set up issuer %q: %w", cfg.Issuer, errNoKeys)
		}
		i.keys.Store(&keys{set: set})
		return i, nil
	}
	if cfg.File != "" {
		if err := i.recall(); err != nil {
			return nil, fmt.Errorf("couldn't take over the last known keys of issuer %q: %w", cfg.Issuer, err)
		}
	}
	return i, nil
}

func standard(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

func (i *Issuer) check() error {
	c := &i.cfg
	if c.Issuer == "" || c.Now == nil {
		return errors.New("an issuer has a name and a clock")
	}
	switch c.Source {
	case Static:
		return nil
	case Metadata, Federation:
		if c.URL == "" {
			c.URL = strings.TrimSuffix(c.Issuer, "/") + wellKnown[c.Source]
		}
	case KeySet:
	default:
		return fmt.Errorf("unknown source %q; known are static, metadata, key-set, federation", c.Source)
	}
	if c.Client == nil {
		return errors.New("an issuer that is asked needs an HTTP client")
	}
	client := *c.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	c.Client = &client
	return c.allowed(c.URL)
}

// allowed keeps the one anchor of trust: TLS.
func (c *IssuerConfig) allowed(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (!c.Plain || u.Scheme != "http") {
		return errors.New("keys are fetched from https URLs only")
	}
	return nil
}

// Name returns the issuer's name, the claim iss.
func (i *Issuer) Name() string { return i.cfg.Issuer }

// Drop ends belief in all keys of the issuer, or begins it again. It acts on the next request, on remembered tokens, too.
func (i *Issuer) Drop(drop bool) { i.dropped.Store(drop) }

// Freeze keeps the keys as they are: none is added and none expires, whatever the issuer says, until it is lifted. For an
// issuer that may have been taken over, or whose keys are needed in isolation.
func (i *Issuer) Freeze(freeze bool) { i.frozen.Store(freeze) }

// Status says what is believed of the issuer.
func (i *Issuer) Status() IssuerStatus {
	i.mu.Lock()
	failed := i.err
	i.mu.Unlock()
	s := IssuerStatus{Issuer: i.cfg.Issuer, Source: i.cfg.Source, Dropped: i.dropped.Load(), Frozen: i.frozen.Load()}
	if failed != nil {
		s.Err = failed.Error()
	}
	k := i.keys.Load()
	if k == nil {
		s.Stale = true
		return s
	}
	for _, key := range k.set {
		s.Keys = append(s.Keys, key.Thumbprint())
	}
	slices.Sort(s.Keys)
	s.Loaded, s.Until = k.loaded, k.until
	if now := i.cfg.Now(); !k.loaded.IsZero() {
		s.Age = now.Sub(k.loaded)
		s.Stale = now.After(k.renew.Add(i.cfg.MinReload))
	}
	return s
}

// find returns the key in force of that id.
func (i *Issuer) find(id string, now time.Time) (jose.Key, error) {
	if i.dropped.Load() {
		return jose.Key{}, errDropped
	}
	k := i.keys.Load()
	switch {
	case k == nil:
		return jose.Key{}, errNoKeys
	case !k.until.IsZero() && !now.Before(k.until) && !i.frozen.Load():
		return jose.Key{}, errTooOld
	}
	key, ok := k.set[id]
	if !ok {
		return jose.Key{}, errUnknown
	}
	key.ID = id
	return key, nil
}

// Find returns the key of that id. If there is none in force it asks the issuer once more, unless it was asked a short time
// ago (gemSpec_ZETA A_26493-01); whoever comes meanwhile waits for the same attempt. Callers have checked all they can check
// without the key.
func (i *Issuer) Find(ctx context.Context, id string) (jose.Key, error) {
	key, err := i.find(id, i.cfg.Now())
	if err == nil || errors.Is(err, errDropped) || i.cfg.Source == Static || i.frozen.Load() {
		return key, err
	}
	if !i.reload(ctx) {
		return jose.Key{}, err
	}
	return i.find(id, i.cfg.Now())
}

// usable reports whether a remembered result still holds: its key is in force.
func (i *Issuer) usable(key *jose.Key, now time.Time) bool {
	present, err := i.find(key.ID, now)
	return err == nil && present.Equal(*key)
}

// Run renews the keys in time until the context ends. An attempt that fails is made again after MinReload.
func (i *Issuer) Run(ctx context.Context) error {
	if i.cfg.Source == Static {
		<-ctx.Done()
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if k := i.keys.Load(); !i.frozen.Load() && !i.dropped.Load() && (k == nil || !i.cfg.Now().Before(k.renew)) {
			i.reload(ctx)
		}
		wait := i.cfg.MinReload
		if k := i.keys.Load(); k != nil {
			wait = max(wait, k.renew.Sub(i.cfg.Now()))
		}
		timer.Reset(wait)
	}
}

// reload makes one attempt, or waits for the one under way. It reports whether an attempt ended; false if it was too early
// for another, the context ended, or too many wait already.
func (i *Issuer) reload(ctx context.Context) bool {
	if i.waiting.Add(1) > maxWaiting {
		i.waiting.Add(-1)
		return false
	}
	defer i.waiting.Add(-1)
	i.mu.Lock()
	running := i.running
	if running == nil {
		now := i.cfg.Now()
		if !i.tried.IsZero() && now.Sub(i.tried) < i.cfg.MinReload && !now.Before(i.tried) {
			i.mu.Unlock()
			return false
		}
		running = make(chan struct{})
		i.running, i.tried = running, now
		// The attempt belongs to everybody who waits for it: it does not end with the request that began it.
		go i.attempt(context.WithoutCancel(ctx), running)
	}
	i.mu.Unlock()
	select {
	case <-running:
		return true
	case <-ctx.Done():
		return false
	}
}

func (i *Issuer) attempt(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, i.cfg.Timeout)
	defer cancel()
	next, err := i.fetch(ctx)
	i.mu.Lock()
	if err == nil && !i.frozen.Load() {
		err = i.adopt(next)
	}
	i.err = err
	i.running = nil
	i.mu.Unlock()
	close(done)
}

// adopt puts keys in force and tells of those that are new. The caller holds mu.
func (i *Issuer) adopt(next *keys) error {
	if len(next.set) == 0 {
		return errNoKeys
	}
	i.keys.Store(next)
	for _, key := range next.set {
		thumbprint := key.Thumbprint()
		if !i.seen[thumbprint] && i.cfg.NewKey != nil {
			i.cfg.NewKey(i.cfg.Issuer, thumbprint)
		}
		if len(i.seen) < 4096 { // an issuer that makes up keys endlessly is told of endlessly
			i.seen[thumbprint] = true
		}
	}
	if i.cfg.File == "" {
		return nil
	}
	return i.keep(next)
}

// pinned returns the keys of the set that have one of the thumbprints, all if there are none.
func pinned(set jose.KeySet, pins []string) jose.KeySet {
	if len(pins) == 0 {
		return set
	}
	kept := jose.KeySet{}
	for id, key := range set {
		if slices.Contains(pins, key.Thumbprint()) {
			kept[id] = key
		}
	}
	return kept
}
