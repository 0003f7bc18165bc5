package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"

	"github.com/querschott/querschott/internal/disk"
)

// Backup copies the ledger into a directory of the same file system while appending goes on. What was acknowledged before
// the call is in the copy; opening the copy is a recovery, as after a crash.
//
// The state is copied first, then the WAL up to what is durable at that moment, then the packs: the WAL in the copy begins no
// later than where the state ends, because nothing of it is retired meanwhile; it has no holes, because nothing before its
// end changes any more; and packs that reach further than the state are cut back by the recovery.
func (l *Ledger) Backup(dir string) error {
	l.backups.Add(1)
	defer l.backups.Add(-1)
	if err := l.backup(dir); err != nil {
		return fmt.Errorf("couldn't back up the ledger to %s: %w", dir, err)
	}
	return nil
}

func (l *Ledger) backup(dir string) error {
	fsys := l.cfg.FS
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	err := copyFile(fsys, filepath.Join(l.cfg.Dir, stateName), filepath.Join(dir, stateName), math.MaxInt64)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	end := l.writer.end.Load()
	for _, sub := range []string{"wal", "packs"} {
		names, err := fsys.List(filepath.Join(l.cfg.Dir, sub))
		if err != nil {
			return err
		}
		if err := fsys.MkdirAll(filepath.Join(dir, sub)); err != nil {
			return err
		}
		for _, name := range names {
			limit := int64(math.MaxInt64)
			if sub == "wal" {
				if limit = end.within(name); limit == 0 {
					continue
				}
			}
			err := copyFile(fsys, filepath.Join(l.cfg.Dir, sub, name), filepath.Join(dir, sub, name), limit)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := fsys.SyncDir(filepath.Join(dir, sub)); err != nil {
			return err
		}
	}
	return fsys.SyncDir(dir)
}

// within returns how many bytes of a segment lie before the position.
func (p *walPosition) within(name string) int64 {
	switch last := segmentBase(p.seg); {
	case len(name) == len(last) && name < last:
		return math.MaxInt64
	case name == last:
		return p.off
	}
	return 0 // not begun, or half made
}

// copyFile copies the first bytes of a file.
func copyFile(fsys disk.FS, from, to string, limit int64) error {
	in, err := fsys.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := fsys.Create(to)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for off := int64(0); err == nil; {
		var n int
		n, err = in.ReadAt(buf[:min(int64(len(buf)), limit-off)], off)
		if n > 0 {
			if _, werr := out.WriteAt(buf[:n], off); werr != nil {
				err = werr
			}
			off += int64(n)
		}
		if off == limit && err == nil {
			err = io.EOF
		}
	}
	if errors.Is(err, io.EOF) {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}
