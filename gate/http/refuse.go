package http

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/zeta"
)

// refusal is an answer of the gate itself.
type refusal struct {
	code     querschott.Code
	public   string
	outcome  ledger.Outcome
	reason   ledger.ReasonKind
	cause    string        // finer than reason, for detectors; "": the reason's word
	retry    time.Duration // 0: says nothing of when to come back
	page     string        // status page
	incident string
	allow    string         // methods, for 405
	detail   []ledger.Field // more for the ledger
	err      error          // for the log; nil if there is nothing to tell
	status   int
	zeta     *zeta.Error // how it looks in that form; nil: as code and public say

	own *service.Answer // the words of the service's standard; nil: the gate's
}

// answers says how a code looks from outside.
var answers = map[querschott.Code]struct {
	status  int
	zeta    zeta.Code
	outcome ledger.Outcome
	reason  ledger.ReasonKind
}{
	querschott.CodeInternal:     {500, zeta.ServerError, ledger.OutcomeFailed, ledger.ReasonOwnFailure},
	querschott.CodeDoorClosed:   {503, zeta.TemporarilyUnavailable, ledger.OutcomeDenied, ledger.ReasonDoor},
	querschott.CodeDoorHeld:     {503, zeta.TemporarilyUnavailable, ledger.OutcomeDenied, ledger.ReasonDoor},
	querschott.CodeNoRoom:       {503, zeta.TemporarilyUnavailable, ledger.OutcomeFailed, ledger.ReasonNoRoom},
	querschott.CodeTooLarge:     {413, zeta.InvalidRequest, ledger.OutcomeDenied, ledger.ReasonInvalidInput},
	querschott.CodeUnknownHere:  {404, zeta.ResourceNotFound, ledger.OutcomeFailed, ledger.ReasonNotThere},
	querschott.CodeUnauthorized: {401, zeta.InvalidToken, ledger.OutcomeDenied, ledger.ReasonNotIdentified},
	querschott.CodeForbidden:    {403, zeta.AccessDenied, ledger.OutcomeDenied, ledger.ReasonNotAllowed},
	querschott.CodeInvalid:      {400, zeta.InvalidRequest, ledger.OutcomeDenied, ledger.ReasonInvalidInput},
	querschott.CodeConflict:     {409, zeta.InvalidRequest, ledger.OutcomeFailed, ledger.ReasonInvalidInput},
	querschott.CodeNotFound:     {404, zeta.ResourceNotFound, ledger.OutcomeFailed, ledger.ReasonNotThere},
	querschott.CodeTooMany:      {429, zeta.RateLimitExceeded, ledger.OutcomeDenied, ledger.ReasonOverCap},
	querschott.CodeMethod:       {405, zeta.InvalidRequest, ledger.OutcomeDenied, ledger.ReasonInvalidInput},
	querschott.CodeUpstream:     {502, zeta.ServerError, ledger.OutcomeFailed, ledger.ReasonOwnFailure},
}

func refused(code querschott.Code, format string, args ...any) *refusal {
	a, ok := answers[code]
	if !ok {
		code, a = querschott.CodeInternal, answers[querschott.CodeInternal]
	}
	return &refusal{
		status: a.status, code: code, public: fmt.Sprintf(format, args...), outcome: a.outcome, reason: a.reason,
	}
}

// internal is a fault of ours: the caller gets a reference, the log the rest.
func (v *visit) internal(err error) *refusal {
	f := refused(querschott.CodeInternal, "internal error, reference %s", v.id)
	f.err = err
	return f
}

// unrecorded is what happens to an access that cannot be recorded: it does not.
func (v *visit) unrecorded(err error) *refusal {
	f := refused(querschott.CodeNoRoom, "the access cannot be recorded, reference %s", v.id)
	f.reason, f.err, f.retry = ledger.ReasonOwnFailure, fmt.Errorf("couldn't record an access: %w", err), v.srv.later(10*time.Second)
	return f
}

// later returns a time from d to twice d, so that those who were refused at once do not come back at once.
func (s *Server) later(d time.Duration) time.Duration {
	return d + time.Duration(s.cfg.Jitter(int64(d)))
}

// byDoor is the refusal by a door. It is never an error of the service itself, and never a 404 or 401: those would make
// clients search for the service, or log in, again and again (gemSpec_ZETA A_28426, A_25339).
func (v *visit) byDoor(o door.Order) *refusal {
	code, words := querschott.CodeDoorClosed, "closed"
	if o.To != querschott.Closed {
		code, words = querschott.CodeDoorHeld, "on hold"
	}
	if o.To == querschott.ReadOnly {
		words = "open for reading only"
	}
	f := refused(code, "the service is %s at present", words)
	f.retry, f.incident = v.srv.later(time.Minute), o.Incident
	f.page = v.srv.cfg.StatusPage + "#" + strings.ReplaceAll(o.Compartment.String(), "/", "-")
	return f
}

// fault turns an error of identification or of a backend into a refusal.
func (v *visit) fault(err error) *refusal {
	if z, ok := errors.AsType[*zeta.Error](err); ok {
		return v.byZETA(z)
	}
	e, ok := errors.AsType[*querschott.Error](err)
	if !ok || e.Code == querschott.CodeInternal {
		return v.internal(err)
	}
	f := refused(e.Code, "%s", e.Public)
	f.err = e.Err
	if f.status == http.StatusServiceUnavailable || f.status == http.StatusTooManyRequests {
		f.retry = v.srv.later(10 * time.Second)
	}
	return f
}

// byZETA keeps what identification wants said: its codes and headers are part of the protocol.
func (v *visit) byZETA(z *zeta.Error) *refusal {
	code := querschott.CodeInvalid
	switch {
	case z.Status == http.StatusUnauthorized:
		code = querschott.CodeUnauthorized
	case z.Status == http.StatusForbidden:
		code = querschott.CodeForbidden
	case z.Status == http.StatusNotFound:
		code = querschott.CodeNotFound
	case z.Status == http.StatusMethodNotAllowed:
		code = querschott.CodeMethod
	case z.Status == http.StatusTooManyRequests:
		code = querschott.CodeTooMany
	case z.Status == http.StatusServiceUnavailable:
		code = querschott.CodeNoRoom
	case z.Reason == zeta.ReasonUpstream || z.Reason == zeta.ReasonUpstreamTimeout || z.Reason == zeta.ReasonUpstreamRejected:
		code = querschott.CodeUpstream
	case z.Status >= http.StatusInternalServerError:
		return v.internal(z)
	}
	f := refused(code, "%s", z.Description)
	f.status, f.zeta, f.cause, f.retry, f.allow, f.page, f.err = z.Status, z, string(z.Reason), z.RetryAfter, z.Allow, z.URI, z.Err
	return f
}

// problem is RFC 9457, with our own members behind.
type problem struct {
	Type       string          `json:"type"`
	Title      string          `json:"title"`
	Status     int             `json:"status"`
	Detail     string          `json:"detail"`
	Instance   string          `json:"instance"`
	Code       querschott.Code `json:"code"`
	Incident   string          `json:"incident,omitempty"`
	StatusPage string          `json:"status_page,omitempty"`
}

// write sends the refusal in the form of its route.
func (f *refusal) write(v *visit) {
	h := v.w.Header()
	if f.own != nil {
		answerHeader(h, f.own.Header)
		_ = v.send(f.own.Status, f.own.Body) // the caller has gone
		return
	}
	z := f.zeta
	if z == nil {
		z = f.inZETA()
	}
	z.SetHeader(h)
	h.Set("X-Content-Type-Options", "nosniff")
	if v.route != nil && v.route.Form == FormZETA {
		_ = v.send(f.status, z.Body()) // the caller has gone
		return
	}
	h.Del(zeta.HeaderOrigin)
	h.Set("Content-Type", "application/problem+json")
	body, err := json.Marshal(problem{
		Type: "urn:querschott:problem:" + string(f.code), Title: http.StatusText(f.status), Status: f.status, Detail: f.public,
		Instance: "urn:uuid:" + v.id, Code: f.code, Incident: f.incident, StatusPage: f.page,
	})
	if err != nil {
		panic(err) // texts always marshal
	}
	_ = v.send(f.status, body) // as above
}

// inZETA returns the refusal in the form that clients of a ZETA Guard know.
func (f *refusal) inZETA() *zeta.Error {
	z := &zeta.Error{
		Status: f.status, Code: answers[f.code].zeta, Description: f.public, URI: f.page, RetryAfter: f.retry, Allow: f.allow,
	}
	if f.incident != "" {
		z.Description += ", incident " + f.incident
	}
	return z
}

// word is the cause as detectors hear it.
func (f *refusal) word() string {
	if f.cause != "" {
		return f.cause
	}
	return f.reason.String()
}
