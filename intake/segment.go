package intake

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/querschott/querschott/internal/disk"
)

const (
	maxSegment = 1 << 31 // offsets in records are 32 bits
	scanWindow = 1 << 20
	indexEntry = 36
)

// Copy is one place where the whole journal is kept.
type Copy struct {
	FS  disk.FS
	Dir string
}

// segment is one file of the journal, in every copy.
type segment struct {
	head    segmentHead
	files   []disk.File // by copy; nil where a copy lacks it
	waiting int         // entries not yet delivered; guarded by Journal.mu
	open    bool        // entries may still be added; guarded by Journal.mu
	mending bool        // a copy is being restored; guarded by Journal.mu
}

func segmentName(number uint64) string { return fmt.Sprintf("%016x.seg", number) }

// segmentNumbers lists a directory's segments; files with other names are none of ours.
func segmentNumbers(c Copy) ([]uint64, error) {
	names, err := c.FS.List(c.Dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, name := range names {
		base, ok := strings.CutSuffix(name, ".seg")
		if n, err := strconv.ParseUint(base, 16, 64); ok && err == nil && len(base) == 16 {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

// createSegment preallocates a segment in every copy and makes its name durable.
func createSegment(copies []Copy, head segmentHead) (*segment, error) {
	s := &segment{head: head, files: make([]disk.File, len(copies)), open: true}
	errs := make(chan error, len(copies))
	for i, c := range copies {
		go func() { errs <- createFile(c, head, &s.files[i]) }()
	}
	var err error
	for range copies {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return nil, errors.Join(err, s.remove(copies))
	}
	return s, nil
}

func createFile(c Copy, head segmentHead, into *disk.File) error {
	if err := c.FS.MkdirAll(c.Dir); err != nil {
		return err
	}
	name := filepath.Join(c.Dir, segmentName(head.number))
	f, err := c.FS.Create(name)
	if err != nil {
		return err
	}
	*into = f
	if err := disk.Preallocate(f, head.size); err != nil {
		return fmt.Errorf("couldn't preallocate %s: %w", name, err)
	}
	b := make([]byte, dataStart)
	head.put(b)
	head.put(b[headTwin:])
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return c.FS.SyncDir(c.Dir)
}

// readHead reads a segment's header, or its twin.
func readHead(f disk.File) (segmentHead, error) {
	b := make([]byte, dataStart)
	if _, err := f.ReadAt(b, 0); err != nil {
		return segmentHead{}, fmt.Errorf("couldn't read the segment header: %w", err)
	}
	head, err := parseSegmentHead(b)
	if err != nil {
		return parseSegmentHead(b[headTwin:])
	}
	return head, nil
}

// remove deletes a segment from every copy.
func (s *segment) remove(copies []Copy) error {
	var errs error
	for i, c := range copies {
		if s.files[i] == nil {
			continue
		}
		errs = errors.Join(errs, s.files[i].Close(), c.FS.Remove(filepath.Join(c.Dir, segmentName(s.head.number))))
	}
	return errs
}

func (s *segment) close() error {
	var errs error
	for _, f := range s.files {
		if f != nil {
			errs = errors.Join(errs, f.Close())
		}
	}
	return errs
}

// found is what a scan or an index tells about one entry.
type found struct {
	h   header
	off int64
}

// walk reads one copy of a segment from its beginning and shows every whole record. It returns how many bytes between whole
// records could not be understood.
func walk(f disk.File, head segmentHead, visit func(h header, off int64, body []byte)) (damaged int64, err error) {
	w := window{f: f, size: head.size}
	end := int64(dataStart)
	for off := end; off+headerSize <= head.size; {
		h, body, err := w.record(head, off)
		if errors.Is(err, errNoRecord) || errors.Is(err, errDamaged) {
			off += align
			continue
		}
		if err != nil {
			return 0, err
		}
		damaged += off - end
		visit(h, off, body)
		off += recordSize(int(h.bodyLen))
		end = off
	}
	return damaged, nil
}

// scan lists the entries of one copy that are whole.
func scan(f disk.File, head segmentHead) (entries []found, damaged int64, err error) {
	damaged, err = walk(f, head, func(h header, off int64, _ []byte) {
		if h.kind == kindEntry {
			entries = append(entries, found{h, off})
		}
	})
	return entries, damaged, err
}

// window reads a file forward through one buffer.
type window struct {
	f    disk.File
	size int64
	buf  []byte
	from int64
}

func (w *window) at(off int64, n int) ([]byte, error) {
	if off < w.from || off+int64(n) > w.from+int64(len(w.buf)) {
		want := min(int64(max(n, scanWindow)), w.size-off)
		if want < int64(n) {
			return nil, errNoRecord
		}
		if int64(cap(w.buf)) < want {
			w.buf = make([]byte, want)
		}
		w.buf, w.from = w.buf[:want], off
		if k, err := w.f.ReadAt(w.buf, off); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		} else if k < n {
			w.buf = w.buf[:0]
			return nil, errNoRecord
		} else {
			w.buf = w.buf[:k]
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
	if off+headerSize+int64(h.bodyLen) > w.size {
		return header{}, nil, errDamaged
	}
	if b, err = w.at(off, headerSize+int(h.bodyLen)); err != nil {
		return header{}, nil, err
	}
	if crc32.Checksum(b[headerSize:], castagnoli) != h.bodyCRC {
		return header{}, nil, errDamaged
	}
	return h, b[headerSize:], nil
}

// readRecord reads one record from one copy and verifies it.
func readRecord(f disk.File, head segmentHead, off int64, bodyLen uint32) (header, []byte, error) {
	b := make([]byte, headerSize+int(bodyLen))
	if n, err := f.ReadAt(b, off); n < len(b) {
		return header{}, nil, errors.Join(errDamaged, err)
	}
	h, err := parseHeader(b, head)
	if err != nil || h.bodyLen != bodyLen || crc32.Checksum(b[headerSize:], castagnoli) != h.bodyCRC {
		return header{}, nil, errDamaged
	}
	return h, b, nil
}

// encodeIndex writes the index record of a closed segment.
func encodeIndex(entries []found, head segmentHead) []byte {
	b := make([]byte, headerSize, headerSize+indexEntry*len(entries))
	be := binary.BigEndian
	for _, e := range entries {
		b = be.AppendUint64(b, e.h.seq)
		b = be.AppendUint32(b, uint32(e.off))
		b = be.AppendUint32(b, e.h.bodyLen)
		b = be.AppendUint64(b, uint64(e.h.received))
		b = be.AppendUint32(b, e.h.ik)
		b = append(b, e.h.service, 0, 0, 0, 0, 0, 0, 0)
	}
	h := header{kind: kindIndex, bodyLen: uint32(len(b) - headerSize), bodyCRC: crc32.Checksum(b[headerSize:], castagnoli)}
	h.put(b, head)
	return b
}

// readIndex reads a closed segment's index from one copy.
func readIndex(f disk.File, head segmentHead) ([]found, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size < head.size+headerSize || size > head.size+maxSegment {
		return nil, errNoRecord
	}
	_, b, err := readRecord(f, head, head.size, uint32(size-head.size-headerSize))
	if err != nil {
		return nil, err
	}
	be := binary.BigEndian
	var entries []found
	for b = b[headerSize:]; len(b) >= indexEntry; b = b[indexEntry:] {
		entries = append(entries, found{off: int64(be.Uint32(b[8:])), h: header{
			seq: be.Uint64(b), bodyLen: be.Uint32(b[12:]), received: int64(be.Uint64(b[16:])), ik: be.Uint32(b[24:]),
			service: b[28], kind: kindEntry,
		}})
	}
	return entries, nil
}
