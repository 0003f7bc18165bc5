package vsdm

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/seal"
	"github.com/querschott/querschott/wire/vsd"
)

// Change says what putting a record did.
type Change int

// The changes.
const (
	Unchanged Change = iota // the same is there already
	Added
	Replaced
)

// Errors of records. None of the errors around them contains a KVNR.
var (
	ErrInsurer = errors.New("the record's main payor is not an IK of this insurer")
	ErrOlder   = errors.New("the stored record has changed later than this one")
)

// newID makes an ID of version 7.
func newID(t time.Time) vsd.ID {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails
	return vsd.NewID(t, random)
}

// writer collects the records of one batch. The caller holds the chamber's writing lock.
type writer struct {
	ch    *chamber
	vault *cell.Vault
	batch cell.Batch
	has   map[place]pending // what the batch changes
}

// pending is a record that the batch will store.
type pending struct {
	entry   *insured.Entry
	version uint64
}

type place struct {
	ik     querschott.IK
	person querschott.KVNR
}

// Get returns a person's record at an IK and its version. Errors: [cell.ErrNotFound]; [cell.ErrShredded]; the refusal of a
// door that serves no reads.
func (s *Service) Get(ik querschott.IK, person querschott.KVNR) (*insured.Entry, uint64, error) {
	c, ok := s.owners[ik]
	if !ok {
		return nil, 0, errNoTenant(querschott.Compartment{Insurer: ik, Service: querschott.VSDM})
	}
	vault, err := s.cfg.Vault(c)
	if err != nil {
		return nil, 0, err
	}
	e, version, err := insured.Get(vault, insured.Name(ik), person)
	return e, version, s.still(s.chambers[c], vault, err)
}

// Put stores a record in place of the one that the person has at the IK of the record's main payor. It must satisfy
// [vsd.Record.Validate] and is not changed. Errors: those of Validate, [ErrInsurer], [ErrOlder], the refusal of a door that
// serves no reads. Whether the door lets records change is for the caller to ask.
func (s *Service) Put(c querschott.Compartment, e insured.Entry) (Change, error) {
	if err := e.Record.Validate(); err != nil {
		return Unchanged, err
	}
	var change Change
	err := s.write(c, func(w *writer) (err error) {
		change, err = w.put(e.Record, &e.CardBlocked)
		return err
	})
	return change, err
}

// write runs fn, which fills a batch, and makes it durable.
func (s *Service) write(c querschott.Compartment, fn func(*writer) error) error {
	ch := s.chambers[c]
	if ch == nil {
		return errNoTenant(c)
	}
	vault, err := s.cfg.Vault(c)
	if err != nil {
		return err
	}
	store, err := s.cfg.Cell(c.Insurer)
	if err != nil {
		return fmt.Errorf("couldn't open the cell of %s: %w", c, err)
	}
	ch.writing.Lock()
	defer ch.writing.Unlock()
	w := &writer{ch: ch, vault: vault, has: map[place]pending{}}
	if err := fn(w); err != nil {
		return s.still(ch, vault, err)
	}
	if err := store.Commit(&w.batch); err != nil {
		return fmt.Errorf("couldn't store master data of %s: %w", c, err)
	}
	return nil
}

// put adds a record to the batch. Whether the card is blocked stays as it is if blocked is nil.
func (w *writer) put(r *vsd.Record, blocked *bool) (Change, error) {
	at := place{r.Payors[0].IK, r.Patient.Number}
	name, ok := w.ch.iks[at.ik]
	if !ok {
		return Unchanged, ErrInsurer
	}
	e := &insured.Entry{Record: r}
	old, version, err := w.read(at, name)
	change := Replaced
	switch {
	case errors.Is(err, cell.ErrNotFound):
		change = Added
	case errors.Is(err, cell.ErrShredded) || errors.Is(err, seal.ErrDamaged):
		// Nobody can read what is there: the new record mends it.
	case err != nil:
		return Unchanged, err
	default:
		e.CardBlocked = old.CardBlocked
	}
	if blocked != nil {
		e.CardBlocked = *blocked
	}
	switch {
	case old == nil:
	case e.CardBlocked == old.CardBlocked && same(r, old.Record):
		return Unchanged, insured.Mend(w.vault, &w.batch, old)
	case earlier(r.Updated, old.Record.Updated):
		return Unchanged, ErrOlder
	}
	w.has[at] = pending{e, version + 1}
	return change, insured.Put(w.vault, &w.batch, e, old, version+1)
}

// read returns a record as it will be after the batch.
func (w *writer) read(at place, name string) (*insured.Entry, uint64, error) {
	if p, ok := w.has[at]; ok {
		return p.entry, p.version, nil
	}
	return insured.Get(w.vault, name, at.person)
}

// same reports whether two records say the same: everything but the date of the last change and the UUIDs, which senders
// make anew with every delivery.
func same(a, b *vsd.Record) bool {
	if len(a.Payors) != len(b.Payors) {
		return false
	}
	c := *a
	c.Updated, c.Patient.ID, c.Coverage.ID = b.Updated, b.Patient.ID, b.Coverage.ID
	c.Payors = append([]vsd.Payor(nil), a.Payors...)
	for i := range c.Payors {
		c.Payors[i].ID = b.Payors[i].ID
	}
	return bytes.Equal(c.Encode(), b.Encode())
}

// earlier compares moments, not texts. Both are valid.
func earlier(a, b vsd.Instant) bool {
	x, errX := time.Parse(time.RFC3339Nano, string(a))
	y, errY := time.Parse(time.RFC3339Nano, string(b))
	return errX == nil && errY == nil && x.Before(y)
}

// Block notes that a person's card was revoked, or that the person has a good one again.
func (s *Service) Block(ik querschott.IK, person querschott.KVNR, blocked bool) error {
	c, ok := s.owners[ik]
	if !ok {
		return errNoTenant(querschott.Compartment{Insurer: ik, Service: querschott.VSDM})
	}
	return s.write(c, func(w *writer) error {
		e, version, err := insured.Get(w.vault, insured.Name(ik), person)
		if err != nil {
			return err
		}
		old := *e
		e.CardBlocked = blocked
		return insured.Put(w.vault, &w.batch, e, &old, version+1)
	})
}

// Delete removes a person's record at an IK, because the insurer is no longer responsible ([insured.Delete]); a cover that has
// merely ended stays readable. Errors: [cell.ErrNotFound], the refusal of a door that serves no reads.
func (s *Service) Delete(ik querschott.IK, person querschott.KVNR) error {
	c, ok := s.owners[ik]
	if !ok {
		return errNoTenant(querschott.Compartment{Insurer: ik, Service: querschott.VSDM})
	}
	return s.write(c, func(w *writer) error {
		return insured.Delete(w.vault, &w.batch, insured.Name(ik), person)
	})
}
