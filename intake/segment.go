package intake

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/querschott/querschott/internal/disk"
)

const maxSegment = 1 << 31 // offsets in records are 32 bits

// Copy is one place where the whole journal is kept.
type Copy struct {
	FS  disk.FS
	Dir string
}

func (c Copy) path(number uint64) string { return filepath.Join(c.Dir, segmentName(number)) }

// segment is one file of the journal, in every copy.
type segment struct {
	head    segmentHead
	places  atomic.Pointer[[]disk.File] // by copy; nil where a copy lacks it. The slice is replaced, never changed
	retired []disk.File                 // files that a restored copy has replaced; guarded by Journal.mu
	waiting int                         // entries not yet delivered; guarded by Journal.mu
	open    bool                        // entries may still be added; guarded by Journal.mu
	mending bool                        // a copy is being restored; guarded by Journal.mu

	// Used only when there is damage.
	searched sync.Once        // guards whole
	whole    map[uint64]entry // see search
	twins    sync.Map         // [16]byte -> []byte, see twin
}

func newSegment(head segmentHead, files []disk.File) *segment {
	s := &segment{head: head}
	s.places.Store(&files)
	return s
}

// files returns the segment's file of each copy, nil where a copy lacks it. It must not be changed.
func (s *segment) files() []disk.File { return *s.places.Load() }

// put gives a copy its file. One goroutine only, or nobody else knows the segment.
func (s *segment) put(i int, f disk.File) {
	files := slices.Clone(s.files())
	files[i] = f
	s.places.Store(&files)
}

func segmentName(number uint64) string { return fmt.Sprintf("%016x.seg", number) }

// segmentNumbers picks the numbers of segments out of a directory; files with other names are none of ours.
func segmentNumbers(names []string) []uint64 {
	var numbers []uint64
	for _, name := range names {
		base, ok := strings.CutSuffix(name, ".seg")
		n, err := strconv.ParseUint(base, 16, 64)
		if ok && err == nil && n > 0 && n <= maxNumber && name == segmentName(n) {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// createSegment preallocates a segment in every copy and makes its name durable.
func createSegment(copies []Copy, head segmentHead) (*segment, error) {
	files := make([]disk.File, len(copies))
	errs := make(chan error, len(copies))
	for i, c := range copies {
		go func() { errs <- createFile(c, head, &files[i]) }()
	}
	var err error
	for range copies {
		err = errors.Join(err, <-errs)
	}
	s := newSegment(head, files)
	s.open = true
	if err != nil {
		return nil, errors.Join(err, s.remove(copies))
	}
	return s, nil
}

// createFile makes a segment in one copy. The header comes last: a file without one holds nothing.
func createFile(c Copy, head segmentHead, into *disk.File) error {
	if err := c.FS.MkdirAll(c.Dir); err != nil {
		return err
	}
	f, err := c.FS.Create(c.path(head.number))
	if err != nil {
		return err
	}
	*into = f
	if err := disk.Preallocate(f, head.size); err != nil {
		return fmt.Errorf("couldn't preallocate %s: %w", c.path(head.number), err)
	}
	if err := writeHead(f, head); err != nil {
		return err
	}
	return c.FS.SyncDir(c.Dir)
}

// writeHead writes a segment's header and its twin.
func writeHead(f disk.File, head segmentHead) error {
	b := make([]byte, dataStart)
	head.put(b)
	head.put(b[headTwin:])
	return writeSync(f, b, 0)
}

// readHead reads a segment's header, or its twin. Whole says that both are undamaged.
func readHead(f disk.File) (head segmentHead, whole bool, err error) {
	b := make([]byte, dataStart)
	if _, err := f.ReadAt(b, 0); err != nil {
		return segmentHead{}, false, fmt.Errorf("couldn't read the segment header: %w", err)
	}
	head, err = parseSegmentHead(b)
	twin, twinErr := parseSegmentHead(b[headTwin:])
	if err != nil {
		return twin, false, twinErr
	}
	return head, twin == head, nil
}

// remove deletes a segment from every copy.
func (s *segment) remove(copies []Copy) error {
	errs := s.close()
	for i, c := range copies {
		if s.files()[i] != nil {
			errs = errors.Join(errs, c.FS.Remove(c.path(s.head.number)))
		}
	}
	return errs
}

func (s *segment) close() error {
	var errs error
	for _, f := range slices.Concat(s.files(), s.retired) {
		if f != nil {
			errs = errors.Join(errs, f.Close())
		}
	}
	return errs
}

// write makes bytes durable in every copy.
func (s *segment) write(buf []byte, off int64) error {
	files := s.files()
	if len(files) == 1 {
		return writeSync(files[0], buf, off)
	}
	errs := make(chan error, len(files))
	for _, f := range files {
		go func() { errs <- writeSync(f, buf, off) }()
	}
	var err error
	for range files {
		err = errors.Join(err, <-errs)
	}
	return err
}

func writeSync(f disk.File, buf []byte, off int64) error {
	if _, err := f.WriteAt(buf, off); err != nil {
		return err
	}
	return f.Sync()
}
