package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/querschott/querschott"
)

const ringFormat = "querschott-keyring/1"

// ring is what keyring.age holds. It exists only while a method of [Keyring] runs.
type ring struct {
	Format       string                                        `json:"format"`
	Generation   uint64                                        `json:"generation"` // grows with every change
	Signing      []byte                                        `json:"signing"`    // Ed25519 seed for keyring.pub
	Compartments map[querschott.Compartment]*compartmentRecord `json:"compartments"`
	Secrets      map[string][]byte                             `json:"secrets"` // empty: shredded, the name is spent
}

// compartmentRecord holds the keys of one compartment. Without versions it is shredded and its name is spent.
type compartmentRecord struct {
	Withdrawn bool         `json:"withdrawn,omitempty"` // the private halves are elsewhere; the public ones stay
	Index     []byte       `json:"index,omitempty"`     // for pseudonyms; cannot be rotated, stores are keyed by them
	Versions  []keyVersion `json:"versions,omitempty"`  // ascending
}

type keyVersion struct {
	Version uint32 `json:"version"`
	// Public is kept beside its private half so that comparing with keyring.pub expands no private key.
	Public []byte `json:"public"`
	KEM    []byte `json:"kem,omitempty"` // seed of MLKEM768-X25519
	KEK    []byte `json:"kek,omitempty"`
}

func newRing() *ring {
	return &ring{
		Format:       ringFormat,
		Signing:      randomBytes(ed25519.SeedSize),
		Compartments: map[querschott.Compartment]*compartmentRecord{},
		Secrets:      map[string][]byte{},
	}
}

func newCompartmentRecord() (*compartmentRecord, error) {
	rec := &compartmentRecord{Index: randomBytes(keySize)}
	return rec, rec.rotate()
}

// rotate appends a key version.
func (rec *compartmentRecord) rotate() error {
	v := keyVersion{Version: 1, KEM: randomBytes(keySize), KEK: randomBytes(keySize)}
	if n := len(rec.Versions); n > 0 {
		v.Version = rec.Versions[n-1].Version + 1
	}
	priv, err := expandKEM(v.KEM)
	if err != nil {
		return err
	}
	v.Public = priv.PublicKey().Bytes()
	rec.Versions = append(rec.Versions, v)
	return nil
}

func (rec *compartmentRecord) shredded() bool { return len(rec.Versions) == 0 }

// latest is the version that is sealed to.
func (rec *compartmentRecord) latest() keyVersion { return rec.Versions[len(rec.Versions)-1] }

// usable returns why the private keys cannot be had, if they cannot.
func (rec *compartmentRecord) usable() error {
	switch {
	case rec == nil:
		return ErrNoCompartment
	case rec.shredded():
		return ErrShredded
	case rec.Withdrawn:
		return ErrWithdrawn
	default:
		return nil
	}
}

// keys expands the private keys into copies of their own.
func (rec *compartmentRecord) keys(c querschott.Compartment) (*Keys, error) {
	if err := rec.usable(); err != nil {
		return nil, err
	}
	own := &ownKeys{
		index:    bytes.Clone(rec.Index),
		versions: make(map[uint32]*ownVersion, len(rec.Versions)),
		latest:   rec.latest().Version,
		cache:    newContextCache(),
	}
	for _, v := range rec.Versions {
		priv, err := expandKEM(v.KEM)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(priv.PublicKey().Bytes(), v.Public) {
			return nil, fmt.Errorf("the halves of key version %d do not belong together: %w", v.Version, ErrTampered)
		}
		kek, err := newRandomNonceGCM(v.KEK)
		if err != nil {
			return nil, fmt.Errorf("couldn't use the wrapping key of version %d: %w", v.Version, err)
		}
		own.versions[v.Version] = &ownVersion{priv, kek}
	}
	return &Keys{compartment: c, own: own}, nil
}

// wipe overwrites the private values and leaves the public ones.
func (rec *compartmentRecord) wipe() {
	clear(rec.Index)
	for i := range rec.Versions {
		clear(rec.Versions[i].KEM)
		clear(rec.Versions[i].KEK)
	}
}

// strip removes the private values.
func (rec *compartmentRecord) strip() {
	rec.wipe()
	rec.Index = nil
	for i := range rec.Versions {
		rec.Versions[i].KEM, rec.Versions[i].KEK = nil, nil
	}
}

func (r *ring) wipe() {
	clear(r.Signing)
	for _, rec := range r.Compartments {
		rec.wipe()
	}
	for _, s := range r.Secrets {
		clear(s)
	}
}

// verifyKey is the public half of the key that signs keyring.pub.
func (r *ring) verifyKey() ed25519.PublicKey {
	priv := ed25519.NewKeyFromSeed(r.Signing)
	defer clear(priv)
	return bytes.Clone(priv.Public().(ed25519.PublicKey))
}

// ringEnvelope is the JSON inside keyring.age. The MAC is over the bytes of Keyring as they stand there.
type ringEnvelope struct {
	MAC     []byte          `json:"mac"`
	Keyring json.RawMessage `json:"keyring"`
}

// sealRing returns the contents of keyring.age.
func sealRing(r *ring, id *age.X25519Identity) ([]byte, error) {
	inner, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("couldn't encode the keyring: %w", err)
	}
	defer clear(inner)
	mac, err := ringMAC(id, inner)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(ringEnvelope{mac, inner})
	if err != nil {
		return nil, fmt.Errorf("couldn't encode the keyring: %w", err)
	}
	defer clear(plain)
	return encryptAge(plain, id.Recipient())
}

// openRing reads the contents of keyring.age. The caller wipes the ring.
func openRing(data []byte, id *age.X25519Identity) (*ring, error) {
	plain, err := decryptAge(data, id)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	var env ringEnvelope
	if err := json.Unmarshal(plain, &env); err != nil {
		return nil, fmt.Errorf("couldn't read the keyring's envelope: %w", noQuote(err))
	}
	defer clear(env.Keyring)
	mac, err := ringMAC(id, env.Keyring)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(mac, env.MAC) {
		return nil, fmt.Errorf("the keyring was not written by a holder of its identity: %w", ErrTampered)
	}
	r := newRing()
	if err := json.Unmarshal(env.Keyring, r); err != nil {
		r.wipe()
		return nil, fmt.Errorf("couldn't read the keyring: %w", noQuote(err))
	}
	if r.Format != ringFormat || len(r.Signing) != ed25519.SeedSize {
		r.wipe()
		return nil, fmt.Errorf("the keyring is not of the form %s", ringFormat)
	}
	return r, nil
}

// ringMAC authenticates the keyring to holders of the identity.
func ringMAC(id *age.X25519Identity, inner []byte) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, []byte(id.String()), nil, "querschott keyring mac v1", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("couldn't derive the keyring's MAC key: %w", err)
	}
	defer clear(key)
	mac := hmac.New(sha256.New, key)
	mac.Write(inner)
	return mac.Sum(nil), nil
}

// noQuote replaces errors of encoding/json, which may quote what they could not read.
func noQuote(err error) error {
	if se, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("not JSON from byte %d on", se.Offset)
	}
	return errors.New("the JSON has another shape")
}

func encryptAge(plain []byte, to age.Recipient) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		return nil, fmt.Errorf("couldn't encrypt: %w", err)
	}
	if _, err = w.Write(plain); err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't encrypt: %w", err)
	}
	return out.Bytes(), nil
}

// decryptAge decrypts into one buffer, so that the caller can overwrite all of it.
func decryptAge(data []byte, id age.Identity) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(data), id)
	if err != nil {
		return nil, fmt.Errorf("couldn't decrypt: %w", err)
	}
	plain := make([]byte, len(data)) // a plaintext is shorter than its age file
	n, err := io.ReadFull(r, plain)
	if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		clear(plain)
		return nil, fmt.Errorf("couldn't decrypt: %w", err)
	}
	return plain[:n], nil
}

func expandKEM(seed []byte) (hpke.PrivateKey, error) {
	priv, err := hpke.MLKEM768X25519().NewPrivateKey(seed)
	if err != nil {
		return nil, fmt.Errorf("couldn't use a private key: %w", err)
	}
	return priv, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
