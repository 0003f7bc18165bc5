package scope

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/tile"
)

// Prove makes the proof of a question's answer. What is asked for and not in a round yet is put into one first. It reads all
// entries of the rounds from the ledger: what the index says counts for nothing.
func (s *Scope) Prove(ctx context.Context, q Question) (*Proof, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	r, err := s.roundsFor(ctx, &q)
	if err != nil {
		return nil, err
	}
	p := &Proof{Format: proofFormat, Credentials: unique(q.Credentials), Insurers: q.Insurers}
	p.From, p.To = q.seconds()
	w := prover{s: s, ctx: ctx, proof: p, before: r.before}
	for _, ref := range r.list {
		if err := w.round(ref); err != nil {
			return nil, fmt.Errorf("couldn't prove round %d: %w", ref.N, err)
		}
	}
	return p, nil
}

// rounds are those that a proof needs.
type rounds struct {
	before newest     // before the first of lead
	list   []roundRef // lead, and what is proved
}

// roundsFor returns the rounds from the last that ends before the question's time on to the first that doesn't end before its
// end. A few more lead to them, from the end of a segment file on.
func (s *Scope) roundsFor(ctx context.Context, q *Question) (r rounds, err error) {
	s.work.Lock()
	defer s.work.Unlock()
	if err := s.follow(ctx); err != nil {
		return r, err
	}
	from, to := q.seconds()
	if s.last.Until < to {
		if err := s.cut(ctx); err != nil {
			return r, err
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	begin := 0
	for i, g := range s.segs {
		if g.until() < from {
			begin = i // all before end earlier
		}
	}
	if begin > 0 {
		r.before = s.segs[begin-1].newest()
	}
	for _, g := range s.segs[begin:] {
		for _, ref := range g.table.Rounds {
			if n := len(r.list); n == 0 || r.list[n-1].Until < to {
				r.list = append(r.list, ref)
			}
		}
	}
	return r, nil
}

// prover makes a proof, round by round.
type prover struct {
	s      *Scope
	ctx    context.Context
	proof  *Proof
	before newest // after the round before
	count  int    // of records
}

func (w *prover) round(ref roundRef) error {
	l := w.s.cfg.Ledger
	var sealed *sealed
	for r, err := range w.s.rounds(ref.Origin, ref.Index) {
		if err != nil {
			return err
		}
		sealed = r
		break
	}
	if sealed == nil || sealed.ref != ref {
		return errors.New("the ledger doesn't have it where the index says")
	}
	after := w.before.with(sealed.list)
	base := ref.Until < w.proof.From
	if base {
		w.proof.Rounds = nil // an earlier one is not needed
	}
	entry, payload, err := l.Disclose(ref.Origin, ref.Index)
	if err != nil {
		return err
	}
	proof, err := l.Prove(ref.Origin, ref.Index)
	if err != nil {
		return err
	}
	out := RoundProof{Entry: entry, Payload: payload, Proof: string(proof), Logs: []LogSum{}, Segments: []SegmentProof{}}
	domain := domainOf(ref.Origin)
	for _, origin := range slices.Sorted(maps.Keys(after)) {
		sum := sha256.Sum256(after[origin])
		out.Logs = append(out.Logs, LogSum{origin, sum[:]})
		owner, err := ownerOf(domain, origin)
		if err != nil {
			return err
		}
		if !wants(w.proof.Insurers, owner) {
			continue
		}
		if fresh := string(after[origin]) != string(w.before[origin]); !fresh && !base {
			continue
		}
		one := SegmentProof{Segment: after[origin]}
		if !base {
			if one, err = w.segment(after[origin], &sealed.statement); err != nil {
				return err
			}
		}
		out.Segments = append(out.Segments, one)
	}
	w.before = after
	w.proof.Rounds = append(w.proof.Rounds, out)
	return nil
}

// segment makes a segment's part from the ledger.
func (w *prover) segment(raw []byte, st *Statement) (p SegmentProof, err error) {
	g, err := ParseSegment(raw)
	if err != nil {
		return p, err
	}
	b, err := w.s.reader(g.Origin)
	if err != nil {
		return p, err
	}
	records, err := replay(w.ctx, w.s.cfg.Ledger, b, &g, st, func(*happening) {})
	if err != nil {
		return p, err
	}
	if made := segmentOf(b, &g, records); string(made.Bytes()) != string(raw) {
		return p, fmt.Errorf("the ledger doesn't give what was sealed of %s, or details of it are erased", g.Origin)
	}
	key := b.names.TagKey()
	p = SegmentProof{Segment: raw, Key: key[:]}
	if len(records) == 0 {
		return p, nil
	}
	leaves := leavesOf(records)
	for _, c := range w.proof.Credentials {
		run := runOf(records, leaves, TagOf(key, c), w.proof.From, w.proof.To)
		if w.count += len(run.Records); w.count > maxProved {
			return p, querschott.Refuse(querschott.CodeTooLarge, "a proof has room for %d records: ask for less time or fewer insurers", maxProved)
		}
		p.Runs = append(p.Runs, run)
	}
	return p, nil
}

// runOf takes the records of a tag in [from, to) and their neighbours.
func runOf(records []Record, leaves []tile.Hash, tag Tag, from, to int64) Run {
	lo := sort.Search(len(records), func(i int) bool { return !records[i].before(tag, from) })
	hi := sort.Search(len(records), func(i int) bool { return !records[i].before(tag, to) })
	lo, hi = max(lo-1, 0), min(hi+1, len(records))
	run := Run{Left: uint64(lo), Records: [][]byte{}, Path: [][]byte{}}
	for i := range records[lo:hi] {
		run.Records = append(run.Records, records[lo+i].Append(nil))
	}
	for _, h := range rangePath(leaves, uint64(lo), uint64(hi), nil) {
		run.Path = append(run.Path, h[:])
	}
	return run
}

// before reports whether the record sorts before all of a tag from a second on.
func (r *Record) before(tag Tag, second int64) bool {
	c := strings.Compare(string(r.Tag[:]), string(tag[:]))
	return c < 0 || c == 0 && r.Second < second
}

// reader is a book with which a log can be read beside the one that follows it.
func (s *Scope) reader(origin string) (*book, error) {
	names, err := s.cfg.Ledger.Names(origin)
	if err != nil {
		return nil, err
	}
	b := &book{origin: origin, insurer: names.Insurer, year: names.Year, names: names, tags: map[ledger.Pseudonym]Tag{}}
	s.work.Lock()
	defer s.work.Unlock()
	if own := s.book(origin); own != nil {
		b.tags = maps.Clone(own.tags)
	}
	return b, nil
}

func domainOf(origin string) string {
	domain, _, _ := strings.Cut(origin, "/ledger/")
	return domain
}
