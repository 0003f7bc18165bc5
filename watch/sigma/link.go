package sigma

import (
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/querschott/querschott/internal/yaml"
)

const (
	maxReferred  = 32      // rules of one correlation
	maxGroupBy   = 16      // fields
	maxThreshold = 100_000 // of a count
	maxChain     = 8       // correlations on each other
	maxTimespan  = 366 * 24 * time.Hour
)

// correlate compiles a correlation and joins it to the rules that it refers to.
func (l *loader) correlate(r *rule) error {
	d, spec := r.doc, r.doc.Correlation
	kind, ok := correlationKinds[spec.Type]
	if !ok {
		return d.fault("correlation", "there is no type of correlation %q", spec.Type)
	}
	span, err := timespan(d, spec.Timespan)
	if err != nil {
		return err
	}
	c := &correlation{
		kind: kind, span: span.Microseconds(), slots: len(spec.Rules), seed: maphash.MakeSeed(), groups: map[string]*group{},
	}
	r.correlation = c
	if err := c.refers(l, r); err != nil {
		return err
	}
	if spec.GroupBy == nil || len(spec.GroupBy) > maxGroupBy {
		return d.fault("correlation", "group-by is needed, with at most %d fields", maxGroupBy)
	}
	for slot, n := range spec.Rules {
		if err := c.reads(l, d, slot, n); err != nil {
			return err
		}
	}
	names, err := c.condition(d)
	if err != nil {
		return err
	}
	return c.values(l, d, names)
}

// timespan reads a number and a unit.
func timespan(d *document, n *yaml.Node) (time.Duration, error) {
	if n == nil || len(n.Text) < 2 || len(n.Text) > 10 {
		return 0, d.fault("correlation", "a timespan is needed: a number and s, m, h or d")
	}
	unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[n.Text[len(n.Text)-1]]
	number, err := strconv.ParseUint(n.Text[:len(n.Text)-1], 10, 32)
	if unit == 0 || err != nil || number == 0 {
		return 0, &Error{d.file, n.Line, fmt.Sprintf("%q is no timespan: a number above 0 and s, m, h or d", n.Text)}
	}
	if number > uint64(maxTimespan/unit) {
		return 0, &Error{d.file, n.Line, "a timespan is at most 366 days"}
	}
	return time.Duration(number) * unit, nil
}

// refers joins the correlation to its rules.
func (c *correlation) refers(l *loader, r *rule) error {
	d, rules := r.doc, r.doc.Correlation.Rules
	if len(rules) == 0 || len(rules) > maxReferred {
		return d.fault("correlation", "a correlation refers to 1 to %d rules", maxReferred)
	}
	var joined []*rule
	for slot, n := range rules {
		to, err := l.find(d, n)
		switch {
		case err != nil:
			return err
		case slices.Contains(joined, to):
			return &Error{d.file, n.Line, fmt.Sprintf("rule %q stands twice", n.Text)}
		case r.leads(to):
			return &Error{d.file, n.Line, fmt.Sprintf("rule %q and this one refer to each other", n.Text)}
		}
		joined = append(joined, to)
		to.outs = append(to.outs, out{r, slot})
	}
	return nil
}

// reads compiles how the events of one rule are grouped.
func (c *correlation) reads(l *loader, d *document, slot int, n *yaml.Node) error {
	c.sources = append(c.sources, source{})
	for _, g := range d.Correlation.GroupBy {
		f, err := l.resolve(d, n, g)
		if err != nil {
			return err
		}
		c.sources[slot].group = append(c.sources[slot].group, f.text)
	}
	return nil
}

// resolve returns a field by its name or alias, for the events of one rule.
func (l *loader) resolve(d *document, ruleNode, n *yaml.Node) (field, error) {
	name, line := n.Text, n.Line
	if alias, ok := d.Correlation.Aliases[n.Text]; ok {
		r, err := l.find(d, ruleNode)
		if err != nil {
			return field{}, err
		}
		to, ok := alias[r.doc.Name]
		if !ok || r.doc.Name == "" {
			return field{}, &Error{d.file, line, fmt.Sprintf("alias %q says nothing about rule %q; aliases want the rule's name", n.Text, ruleNode.Text)}
		}
		name, line = to.Text, to.Line
	}
	f, ok := fields[name]
	if !ok || f.time {
		return field{}, &Error{d.file, line, fmt.Sprintf("events have no field %q to group or count", name)}
	}
	return f, nil
}

// condition reads the condition. It returns the fields that it is about.
func (c *correlation) condition(d *document) ([]*yaml.Node, error) {
	n := d.Correlation.Condition
	if n == nil {
		if c.kind != temporal && c.kind != temporalOrdered {
			return nil, d.fault("correlation", "this type of correlation needs a condition")
		}
		c.conditions = []comparison{{"gte", float64(c.slots), operators["gte"]}}
		return nil, nil
	}
	if n.Kind != yaml.Map {
		return nil, &Error{d.file, n.Line, "a condition is a mapping"}
	}
	var names []*yaml.Node
	for _, e := range n.Entries {
		if e.Key == "field" {
			if names = []*yaml.Node{e.Value}; e.Value.Kind == yaml.List {
				names = e.Value.Items
			}
			continue
		}
		holds, ok := operators[e.Key]
		if !ok {
			return nil, &Error{d.file, e.Line, fmt.Sprintf("a condition has no %q", e.Key)}
		}
		v, err := strconv.ParseFloat(e.Value.Text, 64)
		if e.Value.Kind != yaml.Number || err != nil || math.IsInf(v, 0) {
			return nil, &Error{d.file, e.Value.Line, "a number was expected here"}
		}
		c.conditions = append(c.conditions, comparison{e.Key, v, holds})
	}
	if len(c.conditions) == 0 {
		return nil, &Error{d.file, n.Line, "the condition compares nothing"}
	}
	return names, c.possible(d, n)
}

// possible refuses counts that no window can have, and those that need more memory than one key may have.
func (c *correlation) possible(d *document, n *yaml.Node) error {
	most := 0.0
	switch c.kind {
	case valueSum, valueAvg, valuePercentile:
		return nil
	case temporal, temporalOrdered:
		most = float64(c.slots)
	default:
		for _, k := range c.conditions {
			most = max(most, math.Ceil(k.value)+1)
		}
		if most > maxThreshold {
			return &Error{d.file, n.Line, fmt.Sprintf("counts above %d are not supported", maxThreshold-1)}
		}
	}
	c.keep = int(most) + 1
	for v := 1.0; v <= most; v++ {
		if c.holds(v) {
			return nil
		}
	}
	return &Error{d.file, n.Line, "no window can satisfy this: windows are judged when an event enters them, never by silence"}
}

// values compiles what is counted or summed.
func (c *correlation) values(l *loader, d *document, names []*yaml.Node) error {
	wants := c.kind == valueCount || c.kind == valueSum || c.kind == valueAvg || c.kind == valuePercentile
	switch {
	case wants && len(names) == 0:
		return &Error{d.file, d.Correlation.Condition.Line, "the condition needs a field"}
	case !wants && len(names) > 0:
		return &Error{d.file, names[0].Line, "this type of correlation has no field"}
	case c.kind != valueCount && len(names) > 1 || len(names) > maxGroupBy:
		return &Error{d.file, names[0].Line, "there are too many fields"}
	case !wants:
		return nil
	}
	numbers := 0
	for slot, n := range d.Correlation.Rules {
		for _, name := range names {
			f, err := l.resolve(d, n, name)
			if err != nil {
				return err
			}
			c.sources[slot].fields = append(c.sources[slot].fields, f)
			if f.number != nil {
				numbers++
			}
		}
	}
	sums := c.kind == valueSum || c.kind == valueAvg
	if numbers < len(d.Correlation.Rules) && (sums || numbers > 0 && c.kind == valuePercentile) {
		return &Error{d.file, names[0].Line, fmt.Sprintf("%s is no number", names[0].Text)}
	}
	if sums || c.kind == valuePercentile && numbers > 0 {
		c.numeric = &c.sources[0].fields[0]
	}
	return nil
}
