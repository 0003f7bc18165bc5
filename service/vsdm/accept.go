package vsdm

import (
	"errors"
	"net/http"
	"strings"
)

// maxHeader bounds what is read of one header, all its lines together. A list of every media type that browsers send has
// 200 bytes.
const maxHeader = 4 << 10

// errHeader says that a header breaks RFC 9110's grammar, or the rules that VSDM 2.0 adds to it.
var errHeader = errors.New("malformed header")

// joined returns all lines of a header as one list; not ok if there is none (RFC 9110, 5.3).
func joined(h http.Header, name string) (value string, ok bool, err error) {
	lines := h[name]
	switch len(lines) {
	case 0:
		return "", false, nil
	case 1:
		value = lines[0]
	default:
		value = strings.Join(lines, ", ")
	}
	if len(value) > maxHeader {
		return "", true, errHeader
	}
	return value, true, nil
}

// offer is one format that an answer can have, with how much the caller wants it.
type offer struct {
	weight      int // thousandths
	specificity int // of the range that decided: 0 for none, 1 */*, 2 application/*, 3 the type itself
	place       int // of that range in the list
}

// better reports whether the caller rather wants o. Of equal weight the one that was named more closely is meant, then the
// one that was named first.
func (o offer) better(p offer) bool {
	if o.weight != p.weight {
		return o.weight > p.weight
	}
	if o.specificity != p.specificity {
		return o.specificity > p.specificity
	}
	return o.place < p.place
}

// negotiate chooses among media types by an Accept header's value (RFC 9110, 12.5.1). Parameters of a range, such as
// charset or fhirVersion, are read and decide nothing. It returns the chosen type's place in types, -1 if the caller wants
// none of them, and errHeader if the value is malformed. An empty list wants anything; of what is wanted alike, the first of
// types is taken.
func negotiate(accept string, types []string) (int, error) {
	s := scanner{accept}
	offers := make([]offer, len(types))
	empty := true
	for place := 0; ; place++ {
		for s.skipSpace(); s.take(','); s.skipSpace() { // empty elements are allowed (RFC 9110, 5.6.1.2)
		}
		if s.rest == "" {
			break
		}
		r, ok := s.mediaRange()
		if !ok {
			return -1, errHeader
		}
		empty = false
		for i, t := range types {
			if n := r.covers(t); n > offers[i].specificity {
				offers[i] = offer{r.weight, n, place}
			}
		}
		if s.skipSpace(); s.rest != "" && s.rest[0] != ',' {
			return -1, errHeader
		}
	}
	if empty {
		return 0, nil
	}
	best := -1
	for i, o := range offers {
		if o.weight > 0 && (best < 0 || o.better(offers[best])) {
			best = i
		}
	}
	return best, nil
}

// mediaRange is one element of an Accept header.
type mediaRange struct {
	kind, subtype string // "*" for any
	weight        int    // thousandths
}

// covers says how closely the range names a media type, 0 if it does not cover it.
func (r mediaRange) covers(mediaType string) int {
	kind, subtype, _ := strings.Cut(mediaType, "/")
	switch {
	case r.kind == "*":
		return 1
	case !strings.EqualFold(r.kind, kind):
		return 0
	case r.subtype == "*":
		return 2
	case strings.EqualFold(r.subtype, subtype):
		return 3
	}
	return 0
}

// scanner takes the parts of a header's grammar off its front.
type scanner struct{ rest string }

func (s *scanner) take(c byte) bool {
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

func (s *scanner) skipSpace() { s.rest = strings.TrimLeft(s.rest, " \t") }

// token takes a token, "" if there is none (RFC 9110, 5.6.2).
func (s *scanner) token() string {
	n := 0
	for n < len(s.rest) && isTokenByte(s.rest[n]) {
		n++
	}
	t := s.rest[:n]
	s.rest = s.rest[n:]
	return t
}

func isTokenByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// quoted takes a quoted-string and its quotes (RFC 9110, 5.6.4).
func (s *scanner) quoted() bool {
	if !s.take('"') {
		return false
	}
	for s.rest != "" {
		c := s.rest[0]
		s.rest = s.rest[1:]
		switch {
		case c == '"':
			return true
		case c == '\\':
			if s.rest == "" || !isTextByte(s.rest[0]) {
				return false
			}
			s.rest = s.rest[1:]
		case !isTextByte(c):
			return false
		}
	}
	return false
}

func isTextByte(c byte) bool { return c == '\t' || c >= ' ' && c != 0x7f }

func (s *scanner) mediaRange() (mediaRange, bool) {
	r := mediaRange{weight: 1000}
	r.kind = s.token()
	if r.kind == "" || !s.take('/') {
		return r, false
	}
	if r.subtype = s.token(); r.subtype == "" || r.kind == "*" && r.subtype != "*" {
		return r, false
	}
	for weighted := false; ; {
		if s.skipSpace(); !s.take(';') {
			return r, true
		}
		s.skipSpace()
		name := s.token()
		if name == "" {
			continue // parameters may be empty (RFC 9110, 5.6.6)
		}
		isWeight := !weighted && strings.EqualFold(name, "q")
		if !s.take('=') {
			if isWeight || !weighted {
				return r, false
			}
			continue // an accept-ext of RFC 7231 needs no value
		}
		if isWeight {
			var ok bool
			if r.weight, ok = s.weight(); !ok {
				return r, false
			}
			weighted = true
			continue
		}
		if strings.HasPrefix(s.rest, `"`) {
			if !s.quoted() {
				return r, false
			}
		} else if s.token() == "" {
			return r, false
		}
	}
}

// weight takes a qvalue, in thousandths (RFC 9110, 12.4.2).
func (s *scanner) weight() (int, bool) {
	q := s.token()
	if q == "" || len(q) > 5 || q[0] != '0' && q[0] != '1' || len(q) > 1 && q[1] != '.' {
		return 0, false
	}
	w, scale := int(q[0]-'0')*1000, 100
	for _, c := range []byte(q[min(2, len(q)):]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		w += int(c-'0') * scale
		scale /= 10
	}
	return w, w <= 1000
}
