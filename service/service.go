// Package service is the contract between the gate and what stands behind it. The packages below it are the services;
// they never import one another.
//
// A service gets a request that is identified, has passed its compartment's door and caps, and carries no credential. It
// returns an answer and the facts of the access. It has no socket: the gate records the facts and only then lets the first
// byte out, so no service can bypass the ledger.
package service

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

// Request is one request as a service sees it.
type Request struct {
	ID          string                 // UUIDv7; stands in the ledger and in the answer's X-Request-Id
	Time        time.Time              // when it came
	Compartment querschott.Compartment // Insurer "" when the request names no insurer of this platform
	Epoch       uint64                 // of the door that it passed
	Method      string
	Path        string // decoded, without the route's prefix
	Query       url.Values
	Header      http.Header // without credentials, cookies and what only gates may set
	Body        io.Reader   // bounded by the route's limit; never nil
	Caller      querschott.Caller
	Presence    *querschott.Presence // nil unless the route asks for one
}

// Answer is what a service wants to be answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // the whole body, unless Next is set
	Facts  Facts

	// Next returns the pieces of a long answer, io.EOF after the last. Each is recorded before it leaves, and none is
	// asked for after the door has closed.
	Next func(context.Context) (Piece, error)
	// Close releases what Next holds; nil if there is nothing. It is called once, in every case.
	Close func() error
	// Sent is called when Body has been sent whole and nobody reads it any more; nil if nobody wants it back.
	Sent func()
}

// Piece is one part of a long answer.
type Piece struct {
	Data    []byte // valid until the next call of Next
	Records uint32
	Persons []querschott.KVNR
}

// Facts are what the ledger says about an answer.
type Facts struct {
	Action  ledger.Action
	Data    ledger.DataClass
	Fields  string // the field group that was reached, such as "master-data"; "" when none was
	Purpose ledger.Purpose
	Person  querschott.KVNR   // whose data it was, "" for none or many
	Persons []querschott.KVNR // when it was many
	Records uint32
	Outcome ledger.Outcome
	Cause   ledger.ReasonKind // why it did not succeed
	Reason  string            // reference of the case, call or document that explains the access
	Detail  []ledger.Field    // what else the entry should say: identifiers and numbers, never contents
}

// Func is a service: it answers one request. A [querschott.Error] becomes a refusal in the form of our own APIs; a service
// whose standard has its own errors answers them itself.
type Func func(ctx context.Context, r *Request) (*Answer, error)

// Shut is the error of a service that reads what another one keeps, whose door does not let it.
type Shut struct {
	Compartment querschott.Compartment // whose door it is
	Err         error
}

func (s *Shut) Error() string {
	return "the door of " + s.Compartment.String() + " is shut: " + s.Err.Error()
}

func (s *Shut) Unwrap() error { return s.Err }
