package sigma

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott/watch"
)

// TestDocumentsOfTheSpecification loads each document alone. All of them are well-formed; what they are about, other
// products' events and rules that are not there, is not here, and each says so.
func TestDocumentsOfTheSpecification(t *testing.T) {
	const dir = "../../../shared/data/sigma/tests/schema"
	want := map[string]string{
		"rules/rule_1.yml":                 `:18: there are no events of product "windows" here`,
		"rules/rule_ecs.yml":               `:7: the fields of taxonomy "ecs" are not known here`,
		"correlation/event_count.yml":      `:6: no rule is called "5638f7c0-ac70-491d-8465-2a65075e0d86"`,
		"correlation/event_count_ecs.yml":  `:3: the fields of taxonomy "ecs" are not known here`,
		"correlation/value_count.yml":      `:6: no rule is called "5638f7c0-ac70-491d-8465-2a65075e0d86"`,
		"correlation/value_sum.yml":        `:5: no rule is called "website_access"`,
		"correlation/value_avg.yml":        `:5: no rule is called "rule_a_id"`,
		"correlation/value_percentile.yml": `:5: no rule is called "process_creation"`,
		"correlation/temporal.yml":         `:5: no rule is called "recon_cmd_a"`,
		"correlation/temporal_ordered.yml": `:5: no rule is called "recon_cmd_a"`,
		"filter/filter_1.yml":              `:11: events have no field "User"`,
		"filter/filter_ecs.yml":            `:3: the fields of taxonomy "ecs" are not known here`,
	}
	files, err := filepath.Glob(dir + "/*/*.yml")
	if err != nil || len(files) != len(want) {
		t.Fatalf("%d documents, want %d: %v", len(files), len(want), err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(dir, f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := loadText(string(data), nil); err == nil || !strings.Contains(err.Error(), want[filepath.ToSlash(rel)]) {
			t.Errorf("%s: got %v, want ...%s...", rel, err, want[filepath.ToSlash(rel)])
		}
	}
}

// TestDocumentsOfTheSpecificationInOurWords loads the same documents with the names of the house in place of the foreign
// ones: nothing but the names was in the way.
func TestDocumentsOfTheSpecificationInOurWords(t *testing.T) {
	words := strings.NewReplacer(
		"product: windows", "product: querschott", "service: application", "service: desk", "service: dns", "product: querschott",
		"category: network", "category: login", "category: process_creation", "category: login", "taxonomy: ecs", "taxonomy: querschott",
		"Provider_Name", "outcome", "ComputerName", "gate", "WorkstationName", "ip", "SourceIP", "ip", "dns.question.name", "query_shape",
		"bytes_sent", "bytes", "BytesOut", "bytes", "Image", "query_shape", "User", "actor",
	)
	const rules = `
title: One
id: 5638f7c0-ac70-491d-8465-2a65075e0d86
name: NAME
logsource: {product: querschott, category: login}
detection: {s: {action: read}, condition: s}
---
title: Two
id: 6f3e2987-db24-4c78-a860-b4f4095a7095
name: recon_cmd_b
logsource: {product: querschott, category: login}
detection: {s: {action: read}, condition: s}
---
title: Three
id: df0841c0-9846-4e9f-ad8a-7df91571771b
name: recon_cmd_c
logsource: {product: querschott, category: login}
detection: {s: {action: read}, condition: s}
---
`
	files, err := filepath.Glob("../../../shared/data/sigma/tests/schema/*/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := "recon_cmd_a"
		for _, n := range []string{"website_access", "rule_a_id", "process_creation"} {
			if strings.Contains(string(data), "- "+n) {
				name = n
			}
		}
		if _, err := loadText(strings.Replace(rules, "NAME", name, 1)+words.Replace(string(data)), nil); err != nil {
			t.Errorf("%s: %v", filepath.Base(f), err)
		}
	}
}

// hour is far enough from an event to change its hour.
const hour = time.Hour

func one(item string) string {
	return "title: T\nlogsource: {product: querschott}\ndetection:\n  s:\n    " + item + "\n  condition: s\n"
}

// refused are documents that are not loaded, and how the error begins or what it says.
var refused = []struct{ name, text, want string }{
	{"windash", one("actor|windash: '-x'"), `:5: modifier "windash" is not supported`},
	{"base64", one("actor|base64: x"), `:5: modifier "base64" is not supported`},
	{"base64offset", one("actor|base64offset|contains: x"), `:5: modifier "base64offset" is not supported`},
	{"wide", one("actor|wide: x"), `:5: modifier "wide" is not supported`},
	{"utf16", one("actor|utf16: x"), `:5: modifier "utf16" is not supported`},
	{"utf16le", one("actor|utf16le: x"), `:5: modifier "utf16le" is not supported`},
	{"utf16be", one("actor|utf16be: x"), `:5: modifier "utf16be" is not supported`},
	{"unknown modifier", one("actor|near: x"), `:5: modifier "near"`},
	{"modifier twice", one("actor|cased|cased: x"), `:5: modifier "cased" stands twice`},
	{"places", one("actor|startswith|endswith: x"), ":5: modifier"},
	{"comparisons", one("bytes|lt|gt: 5"), ":5: modifier"},
	{"part behind comparison", one("t|lt|hour: 5"), ":5: modifier"},
	{"flags without re", one("actor|i: x"), `:5: modifier "i"`},
	{"re and contains", one("actor|re|contains: x"), ":5: these modifiers"},
	{"cidr and re", one("ip|cidr|re: 10.0.0.0/8"), ":5: these modifiers"},
	{"all with one value", one("actor|contains|all: x"), ":5: all has no meaning"},
	{"all with a list of one", one("actor|contains|all: [x]"), ":5: all has no meaning"},
	{"neq and all", one("actor|neq|all: [x, y]"), ":5: neq"},
	{"exists and more", one("actor|exists|neq: true"), ":5: exists stands alone"},
	{"exists of a text", one("actor|exists: maybe"), ":5: exists wants"},
	{"null in a list", one("actor: [a, null]"), ":5: null stands in no list"},
	{"null with a modifier", one("actor|contains: null"), ":5: null"},
	{"empty list", one("actor: []"), ":5: the list of values is empty"},
	{"list in a list", one("actor: [[a]]"), ":5: a value is no list"},
	{"unknown field", one("asn: 5"), `:5: events have no field "asn"`},
	{"unknown field referred to", one("actor|fieldref: asn"), `:5: events have no field "asn"`},
	{"number of a text", one("actor|gt: 5"), ":5: actor is no number"},
	{"comparison with a text", one("bytes|gt: many"), ":5: a number was expected"},
	{"hour of a text", one("actor|hour: 5"), ":5: actor is no time"},
	{"time as a whole", one("t: 2026-01-01"), ":5: a time is asked for its parts"},
	{"neither true nor false", one("explained: yes"), ":5: explained is true or false"},
	{"no network", one("ip|cidr: 10.0.0.0"), ":5: \"10.0.0.0\" is no network"},
	{"lookahead", one("actor|re: 'a(?=b)'"), ":5: regular expression: groups"},
	{"inline flags", one("actor|re: '(?i)a'"), ":5: regular expression: groups"},
	{"letter class", one(`actor|re: '\d+'`), ":5: regular expression: a backslash"},
	{"trailing backslash", one(`actor|re: 'a\'`), ":5: regular expression: it ends"},
	{"named class", one("actor|re: '[[:alpha:]]'"), ":5: regular expression: classes"},
	{"bad expression", one("actor|re: '('"), ":5: regular expression"},
	{"placeholder", one("actor|expand: '%admins%'"), ":5: placeholder %admins% is not resolved"},
	{"no placeholder", one("actor|expand: 'admins'"), ":5: expand: there is no placeholder"},
	{"keyword with a place", one("'|contains': x"), ":5: keywords"},

	{"timeframe", strings.Replace(one("actor: x"), "  condition", "  timeframe: 5m\n  condition", 1), ":6: timeframe is not supported"},
	{"aggregation", strings.Replace(one("actor: x"), "condition: s", "condition: s | count() > 5", 1), ":6: condition: "},
	{"two of", strings.Replace(one("actor: x"), "condition: s", "condition: 2 of s*", 1), ":6: condition: "},
	{"unknown selection", strings.Replace(one("actor: x"), "condition: s", "condition: s and q", 1), `:6: condition: there is no selection "q"`},
	{"of nothing", strings.Replace(one("actor: x"), "condition: s", "condition: 1 of q*", 1), ":6: condition: no selection"},
	{"open bracket", strings.Replace(one("actor: x"), "condition: s", "condition: (s", 1), ":6: condition: a bracket"},
	{"empty condition", strings.Replace(one("actor: x"), "condition: s", "condition: ''", 1), ":6: condition: something is missing"},
	{"deep condition", strings.Replace(one("actor: x"), "condition: s", "condition: "+strings.Repeat("(", 100)+"s"+strings.Repeat(")", 100), 1), ":6: condition: nested"},
	{"no condition", strings.Replace(one("actor: x"), "  condition: s\n", "", 1), ":4: there is no condition"},
	{"text for a selection", strings.Replace(one("actor: x"), "  condition", "  q: x\n  condition", 1), ":6: a selection is"},

	{"unknown key", "titel: x\n" + one("actor: x"), `:1: unknown key "titel"`},
	{"no title", strings.Replace(one("actor: x"), "title: T\n", "", 1), ":1: a title"},
	{"level", one("actor: x") + "level: severe\n", `:7: there is no level "severe"`},
	{"status", one("actor: x") + "status: unsupported\n", ":7: the rule says of itself"},
	{"tag", one("actor: x") + "tags: [Attack]\n", ":7: \"Attack\" is no tag"},
	{"id", one("actor: x") + "id: 12\n", ":7: a text was expected"},
	{"id form", one("actor: x") + "id: '12'\n", ":7: the id is no UUID"},
	{"date", one("actor: x") + "date: 12.1.2026\n", ":7: a date is"},
	{"category", strings.Replace(one("actor: x"), "{product: querschott}", "{product: querschott, category: dns}", 1), ":2: there is no category"},
	{"service", strings.Replace(one("actor: x"), "{product: querschott}", "{product: querschott, service: dns}", 1), ":2: there is no service"},
	{"informational alone", one("actor: x") + "level: informational\n", ":7: nothing comes of it"},
	{"two rules of one name", one("actor: x") + "name: n\n---\n" + one("actor: y") + "name: n\n", ":9: rules.yml:1 also calls itself"},
	{"neither", "title: T\nlogsource: {product: querschott}\n", ":1: a document has one of"},
	{"yaml", "title: 'x\n", ":1: "},

	{"type", correlated("type: near\nrules: [a]\ntimespan: 1m"), `there is no type of correlation "near"`},
	{"timespan", correlated("type: temporal\nrules: [a]\ntimespan: 1w"), `"1w" is no timespan`},
	{"no timespan", correlated("type: temporal\nrules: [a]"), "a timespan is needed"},
	{"long timespan", correlated("type: temporal\nrules: [a]\ntimespan: 400d"), "at most 366 days"},
	{"no rules", correlated("type: temporal\nrules: []\ntimespan: 1m"), "refers to 1 to 32 rules"},
	{"unknown rule", correlated("type: temporal\nrules: [a, z]\ntimespan: 1m"), `no rule is called "z"`},
	{"rule twice", correlated("type: temporal\nrules: [a, a]\ntimespan: 1m"), `"a" stands twice`},
	{"itself", correlated("type: temporal\nrules: [a, x]\ntimespan: 1m"), "refer to each other"},
	{"no condition", correlated("type: event_count\nrules: [a]\ntimespan: 1m"), "needs a condition"},
	{"no comparison", correlated("type: value_count\nrules: [a]\ntimespan: 1m\ncondition: {field: ip}"), "compares nothing"},
	{"unknown comparison", correlated("type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {above: 5}"), `a condition has no "above"`},
	{"no field", correlated("type: value_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 5}"), "needs a field"},
	{"field too many", correlated("type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 5, field: ip}"), "has no field"},
	{"unknown field", correlated("type: value_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 5, field: asn}"), `no field "asn"`},
	{"sum of texts", correlated("type: value_sum\nrules: [a]\ntimespan: 1m\ncondition: {gte: 5, field: ip}"), "ip is no number"},
	{"two sums", correlated("type: value_sum\nrules: [a]\ntimespan: 1m\ncondition: {gte: 5, field: [bytes, status]}"), "too many fields"},
	{"silence", correlated("type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {lt: 1}"), "never by silence"},
	{"more rules than there are", correlated("type: temporal\nrules: [a, b]\ntimespan: 1m\ncondition: {gte: 3}"), "no window can satisfy"},
	{"large count", correlated("type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 1000000}"), "counts above"},
	{"alias of another rule", correlated("type: temporal\nrules: [a, b]\ntimespan: 1m\naliases: {who: {a: actor}}"), `alias "who" says nothing about rule "b"`},
	{"log source of a correlation", strings.Replace(correlated("type: temporal\nrules: [a]\ntimespan: 1m"), "name: x\n", "name: x\nlogsource: {product: querschott}\n", 1), "no log source of its own"},

	{"filter of nothing", bases + "---\ntitle: F\nlogsource: {product: querschott}\nfilter: {rules: [], s: {actor: x}, condition: s}\n", "names its rules"},
	{"filter of any", bases + "---\ntitle: F\nlogsource: {product: querschott}\nfilter: {rules: any, s: {actor: x}, condition: s}\n", "names its rules"},
	{"filter of unknown", bases + "---\ntitle: F\nlogsource: {product: querschott}\nfilter: {rules: [z], s: {actor: x}, condition: s}\n", `no rule is called "z"`},
	{"filter of a correlation", correlated("type: temporal\nrules: [a]\ntimespan: 1m") + "---\ntitle: F\nlogsource: {product: querschott}\nfilter: {rules: [x], s: {actor: x}, condition: s}\n", "filters are for rules about one event"},
	{"filter of another log source", bases + "---\ntitle: F\nlogsource: {product: querschott, category: login}\nfilter: {rules: [a], s: {actor: x}, condition: s}\n", "another log source"},
}

func TestRefused(t *testing.T) {
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			_, err := loadText(c.text, nil)
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(e.Error(), c.want) || e.Line < 1 || e.File != "rules.yml" {
				t.Errorf("got %q, want ...%s...", e, c.want)
			}
		})
	}
}

// TestAccepted has for most of what is refused its neighbour that is not, with an event that matches and one that does not.
func TestAccepted(t *testing.T) {
	for _, c := range []struct {
		item     string
		yes, not func(*watch.Event)
	}{
		{"actor: ANNA", actor("anna"), actor("annab")},
		{"actor|cased: Anna", actor("Anna"), actor("anna")},
		{"actor: a?n*a", actor("axn__a"), actor("an__a")},
		{`actor: 'a\*\\?'`, actor(`a*\x`), actor(`ab\x`)},
		{"actor: K*", actor("\u212Aelvin"), actor("Celsius")},
		{"actor|startswith: [x, an]", actor("anna"), actor("hannah")},
		{"actor|endswith: 'A'", actor("anna"), actor("ann")},
		{"actor|contains|all: [n, a]", actor("anna"), actor("nnn")},
		{"actor|neq: [a, b]", actor("c"), actor("B")},
		{"actor|re: '^a(n|m){2}.$'", actor("anma"), actor("Anma")},
		{"actor|re|i: '^a\\.b'", actor("A.bc"), actor("Axbc")},
		{"cause|exists: true", cause("x"), cause("")},
		{"cause|exists: false", cause(""), cause("x")},
		{"cause: null", cause(""), cause("x")},
		{"cause: ''", cause(""), cause("x")},
		{"ip|cidr: [10.0.0.0/8, '2001:db8::/32']", func(e *watch.Event) { e.Address = "2001:db8::7" }, func(e *watch.Event) { e.Address = "11.0.0.1" }},
		{"bytes|gte: 5", bytes(5), bytes(4)},
		{"bytes|lt: 4.5", bytes(4), bytes(5)},
		{"bytes: '7'", bytes(7), bytes(8)},
		{"bytes: '7*'", bytes(712), bytes(17)},
		{"status|lt: 400", func(e *watch.Event) { e.Status = 200 }, func(e *watch.Event) { e.Status = 0 }},
		{"t|hour: 8", func(e *watch.Event) {}, func(e *watch.Event) { e.Time = e.Time.Add(hour) }},
		{"t|minute|gte: 5", func(e *watch.Event) { e.Time = e.Time.Add(hour / 2) }, func(*watch.Event) {}},
		{"t|week: 3", func(e *watch.Event) {}, func(e *watch.Event) { e.Time = e.Time.Add(-12 * hour) }},
		{"tenant|fieldref: subject_tenant", func(*watch.Event) {}, func(e *watch.Event) { e.Insurer = "1" }},
		{"tenant|fieldref|neq: subject_tenant", func(e *watch.Event) { e.Insurer = "1" }, func(*watch.Event) {}},
		{"query_shape|fieldref|contains: actor", query("GET /ANNA/x"), query("GET /x")},
		{"explained: true", func(e *watch.Event) { e.Explained = true }, func(*watch.Event) {}},
		{"result: not_found", func(e *watch.Event) { e.Result = watch.NotFound }, func(*watch.Event) {}},
		{"'|all': [anna, GET]", query("GET /x"), query("PUT /x")},
		{"actor|expand: '%admins%*'", actor("ROOT1"), actor("anna")},
	} {
		t.Run(c.item, func(t *testing.T) {
			g, err := loadText(one(c.item), map[string][]string{"admins": {"root", "ad*min"}})
			if err != nil {
				t.Fatal(err)
			}
			if got := g.Observe(at(0, c.yes), nil); len(got) != 1 {
				t.Error("does not match what it should")
			}
			if got := g.Observe(at(0, c.not), nil); len(got) != 0 {
				t.Error("matches what it should not")
			}
		})
	}
}

func TestDirectories(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(Config{Dirs: []string{dir}}); err == nil || !strings.Contains(err.Error(), "there are no rules") {
		t.Errorf("an empty directory: %v", err)
	}
	write("placeholders.yml", "admins: [root, eve]\n")
	write("sub/a.yaml", one("actor|expand: '%admins%'"))
	write("README.md", "no rule")
	g, err := New(Config{Dirs: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	if got := g.Observe(at(0, actor("eve")), nil); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	write("b.yml", "title: 5\n")
	write("c.yml", one("asn: 5"))
	_, err = New(Config{Dirs: []string{dir}})
	for _, want := range []string{filepath.Join(dir, "b.yml") + ":1: ", filepath.Join(dir, "c.yml") + ":5: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
	if _, err := New(Config{Dirs: []string{filepath.Join(dir, "missing")}}); err == nil {
		t.Error("a directory that is not there is no fault")
	}
}

func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("rules/*.yml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(one("actor|re|i: 'a{3}'"))
	f.Add(correlated("type: value_percentile\nrules: [a]\ntimespan: 1h\ncondition: {field: bytes, gte: 99}"))
	f.Fuzz(func(t *testing.T, text string) {
		g, err := loadText(text, map[string][]string{"p": {"x", "y"}})
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("%T is no *Error: %v", err, err)
			}
			return
		}
		for i := range 8 {
			g.Observe(at(float64(i), cause("a"), bytes(int64(i))), nil)
		}
	})
}
