// Package cell is the store of one insurer: ordered keys, atomic durable batches, range scans. Nothing of one insurer
// stands in the store of another, so a damaged, full or slow store floods one insurer and nobody else.
//
// The promise, kept by every [Store] and checked by celltest:
//
//   - a batch is applied whole or not at all, also through a crash;
//   - when Commit returns nil the batch is durable; when it returns an error the caller knows nothing, the batch may
//     have been applied or not, and only reading tells;
//   - a scan sees one moment: commits during a scan, also those made by its callback, do not show in it;
//   - keys are ordered by their bytes.
//
// # Key layout
//
// A key is made by [Key] and by nothing else: one byte space, one byte kind, then parts, each of them ended so that no
// part can run into the next one and the order of keys is the order of their parts.
//
//	space  1..7       code of the service (querschott.Service.Code)
//	       'o' (0x6f) the outbox
//	kind   'k'        wrapped data key of a person               part: PersonID (16 bytes)
//	       'r'        record, sealed under the person's data key parts: PersonID, record name
//	       's'        seen: what was taken before (dedupe)       parts: the service's own
//	       'c'        cursor: how far something has come         parts: the service's own
//	       'i'        index                                      parts: the service's own
//
// No key and no value holds a KVNR in the clear. In keys a person is only its PersonID, an HMAC under the compartment's
// index key; [Vault] is the way to write what belongs to a person.
//
// # What an attacker could do with the files
//
// Who reads them learns how many persons and records there are, when they were written and how long the records are.
// Who writes them can lose records or put back an old store as a whole; a record moved to another person, service,
// insurer, name or version does not open.
package cell

import (
	"bytes"
	"errors"
)

var (
	// ErrNotFound says that the store has no such key.
	ErrNotFound = errors.New("not found in the cell")
	// ErrClosed says that the store was used after its Close.
	ErrClosed = errors.New("the cell is closed")
	// ErrDamaged says that what is on disk cannot be trusted or can no longer be written. The error around it names the
	// directory and what to do. It concerns this store only.
	ErrDamaged = errors.New("the cell is damaged")
	// ErrStop, returned by the callback of a scan, ends the scan without an error.
	ErrStop = errors.New("stop the scan")
)

// Store keeps ordered keys. All methods may be called at the same time from many goroutines.
type Store interface {
	// Get returns a copy of the key's value, empty (not nil) for an empty value, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// Scan calls fn for every key in [lo, hi) in ascending order; a nil lo or hi is no bound, and an empty or inverted
	// range holds nothing. Key and value belong to the store and are valid only during the call. An error of fn ends the
	// scan and is returned as it is; ErrStop ends it and Scan returns nil. fn may use the store.
	Scan(lo, hi []byte, fn func(key, value []byte) error) error
	// Commit applies all operations of b in their order, atomically; on nil they are durable. It does not keep b.
	Commit(b *Batch) error
	// Close waits for nothing but the writes under way; everything afterwards fails with ErrClosed, a second Close too.
	Close() error
}

// Op is one operation of a batch.
type Op struct {
	Key    []byte
	Value  []byte // nil for a deletion, empty and not nil for an empty value
	Delete bool
}

// Batch collects operations that [Store.Commit] applies together. The zero value is empty and ready. Not safe for
// concurrent use.
type Batch struct {
	ops  []Op
	size int
	keys map[string]batchKey // data keys in use, by the store's key: see Vault
}

// Put sets key to value. Both are copied.
func (b *Batch) Put(key, value []byte) {
	b.ops = append(b.ops, Op{Key: bytes.Clone(nonNil(key)), Value: bytes.Clone(nonNil(value))})
	b.size += len(key) + len(value)
}

// Delete removes key; it is no error if the store does not have it. The key is copied.
func (b *Batch) Delete(key []byte) {
	b.ops = append(b.ops, Op{Key: bytes.Clone(nonNil(key)), Delete: true})
	b.size += len(key)
}

// Len returns the number of operations.
func (b *Batch) Len() int { return len(b.ops) }

// Size returns the bytes of all keys and values together.
func (b *Batch) Size() int { return b.size }

// Reset empties the batch for new operations.
func (b *Batch) Reset() {
	clear(b.ops)
	clear(b.keys)
	b.ops, b.size = b.ops[:0], 0
}

func (b *Batch) remember(at []byte, k batchKey) {
	if b.keys == nil {
		b.keys = map[string]batchKey{}
	}
	b.keys[string(at)] = k
}

// Ops returns the operations in the order in which they were added. The slice belongs to the batch.
func (b *Batch) Ops() []Op { return b.ops }

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
