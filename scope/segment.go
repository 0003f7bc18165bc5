package scope

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"sync"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// A segment file is
//
//	"QSSCOPE1"
//	blocks and sparse index of each section
//	table    JSON
//	uint32   length of the table, big endian
//	32 bytes HMAC-SHA-256 of the table
//
// The table has the digests of all sparse indexes, and these have those of all blocks: nothing of the file is believed that
// the MAC does not cover.
const (
	segmentMagic = "QSSCOPE1"
	maxTable     = 64 << 20
	macSize      = sha256.Size
)

// table says what a segment file holds.
type table struct {
	Rounds []roundRef `json:"rounds"` // one after another
	Logs   []shelf    `json:"logs"`
}

// roundRef is a round, and where in the platform's log its statement stands.
type roundRef struct {
	N      uint64 `json:"n"`
	Since  int64  `json:"since"`
	Until  int64  `json:"until"`
	Origin string `json:"origin"`
	Index  uint64 `json:"index"`
}

// shelf is what a segment file has of one log, and how far the log's books were when it was written.
type shelf struct {
	Origin      string        `json:"origin"`
	Insurer     querschott.IK `json:"insurer,omitempty"`
	Year        int           `json:"year"`
	To          uint64        `json:"to"`
	Persons     filed         `json:"persons"`
	Credentials filed         `json:"credentials"`
	Segment     []byte        `json:"segment,omitempty"` // the log's newest, after the file's last round
	Sections    [2]section    `json:"sections"`          // by order
}

type filed struct {
	Rows   int    `json:"rows"`
	Digest []byte `json:"digest,omitempty"`
}

type section struct {
	Events int    `json:"events"`
	Base   int64  `json:"base"` // the first second
	Off    int64  `json:"off"`  // of the blocks
	Len    int64  `json:"len"`  // of the blocks
	Index  int64  `json:"index"`
	Sum    []byte `json:"sum,omitempty"`
}

// segment is an open segment file.
type segment struct {
	path  string
	file  disk.File
	table table
	size  int64

	mu      sync.Mutex           // guards indexes
	indexes map[sectionKey]index // that somebody has needed
}

type sectionKey struct {
	log   int
	order order
}

type index []block

func (s *segment) first() uint64 { return s.table.Rounds[0].N }

func (s *segment) last() uint64 { return s.table.Rounds[len(s.table.Rounds)-1].N }

func (s *segment) since() int64 { return s.table.Rounds[0].Since }

func (s *segment) until() int64 { return s.table.Rounds[len(s.table.Rounds)-1].Until }

// newest returns the newest segment of each log after the file's last round.
func (s *segment) newest() newest {
	n := newest{}
	for i := range s.table.Logs {
		if h := &s.table.Logs[i]; len(h.Segment) > 0 {
			n[h.Origin] = h.Segment
		}
	}
	return n
}

// segmentName sorts as the rounds do.
func segmentName(dir string, first, last uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%012d-%012d.seg", first, last))
}

// segmentWriter writes a segment file, log by log.
type segmentWriter struct {
	fs    disk.FS
	path  string
	file  disk.File
	off   int64
	table table
}

func newSegment(fsys disk.FS, dir string, rounds []roundRef) (*segmentWriter, error) {
	w := &segmentWriter{fs: fsys, path: segmentName(dir, rounds[0].N, rounds[len(rounds)-1].N), table: table{Rounds: rounds}}
	var err error
	if w.file, err = fsys.Create(w.path + ".tmp"); err != nil {
		return nil, err
	}
	return w, w.write([]byte(segmentMagic))
}

func (w *segmentWriter) write(b []byte) error {
	_, err := w.file.WriteAt(b, w.off)
	w.off += int64(len(b))
	return err
}

// log writes one log's events in both orders. It sorts them in place.
func (w *segmentWriter) log(s shelf, events []event) error {
	for o := byCredential; o <= byPerson; o++ {
		o.sort(events)
		list := events
		if o == byPerson {
			list = events[sort.Search(len(events), func(i int) bool { return events[i].person > 0 }):]
		}
		e := encoder{order: o, off: w.off}
		if len(list) > 0 {
			e.base = slices.MinFunc(list, func(x, y event) int { return int(x.second - y.second) }).second
		}
		for i := range list {
			e.add(&list[i])
		}
		e.end()
		blocks := int64(len(e.out))
		out := appendIndex(e.out, e.blocks)
		sum := sha256.Sum256(out[blocks:])
		s.Sections[o] = section{Events: len(list), Base: e.base, Off: w.off, Len: blocks, Index: int64(len(out)) - blocks, Sum: sum[:]}
		if err := w.write(out); err != nil {
			return err
		}
	}
	w.table.Logs = append(w.table.Logs, s)
	return nil
}

// finish makes the file durable under its name and returns it open.
func (w *segmentWriter) finish(key []byte) (*segment, error) {
	b, err := json.Marshal(w.table)
	if err != nil {
		return nil, err
	}
	mac := macOf(key, b)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(b))), mac...)
	if err := w.write(b); err != nil {
		return nil, err
	}
	if err := w.file.Sync(); err != nil {
		return nil, err
	}
	if err := w.fs.Rename(w.path+".tmp", w.path); err != nil {
		return nil, err
	}
	if err := w.fs.SyncDir(filepath.Dir(w.path)); err != nil {
		return nil, err
	}
	return &segment{path: w.path, file: w.file, table: w.table, size: w.off, indexes: map[sectionKey]index{}}, nil
}

// abandon removes what was written.
func (w *segmentWriter) abandon() error {
	return errors.Join(w.file.Close(), w.fs.Remove(w.path+".tmp"))
}

func macOf(key, b []byte) []byte {
	m := hmac.New(sha256.New, key)
	_, _ = m.Write([]byte("querschott scope segments v1\n"))
	_, _ = m.Write(b)
	return m.Sum(nil)
}

var errSegment = errors.New("a segment file is not what was written")

// openSegment opens a segment file and reads its table.
func openSegment(fsys disk.FS, path string, key []byte) (s *segment, err error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("couldn't open segments %s: %w", path, err), f.Close())
		}
	}()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	t, err := readTable(f, size, key)
	if err != nil {
		return nil, err
	}
	s = &segment{path: path, file: f, table: *t, size: size, indexes: map[sectionKey]index{}}
	if filepath.Base(path) != filepath.Base(segmentName("", s.first(), s.last())) {
		return nil, fmt.Errorf("%w: it is another round's", errSegment)
	}
	return s, nil
}

func readTable(f disk.File, size int64, key []byte) (*table, error) {
	tail := make([]byte, 4+macSize)
	if size < int64(len(segmentMagic)+len(tail)) {
		return nil, errSegment
	}
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(tail))
	end := size - int64(len(tail))
	if n > maxTable || n > end-int64(len(segmentMagic)) {
		return nil, errSegment
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, end-n); err != nil {
		return nil, err
	}
	if !hmac.Equal(macOf(key, b), tail[4:]) {
		return nil, errSegment
	}
	return parseTable(b, end-n)
}

// parseTable reads a table whose sections lie before an offset.
func parseTable(b []byte, end int64) (*table, error) {
	t := &table{}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(t); err != nil || len(t.Rounds) == 0 {
		return nil, errSegment
	}
	for i, r := range t.Rounds {
		if r.Since > r.Until || i > 0 && (r.N != t.Rounds[i-1].N+1 || r.Since != t.Rounds[i-1].Until) {
			return nil, errSegment
		}
	}
	for i := range t.Logs {
		for _, c := range t.Logs[i].Sections {
			if c.Off < 0 || c.Len < 0 || c.Index < 0 || c.Events < 0 || c.Base < 0 || c.Off > end || c.Len > end || c.Index > end || c.Off+c.Len+c.Index > end {
				return nil, errSegment
			}
		}
	}
	return t, nil
}

// index returns the sparse index of one section.
func (s *segment) index(k sectionKey) (index, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x, ok := s.indexes[k]; ok {
		return x, nil
	}
	c := &s.table.Logs[k.log].Sections[k.order]
	b := make([]byte, c.Index)
	if _, err := s.file.ReadAt(b, c.Off+c.Len); err != nil && len(b) > 0 {
		return nil, fmt.Errorf("%w: %w", errSegment, err)
	}
	if sum := sha256.Sum256(b); !bytes.Equal(sum[:], c.Sum) {
		return nil, errSegment
	}
	blocks, err := parseIndex(b, c.Off)
	if err != nil {
		return nil, err
	}
	s.indexes[k] = blocks
	return blocks, nil
}

// readAhead is how much is read at once, in bytes.
const readAhead = 256 << 10

// scan calls fn with blocks of one log that hold all of major in [from, to). The first and the last of them may hold others too.
// What fn gets is valid during the call.
func (s *segment) scan(k sectionKey, major uint32, from, to int64, fn func(*reader) error) error {
	blocks, err := s.index(k)
	if err != nil {
		return err
	}
	// The first block that may hold it is the one before the first that begins at or behind its beginning.
	lo := sort.Search(len(blocks), func(i int) bool { return !blocks[i].before(major, from) })
	hi := sort.Search(len(blocks), func(i int) bool { return !blocks[i].before(major, to) })
	return s.read(k, blocks[max(lo-1, 0):hi], fn)
}

func (b *block) before(major uint32, second int64) bool {
	return b.major < major || b.major == major && b.second < second
}

// all appends all events of one log.
func (s *segment) all(k sectionKey, list []event) ([]event, error) {
	blocks, err := s.index(k)
	if err != nil {
		return list, err
	}
	err = s.read(k, blocks, func(r *reader) (err error) {
		list, err = r.rest(list)
		return err
	})
	return list, err
}

// read calls fn with one block after another, each of which is what was written.
func (s *segment) read(k sectionKey, blocks []block, fn func(*reader) error) error {
	base := s.table.Logs[k.log].Sections[k.order].Base
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for len(blocks) > 0 {
		n, size := 0, 0
		for n < len(blocks) && (n == 0 || size+blocks[n].len <= readAhead) {
			size += blocks[n].len
			n++
		}
		b := slices.Grow((*buf)[:0], size)[:size]
		*buf = b
		if _, err := s.file.ReadAt(b, blocks[0].off); err != nil {
			return fmt.Errorf("%w: %w", errSegment, err)
		}
		for i := range blocks[:n] {
			one := b[:blocks[i].len]
			b = b[blocks[i].len:]
			if digest(one) != blocks[i].sum {
				return errSegment
			}
			if err := fn(&reader{b: one, order: k.order, base: base}); err != nil {
				return err
			}
		}
		blocks = blocks[n:]
	}
	return nil
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (s *segment) close() error { return s.file.Close() }
