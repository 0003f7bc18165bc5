package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
)

// Entry is one mail in a mailbox.
type Entry struct {
	ID   string // 48 hexadecimal digits, never used again: fit for UIDL (RFC 1939 section 7)
	Size int64  // bytes of the body
	At   time.Time
}

// List returns the mail in the mailbox of an address, oldest first. A mailbox that nothing was put into is empty.
// Addresses are compared without case.
func (o *Outbox) List(address string) ([]Entry, error) {
	var list []Entry
	err := o.scanBox(address, func(key, value []byte) error {
		parts, ok := partsOf(key, len(boxID{}), len(ref{}))
		if !ok || len(value) != 4 {
			return malformed("list of a mailbox")
		}
		r := ref(parts[1])
		list = append(list, Entry{ID: r.String(), Size: int64(binary.BigEndian.Uint32(value)), At: r.time()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't list a mailbox: %w", err)
	}
	return list, nil
}

// Count returns how many mails are in the mailbox of an address.
func (o *Outbox) Count(address string) (int, error) {
	n := 0
	if err := o.scanBox(address, func(_, _ []byte) error { n++; return nil }); err != nil {
		return 0, fmt.Errorf("couldn't count a mailbox: %w", err)
	}
	return n, nil
}

func (o *Outbox) scanBox(address string, fn func(key, value []byte) error) error {
	box := boxOf(address)
	lo := cell.Key(cell.SpaceOutbox, kindList, box[:])
	return o.store.Scan(lo, cell.PrefixEnd(lo), fn)
}

var errNoMail = querschott.Refuse(querschott.CodeNotFound, "the mailbox has no such mail")

// Get returns the body of a mail in the mailbox of an address. Error: CodeNotFound.
func (o *Outbox) Get(address, id string) ([]byte, error) {
	r, ok := parseRef(id)
	if !ok {
		return nil, errNoMail
	}
	key := boxKey(boxOf(address), r)
	sealed, err := o.store.Get(key)
	if errors.Is(err, cell.ErrNotFound) {
		return nil, errNoMail
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read from a mailbox: %w", err)
	}
	plain, err := o.unseal(key, sealed)
	if err != nil {
		return nil, fmt.Errorf("couldn't open mail %s in a mailbox: %w", id, err)
	}
	m, err := decodeMail(plain)
	if err != nil {
		return nil, err
	}
	return m.Body, nil
}

// Delete removes a mail from the mailbox of an address; on nil it is gone durably. One that is not there is no error.
func (o *Outbox) Delete(address, id string) error {
	r, ok := parseRef(id)
	if !ok {
		return nil
	}
	var b cell.Batch
	b.Delete(boxKey(boxOf(address), r))
	b.Delete(listKey(boxOf(address), r))
	if err := o.store.Commit(&b); err != nil {
		return fmt.Errorf("couldn't delete from a mailbox: %w", err)
	}
	return nil
}
