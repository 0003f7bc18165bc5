package incident

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/scope"
	"github.com/querschott/querschott/scope/leak"
)

func proof(g scope.Grade) Evidence {
	to := time.Date(2026, 11, 29, 9, 0, 0, 0, time.UTC)
	return Evidence{
		Grade: g, Insurer: "109500969", Source: "scope, 1 credentials", From: to.Add(-54 * time.Hour), To: to, Coverage: 1, KeysHeld: true,
		Logs:   []scope.Head{{Origin: "kassen.example/ledger/109500969/2026", Size: 812, Root: "q83v"}},
		Bounds: &scope.Bounds{}, Match: "bait 7",
	}
}

// TestNoDataAffectedNeedsE2 goes through all grades and takes away one thing after another.
func TestNoDataAffectedNeedsE2(t *testing.T) {
	for _, g := range Grades() {
		e := proof(g)
		c, ok := e.Clear()
		if want := g == scope.GradeExcluded; ok != want || (c.Sentence("de") != "") != want || (c.Sentence("en") != "") != want {
			t.Errorf("%s: permission %t, sentence %q", g, ok, c.Sentence("de"))
		}
	}
	for name, take := range map[string]func(*Evidence){
		"range":        func(e *Evidence) { e.Logs[0].Size = 0 },
		"root":         func(e *Evidence) { e.Logs[0].Root = "" },
		"logs":         func(e *Evidence) { e.Logs = nil },
		"coverage":     func(e *Evidence) { e.Coverage = 0.9999 },
		"no number":    func(e *Evidence) { e.Coverage = math.NaN() },
		"keys":         func(e *Evidence) { e.KeysHeld = false },
		"nobody":       func(e *Evidence) { e.Bounds = &scope.Bounds{Upper: 1} },
		"time":         func(e *Evidence) { e.From = e.To },
		"no beginning": func(e *Evidence) { e.From = time.Time{} },
		"source":       func(e *Evidence) { e.Source = "" },
	} {
		e := proof(scope.GradeExcluded)
		take(&e)
		if _, ok := e.Clear(); ok {
			t.Errorf("without %s it may still be said", name)
		}
		if e.check() == nil {
			t.Errorf("without %s it may still be written as E2", name)
		}
	}
	var none *Evidence
	if c, ok := none.Clear(); ok || (Clearance{}).Sentence("de") != "" || c.Sentence("en") != "" {
		t.Error("nothing at all gives the permission")
	}
}

func TestGradesNeedWhatBelongsToThem(t *testing.T) {
	for name, e := range map[string]Evidence{
		"E3 without bound":  {Grade: scope.GradePossible, Source: "x"},
		"E4 without number": {Grade: scope.GradeReached, Source: "x"},
		"E4 without root":   {Grade: scope.GradeReached, Source: "x", Bounds: &scope.Bounds{Lower: 1, Best: 1, Upper: 1}},
		"E5 without match":  {Grade: LeftTheHouse, Source: "x"},
		"bounds":            {Grade: scope.GradePossible, Source: "x", Bounds: &scope.Bounds{Lower: 3, Best: 2, Upper: 4}},
		"E6":                {Grade: "E6", Source: "x"},
		"coverage":          {Grade: scope.GradeNoSign, Source: "x", Coverage: 1.1},
	} {
		if e.check() == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if e := (Evidence{Grade: NotExamined}); e.check() != nil {
		t.Errorf("E0 needs nothing: %v", e.check())
	}
}

// TestCaseNeverDeniesWhatItStates puts findings of all kinds beside one that excludes an insurer.
func TestCaseNeverDeniesWhatItStates(t *testing.T) {
	excluded := proof(scope.GradeExcluded)
	reached := func(in querschott.IK, change func(*Evidence)) Evidence {
		e := proof(scope.GradeReached)
		e.Insurer, e.Bounds = in, &scope.Bounds{Lower: 1, Best: 1, Upper: 1}
		if change != nil {
			change(&e)
		}
		return e
	}
	for name, c := range map[string]struct {
		beside Evidence
		say    bool
	}{
		"somebody of the same insurer":  {reached(excluded.Insurer, nil), false},
		"of an insurer who isn't named": {reached("", nil), false},
		"of another insurer":            {reached("104212059", nil), true},
		"perhaps somebody":              {Evidence{Grade: scope.GradePossible, Insurer: excluded.Insurer, Source: "x", Bounds: &scope.Bounds{Upper: 3}}, false},
		"a copy of the data":            {Evidence{Grade: LeftTheHouse, Source: "x", Match: "bait 7"}, false},
		"before that": {reached(excluded.Insurer, func(e *Evidence) {
			e.From, e.To = excluded.From.Add(-time.Hour), excluded.From
		}), true},
		"no sign": {Evidence{Grade: scope.GradeNoSign, Source: "x"}, true},
	} {
		d := newDesk(t)
		ref := d.begin().Ref
		d.add(ref, Entry{Kind: Finding, By: "anna", Evidence: &excluded})
		with := d.add(ref, Entry{Kind: Finding, By: "anna", Evidence: &c.beside})
		if _, say := with.Clear(&excluded); say != c.say {
			t.Errorf("%s: it may be said: %t, want %t", name, say, c.say)
		}
		if c.say {
			continue
		}
		d.refused(ref, Entry{Kind: Finding, By: "anna", Text: "No data affected", Evidence: &excluded}, querschott.CodeInvalid)
		d.refused(ref, Entry{Kind: Correction, By: "anna", Supersedes: 2, As: Finding, Text: "No data affected", Why: "x", Evidence: &excluded}, querschott.CodeInvalid)
		none := Evidence{Grade: NotExamined}
		put := d.add(ref, Entry{Kind: Correction, By: "anna", Supersedes: with.Version, As: Finding, Why: "it was another case", Evidence: &none})
		if _, say := put.Clear(&excluded); !say {
			t.Errorf("%s, corrected: it may not be said", name)
		}
		d.add(ref, Entry{Kind: Finding, By: "anna", Text: "No data affected", Evidence: &excluded})
	}
	if _, say := (&Case{}).Clear(nil); say {
		t.Error("nothing at all gives the permission")
	}
}

// TestSentenceSaysWhatWasAsked: the ledger was asked about credentials, so nothing is said about others.
func TestSentenceSaysWhatWasAsked(t *testing.T) {
	e := proof(scope.GradeExcluded)
	for source, want := range map[string]string{
		scopeSource + "2": " by the credentials asked about (2) affected ", HeldSource(1): " by the credentials asked about (1) affected ", "an expert": "109500969 affected ",
	} {
		e.Source = source
		if c, _ := e.Clear(); !strings.Contains(c.Sentence("en"), want) {
			t.Errorf("%s: %q", source, c.Sentence("en"))
		}
	}
}

func TestWordingsOfInnocence(t *testing.T) {
	d := newDesk(t)
	ref := d.begin().Ref
	for _, text := range []string{
		"Keine Daten betroffen", "Es sind keine Versichertendaten abgeflossen", "Nach heutigem Stand keine personenbezogenen Daten abgeflossen",
		"Kein Datenabfluss", "No data affected", "No customer data was accessed", "No insured persons' data left the house", "There was no exfiltration",
	} {
		d.refused(ref, Entry{Kind: Fact, By: "anna", Text: text}, querschott.CodeInvalid)
		d.refused(ref, Entry{Kind: Decision, By: "anna", Text: text, Why: "x"}, querschott.CodeInvalid)
		one := proof(scope.GradeNoSign)
		d.refused(ref, Entry{Kind: Finding, By: "anna", Text: text, Evidence: &one}, querschott.CodeInvalid)
		d.add(ref, Entry{Kind: Assumption, By: "anna", Text: text})
		two := proof(scope.GradeExcluded)
		d.add(ref, Entry{Kind: Finding, By: "anna", Text: text, Evidence: &two})
	}
	d.add(ref, Entry{Kind: Fact, By: "anna", Text: "Keine Antwort von der Kasse; Datenbank läuft"})
}

func TestEvidenceFromScope(t *testing.T) {
	to := time.Date(2026, 11, 29, 9, 0, 0, 0, time.UTC)
	a := &scope.Answer{
		Question: scope.Question{Credentials: []querschott.CredentialID{"c"}, From: to.Add(-time.Hour), To: to}, Coverage: 1,
		Insurers: []scope.Reach{
			{Insurer: ""},
			{Insurer: "109500969", Grade: scope.GradeExcluded},
			{Insurer: "104212059", Grade: scope.GradeReached, Bounds: scope.Bounds{Lower: 7, Best: 7, Upper: 9}},
		},
		Heads: []scope.Head{{Origin: "k/ledger/109500969/2026", Size: 1, Root: "a"}, {Origin: "k/ledger/104212059/2026", Size: 3, Root: "b"}},
	}
	for keys, want := range map[bool]string{true: "E2 E4", false: "E1 E4"} {
		var got []string
		for _, e := range FromScope(a, keys) {
			if err := e.check(); err != nil {
				t.Error(err)
			}
			got = append(got, string(e.Grade))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("keys held %t: %v, want %s", keys, got, want)
		}
	}
	a.Unknown = a.Question.Credentials
	if list := FromScope(a, true); list[0].Grade != scope.GradeNoSign || list[1].Grade != scope.GradeReached {
		t.Errorf("the ledger knows no such credential, and the grades are %s and %s", list[0].Grade, list[1].Grade)
	}
	a.Unknown, a.Coverage = nil, 0.5
	if e := FromScope(a, true)[0]; e.Grade != scope.GradeNoSign {
		t.Errorf("half of it looked at, and the grade is %s", e.Grade)
	}
}

// A dump's digest in which a person's number seems to stand does not keep the evidence out of the case.
func TestDigestIsNobodysNumber(t *testing.T) {
	r := &leak.Report{Rows: 1, Persons: 1, Files: []leak.File{{SHA256: strings.Repeat("a123456780", 6) + "ffff"}}}
	if !namesPerson(r.Files[0].SHA256) {
		t.Fatal("there is no number in it: nothing is tried")
	}
	r.Insurers = []leak.Share{{Insurer: "109500969", Persons: 1}}
	for _, e := range FromLeak(r) {
		if err := checkText(e.Match); err != nil || !strings.Contains(e.Match, "a1234567 80a12345") {
			t.Errorf("%q: %v", e.Match, err)
		}
	}
}
