package vsdm

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/vsd"
)

// Path is the endpoint, the whole path of the service's route. It has no id: whose data it is stands in the proof of
// presence only.
const Path = "/vsdservice/v1/vsdmbundle"

// The groups of fields that a successful answer reaches.
const (
	FieldsMasterData = "master-data" // 200: the whole record
	FieldsCheck      = "check"       // 304: that there is a record and that it is unchanged
)

// Answer is the service's [service.Func]. Errors are answered in this order, the first that applies:
//
//	79040  method                          79014  If-None-Match missing
//	79206  caller missing (to the gate)    79010  pattern of the IK
//	79207  presence missing (to the gate)  79011  pattern of the KVNR
//	79401  caller malformed (to the gate)  79012  IK of no insurer here
//	79402  presence malformed (to the gate) 79013 KVNR that this IK does not know
//	       door                             79100 a failure of ours
//	79030  Accept or If-None-Match malformed
//	79031  no such format
//	79016  profileVersion missing
//	79015  profileVersion malformed or not answered
//
// The answers to the gate carry ZETA-Cause: Proxy (A_26974-01); a gate passes none of them on.
func (s *Service) Answer(_ context.Context, r *service.Request) (*service.Answer, error) {
	if r.Path != "" {
		return nil, errPath
	}
	q := s.read(r)
	if f := fromProxy(r); f != nil {
		return s.fail(r, q, f, nil), nil
	}
	var in *cell.Vault
	if q.chamber != nil {
		var err error
		if in, err = s.cfg.Vault(q.chamber.c); err != nil {
			return s.failIn(r, q, err)
		}
	}
	if f := s.fromClient(r, q); f != nil {
		return s.fail(r, q, f, nil), nil
	}
	a, err := s.check(r, q, in)
	if err = s.still(q.chamber, in, err); err != nil {
		return s.failIn(r, q, err)
	}
	return a, nil
}

// Early answers the errors that come before the door, nil if there is none. It is for a gate that asks it before the door;
// Answer answers them too.
func (s *Service) Early(_ context.Context, r *service.Request) (*service.Answer, error) {
	if f := fromProxy(r); f != nil && r.Path == "" {
		return s.fail(r, s.read(r), f, nil), nil
	}
	return nil, nil
}

var errPath = querschott.Refuse(querschott.CodeNotFound, "there is nothing here")

// failIn answers an error that came up in a compartment.
func (s *Service) failIn(r *service.Request, q *question, err error) (*service.Answer, error) {
	if _, refused := errors.AsType[*querschott.Error](err); refused {
		return nil, err // by the door
	}
	if errors.Is(err, cell.ErrNotFound) {
		args := vsd.Args{IK: string(q.ik), KVNR: q.person.Reveal()}
		return s.fail(r, q, &fault{vsd.UnknownKVNR, args}, nil), nil // A_28607
	}
	return s.fail(r, q, &fault{code: vsd.InternalError}, err), nil // A_28613
}

// check answers a request without errors. It returns [cell.ErrNotFound] for a person whom the IK does not know.
func (s *Service) check(r *service.Request, q *question, in *cell.Vault) (*service.Answer, error) {
	stored, _, err := in.GetRecord(q.person, q.chamber.iks[q.ik])
	if err != nil {
		return nil, err
	}
	e, content, err := insured.Decode(stored)
	if err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	a := &service.Answer{Status: http.StatusNotModified, Header: make(http.Header, 6), Facts: s.facts(r, q)}
	a.Facts.Outcome, a.Facts.Fields = ledger.OutcomeSuccess, FieldsCheck
	etag := content.ETag(q.version, q.format)
	if !q.known.has(etag) {
		a.Body, err = vsd.Render(e.Record, q.version, q.format, vsd.Envelope{ID: newID(now), Created: vsd.InstantOf(now)})
		if err != nil {
			return nil, err
		}
		a.Status, a.Facts.Fields, a.Facts.Records = http.StatusOK, FieldsMasterData, 1
		a.Header.Set("Content-Type", contentType(q.format))
	}
	number, err := s.issue(q, r, e, now)
	if err != nil {
		return nil, err
	}
	a.Facts.Detail = append(a.Facts.Detail, number.detail()...)
	a.Header.Set("ETag", `"`+etag+`"`)
	a.Header.Set("VSDM-Pz", number.number.URL())
	guard(a.Header)
	return a, nil
}

// guard keeps an answer out of caches and tells those that look at it all the same what it depends on.
func guard(h http.Header) {
	h.Set("Cache-Control", "no-store, private")
	h.Set("Vary", "Accept")
}

func contentType(f vsd.Format) string { return f.MediaType() + ";charset=utf-8" }

// facts are those of every answer: a read of a person's master data that has not succeeded.
func (s *Service) facts(r *service.Request, q *question) service.Facts {
	f := service.Facts{
		Action: ledger.ActionRead, Data: ledger.DataInsured, Purpose: ledger.PurposeTreatment, Person: q.person,
		Outcome: ledger.OutcomeDenied,
	}
	if r.Presence != nil {
		f.Reason = "popp:" + hex.EncodeToString(r.Presence.Hash[:])
	}
	// A check digit that is wrong is refused only on demand, but it is told: somebody may be making numbers up.
	if _, err := querschott.ParseIK(string(q.ik)); q.ik != "" && err != nil {
		f.Detail = append(f.Detail, ledger.Field{Name: "check-digit", Value: "ik"})
	}
	if _, err := querschott.ParseKVNR(q.person.Reveal()); q.person != "" && err != nil {
		f.Detail = append(f.Detail, ledger.Field{Name: "check-digit", Value: "kvnr"})
	}
	return f
}

// fail answers an error of the standard. The cause is logged if it is ours.
func (s *Service) fail(r *service.Request, q *question, f *fault, cause error) *service.Answer {
	row, _ := vsd.Lookup(f.code)
	a := &service.Answer{Status: row.Status, Header: make(http.Header, 6), Facts: s.facts(r, q)}
	a.Facts.Cause = ledger.ReasonInvalidInput
	a.Facts.Detail = append(a.Facts.Detail, ledger.Field{Name: "code", Value: strconv.Itoa(int(f.code))})
	switch f.code {
	case vsd.UnknownIK, vsd.UnknownKVNR:
		a.Facts.Cause = ledger.ReasonNotThere
	case vsd.InternalError:
		a.Facts.Cause, a.Facts.Outcome = ledger.ReasonOwnFailure, ledger.OutcomeFailed
		s.cfg.Log.Error("couldn't answer with master data", "compartment", r.Compartment.String(), "request", r.ID, "err", cause)
	case vsd.InvalidOperation:
		a.Header.Set("Allow", http.MethodGet)
	default:
	}
	if row.Proxy {
		toProxy(a, row)
		return a
	}
	var err error
	if a.Body, err = vsd.Outcome(f.code, f.args, s.outcomeID(r), q.version, q.format); err != nil {
		s.cfg.Log.Error("couldn't write an error of the standard", "request", r.ID, "err", err)
	}
	a.Header.Set("Content-Type", contentType(q.format))
	guard(a.Header)
	return a
}

// outcomeID names the answer by its request, so that a caller's report can be found in the ledger.
func (s *Service) outcomeID(r *service.Request) string {
	if r.ID != "" {
		return r.ID
	}
	return newID(s.cfg.Now()).String()
}

// problem is the body of an error that concerns the gate. The standard has no OperationOutcome for them (RFC 9457).
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
}

// toProxy makes an answer one that the gate must not pass on (A_26974-01).
func toProxy(a *service.Answer, row vsd.Failure) {
	a.Facts.Outcome, a.Facts.Cause = ledger.OutcomeFailed, ledger.ReasonOwnFailure
	a.Header.Set("ZETA-Cause", "Proxy")
	a.Header.Set("Content-Type", "application/problem+json")
	guard(a.Header)
	a.Body, _ = json.Marshal(problem{row.Display, row.Status, strconv.Itoa(int(row.Code))}) // strings and numbers never fail
}
