package vsd

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// jsonReader reads JSON as tokens, because package json would let the last of two equal properties win.
type jsonReader struct {
	grower
	dec *json.Decoder
}

func parseJSON(data []byte) (*node, error) {
	r := &jsonReader{dec: json.NewDecoder(bytes.NewReader(data))}
	r.dec.UseNumber()
	root, err := r.add(nil, "Bundle")
	if err != nil {
		return nil, err
	}
	if t, err := r.dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errSyntax
	}
	if err := r.object(root, 1, true); err != nil {
		return nil, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return root, nil
}

// object reads the properties of an object whose brace has been read.
func (r *jsonReader) object(n *node, depth int, resource bool) error {
	if depth > MaxDepth {
		return errTooDeep
	}
	seen := map[string]bool{}
	shadows := map[string][]*node{} // of properties such as _line
	for r.dec.More() {
		t, err := r.dec.Token()
		if err != nil {
			return errSyntax
		}
		name, ok := t.(string)
		if !ok || name == "" {
			return errSyntax
		}
		if seen[name] {
			return errTwice
		}
		seen[name] = true
		switch {
		case resource && name == "resourceType":
			if n.resource, err = r.word(); err != nil {
				return err
			}
		case name[0] == '_':
			shadow := &node{name: name[1:], parent: n}
			if err := r.property(shadow, name[1:], depth); err != nil {
				return err
			}
			shadows[name[1:]] = shadow.kids
		default:
			if err := r.property(n, name, depth); err != nil {
				return err
			}
		}
	}
	if _, err := r.dec.Token(); err != nil {
		return errSyntax
	}
	return n.merge(shadows)
}

// word reads a string that is not empty.
func (r *jsonReader) word() (string, error) {
	t, err := r.dec.Token()
	if s, ok := t.(string); err == nil && ok && s != "" {
		return s, nil
	}
	return "", errSyntax
}

// property reads the value of a property into nodes below n.
func (r *jsonReader) property(n *node, name string, depth int) error {
	t, err := r.dec.Token()
	if err != nil {
		return errSyntax
	}
	if t != json.Delim('[') {
		kid, err := r.add(n, name)
		if err != nil {
			return err
		}
		return r.element(kid, t, depth)
	}
	for index := 0; r.dec.More(); index++ {
		if t, err = r.dec.Token(); err != nil {
			return errSyntax
		}
		kid, err := r.add(n, name)
		if err != nil {
			return err
		}
		kid.list, kid.index = true, index
		if t == nil {
			continue // null: a value or extensions that are missing here, which merge judges
		}
		if err := r.element(kid, t, depth); err != nil {
			return err
		}
	}
	if _, err := r.dec.Token(); err != nil {
		return errSyntax
	}
	return nil
}

func (r *jsonReader) element(n *node, t json.Token, depth int) error {
	switch t := t.(type) {
	case string:
		n.kind, n.value = stringValue, t
	case bool:
		n.kind, n.value = booleanValue, "false"
		if t {
			n.value = "true"
		}
	case json.Number:
		n.kind, n.value = numberValue, t.String()
	case json.Delim:
		if t != '{' {
			return errShape
		}
		return r.object(n, depth+1, n.name == "resource")
	default:
		return errShape // null outside a list
	}
	return nil
}

// merge gives the extensions in shadows to the values that they belong to.
func (n *node) merge(shadows map[string][]*node) error {
	for name, list := range shadows {
		i := 0
		for _, kid := range n.kids {
			if kid.name != name {
				continue
			}
			if i == len(list) || list[i].list != kid.list || list[i].kind != noValue || kid.kind == noValue {
				return errShape
			}
			kid.kids = list[i].kids
			for _, k := range kid.kids {
				k.parent = kid
			}
			i++
		}
		if i != len(list) {
			return errShape
		}
	}
	for _, kid := range n.kids {
		if kid.kind == noValue && len(kid.kids) == 0 && kid.resource == "" || strings.Contains(kid.value, "\uFFFD") {
			return errShape // null without extensions, {}, or half a surrogate pair
		}
	}
	return nil
}
