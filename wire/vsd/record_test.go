package vsd

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// TestRecordsSurvive renders and reads, and stores and reads back, in every version and format.
func TestRecordsSurvive(t *testing.T) {
	check := func(t interface{ Fatalf(string, ...any) }, r *Record) {
		for _, v := range []Version{V10, V11} {
			for _, f := range []Format{JSON, XML} {
				data, err := Render(r, v, f, envelope)
				if err != nil {
					t.Fatalf("%v", err)
				}
				got, e, err := ParseBundle(data, f)
				if err != nil || e != envelope || !reflect.DeepEqual(got, r) {
					t.Fatalf("version %s, %s: the record differs: %v\n%s", v, f.MediaType(), err, data)
				}
			}
		}
		stored := r.Encode()
		got, err := DecodeRecord(stored)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("the stored record differs: %v", err)
		}
		if !bytes.Equal(got.Encode(), stored) {
			t.Fatalf("the stored form differs")
		}
	}
	check(t, statutory())
	check(t, private())
	for _, g := range []Gender{Male, Female, Indeterminate, UnknownGender} {
		r := private()
		r.Patient.Gender, r.Patient.Addresses = g, nil
		check(t, r)
	}
	plain := statutory()
	plain.Patient.Addresses = []Address{{Kind: Physical, City: "Wolkenstadt", Country: germany, Lines: []Line{{Text: "eine"}, {Text: "zwei"}}}}
	check(t, plain)
	rapid.Check(t, func(t *rapid.T) { check(t, invented(rapid.Uint64().Draw(t, "seed"))) })
}

// TestInventedVariety counts what a stock of generated records has.
func TestInventedVariety(t *testing.T) {
	seen := map[string]int{}
	size := 0
	for seed := range uint64(3000) {
		r := invented(seed)
		if err := r.Validate(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !reflect.DeepEqual(r, invented(seed)) {
			t.Fatalf("seed %d: two records", seed)
		}
		size += len(r.Encode())
		features(r, seen)
	}
	for _, f := range []string{
		"title", "prefix", "addition", "box", "no street", "abroad", "two payors", "ended", "group", "programme", "exempt", "reimbursement",
		"suspension", "aid", "hint", "contact", "messenger", "gender M", "gender W", "gender D", "gender X", "gender unknown", "gender ", "year only",
		"status 1", "status 3", "status 5", "not in ISO-8859-15",
	} {
		if seen[f] == 0 {
			t.Errorf("nobody has %q", f)
		}
	}
	if seen["programme"] > 1200 || seen["title"] > 300 || seen["abroad"] > 200 {
		t.Errorf("what should be rare is not: %v", seen)
	}
	if mean := size / 3000; mean > 600 {
		t.Errorf("a stored record has %d octets on average", mean)
	}
}

func features(r *Record, seen map[string]int) {
	has := func(f string, there bool) { seen[f] += one(there) }
	p, c := &r.Patient, &r.Coverage
	has("title", p.Name.Title != "")
	has("prefix", p.Name.Prefix != "")
	has("addition", p.Name.Addition != "")
	has("messenger", len(p.Telecom) > 0)
	has("gender "+string(p.Gender), true)
	has("year only", len(p.Born) == 4)
	has("no street", r.Street() == "")
	has("not in ISO-8859-15", strings.Contains(r.Street(), "ę"))
	for _, a := range p.Addresses {
		has("box", a.Kind == Postal)
		has("abroad", a.Country.Code != "DE")
	}
	has("two payors", len(r.Payors) == 2)
	has("contact", len(r.Payors[0].Contacts) > 0)
	has("ended", c.Period.End != "" && c.Period.End < DateOf(day))
	if c.PKV != nil {
		has("aid", len(c.PKV.Aid) > 0)
		has("hint", len(c.PKV.Hints) > 0)
		return
	}
	has("status "+c.GKV.Status.Code, true)
	has("group", c.GKV.Group.Code != "")
	has("programme", len(c.GKV.Programmes) > 0)
	has("exempt", c.GKV.Exempt != "")
	has("reimbursement", c.GKV.Reimbursement != nil)
	has("suspension", c.GKV.Suspension != nil)
}

func TestOrderOfExtensionsIsKept(t *testing.T) {
	r := statutory()
	r.Coverage.Order = "rpdwvkdz"
	got, _ := parsed(t, rendered(t, r, V11, JSON, envelope), JSON)
	if got.Coverage.Order != "rpdwvkdz" {
		t.Errorf("the order is %q", got.Coverage.Order)
	}
	r.Coverage.Order = "wvddpzkr"
	if got, _ = parsed(t, rendered(t, r, V11, JSON, envelope), JSON); got.Coverage.Order != "" {
		t.Errorf("the usual order is kept as %q", got.Coverage.Order)
	}
}

func TestStoredFormIsChecked(t *testing.T) {
	stored := statutory().Encode()
	for i := range stored {
		if _, err := DecodeRecord(stored[:i]); err == nil {
			t.Fatalf("%d of %d octets are a record", i, len(stored))
		}
	}
	if _, err := DecodeRecord(append(bytes.Clone(stored), 0)); !errors.Is(err, errStored) {
		t.Errorf("something follows: %v", err)
	}
	other := bytes.Clone(stored)
	other[0]++
	if _, err := DecodeRecord(other); !errors.Is(err, errStored) {
		t.Errorf("another version: %v", err)
	}
	if _, err := DecodeRecord(make([]byte, MaxStored+1)); !errors.Is(err, errStored) {
		t.Errorf("too large: %v", err)
	}
	long := append([]byte{storedVersion, 0x80 | stored[1], 0}, stored[2:]...) // the first length in two octets
	if _, err := DecodeRecord(long); !errors.Is(err, errStored) {
		t.Errorf("a longer form than needed: %v", err)
	}
	broken := statutory()
	broken.Patient.Gender = NoGender
	var e *Error
	if _, err := DecodeRecord(broken.Encode()); !errors.As(err, &e) || e.Rule != ruleGender1 {
		t.Errorf("a record that breaks a rule: %v", err)
	}
}

func TestRecordsPrintNothing(t *testing.T) {
	r := statutory()
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "record", r, "value", *r)
	for _, s := range []string{fmt.Sprint(r), fmt.Sprintf("%+v %#v %s %x", r, *r, r, *r), log.String()} {
		if strings.Contains(s, "bermuth") || strings.Contains(s, "Z1234") || !strings.Contains(s, masked) {
			t.Errorf("it prints %s", s)
		}
	}
}

func TestETags(t *testing.T) {
	content := ContentOf(statutory().Encode())
	seen := map[string]bool{}
	for _, v := range []Version{V10, V11} {
		for _, f := range []Format{JSON, XML} {
			tag := content.ETag(v, f)
			if seen[tag] || len(tag) != 64 || strings.Trim(tag, "0123456789abcdef") != "" || tag != strings.ToLower(tag) {
				t.Errorf("tag %s of %s %s", tag, v, f.MediaType())
			}
			seen[tag] = true
			if tag != ContentOf(statutory().Encode()).ETag(v, f) {
				t.Error("the tag is not always the same")
			}
		}
	}
	r := statutory()
	r.Updated = "2026-09-02T08:00:00.120+02:00"
	if seen[ContentOf(r.Encode()).ETag(V10, JSON)] {
		t.Error("another record has the same tag")
	}
}

func TestVersions(t *testing.T) {
	for s, want := range map[string]bool{"1.0": true, "1.1": true, "1": false, "1.0.0": false, "": false, "x": false, "1.2": false, " 1.0": false} {
		if _, got := ParseVersion(s); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
	if _, err := Render(statutory(), "1.2", JSON, envelope); !errors.Is(err, ErrVersion) {
		t.Errorf("Render: %v", err)
	}
	if _, err := Outcome(UnknownKVNR, Args{}, "1", "1.2", JSON); !errors.Is(err, ErrVersion) {
		t.Errorf("Outcome: %v", err)
	}
}

func TestIDs(t *testing.T) {
	id := NewID(day, [10]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	if s := id.String(); s[14] != '7' || !strings.Contains("89ab", s[19:20]) || id[6] != 0x7f {
		t.Errorf("%s is no UUID of version 7", s)
	}
	ms := day.UnixMilli()
	if got := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5]); got != ms {
		t.Errorf("its time is %d, want %d", got, ms)
	}
	if got, ok := ParseID(id.String()); !ok || got != id {
		t.Error("it does not read itself")
	}
	for _, s := range []string{"", strings.ToUpper(id.String()), strings.ReplaceAll(id.String(), "-", "x"), id.String() + "0", "g" + id.String()[1:]} {
		if _, ok := ParseID(s); ok {
			t.Errorf("%q is an ID", s)
		}
	}
}

func TestDatesAndInstants(t *testing.T) {
	for s, want := range map[Date]bool{
		"1990": true, "1990-05": true, "1990-05-16": true, "2024-02-29": true, "2023-02-29": false, "": false, "90": false, "1990-13": false,
		"1990-5-16": false, "1990-05-16T": false, "19900516": false,
	} {
		if s.Valid() != want {
			t.Errorf("%s: %v", s, !want)
		}
	}
	for s, want := range map[Instant]bool{
		"2025-07-14T15:16:17.890+01:00": true, "2025-07-14T15:16:17Z": true, "2025-07-14T15:16:17": false, "2025-07-14T15:16:17,5Z": false,
		"2025-07-14T5:16:17.000Z": false, "2025-07-14": false, "2025-07-14T15:16:61Z": false, "2025-07-14T15:16:17.1234567890123456Z": false,
	} {
		if s.Valid() != want {
			t.Errorf("%s: %v", s, !want)
		}
	}
	if got := Date("2009-06-08").Compact(); got != "20090608" {
		t.Errorf("compact: %s", got)
	}
	if got := Date("2009-06").Compact(); got != "" {
		t.Errorf("compact: %s", got)
	}
}

func TestFailureTable(t *testing.T) {
	last := Code(0)
	proxies := 0
	for _, f := range Failures() {
		if got, ok := Lookup(f.Code); !ok || !reflect.DeepEqual(got, f) || f.Code <= last {
			t.Errorf("%d is not found, or not in order", f.Code)
		}
		last = f.Code
		if f.Status < 400 || f.Display == "" || f.Requirement == "" {
			t.Errorf("%d has holes: %+v", f.Code, f)
		}
		if strings.ContainsAny(f.User, `<>&"`) {
			t.Errorf("%d: the user text would have to be escaped in the narrative", f.Code)
		}
		_, err := Outcome(f.Code, Args{}, "x", V10, JSON)
		if f.Proxy != errors.Is(err, ErrNoOutcome) || f.Proxy != (f.ErrorCode == "") {
			t.Errorf("%d: %v", f.Code, err)
		}
		proxies += one(f.Proxy)
	}
	if len(Failures()) != 15 || proxies != 4 {
		t.Errorf("%d codes, %d to the proxy", len(Failures()), proxies)
	}
	if _, ok := Lookup(79999); ok {
		t.Error("79999 is known")
	}
	if f, _ := Lookup(InvalidPresence); f.Status != 400 || f.Display != "Der Inhalt des HTTP-Headers ZETA-PoPP-Token-Content weist Format- oder Inhaltsfehler auf." {
		t.Errorf("79402 says %q", f.Display)
	}
	if f, _ := Lookup(InvalidHeader); f.Requirement != "A_28608, A_28609" {
		t.Errorf("79030 is for %s", f.Requirement)
	}
}

func TestOutcomeOf10HasNoQuotationMarks(t *testing.T) {
	got, err := Outcome(UnknownKVNR, Args{IK: "109500969", KVNR: "X123450007"}, "x", V10, JSON)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"display":"Krankenversichertennummer [kvnr] aus dem PoPP-Token ist dem Fachdienst zur Institutionskennung [ik] nicht bekannt."`,
		`"text":"Krankenversichertennummer X123450007 aus dem PoPP-Token ist dem Fachdienst zur Institutionskennung 109500969 nicht bekannt."`,
		`VSDMOperationOutcome|1.0.0"`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%s is missing in %s", want, got)
		}
	}
	missing, err := Outcome(MissingProfileVersion, Args{}, "x", V10, JSON)
	if err != nil || !strings.Contains(string(missing), "'profileVersion'") {
		t.Errorf("what is no placeholder has lost its quotation marks: %s", missing)
	}
}

// TestOutcomesAsXML compares the values of both formats, in order of the XML schema.
func TestOutcomesAsXML(t *testing.T) {
	for _, f := range Failures() {
		if f.Proxy {
			continue
		}
		data, err := Outcome(f.Code, Args{IK: "1", KVNR: "2", Header: "<Accept & \"co\">", ProfileVersion: "[ik]"}, "abc", V11, XML)
		if err != nil {
			t.Fatal(err)
		}
		var v struct {
			XMLName xml.Name `xml:"http://hl7.org/fhir OperationOutcome"`
			Text    struct {
				Div string `xml:"http://www.w3.org/1999/xhtml div"`
			} `xml:"text"`
			Issue []struct {
				Severity, Code struct {
					Value string `xml:"value,attr"`
				}
				Details struct {
					Text struct {
						Value string `xml:"value,attr"`
					} `xml:"text"`
				} `xml:"details"`
				Diagnostics struct {
					Value string `xml:"value,attr"`
				} `xml:"diagnostics"`
				Expression []struct {
					Value string `xml:"value,attr"`
				} `xml:"expression"`
			} `xml:"issue"`
		}
		if err := xml.Unmarshal(data, &v); err != nil {
			t.Fatalf("%d: %v\n%s", f.Code, err, data)
		}
		if v.Text.Div != f.User || len(v.Issue) != 1 || v.Issue[0].Diagnostics.Value != f.Diagnostics || len(v.Issue[0].Expression) != len(f.Expression) {
			t.Errorf("%d: %s", f.Code, data)
		}
		if f.Code == InvalidHeader && v.Issue[0].Details.Text.Value != `Der HTTP-Header '<Accept & "co">' ist ungültig.` {
			t.Errorf("the header is %s", v.Issue[0].Details.Text.Value)
		}
		if f.Code == InvalidProfileVersion && !strings.Contains(v.Issue[0].Details.Text.Value, "'[ik]'") {
			t.Error("what came from outside is looked at for placeholders")
		}
	}
}

func TestArgsAreHarmless(t *testing.T) {
	got, err := Outcome(InvalidHeader, Args{Header: strings.Repeat("ä", 1000) + "\x00"}, "x", V11, JSON)
	if err != nil || strings.Contains(string(got), strings.Repeat("ä", MaxArg+1)) {
		t.Errorf("a long header is not shortened: %v", err)
	}
	got, err = Outcome(InvalidHeader, Args{Header: "a\x00\xff\nb"}, "x", V11, XML)
	if err != nil || !utf8.Valid(got) || !strings.Contains(string(got), "a???b") {
		t.Errorf("a binary header: %s", got)
	}
}

func FuzzParseBundleJSON(f *testing.F) { fuzzBundle(f, JSON) }

func FuzzParseBundleXML(f *testing.F) { fuzzBundle(f, XML) }

// fuzzBundle: whatever is accepted is valid and says the same after rendering and storing.
func fuzzBundle(f *testing.F, format Format) {
	for _, r := range []*Record{statutory(), private(), invented(1), invented(2), invented(3)} {
		for _, v := range []Version{V10, V11} {
			data, err := Render(r, v, format, envelope)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, e, err := ParseBundle(data, format)
		if err != nil {
			return
		}
		for _, other := range []Format{JSON, XML} {
			again, e2, err := ParseBundle(rendered(t, r, V10, other, e), other)
			if err != nil || e2 != e || !reflect.DeepEqual(again, r) {
				t.Fatalf("the record differs: %v", err)
			}
		}
		if stored, err := DecodeRecord(r.Encode()); err != nil || !reflect.DeepEqual(stored, r) {
			t.Fatalf("the stored record differs: %v", err)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(statutory().Encode())
	f.Add(private().Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeRecord(data)
		if err == nil && !bytes.Equal(r.Encode(), data) {
			t.Fatal("two stored forms of one record")
		}
	})
}

// BenchmarkRender measures a rendering from the stored form, and beside it the floor: copying a bundle that is ready.
func BenchmarkRender(b *testing.B) {
	r := invented(1)
	stored := r.Encode()
	ready, err := Render(r, V10, JSON, envelope)
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range []Format{JSON, XML} {
		b.Run(f.MediaType(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Render(r, V10, f, envelope); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("stored", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			got, err := DecodeRecord(stored)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := Render(got, V10, JSON, envelope); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("floor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if n, _ := io.Discard.Write(bytes.Clone(ready)); n == 0 {
				b.Fatal("nothing")
			}
		}
	})
}
