package proxy

import (
	"encoding/xml"
	"errors"
	"io"
	"iter"
)

// maxToken is how much of an XML document may go by without an element's beginning or end. Attachments stand in attributes.
const maxToken = 4 << 20

var errStopped = errors.New("nobody reads on")

// xmlFeed lets encoding/xml, which pulls, read a document that is pushed in pieces. When write returns, everything that is
// complete in the bytes so far was seen.
type xmlFeed struct {
	resume func() (error, bool)
	cancel func()
	chunk  []byte
	eof    bool
	since  int // bytes since the last token
	err    error
	done   bool
}

// newXMLFeed starts a reader that calls see with every token, and its depth.
func newXMLFeed(see func(tok xml.Token, depth int) error) *xmlFeed {
	f := &xmlFeed{}
	f.resume, f.cancel = iter.Pull(func(yield func(error) bool) {
		yield(readXML(feedReader{f, yield}, func(tok xml.Token, depth int) error {
			f.since = 0
			return see(tok, depth)
		}))
	})
	return f
}

// feedReader is the reading end of a feed.
type feedReader struct {
	*xmlFeed
	yield func(error) bool
}

func (r feedReader) Read(p []byte) (int, error) {
	for len(r.chunk) == 0 {
		if r.eof {
			return 0, io.EOF
		}
		if r.since > maxToken {
			return 0, errUnreadable
		}
		if !r.yield(nil) {
			return 0, errStopped
		}
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	r.since += n
	return n, nil
}

func (f *xmlFeed) write(b []byte) error {
	f.chunk = b
	f.run()
	if f.done && f.err == nil {
		f.err = errUnreadable // bytes after the end
	}
	return f.err
}

func (f *xmlFeed) run() {
	if f.done || f.err != nil {
		return
	}
	err, ok := f.resume()
	if !ok || err != nil && err != io.EOF { //nolint:errorlint // exactly what readXML returned
		f.err = errUnreadable
	}
	f.done = f.err != nil || err == io.EOF //nolint:errorlint // exactly what readXML returned
}

func (f *xmlFeed) finish() error {
	f.chunk, f.eof = nil, true
	f.run()
	if f.err == nil && !f.done {
		f.err = errUnreadable
	}
	return f.err
}

func (f *xmlFeed) stop() { f.cancel() }

// readXML reads one document of bounded depth. It returns [io.EOF] at its end. Documents that declare entities, or any other
// encoding than UTF-8, are not read.
func readXML(r io.Reader, see func(tok xml.Token, depth int) error) error {
	dec := xml.NewDecoder(r)
	depth, roots := 0, 0
	for {
		tok, err := dec.RawToken()
		if err != nil {
			if errors.Is(err, io.EOF) && depth == 0 && roots == 1 {
				return io.EOF
			}
			return errUnreadable
		}
		switch tok.(type) {
		case xml.Directive:
			return errUnreadable
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			depth++
		case xml.EndElement:
			depth--
		}
		if depth > maxDepth || depth < 0 || roots > 1 {
			return errUnreadable
		}
		if err := see(tok, depth); err != nil {
			return err
		}
	}
}

// fhirXML reads a FHIR document in XML. Elements are known by their local names.
type fhirXML struct {
	resources
	frames []fhirXMLFrame
}

type fhirXMLFrame struct {
	name string
	fhirFrame
}

func (l *fhirXML) see(tok xml.Token, _ int) error {
	switch t := tok.(type) {
	case xml.StartElement:
		l.start(t)
	case xml.EndElement:
		return l.endElement(t)
	}
	return nil
}

func (l *fhirXML) start(t xml.StartElement) {
	name, parent := t.Name.Local, roleOther
	if n := len(l.frames); n > 0 {
		parent = l.frames[n-1].role
		l.value(&l.frames[n-1], name, attribute(t, "value"))
	}
	f := fhirXMLFrame{name: name}
	switch {
	case len(l.frames) == 0, parent == roleWrap:
		f.role = roleResource
		l.begin()
		l.setKind(name)
		l.current().begun = true
	case parent == roleResource && (name == "entry" || name == "parameter"), parent == roleEntry && name == "part":
		f.role = roleEntry
		l.current().inner = true
		l.beginEntry()
	case parent == roleEntry && name == "resource":
		f.role = roleWrap
	case parent == roleEntry && name == "search":
		f.role = roleSearch
	case name == "identifier":
		f.role = roleIdentifier
	}
	l.frames = append(l.frames, f)
}

// value takes what stands in the attribute value of a child element.
func (l *fhirXML) value(f *fhirXMLFrame, name, value string) {
	switch {
	case name == "reference":
		l.reference([]byte(value))
	case f.role == roleResource && name == "id":
		l.current().id = value
	case f.role == roleSearch && name == "mode":
		l.setMode(value)
	case f.role == roleIdentifier && name == "system":
		f.kvnr = isKVNRSystem(value)
	case f.role == roleIdentifier && name == "value":
		f.value = value
	}
}

func (l *fhirXML) endElement(t xml.EndElement) error {
	f := l.frames[len(l.frames)-1]
	if f.name != t.Name.Local {
		return errUnreadable
	}
	l.frames = l.frames[:len(l.frames)-1]
	switch f.role {
	case roleResource:
		l.endResource()
	case roleEntry:
		l.endEntry()
	case roleIdentifier:
		l.identifier(&f.fhirFrame)
	default:
	}
	return nil
}

func attribute(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value[:min(len(a.Value), maxText)]
		}
	}
	return ""
}
