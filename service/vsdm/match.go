package vsdm

import (
	"strings"
)

// etagDigits is the length of our tags: a SHA-256 in hexadecimal.
const etagDigits = 64

// tags is what an If-None-Match header names: our own tags among all that it holds.
type tags struct{ list string }

// parseTags reads the value of an If-None-Match header. It takes a list of entity tags (RFC 9110, 8.8.3), strong or weak;
// and, because the published interface has examples without quotes, 64 hexadecimal digits and 0 bare. "*" is refused: it
// would ask whether there is anything at all. A well-formed tag that is none of ours, such as one of an earlier
// operator's service, matches nothing; "0" says that the caller has nothing.
func parseTags(value string) (tags, error) {
	s := scanner{value}
	n := 0
	for {
		for s.skipSpace(); s.take(','); s.skipSpace() {
		}
		if s.rest == "" {
			break
		}
		if _, ok := s.tag(); !ok {
			return tags{}, errHeader
		}
		n++
		if s.skipSpace(); s.rest != "" && s.rest[0] != ',' {
			return tags{}, errHeader
		}
	}
	if n == 0 {
		return tags{}, errHeader
	}
	return tags{value}, nil
}

// tag takes one entity tag and returns it without quotes and weakness.
func (s *scanner) tag() (string, bool) {
	weak := strings.HasPrefix(s.rest, "W/")
	if weak {
		s.rest = s.rest[2:]
	}
	if s.take('"') {
		i := 0
		for i < len(s.rest) && isTagByte(s.rest[i]) {
			i++
		}
		t := s.rest[:i]
		s.rest = s.rest[i:]
		return t, s.take('"')
	}
	t := s.token()
	return t, !weak && t == "0" || len(t) == etagDigits && isHex(t)
}

// isTagByte is RFC 9110's etagc.
func isTagByte(c byte) bool { return c > ' ' && c != '"' && c != 0x7f }

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

// has reports whether one of the tags is etag, which is without quotes. Weak comparison: RFC 9110, 13.1.2.
func (t tags) has(etag string) bool {
	s := scanner{t.list}
	for {
		for s.skipSpace(); s.take(','); s.skipSpace() {
		}
		if s.rest == "" {
			return false
		}
		if tag, _ := s.tag(); tag == etag {
			return true
		}
		s.skipSpace()
	}
}
