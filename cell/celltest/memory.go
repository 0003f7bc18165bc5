package celltest

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"github.com/querschott/querschott/cell"
)

// ErrInjected is what a commit returns that was told to fail.
var ErrInjected = errors.New("injected failure of a commit")

// Failure says how a commit fails.
type Failure int

// The failures. The caller of Commit cannot tell Undone and Done apart.
const (
	None   Failure = iota
	Undone         // the batch is not applied, the commit fails
	Done           // the batch is applied, the commit fails all the same
)

// Memory is a [cell.Store] in memory for the tests of other packages. It can be told to fail commits, and it spoils the
// slices of a scan after the callback, so that code which keeps them fails.
type Memory struct {
	mu      sync.Mutex // guards all below
	closed  bool
	entries []entry // sorted by key
	inject  func(*cell.Batch) Failure
	commits int
}

type entry struct{ key, value []byte } // both never change once they are here

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{} }

// FailNext lets the next commit fail, and only that.
func (m *Memory) FailNext(f Failure) {
	armed := true
	m.Inject(func(*cell.Batch) Failure {
		if !armed {
			return None
		}
		armed = false
		return f
	})
}

// Inject lets fn decide about every commit from here on; nil ends it. fn is called by one goroutine at a time and must
// not use the store.
func (m *Memory) Inject(fn func(b *cell.Batch) Failure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inject = fn
}

// Crash ends this store, as the end of its process would, and returns one with what it held: everything acknowledged and
// everything that failed as Done.
func (m *Memory) Crash() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return &Memory{entries: slices.Clone(m.entries)}
}

// Commits returns how many commits of at least one operation were applied.
func (m *Memory) Commits() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits
}

// Len returns the number of keys.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}

func (m *Memory) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(m.entries, key, func(e entry, k []byte) int { return bytes.Compare(e.key, k) })
}

// Get implements [cell.Store].
func (m *Memory) Get(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, cell.ErrClosed
	}
	i, ok := m.find(key)
	if !ok {
		return nil, cell.ErrNotFound
	}
	return bytes.Clone(m.entries[i].value), nil
}

// Scan implements [cell.Store].
func (m *Memory) Scan(lo, hi []byte, fn func(key, value []byte) error) error {
	moment, err := m.between(lo, hi)
	if err != nil {
		return err
	}
	for _, e := range moment {
		k, v := bytes.Clone(e.key), bytes.Clone(e.value)
		err := fn(k, v)
		spoil(k)
		spoil(v)
		if errors.Is(err, cell.ErrStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Memory) between(lo, hi []byte) ([]entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, cell.ErrClosed
	}
	from, _ := m.find(lo)
	to := len(m.entries)
	if hi != nil {
		to, _ = m.find(hi)
	}
	if from >= to {
		return nil, nil
	}
	return slices.Clone(m.entries[from:to]), nil
}

func spoil(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}

// Commit implements [cell.Store].
func (m *Memory) Commit(b *cell.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return cell.ErrClosed
	}
	if b.Len() == 0 {
		return nil
	}
	failure := None
	if m.inject != nil {
		failure = m.inject(b)
	}
	if failure == Undone {
		return ErrInjected
	}
	for _, op := range b.Ops() {
		i, ok := m.find(op.Key)
		switch {
		case op.Delete && ok:
			m.entries = slices.Delete(m.entries, i, i+1)
		case op.Delete:
		case ok:
			m.entries[i].value = bytes.Clone(op.Value)
		default:
			m.entries = slices.Insert(m.entries, i, entry{bytes.Clone(op.Key), bytes.Clone(op.Value)})
		}
	}
	m.commits++
	if failure == Done {
		return ErrInjected
	}
	return nil
}

// Close implements [cell.Store].
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return cell.ErrClosed
	}
	m.closed = true
	return nil
}
