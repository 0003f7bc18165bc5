package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
)

const (
	askTimeout   = 10 * time.Second // for one question to the provider
	maxAnswer    = 1 << 20          // bytes of one answer
	freshFor     = time.Hour        // then the provider's description is asked for again
	retryAfter   = 5 * time.Second  // how long a provider that did not answer is left alone
	asksPer      = 10               // questions that strangers can cause: at once ...
	askPause     = 6 * time.Second  // ... and then one more after each pause
	maxTokenSize = 64 << 10
)

// Config describes one identity provider and what it may say.
type Config struct {
	Name         string // of the provider here: lower-case letters and digits; stands in front of its people's names
	Issuer       string // exactly as in its tokens; https, or http to this machine
	ClientID     string
	ClientSecret string // "" for a public client
	RedirectURL  string // of our page that calls Finish

	Scopes     []string // default openid, profile
	Algorithms []string // of its signatures; default RS256, ES256
	ACR        []string // accepted values of acr; empty: whatever it says

	ActorClaim   string                     // default sub. Others may be given to somebody else one day
	NameClaim    string                     // default name
	RoleClaim    string                     // a string or a list; a dot leads into an object
	Roles        map[string]querschott.Role // what a value of RoleClaim makes of somebody: operator or staff
	InsurerClaim string                     // the IK of staff; "" if Insurers has only one
	Insurers     []querschott.IK            // for whose staff this provider may speak

	Now       func() time.Time
	Sessions  *ident.Sessions
	Transport http.RoundTripper // nil: http.DefaultTransport
}

// Provider is one identity provider. All methods may be called at the same time.
//
// mu guards what follows it.
type Provider struct {
	cfg    Config
	key    []byte       // of this process's login cookies
	client *http.Client // for what a login asks
	others *http.Client // for what a logout token makes us ask, which anybody can send

	mu     sync.Mutex
	known  *description
	failed time.Time // when the provider last did not answer
	cause  error
	done   map[string]time.Time // logins that ended well, until their cookie is over
	ended  map[string]time.Time // back-channel logouts that were followed, until their token is over
}

// description is what the provider says of itself.
type description struct {
	oauth    oauth2.Config
	verifier *oidc.IDTokenVerifier
	logouts  *oidc.IDTokenVerifier
	says     bool // puts its name into answers (RFC 9207)
	read     time.Time
}

// New checks the configuration. It asks the provider nothing.
func New(cfg Config) (*Provider, error) {
	if len(cfg.Scopes) == 0 {
		cfg.Scopes = []string{oidc.ScopeOpenID, "profile"}
	}
	if len(cfg.Algorithms) == 0 {
		cfg.Algorithms = []string{oidc.RS256, oidc.ES256}
	}
	if cfg.ActorClaim == "" {
		cfg.ActorClaim = "sub"
	}
	if cfg.NameClaim == "" {
		cfg.NameClaim = "name"
	}
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("identity provider %s: %w", cfg.Name, err)
	}
	p := &Provider{cfg: cfg, key: newKey(), done: map[string]time.Time{}, ended: map[string]time.Time{}}
	p.client, p.others = cfg.client(), cfg.client()
	return p, nil
}

func (c *Config) client() *http.Client {
	return &http.Client{
		Transport:     &careful{next: c.Transport, now: c.Now, plain: strings.HasPrefix(c.Issuer, "http:")},
		Timeout:       askTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the provider sends us elsewhere") },
	}
}

func (c *Config) check() error {
	algorithms := []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}
	switch {
	case c.Name == "machine":
		return errors.New("its name here is that of machines")
	case c.Name == "" || strings.Trim(c.Name, "abcdefghijklmnopqrstuvwxyz0123456789") != "":
		return errors.New("its name here is of lower-case letters and digits")
	case !mayAsk(c.Issuer):
		return errors.New("the issuer is an https address (http only on this machine)")
	case c.ClientID == "":
		return errors.New("the client's id is missing")
	case !mayAsk(c.RedirectURL):
		return errors.New("the address to come back to is an https address (http only on this machine)")
	case !slices.Contains(c.Scopes, oidc.ScopeOpenID):
		return errors.New("the scopes lack openid")
	case len(c.Roles) == 0 || c.RoleClaim == "":
		return errors.New("nothing gives its people a role")
	}
	for _, alg := range c.Algorithms {
		if !slices.Contains(algorithms, alg) {
			return errors.New("an algorithm is unknown, symmetric or none")
		}
	}
	for _, ik := range c.Insurers {
		if _, err := querschott.ParseIK(string(ik)); err != nil {
			return err
		}
	}
	for _, role := range c.Roles {
		switch role {
		case querschott.RoleOperator:
		case querschott.RoleStaff:
			if len(c.Insurers) == 0 || len(c.Insurers) > 1 && c.InsurerClaim == "" {
				return errors.New("staff needs an insurer: the only one that is listed, or a claim that says which")
			}
		default:
			return errors.New("its people are operators or staff")
		}
	}
	return nil
}

// mayAsk reports whether the address is one that nobody in between can answer for.
func mayAsk(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && onThisMachine(u)
}

func onThisMachine(u *url.URL) bool {
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}

// Age says how old the description of the provider is that is in use, and what went wrong when it was last asked. Zero and
// nil before it was asked for the first time.
func (p *Provider) Age() (time.Duration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		return 0, p.cause
	}
	return p.cfg.Now().Sub(p.known.read), p.cause
}

// describe returns what the provider says of itself. What is too old is asked for again and, if it does not answer, used on.
func (p *Provider) describe(ctx context.Context) (*description, error) {
	p.mu.Lock()
	known, failed, cause, now := p.known, p.failed, p.cause, p.cfg.Now()
	p.mu.Unlock()
	if known != nil && now.Sub(known.read) < freshFor {
		return known, nil
	}
	if cause == nil || now.Sub(failed) >= retryAfter {
		known, cause = p.ask(ctx, known)
	}
	if known == nil {
		return nil, &querschott.Error{Code: querschott.CodeUpstream, Public: unreachable, Err: cause}
	}
	return known, nil
}

const unreachable = "the identity provider gives no usable answer; log in with a local account or a login link"

func (p *Provider) ask(ctx context.Context, old *description) (*description, error) {
	// Whoever goes away while the provider is asked does not make it one that failed.
	fresh, err := p.discover(context.WithoutCancel(ctx))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cause = err
	if err != nil {
		p.failed = p.cfg.Now()
		return old, err
	}
	p.known = fresh
	return fresh, nil
}

func (p *Provider) discover(ctx context.Context) (*description, error) {
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("couldn't learn about identity provider %s: %w", p.cfg.Name, bounded(err))
	}
	var more struct {
		Says    bool     `json:"authorization_response_iss_parameter_supported"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
		Keys    string   `json:"jwks_uri"`
	}
	if err := found.Claims(&more); err != nil {
		return nil, fmt.Errorf("couldn't understand identity provider %s: %w", p.cfg.Name, bounded(err))
	}
	endpoint := found.Endpoint()
	for _, address := range []string{endpoint.AuthURL, endpoint.TokenURL, more.Keys} {
		if !mayAsk(address) || strings.HasPrefix(address, "http:") && !strings.HasPrefix(p.cfg.Issuer, "http:") {
			return nil, fmt.Errorf("identity provider %s names an address that is not https", p.cfg.Name)
		}
	}
	// Trying one way after the other would show the code twice.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if p.cfg.ClientSecret == "" || len(more.Methods) != 0 && !slices.Contains(more.Methods, "client_secret_basic") {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	checks := &oidc.Config{ClientID: p.cfg.ClientID, SupportedSigningAlgs: p.cfg.Algorithms, Now: p.cfg.Now}
	return &description{
		oauth: oauth2.Config{
			ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: endpoint, RedirectURL: p.cfg.RedirectURL, Scopes: p.cfg.Scopes,
		},
		verifier: found.Verifier(checks),
		logouts:  oidc.NewVerifier(p.cfg.Issuer, oidc.NewRemoteKeySet(oidc.ClientContext(ctx, p.others), more.Keys), checks),
		says:     more.Says,
		read:     p.cfg.Now(),
	}, nil
}

// careful bounds what the provider can do to us, and how often strangers can make us ask it: an unknown key in a token is
// looked up at the provider, whoever made the token.
//
// mu guards full.
type careful struct {
	next  http.RoundTripper
	now   func() time.Time
	plain bool // the provider is on this machine, http will do

	mu   sync.Mutex
	full time.Time // when all of asksPer are there again
}

func (c *careful) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && (!c.plain || !onThisMachine(r.URL)) {
		return nil, errors.New("the provider's address is not https")
	}
	if r.Method == http.MethodGet && !c.may() {
		return nil, errors.New("the provider is asked too often")
	}
	answer, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = http.MaxBytesReader(nil, answer.Body, maxAnswer)
	return answer, nil
}

func (c *careful) may() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	full := c.full
	if full.Before(now) {
		full = now
	}
	if full = full.Add(askPause); full.Sub(now) > asksPer*askPause {
		return false
	}
	c.full = full
	return true
}

// bounded keeps a provider's pages out of the log.
func bounded(err error) error {
	if text := err.Error(); len(text) > 300 {
		return errors.New(strings.ToValidUTF8(text[:300], "?") + "...")
	}
	return err
}
