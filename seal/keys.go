package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/querschott/querschott"
)

// Keys are the private keys of one compartment, in all their versions, while its door is open. They may be used by many
// goroutines. Versions that [Keyring.Rotate] adds later are not in it; unlock again.
type Keys struct {
	hidden
	compartment querschott.Compartment

	mu  sync.RWMutex // held for reading while keys are in use
	own *ownKeys     // nil when forgotten
}

// ownKeys is what Keys guards. It is overwritten and dropped as a whole.
type ownKeys struct {
	index    []byte
	versions map[uint32]*ownVersion
	latest   uint32
	cache    *contextCache
}

type ownVersion struct {
	kem hpke.PrivateKey
	kek cipher.AEAD // draws its nonces itself, as do data keys
}

// NewKeys makes keys that are in no keyring, for drills and tests, together with their public half.
func NewKeys(c querschott.Compartment) (*Keys, PublicKey, error) {
	rec, err := newCompartmentRecord()
	if err != nil {
		return nil, PublicKey{}, err
	}
	defer rec.wipe()
	k, err := rec.keys(c)
	if err != nil {
		return nil, PublicKey{}, err
	}
	pub, err := parsePublicKey(rec.Versions[0].Version, rec.Versions[0].Public)
	return k, pub, err
}

// Compartment returns whose keys these are.
func (k *Keys) Compartment() querschott.Compartment { return k.compartment }

// use runs fn with the keys, which are not forgotten before it returns.
func (k *Keys) use(fn func(o *ownKeys) error) error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.own == nil {
		return ErrForgotten
	}
	return fn(k.own)
}

// Forget overwrites and drops the keys and waits for calls in progress. Every later call fails with [ErrForgotten], also
// on data keys that came from here.
func (k *Keys) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own == nil {
		return
	}
	clear(k.own.index)
	for _, v := range k.own.versions {
		if seed, err := v.kem.Bytes(); err == nil {
			clear(seed) // crypto/hpke returns its own slice
		}
		*v = ownVersion{}
	}
	k.own.cache.drop()
	k.own = nil
}

// Open appends the plaintext of one entry to dst, which must not overlap sealed. enc and contextID come from the
// [Context], counter from its Seal. Entries may be opened in any order and more than once. Errors: [ErrDamaged],
// [ErrForgotten], [ErrNoKeyVersion].
func (k *Keys) Open(dst []byte, enc []byte, contextID [16]byte, counter uint32, aad, sealed []byte) (plain []byte, err error) {
	err = k.use(func(o *ownKeys) error {
		aead, cached := o.cache.get(contextID, enc)
		if !cached {
			if aead, err = o.derive(k.compartment, enc, contextID); err != nil {
				return err
			}
		}
		nonce := entryNonce(counter)
		if plain, err = aead.Open(dst, nonce[:], sealed, aad); err != nil {
			return ErrDamaged // the cause says only that authentication failed
		}
		if !cached {
			o.cache.put(contextID, enc, aead) // proved right by an entry; garbage displaces nothing
		}
		return nil
	})
	return plain, err
}

func (o *ownKeys) derive(c querschott.Compartment, enc []byte, id [16]byte) (cipher.AEAD, error) {
	version := binary.BigEndian.Uint32(id[:])
	v := o.versions[version]
	if v == nil {
		return nil, fmt.Errorf("compartment %s, key version %d: %w", c, version, ErrNoKeyVersion)
	}
	r, err := hpke.NewRecipient(enc, v.kem, hpke.HKDFSHA256(), hpke.AES256GCM(), entryInfo(c))
	if err != nil {
		return nil, fmt.Errorf("couldn't decapsulate for compartment %s: %w", c, ErrDamaged)
	}
	return entryAEAD(r.Export, id)
}

// Person returns the pseudonym of an insured person in this compartment. It fails with [ErrForgotten] only.
func (k *Keys) Person(p querschott.KVNR) (id PersonID, err error) {
	err = k.use(func(o *ownKeys) error {
		mac := hmac.New(sha256.New, o.index)
		mac.Write([]byte(p.Reveal()))
		copy(id[:], mac.Sum(nil))
		return nil
	})
	return id, err
}

// Blind returns a name for data under which this compartment finds it again and which tells nobody else whether the data
// is known here: HMAC-SHA-256 under the compartment's index key. The label says what kind of data it is; the same data has
// other names under other labels, and none of them is a [Keys.Person]. It fails with [ErrForgotten] only.
func (k *Keys) Blind(label string, data []byte) (name [32]byte, err error) {
	err = k.use(func(o *ownKeys) error {
		mac := hmac.New(sha256.New, o.index)
		// The length in front, whose first byte is zero, begins no KVNR: so no pseudonym of Person is made here.
		mac.Write(appendField(appendField(make([]byte, 0, 64), "querschott blind v1"), label))
		mac.Write(data)
		mac.Sum(name[:0])
		return nil
	})
	return name, err
}

// RecordOverhead is by how many bytes [DataKey.Seal] lengthens: the nonce and the tag.
const RecordOverhead = 12 + tagSize

// DataKey seals the records of one insured person in one compartment, up to 2^32 of them (NIST SP 800-38D, 8.3: nonces
// are random). It may be used by many goroutines. The zero value is not usable.
type DataKey struct {
	hidden
	d *dataKey
}

type dataKey struct {
	owner *Keys
	aead  cipher.AEAD
}

// NewDataKey makes a data key for a person. Only the wrapped form is to be stored, 64 bytes; whoever deletes all copies
// of it has erased what was sealed under it.
func (k *Keys) NewDataKey(person PersonID) (key DataKey, wrapped []byte, err error) {
	var raw [keySize]byte
	defer clear(raw[:])
	_, _ = rand.Read(raw[:]) // never fails
	err = k.use(func(o *ownKeys) error {
		wrapped = binary.BigEndian.AppendUint32(nil, o.latest)
		wrapped = o.versions[o.latest].kek.Seal(wrapped, nil, raw[:], k.wrapAAD(person, o.latest))
		return nil
	})
	if err != nil {
		return DataKey{}, nil, err
	}
	key, err = k.dataKey(raw[:])
	return key, wrapped, err
}

// DataKey unwraps a person's data key. Errors: [ErrDamaged], also for another person's or compartment's key,
// [ErrForgotten], [ErrNoKeyVersion].
func (k *Keys) DataKey(wrapped []byte, person PersonID) (DataKey, error) {
	if len(wrapped) != 4+RecordOverhead+keySize {
		return DataKey{}, ErrDamaged
	}
	raw := make([]byte, 0, keySize)
	defer func() { clear(raw[:cap(raw)]) }()
	err := k.use(func(o *ownKeys) (err error) {
		version := binary.BigEndian.Uint32(wrapped)
		v := o.versions[version]
		if v == nil {
			return fmt.Errorf("compartment %s, key version %d: %w", k.compartment, version, ErrNoKeyVersion)
		}
		if raw, err = v.kek.Open(raw, nil, wrapped[4:], k.wrapAAD(person, version)); err != nil {
			return ErrDamaged // the cause says only that authentication failed
		}
		return nil
	})
	if err != nil {
		return DataKey{}, err
	}
	return k.dataKey(raw)
}

func (k *Keys) dataKey(raw []byte) (DataKey, error) {
	aead, err := newRandomNonceGCM(raw)
	if err != nil {
		return DataKey{}, err
	}
	return DataKey{d: &dataKey{k, aead}}, nil
}

func (k *Keys) wrapAAD(person PersonID, version uint32) []byte {
	b := make([]byte, 0, 96)
	b = appendField(b, "querschott data key v1")
	b = appendField(b, string(k.compartment.Insurer))
	b = appendField(b, string(k.compartment.Service))
	b = append(b, person[:]...)
	return binary.BigEndian.AppendUint32(b, version)
}

// Seal appends the sealed record to dst, which must not overlap plain. It is [RecordOverhead] bytes longer. aad is usually
// [RecordAAD.Bytes]. It works even after [Keys.Forget]: a write that was under way may finish, it shows nobody anything.
func (d DataKey) Seal(dst, aad, plain []byte) []byte { return d.d.aead.Seal(dst, nil, plain, aad) }

// Open appends the record to dst, which must not overlap sealed. Errors: [ErrDamaged] unless exactly this was sealed
// under this key with this associated data, [ErrForgotten] after [Keys.Forget].
func (d DataKey) Open(dst, aad, sealed []byte) (plain []byte, err error) {
	err = d.d.owner.use(func(*ownKeys) (err error) {
		if plain, err = d.d.aead.Open(dst, nil, sealed, aad); err != nil {
			return ErrDamaged // the cause says only that authentication failed
		}
		return nil
	})
	return plain, err
}

// cachedContexts bounds the derived context keys that a compartment keeps: about four minutes of contexts, 300 KiB.
const cachedContexts = 256

// contextCache keeps the ciphers of contexts that have opened something. When it is full, the clock algorithm gives the
// place of a context that was not used since the hand last came by.
type contextCache struct {
	mu    sync.Mutex
	place map[[16]byte]int
	ring  []cachedContext
	hand  int
}

type cachedContext struct {
	id   [16]byte
	enc  []byte // compared, so that a damaged enc fails whether the context is cached or not
	aead cipher.AEAD
	used bool
}

func newContextCache() *contextCache {
	return &contextCache{place: map[[16]byte]int{}}
}

func (c *contextCache) get(id [16]byte, enc []byte) (cipher.AEAD, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.place[id]
	if !ok || !bytes.Equal(c.ring[i].enc, enc) {
		return nil, false
	}
	c.ring[i].used = true
	return c.ring[i].aead, true
}

func (c *contextCache) put(id [16]byte, enc []byte, aead cipher.AEAD) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.place[id]
	switch {
	case ok:
	case len(c.ring) < cachedContexts:
		i = len(c.ring)
		c.ring = append(c.ring, cachedContext{})
	default:
		for c.ring[c.hand].used {
			c.ring[c.hand].used = false
			c.hand = (c.hand + 1) % len(c.ring)
		}
		i = c.hand
		c.hand = (c.hand + 1) % len(c.ring)
		delete(c.place, c.ring[i].id)
	}
	c.ring[i] = cachedContext{id, bytes.Clone(enc), aead, true}
	c.place[id] = i
}

func (c *contextCache) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.ring)
	c.ring, c.place = nil, nil
}
