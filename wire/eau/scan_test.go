package eau

import (
	"bytes"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott/wire/internal/shared"
)

// readWithStandardLibrary is Read with encoding/xml in place of the scanner.
func readWithStandardLibrary(octets []byte) (Document, []Finding) {
	r := reader{doc: Document{Hash: sha256.Sum256(octets), Size: len(octets)}}
	text, bom := bytes.CutPrefix(octets, []byte("\xef\xbb\xbf"))
	if bom {
		r.note(FindingBOM, "")
	}
	if !utf8.Valid(text) {
		r.note(FindingCharset, "")
		text = []byte(latin1(text))
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) {
		r.note(FindingCharset, "")
		return in, nil
	}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.stop(FindingSyntax)
			break
		}
		if _, ok := token.(xml.Directive); ok {
			r.stop(FindingDTD)
			break
		}
		if _, ok := token.(xml.EndElement); ok {
			r.end()
		}
		if e, ok := token.(xml.StartElement); ok {
			s, ok := standardElement(e)
			if !ok {
				r.stop(FindingSyntax)
				break
			}
			if !r.start(s) {
				break
			}
		}
	}
	r.finish()
	return r.doc, r.findings
}

// standardElement is what the scanner says about an element. encoding/xml takes the same attribute twice; the scanner does not.
func standardElement(e xml.StartElement) (*scanner, bool) {
	s := &scanner{name: e.Name.Local, space: e.Name.Space}
	count := map[string]int{}
	for _, a := range e.Attr {
		if a.Name.Space != "" {
			continue
		}
		count[a.Name.Local]++
		switch a.Name.Local {
		case "value":
			s.value = a.Value
		case "url":
			s.url = a.Value
		}
	}
	return s, count["value"] < 2 && count["url"] < 2
}

// sameReading compares the scanner with encoding/xml.
func sameReading(t *testing.T, octets []byte) {
	t.Helper()
	doc, findings := Read(octets)
	want, wantFindings := readWithStandardLibrary(octets)
	if has(findings, FindingDTD, "") && !has(wantFindings, FindingDTD, "") {
		return // the scanner does not read a document type, not even to find that it is malformed
	}
	if diff := cmp.Diff(wantFindings, findings); diff != "" {
		t.Errorf("findings (-encoding/xml +scanner):\n%s", diff)
	}
	if doc.Kind != want.Kind || doc.Content != want.Content {
		t.Errorf("kind %q, encoding/xml %q; the same content: %t", doc.Kind, want.Kind, doc.Content == want.Content)
	}
	if diff := cmp.Diff(factsOf(want), factsOf(doc)); diff != "" {
		t.Errorf("facts (-encoding/xml +scanner):\n%s", diff)
	}
}

// in puts text into a document where its form decides whether the identifier behind it is read.
func in(text string) []byte {
	return []byte(`<Bundle xmlns="http://hl7.org/fhir">` + text + `<identifier><value value="urn:uuid:2ed6657d-e927-568b-95e1-2665a8aea6a2"/></identifier></Bundle>`)
}

var scanned = []string{
	"", "text", "a\r\nb\rc", "<a/>", "<a />", "<a / >", "< a/>", "<a></a >", "<a></ a>", "<a></b>", "<a><b></a></b>", "</a>", "<a", "<a b", "<a b=", "<a b='",
	"<a b>", "<a b=c>", "<a b='c'd='e'/>", "<a b = \"c\" />", "<a b='<'/>", "<a b='>'/>", "<a b=']]>'/>", "<1/>", "<-a/>", "<a1.b-c_d/>", "<a:b/>", "<a:b:c/>", "<:a/>", "<a:/>",
	"<a value='1' value='2'/>", "<a url='1' url='2'/>", "<a x:b='1' x:b='2'/>", "<ä/>", "<a·/>", "<·a/>", "<×/>", "<a ×='1'/>", "<\ufffe/>",
	"&lt;&gt;&amp;&apos;&quot;", "&LT;", "&bomb;", "&", "&amp", "& amp;", "&;", "&#;", "&#x;", "&#65;", "&#x41;", "&#X41;", "&#+65;", "&#0;", "&#xD800;", "&#xFFFE;", "&#x110000;",
	"&#99999999999999999999;", "&#65 ;", "\x00", "\x0b", "\x7f", "\u0085", "\ufffe", "\uffff", "\ufffd", "\ufeff",
	"]]>", "]]&gt;", "]&amp;]>", "<![CDATA[<a>&b;]]>", "<![CDATA[]]]]>", "<![CDATA[\x01]]>", "<![CDATA[", "<![CDAT[]]>", "<![",
	"<!-- a -->", "<!---->", "<!-->", "<!--->", "<!-- -- -->", "<!-- --->", "<!--\x01-->", "<!- -->", "<!--", "<!", "<!x>", "<!DOCTYPE a>",
	"<?a?>", "<?a b?>", "<??>", "<?a", "<?1?>", "<?a:b:c ??>", "<?xml?>", "<?xml version='1.0'?>", "<?xml version='1.1'?>", "<?xml version=\"1.0\" encoding='utf-8'?>",
	"<?xml encoding='latin1'?>", "<?xml encoding=latin1?>", "<?xml encoding='latin1?>", "<?xml encoding=", "<?xml encoding=x encoding='latin1'?>", "<?XML encoding='latin1'?>",
	"<id value='&#10;a&#9;\r\nb'/>", "</Bundle>text", "</Bundle><Bundle>", "</Bundle><a/>", "</Bundle></Bundle>", "<meta><profile value='a&amp;b'/></meta>",
	"<identifier><value value='1&#50;3'/></identifier>", "<identifier><value value='a\r\nb\rc'/></identifier>", "<identifier><value x:value='no'/></identifier>",
	"<x:identifier xmlns:x='http://hl7.org/fhir'><x:value value='A'/></x:identifier>",
}

// TestScannerReadsLikeEncodingXML: whatever stands in a document, it is read, or not read, as the standard library reads it.
func TestScannerReadsLikeEncodingXML(t *testing.T) {
	for _, text := range scanned {
		t.Run(text, func(t *testing.T) {
			sameReading(t, in(text))
			sameReading(t, []byte(text))
			sameReading(t, bytes.Replace(Generate(example()), []byte("<Patient>"), []byte("<Patient>"+text), 1))
			sameReading(t, bytes.Replace(Generate(example()), []byte("Erkältung"), []byte(text), 1))
		})
	}
	for name, root := range map[string]string{
		"prefix": "<f:Bundle xmlns:f='http://hl7.org/fhir'/>", "another prefix": "<f:Bundle xmlns:g='http://hl7.org/fhir'/>",
		"default for a prefix": "<f:Bundle xmlns='http://hl7.org/fhir'/>", "prefix for none": "<Bundle xmlns:f='http://hl7.org/fhir'/>",
		"twice": "<Bundle xmlns='urn:a' xmlns='http://hl7.org/fhir'/>", "escaped": "<Bundle xmlns='http:&#47;/hl7.org/fhir'/>",
	} {
		t.Run(name, func(t *testing.T) { sameReading(t, []byte(root)) })
	}
}

// TestScannerOnPublishedDocuments compares every sample, and every sample cut off anywhere.
func TestScannerOnPublishedDocuments(t *testing.T) {
	for _, file := range shared.Glob(t, "data/eau/*/*.xml") {
		octets, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sameReading(t, octets)
		for n := 1; n < len(octets); n += 6007 {
			sameReading(t, octets[:n])
		}
	}
}

// prefixed finds what encoding/xml reads without regard to name spaces that undeclare a prefix.
var prefixed = regexp.MustCompile(`:(value|url)|xmlns:[^=]*=\s*(""|'')`)

func FuzzScannerReadsLikeEncodingXML(f *testing.F) {
	for _, text := range scanned {
		f.Add(in(text))
		f.Add([]byte(text))
	}
	f.Add(Generate(example()))
	f.Add(GenerateCancellation(withdrawal()))
	f.Fuzz(func(t *testing.T, octets []byte) {
		if utf8.Valid(octets) {
			// encoding/xml has the name characters of XML 1.0's fourth edition. These few are judged alike in both.
			octets = []byte(strings.Map(func(r rune) rune {
				if r < 0x100 || r >= 0xfffe && r <= 0xffff || r == 0xfeff {
					return r
				}
				return 'ä'
			}, string(octets)))
		}
		if !prefixed.Match(octets) {
			sameReading(t, octets)
		}
	})
}
