package drill

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

const (
	maxDebt   = 2 * time.Second  // a sender that has fallen further behind than this does not hurry to catch up
	longSleep = 10 * time.Second // the longest time without a look at the rate
)

// pacer draws arrivals at a rate: the gaps are exponentially distributed, as they are when many practices send without
// knowing of each other.
type pacer struct {
	rng  *rand.Rand
	rate float64 // per second, for which next was drawn
	next time.Time
}

// due reports whether an arrival is due, and otherwise when to ask again.
func (p *pacer) due(now time.Time, rate float64) (bool, time.Time) {
	if p.rate > 0 && rate > 0 && !now.Before(p.next) {
		if late := now.Add(-maxDebt); p.next.Before(late) {
			p.next = late
		}
		p.rate, p.next = rate, p.next.Add(p.gap(rate))
		return true, now
	}
	if rate != p.rate {
		// The gap that is left has the same distribution however long it has lasted, so it may be drawn afresh.
		p.rate, p.next = rate, now.Add(p.gap(rate))
	}
	if again := now.Add(longSleep); rate <= 0 || again.Before(p.next) {
		return false, again
	}
	return false, p.next
}

func (p *pacer) gap(rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(p.rng.ExpFloat64() / rate * float64(time.Second))
}

// EveningBurst is a shape of the day for SenderConfig.Shape: little at night, much in the surgery hours, most from 17 to 20
// o'clock, when practices send what has gathered. Its mean over a day is 1.
func EveningBurst(t time.Time) float64 {
	switch h := t.Hour(); {
	case h < 7:
		return 0.1
	case h < 17:
		return 1
	case h < 20:
		return 3.9
	default:
		return 0.4
	}
}

// job is a mail on its way out.
type job struct {
	recipe recipe
	again  bool      // a copy of an accepted mail
	tries  int       // that ended in a transient refusal or a broken connection
	due    time.Time // of the next try
}

// maxDoublings bounds the back-off: 32 times the first interval.
const maxDoublings = 5

// later puts a job off. A try doubles the interval, from retry to 32 times of it.
func (j job) later(now time.Time, retry time.Duration) job {
	j.due = now.Add(retry << min(j.tries, maxDoublings))
	j.tries++
	return j
}

// shelf keeps jobs until they are due, the earliest first.
type shelf []job

func (s shelf) Len() int           { return len(s) }
func (s shelf) Less(i, k int) bool { return s[i].due.Before(s[k].due) }
func (s shelf) Swap(i, k int)      { s[i], s[k] = s[k], s[i] }

// Push is for package heap.
func (s *shelf) Push(x any) { *s = append(*s, x.(job)) }

// Pop is for package heap.
func (s *shelf) Pop() any {
	last := len(*s) - 1
	j := (*s)[last]
	*s = (*s)[:last]
	return j
}

func (s *shelf) put(j job) { heap.Push(s, j) }

// take returns the job that is due first, if it is due.
func (s *shelf) take(now time.Time) (job, bool) {
	if len(*s) == 0 || (*s)[0].due.After(now) {
		return job{}, false
	}
	return heap.Pop(s).(job), true
}
