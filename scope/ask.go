package scope

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// Ask answers a question as of now: it first reads what the ledger has acknowledged. A damaged index is made again.
func (s *Scope) Ask(ctx context.Context, q Question) (*Answer, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	return current(ctx, s, func(asOf time.Time) (*Answer, error) { return s.answer(&q, asOf) })
}

// current has somebody look at the index as of now, and once more if it was damaged and is made again.
func current[T any](ctx context.Context, s *Scope, look func(asOf time.Time) (*T, error)) (*T, error) {
	asOf, err := s.catchUp(ctx)
	if err != nil {
		return nil, err
	}
	found, err := look(asOf)
	if !damaged(err) {
		return found, err
	}
	if err := s.mend(ctx, err); err != nil {
		return nil, err
	}
	return look(asOf)
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
	a.Unknown = s.unknown(q.Credentials)
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

// unknown returns the credentials that are in no log, whatever time and insurer are asked for.
func (s *Scope) unknown(list []querschott.CredentialID) (none []querschott.CredentialID) {
	for _, c := range list {
		known := func(b *book) bool { return b.credentials.find(b.credential(c)) > 0 }
		if !slices.ContainsFunc(s.books, known) {
			none = append(none, c)
		}
	}
	return none
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

// add takes what was counted in one log into the answer.
func (a *Answer) add(t *tally) {
	at := slices.IndexFunc(a.Insurers, func(r Reach) bool { return r.Insurer == t.book.insurer })
	if at < 0 {
		at = len(a.Insurers)
		a.Insurers = append(a.Insurers, Reach{Insurer: t.book.insurer, Groups: []Group{}})
	}
	r := &a.Insurers[at]
	reached, possible, refused := t.results()
	r.Reached += reached.count()
	r.Possible += possible.count(reached)
	r.Excluded += refused.count(reached, possible)
	r.Unnamed += t.unnamed
	r.Events += t.events()
	if t.first <= t.last {
		first, last := time.Unix(t.first, 0).UTC(), time.Unix(t.last, 0).UTC()
		if r.First.IsZero() || first.Before(r.First) {
			r.First = first
		}
		if last.After(r.Last) {
			r.Last = last
		}
	}
	for _, g := range t.groups() {
		r.group(&g)
	}
	if t.list {
		r.Persons = append(r.Persons, t.persons()...)
	}
}

func (r *Reach) group(g *group) {
	at := slices.IndexFunc(r.Groups, func(have Group) bool { return have.Data == g.name })
	if at < 0 {
		at = len(r.Groups)
		r.Groups = append(r.Groups, Group{Data: g.name})
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
