package telemetry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config says where traces and logs go.
type Config struct {
	// Endpoint is the base address of a collector that takes OTLP over HTTP, such as https://collector.example:4318.
	// Plain HTTP is allowed to a loopback address only.
	Endpoint string
	Headers  map[string]string // sent with every request; see [ReadHeaders]
	CA       *x509.CertPool    // nil: the system's
	Traces   bool
	Share    float64 // of the requests that are traced, over 0 to 1; 0: all
	Logs     bool
	Attacks  bool // the count of detections, see [Export.Detected]
	Queue    int  // spans, and log lines, that may wait; default 2048

	Node    string // name of the platform
	Version string
	Log     *slog.Logger // the node's own; it hears when the collector stops and begins to answer. Never one that is exported
}

const (
	standardQueue = 2048
	batchSize     = 512
	batchDelay    = 5 * time.Second
	exportTimeout = 10 * time.Second
)

// Export sends traces and logs to a collector. All methods may be called at the same time.
type Export struct {
	cfg    Config
	traces *sdktrace.TracerProvider // nil: no traces
	tracer trace.Tracer
	logs   *sdklog.LoggerProvider // nil: no logs
	spans  tally
	lines  tally

	detections *detections // nil: they are not told
}

// Exported is a look at what was sent.
type Exported struct{ Traces, Logs Tally }

// Tally counts spans or log lines since the start. Made - Sent - Failed of them wait or were dropped.
type Tally struct{ Made, Sent, Failed uint64 }

// Start prepares the export and returns at once; it does not ask whether the collector is there.
func Start(cfg Config) (*Export, error) {
	base, err := endpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	if cfg.Share < 0 || cfg.Share > 1 {
		return nil, fmt.Errorf("the share of requests that are traced is between 0 and 1, got %v", cfg.Share)
	}
	if cfg.Queue <= 0 {
		cfg.Queue = standardQueue
	}
	if cfg.Share == 0 {
		cfg.Share = 1
	}
	e := &Export{cfg: cfg}
	e.spans.init("traces", cfg.Log)
	e.lines.init("logs", cfg.Log)
	of := resource.NewSchemaless(attribute.String("service.name", "querschott"),
		attribute.String("service.namespace", cfg.Node), attribute.String("service.version", cfg.Version))
	client := client(cfg.CA)
	if cfg.Traces {
		if err := e.startTraces(base, client, of); err != nil {
			return nil, err
		}
	}
	if cfg.Logs {
		if err := e.startLogs(base, client, of); err != nil {
			return nil, err
		}
	}
	if cfg.Attacks {
		e.startDetections(base, client)
	}
	return e, nil
}

func (e *Export) startTraces(base string, c *http.Client, of *resource.Resource) error {
	exporter, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(base+"/v1/traces"),
		otlptracehttp.WithHTTPClient(c), otlptracehttp.WithHeaders(e.headers()), otlptracehttp.WithTimeout(exportTimeout),
		otlptracehttp.WithCompression(otlptracehttp.NoCompression), otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}))
	if err != nil {
		return fmt.Errorf("couldn't prepare the export of traces: %w", err)
	}
	e.traces = sdktrace.NewTracerProvider(sdktrace.WithResource(of), sdktrace.WithSampler(sdktrace.AlwaysSample()),
		sdktrace.WithIDGenerator(ids{}), sdktrace.WithRawSpanLimits(spanLimits()),
		sdktrace.WithBatcher(&spanExporter{exporter, &e.spans}, sdktrace.WithMaxQueueSize(e.cfg.Queue),
			sdktrace.WithMaxExportBatchSize(min(batchSize, e.cfg.Queue)), sdktrace.WithBatchTimeout(batchDelay),
			sdktrace.WithExportTimeout(exportTimeout)))
	e.tracer = e.traces.Tracer("querschott")
	return nil
}

func (e *Export) startLogs(base string, c *http.Client, of *resource.Resource) error {
	exporter, err := otlploghttp.New(context.Background(), otlploghttp.WithEndpointURL(base+"/v1/logs"),
		otlploghttp.WithHTTPClient(c), otlploghttp.WithHeaders(e.headers()), otlploghttp.WithTimeout(exportTimeout),
		otlploghttp.WithCompression(otlploghttp.NoCompression), otlploghttp.WithRetry(otlploghttp.RetryConfig{}))
	if err != nil {
		return fmt.Errorf("couldn't prepare the export of logs: %w", err)
	}
	e.logs = sdklog.NewLoggerProvider(sdklog.WithResource(of), sdklog.WithProcessor(
		sdklog.NewBatchProcessor(&lineExporter{exporter, &e.lines}, sdklog.WithMaxQueueSize(e.cfg.Queue),
			sdklog.WithExportMaxBatchSize(min(batchSize, e.cfg.Queue)), sdklog.WithExportInterval(batchDelay),
			sdklog.WithExportTimeout(exportTimeout))))
	return nil
}

// headers is never nil: nil would let the environment set some.
func (e *Export) headers() map[string]string {
	if e.cfg.Headers == nil {
		return map[string]string{}
	}
	return e.cfg.Headers
}

// Handler returns a handler for the node's logger that writes to its own log as before and sends lines from level info on,
// redacted, to the collector. Without export of logs it is the node's own.
func (e *Export) Handler(own slog.Handler) slog.Handler {
	if e.logs == nil {
		return own
	}
	bridge := otelslog.NewHandler("querschott", otelslog.WithLoggerProvider(e.logs), otelslog.WithVersion(e.cfg.Version))
	return slog.NewMultiHandler(own, &redacted{next: bridge, made: &e.lines.made})
}

// Stats returns the counters.
func (e *Export) Stats() Exported { return Exported{e.spans.look(), e.lines.look()} }

// Close sends what waits, as long as the context allows, and ends the export. Lines and spans that come later are dropped.
func (e *Export) Close(ctx context.Context) error {
	if e.detections != nil {
		e.detections.close(ctx) // the node's log has heard of a failure
	}
	var errs []error
	if e.traces != nil {
		errs = append(errs, e.traces.Shutdown(ctx))
	}
	if e.logs != nil {
		errs = append(errs, e.logs.Shutdown(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("couldn't send all traces and logs: %w", err)
	}
	return nil
}

// endpoint checks the collector's address. Headers may be secrets, so they leave the host over TLS only.
func endpoint(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", errors.New("the collector's address is written https://collector.example:4318")
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return "", errors.New("the collector's address: plain HTTP is allowed to this host only")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// client sends to the configured address and nowhere else.
func client(roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: 3 * time.Second}
	return &http.Client{
		Timeout: exportTimeout,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: 3 * time.Second, ResponseHeaderTimeout: exportTimeout, MaxIdleConnsPerHost: 2,
			IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

const maxHeaders = 8 << 10

// ReadHeaders reads the header lines that the collector wants ("Authorization: Bearer ...") from a file that only its
// owner can read. Empty lines and those that begin with # are left out. Errors hold nothing of the file's content.
func ReadHeaders(file string) (map[string]string, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the collector's headers: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("couldn't read the collector's headers: others may read %s; make it 0600", file)
	}
	if st.Size() > maxHeaders {
		return nil, fmt.Errorf("couldn't read the collector's headers: %s has more than %d bytes", file, maxHeaders)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the collector's headers: %w", err)
	}
	headers := map[string]string{}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if value = strings.TrimSpace(value); !ok || !isToken(name) || !isField(value) {
			return nil, fmt.Errorf("couldn't read the collector's headers: line %d of %s is not written Name: value", n, file)
		}
		headers[http.CanonicalHeaderKey(name)] = value
	}
	return headers, nil
}

// isToken and isField are the characters of RFC 9110 5.6.2 and 5.5, visible ASCII only in the field.
func isToken(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~") == ""
}

func isField(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// tally counts, and says once when the collector stops and begins to answer.
type tally struct {
	signal             string
	log                *slog.Logger
	made, sent, failed atomic.Uint64
	failing            atomic.Bool
}

func (t *tally) init(signal string, log *slog.Logger) { t.signal, t.log = signal, log }

func (t *tally) look() Tally {
	// In this order Made is never less than what became of it.
	s := Tally{Sent: t.sent.Load(), Failed: t.failed.Load()}
	s.Made = t.made.Load()
	return s
}

func (t *tally) count(n int, err error) {
	if err == nil {
		t.sent.Add(uint64(n))
		if t.failing.CompareAndSwap(true, false) {
			t.log.Info("the collector takes telemetry again", "signal", t.signal)
		}
		return
	}
	t.failed.Add(uint64(n))
	if t.failing.CompareAndSwap(false, true) {
		t.log.Warn("the collector takes no telemetry; it is dropped", "signal", t.signal, "err", scrub(err.Error(), maxText))
	}
}

// spanExporter counts what the collector took. A failure ends here: the library would print it.
type spanExporter struct {
	sdktrace.SpanExporter
	tally *tally
}

func (x *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	x.tally.count(len(spans), x.SpanExporter.ExportSpans(ctx, spans))
	return nil
}

// lineExporter is the same for log lines.
type lineExporter struct {
	sdklog.Exporter
	tally *tally
}

func (x *lineExporter) Export(ctx context.Context, lines []sdklog.Record) error {
	x.tally.count(len(lines), x.Exporter.Export(ctx, lines))
	return nil
}
