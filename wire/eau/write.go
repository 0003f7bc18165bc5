package eau

import (
	"bytes"
	"encoding/xml"
	"strings"
)

// fhirWriter writes the XML form of FHIR resources: elements with a value attribute, indented with tabs.
type fhirWriter struct {
	b     bytes.Buffer
	depth int
}

func (w *fhirWriter) indent() {
	for range w.depth {
		w.b.WriteByte('\t')
	}
}

func (w *fhirWriter) attribute(name, value string) {
	w.b.WriteString(" " + name + `="`)
	_ = xml.EscapeText(&w.b, []byte(value)) // the buffer takes everything
	w.b.WriteByte('"')
}

// val writes <name value="..."/>.
func (w *fhirWriter) val(name, value string) {
	w.indent()
	w.b.WriteString("<" + name)
	w.attribute("value", value)
	w.b.WriteString("/>\n")
}

// in writes an element around what inner writes.
func (w *fhirWriter) in(name string, inner func()) { w.element(name, "", "", inner) }

// ext writes an extension around what inner writes.
func (w *fhirWriter) ext(url string, inner func()) { w.element("extension", "url", url, inner) }

func (w *fhirWriter) element(name, attribute, value string, inner func()) {
	w.indent()
	w.b.WriteString("<" + name)
	if attribute != "" {
		w.attribute(attribute, value)
	}
	w.b.WriteString(">\n")
	w.depth++
	inner()
	w.depth--
	w.indent()
	w.b.WriteString("</" + name + ">\n")
}

func (w *fhirWriter) coding(system, code string) {
	w.in("coding", func() {
		w.val("system", system)
		w.val("code", code)
	})
}

// concept writes a CodeableConcept of one coding.
func (w *fhirWriter) concept(name, system, code string) {
	w.in(name, func() { w.coding(system, code) })
}

func (w *fhirWriter) extCoding(url, system, code string) {
	w.ext(url, func() {
		w.in("valueCoding", func() {
			w.val("system", system)
			w.val("code", code)
		})
	})
}

func (w *fhirWriter) reference(name string, to UUID) {
	w.in(name, func() { w.val("reference", to.URN()) })
}

// identifier writes an Identifier; typeCode may be empty.
func (w *fhirWriter) identifier(typeSystem, typeCode, system, value string) {
	w.in("identifier", func() {
		if typeCode != "" {
			w.concept("type", typeSystem, typeCode)
		}
		w.val("system", system)
		w.val("value", value)
	})
}

// entry writes one entry of a bundle with its resource.
func (w *fhirWriter) entry(id UUID, resource, profile string, inner func()) {
	w.in("entry", func() {
		w.val("fullUrl", id.URN())
		w.in("resource", func() {
			w.in(resource, func() {
				w.val("id", id.String())
				w.in("meta", func() { w.val("profile", "https://fhir.kbv.de/StructureDefinition/"+profile+"|1.2") })
				inner()
			})
		})
	})
}

// bundle writes the document around its entries. The result is UTF-8 without a byte order mark.
func bundle(identifier UUID, timestamp, profile string, entries func(*fhirWriter)) []byte {
	var w fhirWriter
	w.b.Grow(24 << 10)
	w.b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	w.element("Bundle", "xmlns", fhirNamespace, func() {
		w.val("id", part(identifier, "Bundle").String())
		w.in("meta", func() {
			w.val("lastUpdated", timestamp)
			w.val("profile", profile)
		})
		w.in("identifier", func() {
			w.val("system", "urn:ietf:rfc:3986")
			w.val("value", identifier.URN())
		})
		w.val("type", "document")
		w.val("timestamp", timestamp)
		entries(&w)
	})
	return w.b.Bytes()
}

// part names one resource of a document: the same document has the same parts.
func part(document UUID, name string) UUID { return NewUUID(document, name) }

// Address is a postal address in Germany.
type Address struct {
	Street, Number   string
	PostalCode, City string
}

func (w *fhirWriter) address(a Address) {
	w.in("address", func() {
		w.val("type", "both")
		w.element("line", "value", strings.TrimSpace(a.Street+" "+a.Number), func() {
			w.ext("http://hl7.org/fhir/StructureDefinition/iso21090-ADXP-houseNumber", func() { w.val("valueString", a.Number) })
			w.ext("http://hl7.org/fhir/StructureDefinition/iso21090-ADXP-streetName", func() { w.val("valueString", a.Street) })
		})
		w.val("city", a.City)
		w.val("postalCode", a.PostalCode)
		w.val("country", "D")
	})
}

func (w *fhirWriter) name(family, given, title string) {
	w.in("name", func() {
		w.val("use", "official")
		w.element("family", "value", family, func() {
			w.ext("http://hl7.org/fhir/StructureDefinition/humanname-own-name", func() { w.val("valueString", family) })
		})
		w.val("given", given)
		if title != "" {
			w.element("prefix", "value", title, func() {
				w.ext("http://hl7.org/fhir/StructureDefinition/iso21090-EN-qualifier", func() { w.val("valueCode", "AC") })
			})
		}
	})
}
