package incident

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// Recorded is what the ledger learns of one entry. It names no actor of an alarm and no text.
type Recorded struct {
	Ref    string
	N      int
	Kind   Kind
	By     querschott.Actor
	Digest Digest
}

// Config is what a book needs. All fields are mandatory.
type Config struct {
	FS  disk.FS
	Dir string
	Now func() time.Time

	// Record makes the digest of an entry provable. It is called when the entry is on disk.
	Record func(context.Context, Recorded) error
}

// Book holds all cases. All methods may be called at the same time.
type Book struct {
	cfg Config

	mu      sync.Mutex // guards all below, and is held while an entry is written
	cases   map[string]*Case
	damaged map[string]error
	unclear map[string]error // whose file may end in a piece of an entry that was refused
	sizes   map[string]int64
	next    map[int]int // year -> number of its next case
}

const suffix = ".case"

var refForm = regexp.MustCompile(`^VF-([0-9]{4})-([0-9]{4,6})$`)

// OpenBook reads all cases. A damaged case stops no other and not the book.
func OpenBook(cfg Config) (*Book, error) {
	b := &Book{
		cfg: cfg, cases: map[string]*Case{}, damaged: map[string]error{}, unclear: map[string]error{}, sizes: map[string]int64{}, next: map[int]int{},
	}
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("couldn't make the directory of cases: %w", err)
	}
	names, err := cfg.FS.List(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("couldn't list the cases: %w", err)
	}
	for _, name := range names {
		ref, ok := strings.CutSuffix(name, suffix)
		m := refForm.FindStringSubmatch(ref)
		if !ok || m == nil {
			continue
		}
		year, _ := strconv.Atoi(m[1]) // digits, by the form
		number, _ := strconv.Atoi(m[2])
		b.next[year] = max(b.next[year], number+1)
		if err := b.load(ref); err != nil {
			b.damaged[ref] = err
		}
	}
	return b, nil
}

func (b *Book) path(ref string) string { return filepath.Join(b.cfg.Dir, ref+suffix) }

// load reads one case and cuts off what a crash has left of an entry that nobody was told is written.
func (b *Book) load(ref string) error {
	data, err := disk.ReadFile(b.cfg.FS, b.path(ref), maxFile)
	if err != nil {
		return err
	}
	c, good, err := parse(ref, data)
	if err != nil {
		return err
	}
	if good < len(data) {
		if err := b.cut(ref, int64(good)); err != nil {
			return fmt.Errorf("couldn't cut off a torn entry: %w", err)
		}
	}
	if len(c.Entries) > 0 {
		b.cases[ref], b.sizes[ref] = c, int64(good)
	}
	return nil
}

func (b *Book) cut(ref string, size int64) error {
	f, err := b.cfg.FS.Open(b.path(ref))
	if err != nil {
		return err
	}
	if err = f.Truncate(size); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Begin opens a case with its first entry, a fact.
func (b *Book) Begin(ctx context.Context, e Entry) (*Case, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	year := b.cfg.Now().UTC().Year()
	b.next[year] = max(b.next[year], 1)
	ref := fmt.Sprintf("VF-%d-%04d", year, b.next[year])
	c := newCase(ref)
	if err := b.settle(c, &e); err != nil {
		return nil, err
	}
	b.next[year]++ // the name is used up, whatever becomes of the file
	f, err := b.cfg.FS.Create(b.path(ref))
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), b.cfg.FS.SyncDir(b.cfg.Dir))
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't make the file of a case: %w", err)
	}
	return b.write(ctx, c, &e)
}

// Any is the version of who does not mind what happened meanwhile.
const Any = -1

// Append adds an entry to a case. version is the one that the writer saw: if the case has moved since, nothing is written and
// the error's code is conflict. Whoever decides, asks, approves, corrects or gives a role must say it; who adds a fact may say
// [Any].
func (b *Book) Append(ctx context.Context, ref string, version int, e Entry) (*Case, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.find(ref)
	if err != nil {
		return nil, err
	}
	if version == Any && !slices.Contains([]Kind{Fact, Assumption, Question, Finding, Action}, e.Kind) {
		return nil, refuse("case.version", "an entry of the kind %s needs the version of the case that was seen", e.Kind)
	}
	if version != Any && version != c.Version {
		return nil, querschott.RefuseAs(querschott.CodeConflict, "case.moved", "the case %s has moved from version %d to %d: look again", ref, version, c.Version)
	}
	if err := b.unclear[ref]; err != nil {
		return nil, fmt.Errorf("the case %s takes no entries until the next start: %w", ref, err)
	}
	if c.Version >= MaxEntries {
		return nil, querschott.RefuseAs(querschott.CodeNoRoom, "case.full", "the case %s is full: open another one", ref)
	}
	if err := b.settle(c, &e); err != nil {
		return nil, err
	}
	return b.write(ctx, c, &e)
}

// settle gives an entry its number and times, and judges it.
func (b *Book) settle(c *Case, e *Entry) error {
	e.N, e.Written = len(c.Entries)+1, b.cfg.Now().UTC().Truncate(time.Millisecond)
	if n := len(c.Entries); n > 0 && e.Written.Before(c.Entries[n-1].Written) {
		e.Written = c.Entries[n-1].Written // the clock went back; the order of entries did not
	}
	if e.Learned.IsZero() {
		e.Learned = e.Written
	}
	e.Learned, e.Happened = e.Learned.UTC().Truncate(time.Millisecond), e.Happened.UTC().Truncate(time.Millisecond) // as fine as Written
	if err := e.check(); err != nil {
		return err
	}
	if err := c.checkClaim(e); err != nil {
		return err
	}
	return c.admit(e)
}

// write makes a settled entry durable, takes it over, and has it recorded. The caller holds mu.
func (b *Book) write(ctx context.Context, c *Case, e *Entry) (*Case, error) {
	line, d, err := appendLine(c.Head(), e)
	if err != nil {
		return nil, err
	}
	if err := b.put(c.Ref, line); err != nil {
		return nil, fmt.Errorf("couldn't write an entry of %s: %w", c.Ref, err)
	}
	c.apply(*e, d)
	b.cases[c.Ref] = c
	b.sizes[c.Ref] += int64(len(line))
	s := c.snapshot()
	if err := b.cfg.Record(ctx, Recorded{c.Ref, e.N, e.Kind, e.By, d}); err != nil {
		return s, fmt.Errorf("entry %d of %s is written, but the ledger does not have it: %w", e.N, c.Ref, err)
	}
	return s, nil
}

// put appends a line and syncs it. What cannot be written is taken back; where that fails too the case takes no more entries.
func (b *Book) put(ref string, line []byte) error {
	f, err := b.cfg.FS.Open(b.path(ref))
	if err != nil {
		return err
	}
	end := b.sizes[ref]
	size, err := f.Size()
	if err == nil && size != end {
		err = fmt.Errorf("%w: it has %d bytes, expected %d", ErrDamaged, size, end)
		b.unclear[ref] = err
		return errors.Join(err, f.Close())
	}
	if err == nil {
		_, err = f.WriteAt(line, end)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		if again := errors.Join(f.Truncate(end), f.Sync()); again != nil {
			b.unclear[ref] = errors.Join(err, again)
		}
	}
	return errors.Join(err, f.Close())
}

func (b *Book) find(ref string) (*Case, error) {
	if c, ok := b.cases[ref]; ok {
		return c, nil
	}
	if err, ok := b.damaged[ref]; ok {
		return nil, fmt.Errorf("the case %s cannot be used: %w", ref, err)
	}
	return nil, querschott.RefuseAs(querschott.CodeNotFound, "case.unknown", "there is no case %.20q", ref)
}

// Case returns a case.
func (b *Book) Case(ref string) (*Case, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.find(ref)
	if err != nil {
		return nil, err
	}
	return c.snapshot(), nil
}

// Cases returns all cases: those that are not closed first, then the newest.
func (b *Book) Cases() []*Case {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]*Case, 0, len(b.cases))
	for _, c := range b.cases {
		list = append(list, c.snapshot())
	}
	slices.SortFunc(list, func(x, y *Case) int {
		if (x.Status == Closed) != (y.Status == Closed) {
			return map[bool]int{true: 1, false: -1}[x.Status == Closed]
		}
		return cmp.Or(y.Opened.Compare(x.Opened), strings.Compare(y.Ref, x.Ref))
	})
	return list
}

// Damaged returns the cases whose files cannot be believed, with the reasons.
func (b *Book) Damaged() map[string]error {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := maps.Clone(b.damaged)
	maps.Copy(all, b.unclear)
	return all
}

// Compare holds the book against what the record has: each digest must be that of its entry. It returns one fault for each case
// that does not fit.
func (b *Book) Compare(recorded []Recorded) []Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	faults := map[string]Fault{}
	for _, r := range recorded {
		c := b.cases[r.Ref]
		_, known := faults[r.Ref]
		switch {
		case known:
		case c == nil && b.damaged[r.Ref] != nil:
			faults[r.Ref] = fault(Fault{Ref: r.Ref, What: FaultDamaged, Detail: b.damaged[r.Ref].Error()})
		case c == nil:
			faults[r.Ref] = fault(Fault{Ref: r.Ref, What: FaultMissing})
		case r.N > len(c.Digests):
			faults[r.Ref] = fault(Fault{Ref: r.Ref, What: FaultShort, Entry: r.N, Last: len(c.Digests)})
		case c.Digests[r.N-1] != r.Digest:
			faults[r.Ref] = fault(Fault{Ref: r.Ref, What: FaultOther, Entry: r.N})
		}
	}
	return slices.SortedFunc(maps.Values(faults), func(x, y Fault) int { return strings.Compare(x.Ref, y.Ref) })
}
