package telemetry

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/querschott/querschott"
)

// Traffic counts from the stream of access events what the gate itself does not count: insurers, statuses, records. It sees an event after the answer has gone; events that the
// stream dropped are not in its numbers, and the stream says how many they were.
type Traffic struct {
	known    func(querschott.IK) bool
	requests *prometheus.CounterVec
	statuses *prometheus.CounterVec
	records  *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	foreign  foreigners
}

// NewTraffic starts with nothing counted. Insurers that are not known are counted together, so that nobody makes the
// numbers grow by inventing some.
func NewTraffic(known func(querschott.IK) bool) *Traffic {
	counter := func(name, help string, labels ...Label) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, texts(labels))
	}
	return &Traffic{
		known: known,
		requests: counter("insurer_requests_total", "Requests over HTTP by whose data they were about and how they ended.",
			LabelInsurer, LabelService, LabelOutcome),
		statuses: counter("answers_total", "Answers over HTTP by class of their status.", LabelService, LabelStatus),
		records:  counter("answer_records_total", "Records that left in answers over HTTP.", LabelService),
		bytes:    counter("answer_bytes_total", "Bytes that left in answers over HTTP.", LabelService),
	}
}

func texts(labels []Label) []string {
	list := make([]string, len(labels))
	for i, l := range labels {
		list[i] = string(l)
	}
	return list
}

func (t *Traffic) collectors() []prometheus.Collector {
	return []prometheus.Collector{t.requests, t.statuses, t.records, t.bytes}
}

func (t *Traffic) foreignLabels() uint64 {
	if t == nil {
		return 0
	}
	return t.foreign.Load()
}

// Observe counts one event.
func (t *Traffic) Observe(a querschott.Access) {
	if a.Canary {
		return
	}
	insurer := string(a.Insurer)
	if insurer != "" && !t.known(a.Insurer) {
		insurer = other
	}
	service := t.foreign.safe(LabelService, string(a.Service))
	t.requests.WithLabelValues(t.foreign.safe(LabelInsurer, insurer), service, t.foreign.safe(LabelOutcome, a.Outcome)).Inc()
	t.records.WithLabelValues(service).Add(float64(a.Records))
	t.bytes.WithLabelValues(service).Add(float64(max(a.Bytes, 0)))
	if a.Status != 0 {
		t.statuses.WithLabelValues(service, t.foreign.safe(LabelStatus, strconv.Itoa(a.Status/100)+"xx")).Inc()
	}
}
