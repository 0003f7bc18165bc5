package intake

import "github.com/querschott/querschott"

// ref is one entry that waits in the journal.
type ref struct {
	seg      *segment
	seq      uint64
	received int64 // Unix microseconds
	off      uint32
	bodyLen  uint32
}

func (e *entry) ref(s *segment) ref { return ref{s, e.seq, e.received, e.off, e.bodyLen} }

// queue is the entries of one compartment that wait, oldest first.
type queue struct {
	refs  []ref
	head  int
	bytes int64
	told  bool // among those whose listeners will hear of the flight at hand
}

func (q *queue) len() int { return len(q.refs) - q.head }

func (q *queue) push(r ref) {
	q.refs = append(q.refs, r)
	q.bytes += int64(r.bodyLen)
}

// pop removes and returns the oldest entry.
func (q *queue) pop() ref {
	r := q.refs[q.head]
	q.refs[q.head] = ref{}
	q.head++
	q.bytes -= int64(r.bodyLen)
	if q.head > 1024 && q.head > len(q.refs)/2 {
		q.refs = append(make([]ref, 0, len(q.refs)-q.head), q.refs[q.head:]...)
		q.head = 0
	}
	if q.head == len(q.refs) {
		q.refs, q.head = q.refs[:0], 0
	}
	return r
}

// Backlog is what waits in one compartment.
type Backlog struct {
	Compartment querschott.Compartment `json:"compartment"`
	Messages    int                    `json:"messages"`
	Bytes       int64                  `json:"bytes"`
	OldestUS    int64                  `json:"oldest_us,omitempty"` // Unix microseconds, 0: nothing waits
}
