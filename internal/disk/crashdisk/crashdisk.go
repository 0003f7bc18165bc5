// Package crashdisk is a disk in memory that loses what was not synced, for tests of durability. A crash keeps every
// synced byte; of each unsynced write it keeps a random part in units of sectors, and of each unsynced creation, rename
// or removal it keeps or forgets the whole. Faults can be injected into every operation.
package crashdisk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/querschott/querschott/internal/disk"
)

const sector = 512

// Disk is the disk; it implements [disk.FS].
type Disk struct {
	mu    sync.Mutex
	live  map[string]*inode // what programs see
	safe  map[string]*inode // what directory syncs have made durable
	fault func(op, name string) error
	room  int64 // bytes that may still be allocated; < 0: unlimited
}

type inode struct {
	data []byte // what programs see
	safe []byte // what survives a crash for certain
}

// New returns an empty disk without limit.
func New() *Disk {
	return &Disk{live: map[string]*inode{}, safe: map[string]*inode{}, room: -1}
}

// Fail makes every later operation ask fn, which returns the error to fail with or nil. Operations: create, open, read,
// write, sync, rename, remove, syncdir. A failed write or sync may or may not have had its effect.
func (d *Disk) Fail(fn func(op, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = fn
}

// Limit sets how many more bytes files may grow by before writes fail with ENOSPC; negative means no limit.
func (d *Disk) Limit(room int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = room
}

// Crash returns the disk as it may be found after losing power now. The receiver stays usable, as a machine that has
// not crashed.
func (d *Disk) Crash(rng *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := New()
	names := map[string]*inode{}
	for _, name := range sortedNames(d.safe) {
		// A name that was replaced is the old file or the new one, never none.
		if d.live[name] != nil || rng.IntN(2) == 0 {
			names[name] = d.safe[name]
		}
	}
	for _, name := range sortedNames(d.live) {
		if d.safe[name] != d.live[name] && rng.IntN(2) == 0 {
			names[name] = d.live[name]
		}
	}
	for _, name := range sortedNames(names) {
		data := crashed(names[name], rng)
		node := &inode{data: data, safe: slices.Clone(data)}
		after.live[name], after.safe[name] = node, node
	}
	return after
}

// crashed mixes sectors of the synced and the visible contents.
func crashed(n *inode, rng *rand.Rand) []byte {
	size := len(n.safe)
	if len(n.data) != size && rng.IntN(2) == 0 {
		size = len(n.data)
	}
	out := make([]byte, size)
	copy(out, n.safe)
	keep := rng.Float64() // some crashes keep nearly all, some nearly nothing
	for off := 0; off < size; off += sector {
		end := min(off+sector, size)
		if off < len(n.data) && rng.Float64() < keep {
			copy(out[off:end], n.data[off:])
		}
	}
	return out
}

// Corrupt flips one bit of a file, in what programs see and in what survives.
func (d *Disk) Corrupt(name string, off int64, bit uint) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.live[filepath.Clean(name)]
	if !ok || off >= int64(len(n.data)) {
		return fmt.Errorf("no byte %d in %s", off, name)
	}
	n.data[off] ^= 1 << (bit % 8)
	if off < int64(len(n.safe)) {
		n.safe[off] = n.data[off]
	}
	return nil
}

func (d *Disk) check(op, name string) error {
	if d.fault == nil {
		return nil
	}
	return d.fault(op, name)
}

// MkdirAll does nothing: directories exist as soon as they are named.
func (d *Disk) MkdirAll(string) error { return nil }

// Create makes or empties a file.
func (d *Disk) Create(name string) (disk.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = filepath.Clean(name)
	if err := d.check("create", name); err != nil {
		return nil, err
	}
	n := &inode{}
	d.live[name] = n
	return &file{d, name, n}, nil
}

// Open opens an existing file.
func (d *Disk) Open(name string) (disk.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = filepath.Clean(name)
	if err := d.check("open", name); err != nil {
		return nil, err
	}
	n, ok := d.live[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{d, name, n}, nil
}

// Rename moves a file, replacing the target.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, to = filepath.Clean(from), filepath.Clean(to)
	if err := d.check("rename", from); err != nil {
		return err
	}
	n, ok := d.live[from]
	if !ok {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	delete(d.live, from)
	d.live[to] = n
	return nil
}

// Remove deletes a file.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = filepath.Clean(name)
	if err := d.check("remove", name); err != nil {
		return err
	}
	if n, ok := d.live[name]; ok {
		d.give(int64(len(n.data)))
		delete(d.live, name)
		return nil
	}
	return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
}

// List returns the base names of a directory's files.
func (d *Disk) List(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for _, name := range sortedNames(d.live) {
		if filepath.Dir(name) == filepath.Clean(dir) {
			names = append(names, filepath.Base(name))
		}
	}
	return names, nil
}

// SyncDir makes the directory's names durable.
func (d *Disk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir = filepath.Clean(dir)
	if err := d.check("syncdir", dir); err != nil {
		return err
	}
	for name := range d.safe {
		if filepath.Dir(name) == dir && d.live[name] == nil {
			delete(d.safe, name)
		}
	}
	for name, n := range d.live {
		if filepath.Dir(name) == dir {
			d.safe[name] = n
		}
	}
	return nil
}

func (d *Disk) take(n int64) error {
	if d.room < 0 || n <= 0 {
		return nil
	}
	if n > d.room {
		return syscall.ENOSPC
	}
	d.room -= n
	return nil
}

func (d *Disk) give(n int64) {
	if d.room >= 0 {
		d.room += n
	}
}

type file struct {
	d    *Disk
	name string
	n    *inode
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.check("read", f.name); err != nil {
		return 0, err
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	err := f.d.check("write", f.name)
	if err != nil && len(p) > 0 {
		p = p[:rand.IntN(len(p))]
	}
	if grow := off + int64(len(p)) - int64(len(f.n.data)); grow > 0 {
		if full := f.d.take(grow); full != nil {
			return 0, errors.Join(err, full)
		}
		f.n.data = append(f.n.data, make([]byte, grow)...)
	}
	return copy(f.n.data[off:], p), err
}

func (f *file) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.check("sync", f.name); err != nil {
		return err
	}
	f.n.safe = append(f.n.safe[:0], f.n.data...)
	return nil
}

func (f *file) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *file) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.check("write", f.name); err != nil {
		return err
	}
	grow := size - int64(len(f.n.data))
	if err := f.d.take(grow); err != nil {
		return err
	}
	if grow > 0 {
		f.n.data = append(f.n.data, make([]byte, grow)...)
		return nil
	}
	f.d.give(-grow)
	f.n.data = f.n.data[:size]
	return nil
}

func (f *file) Close() error { return nil }

func sortedNames(m map[string]*inode) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
