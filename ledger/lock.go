package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/querschott/querschott/internal/disk"
)

// lock keeps a second process, or a second ledger of this one, out of the directory: two writers would sign two histories.
type lock struct{ file *os.File }

// ErrLocked says that another ledger has the directory open.
var ErrLocked = errors.New("another process has the ledger open")

// takeLock locks the directory. A disk in memory belongs to one process anyway.
func takeLock(fs disk.FS, dir string) (*lock, error) {
	if _, real := fs.(disk.OS); !real {
		return &lock{}, nil
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("couldn't lock %s: %w", dir, err), f.Close())
	}
	return &lock{f}, nil
}

// Hold keeps ledgers from being opened in a directory while somebody looks at it, and fails with [ErrLocked] while one is open.
// It writes nothing. Where no ledger was ever opened, as in a backup, there is nothing to hold.
func Hold(dir string) (release func() error, err error) {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, os.ErrNotExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("couldn't lock %s: %w", dir, err), f.Close())
	}
	return f.Close, nil
}

func (l *lock) release() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
