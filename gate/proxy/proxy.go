package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/zeta"
)

// Proxy is the gate in front of one existing service. All methods may be called by many goroutines.
type Proxy struct {
	cfg      Config
	rules    *rules
	upstream *url.URL
	public   *url.URL // without host if the settings name none
	drop     map[string]bool
	lanes    *lanes
	stats    counters
}

type counters struct {
	requests, unmatched, unreadable, refused, failed, rejected, cut atomic.Uint64
}

// Stats are counters since the start.
type Stats struct {
	Requests   uint64 `json:"requests"`
	Unmatched  uint64 `json:"unmatched"`  // fitted by no rule
	Unreadable uint64 `json:"unreadable"` // answers that could not be counted
	Refused    uint64 `json:"refused"`    // requests that could be understood in more than one way, or fitted no rule
	Failed     uint64 `json:"failed"`     // the service gave no usable answer, or none in time
	Rejected   uint64 `json:"rejected"`   // the service found fault with the gate's headers
	Cut        uint64 `json:"cut"`        // long answers that broke off
}

// New makes a proxy. It opens no connection. Its error names the setting that is wrong.
func New(cfg Config) (*Proxy, error) {
	rs, err := cfg.compile()
	if err != nil {
		return nil, fmt.Errorf("couldn't set up the passage to %s: %w", hostOf(cfg.Upstream), err)
	}
	p := &Proxy{cfg: cfg, rules: rs, drop: map[string]bool{}, public: &url.URL{}}
	if p.upstream, err = url.Parse(cfg.Upstream); err != nil {
		return nil, fmt.Errorf("couldn't set up the passage: %w", err)
	}
	if cfg.Public == "" {
		p.public.Path, p.public.RawPath = p.upstream.Path, p.upstream.RawPath
	} else if p.public, err = url.Parse(cfg.Public); err != nil {
		return nil, fmt.Errorf("couldn't set up the passage: %w", err)
	}
	for _, name := range cfg.Headers.Drop {
		p.drop[http.CanonicalHeaderKey(name)] = true
	}
	if p.lanes, err = newLanes(&cfg.Settings); err != nil {
		return nil, fmt.Errorf("couldn't set up the passage to %s: %w", hostOf(cfg.Upstream), err)
	}
	if p.cfg.Log == nil {
		p.cfg.Log = slog.New(slog.DiscardHandler)
	}
	if p.cfg.Now == nil {
		p.cfg.Now = time.Now
	}
	return p, nil
}

func hostOf(base string) string {
	if u, err := url.Parse(base); err == nil && u.Host != "" {
		return u.Host
	}
	return "a service"
}

// Close ends idle connections. Requests under way go on.
func (p *Proxy) Close() error {
	p.lanes.close()
	return nil
}

// Stats returns the counters.
func (p *Proxy) Stats() Stats {
	c := &p.stats
	return Stats{
		c.requests.Load(), c.unmatched.Load(), c.unreadable.Load(), c.refused.Load(), c.failed.Load(), c.rejected.Load(), c.cut.Load(),
	}
}

// Compartment says from a request's path, host, query and header whose compartment it is about; Insurer is "" if it names
// none. A [querschott.Error] says that it names two, one that this platform does not have, or that the request can be
// understood in more than one way. The body is not touched.
func (p *Proxy) Compartment(r *http.Request) (querschott.Compartment, error) {
	v, err := p.rules.look(r)
	if err != nil {
		return querschott.Compartment{}, err
	}
	return querschott.Compartment{Insurer: v.insurer, Service: p.rules.service}, nil
}

// Locate is a [gate.Locator]. It reads the body only where a rule looks for a person there, and puts it back.
func (p *Proxy) Locate(_ context.Context, r *gate.Request) (gate.Place, error) {
	v, err := p.look(r)
	if err != nil {
		return gate.Place{}, err
	}
	place := gate.Place{Insurer: v.insurer, Known: v.known, Found: v}
	if len(v.persons.persons) == 1 && len(v.persons.others) == 0 {
		place.Person = v.persons.persons[0]
	}
	return place, nil
}

// Writes reports whether a request changes something, for the gate's Route. A POST does not if its rule says that it reads or
// searches.
func (p *Proxy) Writes(r *gate.Request) bool {
	switch r.Raw.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	case http.MethodPost:
		v, err := p.rules.look(r.Raw)
		return err != nil || v.rule.action != ledger.ActionRead && v.rule.action != ledger.ActionSearch
	}
	return true
}

// look finds out all that can be known of a request, and refuses one that the service must not see. What [Proxy.Locate] has
// found out is not looked for again.
func (p *Proxy) look(r *gate.Request) (*view, error) {
	if v, ok := r.Place.Found.(*view); ok && v.rules == p.rules {
		return v, nil
	}
	v, err := p.rules.look(r.Raw)
	if err == nil {
		v.findPersons()
		err = p.lookInside(r, v)
	}
	if err == nil && len(v.persons.persons)+len(v.persons.others)+v.persons.omitted > maxNamed {
		err = querschott.Refuse(querschott.CodeInvalid, "the request names more than %d persons", maxNamed)
	}
	if err == nil && r.Caller.Person != "" && slices.ContainsFunc(v.persons.persons, func(k querschott.KVNR) bool { return k != r.Caller.Person }) {
		err = querschott.Refuse(querschott.CodeForbidden, "the request is about somebody else")
	}
	if err != nil {
		p.stats.refused.Add(1)
		return nil, err
	}
	return v, nil
}

// lookInside looks for persons in the body, if a rule says so, and puts it back.
func (p *Proxy) lookInside(r *gate.Request, v *view) error {
	form, other := v.wantsBody(r.Raw.Header.Get("Content-Type"))
	if !form && !other || r.Raw.ContentLength == 0 {
		return nil
	}
	if r.Raw.Header.Get("Content-Encoding") != "" {
		return querschott.Refuse(querschott.CodeInvalid, "a compressed body is not taken here")
	}
	body, again, err := peek(r.Body, p.cfg.Limits.Inspect)
	if err != nil {
		return err
	}
	r.Body, r.Raw.Body = again, io.NopCloser(again)
	if err := v.findInBody(body, form); err != nil {
		if form || p.cfg.Unreadable == block {
			return querschott.Refuse(querschott.CodeInvalid, "the body cannot be read")
		}
		v.persons.unknown = true
	}
	return nil
}

// Backend is a [gate.Backend]. An error is a [querschott.Error] or a [zeta.Error], which the gate shows in its own form.
func (p *Proxy) Backend(ctx context.Context, r *gate.Request) (*service.Answer, error) {
	p.stats.requests.Add(1)
	v, err := p.look(r)
	if err != nil {
		return nil, err
	}
	if !v.known {
		p.stats.unmatched.Add(1)
		if p.cfg.Unmatched == refuse {
			p.stats.refused.Add(1)
			return nil, querschott.Refuse(querschott.CodeForbidden, "no rule describes this request")
		}
	}
	c := p.begin(ctx, r, v)
	defer c.unlink()
	if err := c.ask(ctx); err != nil {
		return nil, err
	}
	a, err := c.answer()
	if err != nil {
		c.close()
		return nil, c.failure(ctx, err)
	}
	return a, nil
}

// facts are what is known of an access before its answer is read.
func (v *view) facts(method string, status int) service.Facts {
	f := service.Facts{Action: v.rule.actionOf(method), Data: v.rule.data, Fields: v.rule.Fields, Purpose: v.rule.purpose}
	f.Outcome, f.Cause = outcomeOf(status)
	name := v.rule.Name
	if !v.known {
		name = "none"
	}
	f.Detail = []ledger.Field{{Name: "rule", Value: name}}
	return f
}

// settle puts what was found into the facts.
func settle(f *service.Facts, in *found) {
	f.Records = in.records
	switch len(in.persons) {
	case 0:
	case 1:
		f.Person = in.persons[0]
	default:
		f.Persons = in.persons
	}
	f.Detail = append(f.Detail, in.detail()...)
}

// outcomeOf says what a status of the service means for the ledger.
func outcomeOf(status int) (ledger.Outcome, ledger.ReasonKind) {
	switch {
	case status < http.StatusBadRequest:
		return ledger.OutcomeSuccess, ledger.ReasonNone
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return ledger.OutcomeDenied, ledger.ReasonNotAllowed
	case status == http.StatusNotFound || status == http.StatusGone:
		return ledger.OutcomeFailed, ledger.ReasonNotThere
	case status == http.StatusTooManyRequests:
		return ledger.OutcomeDenied, ledger.ReasonOverCap
	case status < http.StatusInternalServerError:
		return ledger.OutcomeFailed, ledger.ReasonInvalidInput
	}
	return ledger.OutcomeFailed, ledger.ReasonOwnFailure
}

// Why an answer of the service cannot be used.
var (
	errHeaders  = errors.New("the service found fault with the gate's headers") // ZETA-Cause: Proxy
	errTooLong  = errors.New("the answer is larger than the limit")
	errBomb     = errors.New("the answer expands too much")
	errSilent   = errors.New("the service sent nothing for too long")
	errTooSlow  = errors.New("the answer took too long")
	errEncoding = errors.New("the answer has an encoding that was not asked for")
	errProtocol = errors.New("the service switched to another protocol")
)

// failure turns what went wrong with the service into the gate's own error, and counts it.
func (c *call) failure(ctx context.Context, err error) error {
	if body := c.body.failed(); body != nil {
		return bodyError(body)
	}
	if known, ok := errors.AsType[*querschott.Error](err); ok {
		return known
	}
	p := c.p
	if errors.Is(err, errHeaders) {
		p.stats.rejected.Add(1)
		p.cfg.Log.Error("ALARM: the service behind the gate found fault with the gate's headers", "upstream", p.upstream.Host, "request", c.r.ID)
		return zeta.Upstream(zeta.ReasonUpstreamRejected, err)
	}
	p.stats.failed.Add(1)
	reason := zeta.ReasonUpstream
	if ctx.Err() != nil || c.late || isTimeout(c.cause(), err) {
		reason = zeta.ReasonUpstreamTimeout
	}
	return zeta.Upstream(reason, fmt.Errorf("couldn't get an answer from %s: %s", p.upstream.Host, words(err)))
}

// words describes an error of the connection to the service without anything that the service has sent: that may name
// persons.
func words(err error) string {
	for _, known := range []error{
		errUnreadable, errTooLong, errBomb, errSilent, errTooSlow, errEncoding, errProtocol, errGone, errHead, io.ErrUnexpectedEOF,
		context.DeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Err != nil {
		return e.Op + ": " + e.Err.Error()
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e.Error()
	}
	if isTimeout(nil, err) {
		return "no answer in time"
	}
	return "what it sent is not valid HTTP, or too much"
}

// mapPath puts the path of one base in place of another's. ok is false for a path that is not below the first.
func mapPath(path, from, to string) (string, bool) {
	from, to = strings.TrimSuffix(from, "/"), strings.TrimSuffix(to, "/")
	rest, ok := strings.CutPrefix(path, from)
	if !ok || rest != "" && rest[0] != '/' && rest[0] != '?' && rest[0] != '#' {
		return "", false
	}
	return to + rest, true
}
