package watch

import (
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/querschott/querschott"
)

// A self-test plays small attacks to the detectors of the running watch, one after the other for each insurer, and looks
// whether they are found at once. Its events are marked: they come from no gate, move no clock, count to no figure, and
// what is said about them reaches nobody. Who is not found out makes the watch say that it is blind.
//
// A detector that needs a past is played an actor who has one. A detector that fails is taken out, which is told in the same way.
type selfTest struct {
	job, canary string // nobody can guess them, so nobody can hide behind them
	found       map[string]bool
	blind       map[string]bool
}

func newSelfTest() *selfTest {
	return &selfTest{job: "selftest-" + rand.Text(), canary: "selftest-" + rand.Text(), found: map[string]bool{}, blind: map[string]bool{}}
}

// roleTest keeps what is played apart from everybody's peers.
const roleTest querschott.Role = "selftest"

// trial is one small attack.
type trial struct {
	detector string
	times    int
	change   func(i int, e *querschott.Access)
	past     func(w *Watch, a *actor, e *Event) // what is held of each actor, told before its first event; nil: nothing
}

// trials are the attacks. Each is played by an actor of its own.
func (s *selfTest) trials() []trial {
	person := func(i int, e *querschott.Access) { e.Person = fmt.Sprintf("selftest-%d", i) }
	denied := func(e *querschott.Access, cause string) { e.Outcome, e.Cause, e.Person = "denied", cause, "" }
	return []trial{
		{"D1", 21, person, nil},
		{"D2", 2, func(i int, e *querschott.Access) { person(i, e); e.ReasonRef = s.job }, nil},
		{"D3", 1, func(_ int, e *querschott.Access) { e.Person = s.canary }, nil},
		{"D4", foreignMost, func(_ int, e *querschott.Access) { denied(e, "foreign-insurer") }, nil},
		{"D5", familyMost + 1, func(i int, e *querschott.Access) { person(i, e); e.Role = querschott.RoleInsured }, nil},
		{"D6", stormNames, func(i int, e *querschott.Access) {
			denied(e, "not-identified")
			e.Action, e.Actor, e.Address = "login", querschott.Actor(fmt.Sprintf("selftest-%d", i)), "selftest-"+string(e.Insurer)
		}, nil},
		{"D11", deleteMost, func(_ int, e *querschott.Access) { e.Action = "delete" }, nil},
		{"D12", 1, func(_ int, e *querschott.Access) { e.Action, e.Person = "grant", "" }, nil},
		{"D14", 1, func(_ int, e *querschott.Access) { denied(e, "proof_binding") }, nil},
		{"D16", 1, func(_ int, e *querschott.Access) { e.Role, e.Person = RoleMaintenance, "" }, nil},
		{"R1", reasonPersons + 1, func(i int, e *querschott.Access) { person(i, e); e.ReasonRef = "selftest" }, nil},
		{"R4", 2 * copiedMost, func(i int, e *querschott.Access) { // the first half by somebody else
			person(i, e)
			e.ReasonRef = fmt.Sprintf("selftest-%s-%d", e.Insurer, i%copiedMost)
			if i < copiedMost {
				e.Actor += "-colleague"
			}
		}, nil},
	}
}

// SelfTest plays the attacks for each insurer. It returns the detectors that did not find theirs; an alarm tells each of
// them.
func (w *Watch) SelfTest(insurers []querschott.IK, now time.Time) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = later(w.now, now)
	missed := map[string]bool{}
	for _, t := range slices.Concat(w.test.trials(), w.test.seasoned()) {
		if !w.runs(t.detector) {
			if !slices.Contains(w.policy.Off, t.detector) {
				missed[t.detector] = true
			}
			continue
		}
		for _, in := range insurers {
			if !w.try(t, in) {
				missed[t.detector] = true
				w.sayBlind(t.detector, in)
			}
		}
	}
	for d := range missed {
		w.test.blind[d] = true
	}
	for d := range w.test.blind {
		if !missed[d] && w.runs(d) {
			delete(w.test.blind, d)
		}
	}
	return w.blindList()
}

func (w *Watch) runs(detector string) bool {
	return slices.ContainsFunc(w.detectors, func(d Detector) bool {
		_, muted := d.(mute)
		return d.Name() == detector && !muted
	})
}

// try plays one attack and reports whether it was found.
func (w *Watch) try(t trial, in querschott.IK) bool {
	clear(w.test.found)
	actors, begun := map[querschott.Actor]*actor{}, map[*actor]bool{}
	for i := range t.times {
		a := querschott.Access{
			Time: w.now, Service: querschott.Desk, Insurer: in, Tenant: in, Actor: "selftest", Credential: "selftest", Role: roleTest,
			Action: "read", Records: 1, Outcome: "success", RequestID: "selftest",
		}
		t.change(i, &a)
		if actors[a.Actor] == nil {
			actors[a.Actor] = &actor{name: string(a.Actor), id: hash(string(a.Actor), string(in)), test: true}
		}
		w.event = Event{Access: &a, At: w.now, Result: result(&a), Test: true}
		e := &w.event
		w.calendar.set(e)
		w.know(e)
		if e.actor = actors[a.Actor]; t.past != nil && !begun[e.actor] {
			begun[e.actor] = true
			t.past(w, e.actor, e)
		}
		for _, d := range w.detectors {
			w.scratch = w.ask(d, e, w.scratch[:0])
			for i := range w.scratch {
				w.test.found[w.scratch[i].Detector] = true
			}
		}
	}
	for _, a := range actors {
		for _, d := range w.detectors {
			if p, ok := d.(prover); ok && p.proves(a, w.now.Unix()) {
				w.test.found[d.Name()] = true
			}
		}
		for _, f := range w.actors.forget {
			f(a)
		}
	}
	return w.test.found[t.detector]
}

// ask lets a detector look at an event. One that fails is taken out: it must not take the others with it.
func (w *Watch) ask(d Detector, e *Event, to []Alarm) (out []Alarm) {
	defer func() {
		if why := recover(); why != nil {
			out = to
			w.failed = append(w.failed, d)
		}
	}()
	return d.Observe(e, to)
}

// retire takes out detectors that failed, and tells it.
func (w *Watch) retire() {
	for _, d := range w.failed {
		w.detectors = slices.DeleteFunc(slices.Clone(w.detectors), func(x Detector) bool { return x == d })
		w.test.blind[d.Name()] = true
		w.sayBlind(d.Name(), "")
	}
	w.failed = w.failed[:0]
}

// sayBlind raises the alarm about a detector that finds nothing.
func (w *Watch) sayBlind(detector string, in querschott.IK) {
	w.raise([]Alarm{{
		Time: w.now, Actor: querschott.Actor("detector:" + detector), Insurer: in, Detector: "D17", Cause: "blind", Kind: Exact, Severity: High,
		Arithmetic: []Number{{"attacks_played", 1, "attacks"}, {"found", 0, "attacks"}}, Events: Span{w.now, w.now, 1},
	}})
}

// Blind returns the detectors that did not find what they were shown, or have failed.
func (w *Watch) Blind() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blindList()
}

func (w *Watch) blindList() []string {
	list := []string{}
	for d := range w.test.blind {
		list = append(list, d)
	}
	slices.Sort(list)
	return list
}
