package pruefziffer

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
)

// Size is the number of octets of a check number of either version.
const Size = 47

// ErrMalformed says that a text is no check number in one of the four forms of base64.
var ErrMalformed = errors.New("a check number is 47 octets in base64")

// Number is one check number. It is evidence for whoever holds it, so it prints as "[secret]"; the ledger gets its hash.
// The zero value is no number.
type Number struct {
	hidden
	b *[Size]byte
}

// Parse reads a number in base64 or base64url (RFC 4648), with or without padding. Every number has exactly one text in
// each of the four: bits that the text does not need must be zero, and line breaks are refused.
func Parse(s string) (Number, error) {
	enc := base64.RawStdEncoding.Strict()
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding.Strict()
	}
	if len(s) == 64 && s[63] == '=' {
		s = s[:63]
	}
	if len(s) != 63 || strings.ContainsAny(s, "\r\n") {
		return Number{}, ErrMalformed
	}
	n := Number{b: new([Size]byte)}
	if _, err := enc.Decode(n.b[:], []byte(s)); err != nil {
		return Number{}, ErrMalformed // the cause would quote an octet of it
	}
	return n, nil
}

// URL returns the text for the HTTP header VSDM-Pz: base64url with padding, 64 characters.
func (n Number) URL() string { return base64.URLEncoding.EncodeToString(n.octets()) }

// Standard returns the text for tokens: base64 with padding, 64 characters.
func (n Number) Standard() string { return base64.StdEncoding.EncodeToString(n.octets()) }

// Hash returns the SHA-256 of the 47 octets, which stands in the ledger in place of the number.
func (n Number) Hash() [sha256.Size]byte { return sha256.Sum256(n.octets()) }

// Version returns 1 or 2, 0 for the zero value.
func (n Number) Version() int {
	switch {
	case n.b == nil:
		return 0
	case n.b[0]&0x80 == 0:
		return 1
	}
	return 2
}

// Operator returns the operator's letter, 0 if there is none. It is not authenticated.
func (n Number) Operator() byte {
	letter := byte(0)
	switch n.Version() {
	case 1:
		letter = n.b[v1Letter]
	case 2:
		letter = 'A' + n.b[0]&0x7f>>2
	}
	if !capital(letter) {
		return 0
	}
	return letter
}

func (n Number) octets() []byte {
	if n.b == nil {
		return nil
	}
	return n.b[:]
}

func capital(c byte) bool { return c >= 'A' && c <= 'Z' }
