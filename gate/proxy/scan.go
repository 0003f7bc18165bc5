package proxy

import (
	"encoding/binary"
	"encoding/json"
	"errors"
)

// listener hears a JSON document, in its order. Bytes are valid during the call only.
type listener interface {
	open(array bool)    // an object or array begins
	end()               // the innermost one ends
	name(key []byte)    // of the member whose value comes next
	scalar(text []byte) // a string, unescaped, or the digits of a number; nil for true, false and null
}

const (
	maxDepth = 64       // of JSON and XML documents
	maxText  = 512      // bytes of a name or value that a listener hears; longer ones are heard cut off
	maxWhole = 64 << 10 // bytes of a name or value with escapes in it that are looked at
)

// errUnreadable says that an answer, or the body of a request, is not what it should be, so nothing in it can be counted.
var errUnreadable = errors.New("the content cannot be read")

// scanState is what the scanner expects next.
type scanState uint8

const (
	wantValue scanState = iota
	wantFirstValue
	wantFirstKey
	wantKey
	wantColon
	afterValue
	afterDocument
	inString
	inEscape
	inHex
	inLiteral
	numMinus
	numZero
	numInt
	numDot
	numFrac
	numExp
	numSign
	numDigits
)

// scanner reads a JSON document (RFC 8259) as it arrives, in any pieces, in memory that does not depend on its size. It
// accepts what [json.Valid] accepts, up to maxDepth.
type scanner struct {
	hear    listener
	state   scanState
	err     error
	depth   int
	array   [maxDepth]bool
	key     bool   // the string is the name of a member
	escaped bool   // it has escapes
	hex     int    // digits of a \u escape that are missing
	literal string // what remains of true, false or null
	text    []byte // of the string or number so far
}

func (s *scanner) write(b []byte) error {
	for i := 0; i < len(b) && s.err == nil; {
		if s.usual(b[i]) {
			i++
			continue
		}
		if s.state == inString {
			n := plain(b[i:])
			if i+n < len(b) && b[i+n] == '"' && !s.escaped && len(s.text) == 0 {
				s.endString(b[i : i+n]) // the usual one: it need not be kept
				i += n + 1
				continue
			}
			s.keep(b[i : i+n])
			if i += n; i == len(b) {
				break
			}
		}
		s.step(b[i])
		i++
	}
	return s.err
}

// usual takes most of what stands between strings. It does nothing that step would not do, but sooner.
func (s *scanner) usual(c byte) bool {
	switch s.state {
	case wantColon:
		if c != ':' {
			return false
		}
		s.state = wantValue
	case afterValue:
		if c != ',' {
			return false
		}
		if s.state = wantKey; s.array[s.depth-1] {
			s.state = wantValue
		}
	case wantKey, wantFirstKey, wantValue, wantFirstValue:
		if c != '"' {
			return false
		}
		s.key = s.state == wantKey || s.state == wantFirstKey
		s.escaped, s.text, s.state = false, s.text[:0], inString
	default:
		return false
	}
	return true
}

// finish reports whether the document is complete.
func (s *scanner) finish() error {
	if s.err == nil && s.state >= numMinus {
		s.endNumber()
	}
	if s.err == nil && s.state != afterDocument {
		s.err = errUnreadable
	}
	return s.err
}

func (s *scanner) reset() {
	s.state, s.err, s.depth, s.text = wantValue, nil, 0, s.text[:0]
}

// plain returns the length of the part of a string that has no meaning for its syntax.
func plain(b []byte) int {
	n := 0
	for n+8 <= len(b) && allPlain(binary.LittleEndian.Uint64(b[n:])) {
		n += 8
	}
	for ; n < len(b); n++ {
		if c := b[n]; c == '"' || c == '\\' || c < ' ' {
			break
		}
	}
	return n
}

// allPlain looks at eight bytes at once, as most of an answer is text. x-n borrows from a byte's highest bit if the byte is
// below n, and ^x leaves out bytes that had it before.
func allPlain(x uint64) bool {
	const each = 0x0101010101010101
	quote, slash := x^each*'"', x^each*'\\'
	return ((x-each*' ')&^x|(quote-each)&^quote|(slash-each)&^slash)&(each<<7) == 0
}

func (s *scanner) keep(b []byte) {
	if room := maxWhole - len(s.text); room > 0 {
		s.text = append(s.text, b[:min(len(b), room)]...)
	}
}

func (s *scanner) step(c byte) {
	switch s.state {
	case inString:
		s.inString(c)
	case inEscape:
		s.inEscape(c)
	case inHex:
		if !isHex(c) {
			s.err = errUnreadable
			return
		}
		s.keep([]byte{c})
		if s.hex--; s.hex == 0 {
			s.state = inString
		}
	case inLiteral:
		if s.literal == "" || c != s.literal[0] {
			s.err = errUnreadable
			return
		}
		if s.literal = s.literal[1:]; s.literal == "" {
			s.value(nil)
		}
	case numMinus, numZero, numInt, numDot, numFrac, numExp, numSign, numDigits:
		if s.number(c) {
			s.keep([]byte{c})
		} else if s.endNumber(); s.err == nil {
			s.structure(c)
		}
	default:
		s.structure(c)
	}
}

func (s *scanner) inString(c byte) {
	switch {
	case c == '\\':
		s.escaped = true
		s.keep([]byte{c})
		s.state = inEscape
	case c != '"':
		s.err = errUnreadable // a control character
	default:
		text := s.text
		if s.escaped {
			text = unescape(text)
		}
		s.endString(text)
	}
}

func (s *scanner) endString(text []byte) {
	if s.key {
		s.hear.name(text[:min(len(text), maxText)])
		s.state = wantColon
		return
	}
	s.value(text)
}

func (s *scanner) inEscape(c byte) {
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.state = inString
	case 'u':
		s.state, s.hex = inHex, 4
	default:
		s.err = errUnreadable
	}
	s.keep([]byte{c})
}

// unescape resolves the escapes of a string that is syntactically right, or was cut off.
func unescape(raw []byte) []byte {
	var text string
	quoted := append(append([]byte{'"'}, raw...), '"')
	if err := json.Unmarshal(quoted, &text); err != nil {
		return raw // cut off inside an escape: it is no name or number that anybody looks for
	}
	return []byte(text)
}

// number reports whether c continues the number.
func (s *scanner) number(c byte) bool {
	digit := c >= '0' && c <= '9'
	switch {
	case s.state == numMinus && c == '0':
		s.state = numZero
	case s.state == numMinus && digit, s.state == numInt && digit:
		s.state = numInt
	case (s.state == numZero || s.state == numInt) && c == '.':
		s.state = numDot
	case (s.state == numDot || s.state == numFrac) && digit:
		s.state = numFrac
	case (s.state == numZero || s.state == numInt || s.state == numFrac) && (c == 'e' || c == 'E'):
		s.state = numExp
	case s.state == numExp && (c == '+' || c == '-'):
		s.state = numSign
	case (s.state == numExp || s.state == numSign || s.state == numDigits) && digit:
		s.state = numDigits
	default:
		return false
	}
	return true
}

func (s *scanner) endNumber() {
	switch s.state {
	case numZero, numInt, numFrac, numDigits:
		s.value(s.text)
	default:
		s.err = errUnreadable
	}
}

// value tells a scalar and goes on behind it.
func (s *scanner) value(text []byte) {
	s.hear.scalar(text[:min(len(text), maxText)])
	s.behind()
}

func (s *scanner) behind() {
	s.state = afterValue
	if s.depth == 0 {
		s.state = afterDocument
	}
}

// structure takes a byte outside of strings, numbers and literals.
func (s *scanner) structure(c byte) {
	if c == ' ' || c == '\t' || c == '\r' || c == '\n' {
		return
	}
	switch s.state {
	case wantValue:
		s.begin(c)
	case wantFirstValue:
		if c == ']' {
			s.close(true)
			return
		}
		s.begin(c)
	case wantFirstKey:
		if c == '}' {
			s.close(false)
			return
		}
		s.beginKey(c)
	case wantKey:
		s.beginKey(c)
	case wantColon:
		if c != ':' {
			s.err = errUnreadable
		}
		s.state = wantValue
	case afterValue:
		s.after(c)
	default:
		s.err = errUnreadable
	}
}

func (s *scanner) after(c byte) {
	switch array := s.array[s.depth-1]; {
	case c == ',' && array:
		s.state = wantValue
	case c == ',':
		s.state = wantKey
	case c == ']' || c == '}':
		s.close(c == ']')
	default:
		s.err = errUnreadable
	}
}

func (s *scanner) beginKey(c byte) {
	if c != '"' {
		s.err = errUnreadable
		return
	}
	s.key, s.escaped, s.text, s.state = true, false, s.text[:0], inString
}

func (s *scanner) begin(c byte) {
	s.key, s.escaped, s.text = false, false, s.text[:0]
	switch {
	case c == '{' || c == '[':
		if s.depth == maxDepth {
			s.err = errUnreadable
			return
		}
		s.array[s.depth] = c == '['
		s.depth++
		if s.state = wantFirstKey; c == '[' {
			s.state = wantFirstValue
		}
		s.hear.open(c == '[')
	case c == '"':
		s.state = inString
	case c == '-':
		s.text, s.state = append(s.text, c), numMinus
	case c == '0':
		s.text, s.state = append(s.text, c), numZero
	case c >= '1' && c <= '9':
		s.text, s.state = append(s.text, c), numInt
	default:
		s.beginLiteral(c)
	}
}

func (s *scanner) beginLiteral(c byte) {
	for _, word := range []string{"true", "false", "null"} {
		if word[0] == c {
			s.literal, s.state = word[1:], inLiteral
			return
		}
	}
	s.err = errUnreadable
}

func (s *scanner) close(array bool) {
	if s.array[s.depth-1] != array {
		s.err = errUnreadable
		return
	}
	s.depth--
	s.hear.end()
	s.behind()
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
