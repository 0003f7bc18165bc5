package incident

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/scope"
)

func pseudonym(string) string { return "P-7K2M" }

func stolen(d *desk) Source {
	return Source{
		Actor: "staff:erika.mustermann", Credential: "session-4711-erika", Insurer: "109500969", Service: "desk", Cause: "persons-minute", Detector: "D1",
		Exact: true, Severity: "high", Numbers: []Number{{"persons", 21, "persons/min"}, {"limit", 20, "persons/min"}},
		First: d.now.Add(-time.Minute).UTC(), Last: d.now.UTC(), Events: 21,
	}
}

// whole is a case with an entry of every kind.
func whole(d *desk) *Case {
	a := stolen(d)
	c, err := d.book.Begin(d.t.Context(), Entry{Kind: Fact, By: "querschott", Text: "D1: staff:erika.mustermann reads too many persons", TextDE: "D1: staff:erika.mustermann liest zu viele Personen", Alarm: &a, Happened: a.Last})
	if err != nil {
		d.t.Fatal(err)
	}
	ref := c.Ref
	d.add(ref, Entry{Kind: RoleGiven, By: "anna", Role: Lead, Person: "anna"})
	d.add(ref, Entry{Kind: Assumption, By: "anna", Text: "Das Kennwort ist gestohlen", Happened: d.now.Add(-50 * time.Hour), Learned: d.now.Add(-time.Hour)})
	d.add(ref, Entry{Kind: Question, By: "anna", Text: "Wer hatte es noch?"})
	d.add(ref, Entry{Kind: Action, By: "querschott", Text: "done: hold session-4711-erika", TextDE: "in Kraft: Ausweis session-4711-erika sperren", Why: "a fact holds a credential", WhyDE: "eine Tatsache sperrt einen Ausweis"})
	d.add(ref, Entry{Kind: Decision, By: "anna", Text: "Tür auf nur lesen", Why: "zwei unabhängige Signale"})
	e4, e2 := proof(scope.GradeReached), proof(scope.GradeExcluded)
	e4.Bounds = &scope.Bounds{Lower: 20, Best: 20, Upper: 21}
	d.add(ref, Entry{Kind: Finding, By: "anna", Evidence: &e4})
	e2.Insurer = "104212059"
	d.add(ref, Entry{Kind: Finding, By: "anna", Evidence: &e2})
	d.add(ref, Entry{Kind: Correction, By: "ben", Supersedes: 3, As: Fact, Text: "Das Kennwort ist gestohlen; es war <b>1234</b>", Why: "Geständnis"})
	d.add(ref, Entry{Kind: Handover, By: "anna", Role: Lead, Person: "ben"})
	d.add(ref, Entry{Kind: Acknowledgement, By: "ben", Answers: 10})
	d.add(ref, Entry{Kind: Contained, By: "ben", Text: "Ausweis gesperrt, keine weiteren Abrufe"})
	return d.add(ref, Entry{Kind: Request, By: "ben", Wish: Close, Why: "aufgeklärt"})
}

// TestExport compares with golden files; QUERSCHOTT_UPDATE=1 writes them.
func TestExport(t *testing.T) {
	d := newDesk(t)
	x := NewExport(whole(d), pseudonym, d.now, "kassen.example", true, nil)
	for name, write := range map[string]func(*bytes.Buffer) error{
		"case.json":    func(b *bytes.Buffer) error { return x.WriteJSON(b) },
		"case.de.html": func(b *bytes.Buffer) error { return x.WriteHTML(b, "de") },
		"case.en.html": func(b *bytes.Buffer) error { return x.WriteHTML(b, "en") },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		file := "testdata/" + name
		if os.Getenv("QUERSCHOTT_UPDATE") != "" {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s (-golden +got), QUERSCHOTT_UPDATE=1 writes it:\n%s", name, diff)
		}
		for _, never := range []string{"erika", "mustermann", "session-4711", "<b>1234", "<script", "http://", "https://"} {
			if strings.Contains(b.String(), never) {
				t.Errorf("%s holds %q", name, never)
			}
		}
	}
	if err := x.WriteHTML(&bytes.Buffer{}, "fr"); err == nil {
		t.Error("there is a page in French")
	}
}

func TestUnmaskingTakesTwo(t *testing.T) {
	d := newDesk(t)
	c := whole(d)
	masked := func(c *Case) bool {
		data, err := json.Marshal(c.Masked(pseudonym))
		if err != nil {
			t.Fatal(err)
		}
		return !bytes.Contains(data, []byte("erika"))
	}
	if !masked(c) {
		t.Error("a name is shown")
	}
	c = d.add(c.Ref, Entry{Kind: Request, By: "anna", Wish: Unmask, Why: "Personalgespräch"})
	asked := c.Version
	if !masked(c) {
		t.Error("one person's request shows the name")
	}
	d.refused(c.Ref, Entry{Kind: Approval, By: "anna", Answers: asked}, "forbidden")
	if c = d.add(c.Ref, Entry{Kind: Approval, By: "ben", Answers: asked}); masked(c) || !c.Unmasked {
		t.Error("two persons have asked, and the name is not shown")
	}
	if s := c.Entries[0].Alarm; s.Actor != "staff:erika.mustermann" {
		t.Errorf("masking has changed the case: %s", s.Actor)
	}
}

func TestHostileTextsInExports(t *testing.T) {
	d := newDesk(t)
	for _, text := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</title></head><script>`, `</style><script>alert(1)</script>`, `javascript:alert(1)`,
		`=HYPERLINK("http://evil.example")`, `{{.Case}}`, "`+alert(1)+`", `&lt;script&gt;`,
	} {
		a := stolen(d)
		a.Cause, a.Severity, a.Detector = text, text, text
		a.Numbers = []Number{{text, 1, text}}
		c, err := d.book.Begin(t.Context(), Entry{Kind: Fact, By: "querschott", Text: text, Why: text, Alarm: &a})
		if err != nil {
			t.Fatal(err)
		}
		x := NewExport(c, pseudonym, d.now, text, false, []Fault{{Ref: text, What: FaultDamaged, Detail: text}})
		for _, language := range []string{"de", "en"} {
			var b bytes.Buffer
			if err := x.WriteHTML(&b, language); err != nil {
				t.Fatal(err)
			}
			for _, never := range []string{"<script", "<img", "</title></head>", "{{.Case}}\n"} {
				if strings.Contains(b.String(), never) {
					t.Errorf("%s: the page holds %s", text, never)
				}
			}
		}
		var b bytes.Buffer
		if err := x.WriteJSON(&b); err != nil || !json.Valid(b.Bytes()) || strings.Contains(b.String(), "<script") {
			t.Errorf("%s: JSON: %v", text, err)
		}
	}
}

func TestClean(t *testing.T) {
	got := Clean("a\x1b[31m\nb\u202e A123456780 \xff", 200)
	if checkText(got) != nil || strings.Contains(got, "A123456780") {
		t.Errorf("%q", got)
	}
	if got := Clean(strings.Repeat("ü", 30), 7); got != "üüü" {
		t.Errorf("%q", got)
	}
}

func TestWordsInBothLanguages(t *testing.T) {
	for key, w := range words {
		if w.de == "" || w.en == "" {
			t.Errorf("%s is missing in a language", key)
		}
	}
	d := newDesk(t)
	s := stolen(d)
	if got := s.Arithmetic("de"); got != "Personen 21 Personen/min, Grenze 20 Personen/min" {
		t.Errorf("%q", got)
	}
	if got := s.Arithmetic("en"); got != "persons 21 persons/min, limit 20 persons/min" {
		t.Errorf("%q", got)
	}
}

func FuzzParse(f *testing.F) {
	c := newCase("VF-2026-0001")
	var file []byte
	now := time.Date(2026, 11, 29, 9, 0, 0, 0, time.UTC)
	for _, e := range []Entry{
		{N: 1, Kind: Fact, By: "anna", Text: "x", Learned: now, Written: now},
		{N: 2, Kind: Request, By: "anna", Wish: Close, Why: "y", Learned: now, Written: now},
		{N: 3, Kind: Approval, By: "ben", Answers: 2, Learned: now, Written: now},
	} {
		line, d, err := appendLine(c.Head(), &e)
		if err != nil {
			f.Fatal(err)
		}
		c.apply(e, d)
		file = append(file, line...)
	}
	f.Add(file)
	f.Add(file[:len(file)-9])
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, good, err := parse("VF-2026-0001", data)
		if good > len(data) || good < 0 {
			t.Fatalf("%d of %d bytes are good", good, len(data))
		}
		again, all, err2 := parse("VF-2026-0001", data[:good])
		if err2 != nil || all != good || again.Version != c.Version || again.Head() != c.Head() {
			t.Fatalf("what is left after cutting reads differently: %v (%v)", err2, err)
		}
	})
}

// FuzzEntry puts foreign JSON into a file with a good digest, as somebody would who can write it.
func FuzzEntry(f *testing.F) {
	f.Add([]byte(`{"n":1,"kind":"fact","learned":"2026-11-29T09:00:00Z","written":"2026-11-29T09:00:00Z","by":"anna","text":"x"}`))
	f.Add([]byte(`{"n":1,"kind":"evidence","evidence":{"grade":"E2"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("\n")) {
			return
		}
		const ref = "VF-2026-0001"
		d := chain(genesis(ref), data)
		line := append([]byte(encode(d)+" "), data...)
		c, _, _ := parse(ref, append(line, '\n'))
		for _, e := range c.Entries {
			if e.check() != nil || e.N != 1 || e.Kind != Fact {
				t.Fatalf("%+v was let in", e)
			}
		}
		var b bytes.Buffer
		if err := NewExport(c, pseudonym, time.Time{}, "x", false, nil).WriteHTML(&b, "de"); err != nil {
			t.Fatal(err)
		}
	})
}

func encode(d Digest) string { return hex.EncodeToString(d[:]) }

// TestExportReadAgain draws the page from what was sent as JSON: it is the same.
func TestExportReadAgain(t *testing.T) {
	d := newDesk(t)
	x := NewExport(whole(d), pseudonym, d.now, "kassen.example", true, nil)
	var sent, want, got bytes.Buffer
	var y Export
	if err := errors.Join(x.WriteJSON(&sent), x.WriteHTML(&want, "de"), json.Unmarshal(sent.Bytes(), &y), y.WriteHTML(&got, "de")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), got.String()); diff != "" {
		t.Errorf("(-sent +read):\n%s", diff)
	}
}

// TestExportsThatDoNotFit reads cases that no book has written: a page is made of none of them.
func TestExportsThatDoNotFit(t *testing.T) {
	for name, entries := range map[string]string{
		"a finding without evidence":       `{"n":1,"kind":"evidence"}`,
		"a correction to one":              `{"n":1,"kind":"fact"},{"n":2,"kind":"correction","supersedes":1,"as":"evidence"}`,
		"an entry too many":                `{"n":2,"kind":"fact"}`,
		"an answer to what comes later":    `{"n":1,"kind":"acknowledgement","answers":1}`,
		"a correction of what comes later": `{"n":1,"kind":"correction","supersedes":1,"as":"fact"}`,
	} {
		var x Export
		if err := json.Unmarshal([]byte(`{"case":{"ref":"VF-2026-0001","entries":[`+entries+`]}}`), &x); querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPageSpeaksOneLanguage looks at the page in each language for the platform's words in the other one.
func TestPageSpeaksOneLanguage(t *testing.T) {
	d := newDesk(t)
	x := NewExport(whole(d), pseudonym, d.now, "kassen.example", false, nil)
	for language, words := range map[string][2]string{
		"de": {"P-7K2M liest zu viele Personen|in Kraft: Ausweis P-7K2M sperren|eine Tatsache sperrt einen Ausweis", "reads too many|done: hold|a fact holds"},
		"en": {"P-7K2M reads too many persons|done: hold P-7K2M|a fact holds a credential", "liest zu viele|in Kraft|eine Tatsache"},
	} {
		var b bytes.Buffer
		if err := x.WriteHTML(&b, language); err != nil {
			t.Fatal(err)
		}
		for _, want := range strings.Split(words[0], "|") {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s: %q is missing", language, want)
			}
		}
		for _, other := range strings.Split(words[1], "|") {
			if strings.Contains(b.String(), other) {
				t.Errorf("%s: the page says %q", language, other)
			}
		}
	}
}

// TestGermanBesidesNotInstead refuses a German text without the text that it translates, and what neither language may say.
func TestGermanBesidesNotInstead(t *testing.T) {
	d := newDesk(t)
	c := whole(d)
	for what, e := range map[string]Entry{
		"German alone":       {Kind: Fact, By: "anna", TextDE: "nur deutsch"},
		"a person's number":  {Kind: Fact, By: "anna", Text: "one", TextDE: "A123456780"},
		"a claim in German":  {Kind: Fact, By: "anna", Text: "all is well", TextDE: "Keine Daten sind betroffen"},
		"a turned direction": {Kind: Decision, By: "anna", Text: "one", Why: "two", WhyDE: "zwei\u202e"},
	} {
		if _, err := d.book.Append(t.Context(), c.Ref, Any, e); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
}

// TestFaultsInBothLanguages makes a page of each fault: in German none is in English, and each says what to do.
func TestFaultsInBothLanguages(t *testing.T) {
	d := newDesk(t)
	c, err := d.book.Begin(t.Context(), Entry{Kind: Fact, By: "anna", Text: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]string{
		FaultDamaged: "die Datei ist nicht zu lesen (the digest is that of another entry)", FaultMissing: "seine Datei fehlt oder ist leer",
		FaultShort: "kennt Eintrag 7, die Datei endet mit Eintrag 3", FaultOther: "Eintrag 7 ist nicht der, den das Zugriffsbuch kennt",
	} {
		f := Fault{Ref: c.Ref, What: what, Entry: 7, Last: 3, Detail: "the digest is that of another entry"}
		if what != FaultShort {
			f.Last = 0
		}
		x := NewExport(c, pseudonym, d.now, "kassen.example", false, []Fault{f})
		var data, page bytes.Buffer
		if err := x.WriteJSON(&data); err != nil {
			t.Fatal(err)
		}
		var y Export
		if err := json.Unmarshal(data.Bytes(), &y); err != nil || len(y.Faults) != 1 {
			t.Fatalf("%s does not survive as JSON: %v", what, err)
		}
		if err := y.WriteHTML(&page, "de"); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{want, "stellen Sie sie aus einer Sicherung wieder her"} {
			if !strings.Contains(page.String(), text) {
				t.Errorf("%s: the page does not say %q", what, text)
			}
		}
		if f.String() == f.In("de") || !strings.Contains(f.String(), "restore it from a backup") || strings.Contains(f.String()+f.In("de"), "%!") {
			t.Errorf("%q, %q", f, f.In("de"))
		}
	}
}
