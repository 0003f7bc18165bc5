package sigma

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The wildcards of a pattern stand among its runes.
const (
	anyRunes rune = -1 // *
	oneRune  rune = -2 // ?
)

// pattern is a text of a rule with its wildcards, folded unless case counts.
type pattern []rune

// parsePattern reads a text of a rule. A backslash takes the meaning from *, ? and another backslash; before anything else it
// is itself.
func parsePattern(s string) pattern {
	var p pattern
	runes := []rune(s)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; {
		case r == '\\' && i+1 < len(runes) && strings.ContainsRune(`*?\`, runes[i+1]):
			i++
			p = append(p, runes[i])
		case r == '*':
			p = append(p, anyRunes)
		case r == '?':
			p = append(p, oneRune)
		default:
			p = append(p, r)
		}
	}
	return p
}

// place says where in a value a pattern must stand.
type place uint8

const (
	whole place = iota
	atStart
	atEnd
	anywhere
)

func (p pattern) at(where place) pattern {
	if where == atEnd || where == anywhere {
		p = append(pattern{anyRunes}, p...)
	}
	if where == atStart || where == anywhere {
		p = append(p[:len(p):len(p)], anyRunes)
	}
	return p
}

// compile returns what decides whether a value is one that the pattern describes.
func (p pattern) compile(cased bool) func(string) bool {
	plain := true
	for _, r := range p {
		plain = plain && r >= 0
	}
	if plain {
		want := string(p)
		if cased {
			return func(s string) bool { return s == want }
		}
		return func(s string) bool { return strings.EqualFold(s, want) }
	}
	if cased {
		return func(s string) bool { return p.match(s, func(r rune) rune { return r }) }
	}
	folded := make(pattern, len(p))
	for i, r := range p {
		if folded[i] = r; r >= 0 {
			folded[i] = fold(r)
		}
	}
	return func(s string) bool { return folded.match(s, fold) }
}

// match is the usual search with one step back: to the last star.
func (p pattern) match(s string, canon func(rune) rune) bool {
	at, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		switch {
		case at < len(p) && p[at] == anyRunes:
			star, mark = at, i
			at++
		case at < len(p) && (p[at] == oneRune || p[at] == canon(r)):
			at++
			i += size
		case star >= 0:
			_, step := utf8.DecodeRuneInString(s[mark:])
			mark += step
			at, i = star+1, mark
		default:
			return false
		}
	}
	for at < len(p) && p[at] == anyRunes {
		at++
	}
	return at == len(p)
}

// fold returns one rune for all that differ only in case, as strings.EqualFold sees it.
func fold(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if least < utf8.RuneSelf {
		return fold(least)
	}
	return least
}

// plainRegexp says why a regular expression is not one of the portable kind, "" if it is: no classes by letter, no groups
// with options, no looking around.
func plainRegexp(s string) string {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
			if i == len(s) {
				return "it ends with a backslash"
			}
			if c := s[i]; c >= utf8.RuneSelf || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
				return "a backslash stands only before a sign that it takes the meaning from"
			}
		case s[i] == '(' && i+1 < len(s) && s[i+1] == '?':
			return "groups have no options"
		case strings.HasPrefix(s[i:], "[:"):
			return "classes have no names"
		}
	}
	return ""
}
