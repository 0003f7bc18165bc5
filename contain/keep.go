package contain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// Runs returns copies of all runs, newest first.
func (e *Engine) Runs() []Run {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]Run, 0, len(e.runs))
	for _, r := range e.runs {
		list = append(list, r.clone())
	}
	slices.SortFunc(list, func(x, y Run) int { return strings.Compare(y.ID, x.ID) })
	return list
}

func (r *Run) clone() Run {
	c := *r
	c.Deeds = make([]*Deed, len(r.Deeds))
	for i, d := range r.Deeds {
		copied := *d
		copied.By = slices.Clone(d.By)
		c.Deeds[i] = &copied
	}
	return c
}

// Tick undoes what has run out, lets questions lapse that nobody answered, takes up runs that found no room in the queue, and
// says which runs are stuck. It is called every second or so. A clock that goes back prolongs what is in force; nothing ends
// early by it.
func (e *Engine) Tick(ctx context.Context) {
	now := e.cfg.Now()
	for _, r := range e.unfinished() {
		e.watchdog(r, now)
	}
	for _, x := range e.due(now) {
		if x.deed.State == Asked {
			e.say(e.settle(ctx, x.run, x.deed, Lapsed, because("lapsed")))
			continue
		}
		e.undo(ctx, x.run, x.deed, Over, "")
	}
}

// watchdog takes a run up again that waits, and cries once for one that is stuck.
func (e *Engine) watchdog(r *Run, now time.Time) {
	e.mu.Lock()
	age := now.Sub(r.Began)
	cry := age > stuck && !e.cried[r.ID]
	e.cried[r.ID] = e.cried[r.ID] || cry
	idle := !e.busy[r.ID]
	e.mu.Unlock()
	if cry {
		e.cfg.Alarm("run "+r.ID+" is not over", fmt.Errorf("it began %s ago", age.Round(time.Second)))
	}
	if idle {
		select {
		case e.queue <- r: // one that is there twice is carried out once
		default:
		}
	}
}

// thing is a deed with its run.
type thing struct {
	run  *Run
	deed *Deed
}

// due returns what has run out.
func (e *Engine) due(now time.Time) []thing {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []thing
	for _, r := range e.runs {
		if now.Sub(r.Ended) > keepRuns && r.settled() {
			e.forget(r)
			continue
		}
		for _, d := range r.Deeds {
			out := d.holds() && d.State != Begun && !now.Before(d.Until)
			lapsed := d.State == Asked && d.Action != nil && now.Sub(d.At) >= askLife
			if out || lapsed {
				list = append(list, thing{r, d})
			}
		}
	}
	slices.SortFunc(list, func(x, y thing) int { return strings.Compare(x.run.ID+x.deed.Key, y.run.ID+y.deed.Key) })
	return list
}

// undo takes a deed back. One that fails is tried again by the next tick or command.
func (e *Engine) undo(ctx context.Context, r *Run, d *Deed, s State, by querschott.Actor) error {
	effect, err := within(ctx, maxDeadline, func(ctx context.Context) (string, error) { return e.cfg.Hands.Undo(ctx, r, d, by) })
	if err != nil {
		err = fmt.Errorf("couldn't undo %s of run %s: %w", d.Key, r.ID, err)
		e.mu.Lock()
		cry := s == Over && !e.cried[r.ID+d.Key]
		e.cried[r.ID+d.Key] = true
		e.mu.Unlock()
		if cry { // the next ticks try again and say nothing
			e.cfg.Alarm("what has run out was not undone", err)
		}
		return err
	}
	e.mu.Lock()
	d.Effect = effect
	if by != "" {
		d.By = append(d.By, by)
	}
	e.mu.Unlock()
	return e.settle(ctx, r, d, s, Reason{})
}

// Release undoes what a run holds in force, all of it or one deed (its number from 1). One person is enough for credentials,
// sessions and groups. A door is opened by the door's own way only: what is released here is proposed there.
func (e *Engine) Release(ctx context.Context, run string, number int, by querschott.Actor) (Run, error) {
	r, picked, err := e.pick(run, number, func(d *Deed) bool { return d.holds() })
	if err != nil {
		return Run{}, err
	}
	for _, d := range picked {
		err = errors.Join(err, e.undo(ctx, r, d, Released, by))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return r.clone(), err
}

// Approve says yes to what a run asks, all of it or one deed. An order takes the yes of two different persons; what a person
// shall do by hand is seen by one.
func (e *Engine) Approve(ctx context.Context, run string, number int, by querschott.Actor) (Run, error) {
	r, picked, err := e.pick(run, number, func(d *Deed) bool { return d.State == Asked })
	if err != nil {
		return Run{}, err
	}
	for _, d := range picked {
		err = errors.Join(err, e.approve(ctx, r, d, by))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return r.clone(), err
}

func (e *Engine) approve(ctx context.Context, r *Run, d *Deed, by querschott.Actor) error {
	e.mu.Lock()
	switch {
	case d.State != Asked:
		e.mu.Unlock()
		return nil // somebody was faster
	case slices.Contains(d.By, by):
		e.mu.Unlock()
		return querschott.Refuse(querschott.CodeForbidden, "%s has said yes already; a different person must too", by)
	case d.Action != nil && e.cfg.Now().Sub(d.At) >= askLife:
		e.mu.Unlock()
		return querschott.Refuse(querschott.CodeConflict, "nobody said yes within %s; the question is over", askLife)
	}
	d.By = append(d.By, by)
	enough := d.Action != nil && len(d.By) >= 2
	if enough {
		d.State, d.Why, d.At, d.deadline = Begun, Reason{}, time.Time{}, maxDeadline
	}
	e.mu.Unlock()
	switch {
	case d.Action == nil:
		return e.settle(ctx, r, d, Seen, Reason{})
	case !enough:
		return e.settle(ctx, r, d, Asked, because("one-more"))
	}
	if err := e.do(ctx, r, d); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if d.State == Failed {
		return errors.New(d.Why.String())
	}
	return nil
}

// pick finds a run's deeds.
func (e *Engine) pick(run string, number int, want func(*Deed) bool) (*Run, []*Deed, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.runs[run]
	if r == nil {
		return nil, nil, querschott.Refuse(querschott.CodeNotFound, "there is no run %.60q; see 'querschott contain list'", run)
	}
	var list []*Deed
	for i, d := range r.Deeds {
		if (number == 0 || number == i+1) && want(d) {
			list = append(list, d)
		}
	}
	if len(list) == 0 {
		return nil, nil, querschott.Refuse(querschott.CodeConflict, "run %s has nothing there that could be released or approved; see 'querschott contain list'", run)
	}
	return r, list, nil
}

// parseRun reads the file of a run and refuses what would lead anywhere but to what was written.
func parseRun(data []byte) (*Run, error) {
	r := &Run{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, err
	}
	if r.ID == "" || r.Began.IsZero() || len(r.Deeds) > maxVisits*maxCalls {
		return nil, errors.New("it is no run")
	}
	for _, d := range r.Deeds {
		if d == nil || d.Key == "" || d.Action == nil && d.holds() {
			return nil, errors.New("it has a deed that does nothing")
		}
	}
	return r, nil
}
