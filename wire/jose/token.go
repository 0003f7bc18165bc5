package jose

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/querschott/querschott/wire/internal/object"
)

const (
	algorithm = "ES256"

	maxID           = 256 // characters of a kid
	maxCertificates = 8
	signatureBytes  = 64
)

// The ways in which a token is refused. They hold nothing of the token.
var (
	ErrLimit     = errors.New("too long")
	ErrForm      = errors.New("not a compact JWS")
	ErrCritical  = errors.New("the header demands an extension")
	ErrAlgorithm = errors.New("the algorithm is not ES256")
	ErrSignature = errors.New("the signature is wrong")
)

// Header is what counts of a JOSE header. Other members are ignored, above all those that name places to fetch keys from.
type Header struct {
	Typ string
	Alg string
	Kid string
	JWK Key      // zero if there is none
	X5C [][]byte // DER, the leaf first; nil if there is none
}

// Token is a compact JWS of which only the form was checked.
type Token struct {
	Header  Header
	Payload []byte

	head      string // base64url of the header
	signed    string // header.payload, as it was signed
	signature string // base64url
}

// Head is a header that was read before, and how it was written.
type Head struct {
	text   string
	header Header
}

// Head returns the token's header for [ParseAgain].
func (t *Token) Head() *Head { return &Head{strings.Clone(t.head), t.Header} }

// Is reports whether the token's header is written in the same way.
func (h *Head) Is(t *Token) bool { return h != nil && h.text == t.head }

// Parse reads a compact JWS of at most limit octets. It checks form and header, neither algorithm nor signature.
func Parse(compact string, limit int) (*Token, error) { return ParseAgain(compact, limit, nil) }

// ParseAgain does the same, and does not read a header again that is written like known, which may be nil.
func ParseAgain(compact string, limit int, known *Head) (*Token, error) {
	if len(compact) > limit {
		return nil, ErrLimit
	}
	header, rest, ok := strings.Cut(compact, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || header == "" || !alphabet(header) || !alphabet(payload) || !alphabet(signature) {
		return nil, ErrForm
	}
	t := &Token{head: header, signed: compact[:len(compact)-len(signature)-1], signature: signature}
	var err error
	if t.Payload, err = url64.DecodeString(payload); err != nil {
		return nil, ErrForm
	}
	if known.Is(t) {
		t.Header = known.header
		return t, nil
	}
	var room [1024]byte
	head, err := url64.AppendDecode(room[:0], []byte(header))
	if err != nil {
		return nil, ErrForm
	}
	if err := object.Each(string(head), t.Header.member); err != nil {
		return nil, fmt.Errorf("couldn't read the header: %w", err)
	}
	return t, nil
}

func (h *Header) member(name string, v object.Value) (err error) {
	switch name {
	case "typ":
		h.Typ, err = v.Text()
	case "alg":
		h.Alg, err = v.Text()
	case "kid":
		if h.Kid, err = v.Text(); len(h.Kid) > maxID {
			return ErrLimit
		}
	case "jwk":
		var m members
		if err := v.Each(m.member); err != nil {
			return err
		}
		h.JWK, err = m.key()
	case "x5c":
		h.X5C, err = certificates(v)
	case "crit", "b64": // RFC 7515 4.1.11, RFC 7797: both change what is signed or what it means
		return ErrCritical
	}
	return err
}

// certificates decodes an x5c member: standard base64, not base64url (RFC 7515 4.1.6).
func certificates(v object.Value) ([][]byte, error) {
	var chain [][]byte
	err := v.Items(func(v object.Value) error {
		text, err := v.Text()
		if err != nil {
			return err
		}
		der, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || len(der) == 0 || strings.ContainsAny(text, "\r\n") {
			return ErrForm
		}
		if chain = append(chain, der); len(chain) > maxCertificates {
			return ErrLimit
		}
		return nil
	})
	if err == nil && len(chain) == 0 {
		err = ErrForm
	}
	return chain, err
}

// Verify checks the signature. It is [ErrAlgorithm] or [ErrSignature] if k did not sign this token.
func (t *Token) Verify(k Key) error {
	if t.Header.Alg != algorithm {
		return ErrAlgorithm
	}
	var raw [signatureBytes]byte
	if k.public == nil || !decode(raw[:], t.signature) {
		return ErrSignature
	}
	var room [maxDER]byte
	var text [1024]byte // enough for most, so that it need not be allocated
	sum := sha256.Sum256(append(text[:0], t.signed...))
	if !ecdsa.VerifyASN1(k.public, sum[:], appendDER(room[:0], &raw)) {
		return ErrSignature
	}
	return nil
}

const maxDER = 2 + 2*(2+1+coordinate)

// appendDER writes the signature r || s in the form that the standard library takes: a SEQUENCE of two INTEGERs.
func appendDER(b []byte, raw *[signatureBytes]byte) []byte {
	b = append(b, 0x30, 0)
	for _, n := range [2][]byte{raw[:coordinate], raw[coordinate:]} {
		for len(n) > 1 && n[0] == 0 {
			n = n[1:]
		}
		if n[0]&0x80 != 0 {
			b = append(b, 0x02, byte(len(n)+1), 0)
		} else {
			b = append(b, 0x02, byte(len(n)))
		}
		b = append(b, n...)
	}
	b[1] = byte(len(b) - 2)
	return b
}

// Sign makes a compact JWS. The header's Alg may stay empty: it is always ES256.
func Sign(header Header, payload []byte, key *ecdsa.PrivateKey) (string, error) {
	if header.Alg != "" && header.Alg != algorithm {
		return "", ErrAlgorithm
	}
	head, err := header.encode()
	if err != nil {
		return "", fmt.Errorf("couldn't write the header: %w", err)
	}
	if _, err := KeyOf(&key.PublicKey); err != nil {
		return "", err
	}
	signed := url64.EncodeToString(head) + "." + url64.EncodeToString(payload)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return "", fmt.Errorf("couldn't sign the token: %w", err)
	}
	var raw [signatureBytes]byte
	r.FillBytes(raw[:coordinate])
	s.FillBytes(raw[coordinate:])
	return signed + "." + url64.EncodeToString(raw[:]), nil
}

func (h *Header) encode() ([]byte, error) {
	out := struct {
		Typ string   `json:"typ,omitempty"`
		Alg string   `json:"alg"`
		Kid string   `json:"kid,omitempty"`
		JWK *Key     `json:"jwk,omitempty"`
		X5C [][]byte `json:"x5c,omitempty"` // encoding/json writes octets in standard base64
	}{Typ: h.Typ, Alg: algorithm, Kid: h.Kid, X5C: h.X5C}
	if !h.JWK.IsZero() {
		out.JWK = &h.JWK
	}
	return json.Marshal(out)
}

// IDs returns the ids of the keys, sorted.
func (s KeySet) IDs() []string { return slices.Sorted(maps.Keys(s)) }

// alphabet reports whether s has only signs of base64url. The standard decoder would skip line breaks.
func alphabet(s string) bool {
	for _, c := range []byte(s) {
		if !inAlphabet[c] {
			return false
		}
	}
	return true
}

var inAlphabet = func() (in [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		in[c] = true
	}
	return in
}()
