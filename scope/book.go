package scope

import (
	"errors"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/proof"
)

// book is what the index keeps of one log besides its segments.
type book struct {
	origin  string
	insurer querschott.IK // "" for the platform's log
	year    int
	names   *ledger.Names // nil in an index that has no ledger

	persons, credentials *names
	tags                 map[ledger.Pseudonym]Tag

	head proof.Checkpoint // of the log up to next, as of the last time that it was followed
	open []event          // what no round holds yet
	to   uint64           // entries of the log before it are in a round
	next uint64           // the first entry that the book has not seen
}

// event is one person in one entry, or, with person 0, the records of an answer that names nobody.
type event struct {
	index   uint64
	second  int64
	cred    uint32
	person  uint32
	records uint32
	class   uint8
}

func (e *event) data() ledger.DataClass { return ledger.DataClass(e.class >> 2) }

func (e *event) result() Result { return Result(e.class & 3) }

func newBook(fsys disk.FS, base, origin string, insurer querschott.IK, year int) *book {
	return &book{
		origin: origin, insurer: insurer, year: year, tags: map[ledger.Pseudonym]Tag{},
		persons: newNames(fsys, base+".persons"), credentials: newNames(fsys, base+".credentials"),
	}
}

// tag returns the tag of a credential that an entry names.
func (b *book) tag(p ledger.Pseudonym, c querschott.CredentialID) Tag {
	t, ok := b.tags[p]
	if !ok {
		t = TagOf(b.names.TagKey(), c)
		b.tags[p] = t
	}
	return t
}

// tagOf returns it when the entry's payload is erased. A credential that nobody knows any more has the tag of nobody.
func (b *book) tagOf(p ledger.Pseudonym) Tag { return b.tags[p] }

// add notes a happening.
func (b *book) add(h *happening) {
	e := event{index: h.index, second: h.second, cred: b.credentials.add(h.credential, h.index), class: h.class()}
	if len(h.persons) == 0 {
		e.records = h.unnamed
		b.open = append(b.open, e)
	}
	for _, p := range h.persons {
		e.person = b.persons.add(p, h.index)
		b.open = append(b.open, e)
	}
}

func (b *book) close() error { return errors.Join(b.persons.close(), b.credentials.close()) }
