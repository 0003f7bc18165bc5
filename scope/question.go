package scope

import (
	"time"

	"github.com/querschott/querschott"
)

// Question asks which persons were reached.
type Question struct {
	Credentials []querschott.CredentialID `json:"credentials"` // together
	From        time.Time                 `json:"from"`        // whole seconds; a fraction is rounded down
	To          time.Time                 `json:"to"`          // the first second that isn't asked for; a fraction is rounded up
	Insurers    []querschott.IK           `json:"insurers,omitempty"`
	Persons     bool                      `json:"persons,omitempty"` // list them, not only their number
}

// Answer says who was reached. Its numbers are of persons unless they say otherwise.
type Answer struct {
	Question Question  `json:"question"`
	AsOf     time.Time `json:"as_of"` // everything that the ledger had acknowledged then is looked at
	// Coverage is which part of the time asked for was looked at completely, 0 to 1. Below 1 the lower bounds hold and the
	// upper bounds do not.
	Coverage float64                   `json:"coverage"`
	Gaps     []string                  `json:"gaps,omitempty"`    // what was not looked at, and why
	Sealed   int64                     `json:"sealed_until"`      // seconds since 1970 UTC: what came before is in rounds and can be proved
	Total    Bounds                    `json:"total"`             // sums over the insurers: one person at two insurers counts twice
	Unknown  []querschott.CredentialID `json:"unknown,omitempty"` // credentials under which the ledger has nobody's data: misspelt, or never used
	Insurers []Reach                   `json:"insurers"`          // by IK; those that have a log. "" is what concerns no insurer
	Heads    []Head                    `json:"heads"`             // of the logs that were looked at: the roots that the answer rests on
}

// Bounds are how many persons were reached.
type Bounds struct {
	Lower uint64 `json:"lower"` // surely: the data were served or written
	Best  uint64 `json:"best"`  // and those of whom an answer was cut off or its outcome is unknown
	Upper uint64 `json:"upper"` // and the records of answers that name nobody, as if each were another person's
}

// Grade says how well it is known whose data were reached.
type Grade string

// The evidence grades. E0, nothing examined, is the grade of what nobody asked; E5, data seen outside, is not for an index to
// find.
const (
	GradeNoSign   Grade = "E1" // no sign of it, but not everything was looked at
	GradeExcluded Grade = "E2" // the ledger excludes it: everything was looked at, and nobody was reached
	GradePossible Grade = "E3" // somebody may have been reached
	GradeReached  Grade = "E4" // somebody was, and it is known who
)

// Reach is what was reached of one insurer.
type Reach struct {
	Insurer  querschott.IK `json:"insurer"` // "" for what concerns no insurer
	Grade    Grade         `json:"grade"`
	Bounds   Bounds        `json:"bounds"`
	Reached  uint64        `json:"reached"`  // surely
	Possible uint64        `json:"possible"` // at most possibly
	Excluded uint64        `json:"excluded"` // asked for, and refused every time
	Unnamed  uint64        `json:"unnamed"`  // records of answers that name nobody
	Events   uint64        `json:"events"`
	Groups   []Group       `json:"groups"` // which kinds of data, of those reached or possibly reached
	First    time.Time     `json:"first,omitzero"`
	Last     time.Time     `json:"last,omitzero"`
	Persons  []Person      `json:"persons,omitempty"` // reached, possibly reached and excluded, if asked for
}

// Group is one kind of data.
type Group struct {
	Data    string `json:"data"`
	Persons uint64 `json:"persons"`
	Events  uint64 `json:"events"`
}

// Person is an insured person under the pseudonym of one insurer and year.
type Person struct {
	Pseudonym string   `json:"pseudonym"`
	Result    Result   `json:"result"`           // the weightiest
	Number    string   `json:"number,omitempty"` // KVNR, if it was asked for and can be opened
	Data      []string `json:"data,omitempty"`
	Log       string   `json:"log"`
	Entry     uint64   `json:"entry"` // the person's first entry in the log
}

// seconds returns the time asked for.
func (q *Question) seconds() (from, to int64) { return max(floor(q.From), 0), max(ceil(q.To), 0) }

const maxCredentials = 1000

func (q *Question) check() error {
	from, to := q.seconds()
	switch {
	case len(q.Credentials) == 0 || len(q.Credentials) > maxCredentials:
		return querschott.Refuse(querschott.CodeInvalid, "ask for 1 to %d credentials", maxCredentials)
	case from >= to || to >= openEnd:
		return querschott.Refuse(querschott.CodeInvalid, "the time asked for must begin before it ends")
	}
	for _, c := range q.Credentials {
		if c == "" {
			return querschott.Refuse(querschott.CodeInvalid, "a credential is empty")
		}
	}
	return nil
}

// wants reports whether an insurer is asked for.
func wants(list []querschott.IK, in querschott.IK) bool {
	if len(list) == 0 {
		return true
	}
	for _, want := range list {
		if want == in {
			return true
		}
	}
	return false
}
