// Package disk is the few file operations that durability is built from, so that journals can be tested on a disk that
// loses what was not synced. [OS] is the real one; package crashdisk has the other.
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// FS is a file system. Names are paths as package filepath makes them.
type FS interface {
	MkdirAll(dir string) error
	Create(name string) (File, error)  // for reading and writing; an existing file is emptied
	Open(name string) (File, error)    // for reading and writing; must exist
	Rename(from, to string) error      // durable after SyncDir of the directory
	Remove(name string) error          // durable after SyncDir of the directory
	List(dir string) ([]string, error) // base names, sorted
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error // contents and size are durable when it returns nil
	Size() (int64, error)
	Truncate(size int64) error
}

// OS is the machine's file system. Directories are made with mode 0700, files with 0600.
type OS struct{}

// MkdirAll makes a directory and its parents.
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

// Create makes or empties a file.
func (OS) Create(name string) (File, error) {
	return osOpen(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

// Open opens an existing file.
func (OS) Open(name string) (File, error) { return osOpen(name, os.O_RDWR) }

// Rename moves a file, replacing the target.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove deletes a file.
func (OS) Remove(name string) error { return os.Remove(name) }

// List returns the base names in a directory.
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	slices.Sort(names)
	return names, nil
}

// SyncDir makes creations, renames and removals in a directory durable.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type osFile struct{ *os.File }

func osOpen(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Sync is fdatasync: times of access and change need not be durable.
func (f osFile) Sync() error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			if err != nil {
				return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
			}
			return nil
		}
	}
}

// Begin has what was written to a file written out, and does not wait for it: a later Sync has less to do then, and those of other
// files, which wait for the same disk, are not held up by much at once. It promises nothing.
func Begin(f File) {
	if real, ok := f.(osFile); ok {
		_ = unix.SyncFileRange(int(real.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE) // Sync says what went wrong
	}
}

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// IsFull reports whether the error says that there is no room left.
func IsFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// Preallocate fills a file with zeros up to size and syncs it, so that later syncs of its contents move no metadata.
func Preallocate(f File, size int64) error {
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		n := min(int64(len(zeros)), size-off)
		if _, err := f.WriteAt(zeros[:n], off); err != nil {
			return err
		}
	}
	return f.Sync()
}

// WriteFile replaces a file's contents so that a crash leaves the old or the new ones, never a mixture: temporary file,
// sync, rename, sync of the directory.
func WriteFile(fs FS, name string, data []byte) error {
	tmp := name + ".tmp"
	f, err := fs.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fs.Remove(tmp))
	}
	if err := fs.Rename(tmp, name); err != nil {
		return errors.Join(err, fs.Remove(tmp))
	}
	return fs.SyncDir(filepath.Dir(name))
}

// ReadFile reads a whole file of at most limit bytes. One that this user may only read is read all the same.
func ReadFile(fs FS, name string, limit int64) ([]byte, error) {
	f, err := fs.Open(name)
	if _, real := fs.(OS); real && (errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS)) {
		f, err = osOpen(name, os.O_RDONLY)
	}
	if err != nil {
		return nil, err
	}
	data, err := readAll(f, name, limit)
	return data, errors.Join(err, f.Close())
}

func readAll(f File, name string, limit int64) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("%s has %d bytes, expected at most %d", name, size, limit)
	}
	data := make([]byte, size)
	if _, err := f.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return data, nil
}

// Lock keeps everybody else who locks the same directory out, in this process or another, until release is called or the
// process ends. It is for commands that read a file, change it and write it back.
func Lock(dir string) (release func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			return f.Close, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(&os.PathError{Op: "flock", Path: dir, Err: err}, f.Close())
		}
	}
}

// Free returns how many bytes may still be written to the file system of a directory.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}
