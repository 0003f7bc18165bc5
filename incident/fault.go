package incident

import "fmt"

// What can be wrong with a case's file, given what the ledger knows.
const (
	FaultDamaged = "damaged" // it cannot be read
	FaultMissing = "missing" // it is missing or empty
	FaultShort   = "short"   // it ends before an entry that the ledger knows
	FaultOther   = "other"   // it has another entry than the one that the ledger knows
)

// Fault is one way in which a case differs from what the ledger knows of it.
type Fault struct {
	Ref    string `json:"incident"`
	What   string `json:"what"`             // FaultDamaged, ...
	Entry  int    `json:"entry,omitempty"`  // that the ledger knows
	Last   int    `json:"last,omitempty"`   // with which the file ends
	Detail string `json:"detail,omitempty"` // of what cannot be read, in English
	Text   string `json:"text"`             // all of it in English
}

// fault makes a fault with its English words.
func fault(f Fault) Fault {
	f.Text = f.In("en")
	return f
}

// String is the fault in English.
func (f Fault) String() string { return f.In("en") }

// In says in a language what is wrong and what to do.
func (f Fault) In(language string) string {
	what := Word(language, "fault."+f.What)
	switch f.What {
	case FaultDamaged:
		what = fmt.Sprintf(what, f.Detail)
	case FaultShort:
		what = fmt.Sprintf(what, f.Entry, f.Last)
	case FaultOther:
		what = fmt.Sprintf(what, f.Entry)
	}
	return f.Ref + ": " + what + ". " + Word(language, "fault-fix")
}
