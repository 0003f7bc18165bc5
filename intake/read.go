package intake

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/seal"
)

// Message is an arrival taken out of the journal again.
type Message struct {
	Arrival
	Seq     uint64
	Binding Binding
}

// files returns a segment's files as they are at this moment; mend may add some.
func (j *Journal) files(s *segment) []disk.File {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]disk.File(nil), s.files...)
}

// readWhole reads a record from the first copy that has it undamaged, and mends the copies before it.
func (j *Journal) readWhole(r ref) (header, []byte, error) {
	files := j.files(r.seg)
	var bad []int
	for i, f := range files {
		if f == nil {
			continue
		}
		h, raw, err := readRecord(f, r.seg.head, r.off, r.bodyLen)
		if err != nil {
			bad = append(bad, i)
			continue
		}
		for _, b := range bad {
			j.mendRecord(files[b], b, r, raw)
		}
		return h, raw[headerSize:], nil
	}
	return header{}, nil, errDamaged
}

func (j *Journal) mendRecord(f disk.File, copyNumber int, r ref, raw []byte) {
	err := writeSync(f, raw, r.off)
	j.cfg.Log.Error("a journal record was damaged in one copy", "dir", j.cfg.Copies[copyNumber].Dir,
		"segment", segmentName(r.seg.head.number), "offset", r.off, "mended", err == nil, "err", err)
	if err == nil {
		j.mu.Lock()
		j.stats.Mended++
		j.mu.Unlock()
	}
}

// open reads an entry and unseals it.
func (j *Journal) open(r ref, c querschott.Compartment, keys *seal.Keys) (Message, error) {
	h, body, err := j.readWhole(r)
	if err != nil {
		return Message{}, err
	}
	enc, err := j.encapsulation(r.seg, h)
	if err != nil {
		return Message{}, err
	}
	plain, err := keys.Open(nil, enc, h.context, h.counter, h.aad(), body)
	if err != nil {
		return Message{}, fmt.Errorf("couldn't unseal entry %d of %s: %w", r.seq, c, err)
	}
	a, err := parsePlain(plain)
	if err != nil {
		return Message{}, errors.Join(errDamaged, err)
	}
	if BindingOf(a.Sender, a.MessageID) != h.binding {
		return Message{}, fmt.Errorf("%w: entry %d is bound to another message", errDamaged, r.seq)
	}
	a.Compartment, a.Received = c, fromMicro(h.received)
	return Message{Arrival: a, Seq: h.seq, Binding: h.binding}, nil
}

// encapsulation finds an entry's context record, or its twin.
func (j *Journal) encapsulation(s *segment, h header) ([]byte, error) {
	at := ref{seg: s, off: int64(h.contextOff), bodyLen: seal.EncSize}
	c, enc, err := j.readWhole(at)
	if err == nil && c.kind == kindContext && c.context == h.context {
		return enc, nil
	}
	for _, f := range j.files(s) {
		if f == nil {
			continue
		}
		if enc := findContext(f, s.head, h.context); enc != nil {
			return enc, nil
		}
	}
	return nil, errDamaged
}

// findContext looks through a whole segment; only damage makes it necessary.
func findContext(f disk.File, head segmentHead, id [16]byte) (enc []byte) {
	_, err := walk(f, head, func(h header, _ int64, body []byte) {
		if h.kind == kindContext && h.context == id && len(body) == seal.EncSize {
			enc = slices.Clone(body)
		}
	})
	if err != nil {
		return nil
	}
	return enc
}

// peek returns up to n entries that wait, oldest first, of at most size bytes together but at least one.
func (j *Journal) peek(c querschott.Compartment, n int, size int64) []ref {
	j.mu.Lock()
	defer j.mu.Unlock()
	q := j.queues[c]
	if q == nil {
		return nil
	}
	var list []ref
	for _, r := range q.refs[q.head:] {
		if len(list) > 0 && (len(list) == n || size < int64(r.bodyLen)) {
			break
		}
		list = append(list, r)
		size -= int64(r.bodyLen)
	}
	return list
}

// delivered forgets the n oldest entries of a compartment.
func (j *Journal) delivered(c querschott.Compartment, n int) {
	j.mu.Lock()
	q := j.queues[c]
	trim := false
	for range n {
		s := q.pop().seg
		s.waiting--
		trim = trim || s.waiting == 0 && !s.open
	}
	j.mu.Unlock()
	if trim {
		j.trim()
	}
}

// skip forgets the entries up to and including a sequence number: the cell has them.
func (j *Journal) skip(c querschott.Compartment, upTo uint64) int {
	j.mu.Lock()
	n := 0
	if q := j.queues[c]; q != nil {
		for _, r := range q.refs[q.head:] {
			if r.seq > upTo {
				break
			}
			n++
		}
	}
	j.mu.Unlock()
	if n > 0 {
		j.delivered(c, n)
	}
	return n
}

// quarantine puts the bytes of a record that no copy has whole aside, as every copy has them.
func (j *Journal) quarantine(c querschott.Compartment, r ref) error {
	q := j.cfg.Quarantine
	if err := q.FS.MkdirAll(q.Dir); err != nil {
		return err
	}
	for i, f := range j.files(r.seg) {
		if f == nil {
			continue
		}
		raw := make([]byte, headerSize+int(r.bodyLen))
		n, readErr := f.ReadAt(raw, r.off)
		name := filepath.Join(q.Dir, fmt.Sprintf("%s-%s-%d.copy%d", c.Insurer, c.Service, r.seq, i))
		if err := disk.WriteFile(q.FS, name, raw[:n]); err != nil {
			return errors.Join(err, readErr)
		}
	}
	j.mu.Lock()
	j.stats.Quarantined++
	j.mu.Unlock()
	j.cfg.Log.Error("ALARM: an accepted message is damaged in every copy of the journal; its bytes were put aside",
		"compartment", c.String(), "seq", r.seq, "dir", q.Dir, "fix", "restore the journal's segment from a backup or ask the sender for the message")
	return nil
}
