package contain

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/querschott/querschott"
)

// Bounds of what is remembered of the stream.
const (
	recentEvents = 1 << 17
	recentTime   = 24 * time.Hour
	previewTime  = 15 * time.Minute
)

// Recent remembers the newest access events, at most a day back and at most as many as it has room for, and as many mails that
// came in. It answers who would be hit by something. All methods may be called at the same time.
type Recent struct {
	mu       sync.Mutex // guards all below
	events   []seen     // a ring
	next     int
	lost     uint64   // events within a day that had to make room
	mails    []mailed // a ring; of its own, so that mail leaves events their room
	nextMail int
}

// mailed is one mail that came in.
type mailed struct {
	at          time.Time
	sender      querschott.Actor
	compartment querschott.Compartment
}

// seen is one event in short.
type seen struct {
	at          time.Time
	actor       querschott.Actor
	credential  querschott.CredentialID
	compartment querschott.Compartment
	person      string
	group       string // insurer/role
	served      bool
}

func seenOf(a *querschott.Access) seen {
	return seen{a.Time, a.Actor, a.Credential, querschott.Compartment{Insurer: a.Insurer, Service: a.Service}, a.Person, groupOf(a), a.Outcome == "success"}
}

// Feed shows a rehearsal what is remembered.
func (m *Recent) Feed(h *Rehearsal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.events { // a ring: the older part stands behind
		h.event(&m.events[(m.next+i)%len(m.events)])
	}
}

// NewRecent starts empty.
func NewRecent() *Recent { return &Recent{} }

// Event takes an event of the stream.
func (m *Recent) Event(a *querschott.Access) {
	if a.Canary {
		return
	}
	s := seenOf(a)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.events) < recentEvents {
		m.events = append(m.events, s)
		return
	}
	if a.Time.Sub(m.events[m.next].at) < recentTime {
		m.lost++
	}
	m.events[m.next] = s
	m.next = (m.next + 1) % recentEvents
}

// Mail takes a mail that was accepted.
func (m *Recent) Mail(at time.Time, sender querschott.Actor, c querschott.Compartment) {
	one := mailed{at, sender, c}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mails) < recentEvents {
		m.mails = append(m.mails, one)
		return
	}
	m.mails[m.nextMail] = one
	m.nextMail = (m.nextMail + 1) % recentEvents
}

// Hit says whom an action would hit, from what was served and accepted in an interval.
type Hit struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Known    time.Time `json:"known_from,omitzero"` // nothing is remembered of what was before; zero: nothing at all
	Requests int       `json:"requests"`
	Users    int       `json:"users"`   // different actors
	Persons  int       `json:"persons"` // insured persons whom those requests were about
	Mails    int       `json:"mails"`   // that came in
	Senders  int       `json:"senders"` // of them, different ones
	Waiting  uint64    `json:"waiting"` // documents that wait behind the door
}

// Preview says whom an action would have hit in the last 15 minutes.
func (m *Recent) Preview(a *Action, now time.Time) Hit {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hit(a, now.Add(-previewTime), now)
	m.hitMails(a, &h)
	return h
}

// hitMails counts what came in by mail through the doors that would move; accounts of mail are not held by what holds a
// credential. The caller holds m.mu.
func (m *Recent) hitMails(a *Action, h *Hit) {
	if a.Kind != MoveDoor && a.Kind != ShutInsurer {
		return
	}
	senders := map[querschott.Actor]bool{}
	for i := range m.mails {
		if s := &m.mails[i]; !s.at.Before(h.From) && s.at.Before(h.To) && a.covers(&seen{compartment: s.compartment}) {
			h.Mails++
			senders[s.sender] = true
		}
	}
	h.Senders = len(senders)
	if len(m.mails) == 0 {
		return
	}
	if oldest := m.mails[m.nextMail].at.UTC(); h.Known.IsZero() || oldest.Before(h.Known) || len(m.mails) == recentEvents && oldest.After(h.From) {
		h.Known = oldest
	}
}

// hit counts. The caller holds m.mu.
func (m *Recent) hit(a *Action, from, to time.Time) Hit {
	h := Hit{From: from.UTC(), To: to.UTC()}
	users, persons := map[querschott.Actor]bool{}, map[string]bool{}
	for i := range m.events {
		s := &m.events[i]
		if h.Known.IsZero() || s.at.Before(h.Known) {
			h.Known = s.at.UTC()
		}
		if !s.served || s.at.Before(from) || !s.at.Before(to) || !a.covers(s) {
			continue
		}
		h.Requests++
		users[s.actor] = true
		if s.person != "" {
			persons[s.person] = true
		}
	}
	h.Users, h.Persons = len(users), len(persons)
	return h
}

// covers reports whether an action concerns an event.
func (a *Action) covers(s *seen) bool {
	switch a.Kind {
	case HoldSession:
		return s.credential == a.Credential
	case HoldCredential:
		return s.credential == a.Credential || a.Actor != "" && s.actor == a.Actor
	case MoveDoor:
		return s.compartment == a.Compartment
	case ShutInsurer:
		return s.compartment.Insurer == a.Insurer
	case HoldGroup:
		return s.group == a.Group
	}
	return false
}

// groupOf names the group of a caller as detectors do: the own insurer and the role.
func groupOf(a *querschott.Access) string {
	if a.Tenant == "" || a.Role == "" {
		return ""
	}
	return string(a.Tenant) + "/" + string(a.Role)
}

// Members returns the actors of a group who were served within a day, as far as they are remembered, at most so many.
func (m *Recent) Members(group string, now time.Time, most int) []querschott.Actor {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := map[querschott.Actor]bool{}
	for i := range m.events {
		if s := &m.events[i]; s.group == group && now.Sub(s.at) < recentTime && len(known) < most {
			known[s.actor] = true
		}
	}
	return slices.Sorted(maps.Keys(known))
}
