// Package pebble is the embedded [cell.Store]: one Pebble instance per insurer and directory, many of them in one
// process.
//
// The promise, beyond that of [cell.Store]:
//
//   - Commit returns after the fsync of the write-ahead log; concurrent commits share one.
//   - An insurer's store fails alone. What the engine would end the process for (a write-ahead log or a manifest that
//     cannot be written) breaks this store only: everything on it fails from then on with [cell.ErrDamaged], at once
//     and without hanging, until the process is started again, which recovers everything that was acknowledged.
//   - Damage is an error that names the directory and what to do. One exception: after a crash, a manifest that was cut
//     short cannot be told from one whose writing the crash interrupted, and the store opens with less.
//   - Eighty idle stores open in about a second and together stay far below 120 MB.
//
// On disk a store is a directory of its own with mode 0700, in Pebble's format (version FormatValueSeparation): NNN.log
// (write-ahead log), NNN.sst (tables), MANIFEST-NNN and marker files (which tables are in force), OPTIONS-NNN,
// LOCK, and while it is closed INVENTORY (names, sizes and checksums of the others).
// Values are sealed before they come here and are not compressed: sealed bytes do not shrink.
package pebble

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott/cell"
)

// bloomFilter saves reads for keys that are not there: a "seen before?" question is mostly answered no.
var bloomFilter = bloom.FilterPolicy(10)

// Store is a cell on a directory. It implements [cell.Store].
type Store struct {
	dir  string
	disk vfs.FS
	db   *pebble.DB

	broken chan struct{} // closed when the engine failed for good; cause is set before

	mu     sync.Mutex // guards the fields below
	closed bool
	cause  error
	users  sync.WaitGroup // calls under way; Add only while mu is held and closed is false
}

// Open opens the store in dir and makes it if it is not there, unless o.MustExist.
func Open(dir string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	shared := o.Shared
	if shared == nil {
		shared = NewShared(ownCacheBytes, ownOpenFiles)
		defer shared.Close()
	}
	if err := checkDirectory(o.FS, dir, o.MustExist); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, disk: o.FS, broken: make(chan struct{})}
	if err := checkInventory(o.FS, dir); err != nil {
		return nil, explainOpen(dir, err)
	}
	disk := &failStop{FS: o.FS, dir: dir, fail: s.fail}
	o.FS = disk
	db, err := openEngine(dir, o.engine(shared, &engineLog{dir: dir, log: o.Logger, fail: s.fail}))
	if err == nil {
		err = s.failure()
	}
	if err != nil {
		return nil, explainOpen(dir, err)
	}
	disk.armed.Store(true)
	s.db = db
	return s, nil
}

// checkDirectory makes the directory, or refuses one that has the files of a store and not the ones that name them:
// there the engine would begin an empty store.
func checkDirectory(disk vfs.FS, dir string, mustExist bool) error {
	if !mustExist {
		if err := disk.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("couldn't make the directory of cell %s: %w", dir, err)
		}
	}
	names, err := disk.List(dir)
	if mustExist && errors.Is(err, fs.ErrNotExist) {
		return explainOpen(dir, errMissing)
	}
	if err != nil {
		return explainOpen(dir, err)
	}
	desc, err := pebble.Peek(dir, disk)
	if err != nil {
		return explainOpen(dir, err)
	}
	if desc.Exists {
		return nil
	}
	for _, name := range names {
		if ext := filepath.Ext(name); ext == ".sst" || ext == ".log" || strings.HasPrefix(name, "MANIFEST-") {
			return explainOpen(dir, fmt.Errorf("%w: there are tables or logs, but the files that name them are missing",
				cell.ErrDamaged))
		}
	}
	if mustExist {
		return explainOpen(dir, errMissing)
	}
	return nil
}

var errMissing = fmt.Errorf("%w: there is no store in it", cell.ErrDamaged)

// openEngine turns a panic of the engine over damaged files into an error.
func openEngine(dir string, e *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", cell.ErrDamaged, p)
		}
	}()
	return pebble.Open(dir, e)
}

func explainOpen(dir string, err error) error {
	const advice = "keep the directory as it is, restore the newest checkpoint of this insurer's cell to its place and " +
		"start again; other insurers are not concerned"
	if err = damaged(err); errors.Is(err, cell.ErrDamaged) {
		return fmt.Errorf("couldn't open cell %s: %w; %s", dir, err, advice)
	}
	return fmt.Errorf("couldn't open cell %s: %w", dir, err)
}

// damaged puts ErrDamaged into the chain of an error that the engine calls corruption.
func damaged(err error) error {
	if errors.Is(err, cell.ErrDamaged) || !pebble.IsCorruptionError(err) {
		return err
	}
	return fmt.Errorf("%w: %w", cell.ErrDamaged, err)
}

// openAtOnce bounds how many stores are opened in parallel; opening mostly waits for the disk.
const openAtOnce = 16

// OpenAll opens one store per directory in parallel. Result i belongs to dirs[i]: a store, or nil and the error. One
// damaged store does not keep the others shut.
func OpenAll(dirs []string, o Options) ([]*Store, []error) {
	stores, errs := make([]*Store, len(dirs)), make([]error, len(dirs))
	var g errgroup.Group
	g.SetLimit(openAtOnce)
	for i, dir := range dirs {
		g.Go(func() error {
			stores[i], errs[i] = Open(dir, o)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs, one per store
	return stores, errs
}

// fail breaks the store for good. The first cause stays.
func (s *Store) fail(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return
	}
	s.cause = fmt.Errorf("cell %s: %w: %w; start the node again to recover what was acknowledged; if the disk is full, "+
		"make room first", s.dir, cell.ErrDamaged, cause)
	close(s.broken)
}

func (s *Store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// enter counts a call; leave must follow. The engine panics when it is used after its end.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return cell.ErrClosed
	}
	if s.cause != nil {
		return s.cause
	}
	s.users.Add(1)
	return nil
}

func (s *Store) leave() { s.users.Done() }

// Get implements [cell.Store].
func (s *Store) Get(key []byte) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, cell.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read from cell %s: %w", s.dir, damaged(err))
	}
	out := append(make([]byte, 0, len(v)), v...)
	if err := closer.Close(); err != nil {
		return nil, fmt.Errorf("couldn't read from cell %s: %w", s.dir, damaged(err))
	}
	return out, nil
}

// Scan implements [cell.Store].
func (s *Store) Scan(lo, hi []byte, fn func(key, value []byte) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if hi != nil && bytes.Compare(lo, hi) >= 0 {
		return nil
	}
	if len(lo) == 0 {
		lo = nil // the engine takes an empty bound that is not nil for a mistake
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return fmt.Errorf("couldn't scan cell %s: %w", s.dir, damaged(err))
	}
	ended, err := visit(it, fn)
	if cerr := it.Close(); cerr != nil && !ended {
		err = cerr
	}
	if err == nil || ended {
		return err
	}
	return fmt.Errorf("couldn't scan cell %s: %w", s.dir, damaged(err))
}

// visit reports with ended that the error is the callback's.
func visit(it *pebble.Iterator, fn func(key, value []byte) error) (ended bool, err error) {
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return false, err
		}
		if err := fn(it.Key(), v); errors.Is(err, cell.ErrStop) {
			return true, nil
		} else if err != nil {
			return true, err
		}
	}
	return false, it.Error()
}

// Commit implements [cell.Store]. It returns after the fsync.
func (s *Store) Commit(b *cell.Batch) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if b.Len() == 0 {
		return nil
	}
	batch := s.db.NewBatchWithSize(b.Size() + 16*b.Len())
	for _, op := range b.Ops() {
		var err error
		if op.Delete {
			err = batch.Delete(op.Key, nil)
		} else {
			err = batch.Set(op.Key, op.Value, nil)
		}
		if err != nil {
			return fmt.Errorf("couldn't fill a batch for cell %s: %w", s.dir, err)
		}
	}
	// The engine runs in a goroutine of its own, because a failing disk leaves commits hanging inside it: see failStop.
	done := make(chan error, 1)
	go func() { done <- s.apply(batch) }()
	select {
	case err := <-done:
		return err
	case <-s.broken:
		return s.failure()
	}
}

// apply commits. What the engine calls fatal it tells its logger, and may return nil after it.
func (s *Store) apply(batch *pebble.Batch) error {
	if err := s.db.Apply(batch, pebble.Sync); err != nil {
		return fmt.Errorf("couldn't commit to cell %s: %w", s.dir, damaged(err))
	}
	if err := s.failure(); err != nil {
		return err
	}
	if err := batch.Close(); err != nil {
		return fmt.Errorf("couldn't commit to cell %s: %w", s.dir, err)
	}
	return nil
}

// Checkpoint makes a copy of the store's present state in dir, which must not exist: a store that Open opens. Tables are
// hard links where dir is on the same file system, so it takes little time and, at first, little space.
func (s *Store) Checkpoint(dir string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("couldn't make a checkpoint of cell %s in %s: %w", s.dir, dir, damaged(err))
	}
	if err := writeInventory(s.disk, dir); err != nil {
		return fmt.Errorf("couldn't list the files of the checkpoint %s: %w", dir, err)
	}
	return s.failure()
}

// Size returns the bytes of the store on disk, 0 when it is closed or broken.
func (s *Store) Size() int64 {
	if err := s.enter(); err != nil {
		return 0
	}
	defer s.leave()
	return int64(s.db.Metrics().DiskSpaceUsage())
}

// Close implements [cell.Store]. It waits for calls under way, scans too, so it must not be called from a scan. A broken
// store is given up without touching the engine, which keeps its lock on the directory until the process ends.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return cell.ErrClosed
	}
	s.closed = true
	s.mu.Unlock()
	s.users.Wait()
	if err := s.failure(); err != nil {
		return err
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("couldn't close cell %s: %w", s.dir, err)
	}
	if err := writeInventory(s.disk, s.dir); err != nil {
		return fmt.Errorf("couldn't list the files of cell %s: %w", s.dir, err)
	}
	return nil
}
