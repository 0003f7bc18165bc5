package scope

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

// Ask answers a question as of now: it first reads what the ledger has acknowledged. A damaged index is made again.
func (s *Scope) Ask(ctx context.Context, q Question) (*Answer, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	asOf, err := s.catchUp(ctx)
	if err != nil {
		return nil, err
	}
	a, err := s.answer(&q, asOf)
	if !damaged(err) {
		return a, err
	}
	if err := s.mend(ctx, err); err != nil {
		return nil, err
	}
	return s.answer(&q, asOf)
}

func damaged(err error) bool { return errors.Is(err, errSegment) || errors.Is(err, errBlock) }

// catchUp follows the ledger and returns a time before which everything is looked at.
func (s *Scope) catchUp(ctx context.Context) (time.Time, error) {
	s.work.Lock()
	defer s.work.Unlock()
	asOf := s.cfg.Now()
	return asOf, s.follow(ctx)
}

// answer looks at the index as it is.
func (s *Scope) answer(q *Question, asOf time.Time) (*Answer, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := &Answer{Question: *q, AsOf: asOf.UTC(), Sealed: s.last.Until, Insurers: []Reach{}, Heads: []Head{}}
	tallies := make([]*tally, 0, len(s.books))
	for _, b := range s.books {
		if wants(q.Insurers, b.insurer) {
			tallies = append(tallies, newTally(b, q))
			if b.next > 0 {
				a.Heads = append(a.Heads, headOf(b.head))
			}
		}
	}
	if err := s.count(tallies); err != nil {
		return nil, err
	}
	a.cover(q, s.gaps(q))
	for _, t := range tallies {
		a.add(t)
	}
	slices.SortFunc(a.Insurers, func(x, y Reach) int { return strings.Compare(string(x.Insurer), string(y.Insurer)) })
	for i := range a.Insurers {
		r := &a.Insurers[i]
		r.finish(a.Coverage)
		a.Total.Lower, a.Total.Best, a.Total.Upper = a.Total.Lower+r.Bounds.Lower, a.Total.Best+r.Bounds.Best, a.Total.Upper+r.Bounds.Upper
	}
	return a, nil
}

// gaps says what could not be looked at.
func (s *Scope) gaps(q *Question) (list []string) {
	for origin, err := range s.blind {
		b := s.book(origin)
		if b == nil || wants(q.Insurers, b.insurer) {
			list = append(list, fmt.Sprintf("%s cannot be read: %v", origin, err))
		}
	}
	slices.Sort(list)
	from, to := q.seconds()
	for _, g := range s.segs {
		for _, r := range g.table.Rounds {
			if slices.Contains(s.bad, r.N) && r.Until >= from && r.Since < to {
				list = append(list, fmt.Sprintf("round %d: the ledger doesn't give what was sealed", r.N))
			}
		}
	}
	return list
}

// cover computes the coverage: what lies behind the moment of the answer isn't covered, and nothing is if there are gaps.
func (a *Answer) cover(q *Question, gaps []string) {
	a.Gaps = gaps
	from, to := q.seconds()
	seen := min(ceil(a.AsOf), to)
	switch {
	case len(gaps) > 0 || seen <= from:
		a.Coverage = 0
	default:
		a.Coverage = float64(seen-from) / float64(to-from)
	}
}

// count lets all tallies look at all segments that they concern, and at what is open.
func (s *Scope) count(tallies []*tally) error {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, t := range tallies {
		if len(t.creds) == 0 {
			continue
		}
		g.Go(func() error {
			for _, seg := range s.segs {
				if err := t.look(seg); err != nil {
					return err
				}
			}
			t.note(t.book.open)
			return nil
		})
	}
	return g.Wait()
}

// tally counts in one log.
type tally struct {
	book     *book
	creds    []uint32
	from, to int64
	list     bool

	results     [Refused + 1]bitset
	groups      [64]*group // by kind of data
	events      uint64
	unnamed     uint64
	first, last int64
}

type group struct {
	persons bitset
	events  uint64
}

func newTally(b *book, q *Question) *tally {
	t := &tally{book: b, first: openEnd, list: q.Persons}
	t.from, t.to = q.seconds()
	for _, c := range q.Credentials {
		if o := b.credentials.find(b.credential(c)); o > 0 && !slices.Contains(t.creds, o) {
			t.creds = append(t.creds, o)
		}
	}
	for i := range t.results {
		t.results[i] = newBitset(b, len(t.creds) > 0)
	}
	return t
}

// credential returns the log's pseudonym of a credential; none if the log cannot be read.
func (b *book) credential(c querschott.CredentialID) ledger.Pseudonym {
	if b.names == nil {
		return ledger.Pseudonym{}
	}
	return b.names.Credential(c)
}

// look counts what a segment has.
func (t *tally) look(seg *segment) error {
	at := seg.log(t.book.origin)
	if at < 0 || seg.until() < t.from || seg.since() >= t.to {
		return nil
	}
	for _, c := range t.creds {
		err := seg.scan(sectionKey{at, byCredential}, c, t.from, t.to, func(run []event) { t.run(c, run) })
		if err != nil {
			return err
		}
	}
	return nil
}

// run counts the events of one credential.
func (t *tally) run(cred uint32, run []event) {
	for i := range run {
		if e := &run[i]; e.cred == cred && e.second >= t.from && e.second < t.to {
			t.count(e)
		}
	}
}

// note counts the events of all credentials that are asked for.
func (t *tally) note(run []event) {
	for i := range run {
		if e := &run[i]; e.second >= t.from && e.second < t.to && slices.Contains(t.creds, e.cred) {
			t.count(e)
		}
	}
}

func (t *tally) count(e *event) {
	t.events++
	t.first, t.last = min(t.first, e.second), max(t.last, e.second)
	if e.person == 0 {
		t.unnamed += uint64(e.records)
	}
	result := e.class & 3
	t.results[result].set(e.person)
	if Result(result) == Refused {
		return
	}
	g := t.groups[e.class>>2]
	if g == nil {
		g = &group{persons: newBitset(t.book, true)}
		t.groups[e.class>>2] = g
	}
	g.events++
	g.persons.set(e.person)
}

// bitset is a set of persons of one book. Ordinal 0 is in it or not and never counts.
type bitset []uint64

func newBitset(b *book, needed bool) bitset {
	if !needed {
		return nil
	}
	return make(bitset, len(b.persons.keys)/64+1)
}

func (s bitset) set(i uint32) { s[i/64] |= 1 << (i % 64) }

func (s bitset) has(i uint32) bool { return s[i/64]>>(i%64)&1 == 1 }

// count returns how many persons are in it and in none of the others.
func (s bitset) count(without ...bitset) (n uint64) {
	for i, w := range s {
		if i == 0 {
			w &^= 1
		}
		for _, o := range without {
			w &^= o[i]
		}
		n += uint64(bits.OnesCount64(w))
	}
	return n
}

// add takes what was counted in one log into the answer.
func (a *Answer) add(t *tally) {
	at := slices.IndexFunc(a.Insurers, func(r Reach) bool { return r.Insurer == t.book.insurer })
	if at < 0 {
		at = len(a.Insurers)
		a.Insurers = append(a.Insurers, Reach{Insurer: t.book.insurer, Groups: []Group{}})
	}
	r := &a.Insurers[at]
	reached, possible, refused := t.results[Reached], t.results[Possible], t.results[Refused]
	r.Reached += reached.count()
	r.Possible += possible.count(reached)
	r.Excluded += refused.count(reached, possible)
	r.Unnamed += t.unnamed
	r.Events += t.events
	if t.events > 0 {
		first, last := time.Unix(t.first, 0).UTC(), time.Unix(t.last, 0).UTC()
		if r.First.IsZero() || first.Before(r.First) {
			r.First = first
		}
		if last.After(r.Last) {
			r.Last = last
		}
	}
	for data, g := range t.groups {
		if g != nil {
			r.group(ledger.DataClass(data).String(), g)
		}
	}
	if t.list {
		r.Persons = append(r.Persons, t.persons()...)
	}
}

func (r *Reach) group(name string, g *group) {
	at := slices.IndexFunc(r.Groups, func(g Group) bool { return g.Data == name })
	if at < 0 {
		at = len(r.Groups)
		r.Groups = append(r.Groups, Group{Data: name})
	}
	r.Groups[at].Persons += g.persons.count()
	r.Groups[at].Events += g.events
}

func (r *Reach) finish(coverage float64) {
	slices.SortFunc(r.Groups, func(x, y Group) int { return strings.Compare(x.Data, y.Data) })
	r.Bounds = Bounds{Lower: r.Reached, Best: r.Reached + r.Possible, Upper: r.Reached + r.Possible + r.Unnamed}
	switch {
	case r.Reached > 0:
		r.Grade = GradeReached
	case r.Possible > 0 || r.Unnamed > 0:
		r.Grade = GradePossible
	case coverage < 1:
		r.Grade = GradeNoSign
	default:
		r.Grade = GradeExcluded
	}
}

// persons lists everybody in the order of their pseudonyms.
func (t *tally) persons() (list []Person) {
	if len(t.creds) == 0 {
		return nil
	}
	for i, key := range t.book.persons.keys {
		o := uint32(i + 1)
		for result := Reached; result <= Refused; result++ {
			if t.results[result].has(o) {
				p := Person{Pseudonym: pseudonymText(key), Result: result, Log: t.book.origin, Entry: t.book.persons.first[i]}
				for data, g := range t.groups {
					if g != nil && g.persons.has(o) {
						p.Data = append(p.Data, ledger.DataClass(data).String())
					}
				}
				slices.Sort(p.Data)
				list = append(list, p)
				break
			}
		}
	}
	slices.SortFunc(list, func(x, y Person) int { return strings.Compare(x.Pseudonym, y.Pseudonym) })
	return list
}

func pseudonymText(p ledger.Pseudonym) string { return hex.EncodeToString(p[:]) }
