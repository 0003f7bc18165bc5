package contain

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
)

// Run is one reaction to one alarm, as it lies on disk: everything that a restart needs to go on.
type Run struct {
	ID       string      `json:"id"`
	Alarm    watch.Alarm `json:"alarm"`
	Decision Decision    `json:"decision"`
	Playbook string      `json:"playbook"`
	Digest   string      `json:"digest"` // of the playbook, SHA-256
	Case     string      `json:"case,omitempty"`
	Began    time.Time   `json:"began"`
	Ended    time.Time   `json:"ended,omitzero"` // zero: it is not over
	Deeds    []*Deed     `json:"deeds"`
	Trouble  string      `json:"trouble,omitempty"` // why it could not be carried out to its end
}

// State is what has become of a deed.
type State string

// The states of a deed.
const (
	Begun    State = "begun"    // it may have happened, or not
	Done     State = "done"     // in force
	Failed   State = "failed"   // it is not known to be in force
	Asked    State = "asked"    // waits for persons
	Refused  State = "refused"  // the judge does not go so far
	Lapsed   State = "lapsed"   // nobody answered in time
	Seen     State = "seen"     // a person has done what a manual command says
	Released State = "released" // undone by a person
	Over     State = "over"     // its time has run out, and it was undone
)

// Deed is one order of a run and what became of it.
type Deed struct {
	Key      string             `json:"key"` // step, command and how often it came before: the same after a restart
	Step     string             `json:"step"`
	Name     string             `json:"name,omitempty"`
	Action   *Action            `json:"action,omitempty"` // nil: a manual command
	Manual   string             `json:"manual,omitempty"`
	State    State              `json:"state"`
	Why      Reason             `json:"why,omitzero"` // it was refused, is asked or has failed
	At       time.Time          `json:"at"`
	Until    time.Time          `json:"until,omitzero"`   // in force until
	Effect   string             `json:"effect,omitempty"` // how it is enforced: epochs, gates that obey
	By       []querschott.Actor `json:"by,omitempty"`     // who approved or released
	deadline time.Duration
}

// holds reports whether a deed is in force or may be.
func (d *Deed) holds() bool {
	return d.Action != nil && (d.State == Done || d.State == Begun || d.State == Failed)
}

func (r *Run) deed(key string) *Deed {
	for _, d := range r.Deeds {
		if d.Key == key {
			return d
		}
	}
	return nil
}

// values are the variables that a run has from its alarm.
func (r *Run) values() map[string]string {
	door, whole := "no", "no"
	for _, a := range slices.Concat(r.Decision.Actions, r.Decision.Ask) {
		switch a.Kind {
		case MoveDoor:
			door = "yes"
		case ShutInsurer:
			whole = "yes"
		default: // not about doors
		}
	}
	group, ok := strings.CutPrefix(string(r.Alarm.Actor), "group:")
	if !ok {
		group = ""
	}
	return map[string]string{
		"__actor__": string(r.Alarm.Actor), "__credential__": string(r.Alarm.Credential), "__insurer__": string(r.Alarm.Insurer),
		"__service__": string(r.Alarm.Service), "__detector__": r.Alarm.Detector, "__cause__": r.Alarm.Cause, "__kind__": string(r.Alarm.Kind),
		"__severity__": string(r.Alarm.Severity), "__group__": group, "__door__": door, "__whole__": whole,
	}
}

// Automatic says how far the platform goes by itself.
type Automatic string

// How far. Whatever is beyond it is asked for.
const (
	Off         Automatic = "off"
	Credentials Automatic = "credentials"
	Doors       Automatic = "doors"
)

// verdict says whether an order of a playbook may be carried out: Done for yes, Asked, or Refused.
func (r *Run) verdict(a *Action, book *Held, far Automatic) (State, Reason) {
	judged, ask := find(r.Decision.Actions, a), find(r.Decision.Ask, a)
	if judged == nil && ask == nil {
		why := r.Decision.Why
		return Refused, full(Reason{Code: "too-far", Of: &why})
	}
	switch {
	case judged == nil && a.Kind == ShutInsurer:
		return Asked, because("insurer")
	case judged == nil:
		return Asked, r.Decision.Why
	}
	switch {
	case a.Kind == HoldGroup || a.Kind == ShutInsurer:
		return Asked, because("two")
	case far == Off:
		return Asked, because("off")
	case a.Kind != MoveDoor:
		return Done, Reason{}
	case far != Doors:
		return Asked, because("doors-off")
	case book.Shipped || !book.Signed.By(a.Compartment.Insurer):
		return Asked, full(Reason{Code: "unsigned", About: string(a.Compartment.Insurer)})
	case r.omitted():
		return Asked, because("not-held")
	}
	return Done, Reason{}
}

// find returns the judge's action that an order is about. A door may be moved to another state than the judge named: that is for
// those to agree who have signed the playbook.
func find(list []Action, a *Action) *Action {
	for i := range list {
		j := &list[i]
		same := j.Kind == a.Kind || j.Kind == HoldCredential && a.Kind == HoldSession
		if same && j.Credential == a.Credential && j.Group == a.Group && j.Compartment == a.Compartment && j.Insurer == a.Insurer && (a.Kind.moves() || j.Actor == a.Actor) {
			return j
		}
	}
	return nil
}

// omitted reports whether the judge wanted a credential held that no deed of the run holds.
func (r *Run) omitted() bool {
	for _, a := range r.Decision.Actions {
		if a.Kind != HoldCredential && a.Kind != HoldSession {
			continue
		}
		if !slices.ContainsFunc(r.Deeds, func(d *Deed) bool {
			return d.State == Done && d.Action != nil && !d.Action.Kind.moves() && d.Action.Credential == a.Credential
		}) {
			return true
		}
	}
	return false
}

// walker takes the steps of a playbook. Deeds that the run has already are not done again: a restart walks from the start and
// comes to where it was.
type walker struct {
	run    *Run
	lock   sync.Locker // guards the run
	get    func(id string) *Held
	do     func(*Deed) error // brings a deed to a state in which it stays; an error ends the walk
	asleep func(*Deed) error // writes down a deed that is not to be done
	far    Automatic
	seen   map[string]int // how often a command came
	steps  int
}

var errTooLong = errors.New("the run takes too many steps")

// walk takes the steps from one on until an end.
func (w *walker) walk(book *Held, values map[string]string, id string, depth int) error {
	for id != "" {
		if w.steps++; w.steps > maxVisits*maxCalls || depth > maxSteps {
			return errTooLong
		}
		s := book.steps[id]
		branches, failed, err := w.step(book, values, s, depth)
		if err != nil {
			return err
		}
		for _, b := range branches {
			if err := w.walk(book, values, b, depth+1); err != nil {
				return err
			}
		}
		if id = s.next(); failed && s.failure != "" {
			id = s.failure
		}
	}
	return nil
}

// step does what a step says and returns the branches to be taken before what follows. Branches of parallel are taken one after
// another, in the order in which they stand.
func (w *walker) step(book *Held, values map[string]string, s *step, depth int) (branches []string, failed bool, err error) {
	switch s.kind {
	case "action":
		failed, err = w.action(book, values, s)
	case "if-condition":
		if branches = []string{s.onFalse}; holds(s.condition, values) {
			branches[0] = s.onTrue
		}
	case "switch-condition":
		next, ok := s.cases[values[s.variable]]
		if !ok {
			next = s.cases["default"]
		}
		branches = []string{next}
	case "parallel":
		branches = s.branches
	case "playbook-action":
		called := w.get(s.playbook)
		if called == nil || depth > maxCalls*10 {
			return nil, false, errNotHeld
		}
		own := w.run.values()
		for k, v := range called.constants {
			own[k] = v
		}
		err = w.walk(called, own, called.start, depth+10)
	}
	return branches, failed, err
}

func holds(condition []comparison, values map[string]string) bool {
	for _, c := range condition {
		if (values[c.variable] == c.value) == c.not {
			return false
		}
	}
	return true
}

// action goes on after a command that failed: one silent part does not stop what else is to be shut.
func (w *walker) action(book *Held, values map[string]string, s *step) (failed bool, err error) {
	for i, c := range s.commands {
		key := fmt.Sprintf("%s#%d", s.id, i)
		w.seen[key]++
		key = fmt.Sprintf("%s.%d", key, w.seen[key])
		d, state, fresh := w.deed(book, values, s, c, key)
		switch {
		case state == Begun:
			err = w.do(d)
		case fresh:
			err = w.asleep(d)
		}
		if err != nil {
			return false, err
		}
		w.lock.Lock()
		failed = failed || d.State == Failed // what is asked, refused or done has not failed
		w.lock.Unlock()
	}
	return failed, nil
}

// deed finds the deed of a command, or plans it.
func (w *walker) deed(book *Held, values map[string]string, s *step, c command, key string) (d *Deed, state State, fresh bool) {
	w.lock.Lock()
	defer w.lock.Unlock()
	if d = w.run.deed(key); d == nil {
		d, fresh = w.plan(book, values, s, c, key), true
		w.run.Deeds = append(w.run.Deeds, d)
	}
	d.deadline = s.deadline
	return d, d.State, fresh
}

// plan makes the deed of a command and says whether it is to be done.
func (w *walker) plan(book *Held, values map[string]string, s *step, c command, key string) *Deed {
	d := &Deed{Key: key, Step: s.id, Name: s.name}
	if c.manual != "" {
		d.Manual, d.State = c.manual, Asked
		return d
	}
	a, err := c.order.action(values)
	a.Reason, a.TTL = w.run.Decision.Why.String(), s.ttl
	d.Action = &a
	if err != nil {
		d.State, d.Why = Refused, full(Reason{Code: "unfit", About: err.Error()})
		if errors.Is(err, errNobody) {
			d.Why = because("names-nobody")
		}
		return d
	}
	if j := find(slices.Concat(w.run.Decision.Actions, w.run.Decision.Ask), &a); j != nil {
		a.TTL, a.Reason = min(a.TTL, j.TTL), j.Reason
	}
	if d.State, d.Why = w.run.verdict(&a, book, w.far); d.State == Done {
		d.State = Begun
	}
	return d
}
