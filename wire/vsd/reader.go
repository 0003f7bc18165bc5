package vsd

import (
	"slices"
	"strconv"
)

// reader asks a tree for what the profiles have. It keeps the first failure; after that every question gets an empty
// answer, so that reading goes on without checks and ends.
type reader struct {
	format  Format
	version Version
	err     *Error
}

func (r *reader) fail(n *node, rule, problem string) {
	if r.err == nil {
		r.err = &Error{Element: n.path(), Rule: rule, Problem: problem}
	}
}

// only refuses children that are not listed.
func (r *reader) only(n *node, names ...string) {
	for _, kid := range n.kids {
		if !slices.Contains(names, kid.name) {
			r.fail(n, "", "it has an element that the profile or this platform does not have")
			return
		}
	}
}

// optional returns the only child of a name, nil if there is none.
func (r *reader) optional(n *node, name string) *node {
	var found *node
	for _, kid := range n.kids {
		if kid.name != name {
			continue
		}
		if found != nil || kid.list {
			r.fail(kid, "", "it occurs once only and is no list")
			return nil
		}
		found = kid
	}
	return found
}

// one returns the only child of a name. A missing one is a failure and returns an empty node.
func (r *reader) one(n *node, name string) *node {
	if kid := r.optional(n, name); kid != nil {
		return kid
	}
	missing := &node{name: name, parent: n}
	r.fail(missing, "", "it is missing")
	return missing
}

// many returns the children of a name, which JSON has as a list.
func (r *reader) many(n *node, name string, least, most int) []*node {
	var found []*node
	for _, kid := range n.kids {
		if kid.name != name {
			continue
		}
		if !kid.list && r.format == JSON {
			r.fail(kid, "", "it is a list")
			return nil
		}
		found = append(found, kid)
	}
	if len(found) < least || len(found) > most {
		r.fail(&node{name: name, parent: n}, "", "it occurs too often or not often enough")
		return nil
	}
	if r.err != nil {
		return nil
	}
	return found
}

// single returns the only element of a list.
func (r *reader) single(n *node, name string) *node {
	if list := r.many(n, name, 1, 1); len(list) == 1 {
		return list[0]
	}
	return &node{name: name, parent: n}
}

// str returns the value of a string without extensions.
func (r *reader) str(n *node) string {
	r.only(n)
	return r.extended(n, stringValue)
}

// extended returns the value of an element that may have extensions.
func (r *reader) extended(n *node, kind valueKind) string {
	if n.kind != kind && n.kind != xmlValue || n.value == "" {
		r.fail(n, "", "it has no value of the right type")
	}
	return n.value
}

// text returns the string of a child that must be there, optionalText "" for one that is not.
func (r *reader) text(n *node, name string) string { return r.str(r.one(n, name)) }

func (r *reader) optionalText(n *node, name string) string {
	if kid := r.optional(n, name); kid != nil {
		return r.str(kid)
	}
	return ""
}

// fixed demands one value.
func (r *reader) fixed(n *node, name, want string) {
	if kid := r.one(n, name); r.str(kid) != want {
		r.fail(kid, "", "it is not "+want)
	}
}

func (r *reader) boolean(n *node) bool {
	r.only(n)
	v := r.extended(n, booleanValue)
	if v != "true" && v != "false" {
		r.fail(n, "", "it is neither true nor false")
	}
	return v == "true"
}

func (r *reader) percent(n *node) Percent {
	r.only(n)
	v, err := strconv.ParseUint(r.extended(n, numberValue), 10, 8)
	if err != nil || v > 100 {
		r.fail(n, rulePercentage, "it is no whole number from 0 to 100")
		return Percent{}
	}
	return Percent{Given: true, Value: uint8(v)}
}

func (r *reader) period(n *node) Period {
	r.only(n, "start", "end")
	return Period{Start: Date(r.text(n, "start")), End: Date(r.optionalText(n, "end"))}
}

// url returns the address of an extension.
func (r *reader) url(extension *node) string { return r.text(extension, "url") }

// extensions returns the extensions below n in the order of urls, nil for those that are missing. Others, and repeated
// ones, are failures.
func (r *reader) extensions(n *node, urls ...string) []*node {
	found := make([]*node, len(urls))
	for _, e := range r.many(n, "extension", 0, len(urls)) {
		i := slices.Index(urls, r.url(e))
		if i < 0 || found[i] != nil {
			r.fail(e, "", "the profile has no such extension here, or not twice")
			continue
		}
		found[i] = e
	}
	return found
}

// value returns the value of a simple extension.
func (r *reader) value(extension *node, name string) *node {
	r.only(extension, "url", name)
	return r.one(extension, name)
}

// valueText is the text of an extension, "" if there is none.
func (r *reader) valueText(extension *node, name string) string {
	if extension == nil {
		return ""
	}
	return r.str(r.value(extension, name))
}

// need refuses a missing extension.
func (r *reader) need(parent, extension *node, url string) *node {
	if extension == nil {
		r.fail(parent, "", "the extension "+url+" is missing")
		return &node{name: "extension", parent: parent}
	}
	return extension
}

// coded reads the code that is the value of an extension.
func (r *reader) coded(extension *node, s system) Coded {
	return r.coding(r.value(extension, "valueCoding"), s)
}

// coding reads a code of a known system. The system's version is demanded by the profiles of version 1.1.
func (r *reader) coding(n *node, s system) Coded {
	r.only(n, "system", "version", "code", "display")
	address := s.address
	if r.version == V10 && address == sysPKVStatus {
		address = setPKVStatus
	}
	r.fixed(n, "system", address)
	if s.version != "" && (r.version != V10 || r.optional(n, "version") != nil) {
		r.fixed(n, "version", s.version)
	}
	return Coded{Code: r.text(n, "code"), Display: r.optionalText(n, "display")}
}

// bare reads a code of which only the code is kept.
func (r *reader) bare(extension *node, s system) string {
	n := r.value(extension, "valueCoding")
	c := r.coding(n, s)
	if c.Display != "" {
		r.fail(n, "", "it has a display text, which is not kept here")
	}
	return c.Code
}
