package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger/proof"
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

// writer is the one goroutine that commits.
type writer struct {
	l *Ledger

	mu      sync.Mutex
	queue   []*request
	closing bool
	wake    chan struct{} // capacity 1
	ended   chan struct{}

	// The goroutine's.
	seq     uint64 // of the last commit
	failed  error  // set once nobody knows what is on the disk
	touched []*log
	taken   []*request
}

func (w *writer) put(r *request) error {
	w.mu.Lock()
	if w.closing {
		w.mu.Unlock()
		return ErrClosed
	}
	w.queue = append(w.queue, r)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return nil
}

// run commits whatever has queued, until it is told to close and nothing is queued.
func (w *writer) run() {
	defer close(w.ended)
	for {
		<-w.wake
		for {
			w.mu.Lock()
			w.taken, w.queue = w.queue, w.taken[:0]
			closing := w.closing
			w.mu.Unlock()
			if len(w.taken) == 0 {
				if closing {
					return
				}
				break
			}
			for rest := w.taken; len(rest) > 0; {
				n := w.fits(rest)
				err := w.commit(rest[:n])
				for _, r := range rest[:n] {
					r.done <- err
				}
				rest = rest[n:]
			}
			clear(w.taken)
		}
	}
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

// commit makes one commit of requests. After an error none of their entries is in a log.
func (w *writer) commit(reqs []*request) error {
	if w.failed != nil {
		return w.failed
	}
	if err := w.l.packer.admit(); err != nil {
		return fmt.Errorf("couldn't make room in the ledger: %w", err)
	}
	defer w.forget()
	entries := 0
	for _, r := range reqs {
		for i := range r.items {
			it := &r.items[i]
			if len(it.log.pending) == 0 {
				w.touched = append(w.touched, it.log)
			}
			it.index = len(it.log.pending)
			it.log.pending = append(it.log.pending, it.hash)
		}
		entries += len(r.items)
	}
	now := w.l.cfg.Now().UTC()
	chain := w.l.log(logID{commits, uint16(now.Year())})
	c := w.sign(chain, now)
	j := job{commit: c, chain: chain, logs: slices.Clone(w.touched), spans: make([]*tile.Span, len(w.touched))}
	j.frame = w.frame(reqs, c, chain, entries)
	if err := w.l.wal.write(j.frame); err != nil {
		if errors.Is(err, querschott.ErrHalt) {
			w.failed = err
		}
		w.l.packer.frames.Put(&j.frame)
		return err
	}
	j.pos = walPosition{w.l.wal.seg, w.l.wal.off}
	for i, g := range j.logs {
		j.spans[i] = g.span
	}
	w.receipts(reqs, c)
	w.l.packer.put(j)
	w.seq = c.Seq
	for _, g := range w.touched {
		g.publish(g.span.New)
	}
	chain.publish(c.chain.New)
	return nil
}

// sign grows the touched logs and the log of commits, and signs the head of the latter.
func (w *writer) sign(chain *log, now time.Time) *commit {
	slices.SortFunc(w.touched, func(a, b *log) int { return a.id.compare(b.id) })
	heads := make([]tile.Hash, len(w.touched))
	for i, g := range w.touched {
		g.span, g.position = tile.Grow(g.tree, g.pending), uint32(i)
		heads[i] = proof.HeadLeaf(g.origin, g.span.New.Size, g.span.Root)
	}
	c := &commit{signer: chain.signer, index: chain.tree.Size, heads: tile.Grow(tile.Tree{}, heads)}
	c.Commit = proof.Commit{
		Seq: w.seq + 1, Time: now.UnixMicro(), Heads: uint32(len(heads)), Root: c.heads.Root,
	}
	c.chain = tile.Grow(chain.tree, []tile.Hash{tile.Leaf(c.Bytes())})
	c.sig = chain.signer.Sign(c.chain.New.Size, c.chain.Root)
	return c
}

func (w *writer) frame(reqs []*request, c *commit, chain *log, entries int) []byte {
	var b []byte
	if used, ok := w.l.packer.frames.Get().(*[]byte); ok {
		b = *used
	}
	b = beginFrame(b)
	for _, r := range reqs {
		b = append(b, r.buf...)
	}
	for _, g := range w.touched {
		b = appendHead(b, g.id, g.span.New.Size, g.span.Root)
	}
	return endFrame(b, c, chain.id.year, entries)
}

func (w *writer) receipts(reqs []*request, c *commit) {
	for _, r := range reqs {
		for i := range r.items {
			it, out := &r.items[i], &r.receipts[i]
			g := it.log
			out.Origin, out.Index = g.origin, g.tree.Size+uint64(it.index)
			out.commit, out.span, out.head = c, g.span, g.position
			copy(out.leaf[:], r.buf[it.at:])
			w.l.noteEpoch(out.leaf[:])
		}
	}
}

// forget clears what a batch left in the logs.
func (w *writer) forget() {
	for _, g := range w.touched {
		g.pending, g.span = g.pending[:0], nil
		if cap(g.pending) > 4096 {
			g.pending = nil
		}
	}
	w.touched = w.touched[:0]
}

// close refuses further requests and returns when all earlier ones are answered.
func (w *writer) close() bool {
	w.mu.Lock()
	was := w.closing
	w.closing = true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
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
