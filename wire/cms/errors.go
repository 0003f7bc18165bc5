package cms

import (
	"encoding/asn1"
	"errors"
	"fmt"
)

// Problem says in what way a SignedData is not verified.
type Problem string

// The problems.
const (
	Format             Problem = "format"               // the octets are no BER or no SignedData
	Limit              Problem = "limit"                // over a bound of this package; ours
	Unsupported        Problem = "unsupported"          // an algorithm, curve or key that this package does not have; ours
	NoContent          Problem = "no-content"           // the signed octets are not inside
	NoSignature        Problem = "no-signature"         // nobody signed
	NoCertificate      Problem = "no-certificate"       // the signer's certificate is not inside
	DigestMismatch     Problem = "digest-mismatch"      // the content is not what was signed
	AttributeMismatch  Problem = "attribute-mismatch"   // signed attributes are missing or contradict the signature
	SignatureMismatch  Problem = "signature-mismatch"   // the signature value does not fit the attributes and the key
	CertificateInvalid Problem = "certificate-unusable" // the signer's certificate cannot be read or has a broken key
)

// Error is the error of every function of this package that judges foreign octets.
type Error struct {
	Problem Problem
	Signer  int                   // index in SignerInfos; -1 if it concerns the whole
	OID     asn1.ObjectIdentifier // what is unsupported, if it has a name
	Detail  string
	Err     error
}

func (e *Error) Error() string {
	s := "couldn't verify the signed document (" + string(e.Problem) + "): " + e.Detail
	if e.OID != nil {
		s += " " + e.OID.String()
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// ProblemOf returns the problem in an error of this package, "" if there is none.
func ProblemOf(err error) Problem {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Problem
	}
	return ""
}

// Ours reports whether the problem is a gap or a bound of this package rather than a finding about the sender's octets.
func (p Problem) Ours() bool { return p == Limit || p == Unsupported }

func fail(p Problem, format string, args ...any) *Error {
	return &Error{Problem: p, Signer: -1, Detail: fmt.Sprintf(format, args...)}
}

func unsupported(oid asn1.ObjectIdentifier, what string) *Error {
	return &Error{Problem: Unsupported, Signer: -1, OID: oid, Detail: what}
}
