package intake

import (
	"errors"
	"io"
	"io/fs"
	"slices"

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

// mend restores what copies lack, at the start and whenever a copy that had failed is back.
func (j *Journal) mend() {
	for {
		j.mendAll()
		select {
		case <-j.mendAgain:
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

// mendAll gives every copy the closed segments that it lacks.
func (j *Journal) mendAll() {
	j.mu.Lock()
	var todo []*segment
	for _, s := range j.segments {
		if !s.open {
			s.mending = true
			todo = append(todo, s)
		}
	}
	j.mu.Unlock()
	slices.SortFunc(todo, func(a, b *segment) int { return int(int64(a.head.number) - int64(b.head.number)) })
	for _, s := range todo {
		for i, c := range j.cfg.Copies {
			if err := j.mendCopy(s, i, c); err != nil {
				j.cfg.Log.Error("couldn't restore a segment to a copy of the journal", "file", c.path(s.head.number), "err", err)
			}
		}
		j.mu.Lock()
		s.mending = false
		j.mu.Unlock()
	}
	j.trim()
}

// mendCopy restores a segment to a copy whose directory does not have it.
func (j *Journal) mendCopy(s *segment, i int, c Copy) error {
	select {
	case <-j.stop:
		return nil
	default:
	}
	old := s.files()[i]
	if old != nil && exists(c, s.head.number) {
		return nil
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

// exists reports whether a copy has a segment; in doubt it has.
func exists(c Copy, number uint64) bool {
	f, err := c.FS.Open(c.path(number))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return f.Close() == nil
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
