package eval

import (
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/drill/crowd"
	"github.com/querschott/querschott/watch"
)

// run is one attack, or what looks like one, and what became of it.
type run struct {
	family *attack.Family
	run    *attack.Run
	next   attack.Access
	ended  bool
	job    string        // the registered job that it names
	change *crowd.Change // of everybody's work, in place of requests

	began, last time.Time // first and last request
	days        map[int]bool
	persons     map[string]struct{}
	requests    int
	refused     int                  // by caps, holds and doors
	held        int                  // of these, by holds
	contained   time.Time            // when one of its credentials was held first; zero if none
	actors      int                  // credentials used so far
	first       map[string]*sighting // first alarm of each detector
	alarms      map[string]int       // of each detector, on different days or for different causes
	found       *sighting            // the first of all
	reached     int                  // persons, at the end
	over        bool                 // it ended before the world did
}

// sighting is how far an attack had come when it was noticed.
type sighting struct {
	at      time.Time
	days    int // on which it was active, this one counted
	persons int
}

func (r *run) seen(at time.Time) *sighting {
	return &sighting{at, len(r.days), len(r.persons)}
}

// notice notes an alarm about the run.
func (r *run) notice(a *watch.Alarm, now time.Time) {
	s := r.seen(now)
	if r.found == nil && !baseline(a.Detector) {
		r.found = s
	}
	r.alarms[a.Detector]++
	if r.first[a.Detector] == nil {
		r.first[a.Detector] = s
	}
}

// after is how long behind the end of an attack an alarm still counts for it.
const after = 48 * time.Hour

func (r *run) active(now time.Time) bool {
	return !r.began.IsZero() && !now.Before(r.began) && now.Sub(r.last) < after
}

// truth is who attacks. No detector sees it.
type truth struct {
	runs     []*run
	actors   map[querschott.Actor][]*run
	networks map[querschott.Actor][]*run
	insurers map[querschott.IK][]*run
	begun    map[*run]map[attack.Holder]bool
	abused   map[querschott.Actor]*run // whose registered job an attack names
}

func newTruth() *truth {
	return &truth{
		actors: map[querschott.Actor][]*run{}, networks: map[querschott.Actor][]*run{}, insurers: map[querschott.IK][]*run{},
		begun: map[*run]map[attack.Holder]bool{}, abused: map[querschott.Actor]*run{},
	}
}

// note notes that a run makes a request.
func (t *truth) note(r *run, c *crowd.Crowd, q *crowd.Request) {
	a, at := &r.next, r.next.At.Truncate(time.Millisecond) // as in the event
	if r.began.IsZero() {
		r.began, r.days, r.persons = at, map[int]bool{}, map[string]struct{}{}
		r.first, r.alarms = map[string]*sighting{}, map[string]int{}
		t.begun[r] = map[attack.Holder]bool{}
	}
	r.last = at
	r.days[int(at.Unix()/86400)] = true
	r.requests++
	if !t.begun[r][a.Holder] {
		t.begun[r][a.Holder] = true
		actor, ik := c.Actor(a.Holder)
		t.actors[actor] = append(t.actors[actor], r)
		if a.Holder.Channel == attack.Desk || a.Holder.Channel == attack.Feed {
			t.insurers[ik] = append(t.insurers[ik], r)
		}
		r.actors++
	}
	if q.Address != "" && (a.Network > 0 || q.Actor == "") {
		n := "network:" + network24(q.Address)
		if list := t.networks[n]; len(list) == 0 || list[len(list)-1] != r {
			t.networks[n] = append(list, r)
		}
	}
}

// network24 is the network that detectors name.
func network24(address string) querschott.Actor {
	if i := strings.LastIndexByte(address, '.'); i > 0 {
		return querschott.Actor(address[:i])
	}
	return querschott.Actor(address)
}

// verdict is what an alarm turns out to be.
type verdict struct {
	run    *run // whose attack, or what looked like one
	beside bool // it is no false alarm, and about no attack: a group in which somebody attacks, but not as a group; a gate that does not get through
}

// judge says whom an alarm is about.
func (t *truth) judge(a *watch.Alarm, now time.Time) verdict {
	var candidates []*run
	name := string(a.Actor)
	switch {
	case strings.HasPrefix(name, "network:"):
		candidates = t.networks[a.Actor]
	case strings.HasPrefix(name, "gate:"):
		for _, r := range t.runs {
			if r.family.From.Unseen {
				candidates = append(candidates, r)
			}
		}
	case strings.HasPrefix(name, "service:"): // so many requests that it is nobody's in particular
		for _, r := range t.runs {
			if strings.HasSuffix(name, ":"+string(r.family.Who.Channel)) && r.family.Rate.Per == "minute" {
				candidates = append(candidates, r)
			}
		}
	case strings.HasPrefix(name, "group:"):
		return t.group(a, now)
	default:
		candidates = t.actors[a.Actor]
	}
	v := verdict{}
	for _, r := range candidates {
		if r.active(now) && (v.run == nil || v.run.family.Benign) {
			v.run = r
		}
	}
	if r := t.abused[a.Actor]; v.run == nil && r != nil && a.Cause == "job-persons" {
		v.beside = !r.began.IsZero() // the job has become larger than was registered, and not by its owner
	}
	return v
}

// group judges an alarm about the staff of one insurer.
func (t *truth) group(a *watch.Alarm, now time.Time) verdict {
	v := verdict{}
	for _, r := range t.insurers[a.Insurer] {
		if !r.active(now) || r.family.Benign {
			continue
		}
		v.beside = true
		if r.actors > 1 && (v.run == nil || r.actors > v.run.actors) {
			v.run = r
		}
	}
	return v
}

// attacker reports whether a credential's owner is or was used by an attack.
func (t *truth) attacker(actor querschott.Actor) bool {
	for _, r := range t.actors[actor] {
		if !r.family.Benign {
			return true
		}
	}
	return false
}

// meanwhile returns the benign family that changes somebody's ordinary work, "" for none; the one that changes it for the
// fewest, if there are several.
func (t *truth) meanwhile(a *watch.Alarm, c *crowd.Crowd, now time.Time) (family string) {
	fewest := 0.0
	for _, r := range t.runs {
		if r.change == nil || now.Before(r.change.From) || now.Sub(r.change.To) > after {
			continue
		}
		if n := c.Affected(r.change, a.Actor, a.Insurer); n > 0 && (family == "" || n < fewest) {
			family, fewest = r.family.Name, n
		}
	}
	return family
}
