package contain

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
)

// signature is one of a playbook's, in the form of CACAO 2.0 and JSS (ITU-T X.590). The value is the base64url form of the
// Ed25519 signature over the SHA-256 of the playbook's canonical form (RFC 8785), in which signatures holds this one alone, without
// its value. What else the same keys sign is text that is longer than a digest, so none passes for the other.
type signature struct {
	signee string
	key    []byte // SubjectPublicKeyInfo
	value  []byte
	object map[string]any
}

const (
	maxSignatures = 200 // operators and insurers
	millisecond   = "2006-01-02T15:04:05.000Z"
)

// Signatures of other kinds are refused: a nested countersignature would seem to say something that nobody has checked.
var signatureWords = []string{
	"type", "id", "created", "modified", "signee", "related_to", "related_version", "hash_algorithm", "algorithm", "public_key", "value",
}

// Trust says whose signatures count, by which keys.
type Trust struct {
	Operators map[querschott.Actor][]Key
	Insurers  map[querschott.IK][]Key
}

// Key is a public Ed25519 key.
type Key struct {
	info     []byte // SubjectPublicKeyInfo
	verifier note.Verifier
}

// ed25519Info stands before the 32 bytes of a key in its SubjectPublicKeyInfo (RFC 8410).
const ed25519Info = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"

// KeyOf reads a vkey, as configuration names operators and insurers by (C2SP signed-note).
func KeyOf(vkey string) (Key, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return Key{}, fmt.Errorf("it is no key of the form name+hash+key: %w", err)
	}
	parts := strings.SplitN(vkey, "+", 3) // base64 may hold a plus
	data, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(data) != 33 {
		return Key{}, errors.New("it is no Ed25519 key")
	}
	return Key{append([]byte(ed25519Info), data[1:]...), v}, nil
}

// Signed says who has signed a playbook.
type Signed struct {
	Operators []querschott.Actor `json:"operators"`
	Insurers  []querschott.IK    `json:"insurers"`
	Strangers int                `json:"strangers,omitempty"` // signatures by nobody who is known, or about something else
}

// By reports whether an insurer has signed.
func (s *Signed) By(ik querschott.IK) bool { return slices.Contains(s.Insurers, ik) }

func (r *reader) signatures(top map[string]any) {
	v, there := top["signatures"]
	all, ok := v.([]any)
	if there && !ok || len(all) > maxSignatures {
		r.fault("", "signatures is no list of at most %d", maxSignatures)
		return
	}
	for _, e := range all {
		object, _ := e.(map[string]any)
		r.signature(top, object)
	}
}

func (r *reader) signature(top, object map[string]any) {
	r.only("", object, "a signature", signatureWords)
	switch {
	case object["type"] != "jss" || object["algorithm"] != "Ed25519" || object["hash_algorithm"] != "sha-256":
		r.fault("", "a signature is not of type jss with Ed25519 and sha-256")
		return
	case object["related_to"] != r.p.ID || object["related_version"] != top["modified"]:
		r.fault("", "a signature is about another playbook or version")
		return
	}
	s := signature{signee: r.text("", object, "signee", true), object: object}
	var err error // some programs leave the padding out
	if s.key, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(r.text("", object, "public_key", true), "=")); err != nil {
		r.fault("", "a signature's public_key is not base64")
	}
	if s.value, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(r.text("", object, "value", true), "=")); err != nil {
		r.fault("", "a signature's value is not base64url")
	}
	r.p.signatures = append(r.p.signatures, s)
}

// signedDigest is what one signature signs.
func signedDigest(top, object map[string]any) ([]byte, error) {
	alone := maps.Clone(object)
	delete(alone, "value")
	view := maps.Clone(top)
	view["signatures"] = []any{alone}
	text, err := appendCanonical(nil, view)
	sum := sha256.Sum256(text)
	return sum[:], err
}

// Check says who has signed. A signature by an unknown key costs nothing.
func (t Trust) Check(p *Playbook) Signed {
	var s Signed
	for _, g := range p.signatures {
		switch {
		case verified(t.Operators[querschott.Actor(g.signee)], p, g):
			s.Operators = append(s.Operators, querschott.Actor(g.signee))
		case verified(t.Insurers[querschott.IK(g.signee)], p, g):
			s.Insurers = append(s.Insurers, querschott.IK(g.signee))
		default:
			s.Strangers++
		}
	}
	slices.Sort(s.Operators)
	slices.Sort(s.Insurers)
	s.Operators, s.Insurers = slices.Compact(s.Operators), slices.Compact(s.Insurers)
	return s
}

func verified(keys []Key, p *Playbook, g signature) bool {
	for _, k := range keys {
		if !bytes.Equal(k.info, g.key) {
			continue
		}
		sum, err := signedDigest(p.top, g.object)
		return err == nil && k.verifier.Verify(sum, g.value)
	}
	return false
}

// Sign returns the playbook's file with one more signature: an operator's (signee is the name) or an insurer's (the IK). Key is the
// signer's public half.
func Sign(p *Playbook, signee string, s note.Signer, key Key, now time.Time, id string) ([]byte, error) {
	at := now.UTC().Truncate(time.Millisecond).Format(millisecond)
	object := map[string]any{
		"type": "jss", "id": id, "created": at, "modified": at, "signee": signee, "related_to": p.ID, "related_version": p.top["modified"],
		"hash_algorithm": "sha-256", "algorithm": "Ed25519", "public_key": base64.StdEncoding.EncodeToString(key.info),
	}
	sum, err := signedDigest(p.top, object)
	if err != nil {
		return nil, err
	}
	value, err := s.Sign(sum)
	if err != nil {
		return nil, fmt.Errorf("couldn't sign the playbook: %w", err)
	}
	object["value"] = base64.RawURLEncoding.EncodeToString(value)
	top := maps.Clone(p.top)
	list, _ := top["signatures"].([]any)
	top["signatures"] = append(slices.Clone(list), object)
	return json.MarshalIndent(top, "", "  ")
}
