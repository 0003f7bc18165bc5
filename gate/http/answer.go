package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/zeta"
)

// chunk is how much of an answer is written under one deadline, in bytes.
const chunk = 64 << 10

// small is what HTTP/2 takes without anybody waiting for the receiver, in bytes.
const small = 2 << 10

// answer checks, records and sends what a backend wants answered. bare answers may reach nobody's record: those of public
// routes and those of requests that name no insurer. What it returns is a refusal in place of the answer.
func (v *visit) answer(ctx context.Context, a *service.Answer, public bool) *refusal {
	if a.Close != nil {
		defer func() {
			if err := a.Close(); err != nil {
				v.srv.cfg.Log.Error("an answer did not end well", "request", v.id, "route", v.route.Name, "err", err)
			}
		}()
	}
	if f := v.usable(a, public); f != nil {
		return f
	}
	if a.Next != nil {
		return v.stream(ctx, a, public)
	}
	if f := v.admit(&a.Facts); f != nil {
		return f
	}
	if !v.departs() {
		return v.byDoor(v.current())
	}
	if !public {
		e := v.entry(&a.Facts, a.Status, int64(len(a.Body)))
		if err := v.record(ctx, e); err != nil {
			return v.unrecorded(err)
		}
	}
	v.tell(&a.Facts, a.Status, int64(len(a.Body)), "")
	answerHeader(v.w.Header(), a.Header)
	if n, err := strconv.ParseUint(a.Header.Get("Content-Length"), 10, 63); err == nil && v.raw.Method == http.MethodHead {
		v.w.Header().Set("Content-Length", strconv.FormatUint(n, 10)) // of what a GET would bring (RFC 9110 8.6)
	}
	if v.send(a.Status, a.Body) == nil && a.Sent != nil {
		a.Sent()
	}
	return nil
}

// usable refuses answers that no backend may give.
func (v *visit) usable(a *service.Answer, public bool) *refusal {
	if a.Status < 200 || a.Status > 599 {
		return v.internal(fmt.Errorf("the backend of %s answered with status %d", v.route.Name, a.Status))
	}
	if a.Header.Get(zeta.HeaderCause) != "" {
		// gemSpec_ZETA A_26974-01: the service says that our headers are wrong. Its answer goes no further.
		return v.byZETA(zeta.Upstream(zeta.ReasonUpstreamRejected, errors.New("the service refuses the headers of the gate")))
	}
	if (public || !v.placed || v.transit == nil) && reached(&a.Facts) {
		return v.internal(fmt.Errorf("the backend of %s reached records where it must reach none", v.route.Name))
	}
	return nil
}

func reached(f *service.Facts) bool {
	return f.Outcome != ledger.OutcomeDenied && f.Outcome != ledger.OutcomeFailed && (f.Records > 0 || len(f.Persons) > 0)
}

// departs reports whether the answer may leave. What a write has done cannot be undone, so its answer does.
func (v *visit) departs() bool {
	if v.transit == nil || v.transit.lane == nil {
		return true
	}
	if v.transit.write {
		return v.transit.depart(nil)
	}
	return v.transit.depart(v.state())
}

// admit refuses an answer about persons whom the caller may not reach, or who are too many.
func (v *visit) admit(facts *service.Facts) *refusal {
	persons := reachedBy(facts)
	switch {
	case v.transit == nil:
		return nil
	case len(persons) == 0 && facts.Action == ledger.ActionSearch && v.placed:
		// Whoever may reach nobody else is refused whether there is somebody or not: the refusal would tell.
		if retry, spent := v.srv.reaches.Spent(&v.identity.Credential, v.srv.cfg.Now()); spent {
			return tooMany(retry, 0)
		}
		return nil
	case len(persons) == 0:
		return nil
	}
	if own := v.identity.Caller.Person; own != "" && slices.ContainsFunc(persons, func(p querschott.KVNR) bool { return p != own }) {
		return v.foreignPerson()
	}
	if len(persons) == 1 && persons[0] == v.person() {
		return nil // counted before the request went in
	}
	return v.reach(persons...)
}

// stream sends a long answer piece by piece. Each piece is recorded before it leaves; the door, the caps and the credential
// are asked before each.
func (v *visit) stream(ctx context.Context, a *service.Answer, public bool) *refusal {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := time.AfterFunc(v.timeout(), func() { cancel(context.DeadlineExceeded) })
	defer patience.Stop()
	for first := true; ; first = false {
		patience.Reset(v.timeout())
		p, err := a.Next(ctx)
		patience.Stop()
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			err = v.expired(ctx, fmt.Errorf("couldn't get the next piece of an answer: %w", err))
			return v.cutOr(ctx, first, v.broken(ctx, err))
		}
		if end && !first {
			return nil
		}
		if f := v.piece(ctx, a, p, first, public); f != nil {
			return v.cutOr(ctx, first, f)
		}
		if first {
			answerHeader(v.w.Header(), a.Header)
			v.begin(a.Status)
		}
		if err := v.write(p.Data); err != nil {
			v.cut(ctx, v.goneWhile(ctx))
		}
		if end {
			return nil
		}
		if err := v.out.rc.Flush(); err != nil {
			v.cut(ctx, v.goneWhile(ctx))
		}
	}
}

// piece asks whether a piece may leave, and records it.
func (v *visit) piece(ctx context.Context, a *service.Answer, p service.Piece, first, public bool) *refusal {
	facts := a.Facts
	if !first {
		facts.Detail = nil // the first entry has it
		facts.Person, facts.Persons, facts.Records = "", nil, 0
	}
	facts.Records += p.Records
	facts.Persons = append(facts.Persons[:len(facts.Persons):len(facts.Persons)], p.Persons...)
	if f := v.usable(&service.Answer{Status: a.Status, Facts: facts}, public); f != nil {
		return f
	}
	if f := v.admit(&facts); f != nil {
		return f
	}
	if !v.departs() || errors.Is(context.Cause(ctx), errDoor) {
		return v.byDoor(v.current())
	}
	if public {
		v.tell(&facts, a.Status, int64(len(p.Data)), "")
		return nil
	}
	if err := v.srv.cfg.Valid(v.identity); err != nil && !first {
		return v.revoked(err)
	}
	if err := v.record(ctx, v.entry(&facts, a.Status, int64(len(p.Data)))); err != nil {
		return v.unrecorded(err)
	}
	v.tell(&facts, a.Status, int64(len(p.Data)), "")
	return nil
}

func (v *visit) goneWhile(ctx context.Context) *refusal {
	if errors.Is(context.Cause(ctx), errDoor) {
		return v.byDoor(v.current())
	}
	f := refused(querschott.CodeInvalid, "the caller has gone")
	f.reason, f.cause = ledger.ReasonNone, "caller-gone"
	return f
}

func (v *visit) cutOr(ctx context.Context, first bool, f *refusal) *refusal {
	if !first {
		v.cut(ctx, f)
	}
	return f
}

// cut ends an answer that has begun, so that nobody takes it for a whole one. It does not return.
func (v *visit) cut(ctx context.Context, f *refusal) {
	v.srv.stats.cut.Add(1)
	f.outcome = ledger.OutcomePartial
	v.report(f)
	if v.req != nil && !v.route.Public {
		e := v.entry(&service.Facts{}, 0, v.left)
		v.deny(&e, f)
		if err := v.record(ctx, e); err != nil {
			v.report(v.unrecorded(err))
		}
	}
	v.tellRefusal(f)
	if v.body != nil {
		v.body.dispose()
	}
	panic(http.ErrAbortHandler)
}

// current is the order in force for the request's compartment, as this caller meets it.
func (v *visit) current() door.Order {
	o, _ := v.srv.cfg.Door(v.req.Compartment)
	return v.srv.meets(o, v.identity.Credential.ID)
}

// state asks the request's door; nil if it has none.
func (v *visit) state() func() querschott.DoorState {
	if !v.placed {
		return nil
	}
	return func() querschott.DoorState { return v.current().To }
}

// begin sends status and headers.
func (v *visit) begin(status int) {
	h := v.w.Header()
	if v.rate != nil { // gemSpec_ZETA A_26668-02
		h.Set("X-Rate-Limit-Limit", strconv.Itoa(v.rate.limit))
		h.Set("X-Rate-Limit-Remaining", strconv.Itoa(v.rate.remaining))
		h.Set("X-Rate-Limit-Reset", strconv.Itoa(seconds(v.rate.reset)))
	}
	if v.route != nil && v.route.Form == FormZETA && v.srv.cfg.Version != "" {
		h.Set(zeta.HeaderAPIVersion, v.srv.cfg.Version)
	}
	if v.raw.ProtoMajor == 1 && v.body != nil && !v.body.ended {
		h.Set("Connection", "close") // what is left of the body is not worth reading
	}
	v.sent = true
	if v.raw.ProtoMajor == 1 { // the deadline of the connection's last answer may be over
		v.out.grant(v.srv.cfg.Limits.WriteTime)
	}
	v.w.WriteHeader(status)
}

// send sends a whole answer. When it fails the caller has gone, what left is recorded, and the body may still be read.
func (v *visit) send(status int, body []byte) error {
	if status != http.StatusNoContent && status != http.StatusNotModified && (v.raw.Method != http.MethodHead || len(body) > 0) {
		v.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	if c, ok := v.raw.Context().Value(connKey{}).(*conn); ok && v.raw.ProtoMajor == 1 && len(body) > small {
		c.hold()
		defer func() {
			_ = v.out.rc.Flush() // fails if the caller has gone
			_ = c.release()      // as above
		}()
	}
	v.begin(status)
	if status == http.StatusNoContent || status == http.StatusNotModified {
		return nil
	}
	return v.write(body)
}

// write sends part of a body, each chunk in its time.
func (v *visit) write(b []byte) error {
	for len(b) > 0 && v.raw.Method != http.MethodHead {
		if (v.raw.ProtoMajor == 1 || len(b) > small) && !v.out.grant(v.srv.cfg.Limits.WriteTime) {
			return errDoor
		}
		n, err := v.w.Write(b[:min(len(b), chunk)])
		v.left += int64(n)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// body reads a request's body: at most so many bytes, and not too slowly.
type body struct {
	src   io.ReadCloser
	rc    *http.ResponseController
	max   int64
	start time.Duration // before the rate counts
	rate  int           // bytes a second
	read  int64
	began time.Time
	ended bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.ended {
		return 0, io.EOF
	}
	if b.read > b.max {
		return 0, b.tooLarge()
	}
	if b.began.IsZero() {
		b.began = time.Now()
	}
	_ = b.rc.SetReadDeadline(b.began.Add(b.start + time.Duration(b.read)*time.Second/time.Duration(b.rate)))
	n, err := b.src.Read(p[:min(int64(len(p)), b.max-b.read+1)])
	if b.read += int64(n); b.read > b.max {
		return 0, b.tooLarge()
	}
	if errors.Is(err, io.EOF) {
		b.ended = true
		_ = b.rc.SetReadDeadline(time.Time{}) // the connection's own limits hold again
		return n, io.EOF
	}
	if err != nil {
		err = &querschott.Error{Code: querschott.CodeInvalid, Public: "the body broke off or came too slowly", Err: err}
	}
	return n, err
}

func (b *body) tooLarge() error {
	return querschott.Refuse(querschott.CodeTooLarge, "the body is larger than %d bytes", b.max)
}

// Close leaves the rest to the gate.
func (b *body) Close() error { return nil }

// dispose lets nobody hold the connection by what is left of a body.
func (b *body) dispose() {
	if !b.ended {
		_ = b.rc.SetReadDeadline(time.Now().Add(time.Second)) // without it the connection ends later
	}
}
