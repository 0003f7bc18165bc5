package outbox

import (
	"container/heap"
	"math"
	"time"
)

const (
	never     = math.MaxUint64
	handful   = 16 // mails of one lane that are read ahead
	tolerance = 3  // failures in a row before a domain as a whole pauses
)

// lane is the line of one recipient domain.
type lane struct {
	id      laneID
	waiting int          // mails in the store, those in hand included; below zero while a Put is being accounted
	next    uint64       // no mail that is not in hand is due earlier; never if there is none
	ready   []job        // read ahead
	busy    int          // mails with workers
	inHand  map[ref]bool // read ahead or with a worker
	misses  int          // failures in a row that speak against the domain
	until   time.Time    // not before
	inLine  bool         // waits for a turn
	index   int          // in the heap, -1 if it is not there
}

// idle reports whether the lane has nothing to hand out, ever.
func (l *lane) idle() bool { return len(l.ready) == 0 && l.next == never }

func (l *lane) vacant() bool { return l.waiting <= 0 && l.busy == 0 && len(l.ready) == 0 }

func (l *lane) readyAt() time.Time {
	at := l.until
	if len(l.ready) == 0 {
		if t := fromMicros(l.next); t.After(at) {
			at = t
		}
	}
	return at
}

// queue is what memory knows about the mail that is due: per domain how many there are and when the first one is due.
// Domains that have something due take turns. The mails themselves, and their order, are in the store.
type queue struct {
	lanes   map[laneID]*lane
	line    []*lane  // something is due; they take turns
	later   laneHeap // something will be due
	empty   []*lane  // perhaps to be forgotten
	waiting int      // in all lanes
	busy    int      // in all lanes
	limit   int      // mails of one lane that may be with workers
}

// count is what a lane has in the store.
type count struct {
	n     int
	first uint64 // when the first one is due
}

func newQueue(limit int) queue { return queue{lanes: map[laneID]*lane{}, limit: limit} }

// reset replaces the counts by those of the store.
func (q *queue) reset(counts map[laneID]count, now time.Time) {
	q.line, q.later, q.empty, q.waiting = nil, nil, nil, 0
	for id, l := range q.lanes {
		for _, j := range l.ready {
			delete(l.inHand, j.ref)
		}
		l.ready, l.waiting, l.next, l.inLine, l.index = nil, 0, never, false, -1
		if _, ok := counts[id]; !ok && l.busy == 0 {
			delete(q.lanes, id)
		}
	}
	for id, c := range counts {
		l := q.lane(id)
		l.waiting, l.next = c.n, c.first
		q.waiting += c.n
		q.place(l, now)
	}
}

func (q *queue) lane(id laneID) *lane {
	l := q.lanes[id]
	if l == nil {
		l = &lane{id: id, next: never, index: -1, inHand: map[ref]bool{}}
		q.lanes[id] = l
	}
	return l
}

// add counts a mail that the store has got.
func (q *queue) add(j job, now time.Time) {
	l := q.lane(j.lane)
	l.waiting++
	q.waiting++
	l.next = min(l.next, j.at)
	q.place(l, now)
}

// place puts a lane where it belongs after a change.
func (q *queue) place(l *lane, now time.Time) {
	if l.vacant() {
		q.empty = append(q.empty, l)
	}
	if l.inLine {
		return
	}
	blocked := l.idle() || l.busy >= q.limitOf(l) // nothing to hand out, or not before a mail comes back
	if !blocked && l.readyAt().After(now) {
		if l.index >= 0 {
			heap.Fix(&q.later, l.index)
		} else {
			heap.Push(&q.later, l)
		}
		return
	}
	if l.index >= 0 {
		heap.Remove(&q.later, l.index)
	}
	if !blocked {
		l.inLine = true
		q.line = append(q.line, l)
	}
}

// limitOf returns how many mails of a lane may be with workers: one while it is uncertain whether the domain takes any.
func (q *queue) limitOf(l *lane) int {
	if l.misses > 0 {
		return 1
	}
	return q.limit
}

// turn returns the lane whose turn it is, nil if none has anything due.
func (q *queue) turn(now time.Time) *lane {
	for len(q.later) > 0 && !q.later[0].readyAt().After(now) {
		q.place(q.later[0], now)
	}
	for len(q.line) > 0 {
		l := q.line[0]
		q.line[0] = nil
		q.line = q.line[1:]
		l.inLine = false
		if !l.idle() && l.busy < q.limitOf(l) && !l.readyAt().After(now) {
			return l
		}
		q.place(l, now)
	}
	return nil
}

// filled takes what a scan of the lane from its next time on has found: the first mails that are due, and when the first
// of the rest is. Mail that came in between is in l.next.
func (q *queue) filled(l *lane, found []job, rest uint64) {
	l.next = min(l.next, rest)
	for _, j := range found {
		if !l.inHand[j.ref] {
			l.inHand[j.ref] = true
			l.ready = append(l.ready, j)
		}
	}
}

// hand gives the first mail of a lane to a worker.
func (q *queue) hand(l *lane, now time.Time) (job, bool) {
	if len(l.ready) == 0 {
		q.place(l, now)
		return job{}, false
	}
	j := l.ready[0]
	l.ready = l.ready[1:]
	l.busy++
	q.busy++
	q.place(l, now)
	return j, true
}

// back takes a mail back from a worker. gone says that it is due no longer; if it is, next says when. The caller places
// the lane.
func (q *queue) back(j job, gone bool, next uint64) *lane {
	l := q.lane(j.lane)
	l.busy--
	q.busy--
	delete(l.inHand, j.ref)
	if gone {
		l.waiting--
		q.waiting--
	}
	l.next = min(l.next, next)
	return l
}

// sweep forgets lanes that have nothing. Only the goroutine that hands out may call it.
func (q *queue) sweep() {
	for _, l := range q.empty {
		if l.vacant() && l.waiting == 0 && !l.inLine && q.lanes[l.id] == l {
			if l.index >= 0 {
				heap.Remove(&q.later, l.index)
			}
			delete(q.lanes, l.id)
		}
	}
	q.empty = nil
}

// nextAt returns when something is due.
func (q *queue) nextAt() (time.Time, bool) {
	if len(q.line) > 0 {
		return q.line[0].readyAt(), true
	}
	if len(q.later) > 0 {
		return q.later[0].readyAt(), true
	}
	return time.Time{}, false
}

// laneHeap is ordered by when something is due.
type laneHeap []*lane

// Len implements heap.Interface.
func (h laneHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h laneHeap) Less(i, j int) bool { return h[i].readyAt().Before(h[j].readyAt()) }

// Swap implements heap.Interface.
func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *laneHeap) Push(x any) {
	l := x.(*lane)
	l.index = len(*h)
	*h = append(*h, l)
}

// Pop implements heap.Interface.
func (h *laneHeap) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	l.index = -1
	return l
}
