package querschott

import (
	"errors"
	"fmt"
)

// Code names one reason that a caller may learn. All other failures are shown as [CodeInternal].
type Code string

// The codes that may cross the gate.
const (
	CodeInternal     Code = "internal"          // ours; details stay inside
	CodeDoorClosed   Code = "door-closed"       // the compartment's door is closed; try again later
	CodeDoorHeld     Code = "door-held"         // the door is on hold and cannot serve this; try again later
	CodeNoRoom       Code = "no-room"           // the journal has no room or a copy is missing; try again later
	CodeTooLarge     Code = "too-large"         // over the configured size
	CodeUnknownHere  Code = "unknown-recipient" // an address or insurer that is not ours
	CodeUnauthorized Code = "unauthorized"      // not identified
	CodeForbidden    Code = "forbidden"         // identified, and not allowed
	CodeInvalid      Code = "invalid"           // the request cannot be understood
	CodeConflict     Code = "conflict"          // an illegal move, or the state changed in between
	CodeNotFound     Code = "not-found"
	CodeTooMany      Code = "too-many-requests" // over a rate or a cap; try again later
	CodeMethod       Code = "method-not-allowed"
	CodeUpstream     Code = "upstream-failed" // the service behind the gate gave no usable answer
)

// Error is a failure with a code and a text that the caller may see.
type Error struct {
	Code   Code
	Public string // shown to the caller; holds no secret and no number of a person
	Key    string // names the text for pages, which say it in their own language; "" for what no page says
	Args   []any  // what fills the text in
	Err    error  // the cause, for the log
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Public
	}
	return fmt.Sprintf("%s: %v", e.Public, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Refuse makes an error that the caller may see.
func Refuse(code Code, format string, args ...any) error {
	return &Error{Code: code, Public: fmt.Sprintf(format, args...)}
}

// RefuseAs is Refuse for what a page shows: the key names the text in the tables of the page's languages, which take the same
// arguments in the same order.
func RefuseAs(code Code, key, format string, args ...any) error {
	return &Error{Code: code, Public: fmt.Sprintf(format, args...), Key: key, Args: args}
}

// CodeOf returns the code of the first [Error] in the chain, [CodeInternal] if there is none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// ErrHalt is in the chain of an error after which the whole process must stop rather than go on with this request only:
// state on disk that cannot be trusted.
var ErrHalt = errors.New("the node must stop")
