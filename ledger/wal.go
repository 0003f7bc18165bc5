package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// segmentHeader begins each WAL segment: magic uint32, number uint64, CRC-32C uint32; then zeros up to here.
const (
	segmentHeader = 64
	segmentMagic  = 0x514c5731 // "QLW1"
	zeroStep      = 64 << 10
	zeroAhead     = 1 << 20 // bytes of the next segment that are made ready at once
)

// wal is the write-ahead log: preallocated segments of frames. Only the writer goroutine uses it after the start; the
// segment after the current one is made ready in the background, and the packer gives back those that it retires.
type wal struct {
	fs   disk.FS
	dir  string
	size int64

	seg  uint64 // number of the current segment
	file disk.File
	tail *disk.Appender // of file, behind the last frame

	spare chan string // retired segments that may be used again

	next chan prepared // the segment after the current one; capacity 1; nil while nobody prepares it
	pace *pacer        // of who prepares it; nil if nobody does
}

// pacer has the next segment filled twice as fast as the current one is used up, rather than at once: every sync of the current
// one waits for what the disk has been given besides.
type pacer struct {
	used  atomic.Int64  // bytes of the current segment
	more  chan struct{} // capacity 1: used has grown
	now   chan struct{} // closed: the next one is waited for
	close sync.Once     // now
}

func newPacer() *pacer { return &pacer{more: make(chan struct{}, 1), now: make(chan struct{})} }

// wait returns when so many bytes may be filled. Without a pacer that is always so.
func (p *pacer) wait(filled int64) {
	for p != nil && filled > zeroAhead+2*p.used.Load() {
		select {
		case <-p.more:
		case <-p.now:
			return
		}
	}
}

func (p *pacer) use(off int64) {
	if p == nil {
		return
	}
	p.used.Store(off)
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// rush ends all waiting.
func (p *pacer) rush() {
	if p != nil {
		p.close.Do(func() { close(p.now) })
	}
}

type prepared struct {
	file disk.File
	err  error
}

func segmentBase(seg uint64) string { return fmt.Sprintf("%08d.wal", seg) }

func segmentName(dir string, seg uint64) string { return filepath.Join(dir, segmentBase(seg)) }

// segments lists the numbers of the segments in a directory, ascending, and removes what was left half made.
func segments(fs disk.FS, dir string) ([]uint64, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	var segs []uint64
	for _, name := range names {
		if strings.HasSuffix(name, ".tmp") {
			if err := fs.Remove(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(name, ".wal"), 10, 64)
		if err != nil || segmentBase(n) != name {
			return nil, fmt.Errorf("%s is no file of the ledger", filepath.Join(dir, name))
		}
		segs = append(segs, n)
	}
	return segs, nil
}

// makeSegment makes a segment of zeros whose contents can be synced later without moving metadata. It is filled in small
// steps, so that no sync of the current segment waits behind a large one.
func makeSegment(fs disk.FS, dir string, seg uint64, size int64, pace *pacer) (disk.File, error) {
	name := segmentName(dir, seg)
	f, err := fs.Create(name + ".tmp")
	if err != nil {
		return nil, err
	}
	if err := fillSegment(f, seg, size, pace); err != nil {
		return nil, errors.Join(err, f.Close(), fs.Remove(name+".tmp"))
	}
	return nameSegment(fs, f, name+".tmp", dir, seg)
}

// retire takes a segment out of the log: its name says so once the directory is synced, and a start removes it.
func (w *wal) retire(seg uint64) error {
	name := segmentName(w.dir, seg)
	return w.fs.Rename(name, name+".tmp")
}

// keep has a retired segment used again, if not enough wait for that. Then it need not be filled with zeros, which would make
// the disk write everything twice. What stands in it has numbers that were durable long before, which is how a replay
// tells it from commits.
func (w *wal) keep(seg uint64) error {
	name := segmentName(w.dir, seg) + ".tmp"
	select {
	case w.spare <- name:
		return nil
	default:
		return w.fs.Remove(name)
	}
}

// another returns the segment of a number, ready to be written to.
func (w *wal) another(seg uint64, pace *pacer) (disk.File, error) {
	select {
	case name := <-w.spare:
		return reuseSegment(w.fs, w.dir, name, seg, w.size)
	default:
		return makeSegment(w.fs, w.dir, seg, w.size, pace)
	}
}

// reuseSegment gives a retired segment another number.
func reuseSegment(fs disk.FS, dir, retired string, seg uint64, size int64) (disk.File, error) {
	f, err := fs.Open(retired)
	if err != nil {
		return nil, err
	}
	var header [segmentHeader]byte
	putSegmentHeader(header[:], seg)
	_, err = f.WriteAt(header[:], 0)
	if err == nil {
		err = f.Truncate(size) // Config.SegmentSize may have been another
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), fs.Remove(retired))
	}
	return nameSegment(fs, f, retired, dir, seg)
}

// nameSegment gives a file that is ready its name in the log.
func nameSegment(fs disk.FS, f disk.File, from, dir string, seg uint64) (disk.File, error) {
	if err := fs.Rename(from, segmentName(dir, seg)); err != nil {
		return nil, errors.Join(err, f.Close(), fs.Remove(from))
	}
	if err := fs.SyncDir(dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func fillSegment(f disk.File, seg uint64, size int64, pace *pacer) error {
	block := make([]byte, min(zeroStep, size))
	for off := int64(0); off < size; off += zeroStep {
		pace.wait(off)
		b := block[:min(zeroStep, size-off)]
		clear(b)
		if off == 0 {
			putSegmentHeader(b, seg)
		}
		if _, err := f.WriteAt(b, off); err != nil {
			return err
		}
		disk.Begin(f)
	}
	return f.Sync()
}

func putSegmentHeader(b []byte, seg uint64) {
	binary.BigEndian.PutUint32(b, segmentMagic)
	binary.BigEndian.PutUint64(b[4:], seg)
	binary.BigEndian.PutUint32(b[12:], crc32.Checksum(b[:12], castagnoli))
}

// openSegment opens a segment and returns its size.
func openSegment(fs disk.FS, dir string, seg uint64) (disk.File, int64, error) {
	f, err := fs.Open(segmentName(dir, seg))
	if err != nil {
		return nil, 0, err
	}
	var got, want [segmentHeader]byte
	putSegmentHeader(want[:], seg)
	size, err := f.Size()
	if err == nil {
		_, err = f.ReadAt(got[:], 0)
	}
	if err == nil && got != want {
		err = fmt.Errorf("the header of WAL segment %d is damaged: %w", seg, querschott.ErrHalt)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

// room is how many bytes the largest frame may have.
func (w *wal) room() int64 { return w.size - segmentHeader }

// write puts a frame behind the last one and makes it durable. After an error nothing has been added.
func (w *wal) write(frame []byte) error {
	if int64(len(frame)) > w.tail.Room() {
		if err := w.rotate(); err != nil {
			return fmt.Errorf("couldn't get another WAL segment: %w", err)
		}
	}
	if err := w.tail.Add(frame); err != nil {
		return fmt.Errorf("couldn't write to the WAL: %w", halt(err))
	}
	w.pace.use(w.tail.Off())
	return nil
}

// halt marks an error after which nobody knows what is on the disk. A full disk is none: the frame is written again in
// the same place.
func halt(err error) error {
	if disk.IsFull(err) {
		return err
	}
	return errors.Join(err, querschott.ErrHalt)
}

func (w *wal) rotate() error {
	if w.next == nil {
		w.prepare()
	}
	w.pace.rush()
	p := <-w.next
	if p.err != nil { // perhaps long ago
		w.prepare()
		w.pace.rush()
		p = <-w.next
	}
	w.next = nil
	if p.err != nil {
		return p.err
	}
	err := w.enter(p.file, w.seg+1, segmentHeader)
	w.prepare()
	return err
}

// enter leaves the current segment for another. The file is the log's from then on, also after an error.
func (w *wal) enter(f disk.File, seg uint64, off int64) error {
	tail, err := disk.NewAppender(f, off)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	err = w.leave()
	w.file, w.tail, w.seg = f, tail, seg
	return err
}

// leave closes the current segment, if there is one.
func (w *wal) leave() error {
	if w.file == nil {
		return nil
	}
	return errors.Join(w.tail.Close(), w.file.Close())
}

// prepare starts making the segment after the current one, unless it is there.
func (w *wal) prepare() {
	next, pace := make(chan prepared, 1), newPacer()
	w.next, w.pace = next, pace
	seg := w.seg + 1
	go func() {
		f, err := w.another(seg, pace)
		next <- prepared{f, err}
	}()
}

// close waits for the segment that is being made.
func (w *wal) close() error {
	var err error
	w.pace.rush()
	if w.next != nil {
		if p := <-w.next; p.file != nil {
			err = p.file.Close()
		}
	}
	for len(w.spare) > 0 {
		err = errors.Join(err, w.fs.Remove(<-w.spare))
	}
	return errors.Join(err, w.leave())
}
