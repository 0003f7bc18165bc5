package vsdm

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/vsd"
)

// door stands for the refusal of a shut door among the codes.
const door vsd.Code = -1

// spoiling makes a fault in a request.
type spoiling struct {
	code  vsd.Code
	spoil func(*service.Request)
}

// spoilings are in the order in which errors are answered.
var spoilings = []spoiling{
	{vsd.InvalidOperation, func(r *service.Request) { r.Method = http.MethodPut }},
	{vsd.MissingUserInfo, func(r *service.Request) { r.Caller = querschott.Caller{} }},
	{vsd.MissingPresence, func(r *service.Request) { r.Presence = nil }},
	{vsd.InvalidUserInfo, func(r *service.Request) { r.Caller.Profession = "Arzt" }},
	{vsd.InvalidPresence, func(r *service.Request) { r.Presence.Method = "" }},
	{door, nil},
	{vsd.InvalidHeader, func(r *service.Request) { r.Header.Set("If-None-Match", "*") }},
	{vsd.UnsupportedMediaType, func(r *service.Request) { r.Header.Set("Accept", "application/morse-code") }},
	{vsd.MissingProfileVersion, func(r *service.Request) { r.Query.Del("profileVersion") }},
	{vsd.InvalidProfileVersion, func(r *service.Request) { r.Query.Set("profileVersion", "1.42") }},
	{vsd.MissingRecordVersion, func(r *service.Request) { r.Header.Del("If-None-Match") }},
	{vsd.InvalidIK, func(r *service.Request) {
		r.Presence.Insurer, r.Compartment.Insurer = "10345678X", ""
	}},
	{vsd.InvalidKVNR, func(r *service.Request) { r.Presence.Patient = "1234567890" }},
	{vsd.UnknownIK, func(r *service.Request) {
		r.Presence.Insurer, r.Compartment.Insurer = "103456789", ""
	}},
	{vsd.UnknownKVNR, func(r *service.Request) { r.Presence.Patient = missing.Reveal() }},
}

// judge asks with all the faults that are set, and compares the answer with the first of them.
func judge(t interface {
	Helper()
	Errorf(string, ...any)
	Fatal(...any)
}, w *world, format vsd.Format, set []bool,
) {
	t.Helper()
	r := w.request(statutory, anna)
	r.Header.Set("Accept", format.MediaType())
	want, shut := vsd.Code(0), false
	for i := len(spoilings) - 1; i >= 0; i-- { // who comes first in the order has the last word
		switch {
		case !set[i]:
		case spoilings[i].code == door:
			shut = true
		default:
			spoilings[i].spoil(r)
		}
	}
	for i, on := range set {
		if spoilings[i].code == door && r.Presence != nil && r.Compartment.Insurer == "" {
			continue // without an insurer there is no door
		}
		if on {
			want = spoilings[i].code
			break
		}
	}
	s := w.s
	if shut {
		s = w.other(func(c *Config) {
			c.Vault = w.neverOpen
		})
	}
	early, err := s.Early(w.t.Context(), r)
	if before := want > 0 && (want == vsd.InvalidOperation || want >= vsd.MissingUserInfo); err != nil || (early != nil) != before || before && w.code(early) != want {
		t.Errorf("%v: before the door: %v, %v; want %d", set, early, err, want)
	}
	a, err := s.Answer(w.t.Context(), r)
	switch {
	case want == door:
		if a != nil || querschott.CodeOf(err) != querschott.CodeDoorHeld {
			t.Errorf("%v: %v, %v; want the door's refusal", set, a, err)
		}
	case err != nil:
		t.Fatal(err)
	case w.code(a) != want:
		t.Errorf("%v: %d; want %d", set, w.code(a), want)
	}
}

// Of two faults the first in the order is answered, whatever the other one is.
func TestOrderOfTwoFaults(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	for _, format := range formats {
		for i := range spoilings {
			for j := range spoilings {
				set := make([]bool, len(spoilings))
				set[i], set[j] = true, true
				judge(t, w, format, set)
			}
		}
	}
}

// The same for any number of faults.
func TestOrderOfFaults(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	rapid.Check(t, func(rt *rapid.T) {
		format := rapid.SampledFrom(formats).Draw(rt, "format")
		judge(rt, w, format, rapid.SliceOfN(rapid.Bool(), len(spoilings), len(spoilings)).Draw(rt, "faults"))
	})
}

// xmlOutcome is what a test reads of an OperationOutcome in XML.
type xmlOutcome struct {
	XMLName xml.Name `xml:"http://hl7.org/fhir OperationOutcome"`
	ID      struct {
		Value string `xml:"value,attr"`
	} `xml:"id"`
	Issue []struct {
		Severity    value   `xml:"severity"`
		Code        value   `xml:"code"`
		System      value   `xml:"details>coding>system"`
		Error       value   `xml:"details>coding>code"`
		Display     value   `xml:"details>coding>display"`
		Text        value   `xml:"details>text"`
		Diagnostics value   `xml:"diagnostics"`
		Expression  []value `xml:"expression"`
	} `xml:"issue"`
}

type value struct {
	Value string `xml:"value,attr"`
}

// Every error of the standard is answered as it was published, in JSON and in XML.
func TestPublishedErrors(t *testing.T) {
	samples := map[string]outcome{}
	raw := map[string][]byte{}
	for name, data := range shared(t, "operation-outcomes") {
		var o outcome
		if err := json.Unmarshal(data, &o); err != nil {
			t.Fatal(err)
		}
		samples[o.Issue[0].Details.Coding[0].Code], raw[o.Issue[0].Details.Coding[0].Code] = o, data
		_ = name
	}
	w := newWorld(t, func(c *Config) { c.Versions = []vsd.Version{vsd.V11} })
	w.insure(statutory, anna)
	seen := 0
	for _, row := range vsd.Failures() {
		if row.Proxy {
			continue
		}
		seen++
		want, ok := samples[row.ErrorCode]
		if !ok {
			t.Errorf("%d has no published example", row.Code)
			continue
		}
		for _, format := range formats {
			a := w.provoke(row.Code, format)
			if a.Status != row.Status || w.code(a) != row.Code {
				t.Errorf("%d: status %d, %d", row.Code, a.Status, w.code(a))
				continue
			}
			if got := a.Header.Get("Allow"); (got == "GET") != (row.Code == vsd.InvalidOperation) {
				t.Errorf("%d: Allow %s", row.Code, got)
			}
			if got := a.Header.Get("Content-Type"); got != format.MediaType()+";charset=utf-8" && row.Code != vsd.UnsupportedMediaType && row.Code != vsd.InvalidHeader {
				t.Errorf("%d: Content-Type %s", row.Code, got)
			}
			if format == vsd.JSON || row.Code == vsd.UnsupportedMediaType || row.Code == vsd.InvalidHeader {
				compareJSON(t, raw[row.ErrorCode], a.Body)
				continue
			}
			compareXML(t, want, a.Body)
		}
	}
	if seen != 11 {
		t.Errorf("%d errors of the standard", seen)
	}
}

// provoke makes the request of a published example.
func (w *world) provoke(code vsd.Code, format vsd.Format) *service.Answer {
	w.t.Helper()
	r := w.request(statutory, anna)
	r.Query.Set("profileVersion", "1.1")
	r.Header.Set("Accept", format.MediaType())
	s := w.s
	for _, f := range spoilings {
		if f.code == code {
			f.spoil(r)
		}
	}
	switch code {
	case vsd.InvalidHeader:
		r.Header.Set("If-None-Match", "0")
		r.Header.Set("Accept", "fhir, json")
	case vsd.InvalidIK: // the published example has nine digits, of which the last one is wrong
		r.Presence.Insurer = "103456789"
		s = w.other(func(c *Config) { c.StrictCheckDigits = true })
	case vsd.InternalError:
		s = w.other(func(c *Config) { c.Secret = func(querschott.IK) ([]byte, error) { return nil, nil } })
	default:
	}
	a, err := s.Answer(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// other makes another service on the same cells.
func (w *world) other(change func(*Config)) *Service {
	w.t.Helper()
	cfg := w.cfg
	change(&cfg)
	s, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// published replaces the IK and the KVNR of the published example, whose check digits are wrong, by ours.
var published = strings.NewReplacer("A123456789", missing.Reveal(), "'103456789' nicht bekannt", "'"+string(statutory)+"' nicht bekannt")

func compareJSON(t *testing.T, want, got []byte) {
	t.Helper()
	var a, b map[string]any
	if err := json.Unmarshal([]byte(published.Replace(string(want))), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got, &b); err != nil {
		t.Fatal(err)
	}
	if id := b["id"]; id != "019aa696-ac5d-779a-8691-5f755f10deeb" {
		t.Errorf("the answer's id is %v, not that of the request", id)
	}
	delete(a, "id")
	delete(b, "id")
	if d := cmp.Diff(a, b); d != "" {
		t.Error(d)
	}
}

func compareXML(t *testing.T, want outcome, got []byte) {
	t.Helper()
	var o xmlOutcome
	if err := xml.Unmarshal(got, &o); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	i, j := want.Issue[0], o.Issue[0]
	list := func(fields ...string) string { return published.Replace(fmt.Sprintf("%q", fields)) }
	expressions := []string{}
	for _, e := range j.Expression {
		expressions = append(expressions, e.Value)
	}
	c := i.Details.Coding[0]
	a := list(append([]string{i.Severity, i.Code, c.System, c.Code, c.Display, i.Details.Text, i.Diagnostics}, i.Expression...)...)
	b := list(append([]string{
		j.Severity.Value, j.Code.Value, j.System.Value, j.Error.Value, j.Display.Value, j.Text.Value, j.Diagnostics.Value,
	}, expressions...)...)
	if d := cmp.Diff(a, b); d != "" {
		t.Error(d)
	}
}

// A caller's own values come back to him harmless, in both formats.
func TestEchoesAreHarmless(t *testing.T) {
	w := newWorld(t)
	const hostile = "</div>\"'\\\x00\n\u0085\xff[kvnr]"
	for _, format := range formats {
		r := w.request(statutory, anna)
		r.Header.Set("Accept", format.MediaType())
		r.Query.Set("profileVersion", hostile)
		a := w.ask(r)
		if w.code(a) != vsd.InvalidProfileVersion || bytes.ContainsAny(a.Body, "\x00\u0085") || bytes.Contains(a.Body, []byte(anna.Reveal())) {
			t.Errorf("%s", a.Body)
		}
		if format == vsd.JSON {
			var o outcome
			if err := json.Unmarshal(a.Body, &o); err != nil || !strings.Contains(o.Issue[0].Details.Text, "</div>\"'\\????[kvnr]") {
				t.Errorf("%v: %s", err, a.Body)
			}
			continue
		}
		var o xmlOutcome
		if err := xml.Unmarshal(a.Body, &o); err != nil || !strings.Contains(o.Issue[0].Text.Value, "</div>\"'\\????[kvnr]") {
			t.Errorf("%v: %s", err, a.Body)
		}
	}
}

// What the gate gets wrong is answered to the gate, with the published text and the header that says so.
func TestErrorsToTheGate(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	seen := 0
	for _, row := range vsd.Failures() {
		if !row.Proxy {
			continue
		}
		seen++
		a := w.provoke(row.Code, vsd.XML)
		var p problem
		if err := json.Unmarshal(a.Body, &p); err != nil {
			t.Fatal(err)
		}
		if a.Status != http.StatusBadRequest || a.Header.Get("ZETA-Cause") != "Proxy" || p.Title != row.Display || row.Display == "" ||
			p.Code != fmt.Sprint(int(row.Code)) || a.Facts.Outcome != ledger.OutcomeFailed {
			t.Errorf("%d: status %d, %v, %s", row.Code, a.Status, a.Header, a.Body)
		}
	}
	if seen != 4 {
		t.Errorf("%d errors for the gate", seen)
	}
	if a := w.provoke(vsd.UnknownKVNR, vsd.JSON); a.Header.Get("ZETA-Cause") != "" {
		t.Error("the caller's error is said to be the gate's")
	}
}

// Each claim of a proof is demanded, and each part of the caller that is there is checked.
func TestMalformedFromTheGate(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	for what, tc := range map[string]struct {
		code  vsd.Code
		spoil func(*service.Request)
	}{
		"version":       {vsd.InvalidPresence, func(r *service.Request) { r.Presence.Version = "" }},
		"issuer":        {vsd.InvalidPresence, func(r *service.Request) { r.Presence.Issuer = "" }},
		"method":        {vsd.InvalidPresence, func(r *service.Request) { r.Presence.Method = "" }},
		"profession":    {vsd.InvalidPresence, func(r *service.Request) { r.Presence.Profession = "" }},
		"patient":       {vsd.InvalidPresence, func(r *service.Request) { r.Presence.Patient = "" }},
		"insurer":       {vsd.InvalidPresence, func(r *service.Request) { r.Presence.Insurer = "" }},
		"issued":        {vsd.InvalidPresence, func(r *service.Request) { r.Presence.Issued = r.Presence.Issued.AddDate(-80, 0, 0) }},
		"proved":        {vsd.InvalidPresence, func(r *service.Request) { r.Presence.Proved = r.Presence.Proved.AddDate(-80, 0, 0) }},
		"another actor": {vsd.InvalidPresence, func(r *service.Request) { r.Presence.Actor = thief }},
		"actor with blanks": {vsd.InvalidUserInfo, func(r *service.Request) {
			r.Caller.Actor, r.Presence.Actor = "1-2 3", "1-2 3"
		}},
		"long actor": {vsd.InvalidUserInfo, func(r *service.Request) {
			r.Caller.Actor = querschott.Actor(strings.Repeat("1", maxActor+1))
		}},
		"actor that is not ASCII": {vsd.InvalidUserInfo, func(r *service.Request) {
			r.Caller.Actor, r.Presence.Actor = "1-2ä", "1-2ä"
		}},
		"caller's long profession": {vsd.InvalidUserInfo, func(r *service.Request) {
			r.Caller.Profession = strings.Repeat("1.", 32) + "1"
		}},
		"caller's profession":     {vsd.InvalidUserInfo, func(r *service.Request) { r.Caller.Profession = "1.2..3" }},
		"no caller's profession":  {0, func(r *service.Request) { r.Caller.Profession = "" }},
		"no caller's name":        {0, func(r *service.Request) { r.Caller.Name = "" }},
		"an unknown proof method": {0, func(r *service.Request) { r.Presence.Method = "another" }},
	} {
		r := w.request(statutory, anna)
		tc.spoil(r)
		if got := w.code(w.ask(r)); got != tc.code {
			t.Errorf("%s: %d, want %d", what, got, tc.code)
		}
	}
}

// Wrong check digits are refused only by who is told to.
func TestCheckDigits(t *testing.T) {
	w := newWorld(t)
	const wrong = "A123456789" // of a published example
	r := w.request(statutory, anna)
	r.Presence.Patient = wrong
	told := func(a *service.Answer) (list []string) {
		for _, f := range a.Facts.Detail {
			if f.Name == "check-digit" {
				list = append(list, f.Value)
			}
		}
		return list
	}
	if a := w.ask(r); w.code(a) != vsd.UnknownKVNR || !slices.Equal(told(a), []string{"kvnr"}) {
		t.Errorf("lenient: %d, %v", w.code(a), told(a))
	}
	r.Presence.Insurer, r.Compartment.Insurer = "103456789", ""
	if a := w.ask(r); w.code(a) != vsd.UnknownIK || !slices.Equal(told(a), []string{"ik", "kvnr"}) {
		t.Errorf("lenient, both wrong: %d, %v", w.code(a), told(a))
	}
	if a := w.ask(w.request(statutory, anna)); told(a) != nil {
		t.Errorf("right digits: %v", told(a))
	}
	r.Presence.Insurer, r.Compartment.Insurer = string(statutory), statutory
	strict := w.other(func(c *Config) { c.StrictCheckDigits = true })
	a, err := strict.Answer(t.Context(), r)
	if err != nil || w.code(a) != vsd.InvalidKVNR {
		t.Errorf("strict: status %d, %v", a.Status, err)
	}
	w.insure(statutory, anna)
	if a, err := strict.Answer(t.Context(), w.request(statutory, anna)); err != nil || a.Status != http.StatusOK {
		t.Errorf("strict, right digits: status %d, %v", a.Status, err)
	}
}
