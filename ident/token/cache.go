package token

import (
	"sync"
	"time"
)

const cacheShards = 16

// results remembers what tokens said whose signature was right, by the SHA-256 of the token. It never holds more than its
// bound: what is over goes first, then anything.
type results[T any] struct {
	shards [cacheShards]resultShard[T]
	max    int // of one shard
}

// resultShard is one part of the results; mu guards entries.
type resultShard[T any] struct {
	mu      sync.RWMutex
	entries map[[32]byte]result[T]
}

type result[T any] struct {
	value *T
	until time.Time
}

func newResults[T any](bound int) *results[T] {
	r := &results[T]{max: max(1, bound/cacheShards)}
	for i := range r.shards {
		r.shards[i].entries = map[[32]byte]result[T]{}
	}
	return r
}

// get returns nil for what is not remembered.
func (r *results[T]) get(hash *[32]byte) *T {
	s := &r.shards[hash[0]%cacheShards]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.entries[*hash].value
}

func (r *results[T]) put(hash *[32]byte, value *T, until, now time.Time) {
	s := &r.shards[hash[0]%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) >= r.max {
		s.makeRoom(now)
	}
	s.entries[*hash] = result[T]{value, until}
}

func (r *results[T]) forget(hash *[32]byte) {
	s := &r.shards[hash[0]%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, *hash)
}

func (r *results[T]) len() int {
	n := 0
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		n += len(s.entries)
		s.mu.RUnlock()
	}
	return n
}

// makeRoom looks at a few entries only, so that a full shard costs no pause: those that are over go, or else the last seen.
func (s *resultShard[T]) makeRoom(now time.Time) {
	const look = 16
	var last [32]byte
	n, gone := 0, false
	for hash, entry := range s.entries {
		if now.After(entry.until) {
			delete(s.entries, hash)
			gone = true
		}
		last = hash
		if n++; n == look {
			break
		}
	}
	if !gone {
		delete(s.entries, last)
	}
}
