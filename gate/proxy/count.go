package proxy

import (
	"bytes"
	"mime"
	"strings"
	"sync"
)

// counter counts the records of an answer while it passes. It is fed before the bytes leave.
type counter interface {
	write(b []byte) error // errUnreadable, from the first byte that it cannot make sense of
	take() found          // what was found since the last call
	finish() error        // at the end; errUnreadable if the answer is not complete
	stop()                // releases what it holds, once; nothing is asked of it after that
}

// counterFor returns the counter of an answer, nil if there is nothing to look at.
func (r *rule) counterFor(contentType string) counter {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		media, _, _ = strings.Cut(contentType, ";")
	}
	media = strings.ToLower(strings.TrimSpace(media))
	switch {
	case r.Count == countNone || r.Count == countOne:
		return nil
	case r.Count == "":
		return &opaque{}
	case r.Count == countEvents || media == "text/event-stream":
		return &events{}
	case r.Count == countLines || isLines(media):
		return newLines(r)
	case r.Count == countXML:
		return &document{rule: r}
	case r.Count == countFHIR && (strings.HasSuffix(media, "+xml") || strings.HasSuffix(media, "/xml")):
		x := &fhirXML{resources: resources{onlyMatches: r.Records == recordsMatches}}
		return &xmlCounter{x, newXMLFeed(x.see)}
	case r.Count == countFHIR:
		c := fhirs.Get().(*fhirJSON)
		c.onlyMatches = r.Records == recordsMatches
		return c
	}
	return newValues(r)
}

func isLines(media string) bool {
	switch media {
	case "application/x-ndjson", "application/ndjson", "application/fhir+ndjson", "application/jsonl", "application/jsonlines":
		return true
	}
	return false
}

// isStream reports whether an answer of this media type goes on as it comes.
func isStream(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "text/event-stream" || isLines(media)
}

// fhirJSON counts the resources of a FHIR answer in JSON.
type fhirJSON struct {
	scanner
	*fhirListener
}

// fhirs are counters that wait for their next answer.
var fhirs = sync.Pool{New: func() any { return newFHIR() }}

func newFHIR() *fhirJSON {
	l := &fhirListener{}
	return &fhirJSON{scanner{hear: l}, l}
}

func (c *fhirJSON) stop() {
	if cap(c.text) > maxText {
		c.text = nil
	}
	c.reset()
	c.resources = resources{stack: c.stack[:0], entries: c.entries[:0]}
	c.fhirListener.depth, c.fhirListener.key = 0, wordOther
	fhirs.Put(c)
}

func (c *fhirJSON) finish() error {
	if err := c.scanner.finish(); err != nil {
		return err
	}
	if !c.fhir {
		return errUnreadable // JSON, but nothing in it says that it is FHIR
	}
	return nil
}

// xmlCounter counts the resources of a FHIR answer in XML.
type xmlCounter struct {
	*fhirXML
	*xmlFeed
}

func (c *xmlCounter) finish() error { return c.xmlFeed.finish() }

// values counts the values at a JSON pointer.
type values struct {
	scanner
	found found
}

// newValues follows the pointer of the records and those of the persons.
func newValues(r *rule) *values {
	v := &values{}
	v.hear = newFollower(r.pointers, func(which int, text []byte) {
		if which == 0 {
			v.found.records++
			return
		}
		v.found.person(string(text))
	})
	return v
}

func (v *values) take() found {
	f := v.found
	v.found = found{}
	return f
}

func (v *values) stop() {}

// lines counts the lines that are not empty, and follows pointers in each.
type lines struct {
	line    *values
	fhir    *fhirJSON
	scanner *scanner
	found   found
	begun   bool // the line counts already
	err     error
}

func newLines(r *rule) *lines {
	l := &lines{}
	if r.Count == countFHIR {
		l.fhir = newFHIR()
		l.scanner = &l.fhir.scanner
		return l
	}
	if len(r.Persons) > 0 {
		l.line = newValues(r)
		l.scanner = &l.line.scanner
	}
	return l
}

func (l *lines) write(b []byte) error {
	for len(b) > 0 {
		piece, rest, ended := bytes.Cut(b, []byte("\n"))
		if !l.begun && len(bytes.TrimSpace(piece)) > 0 {
			l.begun = true
			l.found.records++
		}
		if l.scanner != nil && l.err == nil && len(piece) > 0 {
			l.err = l.scanner.write(piece)
		}
		if ended {
			l.endLine()
		}
		b = rest
	}
	return l.err
}

// endLine makes ready for the next line. What remains open in a line that is no JSON is forgotten with it.
func (l *lines) endLine() {
	if l.scanner != nil && l.begun && l.err == nil {
		l.err = l.scanner.finish()
	}
	l.begun = false
	if l.scanner != nil {
		l.scanner.reset()
	}
}

// take counts lines, not the resources in them.
func (l *lines) take() found {
	f := l.found
	l.found = found{}
	var inner found
	switch {
	case l.fhir != nil:
		inner = l.fhir.take()
	case l.line != nil:
		inner = l.line.take()
	}
	f.persons, f.others, f.omitted, f.types = inner.persons, inner.others, inner.omitted, inner.types
	return f
}

func (l *lines) finish() error {
	l.endLine()
	return l.err
}

func (l *lines) stop() {}

// events counts server-sent events that have data.
type events struct {
	found   found
	field   []byte // the line's beginning, as far as it can be "data"
	counted bool
	cr      bool
}

func (e *events) write(b []byte) error {
	for _, c := range b {
		if c == '\n' && e.cr {
			e.cr = false
			continue
		}
		e.cr = c == '\r'
		if c == '\n' || c == '\r' {
			if len(e.field) == 0 {
				e.counted = false // an empty line ends the event
			}
			e.name() // a field without colon is one with an empty value
			e.field = e.field[:0]
			continue
		}
		if len(e.field) < 8 {
			e.field = append(e.field, c)
		}
		if c == ':' {
			e.name()
		}
	}
	return nil
}

// name counts the event if the line's field is "data".
func (e *events) name() {
	field, _, _ := bytes.Cut(bytes.TrimPrefix(e.field, []byte("\xef\xbb\xbf")), []byte(":"))
	if string(field) == "data" && !e.counted {
		e.counted = true
		e.found.records++
	}
}

func (e *events) take() found {
	f := e.found
	e.found = found{}
	return f
}

func (e *events) finish() error { return nil }
func (e *events) stop()         {}

// opaque counts what nobody can read: one for each piece that has something in it.
type opaque struct{ some bool }

func (o *opaque) write(b []byte) error {
	o.some = o.some || len(b) > 0
	return nil
}

func (o *opaque) take() found {
	f := found{}
	if o.some {
		f.records, f.unknown = 1, true
	}
	o.some = false
	return f
}

func (o *opaque) finish() error { return nil }
func (o *opaque) stop()         {}

// document holds an answer until it is complete, for XPath. The one who feeds it bounds its size.
type document struct {
	rule  *rule
	data  bytes.Buffer
	found found
}

func (d *document) write(b []byte) error {
	d.data.Write(b)
	return nil
}

func (d *document) take() found {
	f := d.found
	d.found = found{}
	return f
}

func (d *document) finish() error {
	return xpathFind(d.data.Bytes(), d.rule.xpaths, func(which int, text string) {
		if which == 0 {
			d.found.records++
			return
		}
		d.found.person(text)
	})
}

func (d *document) stop() {}
