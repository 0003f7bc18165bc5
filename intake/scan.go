package intake

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/seal"
)

const scanWindow = 1 << 20

// walk reads one copy of a segment from its beginning and shows every whole record; a body is valid during the call.
func walk(f disk.File, head segmentHead, visit func(h header, off int64, body []byte)) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	w := window{f: f, size: min(size, head.size)}
	for off := int64(dataStart); off+headerSize <= w.size; {
		h, body, err := w.record(head, off)
		switch {
		case errors.Is(err, errNoRecord) || errors.Is(err, errDamaged):
			off += align
		case err != nil:
			return err
		default:
			visit(h, off, body)
			off += recordSize(int(h.bodyLen))
		}
	}
	return nil
}

// contents is what the whole records of a segment are.
type contents struct {
	entries  map[uint64]entry    // by sequence number
	needs    map[uint64][16]byte // the context of each entry
	contexts map[[16]byte]bool   // that are there
	places   map[int64]bool      // and where their records stand
	settled  int64               // before this offset everything was durable, as the records say
}

func newContents() *contents {
	return &contents{map[uint64]entry{}, map[uint64][16]byte{}, map[[16]byte]bool{}, map[int64]bool{}, dataStart}
}

// scan adds what one copy has.
func (in *contents) scan(f disk.File, head segmentHead) error {
	return walk(f, head, func(h header, off int64, body []byte) {
		e := h.entry(off)
		switch {
		case h.kind == kindContext && len(body) == seal.EncSize:
			in.contexts[h.context], in.places[off] = true, true
		case h.kind == kindEntry && e.plausible(head):
			in.add(e)
			in.needs[e.seq] = h.context
			if int64(h.settled) <= off {
				in.settled = max(in.settled, int64(h.settled))
			}
		}
	})
}

// add takes an entry of one copy; the first copy that has it counts.
func (in *contents) add(e entry) {
	if _, known := in.entries[e.seq]; !known {
		in.entries[e.seq] = e
	}
}

// sorted returns the entries by sequence number. It leaves out those of an interrupted write whose context was not
// written: nobody was promised anything.
func (in *contents) sorted() []entry {
	list := make([]entry, 0, len(in.entries))
	for seq, e := range in.entries {
		if id, ok := in.needs[seq]; ok && !in.contexts[id] && int64(e.off) >= in.settled {
			continue
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.seq, b.seq) })
	return list
}

// window reads a file forward through one buffer.
type window struct {
	f    disk.File
	size int64
	buf  []byte
	from int64
}

// at returns n bytes, valid until the next call; errNoRecord if the file ends before.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off+int64(n) > w.size {
		return nil, errNoRecord
	}
	if off < w.from || off+int64(n) > w.from+int64(len(w.buf)) {
		want := min(int64(max(n, scanWindow)), w.size-off)
		if int64(cap(w.buf)) < want {
			w.buf = make([]byte, want)
		}
		w.buf, w.from = w.buf[:want], off
		k, err := w.f.ReadAt(w.buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			w.buf = w.buf[:0]
			return nil, err
		}
		if w.buf = w.buf[:k]; k < n { // somebody has cut the file
			w.size = off
			return nil, errNoRecord
		}
	}
	return w.buf[off-w.from:][:n], nil
}

// record returns the whole record at an offset; the body is valid until the next call.
func (w *window) record(head segmentHead, off int64) (header, []byte, error) {
	b, err := w.at(off, headerSize)
	if err != nil {
		return header{}, nil, err
	}
	h, err := parseHeader(b, head)
	if err != nil {
		return header{}, nil, err
	}
	if b, err = w.at(off, headerSize+int(h.bodyLen)); err != nil {
		return header{}, nil, err
	}
	if crc32.Checksum(b[headerSize:], castagnoli) != h.bodyCRC {
		return header{}, nil, errDamaged
	}
	return h, b[headerSize:], nil
}

// readRecord reads one record from one copy and verifies it. errDamaged says that the bytes there are not it; any other
// error that they could not be read.
func readRecord(f disk.File, head segmentHead, off int64, bodyLen uint32) (header, []byte, error) {
	if off+headerSize+int64(bodyLen) > head.size {
		return header{}, nil, errDamaged
	}
	b, err := readFull(f, off, headerSize+int(bodyLen))
	if err != nil {
		return header{}, nil, err
	}
	h, err := parseHeader(b, head)
	if err != nil || h.bodyLen != bodyLen || crc32.Checksum(b[headerSize:], castagnoli) != h.bodyCRC {
		return header{}, nil, errDamaged
	}
	return h, b, nil
}

// readFull reads n bytes; a file that ends before is damaged.
func readFull(f disk.File, off int64, n int) ([]byte, error) {
	b := make([]byte, n)
	k, err := f.ReadAt(b, off)
	switch {
	case k == n:
		return b, nil
	case err == nil || errors.Is(err, io.EOF):
		return nil, errDamaged
	default:
		return nil, fmt.Errorf("couldn't read a record: %w", err)
	}
}
