package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/contain"
)

// SimulateRequest asks what a playbook would have done.
type SimulateRequest struct {
	ID     string `json:"id"`
	AsLive bool   `json:"as_live"` // alarms in shadow mode too, as if they were live
}

// SimulateProgress says how far the dry run under way has read.
type SimulateProgress struct {
	Read  int64 `json:"read"` // bytes
	Total int64 `json:"total"`
}

func (n *Node) controlSimulate(r *http.Request) (any, error) {
	d, err := decode[SimulateRequest](r)
	if err != nil {
		return nil, err
	}
	c := n.contain
	book, err := c.library.Find(d.ID)
	if err != nil {
		return nil, err
	}
	if !c.rehearsing.TryLock() {
		return nil, querschott.Refuse(querschott.CodeConflict, "another dry run is under way; wait for it")
	}
	defer c.rehearsing.Unlock()
	now := n.opt.Now()
	alarms := n.alarms.book.list(AlarmQuery{Since: now.Add(-contain.RehearsalTime), Most: alarmsHeld})
	h := contain.Rehearse(book, c.library.Get, contain.Automatic(n.cfg.Contain.Automatic), n.cfg.Contain.judge(), alarms, now, d.AsLive)
	if files := n.cfg.HTTP.recorded(); len(files) > 0 {
		h.Source = "http.access_log"
		return h, c.readRecorded(r.Context(), files, h)
	}
	h.Source = "memory (http.access_log is not set)"
	c.recent.Feed(h)
	return h, nil
}

// readRecorded shows a rehearsal the events of all files. They are opened before the first is read, so that one that is renamed
// meanwhile is not missed.
func (c *containment) readRecorded(ctx context.Context, files []string, h *contain.Rehearsal) error {
	c.read.Store(0)
	var total int64
	var open []*os.File
	defer func() {
		for _, f := range open {
			_ = f.Close() // it was only read
		}
	}()
	for _, name := range files {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("couldn't open recorded events: %w", err)
		}
		open = append(open, f)
		if st, err := f.Stat(); err == nil {
			total += st.Size()
		}
	}
	c.total.Store(total)
	for _, f := range open {
		if err := c.readEvents(ctx, f, h); err != nil {
			return err
		}
	}
	return nil
}

func (c *containment) readEvents(ctx context.Context, f io.Reader, h *contain.Rehearsal) error {
	r := access.NewReader(&counted{f, c})
	for ctx.Err() == nil {
		e, err := r.Next()
		switch _, line := errors.AsType[*access.LineError](err); {
		case errors.Is(err, io.EOF):
			return nil
		case line:
			h.Faults++
		case err != nil:
			return err
		default:
			h.Event(&e)
		}
	}
	return ctx.Err()
}

// counted counts what is read.
type counted struct {
	io.Reader
	c *containment
}

func (r *counted) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.c.read.Add(int64(n))
	return n, err
}

func (n *Node) controlSimulateProgress(*http.Request) (any, error) {
	return SimulateProgress{n.contain.read.Load(), n.contain.total.Load()}, nil
}

// Simulate says what a playbook would have done in the last 24 hours. Progress hears every second how far the node has read; it may
// be nil.
func (c *Client) Simulate(ctx context.Context, q SimulateRequest, progress func(SimulateProgress)) (*contain.Rehearsal, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if progress != nil {
		go func() {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if p, err := get[SimulateProgress](ctx, c, "/v1/playbooks/simulate", nil); err == nil {
					progress(p)
				}
			}
		}()
	}
	return post[*contain.Rehearsal](ctx, c, "/v1/playbooks/simulate", q)
}
