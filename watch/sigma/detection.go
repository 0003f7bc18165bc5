package sigma

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/querschott/querschott/internal/yaml"
	"github.com/querschott/querschott/watch"
)

// modifiers are what stands behind a field's name.
type modifiers struct {
	all, cased, neq, exists, expand, ref, cidr, re bool

	flags   string // of re
	where   place
	placed  bool
	compare string // "lt", "lte", "gt", "gte", "": equal
	part    string // of a time
}

// parseModifiers reads them from left to right.
func parseModifiers(words []string, line int) (*modifiers, error) {
	m := &modifiers{}
	for i, w := range words {
		if slices.Contains(words[:i], w) {
			return nil, yaml.Faultf(line, "modifier %q stands twice", w)
		}
		set := map[string]*bool{
			"all": &m.all, "cased": &m.cased, "neq": &m.neq, "exists": &m.exists, "expand": &m.expand, "fieldref": &m.ref,
			"cidr": &m.cidr, "re": &m.re,
		}[w]
		switch {
		case set != nil:
			*set = true
		case w == "startswith" || w == "endswith" || w == "contains":
			if m.placed {
				return nil, yaml.Faultf(line, "modifier %q contradicts the one before", w)
			}
			m.placed = true
			m.where = map[string]place{"startswith": atStart, "endswith": atEnd, "contains": anywhere}[w]
		case w == "lt" || w == "lte" || w == "gt" || w == "gte":
			if m.compare != "" {
				return nil, yaml.Faultf(line, "modifier %q contradicts the one before", w)
			}
			m.compare = w
		case m.re && (w == "i" || w == "m" || w == "s"):
			m.flags += w
		case parts[w] != nil:
			if m.part != "" || m.compare != "" {
				return nil, yaml.Faultf(line, "modifier %q stands in the wrong place", w)
			}
			m.part = w
		default:
			return nil, yaml.Faultf(line, "modifier %q is not supported", w)
		}
	}
	return m, m.check(line)
}

// check refuses what has no meaning together.
func (m *modifiers) check(line int) error {
	text := m.placed || m.cased
	kinds := 0
	for _, k := range []bool{m.exists, m.re, m.cidr, m.compare != "" || m.part != "", m.ref} {
		if k {
			kinds++
		}
	}
	switch {
	case kinds > 1, text && (m.exists || m.re || m.cidr || m.compare != "" || m.part != ""):
		return yaml.Faultf(line, "these modifiers have no meaning together")
	case m.exists && (m.all || m.neq || m.expand):
		return yaml.Faultf(line, "exists stands alone")
	case m.neq && (m.all || m.compare != ""):
		return yaml.Faultf(line, "neq has no meaning with all or a comparison")
	case m.expand && (m.ref || m.re):
		return yaml.Faultf(line, "expand is for texts and networks")
	}
	return nil
}

// target is what an item asks: one field, or every field for a keyword.
type target struct {
	name string
	field
	keyword bool
}

// detections compiles selections.
type detections struct {
	placeholders map[string][]string
}

// selections compiles every named part of a detection and its condition.
func (d *detections) compile(n *yaml.Node, skip ...string) (test, error) {
	if n.Kind != yaml.Map {
		return nil, yaml.Faultf(n.Line, "a mapping of selections was expected here")
	}
	var names []selection
	var cond *yaml.Entry
	for i, e := range n.Entries {
		switch {
		case slices.Contains(skip, e.Key):
		case e.Key == "condition":
			cond = &n.Entries[i]
		case e.Key == "timeframe":
			return nil, yaml.Faultf(e.Line, "timeframe is not supported, write a correlation")
		default:
			t, err := d.selection(e.Value)
			if err != nil {
				return nil, err
			}
			names = append(names, selection{e.Key, t})
		}
	}
	if cond == nil {
		return nil, yaml.Faultf(n.Line, "there is no condition")
	}
	return conditions(cond.Value, names)
}

// conditions compiles one condition or the list of those of which one must hold.
func conditions(n *yaml.Node, names []selection) (test, error) {
	list := []*yaml.Node{n}
	if n.Kind == yaml.List {
		list = n.Items
	}
	var tests []test
	for _, c := range list {
		if c.Kind != yaml.String {
			return nil, yaml.Faultf(c.Line, "a condition is a text")
		}
		t, err := condition(c.Text, c.Line, names)
		if err != nil {
			return nil, err
		}
		tests = append(tests, t)
	}
	if len(tests) == 0 {
		return nil, yaml.Faultf(n.Line, "the list of conditions is empty")
	}
	return either(tests), nil
}

func (d *detections) selection(n *yaml.Node) (test, error) {
	switch n.Kind {
	case yaml.Map:
		return d.items(n)
	case yaml.List:
		var list []test
		for _, item := range n.Items {
			t, err := d.alternative(item)
			if err != nil {
				return nil, err
			}
			list = append(list, t)
		}
		if len(list) == 0 {
			return nil, yaml.Faultf(n.Line, "the list is empty")
		}
		return either(list), nil
	default:
		return nil, yaml.Faultf(n.Line, "a selection is a mapping or a list")
	}
}

// alternative is one entry of a list: a mapping, or a keyword.
func (d *detections) alternative(n *yaml.Node) (test, error) {
	if n.Kind == yaml.Map {
		return d.items(n)
	}
	return d.item("", n, n.Line)
}

func (d *detections) items(n *yaml.Node) (test, error) {
	var list []test
	for _, e := range n.Entries {
		t, err := d.item(e.Key, e.Value, e.Line)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	if len(list) == 0 {
		return nil, yaml.Faultf(n.Line, "the selection is empty")
	}
	return all(list), nil
}

// item compiles one entry of a selection: a field with its modifiers and its values.
func (d *detections) item(key string, n *yaml.Node, line int) (test, error) {
	words := strings.Split(key, "|")
	m, err := parseModifiers(words[1:], line)
	if err != nil {
		return nil, err
	}
	g := &target{name: words[0], keyword: words[0] == ""}
	if !g.keyword {
		var ok bool
		if g.field, ok = fields[g.name]; !ok {
			return nil, yaml.Faultf(line, "events have no field %q", g.name)
		}
	} else if m.exists || m.ref || m.cidr || m.compare != "" || m.part != "" || m.placed {
		return nil, yaml.Faultf(line, "keywords are only combined with all, cased, re, neq and expand")
	}
	values, err := d.values(n, m)
	if err != nil {
		return nil, err
	}
	var list []test
	for _, v := range values {
		t, err := value(g, m, v)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	t := either(list)
	if m.all {
		t = all(list)
	}
	if m.neq {
		t = not(t)
	}
	return t, nil
}

// values returns the values of an item, placeholders resolved.
func (d *detections) values(n *yaml.Node, m *modifiers) ([]*yaml.Node, error) {
	list := []*yaml.Node{n}
	if n.Kind == yaml.List {
		list = n.Items
		if len(list) == 0 {
			return nil, yaml.Faultf(n.Line, "the list of values is empty")
		}
	}
	for _, v := range list {
		switch {
		case v.Kind == yaml.List || v.Kind == yaml.Map:
			return nil, yaml.Faultf(v.Line, "a value is no list and no mapping")
		case v.Kind == yaml.Null && n.Kind == yaml.List:
			return nil, yaml.Faultf(v.Line, "null stands in no list")
		}
	}
	if m.expand {
		var err error
		if list, err = d.expand(list); err != nil {
			return nil, err
		}
	}
	if m.all && len(list) == 1 {
		return nil, yaml.Faultf(n.Line, "all has no meaning with one value")
	}
	return list, nil
}

var placeholder = regexp.MustCompile(`%([A-Za-z0-9_.-]+)%`)

// maxExpanded bounds the values that placeholders make of one value.
const maxExpanded = 10_000

// expand puts the values of placeholders in their place, each combination of them. What a placeholder stands for is text
// without wildcards.
func (d *detections) expand(list []*yaml.Node) ([]*yaml.Node, error) {
	var out []*yaml.Node
	for _, n := range list {
		found := placeholder.FindStringSubmatchIndex(n.Text)
		if n.Kind != yaml.String || found == nil {
			return nil, yaml.Faultf(n.Line, "expand: there is no placeholder in the value")
		}
		texts := []string{n.Text}
		for _, name := range placeholder.FindAllStringSubmatch(n.Text, -1) {
			with, ok := d.placeholders[name[1]]
			if !ok || len(with) == 0 {
				return nil, yaml.Faultf(n.Line, "placeholder %s is not resolved", name[0])
			}
			if len(texts)*len(with) > maxExpanded {
				return nil, yaml.Faultf(n.Line, "the placeholders stand for more than %d values", maxExpanded)
			}
			var next []string
			for _, t := range texts {
				for _, w := range with {
					next = append(next, strings.Replace(t, name[0], escape.Replace(w), 1))
				}
			}
			texts = next
		}
		for _, t := range texts {
			out = append(out, &yaml.Node{Kind: yaml.String, Line: n.Line, Text: t})
		}
	}
	return out, nil
}

var escape = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`)

// value compiles one value of an item.
func value(g *target, m *modifiers, n *yaml.Node) (test, error) {
	switch {
	case n.Kind == yaml.Null:
		if g.keyword || m.placed || m.cased || m.re || m.cidr || m.ref || m.exists || m.compare != "" || m.part != "" {
			return nil, yaml.Faultf(n.Line, "null is only compared as it stands")
		}
		return absent(g), nil
	case m.exists:
		if n.Kind != yaml.Bool {
			return nil, yaml.Faultf(n.Line, "exists wants true or false")
		}
		if n.Text == "true" {
			return not(absent(g)), nil
		}
		return absent(g), nil
	case m.ref:
		return reference(g, m, n)
	case m.cidr:
		return network(g, n)
	case m.compare != "" || m.part != "":
		return compared(g, m, n)
	case g.time && !m.re && !m.placed:
		return nil, yaml.Faultf(n.Line, "a time is asked for its parts: minute, hour, day, week, month or year")
	case g.number != nil && !m.placed && !m.re:
		if want, err := strconv.ParseFloat(n.Text, 64); err == nil {
			return equalNumber(g.number, want), nil
		}
	case g.truth && !m.placed && !m.re && n.Text != "true" && n.Text != "false":
		return nil, yaml.Faultf(n.Line, "%s is true or false", g.name)
	}
	return textual(g, m, n)
}

func absent(g *target) test {
	ask := g.text
	return func(e *watch.Event) bool { return ask(e) == "" }
}

func equalNumber(ask func(*watch.Event) int64, want float64) test {
	return func(e *watch.Event) bool { return float64(ask(e)) == want }
}

// textual compares texts, with wildcards or as a regular expression.
func textual(g *target, m *modifiers, n *yaml.Node) (test, error) {
	var match func(string) bool
	if m.re {
		if why := plainRegexp(n.Text); why != "" {
			return nil, yaml.Faultf(n.Line, "regular expression: %s", why)
		}
		text := n.Text
		if m.flags != "" {
			text = "(?" + m.flags + ")" + text
		}
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, yaml.Faultf(n.Line, "regular expression: %v", err)
		}
		match = re.MatchString
	} else {
		where := m.where
		if g.keyword {
			where = anywhere
		}
		match = parsePattern(n.Text).at(where).compile(m.cased)
	}
	if !g.keyword {
		ask := g.text
		return func(e *watch.Event) bool { return match(ask(e)) }, nil
	}
	var asks []func(*watch.Event) string
	for _, name := range searched {
		asks = append(asks, fields[name].text)
	}
	return func(e *watch.Event) bool {
		for _, ask := range asks {
			if match(ask(e)) {
				return true
			}
		}
		return false
	}, nil
}

// reference compares two fields of one event. A field without a value equals nothing.
func reference(g *target, m *modifiers, n *yaml.Node) (test, error) {
	other, ok := fields[n.Text]
	if !ok {
		return nil, yaml.Faultf(n.Line, "events have no field %q", n.Text)
	}
	a, b, cased, where := g.text, other.text, m.cased, m.where
	return func(e *watch.Event) bool {
		x, y := a(e), b(e)
		if x == "" || y == "" {
			return false
		}
		if where == whole {
			return x == y || !cased && strings.EqualFold(x, y)
		}
		return pattern([]rune(y)).at(where).compile(cased)(x)
	}, nil
}

func network(g *target, n *yaml.Node) (test, error) {
	prefix, err := netip.ParsePrefix(n.Text)
	if err != nil {
		return nil, yaml.Faultf(n.Line, "%q is no network (address/bits)", n.Text)
	}
	prefix = prefix.Masked()
	ask := g.text
	return func(e *watch.Event) bool {
		addr, err := netip.ParseAddr(ask(e))
		return err == nil && prefix.Contains(addr.Unmap().WithZone(""))
	}, nil
}

// compared compares numbers, or the part of a time.
func compared(g *target, m *modifiers, n *yaml.Node) (test, error) {
	want, err := strconv.ParseFloat(n.Text, 64)
	if err != nil || n.Kind != yaml.Number && n.Kind != yaml.String {
		return nil, yaml.Faultf(n.Line, "a number was expected here")
	}
	ask := g.number
	if m.part != "" {
		if !g.time {
			return nil, yaml.Faultf(n.Line, "%s is no time", g.name)
		}
		part := parts[m.part]
		ask = func(e *watch.Event) int64 { return int64(part(local(e))) }
	}
	if ask == nil {
		return nil, yaml.Faultf(n.Line, "%s is no number", g.name)
	}
	op := m.compare
	if op == "" {
		op = "eq"
	}
	holds, some := operators[op], g.some
	return func(e *watch.Event) bool {
		got := ask(e)
		return (got != 0 || !some) && holds(float64(got), want)
	}, nil
}

// operators are those of numbers, in detections and in the conditions of correlations.
var operators = map[string]func(a, b float64) bool{
	"lt":  func(a, b float64) bool { return a < b },
	"lte": func(a, b float64) bool { return a <= b },
	"gt":  func(a, b float64) bool { return a > b },
	"gte": func(a, b float64) bool { return a >= b },
	"eq":  func(a, b float64) bool { return a == b },
	"neq": func(a, b float64) bool { return a != b },
}
