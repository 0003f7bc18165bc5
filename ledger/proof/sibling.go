package proof

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Sibling returns the verifier key of another log of the same platform: all logs of a platform are signed with one key,
// each under its own name.
func Sibling(vkey, origin string) (string, error) {
	v, err := NewVerifier(vkey)
	if err != nil {
		return "", err
	}
	domain, _, ok := strings.Cut(v.Name(), "/ledger/")
	if !ok || !strings.HasPrefix(origin, domain+"/ledger/") || strings.ContainsFunc(origin, func(r rune) bool { return r <= ' ' || r == '+' || r > '~' }) {
		return "", fmt.Errorf("the verifier key of %.100q is not for a log %.100q", v.Name(), origin)
	}
	_, rest, _ := strings.Cut(vkey, "+") // a name has no '+', a key ID neither, base64 may
	_, key, _ := strings.Cut(rest, "+")
	raw, err := strict(key)
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != ed25519Type {
		return "", errors.New("couldn't read verifier key: it is no Ed25519 key")
	}
	h := sha256.Sum256(append([]byte(origin+"\n"), raw...))
	return fmt.Sprintf("%s+%x+%s", origin, h[:4], base64.StdEncoding.EncodeToString(raw)), nil
}
