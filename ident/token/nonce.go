package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"sync"
	"time"
)

const (
	nonceMAC  = 16
	nonceSize = 8 + nonceMAC
)

// nonces are made and recognised without being remembered: a time and a MAC over it. They may be used any number of times
// while they are fresh; proofs may not.
type nonces struct {
	macs *sync.Pool // of hash.Hash with the key
}

func newNonces(key []byte) nonces {
	return nonces{&sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// make returns a nonce of this moment, 32 characters.
func (n nonces) make(now time.Time) string {
	var b [nonceSize]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.Unix()))
	mac := n.mac(b[:8])
	copy(b[8:], mac[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// issued returns when a nonce was made, false if it was not made with this key.
func (n nonces) issued(nonce string) (time.Time, bool) {
	if len(nonce) != base64.RawURLEncoding.EncodedLen(nonceSize) {
		return time.Time{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(b) != nonceSize {
		return time.Time{}, false
	}
	if mac := n.mac(b[:8]); !hmac.Equal(b[8:], mac[:]) {
		return time.Time{}, false
	}
	return time.Unix(int64(binary.BigEndian.Uint64(b)), 0), true
}

func (n nonces) mac(b []byte) (out [nonceMAC]byte) {
	m := n.macs.Get().(hash.Hash)
	defer n.macs.Put(m)
	m.Reset()
	m.Write(nonceLabel)
	m.Write(b)
	var room [sha256.Size]byte
	copy(out[:], m.Sum(room[:0]))
	return out
}

var nonceLabel = []byte("querschott/dpop-nonce\x00")
