package intake

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// recover reads what the copies hold. Every segment that was there stays as it is.
func (j *Journal) recover() error {
	present := map[uint64]bool{}
	for _, c := range j.cfg.Copies {
		if err := c.FS.MkdirAll(c.Dir); err != nil {
			return fmt.Errorf("couldn't make %s: %w", c.Dir, err)
		}
		numbers, err := segmentNumbers(c)
		if err != nil {
			return fmt.Errorf("couldn't list %s: %w", c.Dir, err)
		}
		for _, n := range numbers {
			present[n] = true
			j.last = max(j.last, n)
		}
	}
	numbers := make([]uint64, 0, len(present))
	for n := range present {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		if err := j.recoverSegment(n); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) recoverSegment(number uint64) error {
	s := &segment{files: make([]disk.File, len(j.cfg.Copies))}
	for i, c := range j.cfg.Copies {
		f, err := c.FS.Open(filepath.Join(c.Dir, segmentName(number)))
		if err != nil {
			continue // missing here; mend restores it
		}
		head, err := readHead(f)
		if err != nil || head.number != number {
			// A file that was being made has no header yet. One that had entries has two.
			j.cfg.Log.Warn("a journal file has no valid header", "file", filepath.Join(c.Dir, segmentName(number)), "err", err)
			if err := f.Close(); err != nil {
				return err
			}
			continue
		}
		if j.id == (journalID{}) {
			j.id = head.journal
		}
		if head.journal != j.id {
			return fmt.Errorf("%w: %s belongs to another journal; put the copies that belong together into intake.copies",
				querschott.ErrHalt, filepath.Join(c.Dir, segmentName(number)))
		}
		s.head, s.files[i] = head, f
	}
	if s.head.number == 0 {
		return nil
	}
	entries, err := j.entriesOf(s)
	if err != nil {
		return err
	}
	for _, e := range entries {
		c, err := e.h.compartment()
		if err != nil {
			return fmt.Errorf("couldn't place entry %d: %w", e.h.seq, err)
		}
		j.queueOf(c).push(ref{e.h.seq, s, e.off, e.h.bodyLen, e.h.received})
		s.waiting++
	}
	j.segments[number] = s
	return nil
}

// entriesOf takes the entries from the index, or scans every copy and takes what any of them has.
func (j *Journal) entriesOf(s *segment) ([]found, error) {
	for _, f := range s.files {
		if f == nil {
			continue
		}
		if entries, err := readIndex(f, s.head); err == nil {
			return entries, nil
		}
	}
	union := map[uint64]found{}
	for i, f := range s.files {
		if f == nil {
			continue
		}
		entries, damaged, err := scan(f, s.head)
		if err != nil {
			j.cfg.Log.Error("couldn't read a copy of the journal", "dir", j.cfg.Copies[i].Dir, "segment", segmentName(s.head.number), "err", err)
			continue
		}
		if damaged > 0 {
			j.cfg.Log.Error("a copy of the journal has damaged records", "dir", j.cfg.Copies[i].Dir,
				"segment", segmentName(s.head.number), "bytes", damaged)
		}
		for _, e := range entries {
			union[e.h.seq] = e
		}
	}
	entries := make([]found, 0, len(union))
	for _, e := range union {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b found) int { return cmp.Compare(a.h.seq, b.h.seq) })
	j.writeIndex(s, entries)
	return entries, nil
}

// writeIndex writes a closed segment's index. It is a cache: an error costs a scan at the next start.
func (j *Journal) writeIndex(s *segment, entries []found) {
	index := encodeIndex(entries, s.head)
	for i, f := range s.files {
		if f == nil {
			continue
		}
		if _, err := f.WriteAt(index, s.head.size); err != nil {
			j.cfg.Log.Warn("couldn't write the index of a journal segment; the next start will scan it",
				"dir", j.cfg.Copies[i].Dir, "err", err)
		}
	}
}

// queueOf returns a compartment's queue; the caller holds j.mu, or nobody else knows the journal yet.
func (j *Journal) queueOf(c querschott.Compartment) *queue {
	q := j.queues[c]
	if q == nil {
		q = &queue{}
		j.queues[c] = q
	}
	return q
}

// trim removes segments that nobody waits for. The highest stays: numbers must not start again.
func (j *Journal) trim() {
	j.mu.Lock()
	var gone []*segment
	for n, s := range j.segments {
		if j.frozen == 0 && !s.open && s.waiting == 0 && n != j.last && !s.mending {
			gone = append(gone, s)
			delete(j.segments, n)
		}
	}
	j.mu.Unlock()
	for _, s := range gone {
		if err := s.remove(j.cfg.Copies); err != nil {
			j.cfg.Log.Warn("couldn't remove a delivered journal segment; the next start tries again", "err", err)
		}
	}
}

// mend gives every copy the segments that it lacks.
func (j *Journal) mend() {
	j.mu.Lock()
	var todo []*segment
	for _, s := range j.segments {
		if slices.Contains(s.files, nil) {
			s.mending = true
			todo = append(todo, s)
		}
	}
	j.mu.Unlock()
	for _, s := range todo {
		select {
		case <-j.stop:
			return
		default:
		}
		if err := j.mendSegment(s); err != nil {
			j.cfg.Log.Error("couldn't restore a segment to a copy of the journal", "segment", segmentName(s.head.number), "err", err)
		}
		j.mu.Lock()
		s.mending = false
		j.mu.Unlock()
	}
	if len(todo) > 0 {
		j.trim()
	}
}

func (j *Journal) mendSegment(s *segment) error {
	from := slices.IndexFunc(s.files, func(f disk.File) bool { return f != nil })
	for i, c := range j.cfg.Copies {
		if s.files[i] != nil {
			continue
		}
		name := filepath.Join(c.Dir, segmentName(s.head.number))
		f, err := copyFile(c, name, s.files[from])
		if err != nil {
			return err
		}
		j.mu.Lock()
		s.files[i] = f
		j.stats.Mended++
		j.mu.Unlock()
		j.cfg.Log.Info("restored a segment to a copy of the journal", "file", name)
	}
	return nil
}

func copyFile(c Copy, name string, from disk.File) (disk.File, error) {
	size, err := from.Size()
	if err != nil {
		return nil, err
	}
	to, err := c.FS.Create(name + ".tmp")
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size && err == nil; off += int64(len(buf)) {
		n, readErr := from.ReadAt(buf, off)
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			err = readErr
			break
		}
		_, err = to.WriteAt(buf[:n], off)
	}
	if err == nil {
		err = to.Sync()
	}
	if err == nil {
		err = c.FS.Rename(name+".tmp", name)
	}
	if err == nil {
		err = c.FS.SyncDir(c.Dir)
	}
	if err != nil {
		return nil, errors.Join(err, to.Close(), c.FS.Remove(name+".tmp"))
	}
	return to, nil
}
