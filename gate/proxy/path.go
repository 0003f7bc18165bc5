package proxy

import (
	"strings"
	"unicode/utf8"

	"github.com/querschott/querschott"
)

const (
	maxPath     = 8 << 10
	maxSegments = 64
)

// splitPath takes an escaped path apart into decoded segments. A path that two servers could read differently is an error:
// dot segments, empty segments, anything that is or becomes a separator, escapes of escapes, parameters of segments.
func splitPath(escaped string) ([]string, error) {
	if escaped == "" || escaped == "/" {
		return nil, nil
	}
	if escaped[0] != '/' || len(escaped) > maxPath {
		return nil, errPath()
	}
	raw := strings.Split(strings.TrimSuffix(escaped[1:], "/"), "/")
	if len(raw) > maxSegments {
		return nil, errPath()
	}
	for i, s := range raw {
		s, ok := decodeSegment(s)
		if !ok {
			return nil, errPath()
		}
		raw[i] = s
	}
	return raw, nil
}

func errPath() error {
	return querschott.Refuse(querschott.CodeInvalid, "the path can be understood in more than one way")
}

// lookalikes are letters that some servers turn into dots and slashes.
const lookalikes = "\uff0e\uff0f\uff3c\u2024\u2044\u2215\u29f8\u29f5"

func decodeSegment(s string) (string, bool) {
	if strings.Contains(s, "%") {
		var ok bool
		if s, ok = decodePercent(s); !ok {
			return "", false
		}
	}
	if s == "" || s == "." || s == ".." || !utf8.ValidString(s) || strings.ContainsAny(s, "/\\%;?#"+lookalikes) {
		return "", false
	}
	return s, !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func decodePercent(s string) (string, bool) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return "", false
		}
		b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
		i += 2
	}
	return string(b), true
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// segment is one step of a path template.
type segment struct {
	name    string // of the variable, or the text itself
	free    bool   // any text fits
	anyRest bool   // any number of segments fits
}

func parseTemplate(text string) ([]segment, error) {
	parts, err := splitPath(text)
	if err != nil || text == "" {
		return nil, err
	}
	template := make([]segment, len(parts))
	for i, p := range parts {
		inner, open := strings.CutPrefix(p, "{")
		inner, closed := strings.CutSuffix(inner, "}")
		s := segment{name: p}
		if open && closed {
			s.free = true
			if s.name, s.anyRest = strings.CutSuffix(inner, "..."); s.anyRest && i != len(parts)-1 {
				return nil, querschott.Refuse(querschott.CodeInvalid, "{%s...} stands at the end only", s.name)
			}
		}
		if s.name == "" || s.free != open || s.free != closed {
			return nil, querschott.Refuse(querschott.CodeInvalid, "a variable is written {name}")
		}
		template[i] = s
	}
	return template, nil
}

// variable is a variable of a path template and what it stands for.
type variable struct{ name, value string }

// fitPath reports whether the template describes the path, and what its variables stand for. Letters fit whatever their
// case: a server that makes no difference must not see more than the rules did.
func fitPath(template []segment, path []string) ([]variable, bool) {
	var variables []variable
	for i, s := range template {
		switch {
		case s.anyRest:
			return variables, true
		case i >= len(path):
			return nil, false
		case s.free:
			variables = append(variables, variable{s.name, path[i]})
		case !strings.EqualFold(s.name, path[i]):
			return nil, false
		}
	}
	return variables, len(path) == len(template)
}
