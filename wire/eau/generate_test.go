package eau

import (
	"bytes"
	"encoding/xml"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/wire/internal/shared"
)

var (
	issued  = time.Date(2026, 9, 29, 18, 5, 0, 0, time.UTC)
	example = func() Certificate {
		return Certificate{
			Identifier: NewUUID(NamespaceDNS, "example"), Issued: issued, Type: First,
			From: "2026-09-29", Until: "2026-10-05", Determined: "2026-09-29",
			Payor: "109500969", PayorName: "Übungskasse Nord",
			Person: Person{
				Number: kvnr("A12345678"), Family: "Übermuth", Given: "Ännchen", Born: "1971-03-14",
				Address: Address{"Erfundene Straße", "12", "99998", "Musterhausen"},
			},
			Doctor:   Doctor{"838382202", "Dr. med.", "Nemo", "Käthe", "Fachärztin für Allgemeinmedizin"},
			Practice: Practice{"031234567", "Praxis & Söhne \"Am <Markt>\"", "0301234567", Address{"Marktplatz", "1", "99998", "Musterhausen"}},
			Diagnoses: []Diagnosis{
				{"J06.9", "G", ""}, {"M54.5", "V", ""}, {"S93.4", "Z", "L"},
			},
			Diagnosis: "Erkältung", TestNumber: "Y/400/2107/36/999",
		}
	}
)

func withdrawal() Withdrawal {
	e := example()
	return Withdrawal{Identifier: NewUUID(NamespaceDNS, "withdrawal"), Cancels: e.Identifier, Issued: issued, Doctor: e.Doctor, Practice: e.Practice}
}

func kvnr(first9 string) querschott.KVNR {
	return querschott.KVNR(first9 + string(querschott.KVNRCheckDigit(first9)))
}

func TestGenerate(t *testing.T) {
	octets := Generate(example())
	doc, findings := Read(octets)
	if len(findings) != 0 {
		t.Errorf("findings %v", findings)
	}
	want := facts{
		Hash: factsOf(doc).Hash, Identifier: example().Identifier.String(), Person: example().Person.Number.Reveal(), Payor: "109500969",
		Scheme: "GKV", Issued: "2026-09-29", From: "2026-09-29", Until: "2026-10-05", Determined: "2026-09-29", Type: "ERST", Diagnoses: 3,
	}
	if diff := cmp.Diff(want, factsOf(doc)); diff != "" {
		t.Error(diff)
	}
	if doc.Kind != KindCertificate {
		t.Errorf("kind %q", doc.Kind)
	}
	if n := len(octets); n < 13_000 || n > 30_000 {
		t.Errorf("%d octets are not the size of a real document", n)
	}
	if !utf8.Valid(octets) || bytes.HasPrefix(octets, []byte("\xef\xbb\xbf")) {
		t.Error("not UTF-8 without byte order mark")
	}
	if !bytes.Equal(octets, Generate(example())) {
		t.Error("not the same octets again")
	}
}

// TestFollowingNotesHaveNoStart: -eau-angabeAUseitFolgebescheinigung.
func TestFollowingNotesHaveNoStart(t *testing.T) {
	for typ, want := range map[Type]Date{First: "2026-09-29", FirstAndLast: "2026-09-29", Following: "", FollowingEnd: ""} {
		c := example()
		c.Type = typ
		doc, findings := Read(Generate(c))
		if doc.From != want || len(findings) != 0 {
			t.Errorf("%s: from %q, want %q; findings %v", typ, doc.From, want, findings)
		}
	}
}

func TestGenerateCancellation(t *testing.T) {
	doc, findings := Read(GenerateCancellation(withdrawal()))
	if len(findings) != 0 {
		t.Errorf("findings %v", findings)
	}
	if doc.Kind != KindCancellation || doc.Cancels != example().Identifier.String() || doc.Identifier != withdrawal().Identifier.String() || doc.Issued != "2026-09-29" {
		t.Errorf("read as %+v", doc)
	}
}

// TestReferencesResolve: every reference of a generated document is the fullUrl of one of its entries, and every entry is named once.
func TestReferencesResolve(t *testing.T) {
	for name, octets := range map[string][]byte{"certificate": Generate(example()), "cancellation": GenerateCancellation(withdrawal())} {
		urls, references := map[string]int{}, map[string]bool{}
		d := xml.NewDecoder(bytes.NewReader(octets))
		for {
			tok, err := d.Token()
			if tok == nil || err != nil {
				break
			}
			if e, ok := tok.(xml.StartElement); ok && len(e.Attr) > 0 {
				switch e.Name.Local {
				case "fullUrl":
					urls[e.Attr[0].Value]++
				case "reference":
					references[e.Attr[0].Value] = true
				}
			}
		}
		for r := range references {
			if urls[r] != 1 {
				t.Errorf("%s: reference %s names %d entries", name, r, urls[r])
			}
		}
		if len(urls) < 4 || len(references) < 3 {
			t.Errorf("%s: %d entries, %d references", name, len(urls), len(references))
		}
	}
}

// TestAnyTextIsWellFormed: whatever the names hold, the document is read back with its identifiers.
func TestAnyTextIsWellFormed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := example()
		c.Person.Family, c.Practice.Name, c.Diagnosis = rapid.String().Draw(t, "family"), rapid.String().Draw(t, "name"), rapid.String().Draw(t, "text")
		doc, findings := Read(Generate(c))
		if len(findings) != 0 || doc.Identifier != c.Identifier.String() || doc.Person != c.Person.Number {
			t.Fatalf("findings %v", findings)
		}
	})
}

func TestUUID(t *testing.T) {
	// RFC 9562 appendix A.4
	u := NewUUID(NamespaceDNS, "www.example.com")
	if got, want := u.String(), "2ed6657d-e927-568b-95e1-2665a8aea6a2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if u.Version() != 5 || u.IsZero() || !(UUID{}).IsZero() {
		t.Error("version or zero")
	}
	for _, s := range []string{u.String(), u.URN(), "URN:UUID:2ED6657D-E927-568B-95E1-2665A8AEA6A2"} {
		if got, err := ParseUUID(s); err != nil || got != u {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "urn:uuid:", "2ed6657de927568b95e12665a8aea6a2", "2ed6657d-e927-568b-95e1-2665a8aea6ag", "2ed6657d-e927-568b-95e1-2665a8aea6a2 ", "2ed6657d-e927-568b-95e1+2665a8aea6a2"} {
		if _, err := ParseUUID(s); err == nil {
			t.Errorf("%q was read", s)
		}
	}
}

func TestDate(t *testing.T) {
	for s, ok := range map[string]bool{"2026-09-29": true, "2024-02-29": true, "2026-02-29": false, "2026-09": false, "2026-9-29": false, "": false, "2026-09-29T10:00:00Z": false} {
		if got := !Date(s).Time().IsZero(); got != ok {
			t.Errorf("%q: %t, want %t", s, got, ok)
		}
	}
}

// grammarOracle learns from published samples which elements, attributes, fixed systems and extension urls stand where and in which
// order, and prints what of the last file was never seen.
const grammarOracle = `
import sys, xml.etree.ElementTree as E
def walk(e, path, seen, order):
    name = e.tag.split('}')[1]
    path = path + '/' + name
    if name == 'resource': path = 'resource'
    seen.add((path, tuple(sorted(e.attrib)), e.tag.split('}')[0]))
    if name in ('system', 'profile') or 'url' in e.attrib: seen.add((path, e.get('value') or e.get('url')))
    kids = [c.tag.split('}')[1] for c in e]
    for i, a in enumerate(kids):
        for b in kids[i+1:]:
            if a != b: order.add((path, a, b))
    for c in e: walk(c, path, seen, order)
known, order = set(), set()
for p in sys.argv[1:-1]: walk(E.parse(p).getroot(), '', known, order)
mine, myorder = set(), set()
walk(E.parse(sys.argv[-1]).getroot(), '', mine, myorder)
for x in sorted(map(str, mine - known)): print('never seen:', x)
for p, a, b in sorted(myorder):
    if (p, b, a) in order and (p, a, b) not in order: print('other order:', p, a, b)
`

// TestGeneratedLikePublished: a generated document has no element, attribute, system or profile, and no order of elements, that
// the published samples do not have.
func TestGeneratedLikePublished(t *testing.T) {
	for name, tc := range map[string]struct {
		samples string
		octets  []byte
	}{
		"certificate":  {"data/eau/valid/*.xml", Generate(example())},
		"cancellation": {"data/eau/*/*.xml", GenerateCancellation(withdrawal())},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "generated.xml")
			if err := os.WriteFile(file, tc.octets, 0o600); err != nil {
				t.Fatal(err)
			}
			if out := python(t, grammarOracle, append(shared.Glob(t, tc.samples), file)...); out != "" {
				t.Error(out)
			}
		})
	}
}
