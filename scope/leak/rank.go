package leak

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/scope"
)

// Reading is whom of the dump somebody reached in a time.
type Reading struct {
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Matches   int       `json:"matches"`   // persons of the dump whom it reached
	Persons   uint64    `json:"persons"`   // all whom it reached
	Coverage  float64   `json:"coverage"`  // matches / persons of the dump
	Precision float64   `json:"precision"` // matches / all whom it reached
	Evidence  float64   `json:"evidence"`  // decades: 3 means that it would be so by chance once in 1000 times
	InWindow  bool      `json:"in_window"` // some of it lies in a window, or there is none
}

// Reader is a credential that can be the source.
type Reader struct {
	Rank       int                     `json:"rank"`
	Credential querschott.CredentialID `json:"credential"`
	Actor      querschott.Actor        `json:"actor,omitempty"`
	Role       querschott.Role         `json:"role,omitempty"`
	Reading
	Best []Reading `json:"periods,omitempty"` // with the most evidence, at most three; a rest of four hours ends one

	found *scope.Reader
}

// Member is a part of a combination of readers: who explains most of what those before do not.
type Member struct {
	Credential querschott.CredentialID `json:"credential"`
	Adds       int                     `json:"adds"`     // persons of the dump whom none before reached
	Together   float64                 `json:"together"` // coverage of all up to this one
	Evidence   float64                 `json:"evidence"`
}

// Confidence is how sure it is that the first in the ranking, or the combination, is the source.
type Confidence string

// The confidences, from least to most.
const (
	None   Confidence = "none"
	Weak   Confidence = "weak"
	Fair   Confidence = "fair"
	Strong Confidence = "strong"
)

// Ranking says who can be the source.
type Ranking struct {
	Readers    []Reader   `json:"readers"` // the most likely first, at most twenty
	Cover      []Member   `json:"cover"`   // greedy: the fewest readers whose evidence explains the dump
	Confidence Confidence `json:"confidence"`
	Why        []string   `json:"why"`      // what the confidence rests on, and what speaks against it
	Compared   int        `json:"compared"` // readers and their periods
	AsOf       time.Time  `json:"as_of"`
	LedgerPart float64    `json:"ledger_coverage"` // which part of the time asked for the index could look at
	Gaps       []string   `json:"gaps,omitempty"`

	credentials int
}

const (
	shownReaders = 20
	shownPeriods = 3
	maxMembers   = 10

	fairDecades   = 3.0 // beyond what comparing with so many readers gives by chance
	strongDecades = 6.0
)

// evidence is, in decades, a bound (Chernoff) of how unlikely it is that somebody who reached a share of all persons by chance
// has at least so many of the dump's: n · KL(matches/n ‖ share). Somebody who reads everybody gives none, however many he has; so
// does somebody who has no more of the dump than of everybody.
func evidence(matches, n int, persons, all uint64) float64 {
	if n == 0 || matches == 0 || all == 0 {
		return 0
	}
	share := float64(min(persons, all)) / float64(all)
	c := float64(matches) / float64(n)
	if c <= share {
		return 0
	}
	kl := c * math.Log(c/share)
	if c < 1 {
		kl += (1 - c) * math.Log((1-c)/(1-share))
	}
	return float64(n) * kl / math.Ln10
}

// Rank ranks who reached the persons of a dump, n in all, by evidence, which weighs coverage, precision and how many there are
// against each other. If windows are given, whoever reached nobody in one of them comes behind all others: what is in the
// dump was so at no time when it was read.
func Rank(f *scope.Found, n int, windows []Window) *Ranking {
	many := len(f.Readers) + f.Left
	r := &Ranking{Readers: []Reader{}, Cover: []Member{}, Compared: many, credentials: many, AsOf: f.AsOf, LedgerPart: f.Coverage, Gaps: f.Gaps}
	all := f.Known
	for i := range f.Readers {
		all = max(all, f.Readers[i].Persons)
	}
	all = max(all, uint64(n))
	for i := range f.Readers {
		one := &f.Readers[i]
		r.Compared += len(one.Periods)
		reader := Reader{Credential: one.Credential, Actor: one.Actor, Role: one.Role, Reading: reading(&one.Reading, n, all, windows), found: one}
		for j := range one.Periods {
			if p := reading(&one.Periods[j], n, all, windows); p.Matches > 0 {
				reader.Best = append(reader.Best, p)
			}
		}
		slices.SortStableFunc(reader.Best, compare)
		reader.Best = reader.Best[:min(len(reader.Best), shownPeriods)]
		r.Readers = append(r.Readers, reader)
	}
	slices.SortStableFunc(r.Readers, func(x, y Reader) int {
		return cmp.Or(compare(x.strongest(), y.strongest()), cmp.Compare(x.Credential, y.Credential))
	})
	r.cover(n, all)
	r.judge(n, all)
	r.Readers = r.Readers[:min(len(r.Readers), shownReaders)]
	for i := range r.Readers {
		r.Readers[i].Rank = i + 1
	}
	return r
}

func reading(s *scope.Reading, n int, all uint64, windows []Window) Reading {
	r := Reading{First: s.First, Last: s.Last, Matches: len(s.Hits), Persons: s.Persons, Evidence: evidence(len(s.Hits), n, s.Persons, all)}
	if n > 0 {
		r.Coverage = float64(r.Matches) / float64(n)
	}
	if s.Persons > 0 {
		r.Precision = float64(r.Matches) / float64(s.Persons)
	}
	r.InWindow = len(windows) == 0 || slices.ContainsFunc(windows, func(w Window) bool { return w.Holds(s.First, s.Last) })
	return r
}

// strongest is the credential's reading that speaks most for it: as a whole, or in one period.
func (r *Reader) strongest() Reading {
	best := r.Reading
	for _, p := range r.Best {
		if compare(p, best) < 0 {
			best = p
		}
	}
	return best
}

// compare sorts the stronger reading before the weaker.
func compare(x, y Reading) int {
	if x.InWindow != y.InWindow {
		if x.InWindow {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(y.Evidence, x.Evidence), cmp.Compare(y.Coverage, x.Coverage), cmp.Compare(y.Precision, x.Precision), x.First.Compare(y.First))
}

// chance is how many decades of evidence somebody may have because there were so many to compare.
func chance(compared int) float64 { return math.Log10(float64(max(1, compared))) }

// cover takes again and again who has most evidence about the persons that nobody before him reached, as long as it is more
// than comparing so many gives.
func (r *Ranking) cover(n int, all uint64) {
	done := map[uint32]bool{}
	for len(r.Cover) < maxMembers && len(done) < n {
		best, most, adds := -1, 0.0, 0
		for i := range r.Readers {
			x := &r.Readers[i]
			if !x.strongest().InWindow {
				continue
			}
			fresh := 0
			for _, h := range x.found.Hits {
				if !done[h] {
					fresh++
				}
			}
			if e := evidence(fresh, n-len(done), x.Persons, all); e > most {
				best, most, adds = i, e, fresh
			}
		}
		if best < 0 || most < fairDecades+chance(r.credentials) {
			return
		}
		x := &r.Readers[best]
		for _, h := range x.found.Hits {
			done[h] = true
		}
		r.Cover = append(r.Cover, Member{x.Credential, adds, float64(len(done)) / float64(n), most})
	}
}

// judge says how sure it is, and why.
func (r *Ranking) judge(n int, all uint64) {
	r.Why = []string{}
	say := func(format string, args ...any) { r.Why = append(r.Why, fmt.Sprintf(format, args...)) }
	if len(r.Readers) == 0 {
		r.Confidence = None
		say("nobody reached any of these persons through this platform in the time asked for")
		return
	}
	first := r.Readers[0].strongest()
	beyond := first.Evidence - chance(r.Compared)
	say("the first has %d of the dump's %d persons and reached %d of %d in all: by chance once in 10^%.1f times, compared with %d readers and periods", first.Matches, n, first.Persons, all, first.Evidence, r.Compared)
	together, joint := first.Coverage, 0.0
	for _, m := range r.Cover { // so many may be chosen from all readers
		together, joint = max(together, m.Together), joint+m.Evidence-chance(r.credentials)
	}
	beyond = max(beyond, joint)
	ahead := math.Inf(1)
	if i := slices.IndexFunc(r.Readers[1:], func(x Reader) bool { return !r.member(x.Credential) }); i >= 0 {
		next := r.Readers[1+i].strongest()
		ahead = first.Evidence - next.Evidence
		say("the next who is not part of the combination is %.1f decades behind", ahead)
	}
	switch {
	case beyond >= strongDecades && ahead >= fairDecades && together >= 0.5 && first.InWindow && r.LedgerPart == 1:
		r.Confidence = Strong
	case beyond >= fairDecades && ahead >= 1 && first.InWindow:
		r.Confidence = Fair
	default:
		r.Confidence = Weak
	}
	if len(r.Cover) > 1 {
		say("no reader alone explains it: %d together have %.0f %% of its persons", len(r.Cover), 100*together)
	}
	if together < 0.5 {
		say("at most %.0f %% of the dump's persons were reached by them: the rest comes from somewhere else", 100*together)
	}
	if !first.InWindow {
		say("nobody read these persons when the copy was made: it was not made through this platform, or the history is wrong")
	}
	if r.LedgerPart < 1 {
		say("the index could look at %.0f %% of the time asked for", 100*r.LedgerPart)
	}
}

func (r *Ranking) member(c querschott.CredentialID) bool {
	return slices.ContainsFunc(r.Cover, func(m Member) bool { return m.Credential == c })
}
