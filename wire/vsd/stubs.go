package vsd

import (
	"math/rand/v2"
	"time"

	"github.com/querschott/querschott"
)

// Envelope is what differs between two bundles of one record.
type Envelope struct {
	ID      ID      // of the bundle
	Created Instant // Bundle.timestamp
}

// ParseBundle reads a VSDMBundle of either version in the given format. Errors are [*Error].
func ParseBundle(data []byte, f Format) (*Record, Envelope, error) { return nil, Envelope{}, nil }

// Render writes a valid record as a VSDMBundle. It fails only for a version that is not known.
func Render(r *Record, v Version, f Format, e Envelope) ([]byte, error) { return nil, nil }

// Encode returns the stored form of a record; equal records have equal stored forms.
func (r *Record) Encode() []byte { return nil }

// DecodeRecord is the inverse of [Record.Encode].
func DecodeRecord(stored []byte) (*Record, error) { return nil, nil }

// Validate checks every rule that a record on its own can break. Errors are [*Error].
func (r *Record) Validate() error { return nil }

// Error says which rule a bundle breaks, and where.
type Error struct {
	Element string // path of the element, such as Bundle.entry[1].resource.payor[0].display
	Rule    string // key of the profile's invariant, or "" for a rule of the structure
	Problem string // in words; contains no value of the bundle
}

func (e *Error) Error() string { return e.Element + ": " + e.Problem }

// Code is a code of the telemetry service (TDS-Code), such as 79013.
type Code int

// The codes.
const (
	InvalidIK             Code = 79010
	InvalidKVNR           Code = 79011
	UnknownIK             Code = 79012
	UnknownKVNR           Code = 79013
	MissingRecordVersion  Code = 79014
	InvalidProfileVersion Code = 79015
	MissingProfileVersion Code = 79016
	InvalidHeader         Code = 79030
	UnsupportedMediaType  Code = 79031
	InvalidOperation      Code = 79040
	InternalError         Code = 79100
	MissingUserInfo       Code = 79206 // to the proxy
	MissingPresence       Code = 79207 // to the proxy
	InvalidUserInfo       Code = 79401 // to the proxy
	InvalidPresence       Code = 79402 // to the proxy
)

// Failure is one row of the error table.
type Failure struct {
	Code        Code
	Status      int    // of HTTP
	ErrorCode   string // of VSDMErrorcodeCS; "" for the codes that concern the proxy
	Severity    string
	Issue       string   // type of the issue
	Display     string   // with placeholders such as [ik]
	User        string   // text for persons
	Diagnostics string   // text for developers
	Expression  []string // which inputs are at fault, with placeholders
	Proxy       bool     // addressed to the proxy, with ZETA-Cause: Proxy; there is no VSDMOperationOutcome for it
	Requirement string   // such as A_28607
}

// Lookup returns the row of a code.
func Lookup(c Code) (Failure, bool) { return Failure{}, false }

// Failures returns the whole table in the order of the codes.
func Failures() []Failure { return nil }

// Args fill the placeholders of the error texts. Only those that the code asks for are used.
type Args struct {
	IK, KVNR, ProfileVersion, Header, MediaType, Operation string
}

// Text returns the failure's text with the placeholders replaced.
func (f Failure) Text(v Version, a Args) string { return "" }

// Outcome writes the VSDMOperationOutcome of a code. It fails for codes that have none and for unknown versions.
func Outcome(c Code, a Args, id string, v Version, f Format) ([]byte, error) { return nil, nil }

// Invented says whose record is generated.
type Invented struct {
	Payor     querschott.IK
	PayorName string
	Number    querschott.KVNR
	Private   bool
	On        time.Time // the day of which the record is
}

// Generate invents a record. The same source and Invented give the same record.
func Generate(r *rand.Rand, i Invented) *Record { return nil }
