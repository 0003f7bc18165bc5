package ledger

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger/tile"
)

// scratch is memory that filling a request needs.
type scratch struct {
	plain   []byte
	aad     []byte
	persons []querschott.KVNR
	random  [32 * saltSize]byte
	salts   int // that are left in random
}

// salt returns one that was never used.
func (s *scratch) salt() []byte {
	if s.salts == 0 {
		_, _ = rand.Read(s.random[:]) // never fails: the process ends before it would
		s.salts = len(s.random) / saltSize
	}
	s.salts--
	return s.random[s.salts*saltSize:][:saltSize]
}

var scratches = sync.Pool{New: func() any { return &scratch{} }}

func newRequest() any { return &request{done: make(chan error, 1)} }

func (l *Ledger) recycle(r *request) {
	if cap(r.buf) > 64<<10 {
		return
	}
	clear(r.items)
	r.buf, r.items, r.receipts = r.buf[:0], r.items[:0], nil
	l.requests.Put(r)
}

// fill prepares entries for the writer.
func (l *Ledger) fill(r *request, entries []Entry) error {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	now := l.cfg.Now().UTC()
	for i := range entries {
		if err := l.fillOne(r, s, &entries[i], now); err != nil {
			return err
		}
	}
	if len(entries) > batchCap || r.frameBytes()+frameHeader+frameTail > l.wal.room() {
		return fmt.Errorf("couldn't put %d entries into one commit: %w", len(entries), ErrTooLarge)
	}
	r.receipts = make([]Receipt, len(entries))
	return nil
}

func (l *Ledger) fillOne(r *request, s *scratch, e *Entry, now time.Time) error {
	if err := e.check(); err != nil {
		return fmt.Errorf("couldn't record an entry: %w", err)
	}
	g, err := l.logOf(e.Compartment.Insurer, now)
	if err != nil {
		return fmt.Errorf("couldn't record an entry: %w", err)
	}
	id := g.id
	keys, err := g.keys(&l.cfg)
	if err != nil {
		return err
	}
	at := e.At
	if at.IsZero() {
		at = now
	}
	s.persons = e.persons(s.persons)
	s.plain = appendPayload(append(s.plain[:0], s.salt()...), e, s.persons)
	defer func() { clear(s.plain); clear(s.persons) }()
	if len(s.plain) > maxPayload {
		return fmt.Errorf("couldn't record a payload of %d bytes: %w", len(s.plain), ErrTooLarge)
	}
	leaf := Leaf{
		Kind: e.Kind, Service: e.Compartment.Service, Action: e.Action, Data: e.Data, Outcome: e.Outcome,
		Reason: e.Reason, Role: e.Role, Purpose: e.Purpose, Insurer: e.Compartment.Insurer, Time: at,
		Records: e.Records, Epoch: e.Epoch, Stages: e.Stages, Commit: commitment(s.plain),
	}
	h := keys.pseudonyms.get()
	leaf.Actor, leaf.Credential = keys.named(h, ofActor, string(e.Actor)), keys.named(h, ofCredential, string(e.Credential))
	leaf.Person, leaf.Request = h.persons(s.persons), h.of(ofRequest, e.RequestID)
	keys.pseudonyms.put(h)

	r.buf = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(r.buf, id.owner), id.year)
	r.buf = append(r.buf, 0, 0) // the sealed payload's length
	begin := len(r.buf)
	var b [LeafSize]byte
	leaf.put(&b)
	r.buf = append(r.buf, b[:]...)
	s.aad = payloadAAD(s.aad[:0], g.origin, b[:])
	r.buf = keys.box.Seal(r.buf, s.aad, s.plain)
	binary.BigEndian.PutUint16(r.buf[begin-2:], uint16(len(r.buf)-begin-LeafSize))
	r.items = append(r.items, item{log: g, hash: tile.Leaf(b[:]), at: begin})
	return nil
}

// payloadAAD binds a sealed payload to its log and leaf.
func payloadAAD(b []byte, origin string, leaf []byte) []byte {
	return append(append(append(b, origin...), '\n'), leaf...)
}

// check refuses what a leaf can't hold.
func (e *Entry) check() error {
	if e.Kind == 0 || int(e.Kind) >= len(kindNames) {
		return errors.New("it has no kind")
	}
	if int(e.Action) >= len(actionNames) || int(e.Data) >= len(dataNames) || int(e.Outcome) >= len(outcomeNames) ||
		int(e.Reason) >= len(reasonNames) || int(e.Purpose) >= len(purposeNames) {
		return errors.New("one of its words is unknown")
	}
	if roleCode(e.Role) < 0 {
		return errors.New("its role is unknown")
	}
	c := e.Compartment
	if c.Service != "" && c.Service.Code() == 0 {
		return errors.New("its service is unknown")
	}
	return nil
}

// logOf returns the log that an insurer's entries of a time go to. It makes none for who cannot be an insurer.
func (l *Ledger) logOf(insurer querschott.IK, now time.Time) (*log, error) {
	id := logID{platform, uint16(now.Year())}
	if insurer == "" {
		return l.log(id), nil
	}
	id.owner = insurer.Number()
	l.mu.RLock()
	g := l.logs[id]
	l.mu.RUnlock()
	if g != nil && g.insurer == insurer {
		return g, nil
	}
	if _, err := querschott.ParseIK(string(insurer)); err != nil {
		return nil, err
	}
	if id.owner <= commits {
		return nil, errors.New("its insurer is nobody")
	}
	return l.log(id), nil
}
