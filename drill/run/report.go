package run

import (
	"fmt"

	"github.com/querschott/querschott"
)

// Report is the result of a drill.
type Report struct {
	Drill          string   `json:"drill"`
	DetectedAfter  *float64 `json:"detected_after_s"`  // from the first malicious request to the first alarm about who made it
	ContainedAfter *float64 `json:"contained_after_s"` // from there until a credential of the attacker was refused as such; the last of them
	Reached        int      `json:"records_reached"`   // different persons whose data the attacker got
	Closed         []string `json:"doors_closed"`      // that were not open at some time
	Untouched      int      `json:"doors_untouched"`
	Mail           Mail     `json:"mail"`
	FalseAlarms    *float64 `json:"false_alarms_per_day"` // at the rate of the drill
	Scope          *Scope   `json:"scope"`

	Mode       string      `json:"mode"` // of the node: "drill" (an exercise) or "demo" (a demonstration); a real one is never attacked
	Seed       uint64      `json:"seed"`
	Seconds    float64     `json:"seconds"`                    // from the beginning of the ordinary work to its end
	Factor     float64     `json:"factor"`                     // how much faster the attack or the traffic was than what it stands for
	Notes      []string    `json:"played_otherwise,omitempty"` // than the family says, compressed time among it
	Thefts     []Theft     `json:"credentials"`
	Leak       *Leak       `json:"leak,omitempty"` // of january-2023
	Reopening  *Reopening  `json:"reopening,omitempty"`
	Status     *StatusPage `json:"status,omitempty"` // of april-2023
	Staff      Work        `json:"staff"`
	Jobs       *Work       `json:"registered_jobs"` // of suppliers' machines; null: the platform has none
	Held       []string    `json:"wrongly_held"`    // clerks and suppliers' machines that only worked
	Cards      Work        `json:"cards"`
	Conditions []Condition `json:"conditions"`
	Unseen     []string    `json:"not_looked_at,omitempty"` // conditions of the real event that nothing here can look at
	Passed     bool        `json:"passed"`
}

// Mail is what became of the practices' mail.
type Mail struct {
	Accepted  int    `json:"accepted"`
	Rejected  uint64 `json:"rejected"`
	Lost      int    `json:"lost"`
	Delivered int    `json:"delivered"`
	Held      int    `json:"held"` // that waited at most
	Refused   uint64 `json:"refused_transient"`
	Twice     uint64 `json:"duplicates"` // documents that came again and were recognised
}

// Scope compares the platform's answer about the attacker's credentials with the truth.
type Scope struct {
	Persons  uint64 `json:"persons"` // as the platform says
	Exact    bool   `json:"exact"`
	Verified *bool  `json:"proof_verified"` // null: nobody made a proof
	Missed   int    `json:"missed"`
	Extra    int    `json:"extra"`
	Grade    string `json:"grade"`
}

// String says it in a condition.
func (s *Scope) String() string {
	if s == nil {
		return "the platform could not be asked"
	}
	return fmt.Sprintf("%d persons, missed %d, extra %d", s.Persons, s.Missed, s.Extra)
}

// Theft is what one credential of the attacker got.
type Theft struct {
	Actor          querschott.Actor        `json:"actor"`
	Credential     querschott.CredentialID `json:"credential,omitempty"` // as the platform calls it
	Persons        int                     `json:"persons"`
	PastCap        int                     `json:"past_cap"`      // persons after the first refusal for a cap
	DetectedAfter  *float64                `json:"detected_s"`    // from its first request
	StoppedAfter   *float64                `json:"stopped_s"`     // from its first request to the last data that it got
	ContainedAfter *float64                `json:"contained_s"`   // from its first request until it was refused as such
	AfterCap       *float64                `json:"contained_cap"` // from the first refusal for a cap until then
	Requests       int                     `json:"requests"`
}

// Work counts what became of ordinary work.
type Work struct {
	Done    uint64 `json:"done"`
	Refused uint64 `json:"refused"`               // by a door
	Again   uint64 `json:"retries"`               // of clerks: how often they came back with the same question
	Served  uint64 `json:"served_after_a_retry"`  // questions
	GivenUp uint64 `json:"given_up"`              // questions
	Held    uint64 `json:"refused_as_credential"` // as if the credential were held
	Errors  uint64 `json:"errors"`                // everything else
	Trouble string `json:"trouble,omitempty"`
}

// Condition is one thing that must be so.
type Condition struct {
	Text   string `json:"text"`
	Passed bool   `json:"passed"`
	Found  string `json:"found,omitempty"`
	Timed  bool   `json:"timed,omitempty"` // it compares with a clock: a machine that has other things to do can fail it
}

func (r *Report) require(text string, passed bool, found string) {
	r.Conditions = append(r.Conditions, Condition{Text: text, Passed: passed, Found: found})
}

func (r *Report) requireInTime(text string, passed bool, found string) {
	r.Conditions = append(r.Conditions, Condition{Text: text, Passed: passed, Found: found, Timed: true})
}

// judge says whether every condition is met.
func (r *Report) judge() {
	r.Passed = len(r.Conditions) > 0
	for _, c := range r.Conditions {
		r.Passed = r.Passed && c.Passed
	}
}
