package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger/tile"
)

const batchCap = 65_536 // entries in one commit

// request is one call of Append. The caller fills it in its own goroutine: pseudonyms, sealing and leaf hashing happen
// there; the writer only copies, joins hashes and signs.
type request struct {
	buf      []byte // the entries as they stand in a frame
	items    []item
	receipts []Receipt
	done     chan error // capacity 1
}

type item struct {
	log   *log
	hash  tile.Hash
	at    int // of the leaf in buf
	index int // among the batch's entries of its log
}

// writer commits, in two stages with a goroutine each: while one batch is written and synced, the next is sealed, that is
// its hashes are joined and its head is signed. A batch that could not be written takes with it the one that was sealed
// behind it; then sealing goes on from what is durable.
type writer struct {
	l *Ledger

	mu      sync.Mutex
	queue   []*request
	want    int // how many requests the first stage waits for
	closing bool
	wake    chan struct{} // capacity 1
	ended   chan struct{}
	took    atomic.Int64 // ns that writing a batch takes, on average
	broken  atomic.Bool  // a batch was lost, and sealing has not begun again

	end atomic.Pointer[walPosition] // of what is durable; nothing before it changes

	free   chan *batch // those that no stage works on; capacity stages
	sealed chan *batch // on their way from the first stage to the second

	// The first stage's.
	seq    uint64 // of the last commit that was sealed
	taken  []*request
	last   int // how many requests the last batch had
	around int // how many callers there seem to be
	timer  *time.Timer
	afresh bool // the next batch is the first after one was lost

	// The second stage's. The first looks at them when all batches are free.
	durable uint64 // sequence number of the last commit
	lost    error  // why a batch was not written, until sealing has begun again
	failed  error  // set once nobody knows what is on the disk
}

const stages = 2

func newWriter(l *Ledger) *writer {
	w := &writer{
		l: l, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		free: make(chan *batch, stages), sealed: make(chan *batch, stages), timer: time.NewTimer(0),
	}
	for range stages {
		w.free <- &batch{}
	}
	return w
}

func (w *writer) put(r *request) error {
	w.mu.Lock()
	if w.closing {
		w.mu.Unlock()
		return ErrClosed
	}
	w.queue = append(w.queue, r)
	enough := len(w.queue) == 1 || len(w.queue) >= w.want
	w.mu.Unlock()
	if enough {
		w.rouse()
	}
	return nil
}

func (w *writer) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run is the first stage. It seals whatever has queued, until it is told to close and nothing is queued.
func (w *writer) run() {
	defer close(w.sealed)
	for {
		if !w.gather() {
			return
		}
		w.seal()
	}
}

// gather takes what has queued. A sync costs as much for one entry as for a hundred, so it lets nearly everybody queue who
// seems to be around, if they come before the other stage has been idle for the time of a sync. It returns false when there
// will be nothing any more.
func (w *writer) gather() bool {
	var late <-chan time.Time
	for {
		w.mu.Lock()
		n := len(w.queue)
		w.want = w.around * 7 / 8
		if n > 0 && n >= w.want || w.closing {
			break
		}
		w.mu.Unlock()
		if n > 0 && late == nil && len(w.free) == stages {
			w.timer.Reset(time.Duration(w.took.Load()))
			late = w.timer.C
		}
		select {
		case <-w.wake:
			continue
		case <-late:
		}
		w.mu.Lock()
		break
	}
	w.taken, w.queue = w.queue, w.taken[:0]
	w.mu.Unlock()
	w.timer.Stop()
	around := len(w.taken)
	if len(w.free) < stages {
		around += w.last
	}
	w.around = max(around, w.around-(w.around+7)/8)
	w.last = len(w.taken)
	return len(w.taken) > 0
}

// seal makes batches of what was taken.
func (w *writer) seal() {
	for rest := w.taken; len(rest) > 0; {
		b := w.take()
		n := w.fits(rest)
		b.reqs = append(b.reqs[:0], rest[:n]...)
		rest = rest[n:]
		if err := w.l.packer.admit(); err != nil {
			b.answer(fmt.Errorf("couldn't make room in the ledger: %w", err))
			w.free <- b
		} else {
			w.seq++
			b.afresh, w.afresh = w.afresh, false
			b.seal(w.l, w.seq)
			w.sealed <- b
		}
	}
	clear(w.taken)
}

// take returns a batch to fill. When one was lost, it waits for the other and goes back to what is durable.
func (w *writer) take() *batch {
	b := <-w.free
	if !w.broken.Load() {
		return b
	}
	other := <-w.free
	b.revert()
	other.revert()
	w.seq, w.afresh = w.durable, true
	w.broken.Store(false)
	w.free <- other
	return b
}

// fits returns how many of the requests go into one commit. One always does.
func (w *writer) fits(reqs []*request) int {
	room, entries := w.l.wal.room(), 0
	for i, r := range reqs {
		room -= r.frameBytes()
		entries += len(r.items)
		if i > 0 && (room < frameHeader+frameTail || entries > batchCap) {
			return i
		}
	}
	return len(reqs)
}

// frameBytes is the most that the request adds to a frame.
func (r *request) frameBytes() int64 { return int64(len(r.buf) + headSize*len(r.items)) }

// write is the second stage: it makes batches durable, in the order in which they were sealed.
func (w *writer) write() {
	defer close(w.ended)
	for b := range w.sealed {
		if b.afresh {
			w.lost = nil
		}
		err := errors.Join(w.failed, w.lost)
		if err == nil {
			err = w.commit(b)
		}
		b.lost, w.lost = err, err
		if err != nil {
			w.broken.Store(true)
			w.l.packer.reuse(b.sheet)
		}
		b.answer(err)
		w.free <- b
		w.rouse()
	}
}

// commit makes a batch durable. After an error none of its entries is in a log.
func (w *writer) commit(b *batch) error {
	begin := time.Now()
	if err := w.l.wal.write(b.sheet.frame); err != nil {
		if errors.Is(err, querschott.ErrHalt) {
			w.failed = err
		}
		return err
	}
	w.took.Store((7*w.took.Load() + int64(time.Since(begin))) / 8)
	for _, r := range b.reqs {
		for i := range r.receipts {
			w.l.noteEpoch(r.receipts[i].leaf[:])
		}
	}
	end := walPosition{w.l.wal.seg, w.l.wal.tail.Off()}
	w.end.Store(&end)
	w.l.packer.put(job{sheet: b.sheet, commit: b.commit, chain: b.chain, logs: b.logs, spans: b.spans, pos: end})
	for i, g := range b.logs {
		g.head.Store(&b.spans[i].New)
	}
	b.chain.head.Store(&b.commit.chain.New)
	w.durable = b.commit.Seq
	return nil
}

// close refuses further requests and returns when all earlier ones are answered.
func (w *writer) close() bool {
	w.mu.Lock()
	was := w.closing
	w.closing = true
	w.mu.Unlock()
	w.rouse()
	<-w.ended
	return !was
}

// wait returns the outcome of a queued request. When the context ends first, the entries may still be committed.
func (r *request) wait(ctx context.Context) error {
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the outcome of a ledger entry is unknown: %w", ctx.Err())
	}
}
