package ledger

import (
	"slices"
	"sync"

	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/ledger/tile"
)

// batch is one group commit on its way through the two stages of the writer. Whoever took it from a channel owns it.
type batch struct {
	reqs   []*request
	logs   []*log      // that get entries, in order
	spans  []tile.Span // how each of them grows
	chain  *log        // the log of commits
	commit *commit
	sheet  sheet

	afresh bool  // sealed on top of what is durable, after another was lost
	lost   error // why it was not written
}

// seal lets the logs grow by the entries of the requests, signs, and fills in the receipts and the frame.
func (b *batch) seal(l *Ledger, seq uint64) {
	b.logs = b.logs[:0:0] // the packer keeps the one before
	b.sheet = l.packer.sheet(b.reqs)
	for _, r := range b.reqs {
		for i := range r.items {
			it := &r.items[i]
			if len(it.log.pending) == 0 {
				b.logs = append(b.logs, it.log)
			}
			it.index = len(it.log.pending)
			it.log.pending = append(it.log.pending, it.hash)
			b.sheet.owners = append(b.sheet.owners, it.log)
		}
	}
	b.sign(l, seq)
	b.receipts()
	b.write()
}

// sign grows the touched logs and the log of commits, and signs the head of the latter.
func (b *batch) sign(l *Ledger, seq uint64) {
	now := l.cfg.Now().UTC()
	slices.SortFunc(b.logs, func(a, b *log) int { return a.id.compare(b.id) })
	heads := b.grow()
	b.chain = l.log(logID{commits, uint16(now.Year())})
	c := &commit{signer: b.chain.signer, index: b.chain.tail.Size, heads: tile.Grow(tile.Tree{}, heads)}
	c.Commit = proof.Commit{Seq: seq, Time: now.UnixMicro(), Heads: uint32(len(heads)), Root: c.heads.Root}
	c.chain = tile.Grow(b.chain.tail, []tile.Hash{tile.Leaf(c.Bytes())})
	c.sig = b.chain.signer.Sign(c.chain.New.Size, c.chain.Root)
	b.chain.grow(c.chain)
	b.commit = c
}

const manyLogs = 32 // from where on two goroutines grow them: one costs as much as some logs

// grow lets the touched logs grow and returns the leaves that stand for their new heads.
func (b *batch) grow() []tile.Hash {
	n := len(b.logs)
	heads := make([]tile.Hash, n)
	trees, leaves := make([]tile.Tree, n), make([][]tile.Hash, n)
	b.spans = make([]tile.Span, n)
	for i, g := range b.logs {
		trees[i], leaves[i] = g.tail, g.pending
	}
	part := func(from, to int) {
		tile.GrowAll(b.spans[from:to], trees[from:to], leaves[from:to])
		for i, g := range b.logs[from:to] {
			s := &b.spans[from+i]
			g.grow(s)
			g.position = uint32(from + i)
			heads[from+i] = proof.HeadLeaf(g.origin, s.New.Size, s.Root)
		}
	}
	if n < manyLogs {
		part(0, n)
		return heads
	}
	var other sync.WaitGroup
	other.Go(func() { part(n/2, n) })
	part(0, n/2)
	other.Wait()
	return heads
}

// receipts fills in what the callers get once the batch is durable.
func (b *batch) receipts() {
	for _, r := range b.reqs {
		for i := range r.items {
			it, out := &r.items[i], &r.receipts[i]
			s := &b.spans[it.log.position]
			out.Origin, out.Index = it.log.origin, s.Old.Size+uint64(it.index)
			out.commit, out.span, out.head = b.commit, s, it.log.position
			copy(out.leaf[:], r.buf[it.at:])
		}
	}
}

// write makes the batch's frame.
func (b *batch) write() {
	f := beginFrame(b.sheet.frame)
	for _, r := range b.reqs {
		f = append(f, r.buf...)
	}
	for i, g := range b.logs {
		f = appendHead(f, g.id, b.spans[i].New.Size, b.spans[i].Root)
	}
	b.sheet.frame = endFrame(f, b.commit, b.chain.id.year, len(b.sheet.owners))
}

// answer tells the callers the outcome and forgets them.
func (b *batch) answer(err error) {
	for _, r := range b.reqs {
		r.done <- err
	}
	clear(b.reqs)
	b.reqs = b.reqs[:0]
}

// revert takes the logs that the batch let grow back to what is durable.
func (b *batch) revert() {
	if b.lost == nil {
		return
	}
	for _, g := range b.logs {
		g.tail = *g.head.Load()
	}
	b.chain.tail = *b.chain.head.Load()
	b.lost = nil
}
