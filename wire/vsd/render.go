package vsd

import "errors"

// Envelope is what differs between two bundles of one record.
type Envelope struct {
	ID      ID      // of the bundle
	Created Instant // Bundle.timestamp
}

// ErrVersion says that a version of the profiles cannot be rendered.
var ErrVersion = errors.New("there is no such version of the VSDM profiles")

// Render writes a valid record as a VSDMBundle, without blanks between elements. It fails only with [ErrVersion].
func Render(r *Record, v Version, f Format, e Envelope) ([]byte, error) {
	return AppendBundle(make([]byte, 0, sizeHint), r, v, f, e)
}

// sizeHint is a size that one generated bundle in a hundred exceeds, in either format.
const sizeHint = 6 << 10

// AppendBundle appends what [Render] writes to dst.
func AppendBundle(dst []byte, r *Record, v Version, f Format, e Envelope) ([]byte, error) {
	if _, ok := ParseVersion(string(v)); !ok {
		return dst, ErrVersion
	}
	w := bundleWriter{out: out{b: dst, xml: f == XML}, version: v}
	w.bundle(r, e)
	return w.b, nil
}

// bundleWriter writes one bundle.
type bundleWriter struct {
	out
	version Version
}

func (w *bundleWriter) bundle(r *Record, e Envelope) {
	w.root("Bundle")
	w.id(e.ID)
	w.meta("VSDMBundle", r.Updated)
	w.text("type", "collection")
	w.text("timestamp", string(e.Created))
	w.list("entry")
	w.entry("Patient", r.Patient.ID)
	w.patient(r)
	w.endEntry("Patient")
	w.entry("Coverage", r.Coverage.ID)
	w.coverage(r)
	w.endEntry("Coverage")
	for i := range r.Payors {
		w.entry("Organization", r.Payors[i].ID)
		w.organization(&r.Payors[i])
		w.endEntry("Organization")
	}
	w.endList()
	w.close("Bundle")
}

// root begins the document; close ends it.
func (w *bundleWriter) root(resource string) {
	if w.xml {
		w.raw(`<?xml version="1.0" encoding="UTF-8"?><`)
		w.raw(resource)
		w.raw(` xmlns="` + fhirNamespace + `">`)
		return
	}
	w.raw(`{"resourceType":"`)
	w.raw(resource)
	w.raw(`"`)
}

func (w *bundleWriter) id(id ID) {
	var buf [36]byte
	if w.xml {
		w.raw(`<id value="`)
		w.b = append(w.b, id.append(buf[:0])...)
		w.raw(`"/>`)
		return
	}
	w.raw(`,"id":"`)
	w.b = append(w.b, id.append(buf[:0])...)
	w.raw(`"`)
}

func (w *bundleWriter) meta(profile string, updated Instant) {
	w.open("meta")
	w.optional("lastUpdated", string(updated))
	if w.xml {
		w.raw(`<profile value="` + definitions)
	} else {
		w.key("", "profile")
		w.raw(`["` + definitions)
	}
	w.raw(profile)
	w.raw("|")
	w.raw(w.version.canonical())
	if w.xml {
		w.raw(`"/>`)
	} else {
		w.raw(`"]`)
	}
	w.close("meta")
}

func (w *bundleWriter) entry(resource string, id ID) {
	w.item("entry")
	w.address("fullUrl", resource, id)
	w.open("resource")
	if w.xml {
		w.tag(resource)
	} else {
		w.raw(`"resourceType":"`)
		w.raw(resource)
		w.raw(`"`)
	}
	w.id(id)
}

func (w *bundleWriter) endEntry(resource string) {
	if w.xml {
		w.close(resource)
	}
	w.close("resource")
	w.close("entry")
}

// address writes the absolute address of a resource, which is also the reference to it.
func (w *bundleWriter) address(name, resource string, id ID) {
	var buf [96]byte
	b := append(buf[:0], gematik...)
	b = append(b, resource...)
	b = append(b, '/')
	b = id.append(b)
	if w.xml {
		w.raw("<")
		w.raw(name)
		w.raw(` value="`)
		w.b = append(w.b, b...)
		w.raw(`"/>`)
		return
	}
	w.key("", name)
	w.raw(`"`)
	w.b = append(w.b, b...)
	w.raw(`"`)
}

func (w *bundleWriter) patient(r *Record) {
	p := &r.Patient
	w.meta("VSDMPatient", "")
	w.list("identifier")
	w.item("identifier")
	w.text("system", sidKVNR)
	w.text("value", p.Number.Reveal())
	w.close("identifier")
	w.endList()
	w.name(&p.Name)
	w.telecom(p.Telecom)
	w.gender(p.Gender)
	w.text("birthDate", string(p.Born))
	w.addresses(p.Addresses)
}

func (w *bundleWriter) name(n *Name) {
	w.list("name")
	w.item("name")
	w.text("use", "official")
	w.optional("text", n.Text)
	w.primitive("family", n.Family)
	w.list("extension")
	w.textExtension(extAddition, "valueString", n.Addition)
	w.textExtension(extOwn, "valueString", n.Own)
	w.textExtension(extPrefix, "valueString", n.Prefix)
	w.endList()
	w.close("family")
	w.single("given", n.Given)
	if n.Title != "" {
		w.title(n.Title)
	}
	w.close("name")
	w.endList()
}

func (w *bundleWriter) title(title string) {
	if w.xml {
		w.primitive("prefix", title)
		w.textExtension(extQualifier, "valueCode", "AC")
		w.close("prefix")
		return
	}
	w.single("prefix", title)
	w.key("_", "prefix")
	w.raw(`[{"extension":[`)
	w.textExtension(extQualifier, "valueCode", "AC")
	w.raw(`]}]`)
}

func (w *bundleWriter) telecom(contacts []Contact) {
	if len(contacts) == 0 {
		return
	}
	w.list("telecom")
	for _, c := range contacts {
		w.item("telecom")
		w.text("system", c.System)
		w.text("value", c.Value)
		w.close("telecom")
	}
	w.endList()
}

func (w *bundleWriter) gender(g Gender) {
	switch g {
	case NoGender:
	case Male:
		w.text("gender", "male")
	case Female:
		w.text("gender", "female")
	case UnknownGender:
		w.text("gender", "unknown")
	case Diverse, Indeterminate:
		w.otherGender(Coded{Code: string(g), Display: g.display()})
	}
}

func (w *bundleWriter) otherGender(c Coded) {
	w.primitive("gender", "other")
	w.list("extension")
	w.codedExtension(extGender, codesGender, c)
	w.endList()
	w.close("gender")
}

// codedExtension writes an extension whose value is a code; the code system's version is said in 1.1 only.
func (w *bundleWriter) codedExtension(url string, s system, c Coded) {
	w.extension(url)
	w.open("valueCoding")
	w.coding(s, c)
	w.close("valueCoding")
	w.close("extension")
}

func (w *bundleWriter) coding(s system, c Coded) {
	if w.version == V10 && s.address == sysPKVStatus {
		s.address = setPKVStatus
	}
	w.text("system", s.address)
	if w.version != V10 {
		w.optional("version", s.version)
	}
	w.text("code", c.Code)
	w.optional("display", c.Display)
}

func (w *bundleWriter) addresses(addresses []Address) {
	if len(addresses) == 0 {
		return
	}
	w.list("address")
	for i := range addresses {
		a := &addresses[i]
		w.item("address")
		w.optional("type", string(a.Kind))
		w.lines(a.Lines)
		w.optional("city", a.City)
		w.optional("postalCode", a.PostalCode)
		w.country(a.Country)
		w.close("address")
	}
	w.endList()
}

func (l *Line) plain() bool {
	return l.Street == "" && l.Number == "" && l.Addition == "" && l.Box == ""
}

func (w *bundleWriter) lines(lines []Line) {
	if w.xml {
		for i := range lines {
			if lines[i].plain() {
				w.text("line", lines[i].Text)
				continue
			}
			w.primitive("line", lines[i].Text)
			w.parts(&lines[i])
			w.close("line")
		}
		return
	}
	if len(lines) == 0 {
		return
	}
	w.list("line")
	marked := false
	for i := range lines {
		w.comma()
		w.quote(lines[i].Text)
		marked = marked || !lines[i].plain()
	}
	w.endList()
	if !marked {
		return
	}
	w.key("_", "line")
	w.raw("[")
	for i := range lines {
		w.comma()
		if lines[i].plain() {
			w.raw("null")
			continue
		}
		w.raw(`{"extension":[`)
		w.parts(&lines[i])
		w.raw(`]}`)
	}
	w.raw("]")
}

func (w *bundleWriter) parts(l *Line) {
	w.textExtension(extNumber, "valueString", l.Number)
	w.textExtension(extStreet, "valueString", l.Street)
	w.textExtension(extLocator, "valueString", l.Addition)
	w.textExtension(extBox, "valueString", l.Box)
}

func (w *bundleWriter) country(c Country) {
	w.primitive("country", c.Text)
	w.list("extension")
	if isoSupplement(c.Code) {
		w.codedExtension(extISOSupp, codesISOSupp, Coded{Code: c.Code})
	} else {
		w.codedExtension(extCoded, system{address: sysISO}, Coded{Code: c.Code})
	}
	if c.DEUEV != "" {
		url := extAnlage8
		if w.version == V10 {
			url = extCoded
		}
		w.codedExtension(url, codesAnlage8, Coded{Code: c.DEUEV})
	}
	w.endList()
	w.close("country")
}

func (w *bundleWriter) organization(p *Payor) {
	w.meta("VSDMPayorOrganization", "")
	w.list("identifier")
	w.item("identifier")
	w.text("system", sidIK)
	w.text("value", string(p.IK))
	w.close("identifier")
	w.endList()
	w.text("name", p.Name)
	w.addresses(p.Addresses)
	if len(p.Contacts) == 0 {
		return
	}
	w.list("contact")
	for i := range p.Contacts {
		w.officeContact(&p.Contacts[i])
	}
	w.endList()
}

func (w *bundleWriter) officeContact(c *OfficeContact) {
	w.item("contact")
	if c.Purpose.Code != "" || c.Text != "" {
		w.open("purpose")
		if c.Purpose.Code != "" {
			w.list("coding")
			w.item("coding")
			w.text("system", c.Purpose.System)
			w.text("code", c.Purpose.Code)
			w.close("coding")
			w.endList()
		}
		w.optional("text", c.Text)
		w.close("purpose")
	}
	w.telecom(c.Telecom)
	w.close("contact")
}

// payor writes the coverage's reference to one payor. Private insurers leave the identifier's system out, as the published
// examples do.
func (w *bundleWriter) payor(p *Payor, k Kind) {
	w.item("payor")
	w.address("reference", "Organization", p.ID)
	w.open("identifier")
	if k == Statutory {
		w.text("system", sidIK)
	}
	w.text("value", string(p.IK))
	w.close("identifier")
	w.text("display", p.Name)
	w.close("payor")
}
