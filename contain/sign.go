package contain

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
)

// signature is one of a playbook's, in the form of CACAO 2.0 (JSS). The value is the Ed25519 signature over signatureText
// and the canonical form (RFC 8785) of the signature object without value, with the playbook's digest in querschott_digest.
type signature struct {
	signee string
	key    string // name and hash of the key, as in a C2SP signed note
	value  []byte
	text   []byte
}

const (
	signatureText = "querschott playbook signature v1\n"
	maxSignatures = 200 // operators and insurers
)

// Signatures of other kinds are refused: a nested countersignature would seem to say something that nobody has checked.
var signatureWords = []string{
	"type", "id", "created", "modified", "signee", "related_to", "related_version", "hash_algorithm", "algorithm", "thumbprint", "value",
}

// Trust says whose signatures count.
type Trust struct {
	Operators map[querschott.Actor]note.Verifiers
	Insurers  map[querschott.IK]note.Verifiers
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
	if len(all) == 0 {
		return
	}
	sum, err := digest(top)
	if err != nil {
		r.fault("", "%v", err)
		return
	}
	for _, e := range all {
		object, _ := e.(map[string]any)
		r.only("", object, "a signature", signatureWords)
		if object["type"] != "jss" || object["algorithm"] != "Ed25519" || object["hash_algorithm"] != "sha-256" {
			r.fault("", "a signature is not of type jss with Ed25519 and sha-256")
			continue
		}
		if object["related_to"] != r.p.ID || object["related_version"] != top["modified"] {
			r.fault("", "a signature is about another playbook or version")
			continue
		}
		value, err := base64.StdEncoding.DecodeString(r.text("", object, "value", true))
		if err != nil {
			r.fault("", "a signature's value is not base64")
		}
		text, err := signedText(object, sum)
		if err != nil {
			r.fault("", "a signature cannot be read: %v", err)
		}
		r.p.signatures = append(r.p.signatures, signature{r.text("", object, "signee", true), r.text("", object, "thumbprint", true), value, text})
	}
}

func signedText(object map[string]any, digest string) ([]byte, error) {
	rest := map[string]any{"querschott_digest": digest}
	for k, v := range object {
		if k != "value" {
			rest[k] = v
		}
	}
	return appendCanonical([]byte(signatureText), rest)
}

// Check says who has signed.
func (t Trust) Check(p *Playbook) Signed {
	var s Signed
	for _, g := range p.signatures {
		switch {
		case verified(t.Operators[querschott.Actor(g.signee)], g):
			s.Operators = append(s.Operators, querschott.Actor(g.signee))
		case verified(t.Insurers[querschott.IK(g.signee)], g):
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

func verified(keys note.Verifiers, g signature) bool {
	name, hash, ok := strings.Cut(g.key, "+")
	n, err := strconv.ParseUint(hash, 16, 32)
	if keys == nil || !ok || err != nil {
		return false
	}
	v, err := keys.Verifier(name, uint32(n))
	return err == nil && v.Verify(g.text, g.value)
}

// Sign returns the playbook's file with one more signature: an operator's (signee is the name) or an insurer's (the IK).
func Sign(p *Playbook, signee string, s note.Signer, now time.Time, id string) ([]byte, error) {
	v, err := decodeJSON(p.raw)
	if err != nil {
		return nil, err
	}
	top, _ := v.(map[string]any)
	at := now.UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano)
	object := map[string]any{
		"type": "jss", "id": id, "created": at, "modified": at, "signee": signee, "related_to": p.ID, "related_version": top["modified"],
		"hash_algorithm": "sha-256", "algorithm": "Ed25519", "thumbprint": fmt.Sprintf("%s+%08x", s.Name(), s.KeyHash()),
	}
	text, err := signedText(object, p.Digest)
	if err != nil {
		return nil, err
	}
	value, err := s.Sign(text)
	if err != nil {
		return nil, fmt.Errorf("couldn't sign the playbook: %w", err)
	}
	object["value"] = base64.StdEncoding.EncodeToString(value)
	list, _ := top["signatures"].([]any)
	top["signatures"] = append(list, object)
	return json.MarshalIndent(top, "", "  ")
}
