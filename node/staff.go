package node

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ident/local"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
)

// Cookies of people who have logged in, and the header with which a page shows that a change is its own.
const (
	sessionCookie = "__Host-querschott-session"
	deviceCookie  = "__Host-querschott-device"
	csrfHeader    = "X-Csrf-Token"
)

// staffDir is where it is kept which codes were used.
const staffDir = "staff"

// deviceLife is how long a browser is known.
const deviceLife = 90 * 24 * time.Hour

// OpenStaff opens the local accounts of operators and staff.
func (c *Config) OpenStaff(sessions *ident.Sessions, now func() time.Time) (*local.Accounts, error) {
	return local.Open(local.Config{
		FS: disk.OS{}, File: c.HTTP.Staff, Used: c.staffUsed(), Now: now, Sessions: sessions, Platform: c.Domain,
	})
}

// openStaff opens the accounts if a route lets people in by them, or an insurer has a desk.
func (n *Node) openStaff() (err error) {
	if n.desk == nil && !slices.ContainsFunc(n.cfg.HTTP.Routes, func(r RouteConfig) bool { return slices.Contains(r.Who, byStaff) }) {
		return nil
	}
	n.sessions = ident.NewSessions(n.opt.Now, 0, 0)
	n.staff, err = n.cfg.OpenStaff(n.sessions, n.opt.Now)
	return err
}

// staffRoutes are the ways in and out for people, and the way to complete an account.
func (n *Node) staffRoutes() []gatehttp.Route {
	if n.staff == nil {
		return nil
	}
	route := func(name, path string, backend gate.Backend) gatehttp.Route {
		return gatehttp.Route{Name: name, Path: path, Public: true, MaxBody: 8 << 10, Backend: backend}
	}
	return []gatehttp.Route{
		route("session", "/session", n.session), route("enrolment", "/session/enrolment", n.enrol),
		route("enrolment-end", "/session/enrolment/finish", n.finishEnrolment),
	}
}

// said reads the JSON of a request. Another content type is refused: no foreign page can send this one unasked.
func said[T any](r *gate.Request) (v T, err error) {
	if r.Method != http.MethodPost {
		return v, querschott.Refuse(querschott.CodeMethod, "only POST is answered here")
	}
	if r.Header.Get("Content-Type") != "application/json" {
		return v, querschott.Refuse(querschott.CodeInvalid, "the request must be application/json")
	}
	dec := json.NewDecoder(io.LimitReader(r.Body, 8<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, querschott.Refuse(querschott.CodeInvalid, "the request cannot be read")
	}
	return v, nil
}

func answerJSON(v any) (*service.Answer, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &service.Answer{
		Status: http.StatusOK, Body: body, Header: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}},
		Facts: service.Facts{Action: ledger.ActionLogin, Data: ledger.DataAccount, Outcome: ledger.OutcomeSuccess},
	}, nil
}

// session logs in (POST) and out (DELETE).
func (n *Node) session(ctx context.Context, r *gate.Request) (*service.Answer, error) {
	if r.Method == http.MethodDelete {
		return n.logout(r)
	}
	d, err := said[struct {
		Name     string `json:"name"`
		Password string `json:"password"`
		Code     string `json:"code"`
	}](r)
	if err != nil {
		return nil, err
	}
	device := ""
	if c, err := r.Raw.Cookie(deviceCookie); err == nil {
		device = c.Value
	}
	in, err := n.staff.Login(ctx, local.Attempt{Name: d.Name, Password: d.Password, Code: d.Code, Address: r.Remote, Device: device})
	if err != nil {
		if rerr := n.recordLogin(ctx, r, querschott.Credential{Role: querschott.RoleUnknown}, ledger.OutcomeDenied); rerr != nil {
			return nil, rerr
		}
		if wait := local.RetryAfter(err); wait > 0 {
			return nil, querschott.Refuse(querschott.CodeTooMany, "too many attempts; try again in %d seconds", int(wait.Seconds())+1)
		}
		return nil, err
	}
	if err := n.recordLogin(ctx, r, in.Session.Credential, ledger.OutcomeSuccess); err != nil {
		n.sessions.End(in.Secret) // who cannot be recorded is not let in
		return nil, err
	}
	a, err := answerJSON(map[string]string{
		"actor": string(in.Session.Caller.Actor), "role": string(in.Session.Caller.Role), "insurer": string(in.Session.Caller.Insurer),
		"csrf": in.Session.CSRF, "expires": in.Session.Expires.UTC().Format(time.RFC3339), "recovery_codes_left": strconv.Itoa(in.Recovery),
	})
	if err == nil {
		a.Header.Add("Set-Cookie", cookie(sessionCookie, in.Secret, 0))
		a.Header.Add("Set-Cookie", cookie(deviceCookie, in.Device, deviceLife))
	}
	return a, err
}

func (n *Node) logout(r *gate.Request) (*service.Answer, error) {
	if c, err := r.Raw.Cookie(sessionCookie); err == nil {
		n.sessions.End(c.Value)
	}
	a, err := answerJSON(struct{}{})
	if err == nil {
		a.Header.Add("Set-Cookie", cookie(sessionCookie, "", -1))
	}
	return a, err
}

// cookie writes a cookie for this host only. A life of 0 ends with the browser, a negative one at once.
func cookie(name, value string, life time.Duration) string {
	c := http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	switch {
	case life > 0:
		c.MaxAge = int(life.Seconds())
	case life < 0:
		c.MaxAge = -1
	}
	return c.String()
}

func (n *Node) recordLogin(ctx context.Context, r *gate.Request, who querschott.Credential, outcome ledger.Outcome) error {
	kind, reason := ledger.KindAccess, ledger.ReasonNone
	if outcome != ledger.OutcomeSuccess {
		kind, reason = ledger.KindAttempt, ledger.ReasonNotIdentified
	}
	err := n.append(ctx, ledger.Entry{
		Kind: kind, At: r.Time, Action: ledger.ActionLogin, Data: ledger.DataAccount, Outcome: outcome, Reason: reason, Role: who.Role,
		Purpose: ledger.PurposeOperations, Actor: who.Actor, Credential: who.ID, RequestID: r.ID,
	})
	return err
}

func (n *Node) enrol(_ context.Context, r *gate.Request) (*service.Answer, error) {
	d, err := said[struct {
		Token string `json:"token"`
	}](r)
	if err != nil {
		return nil, err
	}
	e, err := n.staff.Begin(d.Token)
	if err != nil {
		return nil, err
	}
	return answerJSON(map[string]string{"name": e.Name, "secret": e.Secret, "uri": e.URI})
}

func (n *Node) finishEnrolment(ctx context.Context, r *gate.Request) (*service.Answer, error) {
	d, err := said[struct {
		Token    string `json:"token"`
		Password string `json:"password"`
		Code     string `json:"code"`
	}](r)
	if err != nil {
		return nil, err
	}
	recovery, err := n.staff.Finish(ctx, d.Token, d.Password, d.Code)
	if err != nil {
		return nil, err
	}
	return answerJSON(map[string][]string{"recovery_codes": recovery})
}

// byStaff says who is behind a cookie. A request that changes something must show that it is the page's own.
func (n *Node) byStaff(r *http.Request, route *gatehttp.Route) (*ident.Identity, error) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil, querschott.Refuse(querschott.CodeUnauthorized, "log in first")
	}
	s, err := n.sessions.Session(c.Value)
	if err != nil {
		return nil, err
	}
	if !n.staff.Valid(s) {
		return nil, querschott.Refuse(querschott.CodeUnauthorized, "log in again")
	}
	id := s.Identity()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if err := s.CheckCSRF(r.Header.Get(csrfHeader)); err != nil {
			return id, err
		}
	}
	return n.admitted(id, r, route)
}
