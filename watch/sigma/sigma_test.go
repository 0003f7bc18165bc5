package sigma

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
)

// begin is a Monday in winter: German time is an hour ahead.
var begin = time.Date(2026, 1, 12, 7, 0, 0, 0, time.UTC)

// at makes an event so many seconds after begin, as the early warning would.
func at(seconds float64, set ...func(*watch.Event)) *watch.Event {
	t := begin.Add(time.Duration(seconds * float64(time.Second)))
	e := &watch.Event{Access: &querschott.Access{
		Time: t, Gate: "gate-1", Service: querschott.Desk, Actor: "anna", Credential: "session-1", Role: querschott.RoleStaff,
		Action: "read", Outcome: "success", Insurer: "109500969", Tenant: "109500969", Person: "p1", Records: 1, Address: "192.0.2.7",
	}, At: t, Who: "anna", Result: watch.Reached}
	for _, f := range set {
		f(e)
	}
	settle(e)
	return e
}

// settle fills in the calendar of an event.
func settle(e *watch.Event) {
	e.Sec = e.At.Unix()
	local := e.Sec + 3600
	e.Day, e.Minute = int(local/86400), int(local%86400/60)
}

func actor(a string) func(*watch.Event) {
	return func(e *watch.Event) { e.Actor, e.Who = querschott.Actor(a), a }
}
func cause(c string) func(*watch.Event)  { return func(e *watch.Event) { e.Cause = c } }
func person(p string) func(*watch.Event) { return func(e *watch.Event) { e.Person = p } }
func bytes(n int64) func(*watch.Event)   { return func(e *watch.Event) { e.Bytes = n } }
func query(q string) func(*watch.Event)  { return func(e *watch.Event) { e.Query = q } }

// engine loads rules from one text.
func engine(t testing.TB, text string) *Engine {
	t.Helper()
	g, err := loadText(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func loadText(text string, placeholders map[string][]string) (*Engine, error) {
	l := &loader{byRef: map[string]*rule{}, detections: detections{placeholders}}
	l.file("rules.yml", false, []byte(text))
	l.link()
	if len(l.faults) > 0 {
		return nil, l.faults[0]
	}
	return newEngine(l.rules, 1000), nil
}

// play returns which rules fired at which second.
func play(g *Engine, events []*watch.Event) []string {
	var got []string
	for _, e := range events {
		for _, a := range g.Observe(e, nil) {
			got = append(got, fmt.Sprintf("%s %g %s", strings.TrimPrefix(a.Detector, "sigma/"), e.Time.Sub(begin).Seconds(), a.Actor))
		}
	}
	return got
}

const bases = `
title: A
name: a
logsource: {product: querschott}
detection: {s: {cause: a}, condition: s}
---
title: B
name: b
logsource: {product: querschott}
detection: {s: {cause: b}, condition: s}
---
title: C
name: c
logsource: {product: querschott}
detection: {s: {cause: c}, condition: s}
`

func correlated(body string) string {
	return bases + "---\ntitle: X\nname: x\ncorrelation:\n    group-by: [who]\n    " + strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n    ") +
		"\n---\ntitle: Rest\ncorrelation: {type: event_count, rules: [a, b, c], group-by: [], timespan: 1s, condition: {gte: 90000}}\n"
}

// stream makes events of the causes at the seconds: "a@3" or "a@3:anna".
func stream(t *testing.T, text string, set func(*watch.Event, string)) []*watch.Event {
	t.Helper()
	var list []*watch.Event
	for _, word := range strings.Fields(text) {
		var c, who string
		var s float64
		word = strings.NewReplacer("@", " ", ":", " ").Replace(word)
		if n, _ := fmt.Sscanf(word, "%s %g %s", &c, &s, &who); n < 2 {
			t.Fatalf("cannot read %q", word)
		}
		base, value, _ := strings.Cut(c, "=")
		e := at(s, cause(base))
		if who != "" {
			actor(who)(e)
		}
		if set != nil {
			set(e, value)
		}
		list = append(list, e)
	}
	return list
}

func TestCorrelations(t *testing.T) {
	setBytes := func(e *watch.Event, v string) { _, _ = fmt.Sscan(v, &e.Bytes) }
	setPerson := func(e *watch.Event, v string) { e.Person = v }
	for _, c := range []struct {
		name, rule, events string
		set                func(*watch.Event, string)
		want               []string
	}{
		{"count", "type: event_count\nrules: [a]\ntimespan: 60s\ncondition: {gte: 3}", "a@0 a@1 b@1 a@2 a@3", nil, []string{"x 2 anna"}},
		{"count astride the minute", "type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 3}", "a@58 a@59 a@61 a@62", nil, []string{"x 61 anna"}},
		{"count at both ends", "type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 2}", "a@0 a@60", nil, []string{"x 60 anna"}},
		{"count too far apart", "type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 2}", "a@0 a@60.1 a@121", nil, nil},
		{"count per key", "type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 3}", "a@0:u a@1:v a@2:u a@3:v a@4:v", nil, []string{"x 4 v"}},
		{"count again after quiet", "type: event_count\nrules: [a]\ntimespan: 10s\ncondition: {gte: 2}", "a@0 a@1 a@100 a@101", nil, []string{"x 1 anna", "x 101 anna"}},
		{"count that goes on", "type: event_count\nrules: [a]\ntimespan: 10s\ncondition: {gte: 2}", "a@0 a@4 a@8 a@12 a@16 a@20 a@24", nil, []string{"x 4 anna", "x 16 anna"}},
		{"count of an event once", "type: event_count\nrules: [a, d]\ntimespan: 10s\ncondition: {gte: 2}", "a@0", nil, nil},
		{"count between", "type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gt: 1, lt: 4}", "a@0 a@1 a@2 a@3 a@4", nil, []string{"x 1 anna"}},
		{"count exactly", "type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {eq: 2}", "a@0 a@1 a@2 a@3 a@4 a@63.5", nil, []string{"x 1 anna", "x 63.5 anna"}},
		{"count late", "type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 3}", "a@0 a@50 a@20", nil, []string{"x 20 anna"}},

		{"values", "type: value_count\nrules: [a]\ntimespan: 1m\ncondition: {field: subject, gte: 3}", "a=p@0 a=p@1 a=q@2 a=p@3 a=r@59", setPerson, []string{"x 59 anna"}},
		{"values astride", "type: value_count\nrules: [a]\ntimespan: 1m\ncondition: {field: subject, gte: 3}", "a=p@30 a=q@59 a=r@89 a=p@90", setPerson, []string{"x 89 anna"}},
		{"values apart", "type: value_count\nrules: [a]\ntimespan: 1m\ncondition: {field: subject, gte: 3}", "a=p@0 a=q@59 a=r@61", setPerson, nil},
		{"values seen again", "type: value_count\nrules: [a]\ntimespan: 1m\ncondition: {field: subject, gte: 3}", "a=p@0 a=q@40 a=p@50 a=r@80", setPerson, []string{"x 80 anna"}},
		{"values absent", "type: value_count\nrules: [a]\ntimespan: 1m\ncondition: {field: subject, gte: 2}", "a=p@0 a@1 a@2", setPerson, nil},
		{"values in pairs", "type: value_count\nrules: [a]\ntimespan: 1m\ncondition: {field: [subject, cause], gte: 2}", "a=p@0 a=p@1 a=q@2", setPerson, []string{"x 2 anna"}},

		{"sum", "type: value_sum\nrules: [a]\ntimespan: 1m\ncondition: {field: bytes, gt: 100}", "a=60@0 a=40@1 a=1@2", setBytes, []string{"x 2 anna"}},
		{"sum astride", "type: value_sum\nrules: [a]\ntimespan: 1m\ncondition: {field: bytes, gt: 100}", "a=60@59 a=41@61", setBytes, []string{"x 61 anna"}},
		{"sum apart", "type: value_sum\nrules: [a]\ntimespan: 1m\ncondition: {field: bytes, gt: 100}", "a=60@0 a=41@61 a=59@62", setBytes, nil},
		{"mean", "type: value_avg\nrules: [a]\ntimespan: 1m\ncondition: {field: bytes, gte: 50}", "a=10@0 a=80@1 a=60@2", setBytes, []string{"x 2 anna"}},
		{"mean of what is left", "type: value_avg\nrules: [a]\ntimespan: 1m\ncondition: {field: bytes, gte: 50}", "a=10@0 a=50@30 a=50@61", setBytes, []string{"x 61 anna"}},

		{"together", "type: temporal\nrules: [a, b, c]\ntimespan: 1m", "c@0 a@30 b@59", nil, []string{"x 59 anna"}},
		{"together astride", "type: temporal\nrules: [a, b]\ntimespan: 1m", "b@59 a@119", nil, []string{"x 119 anna"}},
		{"together apart", "type: temporal\nrules: [a, b]\ntimespan: 1m", "a@0 b@61", nil, nil},
		{"together per key", "type: temporal\nrules: [a, b]\ntimespan: 1m", "a@0:u b@1:v", nil, nil},
		{"together two of three", "type: temporal\nrules: [a, b, c]\ntimespan: 1m\ncondition: {gte: 2}", "a@0 a@1 c@2", nil, []string{"x 2 anna"}},

		{"in order", "type: temporal_ordered\nrules: [a, b, c]\ntimespan: 1m", "a@0 b@30 c@60", nil, []string{"x 60 anna"}},
		{"in another order", "type: temporal_ordered\nrules: [a, b, c]\ntimespan: 1m", "b@0 a@30 c@59", nil, nil},
		{"in order apart", "type: temporal_ordered\nrules: [a, b, c]\ntimespan: 1m", "a@0 b@30 c@61", nil, nil},
		{"in order with a later start", "type: temporal_ordered\nrules: [a, b, c]\ntimespan: 1m", "a@0 a@20 b@30 c@80", nil, []string{"x 80 anna"}},
		{"in order behind a flood", "type: temporal_ordered\nrules: [a, b, c]\ntimespan: 1m", "a@0 b@1 " + strings.Repeat("a@2 ", 5000) + " c@3", nil, []string{"x 3 anna"}},
		{"in order, the start is not of the chain", "type: temporal_ordered\nrules: [a, b, c]\ntimespan: 1m", "a@0 b@1 a@50 c@62", nil, nil},
		{"in order, late", "type: temporal_ordered\nrules: [a, b, c]\ntimespan: 1m", "a@0 c@30 b@20 c@31", nil, []string{"x 31 anna"}},
		{"in order by one event", "type: temporal_ordered\nrules: [a, d]\ntimespan: 1m", "a@0", nil, nil},
		{"in order by two alike", "type: temporal_ordered\nrules: [a, d]\ntimespan: 1m", "a@0 a@1", nil, []string{"x 1 anna"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := correlated(c.rule) + "---\ntitle: D\nname: d\nlogsource: {product: querschott}\ndetection: {s: {cause|startswith: a}, condition: s}\n" +
				"---\ntitle: Rest of D\ncorrelation: {type: event_count, rules: [d], group-by: [], timespan: 1s, condition: {gte: 90000}}\n"
			got := play(engine(t, text), stream(t, c.events, c.set))
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPercentiles(t *testing.T) {
	rare := engine(t, correlated("type: value_percentile\nrules: [a]\ntimespan: 1h\ncondition: {field: query_shape, lte: 1}"))
	large := engine(t, correlated("type: value_percentile\nrules: [a]\ntimespan: 1h\ncondition: {field: bytes, gte: 99}"))
	var events []*watch.Event
	for i := range 150 {
		q := "GET /usual"
		if i == 50 || i == 120 {
			q = "GET /export"
		}
		events = append(events, at(float64(i), cause("a"), query(q), bytes(int64(100+i%7))))
	}
	bytes(1_000_000)(events[130])
	bytes(1_000_000)(events[30]) // too few are known
	if d := cmp.Diff([]string(nil), play(rare, events[:120])); d != "" {
		t.Errorf("a value that came before 100 were known: %s", d)
	}
	events2 := append(slices.Clone(events[:50]), events[51:]...)
	rare = engine(t, correlated("type: value_percentile\nrules: [a]\ntimespan: 1h\ncondition: {field: query_shape, lte: 1}"))
	if d := cmp.Diff([]string{"x 120 anna"}, play(rare, events2)); d != "" {
		t.Errorf("a rare text: %s", d)
	}
	if d := cmp.Diff([]string{"x 130 anna"}, play(large, append(slices.Clone(events[:30]), events[31:]...))); d != "" {
		t.Errorf("a large number: %s", d)
	}
}

func TestChainOfCorrelations(t *testing.T) {
	g := engine(t, correlated("type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 3}")+
		"---\ntitle: Y\nname: y\ncorrelation: {type: temporal_ordered, rules: [x, b], group-by: [who], timespan: 5m}\n")
	got := play(g, stream(t, "b@0 a@1 a@2 a@3 b@100:other b@200 b@201", nil))
	if d := cmp.Diff([]string{"y 200 anna"}, got); d != "" {
		t.Error(d)
	}
}

func TestGenerate(t *testing.T) {
	g := engine(t, correlated("type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 2}\ngenerate: true"))
	got := play(g, stream(t, "a@0 b@1 a@2", nil))
	if d := cmp.Diff([]string{"a 0 anna", "a 2 anna", "x 2 anna"}, got); d != "" {
		t.Error(d)
	}
}

func TestAliases(t *testing.T) {
	g := engine(t, correlated("type: temporal\nrules: [a, b]\ntimespan: 1m\naliases:\n  insurer: {a: tenant, b: subject_tenant}")+
		"---\ntitle: Y\nname: y\ncorrelation:\n  type: temporal\n  rules: [a, b]\n  timespan: 1m\n  group-by: [insurer]\n  aliases:\n    insurer: {a: tenant, b: subject_tenant}\n")
	mine, other := at(0, cause("a"), actor("u")), at(1, cause("b"), actor("v"))
	other.Tenant, other.Insurer = "108018007", mine.Tenant
	if d := cmp.Diff([]string{"y 1 v"}, play(g, []*watch.Event{mine, other})); d != "" {
		t.Error(d)
	}
}

func TestFilter(t *testing.T) {
	g := engine(t, bases+"---\ntitle: F\nlogsource: {product: querschott}\nfilter:\n  rules: [a, b]\n  robots: {actor|startswith: job-}\n  condition: not robots\n")
	got := play(g, stream(t, "a@0 a@1:job-7 b@2:job-7 c@3:job-7", nil))
	if d := cmp.Diff([]string{"a 0 anna", "c 3 job-7"}, got); d != "" {
		t.Error(d)
	}
}

func TestLateEventCountsWhenTheWatchSaysSo(t *testing.T) {
	g := engine(t, correlated("type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 2}"))
	late := at(0, cause("a"), func(e *watch.Event) { e.At, e.Late = begin.Add(time.Hour), true })
	if d := cmp.Diff([]string{"x 3601 anna"}, play(g, []*watch.Event{late, at(3601, cause("a"))})); d != "" {
		t.Error(d)
	}
}

func TestAlarmCarriesItsArithmetic(t *testing.T) {
	text := strings.Replace(correlated("type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 3}"), "title: X\n",
		"title: X\ntags: [attack.t1087.001, attack.discovery, capec.210, querschott.exact]\nlevel: critical\n", 1)
	g := engine(t, text)
	var got []watch.Alarm
	for _, e := range stream(t, "a@0 a@10 a@20", nil) {
		got = g.Observe(e, got)
	}
	want := []watch.Alarm{{
		Time: begin.Add(20 * time.Second), Actor: "anna", Credential: "session-1", Insurer: "109500969", Service: "desk", Cause: "X",
		Detector: "sigma/x", Kind: watch.Exact, Severity: watch.Critical,
		Arithmetic: []watch.Number{{Name: "events", Value: 3, Unit: "events"}, {Name: "limit gte", Value: 3, Unit: "events"}, {Name: "window", Value: 60, Unit: "s"}},
		Events:     watch.Span{First: begin, Last: begin.Add(20 * time.Second), Count: 3},
		ATTACK:     []string{"T1087.001"}, CAPEC: "CAPEC-210",
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	g := engine(t, correlated("type: value_count\nrules: [a]\ntimespan: 1h\ncondition: {field: subject, gte: 50}"))
	c := g.correlations[0]
	for i := range 20_000 {
		g.Observe(at(float64(i)/100, cause("a"), actor(fmt.Sprint("u", i%3000)), person(fmt.Sprint("p", i))), nil)
		if len(c.groups) > c.roomKeys || c.entries > c.room+c.keep*4 {
			t.Fatalf("%d groups, %d entries", len(c.groups), c.entries)
		}
	}
	sum := 0
	for _, x := range c.groups {
		sum += x.weight()
	}
	if sum != c.entries {
		t.Errorf("counted %d entries, there are %d", c.entries, sum)
	}
	if g.Stats().Evicted == 0 {
		t.Error("what was forgotten is not counted")
	}
	g.Tick(begin.Add(3*time.Hour), nil)
	if s := g.Stats(); s.Keys != 0 || c.entries != 0 || c.oldest != nil || c.newest != nil {
		t.Errorf("after the timespan %d keys and %d entries are left", s.Keys, c.entries)
	}
}

func TestQuietKeysLeaveWithoutBeingCounted(t *testing.T) {
	g := engine(t, correlated("type: event_count\nrules: [a]\ntimespan: 1s\ncondition: {gte: 50}"))
	for i := range 5000 {
		g.Observe(at(float64(i), cause("a"), actor(fmt.Sprint("u", i))), nil)
	}
	if s := g.Stats(); s.Keys > 10 || s.Evicted != 0 {
		t.Errorf("%+v: keys with nothing in their timespan stay or count as evicted", s)
	}
}

func TestSumsStayRightWhenEntriesAreJoined(t *testing.T) {
	g := engine(t, correlated("type: value_sum\nrules: [a]\ntimespan: 1h\ncondition: {field: bytes, gte: 30000}"))
	var fired []float64
	for i := range 4000 {
		if len(g.Observe(at(float64(i)/10, cause("a"), bytes(10)), nil)) > 0 {
			fired = append(fired, float64(i))
		}
	}
	if !slices.Equal(fired, []float64{2999}) {
		t.Errorf("fired at events %v, want at 2999, the 3000th", fired)
	}
	if n := len(g.correlations[0].newest.window.live()); n > maxJoined {
		t.Errorf("%d entries", n)
	}
	if g.Stats().Evicted == 0 {
		t.Error("joining is not counted")
	}
}

func TestOwnRules(t *testing.T) {
	g, err := New(Config{Own: true})
	if err != nil {
		t.Fatal(err)
	}
	var events []*watch.Event
	add := func(s float64, set ...func(*watch.Event)) { events = append(events, at(s, set...)) }
	for i := range 3 {
		add(float64(i), cause("foreign-insurer"), func(e *watch.Event) { e.Insurer = querschott.IK(fmt.Sprint("insurer", i)) })
	}
	add(10, cause("dpop_replay"), actor("thief"))
	for i := range 20 {
		add(100+float64(i), actor("guesser"), func(e *watch.Event) { e.Result = watch.NotFound })
	}
	add(130, actor("guesser"))
	for i := range 10 {
		add(200+float64(i), actor("victim"), func(e *watch.Event) { e.Action, e.Result, e.Address = "login", watch.Denied, "198.51.100.1" })
	}
	add(215, actor("victim"), func(e *watch.Event) { e.Action = "login" })
	for i := range 30 {
		add(300+float64(i), actor(fmt.Sprint("user", i)), func(e *watch.Event) { e.Action, e.Result, e.Address = "login", watch.Other, "203.0.113.9" })
	}
	seen := map[string]bool{}
	for _, line := range play(g, events) {
		name, _, _ := strings.Cut(line, " ")
		seen[name] = true
	}
	for _, r := range append(slices.Clone(g.rules), rulesOf(g)...) {
		name := strings.TrimPrefix(r.detector, "sigma/")
		if r.alarms && !seen[name] && name != "cross_tenant" {
			t.Errorf("%s did not fire", name)
		}
		if r.alarms && (len(r.attack) == 0 || r.capec == "") && r.doc.Correlation != nil {
			t.Errorf("%s has no labels", name)
		}
	}
	quiet, err := New(Config{Own: true})
	if err != nil {
		t.Fatal(err)
	}
	var calm []*watch.Event
	for i := range 2000 {
		calm = append(calm, at(float64(i), actor(fmt.Sprint("clerk", i%40)), person(fmt.Sprint("p", i))))
	}
	if got := play(quiet, calm); got != nil {
		t.Errorf("ordinary work fired %v", got)
	}
}

// rulesOf returns the correlation rules that are reached from rules about one event.
func rulesOf(g *Engine) []*rule {
	var list []*rule
	var walk func(r *rule)
	walk = func(r *rule) {
		for _, o := range r.outs {
			if !slices.Contains(list, o.to) {
				list = append(list, o.to)
				walk(o.to)
			}
		}
	}
	for _, r := range g.rules {
		walk(r)
	}
	return list
}

func BenchmarkTwentyRules(b *testing.B) {
	var text strings.Builder
	for i := range 12 {
		fmt.Fprintf(&text, "title: R%d\nname: r%d\nlogsource: {product: querschott, category: health_record_access}\ndetection:\n  a: {result: reached, n_records|gte: %d}\n  b: {actor|startswith: [job-, robot-]}\n  c: {ip|cidr: 10.0.0.0/8}\n  condition: a and not 1 of b* and not c\n---\n", i, i, i)
	}
	types := []string{"event_count", "value_count", "value_sum", "temporal", "temporal_ordered", "event_count", "value_count", "value_avg"}
	for i, k := range types {
		cond := map[string]string{"value_count": "{field: subject, gte: 100}", "value_sum": "{field: bytes, gte: 100000000}", "value_avg": "{field: bytes, gte: 100000000}", "event_count": "{gte: 10000}"}[k]
		if cond == "" {
			cond = "{gte: 2}"
		}
		fmt.Fprintf(&text, "title: C%d\ncorrelation:\n  type: %s\n  rules: [r%d, r%d]\n  group-by: [who]\n  timespan: 15m\n  condition: %s\n---\n", i, k, i, 11-i%4, cond)
	}
	g, err := loadText(text.String(), nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range g.correlations {
		c.roomKeys, c.room = standardKeys, standardKeys*perKey
	}
	events := make([]*watch.Event, 1<<14)
	for i := range events {
		events[i] = at(float64(i)/50, actor(fmt.Sprint("clerk", i*7919%3000)), person(fmt.Sprint("p", i*104729%20000)), bytes(1000))
	}
	var to []watch.Alarm
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		e := events[n%len(events)]
		if n > 0 && n%len(events) == 0 {
			for _, e := range events {
				e.Time = e.Time.Add(time.Duration(len(events)/50) * time.Second)
				e.At = e.Time
				settle(e)
			}
		}
		to = g.Observe(e, to[:0])
		n++
	}
}

// TestManualsExample: the rules that the manual shows are loaded, and do what it says.
func TestManualsExample(t *testing.T) {
	chapter, err := os.ReadFile("../../docs/manual/10-early-warning.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(chapter), "## Rules of your own")
	_, example, _ = strings.Cut(example, "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	set := func(e *watch.Event, person string) {
		e.Action, e.Result, e.ReasonRef, e.Person, e.Service = "read", watch.Reached, "call:1", person, querschott.Desk
	}
	var fourteen strings.Builder
	for i := range 14 {
		fmt.Fprintf(&fourteen, "a=p%d@%d ", i, i)
	}
	got := play(engine(t, example), stream(t, fourteen.String()+"a=p3@20 a=p14@30 a=p15@31", set))
	if d := cmp.Diff([]string{"One call, many persons 30 anna"}, got); d != "" {
		t.Error(d)
	}
}
