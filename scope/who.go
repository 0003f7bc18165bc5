package scope

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

// Matter asks who saw, changed or was refused one person's data.
type Matter struct {
	Insurer querschott.IK
	Person  querschott.KVNR
	From    time.Time
	To      time.Time
}

// Check refuses what cannot be a person's number. Its check digit is not asked: test cards have wrong ones.
func (m *Matter) Check() error {
	p := m.Person.Reveal()
	if len(p) != 10 || p[0] < 'A' || p[0] > 'Z' || strings.Trim(p[1:], "0123456789") != "" {
		return querschott.Refuse(querschott.CodeInvalid, "an insured person's number (KVNR) is one capital letter and nine digits")
	}
	return nil
}

// Sightings are all events of one person.
type Sightings struct {
	Insurer  querschott.IK `json:"insurer"`
	AsOf     time.Time     `json:"as_of"`
	Coverage float64       `json:"coverage"`
	Gaps     []string      `json:"gaps,omitempty"`
	List     []Sighting    `json:"list"` // by time
}

// Sighting is one event of a person.
type Sighting struct {
	At         time.Time               `json:"at"` // whole seconds
	Credential querschott.CredentialID `json:"credential,omitempty"`
	Actor      querschott.Actor        `json:"actor,omitempty"`
	Role       querschott.Role         `json:"role,omitempty"`
	Data       string                  `json:"data"`
	Result     Result                  `json:"result"`
	Log        string                  `json:"log"`
}

// maxSightings is how many events of one person are listed.
const maxSightings = 100_000

// Who answers a matter as of now: from the log of the person's insurer and from the platform's, where checks stand that name
// no insurer.
func (s *Scope) Who(ctx context.Context, m Matter) (*Sightings, error) {
	q := Question{Credentials: []querschott.CredentialID{"-"}, From: m.From, To: m.To, Insurers: []querschott.IK{m.Insurer, ""}}
	if err := q.check(); err != nil {
		return nil, err
	}
	var names []caller
	seen, err := current(ctx, s, func(asOf time.Time) (seen *Sightings, err error) {
		seen, names, err = s.who(&m, &q, asOf)
		return seen, err
	})
	if err != nil {
		return nil, err
	}
	return seen, s.name(seen, names)
}

// caller is a credential of one log, and an entry in which it came.
type caller struct {
	log   string
	cred  uint32
	entry uint64
}

// who lists the events without the names of who it was.
func (s *Scope) who(m *Matter, q *Question, asOf time.Time) (*Sightings, []caller, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var a Answer
	a.AsOf = asOf
	a.cover(q, s.gaps(q))
	out := &Sightings{Insurer: m.Insurer, AsOf: asOf.UTC(), Coverage: a.Coverage, Gaps: a.Gaps, List: []Sighting{}}
	var callers []caller
	for _, b := range s.books {
		if !wants(q.Insurers, b.insurer) || b.names == nil {
			continue
		}
		events, err := s.eventsOf(b, b.persons.find(b.names.Person(m.Person)), q)
		if err != nil {
			return nil, nil, err
		}
		for i := range events {
			e := &events[i]
			c := caller{log: b.origin, cred: e.cred}
			if e.cred > 0 {
				c.entry = b.credentials.first[e.cred-1]
			}
			callers = append(callers, c)
			out.List = append(out.List, Sighting{At: time.Unix(e.second, 0).UTC(), Data: e.data().String(), Result: e.result(), Log: b.origin})
		}
	}
	if len(out.List) > maxSightings {
		return nil, nil, querschott.Refuse(querschott.CodeTooLarge, "more than %d accesses: ask for less time", maxSightings)
	}
	return out, callers, nil
}

// eventsOf returns the events of one person in one log.
func (s *Scope) eventsOf(b *book, person uint32, q *Question) (list []event, err error) {
	if person == 0 {
		return nil, nil
	}
	err = s.each(b, byPerson, person, q, func(e *event) error {
		list = append(list, *e)
		return nil
	})
	return list, err
}

// each calls fn with the events in one log of one person or of one credential: of what the order sorts by first.
func (s *Scope) each(b *book, by order, one uint32, q *Question, fn func(*event) error) error {
	from, to := q.seconds()
	take := func(e *event) error {
		whose := e.person
		if by == byCredential {
			whose = e.cred
		}
		if whose != one || e.second < from || e.second >= to {
			return nil
		}
		return fn(e)
	}
	for _, seg := range s.segs {
		at := seg.log(b.origin)
		if at < 0 || seg.until() < from || seg.since() >= to {
			continue
		}
		err := seg.scan(sectionKey{at, by}, one, from, to, func(r *reader) error {
			for len(r.b) > 0 {
				if err := r.next(); err != nil {
					return err
				}
				if err := take(&r.event); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i := range b.open {
		if err := take(&b.open[i]); err != nil {
			return err
		}
	}
	return nil
}

// name fills in who it was, from the ledger's entries, and sorts by time.
func (s *Scope) name(seen *Sightings, callers []caller) error {
	known := map[caller]*ledger.Entered{}
	for i, c := range callers {
		if c.cred == 0 {
			seen.List[i].Actor, seen.List[i].Role = s.cfg.Actor, querschott.RoleMachine
			continue
		}
		e, ok := known[c]
		if !ok {
			var err error
			if e, err = s.cfg.Ledger.Entry(c.log, c.entry); err != nil {
				return fmt.Errorf("couldn't look up who it was: %w", err)
			}
			known[c] = e
		}
		seen.List[i].Role = e.Leaf.Role
		if p := e.Payload; p != nil {
			seen.List[i].Credential, seen.List[i].Actor = p.Credential, p.Actor
		}
	}
	slices.SortStableFunc(seen.List, func(x, y Sighting) int { return cmp.Compare(x.At.Unix(), y.At.Unix()) })
	return nil
}

// Reveal fills in the numbers of persons of an answer, as far as the ledger's entries about them can be opened. Whoever calls
// it records that he does.
func (s *Scope) Reveal(list []Person) error {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(list[i].Log, list[j].Log), cmp.Compare(list[i].Entry, list[j].Entry))
	})
	for len(order) > 0 {
		n := 1
		for n < len(order) && list[order[n]].Log == list[order[0]].Log && list[order[n]].Entry < list[order[n-1]].Entry+256 {
			n++ // one reading of what lies close together
		}
		if err := s.reveal(list, order[:n]); err != nil {
			return err
		}
		order = order[n:]
	}
	return nil
}

func (s *Scope) reveal(list []Person, some []int) error {
	log := list[some[0]].Log
	names, err := s.cfg.Ledger.Names(log)
	if err != nil {
		return fmt.Errorf("couldn't open the numbers of %s: %w", log, err)
	}
	wanted := map[string][]int{}
	for _, i := range some {
		wanted[list[i].Pseudonym] = append(wanted[list[i].Pseudonym], i)
	}
	for e, err := range s.cfg.Ledger.Scan(log, list[some[0]].Entry, list[some[len(some)-1]].Entry+1) {
		if err != nil {
			return err
		}
		if e.Payload == nil {
			continue // erased
		}
		for _, p := range e.Payload.Persons {
			for _, i := range wanted[pseudonymText(names.Person(p))] {
				list[i].Number = p.Reveal()
			}
		}
	}
	return nil
}
