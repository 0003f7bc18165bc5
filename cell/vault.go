package cell

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/seal"
)

// Vault writes and reads what belongs to persons in one compartment. Every person has a data key, wrapped under the
// compartment's key; every value is sealed under it and bound to insurer, service, person, record and version, so that a
// value put in another place does not open. Deleting the wrapped key erases everything of the person.
//
// A Vault lives as long as one transaction or one request: it remembers the data keys that it has used, also those that
// are not committed yet. It is not for use by several goroutines.
type Vault struct {
	store Store
	c     querschott.Compartment
	keys  *seal.Keys
	known map[seal.PersonID]seal.DataKey
}

// NewVault makes a vault for one compartment of a store.
func NewVault(store Store, c querschott.Compartment, keys *seal.Keys) *Vault {
	return &Vault{store: store, c: c, keys: keys, known: map[seal.PersonID]seal.DataKey{}}
}

func (v *Vault) key(k Kind, parts ...[]byte) []byte {
	return Key(ServiceSpace(v.c.Service), k, parts...)
}

func (v *Vault) aad(id seal.PersonID, record string, version uint64) []byte {
	return seal.RecordAAD{Insurer: v.c.Insurer, Service: v.c.Service, Person: id, Record: record, Version: version}.Bytes()
}

// dataKey returns a person's data key. If there is none, it makes one in the batch, or fails with ErrNotFound without a
// batch.
func (v *Vault) dataKey(b *Batch, id seal.PersonID) (seal.DataKey, error) {
	if key, ok := v.known[id]; ok {
		return key, nil
	}
	at := v.key(KindDataKey, id[:])
	wrapped, err := v.store.Get(at)
	var key seal.DataKey
	switch {
	case err == nil:
		key, err = v.keys.DataKey(wrapped, id)
	case errors.Is(err, ErrNotFound) && b != nil:
		if key, wrapped, err = v.keys.NewDataKey(id); err == nil {
			b.Put(at, wrapped)
		}
	}
	if err != nil {
		return seal.DataKey{}, err
	}
	v.known[id] = key
	return key, nil
}

// PutRecord seals a record and puts it into the batch. The person may be empty: then it belongs to the compartment.
func (v *Vault) PutRecord(b *Batch, person querschott.KVNR, record string, version uint64, value []byte) error {
	id, err := v.keys.Person(person)
	if err != nil {
		return err
	}
	key, err := v.dataKey(b, id)
	if err != nil {
		return fmt.Errorf("couldn't get the data key for record %q: %w", record, err)
	}
	sealed := make([]byte, 0, 8+len(value)+seal.RecordOverhead)
	sealed = key.Seal(append(sealed, Uint64(version)...), v.aad(id, record, version), value)
	b.Put(v.key(KindRecord, id[:], []byte(record)), sealed)
	return nil
}

// GetRecord returns a record and its version; ErrNotFound if there is none or the person has been erased.
func (v *Vault) GetRecord(person querschott.KVNR, record string) (value []byte, version uint64, err error) {
	id, err := v.keys.Person(person)
	if err != nil {
		return nil, 0, err
	}
	sealed, err := v.store.Get(v.key(KindRecord, id[:], []byte(record)))
	if err != nil {
		return nil, 0, err
	}
	return v.unseal(id, record, sealed)
}

func (v *Vault) unseal(id seal.PersonID, record string, sealed []byte) ([]byte, uint64, error) {
	if len(sealed) < 8 {
		return nil, 0, fmt.Errorf("record %q: %w", record, ErrDamaged)
	}
	version := binary.BigEndian.Uint64(sealed)
	key, err := v.dataKey(nil, id)
	if err != nil {
		return nil, 0, err
	}
	value, err := key.Open(nil, v.aad(id, record, version), sealed[8:])
	if err != nil {
		return nil, 0, fmt.Errorf("couldn't open record %q: %w", record, err)
	}
	return value, version, nil
}

// Records calls fn with the records of a person, in the order of their names.
func (v *Vault) Records(person querschott.KVNR, fn func(record string, version uint64, value []byte) error) error {
	id, err := v.keys.Person(person)
	if err != nil {
		return err
	}
	prefix := v.key(KindRecord, id[:])
	return v.store.Scan(prefix, PrefixEnd(prefix), func(k, sealed []byte) error {
		_, _, parts, err := ParseKey(k)
		if err != nil || len(parts) != 2 {
			return fmt.Errorf("a record has no name: %w", ErrDamaged)
		}
		record := string(parts[1])
		value, version, err := v.unseal(id, record, sealed)
		if err != nil {
			return err
		}
		return fn(record, version, value)
	})
}

// Shred puts the deletion of a person's data key into the batch. When the batch is committed nothing of the person can be
// read any more, here or in any backup made after.
func (v *Vault) Shred(b *Batch, person querschott.KVNR) error {
	id, err := v.keys.Person(person)
	if err != nil {
		return err
	}
	b.Delete(v.key(KindDataKey, id[:]))
	delete(v.known, id)
	return nil
}
