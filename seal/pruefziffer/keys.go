package pruefziffer

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of the keys and of issuing.
var (
	ErrOperator    = errors.New("an operator is a letter from A to Z")
	ErrKeyVersion  = errors.New("key versions are 0 to 3")
	ErrShortSecret = errors.New("a secret has at least 32 octets")
	ErrSameSecret  = errors.New("another key version has the same secret")
	ErrInUse       = errors.New("the key version is still in use")
	ErrNoKeys      = errors.New("there is no key to issue with")
	ErrForgotten   = errors.New("the keys have been forgotten")
	ErrTimeRange   = errors.New("the format has no such time: it reaches from 2025 to April 2029")
	ErrKeyWorn     = errors.New("the key has issued 2^32 numbers; add another")
)

// Times of the format.
var (
	Begin = time.Unix(1735689600, 0).UTC()   // 2025-01-01T00:00:00Z, zero of the time field
	End   = Begin.Add(8 << 24 * time.Second) // 2029-04-03T10:42:08Z, where the time field of 24 bits ends
	Last  = End.Add(-Overlap)                // from here on nothing is issued, so that no number outlives the format

	warning = time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC)
)

const (
	// Overlap is how long a key verifies after another one has begun to issue: the longest life of a number.
	Overlap = 20*time.Minute + 45*time.Second

	manyIssued = 1 << 30
	mostIssued = 1 << 32

	minSecret = 32
	keyInfo   = "VSDM+ Version 2 AES/GCM" // A_27286
)

// Option changes what keys do.
type Option func(*Keys)

// Legacy makes keys that also verify numbers of version 1. The secrets stay in memory for it.
func Legacy() Option { return func(k *Keys) { k.legacy = true } }

// Keys are the keys of one operator letter in up to four versions. They may be used by many goroutines.
type Keys struct {
	hidden
	operator byte
	legacy   bool
	random   io.Reader

	mu  sync.RWMutex
	own *ownKeys // guarded by mu; nil when forgotten
}

// ownKeys is what Keys guards.
type ownKeys struct {
	versions [4]*version
	issuing  *version
}

type version struct {
	number uint8
	aead   cipher.AEAD
	key    [16]byte  // to notice the same secret again
	secret []byte    // for version 1, else nil
	until  time.Time // zero while it issues
	issued atomic.Uint64
}

// NewKeys makes keys without any version; [Keys.Add] gives them one.
func NewKeys(operator byte, options ...Option) (*Keys, error) {
	if !capital(operator) {
		return nil, ErrOperator
	}
	k := &Keys{operator: operator, random: rand.Reader, own: &ownKeys{}}
	for _, o := range options {
		o(k)
	}
	return k, nil
}

// Add gives the keys a version from a secret of at least 32 octets, which the caller may overwrite afterwards. The version
// issues at once. The one that issued until now verifies until now + [Overlap]. issued is how many numbers the version has
// issued before, as [Keys.States] said. A version that is still in use is not replaced: wait until it has been dropped.
// After a restart the versions are added in the order in which they were made; the older ones then verify a little longer.
func (k *Keys) Add(number uint8, secret []byte, issued uint64, now time.Time) error {
	v, err := newVersion(number, secret, k.legacy)
	if err != nil {
		return err
	}
	v.issued.Store(issued)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own == nil {
		return ErrForgotten
	}
	k.own.sweep(now)
	for _, other := range k.own.versions {
		if other != nil && subtle.ConstantTimeCompare(other.key[:], v.key[:]) == 1 {
			return ErrSameSecret
		}
	}
	if k.own.versions[number] != nil {
		return fmt.Errorf("%w: %d", ErrInUse, number)
	}
	if k.own.issuing != nil {
		k.own.issuing.until = now.Add(Overlap)
	}
	k.own.versions[number], k.own.issuing = v, v
	return nil
}

func newVersion(number uint8, secret []byte, legacy bool) (*version, error) {
	if number > 3 {
		return nil, ErrKeyVersion
	}
	if len(secret) < minSecret {
		return nil, ErrShortSecret
	}
	key, err := hkdf.Key(sha256.New, secret, nil, keyInfo, 16)
	if err != nil {
		return nil, fmt.Errorf("couldn't derive the key: %w", err)
	}
	v := &version{number: number, key: [16]byte(key)}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("couldn't make the cipher: %w", err)
	}
	if v.aead, err = cipher.NewGCM(block); err != nil {
		return nil, fmt.Errorf("couldn't make the cipher: %w", err)
	}
	clear(key)
	if legacy {
		v.secret = append([]byte(nil), secret...)
	}
	return v, nil
}

// Sweep drops the versions whose time is over. It is also done whenever a version is added; call it about every minute.
// Until then such a version verifies nothing either.
func (k *Keys) Sweep(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own != nil {
		k.own.sweep(now)
	}
}

func (o *ownKeys) sweep(now time.Time) {
	for i, v := range o.versions {
		if v != nil && v.over(now) {
			v.wipe()
			o.versions[i] = nil
		}
	}
}

func (v *version) over(now time.Time) bool { return !v.until.IsZero() && !now.Before(v.until) }

func (v *version) wipe() {
	clear(v.key[:])
	clear(v.secret)
	v.aead, v.secret = nil, nil
}

// Forget drops all versions. Every later call fails with [ErrForgotten].
func (k *Keys) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own == nil {
		return
	}
	for _, v := range k.own.versions {
		if v != nil {
			v.wipe()
		}
	}
	k.own = nil
}

// use runs fn with the keys, which are not dropped before it returns.
func (k *Keys) use(fn func(o *ownKeys) error) error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.own == nil {
		return ErrForgotten
	}
	return fn(k.own)
}

// State is what may be known about one key version.
type State struct {
	Version uint8
	Issuing bool
	Until   time.Time // when it will be dropped; zero while it issues
	Issued  uint64    // how many numbers it has issued
}

// States lists the versions that are in memory, by number.
func (k *Keys) States() []State {
	var states []State
	_ = k.use(func(o *ownKeys) error {
		for _, v := range o.versions {
			if v != nil {
				states = append(states, State{Version: v.number, Issuing: v == o.issuing, Until: v.until, Issued: v.issued.Load()})
			}
		}
		return nil
	})
	return states
}

// Alarms says in words what somebody must do before the keys or the format come to their end.
func (k *Keys) Alarms(now time.Time) []string {
	var texts []string
	switch {
	case !now.Before(Last):
		texts = append(texts, fmt.Sprintf("check numbers of version 2 are no longer issued: the format ends at %s", End.Format(time.RFC3339)))
	case !now.Before(warning):
		texts = append(texts, fmt.Sprintf("check numbers of version 2 end at %s, in %d days: a successor version is needed",
			Last.Format(time.RFC3339), int(Last.Sub(now)/(24*time.Hour))))
	}
	for _, s := range k.States() {
		if s.Issued >= manyIssued {
			texts = append(texts, fmt.Sprintf("key version %d of operator %c has issued %d check numbers: add another key before 2^32",
				s.Version, k.operator, s.Issued))
		}
	}
	return texts
}
