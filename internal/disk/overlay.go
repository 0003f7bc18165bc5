package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Overlay is the machine's file system as somebody sees it who may read everything and change nothing: what is written to it
// stays in memory and hides what lies below. Nothing below is opened for writing, so that a disk that can only be read will do.
type Overlay struct {
	mu    sync.Mutex // guards the maps
	files map[string]*covered
	dirs  map[string]bool // that were made
}

// covered is one file: what was written to it, over what lies below.
type covered struct {
	mu    sync.Mutex       // guards the rest
	below string           // path of what lies below; "" for nothing
	keep  int64            // how many bytes of that still count
	pages map[int64][]byte // by number, each pageSize long
	size  int64
}

const pageSize = 4096

// NewOverlay returns a view in which nothing is changed yet.
func NewOverlay() *Overlay { return &Overlay{files: map[string]*covered{}, dirs: map[string]bool{}} }

// find returns a file of the view. The caller holds mu.
func (o *Overlay) find(op, name string) (*covered, error) {
	name = filepath.Clean(name)
	if c, ok := o.files[name]; ok {
		if c == nil {
			return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		return c, nil
	}
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return nil, &fs.PathError{Op: op, Path: name, Err: errors.New("it is a directory")}
	}
	c := &covered{below: name, keep: st.Size(), pages: map[int64][]byte{}, size: st.Size()}
	o.files[name] = c
	return c, nil
}

// MkdirAll makes a directory and its parents in the view.
func (o *Overlay) MkdirAll(dir string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for dir = filepath.Clean(dir); !o.dirs[dir]; dir = filepath.Dir(dir) {
		o.dirs[dir] = true
	}
	return nil
}

// Create makes or empties a file in the view.
func (o *Overlay) Create(name string) (File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := &covered{pages: map[int64][]byte{}}
	o.files[filepath.Clean(name)] = c
	return &overlaid{covered: c}, nil
}

// Open opens an existing file of the view.
func (o *Overlay) Open(name string) (File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c, err := o.find("open", name)
	if err != nil {
		return nil, err
	}
	if c.below == "" {
		return &overlaid{covered: c}, nil
	}
	base, err := os.Open(c.below)
	if err != nil {
		return nil, err
	}
	return &overlaid{c, base}, nil
}

// Rename moves a file in the view, replacing the target.
func (o *Overlay) Rename(from, to string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	c, err := o.find("rename", from)
	if err != nil {
		return err
	}
	o.files[filepath.Clean(from)], o.files[filepath.Clean(to)] = nil, c
	return nil
}

// Remove deletes a file in the view.
func (o *Overlay) Remove(name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := o.find("remove", name); err != nil {
		return err
	}
	o.files[filepath.Clean(name)] = nil
	return nil
}

// List returns the base names in a directory of the view.
func (o *Overlay) List(dir string) ([]string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	dir = filepath.Clean(dir)
	names, err := OS{}.List(dir)
	if err != nil && (!o.dirs[dir] || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	for name, c := range o.files {
		if filepath.Dir(name) != dir {
			continue
		}
		base := filepath.Base(name)
		at, there := slices.BinarySearch(names, base)
		switch {
		case c == nil && there:
			names = slices.Delete(names, at, at+1)
		case c != nil && !there:
			names = slices.Insert(names, at, base)
		}
	}
	return names, nil
}

// SyncDir has nothing to make durable.
func (*Overlay) SyncDir(string) error { return nil }

// overlaid is an open file of an [Overlay].
type overlaid struct {
	*covered
	base *os.File // nil: nothing lies below
}

// ReadAt reads what was written, and below it what lies there.
func (f *overlaid) ReadAt(p []byte, off int64) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n < len(p) && off < f.size {
		part := p[n:][:min(int64(len(p)-n), f.size-off, pageSize-off%pageSize)]
		if page := f.pages[off/pageSize]; page != nil {
			copy(part, page[off%pageSize:])
		} else if err := f.under(part, off); err != nil {
			return n, err
		}
		n, off = n+len(part), off+int64(len(part))
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// under reads what lies below, with zeros behind it. The caller holds mu.
func (f *overlaid) under(p []byte, off int64) error {
	n := 0
	if f.base != nil && off < f.keep {
		var err error
		n, err = f.base.ReadAt(p[:min(int64(len(p)), f.keep-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	clear(p[n:])
	return nil
}

// WriteAt writes over what lies below.
func (f *overlaid) WriteAt(p []byte, off int64) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n < len(p) {
		at := off / pageSize
		page := f.pages[at]
		if page == nil {
			page = make([]byte, pageSize)
			if err := f.under(page, at*pageSize); err != nil {
				return n, err
			}
			f.pages[at] = page
		}
		m := copy(page[off%pageSize:], p[n:])
		n, off = n+m, off+int64(m)
		f.size = max(f.size, off)
	}
	return n, nil
}

// Truncate changes the size; what is added is zero.
func (f *overlaid) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keep = min(f.keep, size)
	for at, page := range f.pages {
		if left := size - at*pageSize; left <= 0 {
			delete(f.pages, at)
		} else if left < pageSize {
			clear(page[left:])
		}
	}
	f.size = size
	return nil
}

// Size returns the size in the view.
func (f *overlaid) Size() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size, nil
}

// Sync has nothing to make durable.
func (*overlaid) Sync() error { return nil }

// Close closes what lies below.
func (f *overlaid) Close() error {
	if f.base == nil {
		return nil
	}
	return f.base.Close()
}
