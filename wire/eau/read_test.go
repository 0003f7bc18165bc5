package eau

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/wire/internal/shared"
)

// oracle reads documents with another language's XML parser and prints one JSON object per file.
const oracle = `
import sys, json, hashlib, xml.etree.ElementTree as E
N = {'f': 'http://hl7.org/fhir'}
for path in sys.argv[1:]:
    octets = open(path, 'rb').read()
    root = E.fromstring(octets)
    def one(x):
        found = [e.get('value') for e in root.findall(x, N)]
        return found[0] if found else ''
    date = 'f:entry/f:resource/f:Condition/f:extension[@url="http://hl7.org/fhir/StructureDefinition/condition-assertedDate"]/f:valueDateTime'
    types = [c.find('f:code', N).get('value') for c in root.findall('f:entry/f:resource/f:Composition/f:type/f:coding', N)
             if c.find('f:system', N).get('value').endswith('EAU_AU_Type')]
    icd = [c for c in root.findall('f:entry/f:resource/f:Condition/f:code/f:coding', N) if c.find('f:system', N).get('value').endswith('icd-10-gm')]
    system = one('f:entry/f:resource/f:Patient/f:identifier/f:system')
    print(json.dumps({
        'Hash': hashlib.sha256(octets).hexdigest(),
        'Identifier': one('f:identifier/f:value').removeprefix('urn:uuid:'),
        'Cancels': one('f:entry/f:resource/f:List/f:entry/f:item/f:identifier/f:value').removeprefix('urn:uuid:'),
        'Person': one('f:entry/f:resource/f:Patient/f:identifier/f:value') if system.endswith('kvid-10') else '',
        'Payor': one('f:entry/f:resource/f:Coverage/f:payor/f:identifier/f:value'),
        'Scheme': one('f:entry/f:resource/f:Coverage/f:type/f:coding/f:code'),
        'Issued': one('f:entry/f:resource/f:Composition/f:date'),
        'From': one('f:entry/f:resource/f:Condition/f:onsetPeriod/f:start'),
        'Until': one('f:entry/f:resource/f:Condition/f:onsetPeriod/f:end'),
        'Determined': one(date),
        'Type': types[0] if types else '',
        'Diagnoses': len(icd),
    }))
`

// facts is what both readers say; Person is plain text, so a difference must never be printed for real documents.
type facts struct {
	Hash, Identifier, Cancels, Person, Payor, Scheme, Issued, From, Until, Determined, Type string
	Diagnoses                                                                               int
}

func factsOf(d Document) facts {
	return facts{
		hex.EncodeToString(d.Hash[:]), d.Identifier, d.Cancels, d.Person.Reveal(), string(d.Payor), d.Scheme,
		string(d.Issued), string(d.From), string(d.Until), string(d.Determined), string(d.Type), d.Diagnoses,
	}
}

// python runs a program of the foreign reader. It is required under CI=true.
func python(t *testing.T, program string, args ...string) string {
	t.Helper()
	bin, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3 is missing")
		}
		t.Skip("python3 is missing")
	}
	cmd := exec.Command(bin, append([]string{"-c", program}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func askOracle(t *testing.T, files []string) []facts {
	t.Helper()
	var list []facts
	for line := range strings.Lines(python(t, oracle, files...)) {
		var f facts
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	return list
}

// TestPublishedDocuments: every published sample is read as another language's parser reads it.
func TestPublishedDocuments(t *testing.T) {
	var files []string
	for folder, count := range map[string]int{"valid": 27, "invalid": 2, "storno": 1} {
		found := shared.Glob(t, "data/eau/"+folder+"/*.xml")
		if len(found) != count {
			t.Errorf("%d documents in %s, want %d", len(found), folder, count)
		}
		files = append(files, found...)
	}
	want := askOracle(t, files)
	for i, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			octets, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			doc, findings := Read(octets)
			if diff := cmp.Diff(want[i], factsOf(doc)); diff != "" {
				t.Error(diff)
			}
			kind := KindCertificate
			if strings.Contains(file, "storno") {
				kind = KindCancellation
			}
			if doc.Kind != kind {
				t.Errorf("kind %q, want %q", doc.Kind, kind)
			}
			for _, f := range findings {
				switch f.Kind {
				case FindingVersion, FindingCheckDigit, FindingOldNumber: // the samples' invented numbers
				default:
					t.Errorf("unexpected finding %v", f)
				}
			}
		})
	}
}

// TestPublishedErrorMessageIsNoDocument: an OperationOutcome is neither a sick note nor a cancellation.
func TestPublishedErrorMessageIsNoDocument(t *testing.T) {
	for _, file := range shared.Glob(t, "data/eau/error-messages/*.xml") {
		octets, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, findings := Read(octets)
		if doc.Kind != KindUnknown || !has(findings, FindingNotABundle, "") {
			t.Errorf("kind %q, findings %v", doc.Kind, findings)
		}
	}
}

func has(findings []Finding, kind FindingKind, field string) bool {
	for _, f := range findings {
		if f.Kind == kind && f.Field == field {
			return true
		}
	}
	return false
}

func TestFindings(t *testing.T) {
	good := string(Generate(example()))
	if _, findings := Read([]byte(good)); len(findings) != 0 {
		t.Fatalf("the unchanged document has findings %v", findings)
	}
	replace := func(old, repl string) string {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("the document has no %q", old)
		}
		return strings.Replace(good, old, repl, 1)
	}
	number := example().Person.Number.Reveal()
	for _, tc := range []struct {
		name, xml string
		kind      FindingKind
		field     string
	}{
		{"byte order mark", "\xef\xbb\xbf" + good, FindingBOM, ""},
		{"declared Latin-9", replace(`encoding="UTF-8"`, `encoding="ISO-8859-15"`), FindingCharset, ""},
		{"Latin-1 octets", replace("Arbeitsunfähigkeit", "Arbeitsunf\xe4higkeit"), FindingCharset, ""},
		{"document type", replace("<Bundle", "<!DOCTYPE Bundle [<!ENTITY a 'b'>]><Bundle"), FindingDTD, ""},
		{"entity", replace(`value="Arbeitsunfähigkeit"`, `value="&bomb;"`), FindingSyntax, ""},
		{"cut off", good[:len(good)/2], FindingSyntax, ""},
		{"wrong end", replace("</Patient>", "</Patent>"), FindingSyntax, ""},
		{"two documents", good + good, FindingSyntax, ""},
		{"not XML", "nothing", FindingNotABundle, ""},
		{"empty", "", FindingNotABundle, ""},
		{"another root", "<Parameters xmlns='http://hl7.org/fhir'/>", FindingNotABundle, ""},
		{"another name space", replace(fhirNamespace+`"`, `urn:other"`), FindingNotABundle, ""},
		{"old profile", replace("KBV_PR_EAU_Bundle|1.2", "KBV_PR_EAU_Bundle|1.1.0"), FindingProfile, ""},
		{"UUID version 4", replace(example().Identifier.URN(), "urn:uuid:2ed6995a-ddcb-4af9-af62-80dac413408b"), FindingVersion, "Identifier"},
		{"no identifier", replace(example().Identifier.URN(), ""), FindingUnreadable, "Identifier"},
		{"wrong check digit of the person", replace(number, number[:9]+string('0'+(number[9]-'0'+1)%10)), FindingCheckDigit, "Person"},
		{"short number of the person", replace(number, number[:9]), FindingUnreadable, "Person"},
		{"kvk number", replace("http://fhir.de/sid/gkv/kvid-10", "http://fhir.de/sid/gkv/kvk-versichertennummer"), FindingOldNumber, "Person"},
		{"wrong check digit of the payor", replace(string(example().Payor), "109500960"), FindingCheckDigit, "Payor"},
		{"no payor", replace("http://fhir.de/sid/arge-ik/iknr", "urn:other"), FindingUnreadable, "Payor"},
		{"impossible date", replace(`<end value="2026-10-05"/>`, `<end value="2026-02-30"/>`), FindingUnreadable, "Until"},
		{"no end", replace(`<end value="2026-10-05"/>`, ""), FindingMissing, "Until"},
		{"no start", replace(`<start value="2026-09-29"/>`, ""), FindingMissing, "From"},
		{"unknown type", replace(`code value="ERST"`, `code value="ZWEIT"`), FindingUnreadable, "Type"},
		{"a second person", replace("</Patient>", "</Patient><Patient><identifier><system value='http://fhir.de/sid/gkv/kvid-10'/><value value='T000000001'/></identifier></Patient>"), FindingAmbiguous, "Person"},
		{"also a cancellation", replace("</Patient>", "</Patient></resource></entry><entry><resource><List></List>"), FindingKindUnclear, ""},
		{"too deep", replace("<Patient>", strings.Repeat("<a>", MaxDepth)+"<Patient>"), FindingTooDeep, ""},
		{"too large", good + strings.Repeat(" ", MaxSize), FindingTooLarge, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			doc, findings := Read([]byte(tc.xml))
			if !has(findings, tc.kind, tc.field) {
				t.Errorf("findings %v, want %v", findings, Finding{tc.kind, tc.field})
			}
			if doc.Hash != sha256.Sum256([]byte(tc.xml)) || doc.Size != len(tc.xml) {
				t.Error("hash or size are not those of the octets")
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v %v", doc, doc, doc, findings), number) {
				t.Error("the number of the person is printed")
			}
		})
	}
}

// TestWrongCharsetIsStillRead: identifiers of a document in another character set are shown with the finding.
func TestWrongCharsetIsStillRead(t *testing.T) {
	want, _ := Read(Generate(example()))
	latin := bytes.ReplaceAll(Generate(example()), []byte("ä"), []byte{0xe4})
	latin = bytes.ReplaceAll(latin, []byte("ü"), []byte{0xfc})
	latin = bytes.Replace(latin, []byte("UTF-8"), []byte("ISO-8859-1"), 1)
	got, _ := Read(latin)
	want.Hash, want.Size, got.Hash, got.Size = [32]byte{}, 0, [32]byte{}, 0
	if diff := cmp.Diff(factsOf(want), factsOf(got)); diff != "" {
		t.Error(diff)
	}
}

// TestFirstOccurrenceCounts: a second patient does not move a document to another person.
func TestFirstOccurrenceCounts(t *testing.T) {
	second := "<entry><resource><Patient><identifier><system value='http://fhir.de/sid/gkv/kvid-10'/><value value='A000000001'/></identifier></Patient></resource></entry></Bundle>"
	doc, _ := Read([]byte(strings.Replace(string(Generate(example())), "</Bundle>", second, 1)))
	if doc.Person != example().Person.Number {
		t.Error("the second person counts")
	}
}

// TestExtensionsAreNotTheValue: an alternative IK inside an extension of the payor is not the payor.
func TestExtensionsAreNotTheValue(t *testing.T) {
	inner := `<payor><identifier><extension url="x"><valueIdentifier><system value="http://fhir.de/sid/arge-ik/iknr"/><value value="260326822"/></valueIdentifier></extension>`
	xml := strings.Replace(string(Generate(example())), "<payor>", "", 1)
	at := strings.LastIndex(xml[:strings.Index(xml, string(example().Payor))], "<identifier>")
	doc, findings := Read([]byte(xml[:at] + inner + xml[at+len("<identifier>"):]))
	if doc.Payor != example().Payor || len(findings) != 0 {
		t.Errorf("payor %s, findings %v", doc.Payor, findings)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(Generate(example()))
	f.Add(GenerateCancellation(withdrawal()))
	f.Add([]byte("\xef\xbb\xbf<?xml version='1.0' encoding='latin1'?><Bundle xmlns='http://hl7.org/fhir'><a\xff/></Bundle>"))
	f.Add([]byte("<!DOCTYPE a [<!ENTITY b 'c'>]><Bundle>&b;</Bundle>"))
	if octets := shared.Optional(f, "data/eau/valid/Beispiel_2-eAU_FOLGE_GKV_positiv.xml"); octets != nil {
		f.Add(octets)
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		doc, findings := Read(octets)
		if doc.Hash != sha256.Sum256(octets) || len(findings) > MaxFindings {
			t.Fatal("the hash or the number of findings is wrong")
		}
		if doc.Kind == KindUnknown && len(findings) == 0 {
			t.Fatal("a document of unknown kind without a finding")
		}
		if doc.Identifier == "" && len(findings) == 0 {
			t.Fatal("a document without identifier and without a finding")
		}
		if doc.Person != "" && doc.Person.String() == "KVNR(?)" {
			t.Fatal("a person's number without its form")
		}
		if doc.Payor != "" && querschott.IKFromNumber(doc.Payor.Number()) != doc.Payor {
			t.Fatal("a payor without its form")
		}
	})
}

func BenchmarkRead(b *testing.B) {
	octets := Generate(example())
	b.SetBytes(int64(len(octets)))
	b.ReportAllocs()
	for b.Loop() {
		Read(octets)
	}
}

func BenchmarkGenerate(b *testing.B) {
	c := example()
	b.ReportAllocs()
	for b.Loop() {
		Generate(c)
	}
}
