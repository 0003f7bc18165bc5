package ident

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// maxRevocations bounds the list. Who wants to deny more closes a door.
const maxRevocations = 100_000

// Dimension is what a deny entry names.
type Dimension string

// The dimensions. Each says how an entry's Value is written.
const (
	BySubject        Dimension = "subject"
	ByActor          Dimension = "actor"      // who stands behind credentials, as ledger and access events name them
	ByCredential     Dimension = "credential" // one credential, likewise
	ByClient         Dimension = "client"
	BySession        Dimension = "session"
	ByToken          Dimension = "token"
	ByKey            Dimension = "key"              // thumbprint as in [Facts.Key]
	ByProduct        Dimension = "product"          // every version of a product
	ByVersion        Dimension = "version"          // product/version
	ByIssuer         Dimension = "issuer"           // of credentials
	ByNetwork        Dimension = "network"          // address or prefix, at least /8 (IPv4) or /16 (IPv6)
	ByPresenceIssuer Dimension = "presence-issuer"  // of PoPP tokens
	ByPresenceBefore Dimension = "popp-before"      // RFC 3339 time: PoPP tokens issued before it
	ByProofAge       Dimension = "proof-older-than" // duration such as 36h: PoPP tokens whose card was used longer ago
	ByInsurer        Dimension = "insurer"          // IK: whatever is for this insurer's compartments
)

// Revocation is one deny entry. Two entries with the same Dimension, Value, Subject, Insurer and Run are the same entry.
type Revocation struct {
	Dimension Dimension          `json:"dimension"`
	Value     string             `json:"value"`             // may be the number of a person: keep it out of logs
	Subject   string             `json:"subject,omitempty"` // popp-before and proof-older-than: of this subject only
	Insurer   querschott.IK      `json:"insurer,omitempty"` // only where this insurer's compartments are concerned; "" for all
	Reason    string             `json:"reason"`
	From      time.Time          `json:"from"`              // Add takes the present for zero
	Planned   bool               `json:"planned,omitempty"` // set by Add: it lay ahead then. All others act from the start, also when the clock goes back
	Until     time.Time          `json:"until,omitzero"`    // zero: until it is removed
	Actors    []querschott.Actor `json:"actors"`            // who decided, at least one
	Run       string             `json:"run,omitempty"`     // of the playbook
}

// ErrRevoked is what [Revocations.Check] returns. It does not tell the caller which entry it was.
var ErrRevoked = querschott.Refuse(querschott.CodeForbidden, "access denied")

// Revocations is the list of deny entries in one file. All methods may be called at the same time; reading takes no lock.
//
// table and followed are replaced as a whole, never changed; mu is held by those who replace them.
type Revocations struct {
	fs   disk.FS
	path string
	now  func() time.Time

	mu    sync.Mutex
	table atomic.Pointer[denyTable]

	followed atomic.Pointer[denyTable] // the list of another node that acts here as well; nil: none
}

// OpenRevocations reads the file of deny entries; a file that does not exist is an empty list. A file that cannot be
// understood is an error: a list that lost its entries must not pass for one that has none.
func OpenRevocations(fsys disk.FS, path string, now func() time.Time) (*Revocations, error) {
	r := &Revocations{fs: fsys, path: path, now: now}
	return r, r.Reload()
}

// Check returns [ErrRevoked] if an entry in force names one of the facts. It takes no lock; it allocates nothing as long as
// the facts are ASCII, which the identifiers of this field are.
func (r *Revocations) Check(f *Facts) error {
	if t := r.table.Load(); len(t.entries) != 0 && t.find(f, r.now()) >= 0 {
		return ErrRevoked
	}
	if t := r.followed.Load(); t != nil && len(t.entries) != 0 && t.find(f, r.now()) >= 0 {
		return ErrRevoked
	}
	return nil
}

// Find returns the entry for which Check refuses, for the record of the refusal.
func (r *Revocations) Find(f *Facts) (Revocation, bool) {
	for _, t := range []*denyTable{r.table.Load(), r.followed.Load()} {
		if t == nil {
			continue
		}
		if i := t.find(f, r.now()); i >= 0 {
			return t.entries[i].clone(), true
		}
	}
	return Revocation{}, false
}

// Epoch rises with every change of the list and is kept across restarts.
func (r *Revocations) Epoch() uint64 { return r.table.Load().epoch }

// List returns all entries, those that are not yet or no longer in force included, in a fixed order.
func (r *Revocations) List() []Revocation {
	entries := slices.Clone(r.table.Load().entries)
	for i := range entries {
		entries[i] = entries[i].clone()
	}
	return entries
}

// Add puts entries on the list, durably, all or none; they act on the next request. An entry that is on the list already is
// never weakened by it: it lasts from the earlier start to the later end. CodeInvalid for an entry that makes no sense.
func (r *Revocations) Add(list ...Revocation) error {
	return r.change(func(table map[entryKey]Revocation, now time.Time) error {
		leaveOver(table, now)
		for i, v := range list {
			if v.From.IsZero() {
				v.From = now
			}
			v.Planned = v.From.After(now)
			v, err := v.checked()
			if err != nil {
				return querschott.Refuse(querschott.CodeInvalid, "deny entry %d: %v", i+1, err)
			}
			if old, ok := table[v.key()]; ok {
				v = v.joined(old)
			}
			table[v.key()] = v
		}
		if len(table) > maxRevocations {
			return querschott.Refuse(querschott.CodeNoRoom, "the list of deny entries is full (%d)", maxRevocations)
		}
		return nil
	})
}

// Remove takes entries off the list, all or none. CodeNotFound if one is not on it; one whose time is over still is.
func (r *Revocations) Remove(list ...Revocation) error {
	return r.change(func(table map[entryKey]Revocation, _ time.Time) error {
		for i, v := range list {
			if _, ok := table[v.key()]; !ok {
				return querschott.Refuse(querschott.CodeNotFound, "deny entry %d is not on the list", i+1)
			}
			delete(table, v.key())
		}
		return nil
	})
}

// Reload takes over what the file says. If it cannot be read or understood, the list in force stays in force.
func (r *Revocations) Reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	file, err := r.read()
	if err != nil {
		return err
	}
	if old := r.table.Load(); old != nil && file.Epoch <= old.epoch {
		if slices.EqualFunc(old.entries, file.Revocations, Revocation.equal) {
			return nil
		}
		file.Epoch = old.epoch + 1
	}
	r.table.Store(newDenyTable(file.Epoch, file.Revocations))
	return nil
}

// leaveOver drops entries whose time is over.
func leaveOver(table map[entryKey]Revocation, now time.Time) {
	maps.DeleteFunc(table, func(_ entryKey, v Revocation) bool { return !v.Until.IsZero() && !now.Before(v.Until) })
}

// change starts from the file, not from memory: a command beside the running node may have changed it. Entries that are over
// leave the list with the next change.
func (r *Revocations) change(fn func(table map[entryKey]Revocation, now time.Time) error) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, real := r.fs.(disk.OS); real { // a disk in memory belongs to one process
		release, locked := disk.Lock(filepath.Dir(r.path))
		if locked != nil {
			return fmt.Errorf("couldn't lock deny list %s: %w", r.path, locked)
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	file, err := r.read()
	if err != nil {
		return err
	}
	now := r.now().UTC()
	table := make(map[entryKey]Revocation, len(file.Revocations))
	for _, v := range file.Revocations {
		table[v.key()] = v
	}
	if err := fn(table, now); err != nil {
		return err
	}
	leaveOver(table, now)
	next := denyFile{Epoch: max(file.Epoch, r.table.Load().epoch) + 1, Revocations: ordered(table)}
	if err := r.write(next); err != nil {
		return err
	}
	r.table.Store(newDenyTable(next.Epoch, next.Revocations))
	return nil
}
