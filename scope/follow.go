package scope

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/tile"
)

// follow reads what the ledger has acknowledged so far. The caller holds work.
func (s *Scope) follow(ctx context.Context) error {
	origins := s.cfg.Ledger.Origins()
	if !s.restored {
		err := s.restore(ctx, origins)
		if errors.Is(err, errForeign) {
			s.cfg.Log.Error("ALARM: the index of who reached whom is not of this ledger, or newer; it is made again from the ledger", "err", err)
			if err = s.reset(); err == nil {
				err = s.restore(ctx, origins)
			}
		}
		if err != nil {
			return fmt.Errorf("couldn't restore the rounds of the ledger: %w", err)
		}
		s.restored = true
	}
	for _, origin := range origins {
		if strings.Contains(origin, "/ledger/commits/") {
			continue
		}
		b, err := s.know(origin)
		if err == nil {
			err = s.followLog(ctx, b)
		}
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		s.see(origin, err)
	}
	return nil
}

// see notes whether a log could be followed. One that could not lowers the coverage of answers.
func (s *Scope) see(origin string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.blind, origin)
		return
	}
	if s.blind[origin] == nil {
		s.cfg.Log.Error("ALARM: a log of the ledger cannot be followed; answers about it are not complete", "log", origin, "err", err)
	}
	s.blind[origin] = err
}

// know returns the book of a log, with the log's names.
func (s *Scope) know(origin string) (*book, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.book(origin)
	if b != nil && b.names != nil {
		return b, nil
	}
	names, err := s.cfg.Ledger.Names(origin)
	if err != nil {
		return nil, err
	}
	if b == nil {
		b = s.makeBook(origin, names.Insurer, names.Year)
	}
	b.names = names
	return b, nil
}

// batch is how many entries are read between two looks at the context.
const batch = 1024

// followLog reads one log up to its head.
func (s *Scope) followLog(ctx context.Context, b *book) error {
	head, err := s.cfg.Ledger.Head(b.origin)
	if err != nil {
		return err
	}
	var h happening
	for b.next < head.Size {
		if err := ctx.Err(); err != nil {
			return err
		}
		list := make([]happening, 0, batch)
		end := min(b.next+batch, head.Size)
		for e, err := range s.cfg.Ledger.Scan(b.origin, b.next, end) {
			if err != nil {
				return err
			}
			if b.read(e, span{s.last.Until, openEnd - 1}, &h) {
				keep := h
				keep.persons = slices.Clone(h.persons)
				list = append(list, keep)
			}
		}
		s.mu.Lock()
		for i := range list {
			b.add(&list[i])
		}
		b.next = end
		s.mu.Unlock()
	}
	s.mu.Lock()
	b.head = head
	s.mu.Unlock()
	return nil
}

// sealed is a round as the ledger has it.
type sealed struct {
	ref       roundRef
	statement Statement
	list      []Segment
}

// errForeign says that the index has a round that the ledger doesn't: the ledger was restored from an older backup.
var errForeign = errors.New("the ledger doesn't have the last round")

// restore makes segments of the rounds that the ledger has and the index does not.
func (s *Scope) restore(ctx context.Context, origins []string) error {
	s.forgetOpen()
	known := s.last.N == 0
	for _, b := range s.books {
		if head, err := s.cfg.Ledger.Head(b.origin); b.to > 0 && (err != nil || head.Size < b.to) {
			return fmt.Errorf("%w: %s ends before entry %d", errForeign, b.origin, b.to)
		}
	}
	for _, origin := range platformLogs(origins) {
		from := uint64(0)
		switch c := strings.Compare(origin, s.last.Origin); {
		case s.last.N > 0 && c < 0:
			continue
		case s.last.N > 0 && c == 0:
			from = s.last.Index
		}
		for r, err := range s.rounds(origin, from) {
			if err != nil {
				return err
			}
			if !known {
				if known = r.ref == s.last; !known {
					return errForeign
				}
				s.prev = sha256.Sum256(r.statement.Bytes())
				continue
			}
			if r.ref.N != s.last.N+1 {
				return fmt.Errorf("round %d follows round %d in the ledger", r.ref.N, s.last.N)
			}
			if err := s.again(ctx, r); err != nil {
				return err
			}
		}
	}
	if !known {
		return errForeign
	}
	return nil
}

// platformLogs returns the origins of the platform's own logs, by year.
func platformLogs(origins []string) (list []string) {
	for _, o := range origins {
		if strings.Contains(o, "/ledger/platform/") {
			list = append(list, o)
		}
	}
	slices.Sort(list) // the year has four digits
	return list
}

// rounds reads the rounds of one of the platform's logs.
func (s *Scope) rounds(origin string, from uint64) func(yield func(*sealed, error) bool) {
	return func(yield func(*sealed, error) bool) {
		var r *sealed
		for e, err := range s.cfg.Ledger.Scan(origin, from, ^uint64(0)) {
			if err != nil {
				yield(nil, err)
				return
			}
			if e.Leaf.Kind != ledger.KindSeal {
				continue
			}
			if b := detail(e.Payload, detailStatement); b != nil {
				st, err := ParseStatement(b)
				if err != nil {
					yield(nil, fmt.Errorf("entry %d of %s: %w", e.Index, origin, err))
					return
				}
				r = &sealed{statement: st, ref: roundRef{N: st.Round, Since: st.Since, Until: st.Until, Origin: origin, Index: e.Index}}
			}
			if err := r.take(e.Payload); err != nil {
				yield(nil, fmt.Errorf("entry %d of %s: %w", e.Index, origin, err))
				return
			}
			if r != nil && len(r.list) == int(r.statement.New) {
				if !yield(r, nil) {
					return
				}
				r = nil
			}
		}
	}
}

// take adds the segments of an entry.
func (r *sealed) take(p *ledger.Payload) error {
	b := detail(p, detailSegments)
	if r == nil || b == nil {
		return nil
	}
	list, err := parseList(b)
	r.list = append(r.list, list...)
	return err
}

// again makes the segments of a round from the ledger. That they are others than what was sealed is said, not hidden: the
// index has what the ledger has.
func (s *Scope) again(ctx context.Context, r *sealed) error {
	if s.newest.with(r.list).root() != r.statement.Root {
		return fmt.Errorf("the segments of round %d are others than it committed to", r.ref.N)
	}
	events := map[*book][]event{}
	for i := range r.list {
		g := &r.list[i]
		b, err := s.know(g.Origin)
		if err != nil {
			return err
		}
		records, err := replay(ctx, s.cfg.Ledger, b, g, &r.statement, func(h *happening) {
			s.mu.Lock()
			b.add(h)
			s.mu.Unlock()
		})
		if err != nil {
			return err
		}
		if made := segmentOf(b, g, records); string(made.Bytes()) != string(g.Bytes()) {
			s.cfg.Log.Error("ALARM: the ledger gives other events than were sealed, or details of them are erased", "log", g.Origin, "round", r.ref.N)
			s.mu.Lock()
			s.bad = append(s.bad, r.ref.N)
			s.mu.Unlock()
		}
		s.mu.Lock()
		events[b], b.open = b.open, nil
		b.next = g.To
		s.mu.Unlock()
	}
	return s.keep(r, events)
}

// replay reads the entries of a segment as they were read when it was cut, and returns its records, sorted.
func replay(ctx context.Context, l *ledger.Ledger, b *book, g *Segment, st *Statement, each func(*happening)) ([]Record, error) {
	var h happening
	var records []Record
	for e, err := range l.Scan(g.Origin, g.From, g.To) {
		if err != nil {
			return nil, err
		}
		if e.Index%batch == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if b.read(e, span{st.Since, st.Until}, &h) {
			records = h.records(records)
			each(&h)
		}
	}
	slices.SortFunc(records, func(x, y Record) int { return x.compare(&y) })
	return records, nil
}

// segmentOf commits to sorted records; of where it says only which entries of which round they are from.
func segmentOf(b *book, where *Segment, records []Record) Segment {
	key := b.names.TagKey()
	g := Segment{
		Origin: b.origin, Round: where.Round, From: where.From, To: where.To, Head: where.Head,
		Count: uint64(len(records)), Root: rootOf(leavesOf(records)), Key: sha256.Sum256(key[:]),
	}
	if len(records) > 0 {
		g.First, g.Last = records[0], records[len(records)-1]
	}
	return g
}

func leavesOf(records []Record) []tile.Hash {
	out := make([]tile.Hash, len(records))
	var buf [RecordSize]byte
	for i := range records {
		out[i] = tile.Leaf(records[i].Append(buf[:0]))
	}
	return out
}

// forgetOpen forgets what no round holds; it is read again.
func (s *Scope) forgetOpen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.books {
		b.open, b.next = nil, b.to
	}
}
