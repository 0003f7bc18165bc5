package vsd

import (
	"errors"
	"strconv"
	"unicode/utf8"
)

// Bounds of a bundle that is read.
const (
	MaxBundle   = 256 << 10 // octets
	MaxDepth    = 24        // levels of elements
	MaxElements = 4096
)

// Errors of documents that are no bundle at all. They are wrapped in an [*Error] that says where.
var (
	errTooLarge  = errors.New("larger than allowed")
	errTooDeep   = errors.New("nested deeper than allowed")
	errTooMany   = errors.New("more elements than allowed")
	errUTF8      = errors.New("not UTF-8")
	errTwice     = errors.New("a property occurs twice")
	errShape     = errors.New("values, lists and extensions do not fit together as FHIR asks")
	errSyntax    = errors.New("not well-formed")
	errTrailing  = errors.New("something follows the document")
	errNamespace = errors.New("an element outside the FHIR name space")
	errAttribute = errors.New("an attribute that FHIR does not have")
	errText      = errors.New("text between elements")
	errDocType   = errors.New("document types and processing instructions are not allowed")
)

// valueKind says how a value was written.
type valueKind byte

const (
	noValue valueKind = iota
	stringValue
	booleanValue
	numberValue
	xmlValue // XML does not tell them apart
)

// node is one element of a FHIR document, the same for both formats: repeated elements are siblings of one name, the
// extensions of a value are its children.
type node struct {
	name     string
	parent   *node
	index    int  // among siblings of the same name
	list     bool // it was in a JSON list
	kind     valueKind
	value    string
	resource string // type of the resource that it contains, "" for other elements
	kids     []*node
}

// path names the element for an error. All names on it were asked for by the reader, so none is foreign text.
func (n *node) path() string {
	s := n.name
	if n.list || n.index > 0 {
		s += "[" + strconv.Itoa(n.index) + "]"
	}
	if n.parent != nil {
		s = n.parent.path() + "." + s
	}
	return s
}

// grower makes nodes and counts them.
type grower struct{ elements int }

func (g *grower) add(parent *node, name string) (*node, error) {
	if g.elements++; g.elements > MaxElements {
		return nil, errTooMany
	}
	n := &node{name: name, parent: parent}
	if parent != nil {
		parent.kids = append(parent.kids, n)
	}
	return n, nil
}

func parseTree(data []byte, f Format) (*node, error) {
	var root *node
	err := errTooLarge
	if len(data) <= MaxBundle {
		if err = errUTF8; utf8.Valid(data) {
			if f == XML {
				root, err = parseXML(data)
			} else {
				root, err = parseJSON(data)
			}
		}
	}
	if err != nil {
		return nil, &Error{Element: "Bundle", Problem: err.Error()}
	}
	return root, nil
}
