package eau

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/sicknote"
	"github.com/querschott/querschott/wire/eau"
)

// name is a blinded name of something in the cell.
type name = [32]byte

// What is stored under the keys of the package comment.
const (
	sizeFile      = 8
	sizeDocument  = 8 + 8
	sizeCancelled = 8 + 8
	sizeTwin      = 8 + 32
	maxTwins      = 16 // further ones are still found to be recreated, but not remembered
)

// sighting is one document before what the cell knows: it fills in the note and the facts, and adds what is new.
type sighting struct {
	tx    *intake.Tx
	seq   uint64 // of the message
	doc   *eau.Document
	note  *intake.Note
	facts *sicknote.Facts

	document name // the identifier; zero if there is none
	repeated bool // the octets are known
}

// compare applies the table of the package comment. An error says that this node cannot ask its cell or its keys.
func (s *sighting) compare() (err error) {
	if s.doc.Identifier != "" {
		if s.document, err = s.tx.Keys.Blind(sicknote.LabelDocument, []byte(s.doc.Identifier)); err != nil {
			return err
		}
	}
	if err := s.compareOctets(); err != nil {
		return err
	}
	if err := s.compareIdentifier(); err != nil {
		return err
	}
	switch s.doc.Kind {
	case eau.KindCertificate:
		if err := s.meetCancellation(); err != nil {
			return err
		}
		return s.compareContent()
	case eau.KindCancellation:
		return s.cancel()
	case eau.KindUnknown:
	}
	return nil
}

// compareOctets finds duplicates. // KP5-06 (2)
func (s *sighting) compareOctets() error {
	file, err := s.tx.Keys.Blind("eau file", s.doc.Hash[:])
	if err != nil {
		return err
	}
	key := s.key(cell.KindSeen, "file", file)
	value, err := s.get(key, sizeFile)
	if err != nil {
		return err
	}
	if value == nil {
		s.tx.Put(key, number(nil, s.seq))
		return nil
	}
	s.repeated = true
	s.note.Result, s.facts.FirstSeq = Duplicate, binary.BigEndian.Uint64(value)
	return nil
}

// compareIdentifier finds identifiers that were used for other octets. The same octets have the same identifier, so a
// duplicate has nothing to add. // KP5-06 (1)
func (s *sighting) compareIdentifier() error {
	if s.repeated || s.document == (name{}) {
		return nil
	}
	key := s.key(cell.KindSeen, "document", s.document)
	value, err := s.get(key, sizeDocument)
	if err != nil {
		return err
	}
	first, note := s.seq, uint64(0)
	if value != nil {
		first, note = binary.BigEndian.Uint64(value), binary.BigEndian.Uint64(value[8:])
		s.facts.FirstSeq = first
		s.note.Findings = append(s.note.Findings, findingMisuse)
	}
	fresh := note == 0 && s.doc.Kind == eau.KindCertificate
	if fresh {
		note = s.seq
	}
	if value == nil || fresh {
		s.tx.Put(key, number(number(nil, first), note))
	}
	return nil
}

// meetCancellation looks whether a sick note was cancelled before it came, and tells the cancellation that it is here.
func (s *sighting) meetCancellation() error {
	if s.document == (name{}) {
		return nil
	}
	key := sicknote.CancelledKey(s.tx.Compartment, s.document)
	value, err := s.get(key, sizeCancelled)
	if err != nil || value == nil {
		return err
	}
	by, note := binary.BigEndian.Uint64(value), binary.BigEndian.Uint64(value[8:])
	s.facts.CancelledBy = by
	if note == 0 {
		s.tx.Put(key, number(number(nil, by), s.seq))
	}
	return nil
}

// compareContent finds sick notes that were made again, and forgets those that were cancelled meanwhile. // K-11
func (s *sighting) compareContent() error {
	if s.repeated || s.doc.Content.IsZero() {
		return nil
	}
	content, err := s.tx.Keys.Blind("eau content", s.doc.Content[:])
	if err != nil {
		return err
	}
	key := s.key(cell.KindSeen, "content", content)
	value, err := s.get(key, sizeTwin)
	if err != nil {
		return err
	}
	var twins []byte
	for t := range slices.Chunk(value, sizeTwin) {
		gone, err := s.get(sicknote.CancelledKey(s.tx.Compartment, name(t[8:])), sizeCancelled)
		if err != nil {
			return err
		}
		if gone == nil {
			twins = append(twins, t...)
		}
	}
	if len(twins) > 0 {
		s.note.Result, s.facts.FirstSeq = Recreated, binary.BigEndian.Uint64(twins)
	}
	if len(twins) < maxTwins*sizeTwin {
		twins = append(number(twins, s.seq), s.document[:]...)
	}
	s.tx.Put(key, twins)
	return nil
}

// cancel marks the sick note as cancelled, whether it is here or not. The first cancellation of a note stays the one.
func (s *sighting) cancel() error {
	if s.doc.Cancels == "" {
		return nil
	}
	target, err := s.tx.Keys.Blind(sicknote.LabelDocument, []byte(s.doc.Cancels))
	if err != nil {
		return err
	}
	key := sicknote.CancelledKey(s.tx.Compartment, target)
	value, err := s.get(key, sizeCancelled)
	if err != nil {
		return err
	}
	if value != nil {
		s.facts.CancelledBy, s.facts.CancelsSeq = binary.BigEndian.Uint64(value), binary.BigEndian.Uint64(value[8:])
		return nil
	}
	known, err := s.get(s.key(cell.KindSeen, "document", target), sizeDocument)
	if err != nil {
		return err
	}
	if known != nil {
		s.facts.CancelsSeq = binary.BigEndian.Uint64(known[8:])
	}
	s.tx.Put(key, number(number(nil, s.seq), s.facts.CancelsSeq))
	return nil
}

func (s *sighting) key(kind cell.Kind, what string, n name) []byte {
	return cell.Key(cell.ServiceSpace(s.tx.Compartment.Service), kind, []byte(what), n[:])
}

// get returns a value of one or more entries of a size, nil if there is none or if it is damaged.
func (s *sighting) get(key []byte, size int) ([]byte, error) {
	value, err := s.tx.Get(key)
	if errors.Is(err, cell.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(value) == 0 || len(value)%size != 0 || size != sizeTwin && len(value) != size {
		if !slices.Contains(s.note.Findings, findingDamaged) {
			s.note.Findings = append(s.note.Findings, findingDamaged)
		}
		return nil, nil
	}
	return value, nil
}

func number(b []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(b, n) }
