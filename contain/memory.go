package contain

import (
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
)

// A judge counts what it decides as done at once, so that a flood of alarms meets the blast budget before the first door has moved.
// What has really become of it is told here. Failed orders stay in the budget: they may have happened.

// Settled takes note of what has become of a deed.
func (j *Judge) Settled(d *Deed, now time.Time) {
	if d.Action == nil {
		return
	}
	force := (d.State == Begun || d.State == Done) && now.Before(d.Until)
	switch d.Action.Kind {
	case MoveDoor:
		j.settledDoor(d, force, now)
		return
	case ShutInsurer: // what it moves is asked for anew when it is over
		return
	default:
	}
	if s := j.actors[d.Action.Actor]; s != nil && !force {
		if d.State != Over || !s.held[d.Action.Credential].After(d.Until) { // a later run may hold it longer
			delete(s.held, d.Action.Credential)
		}
		return
	}
	if force && d.Action.Credential != "" {
		if s, known := j.subject(d.Action.Actor, now); known {
			s.hold(d.Action.Credential, d.Until)
		}
	}
}

func (s *subject) hold(c querschott.CredentialID, until time.Time) {
	if s.held == nil {
		s.held = map[querschott.CredentialID]time.Time{}
	}
	s.held[c] = until
}

func (j *Judge) settledDoor(d *Deed, force bool, now time.Time) {
	c := d.Action.Compartment
	if r := j.compartment(c, now); r != nil {
		r.until = time.Time{}
		if force {
			r.until = d.Until
		}
	}
	begun := d.State != Asked && d.State != Refused && d.State != Lapsed
	switch i := slices.IndexFunc(j.moved, func(m movedDoor) bool { return m.insurer == c.Insurer && m.service == c.Service }); {
	case len(d.By) > 0: // persons decided
	case !begun && i >= 0:
		j.moved = slices.Delete(j.moved, i, i+1)
	case begun && i < 0 && now.Sub(d.At) < blastWindow:
		j.moved = append(j.moved, movedDoor{d.At, c.Insurer, c.Service})
	}
}

// Withdraw forgets actions of a decision that nobody carries out.
func (j *Judge) Withdraw(list []Action, now time.Time) {
	for _, a := range list {
		j.Settled(&Deed{Action: &a, State: Refused}, now)
	}
}

// Learn takes note of a run: what is in force, and what was decided and found no place in the playbook.
func (j *Judge) Learn(r *Run, now time.Time) {
	var omitted []Action
	for _, a := range r.Decision.Actions {
		if !slices.ContainsFunc(r.Deeds, func(d *Deed) bool { return d.Action != nil && find([]Action{a}, d.Action) != nil }) {
			omitted = append(omitted, a)
		}
	}
	j.Withdraw(omitted, now)
	for _, d := range r.Deeds {
		j.Settled(d, now)
	}
}

// Remember rebuilds what a judge knew before a restart: signals from the alarms that were raised, and what is in force, and how much
// of the blast budget is used, from the runs. It is called before the first alarm is judged.
func (j *Judge) Remember(alarms []*watch.Alarm, runs []Run, now time.Time) {
	type key struct {
		at              int64
		actor           querschott.Actor
		detector, cause string
	}
	seen, all := map[key]bool{}, slices.Clone(alarms)
	for i := range runs {
		all = append(all, &runs[i].Alarm) // the file of alarms may have lost it
	}
	slices.SortStableFunc(all, func(x, y *watch.Alarm) int { return x.Time.Compare(y.Time) })
	for _, a := range all {
		k := key{a.Time.UnixNano(), a.Actor, a.Detector, a.Cause}
		if age := now.Sub(a.Time); age < 0 || age >= memory || seen[k] {
			continue
		}
		seen[k] = true
		j.Withdraw(j.Judge(a, a.Time).Actions, a.Time)
	}
	list := slices.Clone(runs)
	slices.SortFunc(list, func(x, y Run) int { return strings.Compare(x.ID, y.ID) })
	for i := range list {
		j.Learn(&list[i], now)
	}
}
