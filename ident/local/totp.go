package local

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" // RFC 6238 as authenticator apps implement it; HMAC-SHA-1 is not broken
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"
)

const (
	totpBytes     = 20 // RFC 4226, section 4, R6
	totpDigits    = 6
	totpStep      = 30 * time.Second
	totpSkew      = 1 // steps either way, RFC 6238 section 5.2
	recoveryCodes = 10
	recoveryBytes = 10
	recoveryChars = 16 // recoveryBytes in base32
)

var base32Letters = base32.StdEncoding.WithPadding(base32.NoPadding)

// totp returns the code of one step (RFC 4226, section 5.3).
func totp(secret []byte, step int64, digits int) string {
	m := hmac.New(sha1.New, secret)
	_, _ = m.Write(binary.BigEndian.AppendUint64(nil, uint64(step))) // a hash takes everything
	sum := m.Sum(nil)
	n := binary.BigEndian.Uint32(sum[sum[len(sum)-1]&0xf:]) & 0x7fffffff
	mod := uint32(1)
	for range digits {
		mod *= 10
	}
	return fmt.Sprintf("%0*d", digits, n%mod)
}

// totpMatch returns the step whose code this is, 0 if it is none of those that may be shown at this time. It looks at all of
// them, so the time it takes tells nothing. A code that two steps share counts for the later one: it is used up for both.
func totpMatch(secret []byte, now time.Time, code string) (step int64) {
	at := now.Unix() / int64(totpStep/time.Second)
	for s := at - totpSkew; s <= at+totpSkew; s++ {
		right := subtle.ConstantTimeCompare([]byte(totp(secret, s, totpDigits)), []byte(code))
		step = int64(subtle.ConstantTimeSelect(right, int(s), int(step)))
	}
	return step
}

// otpauth is the URI that authenticator apps read from a QR code.
func otpauth(issuer, name string, secret []byte) string {
	q := url.Values{
		"secret": {base32Letters.EncodeToString(secret)}, "issuer": {issuer}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {"30"},
	}
	// Some apps show a plus sign where others show a space.
	query := strings.ReplaceAll(q.Encode(), "+", "%20")
	return "otpauth://totp/" + url.PathEscape(issuer) + ":" + url.PathEscape(name) + "?" + query
}

// newRecovery makes ten codes and what is kept of them.
func newRecovery(salt []byte) (codes []string, hashes [][]byte) {
	for range recoveryCodes {
		b := make([]byte, recoveryBytes)
		_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
		c := strings.ToLower(base32Letters.EncodeToString(b))
		codes = append(codes, c[:4]+"-"+c[4:8]+"-"+c[8:12]+"-"+c[12:])
		hashes = append(hashes, recoveryHash(salt, c))
	}
	return codes, hashes
}

// recoveryHash needs no slow hash: 80 random bits are not guessed.
func recoveryHash(salt []byte, code string) []byte {
	b := append([]byte("querschott/recovery\x00"), salt...)
	sum := sha256.Sum256(append(b, code...))
	return sum[:]
}

// recoveryMatch returns which of the codes this is, -1 for none. It looks at all of them.
func recoveryMatch(salt []byte, hashes [][]byte, code string) int {
	sum, found := recoveryHash(salt, code), -1
	for i, h := range hashes {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum, h), i, found)
	}
	return found
}

// plainCode takes away what people put between the characters of a code, and what cannot be a code becomes "".
func plainCode(s string) string {
	if len(s) > 64 {
		return ""
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '-':
			return -1
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, s)
	digits := strings.Trim(s, "0123456789") == ""
	letters := strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
	if len(s) == totpDigits && digits || len(s) == recoveryChars && letters {
		return s
	}
	return ""
}
