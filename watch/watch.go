package watch

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
)

// Detector looks at events in the order in which they count. A detector is used by one goroutine at a time.
type Detector interface {
	// Name is the number in the catalogue, or the name of a rule.
	Name() string
	// Observe looks at an event and appends what it has to say. The event is valid until it returns.
	Observe(e *Event, to []Alarm) []Alarm
	// Tick is called when a local day has ended and with the clock of a live stream; now is event time.
	Tick(now time.Time, to []Alarm) []Alarm
	// Stats says how much the detector holds and what it had to forget.
	Stats() Stats
}

// Stats is how much a detector holds.
type Stats struct {
	Keys    int    `json:"keys"`
	Evicted uint64 `json:"evicted"` // keys forgotten to stay within its bound
}

// Config makes a [Watch].
type Config struct {
	Policy   *Policy          // nil: the zero policy
	Canaries []string         // pseudonyms of canary persons, as they stand in events
	Also     []Detector       // run behind the built-in ones
	Emit     func(*Alarm)     // told each alarm once, when it is raised; nil: nobody. It must not block and not call the Watch.
	Keys     int              // how many actors each detector holds at most; default 4,000,000
	Now      func() time.Time // the clock of a live stream; default time.Now

	// Sharp is how many times as sensitive the detectors are: half as much is enough at 2. 0 is 1. It applies to caps (D1),
	// attempts and failures (D4, D5, D6), unexplained persons (D10, D15), and writes (D11).
	Sharp float64
}

// Watch is a set of detectors over one stream of events. All methods may be called at the same time.
type Watch struct {
	cfg    Config
	policy *Policy
	live   map[string]bool
	jobs   map[string]*Job

	beat atomic.Int64 // when Run last had the time, in nanoseconds since 1970

	mu        sync.Mutex // guards everything below; held for one event at a time
	detectors []Detector
	order     *order
	actors    *actors
	test      *selfTest
	failed    []Detector // to be taken out
	calendar  calendar
	from, now time.Time // the first and the newest event time that counts
	day       int       // local day of now
	unseen    [2]uint64 // holes in the numbers of gates when yesterday and today began
	held      *querschott.Access
	event     Event // the one that is judged
	scratch   []Alarm
	folds     *table[*Alarm]
	alarms    []*Alarm
	dropped   uint64 // alarms that found no room in alarms
	quiet     bool   // alarms are told and kept by nobody
	over      int
	byKind    map[Kind]int
	byName    map[string]int
	byCAPEC   map[string]int
	curious   *curiosity // nil: it is off
	canaries  *canary    // nil: it is off
	copied    *copied    // nil: it is off
	fetched   uint64     // of no meaning
	budget    map[week]int
	counts    Counts
	explained map[querschott.Compartment]*Share
	share     *Share // the one that was counted last
}

// week is one insurer's week of alarms.
type week struct {
	insurer querschott.IK
	week    int
}

const (
	standardKeys = 4_000_000
	maxAlarms    = 100_000          // that a Watch remembers
	maxFolds     = 1_000_000        // keys of folding
	ahead        = 10 * time.Minute // how far time moves on without being confirmed
	tardy        = 2 * time.Minute  // how far an event may lie behind before it is late
)

// New makes a Watch.
func New(cfg Config) (*Watch, error) {
	if cfg.Policy == nil {
		cfg.Policy = &Policy{}
	}
	if err := cfg.Policy.check(); err != nil {
		return nil, err
	}
	if cfg.Keys <= 0 {
		cfg.Keys = standardKeys
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Sharp = max(cfg.Sharp, 1)
	cfg.Policy = cfg.Policy.sharpened(cfg.Sharp)
	w := &Watch{
		cfg: cfg, policy: cfg.Policy, live: map[string]bool{}, jobs: map[string]*Job{}, order: newOrder(), actors: newActors(cfg.Keys), test: newSelfTest(),
		folds: newTable[*Alarm](maxFolds), budget: map[week]int{}, byKind: map[Kind]int{}, byName: map[string]int{}, byCAPEC: map[string]int{}, explained: map[querschott.Compartment]*Share{},
	}
	for _, d := range cfg.Policy.Live {
		w.live[d] = true
	}
	for i := range cfg.Policy.Jobs {
		w.jobs[cfg.Policy.Jobs[i].ID] = &cfg.Policy.Jobs[i]
	}
	w.jobs[w.test.job] = &Job{ID: w.test.job, To: time.Unix(1<<40, 0), Persons: 1}
	cfg.Canaries = append(slices.Clone(cfg.Canaries), w.test.canary)
	w.cfg.Canaries = cfg.Canaries
	for _, d := range builtin(&w.cfg, w.jobs, w.order) {
		if off := slices.Contains(cfg.Policy.Off, d.Name()); off && d.Name() == "D1" {
			d = mute{d} // others go by what it counts
		} else if off {
			continue
		}
		w.detectors = append(w.detectors, d)
		switch d := d.(type) {
		case *curiosity:
			w.curious = d
		case *canary:
			w.canaries = d
		case *copied:
			w.copied = d
		}
		if f, ok := d.(interface{ forget(*actor) }); ok {
			w.actors.forget = append(w.actors.forget, f.forget)
		}
	}
	w.detectors = append(w.detectors, cfg.Also...)
	return w, nil
}

// mute is a detector that counts and says nothing.
type mute struct{ Detector }

// Observe implements [Detector].
func (m mute) Observe(e *Event, to []Alarm) []Alarm { return m.Detector.Observe(e, to)[:len(to)] }

// builtin makes the detectors of the house.
func builtin(cfg *Config, jobs map[string]*Job, o *order) []Detector {
	return []Detector{
		newBulk(cfg.Policy), newJobs(jobs), newCanary(cfg.Canaries, cfg.Keys), &probing{}, newEnumeration(cfg.Keys),
		newStuffing(cfg.Keys), &stolenLogin{}, &practice{}, newCuriosity(cfg.Policy.Budget), newSlow(cfg.Sharp), &wiper{},
		admin{},
		newFlood(), &token{}, newMules(cfg.Sharp),
		newMaintenance(cfg.Policy), newSilence(o), newShared(cfg.Keys), newCases(), newPersons(), newCopied(),
	}
}

// Observe takes in one event. It keeps nothing of it but its texts.
func (w *Watch) Observe(e *querschott.Access) { w.observe(e, false) }

// First takes in one event and reports whether it came for the first time.
func (w *Watch) First(e *querschott.Access) bool { return w.observe(e, false) }

// observe takes in one event and reports whether it is new; inOrder says that its gate's events come in the order of their numbers.
func (w *Watch) observe(e *querschott.Access, inOrder bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts.Events++
	if !w.order.take(e) {
		w.counts.Duplicates++
		return false
	}
	if inOrder {
		w.order.settle(e)
	}
	if e.Canary { // its number counts, nothing else
		return true
	}
	if h := w.held; h != nil {
		w.held = nil
		if !told(e).Before(told(h).Add(-ahead)) {
			w.now = later(w.now, told(h)) // confirmed
		} else {
			w.counts.Future++
		}
		w.judge(h)
	}
	if !w.now.IsZero() && told(e).Sub(w.now) > ahead {
		c := *e
		w.held = &c
		return true
	}
	w.judge(e)
	return true
}

// told is when the platform knew of an event: a source of somebody else's may tell of it long after it happened.
func told(e *querschott.Access) time.Time { return later(e.Time, e.Received) }

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// judge lets the detectors see an event whose time is settled.
func (w *Watch) judge(a *querschott.Access) {
	w.event = Event{Access: a, At: a.Time, Result: result(a), sharp: w.cfg.Sharp}
	e := &w.event
	if a.Received.Sub(w.now) <= ahead || w.now.IsZero() {
		w.now = later(w.now, a.Received) // as the clock of a live stream had moved by then
	}
	switch behind := w.now.Sub(a.Time); {
	case w.now.IsZero() || behind <= 0 && -behind <= ahead:
		w.now = a.Time
	case behind <= 0: // claims to be from the future, and nobody confirmed it
		e.At, e.Late = w.now, true
	default:
		e.At, e.Late = w.now, behind > tardy
	}
	if e.Late {
		w.counts.Late++
	}
	if w.from.IsZero() {
		w.from = e.At
	}
	w.calendar.set(e)
	if e.Day != w.day {
		if w.day != 0 {
			w.tick(e.At)
		}
		w.begin(e.Day)
	}
	if e.Result == ByDoor {
		w.counts.Doors++
		return
	}
	w.know(e)
	for _, d := range w.detectors {
		if w.scratch = w.ask(d, e, w.scratch[:0]); len(w.scratch) > 0 {
			w.raise(w.scratch)
		}
	}
	if len(w.failed) > 0 {
		w.retire()
	}
}

// know fills in what the event says beyond its time.
func (w *Watch) know(e *Event) {
	e.Who = who(e.Access)
	if e.Person != "" {
		e.Subject = hash(string(e.Insurer), e.Person)
	}
	if e.ReasonRef != "" {
		e.Explained, e.cause = true, max(hash(e.ReasonRef), 1)
		_, e.Job = w.jobs[e.ReasonRef]
		if w.copied != nil {
			w.fetched ^= w.copied.uses[int(e.cause)&(len(w.copied.uses)-1)].reason // see actor.ahead
		}
	}
	if !e.Test {
		e.actor = w.actors.get(e.Who)
		w.fetched ^= e.actor.ahead(e)
	}
	e.Stranger = true
	if e.Result != Reached || e.Subject == 0 || e.Test {
		return
	}
	if !e.Job && reasons(e.Role) {
		e.Stranger = e.actor.clerk().known.meet(e)
	}
	s := w.share
	if s == nil || s.of.Insurer != e.Insurer || s.of.Service != e.Service {
		s = w.shareOf(querschott.Compartment{Insurer: e.Insurer, Service: e.Service})
	}
	s.Reached++
	switch {
	case e.Explained:
		s.Explained++
	case !reasons(e.Role):
		s.Implied++
	}
}

// shareOf returns the counts of a compartment. There are no more of them than maxGroups.
func (w *Watch) shareOf(c querschott.Compartment) *Share {
	s := w.explained[c]
	if s == nil {
		s = &Share{Compartment: c.String(), of: c}
		if len(w.explained) < maxGroups {
			w.explained[c] = s
		}
	}
	w.share = s
	return s
}

// raise folds alarms, counts them against the budget and tells them.
func (w *Watch) raise(list []Alarm) {
	for i := range list {
		a := &list[i]
		c := calendar{}
		e := Event{At: a.Time}
		c.set(&e)
		key := string(a.Actor) + "\x00" + a.Detector + "\x00" + a.Cause + "\x00" + string(a.Insurer) + "\x00" + strconv.Itoa(e.Day)
		f := w.folds.get(key)
		if *f != nil {
			(*f).Folded++
			(*f).Events.Count = max((*f).Events.Count, a.Events.Count)
			(*f).Events.Last = later((*f).Events.Last, a.Events.Last)
			continue
		}
		kept := *a
		*f = &kept
		w.finish(&kept, e.Day)
	}
}

// Released forgets that rules were broken by an actor or with a credential, "" for neither: somebody has let them in again, and
// the next time is told anew, on the same day too. What was only unlikely stays told until the day ends: whoever released has
// seen it.
func (w *Watch) Released(actor querschott.Actor, credential querschott.CredentialID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.folds.ring {
		a := s.value
		if a != nil && a.Kind == Exact && (actor != "" && a.Actor == actor || credential != "" && a.Credential == credential) {
			s.value = nil
		}
	}
}

// finish adds what the set knows of an alarm that is no repetition.
func (w *Watch) finish(a *Alarm, day int) {
	a.Mode = Shadow
	if w.live[a.Detector] || w.live[a.Detector+"/"+a.Cause] {
		a.Mode = Live
	}
	l := labels[a.Detector]
	if a.ATTACK == nil {
		a.ATTACK, a.CAPEC = l.attack, l.capec
	}
	if a.Kind == Statistical {
		k := week{a.Insurer, (day + 3) / 7}
		w.budget[k]++
		a.OverBudget = w.budget[k] > max(w.policy.Budget, 1)
	}
	if n := w.order.holes - w.unseen[0]; n > 0 && a.Detector != "D17" {
		a.Arithmetic = append(slices.Clone(a.Arithmetic), Number{NotSeen, float64(n), "events"})
	}
	if w.quiet {
		return
	}
	w.byKind[a.Kind]++
	w.byName[a.Detector]++
	w.byCAPEC[a.CAPEC]++
	if a.OverBudget {
		w.over++
	}
	if len(w.alarms) < maxAlarms {
		w.alarms = append(w.alarms, a)
	} else {
		w.dropped++
	}
	if w.cfg.Emit != nil {
		told := *a // the fold goes on counting
		w.cfg.Emit(&told)
	}
}

// SetCanaries replaces the pseudonyms of the canary persons.
func (w *Watch) SetCanaries(pseudonyms []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.canaries != nil {
		w.canaries.set(append(slices.Clone(pseudonyms), w.test.canary))
	}
}

func (w *Watch) tick(now time.Time) {
	for _, d := range w.detectors {
		w.scratch = d.Tick(now, w.scratch[:0])
		w.raise(w.scratch)
	}
}

// Tick tells the time of a live stream, so that silence is noticed and days end on quiet gates too.
func (w *Watch) Tick(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !now.After(w.now) {
		return
	}
	w.now = now
	if h := w.held; h != nil {
		w.held = nil
		w.judge(h)
	}
	e := Event{At: now}
	w.calendar.set(&e)
	w.begin(e.Day)
	w.tick(now)
}

// begin takes note of the local day.
func (w *Watch) begin(day int) {
	if day != w.day {
		w.day, w.unseen = day, [2]uint64{w.unseen[1], w.order.holes}
	}
}

// Flush judges what waits for its confirmation and ends the day. It is for the end of a recording.
func (w *Watch) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := w.held; h != nil {
		w.held = nil
		w.counts.Future++
		w.judge(h)
	}
	w.tick(w.now.Add(24 * time.Hour))
}

// Beat returns when Run was last seen at work; the time of the call before it began.
func (w *Watch) Beat() time.Time {
	if at := w.beat.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Now()
}

// every is how often a live stream's clock is told.
const every = time.Second

// Run takes in what a subscription brings until it is closed or ctx ends; then it closes the subscription. Events that the
// subscription had to drop show as a gap in the gate's numbers, and in the arithmetic of every alarm after it until the next day
// has ended.
func (w *Watch) Run(ctx context.Context, s *access.Subscription) error {
	stop := context.AfterFunc(ctx, s.Close)
	defer stop()
	w.beat.Store(time.Now().UnixNano())
	clock := time.NewTicker(every)
	defer clock.Stop()
	for {
		select {
		case e, ok := <-s.Events():
			if !ok {
				if err := ctx.Err(); err != nil && !errors.Is(err, context.Canceled) {
					return err
				}
				return nil
			}
			w.observe(&e, true)
		case beat := <-clock.C:
			w.Tick(w.cfg.Now())
			w.beat.Store(beat.UnixNano())
		}
	}
}
