package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
)

const requestID = "019dbe60-0b5a-7abc-8def-0123456789ab"

func event() querschott.Access {
	return querschott.Access{
		Time: start, Service: querschott.VSDM, Insurer: "109500969", Tenant: "109500969", Actor: "1-883110000168650",
		Credential: "token/4IVYHy721K0rnjZ8", Role: querschott.RolePractice, Profession: "1.2.276.0.76.4.50",
		Action: "read", Query: "GET /vsdservice/v1/vsdmbundle", Person: "8e1b1b00aa", Fields: "master-data", Records: 1, Bytes: 4711,
		Status: 200, Outcome: "success", RequestID: requestID, Address: "192.0.2.7", Binding: "4IVYHy721K0rnjZ8_9fnsKofs0eKhGOcqEDVo0RBZFQ",
		Took: 2500, Course: &querschott.Course{Span: [8]byte{1}},
	}
}

// begin starts an export, quietly.
func begin(t testing.TB, cfg Config) *Export {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func end(t testing.TB, e *Export) {
	t.Helper()
	if err := e.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestASpanSaysHowAndNotWho(t *testing.T) {
	c := newCollector(t)
	e := begin(t, Config{Endpoint: c.url + "/", Traces: true, Node: "querschott.example", Version: "v1", Headers: map[string]string{"X-Key": "k"}})
	e.Trace(event())
	failed := event()
	failed.Status, failed.Outcome, failed.Cause, failed.RequestID = 502, "failed", "own-failure", "no id"
	e.Trace(failed)
	end(t, e)
	spans, _ := c.got()
	if len(spans) != 2 {
		t.Fatalf("%d spans came, want 2", len(spans))
	}
	want := span{
		trace: strings.ReplaceAll(requestID, "-", ""), id: "0100000000000000", name: "GET /vsdservice/v1/vsdmbundle", kind: 2,
		start: uint64(start.UnixNano()), end: uint64(start.Add(2500 * time.Microsecond).UnixNano()),
		attrs: map[string]string{
			"http.request.method": "GET", "http.response.status_code": "200", "querschott.service": "vsdm",
			"querschott.outcome": "success", "querschott.action": "read",
		},
		resource: map[string]string{"service.name": "querschott", "service.namespace": "querschott.example", "service.version": "v1"},
	}
	if diff := cmp.Diff(want, spans[0], cmp.AllowUnexported(span{})); diff != "" {
		t.Error(diff)
	}
	if s := spans[1]; s.code != 2 || s.attrs["querschott.cause"] != "own-failure" || len(s.trace) != 32 || s.trace == want.trace {
		t.Errorf("the failed request is %+v", s)
	}
	// gemSpec_ZETA A_27260: nothing that names a caller or allows a profile.
	a := event()
	for _, secret := range []string{
		string(a.Actor), string(a.Credential), a.Profession, a.Person, a.Address, a.Binding, string(a.Insurer), "4711", "no id", "practice",
	} {
		if c.has(secret) {
			t.Errorf("the collector was told %q", secret)
		}
	}
	if got := c.header.Get("X-Key"); got != "k" {
		t.Errorf("the collector's own header is %q", got)
	}
	if diff := cmp.Diff(Exported{Traces: Tally{Made: 2, Sent: 2}}, e.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestASpanOfAHostileEvent(t *testing.T) {
	c := newCollector(t)
	e := begin(t, Config{Endpoint: c.url, Traces: true})
	a := event()
	a.Query, a.Service, a.Outcome, a.Cause, a.Action = "BREW /person/X123456780", "X123456780", "1-883110000168650", "praxis@kim.example", "eyJhbGciOiJFUzI1NiJ9"
	e.Trace(a)
	e.Trace(querschott.Access{Course: &querschott.Course{}})
	end(t, e)
	spans, _ := c.got()
	if len(spans) != 2 {
		t.Fatalf("%d spans came, want 2", len(spans))
	}
	want := map[string]string{
		"http.response.status_code": "200", "querschott.service": other, "querschott.outcome": other, "querschott.cause": other, "querschott.action": other,
	}
	if diff := cmp.Diff(want, spans[0].attrs); diff != "" || spans[0].name != "BREW /person/"+withheld {
		t.Errorf("%s: %s", spans[0].name, diff)
	}
	if s := spans[1]; s.name != "request" || len(s.attrs) != 0 {
		t.Errorf("the empty event is %+v", s)
	}
}

// The stages of a request are spans below its own, and a request that a trusted hop sent is below the hop's.
func TestStagesAreSpansBelowTheRequest(t *testing.T) {
	c := newCollector(t)
	e := begin(t, Config{Endpoint: c.url, Traces: true})
	a := event()
	a.Course = &querschott.Course{
		Trace: [16]byte{0xaa}, Parent: [8]byte{0xbb}, Span: [8]byte{0xcc}, Service: [8]byte{0xdd},
	}
	for i, s := range querschott.Stages() {
		a.Course.Begin(s, time.Duration(i)*time.Millisecond)
	}
	a.Course.End(4 * time.Millisecond)
	e.Trace(a)
	later := event()
	later.Course = &querschott.Course{Trace: a.Course.Trace, Parent: a.Course.Span, Span: [8]byte{0xee}, Part: true}
	e.Trace(later)
	untraced := event()
	untraced.Course = nil
	e.Trace(untraced)
	end(t, e)
	spans, _ := c.got()
	byName := map[string]span{}
	for _, s := range spans {
		if s.trace != "aa"+strings.Repeat("0", 30) {
			t.Errorf("%s is in trace %s", s.name, s.trace)
		}
		if s.kind == 1 && s.name == a.Query {
			s.name = "part"
		}
		byName[s.name] = s
	}
	if len(spans) != 6 || len(byName) != 6 {
		t.Fatalf("the spans are %+v", spans)
	}
	zeros := strings.Repeat("0", 14)
	whole := byName[a.Query]
	if whole.id != "cc"+zeros || whole.parent != "bb"+zeros || whole.kind != 2 || whole.attrs["querschott.request"] != requestID {
		t.Errorf("the request is %+v", whole)
	}
	if p := byName["part"]; p.id != "ee"+zeros || p.parent != whole.id {
		t.Errorf("the later part is %+v", p)
	}
	for i, s := range querschott.Stages() {
		got := byName[s.String()]
		from := uint64(start.Add(time.Duration(i) * time.Millisecond).UnixNano())
		if got.parent != whole.id || got.start != from || got.end != from+uint64(time.Millisecond) || len(got.attrs) != 0 {
			t.Errorf("%s: %+v", s, got)
		}
	}
	if got := byName["service"].id; got != "dd"+zeros {
		t.Errorf("the service's span is %s, and the service was told another", got)
	}
	if s := e.Stats().Traces; s.Made != 6 || s.Sent != 6 {
		t.Errorf("made and sent: %+v", s)
	}
}

func TestAShareOfTheRequestsIsTraced(t *testing.T) {
	c := newCollector(t)
	e := begin(t, Config{Endpoint: c.url, Traces: true, Share: .25})
	const n = 1000
	for i := range n {
		a := event()
		a.RequestID = fmt.Sprintf("019dbe60-0b5a-7abc-8def-%012x", uint64(i)*(1<<48)/n)
		if e.Traced(a.RequestID) {
			e.Trace(a)
		}
	}
	end(t, e)
	spans, _ := c.got()
	if len(spans) != n/4 {
		t.Errorf("%d of %d evenly spread requests were traced, want a quarter", len(spans), n)
	}
}

func TestLinesLeaveRedacted(t *testing.T) {
	c := newCollector(t)
	var own bytes.Buffer
	e := begin(t, Config{Endpoint: c.url, Logs: true})
	log := slog.New(e.Handler(slog.NewTextHandler(&own, &slog.HandlerOptions{Level: slog.LevelDebug})))
	log.Debug("too quiet", "part", "journal")
	log.With("actor", "m.schmidt", "part", "gate").WithGroup("request").Warn("a request was refused", "remote", "192.0.2.7:4711",
		"err", errors.New("no token of praxis@kim.example for X123456780"), "attempts", 3, "took", time.Second,
		slog.Group("who", "kvnr", querschott.KVNR("X123456780"), "reason", "1-883110000168650 came from 2001:db8::7"),
		"type", struct{ Name string }{"Müller"}, "compartment", eau)
	end(t, e)

	if !strings.Contains(own.String(), "too quiet") || !strings.Contains(own.String(), "192.0.2.7:4711") || !strings.Contains(own.String(), "m.schmidt") {
		t.Errorf("the node's own log lacks something: %s", own.String())
	}
	_, lines := c.got()
	want := []line{{
		body: "a request was refused", severity: "WARN",
		attrs: map[string]string{
			"actor": withheld, "part": "gate",
			"request": fmt.Sprint(map[string]string{
				"remote": withheld, "err": "no token of " + withheld + " for " + withheld, "attempts": "3", "took": "1000000000",
				"who":  fmt.Sprint(map[string]string{"kvnr": withheld, "reason": withheld + " came from " + withheld}),
				"type": withheld, "compartment": "109500969/eau",
			}),
		},
	}}
	if diff := cmp.Diff(want, lines, cmp.AllowUnexported(line{})); diff != "" {
		t.Error(diff)
	}
	for _, secret := range []string{"m.schmidt", "192.0.2.7", "X123456780", "praxis@", "883110000168650", "2001:db8", "Müller", "too quiet"} {
		if c.has(secret) {
			t.Errorf("the collector was told %q", secret)
		}
	}
	if diff := cmp.Diff(Exported{Logs: Tally{Made: 1, Sent: 1}}, e.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestScrub(t *testing.T) {
	for in, want := range map[string]string{
		"the journal has no room":                             "the journal has no room",
		"couldn't open cell 109500969":                        "couldn't open cell 109500969",
		"at 17:13:00 of 2026-04-24":                           "at 17:13:00 of 2026-04-24",
		"X123456780":                                          withheld,
		"kvnr=x123456780,":                                    "kvnr=" + withheld + ",",
		"for 1-883110000168650 ":                              "for " + withheld + " ",
		"5-SMC-B-Testkarte-883110000":                         withheld,
		"mail <praxis.mueller@arzt.kim.telematik>":            "mail <" + withheld + ">",
		"dial tcp 10.1.2.3:443: refused":                      "dial tcp " + withheld + ": refused",
		"dial tcp [2001:db8::1]:443: refused":                 "dial tcp " + withheld + ": refused",
		"from ::1 and fe80:1:2:3:4:5:6:7":                     "from " + withheld + " and " + withheld,
		"Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.e30": "Bearer " + withheld,
		"\xff\xfe":              "?",
		strings.Repeat("ä ", 4): "ä ä ä ä ",
	} {
		if got := scrub(in, maxText); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	if got := scrub(strings.Repeat("ä ", 500), 10); got != "ä ä ä ..." {
		t.Errorf("a long text becomes %q", got)
	}
	// A number at the place where the text is cut is taken out, not cut in two.
	if got := scrub("abcdef X123456780", 12); strings.Contains(got, "X1234") {
		t.Errorf("half a number is left: %q", got)
	}
}

func TestNoNumberOfAPersonSurvives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.StringMatching(`[ -~]{0,40}`).Draw(t, "before")
		after := rapid.StringMatching(`[ -~]{0,40}`).Draw(t, "after")
		number := rapid.StringMatching(`[A-Z][0-9]{9}`).Draw(t, "number")
		for _, text := range []string{before + " " + number + " " + after, before + "/" + number + "?" + after, "'" + number + "'"} {
			if got := scrub(text, maxText); strings.Contains(got, number) {
				t.Fatalf("%q becomes %q", text, got)
			}
		}
	})
}

// TestACollectorThatHangs has a collector that takes every request and answers none.
func TestACollectorThatHangs(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer srv.Close()
	defer close(release)
	e := begin(t, Config{Endpoint: srv.URL, Traces: true, Logs: true, Queue: 64})
	log := slog.New(e.Handler(slog.DiscardHandler))

	const n = 5_000
	for range n { // a queue that blocks would never come to the end: nothing leaves it
		e.Trace(event())
		log.Info("something happened", "part", "gate")
	}
	s := e.Stats()
	if s.Traces.Made != n || s.Logs.Made != n || s.Traces.Sent != 0 || s.Logs.Sent != 0 {
		t.Errorf("made and sent: %+v", s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := e.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("closing while the collector hangs: %v", err)
	}
}

func TestACollectorThatRefusesIsToldOnce(t *testing.T) {
	c := newCollector(t)
	var own bytes.Buffer
	e := begin(t, Config{Endpoint: c.url, Traces: true, Log: slog.New(slog.NewTextHandler(&own, nil))})
	answer := func(status, times int) {
		c.mu.Lock()
		c.status = status
		c.mu.Unlock()
		for range times {
			e.Trace(event())
			if err := e.traces.ForceFlush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	answer(http.StatusServiceUnavailable, 3)
	answer(http.StatusUnauthorized, 2)
	answer(0, 2)
	end(t, e)
	if diff := cmp.Diff(Exported{Traces: Tally{Made: 7, Sent: 2, Failed: 5}}, e.Stats()); diff != "" {
		t.Error(diff)
	}
	if n := strings.Count(own.String(), "takes no telemetry"); n != 1 {
		t.Errorf("the failure is told %d times: %s", n, own.String())
	}
	if n := strings.Count(own.String(), "telemetry again"); n != 1 {
		t.Errorf("the end of the failure is told %d times: %s", n, own.String())
	}
}

func TestNoRedirectAndNothingFromTheEnvironment(t *testing.T) {
	elsewhere := newCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", elsewhere.url)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-from=environment")
	t.Setenv("HTTP_PROXY", elsewhere.url)
	c := newCollector(t)
	e := begin(t, Config{Endpoint: c.url, Traces: true, Logs: true})
	e.Trace(event())
	slog.New(e.Handler(slog.DiscardHandler)).Info("something happened")
	end(t, e)
	if spans, lines := c.got(); len(spans) != 1 || len(lines) != 1 {
		t.Errorf("%d spans and %d lines came, want one each", len(spans), len(lines))
	}
	if c.header.Get("X-From") != "" {
		t.Error("the environment had a say")
	}

	srv := httptest.NewServer(http.RedirectHandler(elsewhere.url+"/v1/traces", http.StatusTemporaryRedirect))
	defer srv.Close()
	e = begin(t, Config{Endpoint: srv.URL, Traces: true})
	e.Trace(event())
	end(t, e)
	if s := e.Stats().Traces; s.Failed != 1 {
		t.Errorf("a redirect counts as %+v", s)
	}
	if spans, lines := elsewhere.got(); len(spans)+len(lines) != 0 {
		t.Error("something went elsewhere")
	}
}

func TestNothingIsExportedUnlessAsked(t *testing.T) {
	c := newCollector(t)
	e := begin(t, Config{Endpoint: c.url})
	e.Trace(event())
	own := slog.DiscardHandler
	if got := e.Handler(own); got != own {
		t.Errorf("the log's handler is %T", got)
	}
	end(t, e)
	if len(c.raw) != 0 || e.Stats() != (Exported{}) {
		t.Errorf("%d bytes were sent, %+v", len(c.raw), e.Stats())
	}
}

func TestStartRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no address":         {},
		"no scheme":          {Endpoint: "collector.example:4318"},
		"foreign scheme":     {Endpoint: "ftp://127.0.0.1"},
		"plain HTTP":         {Endpoint: "http://collector.example:4318"},
		"plain HTTP by name": {Endpoint: "http://localhost.example:4318"},
		"a user":             {Endpoint: "https://user:pass@collector.example"},
		"a query":            {Endpoint: "https://collector.example?key=1"},
		"negative share":     {Endpoint: "http://127.0.0.1:1", Share: -.1},
		"share over one":     {Endpoint: "http://127.0.0.1:1", Share: 1.1},
	} {
		if _, err := Start(cfg); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "pass") {
			t.Errorf("%s: the error tells the password", name)
		}
	}
	for _, address := range []string{"http://127.0.0.1:4318", "http://[::1]:4318/base", "http://localhost:1", "https://collector.example/"} {
		if _, err := endpoint(address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestReadHeaders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "headers")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file, []byte(text), mode), os.Chmod(file, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("# of the collector\nauthorization:  Bearer abc:def \n\nX-Tenant: 7", 0o600)
	got, err := ReadHeaders(file)
	if want := map[string]string{"Authorization": "Bearer abc:def", "X-Tenant": "7"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for name, tc := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"others read it":  {"Authorization: geheim", 0o644},
		"a group does":    {"Authorization: geheim", 0o640},
		"no colon":        {"Authorization geheim", 0o600},
		"no name":         {": geheim", 0o600},
		"a space in it":   {"Autho rization: geheim", 0o600},
		"no value":        {"geheim:", 0o600},
		"a control":       {"Authorization: geheim\x01", 0o600},
		"not ASCII":       {"Authorization: geheimä", 0o600},
		"more than 8 KiB": {"Authorization: geheim" + strings.Repeat("x", maxHeaders), 0o600},
	} {
		write(tc.text, tc.mode)
		if _, err := ReadHeaders(file); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadHeaders(file + "-missing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestFollowEnds(t *testing.T) {
	events := make(chan querschott.Access, 2)
	events <- event()
	events <- event()
	close(events)
	var a, b int
	Follow(t.Context(), events, func(querschott.Access) { a++ }, func(querschott.Access) { b++ })
	if a != 2 || b != 2 {
		t.Errorf("%d and %d events were seen, want 2 each", a, b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	Follow(ctx, make(chan querschott.Access)) // returns
}

func TestTheQuickLookMissesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-fA-F0-9:.@ /_-]{0,60}`)).Draw(t, "text")
		if telling.MatchString(text) && !suspicious(text) {
			t.Fatalf("%q is not looked at", text)
		}
	})
}

func FuzzScrub(f *testing.F) {
	f.Add("dial tcp [2001:db8::1]:443: X123456780")
	f.Add("praxis@kim.example 1-883110000168650 eyJ0eXAiOiJhdCtqd3QifQ.eyJzdWIiOiIxIn0")
	f.Fuzz(func(t *testing.T, text string) {
		got := scrub(text, 100)
		if len(got) > 100+len("...") {
			t.Errorf("%d bytes are left", len(got))
		}
		if telling.MatchString(text) && !suspicious(text) {
			t.Errorf("%q is not looked at", text)
		}
	})
}
