package eau

import (
	"time"

	"github.com/querschott/querschott"
)

// The bounds of [Read].
const (
	MaxSize     = 5 << 20 // octets; larger documents are hashed and not read
	MaxDepth    = 64      // nested elements
	MaxFindings = 64      // later findings are dropped
)

// Kind is what a document is.
type Kind string

// The kinds of documents.
const (
	KindUnknown      Kind = ""             // neither of the two, or not readable
	KindCertificate  Kind = "certificate"  // a sick note
	KindCancellation Kind = "cancellation" // Storno: withdraws a sick note
)

// Type is the type of a sick note (KBV_CS_EAU_AU_Type).
type Type string

// The types of sick notes.
const (
	First        Type = "ERST"      // Erstbescheinigung
	Following    Type = "FOLGE"     // Folgebescheinigung
	FirstAndLast Type = "ERST_END"  // Erst- und Endbescheinigung
	FollowingEnd Type = "FOLGE_END" // Folge- und Endbescheinigung
)

// Date is a calendar date as FHIR writes it, "2026-09-29"; "" if missing.
type Date string

// DateOf returns the calendar date of t in its own location.
func DateOf(t time.Time) Date { return Date(t.Format(time.DateOnly)) }

// Time returns midnight UTC of the date, the zero time if it is missing.
func (d Date) Time() time.Time {
	t, err := time.Parse(time.DateOnly, string(d))
	if err != nil {
		return time.Time{}
	}
	return t
}

// Document is what was read of an eAU document. A field that is missing or unreadable is empty and has a finding, unless
// the field says that it may be missing.
type Document struct {
	Hash [32]byte // SHA-256 of the octets given to Read
	Size int      // octets

	Kind       Kind
	Identifier string // Bundle.identifier.value without the prefix urn:uuid:, UUIDs in lower case; at most 200 octets
	Cancels    string // of a cancellation: the identifier of the sick note it withdraws, in the same form

	Person querschott.KVNR // of a sick note; also with a wrong check digit, which is a finding. Empty for an old kvk number
	Payor  querschott.IK   // of a sick note: Coverage.payor.identifier; also with a wrong check digit, which is a finding
	Scheme string          // type of coverage: "GKV", "PKV", "BG", "SEL", "SKT", "UK"

	Issued     Date // Composition.date
	From       Date // unable to work since; missing in following notes
	Until      Date // expected until
	Determined Date // festgestellt am
	Type       Type
	Diagnoses  int // number of ICD codes; the codes themselves are not kept

	Content ContentKey // of a sick note of which everything that counts for it was read; zero otherwise
}

// FindingKind says what is odd about a document.
type FindingKind string

// The findings. "missing" and "unreadable" name their field.
const (
	FindingTooLarge    FindingKind = "too-large"    // over MaxSize: not read
	FindingTooDeep     FindingKind = "too-deep"     // over MaxDepth: reading ended there
	FindingBOM         FindingKind = "bom"          // begins with a byte order mark (codes 103, 104)
	FindingCharset     FindingKind = "charset"      // declared or real character set is not UTF-8 (codes 103, 104)
	FindingDTD         FindingKind = "dtd"          // has a document type declaration: reading ended there
	FindingSyntax      FindingKind = "syntax"       // no well-formed XML: reading ended there
	FindingNotABundle  FindingKind = "not-a-bundle" // the root is no FHIR Bundle
	FindingKindUnclear FindingKind = "kind-unclear" // neither sick note nor cancellation, or both
	FindingMissing     FindingKind = "missing"      // a value that such a document has is not there
	FindingUnreadable  FindingKind = "unreadable"   // a value does not have its form
	FindingCheckDigit  FindingKind = "check-digit"  // a KVNR or IK with a wrong check digit
	FindingAmbiguous   FindingKind = "ambiguous"    // a value occurs again with another content; the first counts
	FindingOldNumber   FindingKind = "old-number"   // the person is named by a kvk number, not a KVNR
	FindingVersion     FindingKind = "uuid-version" // the identifier is a UUID of another version than 5
	FindingProfile     FindingKind = "profile"      // the bundle's profile is not version 1.2 of the two known ones
)

// Finding is one oddity of a document. It never contains a value of the document.
type Finding struct {
	Kind  FindingKind
	Field string // which value, in the words of Document; "" where the finding is about the whole
}

// String writes "missing: Person".
func (f Finding) String() string {
	if f.Field == "" {
		return string(f.Kind)
	}
	return string(f.Kind) + ": " + f.Field
}
