// Package object reads JSON objects (RFC 8259) whose contents somebody signed or somebody else will read, too: every
// member has one meaning or the document is refused. A name that comes twice, a name with an escape in it, text that is
// not UTF-8, data behind the end, more than [MaxMembers] members or more than [MaxDepth] levels are errors. Names are
// compared exactly, letter case included.
//
// Nothing is copied: values are parts of the document.
package object

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The bounds of a document.
const (
	MaxDepth   = 8   // levels of objects and arrays
	MaxMembers = 128 // of one object
	MaxItems   = 256 // of one array
)

// The ways in which a document is refused. They hold nothing of the document.
var (
	ErrSyntax    = errors.New("not JSON")
	ErrDuplicate = errors.New("a member's name comes twice")
	ErrLimit     = errors.New("too deep or too many members")
	ErrType      = errors.New("a member has another type than expected")
)

// Value is one JSON value as it stands in its document, already checked.
type Value string

// Each checks a whole document, which must be one object, and calls member for each of its members in their order. The
// error of member ends it.
func Each(doc string, member func(name string, v Value) error) error {
	s := scanner{doc: doc}
	if err := s.document(); err != nil {
		return err
	}
	return Value(strings.TrimFunc(doc, blank)).Each(member)
}

// Each calls member for each member of the object v. It is [ErrType] if v is no object.
func (v Value) Each(member func(name string, v Value) error) error {
	if v == "" || v[0] != '{' {
		return ErrType
	}
	s := scanner{doc: string(v), pos: 1}
	for s.space(); s.doc[s.pos] != '}'; s.space() {
		if s.doc[s.pos] == ',' {
			s.pos++
			s.space()
		}
		start := s.pos + 1
		if err := s.text(); err != nil {
			return err
		}
		name := s.doc[start : s.pos-1]
		s.space()
		s.pos++ // the colon
		s.space()
		start = s.pos
		if err := s.value(MaxDepth); err != nil {
			return err
		}
		if err := member(name, Value(s.doc[start:s.pos])); err != nil {
			return err
		}
	}
	return nil
}

// Items calls item for each item of the array v. It is [ErrType] if v is no array.
func (v Value) Items(item func(v Value) error) error {
	if v == "" || v[0] != '[' {
		return ErrType
	}
	s := scanner{doc: string(v), pos: 1}
	for s.space(); s.doc[s.pos] != ']'; s.space() {
		if s.doc[s.pos] == ',' {
			s.pos++
			s.space()
		}
		start := s.pos
		if err := s.value(MaxDepth); err != nil {
			return err
		}
		if err := item(Value(s.doc[start:s.pos])); err != nil {
			return err
		}
	}
	return nil
}

// Text returns the text of a JSON string.
func (v Value) Text() (string, error) {
	if len(v) < 2 || v[0] != '"' {
		return "", ErrType
	}
	inner := string(v[1 : len(v)-1])
	if strings.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	return unescape(inner)
}

// Int returns a whole number, written without fraction or exponent.
func (v Value) Int() (int64, error) {
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || v == "-0" {
		return 0, ErrType
	}
	return n, nil
}

// Bool returns true or false.
func (v Value) Bool() (bool, error) {
	switch v {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, ErrType
}

// Null reports whether the value is null.
func (v Value) Null() bool { return v == "null" }

// scanner stands at one place of a document.
type scanner struct {
	doc string
	pos int
}

func (s *scanner) document() error {
	s.space()
	if s.peek() != '{' {
		return ErrSyntax
	}
	if err := s.value(MaxDepth); err != nil {
		return err
	}
	s.space()
	if s.pos != len(s.doc) {
		return ErrSyntax
	}
	return nil
}

// peek returns 0, which no document may hold, at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.doc) {
		return s.doc[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.doc) && blank(rune(s.doc[s.pos])) {
		s.pos++
	}
}

func blank(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' }

func (s *scanner) value(depth int) error {
	switch c := s.peek(); {
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.array(depth)
	case c == '"':
		return s.text()
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(s.doc[s.pos:], word) {
			s.pos += len(word)
			return nil
		}
	}
	return ErrSyntax
}

func (s *scanner) object(depth int) error {
	if depth == 0 {
		return ErrLimit
	}
	var names [MaxMembers]struct{ from, to uint32 }
	n := 0
	s.pos++
	s.space()
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		from, to, err := s.name()
		if err != nil {
			return err
		}
		if n == MaxMembers {
			return ErrLimit
		}
		for _, other := range names[:n] {
			if s.doc[other.from:other.to] == s.doc[from:to] {
				return ErrDuplicate
			}
		}
		names[n].from, names[n].to = uint32(from), uint32(to)
		n++
		if err := s.value(depth - 1); err != nil {
			return err
		}
		if end, err := s.next('}'); err != nil || end {
			return err
		}
	}
}

// name reads a member's name and goes to its value. A name with an escape is refused: two spellings of one name are two
// names to some readers.
func (s *scanner) name() (from, to int, err error) {
	if s.peek() != '"' {
		return 0, 0, ErrSyntax
	}
	from = s.pos + 1
	if err := s.text(); err != nil {
		return 0, 0, err
	}
	to = s.pos - 1
	if strings.IndexByte(s.doc[from:to], '\\') >= 0 {
		return 0, 0, ErrSyntax
	}
	s.space()
	if s.peek() != ':' {
		return 0, 0, ErrSyntax
	}
	s.pos++
	s.space()
	return from, to, nil
}

func (s *scanner) array(depth int) error {
	if depth == 0 {
		return ErrLimit
	}
	s.pos++
	s.space()
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for range MaxItems {
		if err := s.value(depth - 1); err != nil {
			return err
		}
		if end, err := s.next(']'); err != nil || end {
			return err
		}
	}
	return ErrLimit
}

// next goes behind a comma or behind the closing bracket.
func (s *scanner) next(closing byte) (end bool, err error) {
	s.space()
	switch s.peek() {
	case closing:
		s.pos++
		return true, nil
	case ',':
		s.pos++
		s.space()
		return false, nil
	}
	return false, ErrSyntax
}

func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return ErrSyntax
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return ErrSyntax
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return ErrSyntax
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	from := s.pos
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > from
}

// text reads a string and goes behind it.
func (s *scanner) text() error {
	s.pos++
	for s.pos < len(s.doc) {
		switch c := s.doc[s.pos]; {
		case c == '"':
			s.pos++
			return nil
		case c == '\\':
			n := escapeLength(s.doc[s.pos:])
			if n == 0 {
				return ErrSyntax
			}
			s.pos += n
		case c < ' ':
			return ErrSyntax
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, n := utf8.DecodeRuneInString(s.doc[s.pos:])
			if r == utf8.RuneError && n == 1 {
				return ErrSyntax
			}
			s.pos += n
		}
	}
	return ErrSyntax
}

// escapeLength returns how long the escape is at the start of s, 0 if it is none. Half a surrogate pair is none.
func escapeLength(s string) int {
	if len(s) < 2 {
		return 0
	}
	if s[1] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, s[1]) < 0 {
			return 0
		}
		return 2
	}
	r, ok := hex4(s)
	if !ok {
		return 0
	}
	if !utf16.IsSurrogate(r) {
		return 6
	}
	if low, ok := hex4(s[6:]); !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
		return 0
	}
	return 12
}

// hex4 reads \uXXXX.
func hex4(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range []byte(s[2:6]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape replaces escapes in the inside of a string that was checked.
func unescape(s string) (string, error) {
	var b strings.Builder
	b.Grow(len(s))
	for len(s) > 0 {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			i = len(s)
		}
		b.WriteString(s[:i])
		if s = s[i:]; s == "" {
			break
		}
		n := escapeLength(s)
		switch n {
		case 0:
			return "", ErrSyntax
		case 2:
			if i := strings.IndexByte("bfnrt", s[1]); i >= 0 {
				b.WriteByte("\b\f\n\r\t"[i])
			} else {
				b.WriteByte(s[1])
			}
		case 6:
			r, _ := hex4(s)
			b.WriteRune(r)
		default:
			r, _ := hex4(s)
			low, _ := hex4(s[6:])
			b.WriteRune(utf16.DecodeRune(r, low))
		}
		s = s[n:]
	}
	return b.String(), nil
}
