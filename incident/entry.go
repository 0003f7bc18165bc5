package incident

import (
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/querschott/querschott"
)

// Kind says what an entry is.
type Kind string

// The kinds.
const (
	Fact            Kind = "fact"            // known
	Assumption      Kind = "assumption"      // assumed
	Question        Kind = "question"        // unknown
	Decision        Kind = "decision"        // with its reason
	Finding         Kind = "evidence"        // with its grade
	RoleGiven       Kind = "role"            // to somebody
	Handover        Kind = "handover"        // of a role; counts when it is acknowledged
	Acknowledgement Kind = "acknowledgement" // by whom the role is handed to
	Action          Kind = "action"          // something was done
	Correction      Kind = "correction"      // stands in place of an earlier entry
	Contained       Kind = "contained"       // the case's state
	Request         Kind = "request"         // of what takes two persons
	Approval        Kind = "approval"        // by the second
)

// Role is what somebody is in a case.
type Role string

// The roles.
const (
	Lead           Role = "lead"
	Recorder       Role = "recorder"
	DataProtection Role = "data-protection-officer"
	Communications Role = "communications"
)

// Roles returns the roles in the order in which they are shown.
func Roles() []Role { return []Role{Lead, Recorder, DataProtection, Communications} }

// Wish is what takes two persons.
type Wish string

// The wishes.
const (
	Close  Wish = "close"
	Unmask Wish = "unmask"
)

// Bounds of what an entry may hold.
const (
	MaxText    = 2000 // bytes
	maxWho     = 200
	maxNumbers = 40
)

// Source is the alarm that an entry is about.
type Source struct {
	Actor      querschott.Actor        `json:"actor"`
	Credential querschott.CredentialID `json:"credential,omitempty"`
	Insurer    querschott.IK           `json:"insurer,omitempty"`
	Service    querschott.Service      `json:"service,omitempty"`
	Cause      string                  `json:"cause"`
	Detector   string                  `json:"detector"`
	Exact      bool                    `json:"exact"` // a broken rule; otherwise something unlikely
	Severity   string                  `json:"severity"`
	Numbers    []Number                `json:"numbers,omitempty"`
	First      time.Time               `json:"first"`
	Last       time.Time               `json:"last"`
	Events     int                     `json:"events"`
}

// Number is one figure of an alarm's arithmetic.
type Number struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Entry is one line of a case. The book sets N and Written.
type Entry struct {
	N          int              `json:"n"` // from 1
	Kind       Kind             `json:"kind"`
	Happened   time.Time        `json:"happened,omitzero"` // zero: not known
	Learned    time.Time        `json:"learned"`           // zero in what is handed in: when it is written
	Written    time.Time        `json:"written"`
	By         querschott.Actor `json:"by"`
	Text       string           `json:"text,omitempty"`
	Why        string           `json:"why,omitempty"`     // of a decision or a correction
	TextDE     string           `json:"text_de,omitempty"` // the same in German, if Text is English: what the platform writes has both
	WhyDE      string           `json:"why_de,omitempty"`
	Supersedes int              `json:"supersedes,omitempty"` // of a correction: the entry in whose place it stands
	As         Kind             `json:"as,omitempty"`         // of a correction: what it is; an assumption may turn out a fact
	Evidence   *Evidence        `json:"evidence,omitempty"`
	Role       Role             `json:"role,omitempty"`
	Person     querschott.Actor `json:"person,omitempty"`  // who gets the role
	Wish       Wish             `json:"wish,omitempty"`    // of a request
	Answers    int              `json:"answers,omitempty"` // the handover or request that this is about
	Alarm      *Source          `json:"alarm,omitempty"`
}

// Nature is what an entry is, as itself or in place of another.
func (e *Entry) Nature() Kind {
	if e.Kind == Correction {
		return e.As
	}
	return e.Kind
}

// In returns the text in a language: "de" for German where there is one, otherwise as it was written.
func (e Entry) In(language string) string {
	if language == "de" && e.TextDE != "" {
		return e.TextDE
	}
	return e.Text
}

// WhyIn returns the reason in a language, likewise.
func (e Entry) WhyIn(language string) string {
	if language == "de" && e.WhyDE != "" {
		return e.WhyDE
	}
	return e.Why
}

// Late reports whether an entry was written more than a quarter of an hour after its writer says it was learned.
func (e *Entry) Late() bool { return e.Written.Sub(e.Learned) > 15*time.Minute }

func refuse(key, format string, args ...any) error {
	return querschott.RefuseAs(querschott.CodeInvalid, key, format, args...)
}

// plain are the kinds that say something about the world and can be corrected.
var plain = []Kind{Fact, Assumption, Question, Decision, Finding, Action}

// check refuses what no case may hold, whatever its state.
func (e *Entry) check() error {
	if e.By == "" || len(e.By) > maxWho || len(e.Person) > maxWho {
		return refuse("entry.who", "an entry needs the name of who writes it, of at most %d bytes", maxWho)
	}
	if e.TextDE != "" && e.Text == "" || e.WhyDE != "" && e.Why == "" {
		return refuse("entry.german", "an entry has its German text beside another one, not in its place")
	}
	for _, text := range []string{e.Text, e.Why, e.TextDE, e.WhyDE, string(e.By), string(e.Person)} {
		if err := checkText(text); err != nil {
			return err
		}
	}
	if err := e.checkTimes(); err != nil {
		return err
	}
	if e.Alarm != nil {
		if err := e.Alarm.check(); err != nil {
			return err
		}
	}
	if err := e.checkKind(); err != nil {
		return err
	}
	return e.checkClaim()
}

func (e *Entry) checkTimes() error {
	switch {
	case e.Written.IsZero() || e.Learned.IsZero():
		return refuse("entry.times", "an entry needs the times when it was learned and written")
	case e.Learned.After(e.Written):
		return refuse("entry.ahead", "it cannot have been learned after it is written")
	case e.Happened.After(e.Learned):
		return refuse("entry.order", "it cannot have been learned before it happened")
	}
	return nil
}

func (e *Entry) checkKind() error {
	switch e.Kind {
	case Fact, Assumption, Question, Action, Contained:
		return e.needs(e.Text != "", "text", "a text")
	case Decision:
		return e.needs(e.Text != "" && e.Why != "", "reason", "a text and a reason")
	case Finding:
		if e.Evidence == nil {
			return e.needs(false, "grade", "a grade")
		}
		return e.Evidence.check()
	case RoleGiven, Handover:
		return e.needs(slices.Contains(Roles(), e.Role) && e.Person != "", "person", "a role and a person")
	case Acknowledgement, Approval:
		return e.needs(e.Answers > 0, "answer", "the number of the entry that it answers")
	case Request:
		return e.needs((e.Wish == Close || e.Wish == Unmask) && e.Why != "", "wish", "what is asked for and a reason")
	case Correction:
		return e.checkCorrection()
	default:
		return refuse("entry.kind", "%.20q is no kind of entry", string(e.Kind))
	}
}

func (e *Entry) checkCorrection() error {
	if e.Supersedes < 1 || e.Why == "" || !slices.Contains(plain, e.As) {
		return e.needs(false, "correction", "the number of what it corrects, what it is, and a reason")
	}
	as := *e
	as.Kind = e.As
	return as.checkKind()
}

func (e *Entry) needs(ok bool, part, what string) error {
	if ok {
		return nil
	}
	return refuse("entry.needs-"+part, "an entry of the kind %s needs "+what, e.Kind)
}

func (s *Source) check() error {
	for _, text := range []string{string(s.Actor), string(s.Credential), string(s.Insurer), string(s.Service), s.Cause, s.Detector, s.Severity} {
		if err := checkText(text); err != nil || len(text) > maxWho {
			return refuse("entry.alarm", "an alarm has a word that cannot be kept")
		}
	}
	if len(s.Numbers) > maxNumbers {
		return refuse("entry.numbers", "an alarm has more than %d numbers", maxNumbers)
	}
	for _, n := range s.Numbers {
		if err := checkText(n.Name + n.Unit); err != nil || len(n.Name)+len(n.Unit) > maxWho {
			return refuse("entry.alarm", "an alarm has a number whose name cannot be kept")
		}
	}
	return nil
}

// checkText refuses what could hide, reorder or forge lines wherever a case is shown, and numbers of insured persons.
func checkText(s string) error {
	if len(s) > MaxText {
		return refuse("text.long", "a text has more than %d bytes", MaxText)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unseen) {
		return refuse("text.unseen", "a text has characters that cannot be shown")
	}
	if namesPerson(s) {
		return refuse("text.person", "a text names an insured person by number; a case holds none")
	}
	return nil
}

// unseen are control characters and what changes the direction of writing (Unicode categories Cc, Cf, Zl, Zp, Co, Cs).
func unseen(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs)
}

var maybeKVNR = regexp.MustCompile(`[A-Za-z][0-9]{9}`)

func namesPerson(s string) bool {
	for _, m := range maybeKVNR.FindAllString(s, -1) {
		if _, err := querschott.ParseKVNR(strings.ToUpper(m)); err == nil {
			return true
		}
	}
	return false
}

// Clean makes a text of a machine one that an entry may hold: what cannot be shown becomes a blank, the number of an insured
// person becomes stars, and what is too long is cut.
func Clean(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unseen(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	s = maybeKVNR.ReplaceAllStringFunc(s, func(m string) string {
		if namesPerson(m) {
			return "**********"
		}
		return m
	})
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}
