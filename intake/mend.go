package intake

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/querschott/querschott/internal/disk"
)

// trim removes segments that nobody waits for. The highest stays: it keeps the journal's id and number.
func (j *Journal) trim() {
	j.trimming.Lock()
	defer j.trimming.Unlock()
	j.mu.Lock()
	var gone []*segment
	for n, s := range j.segments {
		if j.frozen == 0 && !s.open && s.waiting == 0 && n != j.highest && !s.mending {
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

// How long mending rests before it tries again what it could not do.
const (
	firstMend = time.Second
	lastMend  = time.Minute
)

// mend restores what copies lack: at the start, whenever a copy that had failed is back, and again until nothing is lacking.
func (j *Journal) mend() {
	rest, said := firstMend, ""
	for {
		var again <-chan time.Time
		err := j.mendAll()
		select {
		case <-j.stop: // it may have left something out
			return
		default:
		}
		switch {
		case err != nil:
			again, rest = time.After(rest), min(2*rest, lastMend)
			if err.Error() != said {
				j.cfg.Log.Error("couldn't restore a segment to a copy of the journal; it is tried again", "err", err)
			}
			said = err.Error()
		case said != "":
			j.cfg.Log.Info("every copy of the journal has every segment again")
			rest, said = firstMend, ""
		}
		select {
		case <-j.mendAgain:
		case <-again:
		case <-j.stop:
			return
		}
	}
}

func (j *Journal) mendSoon() {
	select {
	case j.mendAgain <- struct{}{}:
	default:
	}
}

// mendAll gives every copy the closed segments that it lacks. The error is the first one; the others are tried all the same.
func (j *Journal) mendAll() (first error) {
	j.mu.Lock()
	var todo []*segment
	for _, s := range j.segments {
		if !s.open {
			s.mending = true
			todo = append(todo, s)
		}
	}
	j.mu.Unlock()
	slices.SortFunc(todo, func(a, b *segment) int { return cmp.Compare(a.head.number, b.head.number) })
	for _, s := range todo {
		for i, c := range j.cfg.Copies {
			if err := j.mendCopy(s, i, c); err != nil && first == nil {
				first = fmt.Errorf("%s: %w", c.path(s.head.number), err)
			}
		}
		j.mu.Lock()
		s.mending = false
		j.mu.Unlock()
	}
	j.trim()
	return first
}

// mendCopy restores a segment to a copy whose directory does not have it.
func (j *Journal) mendCopy(s *segment, i int, c Copy) error {
	select {
	case <-j.stop:
		return nil
	default:
	}
	old := s.files()[i]
	if old != nil {
		if there, err := exists(c, s.head.number); there || err != nil {
			return err
		}
	}
	for k, from := range s.files() {
		if k == i || from == nil {
			continue
		}
		f, err := copyFile(c, c.path(s.head.number), from)
		if err != nil {
			return err
		}
		j.mu.Lock()
		s.put(i, f)
		if old != nil {
			s.retired = append(s.retired, old)
		}
		j.stats.Mended++
		j.mu.Unlock()
		j.cfg.Log.Info("restored a segment to a copy of the journal", "file", c.path(s.head.number))
		return nil
	}
	return nil
}

// exists reports whether a copy has a segment.
func exists(c Copy, number uint64) (bool, error) {
	f, err := c.FS.Open(c.path(number))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// copyFile copies a segment; the name appears only when all of it is durable.
func copyFile(c Copy, name string, from disk.File) (disk.File, error) {
	size, err := from.Size()
	if err != nil {
		return nil, err
	}
	to, err := c.FS.Create(name + ".tmp")
	if err != nil {
		return nil, err
	}
	err = copyBytes(to, from, size)
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

func copyBytes(to, from disk.File, size int64) error {
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(buf)) {
		n, err := from.ReadAt(buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := to.WriteAt(buf[:n], off); err != nil {
			return err
		}
	}
	return nil
}
