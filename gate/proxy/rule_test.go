package proxy

import (
	"bytes"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml" //nolint:depguard // the example must be readable with what package node reads it with
	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
)

// tenants are settings that look for the insurer in every place there is.
func tenants(s *Settings) {
	s.Insurer = []string{"path:insurer", "query:insurer", "header:X-Insurer", "host:{insurer}.fhir.example"}
	s.Insurers = []string{"kasse-a=" + string(one), "kasse-b=" + string(two)}
	s.Public = ""
	s.Rules = []Rule{
		{Name: "tenant", Path: "/fhir/{insurer}/Patient/{person}", Person: []string{"path:person"}, Count: "fhir"},
		{Name: "plain", Path: "/fhir/Patient/{person}", Count: "fhir"},
	}
}

func TestCompartment(t *testing.T) {
	w := newWorldAt(t, "http://127.0.0.1:1/fhir", tenants)
	for _, tc := range []struct {
		name, target, host string
		headers            []string
		want               querschott.IK
		code               querschott.Code
	}{
		{"path", "/fhir/kasse-a/Patient/1", "", nil, one, ""},
		{"path, escaped", "/fhir/kasse%2Da/Patient/1", "", nil, one, ""},
		{"path, another case", "/FHIR/KASSE-A/patient/1", "", nil, one, ""},
		{"final slash", "/fhir/kasse-a/Patient/1/", "", nil, one, ""},
		{"query", "/fhir/Patient/1?insurer=kasse-b", "", nil, two, ""},
		{"query, another case", "/fhir/Patient/1?Insurer=kasse-b", "", nil, two, ""},
		{"header", "/fhir/Patient/1", "", []string{"X-Insurer", "kasse-b"}, two, ""},
		{"host", "/fhir/Patient/1", "kasse-b.fhir.example", nil, two, ""},
		{"host with port, final dot, another case", "/fhir/Patient/1", "Kasse-B.FHIR.example.:8443", nil, two, ""},
		{"other host", "/fhir/Patient/1", "fhir.example", nil, "", ""},
		{"nowhere", "/fhir/Patient/1", "", nil, "", ""},
		{"all agree", "/fhir/kasse-a/Patient/1?insurer=kasse-a", "kasse-a.fhir.example", []string{"X-Insurer", "kasse-a"}, one, ""},
		{"no rule fits", "/other?insurer=kasse-b", "", nil, two, ""},

		{"path and header", "/fhir/kasse-a/Patient/1", "", []string{"X-Insurer", "kasse-b"}, "", querschott.CodeInvalid},
		{"path and host", "/fhir/kasse-a/Patient/1", "kasse-b.fhir.example", nil, "", querschott.CodeInvalid},
		{"parameter twice", "/fhir/Patient/1?insurer=kasse-a&insurer=kasse-b", "", nil, "", querschott.CodeInvalid},
		{"parameter twice, another case", "/fhir/Patient/1?insurer=kasse-a&INSURER=kasse-b", "", nil, "", querschott.CodeInvalid},
		{"parameter twice, escaped", "/fhir/Patient/1?insurer=kasse-a&%69nsurer=kasse-b", "", nil, "", querschott.CodeInvalid},
		{"list in a header", "/fhir/Patient/1", "", []string{"X-Insurer", "kasse-a, kasse-b"}, "", querschott.CodeUnknownHere},
		{"semicolon", "/fhir/Patient/1?insurer=kasse-a;insurer=kasse-b", "", nil, "", querschott.CodeInvalid},
		{"an IK where names are used", "/fhir/" + string(one) + "/Patient/1", "", nil, "", querschott.CodeUnknownHere},
		{"unknown", "/fhir/kasse-x/Patient/1", "", nil, "", querschott.CodeUnknownHere},
		{"two labels", "/fhir/Patient/1", "a.kasse-b.fhir.example", nil, "", ""},
		{"encoded slash", "/fhir/kasse-a%2FPatient/1", "", nil, "", querschott.CodeInvalid},
		{"encoded backslash", "/fhir/kasse-a%5C..%5Ckasse-b/Patient/1", "", nil, "", querschott.CodeInvalid},
		{"dots", "/fhir/kasse-a/../kasse-b/Patient/1", "", nil, "", querschott.CodeInvalid},
		{"encoded dots", "/fhir/kasse-a/%2e%2E/kasse-b/Patient/1", "", nil, "", querschott.CodeInvalid},
		{"one dot", "/fhir/./kasse-a/Patient/1", "", nil, "", querschott.CodeInvalid},
		{"two slashes", "/fhir//kasse-a/Patient/1", "", nil, "", querschott.CodeInvalid},
		{"escaped twice", "/fhir/kasse-a%252FPatient/1", "", nil, "", querschott.CodeInvalid},
		{"parameter of a segment", "/fhir;x=/kasse-a/Patient/1", "", nil, "", querschott.CodeInvalid},
		{"escaped semicolon", "/fhir/kasse-a%3Bx/Patient/1", "", nil, "", querschott.CodeInvalid},
		{"nul", "/fhir/kasse-a%00/Patient/1", "", nil, "", querschott.CodeInvalid},
		{"line break", "/fhir/kasse-a%0d%0a/Patient/1", "", nil, "", querschott.CodeInvalid},
		{"no UTF-8", "/fhir/kasse-a%ff/Patient/1", "", nil, "", querschott.CodeInvalid},
		{"overlong slash", "/fhir/kasse-a%c0%afPatient/1", "", nil, "", querschott.CodeInvalid},
		{"wide slash", "/fhir/kasse-a%EF%BC%8FPatient/1", "", nil, "", querschott.CodeInvalid},
		{"escaped question mark", "/fhir/kasse-a%3Finsurer=kasse-b/Patient/1", "", nil, "", querschott.CodeInvalid},
		{"long", "/fhir/" + strings.Repeat("a", 9000), "", nil, "", querschott.CodeInvalid},
		{"many segments", "/fhir" + strings.Repeat("/a", 100), "", nil, "", querschott.CodeInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", tc.target, nil)
			if tc.host != "" {
				r.Host = tc.host
			}
			for i := 0; i < len(tc.headers); i += 2 {
				r.Header.Add(tc.headers[i], tc.headers[i+1])
			}
			got, err := w.proxy.Compartment(r)
			if tc.code != "" {
				if err == nil || querschott.CodeOf(err) != tc.code {
					t.Errorf("got %v, %v; want %s", got, err, tc.code)
				}
				return
			}
			if want := (querschott.Compartment{Insurer: tc.want, Service: querschott.EPA}); err != nil || got != want {
				t.Errorf("got %v, %v; want %v", got, err, want)
			}
		})
	}
	r := httptest.NewRequest("GET", "/fhir/Patient/1", nil)
	r.Header.Add("X-Insurer", "kasse-a")
	r.Header.Add("X-Insurer", "kasse-b")
	if got, err := w.proxy.Compartment(r); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("a header twice: %v, %v", got, err)
	}
}

func TestFirstRuleWins(t *testing.T) {
	s := Default("http://127.0.0.1/fhir")
	s.Rules = []Rule{
		{Name: "paged", Path: "/fhir", Has: []string{"_page"}, Count: "none"},
		{Name: "read", Methods: []string{"GET"}, Path: "/fhir/{type}/{id}", Count: "none"},
		{Name: "write", Methods: []string{"PUT", "HEAD"}, Path: "/fhir/{type}/{id}", Count: "none"},
		{Name: "rest", Path: "/fhir/{rest...}", Count: "none"},
		{Name: "never", Path: "/fhir/a/b", Count: "none"},
	}
	rs, err := s.compile()
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"GET /fhir?_page=1": "paged", "GET /fhir?_PAGE=1": "paged", "GET /fhir": "rest", "GET /fhir/a/b": "read", "PUT /fhir/a/b": "write",
		"HEAD /fhir/a/b": "read", "POST /fhir/a/b": "rest", "GET /fhir/a/b/c/d": "rest", "GET /": "", "GET /fhirs": "",
	} {
		method, path, _ := strings.Cut(target, " ")
		v, err := rs.look(httptest.NewRequest(method, path, nil))
		if err != nil || v.rule.Name != want || v.known != (want != "") {
			t.Errorf("%s fits %q, %v; want %q", target, v.rule.Name, err, want)
		}
	}
}

func TestSettingsThatAreWrong(t *testing.T) {
	rule := func(change func(*Rule)) func(*Settings) {
		return func(s *Settings) { change(&s.Rules[1]) }
	}
	for name, change := range map[string]func(*Settings){
		"upstream":                 func(s *Settings) { s.Upstream = "ftp://x" },
		"upstream with password":   func(s *Settings) { s.Upstream = "https://a:b@x/" },
		"upstream with dots":       func(s *Settings) { s.Upstream = "https://x/a/../b" },
		"public":                   func(s *Settings) { s.Public = "gate.example" },
		"rewrite_links":            func(s *Settings) { s.Links = true },
		"service":                  func(s *Settings) { s.Service = "eau" },
		"unmatched":                func(s *Settings) { s.Unmatched = "maybe" },
		"unreadable":               func(s *Settings) { s.Unreadable = "" },
		"host":                     func(s *Settings) { s.Headers.Host = "" },
		"certificate without key":  func(s *Settings) { s.TLS.Certificate = "x" },
		"CA that is not there":     func(s *Settings) { s.TLS.CA = "testdata/none" },
		"timeout":                  func(s *Settings) { s.Timeouts.Idle = 0 },
		"connections":              func(s *Settings) { s.Limits.Connections = 0 },
		"buffer":                   func(s *Settings) { s.Limits.Buffer = 1 },
		"answer":                   func(s *Settings) { s.Limits.Answer = 1 },
		"insurers":                 func(s *Settings) { s.Insurers = []string{"a=1"} },
		"insurers twice":           func(s *Settings) { s.Insurers = []string{"a=" + string(one), "A=" + string(two)} },
		"insurer in the body":      func(s *Settings) { s.Insurer = []string{"json:/insurer"} },
		"insurer nowhere":          func(s *Settings) { s.Insurer = []string{"insurer"} },
		"insurer's host":           func(s *Settings) { s.Insurer = []string{"host:a.example"} },
		"insurer's header":         func(s *Settings) { s.Insurer = []string{"header:X_Insurer"} },
		"too many rules":           func(s *Settings) { s.Rules = make([]Rule, 1000) },
		"rule without name":        rule(func(r *Rule) { r.Name = "" }),
		"rule twice":               rule(func(r *Rule) { r.Name = "capabilities" }),
		"rule without path":        rule(func(r *Rule) { r.Path = "" }),
		"path with dots":           rule(func(r *Rule) { r.Path = "/a/../b" }),
		"rest in the middle":       rule(func(r *Rule) { r.Path = "/{a...}/{person}" }),
		"half a variable":          rule(func(r *Rule) { r.Path = "/{a/{person}" }),
		"person not in path":       rule(func(r *Rule) { r.Person = []string{"path:who"} }),
		"pointer":                  rule(func(r *Rule) { r.Person = []string{"json:a"} }),
		"pointer's escape":         rule(func(r *Rule) { r.Person = []string{"json:/~2"} }),
		"XPath":                    rule(func(r *Rule) { r.Person = []string{"xpath:///["} }),
		"XPath that counts":        rule(func(r *Rule) { r.Count, r.Records = "xml", "count(//a)" }),
		"action":                   rule(func(r *Rule) { r.Action = "steal" }),
		"data":                     rule(func(r *Rule) { r.Data = "all" }),
		"purpose":                  rule(func(r *Rule) { r.Purpose = "fun" }),
		"fields":                   rule(func(r *Rule) { r.Fields = strings.Repeat("a", 100) }),
		"count":                    rule(func(r *Rule) { r.Count = "" }),
		"records for FHIR":         rule(func(r *Rule) { r.Records = "/entry" }),
		"persons for FHIR":         rule(func(r *Rule) { r.Persons = []string{"/a"} }),
		"no records":               rule(func(r *Rule) { r.Count = "json" }),
		"records for lines":        rule(func(r *Rule) { r.Count, r.Records = "lines", "/a" }),
		"records for one":          rule(func(r *Rule) { r.Count, r.Records = "one", "/a" }),
		"too many pointers":        rule(func(r *Rule) { r.Count, r.Persons = "lines", make([]string, 100) }),
		"insurer's rule in a body": rule(func(r *Rule) { r.Insurer = []string{"xpath://a"} }),
	} {
		s := Default("https://fhir.internal/fhir")
		change(&s)
		if _, err := New(Config{Settings: s}); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	s := Default("https://fhir.internal/fhir")
	if err := s.Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
}

func TestExample(t *testing.T) {
	text := Example("https://fhir.internal:8443/hapi/fhir")
	var got Settings
	if err := yaml.NewDecoder(bytes.NewReader([]byte(text)), yaml.Strict()).Decode(&got); err != nil {
		t.Fatalf("%s\n%s", yaml.FormatError(err, false, true), text)
	}
	want := Default("https://fhir.internal:8443/hapi/fhir")
	if diff := cmp.Diff(want, got, cmp.Transformer("empty", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
		t.Errorf("the example reads as something else (-want +got):\n%s", diff)
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[Settings](), reflect.TypeFor[TLSSettings](), reflect.TypeFor[HeaderSettings](), reflect.TypeFor[TimeoutSettings](),
		reflect.TypeFor[LimitSettings](), reflect.TypeFor[Rule](),
	} {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Tag.Get("doc") == "" || f.Tag.Get("json") != f.Tag.Get("yaml") {
				t.Errorf("%s.%s is not documented", typ.Name(), f.Name)
			}
			if !strings.Contains(text, f.Tag.Get("yaml")+":") {
				t.Errorf("the example says nothing of %s.%s", typ.Name(), f.Name)
			}
		}
	}
}
