package follow

import (
	"errors"
	"net"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/querschott/querschott"
)

// maxUnanswered bounds how many frames a gate may leave without an answer.
const maxUnanswered = 4096

// link is one connection of a gate.
type link struct {
	conn net.Conn
	wake chan struct{} // one signal is enough
	down chan struct{} // closed with the connection
	once sync.Once

	mu     sync.Mutex // guards the fields below
	doors  []querschott.Compartment
	queued map[querschott.Compartment]bool
	wanted map[querschott.Compartment]uint64 // how often the door was pushed
	lists  []*list                           // what is still to send; the first one is under way
	part   int                               // the next one of the first list
	number uint64
	beaten bool // the first heartbeat was sent
	sent   map[uint64]sent
	doing  map[querschott.Compartment]answer
	known  map[string]answer // list -> what the gate last said about it
	acked  uint64            // the highest number that was answered
	heard  time.Time
}

// sent is what an answer may be about.
type sent struct {
	door  querschott.Compartment
	push  uint64 // of the door
	epoch uint64
	list  string
}

// answer is what a gate last said about a door.
type answer struct {
	push    uint64
	epoch   uint64
	applied time.Time
	fault   string
}

// list is something that gates have as a whole, such as the deny list.
type list struct {
	name  string
	epoch uint64
	data  []byte
}

func newLink(conn net.Conn) *link {
	return &link{
		conn: conn, wake: make(chan struct{}, 1), down: make(chan struct{}),
		queued: map[querschott.Compartment]bool{}, wanted: map[querschott.Compartment]uint64{}, sent: map[uint64]sent{},
		doing: map[querschott.Compartment]answer{}, known: map[string]answer{},
	}
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.down)
		_ = l.conn.Close() // nothing is left to lose
	})
}

// push has the door's order sent, as it is when its turn comes. The number stands for this push or a later one.
func (l *link) push(c querschott.Compartment) uint64 {
	l.mu.Lock()
	l.wanted[c]++
	push := l.wanted[c]
	if !l.queued[c] {
		l.queued[c] = true
		l.doors = append(l.doors, c)
	}
	l.mu.Unlock()
	l.signal()
	return push
}

// pushList replaces an older edition that was not sent to its end.
func (l *link) pushList(n *list) {
	l.mu.Lock()
	for i, old := range l.lists {
		if old.name == n.name {
			if i == 0 {
				l.part = 0
			}
			l.lists[i], n = n, nil
			break
		}
	}
	if n != nil {
		l.lists = append(l.lists, n)
	}
	l.mu.Unlock()
	l.signal()
}

func (l *link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *link) popDoor() (c querschott.Compartment, push uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.doors) == 0 {
		return c, 0, false
	}
	c, l.doors = l.doors[0], l.doors[1:]
	delete(l.queued, c)
	return c, l.wanted[c], true
}

func (l *link) popPart() (f frame, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lists) == 0 {
		return f, false
	}
	n := l.lists[0]
	parts := max(1, (len(n.data)+maxPart-1)/maxPart)
	from := l.part * maxPart
	f = frame{Kind: kindList, Name: n.name, Epoch: n.epoch, Part: l.part, Parts: parts, Data: n.data[from:min(from+maxPart, len(n.data))]}
	if l.part++; l.part == parts {
		l.lists, l.part = l.lists[1:], 0
	}
	return f, true
}

// send numbers a frame and writes it; the gate owes an answer.
func (l *link) send(f frame, about sent, timeout time.Duration) error {
	l.mu.Lock()
	l.number++
	f.Number = l.number
	l.sent[f.Number] = about
	tooMany := len(l.sent) > maxUnanswered
	l.beaten = l.beaten || f.Kind == kindBeat
	l.mu.Unlock()
	if tooMany {
		return errors.New("the gate leaves too much without an answer")
	}
	if err := l.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	return writeFrame(l.conn, f)
}

// hear takes a gate's answer.
func (l *link) hear(f frame, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	about, ok := l.sent[f.Number]
	if f.Kind != kindAck || !ok {
		return errors.New("the gate answers what it was not sent")
	}
	delete(l.sent, f.Number)
	l.acked, l.heard = max(l.acked, f.Number), now
	switch {
	case about.list != "" && about.epoch >= l.known[about.list].epoch:
		l.known[about.list] = answer{epoch: about.epoch, applied: f.Applied, fault: clean(f.Fault)}
	case about.push > l.doing[about.door].push:
		l.doing[about.door] = answer{push: about.push, epoch: f.Epoch, applied: f.Applied, fault: clean(f.Fault)}
	}
	return nil
}

func (l *link) aboutList(name string) answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[name]
}

func (l *link) about(c querschott.Compartment) answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doing[c]
}

// clean makes a gate's words fit for a line of a log.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), maxFault)]
}
