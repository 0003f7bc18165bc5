package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"sync/atomic"
)

const (
	keySize   = 32
	tagSize   = 16
	xaesNonce = 24
)

// BoxOverhead is by how many bytes [Box.Seal] lengthens: the nonce and the tag.
const BoxOverhead = xaesNonce + tagSize

// xaes is XAES-256-GCM (C2SP XAES-256-GCM): AES-256-GCM under a key derived from the first half of a 192-bit nonce.
// Random nonces may be used without counting messages. Because deriving a key costs more than sealing a short message, one
// random first half serves prefixMessages messages; the second half is random each time. Two messages of one prefix have
// the same nonce with a chance below 2^-57.
type xaes struct {
	block  cipher.Block
	k1     [aes.BlockSize]byte // CMAC subkey
	prefix atomic.Pointer[prefix]
}

const prefixMessages = 1 << 20

// prefix is the first half of a nonce with the cipher under the key derived from it.
type prefix struct {
	half [12]byte
	aead cipher.AEAD
	left atomic.Int64 // messages that it may still serve
}

func newXAES(key []byte) (*xaes, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	x := &xaes{block: block}
	block.Encrypt(x.k1[:], x.k1[:])
	var msb byte
	for i := len(x.k1) - 1; i >= 0; i-- {
		msb, x.k1[i] = x.k1[i]>>7, x.k1[i]<<1|msb
	}
	x.k1[len(x.k1)-1] ^= msb * 0x87
	return x, nil
}

// aead returns the cipher for messages whose nonce starts with these twelve bytes.
func (x *xaes) aead(nonce []byte) (cipher.AEAD, error) {
	var key [keySize]byte
	defer clear(key[:])
	for i := range 2 {
		half := key[i*aes.BlockSize : (i+1)*aes.BlockSize]
		copy(half, []byte{0, byte(i + 1), 'X', 0})
		copy(half[4:], nonce[:12])
		for j := range half {
			half[j] ^= x.k1[j]
		}
		x.block.Encrypt(half, half)
	}
	return newGCM(key[:])
}

// seal appends nonce, ciphertext and tag to dst.
func (x *xaes) seal(dst, aad, plain []byte) []byte {
	p := x.prefix.Load()
	if p == nil || p.left.Add(-1) < 0 {
		p = x.newPrefix()
		x.prefix.Store(p)
	}
	dst = append(dst, p.half[:]...)
	dst = append(dst, make([]byte, 12)...)
	nonce := dst[len(dst)-12:]
	_, _ = rand.Read(nonce) // never fails: the process ends before it would
	return p.aead.Seal(dst, nonce, plain, aad)
}

func (x *xaes) newPrefix() *prefix {
	p := &prefix{}
	_, _ = rand.Read(p.half[:]) // never fails: the process ends before it would
	var err error
	if p.aead, err = x.aead(p.half[:]); err != nil {
		panic(err) // AES-256 takes every 32-byte key
	}
	p.left.Store(prefixMessages - 1)
	return p
}

func (x *xaes) open(dst, aad, sealed []byte) ([]byte, error) {
	if len(sealed) < BoxOverhead {
		return nil, ErrDamaged
	}
	g, err := x.aead(sealed)
	if err != nil {
		return nil, err
	}
	plain, err := g.Open(dst, sealed[12:xaesNonce], sealed[xaesNonce:], aad)
	if err != nil {
		return nil, ErrDamaged // the cause says only that authentication failed
	}
	return plain, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// newRandomNonceGCM returns AES-256-GCM that puts a random 96-bit nonce before what it seals.
func newRandomNonceGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Box seals what stays inside the platform, such as mail that waits to leave or the deletable part of ledger entries,
// under one key. It may be used by many goroutines, for any number of messages.
type Box struct {
	hidden
	x *xaes
}

// NewBox makes a box for a key of 32 bytes, usually from [Keyring.Secret]; it panics for any other length. The key may
// be overwritten afterwards.
func NewBox(key []byte) *Box {
	if len(key) != keySize {
		panic(fmt.Sprintf("seal: NewBox wants a key of %d bytes, got %d", keySize, len(key)))
	}
	x, err := newXAES(key)
	if err != nil {
		panic(err) // the length is right
	}
	return &Box{x: x}
}

// Seal appends the sealed message to dst, which must not overlap plain. It is [BoxOverhead] bytes longer than plain.
func (b *Box) Seal(dst, aad, plain []byte) []byte { return b.x.seal(dst, aad, plain) }

// Open appends the message to dst, which must not overlap sealed. It fails with [ErrDamaged] unless exactly this was
// sealed under this key with this associated data.
func (b *Box) Open(dst, aad, sealed []byte) ([]byte, error) { return b.x.open(dst, aad, sealed) }
