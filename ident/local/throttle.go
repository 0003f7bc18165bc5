package local

import (
	"net/netip"
	"sync"
	"time"
)

// rate lets so many attempts through at once and one more after each pause.
type rate struct {
	burst int
	pause time.Duration
}

// Attempts from one address, at one account by strangers, and by one known browser. What strangers can do to one account is
// one guess in 30 seconds: whoever knows the password guesses a code with a chance below one in a hundred per day.
var (
	addressRate = rate{20, 3 * time.Second}
	accountRate = rate{10, 30 * time.Second}
	deviceRate  = rate{10, 10 * time.Second}
)

// maxBuckets bounds the memory of a throttle, some 100 bytes each.
const maxBuckets = 1 << 16

// throttle counts attempts per key. A key that made none for a while is forgotten.
//
// mu guards full.
type throttle struct {
	rate rate

	mu   sync.Mutex
	full map[string]time.Time // when the key will have all of its attempts again
}

func newThrottle(r rate) *throttle { return &throttle{rate: r, full: map[string]time.Time{}} }

// take counts an attempt and returns 0, or returns how long the key has to wait, without counting.
func (t *throttle) take(key string, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	full, known := t.full[key]
	if !known || full.Before(now) {
		full = now
	}
	full = full.Add(t.rate.pause)
	if wait = full.Sub(now) - time.Duration(t.rate.burst)*t.rate.pause; wait > 0 {
		return wait
	}
	if !known && len(t.full) >= maxBuckets {
		t.forget(now)
	}
	t.full[key] = full
	return 0
}

// give takes an attempt back: it was a right one, or it was not made.
func (t *throttle) give(key string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	full, known := t.full[key]
	if !known {
		return
	}
	if full = full.Add(-t.rate.pause); full.After(now) {
		t.full[key] = full
		return
	}
	delete(t.full, key)
}

// forget makes room: keys that have all their attempts, or else the one of a sample that lacks the fewest. A flood of new keys
// does not wash out one that failed often.
func (t *throttle) forget(now time.Time) {
	var best string
	var soonest time.Time
	sample := 0
	for key, full := range t.full {
		if !full.After(now) {
			delete(t.full, key)
			continue
		}
		if sample++; sample > 64 && len(t.full) >= maxBuckets {
			break
		}
		if soonest.IsZero() || full.Before(soonest) {
			best, soonest = key, full
		}
	}
	if len(t.full) >= maxBuckets {
		delete(t.full, best)
	}
}

// addressKey is the network that one party usually has: an IPv4 address, or the first 56 bits of an IPv6 address.
func addressKey(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(56) // 56 bits fit
		return p.String()
	}
	return a.String()
}
