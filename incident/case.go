package incident

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/scope"
)

// Status is where a case stands.
type Status string

// The states of a case.
const (
	Open        Status = "open"
	IsContained Status = "contained"
	Closed      Status = "closed"
)

// Digest is the SHA-256 over an entry and the digest before it.
type Digest [sha256.Size]byte

// Case is the whole story of one case, as its entries tell it. It is a value: whoever holds one holds what was, not what is.
type Case struct {
	Ref      string                    `json:"ref"`
	Title    string                    `json:"title"`
	TitleDE  string                    `json:"title_de,omitempty"` // in German, if Title is English
	Status   Status                    `json:"status"`
	Opened   time.Time                 `json:"opened"`
	Version  int                       `json:"version"` // number of entries; who changes a state names the version that he saw
	Roles    map[Role]querschott.Actor `json:"roles"`
	Unmasked bool                      `json:"unmasked"` // two persons have asked for the actors' names
	Entries  []Entry                   `json:"entries"`
	Digests  []Digest                  `json:"-"`

	replaced map[int]int // entry -> the correction in its place
	answered map[int]bool
}

func newCase(ref string) *Case {
	return &Case{Ref: ref, Status: Open, Roles: map[Role]querschott.Actor{}, replaced: map[int]int{}, answered: map[int]bool{}}
}

// snapshot returns a copy that later entries leave alone. Entries themselves never change.
func (c *Case) snapshot() *Case {
	s := *c
	s.Entries, s.Digests = slices.Clip(c.Entries), slices.Clip(c.Digests)
	s.Roles, s.replaced, s.answered = maps.Clone(c.Roles), maps.Clone(c.replaced), maps.Clone(c.answered)
	return &s
}

// admit says whether an entry may come next, given all that stands before it.
func (c *Case) admit(e *Entry) error {
	if len(c.Entries) == 0 && e.Kind != Fact {
		return refuse("case.begin", "a case begins with a fact")
	}
	if c.Status == Closed && e.Kind != Request && e.Kind != Approval {
		return querschott.RefuseAs(querschott.CodeConflict, "case.closed", "the case %s is closed", c.Ref)
	}
	switch e.Kind {
	case Correction:
		return c.admitCorrection(e)
	case Handover:
		if c.Roles[e.Role] == "" {
			return querschott.RefuseAs(querschott.CodeConflict, "case.role-free", "nobody has the role %s: give it instead", e.Role)
		}
		if by := c.Roles[e.Role]; e.By != by && e.By != c.Roles[Lead] {
			return querschott.RefuseAs(querschott.CodeForbidden, "case.role-whose", "only who has the role and the lead hand it over")
		}
	case RoleGiven:
		if by := c.Roles[e.Role]; by != "" && by != e.Person {
			return querschott.RefuseAs(querschott.CodeConflict, "case.role-taken", "the role %s is %s's: it is handed over", e.Role, by)
		}
	case Acknowledgement:
		return c.admitAnswer(e, Handover)
	case Approval:
		return c.admitAnswer(e, Request)
	case Contained:
		if c.Status != Open {
			return querschott.RefuseAs(querschott.CodeConflict, "case.already", "the case is %s already", c.Status)
		}
	case Request:
		if e.Wish == Close && c.Status == Closed || e.Wish == Unmask && c.Unmasked {
			return querschott.RefuseAs(querschott.CodeConflict, "case.so", "that is so already")
		}
	case Fact, Assumption, Question, Decision, Finding, Action:
	}
	return nil
}

func (c *Case) admitCorrection(e *Entry) error {
	if e.Supersedes > len(c.Entries) {
		return refuse("case.entry", "there is no entry %d to correct", e.Supersedes)
	}
	old := &c.Entries[e.Supersedes-1]
	if by, ok := c.replaced[e.Supersedes]; ok {
		return querschott.RefuseAs(querschott.CodeConflict, "case.corrected", "entry %d is corrected already, by entry %d: correct that one", e.Supersedes, by)
	}
	if !slices.Contains(plain, old.Nature()) {
		return refuse("case.fixed", "entry %d is of the kind %s, which cannot be corrected", e.Supersedes, old.Kind)
	}
	return nil
}

// admitAnswer holds answers to the entry that they name: of the right kind, not answered yet, by the right person.
func (c *Case) admitAnswer(e *Entry, kind Kind) error {
	if e.Answers > len(c.Entries) || c.Entries[e.Answers-1].Kind != kind {
		return refuse("case.no-such", "entry %d is no %s", e.Answers, kind)
	}
	asked := &c.Entries[e.Answers-1]
	switch {
	case c.answered[e.Answers]:
		return querschott.RefuseAs(querschott.CodeConflict, "case.answered", "entry %d is answered already", e.Answers)
	case kind == Handover && e.By != asked.Person:
		return querschott.RefuseAs(querschott.CodeForbidden, "case.not-yours", "only %s can take the role over", asked.Person)
	case kind == Request && e.By == asked.By:
		return querschott.RefuseAs(querschott.CodeForbidden, "case.second", "it takes two persons: somebody else must approve")
	case kind == Request && c.settled(asked.Wish):
		return querschott.RefuseAs(querschott.CodeConflict, "case.so", "that is so already")
	}
	return nil
}

func (c *Case) settled(w Wish) bool {
	return w == Close && c.Status == Closed || w == Unmask && c.Unmasked
}

// apply takes an admitted entry over.
func (c *Case) apply(e Entry, d Digest) {
	if len(c.Entries) == 0 {
		c.Title, c.TitleDE, c.Opened = e.Text, e.TextDE, e.Written
	}
	c.Entries, c.Digests = append(c.Entries, e), append(c.Digests, d)
	c.Version = len(c.Entries)
	switch e.Kind {
	case Correction:
		c.replaced[e.Supersedes] = e.N
		if e.Supersedes == 1 || c.Entries[e.Supersedes-1].Text == c.Title {
			c.Title, c.TitleDE = e.Text, e.TextDE
		}
	case RoleGiven:
		c.Roles[e.Role] = e.Person
	case Acknowledgement:
		asked := c.Entries[e.Answers-1]
		c.Roles[asked.Role], c.answered[e.Answers] = asked.Person, true
	case Contained:
		c.Status = IsContained
	case Approval:
		c.answered[e.Answers] = true
		if c.Entries[e.Answers-1].Wish == Close {
			c.Status = Closed
		} else {
			c.Unmasked = true
		}
	case Fact, Assumption, Question, Decision, Finding, Action, Handover, Request:
	}
}

// TitleIn returns the title in a language: "de" for German where there is one.
func (c *Case) TitleIn(language string) string {
	if language == "de" && c.TitleDE != "" {
		return c.TitleDE
	}
	return c.Title
}

// ReplacedBy returns the entry that corrects entry n, 0 if it stands.
func (c *Case) ReplacedBy(n int) int { return c.replaced[n] }

// Standing returns the entries of a nature that no correction has replaced.
func (c *Case) Standing(nature Kind) []Entry {
	var list []Entry
	for _, e := range c.Entries {
		if _, gone := c.replaced[e.N]; !gone && e.Nature() == nature {
			list = append(list, e)
		}
	}
	return list
}

// Waiting returns the handovers and requests that nobody has answered and that still mean something.
func (c *Case) Waiting() []Entry {
	var list []Entry
	for _, e := range c.Entries {
		open := e.Kind == Handover || e.Kind == Request && !c.settled(e.Wish)
		if open && !c.answered[e.N] {
			list = append(list, e)
		}
	}
	return list
}

// Holder returns who has a role, "" if nobody has.
func (c *Case) Holder(r Role) querschott.Actor { return c.Roles[r] }

// Worst is the weightiest finding: E5 before E4, E3, E2; without a finding E1 or E0.
func (c *Case) Worst() scope.Grade {
	worst := NotExamined
	for _, e := range c.Standing(Finding) {
		worst = max(worst, e.Evidence.Grade)
	}
	return worst
}

// Sources returns the alarms of the case, oldest first.
func (c *Case) Sources() []Source {
	var list []Source
	for i := range c.Entries {
		if a := c.Entries[i].Alarm; a != nil {
			list = append(list, *a)
		}
	}
	return list
}

// Head returns the last digest: it stands for everything before it.
func (c *Case) Head() Digest {
	if len(c.Digests) == 0 {
		return genesis(c.Ref)
	}
	return c.Digests[len(c.Digests)-1]
}

// Masked returns the case as it may be shown: unless two persons have asked for the names, actors and credentials of alarms
// are pseudonyms, also where a text repeats them.
func (c *Case) Masked(name func(string) string) *Case {
	if c.Unmasked {
		return c
	}
	m := c.snapshot()
	m.Entries = slices.Clone(c.Entries)
	var swap []string
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Alarm == nil {
			continue
		}
		a := *e.Alarm
		for _, real := range []string{string(a.Credential), string(a.Actor)} {
			if len(real) >= 3 {
				swap = append(swap, real, name(real))
			}
		}
		a.Actor = querschott.Actor(mask(name, string(a.Actor)))
		a.Credential = querschott.CredentialID(mask(name, string(a.Credential)))
		e.Alarm = &a
	}
	r := strings.NewReplacer(longestFirst(swap)...)
	for _, text := range []*string{&m.Title, &m.TitleDE} {
		*text = r.Replace(*text)
	}
	for i := range m.Entries {
		e := &m.Entries[i]
		for _, text := range []*string{&e.Text, &e.Why, &e.TextDE, &e.WhyDE} {
			*text = r.Replace(*text)
		}
	}
	return m
}

// Pseudonyms returns the function that names somebody by a pseudonym: the same for the same one, in all cases, and to be found
// out by nobody without the key.
func Pseudonyms(key []byte) func(string) string {
	return func(real string) string {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(real))
		return "P-" + base32.StdEncoding.EncodeToString(h.Sum(nil))[:8]
	}
}

func mask(name func(string) string, real string) string {
	if real == "" {
		return ""
	}
	return name(real)
}

// longestFirst orders pairs so that no name is replaced inside a longer one.
func longestFirst(pairs []string) []string {
	list := slices.Collect(slices.Chunk(pairs, 2))
	slices.SortStableFunc(list, func(a, b []string) int { return len(b[0]) - len(a[0]) })
	return slices.Concat(list...)
}
