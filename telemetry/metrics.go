package telemetry

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Kind says how a number moves.
type Kind uint8

// The kinds.
const (
	Gauge     Kind = iota // goes up and down
	Counter               // only rises, from the start of the node; its name ends in _total
	Histogram             // counts how often something took how long
)

// Family is one metric: a name, and numbers that are looked up each time somebody asks.
type Family struct {
	Name   string // querschott_..., base unit in the name (_seconds, _bytes)
	Help   string
	Kind   Kind
	Labels []Label
	// Look tells the numbers, with as many values as there are labels. It must be fast and not wait for a network.
	Look func(tell Tell)
	// LookAt is asked instead of Look for a histogram.
	LookAt func(tell TellSpread)
}

// Tell takes one number of a family. Numbers of the same label values are added up.
type Tell func(value float64, labels ...string)

// Metrics are the numbers of a node. All methods may be called at the same time.
type Metrics struct {
	registry *prometheus.Registry
	foreign  foreigners
}

const prefix = "querschott_"

var metricName = regexp.MustCompile(`^` + prefix + `[a-z][a-z0-9_]*$`)

// NewMetrics makes the numbers of a node from families, and those of the Go runtime and the process. The traffic may be
// nil. It fails if a family breaks the rules of its name or labels: a mistake in the program.
func NewMetrics(traffic *Traffic, families ...Family) (*Metrics, error) {
	m := &Metrics{registry: prometheus.NewRegistry()}
	all := []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}
	if traffic != nil {
		all = append(all, traffic.collectors()...)
	}
	families = append(families, Family{
		Name: prefix + "telemetry_foreign_labels_total", Kind: Counter,
		Help: "Label values that were in no vocabulary and were told as \"other\".",
		Look: func(tell Tell) { tell(float64(m.foreign.Load() + traffic.foreignLabels())) },
	})
	for _, f := range families {
		c, err := m.collector(f)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	for _, c := range all {
		if err := m.registry.Register(c); err != nil {
			return nil, fmt.Errorf("couldn't register a metric: %w", err)
		}
	}
	return m, nil
}

// Gatherer returns the numbers for whoever wants to read them in the process.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Handler answers a scrape. A scrape waits for two others at most and ends after ten seconds, so a flood of them costs
// little. A family that cannot be told is left out; the others are told.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 3, Timeout: 10 * time.Second,
	})
}

// family is a Family as Prometheus wants it.
type family struct {
	Family
	m    *Metrics
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func (m *Metrics) collector(f Family) (prometheus.Collector, error) {
	names := make([]string, len(f.Labels))
	for i, l := range f.Labels {
		if names[i] = string(l); !l.known() {
			return nil, fmt.Errorf("metric %s: label %q has no vocabulary", f.Name, l)
		}
	}
	switch total := strings.HasSuffix(f.Name, "_total"); {
	case !metricName.MatchString(f.Name):
		return nil, fmt.Errorf("metric %s: its name is not %s and small letters, digits and _", f.Name, prefix)
	case total != (f.Kind == Counter):
		return nil, fmt.Errorf("metric %s: counters, and only they, end in _total", f.Name)
	case f.Help == "" || (f.Look == nil) != (f.Kind == Histogram) || (f.LookAt == nil) == (f.Kind == Histogram):
		return nil, fmt.Errorf("metric %s: it has no help or no source", f.Name)
	}
	desc := prometheus.NewDesc(f.Name, f.Help, names, nil)
	switch f.Kind {
	case Histogram:
		return &histogram{f, m, desc}, nil
	case Counter:
		return &family{f, m, desc, prometheus.CounterValue}, nil
	default:
		return &family{f, m, desc, prometheus.GaugeValue}, nil
	}
}

func (f *family) Describe(to chan<- *prometheus.Desc) { to <- f.desc }

// Collect looks the numbers up. A source that panics spoils its own family only.
func (f *family) Collect(to chan<- prometheus.Metric) {
	sums, order, err := f.look()
	if err != nil {
		to <- prometheus.NewInvalidMetric(f.desc, err)
		return
	}
	for _, s := range order {
		to <- prometheus.MustNewConstMetric(f.desc, f.kind, sums[s.key], s.labels...)
	}
}

type series struct {
	key    string
	labels []string
}

func (f *family) look() (sums map[string]float64, order []series, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("metric %s: its source failed", f.Name)
		}
	}()
	sums = map[string]float64{}
	f.Look(func(value float64, labels ...string) {
		s, wrong := f.m.told(f.Name, f.Labels, labels)
		if wrong != nil {
			err = cmp.Or(err, wrong)
			return
		}
		if _, ok := sums[s.key]; !ok {
			order = append(order, s)
		}
		sums[s.key] += value
	})
	return sums, order, err
}

// told returns label values as they may be told.
func (m *Metrics) told(name string, labels []Label, values []string) (series, error) {
	if len(values) != len(labels) {
		return series{}, fmt.Errorf("metric %s: %d label values for %d labels", name, len(values), len(labels))
	}
	told := make([]string, len(values))
	for i, v := range values {
		told[i] = m.foreign.safe(labels[i], v)
	}
	return series{strings.Join(told, "\xff"), told}, nil
}

// foreigners counts label values outside their vocabulary.
type foreigners struct{ atomic.Uint64 }

// safe returns a label's value as it may be told.
func (f *foreigners) safe(l Label, value string) string {
	if value == "" {
		return none
	}
	if !l.holds(value) {
		f.Add(1)
		return other
	}
	return value
}
