package scope

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

func sealEntry(name string, b []byte) ledger.Entry {
	return ledger.Entry{
		Kind: ledger.KindSeal, Action: ledger.ActionCreate, Data: ledger.DataLog, Outcome: ledger.OutcomeSuccess,
		Role: querschott.RoleMachine, Purpose: ledger.PurposeAudit,
		Detail: []ledger.Field{{Name: name, Value: base64.StdEncoding.EncodeToString(b)}},
	}
}

// cut ends the round at hand: its statement and segments go into the ledger, then its events into a segment file. When the
// file can't be written, the round is made again from the ledger. The caller holds work and has followed.
func (s *Scope) cut(ctx context.Context) error {
	now := s.cfg.Now()
	st := Statement{Round: s.last.N + 1, Since: s.last.Until, Until: max(ceil(now), s.last.Until), Prev: s.prev}
	events := map[*book][]event{}
	var list []Segment
	for _, b := range s.books { // only who holds work changes them
		if b.names == nil || b.next == b.to || b.head.Size != b.next {
			continue
		}
		for i := range b.open {
			b.open[i].second = min(b.open[i].second, st.Until)
		}
		records := b.records()
		list = append(list, segmentOf(b, &Segment{Round: st.Round, From: b.to, To: b.next, Head: b.head.Root}, records))
		events[b] = b.open
	}
	all := s.newest.with(list)
	st.Logs, st.New, st.Root = uint32(len(all)), uint32(len(list)), all.root()
	entries := sealEntries(&st, list)
	for i := range entries {
		entries[i].Actor, entries[i].At = s.cfg.Actor, now
	}
	receipts, err := s.cfg.Ledger.Append(ctx, entries...)
	if err != nil {
		s.restored = false // perhaps it is in the ledger all the same
		return fmt.Errorf("couldn't seal round %d: %w", st.Round, err)
	}
	ref := roundRef{N: st.Round, Since: st.Since, Until: st.Until, Origin: receipts[0].Origin, Index: receipts[0].Index}
	if err := s.keep(&sealed{ref: ref, statement: st, list: list}, events); err != nil {
		s.restored = false
		return fmt.Errorf("couldn't keep round %d: %w", st.Round, err)
	}
	return nil
}

// records returns what the open events are in the segment's tree, sorted.
func (b *book) records() []Record {
	out := make([]Record, len(b.open))
	for i := range b.open {
		e := &b.open[i]
		out[i] = Record{Second: e.second, Index: e.index, Data: e.data(), Result: e.result(), Records: e.records}
		if e.cred > 0 {
			out[i].Tag = b.tags[b.credentials.keys[e.cred-1]]
		} else {
			out[i].Tag = b.tags[ledger.Pseudonym{}]
		}
		if e.person > 0 {
			out[i].Person = b.persons.keys[e.person-1]
		}
	}
	slices.SortFunc(out, func(x, y Record) int { return x.compare(&y) })
	return out
}

// keep writes a round's events into a segment file and goes on behind the round.
func (s *Scope) keep(r *sealed, events map[*book][]event) error {
	w, err := newSegment(s.cfg.FS, s.segments(), []roundRef{r.ref})
	if err != nil {
		return err
	}
	newest, reached := s.newest.with(r.list), map[string]uint64{}
	for i := range r.list {
		reached[r.list[i].Origin] = r.list[i].To
	}
	for _, b := range s.books {
		to := max(b.to, reached[b.origin])
		h := shelf{Origin: b.origin, Insurer: b.insurer, Year: b.year, To: to, Segment: newest[b.origin]}
		if h.Persons, err = b.persons.filed(); err == nil {
			h.Credentials, err = b.credentials.filed()
		}
		if err == nil {
			err = w.log(h, slices.Clone(events[b]))
		}
		if err != nil {
			return errors.Join(err, w.abandon())
		}
	}
	g, err := w.finish(s.cfg.Key)
	if err != nil {
		return errors.Join(err, w.file.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segs = append(s.segs, g)
	for _, b := range s.books {
		if to, ok := reached[b.origin]; ok {
			b.to, b.open = to, nil
		}
	}
	s.last = r.ref
	s.prev, s.newest = sha256.Sum256(r.statement.Bytes()), newest
	return nil
}

func (n *names) filed() (filed, error) {
	rows, digest, err := n.save()
	return filed{rows, digest[:]}, err
}

// mergeMost is how many events of one log go into one merged file: they are in memory for it.
const mergeMost = 2 << 20

const day = 24 * 60 * 60

// merge joins the rounds of days that are over into one file for each day.
func (s *Scope) merge() error {
	s.merging.Lock()
	defer s.merging.Unlock()
	for from := 0; ; from++ {
		run := s.mergeable(from)
		switch {
		case len(run) == 0:
			return nil
		case len(run) > 1:
			if err := s.join(from, run); err != nil {
				return fmt.Errorf("couldn't merge segments: %w", err)
			}
		}
	}
}

// mergeable returns the run of files from one on that go into one file. The newest day's stay as they are.
func (s *Scope) mergeable(from int) []*segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if from >= len(s.segs) {
		return nil
	}
	most := map[string]int{}
	for to, g := range s.segs[from:] {
		if to > 0 && (g.until()/day != s.segs[from].until()/day || g.until()/day == s.last.Until/day) {
			return slices.Clone(s.segs[from : from+to])
		}
		for i := range g.table.Logs {
			h := &g.table.Logs[i]
			if most[h.Origin] += h.Sections[byCredential].Events; to > 0 && most[h.Origin] > mergeMost {
				return slices.Clone(s.segs[from : from+to])
			}
		}
	}
	return slices.Clone(s.segs[from:])
}

// join puts one file in the place of several.
func (s *Scope) join(from int, old []*segment) error {
	var rounds []roundRef
	for _, g := range old {
		rounds = append(rounds, g.table.Rounds...)
	}
	w, err := newSegment(s.cfg.FS, s.segments(), rounds)
	if err != nil {
		return err
	}
	for _, h := range old[len(old)-1].table.Logs { // it knows all logs that those before it knew
		var list []event
		for _, g := range old {
			at := g.log(h.Origin)
			if at < 0 {
				continue
			}
			var err error
			if list, err = g.all(sectionKey{at, byCredential}, list); err != nil {
				return errors.Join(err, w.abandon())
			}
		}
		if err := w.log(h, list); err != nil {
			return errors.Join(err, w.abandon())
		}
	}
	g, err := w.finish(s.cfg.Key)
	if err != nil {
		return errors.Join(err, w.file.Close())
	}
	s.mu.Lock()
	s.segs = slices.Replace(s.segs, from, from+len(old), g)
	for _, o := range old { // nobody reads them: who asks holds mu
		err = errors.Join(err, o.close(), s.cfg.FS.Remove(o.path))
	}
	s.mu.Unlock()
	return errors.Join(err, s.cfg.FS.SyncDir(s.segments()))
}

// log returns where a log is in the file's table, -1 if it has none.
func (s *segment) log(origin string) int {
	at, ok := slices.BinarySearchFunc(s.table.Logs, origin, func(h shelf, o string) int {
		if h.Origin < o {
			return -1
		} else if h.Origin > o {
			return 1
		}
		return 0
	})
	if !ok {
		return -1
	}
	return at
}
