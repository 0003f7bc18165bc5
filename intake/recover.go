package intake

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/seal"
)

// remains is what a start finds of one segment, before it is trusted.
type remains struct {
	number uint64
	files  []disk.File    // by copy; nil: missing or unreadable
	heads  []*segmentHead // by copy; nil: no valid header
	torn   []bool         // by copy: one of the two headers is damaged
}

// recover reads what the copies hold. Every entry that was there stays where it is.
func (j *Journal) recover() (err error) {
	numbers, err := j.list()
	if err != nil {
		return err
	}
	var all []*remains
	defer func() {
		if err != nil {
			for _, r := range all {
				err = errors.Join(err, newSegment(segmentHead{}, r.files).close())
			}
		}
	}()
	for _, n := range numbers {
		r := j.inspect(n)
		all = append(all, r)
		if err := j.identify(r); err != nil {
			return err
		}
	}
	for _, r := range all {
		head, err := j.headOf(r)
		if err != nil {
			return err
		}
		if head == nil {
			continue
		}
		if err := j.recoverSegment(newSegment(*head, r.files)); err != nil {
			return err
		}
	}
	return nil
}

// list returns the numbers of the segments of all copies, ascending. A copy that cannot be read is not fatal: what was
// acknowledged is in the others too, and accepting waits until it is back.
func (j *Journal) list() ([]uint64, error) {
	present := map[uint64]bool{}
	var errs []error
	for _, c := range j.cfg.Copies {
		names, err := enter(c)
		if err != nil {
			errs = append(errs, fmt.Errorf("couldn't read %s: %w", c.Dir, err))
			j.cfg.Log.Error("ALARM: a copy of the journal cannot be read", "dir", c.Dir, "err", err,
				"fix", "repair the directory; until then senders are asked to try again")
		}
		for _, n := range segmentNumbers(names) {
			present[n] = true
		}
	}
	if err := errors.Join(errs...); err != nil && len(present) == 0 {
		return nil, fmt.Errorf("%w: the other copies hold no journal: %w", querschott.ErrHalt, err)
	}
	numbers := slices.Sorted(maps.Keys(present))
	if len(numbers) > 0 {
		j.last = numbers[len(numbers)-1]
	}
	return numbers, nil
}

// enter makes a copy's directory if it is not there, removes what an interrupted mending has left, and lists the rest.
func enter(c Copy) ([]string, error) {
	if err := c.FS.MkdirAll(c.Dir); err != nil {
		return nil, err
	}
	if err := c.FS.SyncDir(filepath.Dir(filepath.Clean(c.Dir))); err != nil {
		return nil, err
	}
	names, err := c.FS.List(c.Dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".seg.tmp") {
			if err := c.FS.Remove(filepath.Join(c.Dir, name)); err != nil {
				return nil, err
			}
		}
	}
	return names, nil
}

// inspect opens a segment in every copy and reads its headers.
func (j *Journal) inspect(number uint64) *remains {
	n := len(j.cfg.Copies)
	r := &remains{number: number, files: make([]disk.File, n), heads: make([]*segmentHead, n), torn: make([]bool, n)}
	for i, c := range j.cfg.Copies {
		f, err := c.FS.Open(c.path(number))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			j.cfg.Log.Error("couldn't open a journal segment", "file", c.path(number), "err", err)
			continue
		}
		r.files[i] = f
		head, whole, err := readHead(f)
		if err == nil && head.number == number {
			r.heads[i], r.torn[i] = &head, !whole
		}
	}
	return r
}

// identify checks that the copies are copies of one journal, and learns which.
func (j *Journal) identify(r *remains) error {
	var first *segmentHead
	for i, head := range r.heads {
		if head == nil {
			continue
		}
		if j.id == (journalID{}) {
			j.id = head.journal
		}
		file := j.cfg.Copies[i].path(r.number)
		if head.journal != j.id {
			return fmt.Errorf("%w: %s belongs to another journal; put the copies that belong together into intake.copies",
				querschott.ErrHalt, file)
		}
		if first == nil {
			first = head
		}
		if first.size != head.size {
			return fmt.Errorf("%w: %s has another size than its copies", querschott.ErrHalt, file)
		}
	}
	return nil
}

// headOf returns a segment's header and repairs it where it is damaged. It returns nil for a segment that was still being
// made, which is removed.
func (j *Journal) headOf(r *remains) (*segmentHead, error) {
	var head *segmentHead
	if i := slices.IndexFunc(r.heads, func(h *segmentHead) bool { return h != nil }); i >= 0 {
		head = r.heads[i]
	} else if head = j.reconstruct(r); head == nil {
		return nil, j.discard(r)
	}
	for i, f := range r.files {
		if f == nil || r.heads[i] != nil && !r.torn[i] {
			continue
		}
		file := j.cfg.Copies[i].path(r.number)
		if size, err := f.Size(); err != nil || size < head.size {
			j.cfg.Log.Warn("a journal file is incomplete; it is restored from another copy", "file", file, "err", err)
			r.files[i] = nil
			if err := f.Close(); err != nil {
				return nil, err
			}
			continue
		}
		err := writeHead(f, *head)
		j.cfg.Log.Error("the header of a journal file was damaged", "file", file, "mended", err == nil, "err", err)
		j.stats.Mended++
	}
	return head, nil
}

// reconstruct finds out the header of a segment that has none any more: its records name the journal and the segment.
func (j *Journal) reconstruct(r *remains) *segmentHead {
	for i, f := range r.files {
		if f == nil {
			continue
		}
		size, err := f.Size()
		if err != nil || size > 2*maxSegment {
			continue
		}
		head := segmentHead{journal: j.id, number: r.number, size: size}
		records := 0
		err = walk(f, head, func(h header, off int64, _ []byte) {
			records++
			if h.kind == kindIndex {
				head.size = off
			}
		})
		if err != nil || records == 0 {
			continue
		}
		j.cfg.Log.Error("both headers of a journal file were damaged; its records say what they were",
			"file", j.cfg.Copies[i].path(r.number))
		return &head
	}
	return nil
}

// discard removes a segment that has no header and no records in any copy: a start was interrupted while making it.
func (j *Journal) discard(r *remains) error {
	for i, f := range r.files {
		if f == nil {
			continue
		}
		file := j.cfg.Copies[i].path(r.number)
		first, err := readFull(f, dataStart, len(recordMagic))
		r.files[i] = nil
		if closeErr := f.Close(); closeErr != nil {
			return closeErr
		}
		if err == nil && bytes.Equal(first, []byte(recordMagic)) {
			if j.id == (journalID{}) {
				return fmt.Errorf("%w: %s holds records and no header; restore it from a backup", querschott.ErrHalt, file)
			}
			j.cfg.Log.Error("ALARM: a journal file is damaged from end to end; it is left as it is", "file", file,
				"fix", "keep the file, restore it from a backup and start again")
			continue
		}
		if err := j.cfg.Copies[i].FS.Remove(file); err != nil {
			return fmt.Errorf("couldn't remove a journal file that was never finished: %w", err)
		}
	}
	return nil
}

// recoverSegment queues the entries of a segment.
func (j *Journal) recoverSegment(s *segment) error {
	entries, err := j.entriesOf(s)
	if err != nil {
		return err
	}
	for _, e := range entries {
		s.waiting++
		c, err := e.compartment()
		if err != nil { // written by a later version: it waits for one, and the segment with it
			j.cfg.Log.Error("couldn't place a journal entry; it is kept", "seq", e.seq, "err", err)
			continue
		}
		j.queueOf(c).push(e.ref(s))
	}
	j.segments[s.head.number] = s
	j.highest = max(j.highest, s.head.number)
	return nil
}

// entriesOf returns every entry that any copy has, from its index or by scanning.
func (j *Journal) entriesOf(s *segment) ([]entry, error) {
	union := newContents()
	indexed, readable := 0, 0
	var errs error
	for i, f := range s.files() {
		if f == nil {
			continue
		}
		entries, err := readIndex(f, s.head)
		if err == nil {
			indexed++
			for _, e := range entries {
				union.add(e)
			}
		} else if err = union.scan(f, s.head); err != nil {
			errs = errors.Join(errs, fmt.Errorf("couldn't read %s: %w", j.cfg.Copies[i].path(s.head.number), err))
			continue
		}
		readable++
	}
	if readable == 0 { // it must not pass for an empty one
		return nil, fmt.Errorf("couldn't read segment %s in any copy: %w", segmentName(s.head.number), errs)
	}
	if errs != nil {
		j.cfg.Log.Error("a copy of the journal cannot be read", "err", errs)
	}
	entries := union.sorted()
	if indexed < readable && j.putGapsAside(s, entries, union) {
		j.writeIndex(s, entries)
	}
	return entries, nil
}

// putGapsAside looks for entries whose headers are damaged in every copy. What an interrupted write has left is none of
// them: nobody was promised anything, and no later record says that it was durable. It reports whether the segment
// needs no further look; if not, the segment is kept.
func (j *Journal) putGapsAside(s *segment, entries []entry, in *contents) bool {
	ok := true
	seq, end := s.head.firstSeq(), int64(dataStart)
	for _, e := range entries {
		for in.places[end] {
			end += recordSize(seal.EncSize)
		}
		if upTo := min(int64(e.off), in.settled); e.seq > seq && upTo > end {
			name := fmt.Sprintf("%s-%d", segmentName(s.head.number), end)
			err := j.putAside(s, name, end, int(upTo-end))
			j.cfg.Log.Error("ALARM: accepted messages are damaged in every copy of the journal; their bytes were put aside",
				"messages", e.seq-seq, "file", name, "dir", j.cfg.Quarantine.Dir, "err", err,
				"fix", "restore the journal's segment from a backup or ask the senders of that time")
			j.stats.Quarantined += e.seq - seq
			if err != nil {
				s.waiting++
				ok = false
			}
		}
		seq, end = e.seq+1, e.end()
	}
	return ok
}
