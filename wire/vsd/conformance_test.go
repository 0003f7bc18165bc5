package vsd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott/wire/internal/shared"
)

// published returns the 14 published bundles by the name of their files.
func published(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, name := range shared.Glob(t, "data/vsdm2/bundles/*.json") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(name)] = data
	}
	if len(all) != 14 {
		t.Fatalf("%d bundles, there should be 14", len(all))
	}
	return all
}

// canonical is JSON with sorted keys and without blanks, which is enough where no number is fractional.
func canonical(t testing.TB, data []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func parsed(t testing.TB, data []byte, f Format) (*Record, Envelope) {
	t.Helper()
	rec, e, err := ParseBundle(data, f)
	if err != nil {
		t.Fatal(err)
	}
	return rec, e
}

func rendered(t testing.TB, r *Record, v Version, f Format, e Envelope) []byte {
	t.Helper()
	data, err := Render(r, v, f, e)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestPublishedBundlesAreRenderedAsTheyCame(t *testing.T) {
	for name, data := range published(t) {
		rec, e := parsed(t, data, JSON)
		if diff := cmp.Diff(canonical(t, data), canonical(t, rendered(t, rec, V11, JSON, e))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestFormatsSayTheSame(t *testing.T) {
	for name, data := range published(t) {
		first, e := parsed(t, data, JSON)
		for _, v := range []Version{V10, V11} {
			again, f := parsed(t, rendered(t, first, v, XML, e), XML)
			if e != f || !reflect.DeepEqual(first, again) {
				t.Errorf("%s: the record differs after XML %s", name, v)
			}
			if v == V11 {
				if got := rendered(t, again, V11, JSON, f); canonical(t, got) != canonical(t, data) {
					t.Errorf("%s: JSON -> XML -> JSON lost something", name)
				}
			}
			if again, _ = parsed(t, rendered(t, first, v, JSON, e), JSON); !reflect.DeepEqual(first, again) {
				t.Errorf("%s: the record differs after JSON %s", name, v)
			}
		}
	}
}

// TestVersion10DiffersOnlyAsPublished changes the 1.1 bundles by the published list of differences and nothing else.
func TestVersion10DiffersOnlyAsPublished(t *testing.T) {
	for name, data := range published(t) {
		rec, e := parsed(t, data, JSON)
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(lowered(v))
		if err != nil {
			t.Fatal(err)
		}
		got := canonical(t, rendered(t, rec, V10, JSON, e))
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if strings.Contains(got, "1.1.0") || strings.Contains(got, `"version"`) {
			t.Errorf("%s: a 1.0 bundle names a version of a code system or of 1.1", name)
		}
	}
}

// lowered is the list of differences between 1.1 and 1.0.
func lowered(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = lowered(v[i])
		}
	case map[string]any:
		if _, coding := v["system"]; coding {
			delete(v, "version")
		}
		for k := range v {
			v[k] = lowered(v[k])
		}
	case string:
		v = strings.Replace(v, "|1.1.0-dev", "|1.0.0", 1)
		switch v {
		case "https://gematik.de/fhir/vsdm2/StructureDefinition/VSDMLaenderkennzeichenAnlage8":
			v = "http://hl7.org/fhir/StructureDefinition/iso21090-codedString"
		case "http://fhir.de/CodeSystem/pkv/Versichertenart":
			v = "http://fhir.de/ValueSet/pkv/Versichertenart"
		}
		return v
	}
	return v
}

func TestLinesAreNeverComputed(t *testing.T) {
	for _, data := range published(t) {
		rec, _ := parsed(t, data, JSON)
		for _, a := range rec.Patient.Addresses {
			for _, l := range a.Lines {
				if l.Text == "Buntspechtallee 2A" && l.Number == "2a" {
					return // the line and its part differ, and both are kept
				}
			}
		}
	}
	t.Error("no published line differs from its parts; the test has lost its example")
}

func TestStreetOfTheEvidence(t *testing.T) {
	streets := map[string]string{"Amselweg": "", "Gartenammerstraße": "", "": ""}
	for _, data := range published(t) {
		rec, _ := parsed(t, data, JSON)
		if _, ok := streets[rec.Street()]; ok {
			streets[rec.Street()] = rec.Coverage.Period.Start.Compact()
		}
	}
	want := map[string]string{"Amselweg": "20200101", "Gartenammerstraße": "20090608"}
	for street, start := range want {
		if streets[street] != start {
			t.Errorf("%s: cover from %q, want %q", street, streets[street], start)
		}
	}
	if streets[""] == "" {
		t.Error("somebody with a post-office box only has no street")
	}
}

func TestOutcomesAreThePublishedOnes(t *testing.T) {
	args := map[Code]Args{
		InvalidIK: {IK: "103456789"}, InvalidKVNR: {KVNR: "1234567890"}, UnknownIK: {IK: "103456789"},
		UnknownKVNR: {IK: "103456789", KVNR: "A123456789"}, InvalidProfileVersion: {ProfileVersion: "1.42"},
		InvalidHeader: {Header: "Accept"}, UnsupportedMediaType: {MediaType: "application/morse-code"}, InvalidOperation: {Operation: "PUT"},
	}
	byError := map[string]Failure{}
	for _, f := range Failures() {
		if !f.Proxy {
			byError[f.ErrorCode] = f
		}
	}
	files := shared.Glob(t, "data/vsdm2/operation-outcomes/*.json")
	if len(files) != 11 || len(byError) != 11 {
		t.Fatalf("%d files and %d codes, both should be 11", len(files), len(byError))
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var v struct {
			ID    string
			Issue []struct {
				Details struct{ Coding []struct{ Code string } }
			}
		}
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		f := byError[v.Issue[0].Details.Coding[0].Code]
		got, err := Outcome(f.Code, args[f.Code], v.ID, V11, JSON)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(canonical(t, data), canonical(t, got)); diff != "" {
			t.Errorf("%s: %s", filepath.Base(name), diff)
		}
	}
}
