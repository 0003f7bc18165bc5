//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/wire/vsd"
)

// judging is what the foreign validator is asked.
type judging struct {
	Definitions []json.RawMessage `json:"definitions"`
	Packages    []json.RawMessage `json:"packages"`
	Cases       []judged          `json:"cases"`
}

// judged is one bundle, and the same as XML.
type judged struct {
	Name string          `json:"name"`
	JSON json.RawMessage `json:"json"`
	XML  string          `json:"xml,omitempty"`
}

// verdicts are its answers.
type verdicts struct {
	Answers []struct {
		Name                string
		Issues, Differences []string
	}
	Skipped    []string
	Extensions int
}

// TestForeignValidator has @medplum/core hold what the gate answers, and the published bundles, against the published
// definitions, and fast-xml-parser compare XML with JSON.
func TestForeignValidator(t *testing.T) {
	t.Parallel()
	dir := peers(t)
	j := judging{Packages: profilesOf(t)}
	for _, name := range shared(t, "data/vsdm2/definitions/StructureDefinition-*.json") {
		j.Definitions = append(j.Definitions, read(t, name))
	}
	var published []*vsd.Record
	for _, name := range shared(t, "data/vsdm2/bundles/*.json") {
		data := read(t, name)
		rec, _, err := vsd.ParseBundle(data, vsd.JSON)
		if err != nil {
			t.Fatal(err)
		}
		published = append(published, rec)
		j.Cases = append(j.Cases, judged{Name: "published " + filepath.Base(name), JSON: data})
	}
	answers := answersOf(t, published)
	j.Cases = append(j.Cases, answers...)
	broken := spoiled(t, answers)
	j.Cases = append(j.Cases, broken...)

	var v verdicts
	startForeign(t, dir, "validate.mjs", "").report(t, j, &v)
	if len(v.Answers) != len(j.Cases) {
		t.Fatalf("%d answers to %d cases", len(v.Answers), len(j.Cases))
	}
	v.judge(t, len(published), len(answers), len(broken))
}

// older is in what version 1.0 of the profiles differs from the published definitions, which are those of 1.1: it has no
// versions of code systems, and another code system of kinds of private insured persons.
var older = []string{
	"Coverage Coverage.type: Value did not match expected pattern",
	"Coverage VSDMTarifartPKV: Extension.value[x].version: Missing required property",
	"Coverage VSDMVersichertenartPKV: Extension.value[x].system: Value did not match expected pattern",
	"Coverage VSDMVersichertenartPKV: Extension.value[x].version: Missing required property",
	"Patient VSDMISO3166Ergaenzung: Extension.value[x].version: Missing required property",
}

// judge wants no issue in what is published and answered, and at least one in what was spoiled.
func (v *verdicts) judge(t *testing.T, published, answers, broken int) {
	t.Helper()
	// Each answer has a name and a time of its own.
	own := map[string]bool{".id.0.@value": true, ".timestamp.0.@value": true}
	for n, a := range v.Answers {
		if n >= published+answers {
			if len(a.Issues) == 0 {
				t.Errorf("%s: nothing was found", a.Name)
			}
			continue
		}
		for _, issue := range a.Issues {
			if strings.HasSuffix(a.Name, " 1.0") && slices.Contains(older, issue) {
				continue
			}
			t.Errorf("%s: %s", a.Name, issue)
		}
		for _, d := range a.Differences {
			if !own[d] {
				t.Errorf("%s: XML and JSON differ in %s", a.Name, d)
			}
		}
		if xml := n >= published; xml != (len(a.Differences) > 0) {
			t.Errorf("%s: two answers have one name and time, or nothing was compared", a.Name)
		}
	}
	t.Logf("%d published bundles, %d answers as JSON and XML, %d spoiled ones; %d extensions validated; skipped are %v",
		published, answers, broken, v.Extensions, v.Skipped)
	if answers < 60 || v.Extensions < 200 {
		t.Error("that proves little")
	}
}

// answersOf asks a gate for the published records, under an invented insurer's number, and for persons of the world, in both
// versions and formats.
func answersOf(t *testing.T, published []*vsd.Record) (list []judged) {
	t.Helper()
	e := installHTTP(t, 2, unlimited)
	p, _ := e.serve(t)
	e.openAll(t)
	const persons = 20
	e.deliver(t, persons)
	in := e.world.Insurers()[0]
	var files []node.ImportedFile
	private := 0
	for n, rec := range published {
		rec.Payors[0].IK = in.IK
		if rec.Coverage.GKV == nil {
			private++
		}
		now := time.Now()
		data, err := vsd.Render(rec, vsd.V11, vsd.JSON, vsd.Envelope{ID: vsd.NewID(now, [10]byte{byte(n)}), Created: vsd.InstantOf(now)})
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, node.ImportedFile{Name: fmt.Sprint(n), Data: data})
	}
	if private < 3 {
		t.Errorf("only %d records of private insurers", private)
	}
	e.imported(t, e.client(t), files)
	x := e.practice(t, 0)
	ask := func(name string, number querschott.KVNR, ik querschott.IK) {
		for _, version := range []string{"1.0", "1.1"} {
			list = append(list, judged{
				Name: name + " " + version, JSON: x.body(t, number, ik, version, "application/fhir+json"),
				XML: string(x.body(t, number, ik, version, "application/fhir+xml")),
			})
		}
	}
	for n, rec := range published {
		ask(fmt.Sprintf("answer about published record %d", n), rec.Patient.Number, in.IK)
	}
	for k := range persons {
		for _, in := range e.world.Insurers() {
			who := e.person(in, k)
			ask(fmt.Sprintf("answer about person %d of %s", k, in.IK), who.Number, in.IK)
		}
	}
	p.stop(t)
	return list
}

func (p *practice) body(t *testing.T, number querschott.KVNR, ik querschott.IK, version, accept string) []byte {
	t.Helper()
	got, err := p.check(t.Context(), number, ik, func(c *drill.CardCheck) { c.Version, c.Accept = version, accept })
	if err != nil || got.Status != http.StatusOK || !strings.HasPrefix(got.ContentType, accept) {
		t.Fatalf("version %s as %s: %+v, %v", version, accept, got, err)
	}
	return got.Body
}

// spoiled breaks answers in one place each.
func spoiled(t *testing.T, answers []judged) (list []judged) {
	t.Helper()
	last := answers[len(answers)-1]
	for name, change := range map[string][2]string{
		"no type":                   {`"type":"collection",`, ``},
		"another type":              {`"type":"collection"`, `"type":"searchset"`},
		"no birth date":             {`"birthDate"`, `"deceasedDateTime"`},
		"a birth date in words":     {`"birthDate":"`, `"birthDate":"am `},
		"an element nobody knows":   {`"birthDate"`, `"vip":true,"birthDate"`},
		"another insured's system":  {`"http://fhir.de/sid/gkv/kvid-10"`, `"http://example.com/number"`},
		"no insurer's number":       {`"http://fhir.de/sid/arge-ik/iknr"`, `"http://example.com/ik"`},
		"another profile":           {`StructureDefinition/VSDMPatient`, `StructureDefinition/VSDMPatientX`},
		"an extension nobody knows": {`"http://fhir.de/StructureDefinition/gkv/wop"`, `"http://fhir.de/StructureDefinition/gkv/wop2"`},
	} {
		text := strings.ReplaceAll(string(last.JSON), change[0], change[1])
		if text == string(last.JSON) || !json.Valid([]byte(text)) {
			t.Errorf("%s: %q does not stand in the bundle, or no JSON is left", name, change[0])
			continue
		}
		list = append(list, judged{Name: name, JSON: json.RawMessage(text)})
	}
	return list
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// profilesOf returns the definitions of structures in the published packages that the service's own build on.
func profilesOf(t *testing.T) (list []json.RawMessage) {
	t.Helper()
	for _, name := range shared(t, "data/fhir-packages/de.basisprofil.r4-*.tgz") {
		z, err := gzip.NewReader(bytes.NewReader(read(t, name)))
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(h.Name, "package/StructureDefinition-") {
				continue
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, data)
		}
	}
	return list
}
