package http

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
)

func TestServed(t *testing.T) {
	w := open(t)
	w.watch.Store(true)
	got := w.ask(ask{target: "/vsd/v1/bundle?profileVersion=1.0", as: "practice", popp: string(one) + "/" + string(kvnr(1))})
	if got.status != 200 || got.body != "hello" {
		t.Fatalf("got %v", got)
	}
	id := got.header.Get("X-Request-Id")
	if len(id) != 36 || id[14] != '7' || !strings.Contains("89ab", id[19:20]) {
		t.Errorf("X-Request-Id is %q, want a UUIDv7", id)
	}
	for name, want := range map[string]string{
		"X-Rate-Limit-Limit": "200", "X-Rate-Limit-Remaining": "199", "X-Rate-Limit-Reset": "1", "Zeta-Api-Version": "2.0.0",
		"Cache-Control": "no-store, private", "Content-Length": "5",
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.header.Get(name), want)
		}
	}
	entries := w.take()
	if len(entries) != 1 {
		t.Fatalf("%d entries, want 1", len(entries))
	}
	e := entries[0]
	if e.Kind != ledger.KindAccess || e.Compartment != (querschott.Compartment{Insurer: one, Service: querschott.VSDM}) || e.Actor != "1-practice" ||
		e.Credential != "c-practice" || e.Role != querschott.RolePractice || e.Action != ledger.ActionRead || e.Person != kvnr(1) ||
		e.Records != 1 || e.Outcome != ledger.OutcomeSuccess || e.RequestID != id || e.Epoch != 7 || e.At.IsZero() {
		t.Errorf("the entry is %+v", e)
	}
	for name, want := range map[string]string{
		"bytes": "5", "fields": "master-data", "status": "200", "profession": "1.2.276.0.76.4.50", "route": "GET vsdm", "binding": "thumb-practice",
	} {
		if got := detail(e, name); got != want {
			t.Errorf("the entry's %s is %q, want %q", name, got, want)
		}
	}
	events := w.heard()
	if len(events) != 1 {
		t.Fatalf("%d events, want 1", len(events))
	}
	a := events[0]
	if a.RequestID != id || a.Service != querschott.VSDM || a.Insurer != one || a.Actor != e.Actor || a.Credential != e.Credential || a.Role != e.Role ||
		a.Action != "read" || a.Query != "GET vsdm" || a.Person == "" || strings.Contains(a.Person, kvnr(1).Reveal()) || a.Fields != "master-data" ||
		a.Records != 1 || a.Bytes != 5 || a.Status != 200 || a.Outcome != "success" || a.Epoch != 7 || a.Address != "127.0.0.1" ||
		a.Binding != "thumb-practice" || a.Profession != "1.2.276.0.76.4.50" || a.Time.IsZero() {
		t.Errorf("the event is %+v", a)
	}
}

// What a service sees holds nothing that would let it act as the caller, and nothing that only a gate may say.
func TestServiceSeesNoCredentials(t *testing.T) {
	for _, guard := range []bool{false, true} {
		var identified http.Header
		w := open(t, func(c *Config) {
			identify := c.Identify
			c.Identify = func(ctx context.Context, r *http.Request, route *Route) (*ident.Identity, error) {
				identified = r.Header.Clone()
				return identify(ctx, r, route)
			}
			c.Guard = func(*tls.ConnectionState) bool { return guard }
		})
		got := w.ask(ask{target: "/desk/" + string(one) + "/a/b?q=1", as: "practice", header: http.Header{
			"Cookie": {"a=b"}, "Dpop": {"x"}, "Popp": {"y"}, "Zeta-User-Info": {"forged"}, "zeta_user_info": {"forged"}, "ZETA-PoPP_Token-Content": {"forged"},
			"X-Forwarded-For": {"1.2.3.4"}, "X_Forwarded_Host": {"evil"}, "Forwarded": {"for=1.2.3.4"}, "X-Http-Method-Override": {"DELETE"},
			"X-Request-Id": {"mine"}, "Querschott-Door-Epoch": {"9"}, "Proxy-Authorization": {"z"}, "Accept": {"text/plain"}, "Te": {"trailers"},
			"Connection": {"X-Drop"}, "X-Drop": {"1"},
		}})
		if got.status != 200 {
			t.Fatalf("got %v", got)
		}
		r := w.last()
		if names := headerNames(r.Header); names != "Accept,User-Agent" {
			t.Errorf("the service sees %s", names)
		}
		if names := headerNames(r.Raw.Header); names != "Accept,Authorization,Cookie,Dpop,Popp,User-Agent" {
			t.Errorf("a backend sees %s", names)
		}
		if _, there := identified["Zeta-User-Info"]; there != guard {
			t.Errorf("guard %v: identification sees the guard's header: %v", guard, there)
		}
		if r.Path != "a/b" || r.Query.Get("q") != "1" || r.Compartment.Insurer != one || r.ID == "mine" || r.Epoch != 7 {
			t.Errorf("the service sees %+v", r.Request)
		}
		if r.Remote.String() != "127.0.0.1" || r.Raw.RemoteAddr != "127.0.0.1" {
			t.Errorf("the caller's address is %v", r.Remote)
		}
	}
}

func TestTrustedHopTellsTheCaller(t *testing.T) {
	w := open(t, func(c *Config) { c.Trusted = prefixes("127.0.0.0/8", "10.0.0.0/8") })
	for header, want := range map[string]string{
		"203.0.113.9":                    "203.0.113.9",
		"6.6.6.6, 203.0.113.9, 10.1.1.1": "203.0.113.9",
		"203.0.113.9, nonsense":          "127.0.0.1",
		"":                               "127.0.0.1",
		"10.1.1.1":                       "10.1.1.1",
		"::ffff:203.0.113.9":             "203.0.113.9",
	} {
		w.ask(ask{target: "/fixed", as: "practice", header: http.Header{"X-Forwarded-For": {header}, "Forwarded": {"for=x"}}})
		if r := w.last(); r.Remote.String() != want || r.Raw.Header.Get("Forwarded") == "" {
			t.Errorf("%q: the caller is %v, want %s", header, r.Remote, want)
		}
	}
}

// Every way to be refused: the answer, what the ledger says, what the event says.
func TestRefusals(t *testing.T) {
	p1 := string(one) + "/" + string(kvnr(1))
	for name, tc := range map[string]struct {
		ask     ask
		before  func(*world)
		status  int
		code    string // of the body
		outcome ledger.Outcome
		reason  ledger.ReasonKind
		cause   string
		unknown bool // nobody was identified: no entry before the minute is over
	}{
		"no credential":       {ask: ask{target: "/fixed"}, status: 401, code: "unauthorized", cause: "no_token", unknown: true},
		"no credential, ZETA": {ask: ask{target: "/vsd/v1/bundle", popp: p1}, status: 401, code: "invalid_token", cause: "no_token", unknown: true},
		"wrong credential":    {ask: ask{target: "/fixed", as: "thief"}, status: 401, code: "unauthorized", cause: "not-identified", unknown: true},
		"no presence":         {ask: ask{target: "/vsd/v1/bundle", as: "practice"}, status: 400, code: "invalid_request", cause: "no_presence", unknown: true},
		"unknown route":       {ask: ask{target: "/nowhere", as: "practice"}, status: 404, code: "not-found", cause: "unknown_route", unknown: true},
		"prefix of a route":   {ask: ask{target: "/fixed/more", as: "practice"}, status: 404, code: "not-found", cause: "unknown_route", unknown: true},
		"wrong method":        {ask: ask{method: "DELETE", target: "/fixed", as: "practice"}, status: 405, code: "method-not-allowed", cause: "unknown_method", unknown: true},
		"HEAD is not GET":     {ask: ask{method: "HEAD", target: "/fixed", as: "practice"}, status: 405, cause: "unknown_method", unknown: true},
		"revoked, known":      {ask: ask{target: "/fixed", as: "practice"}, before: func(w *world) { w.invalid["c-practice/known"] = true }, status: 403, code: "forbidden", outcome: ledger.OutcomeDenied, reason: ledger.ReasonNotAllowed, cause: "revoked"},
		"revoked":             {ask: ask{target: "/fixed", as: "practice"}, before: func(w *world) { w.invalid["c-practice"] = true }, status: 403, code: "forbidden", outcome: ledger.OutcomeDenied, reason: ledger.ReasonNotAllowed, cause: "revoked"},
		"revoked for insurer": {ask: ask{target: "/fixed", as: "practice"}, before: func(w *world) { w.invalid[querschott.CredentialID(one)] = true }, status: 403, code: "forbidden", outcome: ledger.OutcomeDenied, reason: ledger.ReasonNotAllowed, cause: "revoked"},
		"wrong role":          {ask: ask{target: "/own", as: "clerk"}, status: 403, code: "forbidden", outcome: ledger.OutcomeDenied, reason: ledger.ReasonNotAllowed, cause: "not-allowed"},
		"foreign insurer":     {ask: ask{target: "/desk/" + string(one), as: "clerk"}, status: 403, code: "forbidden", outcome: ledger.OutcomeDenied, reason: ledger.ReasonNotAllowed, cause: "foreign-insurer"},
		"foreign person":      {ask: ask{target: "/found/x?p=" + string(kvnr(2)), as: "insured"}, status: 403, code: "forbidden", outcome: ledger.OutcomeDenied, reason: ledger.ReasonNotAllowed, cause: "foreign-person"},
		"unknown insurer":     {ask: ask{target: "/desk/999999999/x", as: "practice"}, status: 404, code: "not-found", outcome: ledger.OutcomeFailed, reason: ledger.ReasonNotThere, cause: "not-there"},
		"no insurer":          {ask: ask{target: "/head", as: "practice"}, status: 404, code: "not-found", outcome: ledger.OutcomeFailed, reason: ledger.ReasonNotThere, cause: "not-there"},
		"two tenant headers":  {ask: ask{target: "/head", as: "practice", header: http.Header{"X-Insurer": {string(one), string(two)}}}, status: 400, code: "invalid", outcome: ledger.OutcomeDenied, reason: ledger.ReasonInvalidInput, cause: "invalid-input"},
		"the same twice":      {ask: ask{target: "/head", as: "practice", header: http.Header{"X-Insurer": {string(one)}, "X_insurer": {string(one)}}}, status: 400, code: "invalid", outcome: ledger.OutcomeDenied, reason: ledger.ReasonInvalidInput, cause: "invalid-input"},
		"a list":              {ask: ask{target: "/head", as: "practice", header: http.Header{"X-Insurer": {string(one) + ", " + string(two)}}}, status: 400, code: "invalid", outcome: ledger.OutcomeDenied, reason: ledger.ReasonInvalidInput, cause: "invalid-input"},
		"locator refuses":     {ask: ask{target: "/found/bad", as: "practice"}, status: 400, code: "invalid", outcome: ledger.OutcomeDenied, reason: ledger.ReasonInvalidInput, cause: "invalid-input"},
		"bad query":           {ask: ask{target: "/fixed?a=%zz", as: "practice"}, status: 400, code: "invalid", cause: "invalid-input", unknown: true},
		"semicolon query":     {ask: ask{target: "/fixed?a=1;b=2", as: "practice"}, status: 400, code: "invalid", cause: "invalid-input", unknown: true},
		"body too large":      {ask: ask{method: "POST", target: "/desk/" + string(one), as: "practice", body: strings.NewReader(strings.Repeat("x", 1001))}, status: 413, code: "too-large", cause: "invalid-input", unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.watch.Store(true)
			if tc.before != nil {
				tc.before(w)
			}
			got := w.ask(tc.ask)
			code := got.member("code")
			if strings.HasPrefix(tc.ask.target, "/vsd/") {
				code = got.member("error")
				if got.header.Get("Zeta-Error-Origin") != "pep" || got.header.Get("Content-Type") != "application/json" {
					t.Errorf("the headers are %v", got.header)
				}
			} else if got.header.Get("Content-Type") != "application/problem+json" || got.header.Get("Zeta-Error-Origin") != "" {
				t.Errorf("the headers are %v", got.header)
			}
			if got.status != tc.status || code != tc.code {
				t.Errorf("got %v, want %d %s", got, tc.status, tc.code)
			}
			if got.header.Get("X-Request-Id") == "" || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("the headers are %v", got.header)
			}
			if (got.status == 401) != (got.header.Get("Www-Authenticate") != "") || (got.status == 405) != (got.header.Get("Allow") != "") {
				t.Errorf("the headers are %v", got.header)
			}
			entries, events := w.take(), w.heard()
			if len(events) != 1 || events[0].Cause != tc.cause || events[0].Status != tc.status || events[0].Records != 0 {
				t.Errorf("the events are %+v, want one with cause %s", events, tc.cause)
			}
			if len(w.seen) != 0 {
				t.Error("the service saw the request")
			}
			if tc.unknown {
				if len(entries) != 0 {
					t.Errorf("the entries are %+v, want none yet", entries)
				}
				w.watch.Store(false) // the answer has left
				w.srv.settle(t.Context())
				entries = w.take()
				if len(entries) != 1 || detail(entries[0], "count") != "1" || detail(entries[0], "network") != "127.0.0.1/32" || detail(entries[0], "cause") != tc.cause {
					t.Errorf("the minute's entries are %+v", entries)
				}
				return
			}
			if len(entries) != 1 || entries[0].Kind != ledger.KindAttempt || entries[0].Outcome != tc.outcome || entries[0].Reason != tc.reason ||
				entries[0].Actor == "" || entries[0].Records != 0 || entries[0].Action != ledger.ActionRead {
				t.Errorf("the entries are %+v", entries)
			}
		})
	}
}

func TestDoorTable(t *testing.T) {
	for _, tc := range []struct {
		state  querschott.DoorState
		method string
		route  string
		status int
		code   string
	}{
		{querschott.Open, "GET", "desk", 200, ""},
		{querschott.Open, "POST", "desk", 200, ""},
		{querschott.Open, "POST", "queue", 200, ""},
		{querschott.ReadOnly, "GET", "desk", 200, ""},
		{querschott.ReadOnly, "HEAD", "desk", 200, ""},
		{querschott.ReadOnly, "POST", "desk", 503, "door-held"},
		{querschott.ReadOnly, "POST", "queue", 202, ""},
		{querschott.Hold, "GET", "desk", 503, "door-held"},
		{querschott.Hold, "GET", "queue", 503, "door-held"},
		{querschott.Hold, "POST", "desk", 503, "door-held"},
		{querschott.Hold, "POST", "queue", 202, ""},
		{querschott.Closed, "GET", "desk", 503, "door-closed"},
		{querschott.Closed, "POST", "desk", 503, "door-closed"},
		{querschott.Closed, "POST", "queue", 503, "door-closed"},
	} {
		t.Run(tc.state.String()+" "+tc.method+" "+tc.route, func(t *testing.T) {
			w := open(t)
			w.watch.Store(true)
			c := querschott.Compartment{Insurer: one, Service: querschott.Desk}
			w.move(c, tc.state)
			got := w.ask(ask{method: tc.method, target: "/" + tc.route + "/" + string(one), as: "practice"})
			if got.status != tc.status || got.member("code") != tc.code {
				t.Errorf("got %v, want %d %s", got, tc.status, tc.code)
			}
			entries := w.take()
			if len(entries) != 1 || entries[0].Epoch != 8 {
				t.Fatalf("the entries are %+v", entries)
			}
			if tc.status == 503 {
				// One minute and half a minute of jitter.
				if got.header.Get("Retry-After") != "90" || got.member("incident") != "VF-2026-001" || got.member("status_page") != "https://status.example/#"+string(one)+"-desk" {
					t.Errorf("the refusal is %v %v", got, got.header)
				}
				if entries[0].Outcome != ledger.OutcomeDenied || entries[0].Reason != ledger.ReasonDoor {
					t.Errorf("the entry is %+v", entries[0])
				}
			}
			if other := w.ask(ask{method: tc.method, target: "/" + tc.route + "/" + string(two), as: "practice"}); other.status != 200 {
				t.Errorf("the other insurer is refused: %v", other)
			}
		})
	}
}

// A closed door of VSDM: ZETA's form, no 404, no 401; what the standard wants answered before the door is.
func TestDoorInZETA(t *testing.T) {
	w := open(t)
	w.move(querschott.Compartment{Insurer: one, Service: querschott.VSDM}, querschott.Closed)
	popp := string(one) + "/" + string(kvnr(1))
	got := w.ask(ask{target: "/vsd/v1/bundle", as: "practice", popp: popp})
	if got.status != 503 || got.member("error") != "temporarily_unavailable" || got.member("error_uri") != "https://status.example/#"+string(one)+"-vsdm" ||
		!strings.Contains(got.member("error_description"), "VF-2026-001") || got.header.Get("Retry-After") != "90" || got.header.Get("Zeta-Error-Origin") != "pep" {
		t.Errorf("got %v %v", got, got.header)
	}
	if e := w.take(); len(e) != 1 || e[0].Person != kvnr(1) || e[0].Data != ledger.DataInsured || e[0].Purpose != ledger.PurposeTreatment {
		t.Errorf("the entry is %+v", e)
	}
	if got := w.ask(ask{target: "/vsd/v1/bundle?early=1", as: "practice", popp: popp}); got.status != 400 || got.body != "79401" {
		t.Errorf("got %v, want the service's own error", got)
	}
	if e := w.take(); len(e) != 1 || e[0].Outcome != ledger.OutcomeDenied || e[0].Kind != ledger.KindAttempt {
		t.Errorf("the entry is %+v", e)
	}
}

// A method that the route does not have is refused before anybody is identified, in the standard's words, and whoever asks learns
// the same: nothing of persons, tokens or doors.
func TestMethodBeforeToken(t *testing.T) {
	w := open(t)
	popp := string(one) + "/" + string(kvnr(1))
	for _, method := range []string{"POST", "HEAD", "PUT", "DELETE", "OPTIONS"} {
		for _, state := range []querschott.DoorState{querschott.Open, querschott.Closed} {
			w.move(querschott.Compartment{Insurer: one, Service: querschott.VSDM}, state)
			for _, who := range []ask{{}, {as: "nobody"}, {as: "practice"}, {as: "practice", popp: popp}} {
				who.method, who.target, who.header = method, "/vsd/v1/bundle", http.Header{"Accept": {"x/y"}}
				got := w.ask(who)
				want := "79040 x/y"
				if method == "HEAD" {
					want = ""
				}
				if got.status != 405 || got.body != want || got.header.Get("Allow") != "GET" {
					t.Errorf("%s as %q, door %s: got %v %v", method, who.as, state, got, got.header)
				}
			}
		}
	}
	if e := w.take(); len(e) != 0 {
		t.Errorf("somebody was identified: %+v", e)
	}
	if got := w.ask(ask{target: "/vsd/v1/bundle"}); got.status != 401 {
		t.Errorf("GET without a token: %v", got)
	}
}

// An insurer that is not of this platform reaches the service, which has no compartment to look into.
func TestUnplaced(t *testing.T) {
	w := open(t)
	for _, popp := range []string{"999999999/A123456789", "x/y", "/"} {
		got := w.ask(ask{target: "/vsd/v1/bundle", as: "practice", popp: popp})
		if got.status != 200 || w.last().Compartment.Insurer != "" {
			t.Errorf("%s: got %v for %v", popp, got, w.last().Compartment)
		}
		if e := w.take(); len(e) != 1 || e[0].Compartment != (querschott.Compartment{Service: querschott.VSDM}) {
			t.Errorf("the entry is %+v", e)
		}
	}
	w.serve = func(context.Context, *gate.Request) (*service.Answer, error) {
		return &service.Answer{Status: 200, Body: []byte("secret"), Facts: service.Facts{Outcome: ledger.OutcomeSuccess, Records: 1}}, nil
	}
	got := w.ask(ask{target: "/vsd/v1/bundle", as: "practice", popp: "999999999/A123456789"})
	if got.status != 500 || strings.Contains(got.body, "secret") {
		t.Errorf("an answer about records of nobody got out: %v", got)
	}
}

func TestPublic(t *testing.T) {
	w := open(t)
	if got := w.ask(ask{target: "/public"}); got.status != 200 || got.body != "hello" {
		t.Errorf("got %v", got)
	}
	if e := w.take(); len(e) != 0 {
		t.Errorf("the entries are %+v", e)
	}
	w.serve = func(context.Context, *gate.Request) (*service.Answer, error) {
		return &service.Answer{Status: 200, Body: []byte("secret"), Facts: read(kvnr(1))}, nil
	}
	if got := w.ask(ask{target: "/public"}); got.status != 500 || strings.Contains(got.body, "secret") {
		t.Errorf("a public route gave out a record: %v", got)
	}
}

func TestTenants(t *testing.T) {
	w := open(t)
	for name, tc := range map[string]struct {
		ask  ask
		want querschott.IK
	}{
		"path":    {ask{target: "/desk/" + string(two), as: "practice"}, two},
		"header":  {ask{target: "/head", as: "practice", header: http.Header{"X-Insurer": {string(two)}}}, two},
		"host":    {ask{host: "one.example", target: "/x", as: "practice"}, one},
		"caller":  {ask{target: "/own", as: "insured"}, one},
		"route":   {ask{target: "/fixed", as: "practice"}, one},
		"locator": {ask{target: "/found/x", as: "practice"}, one},
	} {
		if got := w.ask(tc.ask); got.status != 200 || w.last().Compartment.Insurer != tc.want {
			t.Errorf("%s: got %v for %v, want %s", name, got, w.last().Compartment, tc.want)
		}
	}
	w.take()
	w.ask(ask{target: "/found/odd", as: "practice"})
	if e := w.take(); len(e) != 1 || detail(e[0], "request") != "unknown" {
		t.Errorf("a request that no rule describes is recorded as %+v", e)
	}
}

// Every insurer's credential against every other insurer's compartment: nothing gets through, and each attempt is recorded.
func TestCrossTenant(t *testing.T) {
	w := open(t)
	w.person("clerk1", querschott.RoleStaff, one, "")
	tried := 0
	for _, as := range []struct {
		name string
		own  querschott.IK
	}{{"clerk", two}, {"clerk1", one}} {
		for _, ik := range []querschott.IK{one, two} {
			for _, a := range []ask{
				{target: "/desk/" + string(ik)},
				{method: "POST", target: "/desk/" + string(ik)},
				{method: "HEAD", target: "/desk/" + string(ik)},
				{target: "/head", header: http.Header{"X-Insurer": {string(ik)}}},
				{target: "/vsd/v1/bundle", popp: string(ik) + "/" + string(kvnr(1))},
			} {
				a.as = as.name
				w.take()
				got := w.ask(a)
				e := w.take()
				if len(e) != 1 || e[0].Compartment.Insurer != ik {
					t.Errorf("%s at %s: the entries are %+v", as.name, ik, e)
					continue
				}
				if want := map[bool]int{true: 200, false: 403}[ik == as.own]; got.status != want {
					t.Errorf("%s at %s: got %v", as.name, ik, got)
				}
				if ik != as.own && (e[0].Outcome != ledger.OutcomeDenied || detail(e[0], "cause") != "foreign-insurer" || detail(e[0], "caller-insurer") != string(as.own)) {
					t.Errorf("the attempt is recorded as %+v", e[0])
				}
				tried++
			}
		}
	}
	if tried != 20 {
		t.Errorf("%d tried, want 20", tried)
	}
}

// A service that answers about another person than the caller: the answer stays here.
func TestForeignPersonInTheAnswer(t *testing.T) {
	w := open(t)
	for name, facts := range map[string]service.Facts{
		"one":  read(kvnr(2)),
		"many": {Action: ledger.ActionSearch, Outcome: ledger.OutcomeSuccess, Records: 2, Persons: []querschott.KVNR{kvnr(1), kvnr(2)}},
	} {
		w.set(func() {
			w.serve = func(context.Context, *gate.Request) (*service.Answer, error) {
				return &service.Answer{Status: 200, Body: []byte("secret"), Facts: facts}, nil
			}
		})
		got := w.ask(ask{target: "/own", as: "insured"})
		if got.status != 403 || strings.Contains(got.body, "secret") {
			t.Errorf("%s: got %v", name, got)
		}
		if e := w.take(); len(e) != 1 || e[0].Outcome != ledger.OutcomeDenied || detail(e[0], "cause") != "foreign-person" || e[0].Records != 0 {
			t.Errorf("%s: the entries are %+v", name, e)
		}
	}
}

// A ledger that fails, with or without having done it: the access does not happen.
func TestLedgerFails(t *testing.T) {
	broken := errors.New("disk on fire with " + kvnr(1).Reveal())
	for name, set := range map[string]func(*world){
		"before": func(w *world) { w.before = func() error { return broken } },
		"after":  func(w *world) { w.after = func() error { return broken } },
	} {
		for _, a := range []ask{
			{target: "/vsd/v1/bundle", as: "practice", popp: string(one) + "/" + string(kvnr(1))},
			{method: "POST", target: "/desk/" + string(one), as: "practice"},
			{target: "/desk/" + string(one), as: "clerk"}, // refused anyway
		} {
			w := open(t)
			w.watch.Store(true)
			w.set(func() { set(w) })
			got := w.ask(a)
			if got.status != 503 || strings.Contains(got.body, "hello") || strings.Contains(got.body, "fire") || got.header.Get("Retry-After") != "15" {
				t.Errorf("%s, %s: got %v", name, a.target, got)
			}
			events := w.heard()
			if len(events) != 1 || events[0].Outcome != "failed" || events[0].Records != 0 || events[0].Cause != "own-failure" {
				t.Errorf("%s, %s: the events are %+v", name, a.target, events)
			}
		}
	}
}

func TestLedgerHalts(t *testing.T) {
	w := newWorld(t)
	w.before = func() error { return querschott.ErrHalt }
	run(t, w, func() {
		if got := w.ask(ask{target: "/fixed", as: "practice"}); got.status != 503 {
			t.Errorf("got %v", got)
		}
	}, querschott.ErrHalt)
}

// Failures of services: what they say to callers, and what not.
func TestServiceFails(t *testing.T) {
	secret := kvnr(3).Reveal()
	for name, tc := range map[string]struct {
		serve  func(context.Context, *gate.Request) (*service.Answer, error)
		status int
		code   string
		reason ledger.ReasonKind
	}{
		"panic":     {func(context.Context, *gate.Request) (*service.Answer, error) { panic(secret) }, 500, "internal", ledger.ReasonOwnFailure},
		"own error": {func(context.Context, *gate.Request) (*service.Answer, error) { return nil, errors.New(secret) }, 500, "internal", ledger.ReasonOwnFailure},
		"not there": {func(context.Context, *gate.Request) (*service.Answer, error) {
			return nil, querschott.Refuse(querschott.CodeNotFound, "no such case")
		}, 404, "not-found", ledger.ReasonNotThere},
		"upstream": {func(context.Context, *gate.Request) (*service.Answer, error) {
			return nil, querschott.Refuse(querschott.CodeUpstream, "no answer")
		}, 502, "upstream-failed", ledger.ReasonOwnFailure},
		"no room": {func(context.Context, *gate.Request) (*service.Answer, error) {
			return nil, querschott.Refuse(querschott.CodeNoRoom, "full")
		}, 503, "no-room", ledger.ReasonNoRoom},
		"odd code": {func(context.Context, *gate.Request) (*service.Answer, error) {
			return nil, querschott.Refuse("strange", "x")
		}, 500, "internal", ledger.ReasonOwnFailure},
		"nothing":    {func(context.Context, *gate.Request) (*service.Answer, error) { return nil, nil }, 500, "internal", ledger.ReasonOwnFailure},
		"odd status": {func(context.Context, *gate.Request) (*service.Answer, error) { return &service.Answer{Status: 7}, nil }, 500, "internal", ledger.ReasonOwnFailure},
		"blames us": {func(context.Context, *gate.Request) (*service.Answer, error) {
			return &service.Answer{Status: 400, Header: http.Header{"Zeta-Cause": {"Proxy"}}, Body: []byte(secret)}, nil
		}, 500, "upstream-failed", ledger.ReasonOwnFailure},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.serve = tc.serve
			got := w.ask(ask{target: "/fixed", as: "practice"})
			if got.status != tc.status || got.member("code") != tc.code || strings.Contains(got.body, secret) || got.header.Get("Zeta-Cause") != "" {
				t.Errorf("got %v", got)
			}
			if tc.code == "internal" && !strings.Contains(got.body, got.header.Get("X-Request-Id")) {
				t.Errorf("the answer names no reference: %v", got)
			}
			if e := w.take(); len(e) != 1 || e[0].Kind != ledger.KindAttempt || e[0].Reason != tc.reason || e[0].RequestID != got.header.Get("X-Request-Id") {
				t.Errorf("the entries are %+v", e)
			}
			if name == "panic" && (w.srv.Stats().Panics != 1 || strings.Contains(w.log.String(), secret)) {
				t.Errorf("the log says %s", w.log.String())
			}
		})
	}
}

// An answer's headers are the service's, but for what is the gate's to say.
func TestAnswerHeaders(t *testing.T) {
	w := open(t)
	w.serve = func(context.Context, *gate.Request) (*service.Answer, error) {
		return &service.Answer{Status: 304, Header: http.Header{
			"Etag": {`"x"`}, "VSDM-Pz": {"p"}, "Connection": {"close, X-Hop"}, "X-Hop": {"1"}, "Transfer-Encoding": {"chunked"}, "Content-Length": {"99"},
			"X-Request-Id": {"theirs"}, "Set-Cookie": {"a=b", "c=d"}, "Cache-Control": {"max-age=5"}, "Zeta-User-Info": {"x"},
		}, Facts: read("")}, nil
	}
	got := w.ask(ask{target: "/fixed", as: "practice"})
	if got.status != 304 || got.header.Get("Etag") != `"x"` || got.header.Get("Vsdm-Pz") != "p" || got.header.Get("X-Hop") != "" ||
		got.header.Get("X-Request-Id") == "theirs" || got.header.Get("Cache-Control") != "max-age=5" || got.header.Get("Zeta-User-Info") != "" ||
		!slices.Equal(got.header["Set-Cookie"], []string{"a=b", "c=d"}) {
		t.Errorf("got %v %v", got, got.header)
	}
}

func TestHTTP2(t *testing.T) {
	w := open(t)
	c := w.client(true)
	resp, err := c.Do(ask{method: "POST", target: "/desk/" + string(one), as: "practice", body: strings.NewReader("x")}.request(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 {
		t.Errorf("got %v", resp)
	}
}

// The requests of one connection that asks for a host in its handshake are for this host, where the host selects the insurer.
func TestMisdirected(t *testing.T) {
	w := open(t)
	head := "GET /x HTTP/1.1\r\nHost: one.example\r\nAuthorization: Test practice\r\nConnection: close\r\n\r\n"
	if got := w.raw(head); !strings.HasPrefix(got, "HTTP/1.1 421 ") {
		t.Errorf("got %q", got)
	}
}
