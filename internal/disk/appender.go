package disk

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// block is what transfers past the page cache are aligned to, in memory and in the file: no file system and no disk in use
// asks for more.
const block = 4096

// Appender adds to a file of a fixed size and makes each addition durable. Where the file system can, it goes past the page
// cache: a sync then has nothing to look for, nothing to copy, and does not wait for what else the cache writes out. What stands
// in the file's blocks around an addition is written again with the same bytes, as the page cache would, and the rest of the
// last block with zeros. Whatever adds to the file goes through the appender.
type Appender struct {
	file  File
	past  *os.File // the same file, past the page cache; nil where that can't be had
	off   int64    // where the next addition goes
	size  int64    // of the file; it never grows
	image []byte   // aligned, whole blocks; the first begins with what the file holds before off
}

// NewAppender returns an appender behind an offset of a file, which stays the caller's.
func NewAppender(f File, off int64) (*Appender, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	a := &Appender{file: f, off: off, size: size}
	real, ok := f.(osFile)
	if !ok {
		return a, nil
	}
	// /proc leads to the same file, however it is called by now. Without /proc, and on file systems that don't know how, it is
	// the page cache.
	a.past, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", real.Fd()), os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return a, nil //nolint:nilerr // it works without
	}
	a.image = aligned(block)
	if err := a.load(); err != nil {
		return nil, errors.Join(err, a.past.Close())
	}
	return a, nil
}

// Add writes b behind what was added last and syncs the file. After an error nothing has been added, but nobody knows what the
// disk holds behind the offset.
func (a *Appender) Add(b []byte) error {
	head := int(a.off % block)
	end := head + len(b)
	direct := a.past != nil && a.off-int64(head)+int64(blocks(end)) <= a.size
	var err error
	if direct {
		direct, err = a.direct(b, head)
	}
	if !direct && err == nil {
		_, err = a.file.WriteAt(b, a.off)
	}
	if err == nil {
		err = a.file.Sync()
	}
	if err != nil {
		return err
	}
	a.off += int64(len(b))
	if direct {
		copy(a.image, a.image[end/block*block:end])
		return nil
	}
	return a.load()
}

// direct writes past the page cache. It returns false if that can't be done with this file, and never again.
func (a *Appender) direct(b []byte, head int) (bool, error) {
	n := blocks(head + len(b))
	if len(a.image) < n {
		image := aligned(n + blocks(n/2))
		copy(image, a.image[:head])
		a.image = image
	}
	clear(a.image[head+copy(a.image[head:], b) : n])
	_, err := a.past.WriteAt(a.image[:n], a.off-int64(head))
	if !errors.Is(err, unix.EINVAL) {
		return true, err
	}
	past := a.past
	a.past = nil
	return false, past.Close()
}

// load reads what the file holds of the block in which the next addition begins.
func (a *Appender) load() error {
	if a.past == nil {
		return nil
	}
	head := a.off % block
	n, err := a.file.ReadAt(a.image[:head], a.off-head)
	if int64(n) == head {
		return nil
	}
	return err
}

// Off returns where the next addition goes.
func (a *Appender) Off() int64 { return a.off }

// Room returns how many bytes of the file are left.
func (a *Appender) Room() int64 { return a.size - a.off }

// Close ends the appending. It does not close the file.
func (a *Appender) Close() error {
	if a.past == nil {
		return nil
	}
	return a.past.Close()
}

// blocks rounds up to whole blocks.
func blocks(n int) int { return (n + block - 1) / block * block }

// aligned returns memory of n bytes that begins where a block may.
func aligned(n int) []byte {
	b := make([]byte, n+block)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (block - 1) //nolint:gosec // nothing is read through it
	return b[skip : skip+n : skip+n]
}
