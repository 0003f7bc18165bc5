package telemetry

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// counter is a receiver of OTLP in JSON that keeps what each report says, by attribute.
type counter struct {
	t       *testing.T
	mu      sync.Mutex
	status  int
	reports []map[string]string
	header  http.Header
	raw     string
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header = r.Header.Clone()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.URL.Path != "/v1/metrics" || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		c.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	c.raw = string(body)
	var m struct {
		ResourceMetrics []struct {
			ScopeMetrics []struct {
				Metrics []struct {
					Name string
					Sum  struct {
						AggregationTemporality int
						IsMonotonic            bool
						DataPoints             []struct {
							Attributes []struct {
								Key   string
								Value struct{ StringValue string }
							}
							StartTimeUnixNano, TimeUnixNano, AsInt string
						}
					}
				}
			}
		}
	}
	if err := json.Unmarshal(body, &m); err != nil {
		c.t.Errorf("no JSON: %v", err)
	}
	if c.status != 0 {
		w.WriteHeader(c.status)
		return
	}
	report := map[string]string{}
	for _, r := range m.ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, x := range s.Metrics {
				if x.Name != "attack.detection.count" || x.Sum.AggregationTemporality != 2 || !x.Sum.IsMonotonic {
					c.t.Errorf("the metric is %+v", x)
				}
				for _, p := range x.Sum.DataPoints {
					if len(p.Attributes) != 1 || p.Attributes[0].Key != "attackDetection.capecId" || p.StartTimeUnixNano > p.TimeUnixNano {
						c.t.Errorf("the point is %+v", p)
						continue
					}
					report[p.Attributes[0].Value.StringValue] = p.AsInt
				}
			}
		}
	}
	c.reports = append(c.reports, report)
}

func TestEachDetectionCountsOnce(t *testing.T) {
	c := &counter{t: t}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	e := begin(t, Config{Endpoint: srv.URL, Attacks: true, Headers: map[string]string{"Authorization": "Bearer x"}, Node: "kassen.example"})
	d := e.detections
	d.send(t.Context())
	if len(c.reports) != 0 {
		t.Errorf("nothing was detected, and %v was told", c.reports)
	}
	want := []map[string]string{{"CAPEC-116": "1"}, {"CAPEC-116": "2"}, {"CAPEC-116": "2", "unknown capec id": "1"}, {"CAPEC-116": "2", "unknown capec id": "2"}}
	for _, capec := range []string{"CAPEC-116", "CAPEC-116", "", "X123456780"} {
		e.Detected(capec)
		d.send(t.Context())
		d.send(t.Context()) // nothing is new
	}
	if diff := cmp.Diff(want, c.reports); diff != "" {
		t.Error(diff)
	}
	if c.header.Get("Authorization") != "Bearer x" || strings.Contains(c.raw, "X123456780") {
		t.Errorf("sent %v %s", c.header, c.raw)
	}
	end(t, e)
	if len(c.reports) != len(want) {
		t.Errorf("at the end %v was told again", c.reports[len(want):])
	}
}

// TestDetectionsWaitForTheCollector counts while the collector refuses; what it missed is in the next report.
func TestDetectionsWaitForTheCollector(t *testing.T) {
	c := &counter{t: t, status: http.StatusServiceUnavailable}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	var log strings.Builder
	e := begin(t, Config{Endpoint: srv.URL, Attacks: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 3 {
		e.Detected("CAPEC-560")
		e.detections.send(t.Context())
	}
	c.mu.Lock()
	c.status = 0
	c.mu.Unlock()
	end(t, e)
	if diff := cmp.Diff([]map[string]string{{"CAPEC-560": "3"}}, c.reports); diff != "" {
		t.Error(diff)
	}
	if n := strings.Count(log.String(), "takes no telemetry"); n != 1 || !strings.Contains(log.String(), "takes telemetry again") {
		t.Errorf("the log says %d times that the collector is away: %s", n, log.String())
	}
}

func TestDetectionsOnlyIfAsked(t *testing.T) {
	c := newCollector(t)
	e := begin(t, Config{Endpoint: c.url, Traces: true})
	e.Detected("CAPEC-116")
	end(t, e)
	if len(c.raw) != 0 {
		t.Errorf("%d bytes were sent", len(c.raw))
	}
}
