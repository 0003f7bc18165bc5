package sigma

import (
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
)

// Config says which rules run.
type Config struct {
	Dirs []string // directories with rules (*.yml, *.yaml), their directories too
	Own  bool     // the rules of the house
	Keys int      // how many keys each correlation holds at most; default 1,000,000
}

const (
	standardKeys = 1_000_000
	perKey       = 8 // entries for each key, on average; a correlation may use them for few keys
)

// Engine runs rules over events. It is a [watch.Detector].
type Engine struct {
	rules        []*rule // about one event
	correlations []*correlation
	number       uint64 // of the event
}

var _ watch.Detector = (*Engine)(nil)

// rule is a rule about one event or a correlation.
type rule struct {
	doc         *document
	test        test         // nil: a correlation
	correlation *correlation // nil: a rule about one event
	outs        []out        // correlations that refer to it
	alarms      bool

	detector string
	kind     watch.Kind
	severity watch.Severity
	attack   []string
	capec    string
}

// out is a place in a correlation.
type out struct {
	to   *rule
	slot int
}

// New loads rules. The error names every fault with its file and line; no rule runs unless all can.
func New(cfg Config) (*Engine, error) {
	rules, err := load(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Keys <= 0 {
		cfg.Keys = standardKeys
	}
	return newEngine(rules, cfg.Keys), nil
}

func newEngine(rules []*rule, keys int) *Engine {
	g := &Engine{}
	for _, r := range rules {
		if c := r.correlation; c != nil {
			c.roomKeys, c.room = keys, keys*perKey
			g.correlations = append(g.correlations, c)
			continue
		}
		g.rules = append(g.rules, r)
	}
	return g
}

// label reads what alarms of the rule say about it.
func (r *rule) label() {
	d := r.doc
	r.detector, r.kind = "sigma/"+d.ref(), watch.Statistical
	r.severity = map[string]watch.Severity{
		"": watch.Medium, "informational": watch.Low, "low": watch.Low, "medium": watch.Medium, "high": watch.High,
		"critical": watch.Critical,
	}[d.Level]
	for _, t := range d.Tags {
		space, name, _ := strings.Cut(t, ".")
		switch {
		case t == "querschott.exact":
			r.kind = watch.Exact
		case space == "attack" && len(name) > 1 && name[0] == 't' && name[1] >= '0' && name[1] <= '9':
			r.attack = append(r.attack, strings.ToUpper(name))
		case space == "capec":
			r.capec = "CAPEC-" + name
		}
	}
}

// leads reports whether r's matches reach another rule.
func (r *rule) leads(to *rule) bool {
	seen := map[*rule]bool{}
	var search func(*rule) bool
	search = func(at *rule) bool {
		if at == to {
			return true
		}
		if seen[at] {
			return false
		}
		seen[at] = true
		for _, o := range at.outs {
			if search(o.to) {
				return true
			}
		}
		return false
	}
	return search(r)
}

// Name implements [watch.Detector].
func (g *Engine) Name() string { return "sigma" }

// Observe implements [watch.Detector].
func (g *Engine) Observe(e *watch.Event, to []watch.Alarm) []watch.Alarm {
	g.number++
	at := e.Time.UnixMicro()
	if e.Late {
		at = e.At.UnixMicro()
	}
	for _, r := range g.rules {
		if r.test(e) {
			if r.alarms {
				to = append(to, r.alarm(e, watch.Number{Name: "matching events", Value: 1, Unit: "events"}))
			}
			to = g.pass(r, e, at, to)
		}
	}
	return to
}

// pass tells the correlations that a rule has fired.
func (g *Engine) pass(r *rule, e *watch.Event, at int64, to []watch.Alarm) []watch.Alarm {
	for _, o := range r.outs {
		c := o.to.correlation
		group, got, fired := c.observe(o.slot, e, at, g.number)
		if !fired {
			continue
		}
		if o.to.alarms {
			to = append(to, o.to.matched(e, group, got))
		}
		to = g.pass(o.to, e, group.newest, to)
	}
	return to
}

func (r *rule) alarm(e *watch.Event, numbers ...watch.Number) watch.Alarm {
	insurer := e.Tenant
	if insurer == "" {
		insurer = e.Insurer
	}
	return watch.Alarm{
		Time: e.At, Actor: querschott.Actor(e.Who), Credential: e.Credential, Insurer: insurer, Service: e.Service,
		Cause: r.doc.Title, Detector: r.detector, Kind: r.kind, Severity: r.severity, Arithmetic: numbers,
		Events: watch.Span{First: e.At, Last: e.At, Count: 1}, ATTACK: r.attack, CAPEC: r.capec,
	}
}

// units are what the numbers of correlations count.
var units = [...][2]string{
	eventCount: {"events", "events"}, valueCount: {"different values", "values"}, valueSum: {"sum", ""}, valueAvg: {"mean", ""},
	valuePercentile: {"share", "%"}, temporal: {"rules that matched", "rules"}, temporalOrdered: {"rules that matched in order", "rules"},
}

// matched is the alarm of a correlation.
func (r *rule) matched(e *watch.Event, g *group, got float64) watch.Alarm {
	c := r.correlation
	unit := units[c.kind]
	numbers := []watch.Number{{Name: unit[0], Value: got, Unit: unit[1]}}
	for _, k := range c.conditions {
		numbers = append(numbers, watch.Number{Name: "limit " + k.op, Value: k.value, Unit: unit[1]})
	}
	numbers = append(numbers, watch.Number{Name: "window", Value: time.Duration(c.span * 1000).Seconds(), Unit: "s"})
	a := r.alarm(e, numbers...)
	a.Events.First, a.Events.Last = time.UnixMicro(g.first).UTC(), time.UnixMicro(g.newest).UTC()
	switch c.kind {
	case valueSum, valueAvg:
		a.Events.Count = int(g.window.n)
	case valuePercentile:
		a.Events.Count = len(g.window.live())
	default:
		a.Events.Count = int(got)
	}
	return a
}

// Tick implements [watch.Detector]: it forgets what no window holds any more.
func (g *Engine) Tick(now time.Time, to []watch.Alarm) []watch.Alarm {
	for _, c := range g.correlations {
		c.tidy(now.UnixMicro())
	}
	return to
}

// Stats implements [watch.Detector]. Evicted also counts how often entries of a key were joined or forgotten.
func (g *Engine) Stats() watch.Stats {
	var s watch.Stats
	for _, c := range g.correlations {
		s.Keys += len(c.groups)
		s.Evicted += c.evicted + c.forgotten
	}
	return s
}
