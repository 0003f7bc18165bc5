package node

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/watch"
)

// learn shows the detectors what was recorded before the start, so that they know everybody's habits. A recording that
// cannot be read is said and left out: the early warning begins without it.
func (n *Node) learn(ctx context.Context) {
	n.watchCanaries()
	n.learnInto(ctx, n.alarms.watch, n.alarms.feeds)
	n.forgetTold()
}

// learnInto shows recorded events to a set of detectors, those of this node and those of foreign sources in the order in which
// they were told.
func (n *Node) learnInto(ctx context.Context, w *watch.Watch, feeds map[string]*feed) {
	begun := time.Now()
	var sources []watch.Source
	var recordings []*recording
	add := func(name string, files []string, only func(*querschott.Access) bool) {
		r, err := openNewest(files, int64(n.cfg.Watch.Learn))
		if err != nil {
			n.log.Warn("the early warning couldn't read recorded events", "source", name, "err", err)
		}
		if r != nil {
			recordings = append(recordings, r)
			sources = append(sources, watch.Source{Name: name, Reader: access.NewReader(r), Only: only})
		}
	}
	add("http.access_log", n.cfg.HTTP.recorded(), nil)
	if len(sources) == 0 {
		n.log.Info("the early warning begins without a past of its own", "fix", "set http.access_log, and watch.learn above 0")
	}
	for name, f := range feeds {
		if f.record != nil {
			add(f.gate(), renamed(n.cfg.fedPath(name), fedKeep), f.wrote(n.opt.Now()))
		}
	}
	defer func() {
		for _, r := range recordings {
			r.close()
		}
	}()
	if len(sources) == 0 {
		return
	}
	read, err := w.Learn(ctx, sources)
	if err != nil {
		n.log.Warn("the early warning couldn't read all recorded events", "err", err)
	}
	for i, r := range recordings {
		if r.err != nil {
			n.log.Warn("the early warning couldn't read all recorded events", "source", sources[i].Name, "err", r.err)
		}
	}
	for name, bad := range read.Bad {
		n.log.Warn("recorded lines are no events of their source; the early warning leaves them out", "source", name, "lines", bad)
	}
	n.log.Info("the early warning has read recorded events", "sources", len(sources), "lines", read.Lines, "took", time.Since(begun).Round(time.Millisecond))
}

// recording is the newest lines of a file and of those that were full before it, the oldest first.
type recording struct {
	io.Reader
	files []*os.File
	err   error // that ended the reading early
}

// openNewest opens as many files as the newest bytes lie in. It returns nil if there is none; files are named the oldest first.
// What is written from here on is not read: it is told as it happens.
func openNewest(files []string, most int64) (*recording, error) {
	r := &recording{}
	var parts []io.Reader
	var seen []os.FileInfo
	var errs error
	for _, name := range slices.Backward(files) {
		if most <= 0 {
			break
		}
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		r.files = append(r.files, f)
		st, err := f.Stat()
		if err != nil || !st.Mode().IsRegular() || slices.ContainsFunc(seen, func(s os.FileInfo) bool { return os.SameFile(s, st) }) {
			errs = errors.Join(errs, err)
			continue // one that was renamed since the one before was opened is there already
		}
		seen = append(seen, st)
		part, err := newest(f, st.Size(), min(st.Size(), most))
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		most -= st.Size()
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		r.close()
		return nil, errs
	}
	slices.Reverse(parts)
	r.Reader = io.MultiReader(parts...)
	return r, errs
}

// newest reads the last bytes of a file from the begin of a line on. A last line without its end gets one, so that it takes no
// line of the next file with it.
func newest(f *os.File, size, most int64) (io.Reader, error) {
	if _, err := f.Seek(size-most, io.SeekStart); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(io.LimitReader(f, most), 1<<17)
	if most < size {
		if _, err := r.ReadSlice('\n'); err != nil {
			return nil, err
		}
	}
	var last [1]byte
	if size > 0 {
		if _, err := f.ReadAt(last[:], size-1); err != nil {
			return nil, err
		}
		if last[0] != '\n' {
			return io.MultiReader(r, strings.NewReader("\n")), nil
		}
	}
	return r, nil
}

// Read implements [io.Reader]. A file that can't be read ends its recording, and no other.
func (r *recording) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err, err = err, io.EOF
	}
	return n, err
}

func (r *recording) close() {
	for _, f := range r.files {
		_ = f.Close() // it was only read
	}
}

// renamed names a file and those that were full before it, the oldest first.
func renamed(file string, keep int) (list []string) {
	for i := keep; i > 0; i-- {
		list = append(list, rotated(file, i))
	}
	return append(list, file)
}

// forgetTold has those told of again who were let in before the restart. What was read again counts as told, and whoever has
// let somebody in has seen it.
func (n *Node) forgetTold() {
	type who struct {
		actor      querschott.Actor
		credential querschott.CredentialID
	}
	in, held := map[who]bool{}, map[who]bool{}
	denied := map[string]bool{}
	for _, v := range n.denied.List() {
		denied[v.Run] = true
	}
	for _, r := range n.contain.engine.Runs() {
		for _, d := range r.Deeds {
			if d.Action == nil || isDoors(d.Action) {
				continue
			}
			w := who{d.Action.Actor, d.Action.Credential}
			switch {
			case denied[runName(&r, d)]:
				held[w] = true
			case d.State == contain.Done, d.State == contain.Released, d.State == contain.Over:
				in[w] = true
			}
		}
	}
	for w := range in {
		if !held[w] {
			n.alarms.watch.Released(w.actor, w.credential)
		}
	}
}
