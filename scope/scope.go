package scope

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/proof"
)

// Config says which ledger a scope follows and where its index lies.
type Config struct {
	FS     disk.FS
	Dir    string // made when absent; nothing else may lie in it
	Key    []byte // for the MAC of segment files; secret
	Ledger *ledger.Ledger
	Actor  querschott.Actor // whose entries the rounds are
	Now    func() time.Time // nil: time.Now
	Log    *slog.Logger     // nil: nothing is logged

	Every time.Duration // between rounds; 0 means an hour
	Open  int           // a round is cut when so many events are open; 0 means a million
}

// Scope follows a ledger and answers questions about it. All methods may be called by many goroutines.
type Scope struct {
	cfg Config

	work     sync.Mutex // whoever follows, cuts or makes again holds it; it also guards the fields up to merging
	restored bool       // all rounds that the ledger has are in segments
	prev     [32]byte   // SHA-256 of the last round's statement
	newest   newest     // after the last round

	merging sync.Mutex // whoever joins files or removes them all holds it; taken after work

	mu    sync.RWMutex // guards what is below; taken after merging
	books []*book      // by origin
	segs  []*segment   // by round
	last  roundRef     // the last round; N 0: none
	blind map[string]error
	bad   []uint64 // rounds whose segments the ledger doesn't give again
}

// Open opens the index. An index that is damaged is put away, to be made again from the ledger.
func Open(cfg Config) (*Scope, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Every == 0 {
		cfg.Every = time.Hour
	}
	if cfg.Open == 0 {
		cfg.Open = 1 << 20
	}
	s := &Scope{cfg: cfg, blind: map[string]error{}}
	for _, dir := range []string{cfg.Dir, s.segments(), s.namesDir()} {
		if err := cfg.FS.MkdirAll(dir); err != nil {
			return nil, err
		}
	}
	err := s.load()
	if errors.Is(err, errSegment) || errors.Is(err, errNames) || errors.Is(err, errBlock) {
		cfg.Log.Error("ALARM: the index of who reached whom is damaged or forged; it is made again from the ledger", "err", err)
		err = s.clear()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("couldn't open the scope index %s: %w", cfg.Dir, err), s.release())
	}
	return s, nil
}

func (s *Scope) segments() string { return filepath.Join(s.cfg.Dir, "segments") }

func (s *Scope) namesDir() string { return filepath.Join(s.cfg.Dir, "names") }

// load reads the tables of all segment files, and the names that the newest of them knows of.
func (s *Scope) load() error {
	files, err := s.cfg.FS.List(s.segments())
	if err != nil {
		return err
	}
	for _, name := range files {
		path := filepath.Join(s.segments(), name)
		if strings.HasSuffix(name, ".tmp") {
			if err := s.cfg.FS.Remove(path); err != nil {
				return err
			}
			continue
		}
		g, err := openSegment(s.cfg.FS, path, s.cfg.Key)
		if err != nil {
			return err
		}
		s.segs = append(s.segs, g)
	}
	if err := s.contiguous(); err != nil || len(s.segs) == 0 {
		return err
	}
	last := s.segs[len(s.segs)-1]
	s.last = last.table.Rounds[len(last.table.Rounds)-1]
	s.newest = last.newest()
	for i := range last.table.Logs {
		if err := s.loadBook(&last.table.Logs[i]); err != nil {
			return err
		}
	}
	return nil
}

// contiguous puts away the files whose rounds are all in a merged one, and insists on having all rounds from the first on.
func (s *Scope) contiguous() error {
	slices.SortFunc(s.segs, func(a, b *segment) int {
		return cmp.Or(cmp.Compare(a.first(), b.first()), -cmp.Compare(a.last(), b.last()))
	})
	var keep []*segment
	next := uint64(1)
	for i, g := range s.segs {
		switch {
		case g.first() == next:
			keep, next = append(keep, g), g.last()+1
		case g.last() < next:
			if err := errors.Join(g.close(), s.cfg.FS.Remove(g.path)); err != nil {
				return err
			}
		default:
			s.segs = append(keep, s.segs[i:]...)
			return fmt.Errorf("%w: round %d is missing", errSegment, next)
		}
	}
	s.segs = keep
	return nil
}

func (s *Scope) loadBook(h *shelf) error {
	b := s.makeBook(h.Origin, h.Insurer, h.Year)
	b.to, b.next = h.To, h.To
	if err := b.persons.load(h.Persons.Rows, digestOf(h.Persons)); err != nil {
		return err
	}
	return b.credentials.load(h.Credentials.Rows, digestOf(h.Credentials))
}

func digestOf(f filed) (d [32]byte) {
	copy(d[:], f.Digest)
	return d
}

// makeBook adds a book in the order of origins. The caller holds mu, or nobody else has s.
func (s *Scope) makeBook(origin string, insurer querschott.IK, year int) *book {
	who := string(insurer)
	if who == "" {
		who = "platform"
	}
	b := newBook(s.cfg.FS, filepath.Join(s.namesDir(), fmt.Sprintf("%s-%d", who, year)), origin, insurer, year)
	at, _ := slices.BinarySearchFunc(s.books, origin, func(b *book, o string) int { return strings.Compare(b.origin, o) })
	s.books = slices.Insert(s.books, at, b)
	return b
}

// book returns the book of a log, nil if there is none.
func (s *Scope) book(origin string) *book {
	at, ok := slices.BinarySearchFunc(s.books, origin, func(b *book, o string) int { return strings.Compare(b.origin, o) })
	if !ok {
		return nil
	}
	return s.books[at]
}

// clear forgets the index and removes its files.
func (s *Scope) clear() error {
	errs := s.release()
	for _, dir := range []string{s.segments(), s.namesDir()} {
		files, err := s.cfg.FS.List(dir)
		errs = errors.Join(errs, err)
		for _, name := range files {
			errs = errors.Join(errs, s.cfg.FS.Remove(filepath.Join(dir, name)))
		}
		errs = errors.Join(errs, s.cfg.FS.SyncDir(dir))
	}
	s.restored, s.prev, s.newest, s.last, s.bad = false, [32]byte{}, nil, roundRef{}, nil
	return errs
}

func (s *Scope) release() (errs error) {
	for _, g := range s.segs {
		errs = errors.Join(errs, g.close())
	}
	for _, b := range s.books {
		errs = errors.Join(errs, b.close())
	}
	s.segs, s.books = nil, nil
	return errs
}

// Close lets the files go. It cuts no round: what is open is read from the ledger again.
func (s *Scope) Close() error {
	s.work.Lock()
	defer s.work.Unlock()
	s.merging.Lock()
	defer s.merging.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.release()
}

// Rebuild makes the whole index again from the ledger, the rounds with the same segments as before.
func (s *Scope) Rebuild(ctx context.Context) error {
	s.work.Lock()
	defer s.work.Unlock()
	if err := s.reset(); err != nil {
		return fmt.Errorf("couldn't clear the scope index: %w", err)
	}
	return s.follow(ctx)
}

func (s *Scope) reset() error {
	s.merging.Lock()
	defer s.merging.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clear()
}

// pause between two turns. A question follows at once, so this is about how much there may be to follow.
const pause = 5 * time.Second

// Run follows the ledger and cuts rounds until the context ends; then it cuts the last one, if that takes no longer than a
// pause.
func (s *Scope) Run(ctx context.Context) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.finish(context.WithoutCancel(ctx))
		case <-tick.C:
			if err := s.turn(ctx, false); err != nil && ctx.Err() == nil {
				s.cfg.Log.Error("ALARM: the index of who reached whom is behind the ledger", "err", err)
			}
		}
	}
}

// finish takes the last turn. A machine that is too busy for it loses nothing: the next start reads from the ledger what no
// round holds.
func (s *Scope) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	err := s.turn(ctx, true)
	if err != nil && ctx.Err() != nil {
		s.cfg.Log.Warn("there was no time for the last round of who reached whom; the next start makes up for it", "err", err)
		return nil
	}
	return err
}

// turn follows, cuts a round if one is due, and merges what a day has.
func (s *Scope) turn(ctx context.Context, end bool) error {
	cut, err := s.cutIfDue(ctx, end)
	if err != nil || end || !cut {
		return err
	}
	return s.mend(ctx, s.merge())
}

// mend makes a damaged index again.
func (s *Scope) mend(ctx context.Context, err error) error {
	if !damaged(err) {
		return err
	}
	s.cfg.Log.Error("ALARM: the index of who reached whom is damaged or forged; it is made again from the ledger", "err", err)
	return s.Rebuild(ctx)
}

func (s *Scope) cutIfDue(ctx context.Context, end bool) (bool, error) {
	s.work.Lock()
	defer s.work.Unlock()
	if err := s.follow(ctx); err != nil {
		return false, err
	}
	open, first := s.opened()
	due := open >= s.cfg.Open || open > 0 && (end || s.cfg.Now().Sub(time.Unix(max(first, s.last.Until), 0)) >= s.cfg.Every)
	if !due {
		return false, nil
	}
	return true, s.cut(ctx)
}

// opened returns how many events no round holds yet, and the second of the first.
func (s *Scope) opened() (n int, first int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	first = openEnd
	for _, b := range s.books {
		n += len(b.open)
		if len(b.open) > 0 {
			first = min(first, b.open[0].second)
		}
	}
	return n, first
}

// Head is how far the index followed one log.
type Head struct {
	Origin string `json:"origin"`
	Size   uint64 `json:"size"`
	Root   string `json:"root"`
}

func headOf(c proof.Checkpoint) Head { return Head{c.Origin, c.Size, c.Root.String()} }
