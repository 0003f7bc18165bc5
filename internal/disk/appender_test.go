package disk_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

// TestAppender holds a file that grows by additions of all sizes against what was added: on the disk, in memory (which some
// systems can write to past the page cache and some can't), and on the disk of crash tests. The file is longer than whole
// blocks, so that the last additions go another way, and it is opened again now and then.
func TestAppender(t *testing.T) {
	const size = 300_100
	for name, fs := range map[string]disk.FS{"disk": disk.OS{}, "memory": disk.OS{}, "crashdisk": crashdisk.New()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if name == "memory" {
				dir = memory(t)
			}
			if err := fs.MkdirAll(dir); err != nil {
				t.Fatal(err)
			}
			f, err := fs.Create(filepath.Join(dir, "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			want := bytes.Repeat([]byte{0xee}, size)
			if _, err := f.WriteAt(want, 0); err != nil {
				t.Fatal(err)
			}
			const first = 64
			a, err := disk.NewAppender(f, first)
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for off := first; off < size; {
				b := make([]byte, min(size-off, sizes[rng.IntN(len(sizes))]))
				for i := range b {
					b[i] = byte(rng.Uint32())
				}
				if err := a.Add(b); err != nil {
					t.Fatal(err)
				}
				off += copy(want[off:], b)
				if a.Off() != int64(off) {
					t.Fatalf("offset %d, want %d", a.Off(), off)
				}
				if got := content(t, f); !bytes.Equal(got[:off], want[:off]) || len(got) != size {
					t.Fatalf("%d bytes, and those before %d are not what was added", len(got), off)
				}
				if rng.IntN(5) == 0 {
					if err := a.Close(); err != nil {
						t.Fatal(err)
					}
					if a, err = disk.NewAppender(f, int64(off)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

var sizes = []int{1, 300, 511, 512, 4095, 4096, 4097, 8192, 40_000}

// TestAppenderAgain adds after an addition that failed: what stood before it is there, what failed is not.
func TestAppenderAgain(t *testing.T) {
	fs := crashdisk.New()
	f, err := fs.Create("f")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(20_000); err != nil {
		t.Fatal(err)
	}
	a, err := disk.NewAppender(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Add([]byte("first")); err != nil {
		t.Fatal(err)
	}
	fs.Fail(func(op, _ string) error {
		if op == "sync" {
			return unix.ENOSPC
		}
		return nil
	})
	if err := a.Add([]byte("lost, and longer")); !errors.Is(err, unix.ENOSPC) || a.Off() != 5 {
		t.Fatalf("got %v, offset %d", err, a.Off())
	}
	fs.Fail(nil)
	if err := a.Add([]byte(" second")); err != nil {
		t.Fatal(err)
	}
	if got := content(t, f); string(got[:12]) != "first second" {
		t.Fatalf("got %q", got[:20])
	}
}

func content(t *testing.T, f disk.File) []byte {
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// memory returns a directory in memory.
func memory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "querschott-")
	if err != nil {
		t.Skip("there is no file system in memory:", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
