package vsd

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

type xmlReader struct {
	grower
	dec *xml.Decoder
}

func parseXML(data []byte) (*node, error) {
	r := &xmlReader{dec: xml.NewDecoder(bytes.NewReader(data))}
	r.dec.CharsetReader = nil // UTF-8 only
	var root *node
	for first := true; ; first = false {
		t, err := r.dec.RawToken()
		if errors.Is(err, io.EOF) && root != nil {
			return root, nil
		}
		if err != nil {
			return nil, errSyntax
		}
		switch t := t.(type) {
		case xml.StartElement:
			if root != nil {
				return nil, errTrailing
			}
			if root, err = r.root(t); err != nil {
				return nil, err
			}
		case xml.ProcInst:
			if !first || t.Target != "xml" {
				return nil, errDocType
			}
		case xml.Comment:
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return nil, errText
			}
		default:
			return nil, errDocType
		}
	}
}

func (r *xmlReader) root(start xml.StartElement) (*node, error) {
	n, err := r.add(nil, "Bundle")
	if err != nil {
		return nil, err
	}
	n.resource = start.Name.Local
	declared := false
	for _, a := range start.Attr {
		if a.Name.Space != "" || a.Name.Local != "xmlns" || a.Value != fhirNamespace || declared {
			return nil, errAttribute
		}
		declared = true
	}
	if !declared || start.Name.Space != "" {
		return nil, errNamespace
	}
	return n, r.children(n, start.Name.Local, 1)
}

// children reads up to the end tag of n, which is called tag there. Names with a prefix are refused, so the default name
// space holds everywhere.
func (r *xmlReader) children(n *node, tag string, depth int) error {
	if depth > MaxDepth {
		return errTooDeep
	}
	last := map[string]int{}
	for {
		t, err := r.dec.RawToken()
		if err != nil {
			return errSyntax
		}
		switch t := t.(type) {
		case xml.StartElement:
			if t.Name.Space != "" {
				return errNamespace
			}
			if err := r.child(n, t, last, depth); err != nil {
				return err
			}
		case xml.EndElement:
			if t.Name.Space != "" || t.Name.Local != tag {
				return errSyntax
			}
			return nil
		case xml.Comment:
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return errText
			}
		default:
			return errDocType
		}
	}
}

func (r *xmlReader) child(n *node, start xml.StartElement, last map[string]int, depth int) error {
	name := start.Name.Local
	kid, err := r.add(n, name)
	if err != nil {
		return err
	}
	kid.index = last[name]
	last[name]++
	if err := r.attributes(kid, start.Attr); err != nil {
		return err
	}
	if name == "resource" {
		return r.contained(kid, depth+1)
	}
	if err := r.children(kid, name, depth+1); err != nil {
		return err
	}
	if kid.kind == noValue && len(kid.kids) == 0 {
		return errShape
	}
	return nil
}

// contained reads the one element that a resource element has: it is named after the resource's type.
func (r *xmlReader) contained(n *node, depth int) error {
	for {
		t, err := r.dec.RawToken()
		if err != nil {
			return errSyntax
		}
		switch t := t.(type) {
		case xml.StartElement:
			if n.resource != "" || t.Name.Space != "" {
				return errShape
			}
			n.resource = t.Name.Local
			if err := r.attributes(n, t.Attr); err != nil {
				return err
			}
			if err := r.children(n, n.resource, depth); err != nil {
				return err
			}
		case xml.EndElement:
			if t.Name.Space != "" || t.Name.Local != "resource" || n.resource == "" || n.kind != noValue {
				return errShape
			}
			return nil
		case xml.Comment:
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return errText
			}
		default:
			return errDocType
		}
	}
}

func (r *xmlReader) attributes(n *node, attrs []xml.Attr) error {
	for _, a := range attrs {
		switch {
		case a.Name.Space != "":
			return errAttribute
		case a.Name.Local == "xmlns" && a.Value == fhirNamespace: // said again, as some writers do
		case a.Name.Local == "value" && n.kind == noValue && a.Value != "":
			n.kind, n.value = xmlValue, a.Value
		case a.Name.Local == "url" && n.name == "extension" && len(n.kids) == 0 && a.Value != "":
			url, err := r.add(n, "url")
			if err != nil {
				return err
			}
			url.kind, url.value = xmlValue, a.Value
		default:
			return errAttribute
		}
		if strings.Contains(a.Value, "\uFFFD") {
			return errShape
		}
	}
	return nil
}
