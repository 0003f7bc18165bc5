package incident

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/scope"
	"github.com/querschott/querschott/scope/leak"
)

// The grades that no index finds, besides those of [scope.Grade].
const (
	NotExamined  scope.Grade = "E0"
	LeftTheHouse scope.Grade = "E5" // seen outside: bait or a copy of the data
)

// Grades returns the grades in their order.
func Grades() []scope.Grade {
	return []scope.Grade{NotExamined, scope.GradeNoSign, scope.GradeExcluded, scope.GradePossible, scope.GradeReached, LeftTheHouse}
}

const maxLogs = 400

// Evidence is what is known of whose data were reached, and what it rests on.
type Evidence struct {
	Grade    scope.Grade   `json:"grade"`
	Insurer  querschott.IK `json:"insurer,omitempty"` // "": all
	Data     string        `json:"data,omitempty"`    // which kind; "": every kind
	Source   string        `json:"source"`            // where it comes from: the question put to the ledger, a report
	From     time.Time     `json:"from,omitzero"`     // time that was looked at
	To       time.Time     `json:"to,omitzero"`
	Logs     []scope.Head  `json:"logs,omitempty"`      // of the ledger: range and root of each log that it rests on
	Coverage float64       `json:"coverage,omitempty"`  // 0 to 1
	KeysHeld bool          `json:"keys_held,omitempty"` // whoever wrote it says: no key was released beside the ledger's way
	Bounds   *scope.Bounds `json:"bounds,omitempty"`    // persons
	Match    string        `json:"match,omitempty"`     // of E5: which bait or dump
}

// check holds every grade to what it must have with it.
func (e *Evidence) check() error {
	texts := []string{e.Data, e.Source, e.Match, string(e.Insurer)}
	for _, l := range e.Logs {
		texts = append(texts, l.Origin, l.Root)
	}
	for _, text := range texts {
		if err := checkText(text); err != nil {
			return err
		}
	}
	if len(e.Logs) > maxLogs {
		return refuse("evidence.logs", "evidence rests on more than %d logs", maxLogs)
	}
	if !slices.Contains(Grades(), e.Grade) {
		return refuse("evidence.grade", "%.20q is no evidence grade: they are E0 to E5", string(e.Grade))
	}
	if e.Grade != NotExamined && e.Source == "" {
		return refuse("evidence.source", "evidence of the grade %s needs its source", e.Grade)
	}
	if e.Coverage < 0 || e.Coverage > 1 || e.Coverage != e.Coverage {
		return refuse("evidence.coverage", "a coverage is between 0 and 1")
	}
	return e.checkGrade()
}

func (e *Evidence) checkGrade() error {
	b := e.Bounds
	switch {
	case b != nil && (b.Lower > b.Best || b.Best > b.Upper):
		return refuse("evidence.bounds", "of lower bound, best estimate and upper bound none is larger than the next")
	case e.Grade == scope.GradeExcluded && !e.excludes():
		return refuse("evidence.e2", "E2 needs ranges and roots of the ledger, full coverage, no key released, and nobody reached; less is E1")
	case e.Grade == scope.GradePossible && (b == nil || b.Upper == 0):
		return refuse("evidence.e3", "E3 needs an upper bound")
	case e.Grade == scope.GradeReached && (b == nil || b.Lower == 0 || !rooted(e.Logs)):
		return refuse("evidence.e4", "E4 needs the number of persons and the root of the ledger that lists them")
	case e.Grade == LeftTheHouse && e.Match == "":
		return refuse("evidence.e5", "E5 needs the bait or the copy that was recognised")
	}
	return nil
}

func (e *Evidence) excludes() bool {
	return rooted(e.Logs) && e.Coverage == 1 && e.KeysHeld && !e.From.IsZero() && e.From.Before(e.To) &&
		(e.Bounds == nil || *e.Bounds == scope.Bounds{})
}

// rooted reports whether there are logs and each has a range and a root.
func rooted(logs []scope.Head) bool {
	for _, l := range logs {
		if l.Origin == "" || l.Size == 0 || l.Root == "" {
			return false
		}
	}
	return len(logs) > 0
}

// Clearance is the permission to say that no data were affected. Its zero value gives none, and no other package can make
// another one than through [Evidence.Clear].
type Clearance struct{ of *Evidence }

// Clear gives the permission for the grade E2 with everything that belongs to it, for no other evidence.
func (e *Evidence) Clear() (Clearance, bool) {
	if e == nil || e.Grade != scope.GradeExcluded || e.check() != nil {
		return Clearance{}, false
	}
	c := *e
	return Clearance{&c}, true
}

// Clear gives the permission as [Evidence.Clear] does, unless something else that stands in the case says that these persons
// were or may have been reached: a case never denies what it states.
func (c *Case) Clear(e *Evidence) (Clearance, bool) {
	if e == nil || slices.ContainsFunc(c.Standing(Finding), func(o Entry) bool { return o.Evidence.against(e) }) {
		return Clearance{}, false
	}
	return e.Clear()
}

// checkClaim refuses to write that no data are affected beside what says otherwise, unless the entry takes the place of that.
func (c *Case) checkClaim(e *Entry) error {
	denied := func(o Entry) bool { return o.N != e.Supersedes && o.Evidence.against(e.Evidence) }
	if e.claims() && slices.ContainsFunc(c.Standing(Finding), denied) {
		return refuse("entry.denied", "that no data are affected cannot be written while evidence in this case says that somebody was or may have been reached")
	}
	return nil
}

// against reports whether evidence says that somebody was or may have been reached of whom the other says that nobody was.
func (e *Evidence) against(o *Evidence) bool {
	found := e.Grade == scope.GradePossible || e.Grade == scope.GradeReached || e.Grade == LeftTheHouse
	insurer := e.Insurer == "" || o.Insurer == "" || e.Insurer == o.Insurer
	data := e.Data == "" || o.Data == "" || e.Data == o.Data
	apart := !e.From.IsZero() && !e.To.IsZero() && (!e.From.Before(o.To) || !o.From.Before(e.To))
	return found && insurer && data && !apart
}

// Sentence is the public sentence with what it rests on, "" without permission.
func (c Clearance) Sentence(language string) string {
	if c.of == nil {
		return ""
	}
	whose := map[string]string{"de": "aller Kassen", "en": "of all insurers"}[language]
	if c.of.Insurer != "" {
		whose = map[string]string{"de": "der Kasse ", "en": "of insurer "}[language] + string(c.of.Insurer)
	}
	if n, ok := c.of.credentials(); ok { // more was not looked at
		whose += map[string]string{"de": " durch die erfragten Ausweise (", "en": " by the credentials asked about ("}[language] + n + ")"
	}
	form := "No data %s affected between %s and %s: the ledger excludes it (E2%s)."
	if language == "de" {
		form = "Keine Daten %s betroffen zwischen %s und %s: das Zugriffsbuch schließt es aus (E2%s)."
	}
	var logs strings.Builder
	for _, l := range c.of.Logs {
		fmt.Fprintf(&logs, "; %s, 0-%d, %s", l.Origin, l.Size, l.Root)
	}
	at := func(t time.Time) string { return t.UTC().Format(Word(language, "time")) + " UTC" }
	return fmt.Sprintf(form, whose, at(c.of.From), at(c.of.To), logs.String())
}

// innocence matches the usual ways to say that no data were affected.
var innocence = regexp.MustCompile(`(?i)\b(keine?r?l?e?i? .{0,40}?(daten|datensätze)\b.{0,40}(betroffen|abgeflossen|erreicht|entwendet|gestohlen)` +
	`|kein datenabfluss|no .{0,40}?(data|records)\b.{0,40}(affected|accessed|reached|stolen|left|lost|compromised)|no (data )?(exfiltration|breach of data))`)

// claims reports whether an entry says in the usual wordings, and not as an assumption, that no data were affected.
func (e *Entry) claims() bool {
	nature := e.Nature()
	return (nature == Fact || nature == Decision || nature == Finding) && (innocence.MatchString(e.Text) || innocence.MatchString(e.TextDE))
}

// checkClaim refuses to write the usual wordings of "no data affected" as known, as decided, or as evidence of another grade.
func (e *Entry) checkClaim() error {
	if !e.claims() {
		return nil
	}
	if _, ok := e.Evidence.Clear(); ok {
		return nil
	}
	return refuse("evidence.claim", "that no data are affected is evidence of the grade E2 or it is an assumption; it cannot be written as a fact or a decision")
}

// HeldSource is the source of evidence that the platform itself found about so many held credentials.
func HeldSource(credentials int) string { return heldSource + strconv.Itoa(credentials) }

const (
	heldSource  = "scope, held credentials: "
	scopeSource = "scope, credentials: "
	leakSource  = "leak, files: "
)

// OfHeld reports whether evidence was found by the platform about held credentials.
func (e *Evidence) OfHeld() bool { return strings.HasPrefix(e.Source, heldSource) }

// credentials returns how many the ledger was asked about.
func (e *Evidence) credentials() (string, bool) {
	if n, ok := strings.CutPrefix(e.Source, heldSource); ok {
		return n, true
	}
	return strings.CutPrefix(e.Source, scopeSource)
}

// SourceIn says in a language where evidence comes from. What somebody has written stays as it was written.
func (e *Evidence) SourceIn(language string) string {
	for prefix, german := range map[string]string{heldSource: "Zugriffsbuch, gesperrte Ausweise: ", scopeSource: "Zugriffsbuch, Ausweise: ", leakSource: "Abgleich eines Datenfundes, Dateien: "} {
		if n, ok := strings.CutPrefix(e.Source, prefix); ok && language == "de" {
			return german + n
		}
	}
	return e.Source
}

// FromScope makes evidence of what the ledger's index answered, one for each insurer that it looked at. keysHeld says that no
// key was released beside the ledger's way; without it nothing is excluded, nor if the ledger doesn't know a credential: then
// nothing shows that it is written as the ledger would write it.
func FromScope(a *scope.Answer, keysHeld bool) []Evidence {
	var list []Evidence
	for i := range a.Insurers {
		r := &a.Insurers[i]
		if r.Insurer == "" {
			continue
		}
		b := r.Bounds
		e := Evidence{
			Grade: r.Grade, Insurer: r.Insurer, Source: scopeSource + strconv.Itoa(len(a.Question.Credentials)), From: a.Question.From,
			To: a.Question.To, Coverage: a.Coverage, KeysHeld: keysHeld, Bounds: &b,
		}
		for _, h := range a.Heads {
			if strings.Contains(h.Origin, "/"+string(r.Insurer)+"/") {
				e.Logs = append(e.Logs, h)
			}
		}
		if e.Grade == scope.GradeExcluded && (!e.excludes() || len(a.Unknown) > 0) {
			e.Grade = scope.GradeNoSign
		}
		list = append(list, e)
	}
	return list
}

// FromLeak makes evidence of the dump that a report is about: for each insurer whose persons are in it, that their data were seen
// outside. A number alone may come from elsewhere: whoever adds it has looked at what stands beside the numbers.
func FromLeak(r *leak.Report) []Evidence {
	var match strings.Builder
	fmt.Fprintf(&match, "dump of %d rows, %d persons, %d canaries", r.Rows, r.Persons, r.Canaries)
	for _, f := range r.Files[:min(len(r.Files), maxDigests)] {
		fmt.Fprintf(&match, "; sha256 %s", grouped(f.SHA256))
	}
	var list []Evidence
	for i := range r.Insurers {
		s := &r.Insurers[i]
		n := uint64(s.Persons)
		list = append(list, Evidence{
			Grade: LeftTheHouse, Insurer: s.Insurer, Source: leakSource + strconv.Itoa(len(r.Files)), Match: match.String(),
			Bounds: &scope.Bounds{Lower: n, Best: n, Upper: n},
		})
	}
	return list
}

// grouped writes a digest in groups of eight: a letter with nine digits behind it would be taken for the number of a person, and
// the case would refuse it.
func grouped(digest string) string {
	var b strings.Builder
	for len(digest) > 8 {
		b.WriteString(digest[:8] + " ")
		digest = digest[8:]
	}
	return b.String() + digest
}

// maxDigests is how many of a dump's files evidence names.
const maxDigests = 5
