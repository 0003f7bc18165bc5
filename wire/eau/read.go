package eau

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"unicode/utf8"

	"github.com/querschott/querschott"
)

const fhirNamespace = "http://hl7.org/fhir"

// Read reads the octets of a FHIR file: the content of the signed document, unchanged.
func Read(octets []byte) (Document, []Finding) {
	r := reader{doc: Document{Hash: sha256.Sum256(octets), Size: len(octets)}}
	if len(octets) > MaxSize {
		r.note(FindingTooLarge, "")
		return r.doc, r.findings
	}
	text, bom := bytes.CutPrefix(octets, []byte("\xef\xbb\xbf"))
	if bom {
		r.note(FindingBOM, "")
	}
	r.parse(text)
	r.finish()
	return r.doc, r.findings
}

// reader follows the elements of one document. Everything that counts lies at fixed paths, so it compares the path of
// each element and keeps nothing else.
type reader struct {
	doc      Document
	findings []Finding

	path    []byte // of the open elements: "Bundle/entry/resource/Patient/identifier"
	marks   []int  // length of path before each open element
	root    bool   // was seen
	bundle  bool   // the root is a FHIR Bundle
	profile string // of the bundle
	asked   bool   // a cancellation's List was seen
	stopped bool   // before the end of the document

	res     resource // the resource being read
	content content
}

// resource collects what decides about a resource only at its end.
type resource struct {
	system, code, value string // of the innermost identifier or coding being read
	extension           string // url of the innermost extension of a Condition
	certainty, side     string // of the ICD code being read
	diagnoses           int
	condition           bool // is the Condition_AU
	from, until, found  string
}

func (r *reader) note(kind FindingKind, field string) {
	f := Finding{kind, field}
	for _, have := range r.findings {
		if have == f {
			return
		}
	}
	if len(r.findings) < MaxFindings {
		r.findings = append(r.findings, f)
	}
}

func (r *reader) parse(text []byte) {
	s := scanner{}
	if utf8.Valid(text) {
		s.text = string(text)
	} else {
		r.note(FindingCharset, "")
		s.text = latin1(text)
	}
	for {
		t, err := s.next()
		if s.charset {
			r.note(FindingCharset, "") // what counts here is ASCII in each of them
		}
		switch {
		case err != nil:
			r.stop(FindingSyntax)
			return
		case t == tokenEnd:
			return
		case t == tokenDirective:
			r.stop(FindingDTD)
			return
		case t == tokenClose:
			r.end()
		case !r.start(&s):
			return
		}
	}
}

// latin1 widens every octet to a character: text that is no UTF-8 is mostly of this kind, and its ASCII stays ASCII.
func latin1(octets []byte) string {
	text := make([]byte, 0, 2*len(octets))
	for _, c := range octets {
		text = utf8.AppendRune(text, rune(c))
	}
	return string(text)
}

// stop notes why reading ends before the end of the document.
func (r *reader) stop(why FindingKind) {
	r.note(why, "")
	r.stopped = true
}

func (r *reader) start(s *scanner) bool {
	if len(r.marks) == MaxDepth {
		r.stop(FindingTooDeep)
		return false
	}
	_, local := cutName(s.name)
	if len(r.marks) == 0 {
		if r.root {
			r.stop(FindingSyntax) // a document has one root
			return false
		}
		r.root = true
		r.bundle = local == "Bundle" && s.space == fhirNamespace
	}
	r.marks = append(r.marks, len(r.path))
	if len(r.path) > 0 {
		r.path = append(r.path, '/')
	}
	r.path = append(r.path, local...)
	if len(r.marks) == 4 {
		r.res = resource{}
	}
	r.element(s.value, s.url)
	return true
}

// element takes the value of the element that was just opened.
func (r *reader) element(value, url string) {
	switch string(r.path) {
	case "Bundle/meta/profile":
		r.set(&r.profile, value, "profile")
	case "Bundle/identifier/value":
		r.set(&r.doc.Identifier, identifier(value), "Identifier")
	case "Bundle/entry/resource/Composition/date":
		r.date(&r.doc.Issued, value, "Issued")
	case "Bundle/entry/resource/Composition/type/coding",
		"Bundle/entry/resource/Patient/identifier",
		"Bundle/entry/resource/Practitioner/identifier",
		"Bundle/entry/resource/PractitionerRole/organization/identifier",
		"Bundle/entry/resource/Organization/identifier",
		"Bundle/entry/resource/Coverage/type/coding",
		"Bundle/entry/resource/Coverage/payor/identifier",
		"Bundle/entry/resource/Condition/code/coding",
		"Bundle/entry/resource/List/entry/item/identifier":
		r.res.system, r.res.code, r.res.value, r.res.certainty, r.res.side = "", "", "", "", ""
	case "Bundle/entry/resource/Composition/type/coding/system",
		"Bundle/entry/resource/Patient/identifier/system",
		"Bundle/entry/resource/Practitioner/identifier/system",
		"Bundle/entry/resource/PractitionerRole/organization/identifier/system",
		"Bundle/entry/resource/Organization/identifier/system",
		"Bundle/entry/resource/Coverage/type/coding/system",
		"Bundle/entry/resource/Coverage/payor/identifier/system",
		"Bundle/entry/resource/Condition/code/coding/system":
		r.res.system = value
	case "Bundle/entry/resource/Composition/type/coding/code",
		"Bundle/entry/resource/Coverage/type/coding/code",
		"Bundle/entry/resource/Condition/code/coding/code":
		r.res.code = value
	case "Bundle/entry/resource/Patient/identifier/value",
		"Bundle/entry/resource/Practitioner/identifier/value",
		"Bundle/entry/resource/PractitionerRole/organization/identifier/value",
		"Bundle/entry/resource/Organization/identifier/value",
		"Bundle/entry/resource/Coverage/payor/identifier/value",
		"Bundle/entry/resource/List/entry/item/identifier/value":
		r.res.value = value
	case "Bundle/entry/resource/List":
		r.asked = true
	case "Bundle/entry/resource/Condition/extension", "Bundle/entry/resource/Condition/code/coding/extension":
		r.res.extension = url
	case "Bundle/entry/resource/Condition/code/coding/extension/valueCoding/code":
		switch r.res.extension {
		case "http://fhir.de/StructureDefinition/icd-10-gm-diagnosesicherheit":
			r.res.certainty = value
		case "http://fhir.de/StructureDefinition/seitenlokalisation":
			r.res.side = value
		}
	case "Bundle/entry/resource/Condition/extension/valueDateTime":
		if r.res.extension == "http://hl7.org/fhir/StructureDefinition/condition-assertedDate" {
			r.res.found = value
		}
	case "Bundle/entry/resource/Condition/onsetPeriod/start":
		r.res.from = value
	case "Bundle/entry/resource/Condition/onsetPeriod/end":
		r.res.until = value
	}
}

// end takes what an element's children said together.
func (r *reader) end() {
	switch string(r.path) {
	case "Bundle/entry/resource/Composition/type/coding":
		if r.res.system == "https://fhir.kbv.de/CodeSystem/KBV_CS_EAU_AU_Type" {
			r.noteType(r.res.code)
		}
	case "Bundle/entry/resource/Patient/identifier":
		r.person(r.res.system, r.res.value)
	case "Bundle/entry/resource/Practitioner/identifier",
		"Bundle/entry/resource/PractitionerRole/organization/identifier",
		"Bundle/entry/resource/Organization/identifier":
		r.content.issuer(r.res.system, r.res.value)
	case "Bundle/entry/resource/Coverage/type/coding":
		r.set(&r.doc.Scheme, short(r.res.code), "Scheme")
	case "Bundle/entry/resource/Coverage/payor/identifier":
		r.payor(r.res.system, r.res.value)
	case "Bundle/entry/resource/Condition/code/coding":
		switch r.res.system {
		case "http://fhir.de/CodeSystem/bfarm/icd-10-gm":
			r.res.diagnoses++
			r.content.diagnosis(r.res.code, r.res.certainty, r.res.side)
		case "https://fhir.kbv.de/CodeSystem/KBV_CS_SFHIR_KBV_FHIR_DOKUMENTTYPE":
			r.res.condition = r.res.code == "eAU"
		}
	case "Bundle/entry/resource/Condition":
		r.doc.Diagnoses += r.res.diagnoses
		if r.res.condition {
			r.optionalDate(&r.doc.From, r.res.from, "From")
			r.optionalDate(&r.doc.Until, r.res.until, "Until")
			r.optionalDate(&r.doc.Determined, r.res.found, "Determined")
		}
	case "Bundle/entry/resource/List/entry/item/identifier":
		r.set(&r.doc.Cancels, identifier(r.res.value), "Cancels")
	}
	last := len(r.marks) - 1
	r.path, r.marks = r.path[:r.marks[last]], r.marks[:last]
}

func (r *reader) set(dst *string, value, field string) {
	switch {
	case value == "":
		r.note(FindingUnreadable, field)
	case *dst == "":
		*dst = strings.Clone(value) // the document's text is not kept for it
	case *dst != value:
		r.note(FindingAmbiguous, field)
	}
}

func (r *reader) date(dst *Date, value, field string) {
	d := Date(value)
	if d.Time().IsZero() {
		r.note(FindingUnreadable, field)
		return
	}
	s := string(*dst)
	r.set(&s, value, field)
	*dst = Date(s)
}

func (r *reader) optionalDate(dst *Date, value, field string) {
	if value != "" {
		r.date(dst, value, field)
	}
}

func (r *reader) noteType(code string) {
	switch t := Type(code); t {
	case First, Following, FirstAndLast, FollowingEnd:
		s := string(r.doc.Type)
		r.set(&s, code, "Type")
		r.doc.Type = Type(s)
	default:
		r.note(FindingUnreadable, "Type")
	}
}

func (r *reader) person(system, value string) {
	switch system {
	case "http://fhir.de/sid/gkv/kvid-10":
	case "http://fhir.de/sid/gkv/kvk-versichertennummer":
		r.note(FindingOldNumber, "Person")
		return
	default:
		r.note(FindingUnreadable, "Person")
		return
	}
	if len(value) != 10 || value[0] < 'A' || value[0] > 'Z' || !digits(value[1:]) {
		r.note(FindingUnreadable, "Person")
		return
	}
	if _, err := querschott.ParseKVNR(value); err != nil {
		r.note(FindingCheckDigit, "Person")
	}
	s := r.doc.Person.Reveal()
	r.set(&s, value, "Person")
	r.doc.Person = querschott.KVNR(s)
}

func (r *reader) payor(system, value string) {
	if system != "http://fhir.de/sid/arge-ik/iknr" || len(value) != 9 || !digits(value) {
		r.note(FindingUnreadable, "Payor")
		return
	}
	if _, err := querschott.ParseIK(value); err != nil {
		r.note(FindingCheckDigit, "Payor")
	}
	s := string(r.doc.Payor)
	r.set(&s, value, "Payor")
	r.doc.Payor = querschott.IK(s)
}

// finish decides what the document is and notes what such a document lacks.
func (r *reader) finish() {
	d := &r.doc
	if !r.bundle {
		r.note(FindingNotABundle, "")
	}
	note := d.Type != "" || !d.Until.Time().IsZero()
	switch {
	case note == r.asked:
		r.note(FindingKindUnclear, "")
	case note:
		d.Kind = KindCertificate
	default:
		d.Kind = KindCancellation
	}
	if d.Kind == KindUnknown {
		d.Kind = kindByProfile(r.profile)
	}
	if r.profile != profileCertificate && r.profile != profileCancellation {
		r.note(FindingProfile, "")
	}
	if u, err := ParseUUID(d.Identifier); d.Identifier != "" && (err != nil || u.Version() != 5) {
		r.note(FindingVersion, "Identifier")
	}
	r.must(d.Identifier != "", "Identifier")
	r.must(d.Issued != "", "Issued")
	switch d.Kind {
	case KindCertificate:
		r.must(d.Person != "", "Person")
		r.must(d.Payor != "", "Payor")
		r.must(d.Type != "", "Type")
		r.must(d.Until != "", "Until")
		r.must(d.Determined != "", "Determined")
		r.must(d.Diagnoses > 0 && !r.content.incomplete, "Diagnoses")
		r.must(d.From != "" || d.Type == Following || d.Type == FollowingEnd, "From")
		d.Content = r.contentKey()
	case KindCancellation:
		r.must(d.Cancels != "", "Cancels")
	case KindUnknown:
	}
}

func (r *reader) must(ok bool, field string) {
	if ok {
		return
	}
	for _, f := range r.findings {
		if f.Field == field {
			return // the reason is known already
		}
	}
	r.note(FindingMissing, field)
}

const (
	profileCertificate  = "https://fhir.kbv.de/StructureDefinition/KBV_PR_EAU_Bundle|1.2"
	profileCancellation = "https://fhir.kbv.de/StructureDefinition/KBV_PR_EAU_Storno_Bundle|1.2"
)

func kindByProfile(profile string) Kind {
	name, _, _ := strings.Cut(profile, "|")
	switch name {
	case strings.TrimSuffix(profileCertificate, "|1.2"):
		return KindCertificate
	case strings.TrimSuffix(profileCancellation, "|1.2"):
		return KindCancellation
	default:
		return KindUnknown
	}
}

// identifier brings an identifier into the form in which equal ones are equal: a UUID bare and in lower case, anything
// else as it stands, cut short.
func identifier(s string) string {
	if u, err := ParseUUID(s); err == nil {
		return u.String()
	}
	return short(s)
}

const maxValue = 200

func short(s string) string {
	if len(s) <= maxValue {
		return s
	}
	return strings.ToValidUTF8(s[:maxValue], "")
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
