package incident

import (
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// Export is a case as it leaves: masked unless two persons wanted otherwise, and held against the ledger.
type Export struct {
	Made     time.Time `json:"made"`
	Platform string    `json:"platform"`
	Drill    bool      `json:"drill"` // an exercise, or an invented world
	Faults   []Fault   `json:"faults"`
	Case     *Case     `json:"case"`
	Chain    []string  `json:"chain"` // digest of each entry as it is on disk, hex; the ledger has them
}

// NewExport puts a case together as it may leave.
func NewExport(c *Case, name func(string) string, made time.Time, platform string, drill bool, faults []Fault) *Export {
	x := &Export{Made: made.UTC(), Platform: platform, Drill: drill, Faults: append([]Fault{}, faults...), Case: c.Masked(name)}
	for _, d := range c.Digests {
		x.Chain = append(x.Chain, hex.EncodeToString(d[:]))
	}
	return x
}

// WriteJSON writes the export as JSON.
func (x *Export) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(x)
}

//go:embed export.html
var exportPage string

// exportTemplate escapes whatever stands in a case by the place where it is put.
var exportTemplate = template.Must(template.New("case").Parse(exportPage))

// exportView is an export in one language.
type exportView struct {
	*Export
	Lang string
}

// W returns a word.
func (v exportView) W(key string) string { return Word(v.Lang, key) }

// Of returns the word for one of several values.
func (v exportView) Of(what string, value any) string {
	return Word(v.Lang, fmt.Sprintf("%s.%v", what, value))
}

// Time writes a time in UTC, as readers of the language do.
func (v exportView) Time(t time.Time) string {
	if t.IsZero() {
		return v.W("unknown-time")
	}
	return t.UTC().Format(v.W("time"))
}

// Known, Assumed and Unknown are what stands, apart from one another.
func (v exportView) Known() []Entry { return v.Case.Standing(Fact) }

// Assumed is what is only assumed.
func (v exportView) Assumed() []Entry { return v.Case.Standing(Assumption) }

// Unknown is what nobody knows yet.
func (v exportView) Unknown() []Entry { return v.Case.Standing(Question) }

// Decided is what was decided.
func (v exportView) Decided() []Entry { return v.Case.Standing(Decision) }

// Found is the evidence that stands.
func (v exportView) Found() []Entry { return v.Case.Standing(Finding) }

// Roles returns the roles in their order.
func (v exportView) Roles() []Role { return Roles() }

// Holder returns who has a role.
func (v exportView) Holder(r Role) querschott.Actor { return v.Case.Roles[r] }

// Digest returns the digest of an entry.
func (v exportView) Digest(n int) string {
	if n < 1 || n > len(v.Chain) {
		return ""
	}
	return v.Chain[n-1][:16]
}

// Bounds writes numbers of persons.
func (v exportView) Bounds(e *Evidence) string {
	num := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return fmt.Sprintf(v.W("bounds"), num(e.Bounds.Lower), num(e.Bounds.Best), num(e.Bounds.Upper))
}

// Percent writes a share.
func (v exportView) Percent(f float64) string {
	return strings.Replace(strconv.FormatFloat(100*f, 'f', -1, 64), ".", v.W("point"), 1) + " %"
}

// Clear returns the sentence that no data are affected, if the evidence permits it.
func (v exportView) Clear(e *Evidence) string {
	c, _ := v.Case.Clear(e)
	return c.Sentence(v.Lang)
}

// WriteHTML writes the export as a page that needs nothing else and runs nothing, in German ("de") or English ("en").
func (x *Export) WriteHTML(w io.Writer, language string) error {
	if language != "de" && language != "en" {
		return refuse("export.language", "the page is made in 'de' or 'en'")
	}
	return exportTemplate.Execute(w, exportView{x, language})
}

// UnmarshalJSON reads a case as it was shown: what its entries bring about is worked out again.
func (c *Case) UnmarshalJSON(data []byte) error {
	type shown Case
	var s shown
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	if len(s.Entries) > MaxEntries {
		return refuse("export.entries", "a case has more than %d entries", MaxEntries)
	}
	*c = *newCase(s.Ref)
	for i, e := range s.Entries {
		if e.N != i+1 || e.Answers > i || e.Supersedes > i || e.Nature() == Finding && e.Evidence == nil {
			return refuse("export.fit", "entry %d of a case does not fit", i+1)
		}
		c.apply(e, Digest{})
	}
	return nil
}
