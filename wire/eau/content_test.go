package eau

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/querschott/querschott/wire/internal/shared"
)

func keyOf(c Certificate) ContentKey {
	doc, _ := Read(Generate(c))
	return doc.Content
}

func drawDate(t *rapid.T, label string) Date {
	return DateOf(issued.AddDate(0, 0, rapid.IntRange(-40, 40).Draw(t, label)))
}

func drawCertificate(t *rapid.T) Certificate {
	c := example()
	c.Type = rapid.SampledFrom([]Type{First, Following, FirstAndLast, FollowingEnd}).Draw(t, "type")
	c.From, c.Until, c.Determined = drawDate(t, "from"), drawDate(t, "until"), drawDate(t, "determined")
	c.Person.Number = kvnr(rapid.StringMatching(`[A-Z][0-9]{8}`).Draw(t, "person"))
	c.Doctor.Number = rapid.StringMatching(`[0-9]{9}`).Draw(t, "doctor")
	c.Practice.Number = rapid.StringMatching(`[0-9]{9}`).Draw(t, "practice")
	c.Diagnoses = rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Diagnosis {
		return Diagnosis{
			rapid.StringMatching(`[A-Z][0-9]{2}(\.[0-9]{1,2})?`).Draw(t, "code"), rapid.SampledFrom([]string{"A", "G", "V", "Z"}).Draw(t, "certainty"),
			rapid.SampledFrom([]string{"", "B", "L", "R"}).Draw(t, "side"),
		}
	}), 1, 6, func(d Diagnosis) Diagnosis { return d }).Draw(t, "diagnoses")
	return c
}

// TestRecreatedDocumentHasTheSameContent: K-11. Another identifier, another time and another order change the octets only.
func TestRecreatedDocumentHasTheSameContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCertificate(t)
		again := c
		again.Identifier = NewUUID(c.Identifier, rapid.String().Draw(t, "name"))
		again.Issued = c.Issued.Add(time.Duration(rapid.IntRange(0, 1000).Draw(t, "later")) * time.Hour)
		again.Diagnosis, again.TestNumber, again.Practice.Phone = "anders", "Y/1", "1"
		again.Diagnoses = rapid.Permutation(c.Diagnoses).Draw(t, "order")
		a, findings := Read(Generate(c))
		b, _ := Read(Generate(again))
		if len(findings) > 0 || a.Content.IsZero() || a.Content != b.Content {
			t.Fatalf("findings %v; no key: %t; the same key: %t", findings, a.Content.IsZero(), a.Content == b.Content)
		}
		if a.Hash == b.Hash || a.Identifier == b.Identifier {
			t.Fatal("the document was not made again")
		}
	})
}

// TestAnyChangeOfContentChangesTheKey changes each part alone.
func TestAnyChangeOfContentChangesTheKey(t *testing.T) {
	other := map[string]func(*Certificate){
		"person":     func(c *Certificate) { c.Person.Number = kvnr("Z" + otherDigits(c.Person.Number.Reveal()[1:9])) },
		"doctor":     func(c *Certificate) { c.Doctor.Number = otherDigits(c.Doctor.Number) },
		"practice":   func(c *Certificate) { c.Practice.Number = otherDigits(c.Practice.Number) },
		"until":      func(c *Certificate) { c.Until = nextDay(c.Until) },
		"determined": func(c *Certificate) { c.Determined = nextDay(c.Determined) },
		"from": func(c *Certificate) {
			c.From = nextDay(c.From)
			if c.Type == Following || c.Type == FollowingEnd {
				c.Until = nextDay(c.Until) // such a note has no start
			}
		},
		"type": func(c *Certificate) {
			c.Type = map[Type]Type{First: Following, Following: First, FirstAndLast: FollowingEnd, FollowingEnd: FirstAndLast}[c.Type]
		},
		"end": func(c *Certificate) {
			c.Type = map[Type]Type{First: FirstAndLast, FirstAndLast: First, Following: FollowingEnd, FollowingEnd: Following}[c.Type]
		},
		"code":      func(c *Certificate) { c.Diagnoses[0].Code = "XX" },
		"certainty": func(c *Certificate) { c.Diagnoses[0].Certainty = "?" },
		"side":      func(c *Certificate) { c.Diagnoses[0].Side = "?" },
		"one more":  func(c *Certificate) { c.Diagnoses = append(c.Diagnoses, Diagnosis{"XX", "G", ""}) },
		"one less":  func(c *Certificate) { c.Diagnoses = append([]Diagnosis{{"XX", "G", ""}}, c.Diagnoses[1:]...) },
		"parts moved": func(c *Certificate) {
			c.Diagnoses[0].Code, c.Diagnoses[0].Certainty = c.Diagnoses[0].Code+c.Diagnoses[0].Certainty, ""
		},
		"numbers swapped": func(c *Certificate) {
			c.Doctor.Number, c.Practice.Number = c.Practice.Number+"1", c.Doctor.Number+"2"
		},
	}
	rapid.Check(t, func(t *rapid.T) {
		c := drawCertificate(t)
		changed := c
		changed.Diagnoses = slices.Clone(c.Diagnoses)
		part := rapid.SampledFrom(sortedKeys(other)).Draw(t, "part")
		other[part](&changed)
		if keyOf(c) == keyOf(changed) {
			t.Fatalf("%s does not count", part)
		}
	})
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func otherDigits(s string) string {
	return strings.Map(func(r rune) rune { return '0' + (r-'0'+1)%10 }, s)
}

func nextDay(d Date) Date { return DateOf(d.Time().AddDate(0, 0, 1)) }

// secondEnd is the rest of a document that says twice, and differently, until when the person is unable to work.
const secondEnd = `<entry><resource><Condition><code><coding>
	<system value="https://fhir.kbv.de/CodeSystem/KBV_CS_SFHIR_KBV_FHIR_DOKUMENTTYPE"/><code value="eAU"/>
</coding></code><onsetPeriod><end value="2027-01-01"/></onsetPeriod></Condition></resource></entry></Bundle>`

// TestNoKeyOfHalfADocument: what is incomplete or means two things has no key.
func TestNoKeyOfHalfADocument(t *testing.T) {
	good := string(Generate(example()))
	if keyOf(example()).IsZero() {
		t.Fatal("the unchanged document has no key")
	}
	c := example()
	for name, change := range map[string][2]string{
		"person":                 {c.Person.Number.Reveal(), "none"},
		"old number":             {"http://fhir.de/sid/gkv/kvid-10", "http://fhir.de/sid/gkv/kvk-versichertennummer"},
		"type":                   {`code value="ERST"`, `code value="X"`},
		"from":                   {`<start value="2026-09-29"/>`, ""},
		"until":                  {`<end value="2026-10-05"/>`, `<end value="soon"/>`},
		"determined":             {`<valueDateTime value="2026-09-29"/>`, ""},
		"a code":                 {`<code value="M54.5"/>`, ""},
		"the end":                {"</Bundle>", ""},
		"a second end":           {"</Bundle>", secondEnd},
		"a document type":        {"</Bundle>", "<!DOCTYPE a></Bundle>"},
		"nothing but an opening": {"</Bundle>", strings.Repeat("<a>", MaxDepth)},
	} {
		if !strings.Contains(good, change[0]) {
			t.Fatalf("%s: the document has no %q", name, change[0])
		}
		doc, findings := Read([]byte(strings.ReplaceAll(good, change[0], change[1])))
		if !doc.Content.IsZero() || len(findings) == 0 {
			t.Errorf("%s: a key, or no findings: %v", name, findings)
		}
	}
	for _, octets := range [][]byte{nil, GenerateCancellation(withdrawal())} {
		if doc, _ := Read(octets); !doc.Content.IsZero() {
			t.Error("what is no sick note has a key")
		}
	}
}

// TestIssuerWithoutNumbers: practice and doctor may have a Telematik-ID only. Where they have numbers it does not count.
func TestIssuerWithoutNumbers(t *testing.T) {
	good := Generate(example())
	doctor := []byte("https://fhir.kbv.de/NamingSystem/KBV_NS_Base_ANR")
	practice := []byte("https://fhir.kbv.de/NamingSystem/KBV_NS_Base_BSNR")
	doctorOnly := bytes.ReplaceAll(good, practice, []byte(telematikID))
	neither := bytes.ReplaceAll(doctorOnly, doctor, []byte(telematikID))
	more := bytes.Replace(good, []byte("</Organization>"), []byte("<identifier><system value='"+telematikID+"'/><value value='5-2'/></identifier></Organization>"), 1)
	keys := map[string]ContentKey{}
	for name, octets := range map[string][]byte{"both": good, "doctor": doctorOnly, "neither": neither, "more": more} {
		doc, _ := Read(octets)
		if keys[name] = doc.Content; doc.Content.IsZero() {
			t.Errorf("%s: no key", name)
		}
	}
	if keys["more"] != keys["both"] || keys["doctor"] == keys["both"] || keys["neither"] == keys["doctor"] {
		t.Error("the Telematik-ID counts beside numbers, or does not in their place")
	}
	nobody := bytes.ReplaceAll(bytes.ReplaceAll(good, []byte(`value="`+example().Doctor.Number+`"`), nil), []byte(`value="`+example().Practice.Number+`"`), nil)
	if doc, _ := Read(nobody); !doc.Content.IsZero() {
		t.Error("a document of nobody has a key")
	}
}

// TestPublishedContents: samples with a person's number have a key, and it tells them apart as their contents do.
func TestPublishedContents(t *testing.T) {
	for _, file := range shared.Glob(t, "data/eau/valid/*.xml") {
		octets, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, _ := Read(octets)
		if doc.Content.IsZero() != (doc.Person == "") {
			t.Errorf("%s: no key: %t; no person: %t", file, doc.Content.IsZero(), doc.Person == "")
		}
		later := bytes.ReplaceAll(octets, []byte(doc.Identifier), []byte("2ed6657d-e927-568b-95e1-2665a8aea6a2"))
		if again, _ := Read(later); again.Content != doc.Content || again.Identifier == doc.Identifier {
			t.Errorf("%s: made again, it has another content", file)
		}
	}
}

// TestContentIsNotPrinted: neither the key nor a diagnosis is shown by a document.
func TestContentIsNotPrinted(t *testing.T) {
	doc, findings := Read(Generate(example()))
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "doc", doc, "key", doc.Content)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "doc", doc, "key", doc.Content)
	asJSON, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s %x %d %v %s %s", doc, doc, doc, doc.Content, doc.Content, doc.Content[:0], findings, asJSON, log.String())
	k := doc.Content
	for _, secret := range []string{"J06.9", "M54.5", "S93.4", fmt.Sprintf("%x", k[:4]), fmt.Sprintf("%X", k[:4]), strings.Trim(fmt.Sprintf("%d", k[:4]), "[]")} {
		if strings.Contains(shown, secret) {
			t.Errorf("%q is shown", secret)
		}
	}
	if !strings.Contains(shown, "[content]") {
		t.Error("the key does not print as a word")
	}
}
