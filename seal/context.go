package seal

import (
	"crypto/cipher"
	"crypto/hpke"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
)

// Limits of a context. Whoever copies the memory of a gate can read what the contexts in it have sealed and no more, so
// they are short.
const (
	ContextLife    = time.Second
	ContextEntries = 1024
)

// EncSize is the length of [Context.Enc] in bytes: an ML-KEM-768 ciphertext and an X25519 public key.
const EncSize = 1120

// PublicKey is the public half of a compartment's key pair, in one version. It is not secret.
type PublicKey struct {
	Version uint32
	key     hpke.PublicKey
}

// Bytes returns the key in the serialization of draft-ietf-hpke-pq: 1,216 bytes.
func (p PublicKey) Bytes() []byte { return p.key.Bytes() }

func parsePublicKey(version uint32, b []byte) (PublicKey, error) {
	key, err := hpke.MLKEM768X25519().NewPublicKey(b)
	if err != nil {
		return PublicKey{}, fmt.Errorf("couldn't read public key of version %d: %w", version, err)
	}
	return PublicKey{version, key}, nil
}

// Context seals entries for one compartment under one encapsulation. It may be used by many goroutines. ID and Enc are
// public and must be stored with the entries; they must not be changed.
type Context struct {
	hidden
	ID  [16]byte // key version in four bytes, big-endian, and twelve random ones
	Enc []byte   // HPKE encapsulated key, EncSize bytes

	aead  atomic.Pointer[cipher.AEAD] // nil when forgotten
	taken atomic.Uint64               // counters handed out; 64 bits, so that it never wraps
	made  time.Time
	now   func() time.Time
}

func newContext(c querschott.Compartment, pub PublicKey, now func() time.Time) (*Context, error) {
	x := &Context{made: now(), now: now}
	binary.BigEndian.PutUint32(x.ID[:], pub.Version)
	_, _ = rand.Read(x.ID[4:]) // never fails
	enc, sender, err := hpke.NewSender(pub.key, hpke.HKDFSHA256(), hpke.AES256GCM(), entryInfo(c))
	if err != nil {
		return nil, fmt.Errorf("couldn't encapsulate to compartment %s: %w", c, err)
	}
	x.Enc = enc
	aead, err := entryAEAD(sender.Export, x.ID)
	if err != nil {
		return nil, fmt.Errorf("couldn't derive the entry key of compartment %s: %w", c, err)
	}
	x.aead.Store(&aead)
	return x, nil
}

// Seal appends the sealed plaintext to dst, which must not overlap plaintext; it is 16 bytes longer. The counter must be
// stored with it. It reports false, with dst as it was, when the context is used up, too old or forgotten: take a fresh
// one from [Contexts.For].
func (x *Context) Seal(dst []byte, aad, plaintext []byte) (sealed []byte, counter uint32, ok bool) {
	aead := x.aead.Load()
	if aead == nil || x.stale() {
		return dst, 0, false
	}
	n := x.taken.Add(1) - 1
	if n >= ContextEntries {
		return dst, 0, false
	}
	nonce := entryNonce(uint32(n))
	return (*aead).Seal(dst, nonce[:], plaintext, aad), uint32(n), true
}

// stale also takes a clock that went backwards for the end: nobody knows how old the context is then.
func (x *Context) stale() bool {
	age := x.now().Sub(x.made)
	return age < 0 || age >= ContextLife
}

func (x *Context) usable() bool {
	return x.aead.Load() != nil && x.taken.Load() < ContextEntries && !x.stale()
}

func (x *Context) forget() { x.aead.Store(nil) }

// Contexts hands out sealing contexts, at any time at most one per compartment. It needs no private key. It may be used
// by many goroutines; making a context for one compartment blocks no other compartment.
type Contexts struct {
	public func(querschott.Compartment) (PublicKey, error)
	now    func() time.Time

	mu    sync.RWMutex // guards the map, not the slots; never held while encapsulating
	slots map[querschott.Compartment]*slot
}

type slot struct {
	mu  sync.Mutex // held while encapsulating
	cur *Context
}

// NewContexts makes an empty set. public is asked once for each context, so a rotated or shredded key is noticed within
// [ContextLife]; it is usually [Keyring.Public].
func NewContexts(public func(querschott.Compartment) (PublicKey, error), now func() time.Time) *Contexts {
	return &Contexts{public: public, now: now, slots: map[querschott.Compartment]*slot{}}
}

// For returns the compartment's current context, or a fresh one, which costs one encapsulation in the caller's
// goroutine. The context may be used up by others before the caller seals with it.
func (s *Contexts) For(c querschott.Compartment) (*Context, error) {
	sl := s.slot(c)
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.cur != nil {
		if sl.cur.usable() {
			return sl.cur, nil
		}
		sl.cur.forget()
		sl.cur = nil
	}
	pub, err := s.public(c)
	if err != nil {
		return nil, fmt.Errorf("couldn't get the public key of compartment %s: %w", c, err)
	}
	if sl.cur, err = newContext(c, pub, s.now); err != nil {
		return nil, err
	}
	return sl.cur, nil
}

func (s *Contexts) slot(c querschott.Compartment) *slot {
	s.mu.RLock()
	sl := s.slots[c]
	s.mu.RUnlock()
	if sl != nil {
		return sl
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl = s.slots[c]; sl == nil {
		sl = &slot{}
		s.slots[c] = sl
	}
	return sl
}

// Sweep forgets the contexts that are used up or older than [ContextLife] and returns how many. To be called about once
// a second, so that the last context before a quiet time does not stay in memory.
func (s *Contexts) Sweep() int {
	s.mu.RLock()
	slots := make([]*slot, 0, len(s.slots))
	for _, sl := range s.slots {
		slots = append(slots, sl)
	}
	s.mu.RUnlock()
	n := 0
	for _, sl := range slots {
		if !sl.mu.TryLock() {
			continue // For holds it and replaces a context that is past its time
		}
		if sl.cur != nil && !sl.cur.usable() {
			sl.cur.forget()
			sl.cur = nil
			n++
		}
		sl.mu.Unlock()
	}
	return n
}

// entryInfo is the info string of HPKE: purpose and compartment. The key version is bound with the context's id.
func entryInfo(c querschott.Compartment) []byte {
	b := appendField(nil, "querschott seal entry v1")
	b = appendField(b, string(c.Insurer))
	return appendField(b, string(c.Service))
}

// entryAEAD derives the cipher of a context's entries from either side of the encapsulation.
func entryAEAD(export func(string, int) ([]byte, error), id [16]byte) (cipher.AEAD, error) {
	key, err := export("querschott entry key v1"+string(id[:]), keySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return newGCM(key)
}

func entryNonce(counter uint32) (nonce [12]byte) {
	binary.BigEndian.PutUint32(nonce[8:], counter)
	return nonce
}
