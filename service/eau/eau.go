// Package eau takes electronic sick notes and their cancellations into the insurer's cell.
//
// It refuses nothing. The document is taken out of the mail and the signature container and read as far as it can be
// read; what cannot be read is stored as it came, with a finding. Every message is stored whole, sealed under the data key
// of the person it is about.
//
// Duplicates are recognised as KBV_ITA_VGEX_Technische_Anlage_eAU KP5-06 says: by the identifier of the bundle or by the
// hash of the FHIR file. A duplicate is stored and noted, and never answered. The same identifier with another hash is no
// duplicate but a misuse of identifiers: both are kept, the second with a finding. A cancellation may come before the sick
// note that it cancels.
//
// Keys in the cell, in the space of the service:
//
//	seen  "document", SHA-256 of the identifier   hash of the file (32) and sequence number u64 of the first message
//	seen  "file", SHA-256 of the FHIR file        sequence number u64 of the first message
//	index "cancelled", SHA-256 of the identifier  sequence number u64 of the cancellation
package eau

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/wire/cms"
	"github.com/querschott/querschott/wire/eau"
	"github.com/querschott/querschott/wire/kim"
)

// Results of a note.
const (
	Stored     = "stored"
	Duplicate  = "duplicate"
	Cancelled  = "cancellation"
	Unreadable = "unreadable"
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
	FirstSeq   uint64   `json:"first_seq,omitempty"` // of a duplicate: the message that was first
}

// Take is the intake.Handler of the service.
func Take(_ context.Context, m *intake.Message, tx *intake.Tx) (intake.Note, error) {
	doc, findings, err := read(m)
	if err != nil {
		n := intake.Note{Result: Unreadable, Findings: append(findings, err.Error())}
		return n, tx.Store(m, n, nil)
	}
	if doc.Payor != "" && doc.Payor != tx.Compartment.Insurer {
		findings = append(findings, "the document names another insurer")
	}
	n := intake.Note{Result: Stored, Document: doc.Identifier, Person: doc.Person, Findings: findings}
	if doc.Kind == eau.KindCancellation {
		n.Result = Cancelled
	}
	facts := Facts{
		Kind: doc.Kind, Cancels: doc.Cancels, Payor: string(doc.Payor), Scheme: doc.Scheme, Type: doc.Type,
		Issued: doc.Issued, From: doc.From, Until: doc.Until, Determined: doc.Determined, Diagnoses: doc.Diagnoses,
	}
	seen, err := recognise(m, &doc, tx)
	if err != nil {
		return intake.Note{}, err
	}
	if seen.duplicate {
		n.Result, facts.FirstSeq = Duplicate, seen.first
	}
	if seen.misuse {
		n.Findings = append(n.Findings, "the identifier was used before for another document")
	}
	return n, tx.Store(m, n, facts)
}

// read takes the document out of the mail. An error is a finding about the sender's octets.
func read(m *intake.Message) (eau.Document, []string, error) {
	attachment, err := kim.Document(m.Body)
	if err != nil {
		return eau.Document{}, nil, fmt.Errorf("no signed document in the mail: %s", kim.ReasonOf(err))
	}
	signed, err := cms.Parse(attachment.P7S)
	if err != nil {
		return eau.Document{}, nil, fmt.Errorf("the signature container cannot be read: %s", cms.ProblemOf(err))
	}
	doc, found := eau.Read(signed.Content)
	var findings []string
	for _, f := range found {
		findings = append(findings, f.String())
	}
	return doc, findings, nil
}

// sighting says what the cell knows of a document.
type sighting struct {
	duplicate bool
	misuse    bool
	first     uint64
}

// recognise applies KP5-06 and remembers the document. // KP5-06
func recognise(m *intake.Message, doc *eau.Document, tx *intake.Tx) (s sighting, err error) {
	seq := binary.BigEndian.AppendUint64(nil, m.Seq)
	if doc.Identifier != "" {
		key := documentKey(tx, doc.Identifier)
		value, err := tx.Get(key)
		switch {
		case errors.Is(err, cell.ErrNotFound):
			tx.Put(key, append(append([]byte(nil), doc.Hash[:]...), seq...))
		case err != nil:
			return s, err
		case len(value) != 40:
			return s, fmt.Errorf("what the cell knows of a document has %d bytes", len(value))
		case bytes.Equal(value[:32], doc.Hash[:]):
			s.duplicate, s.first = true, binary.BigEndian.Uint64(value[32:])
		default:
			s.misuse = true
		}
	}
	key := cell.Key(cell.ServiceSpace(tx.Compartment.Service), cell.KindSeen, []byte("file"), doc.Hash[:])
	value, err := tx.Get(key)
	switch {
	case errors.Is(err, cell.ErrNotFound):
		tx.Put(key, seq)
	case err != nil:
		return s, err
	case len(value) == 8:
		s.duplicate, s.first = true, binary.BigEndian.Uint64(value)
	}
	if doc.Kind == eau.KindCancellation && doc.Cancels != "" {
		id := sha256.Sum256([]byte(doc.Cancels))
		tx.Put(cell.Key(cell.ServiceSpace(tx.Compartment.Service), cell.KindIndex, []byte("cancelled"), id[:]), seq)
	}
	return s, nil
}

func documentKey(tx *intake.Tx, identifier string) []byte {
	id := sha256.Sum256([]byte(identifier))
	return cell.Key(cell.ServiceSpace(tx.Compartment.Service), cell.KindSeen, []byte("document"), id[:])
}
