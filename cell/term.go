package cell

import (
	"errors"
	"fmt"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/seal"
)

// Terms are texts under which persons are found, such as a name with a date of birth. A term is blinded under the
// compartment's key: who reads the store learns neither what it says nor whom it finds. A person is found under a whole
// term only, never under a part of it.

var termPart = []byte("term")

func (v *Vault) termKey(term string, more ...[]byte) ([]byte, error) {
	blind, err := v.keys.Blind("term", []byte(term))
	if err != nil {
		return nil, fmt.Errorf("couldn't blind a term in compartment %s: %w", v.at, err)
	}
	return Key(v.space, KindIndex, append([][]byte{termPart, blind[:]}, more...)...), nil
}

// PutTerm adds to the batch that a person is found under a term.
func (v *Vault) PutTerm(b *Batch, person querschott.KVNR, term string) error {
	id, err := v.person(person)
	if err != nil {
		return err
	}
	key, err := v.termKey(term, id[:])
	if err == nil {
		b.Put(key, nil)
	}
	return err
}

// DeleteTerm adds to the batch that a person is not found under a term any more.
func (v *Vault) DeleteTerm(b *Batch, person querschott.KVNR, term string) error {
	id, err := v.person(person)
	if err != nil {
		return err
	}
	key, err := v.termKey(term, id[:])
	if err == nil {
		b.Delete(key)
	}
	return err
}

// HasTerm reports whether a person is found under a term.
func (v *Vault) HasTerm(person querschott.KVNR, term string) (bool, error) {
	id, err := v.person(person)
	if err != nil {
		return false, err
	}
	key, err := v.termKey(term, id[:])
	if err != nil {
		return false, err
	}
	_, err = v.store.Get(key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Find returns at most limit of the persons who are found under a term, for [Vault.RecordsOf], in an order that says
// nothing of them.
func (v *Vault) Find(term string, limit int) ([]seal.PersonID, error) {
	prefix, err := v.termKey(term)
	if err != nil {
		return nil, err
	}
	var found []seal.PersonID
	err = v.store.Scan(prefix, PrefixEnd(prefix), func(k, _ []byte) error {
		if len(found) == limit {
			return ErrStop
		}
		_, _, parts, err := ParseKey(k)
		if err != nil || len(parts) != 3 || len(parts[2]) != len(seal.PersonID{}) {
			return fmt.Errorf("couldn't read whom a term finds in compartment %s: %w", v.at, ErrDamaged)
		}
		found = append(found, seal.PersonID(parts[2]))
		return nil
	})
	if errors.Is(err, ErrStop) {
		err = nil
	}
	return found, err
}

// Blind names something in the compartment so that only the holder of its key can find the name again ([seal.Keys.Blind]).
func (v *Vault) Blind(label string, data []byte) ([32]byte, error) { return v.keys.Blind(label, data) }
