package sigma

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
)

// naive evaluates what the generator below makes, in the plainest way: texts by a regular expression made of the pattern,
// conditions by replacing names with truths.
type naive struct {
	selections map[string][]map[string][]string // name: alternatives of items: "field|modifiers" to values
	order      []string
	condition  string
}

func (n *naive) yaml() string {
	var b strings.Builder
	b.WriteString("title: T\nlogsource: {product: querschott}\ndetection:\n")
	for _, name := range n.order {
		fmt.Fprintf(&b, "  %s:\n", name)
		for _, alternative := range n.selections[name] {
			lead := "    - "
			for key, values := range alternative {
				fmt.Fprintf(&b, "%s'%s':\n", lead, key)
				for _, v := range values {
					fmt.Fprintf(&b, "        - '%s'\n", v)
				}
				lead = "      "
			}
		}
	}
	fmt.Fprintf(&b, "  condition: %s\n", n.condition)
	return b.String()
}

// expressions remembers what was compiled; the reference asks for the same ones again and again.
var expressions = map[string]*regexp.Regexp{}

func expression(text string) *regexp.Regexp {
	if expressions[text] == nil {
		expressions[text] = regexp.MustCompile(text)
	}
	return expressions[text]
}

// fieldsOf returns the fields that the generator uses.
func fieldsOf(e *watch.Event) map[string]string {
	return map[string]string{
		"actor": string(e.Actor), "cause": e.Cause, "query_shape": e.Query, "tenant": string(e.Tenant),
		"bytes": strconv.FormatInt(e.Bytes, 10),
	}
}

func (n *naive) value(field string, mods []string, want string, e *watch.Event) bool {
	got := fieldsOf(e)[field]
	lead, trail, flags := "^", "$", "(?is)"
	for _, m := range mods {
		switch m {
		case "startswith":
			trail = ""
		case "endswith":
			lead = ""
		case "contains":
			lead, trail = "", ""
		case "cased":
			flags = "(?s)"
		case "gt", "lte":
			g, _ := strconv.Atoi(got)
			w, _ := strconv.Atoi(want)
			return (g > w) == (m == "gt")
		case "fieldref":
			other := fieldsOf(e)[want]
			return got != "" && other != "" && strings.EqualFold(got, other)
		}
	}
	text := strings.NewReplacer(`\*`, `\*`, `\?`, `\?`, `*`, `.*`, `?`, `.`, `.`, `\.`).Replace(want)
	return expression(flags + lead + text + trail).MatchString(got)
}

func (n *naive) selection(name string, e *watch.Event) bool {
	for _, alternative := range n.selections[name] {
		every := true
		for key, values := range alternative {
			words := strings.Split(key, "|")
			matched := 0
			for _, v := range values {
				if n.value(words[0], words[1:], v, e) {
					matched++
				}
			}
			ok := matched > 0
			if strings.Contains(key, "|all") {
				ok = matched == len(values)
			}
			if strings.Contains(key, "|neq") {
				ok = !ok
			}
			every = every && ok
		}
		if every {
			return true
		}
	}
	return false
}

// matches reduces the condition as text, innermost first.
func (n *naive) matches(e *watch.Event) bool {
	text := " " + n.condition + " "
	for _, of := range expression(`(1|all) of (\S+)`).FindAllStringSubmatch(text, -1) {
		count, meant := 0, 0
		for _, name := range n.order {
			pattern := "^" + strings.ReplaceAll(of[2], "*", ".*") + "$"
			if of[2] == "them" {
				pattern = "^[^_]"
			}
			if expression(pattern).MatchString(name) {
				meant++
				if n.selection(name, e) {
					count++
				}
			}
		}
		text = strings.Replace(text, of[0], truthWord(count == meant || of[1] == "1" && count > 0), 1)
	}
	for _, name := range n.order {
		text = expression(`\b`+name+`\b`).ReplaceAllString(text, truthWord(n.selection(name, e)))
	}
	for {
		before := text
		for _, rule := range []struct{ from, to string }{
			{`\( (T|F) \)`, "$1"},
			{`not T`, "F"},
			{`not F`, "T"},
			{`T and T`, "T"},
			{`F and [TF]|T and F`, "F"},
			{`(^ |\( |or )([TF]) or T( $| \)| or)`, "${1}T$3"},
			{`(^ |\( |or )F or F( $| \)| or)`, "${1}F$2"},
			{`(^ |\( |or )T or F( $| \)| or)`, "${1}T$2"},
		} {
			if next := expression(rule.from).ReplaceAllString(text, rule.to); next != text {
				text = next
				break
			}
		}
		if text == before {
			break
		}
	}
	switch strings.TrimSpace(text) {
	case "T":
		return true
	case "F":
		return false
	}
	panic("the reference is stuck at " + text)
}

func truthWord(b bool) string {
	if b {
		return "T"
	}
	return "F"
}

func drawNaive(t *rapid.T) *naive {
	n := &naive{selections: map[string][]map[string][]string{}, order: []string{"sel_a", "sel_b", "other", "_hidden"}}
	texts := rapid.StringOfN(rapid.SampledFrom([]rune("aAbB*?. ")), 1, 5, -1)
	for _, name := range n.order {
		for range rapid.IntRange(1, 2).Draw(t, "alternatives") {
			items := map[string][]string{}
			for range rapid.IntRange(1, 2).Draw(t, "items") {
				field := rapid.SampledFrom([]string{"actor", "cause", "query_shape", "bytes"}).Draw(t, "field")
				key := field + rapid.SampledFrom([]string{"", "", "|startswith", "|endswith", "|contains", "|contains|all", "|cased", "|neq", "|fieldref"}).Draw(t, "modifiers")
				least := 1
				var values []string
				if strings.HasSuffix(key, "|all") {
					least = 2
				}
				if field == "bytes" {
					key = field + rapid.SampledFrom([]string{"", "|gt", "|lte"}).Draw(t, "comparison")
					least = 1
				}
				for range rapid.IntRange(least, 3).Draw(t, "values") {
					switch {
					case field == "bytes":
						values = append(values, strconv.Itoa(rapid.IntRange(0, 5).Draw(t, "number")))
					case strings.HasSuffix(key, "fieldref"):
						values = append(values, rapid.SampledFrom([]string{"actor", "cause", "query_shape"}).Draw(t, "other"))
					default:
						values = append(values, texts.Draw(t, "value"))
					}
				}
				items[key] = values
			}
			n.selections[name] = append(n.selections[name], items)
		}
	}
	n.condition = drawCondition(t, 0)
	return n
}

func drawCondition(t *rapid.T, depth int) string {
	most := 6
	if depth > 2 {
		most = 3
	}
	switch rapid.IntRange(0, most).Draw(t, "kind") {
	case 0, 1:
		return rapid.SampledFrom([]string{"sel_a", "sel_b", "other", "_hidden"}).Draw(t, "name")
	case 2:
		return rapid.SampledFrom([]string{"1 of them", "all of them"}).Draw(t, "them")
	case 3:
		return rapid.SampledFrom([]string{"1 of sel_*", "all of sel_*", "all of *", "1 of _*"}).Draw(t, "pattern")
	case 4:
		return "not " + drawOperand(t, depth)
	case 5:
		return drawOperand(t, depth) + " and " + drawOperand(t, depth)
	}
	return drawCondition(t, depth+1) + " or " + drawCondition(t, depth+1)
}

func drawOperand(t *rapid.T, depth int) string { return "( " + drawCondition(t, depth+1) + " )" }

// TestRulesAgreeWithTheReference compares compiled rules with the plain reading of the same documents.
func TestRulesAgreeWithTheReference(t *testing.T) {
	matched, passed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		n := drawNaive(t)
		g, err := loadText(n.yaml(), nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, n.yaml())
		}
		texts := rapid.StringOfN(rapid.SampledFrom([]rune("aAbB. ")), 0, 5, -1)
		for range 10 {
			e := at(0, actor(texts.Draw(t, "actor")), cause(texts.Draw(t, "cause")), query(texts.Draw(t, "query")), bytes(int64(rapid.IntRange(0, 5).Draw(t, "bytes"))))
			got, want := len(g.Observe(e, nil)) > 0, n.matches(e)
			if got != want {
				t.Fatalf("got %v, want %v\n%s%q", got, want, n.yaml(), fieldsOf(e))
			}
			if passed++; want {
				matched++
			}
		}
	})
	if matched*20 < passed || matched*20 > passed*19 {
		t.Errorf("%d of %d events match: the comparison says little", matched, passed)
	}
}

// TestWindowsAgreeWithTheReference compares the windows with a look at all events that came, for each event anew.
func TestWindowsAgreeWithTheReference(t *testing.T) {
	const span = 10
	type seen struct {
		at          float64
		who, person string
		cause       string
		bytes       int64
	}
	judges := map[string]func(all []seen, e seen) bool{
		"type: event_count\nrules: [a]\ntimespan: 10s\ncondition: {gte: 4}": func(all []seen, _ seen) bool { return len(all) >= 4 },
		"type: event_count\nrules: [a]\ntimespan: 10s\ncondition: {eq: 2}":  func(all []seen, _ seen) bool { return len(all) == 2 },
		"type: value_count\nrules: [a]\ntimespan: 10s\ncondition: {field: subject, gte: 3}": func(all []seen, _ seen) bool {
			m := map[string]bool{}
			for _, s := range all {
				m[s.person] = true
			}
			return len(m) >= 3
		},
		"type: value_sum\nrules: [a]\ntimespan: 10s\ncondition: {field: bytes, gt: 12}": func(all []seen, _ seen) bool {
			sum := int64(0)
			for _, s := range all {
				sum += s.bytes
			}
			return sum > 12
		},
		"type: value_avg\nrules: [a]\ntimespan: 10s\ncondition: {field: bytes, lt: 3}": func(all []seen, _ seen) bool {
			sum := int64(0)
			for _, s := range all {
				sum += s.bytes
			}
			return float64(sum)/float64(len(all)) < 3
		},
		"type: temporal\nrules: [a, b, c]\ntimespan: 10s": func(all []seen, _ seen) bool {
			m := map[string]bool{}
			for _, s := range all {
				m[s.cause] = true
			}
			return len(m) == 3
		},
		"type: temporal_ordered\nrules: [a, b, c]\ntimespan: 10s": func(all []seen, _ seen) bool {
			for i, a := range all {
				for j, b := range all[i+1:] {
					for _, c := range all[i+j+2:] {
						if a.cause == "a" && b.cause == "b" && c.cause == "c" {
							return true
						}
					}
				}
			}
			return false
		},
	}
	for rule, judge := range judges {
		t.Run(strings.SplitN(rule, "\n", 2)[0], func(t *testing.T) {
			fired := 0
			rapid.Check(t, func(t *rapid.T) {
				g, err := loadText(correlated(rule), nil)
				if err != nil {
					t.Fatal(err)
				}
				var past []seen
				on, last := map[string]bool{}, map[string]float64{}
				now := 0.0
				for range rapid.IntRange(1, 60).Draw(t, "events") {
					now += float64(rapid.IntRange(0, 8).Draw(t, "pause"))
					s := seen{
						now, rapid.SampledFrom([]string{"u", "v"}).Draw(t, "who"), rapid.SampledFrom([]string{"p", "q", "r", "s"}).Draw(t, "person"),
						rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "cause"), int64(rapid.IntRange(0, 6).Draw(t, "bytes")),
					}
					past = append(past, s)
					var all []seen
					for _, p := range past {
						if p.who == s.who && p.at >= now-span && (p.cause == "a" || strings.Contains(rule, "[a, b")) {
							all = append(all, p)
						}
					}
					want := false
					if s.cause == "a" || strings.Contains(rule, "[a, b") {
						holds := judge(all, s)
						if want = holds && (!on[s.who] || now-last[s.who] > span); want {
							last[s.who] = now
							fired++
						}
						on[s.who] = holds
					}
					got := len(g.Observe(at(s.at, cause(s.cause), actor(s.who), person(s.person), bytes(s.bytes)), nil)) > 0
					if got != want {
						t.Fatalf("at %g: got %v, want %v: %v", now, got, want, past)
					}
				}
			})
			if fired == 0 {
				t.Error("never fired: the comparison says nothing")
			}
		})
	}
}

// TestLateEventsDoNotChangeWhatIsCounted mixes up events within the timespan: when the last has come, the count is the same.
func TestLateEventsDoNotChangeWhatIsCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(3, 30).Draw(t, "events")
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		order = rapid.Permutation(order).Draw(t, "order")
		for _, rule := range []string{
			fmt.Sprintf("type: event_count\nrules: [a]\ntimespan: 60s\ncondition: {gte: %d}", n),
			fmt.Sprintf("type: value_count\nrules: [a]\ntimespan: 60s\ncondition: {field: subject, gte: %d}", n),
			fmt.Sprintf("type: value_sum\nrules: [a]\ntimespan: 60s\ncondition: {field: bytes, gte: %d}", n),
		} {
			g, err := loadText(correlated(rule), nil)
			if err != nil {
				t.Fatal(err)
			}
			var alarms []watch.Alarm
			for i, second := range order {
				alarms = g.Observe(at(float64(second), cause("a"), person(fmt.Sprint(second)), bytes(1)), alarms)
				if len(alarms) > 0 != (i == n-1) {
					t.Fatalf("%s: %d alarms after %d of %d events", rule, len(alarms), i+1, n)
				}
			}
		}
	})
}

// TestBehindTheWatch runs rules as the commands do: behind the early warning's own treatment of time, doors and repetition.
func TestBehindTheWatch(t *testing.T) {
	var told []string
	w, err := watch.New(watch.Config{
		Also: []watch.Detector{engine(t, correlated("type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 3}"))},
		Emit: func(a *watch.Alarm) {
			if strings.HasPrefix(a.Detector, "sigma/") {
				told = append(told, fmt.Sprintf("%s %s %s", a.Detector, a.Actor, a.Mode))
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	observe := func(s float64, actor, cause string) {
		seq++
		e := *at(s).Access
		e.Seq, e.RequestID, e.Actor, e.Cause, e.Outcome = seq, fmt.Sprint(seq), querschott.Actor(actor), cause, "denied"
		w.Observe(&e)
		w.Observe(&e) // twice is once
	}
	for i := range 10 {
		observe(float64(i), "behind-a-door", "door")
	}
	for i := range 2 {
		observe(float64(i), "twice", "a")
	}
	for i := range 30 {
		observe(float64(i), "thrice", "a")
	}
	w.Flush()
	if len(told) != 1 || told[0] != "sigma/x thrice shadow" {
		t.Errorf("told %q", told)
	}
}
