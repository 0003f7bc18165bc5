package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/querschott/querschott"
)

// finder is one place of a request where an insurer or a person is named.
type finder struct {
	kind    string // path, query, header, host, value, json, xpath
	name    string // of a variable, parameter or header; the value; for a host what stands before the variable
	suffix  string // of a host
	pointer pointer
	xpath   xpathRule
}

func (f *finder) inBody() bool { return f.kind == "json" || f.kind == "xpath" }

func parseFinders(where []string, template []segment) ([]finder, error) {
	if len(where) > maxPointers {
		return nil, fmt.Errorf("there are more than %d places", maxPointers)
	}
	var list []finder
	for _, text := range where {
		f, err := parseFinder(text)
		if err != nil {
			return nil, err
		}
		if f.kind == "path" && !slices.ContainsFunc(template, func(s segment) bool { return s.free && !s.anyRest && s.name == f.name }) {
			return nil, fmt.Errorf("%q: the path has no {%s}", text, f.name)
		}
		list = append(list, f)
	}
	return list, nil
}

func parseFinder(text string) (f finder, err error) {
	var ok bool
	f.kind, f.name, ok = strings.Cut(text, ":")
	if !ok || f.name == "" && f.kind != "json" {
		return f, fmt.Errorf("%q is not written 'query:NAME' or the like", text)
	}
	switch f.kind {
	case "path", "query", "value":
	case "header":
		f.name = http.CanonicalHeaderKey(f.name)
		if strings.Contains(f.name, "_") {
			return f, fmt.Errorf("%q: headers with '_' do not pass", text)
		}
	case "host":
		f.name, f.suffix, ok = strings.Cut(strings.ToLower(f.name), "{insurer}")
		if !ok || strings.Contains(f.suffix, "{") || f.suffix != "" && f.suffix[0] != '.' {
			return f, fmt.Errorf("%q is not written 'host:{insurer}.fhir.example'", text)
		}
	case "json":
		f.pointer, err = parsePointer(f.name)
	case "xpath":
		f.xpath, err = parseXPath(f.name)
	default:
		return f, fmt.Errorf("%q: the place is none of path, query, header, host, value, json, xpath", text)
	}
	return f, err
}

// view is a request as the rules see it.
type view struct {
	method    string
	path      []string
	query     url.Values // names as they came
	header    http.Header
	host      string
	rule      *rule // that fits; rules.other if none does
	known     bool
	variables []variable
	rules     *rules // that looked
	insurer   querschott.IK
	persons   found
}

const maxParameters = 500

// look finds out what can be known of a request without its body. A [querschott.Error] says that it can be understood in
// more than one way.
func (rs *rules) look(r *http.Request) (*view, error) {
	path, err := splitPath(r.URL.EscapedPath())
	if err != nil {
		return nil, err
	}
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	v := &view{method: r.Method, path: path, query: query, header: r.Header, host: hostName(r.Host), rule: rs.other, rules: rs}
	for _, candidate := range rs.list {
		variables, ok := candidate.fits(v)
		if !ok {
			continue
		}
		v.rule, v.known, v.variables = candidate, true, variables
		break
	}
	v.insurer, err = rs.insurerOf(v)
	return v, err
}

func parseQuery(raw string) (url.Values, error) {
	query, err := url.ParseQuery(raw)
	if err != nil || len(raw) > 64<<10 || strings.Count(raw, "&") >= maxParameters {
		return nil, querschott.Refuse(querschott.CodeInvalid, "the query can be understood in more than one way")
	}
	return query, nil
}

// hostName returns the host in lower case, without port and final dot.
func hostName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// has reports whether a parameter is there, in upper or lower case.
func (v *view) has(name string) bool {
	for key := range v.query {
		if strings.EqualFold(key, name) {
			return true
		}
	}
	return false
}

// values returns what stands at a place of the request outside of its body.
func (v *view) values(f *finder) []string {
	switch f.kind {
	case "value":
		return []string{f.name}
	case "path":
		for _, named := range v.variables {
			if named.name == f.name {
				return []string{named.value}
			}
		}
	case "query":
		return parameters(v.query, f.name)
	case "header":
		return v.header.Values(f.name)
	case "host":
		rest, before := strings.CutPrefix(v.host, f.name)
		rest, after := strings.CutSuffix(rest, f.suffix)
		if before && after && rest != "" && !strings.Contains(rest, ".") {
			return []string{rest}
		}
	}
	return nil
}

// parameters returns the values of a parameter whatever the case of its name, with FHIR's modifiers and chains
// (patient:Patient, patient.identifier), sorted by name.
func parameters(query url.Values, name string) []string {
	var values []string
	var keys []string
	for key := range query {
		base, _, _ := strings.Cut(key, ":")
		base, _, _ = strings.Cut(base, ".")
		if strings.EqualFold(base, name) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		values = append(values, query[key]...)
	}
	return values
}

// insurerOf returns the insurer that the request names, "" if it names none.
func (rs *rules) insurerOf(v *view) (querschott.IK, error) {
	var insurer querschott.IK
	for i := range v.rule.insurer {
		for _, value := range v.values(&v.rule.insurer[i]) {
			ik, err := rs.parseInsurer(value)
			if err != nil {
				return "", err
			}
			if insurer != "" && ik != insurer {
				return "", querschott.Refuse(querschott.CodeInvalid, "the request names two insurers")
			}
			insurer = ik
		}
	}
	return insurer, nil
}

func (rs *rules) parseInsurer(value string) (querschott.IK, error) {
	if ik, ok := rs.names[strings.ToLower(value)]; ok {
		return ik, nil
	}
	if ik, err := querschott.ParseIK(value); err == nil && len(rs.names) == 0 {
		return ik, nil
	}
	return "", querschott.Refuse(querschott.CodeUnknownHere, "the request names no insurer of this platform")
}

// findPersons adds the persons that the request names outside of its body.
func (v *view) findPersons() {
	for i := range v.rule.person {
		for _, value := range v.values(&v.rule.person[i]) {
			for _, one := range strings.Split(value, ",") {
				v.persons.person(one)
			}
		}
	}
}

// wantsBody reports whether persons may be named in the request's body.
func (v *view) wantsBody(contentType string) (form, other bool) {
	media, _, _ := mime.ParseMediaType(contentType)
	for i := range v.rule.person {
		form = form || v.rule.person[i].kind == "query" && media == "application/x-www-form-urlencoded"
		other = other || v.rule.person[i].inBody()
	}
	return form, other
}

// findInBody adds the persons that the request's body names. Its error is errUnreadable.
func (v *view) findInBody(body []byte, form bool) error {
	if form {
		query, err := url.ParseQuery(string(body))
		if err != nil {
			return errUnreadable
		}
		w := view{query: query, rule: v.rule}
		w.findPersons()
		v.persons.merge(&w.persons)
	}
	var pointers []pointer
	var xpaths []xpathRule
	for i := range v.rule.person {
		switch f := &v.rule.person[i]; f.kind {
		case "json":
			pointers = append(pointers, f.pointer)
		case "xpath":
			xpaths = append(xpaths, f.xpath)
		}
	}
	var err error
	if len(pointers) > 0 {
		s := scanner{hear: newFollower(pointers, func(_ int, text []byte) { v.persons.person(string(text)) })}
		err = errors.Join(s.write(body), s.finish())
	}
	if len(xpaths) > 0 {
		err = errors.Join(err, xpathFind(body, xpaths, func(_ int, text string) { v.persons.person(text) }))
	}
	if err != nil {
		return errUnreadable
	}
	return nil
}

// peek reads a body up to a limit and returns it with a reader that begins at its start again.
func peek(body io.Reader, limit int64) ([]byte, io.Reader, error) {
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, nil, bodyError(err)
	}
	if int64(len(data)) > limit {
		return nil, nil, querschott.Refuse(querschott.CodeTooLarge, "the body has more than %d bytes", limit)
	}
	return data, bytes.NewReader(data), nil
}

// bodyError says why the caller's body could not be read.
func bodyError(err error) error {
	var large *http.MaxBytesError
	var known *querschott.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &large):
		return querschott.Refuse(querschott.CodeTooLarge, "the body has more than %d bytes", large.Limit)
	}
	return &querschott.Error{Code: querschott.CodeInvalid, Public: "the body of the request broke off", Err: err}
}
