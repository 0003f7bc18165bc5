package vsd

import (
	"slices"
	"strconv"
)

const fhirNamespace = "http://hl7.org/fhir"

// out writes FHIR in one of the two formats. Elements come in the order of the XML schema, which JSON does not mind. In
// JSON the octet before the next property says whether a comma is needed.
type out struct {
	b   []byte
	xml bool
}

// raw is append without its store of the pointer, which costs a write barrier while the garbage collector runs.
func (o *out) raw(s string) {
	n := len(o.b)
	if cap(o.b)-n < len(s) {
		o.b = slices.Grow(o.b, len(s))
	}
	o.b = o.b[:n+len(s)]
	copy(o.b[n:], s)
}

// key begins a JSON property.
func (o *out) key(prefix, name string) {
	o.comma()
	o.b = append(o.b, '"')
	o.raw(prefix)
	o.raw(name)
	o.b = append(o.b, '"', ':')
}

func (o *out) comma() {
	if c := o.b[len(o.b)-1]; c != '{' && c != '[' {
		o.b = append(o.b, ',')
	}
}

func (o *out) tag(name string) {
	o.b = append(o.b, '<')
	o.raw(name)
	o.b = append(o.b, '>')
}

// open begins an element with children.
func (o *out) open(name string) {
	if o.xml {
		o.tag(name)
		return
	}
	o.key("", name)
	o.b = append(o.b, '{')
}

// close ends what open, item and primitive began.
func (o *out) close(name string) {
	if o.xml {
		o.raw("</")
		o.raw(name)
		o.b = append(o.b, '>')
		return
	}
	o.b = append(o.b, '}')
}

// list begins a repeated element; each of its elements is an item.
func (o *out) list(name string) {
	if !o.xml {
		o.key("", name)
		o.b = append(o.b, '[')
	}
}

func (o *out) endList() {
	if !o.xml {
		o.b = append(o.b, ']')
	}
}

func (o *out) item(name string) {
	if o.xml {
		o.tag(name)
		return
	}
	o.comma()
	o.b = append(o.b, '{')
}

// text writes an element with a value and nothing else.
func (o *out) text(name, value string) {
	if o.xml {
		o.attribute(name, value)
		o.raw("/>")
		return
	}
	o.key("", name)
	o.quote(value)
}

// optional writes a text unless it is empty.
func (o *out) optional(name, value string) {
	if value != "" {
		o.text(name, value)
	}
}

// attribute begins an XML element up to the end of its attribute value.
func (o *out) attribute(name, value string) {
	o.b = append(o.b, '<')
	o.raw(name)
	o.raw(` value="`)
	o.escapeXML(value)
	o.b = append(o.b, '"')
}

// boolean and number write values that JSON does not quote.
func (o *out) boolean(name string, v bool) {
	if v {
		o.literal(name, "true")
	} else {
		o.literal(name, "false")
	}
}

func (o *out) number(name string, v uint8) { o.literal(name, strconv.Itoa(int(v))) }

func (o *out) literal(name, value string) {
	if o.xml {
		o.text(name, value)
		return
	}
	o.key("", name)
	o.raw(value)
}

// single writes a repeated text that occurs once.
func (o *out) single(name, value string) {
	if o.xml {
		o.text(name, value)
		return
	}
	o.key("", name)
	o.b = append(o.b, '[')
	o.quote(value)
	o.b = append(o.b, ']')
}

// primitive begins a text that has extensions; close ends it.
func (o *out) primitive(name, value string) {
	if o.xml {
		o.attribute(name, value)
		o.b = append(o.b, '>')
		return
	}
	o.text(name, value)
	o.key("_", name)
	o.b = append(o.b, '{')
}

// extension begins an extension within a list of them; close("extension") ends it.
func (o *out) extension(url string) {
	if o.xml {
		o.raw(`<extension url="`)
		o.raw(url)
		o.raw(`">`)
		return
	}
	o.comma()
	o.raw(`{"url":"`)
	o.raw(url)
	o.b = append(o.b, '"')
}

// textExtension is an extension with a text, left out when that is empty.
func (o *out) textExtension(url, name, value string) {
	if value == "" {
		return
	}
	o.extension(url)
	o.text(name, value)
	o.close("extension")
}

func (o *out) booleanExtension(url string, v bool) {
	o.extension(url)
	o.boolean("valueBoolean", v)
	o.close("extension")
}

func (o *out) quote(s string) {
	o.b = append(o.b, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		o.raw(s[start:i])
		start = i + 1
		switch c {
		case '"', '\\':
			o.b = append(o.b, '\\', c)
		case '\n':
			o.raw(`\n`)
		default:
			const digits = "0123456789abcdef"
			o.raw(`\u00`)
			o.b = append(o.b, digits[c>>4], digits[c&15])
		}
	}
	o.raw(s[start:])
	o.b = append(o.b, '"')
}

func (o *out) escapeXML(s string) {
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '&' && c != '<' && c != '>' && c != '"' {
			continue
		}
		o.raw(s[start:i])
		start = i + 1
		switch c {
		case '&':
			o.raw("&amp;")
		case '<':
			o.raw("&lt;")
		case '>':
			o.raw("&gt;")
		case '"':
			o.raw("&quot;")
		default: // an attribute's line breaks and tabs would be read as blanks
			o.raw("&#")
			o.b = strconv.AppendUint(o.b, uint64(c), 10)
			o.b = append(o.b, ';')
		}
	}
	o.raw(s[start:])
}
