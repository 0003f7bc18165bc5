package ledger

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger/proof"
)

// Names gives the pseudonyms that one log has for persons and credentials, and the key under which the log's entries are
// sorted by credential elsewhere. All come from the log's secret and end with it.
type Names struct {
	Origin  string
	Insurer querschott.IK // "" for the platform's log
	Year    int

	keys *secrets
	tags [32]byte
}

// Names returns the pseudonyms of an insurer's or the platform's log that has entries.
func (l *Ledger) Names(origin string) (*Names, error) {
	g, err := l.find(origin)
	if err != nil {
		return nil, err
	}
	if g.id.owner == commits {
		return nil, fmt.Errorf("%q: %w", origin, ErrNoLog)
	}
	keys, err := g.keys(&l.cfg)
	if err != nil {
		return nil, err
	}
	n := &Names{Origin: origin, Insurer: g.id.insurer(), Year: int(g.id.year), keys: keys}
	root, err := l.cfg.Secret(g.id.insurer(), int(g.id.year))
	if err != nil {
		return nil, fmt.Errorf("couldn't get the secret of log %s: %w", origin, err)
	}
	tags, err := hkdf.Expand(sha256.New, root, "querschott ledger tags of credentials v1", len(n.tags))
	copy(n.tags[:], tags)
	return n, err
}

// Person returns what stands in leaves about this person alone.
func (n *Names) Person(p querschott.KVNR) Pseudonym {
	h := n.keys.pseudonyms.get()
	defer n.keys.pseudonyms.put(h)
	return h.of(ofPerson, p.Reveal())
}

// Credential returns what stands in leaves for a credential.
func (n *Names) Credential(c querschott.CredentialID) Pseudonym {
	h := n.keys.pseudonyms.get()
	defer n.keys.pseudonyms.put(h)
	return h.of(ofCredential, string(c))
}

// TagKey is a key of this log for nothing but tags of credentials. Whoever has it can tell which tag is whose; it opens
// nothing and says nothing of persons.
func (n *Names) TagKey() [32]byte { return n.tags }

// Head returns the size and root of a log: everything that was acknowledged before the call is in it.
func (l *Ledger) Head(origin string) (proof.Checkpoint, error) {
	g, err := l.find(origin)
	if err != nil {
		return proof.Checkpoint{}, err
	}
	h := g.head.Load()
	return proof.Checkpoint{Origin: origin, Size: h.Size, Root: h.Root()}, nil
}

// Disclose returns an entry and what its leaf commits to, the salt included, so that others can check it with [Opened].
// It fails when the payload is erased.
func (l *Ledger) Disclose(origin string, index uint64) (entry, salted []byte, err error) {
	g, err := l.find(origin)
	if err != nil {
		return nil, nil, err
	}
	if g.id.owner == commits || index >= g.head.Load().Size {
		return nil, nil, fmt.Errorf("%s has no entry %d: %w", origin, index, ErrNoEntry)
	}
	keys, err := g.keys(&l.cfg)
	if err != nil {
		return nil, nil, err
	}
	if err := l.packer.until(g, index+1); err != nil {
		return nil, nil, err
	}
	err = l.runs(g, index, index+1, func(r *run) error {
		entry = slices.Clone(r.leaf(0))
		if zero(r.sealed(0)) {
			return errors.New("its payload is erased")
		}
		salted, err = keys.box.Open(nil, payloadAAD(nil, origin, entry), r.sealed(0))
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't disclose entry %d of %s: %w", index, origin, err)
	}
	return entry, salted, nil
}

// Opened checks that an entry commits to what is said to be its salted payload, and reads both. It needs no ledger.
func Opened(entry, salted []byte) (*Leaf, *Payload, error) {
	leaf, err := ParseLeaf(entry)
	if err != nil {
		return nil, nil, err
	}
	if len(salted) < saltSize || commitment(salted) != leaf.Commit {
		return nil, nil, errors.New("the entry commits to another payload")
	}
	p, err := parsePayload(salted[saltSize:])
	return leaf, p, err
}
