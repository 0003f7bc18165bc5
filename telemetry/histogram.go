package telemetry

import (
	"cmp"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Spread says how often something took how long.
type Spread struct {
	Bounds []time.Duration // upper bounds, rising
	Counts []uint64        // one for each bound and one for what took longer; not cumulative
	Sum    time.Duration
}

// TellSpread takes one distribution of a family. Those of the same label values must have the same bounds and are added up.
type TellSpread func(s Spread, labels ...string)

// histogram is a Family of distributions as Prometheus wants it.
type histogram struct {
	Family
	m    *Metrics
	desc *prometheus.Desc
}

func (h *histogram) Describe(to chan<- *prometheus.Desc) { to <- h.desc }

// Collect looks the distributions up. A source that panics spoils its own family only.
func (h *histogram) Collect(to chan<- prometheus.Metric) {
	sums, order, err := h.look()
	if err != nil {
		to <- prometheus.NewInvalidMetric(h.desc, err)
		return
	}
	for _, s := range order {
		spread, total, below := sums[s.key], uint64(0), map[float64]uint64{}
		for i, n := range spread.Counts {
			if total += n; i < len(spread.Bounds) {
				below[spread.Bounds[i].Seconds()] = total
			}
		}
		to <- prometheus.MustNewConstHistogram(h.desc, total, spread.Sum.Seconds(), below, s.labels...)
	}
}

func (h *histogram) look() (sums map[string]Spread, order []series, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("metric %s: its source failed", h.Name)
		}
	}()
	sums = map[string]Spread{}
	h.LookAt(func(spread Spread, labels ...string) {
		s, wrong := h.m.told(h.Name, h.Labels, labels)
		if len(spread.Counts) != len(spread.Bounds)+1 {
			wrong = cmp.Or(wrong, fmt.Errorf("metric %s: %d counts for %d bounds", h.Name, len(spread.Counts), len(spread.Bounds)))
		}
		known, there := sums[s.key]
		if there && len(known.Counts) != len(spread.Counts) {
			wrong = cmp.Or(wrong, fmt.Errorf("metric %s: two distributions have different bounds", h.Name))
		}
		if wrong != nil {
			err = cmp.Or(err, wrong)
			return
		}
		if !there {
			order = append(order, s)
			known = Spread{Bounds: spread.Bounds, Counts: make([]uint64, len(spread.Counts))}
		}
		for i, n := range spread.Counts {
			known.Counts[i] += n
		}
		known.Sum += spread.Sum
		sums[s.key] = known
	})
	return sums, order, err
}
