package http

import (
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// rates holds one token bucket per key, in bounded memory. A bucket is one number: the time at which it will be full again
// (generic cell rate algorithm). Full buckets are forgotten, which changes nothing. When there are too many that are not
// full, keys that come anew share one bucket per shard: nobody who is limited gets free by others coming.
type rates[K comparable] struct {
	seed    maphash.Seed
	shards  [16]rateShard[K]
	crowded atomic.Uint64 // requests that met a shared bucket
}

type rateShard[K comparable] struct {
	mu     sync.Mutex
	full   map[K]int64 // ns
	shared int64       // the bucket of those who find no place
	swept  int64
	room   int
	_      [64]byte // shards do not share cache lines
}

func newRates[K comparable](keys int) *rates[K] {
	t := &rates[K]{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].full = map[K]int64{}
		t.shards[i].room = max(1, keys/len(t.shards))
	}
	return t
}

// allowance is what is left to a key.
type allowance struct {
	ok        bool
	limit     int
	remaining int
	reset     time.Duration // until the bucket is full
	retry     time.Duration // until the next request passes, if ok is false
}

// take takes one token.
func (t *rates[K]) take(key K, rate Rate, now time.Time) allowance {
	s := &t.shards[maphash.Comparable(t.seed, key)%uint64(len(t.shards))]
	step := int64(float64(time.Second) / rate.PerSecond)
	size := step * int64(rate.Burst)
	at := now.UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	full, known := s.full[key]
	if !known && len(s.full) >= s.room && !s.sweep(at) {
		t.crowded.Add(1)
		return draw(&s.shared, at, step, size, rate.Burst)
	}
	a := draw(&full, at, step, size, rate.Burst)
	s.full[key] = full
	return a
}

// draw takes a token from the bucket that is full again at *full.
func draw(full *int64, now, step, size int64, burst int) allowance {
	next := max(*full, now) + step
	if over := next - now - size; over > 0 {
		return allowance{limit: burst, reset: time.Duration(next - step - now), retry: time.Duration(over)}
	}
	*full = next
	return allowance{ok: true, limit: burst, remaining: int((size - (next - now)) / step), reset: time.Duration(next - now)}
}

// sweep forgets full buckets, at most once a second, and reports whether there is room.
func (s *rateShard[K]) sweep(now int64) bool {
	if now-s.swept < int64(time.Second) {
		return false
	}
	s.swept = now
	for key, full := range s.full {
		if full <= now {
			delete(s.full, key)
		}
	}
	return len(s.full) < s.room
}

// seconds rounds up, as a client that comes back too early is refused again.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
