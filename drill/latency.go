package drill

import (
	"math/bits"
	"time"
)

// latencyWindow is how long one of the two histograms is filled before it replaces the other: quantiles speak of the last
// ten to twenty seconds.
const latencyWindow = 10 * time.Second

// latencies are recent durations, counted in buckets that are at most an eighth wide.
type latencies struct {
	since    time.Time
	now, old histogram
}

func (l *latencies) add(at time.Time, d time.Duration) {
	l.turn(at)
	l.now[bucket(d)]++
}

func (l *latencies) turn(at time.Time) {
	switch age := at.Sub(l.since); {
	case age >= 2*latencyWindow:
		l.now, l.old, l.since = histogram{}, histogram{}, at
	case age >= latencyWindow:
		l.now, l.old, l.since = histogram{}, l.now, at
	}
}

// quantile returns an upper bound of the q-th part of the durations, 0 if there are none.
func (l *latencies) quantile(at time.Time, q float64) time.Duration {
	l.turn(at)
	total := uint64(0)
	for i := range l.now {
		total += uint64(l.now[i]) + uint64(l.old[i])
	}
	rank := max(uint64(q*float64(total)+0.5), 1)
	for i, sum := 0, uint64(0); i < len(l.now); i++ {
		if sum += uint64(l.now[i]) + uint64(l.old[i]); sum >= rank {
			return bound(i)
		}
	}
	return 0
}

// histogram counts durations by their microseconds: eight buckets for each power of two.
type histogram [40 * 8]uint32

func bucket(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	if us < 8 {
		return int(us)
	}
	shift := bits.Len64(us) - 4
	return min(8*shift+int(us>>shift), len(histogram{})-1)
}

// bound returns the longest duration of a bucket.
func bound(i int) time.Duration {
	if i < 8 {
		return time.Duration(i+1) * time.Microsecond
	}
	shift := i/8 - 1
	return time.Duration(uint64(i-8*shift+1)<<shift) * time.Microsecond
}
