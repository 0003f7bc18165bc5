package insured

import (
	"errors"
	"fmt"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/seal"
	"github.com/querschott/querschott/wire/vsd"
)

// Entry is what is kept of one person at one IK.
type Entry struct {
	Record *vsd.Record
	// CardBlocked says that the person's card was revoked. Check numbers say so; the answer to a card check is the same.
	CardBlocked bool
}

// Name is the name of a person's record at an IK.
func Name(ik querschott.IK) string { return prefix + string(ik) }

const (
	prefix      = "master/"
	layout      = 1
	flagBlocked = 1
)

func (e *Entry) encode() []byte {
	flags := byte(0)
	if e.CardBlocked {
		flags |= flagBlocked
	}
	return append([]byte{layout, flags}, e.Record.Encode()...)
}

// Decode reads a stored entry. The content version is that of the record alone: blocking a card changes no entity tag.
func Decode(stored []byte) (*Entry, vsd.Content, error) {
	if len(stored) < 2 || stored[0] != layout {
		return nil, vsd.Content{}, fmt.Errorf("a record of unknown layout: %w", seal.ErrDamaged)
	}
	r, err := vsd.DecodeRecord(stored[2:])
	if err != nil {
		return nil, vsd.Content{}, fmt.Errorf("couldn't read a stored record: %w", err)
	}
	return &Entry{r, stored[1]&flagBlocked != 0}, vsd.ContentOf(stored[2:]), nil
}

// Get returns the entry of a person under a name ([Name]), and its version. Errors are those of [cell.Vault.GetRecord].
func Get(v *cell.Vault, name string, person querschott.KVNR) (*Entry, uint64, error) {
	stored, version, err := v.GetRecord(person, name)
	if err != nil {
		return nil, 0, err
	}
	e, _, err := Decode(stored)
	return e, version, err
}

// Put adds an entry to the batch in place of old, nil if there was none that could be read, at the IK of its main payor.
func Put(v *cell.Vault, b *cell.Batch, e, old *Entry, version uint64) error {
	person := e.Record.Patient.Number
	if old != nil && Term(&old.Record.Patient) != Term(&e.Record.Patient) {
		if err := unname(v, b, old); err != nil {
			return err
		}
	}
	if t := Term(&e.Record.Patient); t != "" {
		if err := v.PutTerm(b, person, t); err != nil {
			return err
		}
	}
	return v.PutRecord(b, person, Name(e.Record.Payors[0].IK), version, e.encode())
}

// Mend adds to the batch the term of an entry that has none in the store.
func Mend(v *cell.Vault, b *cell.Batch, e *Entry) error {
	t := Term(&e.Record.Patient)
	if t == "" {
		return nil
	}
	there, err := v.HasTerm(e.Record.Patient.Number, t)
	if err != nil || there {
		return err
	}
	return v.PutTerm(b, e.Record.Patient.Number, t)
}

// Delete adds the removal of a person's entry under a name to the batch. With the person's last record in the compartment the
// data key goes too: copies of the entry in backups do not open any more. Errors: [cell.ErrNotFound].
func Delete(v *cell.Vault, b *cell.Batch, name string, person querschott.KVNR) error {
	var gone *Entry
	found, others, shared := false, false, map[string]bool{}
	err := v.Records(person, func(record string, _ uint64, stored []byte) error {
		e, _, err := Decode(stored)
		switch {
		case record == name:
			found, gone = true, e
		case err == nil:
			others, shared[Term(&e.Record.Patient)] = true, true
		default: // what cannot be read has no name
			others = true
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case !found:
		return cell.ErrNotFound
	}
	if gone != nil && !shared[Term(&gone.Record.Patient)] {
		if err := unname(v, b, gone); err != nil {
			return err
		}
	}
	if others {
		return v.DeleteRecord(b, person, name)
	}
	return v.Shred(b, person)
}

// unname removes the term of an entry. A term that another entry of the person has comes back with its next delivery.
func unname(v *cell.Vault, b *cell.Batch, e *Entry) error {
	if t := Term(&e.Record.Patient); t != "" {
		return v.DeleteTerm(b, e.Record.Patient.Number, t)
	}
	return nil
}

// Lookup returns all entries of a person, whichever of the insurer's IKs they are at. It is empty for a person whom the
// insurer does not know.
func Lookup(v *cell.Vault, person querschott.KVNR) ([]*Entry, error) {
	var list []*Entry
	return list, v.Records(person, collect(&list))
}

// Search returns the entries that have a family name and a date of birth, of at most limit persons.
func Search(v *cell.Vault, family string, born vsd.Date, limit int) ([]*Entry, error) {
	term := termOf(family, born)
	if term == "" {
		return nil, nil
	}
	found, err := v.Find(term, limit)
	if err != nil {
		return nil, err
	}
	var list []*Entry
	for _, id := range found {
		err := v.RecordsOf(id, func(record string, version uint64, stored []byte) error {
			var of []*Entry
			err := collect(&of)(record, version, stored)
			if len(of) == 1 && Term(&of[0].Record.Patient) == term {
				list = append(list, of[0])
			}
			return err
		})
		if err != nil && !errors.Is(err, cell.ErrShredded) {
			return nil, err
		}
	}
	return list, nil
}

func collect(list *[]*Entry) func(string, uint64, []byte) error {
	return func(record string, _ uint64, stored []byte) error {
		if !strings.HasPrefix(record, prefix) {
			return nil
		}
		e, _, err := Decode(stored)
		if err == nil {
			*list = append(*list, e)
		}
		return err
	}
}

// Term is the term under which a person is found, "" if the name or the date of birth is not recorded.
func Term(p *vsd.Patient) string {
	family := p.Name.Own
	if family == "" {
		family = p.Name.Family
	}
	return termOf(family, p.Born)
}

func termOf(family string, born vsd.Date) string {
	name := Fold(family)
	if name == "" || !born.Valid() {
		return ""
	}
	return name + "\x00" + string(born)
}
