package contain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/watch"
)

// Hands do what is decided. Each may be called again for the same run and deed after a crash and must then change nothing more.
type Hands struct {
	// Do puts an action in force until a time, and says how it is enforced.
	Do func(ctx context.Context, r *Run, d *Deed) (effect string, err error)
	// Undo takes it back. By is who released it, "" when its time has run out. A door is not opened by it: that is proposed.
	Undo func(ctx context.Context, r *Run, d *Deed, by querschott.Actor) (effect string, err error)
	// Tell records what has happened: ledger, incident, log. It may hear of the same thing twice after a crash.
	Tell func(ctx context.Context, r *Run, d *Deed) error
}

// Config is what an engine needs.
type Config struct {
	FS        disk.FS
	Dir       string // of the runs
	Library   *Library
	Hands     Hands
	Automatic Automatic
	Patience  time.Duration // with a hand, where the playbook has less; 0: as the playbook says
	Now       func() time.Time
	Ended     func(*Run)                   // told of a copy of each run that is over; nil: nobody
	Alarm     func(what string, err error) // somebody must look
}

// Bounds of what is kept.
const (
	maxRuns   = 2000
	maxRun    = 256 << 10
	keepRuns  = 30 * 24 * time.Hour
	askLife   = time.Hour        // within which two persons must have said yes
	stuck     = 10 * time.Minute // after which a run that is not over is said
	workers   = 4
	maxQueued = 512
)

// Engine carries runs out. Every boundary between two steps is on disk before the next begins, so that a run that a crash has cut
// off is completed by the next start, each of its deeds in force once.
type Engine struct {
	cfg   Config
	queue chan *Run

	mu    sync.Mutex // guards all below, and the runs; not held while hands work or a file is written
	runs  map[string]*Run
	last  uint64
	cried map[string]bool // runs that were said to be stuck
	busy  map[string]bool // runs that are being carried out
	files sync.Mutex      // held while a file is written
}

// OpenEngine reads the runs. Those that are not over go on when Work is called. A file that cannot be read is named in the error
// log by alarm and left where it is.
func OpenEngine(cfg Config) (*Engine, error) {
	e := &Engine{cfg: cfg, queue: make(chan *Run, maxQueued), runs: map[string]*Run{}, cried: map[string]bool{}, busy: map[string]bool{}}
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("couldn't make the directory of runs: %w", err)
	}
	names, err := cfg.FS.List(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("couldn't list the runs: %w", err)
	}
	for _, name := range names {
		if filepath.Ext(name) != ".json" {
			continue
		}
		r, err := e.read(name)
		if err != nil {
			cfg.Alarm("the file of a run is damaged: what it held stays in force until its time is over", fmt.Errorf("%s: %w", name, err))
			continue
		}
		e.runs[r.ID] = r
	}
	return e, nil
}

func (e *Engine) read(name string) (*Run, error) {
	data, err := disk.ReadFile(e.cfg.FS, filepath.Join(e.cfg.Dir, name), maxRun)
	if err != nil {
		return nil, err
	}
	r, err := parseRun(data)
	if err != nil {
		return nil, err
	}
	if r.ID+".json" != name {
		return nil, errors.New("it is the file of another run")
	}
	return r, nil
}

// Start begins a run for what the judge decided. It returns when the run is on disk; the deeds are done beside the caller.
// Nil: nothing is to be done or asked, or no playbook is in force.
func (e *Engine) Start(a *watch.Alarm, d Decision, ref string) (*Run, error) {
	if len(d.Actions) == 0 && len(d.Ask) == 0 {
		return nil, nil
	}
	now := e.cfg.Now().UTC()
	book := e.cfg.Library.For(a.Detector, a.Cause, now)
	if book == nil {
		return nil, errors.New("no playbook is in force for this alarm")
	}
	r := &Run{Alarm: *a, Decision: d, Playbook: book.ID, Digest: book.Digest, Case: ref, Began: now, Deeds: []*Deed{}}
	e.mu.Lock()
	e.makeRoom()
	full := len(e.runs) >= maxRuns
	if !full {
		e.last++
		for r.ID = e.name(now); e.runs[r.ID] != nil; r.ID = e.name(now) {
			e.last++
		}
		e.runs[r.ID] = r
	}
	e.mu.Unlock()
	if full {
		return nil, querschott.Refuse(querschott.CodeNoRoom, "there are %d runs that are not over", maxRuns)
	}
	// A disk that fails must not keep a credential from being held: the run goes on and may not survive a crash.
	err := e.save(r)
	select {
	case e.queue <- r:
	default:
		err = errors.Join(err, querschott.Refuse(querschott.CodeNoRoom, "%d runs wait already; the next start of the node or minute carries this one out", maxQueued))
	}
	return r, err
}

// name is unique even when the clock goes back.
func (e *Engine) name(now time.Time) string {
	return fmt.Sprintf("run-%s-%04d", now.Format("20060102-150405"), e.last)
}

// makeRoom forgets the oldest run that holds nothing, if there are as many as may be. The caller holds e.mu.
func (e *Engine) makeRoom() {
	if len(e.runs) < maxRuns {
		return
	}
	var oldest *Run
	for _, r := range e.runs {
		if r.settled() && (oldest == nil || r.Began.Before(oldest.Began)) {
			oldest = r
		}
	}
	if oldest != nil {
		e.forget(oldest)
	}
}

func (e *Engine) forget(r *Run) {
	delete(e.runs, r.ID)
	delete(e.cried, r.ID)
	if err := e.cfg.FS.Remove(e.file(r)); err != nil {
		e.cfg.Alarm("couldn't remove the file of an old run", err)
	}
}

// settled reports whether a run is over and nothing of it is in force or asked.
func (r *Run) settled() bool {
	return !r.Ended.IsZero() && !slices.ContainsFunc(r.Deeds, func(d *Deed) bool { return d.holds() || d.State == Asked })
}

func (e *Engine) file(r *Run) string { return filepath.Join(e.cfg.Dir, r.ID+".json") }

// save writes a run.
func (e *Engine) save(r *Run) error {
	e.files.Lock()
	defer e.files.Unlock()
	e.mu.Lock()
	data, err := json.MarshalIndent(r, "", " ")
	e.mu.Unlock()
	if err == nil {
		err = disk.WriteFile(e.cfg.FS, e.file(r), append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("couldn't write run %s: %w", r.ID, err)
	}
	return nil
}

// Work carries runs out until the context ends: first those that were cut off.
func (e *Engine) Work(ctx context.Context) error {
	var all sync.WaitGroup
	for _, r := range e.unfinished() {
		e.carryOut(ctx, r)
	}
	for range workers {
		all.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case r := <-e.queue:
					e.carryOut(ctx, r)
				}
			}
		})
	}
	all.Wait()
	return nil
}

func (e *Engine) unfinished() []*Run {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []*Run
	for _, r := range e.runs {
		if r.Ended.IsZero() {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(x, y *Run) int { return strings.Compare(x.ID, y.ID) })
	return list
}

// claim reports whether a run is to be carried out by the caller, who gives it back afterwards.
func (e *Engine) claim(r *Run) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.busy[r.ID] || !r.Ended.IsZero() {
		return false
	}
	e.busy[r.ID] = true
	return true
}

func (e *Engine) giveBack(r *Run) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.busy, r.ID)
}

// carryOut walks a run to its end.
func (e *Engine) carryOut(ctx context.Context, r *Run) {
	if !e.claim(r) {
		return
	}
	defer e.giveBack(r)
	book := e.cfg.Library.Get(r.Playbook)
	err := errNotHeld
	if book != nil && book.Digest == r.Digest {
		w := &walker{
			run: r, lock: &e.mu, get: e.cfg.Library.Get, far: e.cfg.Automatic, seen: map[string]int{},
			do:     func(d *Deed) error { return e.do(ctx, r, d) },
			asleep: func(d *Deed) error { return e.settle(ctx, r, d, d.State, d.Why) },
		}
		values := r.values()
		for k, v := range book.constants {
			values[k] = v
		}
		err = w.walk(book, values, book.start, 0)
	}
	if ctx.Err() != nil {
		return // the next start goes on
	}
	e.mu.Lock()
	r.Ended = e.cfg.Now().UTC()
	if err != nil {
		r.Trouble = err.Error()
	}
	e.mu.Unlock()
	if err != nil {
		e.cfg.Alarm("run "+r.ID+" could not be carried out to its end", err)
	}
	e.say(e.save(r))
	if e.cfg.Ended != nil {
		e.mu.Lock()
		c := r.clone()
		e.mu.Unlock()
		e.cfg.Ended(&c)
	}
}

// do carries one deed out. That it begins is on disk first.
func (e *Engine) do(ctx context.Context, r *Run, d *Deed) error {
	e.mu.Lock()
	if d.At.IsZero() {
		d.At = e.cfg.Now().UTC()
		d.Until = d.At.Add(d.Action.TTL)
	}
	e.mu.Unlock()
	e.say(e.save(r))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	limit := d.deadline
	if limit == 0 {
		limit = maxDeadline
	}
	limit = max(limit, e.cfg.Patience)
	effect, err := within(ctx, limit, func(ctx context.Context) (string, error) { return e.cfg.Hands.Do(ctx, r, d) })
	if ctx.Err() != nil {
		return ctx.Err() // begun; the next start does it again
	}
	e.mu.Lock()
	d.Effect = effect
	e.mu.Unlock()
	if err != nil {
		e.cfg.Alarm("a step of run "+r.ID+" failed; the others go on", err)
		return e.settle(ctx, r, d, Failed, full(Reason{Code: "failed", About: err.Error()}))
	}
	return e.settle(ctx, r, d, Done, Reason{})
}

// within runs f for a time at most. One that hangs is left behind: what it does later it may do.
func within(ctx context.Context, limit time.Duration, f func(context.Context) (string, error)) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
	type answer struct {
		effect string
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		defer cancel()
		effect, err := f(ctx)
		done <- answer{effect, err}
	}()
	select {
	case a := <-done:
		return a.effect, a.err
	case <-ctx.Done():
		select {
		case a := <-done: // both at once
			return a.effect, a.err
		default:
			return "", context.Cause(ctx)
		}
	}
}

// settle writes down what became of a deed and tells it.
func (e *Engine) settle(ctx context.Context, r *Run, d *Deed, s State, why Reason) error {
	e.mu.Lock()
	d.State, d.Why = s, why
	if d.At.IsZero() {
		d.At = e.cfg.Now().UTC()
	}
	e.mu.Unlock()
	e.say(e.save(r))
	if err := e.cfg.Hands.Tell(context.WithoutCancel(ctx), r, d); err != nil {
		e.cfg.Alarm("what run "+r.ID+" does could not be recorded", err)
	}
	return ctx.Err()
}

func (e *Engine) say(err error) {
	if err != nil {
		e.cfg.Alarm("a run would not survive a crash as it is", err)
	}
}
