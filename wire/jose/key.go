package jose

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/querschott/querschott/wire/internal/object"
)

const (
	coordinate = 32 // octets of x and of y

	maxKey         = 16 << 10
	maxKeySet      = 256 << 10
	maxKeys        = 64
	maxCertificate = 8 << 10
)

// The ways in which a key or a set of keys is refused.
var (
	ErrPrivate   = errors.New("the key has private members")
	ErrKey       = errors.New("not a P-256 public key")
	ErrKeySet    = errors.New("not a set of keys")
	ErrDuplicate = errors.New("two keys have one id")
)

var url64 = base64.RawURLEncoding.Strict()

// Key is a P-256 public key. The zero Key verifies nothing.
type Key struct {
	ID     string // kid; the thumbprint for a key of a set that has none
	public *ecdsa.PublicKey
	point  [1 + 2*coordinate]byte // 4 || x || y
}

// KeyOf returns the Key of a public key, [ErrKey] for another curve.
func KeyOf(public *ecdsa.PublicKey) (Key, error) {
	if public == nil || public.Curve != elliptic.P256() {
		return Key{}, ErrKey
	}
	point, err := public.Bytes()
	if err != nil {
		return Key{}, ErrKey
	}
	return fromPoint(point)
}

// LeafKey returns the key that a DER certificate certifies, [ErrKey] if there is none on P-256. It judges nothing else
// of the certificate.
func LeafKey(der []byte) (Key, error) {
	if len(der) > maxCertificate {
		return Key{}, ErrLimit
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return Key{}, fmt.Errorf("couldn't read the certificate: %w", err)
	}
	public, ok := certificate.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return Key{}, ErrKey
	}
	return KeyOf(public)
}

// ParseKey reads one JWK of at most 16 KiB: kty EC, crv P-256, x and y of 32 octets each, on the curve. "use" and "alg",
// if they are there, must allow ES256 signatures. Other members are ignored.
func ParseKey(jwk []byte) (Key, error) {
	if len(jwk) > maxKey {
		return Key{}, ErrLimit
	}
	var m members
	if err := object.Each(string(jwk), m.member); err != nil {
		return Key{}, err
	}
	return m.key()
}

// IsZero reports whether k is no key.
func (k Key) IsZero() bool { return k.public == nil }

// Equal reports whether both are the same point of the curve; the ids do not matter.
func (k Key) Equal(other Key) bool {
	return k.public != nil && other.public != nil && k.point == other.point
}

// Thumbprint returns the base64url SHA-256 of RFC 7638, 43 characters.
func (k Key) Thumbprint() string {
	const form = `{"crv":"P-256","kty":"EC","x":"0123456789012345678901234567890123456789012","y":"0123456789012345678901234567890123456789012"}`
	var room [len(form)]byte
	b := append(room[:0], `{"crv":"P-256","kty":"EC","x":"`...)
	b = url64.AppendEncode(b, k.point[1:1+coordinate])
	b = append(b, `","y":"`...)
	b = url64.AppendEncode(b, k.point[1+coordinate:])
	b = append(b, `"}`...)
	sum := sha256.Sum256(b)
	var text [43]byte
	url64.Encode(text[:], sum[:])
	return string(text[:])
}

// MarshalJSON writes the JWK, with use and alg, and with kid if there is an ID.
func (k Key) MarshalJSON() ([]byte, error) {
	if k.public == nil {
		return nil, ErrKey
	}
	return json.Marshal(struct {
		Kty string `json:"kty"`
		Crv string `json:"crv"`
		X   string `json:"x"`
		Y   string `json:"y"`
		Use string `json:"use"`
		Alg string `json:"alg"`
		Kid string `json:"kid,omitempty"`
	}{"EC", "P-256", url64.EncodeToString(k.point[1 : 1+coordinate]), url64.EncodeToString(k.point[1+coordinate:]), "sig", algorithm, k.ID})
}

// UnmarshalJSON reads what [ParseKey] reads.
func (k *Key) UnmarshalJSON(jwk []byte) (err error) {
	*k, err = ParseKey(jwk)
	return err
}

func fromPoint(point []byte) (k Key, err error) {
	if len(point) != len(k.point) || point[0] != 4 {
		return Key{}, ErrKey
	}
	copy(k.point[:], point)
	if k.public, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), k.point[:]); err != nil {
		return Key{}, ErrKey
	}
	return k, nil
}

// members are what counts of a JWK.
type members struct {
	kty, crv, x, y, kid, use, alg string
	private                       bool
}

func (m *members) member(name string, v object.Value) (err error) {
	switch name {
	case "kty":
		m.kty, err = v.Text()
	case "crv":
		m.crv, err = v.Text()
	case "x":
		m.x, err = v.Text()
	case "y":
		m.y, err = v.Text()
	case "kid":
		m.kid, err = v.Text()
	case "use":
		m.use, err = v.Text()
	case "alg":
		m.alg, err = v.Text()
	case "d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv": // RFC 7518 6.2.2, 6.3.2, 6.4; "priv" of newer key types
		m.private = true
	}
	return err
}

// ours reports whether the key is meant to verify ES256 signatures.
func (m *members) ours() bool {
	return m.kty == "EC" && m.crv == "P-256" && (m.use == "" || m.use == "sig") && (m.alg == "" || m.alg == algorithm)
}

func (m *members) key() (Key, error) {
	if m.private {
		return Key{}, ErrPrivate
	}
	const length = 43 // of 32 octets in base64url
	if !m.ours() || len(m.x) != length || len(m.y) != length || len(m.kid) > maxID {
		return Key{}, ErrKey
	}
	var point [1 + 2*coordinate]byte
	point[0] = 4
	if !decode(point[1:1+coordinate], m.x) || !decode(point[1+coordinate:], m.y) {
		return Key{}, ErrKey
	}
	k, err := fromPoint(point[:])
	k.ID = m.kid
	return k, err
}

// decode fills dst with the base64url text s. Line breaks, which the standard decoder skips, are refused.
func decode(dst []byte, s string) bool {
	var room [128]byte
	if len(s) > len(room) || url64.DecodedLen(len(s)) != len(dst) || !alphabet(s) {
		return false
	}
	n, err := url64.Decode(dst, append(room[:0], s...))
	return err == nil && n == len(dst)
}

// KeySet holds the ES256 keys of a JWK set by their id.
type KeySet map[string]Key

// ParseKeySet reads a JWK set of at most 256 KiB and 64 keys. Keys for other uses or of other types are left out
// (RFC 7517 5); an id that comes twice, a private key or a broken P-256 key refuses the set.
func ParseKeySet(set []byte) (KeySet, error) {
	if len(set) > maxKeySet {
		return nil, ErrLimit
	}
	var keys KeySet
	err := object.Each(string(set), func(name string, v object.Value) (err error) {
		if name == "keys" {
			keys, err = parseKeys(v)
		}
		return err
	})
	if err == nil && keys == nil {
		err = ErrKeySet
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read the key set: %w", err)
	}
	return keys, nil
}

func parseKeys(list object.Value) (KeySet, error) {
	keys, ids, n := KeySet{}, map[string]bool{}, 0
	err := list.Items(func(v object.Value) error {
		if n++; n > maxKeys {
			return ErrLimit
		}
		var m members
		if err := v.Each(m.member); err != nil {
			return err
		}
		if m.private {
			return ErrPrivate
		}
		if m.kid != "" && ids[m.kid] {
			return ErrDuplicate
		}
		ids[m.kid] = true
		if !m.ours() {
			return nil
		}
		k, err := m.key()
		if err != nil {
			return err
		}
		if k.ID == "" {
			k.ID = k.Thumbprint()
		}
		if _, twice := keys[k.ID]; twice {
			return ErrDuplicate
		}
		keys[k.ID] = k
		return nil
	})
	return keys, err
}

// MarshalJSON writes the JWK set, sorted by id.
func (s KeySet) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`{"keys":[`)
	for i, id := range s.IDs() {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := s[id].MarshalJSON()
		if err != nil {
			return nil, err
		}
		b.Write(key)
	}
	b.WriteString("]}")
	return b.Bytes(), nil
}
