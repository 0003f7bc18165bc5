package outbox

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/seal"
)

const (
	standardWorkers   = 4
	standardRetention = 30 * 24 * time.Hour
	standardMaxBody   = 30 << 20

	// Bodies that may be in memory at the same time, once for all Puts and once for all deliveries. A body is there up
	// to four times: as it came, sealed, in the batch and in the engine.
	bodyMemory = 64 << 20
)

// Mail is one message for one recipient.
type Mail struct {
	ID      string    // names the mail for ever: a second Put of the same ID changes nothing
	From    string    // envelope sender; "" is the null reverse path (RFC 5321 section 4.5.5)
	To      string    // envelope recipient
	Body    []byte    // the message with its headers (RFC 5322), lines end with CRLF
	Created time.Time // when it was made; for the record only
}

// Options configure an outbox. The zero value puts everything into local mailboxes.
type Options struct {
	// Relay takes the mail that leaves; nil: all mail goes into local mailboxes.
	Relay *Relay
	// Local reports whether mail to the address goes into a local mailbox although there is a relay; nil: none does.
	// The address is in lower case.
	Local func(address string) bool
	// Paused lets the outbox begin as after Pause.
	Paused bool

	Workers   int           // connections to the relay at the same time; default 4
	Retention time.Duration // for how long the IDs of mail that is done are remembered; default 30 days
	MaxBody   int           // bytes of one body; default 30 MiB, at most 64 MiB

	Now func() time.Time // default time.Now; for what is recorded and due, not for network timeouts
	Log *slog.Logger     // default: none
}

func (o Options) withDefaults() (Options, error) {
	if o.Workers <= 0 {
		o.Workers = standardWorkers
	}
	if o.Retention <= 0 {
		o.Retention = standardRetention
	}
	if o.MaxBody <= 0 {
		o.MaxBody = standardMaxBody
	}
	if o.MaxBody > bodyMemory {
		return o, fmt.Errorf("a body may have %d bytes at most, not %d", bodyMemory, o.MaxBody)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Relay != nil {
		r, err := o.Relay.withDefaults()
		if err != nil {
			return o, err
		}
		o.Relay = &r
	}
	return o, nil
}

// Status is what the outbox has to do.
type Status struct {
	Queued int       // mail on its way
	Failed int       // mail that was refused for good and waits for a decision
	Oldest time.Time // when the oldest queued mail was put; zero if none is queued
	Next   time.Time // when something is tried next, now or earlier if at once; zero if nothing is planned
	Paused bool
	Relay  string // why the relay is not being used for a while; "" if it is
	Sent   uint64 // taken by the relay since the start
	Local  uint64 // put into local mailboxes since the start
}

// Outbox holds mail that leaves. All methods may be called at the same time from many goroutines.
type Outbox struct {
	store cell.Store
	box   *seal.Box
	opt   Options

	claims  claims
	putting *semaphore.Weighted // bytes of bodies being put
	sending *semaphore.Weighted // bytes of bodies being delivered

	// A commit and its accounting in the queue hold changes for reading, so that a recount sees both or neither.
	changes sync.RWMutex
	// doubt is set when a commit failed: it may have been applied, and only a recount tells.
	doubt   atomic.Bool
	counted time.Time // the last recount; only the dispatcher uses it
	running atomic.Bool
	wake    chan struct{} // holds one token when something may have become due

	mu sync.Mutex // guards queue, relay and counters
	q  queue
	// What is known about the relay.
	relay struct {
		paused  bool
		misses  int       // failures in a row
		until   time.Time // not before
		trouble string    // the last failure; "" after a success
	}
	failed      int
	sent, local uint64

	oldestMu sync.Mutex // one Status at a time looks for the oldest mail
	oldest   ref        // no queued mail is older; guarded by mu
}

// Open makes an outbox of a store, which stays the caller's to close after Run has returned. It reads the keys of what is
// due and no mail. The box must be the one of the last time.
func Open(store cell.Store, box *seal.Box, options Options) (*Outbox, error) {
	opt, err := options.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("couldn't set up the outbox: %w", err)
	}
	o := &Outbox{
		store: store, box: box, opt: opt,
		putting: semaphore.NewWeighted(bodyMemory), sending: semaphore.NewWeighted(bodyMemory),
		wake: make(chan struct{}, 1),
	}
	// Half of the connections, so that a domain whose mail hangs leaves room for the others.
	o.q = newQueue(max(1, opt.Workers/2))
	o.relay.paused = opt.Paused
	if err := o.recount(); err != nil {
		return nil, fmt.Errorf("couldn't read the outbox: %w", err)
	}
	return o, nil
}

// commit applies a batch and, if that succeeded, its accounting, which is called with mu held.
func (o *Outbox) commit(b *cell.Batch, account func()) error {
	o.changes.RLock()
	defer o.changes.RUnlock()
	if err := o.store.Commit(b); err != nil {
		o.doubt.Store(true)
		o.kick()
		return err
	}
	o.mu.Lock()
	account()
	o.mu.Unlock()
	o.kick()
	return nil
}

// kick lets Run look for work.
func (o *Outbox) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// recount replaces what memory knows about the queue by what the store has. Mail in the hands of workers stays there.
func (o *Outbox) recount() error {
	o.changes.Lock()
	defer o.changes.Unlock()
	o.doubt.Store(false)
	lanes, failed := map[laneID]count{}, 0
	lo := cell.Key(cell.SpaceOutbox, kindDue)
	err := o.store.Scan(lo, cell.PrefixEnd(lo), func(key, value []byte) error {
		j, err := parseDue(key, value)
		if err != nil {
			return err
		}
		c, ok := lanes[j.lane]
		if !ok {
			c.first = j.at // keys of one lane come in the order of time
		}
		c.n++
		lanes[j.lane] = c
		return nil
	})
	if err == nil {
		lo = cell.Key(cell.SpaceOutbox, kindFailed)
		err = o.store.Scan(lo, cell.PrefixEnd(lo), func(_, _ []byte) error { failed++; return nil })
	}
	if err != nil {
		o.doubt.Store(true)
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = failed
	o.oldest = ref{}
	o.q.reset(lanes, o.opt.Now())
	return nil
}

// Status reports what the outbox has to do. A failing store shows as a queue without an oldest mail.
func (o *Outbox) Status() Status {
	o.mu.Lock()
	s := Status{
		Queued: max(o.q.waiting, 0), Failed: o.failed, Paused: o.relay.paused, Relay: o.relay.trouble,
		Sent: o.sent, Local: o.local,
	}
	if at, ok := o.q.nextAt(); ok && (o.opt.Relay == nil || !s.Paused) {
		s.Next = at
		if o.opt.Relay != nil && o.relay.until.After(at) {
			s.Next = o.relay.until
		}
	}
	o.mu.Unlock()
	if s.Queued > 0 {
		s.Oldest = o.findOldest()
	}
	return s
}

// findOldest looks from the oldest mail of the last time on, so that it does not pass what has been delivered since.
func (o *Outbox) findOldest() time.Time {
	o.oldestMu.Lock()
	defer o.oldestMu.Unlock()
	o.mu.Lock()
	from := o.oldest
	o.oldest = lastRef // whoever puts something older meanwhile says so here
	o.mu.Unlock()
	var found *ref
	err := o.store.Scan(ageKey(from), cell.PrefixEnd(cell.Key(cell.SpaceOutbox, kindAge)), func(key, _ []byte) error {
		r, err := parseAge(key)
		found = &r
		return errors.Join(err, cell.ErrStop)
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil || found == nil {
		o.oldest = minRef(o.oldest, from)
		return time.Time{}
	}
	o.oldest = minRef(o.oldest, *found)
	return found.time()
}

// Pause stops mail from leaving through the relay until Resume, and is forgotten when the process ends. Mail whose
// transaction has begun is finished; mail is taken in and put into local mailboxes as ever.
func (o *Outbox) Pause() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.relay.paused = true
}

// Resume lets mail leave again.
func (o *Outbox) Resume() {
	o.mu.Lock()
	o.relay.paused = false
	o.mu.Unlock()
	o.kick()
}
