package eau

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// token is what a scanner found.
type token int

const (
	tokenEnd       token = iota // the end of the document
	tokenOpen                   // an element begins: name, value, url and space are its
	tokenClose                  // the element that was opened last ends
	tokenDirective              // <!DOCTYPE and the like; it is not read, and nothing behind it
)

// errSyntax says that the text is not well-formed, or uses what this package does not process.
var errSyntax = errors.New("the document is not well-formed XML")

// scanner reads XML 1.0 (fifth edition) with name spaces, as far as FHIR uses it: elements and the attributes value and
// url. Everything else is checked for its form and passed over. It takes no entities but the five of XML and no document
// types, and allocates nothing but its stack and values with character references. Its strings are parts of the text.
//
// Content outside the root element is passed over too; several root elements are the caller's to refuse.
type scanner struct {
	text    string // valid UTF-8, without byte order mark
	at      int
	open    []string // the names of the open elements as written
	empty   bool     // the element just opened ends at once
	charset bool     // an XML declaration names another character set than UTF-8

	name       string // as written, with prefix
	value, url string // of the attributes of this name without prefix
	space      string // the name space, as far as the element itself declares it
}

// next moves to the next token. An error is errSyntax.
func (s *scanner) next() (token, error) {
	if s.empty {
		s.empty = false
		return s.close(s.name)
	}
	for s.at < len(s.text) {
		if s.text[s.at] != '<' {
			if err := s.characters(); err != nil {
				return 0, err
			}
			continue
		}
		s.at++
		switch rest := s.text[s.at:]; {
		case strings.HasPrefix(rest, "/"):
			s.at++
			name, ok := s.qualifiedName()
			s.blanks()
			if !ok || !s.take('>') {
				return 0, errSyntax
			}
			return s.close(name)
		case strings.HasPrefix(rest, "?"):
			s.at++
			if err := s.instruction(); err != nil {
				return 0, err
			}
		case strings.HasPrefix(rest, "!--"):
			s.at += 3
			if _, ok := s.until("--"); !ok || !s.take('>') {
				return 0, errSyntax
			}
		case strings.HasPrefix(rest, "![CDATA["):
			s.at += 8
			if data, ok := s.until("]]>"); !ok || !charactersOnly(data) {
				return 0, errSyntax
			}
		case strings.HasPrefix(rest, "!"):
			if rest == "!" || rest[1] == '-' || rest[1] == '[' {
				return 0, errSyntax
			}
			return tokenDirective, nil
		default:
			return tokenOpen, s.element()
		}
	}
	if len(s.open) > 0 {
		return 0, errSyntax
	}
	return tokenEnd, nil
}

func (s *scanner) close(name string) (token, error) {
	last := len(s.open) - 1
	if last < 0 || s.open[last] != name {
		return 0, errSyntax
	}
	s.open = s.open[:last]
	return tokenClose, nil
}

// element reads an element's name and attributes, up to its end.
func (s *scanner) element() error {
	name, ok := s.qualifiedName()
	if !ok {
		return errSyntax
	}
	s.name, s.value, s.url, s.space = name, "", "", ""
	prefix, _ := cutName(name)
	var hasValue, hasURL bool
	for {
		s.blanks()
		if s.take('>') {
			break
		}
		if s.take('/') {
			if !s.take('>') {
				return errSyntax
			}
			s.empty = true
			break
		}
		attribute, ok := s.qualifiedName()
		if !ok {
			return errSyntax
		}
		value, err := s.attributeValue()
		if err != nil {
			return err
		}
		switch {
		case attribute == "value" && !hasValue:
			s.value, hasValue = value, true
		case attribute == "url" && !hasURL:
			s.url, hasURL = value, true
		case attribute == "value", attribute == "url":
			return errSyntax // two readers could read two documents
		case attribute == "xmlns" && prefix == "", prefix != "" && attribute == "xmlns:"+prefix:
			s.space = value
		}
	}
	s.open = append(s.open, name)
	return nil
}

// attributeValue reads ="..." behind an attribute's name.
func (s *scanner) attributeValue() (string, error) {
	s.blanks()
	if !s.take('=') {
		return "", errSyntax
	}
	s.blanks()
	var value string
	var ok bool
	switch {
	case s.take('"'):
		value, ok = s.until(`"`)
	case s.take('\''):
		value, ok = s.until("'")
	}
	if !ok || strings.IndexByte(value, '<') >= 0 {
		return "", errSyntax
	}
	return unescape(value)
}

// characters passes over text between tags.
func (s *scanner) characters() error {
	data := s.text[s.at:]
	if n := strings.IndexByte(data, '<'); n >= 0 {
		data = data[:n]
	}
	s.at += len(data)
	if strings.Contains(data, "]]>") {
		return errSyntax
	}
	if strings.IndexByte(data, '&') < 0 {
		if !charactersOnly(data) {
			return errSyntax
		}
		return nil
	}
	_, err := unescape(data)
	return err
}

// instruction reads a processing instruction; the XML declaration is one.
func (s *scanner) instruction() error {
	target, ok := s.nameHere()
	s.blanks()
	data, closed := s.until("?>")
	if !ok || !closed {
		return errSyntax
	}
	if target != "xml" {
		return nil
	}
	if v := pseudoAttribute("version", data); v != "" && v != "1.0" {
		return errSyntax
	}
	if e := pseudoAttribute("encoding", data); e != "" && !strings.EqualFold(e, "utf-8") {
		s.charset = true
	}
	return nil
}

func pseudoAttribute(name, data string) string {
	for {
		_, rest, ok := strings.Cut(data, name+"=")
		if !ok || rest == "" {
			return ""
		}
		data = rest[1:]
		if quote := rest[:1]; quote == `"` || quote == "'" {
			value, _, ok := strings.Cut(data, quote)
			if !ok {
				return ""
			}
			return value
		}
	}
}

// take passes over one octet if it is this one.
func (s *scanner) take(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// until returns what comes before end, and passes over both.
func (s *scanner) until(end string) (string, bool) {
	n := strings.Index(s.text[s.at:], end)
	if n < 0 {
		return "", false
	}
	data := s.text[s.at : s.at+n]
	s.at += n + len(end)
	return data, true
}

func (s *scanner) blanks() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) qualifiedName() (string, bool) {
	name, ok := s.nameHere()
	return name, ok && strings.Count(name, ":") <= 1
}

// nameHere reads a Name (XML 1.0, production 5). It is false where there is none.
func (s *scanner) nameHere() (string, bool) {
	start, foreign := s.at, false
	for s.at < len(s.text) && nameOctets[s.text[s.at]] {
		foreign = foreign || s.text[s.at] >= utf8.RuneSelf
		s.at++
	}
	name := s.text[start:s.at]
	if name == "" || name[0] == '-' || name[0] == '.' || '0' <= name[0] && name[0] <= '9' {
		return "", false
	}
	if foreign {
		for i, r := range name {
			if r >= utf8.RuneSelf && !nameRune(r, i == 0) {
				return "", false
			}
		}
	}
	return name, true
}

// nameOctets are the octets that a name may have: those of ASCII names and all that begin or continue other characters.
var nameOctets = func() (set [256]bool) {
	for c := range set {
		set[c] = c >= utf8.RuneSelf || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.IndexByte("_:.-", byte(c)) >= 0
	}
	return set
}()

// nameRune judges characters outside ASCII (XML 1.0 fifth edition, productions 4 and 4a).
func nameRune(r rune, first bool) bool {
	for _, span := range [...][2]rune{
		{0xc0, 0xd6},
		{0xd8, 0xf6},
		{0xf8, 0x2ff},
		{0x370, 0x37d},
		{0x37f, 0x1fff},
		{0x200c, 0x200d},
		{0x2070, 0x218f},
		{0x2c00, 0x2fef},
		{0x3001, 0xd7ff},
		{0xf900, 0xfdcf},
		{0xfdf0, 0xfffd},
		{0x10000, 0xeffff},
	} {
		if span[0] <= r && r <= span[1] {
			return true
		}
	}
	return !first && (r == 0xb7 || 0x300 <= r && r <= 0x36f || r == 0x203f || r == 0x2040)
}

// cutName splits a qualified name. A colon at either end belongs to the name.
func cutName(name string) (prefix, local string) {
	if i := strings.IndexByte(name, ':'); i > 0 && i < len(name)-1 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// charactersOnly reports whether s, valid UTF-8, has only characters that XML allows (production 2).
func charactersOnly(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ':
			if c != '\t' && c != '\n' && c != '\r' {
				return false
			}
		case c == 0xef: // U+FFFE and U+FFFF are ef bf be and ef bf bf; surrogates are no UTF-8
			if s[i+1] == 0xbf && s[i+2] >= 0xbe {
				return false
			}
		}
	}
	return true
}

// unescape resolves references and line ends. Mostly there are none.
func unescape(s string) (string, error) {
	if !charactersOnly(s) {
		return "", errSyntax
	}
	if strings.IndexByte(s, '&') < 0 && strings.IndexByte(s, '\r') < 0 {
		return s, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case '&':
			n := strings.IndexByte(s[i:], ';')
			if n < 0 {
				return "", errSyntax
			}
			r, ok := reference(s[i+1 : i+n])
			if !ok {
				return "", errSyntax
			}
			out = utf8.AppendRune(out, r)
			i += n + 1
		case '\r':
			out = append(out, '\n')
			if i++; i < len(s) && s[i] == '\n' {
				i++
			}
		default:
			out = append(out, c)
			i++
		}
	}
	return string(out), nil
}

// reference resolves what stands between & and ;.
func reference(s string) (rune, bool) {
	number, ok := strings.CutPrefix(s, "#")
	if !ok {
		i := slices.IndexFunc(entities[:], func(e entity) bool { return e.name == s })
		if i < 0 {
			return 0, false
		}
		return entities[i].is, true
	}
	base := 10
	if hexadecimal, ok := strings.CutPrefix(number, "x"); ok {
		number, base = hexadecimal, 16
	}
	if strings.Trim(number, "0123456789abcdefABCDEF") != "" {
		return 0, false // ParseUint would take a sign
	}
	n, err := strconv.ParseUint(number, base, 64)
	if err != nil || n > utf8.MaxRune {
		return 0, false
	}
	var one [utf8.UTFMax]byte
	return rune(n), charactersOnly(string(utf8.AppendRune(one[:0], rune(n))))
}

type entity struct {
	name string
	is   rune
}

var entities = [...]entity{{"lt", '<'}, {"gt", '>'}, {"amp", '&'}, {"apos", '\''}, {"quot", '"'}}
