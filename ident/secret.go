package ident

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// Lengths of secrets in bytes.
const (
	passwordBytes = 20
	tokenBytes    = 32
	saltBytes     = 16
)

var letters = base32.StdEncoding.WithPadding(base32.NoPadding)

// newSecret returns n random bytes as lower-case letters and digits: it survives being typed, put into a URL and into
// every mail client's password field.
func newSecret(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return strings.ToLower(letters.EncodeToString(b))
}

func newSalt() []byte {
	b := make([]byte, saltBytes)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return b
}

// digest hashes a secret for one purpose; the purpose keeps a hash of one kind from serving as another.
func digest(purpose string, salt []byte, secret string) [sha256.Size]byte {
	b := make([]byte, 0, 128)
	b = append(b, "querschott/"...)
	b = append(b, purpose...)
	b = append(b, 0)
	b = append(b, salt...)
	b = append(b, secret...)
	return sha256.Sum256(b)
}
