package vsdm

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/wire/vsd"
)

const (
	jsonType = "application/fhir+json"
	xmlType  = "application/fhir+xml"
)

func TestNegotiation(t *testing.T) {
	const malformed, none = -2, -1
	for _, tc := range []struct {
		accept string
		want   int // place in formats
	}{
		{"", 0},
		{"  ", 0},
		{" , ,", 0},
		{jsonType, 0},
		{xmlType, 1},
		{"Application/FHIR+XML", 1},
		{"*/*", 0},
		{"application/*", 0},
		{jsonType + ", " + xmlType, 0},
		{xmlType + ", " + jsonType, 1},
		{xmlType + ";q=0.9, " + jsonType + ";q=0.8", 1},
		{xmlType + ";q=0.8, " + jsonType + ";q=0.9", 0},
		{xmlType + ";q=0.801," + jsonType + ";q=0.8", 1},
		{xmlType + " ; q=1.000 , " + jsonType + ";q=0.999", 1},
		{xmlType + ";Q=1", 1},
		{"*/*, " + xmlType, 1},                     // named more closely
		{"application/*, " + xmlType + ", */*", 1}, // named more closely
		{"*/*;q=0.1, " + xmlType + ";q=0.05", 0},
		{jsonType + ";q=0, */*", 1}, // all but JSON
		{"*/*;q=0, " + xmlType, 1},
		{xmlType + ";charset=utf-8", 1},
		{xmlType + `;charset="utf-8; q=0.1, \"x"`, 1},
		{xmlType + ";fhirVersion=4.0;q=0.5, " + jsonType + ";q=0.4", 1},
		{xmlType + ";;q=0.5;, " + jsonType + ";q=0.4", 1},
		{xmlType + ";q=0.5;ext;more=1", 1},
		{"text/html, " + xmlType + ";q=0.1", 1},
		{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 0},
		{"text/html", none},
		{"application/json", none},
		{"application/xml", none},
		{"text/*", none},
		{jsonType + ";q=0", none},
		{"*/*;q=0", none},
		{"*/*;q=0.000", none},
		{"json", malformed},
		{"/", malformed},
		{"application/", malformed},
		{"/fhir+json", malformed},
		{"*/fhir+json", malformed},
		{"application /fhir+json", malformed},
		{jsonType + " " + xmlType, malformed},
		{jsonType + ";q=2", malformed},
		{jsonType + ";q=1.001", malformed},
		{jsonType + ";q=0.1234", malformed},
		{jsonType + ";q=-1", malformed},
		{jsonType + ";q=.5", malformed},
		{jsonType + ";q=0,5", malformed},
		{jsonType + ";q=", malformed},
		{jsonType + ";q", malformed},
		{jsonType + ";charset", malformed},
		{jsonType + `;charset="utf-8`, malformed},
		{jsonType + `;charset="utf-8\`, malformed},
		{jsonType + ";charset=utf-8 x", malformed},
		{jsonType + ", \x00", malformed},
		{strings.Repeat("a", maxHeader+1), malformed},
	} {
		w := newWorld(t)
		w.insure(statutory, anna)
		r := w.request(statutory, anna)
		r.Header.Set("Accept", tc.accept)
		a := w.ask(r)
		switch {
		case tc.want == malformed && w.code(a) != vsd.InvalidHeader:
			t.Errorf("%q: %d, want it malformed", tc.accept, w.code(a))
		case tc.want == none && w.code(a) != vsd.UnsupportedMediaType:
			t.Errorf("%q: %d, want it unsupported", tc.accept, w.code(a))
		case tc.want >= 0 && (a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), formats[tc.want].MediaType())):
			t.Errorf("%q: %d, %s; want %s", tc.accept, a.Status, a.Header.Get("Content-Type"), formats[tc.want].MediaType())
		}
	}
}

func TestAcceptOverLines(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	r := w.request(statutory, anna)
	r.Header["Accept"] = []string{jsonType + ";q=0.5", xmlType}
	if a := w.ask(r); !strings.HasPrefix(a.Header.Get("Content-Type"), xmlType) {
		t.Errorf("two lines: %s", a.Header.Get("Content-Type"))
	}
	r.Header.Del("Accept")
	if a := w.ask(r); !strings.HasPrefix(a.Header.Get("Content-Type"), jsonType) {
		t.Errorf("no line: %s", a.Header.Get("Content-Type"))
	}
}

func TestIfNoneMatch(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	r := w.request(statutory, anna)
	quoted := w.ask(r).Header.Get("ETag")
	bare := strings.Trim(quoted, `"`)
	other := strings.Repeat("0", 64)
	for _, tc := range []struct {
		lines []string // nil: the header is missing
		want  int      // status
	}{
		{[]string{"0"}, 200},
		{[]string{`"0"`}, 200},
		{[]string{`W/"0"`}, 200},
		{[]string{quoted}, 304},
		{[]string{bare}, 304},
		{[]string{"W/" + quoted}, 304},
		{[]string{" " + quoted + "\t"}, 304},
		{[]string{other}, 200},
		{[]string{`"` + other + `"`}, 200},
		{[]string{`"` + other + `", ` + quoted}, 304},
		{[]string{other + "," + bare}, 304},
		{[]string{"0, " + bare}, 304},
		{[]string{other, quoted}, 304},
		{[]string{strings.ToUpper(quoted)}, 200}, // tags are compared octet by octet
		{[]string{`"rev-47"`}, 200},              // of another operator's service
		{[]string{`"", "ä,\", ` + quoted}, 304},  // odd, and yet tags
		{[]string{"*"}, 400},
		{[]string{`"*"`}, 200},
		{[]string{"00"}, 400},
		{[]string{"1"}, 400},
		{[]string{bare[:63]}, 400},
		{[]string{bare + "0"}, 400},
		{[]string{strings.Repeat("g", 64)}, 400},
		{[]string{`"` + bare}, 400},
		{[]string{bare + `"`}, 400},
		{[]string{"W/" + bare}, 304},
		{[]string{"W/0"}, 400},
		{[]string{"w/" + quoted}, 400},
		{[]string{quoted + " " + quoted}, 400},
		{[]string{quoted + "; x"}, 400},
		{[]string{","}, 400},
		{[]string{strings.Repeat(quoted+",", 100)}, 400}, // too long
		{nil, 428},
		{[]string{""}, 428},
		{[]string{" \t"}, 428},
	} {
		r := w.request(statutory, anna)
		r.Header["If-None-Match"] = tc.lines
		if tc.lines == nil {
			r.Header.Del("If-None-Match")
		}
		if a := w.ask(r); a.Status != tc.want {
			t.Errorf("%q: %d, want %d", tc.lines, a.Status, tc.want)
		}
	}
}

func TestProfileVersion(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	only10 := w.other(func(c *Config) { c.Versions = nil })
	for _, tc := range []struct {
		asked []string
		want  vsd.Code
	}{
		{[]string{"1.0"}, 0},
		{[]string{"1.1"}, 0},
		{nil, vsd.MissingProfileVersion},
		{[]string{""}, vsd.InvalidProfileVersion},
		{[]string{"1"}, vsd.InvalidProfileVersion},
		{[]string{"1.0.0"}, vsd.InvalidProfileVersion},
		{[]string{"1.00"}, vsd.InvalidProfileVersion},
		{[]string{" 1.0"}, vsd.InvalidProfileVersion},
		{[]string{"v1.0"}, vsd.InvalidProfileVersion},
		{[]string{"1.2"}, vsd.InvalidProfileVersion},
		{[]string{"x"}, vsd.InvalidProfileVersion},
		{[]string{"1.0", "1.0"}, vsd.InvalidProfileVersion},
		{[]string{"1.0", ""}, vsd.InvalidProfileVersion},
		{[]string{strings.Repeat("1.0", 1000) + "<script>"}, vsd.InvalidProfileVersion},
	} {
		r := w.request(statutory, anna)
		r.Query = url.Values{"profileVersion": tc.asked}
		if tc.asked == nil {
			r.Query = url.Values{}
		}
		a := w.ask(r)
		if got := w.code(a); got != tc.want {
			t.Errorf("%.40q: %d, want %d", tc.asked, got, tc.want)
		}
		if len(a.Body) > 8<<10 {
			t.Errorf("%.40q: an answer of %d bytes", tc.asked, len(a.Body))
		}
		want := tc.want
		if slices.Equal(tc.asked, []string{"1.1"}) {
			want = vsd.InvalidProfileVersion
		}
		if a, err := only10.Answer(t.Context(), r); err != nil || w.code(a) != want {
			t.Errorf("%.40q, of a service that has 1.0 only: %v, want %d", tc.asked, err, want)
		}
	}
}

// FuzzHeaders: whatever a caller writes into his headers and query is answered, by a rule, within bounds, and reads the same
// a second time.
func FuzzHeaders(f *testing.F) {
	f.Add(jsonType, "0", "1.0")
	f.Add(xmlType+";q=0.5;x=\"\\\"\",*/*;q=0", `W/"0", "`+strings.Repeat("0", 64)+`"`, "1.1")
	f.Add("*/*;q=1.0000", "*", "1.0.0")
	w := newWorld(f)
	w.insure(statutory, anna)
	f.Fuzz(func(t *testing.T, accept, match, version string) {
		r := w.request(statutory, anna)
		r.Header.Set("Accept", accept)
		r.Header.Set("If-None-Match", match)
		r.Query.Set("profileVersion", version)
		a, err := w.s.Answer(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := w.s.Answer(t.Context(), r)
		if err != nil || again.Status != a.Status || again.Header.Get("ETag") != a.Header.Get("ETag") {
			t.Errorf("a second time: %v", err)
		}
		switch a.Status {
		case http.StatusOK, http.StatusNotModified:
			if version != "1.0" && version != "1.1" {
				t.Errorf("version %q is answered", version)
			}
		case http.StatusBadRequest, http.StatusNotAcceptable, http.StatusPreconditionRequired:
			if len(a.Body) == 0 || len(a.Body) > 8<<10 {
				t.Errorf("an error of %d bytes", len(a.Body))
			}
			if a.Header.Get("VSDM-Pz") != "" {
				t.Error("an error with a check number")
			}
		default:
			t.Errorf("status %d", a.Status)
		}
		if i, err := negotiate(accept, mediaTypes); err != nil && (i != -1 || !errors.Is(err, errHeader)) || i >= len(mediaTypes) {
			t.Errorf("negotiate: %d, %v", i, err)
		}
	})
}

// FuzzIdentity: whatever the gate says of caller and person is answered by a rule, and comes back only shortened.
func FuzzIdentity(f *testing.F) {
	f.Add("GET", "1-2001", "1.2.276.0.76.4.50", "A123456780", "103169760")
	f.Add("PUT", "", "1.2..", "X", "12345678\x00")
	w := newWorld(f)
	w.insure(statutory, anna)
	f.Fuzz(func(t *testing.T, method, actor, profession, patient, insurer string) {
		r := w.request(statutory, anna)
		r.Method = method
		r.Caller.Actor, r.Presence.Actor = querschott.Actor(actor), querschott.Actor(actor)
		r.Caller.Profession = profession
		r.Presence.Patient, r.Presence.Insurer = patient, insurer
		a, err := w.s.Answer(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if a.Status == http.StatusOK && (method != http.MethodGet || patient != anna.Reveal() || insurer != string(statutory)) {
			t.Error("another person's record")
		}
		if a.Status != http.StatusOK && len(a.Body) > 8<<10 || a.Status == http.StatusInternalServerError {
			t.Errorf("status %d, %d bytes", a.Status, len(a.Body))
		}
		if a.Header.Get("Content-Type") != "application/problem+json" && !json.Valid(a.Body) {
			t.Errorf("not JSON: %q", a.Body)
		}
	})
}
