package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/incident"
)

// Warning is one alarm of the early warning, as it may be shown: who is suspected is a pseudonym.
type Warning struct {
	Time   time.Time
	Source incident.Source
	Live   bool   // may lead to something; otherwise it is in shadow mode
	Folded int    // alarms of the same cause behind it
	Over   bool   // beyond the insurer's weekly budget
	Case   string // reference, "" if it belongs to none
}

// Sure says how sure an alarm is: the end of a text's key.
func (w Warning) Sure() string {
	if w.Source.Exact {
		return "exact"
	}
	return "statistical"
}

// Held is a credential, a person or a network that is shut out by somebody's or a playbook's decision.
type Held struct {
	ID     string // names the entry to whoever releases it
	What   string // kind of the entry
	Who    string // pseudonym or value
	Since  time.Time
	Until  time.Time // zero: until it is released
	Reason string
	German string // the reason in German, if it is one of the platform's
	Case   string // reference of the incident, or of the playbook's run
	By     []querschott.Actor
}

// Why is the reason in a language.
func (h Held) Why(language string) string {
	if language == "de" && h.German != "" {
		return h.German
	}
	return h.Reason
}

// Explained is which part of a compartment's accesses has a reason.
type Explained struct {
	Compartment querschott.Compartment
	Need        uint64 // accesses that need a reason
	Given       uint64 // and have one
}

// Percent is the share in whole per cent, rounded down: 100 only when none is missing.
func (e Explained) Percent() int {
	if e.Need == 0 {
		return 100
	}
	return int(100 * e.Given / e.Need)
}

// Cases is what the console needs for incidents.
type Cases struct {
	Book *incident.Book
	Name func(string) string // pseudonym of an actor or a credential

	// Release lets somebody in again who is held. It records who decided so and why.
	Release func(ctx context.Context, who querschott.Actor, id, reason string) error
}

// shownWarnings is how many alarms the page lists; more are counted.
const shownWarnings = 60

// chain is the story of the last day in one line: early warning, credential held, doors, persons reached.
type chain struct {
	Warnings, Held, Doors int
	Open                  int // cases that are not closed
	Reached               uint64
	Known                 bool // somebody has looked whose data were reached
}

// Quiet reports whether there is nothing to tell.
func (k chain) Quiet() bool { return k.Warnings == 0 && k.Held == 0 && k.Open == 0 }

func (b *board) chain() chain {
	k := chain{Held: len(b.Snapshot.Held), Doors: b.Counts.Hold + b.Counts.ReadOnly + b.Counts.Closed}
	for _, w := range b.Snapshot.Warnings {
		if w.Live && b.At.Sub(w.Time) < 24*time.Hour {
			k.Warnings++
		}
	}
	for _, c := range b.Cases {
		if c.Status == incident.Closed {
			continue
		}
		k.Open++
		for _, e := range c.Standing(incident.Finding) {
			k.Known = true
			if e.Evidence.Bounds != nil {
				k.Reached += e.Evidence.Bounds.Best
			}
		}
	}
	return k
}

// Chain is the line above the matrix.
func (s situation) Chain() chain { return s.chain() }

// Warned returns the alarms that are listed: those that may lead to something before those in shadow mode, and then the newest
// first. However many are on trial, they push none that is live out of sight.
func (s situation) Warned() []Warning {
	list := slices.Clone(s.Snapshot.Warnings)
	slices.Reverse(list)
	slices.SortStableFunc(list, func(x, y Warning) int {
		switch {
		case x.Live == y.Live:
			return 0
		case x.Live:
			return -1
		default:
			return 1
		}
	})
	return list[:min(len(list), shownWarnings)]
}

// Unlisted is how many alarms the page leaves out.
func (s situation) Unlisted() int { return max(0, len(s.Snapshot.Warnings)-shownWarnings) }

// Words says what an alarm was computed from.
func (s situation) Words(w Warning) string { return w.Source.Arithmetic(s.L.Tag) }

// heldView is what the template of the held draws.
type heldView struct {
	situation
	CSRF string
}

type warningsPage struct {
	page
	Now heldView
}

func (c *Console) warningsPage(v *visit) {
	b := c.board(c.cfg.Snapshot())
	p := warningsPage{page: c.operatorPage(v, "warnings", v.l.T("warnings.title"))}
	p.Live, p.Now = true, heldView{c.situation(b, v.l), p.CSRF}
	c.render(v.w, http.StatusOK, "warnings", p)
}

// release lets somebody in again. The node has the last word, and the record of it.
func (c *Console) release(v *visit) {
	reason := strings.Join(strings.Fields(v.r.PostForm.Get("reason")), " ")
	switch {
	case c.cfg.Cases == nil || c.cfg.Cases.Release == nil:
		c.message(v.w, v.r, http.StatusNotFound, "error.notfound", "")
		return
	case reason == "":
		c.fail(v.w, v.r, querschott.RefuseAs(querschott.CodeInvalid, "held.reason", "a release needs a reason"))
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.r.Context()), moveTimeout)
	defer cancel()
	if err := c.cfg.Cases.Release(ctx, v.actor, v.r.PostForm.Get("id"), reason); err != nil {
		c.fail(v.w, v.r, err)
		return
	}
	http.Redirect(v.w, v.r, "/warnings", http.StatusSeeOther)
}

// cases returns all incidents as they may be shown.
func (c *Console) cases() []*incident.Case {
	if c.cfg.Cases == nil {
		return nil
	}
	list := c.cfg.Cases.Book.Cases()
	for i := range list {
		list[i] = list[i].Masked(c.cfg.Cases.Name)
	}
	return list
}

type incidentsPage struct {
	page
	Now situation
}

func (c *Console) incidentsPage(v *visit) {
	b := c.board(c.cfg.Snapshot())
	p := incidentsPage{c.operatorPage(v, "incidents", v.l.T("incidents.title")), c.situation(b, v.l)}
	p.Live = true
	c.render(v.w, http.StatusOK, "incidents", p)
}

type incidentPage struct {
	page
	Case    *incident.Case
	Waiting []incident.Entry
	Problem string
	Words   incident.Entry // what was written when it was refused
}

// Kinds are what the form writes.
func (incidentPage) Kinds() []incident.Kind {
	return []incident.Kind{incident.Fact, incident.Assumption, incident.Question, incident.Action, incident.Decision, incident.Contained}
}

// Parts are what is known, assumed and unknown, apart from one another, and what was decided.
func (incidentPage) Parts() []incident.Kind {
	return []incident.Kind{incident.Fact, incident.Assumption, incident.Question, incident.Decision}
}

// Roles are the roles of a case.
func (incidentPage) Roles() []incident.Role { return incident.Roles() }

// Mine reports whether this operator may answer an entry.
func (p incidentPage) Mine(e incident.Entry) bool {
	return e.Kind == incident.Handover && e.Person == p.Who || e.Kind == incident.Request && e.By != p.Who
}

// Clear is the sentence that no data are affected, if the evidence permits it.
func (p incidentPage) Clear(e *incident.Evidence) string {
	s, _ := p.Case.Clear(e)
	return s.Sentence(p.L.Tag)
}

// Words says what an alarm was computed from.
func (p incidentPage) Arithmetic(s *incident.Source) string { return s.Arithmetic(p.L.Tag) }

func (c *Console) incidentPage(v *visit) { c.showIncident(v, http.StatusOK, "", incident.Entry{}) }

func (c *Console) showIncident(v *visit, status int, problem string, words incident.Entry) {
	if c.cfg.Cases == nil {
		c.message(v.w, v.r, http.StatusNotFound, "error.notfound", "")
		return
	}
	k, err := c.cfg.Cases.Book.Case(v.r.PathValue("ref"))
	if err != nil {
		c.fail(v.w, v.r, err)
		return
	}
	p := incidentPage{
		page: c.operatorPage(v, "incidents", k.Ref), Case: k.Masked(c.cfg.Cases.Name), Waiting: k.Waiting(), Problem: problem, Words: words,
	}
	p.Live = true
	c.render(v.w, status, "incident", p)
}

// changeIncident writes one entry in the name of who is logged in.
func (c *Console) changeIncident(v *visit) {
	if c.cfg.Cases == nil {
		c.message(v.w, v.r, http.StatusNotFound, "error.notfound", "")
		return
	}
	e, version, err := c.readEntry(v)
	ref := v.r.PathValue("ref")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.r.Context()), moveTimeout)
	defer cancel()
	if err == nil && ref == "" {
		var k *incident.Case
		if k, err = c.cfg.Cases.Book.Begin(ctx, e); k != nil {
			ref = k.Ref
		}
	} else if err == nil {
		_, err = c.cfg.Cases.Book.Append(ctx, ref, version, e)
	}
	switch code := querschott.CodeOf(err); {
	case err == nil:
		http.Redirect(v.w, v.r, "/incidents/"+ref, http.StatusSeeOther)
	case ref != "" && (code == querschott.CodeInvalid || code == querschott.CodeConflict || code == querschott.CodeForbidden):
		c.showIncident(v, statusOf(err), v.l.Fault(err), e)
	default:
		c.fail(v.w, v.r, err)
	}
}

// readEntry reads the form. Line breaks that came with pasting become blanks.
func (c *Console) readEntry(v *visit) (e incident.Entry, version int, err error) {
	f := v.r.PostForm
	line := func(key string) string { return strings.Join(strings.Fields(f.Get(key)), " ") }
	e = incident.Entry{
		Kind: incident.Kind(f.Get("kind")), By: v.actor, Text: line("text"), Why: line("why"), Role: incident.Role(f.Get("role")),
		Person: querschott.Actor(line("person")), Wish: incident.Wish(f.Get("wish")),
	}
	var when, learned error
	e.Happened, when = c.readTime(f.Get("happened"))
	e.Learned, learned = c.readTime(f.Get("learned"))
	_, err = fmt.Sscan(f.Get("version")+" "+f.Get("answers")+" 0", &version, &e.Answers)
	if f.Get("answers") == "" {
		e.Answers = 0
	}
	if errors.Join(when, learned) != nil || err != nil && f.Get("version") != "" {
		return e, version, querschott.RefuseAs(querschott.CodeInvalid, "form.unread", "the form cannot be read")
	}
	return e, version, nil
}

// readTime reads a browser's local time, in the zone that the page shows.
func (c *Console) readTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.ParseInLocation(form, s, c.cfg.Location); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%.20q is no time", s)
}
