package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
)

// Source is recorded events under a name that a reader of the report knows, such as a file's.
type Source struct {
	Name   string
	Reader *access.Reader
	Only   func(*querschott.Access) bool // the events that are meant; others are bad lines. nil: all
}

// Fault is a line of a source that is no event.
type Fault struct {
	Source string `json:"file"`
	Line   int    `json:"line"`
	Why    string `json:"why"`
}

// Reading is how reading went.
type Reading struct {
	Lines  uint64            `json:"lines"`
	Bad    map[string]uint64 `json:"bad_lines"` // by source; none for sources without
	Faults []Fault           `json:"faults"`    // the first of them
}

// maxFaults is how many bad lines are named.
const maxFaults = 100

// Replay lets the watch see recorded events of several sources in the order of their times, and ends the last day. Lines
// that are no events are counted, and named. It fails when a source cannot be read, and when there are lines and none of
// them is an event.
func (w *Watch) Replay(ctx context.Context, sources []Source) (*Reading, error) {
	r, events, err := w.read(ctx, sources)
	if err != nil {
		return r, err
	}
	w.Flush()
	if r.Lines > 0 && events == 0 {
		return r, errors.New("none of the lines is an access event")
	}
	return r, nil
}

// Learn lets the watch see recorded events so that it knows everybody's habits, as it did before a restart. Alarms about
// them were told then; they are not told again, and their day's repetitions fold into them.
func (w *Watch) Learn(ctx context.Context, sources []Source) (*Reading, error) {
	w.setQuiet(true)
	defer w.setQuiet(false)
	r, _, err := w.read(ctx, sources)
	return r, err
}

func (w *Watch) setQuiet(quiet bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet = quiet
}

// read shows the events of all sources in the order of their times.
func (w *Watch) read(ctx context.Context, sources []Source) (_ *Reading, events uint64, _ error) {
	r := &Reading{Bad: map[string]uint64{}, Faults: []Fault{}}
	feeds := make([]*feed, 0, len(sources))
	for _, s := range sources {
		f := &feed{Source: s}
		for range f.ahead {
			if err := f.fill(r); err != nil {
				return r, 0, err
			}
		}
		feeds = append(feeds, f)
	}
	for {
		if events%1024 == 0 && ctx.Err() != nil {
			return r, events, ctx.Err()
		}
		var next *feed
		for _, f := range feeds {
			if f.waiting > 0 && (next == nil || f.time().Before(next.time())) {
				next = f
			}
		}
		if next == nil {
			return r, events, nil
		}
		w.Observe(&next.ahead[0])
		events++
		next.ahead[0] = next.ahead[1]
		next.waiting--
		if err := next.fill(r); err != nil {
			return r, events, err
		}
	}
}

// feed reads one source two events ahead.
type feed struct {
	Source
	ahead   [2]querschott.Access
	waiting int
	line    int // that was read last
	ended   bool
}

// time is when the first waiting event has its turn: when it was told, unless the one behind it says that its clock was wrong.
func (f *feed) time() time.Time {
	t := told(&f.ahead[0])
	if f.waiting > 1 {
		if next := told(&f.ahead[1]); next.Before(t.Add(-ahead)) {
			return next
		}
	}
	return t
}

var errNotMeant = errors.New("it is no event of this source")

// fill reads until an event more waits, or the source ends.
func (f *feed) fill(r *Reading) error {
	for !f.ended && f.waiting < len(f.ahead) {
		e, err := f.Reader.Next()
		if errors.Is(err, io.EOF) {
			f.ended = true
			return nil
		}
		f.line++
		if err == nil && (f.Only == nil || f.Only(&e)) {
			r.Lines++
			f.ahead[f.waiting] = e
			f.waiting++
			return nil
		}
		if err == nil {
			err = &access.LineError{Line: f.line, Err: errNotMeant}
		}
		bad, ok := errors.AsType[*access.LineError](err)
		if !ok {
			return fmt.Errorf("couldn't read %s: %w", f.Name, err)
		}
		r.Lines++
		r.Bad[f.Name]++
		if len(r.Faults) < maxFaults {
			r.Faults = append(r.Faults, Fault{f.Name, bad.Line, bad.Err.Error()})
		}
	}
	return nil
}
