package telemetry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/gate/mail"
	"github.com/querschott/querschott/gate/proxy"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/outbox"
)

var (
	start  = time.Date(2026, 4, 24, 12, 0, 0, 0, time.UTC)
	eau    = querschott.Compartment{Insurer: "109500969", Service: querschott.EAU}
	letter = querschott.Compartment{Insurer: "104212059", Service: querschott.Letter}
)

// house has every source.
func house() House {
	number := func(n int) func() int { return func() int { return n } }
	return House{
		Version: "v1.2.3", Started: start, Now: func() time.Time { return start.Add(time.Hour) },
		Insurers: number(2), Troubles: number(0), Keys: number(3), Proposals: number(1), Revocations: number(4),
		Mail: func() mail.Stats {
			return mail.Stats{
				Sessions: 7, Accepted: 100, Aborted: 1, Transient: map[mail.Cause]uint64{mail.CauseDoorClosed: 5},
				Permanent: map[mail.Cause]uint64{mail.CauseUnknown: 6},
			}
		},
		HTTP: func() gatehttp.Stats {
			took := gatehttp.Histogram{Sum: 12 * time.Second}
			took.Counts[0], took.Counts[2], took.Counts[len(took.Counts)-1] = 5, 2, 1
			return gatehttp.Stats{
				InFlight: 3,
				Outcomes: map[gatehttp.Outcome]uint64{
					{Service: querschott.VSDM, Outcome: ledger.OutcomeDenied, Cause: ledger.ReasonDoor}: 4, {Outcome: ledger.OutcomeDenied, Cause: ledger.ReasonNotThere}: 2,
				},
				Latency: map[querschott.Service]gatehttp.Histogram{querschott.VSDM: took},
			}
		},
		Passages: func() map[string]proxy.Stats {
			return map[string]proxy.Stats{"records": {Requests: 20, Unmatched: 2}, "letters": {Requests: 1}}
		},
		Journal: func() intake.Stats { return intake.Stats{Appended: 100, Bytes: 12345} },
		Backlogs: func() []intake.Backlog {
			return []intake.Backlog{{Compartment: eau, Messages: 9, Bytes: 900, OldestUS: start.UnixMicro()}, {Compartment: letter}}
		},
		Room:  func() []int64 { return []int64{1000, -1} },
		Pump:  func() intake.PumpStats { return intake.PumpStats{Delivered: 91} },
		Doors: func() []Door { return []Door{{eau, querschott.Open, 3}, {letter, querschott.Closed, 8}} },
		Outbox: func() outbox.Status {
			return outbox.Status{Queued: 2, Sent: 80, Oldest: start.Add(59 * time.Minute)}
		},
		Logs: func() []Log { return []Log{{"platform", 10}, {"109500969", 200}} },
		Stream: func() access.Stats {
			return access.Stats{Published: 50, Subscribers: []access.Lag{{Name: "metrics", Waiting: 2, Dropped: 3}}}
		},
		KeySets: func() []KeySet { return []KeySet{{"access", start.Add(30 * time.Minute)}} },
		Export:  func() Exported { return Exported{Traces: Tally{10, 8, 1}} },
	}
}

func isKnown(ik querschott.IK) bool { return ik == eau.Insurer }

func metrics(t testing.TB, traffic *Traffic, families ...Family) *Metrics {
	t.Helper()
	m, err := NewMetrics(traffic, families...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestNumbersOfTheHouse(t *testing.T) {
	const want = `
# HELP querschott_access_events_dropped_total Access events that a subscriber lost because it was too slow.
# TYPE querschott_access_events_dropped_total counter
querschott_access_events_dropped_total{name="metrics"} 3
# HELP querschott_build_info Always 1; the version that runs is in the label.
# TYPE querschott_build_info gauge
querschott_build_info{version="v1.2.3"} 1
# HELP querschott_door_orders_total Orders that a compartment's door has had: its epoch.
# TYPE querschott_door_orders_total counter
querschott_door_orders_total{insurer="104212059",service="letter"} 8
querschott_door_orders_total{insurer="109500969",service="eau"} 3
# HELP querschott_doors Doors of compartments by their state.
# TYPE querschott_doors gauge
querschott_doors{state="closed"} 1
querschott_doors{state="hold"} 0
querschott_doors{state="open"} 1
querschott_doors{state="read-only"} 0
# HELP querschott_http_requests_total Requests over HTTP, and pieces of long answers, by how they ended and why.
# TYPE querschott_http_requests_total counter
querschott_http_requests_total{cause="door",outcome="denied",service="vsdm"} 4
querschott_http_requests_total{cause="not-there",outcome="denied",service="none"} 2
# HELP querschott_journal_free_bytes Room that a copy of the journal has; copies on one device share it.
# TYPE querschott_journal_free_bytes gauge
querschott_journal_free_bytes{copy="0"} 1000
# HELP querschott_journal_oldest_age_seconds Age of the oldest message that waits, 0 if none does.
# TYPE querschott_journal_oldest_age_seconds gauge
querschott_journal_oldest_age_seconds{insurer="104212059",service="letter"} 0
querschott_journal_oldest_age_seconds{insurer="109500969",service="eau"} 3600
# HELP querschott_key_set_age_seconds Time since an issuer's keys were last fetched.
# TYPE querschott_key_set_age_seconds gauge
querschott_key_set_age_seconds{name="access"} 1800
# HELP querschott_ledger_entries_total Entries of the ledger's logs of this year.
# TYPE querschott_ledger_entries_total counter
querschott_ledger_entries_total{log="109500969"} 200
querschott_ledger_entries_total{log="platform"} 10
# HELP querschott_mail_refused_total SMTP answers that ask the sender to try again (4xx).
# TYPE querschott_mail_refused_total counter
querschott_mail_refused_total{cause="door-closed"} 5
# HELP querschott_outbox_oldest_age_seconds Age of the oldest mail that waits to leave, 0 if none does.
# TYPE querschott_outbox_oldest_age_seconds gauge
querschott_outbox_oldest_age_seconds 60
# HELP querschott_passage_unmatched_total Requests that fitted no rule.
# TYPE querschott_passage_unmatched_total counter
querschott_passage_unmatched_total{name="letters"} 0
querschott_passage_unmatched_total{name="records"} 2
# HELP querschott_start_time_seconds When the node started, in seconds of Unix time.
# TYPE querschott_start_time_seconds gauge
querschott_start_time_seconds 1.777032e+09
# HELP querschott_telemetry_failed_total Spans and log lines that the collector did not take.
# TYPE querschott_telemetry_failed_total counter
querschott_telemetry_failed_total{signal="logs"} 0
querschott_telemetry_failed_total{signal="traces"} 1
`
	lacks(t, scrape(t, metrics(t, NewTraffic(isKnown), house().Families()...)), want)
}

func TestNamesFollowTheRules(t *testing.T) {
	traffic := NewTraffic(isKnown)
	traffic.Observe(querschott.Access{Service: querschott.VSDM, Insurer: eau.Insurer, Outcome: "success", Status: 200, Records: 1, Bytes: 1, Took: 1})
	m := metrics(t, traffic, house().Families()...)
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), prefix) {
			ours++
			if len(f.GetHelp()) < 20 {
				t.Errorf("%s: its help %q says little", f.GetName(), f.GetHelp())
			}
		}
	}
	if ours < 40 {
		t.Errorf("%d families of ours, want all", ours)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestSourcesThatAreNotThereAreLeftOut(t *testing.T) {
	m := metrics(t, nil, House{Version: "v1", Started: start, Now: time.Now}.Families()...)
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		switch name := f.GetName(); name {
		case "querschott_build_info", "querschott_start_time_seconds", "querschott_telemetry_foreign_labels_total":
		default:
			if strings.HasPrefix(name, prefix) {
				t.Errorf("%s has no source and is there", name)
			}
		}
	}
}

func TestVocabularies(t *testing.T) {
	for _, tc := range []struct {
		label Label
		value string
		want  bool
	}{
		{LabelInsurer, "109500969", true},
		{LabelInsurer, "109500968", false}, // check digit
		{LabelInsurer, "X123456780", false},
		{LabelService, "vsdm", true},
		{LabelService, "backdoor", false},
		{LabelState, "read-only", true},
		{LabelState, "ajar", false},
		{LabelOutcome, "denied", true},
		{LabelOutcome, "praxis@kim.example", false},
		{LabelStatus, "2xx", true},
		{LabelStatus, "200", false},
		{LabelStatus, "9xx", false},
		{LabelCause, "door-closed", true},
		{LabelCause, "over_cap", true},
		{LabelCause, "x123450000", false}, // a number of a person in small letters
		{LabelCause, "1-883110000168650", false},
		{LabelCause, "a1-b2-" + strings.Repeat("c", 40), false},
		{LabelName, "access-stream", true},
		{LabelName, "https://popp.example.com", false},
		{LabelName, "eyJhbGciOiJFUzI1NiJ9", false},
		{LabelLog, "commits", true},
		{LabelLog, "X123456780", false},
		{LabelCopy, "1", true},
		{LabelCopy, "/data/journal-a", false},
		{LabelSignal, "traces", true},
		{LabelSignal, "noise", false},
		{LabelVersion, "v1.2.3-0.20260424120000-abcdef123456", true},
		{LabelCAPEC, "CAPEC-116", true},
		{LabelCAPEC, "CAPEC-1164", false},
		{LabelVersion, "(devel)", true},
		{LabelVersion, "v1 for praxis@kim.example", false},
		{"person", "X123456780", false},
		{"person", "x", false},
	} {
		if got := tc.label.holds(tc.value); got != tc.want {
			t.Errorf("%s holds %q: %v, want %v", tc.label, tc.value, got, tc.want)
		}
	}
}

// TestNoLabelHoldsAPerson gives every label what must never be told and looks for it in the whole scrape.
func TestNoLabelHoldsAPerson(t *testing.T) {
	hostile := []string{
		"X123456780", "x123456780", "1-883110000168650", "praxis.mueller@arzt.kim.telematik", "192.0.2.7",
		"eyJ0eXAiOiJhdCtqd3QifQ.eyJzdWIiOiIxIn0.c2ln", "4IVYHy721K0rnjZ8_9fnsKofs0eKhGOcqEDVo0RBZFQ", "console/0123456789abcdef",
	}
	labels := []Label{
		LabelInsurer, LabelService, LabelState, LabelOutcome, LabelStatus, LabelCause, LabelLog, LabelCopy, LabelName, LabelSignal,
	}
	var families []Family
	for _, l := range labels {
		families = append(families, Family{
			Name: prefix + "test_" + string(l), Help: "Everything that must not be told.", Labels: []Label{l},
			Look: func(tell Tell) {
				for _, h := range hostile {
					tell(1, h)
				}
			},
		})
	}
	traffic := NewTraffic(func(querschott.IK) bool { return true })
	for _, h := range hostile {
		traffic.Observe(querschott.Access{
			Service: querschott.Service(h), Insurer: querschott.IK(h), Outcome: h, Actor: querschott.Actor(h), Person: h,
			Credential: querschott.CredentialID(h), Address: h, Binding: h, Query: h, RequestID: h, Cause: h, Action: h,
		})
	}
	m := metrics(t, traffic, families...)
	text := scrape(t, m)
	for _, h := range hostile {
		if strings.Contains(text, h) {
			t.Errorf("the scrape has %q", h)
		}
	}
	if want := `querschott_test_cause{cause="other"} 8`; !strings.Contains(text, want) {
		t.Errorf("the scrape lacks %q", want)
	}
	if got, want := m.foreign.Load(), uint64(len(hostile)*len(labels)); got != want {
		t.Errorf("%d values of families were withheld and counted, want %d", got, want)
	}
	if got, want := traffic.foreignLabels(), uint64(len(hostile)*len([]Label{LabelInsurer, LabelService, LabelOutcome})); got != want {
		t.Errorf("%d values of events were withheld and counted, want %d", got, want)
	}
	if text := scrape(t, m); strings.Contains(text, "querschott_telemetry_foreign_labels_total 0\n") {
		t.Error("the scrape does not tell that values were withheld")
	}
}

func TestWordsHoldNoNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-Za-z0-9@._/-]{1,50}`)).Draw(t, "value")
		if !LabelCause.holds(value) {
			return
		}
		run := 0
		for _, c := range value {
			if c >= '0' && c <= '9' {
				run++
			} else {
				run = 0
			}
			if run > 3 || c >= 'A' && c <= 'Z' || c == '@' || c == '/' || c == '.' {
				t.Fatalf("%q is a word", value)
			}
		}
	})
}

func nameOf(line string) string { return line[:strings.IndexAny(line+"{", "{ ")] }

// lacks compares whole lines. Of a family of which want has a line, the scrape may have no other.
func lacks(t testing.TB, text, want string) {
	t.Helper()
	have, wanted, families := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(want) {
		wanted[line] = true
		if !strings.HasPrefix(line, "#") {
			families[nameOf(line)] = true
		}
	}
	for line := range strings.Lines(text) {
		have[line] = true
		if !strings.HasPrefix(line, "#") && families[nameOf(line)] && !wanted[line] {
			t.Errorf("the scrape has %s", line)
		}
	}
	for line := range wanted {
		if !have[line] && line != "\n" {
			t.Errorf("the scrape lacks %s", line)
		}
	}
}

func scrape(t testing.TB, m *Metrics) string {
	t.Helper()
	srv := httptest.NewServer(m.Handler())
	defer srv.Close()
	resp, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing is lost
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", resp.StatusCode, b)
	}
	return string(b)
}

func TestTraffic(t *testing.T) {
	traffic := NewTraffic(isKnown)
	for _, a := range []querschott.Access{
		{Service: querschott.VSDM, Insurer: eau.Insurer, Outcome: "success", Status: 200, Records: 1, Bytes: 4000, Took: 3000},
		{Service: querschott.VSDM, Insurer: eau.Insurer, Outcome: "success", Status: 304, Took: 700},
		{Service: querschott.VSDM, Insurer: letter.Insurer, Outcome: "denied", Status: 503, Took: -5, Bytes: -1},
		{Outcome: "denied", Status: 401},
		{Outcome: "denied", Status: 4711},
	} {
		traffic.Observe(a)
	}
	const want = `
# HELP querschott_answer_bytes_total Bytes that left in answers over HTTP.
# TYPE querschott_answer_bytes_total counter
querschott_answer_bytes_total{service="none"} 0
querschott_answer_bytes_total{service="vsdm"} 4000
# HELP querschott_answer_records_total Records that left in answers over HTTP.
# TYPE querschott_answer_records_total counter
querschott_answer_records_total{service="none"} 0
querschott_answer_records_total{service="vsdm"} 1
# HELP querschott_answers_total Answers over HTTP by class of their status.
# TYPE querschott_answers_total counter
querschott_answers_total{service="none",status="4xx"} 1
querschott_answers_total{service="none",status="other"} 1
querschott_answers_total{service="vsdm",status="2xx"} 1
querschott_answers_total{service="vsdm",status="3xx"} 1
querschott_answers_total{service="vsdm",status="5xx"} 1
# HELP querschott_insurer_requests_total Requests over HTTP by whose data they were about and how they ended.
# TYPE querschott_insurer_requests_total counter
querschott_insurer_requests_total{insurer="109500969",outcome="success",service="vsdm"} 2
querschott_insurer_requests_total{insurer="none",outcome="denied",service="none"} 2
querschott_insurer_requests_total{insurer="other",outcome="denied",service="vsdm"} 1
`
	lacks(t, scrape(t, metrics(t, traffic)), want)
}

func TestLatency(t *testing.T) {
	text := scrape(t, metrics(t, nil, house().Families()...))
	for _, want := range []string{
		`querschott_http_request_duration_seconds_bucket{service="vsdm",le="0.00025"} 5`,
		`querschott_http_request_duration_seconds_bucket{service="vsdm",le="0.0005"} 5`,
		`querschott_http_request_duration_seconds_bucket{service="vsdm",le="0.001"} 7`,
		`querschott_http_request_duration_seconds_bucket{service="vsdm",le="10"} 7`,
		`querschott_http_request_duration_seconds_bucket{service="vsdm",le="+Inf"} 8`,
		`querschott_http_request_duration_seconds_sum{service="vsdm"} 12`,
		`querschott_http_request_duration_seconds_count{service="vsdm"} 8`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the scrape lacks %s", want)
		}
	}
}

func TestLogsOfALedger(t *testing.T) {
	l, err := ledger.Open(ledger.Config{
		FS: crashdisk.New(), Dir: "d", Domain: "betreiber.example", Seed: make([]byte, 32), SegmentSize: 1 << 20, Now: func() time.Time { return start },
		Secret: func(querschott.IK, int) ([]byte, error) { return make([]byte, 32), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	for range 3 {
		if _, err := l.Append(t.Context(), ledger.Entry{Kind: ledger.KindAccess, At: start, Compartment: eau, Action: ledger.ActionRead, Outcome: ledger.OutcomeSuccess}); err != nil {
			t.Fatal(err)
		}
	}
	sizes := map[string]uint64{}
	for _, log := range LogsOf(l, start.Year()) {
		sizes[log.Name] = log.Entries
	}
	if sizes["109500969"] != 3 || sizes["commits"] == 0 {
		t.Errorf("%v", sizes)
	}
	if logs := LogsOf(l, start.Year()+1); len(logs) != 0 {
		t.Errorf("logs of another year: %v", logs)
	}
}

func TestDistributions(t *testing.T) {
	one := Spread{[]time.Duration{time.Second}, []uint64{1, 2}, 3 * time.Second}
	family := func(look func(TellSpread)) Family {
		return Family{Name: prefix + "test_seconds", Help: "How long something took.", Kind: Histogram, Labels: []Label{LabelName}, LookAt: look}
	}
	text := scrape(t, metrics(t, nil, family(func(tell TellSpread) {
		tell(one, "X123456780")
		tell(one, "1-883110000168650")
		tell(one, "known")
	})))
	for _, want := range []string{
		`querschott_test_seconds_bucket{name="other",le="1"} 2`, `querschott_test_seconds_count{name="other"} 6`,
		`querschott_test_seconds_sum{name="other"} 6`, `querschott_test_seconds_count{name="known"} 3`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the scrape lacks %s", want)
		}
	}
	for name, look := range map[string]func(TellSpread){
		"too few counts":  func(tell TellSpread) { tell(Spread{one.Bounds, []uint64{1}, 0}, "known") },
		"too many labels": func(tell TellSpread) { tell(one, "known", "more") },
		"other bounds":    func(tell TellSpread) { tell(one, "known"); tell(Spread{nil, []uint64{1}, 0}, "known") },
		"a panic":         func(TellSpread) { panic("X123456780") },
	} {
		if text := scrape(t, metrics(t, nil, family(look))); strings.Contains(text, "test_seconds_bucket") || strings.Contains(text, "X123456780") {
			t.Errorf("%s: told all the same", name)
		}
	}
}

func TestNobodyMakesTheNumbersGrow(t *testing.T) {
	traffic := NewTraffic(isKnown)
	for n := range uint32(2000) {
		ik := querschott.IKFromNumber(100_000_000 + n*10)
		first := string(ik)[:8]
		traffic.Observe(querschott.Access{Insurer: querschott.IK(first + string(querschott.IKCheckDigit(first))), Service: querschott.VSDM, Outcome: "denied", Status: 400})
	}
	text := scrape(t, metrics(t, traffic))
	if n := strings.Count(text, "\nquerschott_insurer_requests_total{"); n != 1 {
		t.Errorf("%d series for insurers that are not known, want 1", n)
	}
}

func TestASourceThatFailsSpoilsItsFamilyOnly(t *testing.T) {
	m := metrics(t, nil,
		Family{Name: prefix + "good_things", Help: "Told.", Look: func(tell Tell) { tell(1) }},
		Family{Name: prefix + "bad_things", Help: "Panics.", Look: func(Tell) { panic("X123456780") }},
		Family{Name: prefix + "odd_things", Help: "Tells too much.", Look: func(tell Tell) { tell(1, "a", "b") }},
	)
	text := scrape(t, m)
	if !strings.Contains(text, "querschott_good_things 1") {
		t.Error("a good family is missing")
	}
	for _, bad := range []string{"querschott_bad_things", "querschott_odd_things", "X123456780"} {
		if strings.Contains(text, bad) {
			t.Errorf("the scrape has %s", bad)
		}
	}
}

func TestFamiliesThatBreakTheRules(t *testing.T) {
	look := func(tell Tell) { tell(1) }
	for name, f := range map[string]Family{
		"foreign name":      {Name: "node_things", Help: "Some things.", Look: look},
		"counter's end":     {Name: prefix + "things", Help: "Some things.", Kind: Counter, Look: look},
		"gauge's end":       {Name: prefix + "things_total", Help: "Some things.", Look: look},
		"no help":           {Name: prefix + "things", Look: look},
		"no source":         {Name: prefix + "things", Help: "Some things."},
		"a free label":      {Name: prefix + "things", Help: "Some things.", Labels: []Label{"person"}, Look: look},
		"the same twice":    {Name: prefix + "telemetry_foreign_labels_total", Help: "Again.", Kind: Counter, Look: look},
		"a label twice":     {Name: prefix + "things", Help: "Some things.", Labels: []Label{LabelName, LabelName}, Look: look},
		"numbers as spread": {Name: prefix + "things_seconds", Help: "Some things.", Kind: Histogram, Look: look},
		"spread as numbers": {Name: prefix + "things", Help: "Some things.", LookAt: func(TellSpread) {}},
		"no name of ours":   {Name: prefix + "things and more", Help: "Some things.", Look: look},
	} {
		if _, err := NewMetrics(nil, f); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestScrapesAndEventsAtTheSameTime(t *testing.T) {
	traffic := NewTraffic(isKnown)
	m := metrics(t, traffic, house().Families()...)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				traffic.Observe(querschott.Access{Service: querschott.EPA, Outcome: "success", Status: 200})
			}
		})
		wg.Go(func() {
			for range 5 {
				if _, err := m.Gatherer().Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if text := scrape(t, m); !strings.Contains(text, `querschott_answers_total{service="epa",status="2xx"} 800`) {
		t.Error("events are missing from the numbers")
	}
}
