package intake

import (
	"encoding/binary"
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

// readWhole reads a record from the first copy that has it undamaged, and mends the copies before it. errDamaged says that
// no copy has it; any other error that a copy could not be read, so that nobody knows.
func (j *Journal) readWhole(s *segment, off int64, bodyLen uint32, is func(*header) bool) (header, []byte, error) {
	files := s.files()
	var bad []int
	var unknown error
	for i, f := range files {
		if f == nil {
			continue
		}
		h, raw, err := readRecord(f, s.head, off, bodyLen)
		if err == nil && !is(&h) {
			err = errDamaged
		}
		switch {
		case err == nil:
			for _, b := range bad {
				j.mendRecord(s, b, off, raw)
			}
			return h, raw[headerSize:], nil
		case errors.Is(err, errDamaged):
			bad = append(bad, i)
		default:
			j.complain(i, err)
			unknown = errors.Join(unknown, err)
		}
	}
	if unknown != nil {
		return header{}, nil, unknown
	}
	return header{}, nil, errDamaged
}

// complain says once that a copy cannot be read; the others serve.
func (j *Journal) complain(i int, err error) {
	if !j.silent[i].Swap(true) {
		j.cfg.Log.Error("ALARM: a copy of the journal cannot be read; the others are used", "dir", j.cfg.Copies[i].Dir, "err", err)
	}
}

func (j *Journal) mendRecord(s *segment, i int, off int64, raw []byte) {
	err := writeSync(s.files()[i], raw, off)
	j.cfg.Log.Error("a journal record was damaged in one copy", "dir", j.cfg.Copies[i].Dir,
		"segment", segmentName(s.head.number), "offset", off, "mended", err == nil, "err", err)
	if err == nil {
		j.mu.Lock()
		j.stats.Mended++
		j.mu.Unlock()
	}
}

// readEntry reads an entry. If it is not where it should be, because an index was wrong, it is looked for.
func (j *Journal) readEntry(r ref) (header, []byte, error) {
	is := func(h *header) bool { return h.kind == kindEntry && h.seq == r.seq }
	h, body, err := j.readWhole(r.seg, int64(r.off), r.bodyLen, is)
	if !errors.Is(err, errDamaged) {
		return h, body, err
	}
	if e, ok := r.seg.search()[r.seq]; ok {
		return j.readWhole(r.seg, int64(e.off), e.bodyLen, is)
	}
	return h, nil, err
}

// search lists the entries that any copy has whole by reading all of it, once. Only damage makes it necessary.
func (s *segment) search() map[uint64]entry {
	s.searched.Do(func() {
		all := newContents()
		for _, f := range s.files() {
			if f != nil {
				_ = all.scan(f, s.head) // what cannot be read is not found
			}
		}
		s.whole = all.entries
	})
	return s.whole
}

// reader takes entries of one compartment out of the journal, with the encapsulated keys of their contexts at hand.
type reader struct {
	j    *Journal
	c    querschott.Compartment
	keys *seal.Keys
	encs map[[16]byte][]byte
}

func newReader(j *Journal, c querschott.Compartment, keys *seal.Keys) *reader {
	return &reader{j, c, keys, map[[16]byte][]byte{}}
}

// unsealed is an error of the keys about a record that the journal has whole. It carries the version of the keys that the
// record names.
type unsealed struct {
	version uint32
	err     error
}

func (e *unsealed) Error() string { return e.err.Error() }
func (e *unsealed) Unwrap() error { return e.err }

// open reads an entry and unseals it.
func (rd *reader) open(r ref) (m Message, version uint32, err error) {
	h, body, err := rd.j.readEntry(r)
	if err != nil {
		return m, 0, err
	}
	version = binary.BigEndian.Uint32(h.context[:])
	enc, err := rd.encapsulation(r.seg, h)
	if err != nil {
		return m, version, err
	}
	plain, err := rd.keys.Open(nil, enc, h.context, h.counter, h.aad(nil), body)
	if err != nil {
		return m, version, &unsealed{version, fmt.Errorf("couldn't unseal entry %d of %s: %w", r.seq, rd.c, err)}
	}
	a, err := parsePlain(plain)
	if err != nil {
		return m, version, errors.Join(errDamaged, err)
	}
	if BindingOf(a.Sender, a.MessageID) != h.binding {
		return m, version, fmt.Errorf("%w: entry %d is bound to another message", errDamaged, r.seq)
	}
	a.Compartment, a.Received = rd.c, fromMicro(h.received)
	return Message{Arrival: a, Seq: h.seq, Binding: h.binding}, version, nil
}

// encapsulation finds an entry's context record, or its twin.
func (rd *reader) encapsulation(s *segment, h header) ([]byte, error) {
	if enc, ok := rd.encs[h.context]; ok {
		return enc, nil
	}
	is := func(c *header) bool { return c.kind == kindContext && c.context == h.context }
	_, enc, err := rd.j.readWhole(s, int64(h.contextOff), seal.EncSize, is)
	if errors.Is(err, errDamaged) {
		enc, err = s.twin(h.context)
	}
	if err == nil {
		rd.encs[h.context] = enc
	}
	return enc, err
}

// twin looks through the whole segment for the other record of a context, once.
func (s *segment) twin(id [16]byte) ([]byte, error) {
	if enc, ok := s.twins.Load(id); ok {
		return enc.([]byte), nil
	}
	for _, f := range s.files() {
		if f == nil {
			continue
		}
		if enc := findContext(f, s.head, id); enc != nil {
			s.twins.Store(id, enc)
			return enc, nil
		}
	}
	return nil, errDamaged
}

// findContext returns a context's encapsulated key, nil if the copy does not have it.
func findContext(f disk.File, head segmentHead, id [16]byte) (enc []byte) {
	err := walk(f, head, func(h header, _ int64, body []byte) {
		if h.kind == kindContext && h.context == id && len(body) == seal.EncSize {
			enc = slices.Clone(body)
		}
	})
	if err != nil {
		return nil
	}
	return enc
}

// peek returns up to n entries that wait, oldest first, of at most size bytes together but at least one. It leaves out
// those up to the sequence number after.
func (j *Journal) peek(c querschott.Compartment, after uint64, n int, size int64) []ref {
	j.mu.Lock()
	defer j.mu.Unlock()
	q := j.queues[c]
	if q == nil {
		return nil
	}
	waiting := q.refs[q.head:]
	from, _ := slices.BinarySearchFunc(waiting, after+1, func(r ref, seq uint64) int {
		if r.seq < seq {
			return -1
		}
		return 1
	})
	var list []ref
	for _, r := range waiting[from:] {
		if len(list) > 0 && (len(list) == n || size < int64(r.bodyLen)) {
			break
		}
		list = append(list, r)
		size -= int64(r.bodyLen)
	}
	return list
}

// delivered forgets the entries of a compartment up to and including a sequence number, and returns how many they were:
// the cell has them.
func (j *Journal) delivered(c querschott.Compartment, upTo uint64) (n int) {
	j.mu.Lock()
	trim := false
	for q := j.queues[c]; q != nil && q.len() > 0 && q.refs[q.head].seq <= upTo; n++ {
		s := q.pop().seg
		s.waiting--
		trim = trim || s.waiting == 0 && !s.open
	}
	j.mu.Unlock()
	if trim {
		j.trim()
	}
	return n
}

// quarantine puts the bytes of a record that no copy has whole aside.
func (j *Journal) quarantine(c querschott.Compartment, r ref) error {
	name := fmt.Sprintf("%s-%s-%d", c.Insurer, c.Service, r.seq)
	if err := j.putAside(r.seg, name, int64(r.off), headerSize+int(r.bodyLen)); err != nil {
		return fmt.Errorf("couldn't put a damaged message aside: %w", err)
	}
	return nil
}

// putAside writes n bytes of a segment into the quarantine, as every copy has them. What cannot be read is left out.
func (j *Journal) putAside(s *segment, name string, off int64, n int) error {
	q := j.cfg.Quarantine
	if err := q.FS.MkdirAll(q.Dir); err != nil {
		return err
	}
	for i, f := range s.files() {
		if f == nil {
			continue
		}
		raw := make([]byte, n)
		k, _ := f.ReadAt(raw, off) // it cannot get worse
		if err := disk.WriteFile(q.FS, filepath.Join(q.Dir, fmt.Sprintf("%s.copy%d", name, i)), raw[:k]); err != nil {
			return err
		}
	}
	return nil
}

// countDamaged counts and shows what was put aside, once that is settled.
func (j *Journal) countDamaged(c querschott.Compartment, seqs []uint64) {
	if len(seqs) == 0 {
		return
	}
	j.mu.Lock()
	j.stats.Quarantined += uint64(len(seqs))
	j.mu.Unlock()
	j.cfg.Log.Error("ALARM: accepted messages are damaged in every copy of the journal; their bytes were put aside",
		"compartment", c.String(), "messages", len(seqs), "first", seqs[0], "dir", j.cfg.Quarantine.Dir,
		"fix", "restore the journal's segment from a backup or ask the sender for the message")
}
