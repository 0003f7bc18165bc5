package vsd

import (
	"fmt"
	"log/slog"

	"github.com/querschott/querschott"
)

// Record is the master data of one person at one insurer, as it is stored and rendered. It belongs to its caller and is
// not changed by this package. It prints as "[master data]", everywhere.
type Record struct {
	Updated  Instant // when the content last changed; Bundle.meta.lastUpdated
	Patient  Patient
	Coverage Coverage
	Payors   []Payor // the Kostenträger and, if there is one, the abrechnender Kostenträger
}

// Patient is the insured person.
type Patient struct {
	ID        ID
	Number    querschott.KVNR // by its pattern; the check digit is not verified, as the TI's own test data has wrong ones
	Name      Name
	Telecom   []Contact // TI-Messenger addresses and the like
	Gender    Gender
	Born      Date      // at least the year
	Addresses []Address // at most one street address and one post-office box, in the order in which they came
}

// Name has its parts and the two texts that the insurer made from them. Lengths are in characters.
type Name struct {
	Text     string // the whole name as it is spoken; "" if the insurer gave none
	Family   string // additions, prefixes and family name, at most 87
	Own      string // Nachname, at most 45
	Prefix   string // Vorsatzwort, at most 20; "" for none
	Addition string // Namenszusatz, at most 20; "" for none
	Given    string // all of them, at most 45
	Title    string // at most 20; "" for none
}

// Gender is the official sex (Geschlecht).
type Gender string

// The values of [Gender]. Statutory insurers must give one of the first four.
const (
	Male          Gender = "M"
	Female        Gender = "W"
	Diverse       Gender = "D"
	Indeterminate Gender = "X"
	UnknownGender Gender = "unknown"
	NoGender      Gender = ""
)

// display is the text of the two codes that FHIR's own value does not tell apart.
func (g Gender) display() string {
	if g == Diverse {
		return "divers"
	}
	return "unbestimmt"
}

// Contact is one way to reach somebody.
type Contact struct {
	System string // phone, fax, email, pager, url, sms or other
	Value  string
}

// AddressKind is the type of an address.
type AddressKind string

// The kinds of addresses. Payors may leave it out.
const (
	Physical AddressKind = "physical" // StrassenAdresse
	Postal   AddressKind = "postal"   // PostfachAdresse
	NoKind   AddressKind = ""
)

// Address is where somebody lives or gets mail.
type Address struct {
	Kind       AddressKind
	Lines      []Line
	City       string // at most 40 characters
	PostalCode string // at most 10 characters
	Country    Country
}

// Line is one line of an address and the parts that the insurer marked in it. The text may differ from its parts.
type Line struct {
	Text     string
	Street   string // at most 46 characters
	Number   string // house number, at most 9 characters
	Addition string // Anschriftenzusatz, at most 40 characters
	Box      string // Postfach, at most 8 characters besides the word itself
}

// Country is a country with its codes.
type Country struct {
	Text  string // as it is shown
	Code  string // ISO 3166-1 alpha-2, or one of the supplement (VSDMISO3166Ergaenzung) such as XK
	DEUEV string // DEÜV Anlage 8; "" for none, which only private insurers may do
}

// Coded is a code and the text that the insurer gave with it, "" for none.
type Coded struct{ Code, Display string }

// Period is a span of whole days, both included.
type Period struct {
	Start Date
	End   Date // "" if it is open
}

// Kind says which law the insurance follows.
type Kind string

// The kinds of insurance.
const (
	Statutory Kind = "GKV"
	Private   Kind = "PKV"
)

// Coverage is the insurance itself. Exactly one of GKV and PKV is set.
type Coverage struct {
	ID     ID
	Type   string // display text of the kind; "" for none
	Period Period // a cover that has ended stays readable
	GKV    *GKV
	PKV    *PKV

	// Order lists the coverage's extensions by their letters when they came in another
	// order than that of this package, else "".
	Order string
}

// Kind returns which of the two it is.
func (c *Coverage) Kind() Kind {
	if c.PKV != nil {
		return Private
	}
	return Statutory
}

// GKV is what only statutory insurance has.
type GKV struct {
	WOP           Coded // region of the physicians' association
	Status        Coded // Versichertenart: 1 member, 3 family, 5 pensioner
	Group         Coded // besondere Personengruppe: 04, 06, 07, 08, 09; zero for none
	Programmes    []DMP // disease management programmes
	Exempt        Date  // until when free of co-payments; "" if not
	Reimbursement *Reimbursement
	Suspension    *Suspension
}

// DMP is the participation in one disease management programme.
type DMP struct {
	Programme Coded
	Period    Period
	Digital   bool
}

// Reimbursement is the choice of Kostenerstattung.
type Reimbursement struct{ Physicians, Dentists, Hospitals, Prescribed bool }

// Suspension is a ruhender Leistungsanspruch.
type Suspension struct {
	Scope  Coded // 1 full, 2 limited
	Period Period
}

// PKV is what only private insurance has.
type PKV struct {
	Tariff   Coded // Tarifart
	Status   Coded // Versichertenart: VN, VP
	Hints    []Hint
	Hospital []Hospital
	Aid      []Aid
}

// Hint is a text for health care providers (Hinweis).
type Hint struct {
	Text  string   // Markdown
	Roles []string // OIDs of the kinds of institutions that it concerns; none for all
}

// Hospital is the cover of hospital services, each in percent of what is charged.
type Hospital struct {
	General, TwoBed, OneBed, Difference Percent
	Chief, Attending                    Share // Wahlarzt, Belegarzt
}

// Aid is Beihilfe for public servants.
type Aid struct {
	Entitled bool
	Quota    Percent
}

// Percent is a number from 0 to 100; the zero value is "not given".
type Percent struct {
	Given bool
	Value uint8
}

// Share is a percentage or a plain yes or no; the zero value is "not given".
type Share struct {
	Percent Percent
	Plain   bool // Yes counts
	Yes     bool
}

// Payor is an insurer that pays, as the organization that the bundle carries for it.
type Payor struct {
	ID        ID
	IK        querschott.IK // by its pattern; the check digit is not verified
	Name      string        // at most 45 characters
	Addresses []Address     // at least one
	Contacts  []OfficeContact
}

// OfficeContact is a contact of a payor for a purpose.
type OfficeContact struct {
	Purpose Coding // zero for none
	Text    string // of the purpose; "" for none
	Telecom []Contact
}

// Coding is a code of a named code system.
type Coding struct{ System, Code string }

// Street returns the street name of the street address, "" if there is none. It is what the Prüfziffer binds (A_27352).
func (r *Record) Street() string {
	for _, a := range r.Patient.Addresses {
		if a.Kind != Physical {
			continue
		}
		for _, l := range a.Lines {
			if l.Street != "" {
				return l.Street
			}
		}
	}
	return ""
}

// String returns "[master data]".
func (Record) String() string { return masked }

// GoString returns "[master data]".
func (Record) GoString() string { return masked }

// Format writes "[master data]" under every verb.
func (Record) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// LogValue returns "[master data]".
func (Record) LogValue() slog.Value { return slog.StringValue(masked) }

const masked = "[master data]"
