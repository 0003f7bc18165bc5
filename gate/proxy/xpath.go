package proxy

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/antchfx/xmlquery"
	"github.com/antchfx/xpath"
)

// maxNodes of an XML document that XPath looks at.
const maxNodes = 100_000

// xpathRule is one XPath that selects nodes. Compiled expressions keep state while they are evaluated, so each evaluation has
// one of its own.
type xpathRule struct{ programs *sync.Pool }

func parseXPath(text string) (x xpathRule, err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("XPath %q cannot be understood", text)
		}
	}()
	e, err := xpath.Compile(text)
	if err != nil {
		return x, fmt.Errorf("XPath %q: %w", text, err)
	}
	if _, ok := e.Evaluate(xmlquery.CreateXPathNavigator(&xmlquery.Node{Type: xmlquery.DocumentNode})).(*xpath.NodeIterator); !ok {
		return x, fmt.Errorf("XPath %q must select nodes", text)
	}
	return xpathRule{&sync.Pool{New: func() any { return xpath.MustCompile(text) }}}, nil
}

// each calls found with the text of every selected node.
func (x xpathRule) each(doc *xmlquery.Node, found func(text string)) {
	e := x.programs.Get().(*xpath.Expr)
	for _, n := range xmlquery.QuerySelectorAll(doc, e) {
		found(n.InnerText())
	}
	x.programs.Put(e) // not after a panic: its state is unknown then
}

// parseXML reads a document whose depth and number of nodes are bounded before a tree of it is made.
func parseXML(data []byte) (doc *xmlquery.Node, err error) {
	nodes := 0
	err = readXML(bytes.NewReader(data), func(tok xml.Token, _ int) error {
		nodes++
		if t, ok := tok.(xml.StartElement); ok {
			nodes += len(t.Attr)
		}
		if nodes > maxNodes {
			return errUnreadable
		}
		return nil
	})
	if !errors.Is(err, io.EOF) {
		return nil, errUnreadable
	}
	defer func() {
		if recover() != nil {
			doc, err = nil, errUnreadable // the library's, on a document that it does not expect
		}
	}()
	if doc, err = xmlquery.Parse(bytes.NewReader(data)); err != nil {
		return nil, errUnreadable
	}
	return doc, nil
}

// xpathFind evaluates expressions on a document.
func xpathFind(data []byte, expressions []xpathRule, found func(which int, text string)) (err error) {
	doc, err := parseXML(data)
	if err != nil {
		return err
	}
	defer func() {
		if recover() != nil {
			err = errUnreadable
		}
	}()
	for i, x := range expressions {
		x.each(doc, func(text string) { found(i, text) })
	}
	return nil
}
