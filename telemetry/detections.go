package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Names of the metric that security operations centres of the Telematikinfrastruktur count attacks by, and what it says of an attack
// without a pattern. Source: zeta-guard-helm, telemetry-gateway, pipeline ti_siem.
const (
	detectionMetric = "attack.detection.count"
	detectionLabel  = "attackDetection.capecId"
	detectionNone   = "unknown capec id"
)

// detections counts what the early warning found and tells the collector how much that is since the start.
type detections struct {
	cfg   *Config
	url   string
	http  *http.Client
	start time.Time
	tally tally // says when the collector stops and begins to answer

	mu     sync.Mutex // guards the counts
	counts map[string]uint64
	told   uint64 // of how many detections the collector knows
	made   uint64

	stop func()        // ends the goroutine
	done chan struct{} // closed by it
}

// Detected counts one detection, with its CAPEC pattern ("CAPEC-116") or without one (""). It never waits.
func (e *Export) Detected(capec string) {
	d := e.detections
	if d == nil {
		return
	}
	if !capecID.MatchString(capec) {
		capec = detectionNone
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[capec]++
	d.made++
}

func (e *Export) startDetections(base string, c *http.Client) {
	ctx, stop := context.WithCancel(context.Background())
	d := &detections{
		cfg: &e.cfg, url: base + "/v1/metrics", http: c, start: time.Now(), counts: map[string]uint64{}, stop: stop, done: make(chan struct{}),
	}
	d.tally.init("metrics", e.cfg.Log)
	e.detections = d
	go d.run(ctx)
}

// run tells the collector what is new.
func (d *detections) run(ctx context.Context) {
	defer close(d.done)
	ticker := time.NewTicker(batchDelay)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			d.send(ctx)
		}
	}
}

// close sends what the collector does not know.
func (d *detections) close(ctx context.Context) {
	d.stop()
	<-d.done
	d.send(ctx)
}

// send reports the sums if they have grown. What is not taken is in the next report: sums cannot be lost, only be late.
func (d *detections) send(ctx context.Context) {
	d.mu.Lock()
	counts, made, told := maps.Clone(d.counts), d.made, d.told
	d.mu.Unlock()
	if made == told {
		return
	}
	err := d.post(ctx, counts)
	if err == nil {
		d.mu.Lock()
		d.told = made
		d.mu.Unlock()
	}
	d.tally.count(0, err)
}

func (d *detections) post(ctx context.Context, counts map[string]uint64) error {
	body, err := json.Marshal(d.report(counts, time.Now()))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, exportTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range d.cfg.Headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := d.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection can be used again
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the collector answered %s", answer.Status)
	}
	return nil
}

// OTLP/HTTP in JSON: opentelemetry-proto metrics.proto 1.x, with numbers of 64 bits as strings.
type (
	otlpReport struct {
		Resources []otlpResource `json:"resourceMetrics"`
	}
	otlpResource struct {
		Resource otlpAttributes `json:"resource"`
		Scopes   []otlpScope    `json:"scopeMetrics"`
	}
	otlpAttributes struct {
		Attributes []otlpAttribute `json:"attributes"`
	}
	otlpAttribute struct {
		Key   string            `json:"key"`
		Value map[string]string `json:"value"`
	}
	otlpScope struct {
		Scope   map[string]string `json:"scope"`
		Metrics []otlpMetric      `json:"metrics"`
	}
	otlpMetric struct {
		Name        string  `json:"name"`
		Description string  `json:"description"`
		Unit        string  `json:"unit"`
		Sum         otlpSum `json:"sum"`
	}
	otlpSum struct {
		Temporality int         `json:"aggregationTemporality"` // 2: since the start
		Monotonic   bool        `json:"isMonotonic"`
		Points      []otlpPoint `json:"dataPoints"`
	}
	otlpPoint struct {
		otlpAttributes
		Start string `json:"startTimeUnixNano"`
		Time  string `json:"timeUnixNano"`
		Value string `json:"asInt"`
	}
)

func (d *detections) report(counts map[string]uint64, now time.Time) otlpReport {
	text := func(key, value string) otlpAttribute {
		return otlpAttribute{key, map[string]string{"stringValue": value}}
	}
	sum := otlpSum{Temporality: 2, Monotonic: true}
	for _, capec := range slices.Sorted(maps.Keys(counts)) {
		sum.Points = append(sum.Points, otlpPoint{
			otlpAttributes{[]otlpAttribute{text(detectionLabel, capec)}},
			strconv.FormatInt(d.start.UnixNano(), 10), strconv.FormatInt(now.UnixNano(), 10), strconv.FormatUint(counts[capec], 10),
		})
	}
	of := otlpAttributes{[]otlpAttribute{
		text("service.name", "querschott"), text("service.namespace", d.cfg.Node), text("service.version", d.cfg.Version),
	}}
	metric := otlpMetric{Name: detectionMetric, Description: "Attacks that the early warning detected, by CAPEC pattern.", Unit: "{detection}", Sum: sum}
	return otlpReport{[]otlpResource{{of, []otlpScope{{map[string]string{"name": "querschott"}, []otlpMetric{metric}}}}}}
}
