package sigma

import (
	"encoding/binary"
	"hash/maphash"
	"math"

	"github.com/querschott/querschott/watch"
)

// correlationKind is one of the seven types.
type correlationKind uint8

const (
	eventCount correlationKind = iota
	valueCount
	valueSum
	valueAvg
	valuePercentile
	temporal
	temporalOrdered
)

var correlationKinds = map[string]correlationKind{
	"event_count": eventCount, "value_count": valueCount, "value_sum": valueSum, "value_avg": valueAvg,
	"value_percentile": valuePercentile, "temporal": temporal, "temporal_ordered": temporalOrdered,
}

// never is a time before all others; nothing is the number of a window that cannot be judged.
const never = math.MinInt64

var nothing = math.NaN()

// comparison is one part of a correlation's condition.
type comparison struct {
	op    string
	value float64
	holds func(a, b float64) bool
}

// source is what a correlation reads of the events of one of its rules.
type source struct {
	group  []func(*watch.Event) string
	fields []field // of the condition
}

// correlation is a correlation rule with its state.
type correlation struct {
	kind       correlationKind
	span       int64 // microseconds
	slots      int
	sources    []source // by slot
	numeric    *field   // percentile of numbers, sum and mean; nil: texts
	conditions []comparison
	keep       int // entries that decide about a count

	room, roomKeys int
	seed           maphash.Seed
	groups         map[string]*group
	newest, oldest *group // by use
	entries        int
	evicted        uint64 // groups forgotten while they were within their timespan
	forgotten      uint64 // times that entries were joined or forgotten
	scratch        []byte
}

// tuple writes fields so that different ones never look alike.
func (c *correlation) tuple(asks []func(*watch.Event) string, e *watch.Event) []byte {
	buf := c.scratch[:0]
	for _, ask := range asks {
		s := ask(e)
		buf = binary.AppendUvarint(buf, uint64(len(s)))
		buf = append(buf, s...)
	}
	c.scratch = buf
	return buf
}

// observe puts an event of one of the rules into its group. It returns the group and its number when the correlation fires:
// when the condition begins to hold, and again after each timespan in which it went on holding.
func (c *correlation) observe(slot int, e *watch.Event, at int64, number uint64) (*group, float64, bool) {
	src := &c.sources[slot]
	value, ok := c.read(src, e)
	if !ok {
		return nil, 0, false
	}
	g := c.groups[string(c.tuple(src.group, e))]
	if g == nil {
		g = &group{key: string(c.scratch), newest: at}
		c.groups[g.key] = g
	} else {
		c.entries -= g.weight()
		c.unlink(g)
	}
	c.link(g)
	if g.number == number && c.kind < temporal { // two of the rules matched one event
		c.entries += g.weight()
		return g, nothing, false
	}
	g.number = number
	g.newest = max(g.newest, at)
	at = max(at, g.newest-c.span)
	got := c.put(g, slot, at, value, number)
	c.entries += g.weight()
	c.bound(g)
	if !c.holds(got) {
		g.on = false
		return g, got, false
	}
	if g.on && g.newest-g.fired <= c.span {
		return g, got, false
	}
	g.on, g.fired = true, g.newest
	if live := g.window.live(); len(live) > 0 {
		g.first = live[0].at
	}
	return g, got, true
}

// read returns what the condition needs of an event; an event without the value does not count.
func (c *correlation) read(src *source, e *watch.Event) (int64, bool) {
	if len(src.fields) == 0 {
		return 0, true
	}
	if c.numeric != nil {
		f := &src.fields[0]
		v := f.number(e)
		return v, v != 0 || !f.some
	}
	var h maphash.Hash
	h.SetSeed(c.seed)
	some := false
	for i := range src.fields {
		s := src.fields[i].text(e)
		some = some || s != ""
		var length [4]byte
		binary.LittleEndian.PutUint32(length[:], uint32(len(s)))
		_, _ = h.Write(length[:])
		_, _ = h.WriteString(s)
	}
	return int64(h.Sum64()), some
}

func (c *correlation) holds(n float64) bool {
	if math.IsNaN(n) {
		return false
	}
	for _, k := range c.conditions {
		if !k.holds(n, k.value) {
			return false
		}
	}
	return true
}

// bound forgets groups: those that have nothing left in their timespan, and, if that is not enough, those that were quiet for
// longest.
func (c *correlation) bound(but *group) {
	for range 2 {
		if g := c.oldest; g != but && g.newest < but.newest-c.span {
			c.forget(g)
		}
	}
	for (len(c.groups) > c.roomKeys || c.entries > c.room) && c.oldest != but {
		if c.oldest.newest >= but.newest-c.span {
			c.evicted++
		}
		c.forget(c.oldest)
	}
}

// tidy forgets all groups that have nothing left in their timespan.
func (c *correlation) tidy(now int64) {
	for c.oldest != nil && c.oldest.newest < now-c.span {
		c.forget(c.oldest)
	}
}

func (c *correlation) forget(g *group) {
	c.entries -= g.weight()
	c.unlink(g)
	delete(c.groups, g.key)
}

func (c *correlation) link(g *group) {
	g.next = c.newest
	if c.newest != nil {
		c.newest.prev = g
	}
	c.newest = g
	if c.oldest == nil {
		c.oldest = g
	}
}

func (c *correlation) unlink(g *group) {
	if g.prev != nil {
		g.prev.next = g.next
	} else {
		c.newest = g.next
	}
	if g.next != nil {
		g.next.prev = g.prev
	} else {
		c.oldest = g.prev
	}
	g.prev, g.next = nil, nil
}
