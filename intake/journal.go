package intake

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/seal"
)

// Defaults of a Config.
const (
	DefaultSegment = 64 << 20
	DefaultMaxBody = 30 << 20
)

// Config is what a journal needs.
type Config struct {
	Copies     []Copy // one or more, meant for different disks or hosts
	Quarantine Copy   // where damaged records are put aside
	Contexts   *seal.Contexts
	Segment    int64 // bytes of a segment, 0: DefaultSegment
	MaxBody    int   // bytes of a message, 0: DefaultMaxBody
	Now        func() time.Time
	Log        *slog.Logger
}

// Journal is the durable, sealed record of arrivals. All methods may be called at the same time.
type Journal struct {
	cfg  Config
	id   journalID
	stop chan struct{}
	done sync.WaitGroup

	submit    chan struct{} // tells the sealer that there is something to do
	ready     chan *segment // one prepared segment
	failed    chan error    // why there is none
	flights   chan *flight  // from the sealer to the writer
	used      chan *flight  // and back, to be filled again
	mendAgain chan struct{} // a copy that had failed is back
	floor     atomic.Uint64 // segments up to this number must not be written to: see raise

	pendingMu    sync.Mutex // guards the fields below
	pending      []*pending
	pendingBytes int
	closed       bool

	trimming sync.Mutex // held while files are removed; taken before mu

	mu       sync.Mutex // guards everything below; never held while reading, writing, sealing or logging
	segments map[uint64]*segment
	queues   map[querschott.Compartment]*queue
	frozen   int    // backups under way; nothing is removed meanwhile
	last     uint64 // the highest segment number that was ever used
	highest  uint64 // the highest number of a segment that is there
	trouble  string
	stats    Stats
	arrived  func(querschott.Compartment)

	silent []atomic.Bool // by copy: that it cannot be read has been said
}

// Stats counts since the start.
type Stats struct {
	Appended    uint64 `json:"appended"`
	Bytes       int64  `json:"bytes"`       // of the entries, sealed
	Refused     uint64 `json:"refused"`     // no room, or a copy missing
	Mended      uint64 `json:"mended"`      // damaged in one copy, restored from another
	Quarantined uint64 `json:"quarantined"` // damaged in every copy
}

// Open reads the journal of the given copies, makes it if there is none, and starts to accept. Segments that a copy lacks
// are restored to it in the background. What cannot be trusted is an error with querschott.ErrHalt in its chain.
func Open(cfg Config) (*Journal, error) {
	j, err := read(cfg)
	if err != nil {
		return nil, err
	}
	if j.id == (journalID{}) {
		_, _ = rand.Read(j.id[:]) // never fails
	}
	for _, run := range []func(){j.prepare, j.seal, j.write, j.sweep, j.mend} {
		j.done.Go(run)
	}
	return j, nil
}

// read checks the configuration and reads what is there.
func read(cfg Config) (*Journal, error) {
	if len(cfg.Copies) == 0 {
		return nil, errors.New("a journal needs at least one copy")
	}
	if cfg.Segment == 0 {
		cfg.Segment = DefaultSegment
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	if most := space(maxEnvelope + cfg.MaxBody); cfg.Segment > maxSegment || most > cfg.Segment-dataStart {
		return nil, fmt.Errorf("a message of %d bytes needs segments of %d to %d bytes, not %d",
			cfg.MaxBody, most+dataStart, int64(maxSegment), cfg.Segment)
	}
	j := &Journal{
		cfg: cfg, stop: make(chan struct{}),
		submit: make(chan struct{}, 1), ready: make(chan *segment), failed: make(chan error),
		flights: make(chan *flight), used: make(chan *flight, 3), mendAgain: make(chan struct{}, 1),
		segments: map[uint64]*segment{}, queues: map[querschott.Compartment]*queue{},
		silent: make([]atomic.Bool, len(cfg.Copies)),
	}
	if err := j.recover(); err != nil {
		return nil, fmt.Errorf("couldn't open the journal: %w", err)
	}
	return j, nil
}

// ID tells this journal from every other one. A cursor counts only together with it.
func (j *Journal) ID() [16]byte { return j.id }

// What may be waiting to be sealed. A disk that hangs must not make the callers' patience fill the memory.
const (
	maxPending      = 16384
	maxPendingBytes = 256 << 20
	maxEnvelope     = 4096 // bytes of sender, recipient and message id together
)

// Append makes a message durable. On nil it is sealed and synced on every copy. It may go on reading the body after the
// context has ended.
//
// Errors: CodeTooLarge; CodeNoRoom when the disk is full or a copy cannot be written, after which the message may be in
// some copies but was not promised; the context's error, after which nobody knows.
func (j *Journal) Append(ctx context.Context, a Arrival) (Receipt, error) {
	if len(a.Body) > j.cfg.MaxBody {
		return Receipt{}, querschott.Refuse(querschott.CodeTooLarge,
			"the message has %d bytes, at most %d are taken", len(a.Body), j.cfg.MaxBody)
	}
	if n := len(a.Sender) + len(a.Recipient) + len(a.MessageID); n > maxEnvelope {
		return Receipt{}, querschott.Refuse(querschott.CodeTooLarge,
			"sender, recipient and message id have %d bytes, at most %d are taken", n, maxEnvelope)
	}
	if a.Compartment.Service.Code() == 0 {
		return Receipt{}, fmt.Errorf("couldn't append: unknown service %q", a.Compartment.Service)
	}
	sc, err := j.cfg.Contexts.For(a.Compartment)
	if err != nil {
		return Receipt{}, fmt.Errorf("couldn't seal to %s: %w", a.Compartment, err)
	}
	p := pendings.Get().(*pending)
	p.ctx, p.a, p.context, p.binding = ctx, a, sc, BindingOf(a.Sender, a.MessageID)
	if err := j.enqueue(p); err != nil {
		return Receipt{}, err
	}
	select {
	case out := <-p.done:
		*p = pending{done: p.done}
		pendings.Put(p)
		return out.receipt, out.err
	case <-ctx.Done():
		return Receipt{}, ctx.Err()
	}
}

var (
	errClosed = querschott.Refuse(querschott.CodeNoRoom, "the node is stopping")
	errBusy   = querschott.Refuse(querschott.CodeNoRoom, "too many messages wait for the disk")
)

func (j *Journal) enqueue(p *pending) error {
	j.pendingMu.Lock()
	defer j.pendingMu.Unlock()
	if j.closed {
		return errClosed
	}
	if len(j.pending) >= maxPending || j.pendingBytes > maxPendingBytes {
		return errBusy
	}
	j.pending = append(j.pending, p)
	j.pendingBytes += len(p.a.Body)
	if len(j.pending) == 1 { // otherwise the sealer knows
		j.wake()
	}
	return nil
}

func (j *Journal) wake() {
	select {
	case j.submit <- struct{}{}:
	default:
	}
}

// raise makes all further sequence numbers higher than seq. A cell that has come further than this journal shows that the
// journal was restored from a backup: numbers must not be given twice, or what gets them would pass for delivered.
func (j *Journal) raise(seq uint64) {
	j.mu.Lock()
	n := segmentOf(seq)
	raised := n > j.highest && n > j.floor.Load()
	if raised {
		j.floor.Store(n)
		j.last = max(j.last, n)
	}
	j.mu.Unlock()
	if raised {
		j.cfg.Log.Error("ALARM: a cell has taken more from this journal than the journal ever had: it was rolled back",
			"fix", "look for newer copies of the journal's directories; messages that only they hold are missing")
	}
}

// Notify registers who wants to know that something arrived for a compartment. The function must not block.
func (j *Journal) Notify(fn func(querschott.Compartment)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.arrived = fn
}

// Close stops accepting, finishes what was begun and releases the files.
func (j *Journal) Close() error {
	j.pendingMu.Lock()
	if j.closed {
		j.pendingMu.Unlock()
		return nil
	}
	j.closed = true
	j.pendingMu.Unlock()
	close(j.stop)
	j.done.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	var errs error
	for _, s := range j.segments {
		errs = errors.Join(errs, s.close())
	}
	return errs
}

// Stats returns the counters.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stats
}

// Trouble says why the journal does not accept at the moment, "" if it does.
func (j *Journal) Trouble() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.trouble
}

// Backlogs returns what waits, ordered by compartment; compartments without a message are left out.
func (j *Journal) Backlogs() []Backlog {
	j.mu.Lock()
	defer j.mu.Unlock()
	var list []Backlog
	for c, q := range j.queues {
		if q.len() == 0 {
			continue
		}
		list = append(list, Backlog{Compartment: c, Messages: q.len(), Bytes: q.bytes, OldestUS: q.refs[q.head].received})
	}
	slices.SortFunc(list, func(x, y Backlog) int { return x.Compartment.Compare(y.Compartment) })
	return list
}

// Waiting returns how many messages of a compartment wait.
func (j *Journal) Waiting(c querschott.Compartment) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	if q := j.queues[c]; q != nil {
		return q.len()
	}
	return 0
}

// Bindings returns the bindings of all messages that wait, read from the journal itself and not from memory: what an
// audit compares with what senders were promised. What cannot be read is named in the error; the rest is shown.
func (j *Journal) Bindings(fn func(querschott.Compartment, Binding)) error {
	release := j.Freeze()
	defer release()
	j.mu.Lock()
	places := make(map[querschott.Compartment][]ref, len(j.queues))
	for c, q := range j.queues {
		places[c] = slices.Clone(q.refs[q.head:])
	}
	j.mu.Unlock()
	var errs error
	for c, refs := range places {
		for _, r := range refs {
			h, _, err := j.readEntry(r)
			if err != nil {
				errs = errors.Join(errs, fmt.Errorf("couldn't read entry %d of %s: %w", r.seq, c, err))
				continue
			}
			fn(c, h.binding)
		}
	}
	return errs
}

// Freeze keeps every file until the returned function is called.
func (j *Journal) Freeze() (release func()) {
	j.trimming.Lock()
	j.mu.Lock()
	j.frozen++
	j.mu.Unlock()
	j.trimming.Unlock()
	return sync.OnceFunc(func() {
		j.mu.Lock()
		j.frozen--
		j.mu.Unlock()
		j.trim()
	})
}

// setTrouble says once that the journal does not accept, and once that it does again.
func (j *Journal) setTrouble(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	j.mu.Lock()
	before := j.trouble
	j.trouble = text
	j.mu.Unlock()
	switch {
	case text != "" && before == "":
		j.cfg.Log.Error("ALARM: the intake has no room: senders are asked to try again", "err", err,
			"fix", "free space in, or repair, the directory named; accepting goes on by itself")
	case text == "" && before != "":
		j.cfg.Log.Info("the intake has room again")
		j.mendSoon()
	}
}

// sweep makes contexts forget their keys in time even when nothing arrives.
func (j *Journal) sweep() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			j.cfg.Contexts.Sweep()
		case <-j.stop:
			return
		}
	}
}

// queueOf returns a compartment's queue; the caller holds mu, or nobody else knows the journal yet.
func (j *Journal) queueOf(c querschott.Compartment) *queue {
	q := j.queues[c]
	if q == nil {
		q = &queue{}
		j.queues[c] = q
	}
	return q
}
