package http

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
)

// entry is the ledger's entry of an answer.
func (v *visit) entry(f *service.Facts, status int, bytes int64) ledger.Entry {
	e := ledger.Entry{
		Kind: ledger.KindAccess, At: v.start, Compartment: v.req.Compartment, Action: f.Action, Data: f.Data, Records: f.Records,
		Outcome: f.Outcome, Reason: f.Cause, Role: v.identity.Credential.Role, Purpose: v.purpose(f.Purpose),
		Actor: v.identity.Credential.Actor, Credential: v.identity.Credential.ID, Person: f.Person, Persons: f.Persons,
		Epoch: v.req.Epoch, RequestID: v.id,
	}
	if f.Outcome == ledger.OutcomeDenied || f.Outcome == ledger.OutcomeFailed {
		e.Kind = ledger.KindAttempt
	}
	if e.Person == "" && len(e.Persons) == 0 && e.Kind == ledger.KindAttempt {
		e.Person = v.meant()
	}
	d := append(make([]ledger.Field, 0, 8+len(f.Detail)),
		ledger.Field{Name: "route", Value: v.shape()},
		ledger.Field{Name: "status", Value: strconv.Itoa(status)},
		ledger.Field{Name: "bytes", Value: strconv.FormatInt(bytes, 10)})
	for _, more := range [...]ledger.Field{
		{Name: "fields", Value: f.Fields},
		{Name: "reason", Value: f.Reason},
		{Name: "profession", Value: v.identity.Caller.Profession},
		{Name: "binding", Value: v.identity.Binding},
	} {
		if more.Value != "" {
			d = append(d, more)
		}
	}
	if p := v.req.Presence; p != nil {
		d = append(d, ledger.Field{Name: "presence", Value: hex.EncodeToString(p.Hash[:])})
	}
	if v.route.Locate != nil && !v.req.Place.Known {
		d = append(d, ledger.Field{Name: "request", Value: "unknown"})
	}
	if v.identity.Canary {
		d = append(d, ledger.Field{Name: ledger.DetailCanary, Value: "stage"})
	}
	e.Detail = append(d, f.Detail...)
	return e
}

// purpose is what an access is for: nobody is treated or served by canary traffic, whatever the service believes.
func (v *visit) purpose(p ledger.Purpose) ledger.Purpose {
	if v.identity != nil && v.identity.Canary {
		return ledger.PurposeSecurity
	}
	return p
}

// meant is the person whom a refused request named, if it is a number that a person can have. Its check digit is not asked:
// gematik's own test cards have wrong ones.
func (v *visit) meant() querschott.KVNR {
	p := v.person()
	if !v.placed || len(p) != 10 || p[0] < 'A' || p[0] > 'Z' || strings.Trim(p.Reveal()[1:], "0123456789") != "" {
		return ""
	}
	return p
}

// deny makes an entry say that nothing, or nothing more, happened, and why.
func (v *visit) deny(e *ledger.Entry, f *refusal) {
	e.Kind, e.Outcome, e.Reason, e.Records = ledger.KindAttempt, f.outcome, f.reason, 0
	e.Action, e.Data, e.Purpose = attempted(v.raw.Method), v.route.Data, v.purpose(v.route.Purpose)
	if e.Person == "" {
		e.Person = v.meant()
	}
	if f.cause != "" {
		e.Detail = append(e.Detail, ledger.Field{Name: "cause", Value: f.cause})
	}
	e.Detail = append(e.Detail, f.detail...)
}

// record makes entries durable. It goes on when the caller has gone, but not for ever.
func (v *visit) record(ctx context.Context, entries ...ledger.Entry) error {
	v.at(querschott.StageLedger)
	return v.srv.record(ctx, entries...)
}

func (s *Server) record(ctx context.Context, entries ...ledger.Entry) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Limits.Record)
	defer cancel()
	err := s.cfg.Record(ctx, entries...)
	if errors.Is(err, querschott.ErrHalt) {
		select {
		case s.halt <- err:
		default: // one is enough
		}
	}
	return err
}

// refuse records a refusal and sends it. One that cannot be recorded becomes another one.
func (v *visit) refuse(ctx context.Context, f *refusal) {
	switch {
	case v.route != nil && v.route.Public:
	case v.identity == nil:
		first := v.srv.attempts.add(v.start, network(v.addr), f.word())
		v.quiet = f.cause == networkRate && !first
	default:
		e := v.entry(&service.Facts{}, f.status, 0)
		v.deny(&e, f)
		if err := v.record(ctx, e); err != nil {
			v.report(f)
			f = v.unrecorded(err)
		}
	}
	v.report(f)
	v.tellRefusal(f)
	f.write(v)
}

// report logs a failure of ours once.
func (v *visit) report(f *refusal) {
	if f.err == nil {
		return
	}
	name := ""
	if v.route != nil {
		name = v.route.Name
	}
	if f.outcome == ledger.OutcomeFailed {
		v.srv.cfg.Log.Error("a request failed", "request", v.id, "route", name, "cause", f.word(), "err", f.err)
		return
	}
	v.srv.cfg.Log.Debug("a request was refused", "request", v.id, "route", name, "cause", f.word(), "err", f.err)
}

func (v *visit) tellRefusal(f *refusal) {
	facts := service.Facts{Outcome: f.outcome, Cause: f.reason, Action: attempted(v.raw.Method)}
	if v.route != nil {
		facts.Purpose, facts.Data = v.route.Purpose, v.route.Data
	}
	if v.req != nil {
		facts.Person = v.meant()
	}
	v.tell(&facts, f.status, 0, f.word())
}

// tell publishes what the ledger records, and counts it. An access to many persons is one event for each of them: records
// and bytes are such that their sums are right, the first event having what is left over.
func (v *visit) tell(f *service.Facts, status int, bytes int64, cause string) {
	took := time.Since(v.began)
	e := querschott.Access{
		Time: v.start, Action: f.Action.String(), Query: v.shape(), Fields: f.Fields, Records: f.Records, Bytes: bytes,
		Status: status, Outcome: f.Outcome.String(), Cause: cause, ReasonRef: f.Reason, RequestID: v.id, Role: querschott.RoleUnknown,
		Took: took.Microseconds(),
	}
	if v.addr.IsValid() {
		e.Address = v.addr.String()
	}
	if cause == "" && f.Cause != ledger.ReasonNone {
		e.Cause = f.Cause.String()
	}
	if p := v.purpose(f.Purpose); p != ledger.PurposeNone {
		e.Purpose = p.String()
	}
	if v.route != nil {
		e.Service = v.route.Service
	}
	v.srv.stats.count(e.Service, f.Outcome, f.Cause, took)
	if v.quiet {
		return
	}
	if v.identity != nil {
		v.name(&e, v.identity)
	}
	e.Course = v.traced(took)
	persons := reachedBy(f)
	if len(persons) == 0 {
		v.srv.cfg.Stream.Publish(e)
		return
	}
	left, n := f.Records, uint32(len(persons))
	for i, p := range persons {
		e.Person, e.Records = v.srv.cfg.Pseudonym(v.req.Compartment, p), min(left, 1)
		if i == 0 && left > n {
			e.Records = left - n + 1
		}
		left -= e.Records
		v.srv.cfg.Stream.Publish(e)
		e.Bytes, e.Course = 0, nil
	}
}

// reachedBy returns the persons of an answer in one list.
func reachedBy(f *service.Facts) []querschott.KVNR {
	if f.Person == "" {
		return f.Persons
	}
	return append(f.Persons[:len(f.Persons):len(f.Persons)], f.Person)
}

func (v *visit) name(e *querschott.Access, who *ident.Identity) {
	e.Actor, e.Credential, e.Role = who.Credential.Actor, who.Credential.ID, who.Credential.Role
	e.Tenant, e.Profession, e.Binding = who.Caller.Insurer, who.Caller.Profession, who.Binding
	e.Insurer, e.Epoch, e.Canary = v.req.Compartment.Insurer, v.req.Epoch, who.Canary
}

// shape is the class of the request: a known method and the route's name, never what stands in the target.
func (v *visit) shape() string {
	name := "unknown"
	if v.route != nil {
		name = v.route.Name
	}
	switch m := v.raw.Method; m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return m + " " + name
	default:
		return "other " + name
	}
}

// newID makes a UUID of version 7 (RFC 9562 5.7).
func newID(now time.Time) string {
	var b [16]byte
	_, _ = rand.Read(b[6:]) // never fails: the process ends before it would
	ms := uint64(now.UnixMilli())
	binary.BigEndian.PutUint16(b[:], uint16(ms>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(ms))
	b[6], b[8] = b[6]&0x0f|0x70, b[8]&0x3f|0x80
	var out [36]byte
	hex.Encode(out[:], b[:4])
	hex.Encode(out[9:], b[4:6])
	hex.Encode(out[14:], b[6:8])
	hex.Encode(out[19:], b[8:10])
	hex.Encode(out[24:], b[10:])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}
