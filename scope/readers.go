package scope

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

// Search asks who reached some of many persons.
type Search struct {
	Persons []querschott.KVNR
	From    time.Time // zero: since the ledger began
	To      time.Time
}

// Found is what the ledger knows of the persons of a search, and who reached them.
type Found struct {
	AsOf     time.Time
	Coverage float64
	Gaps     []string
	Owners   []Owner // by IK
	Known    uint64  // persons whom the insurers' logs know at all
	Asked    int     // persons whose events were looked for to find readers
	Readers  []Reader
	Left     int // credentials that reached fewer of those persons than the readers listed
}

// Owner is an insurer whose logs know persons of a search.
type Owner struct {
	Insurer querschott.IK
	Persons []uint32 // places in the search, ascending
}

// Reader is a credential that reached persons of a search, or possibly did.
type Reader struct {
	Credential querschott.CredentialID // "erased:" and its pseudonym if the ledger's entries do not open any more
	Actor      querschott.Actor
	Role       querschott.Role
	Reading
	Periods []Reading // by time; nil for a credential with too many events
}

// Reading is whom somebody reached in a time.
type Reading struct {
	First, Last time.Time
	Hits        []uint32 // places in the search, ascending
	Persons     uint64   // different ones, sought or not; a person in logs of two years counts twice
}

// Limits of a search.
const (
	maxAsked    = 2000      // persons whose events are looked for
	maxReaders  = 200       // credentials that are looked at as a whole
	maxSplit    = 2_000_000 // events of a credential that are split into periods
	restSeconds = 4 * 3600  // whoever rests so long begins a new period
)

// Readers says who reached the persons of a search. With many of them the events of some are looked for, evenly chosen in the
// order of their pseudonyms, which is as good as by chance; who reached most of those is then compared with all.
func (s *Scope) Readers(ctx context.Context, w Search) (*Found, error) {
	q := Question{Credentials: []querschott.CredentialID{"-"}, From: w.From, To: w.To}
	if q.From.IsZero() {
		q.From = time.Unix(0, 0)
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	return current(ctx, s, func(asOf time.Time) (*Found, error) { return s.readers(&w, &q, asOf) })
}

// sought is the persons of a search in one log.
type sought struct {
	book   *book
	places map[uint32]uint32 // of ordinals
	order  []uint32          // ordinals, by pseudonym
}

// credKey is a credential of one log.
type credKey struct {
	log  string
	cred uint32
}

func (s *Scope) readers(w *Search, q *Question, asOf time.Time) (*Found, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var a Answer
	a.AsOf = asOf
	a.cover(q, s.gaps(q))
	f := &Found{AsOf: asOf.UTC(), Coverage: a.Coverage, Gaps: a.Gaps}
	logs := s.seek(w, f)
	some, err := s.sample(logs, q, f)
	if err != nil {
		return nil, err
	}
	groups, err := s.byName(some, f)
	if err != nil {
		return nil, err
	}
	byLog := map[string]*sought{}
	for i := range logs {
		byLog[logs[i].book.origin] = &logs[i]
	}
	for i := range groups {
		if err := s.readAll(&groups[i], byLog, q); err != nil {
			return nil, err
		}
		f.Readers = append(f.Readers, groups[i].Reader)
	}
	return f, nil
}

// seek finds the persons in all logs.
func (s *Scope) seek(w *Search, f *Found) []sought {
	var logs []sought
	owners := map[querschott.IK]map[uint32]struct{}{}
	known := map[querschott.IK]uint64{}
	for _, b := range s.books {
		if b.names == nil {
			continue
		}
		l := sought{book: b, places: map[uint32]uint32{}}
		for i, p := range w.Persons {
			if o := b.persons.find(b.names.Person(p)); o > 0 {
				l.places[o] = uint32(i)
			}
		}
		known[b.insurer] = max(known[b.insurer], uint64(len(b.persons.keys)))
		l.order = slices.SortedFunc(maps.Keys(l.places), func(x, y uint32) int {
			return slices.Compare(b.persons.keys[x-1][:], b.persons.keys[y-1][:])
		})
		logs = append(logs, l)
		if b.insurer == "" {
			continue
		}
		if owners[b.insurer] == nil {
			owners[b.insurer] = map[uint32]struct{}{}
		}
		for _, i := range l.places {
			owners[b.insurer][i] = struct{}{}
		}
	}
	for in, persons := range owners {
		f.Known += known[in]
		if len(persons) > 0 {
			f.Owners = append(f.Owners, Owner{in, slices.Sorted(maps.Keys(persons))})
		}
	}
	slices.SortFunc(f.Owners, func(x, y Owner) int { return cmp.Compare(x.Insurer, y.Insurer) })
	return logs
}

// sample counts who reached some of the persons.
func (s *Scope) sample(logs []sought, q *Question, f *Found) (map[credKey]int, error) {
	total := 0
	for i := range logs {
		total += len(logs[i].order)
	}
	step := max(1, (total+maxAsked-1)/maxAsked)
	count := map[credKey]int{}
	at := 0
	for i := range logs {
		l := &logs[i]
		for _, o := range l.order {
			if at++; at%step != 0 {
				continue
			}
			f.Asked++
			events, err := s.eventsOf(l.book, o, q)
			if err != nil {
				return nil, err
			}
			by := map[uint32]bool{}
			for i := range events {
				if e := &events[i]; e.reads() {
					by[e.cred] = true
				}
			}
			for c := range by {
				count[credKey{l.book.origin, c}]++
			}
		}
	}
	return count, nil
}

// reads reports whether somebody got a person's data, or possibly did. Whoever looks at the ledger got none.
func (e *event) reads() bool {
	return e.cred > 0 && e.person > 0 && e.result() != Refused && e.data() != ledger.DataLog
}

// suspect is one credential in all logs.
type suspect struct {
	Reader
	in    []credKey
	count int
}

// byName brings together what the logs call differently, and returns those who reached most.
func (s *Scope) byName(count map[credKey]int, f *Found) ([]suspect, error) {
	all := map[querschott.CredentialID]*suspect{}
	for k, n := range count {
		b := s.book(k.log)
		e, err := s.cfg.Ledger.Entry(k.log, b.credentials.first[k.cred-1])
		if err != nil {
			return nil, fmt.Errorf("couldn't look up who it was: %w", err)
		}
		r := Reader{Credential: querschott.CredentialID("erased:" + hex.EncodeToString(b.credentials.keys[k.cred-1][:])), Role: e.Leaf.Role}
		if p := e.Payload; p != nil {
			r.Credential, r.Actor = p.Credential, p.Actor
		}
		if all[r.Credential] == nil {
			all[r.Credential] = &suspect{Reader: r}
		}
		c := all[r.Credential]
		c.in, c.count = append(c.in, k), c.count+n
	}
	list := make([]suspect, 0, len(all))
	for _, c := range all {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(x, y suspect) int {
		return cmp.Or(cmp.Compare(y.count, x.count), cmp.Compare(x.Credential, y.Credential))
	})
	f.Left = max(0, len(list)-maxReaders)
	return list[:min(len(list), maxReaders)], nil
}

// access is one event of a credential in one of its logs.
type access struct {
	second int64
	log    int
	person uint32
}

// readAll fills in whom a credential reached, as a whole and by period.
func (s *Scope) readAll(c *suspect, logs map[string]*sought, q *Question) error {
	var list []access
	split := true
	hits := map[uint32]struct{}{}
	first, last := openEnd, int64(0)
	for i, k := range c.in {
		l := logs[k.log]
		reached := newBitset(l.book)
		err := s.each(l.book, byCredential, k.cred, q, func(e *event) error {
			if !e.reads() {
				return nil
			}
			if int(e.person) > len(l.book.persons.keys) {
				return errBlock
			}
			reached.set(e.person)
			if at, ok := l.places[e.person]; ok {
				hits[at] = struct{}{}
			}
			first, last = min(first, e.second), max(last, e.second)
			if split = split && len(list) < maxSplit; split {
				list = append(list, access{e.second, i, e.person})
			}
			return nil
		})
		if err != nil {
			return err
		}
		c.Persons += reached.count()
	}
	c.Hits = slices.Sorted(maps.Keys(hits))
	c.First, c.Last = time.Unix(first, 0).UTC(), time.Unix(last, 0).UTC()
	if split {
		c.split(list, logs)
	}
	return nil
}

// split makes the periods of a credential's events.
func (c *suspect) split(list []access, logs map[string]*sought) {
	slices.SortFunc(list, func(x, y access) int { return cmp.Compare(x.second, y.second) })
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].second < list[n-1].second+restSeconds {
			n++
		}
		p := Reading{First: time.Unix(list[0].second, 0).UTC(), Last: time.Unix(list[n-1].second, 0).UTC()}
		reached, hits := map[[2]uint32]struct{}{}, map[uint32]struct{}{}
		for _, a := range list[:n] {
			reached[[2]uint32{uint32(a.log), a.person}] = struct{}{}
			if at, ok := logs[c.in[a.log].log].places[a.person]; ok {
				hits[at] = struct{}{}
			}
		}
		p.Persons, p.Hits = uint64(len(reached)), slices.Sorted(maps.Keys(hits))
		c.Periods = append(c.Periods, p)
		list = list[n:]
	}
}
