package http

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

var (
	errDoor = errors.New("the door does not serve any more")
	errStop = errors.New("the node stops")
	errOver = errors.New("the credential is not in force any more")
)

// verdict is what a door says to a request.
type verdict uint8

const (
	refuse verdict = iota
	later          // take it in, apply it when the door opens
	pass
)

// judge is the door table of the house for HTTP.
func judge(s querschott.DoorState, write, canWait bool) verdict {
	switch {
	case !write && s.ServesReads():
		return pass
	case write && s == querschott.Open:
		return pass
	case write && canWait && (s == querschott.Hold || s == querschott.ReadOnly):
		return later
	}
	return refuse
}

// lane is the way through the gate to one compartment: so many requests at a time, and those are known by name, so that a
// door that closes can stop them.
type lane struct {
	slots   chan struct{}
	waiting atomic.Int64
	tunnels atomic.Int64

	mu     sync.Mutex // guards inside and the fields of its visits that say so
	inside map[*transit]struct{}
}

// transit is one request inside a lane.
type transit struct {
	who      querschott.CredentialID
	lane     *lane
	write    bool
	canWait  bool
	says     verdict // what the door said; guarded by lane.mu once it has entered
	tunnel   bool
	cancel   context.CancelCauseFunc
	hurry    func()        // makes a write to the network end soon
	leaving  bool          // guarded by lane.mu: parts of an answer may be on their way
	finished chan struct{} // guarded by lane.mu: made by who waits
}

func (s *Server) lane(c querschott.Compartment) *lane {
	if l, ok := s.lanes.Load(c); ok {
		return l.(*lane)
	}
	l, _ := s.lanes.LoadOrStore(c, &lane{slots: make(chan struct{}, s.cfg.Limits.Concurrent), inside: map[*transit]struct{}{}})
	return l.(*lane)
}

// slot waits for a place among the requests under way. It returns false if too many wait already, or it took too long.
func (l *lane) slot(ctx context.Context, limit int, patience time.Duration) bool {
	select {
	case l.slots <- struct{}{}:
		return true
	default:
	}
	if l.waiting.Add(1) > int64(limit) {
		l.waiting.Add(-1)
		return false
	}
	defer l.waiting.Add(-1)
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case l.slots <- struct{}{}:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

func (l *lane) free() { <-l.slots }

// enter makes a transit known. state is asked under the lock: whoever closes the door later finds the transit inside. It
// returns what the door says.
func (l *lane) enter(t *transit, state func() querschott.DoorState) verdict {
	t.lane = l
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inside[t] = struct{}{}
	t.says = pass
	if state != nil {
		t.says = judge(state(), t.write, t.canWait)
	}
	return t.says
}

// forbids reports whether a state of the door forbids what the transit does.
func (t *transit) forbids(s querschott.DoorState) bool { return judge(s, t.write, t.canWait) < t.says }

func (t *transit) exit() {
	t.lane.mu.Lock()
	defer t.lane.mu.Unlock()
	delete(t.lane.inside, t)
	if t.finished != nil {
		close(t.finished)
	}
}

// depart reports whether parts of an answer may leave, and from then on a closing door waits for the transit. state is
// asked under the lock: a door that closes later finds the transit leaving, one that has closed is seen here.
func (t *transit) depart(state func() querschott.DoorState) bool {
	t.lane.mu.Lock()
	defer t.lane.mu.Unlock()
	if state != nil && t.forbids(state()) {
		return false
	}
	t.leaving = true
	return true
}

// sever stops the transits that a judge refuses, and returns those of them that must be waited for: their answers are on
// their way, or what they write may still take effect.
func (l *lane) sever(refused func(*transit) bool, cause error) (busy []<-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for t := range l.inside {
		if !refused(t) {
			continue
		}
		t.cancel(cause)
		if !t.leaving && !t.write {
			continue
		}
		if t.leaving {
			t.hurry()
		}
		if t.finished == nil {
			t.finished = make(chan struct{})
		}
		busy = append(busy, t.finished)
	}
	return busy
}

// Obey stops what a door's order forbids and returns when none of it is under way: requests lose their context, long
// answers and tunnels are cut (door.Book.Enforce).
func (s *Server) Obey(ctx context.Context, o door.Order) error {
	l, ok := s.lanes.Load(o.Compartment)
	if !ok {
		return nil
	}
	busy := l.(*lane).sever(func(t *transit) bool { return t.forbids(s.meets(o, t.who).To) }, errDoor)
	for _, finished := range busy {
		select {
		case <-finished:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// outlet writes to a caller within time. A closing door makes it hurry.
//
// mu is held while a deadline is set, never while something is written.
type outlet struct {
	w  http.ResponseWriter
	rc *http.ResponseController

	mu       sync.Mutex
	hurrying bool
}

// hurryTime is what a caller who is being sent something gets when the door closes.
const hurryTime = time.Second

// grant gives the next write its time; false if there is no more.
func (o *outlet) grant(d time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hurrying {
		return false
	}
	_ = o.rc.SetWriteDeadline(time.Now().Add(d)) // without one the connection's own limits hold
	return true
}

func (o *outlet) hurry() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hurrying = true
	_ = o.rc.SetWriteDeadline(time.Now().Add(hurryTime)) // as above
}
