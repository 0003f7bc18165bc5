package cell

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/seal"
)

// Vault keeps the records of insured persons in one compartment, sealed under a data key per person. The data key lies
// in the store wrapped under the compartment's key, so nothing opens while the door is shut and its keys are forgotten,
// and deleting a person's wrapped key erases all of the person's records, in copies of the records too.
//
// A record opens only in the place it was written for: insurer, service, person, name and version are bound to it. Who
// can write to the store can still put an older record back together with its older version; versions that must not go
// back are the service's to check.
//
// There is one Vault per compartment at a time. Many goroutines may fill batches of their own; only [Vault.Shred] must
// not overlap, from its call to the commit, with another batch that writes records of the same person.
type Vault struct {
	store Store
	at    querschott.Compartment
	space Space
	keys  *seal.Keys

	mu    sync.Mutex
	fresh map[seal.PersonID]freshKey // made here and not yet seen in the store: all batches must put the same one
}

type freshKey struct {
	key     seal.DataKey
	wrapped []byte
}

// batchKey is what a batch knows about a person's data key.
type batchKey struct {
	key      seal.DataKey
	shredded bool // the batch deletes the key that the store may still have
}

// ErrShredded says that a record is there and its data key is not: the person was shredded, or the store is damaged.
var ErrShredded = errors.New("the record's data key is gone")

// NewVault makes the vault of one compartment in its insurer's store. It panics if the keys are another compartment's.
func NewVault(s Store, c querschott.Compartment, keys *seal.Keys) *Vault {
	if keys.Compartment() != c {
		panic(fmt.Sprintf("cell: the keys of compartment %s were given to the vault of %s", keys.Compartment(), c))
	}
	return &Vault{store: s, at: c, space: ServiceSpace(c.Service), keys: keys, fresh: map[seal.PersonID]freshKey{}}
}

func (v *Vault) dataKeyKey(p seal.PersonID) []byte { return Key(v.space, KindDataKey, p[:]) }

func (v *Vault) recordKey(p seal.PersonID, record string) []byte {
	return Key(v.space, KindRecord, p[:], []byte(record))
}

func (v *Vault) aad(p seal.PersonID, record string, version uint64) []byte {
	return seal.RecordAAD{
		Insurer: v.at.Insurer, Service: v.at.Service, Person: p, Record: record, Version: version,
	}.Bytes()
}

func (v *Vault) person(p querschott.KVNR) (seal.PersonID, error) {
	id, err := v.keys.Person(p)
	if err != nil {
		return id, fmt.Errorf("couldn't find a person in compartment %s: %w", v.at, err)
	}
	return id, nil
}

// PutRecord adds a person's record to the batch, sealed, in place of the one of the same name. A name is stored in the
// clear and must not contain a KVNR.
func (v *Vault) PutRecord(b *Batch, person querschott.KVNR, record string, version uint64, value []byte) error {
	id, err := v.person(person)
	if err != nil {
		return err
	}
	key, err := v.keyFor(b, id)
	if err != nil {
		return fmt.Errorf("couldn't seal a record in compartment %s: %w", v.at, err)
	}
	sealed := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(value)+seal.RecordOverhead), version)
	b.Put(v.recordKey(id, record), key.Seal(sealed, v.aad(id, record, version), value))
	return nil
}

// keyFor returns the data key that records of this batch are sealed under. A new key becomes part of the batch.
func (v *Vault) keyFor(b *Batch, id seal.PersonID) (seal.DataKey, error) {
	at := v.dataKeyKey(id)
	known, ok := b.keys[string(at)]
	if ok && !known.shredded {
		return known.key, nil
	}
	if !ok {
		key, err := v.stored(id)
		if err == nil {
			b.remember(at, batchKey{key: key})
		}
		if !errors.Is(err, ErrNotFound) {
			return key, err
		}
	}
	f, err := v.freshKey(id)
	if err != nil {
		return seal.DataKey{}, err
	}
	b.Put(at, f.wrapped)
	b.remember(at, batchKey{key: f.key})
	return f.key, nil
}

// stored returns the person's data key from the store, or ErrNotFound.
func (v *Vault) stored(id seal.PersonID) (seal.DataKey, error) {
	wrapped, err := v.store.Get(v.dataKeyKey(id))
	if err != nil {
		return seal.DataKey{}, err
	}
	v.forgetFresh(id)
	return v.keys.DataKey(wrapped, id)
}

func (v *Vault) freshKey(id seal.PersonID) (freshKey, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f, ok := v.fresh[id]; ok {
		return f, nil
	}
	key, wrapped, err := v.keys.NewDataKey(id)
	if err != nil {
		return freshKey{}, err
	}
	v.fresh[id] = freshKey{key, wrapped}
	return v.fresh[id], nil
}

func (v *Vault) forgetFresh(id seal.PersonID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.fresh, id)
}

// GetRecord returns a record and its version. Errors: ErrNotFound; ErrShredded; seal.ErrDamaged for a record that was
// altered or moved; seal.ErrForgotten when the door is shut.
func (v *Vault) GetRecord(person querschott.KVNR, record string) (value []byte, version uint64, err error) {
	id, err := v.person(person)
	if err != nil {
		return nil, 0, err
	}
	stored, err := v.store.Get(v.recordKey(id, record))
	if err != nil {
		return nil, 0, err
	}
	key, err := v.readKey(id)
	if err != nil {
		return nil, 0, err
	}
	return v.open(key, id, record, stored)
}

func (v *Vault) readKey(id seal.PersonID) (seal.DataKey, error) {
	key, err := v.stored(id)
	if errors.Is(err, ErrNotFound) {
		err = ErrShredded
	}
	if err != nil {
		return key, fmt.Errorf("couldn't open a record in compartment %s: %w", v.at, err)
	}
	return key, nil
}

func (v *Vault) open(key seal.DataKey, id seal.PersonID, record string, stored []byte) ([]byte, uint64, error) {
	if len(stored) < 8 {
		return nil, 0, fmt.Errorf("couldn't open a record in compartment %s: %w", v.at, seal.ErrDamaged)
	}
	version := binary.BigEndian.Uint64(stored)
	value, err := key.Open(nil, v.aad(id, record, version), stored[8:])
	if err != nil {
		return nil, 0, fmt.Errorf("couldn't open a record in compartment %s: %w", v.at, err)
	}
	return value, version, nil
}

// Records calls fn for each record of a person, in the order of their names. An error of fn ends it and is returned as it
// is; with ErrStop it returns nil.
func (v *Vault) Records(person querschott.KVNR, fn func(record string, version uint64, value []byte) error) error {
	id, err := v.person(person)
	if err != nil {
		return err
	}
	return v.RecordsOf(id, fn)
}

// RecordsOf is [Vault.Records] for a person who was found in the store ([Vault.Find]).
func (v *Vault) RecordsOf(id seal.PersonID, fn func(record string, version uint64, value []byte) error) error {
	var key *seal.DataKey
	return v.scan(id, func(record string, stored []byte) error {
		if key == nil {
			k, err := v.readKey(id)
			if err != nil {
				return err
			}
			key = &k
		}
		value, version, err := v.open(*key, id, record, stored)
		if err != nil {
			return err
		}
		return fn(record, version, value)
	})
}

func (v *Vault) scan(id seal.PersonID, fn func(record string, stored []byte) error) error {
	prefix := Key(v.space, KindRecord, id[:])
	return v.store.Scan(prefix, PrefixEnd(prefix), func(k, stored []byte) error {
		_, _, parts, err := ParseKey(k)
		if err != nil || len(parts) != 2 {
			return fmt.Errorf("couldn't read a record's name in compartment %s: %w", v.at, ErrDamaged)
		}
		return fn(string(parts[1]), stored)
	})
}

// DeleteRecord adds the removal of one record to the batch. The person's other records and data key stay.
func (v *Vault) DeleteRecord(b *Batch, person querschott.KVNR, record string) error {
	id, err := v.person(person)
	if err != nil {
		return err
	}
	b.Delete(v.recordKey(id, record))
	return nil
}

// Shred adds the erasure of a person to the batch: the wrapped data key and all records that the store or the batch has.
// Copies of records made before, such as checkpoints, open only where a copy of the wrapped key is left too. Records that
// are put into the batch afterwards get a new data key.
func (v *Vault) Shred(b *Batch, person querschott.KVNR) error {
	id, err := v.person(person)
	if err != nil {
		return err
	}
	prefix := Key(v.space, KindRecord, id[:])
	for _, op := range b.Ops() {
		if !op.Delete && len(op.Key) > len(prefix) && string(op.Key[:len(prefix)]) == string(prefix) {
			b.Delete(op.Key)
		}
	}
	err = v.scan(id, func(record string, _ []byte) error {
		b.Delete(v.recordKey(id, record))
		return nil
	})
	if err != nil {
		return fmt.Errorf("couldn't list the records to shred in compartment %s: %w", v.at, err)
	}
	at := v.dataKeyKey(id)
	b.Delete(at)
	b.remember(at, batchKey{shredded: true})
	v.forgetFresh(id)
	return nil
}
