package contain

import (
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
)

// RehearsalTime is how far back a rehearsal looks.
const RehearsalTime = recentTime

// maxCounted bounds how many users and persons all deeds of a rehearsal count together.
const maxCounted = 1 << 20

// Rehearsal says what a playbook would have done about the alarms of the last 24 hours, and whom it would have hit. Events are shown to
// it one after another, in any order; it remembers no more of them than who was counted.
type Rehearsal struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Known   time.Time `json:"known_from,omitzero"` // no event from before was there to be looked at; zero: none at all
	Source  string    `json:"source"`              // where events came from
	Events  int       `json:"events"`              // of the span
	Faults  int       `json:"unreadable"`          // lines of the source that are no events
	AtLeast bool      `json:"at_least"`            // there were more users or persons than are counted
	Trials  []Trial   `json:"trials"`

	index   map[tallyKey][]*tally
	counted int
}

// Trial is what a playbook would have done about one alarm.
type Trial struct {
	At       time.Time   `json:"at"`
	Alarm    string      `json:"alarm"`
	Decision Decision    `json:"decision"`
	Deeds    []TrialDeed `json:"deeds"`
}

// TrialDeed is one order of it.
type TrialDeed struct {
	Name   string  `json:"name,omitempty"`
	State  State   `json:"state"`
	Action *Action `json:"action,omitempty"`
	Manual string  `json:"manual,omitempty"`
	Why    Reason  `json:"why,omitzero"`
	Hit    *Hit    `json:"hit,omitempty"` // from the alarm on, for as long as it would have been in force
}

// tally counts whom one deed would have hit.
type tally struct {
	action         *Action
	hit            *Hit
	users, persons map[string]bool
}

// tallyKey finds the tallies that may concern an event.
type tallyKey struct{ kind, value, more string }

// Rehearse judges the alarms, each as it was raised, and walks the playbook with hands that do nothing. As if live: alarms of detectors
// in shadow mode are judged as if they were live.
func Rehearse(book *Held, get func(string) *Held, far Automatic, cfg JudgeConfig, alarms []*watch.Alarm, now time.Time, asIfLive bool) *Rehearsal {
	h := &Rehearsal{From: now.Add(-RehearsalTime).UTC(), To: now.UTC(), Trials: []Trial{}, index: map[tallyKey][]*tally{}}
	judge := NewJudge(cfg)
	for _, raised := range alarms {
		a := *raised
		if a.Time.Before(h.From) || a.Time.After(now) {
			continue
		}
		if asIfLive {
			a.Mode = watch.Live
		}
		d := judge.Judge(&a, a.Time)
		if len(d.Actions)+len(d.Ask) == 0 || book.fits(a.Detector, a.Cause) == 0 {
			continue
		}
		h.Trials = append(h.Trials, h.trial(book, get, far, &a, d))
	}
	return h
}

func (h *Rehearsal) trial(book *Held, get func(string) *Held, far Automatic, a *watch.Alarm, d Decision) Trial {
	r := &Run{Alarm: *a, Decision: d}
	w := &walker{
		run: r, lock: &sync.Mutex{}, get: get, far: far, seen: map[string]int{},
		do:     func(d *Deed) error { d.State = Done; return nil },
		asleep: func(*Deed) error { return nil },
	}
	values := r.values()
	for k, v := range book.constants {
		values[k] = v
	}
	t := Trial{At: a.Time, Alarm: a.Detector + "/" + a.Cause, Decision: d, Deeds: []TrialDeed{}}
	if err := w.walk(book, values, book.start, 0); err != nil {
		t.Deeds = append(t.Deeds, TrialDeed{State: Failed, Why: full(Reason{Code: "failed", About: err.Error()})})
	}
	for _, x := range r.Deeds {
		td := TrialDeed{Name: x.Name, State: x.State, Action: x.Action, Manual: x.Manual, Why: x.Why}
		if x.Action != nil && x.State != Refused {
			td.Hit = &Hit{From: a.Time.UTC(), To: a.Time.Add(x.Action.TTL).UTC()}
			h.count(x.Action, td.Hit)
		}
		t.Deeds = append(t.Deeds, td)
	}
	return t
}

func (h *Rehearsal) count(a *Action, hit *Hit) {
	t := &tally{a, hit, map[string]bool{}, map[string]bool{}}
	put := func(k tallyKey) { h.index[k] = append(h.index[k], t) }
	switch a.Kind {
	case HoldSession:
		put(tallyKey{"credential", string(a.Credential), ""})
	case HoldCredential:
		put(tallyKey{"credential", string(a.Credential), ""})
		put(tallyKey{"actor", string(a.Actor), ""})
	case MoveDoor:
		put(tallyKey{"door", string(a.Compartment.Insurer), string(a.Compartment.Service)})
	case ShutInsurer:
		put(tallyKey{"insurer", string(a.Insurer), ""})
	case HoldGroup:
		put(tallyKey{"group", a.Group, ""})
	}
}

// Event shows an event of the span.
func (h *Rehearsal) Event(a *querschott.Access) {
	if a.Canary {
		return
	}
	s := seenOf(a)
	h.event(&s)
}

func (h *Rehearsal) event(s *seen) {
	if h.Known.IsZero() || s.at.Before(h.Known) {
		h.Known = s.at.UTC()
	}
	if s.at.Before(h.From) || s.at.After(h.To) {
		return
	}
	h.Events++
	if !s.served {
		return
	}
	keys := [...]tallyKey{
		{"credential", string(s.credential), ""},
		{"actor", string(s.actor), ""},
		{"door", string(s.compartment.Insurer), string(s.compartment.Service)},
		{"insurer", string(s.compartment.Insurer), ""},
		{"group", s.group, ""},
	}
	for _, k := range keys {
		for _, t := range h.index[k] {
			if k.kind == "actor" && t.action.Credential == s.credential {
				continue // counted by its credential
			}
			h.add(t, s)
		}
	}
}

func (h *Rehearsal) add(t *tally, s *seen) {
	if s.at.Before(t.hit.From) || !s.at.Before(t.hit.To) || !t.action.covers(s) {
		return
	}
	t.hit.Requests++
	h.mark(t.users, string(s.actor))
	if s.person != "" {
		h.mark(t.persons, s.person)
	}
	t.hit.Users, t.hit.Persons, t.hit.Known = len(t.users), len(t.persons), h.Known
}

func (h *Rehearsal) mark(set map[string]bool, who string) {
	switch {
	case set[who]:
	case h.counted >= maxCounted:
		h.AtLeast = true
	default:
		set[who] = true
		h.counted++
	}
}
