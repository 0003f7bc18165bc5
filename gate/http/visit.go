package http

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/zeta"
)

// visit is one request on its way through the gate. Its own goroutine owns it.
type visit struct {
	srv   *Server
	w     http.ResponseWriter
	out   *outlet
	raw   *http.Request // as it came
	id    string        // UUIDv7
	start time.Time     // by the clock that is recorded
	began time.Time     // by the clock that is measured
	peer  bool          // the connection is a trusted hop's
	addr  netip.Addr    // the caller's

	route    *Route
	path     string // behind the route's
	query    url.Values
	body     *body
	identity *ident.Identity    // nil: nobody was identified
	req      *gate.Request      // nil before identification
	order    door.Order         // the door that was passed; zero if there is none
	placed   bool               // an insurer of this platform was named
	transit  *transit           // nil outside of a lane
	rate     *allowance         // what the caller is told of
	quiet    bool               // there is no event of it
	course   *querschott.Course // nil: not traced
	sent     bool               // the answer's header has left
	left     int64              // bytes of the answer's body
}

// ServeHTTP takes one request through the gate.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := &visit{srv: s, w: w, raw: r, start: s.cfg.Now().UTC().Truncate(time.Microsecond), began: time.Now()}
	v.id = newID(v.start)
	rc := http.NewResponseController(w)
	v.out = &outlet{w: w, rc: rc}
	s.stats.inFlight.Add(1)
	defer s.stats.inFlight.Add(-1)
	defer v.rescue(r.Context())
	w.Header().Set("X-Request-Id", v.id)
	if r.ProtoMajor == 1 && (len(r.TransferEncoding) > 0 || r.ProtoMinor == 0) {
		// RFC 9112 6.1: whoever disagrees with us about the length of this body must not get a second request out of it.
		// net/http reads no chunks in HTTP/1.0, and takes what follows for a request.
		w.Header().Set("Connection", "close")
	}
	if f := v.pass(r.Context()); f != nil {
		v.refuse(r.Context(), f)
	}
	if v.body != nil {
		v.body.dispose()
	}
}

// rescue turns a panic into an answer, or into a broken connection if an answer has begun.
func (v *visit) rescue(ctx context.Context) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // the one value that net/http knows, never wrapped
		panic(p)
	}
	v.srv.stats.panics.Add(1)
	// The value may hold what the request held; its type does not.
	f := v.internal(fmt.Errorf("panic of type %T\n%s", p, debug.Stack()))
	f.cause = "panic"
	if v.sent {
		v.cut(ctx, f)
	}
	v.refuse(ctx, f)
}

// pass takes the request through all checks to its answer. What it returns has not been answered or recorded yet.
func (v *visit) pass(ctx context.Context) *refusal {
	if f := v.receive(ctx); f != nil {
		return f
	}
	if v.route.Public {
		return v.publish(ctx)
	}
	v.at(querschott.StageIdentify)
	if f := v.identify(ctx); f != nil {
		return f
	}
	v.at(querschott.StageDoor)
	if f := v.place(ctx); f != nil {
		return f
	}
	if v.route.Early != nil {
		a, err := v.route.Early(ctx, v.req)
		if err != nil {
			return v.fault(err)
		}
		if a != nil {
			return v.answer(ctx, a, false)
		}
	}
	return v.enter(ctx)
}

// networkRate is the cause of refusals that have one event per network and minute: a flood of strangers must not push the
// events of others out of the stream's buffers.
const networkRate = "network-rate"

// receive checks what needs no identity: form, network's rate, route, method, size.
func (v *visit) receive(ctx context.Context) *refusal {
	s, r := v.srv, v.raw
	addr := peerOf(r.RemoteAddr)
	v.addr, v.peer = caller(addr, r.Header, s.cfg.Trusted)
	v.follow()
	what := hostileURL(r)
	if what == "" {
		v.route, v.path = s.router.find(hostName(r.Host), r.URL.Path)
	}
	if a := s.networks.take(network(v.addr), s.cfg.Limits.Network, v.start); !a.ok {
		v.rate = &a
		f := refused(querschott.CodeTooMany, "too many requests from this network")
		f.retry, f.cause = a.retry, networkRate
		return f
	}
	switch {
	case !r.ProtoAtLeast(1, 1): // gemSpec_ZETA A_26920
		f := refused(querschott.CodeInvalid, "HTTP/1.1 or HTTP/2 is spoken here")
		f.status = http.StatusHTTPVersionNotSupported
		return f
	case what != "":
		return refused(querschott.CodeInvalid, "%s", what)
	case v.route == nil:
		return v.byZETA(zeta.NoRoute())
	case !v.route.allows(r.Method):
		return v.misfit(ctx)
	}
	var err error
	if v.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return refused(querschott.CodeInvalid, "the query cannot be understood")
	}
	limit := v.route.MaxBody
	if limit <= 0 {
		limit = s.cfg.Limits.Body
	}
	if r.ContentLength > limit {
		return refused(querschott.CodeTooLarge, "the body is larger than %d bytes", limit)
	}
	v.body = &body{src: r.Body, rc: v.out.rc, max: limit, start: s.cfg.Limits.BodyStart, rate: s.cfg.Limits.BodyRate, ended: r.Body == http.NoBody}
	return nil
}

// misfit refuses a method that the route does not have, whoever calls: a token would change nothing.
func (v *visit) misfit(ctx context.Context) *refusal {
	f := v.byZETA(zeta.NoMethod(strings.Join(v.route.Methods, ", ")))
	if v.route.Misfit == nil {
		return f
	}
	nobody := querschott.Caller{Role: querschott.RoleUnknown}
	a, err := v.route.Misfit(ctx, &gate.Request{Raw: v.raw, Remote: v.addr, Request: service.Request{
		ID: v.id, Time: v.start, Compartment: querschott.Compartment{Service: v.route.Service}, Method: v.raw.Method, Path: v.path,
		Header: bare(v.raw.Header), Caller: nobody,
	}})
	if err != nil {
		return v.fault(err)
	}
	if a == nil || a.Status != f.status {
		return v.internal(fmt.Errorf("the route %s does not refuse a method that it does not have", v.route.Name))
	}
	f.own = a
	return f
}

// request makes what backends see. The caller's own headers are not touched: the connection may still need them.
func (v *visit) request(ctx context.Context, guard bool) *http.Request {
	q := v.raw.WithContext(ctx)
	q.Header = strip(v.raw.Header, guard, v.peer)
	q.RemoteAddr = v.addr.String()
	if v.route.Tunnel != nil && v.raw.Header.Get("Upgrade") != "" {
		q.Header["Connection"], q.Header["Upgrade"] = []string{"Upgrade"}, v.raw.Header["Upgrade"]
	}
	q.Body, q.Trailer = v.body, nil
	v.passOn(q.Header)
	return q
}

func (v *visit) seen(q *http.Request, identity *ident.Identity) *gate.Request {
	return &gate.Request{
		Request: service.Request{
			ID: v.id, Time: v.start, Compartment: querschott.Compartment{Service: v.route.Service}, Method: q.Method, Path: v.path,
			Query: v.query, Header: bare(q.Header), Body: v.body, Caller: identity.Caller, Presence: identity.Presence,
		},
		Raw: q, Identity: identity, Remote: v.addr,
	}
}

// publish answers what is anybody's.
func (v *visit) publish(ctx context.Context) *refusal {
	nobody := &ident.Identity{Credential: querschott.Credential{Role: querschott.RoleUnknown}, Caller: querschott.Caller{Role: querschott.RoleUnknown}}
	v.req = v.seen(v.request(ctx, false), nobody)
	a, err := v.call(ctx, v.route.Backend)
	if err != nil {
		return v.fault(err)
	}
	return v.answer(ctx, a, true)
}

// identify finds out who calls.
func (v *visit) identify(ctx context.Context) *refusal {
	q := v.request(ctx, v.raw.TLS != nil && v.srv.cfg.Guard(v.raw.TLS))
	patience, cancel := context.WithTimeout(ctx, v.srv.cfg.Limits.Identify)
	defer cancel()
	known, err := v.srv.cfg.Identify(patience, q, v.route)
	if known == nil && err == nil {
		err = errors.New("nobody was identified, and nobody says why")
	}
	if known != nil {
		own := *known // it may be shared by requests, and the insurer is this request's
		v.identity = &own
		unguarded(q.Header)
		v.req = v.seen(q, v.identity)
	}
	if err != nil {
		return v.fault(err)
	}
	if f := v.count(); f != nil {
		return f
	}
	if len(v.route.Roles) > 0 && !slices.Contains(v.route.Roles, v.identity.Caller.Role) {
		return refused(querschott.CodeForbidden, "this is not for callers of this kind")
	}
	return nil
}

// place finds the compartment, and refuses who may not reach it.
func (v *visit) place(ctx context.Context) *refusal {
	named, f := v.named(ctx)
	if f != nil {
		return f
	}
	c := querschott.Compartment{Service: v.route.Service}
	if ik, ok := v.srv.cfg.Owner(named); ok && named != "" {
		c.Insurer = ik
		v.order, v.placed = v.srv.cfg.Door(c)
	}
	if v.placed {
		v.req.Compartment, v.req.Epoch, v.identity.Facts.Insurer = c, v.order.Epoch, c.Insurer
	}
	if err := v.srv.cfg.Valid(v.identity); err != nil {
		return v.revoked(err)
	}
	who := v.identity.Caller
	if v.placed && who.Insurer != "" && who.Insurer != c.Insurer {
		f := refused(querschott.CodeForbidden, "access denied")
		f.cause, f.detail = "foreign-insurer", []ledger.Field{{Name: "caller-insurer", Value: string(who.Insurer)}}
		return f
	}
	if p := v.person(); p != "" && who.Person != "" && p != who.Person {
		return v.foreignPerson()
	}
	if !v.placed && !v.route.Unplaced {
		return refused(querschott.CodeNotFound, "there is no such insurer here")
	}
	return nil
}

func (v *visit) revoked(err error) *refusal {
	f := v.fault(err)
	f.cause = string(zeta.ReasonRevoked)
	return f
}

func (v *visit) foreignPerson() *refusal {
	f := refused(querschott.CodeForbidden, "access denied")
	f.cause = "foreign-person"
	return f
}

// person is whom the request is about, as far as it says.
func (v *visit) person() querschott.KVNR {
	if v.req.Place.Person != "" {
		return v.req.Place.Person
	}
	if p := v.req.Presence; p != nil {
		return querschott.KVNR(p.Patient)
	}
	return ""
}

// named returns the insurer that the request names, "" if it names none.
func (v *visit) named(ctx context.Context) (string, *refusal) {
	t := &v.route.Tenant
	switch t.From {
	case FromNowhere:
		return "", nil
	case FromRoute:
		return string(t.Insurer), nil
	case FromPresence:
		if v.req.Presence == nil {
			return "", nil
		}
		return v.req.Presence.Insurer, nil
	case FromHost:
		host := hostName(v.raw.Host)
		// A certificate for many names lets a connection for one be used for another; which insurer is meant must be beyond doubt.
		if name := v.raw.TLS; name != nil && name.ServerName != "" && !v.peer && strings.ToLower(name.ServerName) != host {
			f := refused(querschott.CodeInvalid, "the host is not the one of this connection")
			f.status = http.StatusMisdirectedRequest
			return "", f
		}
		return string(t.Hosts[host]), nil
	case FromPath:
		ik, rest, _ := strings.Cut(v.req.Path, "/")
		v.req.Path = rest
		return ik, nil
	case FromHeader:
		return v.header(t.Header)
	case FromCaller:
		return string(v.identity.Caller.Insurer), nil
	case FromLocator:
		p, err := v.route.Locate(ctx, v.req)
		if err != nil {
			return "", v.fault(err)
		}
		v.req.Place = p
		return string(p.Insurer), nil
	}
	return "", v.internal(fmt.Errorf("the route %s names its insurer in an unknown place", v.route.Name))
}

// header returns the insurer that a header names. A second one, also in another spelling, is a trick.
func (v *visit) header(name string) (string, *refusal) {
	var found []string
	for h, values := range v.req.Header {
		if strings.EqualFold(strings.ReplaceAll(h, "_", "-"), name) {
			found = append(found, values...)
		}
	}
	if len(found) > 1 || len(found) == 1 && strings.ContainsAny(found[0], ", ") {
		return "", refused(querschott.CodeInvalid, "the header %s names more than one insurer", name)
	}
	if len(found) == 0 {
		return "", nil
	}
	return found[0], nil
}

// decide asks the door of a compartment: one look-up and one comparison.
func (s *Server) decide(c querschott.Compartment, who querschott.CredentialID, write, canWait bool) (door.Order, verdict) {
	o, ok := s.cfg.Door(c)
	if !ok {
		return o, refuse
	}
	o = s.meets(o, who)
	return o, judge(o.To, write, canWait)
}

// enter passes the door and the caps, and has the request answered.
func (v *visit) enter(ctx context.Context) *refusal {
	write := v.route.writes(v.req)
	if v.placed {
		var says verdict
		if v.order, says = v.srv.decide(v.req.Compartment, v.identity.Credential.ID, write, v.route.Later != nil); says == refuse {
			v.req.Epoch = v.order.Epoch
			return v.byDoor(v.order)
		}
		v.req.Epoch = v.order.Epoch
		if p := v.person(); p != "" {
			if f := v.reach(p); f != nil {
				return f
			}
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v.transit = &transit{who: v.identity.Credential.ID, write: write, canWait: v.route.Later != nil, cancel: cancel, hurry: v.out.hurry}
	l := v.srv.lane(v.req.Compartment)
	if v.tunnels() {
		return v.tunnel(ctx, l)
	}
	if v.route.Backend == nil {
		return refused(querschott.CodeInvalid, "only connections that switch protocols are served here")
	}
	if !l.slot(ctx, v.srv.cfg.Limits.Waiting, v.srv.cfg.Limits.Patience) {
		return v.crowded()
	}
	defer l.free()
	backend := v.route.Backend
	says := l.enter(v.transit, v.state()) // the door may have moved while the request waited
	defer v.transit.exit()
	switch says {
	case refuse:
		return v.byDoor(v.current())
	case later:
		backend = v.route.Later
	case pass:
	}
	a, err := v.call(ctx, backend)
	if err != nil {
		return v.broken(ctx, err)
	}
	return v.answer(ctx, a, false)
}

func (v *visit) crowded() *refusal {
	f := refused(querschott.CodeNoRoom, "too many requests for this insurer are under way")
	f.reason, f.outcome, f.retry, f.cause = ledger.ReasonOverCap, ledger.OutcomeDenied, v.srv.later(2*time.Second), "crowded"
	return f
}

// count counts the request to its credential. It comes before the compartment is known, so that whoever tries many of them
// is slowed down too.
func (v *visit) count() *refusal {
	l, who := &v.srv.cfg.Limits, &v.identity.Credential
	rate, ok := l.Rates[who.Role]
	if !ok {
		rate = l.Credential
	}
	a := v.srv.credentials.take(who.ID, rate, v.start)
	v.rate = &a
	if a.ok {
		return nil
	}
	f := refused(querschott.CodeTooMany, "too many requests")
	f.retry, f.cause = a.retry, "rate"
	return f
}

// reach counts persons to the credential.
func (v *visit) reach(persons ...querschott.KVNR) *refusal {
	retry, ok := v.srv.reaches.Take(&v.identity.Credential, v.srv.cfg.Now(), persons...)
	if ok {
		return nil
	}
	return tooMany(retry, len(persons))
}

func tooMany(retry time.Duration, persons int) *refusal {
	f := refused(querschott.CodeTooMany, "too many different persons")
	f.retry, f.cause, f.detail = retry, "reach", []ledger.Field{{Name: "persons", Value: strconv.Itoa(persons)}}
	return f
}

// timeout is how long a backend may take for the next thing to send.
func (v *visit) timeout() time.Duration {
	if v.route.Timeout > 0 {
		return v.route.Timeout
	}
	return v.srv.cfg.Limits.Service
}

// call has a backend answer in time.
func (v *visit) call(ctx context.Context, b gate.Backend) (*service.Answer, error) {
	// A long answer needs the context until its end, so time ends it only while the backend is asked.
	v.at(querschott.StageService)
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(v.timeout(), func() { cancel(context.DeadlineExceeded) })
	a, err := b(ctx, v.req)
	if !t.Stop() && err == nil && ctx.Err() != nil && a != nil && a.Next != nil {
		err = context.DeadlineExceeded
	}
	if err == nil && a == nil {
		err = errors.New("the backend gave no answer")
	}
	if err != nil || a.Next == nil {
		cancel(nil)
		return a, v.expired(ctx, err)
	}
	end := a.Close
	a.Close = func() error {
		cancel(nil)
		if end == nil {
			return nil
		}
		return end()
	}
	return a, nil
}

// expired tells a backend that took too long from one that failed.
func (v *visit) expired(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return zeta.Upstream(zeta.ReasonUpstreamTimeout, err)
	}
	return err
}

// broken explains why a backend failed: the door may have closed under it.
func (v *visit) broken(ctx context.Context, err error) *refusal {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errDoor):
		o, _ := v.srv.cfg.Door(v.req.Compartment)
		return v.byDoor(o)
	case errors.Is(cause, errStop):
		f := refused(querschott.CodeNoRoom, "the node is stopping")
		f.retry = v.srv.later(5 * time.Second)
		return f
	case errors.Is(cause, context.Canceled) && errors.Is(err, context.Canceled):
		f := refused(querschott.CodeInvalid, "the caller has gone")
		f.outcome, f.reason, f.cause, f.status = ledger.OutcomeFailed, ledger.ReasonNone, "caller-gone", 499
		return f
	}
	if other, ok := errors.AsType[*service.Shut](err); ok {
		if o, known := v.srv.cfg.Door(other.Compartment); known {
			return v.byDoor(o)
		}
	}
	if code := querschott.CodeOf(err); v.placed && (code == querschott.CodeDoorHeld || code == querschott.CodeDoorClosed) {
		return v.byDoor(v.current()) // the backend has noticed first
	}
	return v.fault(err)
}
