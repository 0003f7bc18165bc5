package disk_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/querschott/querschott/internal/disk"
)

// TestOverlay does the same to a view and to a copy of what lies below: they look alike, and below nothing has changed.
func TestOverlay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		below, other := t.TempDir(), t.TempDir()
		names := []string{"a", "b", "c", "d"}
		before := map[string][]byte{}
		for _, name := range names[:2] {
			data := bytes.Repeat([]byte(name+"123"), rapid.IntRange(0, 4000).Draw(rt, "length"))
			before[name] = data
			for _, dir := range []string{below, other} {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o400); err != nil {
					rt.Fatal(err)
				}
				if err := os.Chmod(filepath.Join(dir, name), map[string]os.FileMode{below: 0o400, other: 0o600}[dir]); err != nil {
					rt.Fatal(err)
				}
			}
		}
		view := disk.NewOverlay()
		for range rapid.IntRange(0, 30).Draw(rt, "steps") {
			change(rt, names, func(fn func(fsys disk.FS, dir string) error) {
				got, want := fn(view, below), fn(disk.OS{}, other)
				if errors.Is(got, fs.ErrNotExist) != errors.Is(want, fs.ErrNotExist) || (got == nil) != (want == nil) {
					rt.Fatalf("the view says %v, the disk %v", got, want)
				}
			})
		}
		list, err := view.List(below)
		if want, _ := (disk.OS{}).List(other); err != nil || !slices.Equal(list, want) {
			rt.Errorf("the view lists %v, the disk %v: %v", list, want, err)
		}
		for _, name := range list {
			got, err := disk.ReadFile(view, filepath.Join(below, name), 1<<20)
			if want, _ := os.ReadFile(filepath.Join(other, name)); err != nil || !bytes.Equal(got, want) {
				rt.Errorf("%s has %d bytes in the view and %d on the disk, or others: %v", name, len(got), len(want), err)
			}
		}
		entries, err := os.ReadDir(below)
		if err != nil || len(entries) != len(before) {
			rt.Errorf("below lie %v: %v", entries, err)
		}
		for name, want := range before {
			if got, err := os.ReadFile(filepath.Join(below, name)); err != nil || !bytes.Equal(got, want) {
				rt.Errorf("%s below has changed: %v", name, err)
			}
		}
	})
}

// change draws one operation and has it done.
func change(rt *rapid.T, names []string, do func(func(disk.FS, string) error)) {
	name, second := rapid.SampledFrom(names).Draw(rt, "name"), rapid.SampledFrom(names).Draw(rt, "second")
	off := int64(rapid.IntRange(0, 20000).Draw(rt, "offset"))
	data := bytes.Repeat([]byte{byte(off)}, rapid.IntRange(1, 9000).Draw(rt, "bytes"))
	with := func(open func(disk.FS, string) (disk.File, error), fn func(disk.File) error) func(disk.FS, string) error {
		return func(fsys disk.FS, dir string) error {
			f, err := open(fsys, filepath.Join(dir, name))
			if err != nil {
				return err
			}
			return errors.Join(fn(f), f.Close())
		}
	}
	write := func(f disk.File) error { _, err := f.WriteAt(data, off); return errors.Join(err, f.Sync()) }
	switch rapid.IntRange(0, 5).Draw(rt, "operation") {
	case 0:
		do(with(disk.FS.Create, write))
	case 1:
		do(with(disk.FS.Open, write))
	case 2:
		do(with(disk.FS.Open, func(f disk.File) error { return f.Truncate(off) }))
	case 3:
		do(func(fsys disk.FS, dir string) error {
			if name == second {
				return nil
			}
			return fsys.Rename(filepath.Join(dir, name), filepath.Join(dir, second))
		})
	case 4:
		do(func(fsys disk.FS, dir string) error { return fsys.Remove(filepath.Join(dir, name)) })
	case 5:
		do(with(disk.FS.Open, func(f disk.File) error {
			_, err := f.ReadAt(make([]byte, 10), off)
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}))
	}
}
