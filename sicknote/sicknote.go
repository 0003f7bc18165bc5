// Package sicknote reads the electronic sick notes that package service/eau has stored in the cell of an insurer's
// compartment eau. Both share what is kept beside a message and where it lies; neither knows of the other.
//
// What it promises:
//
//   - Nothing is read while the compartment's keys are not in memory: a vault is needed.
//   - A note that cannot be read any more is said to be damaged and hides no other.
//   - Whether a note was cancelled is read when it is asked for: a cancellation may come years after the note.
package sicknote

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/wire/cms"
	"github.com/querschott/querschott/wire/eau"
	"github.com/querschott/querschott/wire/kim"
)

// Facts is what was read of a document and is kept beside it.
type Facts struct {
	Kind       eau.Kind `json:"kind"`
	Cancels    string   `json:"cancels,omitempty"`
	Payor      string   `json:"payor,omitempty"`
	Scheme     string   `json:"scheme,omitempty"`
	Type       eau.Type `json:"type,omitempty"`
	Issued     eau.Date `json:"issued,omitempty"`
	From       eau.Date `json:"from,omitempty"`
	Until      eau.Date `json:"until,omitempty"`
	Determined eau.Date `json:"determined,omitempty"`
	Diagnoses  int      `json:"diagnoses,omitempty"`

	FirstSeq    uint64 `json:"first_seq,omitempty"`    // of a duplicate, a recreated note or a misused identifier: the first message
	CancelsSeq  uint64 `json:"cancels_seq,omitempty"`  // of a cancellation: the sick note's message; 0 if it had not come
	CancelledBy uint64 `json:"cancelled_by,omitempty"` // the cancellation that came before; later ones are in the index only
}

// Note is one stored document about a person.
type Note struct {
	Seq       uint64
	Received  time.Time
	Sender    string // KIM address of the practice
	Result    string // what service/eau made of it, such as "stored", "duplicate"
	Findings  []string
	Facts     Facts
	Cancelled bool // a cancellation of it has come
}

// ErrNotFound says that the person has no such note.
var ErrNotFound = errors.New("there is no such sick note")

// List returns the documents about a person, oldest first, at most limit of them; more says that there are others.
func List(v *cell.Vault, store cell.Store, c querschott.Compartment, person querschott.KVNR, limit int) (list []Note, more bool, err error) {
	err = v.Records(person, func(record string, _ uint64, stored []byte) error {
		if !strings.HasPrefix(record, recordPrefix) {
			return nil
		}
		if len(list) == limit {
			more = true
			return cell.ErrStop
		}
		n, _, err := parse(stored)
		if err == nil {
			n.Cancelled, err = cancelled(v, store, c, n)
			list = append(list, n.Note)
		}
		return err
	})
	return list, more, err
}

// recordPrefix is what the names of messages begin with ([intake.RecordName]).
const recordPrefix = "message/"

// Get returns one document about a person with its octets: the FHIR bundle as the practice has signed it; nil if the message
// has none that can be read.
func Get(v *cell.Vault, store cell.Store, c querschott.Compartment, person querschott.KVNR, seq uint64) (*Note, []byte, error) {
	stored, _, err := v.GetRecord(person, intake.RecordName(seq))
	if errors.Is(err, cell.ErrNotFound) {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, err
	}
	n, mail, err := parse(stored)
	if err != nil {
		return nil, nil, err
	}
	if n.Cancelled, err = cancelled(v, store, c, n); err != nil {
		return nil, nil, err
	}
	return &n.Note, document(mail), nil
}

// parsed is a note with the identifier that a cancellation names it by.
type parsed struct {
	Note
	identifier string
}

func parse(stored []byte) (parsed, []byte, error) {
	about, mail, err := intake.ParseStored(stored)
	if err != nil {
		return parsed{}, nil, err
	}
	n := parsed{Note{
		Seq: about.Seq, Received: about.Received, Sender: about.Sender, Result: about.Result, Findings: about.Findings,
	}, about.Document}
	if about.Facts == nil { // of a message in which there was no document
		return n, mail, nil
	}
	raw, err := json.Marshal(about.Facts)
	if err == nil {
		err = json.Unmarshal(raw, &n.Facts)
	}
	if err != nil {
		return parsed{}, nil, fmt.Errorf("couldn't read what is known of a sick note: %w", err)
	}
	return n, mail, nil
}

// document takes the signed octets out of the mail.
func document(mail []byte) []byte {
	attachment, err := kim.Document(mail)
	if err != nil {
		return nil
	}
	signed, err := cms.Parse(attachment.P7S)
	if err != nil {
		return nil
	}
	return signed.Content
}

// Blinding labels and key parts that service/eau shares.
const (
	LabelDocument  = "eau document" // of identifiers
	partCancelled  = "cancelled"
	sizeCancelled  = 8 + 8 // first cancellation, and the note's first message, 0 while it has not come
	offsetCanceler = 8
)

// CancelledKey is where it is kept that a document was cancelled, by its blinded identifier.
func CancelledKey(c querschott.Compartment, identifier [32]byte) []byte {
	return cell.Key(cell.ServiceSpace(c.Service), cell.KindIndex, []byte(partCancelled), identifier[:])
}

func cancelled(v *cell.Vault, store cell.Store, c querschott.Compartment, n parsed) (bool, error) {
	if n.Facts.Kind != eau.KindCertificate || n.identifier == "" {
		return n.Facts.CancelledBy != 0, nil
	}
	blind, err := v.Blind(LabelDocument, []byte(n.identifier))
	if err != nil {
		return false, err
	}
	value, err := store.Get(CancelledKey(c, blind))
	if errors.Is(err, cell.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("couldn't see whether a sick note was cancelled: %w", err)
	}
	return len(value) == sizeCancelled && binary.BigEndian.Uint64(value[:offsetCanceler]) != 0, nil
}
