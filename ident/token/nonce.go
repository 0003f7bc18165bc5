package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

const (
	nonceMAC  = 16
	nonceSize = 8 + nonceMAC
)

// nonces are made and recognised without being remembered: a time and a MAC over it. They may be used any number of times
// while they are fresh; proofs may not.
type nonces struct {
	key []byte
}

// make returns a nonce of this moment, 32 characters.
func (n nonces) make(now time.Time) string {
	var b [nonceSize]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.Unix()))
	copy(b[8:], n.mac(b[:8]))
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// issued returns when a nonce was made, false if it was not made with this key.
func (n nonces) issued(nonce string) (time.Time, bool) {
	if len(nonce) != base64.RawURLEncoding.EncodedLen(nonceSize) {
		return time.Time{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(b) != nonceSize || !hmac.Equal(b[8:], n.mac(b[:8])) {
		return time.Time{}, false
	}
	return time.Unix(int64(binary.BigEndian.Uint64(b)), 0), true
}

func (n nonces) mac(b []byte) []byte {
	m := hmac.New(sha256.New, n.key)
	m.Write([]byte("querschott/dpop-nonce\x00"))
	m.Write(b)
	return m.Sum(nil)[:nonceMAC]
}
