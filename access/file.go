package access

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// FileConfig says where events are written.
type FileConfig struct {
	Path  string                       // "-" for standard output
	Max   int64                        // bytes after which the file is renamed and a new one begun; 0: never
	Keep  int                          // renamed files that stay; default 1
	Alarm func(err error, lost uint64) // told at the first failure and again after every minute of failing, and how many events are lost since the start
	Now   func() time.Time             // default time.Now
	Least int64                        // bytes that stay free on the disk: with less, nothing is written
	Ours  bool                         // the file is nobody else's: one that cannot be opened is an alarm and no error, one that does not end with an event is renamed as if it were full
}

// File writes events to a file. One goroutine runs it, or uses Put and Flush.
type File struct {
	cfg     FileConfig
	f       *os.File // nil: to be opened
	regular bool
	size    int64
	pending []byte
	events  uint64 // in pending
	warned  time.Time

	lost atomic.Uint64
}

const (
	fileBuffer = 256 << 10
	filePause  = 5 * time.Millisecond // between writes: under load each would bring one event
	warnEvery  = time.Minute
)

// OpenFile opens the file, so that a wrong path is known at the start.
func OpenFile(cfg FileConfig) (*File, error) {
	if cfg.Alarm == nil {
		return nil, errors.New("couldn't open the file of access events: nobody would hear its alarm")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Keep = max(cfg.Keep, 1)
	f := &File{cfg: cfg}
	if err := f.open(); err != nil {
		if !cfg.Ours {
			return nil, err
		}
		f.alarm(err)
	}
	return f, nil
}

// Lost returns how many events were not written.
func (f *File) Lost() uint64 { return f.lost.Load() }

// Run writes what the subscription brings until it is closed, or ctx ends and its buffer is empty. Then it closes the file.
// An event waits in memory for as long as others wait behind it, or for a pause after the write before.
func (f *File) Run(ctx context.Context, s *Subscription) error {
	stop := context.AfterFunc(ctx, s.Close)
	defer stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for e := range s.Events() {
		f.add(&e)
		if len(s.Events()) > 0 && len(f.pending) < fileBuffer {
			continue
		}
		f.flush()
		pause.Reset(filePause)
		if len(s.Events()) < cap(s.Events())/4 {
			<-pause.C
		}
	}
	return f.close()
}

// Put writes an event, with the next Flush at the latest. What could not be written is lost and counted.
func (f *File) Put(e *querschott.Access) {
	f.add(e)
	if len(f.pending) >= fileBuffer {
		f.flush()
	}
}

// Flush writes what waits.
func (f *File) Flush() {
	if len(f.pending) > 0 {
		f.flush()
	}
}

// Close writes what waits and closes the file. Nothing is written after it.
func (f *File) Close() error { return f.close() }

// add puts an event's line behind those that wait.
func (f *File) add(e *querschott.Access) {
	line, err := json.Marshal(e)
	if err == nil && len(line) >= MaxLine {
		err = errLong
	}
	if err != nil {
		f.lost.Add(1)
		f.alarm(fmt.Errorf("couldn't write an access event: %w", err))
		return
	}
	f.pending = append(append(f.pending, line...), '\n')
	f.events++
}

// flush writes what waits. What a failed write took with it is lost and counted.
func (f *File) flush() {
	if err := f.write(); err != nil {
		f.lost.Add(f.events)
		f.alarm(err)
	}
	f.pending, f.events = f.pending[:0], 0
}

func (f *File) write() error {
	if f.cfg.Least > 0 {
		if free, err := disk.Free(filepath.Dir(f.cfg.Path)); err == nil && free < f.cfg.Least {
			return fmt.Errorf("couldn't write access events: %d MiB are free on the disk, and %d stay free for what is needed more", free>>20, f.cfg.Least>>20)
		}
	}
	if f.f != nil && f.regular && f.cfg.Max > 0 && f.size > 0 && f.size+int64(len(f.pending)) > f.cfg.Max {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	if f.f == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	n, err := f.f.Write(f.pending)
	f.size += int64(n)
	if err != nil {
		if f.f != os.Stdout {
			_ = f.f.Close() // the failed write is the news
		}
		f.f = nil
		return fmt.Errorf("couldn't write access events: %w", err)
	}
	return nil
}

func (f *File) alarm(err error) {
	now := f.cfg.Now()
	if now.Sub(f.warned) < warnEvery {
		return
	}
	f.warned = now
	f.cfg.Alarm(err, f.lost.Load())
}

// open opens the file for appending, and cuts off a last line that has no end.
func (f *File) open() error {
	if f.cfg.Path == "-" {
		f.f = os.Stdout
		return nil
	}
	h, err := os.OpenFile(f.cfg.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("couldn't open the file of access events: %w", err)
	}
	st, err := h.Stat()
	if err == nil && st.Mode().IsRegular() {
		f.regular = true
		f.size, err = mend(h, st.Size())
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("couldn't open the file of access events: %w", err), h.Close())
		if f.cfg.Ours && errors.Is(err, errNoEvents) {
			return f.setAside()
		}
		return err
	}
	f.f = h
	return nil
}

// setAside renames a file that does not end with events, so that what was written before is still read, and opens a new one.
func (f *File) setAside() error {
	if err := f.rename(); err != nil {
		return fmt.Errorf("couldn't begin a new file of access events: %w", err)
	}
	return f.open()
}

var errNoEvents = errors.New("what stands in it are no access events")

// mend returns the length of a file up to its last line end, after cutting off what follows. A file that is not made of
// lines is somebody else's and stays as it is.
func mend(h *os.File, size int64) (int64, error) {
	begin := max(0, size-MaxLine)
	tail := make([]byte, size-begin)
	if _, err := h.ReadAt(tail, begin); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	end := int64(bytes.LastIndexByte(tail, '\n') + 1)
	if begin+end == size {
		return size, nil
	}
	if end == 0 && begin > 0 || end < int64(len(tail)) && tail[end] != '{' {
		return 0, errNoEvents
	}
	return begin + end, h.Truncate(begin + end)
}

// rotate renames the full file, so that write begins a new one.
func (f *File) rotate() error {
	err := f.f.Close()
	f.f = nil
	if err = errors.Join(err, f.rename()); err != nil {
		return fmt.Errorf("couldn't begin a new file of access events: %w", err)
	}
	return nil
}

// rename gives the file the name of the first that was full before, and each of those the name of the next.
func (f *File) rename() (err error) {
	for i := f.cfg.Keep; i > 0; i-- {
		from := f.cfg.Path
		if i > 1 {
			from += "." + strconv.Itoa(i-1)
		}
		if e := os.Rename(from, f.cfg.Path+"."+strconv.Itoa(i)); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func (f *File) close() error {
	if len(f.pending) > 0 {
		f.flush()
	}
	if f.f == nil || f.f == os.Stdout {
		return nil
	}
	if err := f.f.Close(); err != nil {
		return fmt.Errorf("couldn't close the file of access events: %w", err)
	}
	return nil
}
