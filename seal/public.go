package seal

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"maps"

	"github.com/querschott/querschott"
)

const (
	publicFormat = "querschott-keyring-pub/1"
	publicDomain = "querschott keyring.pub v1\n" // stands before the signed bytes
)

// publicRing is the signed part of keyring.pub.
type publicRing struct {
	Format       string                                  `json:"format"`
	Generation   uint64                                  `json:"generation"`
	Compartments map[querschott.Compartment]publicRecord `json:"compartments"`
}

type publicRecord struct {
	Version uint32 `json:"version"`
	Key     []byte `json:"key"`
}

// publicEnvelope is keyring.pub. The signature is over publicDomain and the bytes of Keyring as they stand there. Key
// says who signed and proves nothing by itself: whoever reads the file compares it with the one in keyring.age.
type publicEnvelope struct {
	Keyring   json.RawMessage `json:"keyring"`
	Key       []byte          `json:"key"`
	Signature []byte          `json:"signature"`
}

// public returns the public half: the latest version of every compartment that can be sealed to.
func (r *ring) public() publicRing {
	p := publicRing{publicFormat, r.Generation, make(map[querschott.Compartment]publicRecord, len(r.Compartments))}
	for c, rec := range r.Compartments {
		if !rec.shredded() {
			v := rec.latest()
			p.Compartments[c] = publicRecord{v.Version, v.Public}
		}
	}
	return p
}

func (p publicRing) equal(q publicRing) bool {
	return p.Generation == q.Generation && maps.EqualFunc(p.Compartments, q.Compartments, func(a, b publicRecord) bool {
		return a.Version == b.Version && bytes.Equal(a.Key, b.Key)
	})
}

// parsed makes the keys ready for sealing.
func (p publicRing) parsed() (map[querschott.Compartment]PublicKey, error) {
	keys := make(map[querschott.Compartment]PublicKey, len(p.Compartments))
	for c, rec := range p.Compartments {
		key, err := parsePublicKey(rec.Version, rec.Key)
		if err != nil {
			return nil, fmt.Errorf("compartment %s: %w", c, err)
		}
		keys[c] = key
	}
	return keys, nil
}

// signPublic returns the contents of keyring.pub.
func signPublic(p publicRing, seed []byte) ([]byte, error) {
	inner, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("couldn't encode the public half: %w", err)
	}
	priv := ed25519.NewKeyFromSeed(seed)
	defer clear(priv)
	env := publicEnvelope{
		Keyring:   inner,
		Key:       priv.Public().(ed25519.PublicKey),
		Signature: ed25519.Sign(priv, append([]byte(publicDomain), inner...)),
	}
	out, err := json.Marshal(env)
	if err != nil {
		return nil, fmt.Errorf("couldn't encode the public half: %w", err)
	}
	return append(out, '\n'), nil
}

// parsePublic reads keyring.pub and checks that it was signed by pin.
func parsePublic(data []byte, pin ed25519.PublicKey) (publicRing, error) {
	var env publicEnvelope
	if err := decodeStrict(data, &env); err != nil {
		return publicRing{}, fmt.Errorf("couldn't read the envelope: %w", err)
	}
	if !bytes.Equal(env.Key, pin) {
		return publicRing{}, fmt.Errorf("signed by a foreign key: %w", ErrTampered)
	}
	if !ed25519.Verify(pin, append([]byte(publicDomain), env.Keyring...), env.Signature) {
		return publicRing{}, fmt.Errorf("the signature is wrong: %w", ErrTampered)
	}
	var p publicRing
	if err := decodeStrict(env.Keyring, &p); err != nil {
		return publicRing{}, fmt.Errorf("couldn't read the signed part: %w", err)
	}
	if p.Format != publicFormat {
		return publicRing{}, fmt.Errorf("not of the form %s: %w", publicFormat, ErrTampered)
	}
	return p, nil
}

// decodeStrict refuses unknown fields and anything after the value.
func decodeStrict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", err, ErrTampered)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("something follows it: %w", ErrTampered)
	}
	return nil
}
