package insured

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// digraphs are letters that are commonly written as two.
var digraphs = map[rune]string{
	'ä': "ae", 'ö': "oe", 'ü': "ue", 'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "oe", 'å': "aa", 'þ': "th", 'ð': "d", 'ł': "l", 'đ': "d", 'ı': "i",
}

// Fold writes a name so that its usual spellings are equal: small letters without accents, umlauts as two letters, nothing
// between the words. Letters of other scripts stay. What is no letter is left out, so a pattern finds nothing that its
// letters alone would not find.
func Fold(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(norm.NFC.String(name)) {
		if _, ok := digraphs[r]; ok {
			b.WriteString(digraphs[r])
			continue
		}
		for _, part := range strings.ToLower(norm.NFKD.String(string(r))) {
			if two, ok := digraphs[part]; ok {
				b.WriteString(two)
			} else if unicode.IsLetter(part) {
				b.WriteRune(part)
			}
		}
	}
	return b.String()
}
