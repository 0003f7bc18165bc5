package pebble

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// failStop is the disk as the engine sees it. The engine ends the process, or goes on in a state of its own making, when
// its log or its manifest cannot be written. So the first such failure breaks the store and is never returned: the
// goroutine that met it stays where it is until the process ends, and whoever waits for it gets the store's failure.
// Tables are left to the engine, which repeats failed flushes and compactions.
type failStop struct {
	vfs.FS
	dir   string
	fail  func(error)
	armed atomic.Bool // set once the store is open; until then errors are returned
}

func (d *failStop) stop(err error) error {
	if err == nil || !d.armed.Load() {
		return err
	}
	d.fail(err)
	select {}
}

// vital reports whether the file is one of the log, the manifest and the markers of this store.
func (d *failStop) vital(name string) bool {
	if filepath.Clean(filepath.Dir(name)) != filepath.Clean(d.dir) {
		return false
	}
	base := filepath.Base(name)
	return strings.HasSuffix(base, ".log") || strings.HasPrefix(base, "MANIFEST-") || strings.HasPrefix(base, "marker.")
}

func (d *failStop) guard(name string, f vfs.File, err error) (vfs.File, error) {
	if !d.vital(name) {
		return f, err
	}
	if err := d.stop(err); err != nil {
		return nil, err
	}
	return &failStopFile{File: f, disk: d, name: name}, nil
}

func (d *failStop) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return d.guard(name, f, err)
}

func (d *failStop) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(old, name, c)
	return d.guard(name, f, err)
}

func (d *failStop) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if filepath.Clean(name) != filepath.Clean(d.dir) {
		return f, err
	}
	if err := d.stop(err); err != nil {
		return nil, err
	}
	return &failStopFile{File: f, disk: d, name: name}, nil
}

func (d *failStop) Unwrap() vfs.FS { return d.FS }

// failStopFile is a file whose failing writes and syncs stop the store.
type failStopFile struct {
	vfs.File
	disk *failStop
	name string
}

func (f *failStopFile) stop(op string, err error) error {
	if err == nil {
		return nil
	}
	return f.disk.stop(fmt.Errorf("couldn't %s %s: %w", op, filepath.Base(f.name), err))
}

func (f *failStopFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.stop("write", err)
}

func (f *failStopFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, f.stop("write", err)
}

func (f *failStopFile) Preallocate(off, length int64) error {
	return f.stop("preallocate", f.File.Preallocate(off, length))
}

func (f *failStopFile) Sync() error { return f.stop("sync", f.File.Sync()) }

func (f *failStopFile) SyncData() error { return f.stop("sync", f.File.SyncData()) }

func (f *failStopFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.stop("sync", err)
}

func (f *failStopFile) Close() error { return f.stop("close", f.File.Close()) }
