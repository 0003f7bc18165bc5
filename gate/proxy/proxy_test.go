package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/wire/zeta"
)

func TestInFrontOfFHIR(t *testing.T) {
	up := newFHIRForTests(t, 25)
	w := newWorld(t, up, nil)
	a, b := kvnr(0), kvnr(1)
	for _, tc := range []struct {
		name, method, target, body string
		headers                    []string

		status  int
		rule    string
		action  ledger.Action
		outcome ledger.Outcome
		records uint32
		persons []string
	}{
		{"read", "GET", "/fhir/Patient/" + a, "", nil, 200, "patient", ledger.ActionRead, ledger.OutcomeSuccess, 1, []string{a}},
		{"read as XML", "GET", "/fhir/Patient/" + a, "", []string{"Accept", "application/fhir+xml"}, 200, "patient", ledger.ActionRead, ledger.OutcomeSuccess, 1, []string{a}},
		{"read, letters of another case", "GET", "/fhir/patient/" + strings.ToLower(a), "", nil, 404, "patient", ledger.ActionRead, ledger.OutcomeFailed, 0, []string{a}},
		{"not there", "GET", "/fhir/Patient/Z999999999", "", nil, 404, "patient", ledger.ActionRead, ledger.OutcomeFailed, 0, []string{"Z999999999"}},
		{"not modified", "GET", "/fhir/Patient/" + a, "", []string{"If-None-Match", `W/"1"`}, 304, "patient", ledger.ActionRead, ledger.OutcomeSuccess, 0, []string{a}},
		{"head", "HEAD", "/fhir/Patient/" + a, "", nil, 200, "patient", ledger.ActionRead, ledger.OutcomeSuccess, 0, []string{a}},
		{"search", "GET", "/fhir/Observation?patient=" + b, "", nil, 200, "search", ledger.ActionSearch, ledger.OutcomeSuccess, 1, []string{b}},
		{"search for two", "GET", "/fhir/Observation?patient=Patient/" + a + ",Patient/" + b, "", nil, 200, "search", ledger.ActionSearch, ledger.OutcomeSuccess, 2, []string{a, b}},
		{"search with a chain", "GET", "/fhir/Observation?subject:Patient.identifier=http://fhir.de/sid/gkv/kvid-10%7CX123456789", "", nil, 200, "search", ledger.ActionSearch, ledger.OutcomeSuccess, 10, []string{
			"X123456789", kvnr(0), kvnr(1), kvnr(2), kvnr(3), kvnr(4), kvnr(5), kvnr(6), kvnr(7), kvnr(8), kvnr(9),
		}},
		{"search by form", "POST", "/fhir/Observation/_search", "patient=" + b, []string{"Content-Type", "application/x-www-form-urlencoded"}, 200, "search-form", ledger.ActionSearch, ledger.OutcomeSuccess, 1, []string{b}},
		{"search as XML", "GET", "/fhir/Observation?patient=" + b, "", []string{"Accept", "application/fhir+xml"}, 200, "search", ledger.ActionSearch, ledger.OutcomeSuccess, 1, []string{b}},
		{"create", "POST", "/fhir/Observation", `{"resourceType":"Observation","subject":{"reference":"Patient/` + a + `"}}`, []string{"Content-Type", "application/fhir+json"}, 201, "create", ledger.ActionCreate, ledger.OutcomeSuccess, 1, []string{a}},
		{"capabilities", "GET", "/fhir/metadata", "", nil, 200, "capabilities", ledger.ActionRead, ledger.OutcomeSuccess, 0, nil},
		{"unknown", "GET", "/fhir/a/b/c/d/e", "", nil, 404, "none", ledger.ActionRead, ledger.OutcomeFailed, 1, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := request(tc.method, tc.target, tc.body, tc.headers...)
			place, err := w.proxy.Locate(t.Context(), r)
			if err != nil || place.Insurer != one || place.Known != (tc.rule != "none") {
				t.Errorf("located at %+v, %v", place, err)
			}
			got := w.mustAsk(r)
			var persons []string
			for _, p := range got.persons {
				persons = append(persons, p.Reveal())
			}
			f := &got.Facts
			if got.Status != tc.status || detail(f, "rule") != tc.rule || f.Action != tc.action || f.Outcome != tc.outcome || got.records != tc.records || !slices.Equal(persons, tc.persons) {
				t.Errorf("got %d, rule %q, %s, %s, %d records, persons %v", got.Status, detail(f, "rule"), f.Action, f.Outcome, got.records, persons)
			}
			if _, sent := up.last(); string(sent) != tc.body {
				t.Errorf("the service got %q", sent)
			}
		})
	}
	if got, want := w.proxy.Stats().Unmatched, uint64(1); got != want {
		t.Errorf("%d requests fitted no rule, want %d", got, want)
	}
}

func TestPages(t *testing.T) {
	for _, mode := range []string{"the service knows its caller's address", "links are rewritten"} {
		t.Run(mode, func(t *testing.T) {
			up := newFHIRForTests(t, 25)
			w := newWorld(t, up, func(s *Settings) {
				if mode == "links are rewritten" {
					up.base = s.Upstream
					s.Links = true
				}
			})
			next, pages, records := "/fhir/Patient", 0, uint32(0)
			for next != "" {
				got := w.mustAsk(request("GET", next, ""))
				pages++
				records += got.records
				var bundle struct {
					Link  []struct{ Relation, URL string }
					Entry []struct{ FullURL string }
				}
				if err := json.Unmarshal(got.body, &bundle); err != nil {
					t.Fatal(err)
				}
				next = ""
				for _, l := range bundle.Link {
					rest, ok := strings.CutPrefix(l.URL, "https://gate.example")
					if !ok {
						t.Fatalf("a link leads past the gate: %s", l.URL)
					}
					if l.Relation == "next" {
						next = rest
					}
				}
				for _, e := range bundle.Entry {
					if !strings.HasPrefix(e.FullURL, "https://gate.example/fhir/Patient/") {
						t.Errorf("an entry's address leads past the gate: %s", e.FullURL)
					}
				}
			}
			if pages != 3 || records != 25 {
				t.Errorf("%d records on %d pages", records, pages)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t, newFHIRForTests(t, 0), func(s *Settings) {
		s.Rules = []Rule{{Name: "events", Path: "/fhir/events", Count: "events"}}
	})
	got := w.mustAsk(request("GET", "/fhir/events", ""))
	if got.records != 3 || !strings.Contains(string(got.body), "data: more") || got.pieces == 0 {
		t.Errorf("%d events in %d pieces: %q", got.records, got.pieces, got.body)
	}
}

// A stream ends when whoever reads it stops waiting, even in the middle of silence.
func TestStreamIsCut(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}), nil)
	patience, gone := context.WithCancel(t.Context())
	a, err := w.proxy.Backend(patience, request("GET", "/fhir/Subscription/1", ""))
	if err != nil {
		t.Fatal(err)
	}
	gone() // the gate's patience for the first piece is over; the answer goes on
	if p, err := a.Next(t.Context()); err != nil || p.Records != 1 {
		t.Fatalf("the first event: %+v, %v", p, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Next(ctx); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after the cut: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func TestUnmatchedIsRefusedIfConfigured(t *testing.T) {
	up := newFHIRForTests(t, 1)
	w := newWorld(t, up, func(s *Settings) { s.Unmatched = "refuse" })
	if _, err := w.ask(request("GET", "/fhir/a/b/c/d", "")); querschott.CodeOf(err) != querschott.CodeForbidden {
		t.Errorf("got %v", err)
	}
	if _, err := w.proxy.Tunnel(t.Context(), request("GET", "/fhir/a/b/c/d", "", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")); querschott.CodeOf(err) != querschott.CodeForbidden {
		t.Errorf("a tunnel: %v", err)
	}
	if len(up.seen) != 0 {
		t.Error("the service got it")
	}
}

func TestUnreadable(t *testing.T) {
	long := `{"resourceType":"Bundle","entry":[` + strings.Repeat(`{"resource":{"resourceType":"Patient"}},`, 60_000) + `oops`
	for _, tc := range []struct {
		name, contentType, body string
		rule                    Rule
		atLeast                 uint32
	}{
		{"HTML", "text/html", "<html>", Rule{Count: "fhir"}, 1},
		{"JSON that is no FHIR", "application/json", `{"a":1}`, Rule{Count: "fhir"}, 1},
		{"half of it", "application/fhir+json", `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient"}}`, Rule{Count: "fhir"}, 1},
		{"deep", "application/json", strings.Repeat("[", 100) + strings.Repeat("]", 100), Rule{Count: "json", Records: "/*"}, 1},
		{"XML with entities", "application/fhir+xml", `<!DOCTYPE x [<!ENTITY a "b">]><Patient/>`, Rule{Count: "fhir"}, 1},
		{"XML for XPath", "application/xml", `<a>`, Rule{Count: "xml", Records: "//b"}, 1},
		{"large XML for XPath", "application/xml", `<a>` + strings.Repeat("<b/>", 400_000) + `</a>`, Rule{Count: "xml", Records: "//b"}, 1},
		{"lines that are no JSON", "application/x-ndjson", "{}\noops\n{}\n", Rule{Count: "lines", Persons: []string{"/p"}}, 3},
		{"long", "application/fhir+json", long, Rule{Count: "fhir"}, 60_000},
	} {
		tc.rule.Name, tc.rule.Path = "any", "/fhir/{rest...}"
		for _, mode := range []string{"pass", "block"} {
			t.Run(tc.name+" "+mode, func(t *testing.T) {
				w := newWorld(t, answering(200, tc.contentType, tc.body), func(s *Settings) {
					s.Rules, s.Unreadable = []Rule{tc.rule}, mode
				})
				got, err := w.ask(request("GET", "/fhir/x", ""))
				if w.proxy.Stats().Unreadable != 1 {
					t.Errorf("counted %d times", w.proxy.Stats().Unreadable)
				}
				if mode == "block" {
					if err == nil {
						t.Error("it passed")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got.records < tc.atLeast || string(got.body) != tc.body {
					t.Errorf("%d records, %d bytes of %d", got.records, len(got.body), len(tc.body))
				}
				if got.pieces == 0 && detail(&got.Facts, "records") != "unknown" {
					t.Errorf("the ledger is not told: %v", got.Facts.Detail)
				}
			})
		}
	}
}

// An answer with more persons than one entry of the ledger can name goes in pieces.
func TestManyPersons(t *testing.T) {
	var b strings.Builder
	b.WriteString("[")
	const n = 3 * maxPersons
	for i := range n {
		fmt.Fprintf(&b, "%q,", kvnr(i))
	}
	b.WriteString(`""]`)
	w := newWorld(t, answering(200, "application/json", b.String()), func(s *Settings) {
		s.Rules = []Rule{{Name: "list", Path: "/fhir/list", Count: "json", Records: "/*", Persons: []string{"/*"}}}
	})
	got := w.mustAsk(request("GET", "/fhir/list", ""))
	if got.records != n+1 || len(got.persons) != n || got.pieces < 2 || string(got.body) != b.String() {
		t.Errorf("%d records, %d persons, %d pieces", got.records, len(got.persons), got.pieces)
	}
}

func TestCountsByRule(t *testing.T) {
	for _, tc := range []struct {
		name, contentType, body string
		rule                    Rule
		records                 uint32
		persons                 []querschott.KVNR
	}{
		{"pointer", "application/json", `{"items":[{"who":"A123456780"},{"who":"B123456780"},{"who":null}]}`, Rule{Count: "json", Records: "/items/*", Persons: []string{"/items/*/who"}}, 3, []querschott.KVNR{"A123456780", "B123456780"}},
		{"pointer with escapes", "application/json", `{"a/b":{"~":[1,2]},"\u0061/b2":1}`, Rule{Count: "json", Records: "/a~1b/~0/*"}, 2, nil},
		{"pointer with index", "application/json", `[[1],[2,3]]`, Rule{Count: "json", Records: "/1/*"}, 2, nil},
		{"one name twice", "application/json", `{"a":[1],"a":[2,3]}`, Rule{Count: "json", Records: "/a/*"}, 3, nil},
		{"XPath", "application/xml", `<l><p nr="A123456780"/><p nr="B123456780"/></l>`, Rule{Count: "xml", Records: "//p", Persons: []string{"//p/@nr"}}, 2, []querschott.KVNR{"A123456780", "B123456780"}},
		{"lines", "text/plain", "a\n\nb\r\n \nc", Rule{Count: "lines"}, 3, nil},
		{"bulk FHIR", "application/fhir+ndjson", `{"resourceType":"Patient","id":"A123456780"}` + "\n" + `{"resourceType":"Patient","id":"B123456780"}` + "\n", Rule{Count: "fhir"}, 2, []querschott.KVNR{"A123456780", "B123456780"}},
		{"one", "image/png", "x", Rule{Count: "one"}, 1, nil},
		{"none", "image/png", "x", Rule{Count: "none"}, 0, nil},
		{"includes", "application/fhir+json", `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Observation"},"search":{"mode":"match"}},{"resource":{"resourceType":"Patient","id":"A123456780"},"search":{"mode":"include"}},{"resource":{"resourceType":"OperationOutcome"},"search":{"mode":"outcome"}}]}`, Rule{Count: "fhir"}, 2, []querschott.KVNR{"A123456780"}},
		{"matches", "application/fhir+json", `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Observation"},"search":{"mode":"match"}},{"resource":{"resourceType":"Patient","id":"A123456780"},"search":{"mode":"include"}}]}`, Rule{Count: "fhir", Records: "matches"}, 1, []querschott.KVNR{"A123456780"}},
		{"bundles in a batch", "application/fhir+json", `{"resourceType":"Bundle","type":"batch-response","entry":[{"resource":{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient"}},{"resource":{"resourceType":"Patient"}}]}},{"response":{"status":"404"}}]}`, Rule{Count: "fhir"}, 2, nil},
		{"parameters", "application/fhir+json", `{"resourceType":"Parameters","parameter":[{"name":"a","resource":{"resourceType":"Patient"}},{"name":"b","part":[{"name":"c","resource":{"resourceType":"Coverage"}}]}]}`, Rule{Count: "fhir"}, 2, nil},
		{"logical reference", "application/fhir+json", `{"resourceType":"Coverage","beneficiary":{"identifier":{"value":"A123456780","system":"http://fhir.de/sid/gkv/kvid-10"}}}`, Rule{Count: "fhir"}, 1, []querschott.KVNR{"A123456780"}},
		{"error of the service", "application/fhir+json", `{"resourceType":"OperationOutcome"}`, Rule{Count: "fhir"}, 0, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.rule.Name, tc.rule.Path = "any", "/fhir/x"
			w := newWorld(t, answering(200, tc.contentType, tc.body), func(s *Settings) { s.Rules = []Rule{tc.rule} })
			got := w.mustAsk(request("GET", "/fhir/x", ""))
			if got.records != tc.records || !slices.Equal(got.persons, tc.persons) || string(got.body) != tc.body {
				t.Errorf("%d records, persons %v, body %q", got.records, got.persons, got.body)
			}
			if w.proxy.Stats().Unreadable != 0 {
				t.Error("it counts as unreadable")
			}
		})
	}
}

func TestGuardHeadersRejected(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ZETA-Cause", "Proxy")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "A123456780 is broken")
	}), nil)
	_, err := w.ask(request("GET", "/fhir/Patient/1", ""))
	var z *zeta.Error
	if !errors.As(err, &z) || z.Status != http.StatusInternalServerError || z.Code != zeta.ServerError || strings.Contains(err.Error(), "A123456780") {
		t.Errorf("got %v", err)
	}
	if got := w.proxy.Stats(); got.Rejected != 1 || got.Failed != 0 {
		t.Errorf("counted as %+v", got)
	}
	if !strings.Contains(w.log.String(), "ALARM") || strings.Contains(w.log.String(), "A123456780") {
		t.Errorf("log: %s", w.log.String())
	}
}

func TestBodiesOfRequests(t *testing.T) {
	up := newFHIRForTests(t, 1)
	w := newWorld(t, up, func(s *Settings) {
		s.Limits.Inspect = 1 << 10
		s.Unreadable = "block"
		s.Rules = append(s.Rules, Rule{Name: "soap", Methods: []string{"PUT"}, Path: "/fhir/soap", Person: []string{"xpath://kvnr"}, Count: "one"})
	})
	for _, tc := range []struct {
		name, method, target, body, contentType string
		code                                    querschott.Code
	}{
		{"fits", "POST", "/fhir/Observation", `{}`, "application/json", ""},
		{"too large to look into", "POST", "/fhir/Observation", `"` + strings.Repeat("a", 2000) + `"`, "application/json", querschott.CodeTooLarge},
		{"not what it says", "POST", "/fhir/Observation", `{`, "application/json", querschott.CodeInvalid},
		{"no form", "POST", "/fhir/Observation/_search", `%zz`, "application/x-www-form-urlencoded", querschott.CodeInvalid},
		{"XML", "PUT", "/fhir/soap", `<a><kvnr>A123456780</kvnr></a>`, "application/xml", ""},
		{"no XML", "PUT", "/fhir/soap", `<a>`, "application/xml", querschott.CodeInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := w.ask(request(tc.method, tc.target, tc.body, "Content-Type", tc.contentType))
			if tc.code != "" {
				if querschott.CodeOf(err) != tc.code {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tc.name == "XML" && !slices.Equal(got.persons, []querschott.KVNR{"A123456780"}) {
				t.Errorf("persons %v", got.persons)
			}
		})
	}
	if _, err := w.ask(request("POST", "/fhir/Observation", `{}`, "Content-Encoding", "gzip")); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("a compressed body: %v", err)
	}
}

// Who may reach oneself only gets nothing through that is about somebody else, wherever it names that person.
func TestForeignPersons(t *testing.T) {
	up := newFHIRForTests(t, 3)
	w := newWorld(t, up, nil)
	own, foreign := kvnr(0), kvnr(1)
	for target, allowed := range map[string]bool{
		"GET /fhir/Patient/" + own: true, "GET /fhir/Patient/" + foreign: false, "GET /fhir/Patient/" + strings.ToLower(foreign): false,
		"GET /fhir/Observation?patient=" + own: true, "GET /fhir/Observation?patient=" + own + ",Patient/" + foreign: false,
		"GET /fhir/Observation?patient=" + own + "&patient.identifier=x%7C" + foreign:                                              false,
		`POST /fhir/Observation {"subject":{"reference":"Patient/` + own + `"}}`:                                                   true,
		`POST /fhir/Observation {"subject":{"reference":"Patient/` + own + `"},"subject":{"reference":"Patient/` + foreign + `"}}`: false,
	} {
		parts := strings.SplitN(target+" ", " ", 3)
		r := request(parts[0], parts[1], strings.TrimSpace(parts[2]), "Content-Type", "application/json")
		r.Caller.Person = querschott.KVNR(own)
		if _, err := w.ask(r); allowed != (err == nil) || err != nil && querschott.CodeOf(err) != querschott.CodeForbidden {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestWrites(t *testing.T) {
	w := newWorldAt(t, "http://127.0.0.1:1/fhir", nil)
	for target, want := range map[string]bool{
		"GET /fhir/Patient/1": false, "HEAD /fhir/Patient/1": false, "POST /fhir/Patient/_search": false, "POST /fhir/Patient": true,
		"POST /fhir": true, "PUT /fhir/Patient/1": true, "DELETE /fhir/Patient/1": true, "POST /fhir/a/b/c/d": true, "POST /fhir/a/%2e%2e/_search": true,
		"PUT /fhir/Patient/_search": true,
	} {
		method, path, _ := strings.Cut(target, " ")
		if got := w.proxy.Writes(request(method, path, "")); got != want {
			t.Errorf("%s writes: %v", target, got)
		}
	}
}

func TestTooManyPersonsInOneRequest(t *testing.T) {
	up := newFHIRForTests(t, 1)
	w := newWorld(t, up, nil)
	var list []string
	for i := range maxNamed + 1 {
		list = append(list, kvnr(i))
	}
	if _, err := w.ask(request("GET", "/fhir/Observation?patient="+strings.Join(list, ","), "")); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("got %v", err)
	}
	w.mustAsk(request("GET", "/fhir/Observation?patient="+strings.Join(list[1:], ","), ""))
}

// The caller's body breaking off, or being larger than the route allows, is the caller's fault.
func TestCallersBodyFails(t *testing.T) {
	w := newWorld(t, newFHIRForTests(t, 1), nil)
	for want, fault := range map[querschott.Code]error{
		querschott.CodeTooLarge: &http.MaxBytesError{Limit: 5},
		querschott.CodeInvalid:  io.ErrUnexpectedEOF,
	} {
		r := request("PUT", "/fhir/Binary/1", "xx")
		r.Raw.ContentLength = -1
		r.Body = io.MultiReader(strings.NewReader("begin"), broken{fault})
		if _, err := w.ask(r); querschott.CodeOf(err) != want {
			t.Errorf("%v: got %v", fault, err)
		}
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }
