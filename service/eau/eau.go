// Package eau takes electronic sick notes and their cancellations into the insurer's cell.
//
// It refuses nothing. The document is taken out of the mail and the signature container and read as far as it can be
// read; what cannot be read is stored as it came, with a finding. Every message is stored whole, once for every time it
// came, sealed under the data key of the person it is about. An error of [Take] never says anything about a message, only
// about this node.
//
// What a document is to the cell is told by its identifier, its octets and its content (KBV_ITA_VGEX_Technische_Anlage_eAU
// KP5-06). How messages are divided into turns makes no difference.
//
//	identifier  octets  content  result
//	new         new     new      stored, cancellation or unreadable
//	any         known   any      duplicate, whatever mail it came in; FirstSeq names the first
//	known       new     any      as a new one, with a finding: identifiers are being misused, both documents are kept
//	any         new     known    recreated: most likely the sick note FirstSeq made again; to be processed once
//
// A cancellation may come before its sick note: it waits in the index and marks the note when that comes. It names an
// identifier and counts for every document that has it. A sick note with the content of one that was cancelled is a new
// one, because practices write it again after a cancellation. None of these cases is answered with an error message, so
// that no document here is ever a rejected one.
//
// Keys in the cell, in the space of the service. Names are blinded ([seal.Keys.Blind]): whoever reads the store cannot find
// out whether a document that he has is in it. Numbers are the sequence numbers of messages, u64; 0 is none.
//
//	seen  "document", identifier   first message, first message that is a sick note
//	seen  "file", octets           first message
//	seen  "content", content       up to 16 sick notes that say this: message, identifier (blinded). Cancelled ones make room
//	index "cancelled", identifier  first cancellation, and the sick note's first message, 0 while it has not come
//
// A value of another form than these is one that somebody has damaged. It counts as missing, and the message that found it
// is flagged: a damaged memory of duplicates must not hold up sick notes.
package eau

import (
	"context"
	"errors"
	"fmt"

	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/sicknote"
	"github.com/querschott/querschott/wire/cms"
	"github.com/querschott/querschott/wire/eau"
	"github.com/querschott/querschott/wire/kim"
)

// Results of a note.
const (
	Stored     = intake.ResultStored    // a sick note
	Cancelled  = "cancellation"         // a cancellation
	Unreadable = "unreadable"           // neither of the two, as far as can be read
	Duplicate  = intake.ResultDuplicate // of an earlier document, octet by octet
	Recreated  = "recreated"            // an earlier sick note made again, with the same content
)

// Findings of this package; those of the packages that read come on top.
const (
	findingPayor   = "the document names another insurer"
	findingMisuse  = "the identifier was used before for another document"
	findingDamaged = "what the cell knew of the document is damaged"
)

// Take is the intake.Handler of the service.
func Take(_ context.Context, m *intake.Message, tx *intake.Tx) (intake.Note, error) {
	doc, findings, err := read(m)
	if err != nil {
		n := intake.Note{Result: Unreadable, Findings: []string{err.Error()}}
		return n, tx.Store(m, n, nil)
	}
	if doc.Payor != "" && doc.Payor != tx.Compartment.Insurer {
		findings = append(findings, findingPayor)
	}
	n := intake.Note{Result: Unreadable, Document: doc.Identifier, Person: doc.Person, Findings: findings}
	switch doc.Kind {
	case eau.KindCertificate:
		n.Result = Stored
	case eau.KindCancellation:
		n.Result = Cancelled
	case eau.KindUnknown:
	}
	facts := sicknote.Facts{
		Kind: doc.Kind, Cancels: doc.Cancels, Payor: string(doc.Payor), Scheme: doc.Scheme, Type: doc.Type,
		Issued: doc.Issued, From: doc.From, Until: doc.Until, Determined: doc.Determined, Diagnoses: doc.Diagnoses,
	}
	s := sighting{tx: tx, seq: m.Seq, doc: &doc, note: &n, facts: &facts}
	if err := s.compare(); err != nil {
		return intake.Note{}, fmt.Errorf("couldn't look up the document of message %d: %w", m.Seq, err)
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
	if len(signed.Content) == 0 { // all empty documents would be duplicates of each other
		return eau.Document{}, nil, errors.New("the signature container is empty")
	}
	doc, found := eau.Read(signed.Content)
	var findings []string
	for _, f := range found {
		findings = append(findings, f.String())
	}
	return doc, findings, nil
}
