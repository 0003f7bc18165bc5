package sigma

import "slices"

// entry is one event, or several that were joined, in a window.
type entry struct {
	at    int64 // microseconds since 1970; of joined events the latest
	value int64 // what was read of the event, or its hash; of joined events the sum
	n     int64 // how many events
}

// window holds entries of one key in the order of their times. Entries leave it when they are older than the newest by more
// than the timespan.
type window struct {
	list []entry
	head int
	sum  int64
	n    int64
}

func (w *window) live() []entry { return w.list[w.head:] }

// add puts an entry in its place. Most come in order.
func (w *window) add(e entry) {
	if w.head > 16 && w.head > len(w.list)/2 {
		w.list = w.list[:copy(w.list, w.list[w.head:])]
		w.head = 0
	}
	i := len(w.list)
	for i > w.head && w.list[i-1].at > e.at {
		i--
	}
	w.list = slices.Insert(w.list, i, e)
	w.sum += e.value
	w.n += e.n
}

// pop takes the oldest entry out.
func (w *window) pop() entry {
	e := w.list[w.head]
	w.head++
	w.sum -= e.value
	w.n -= e.n
	return e
}

// join halves the older half of the entries: two become one that leaves with the later of them. The total stays right; up to
// half of what leaves does so a little late, so a sum errs on the side of the alarm.
func (w *window) join() {
	live := w.live()
	half := len(live) / 2 &^ 1
	out := live[:0]
	for i := 0; i < half; i += 2 {
		a, b := live[i], live[i+1]
		out = append(out, entry{b.at, bounded(a.value + b.value), a.n + b.n})
	}
	out = append(out, live[half:]...)
	w.list = w.list[:w.head+len(out)]
	w.sum = 0
	for _, e := range out {
		w.sum += e.value
	}
}

// bounded keeps sums of entries so small that those of maxJoined entries fit: 4 PiB.
func bounded(v int64) int64 { return min(max(v, -1<<52), 1<<52) }

// maxJoined is how many entries a window of a sum or mean holds; then older ones are joined.
const maxJoined = 1024

// maxObserved is how many values a window of shares holds; then the oldest are forgotten.
const maxObserved = 4096

// leastObserved is how many values a window must hold before one is called rare.
const leastObserved = 100

// chain is how far an ordered correlation has come: the steps up to one, done at the latest possible start.
type chain struct {
	start, end int64
	count      int64 // number of the event that ended it; 0: not done
}

// step holds a chain done by the last event that did it, and the one before, for an event that is two steps at once.
type step [2]chain

// upTo returns the latest chain that another event ended, not later than at.
func (s *step) upTo(at, number int64) chain {
	for _, c := range s {
		if c.count != number && c.end <= at {
			return c
		}
	}
	return chain{}
}

// put replaces the chain by one that starts no earlier.
func (s *step) put(next chain) {
	switch {
	case next.start < s[0].start:
	case s[0].count == next.count:
		s[0] = next
	default:
		s[1], s[0] = s[0], next
	}
}

// group is the state of one key of a correlation.
type group struct {
	key        string
	prev, next *group
	newest     int64  // time
	number     uint64 // of the event that came last
	first      int64  // time of the oldest event of the match, as far as it is known
	on         bool   // the condition held when it was last judged
	fired      int64  // when

	window window
	seen   map[int64]int64 // value_count: when a value was seen last; value_percentile: how often it is in the window
	last   []int64         // temporal: when each rule matched last
	steps  []step          // temporal_ordered
}

// weight is how many entries the group holds, for the bound on all of them.
func (g *group) weight() int {
	return len(g.window.live()) + len(g.seen) + len(g.last) + 2*len(g.steps) + 1
}

// put adds an event to the group. It returns the number that the condition is about.
func (c *correlation) put(g *group, slot int, at int64, value int64, number uint64) float64 {
	switch c.kind {
	case eventCount:
		g.window.add(entry{at, 0, 1})
		c.expire(g)
		if len(g.window.live()) > c.keep {
			g.window.pop()
		}
		return float64(len(g.window.live()))
	case valueCount:
		return c.putDistinct(g, at, value)
	case valueSum, valueAvg:
		g.window.add(entry{at, bounded(value), 1})
		c.expire(g)
		if len(g.window.live()) > maxJoined {
			g.window.join()
			c.forgotten++
		}
		if c.kind == valueSum {
			return float64(g.window.sum)
		}
		return float64(g.window.sum) / float64(g.window.n)
	case valuePercentile:
		return c.putShare(g, at, value)
	case temporal:
		return c.putTogether(g, slot, at)
	default:
		return c.putOrdered(g, slot, at, int64(number))
	}
}

// expire takes out what is older than the timespan. A window has both its ends.
func (c *correlation) expire(g *group) {
	for live := g.window.live(); len(live) > 0 && live[0].at < g.newest-c.span; live = live[1:] {
		g.window.pop()
	}
}

// putDistinct counts different values: the window holds each value as often as it came, "seen" its last time.
func (c *correlation) putDistinct(g *group, at, value int64) float64 {
	if g.seen == nil {
		g.seen = map[int64]int64{}
	}
	if old, ok := g.seen[value]; !ok || old < at {
		g.seen[value] = at
		g.window.add(entry{at, value, 1})
	}
	for live := g.window.live(); len(live) > 0; live = live[1:] {
		e := live[0]
		stale := g.seen[e.value] != e.at
		if !stale && e.at >= g.newest-c.span && len(g.seen) <= c.keep {
			break
		}
		g.window.pop()
		if !stale {
			delete(g.seen, e.value)
		}
	}
	if live := g.window.live(); len(live) > 2*len(g.seen)+16 {
		kept := slices.DeleteFunc(live, func(e entry) bool { return g.seen[e.value] != e.at })
		g.window = window{list: kept}
	}
	return float64(len(g.seen))
}

// putShare returns which share of the observed values, in percent, is this one (for texts) or below it (for numbers); NaN
// as long as too few were observed.
func (c *correlation) putShare(g *group, at, value int64) float64 {
	g.window.add(entry{at, value, 1})
	if c.numeric == nil {
		if g.seen == nil {
			g.seen = map[int64]int64{}
		}
		g.seen[value]++
	}
	for live := g.window.live(); len(live) > 0 && (live[0].at < g.newest-c.span || len(live) > maxObserved); live = live[1:] {
		if live[0].at >= g.newest-c.span {
			c.forgotten++
		}
		e := g.window.pop()
		if c.numeric == nil {
			if g.seen[e.value]--; g.seen[e.value] == 0 {
				delete(g.seen, e.value)
			}
		}
	}
	live := g.window.live()
	if len(live) < leastObserved {
		return nothing
	}
	count := g.seen[value]
	if c.numeric != nil {
		for _, e := range live {
			if e.value < value {
				count++
			}
		}
	}
	return 100 * float64(count) / float64(len(live))
}

// putTogether counts the rules that matched within the timespan.
func (c *correlation) putTogether(g *group, slot int, at int64) float64 {
	if g.last == nil {
		g.last = make([]int64, c.slots)
		for i := range g.last {
			g.last[i] = never
		}
	}
	g.last[slot] = max(g.last[slot], at)
	n := 0
	g.first = at
	for _, t := range g.last {
		if t >= g.newest-c.span && t != never {
			n++
			g.first = min(g.first, t)
		}
	}
	return float64(n)
}

// putOrdered returns how many rules matched in their order within the timespan, ending with this event, and with different
// events. Each step knows its latest possible start, so no flood of one rule's events can push out the attack. An event that
// comes late is put between those that came before it.
func (c *correlation) putOrdered(g *group, slot int, at, number int64) float64 {
	if g.steps == nil {
		g.steps = make([]step, c.slots)
	}
	next := chain{at, at, number}
	if slot > 0 {
		before := g.steps[slot-1].upTo(at, number)
		if before.count == 0 || before.start < g.newest-c.span {
			return 0
		}
		next.start = before.start
	}
	g.steps[slot].put(next)
	for i := slot + 1; i < c.slots; i++ { // later steps that came earlier
		s := &g.steps[i]
		if s[0].count == 0 || s[0].end <= g.steps[i-1][0].end || s[0].start >= g.steps[i-1][0].start {
			break
		}
		s[0].start = g.steps[i-1][0].start
	}
	done := 0
	for i := range g.steps {
		if s := &g.steps[i][0]; s.count != 0 && s.start >= g.newest-c.span {
			done = i + 1
			g.first = s.start
		}
	}
	return float64(done)
}
