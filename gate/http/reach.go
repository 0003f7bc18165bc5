package http

import (
	"container/list"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
)

// windows are those of [Reach], longest last.
var windows = [...]time.Duration{time.Minute, 15 * time.Minute, 24 * time.Hour}

func (r Reach) limits() [len(windows)]int { return [...]int{r.Minute, r.Quarter, r.Day} }

// Counter holds credentials to the limits of their roles. It is what the entrance asks, and can be asked without HTTP and at
// any time: it has no clock of its own. All methods may be called at the same time.
type Counter struct {
	limits Limits
	by     *reaches
}

// NewCounter makes a counter with nobody in it.
func NewCounter(l Limits) *Counter {
	l = l.withDefaults()
	return &Counter{limits: l, by: newReaches(l.Persons)}
}

// Take counts persons to a credential, all or none of them. If they are too many it returns when to come back at the earliest.
func (c *Counter) Take(who *querschott.Credential, now time.Time, persons ...querschott.KVNR) (retry time.Duration, ok bool) {
	return c.by.take(who.ID, c.limit(who), now, persons...)
}

// Spent reports whether one more person would be too many, and when to come back at the earliest.
func (c *Counter) Spent(who *querschott.Credential, now time.Time) (retry time.Duration, spent bool) {
	return c.by.spent(who.ID, c.limit(who), now)
}

func (c *Counter) limit(who *querschott.Credential) Reach {
	limit, ok := c.limits.Reaches[who.Role]
	if !ok {
		limit = c.limits.Reach
	}
	return limit.or(c.limits.Reach)
}

// reaches counts exactly how many different persons each credential got to within sliding windows. It holds persons for a
// day, at most the daily limit per credential. When it is full, the credential that was quiet for longest is forgotten: it
// may reach as many again, which is counted.
type reaches struct {
	seed      maphash.Seed
	shards    [16]reachShard
	forgotten atomic.Uint64 // persons that were forgotten before their day was over
}

type reachShard struct {
	mu    sync.Mutex
	by    map[querschott.CredentialID]*list.Element // of *trail
	quiet *list.List                                // the one that was quiet for longest first
	held  int                                       // persons
	room  int
}

// trail is what one credential reached: persons by the time they were last reached, oldest first.
type trail struct {
	credential querschott.CredentialID
	steps      *list.List // of step
	at         map[querschott.KVNR]*list.Element
	count      [len(windows)]int
	oldest     [len(windows)]*list.Element // the oldest step within each window, nil if count is 0
}

type step struct {
	person querschott.KVNR
	last   int64 // ns
}

func newReaches(persons int) *reaches {
	t := &reaches{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i] = reachShard{by: map[querschott.CredentialID]*list.Element{}, quiet: list.New(), room: max(1, persons/len(t.shards))}
	}
	return t
}

// take counts persons to a credential, all or none of them. If they are too many it returns when to come back at the
// earliest.
func (t *reaches) take(c querschott.CredentialID, limit Reach, now time.Time, persons ...querschott.KVNR) (retry time.Duration, ok bool) {
	if len(persons) == 0 {
		return 0, true
	}
	s := &t.shards[maphash.String(t.seed, string(c))%uint64(len(t.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	tr := s.trail(c)
	at := now.UnixNano()
	s.held -= tr.forget(at)
	if retry, ok := tr.room(limit.limits(), persons, at); !ok {
		return retry, false
	}
	before := tr.steps.Len()
	for _, p := range persons {
		tr.reach(p, at)
	}
	s.held += tr.steps.Len() - before
	t.forgotten.Add(s.evict(at))
	return 0, true
}

// spent asks without counting.
func (t *reaches) spent(c querschott.CredentialID, limit Reach, now time.Time) (retry time.Duration, spent bool) {
	s := &t.shards[maphash.String(t.seed, string(c))%uint64(len(t.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.by[c]
	if !ok {
		return 0, false
	}
	tr, at := e.Value.(*trail), now.UnixNano()
	s.held -= tr.forget(at)
	retry, ok = tr.room(limit.limits(), []querschott.KVNR{""}, at) // nobody's number, so nobody who was reached
	return retry, !ok
}

func (s *reachShard) trail(c querschott.CredentialID) *trail {
	if e, ok := s.by[c]; ok {
		s.quiet.MoveToBack(e)
		return e.Value.(*trail)
	}
	tr := &trail{credential: c, steps: list.New(), at: map[querschott.KVNR]*list.Element{}}
	s.by[c] = s.quiet.PushBack(tr)
	return tr
}

// evict drops credentials whose day is over, and then the quietest until the shard has room; never the one that was just
// used. It returns how many persons were dropped before their day was over.
func (s *reachShard) evict(now int64) (early uint64) {
	for s.quiet.Len() > 1 {
		e := s.quiet.Front()
		tr := e.Value.(*trail)
		s.held -= tr.forget(now)
		if tr.steps.Len() > 0 && s.held <= s.room {
			return early
		}
		early += uint64(tr.steps.Len())
		s.held -= tr.steps.Len()
		s.quiet.Remove(e)
		delete(s.by, tr.credential)
	}
	return early
}

// forget moves the windows on and drops persons whose day is over; it returns how many.
func (t *trail) forget(now int64) (dropped int) {
	for w := range windows {
		for e := t.oldest[w]; e != nil && e.Value.(step).last <= now-int64(windows[w]); e = t.oldest[w] {
			t.oldest[w] = e.Next()
			t.count[w]--
		}
	}
	for e := t.steps.Front(); e != nil && e != t.oldest[len(windows)-1]; e = t.steps.Front() {
		delete(t.at, e.Value.(step).person)
		t.steps.Remove(e)
		dropped++
	}
	return dropped
}

// room reports whether all persons fit into all windows. Those that are in a window already cost nothing there.
func (t *trail) room(limits [len(windows)]int, persons []querschott.KVNR, now int64) (retry time.Duration, ok bool) {
	ok = true
	if len(persons) > 1 {
		persons = slices.Clone(persons)
		slices.Sort(persons)
		persons = slices.Compact(persons)
	}
	for w, limit := range limits {
		fresh := 0
		for _, p := range persons {
			if e := t.at[p]; e == nil || e.Value.(step).last <= now-int64(windows[w]) {
				fresh++
			}
		}
		if fresh == 0 || t.count[w]+fresh <= limit {
			continue
		}
		ok = false
		wait := windows[w]
		if e := t.oldest[w]; e != nil {
			wait = time.Duration(e.Value.(step).last + int64(windows[w]) - now)
		}
		retry = max(retry, wait)
	}
	return retry, ok
}

// reach puts a person to the end of the trail.
func (t *trail) reach(p querschott.KVNR, now int64) {
	if e := t.at[p]; e != nil {
		for w := range windows {
			if e.Value.(step).last <= now-int64(windows[w]) {
				continue // not counted there
			}
			t.count[w]--
			if t.oldest[w] == e {
				t.oldest[w] = e.Next()
			}
		}
		t.steps.Remove(e)
	}
	e := t.steps.PushBack(step{p, now})
	t.at[p] = e
	for w := range windows {
		t.count[w]++
		if t.oldest[w] == nil {
			t.oldest[w] = e
		}
	}
}
