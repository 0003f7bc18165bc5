package contain

import (
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
)

// ActionKind is a rung of the ladder.
type ActionKind string

// The rungs, lowest first.
const (
	HoldSession    ActionKind = "hold-session"
	HoldCredential ActionKind = "hold-credential"
	HoldGroup      ActionKind = "hold-group"
	MoveDoor       ActionKind = "door"
	ShutInsurer    ActionKind = "insurer"
)

// moves reports whether a rung is about doors.
func (k ActionKind) moves() bool { return k == MoveDoor || k == ShutInsurer }

// Action is one thing to do. It ends by itself after TTL.
type Action struct {
	Kind        ActionKind              `json:"kind"`
	Credential  querschott.CredentialID `json:"credential,omitempty"`
	Actor       querschott.Actor        `json:"actor,omitempty"`
	Group       string                  `json:"group,omitempty"`
	Compartment querschott.Compartment  `json:"compartment,omitzero"`
	Insurer     querschott.IK           `json:"insurer,omitempty"` // all of whose doors are moved
	To          querschott.DoorState    `json:"to,omitempty"`      // of doors
	TTL         time.Duration           `json:"ttl_ns"`
	Reason      string                  `json:"reason"`
}

// Decision is what an alarm leads to.
type Decision struct {
	Actions []Action `json:"actions,omitempty"` // to be done at once
	Ask     []Action `json:"ask,omitempty"`     // to be done when two persons say so
	Why     Reason   `json:"why"`
	Signals []string `json:"signals,omitempty"` // what it rests on: detector/cause
}

// JudgeConfig says how far a judge goes by itself. Zero means the default.
type JudgeConfig struct {
	Statistical time.Duration // how long a suspicion holds a credential; default 4 hours: a person looks at it the same working day
	Exact       time.Duration // how long a fact holds one; default 24 hours
	Door        time.Duration // how long a door stays moved; default 30 minutes
	NoDoors     bool          // doors are asked for, never moved
}

const (
	memory      = time.Hour        // how long a signal counts together with others
	rotation    = 15 * time.Minute // within which facts about several credentials of one compartment belong together
	rotated     = 3                // credentials, of which such facts were raised, that make it a matter of the door
	blastWindow = 10 * time.Minute
	blastDoors  = 3       // insurers whose doors are moved by itself within it
	maxSubjects = 100_000 // actors and compartments that are remembered
)

// Judge applies the ladder to alarms. It knows no clock and does nothing; the same alarms at the same times give the same
// decisions. It is used by one goroutine at a time.
type Judge struct {
	cfg       JudgeConfig
	actors    map[querschott.Actor]*subject
	doors     map[querschott.Compartment]*shared
	wholes    map[querschott.IK]time.Time // when all doors of an insurer were last asked for
	moved     []movedDoor                 // within the blast window, oldest first
	forgotten uint64
}

// subject is what is known of one actor.
type subject struct {
	signals []signal
	held    map[querschott.CredentialID]time.Time // until when
}

// shared is what is known of one compartment.
type shared struct {
	facts []fact    // about different credentials
	until time.Time // the door stays moved
	meant time.Time // when it was last decided to move it, or to ask for it
}

type signal struct {
	at     time.Time
	name   string
	family string
	counts counted
	exact  bool
}

type fact struct {
	at    time.Time
	actor querschott.Actor
}

type movedDoor struct {
	at      time.Time
	insurer querschott.IK
	service querschott.Service
}

// NewJudge makes a judge.
func NewJudge(cfg JudgeConfig) *Judge {
	std := func(d *time.Duration, standard time.Duration) {
		if *d <= 0 {
			*d = standard
		}
	}
	std(&cfg.Statistical, 4*time.Hour)
	std(&cfg.Exact, 24*time.Hour)
	std(&cfg.Door, 30*time.Minute)
	return &Judge{cfg: cfg, actors: map[querschott.Actor]*subject{}, doors: map[querschott.Compartment]*shared{}, wholes: map[querschott.IK]time.Time{}}
}

// Judge decides about an alarm at a time.
func (j *Judge) Judge(a *watch.Alarm, now time.Time) Decision {
	e := effects[a.Detector]
	switch {
	case a.Mode != watch.Live:
		return Decision{Why: because("shadow")}
	case e.does == page:
		return Decision{Why: because("look")}
	case a.Severity == watch.Low:
		return Decision{Why: because("low")}
	}
	s, known := j.subject(a.Actor, now)
	if !known {
		return Decision{Why: because("many")}
	}
	s.add(a, e, now)
	d := Decision{Signals: s.names()}
	group, ok := strings.CutPrefix(string(a.Actor), "group:")
	if ok && a.Severity == watch.Medium {
		d.Why = because("group-first")
		return d
	}
	if ok {
		d.Why = because("group-two")
		d.Ask = []Action{{Kind: HoldGroup, Group: group, TTL: j.cfg.Statistical, Reason: words(a)}}
		return d
	}
	if nobody(a) { // and strangers move no doors
		d.Why = because("nobody")
		return d
	}
	if a.Kind != watch.Exact && a.Severity == watch.Medium && !s.independent() {
		d.Why = because("medium")
		return d
	}
	j.hold(&d, s, a, now)
	if e.does == holdAndDoor || e.does == door {
		j.door(&d, s, a, e, now)
	}
	return d
}

// Released forgets that a credential is held, so that a later alarm may hold it again: one of an actor, all of an actor ("" for
// the credential), or a credential whose actor is not known ("").
func (j *Judge) Released(actor querschott.Actor, c querschott.CredentialID) {
	if s := j.actors[actor]; s != nil && c == "" {
		clear(s.held)
	} else if s != nil {
		delete(s.held, c)
	}
	if actor == "" && c != "" {
		for _, s := range j.actors {
			delete(s.held, c)
		}
	}
}

// Forgotten returns how many actors were turned away for want of room.
func (j *Judge) Forgotten() uint64 { return j.forgotten }

// nobody reports whether an alarm names no credential that could be held.
func nobody(a *watch.Alarm) bool {
	return a.Credential == "" || strings.HasPrefix(string(a.Actor), "network:") || strings.HasPrefix(string(a.Actor), "gate:")
}

func words(a *watch.Alarm) string { return a.Detector + " " + a.Cause }

// hold holds the credential unless it is held as long already.
func (j *Judge) hold(d *Decision, s *subject, a *watch.Alarm, now time.Time) {
	ttl := j.cfg.Statistical
	if a.Kind == watch.Exact {
		ttl = j.cfg.Exact
	}
	until := now.Add(ttl)
	if old, ok := s.held[a.Credential]; ok && !old.Before(until.Add(-ttl/2)) {
		d.Why = because("held")
		return
	}
	if s.held == nil {
		s.held = map[querschott.CredentialID]time.Time{}
	}
	s.held[a.Credential] = until
	d.Actions = append(d.Actions, Action{Kind: HoldCredential, Credential: a.Credential, Actor: a.Actor, TTL: ttl, Reason: words(a)})
	d.Why = because("suspicion")
	if a.Kind == watch.Exact {
		d.Why = because("fact")
	}
}

// door moves the door of the alarm's compartment if holding credentials is not enough, and if it may.
func (j *Judge) door(d *Decision, s *subject, a *watch.Alarm, e effect, now time.Time) {
	c := querschott.Compartment{Insurer: a.Insurer, Service: a.Service}
	if c.Insurer == "" || c.Service == "" {
		return
	}
	r := j.compartment(c, now)
	if r == nil || now.Before(r.until) {
		return
	}
	sure := a.Kind == watch.Exact || s.independent()
	if sure {
		r.add(a.Actor, now)
	}
	if !sure || e.does != door && len(r.facts) < rotated {
		return
	}
	r.meant = now
	j.whole(d, c, a, now)
	act := Action{Kind: MoveDoor, Compartment: c, To: e.to, Actor: a.Actor, TTL: j.cfg.Door, Reason: words(a)}
	switch {
	case j.cfg.NoDoors:
		d.Why, d.Ask = because("doors-persons"), append(d.Ask, act)
	case !j.within(c.Insurer, now):
		d.Why, d.Ask = because("doors-budget"), append(d.Ask, act)
	default:
		r.until = now.Add(j.cfg.Door)
		j.moved = append(j.moved, movedDoor{now, c.Insurer, c.Service})
		d.Actions = append(d.Actions, act)
		d.Why = because("door")
		if e.does == door {
			d.Why = because("door-at-once")
		}
	}
}

// whole asks for all doors of an insurer when those of two of its services are to be moved within ten minutes: then it is no
// matter of one service any more. It is asked once in an hour.
func (j *Judge) whole(d *Decision, c querschott.Compartment, a *watch.Alarm, now time.Time) {
	other := false
	for k, r := range j.doors {
		other = other || k.Insurer == c.Insurer && k.Service != c.Service && !r.meant.IsZero() && now.Sub(r.meant) < blastWindow
	}
	if last, asked := j.wholes[c.Insurer]; !other || asked && now.Sub(last) < askLife || len(j.wholes) >= maxSubjects {
		return
	}
	j.wholes[c.Insurer] = now
	d.Ask = append(d.Ask, Action{
		Kind: ShutInsurer, Insurer: c.Insurer, To: querschott.Hold, TTL: j.cfg.Door, Reason: words(a),
	})
}

// within reports whether a door of an insurer may be moved by itself.
func (j *Judge) within(insurer querschott.IK, now time.Time) bool {
	j.moved = slices.DeleteFunc(j.moved, func(m movedDoor) bool { return now.Sub(m.at) >= blastWindow })
	seen := map[querschott.IK]bool{insurer: true}
	for _, m := range j.moved {
		seen[m.insurer] = true
	}
	return len(seen) <= blastDoors
}

// subject returns what is known of an actor, false if there is no room for another one.
func (j *Judge) subject(a querschott.Actor, now time.Time) (*subject, bool) {
	s := j.actors[a]
	if s == nil {
		if len(j.actors) >= maxSubjects {
			j.sweep(now)
		}
		if len(j.actors) >= maxSubjects {
			j.forgotten++
			return nil, false
		}
		s = &subject{}
		j.actors[a] = s
	}
	return s, true
}

func (j *Judge) compartment(c querschott.Compartment, now time.Time) *shared {
	r := j.doors[c]
	if r == nil {
		if len(j.doors) >= maxSubjects {
			return nil
		}
		r = &shared{}
		j.doors[c] = r
	}
	r.facts = slices.DeleteFunc(r.facts, func(f fact) bool { return now.Sub(f.at) >= rotation })
	return r
}

// sweep forgets actors of whom nothing counts any more.
func (j *Judge) sweep(now time.Time) {
	for a, s := range j.actors {
		s.forget(now)
		for c, until := range s.held {
			if !now.Before(until) {
				delete(s.held, c)
			}
		}
		if len(s.signals) == 0 && len(s.held) == 0 {
			delete(j.actors, a)
		}
	}
}

func (s *subject) forget(now time.Time) {
	s.signals = slices.DeleteFunc(s.signals, func(g signal) bool { return now.Sub(g.at) >= memory })
}

// maxSignals bounds what is remembered of one actor. Alarms of one cause are folded before they come here.
const maxSignals = 32

func (s *subject) add(a *watch.Alarm, e effect, now time.Time) {
	s.forget(now)
	name := a.Detector + "/" + a.Cause
	s.signals = slices.DeleteFunc(s.signals, func(g signal) bool { return g.name == name })
	if len(s.signals) >= maxSignals {
		s.signals = slices.Delete(s.signals, 0, 1)
	}
	s.signals = append(s.signals, signal{now, name, e.family, e.counts, a.Kind == watch.Exact})
}

// independent reports whether two signals are.
func (s *subject) independent() bool {
	for i := range s.signals {
		if slices.ContainsFunc(s.signals[:i], func(h signal) bool { return s.signals[i].independent(&h) }) {
			return true
		}
	}
	return false
}

func (s *subject) names() []string {
	list := make([]string, len(s.signals))
	for i, g := range s.signals {
		list[i] = g.name
	}
	return list
}

// add counts a fact about an actor, once for each.
func (r *shared) add(a querschott.Actor, now time.Time) {
	for i := range r.facts {
		if r.facts[i].actor == a {
			r.facts[i].at = now
			return
		}
	}
	r.facts = append(r.facts, fact{now, a})
}
