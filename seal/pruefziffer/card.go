package pruefziffer

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"golang.org/x/text/encoding/charmap"
)

// Errors of the health card value.
var (
	ErrCoverStart = errors.New("the start of cover is a date as YYYYMMDD")
	ErrCardValue  = errors.New("a health card value is five octets in base64 or hexadecimal")
)

// CardValue is the health card value (hcv): five octets that only somebody can compute who has read the card or got the
// master data. Its first bit is zero.
type CardValue [5]byte

// CardValueOf computes the value from the start of cover (Versicherungsbeginn, YYYYMMDD) and the street name of the street
// address, without the house number, "" if there is none. Blanks around the street are left out; the package comment says
// what happens to characters outside ISO-8859-15.
func CardValueOf(start, street string) (CardValue, error) { // A_27352
	if _, err := time.Parse("20060102", start); err != nil || len(start) != 8 {
		return CardValue{}, ErrCoverStart
	}
	var buf [64]byte
	text := append(buf[:0], start...)
	for _, r := range strings.TrimFunc(street, func(r rune) bool { return r <= ' ' }) {
		b, ok := charmap.ISO8859_15.EncodeRune(r)
		if !ok {
			b = '?'
		}
		text = append(text, b)
	}
	sum := sha256.Sum256(text)
	v := CardValue(sum[:5])
	v[0] &= 0x7f
	return v, nil
}

// ParseCardValue reads base64 or base64url with or without padding, or ten hexadecimal digits: both are in use.
func ParseCardValue(s string) (CardValue, error) {
	b, err := hex.DecodeString(s)
	if len(s) != 10 {
		enc := base64.RawStdEncoding.Strict()
		if strings.ContainsAny(s, "-_") {
			enc = base64.RawURLEncoding.Strict()
		}
		b, err = enc.DecodeString(strings.TrimSuffix(s, "="))
	}
	if err != nil || len(b) != 5 || len(s) > 10 || strings.ContainsAny(s, "\r\n") {
		return CardValue{}, ErrCardValue
	}
	return CardValue(b), nil
}

// Base64 returns the form for tokens, eight characters.
func (v CardValue) Base64() string { return base64.StdEncoding.EncodeToString(v[:]) }
