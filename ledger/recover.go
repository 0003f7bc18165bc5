package ledger

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/ledger/tile"
)

// Open opens the ledger in a directory, or begins one in an empty directory. It replays the commits that the packs may
// not hold yet: each is recomputed from its entries and held against the heads that it was written with, and the last
// one's signature, which covers all before it, is verified. A torn last commit, which was never acknowledged, is cut
// off. Anything else that doesn't fit is an error with [querschott.ErrHalt], and changes nothing on the disk.
func Open(cfg Config) (*Ledger, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("couldn't open ledger: %w", err)
	}
	l, err := open(cfg)
	if err != nil {
		return nil, fmt.Errorf("couldn't open ledger in %s: %w", cfg.Dir, err)
	}
	return l, nil
}

func open(cfg Config) (*Ledger, error) {
	walDir, packDir := filepath.Join(cfg.Dir, "wal"), filepath.Join(cfg.Dir, "packs")
	for _, dir := range []string{cfg.Dir, walDir, packDir} {
		if err := cfg.FS.MkdirAll(dir); err != nil {
			return nil, err
		}
	}
	lock, err := takeLock(cfg.FS, cfg.Dir)
	if err != nil {
		return nil, err
	}
	l := &Ledger{
		cfg: cfg, public: cfg.Public, lock: lock,
		wal: &wal{
			fs: cfg.FS, dir: walDir, size: cfg.SegmentSize,
			spare: make(chan string, min(cfg.SnapshotBytes/cfg.SegmentSize, 15)+1),
		},
		logs: map[logID]*log{}, byOrigin: map[string]*log{},
	}
	if cfg.Public == nil {
		l.key = ed25519.NewKeyFromSeed(cfg.Seed)
		l.public = l.key.Public().(ed25519.PublicKey)
	}
	l.requests.New = newRequest
	l.writer = newWriter(l)
	l.packer = &packer{
		l: l, store: packStore{fs: cfg.FS, dir: packDir}, touched: map[*log]bool{}, finished: make(chan error, 1),
		gather: int(min(packAfter, cfg.SnapshotBytes)), sheets: make(chan sheet, keptSheets),
	}
	l.packer.cond = sync.NewCond(&l.packer.mu)
	if err := l.recover(); err != nil {
		if l.wal.file != nil {
			err = errors.Join(err, l.wal.close())
		}
		return nil, errors.Join(err, lock.release())
	}
	go l.packer.run()
	l.writer.seq = l.writer.durable
	l.writer.end.Store(&walPosition{l.wal.seg, l.wal.tail.Off()})
	go l.writer.run()
	go l.writer.write()
	return l, nil
}

// recover brings the logs to where the WAL ends, and the WAL to where the next commit goes.
func (l *Ledger) recover() error {
	segs, err := segments(l.cfg.FS, l.wal.dir)
	if err != nil {
		return err
	}
	s, err := readState(l.cfg.FS, l.cfg.Dir, l.public)
	if err != nil {
		return err
	}
	if s == nil {
		s = &state{pos: walPosition{1, segmentHeader}}
		if len(segs) == 0 {
			return l.begin()
		}
	}
	s.restore(l)
	l.packer.state, l.packer.oldest, l.writer.durable = *s, s.pos.seg, s.seq
	l.epochs = slices.Clone(s.epochs)
	for len(segs) > 0 && segs[0] < s.pos.seg { // a crash came before their removal was durable
		if err := l.cfg.FS.Remove(segmentName(l.wal.dir, segs[0])); err != nil {
			return err
		}
		segs = segs[1:]
	}
	for i, seg := range segs {
		if seg != s.pos.seg+uint64(i) {
			return fmt.Errorf("WAL segment %d is missing: %w", s.pos.seg+uint64(i), querschott.ErrHalt)
		}
	}
	if len(segs) == 0 {
		return fmt.Errorf("WAL segment %d is missing: %w", s.pos.seg, querschott.ErrHalt)
	}
	return l.replay(segs, s.pos.off)
}

// begin makes the first segment of an empty ledger.
func (l *Ledger) begin() error {
	l.packer.state, l.packer.oldest = state{pos: walPosition{1, segmentHeader}}, 1
	f, err := makeSegment(l.cfg.FS, l.wal.dir, 1, l.wal.size, nil)
	if err != nil {
		return fmt.Errorf("couldn't make the first WAL segment: %w", err)
	}
	if err := l.wal.enter(f, 1, segmentHeader); err != nil {
		return err
	}
	l.wal.prepare()
	return nil
}

// replay reads frames from an offset of the first segment to the end of the last one that has any.
func (l *Ledger) replay(segs []uint64, off int64) error {
	r := &replayer{l: l}
	for i, seg := range segs {
		f, size, err := openSegment(l.cfg.FS, l.wal.dir, seg)
		if err != nil {
			return err
		}
		if i > 0 {
			off = segmentHeader
		}
		data, err := readFrom(f, off, size)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		end, err := r.segment(data, walPosition{seg, off})
		if err != nil {
			return errors.Join(fmt.Errorf("couldn't replay WAL segment %d: %w", seg, err), f.Close())
		}
		if i > 0 && end == segmentHeader { // made ready, and nothing written to it yet
			l.wal.next = make(chan prepared, 1)
			l.wal.next <- prepared{file: f}
			if err := l.unused(segs[i+1:]); err != nil {
				return err
			}
			break
		}
		if err := l.wal.enter(f, seg, end); err != nil {
			return err
		}
	}
	if l.wal.next == nil {
		l.wal.prepare()
	}
	return r.finish()
}

// unused checks that nothing was written to segments behind an empty one. The one behind the current segment may be ready
// before the first frame is in that; it is made once more when its turn comes.
func (l *Ledger) unused(segs []uint64) error {
	for _, seg := range segs {
		f, size, err := openSegment(l.cfg.FS, l.wal.dir, seg)
		if err != nil {
			return err
		}
		data, err := readFrom(f, segmentHeader, size)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if laterFrame(data, l.writer.durable) {
			return fmt.Errorf("WAL segment %d follows an empty one: %w", seg, querschott.ErrHalt)
		}
	}
	return nil
}

func readFrom(f disk.File, off, size int64) ([]byte, error) {
	if off < segmentHeader || off > size {
		return nil, fmt.Errorf("the WAL ends before the ledger's state: %w", querschott.ErrHalt)
	}
	data := make([]byte, size-off)
	if _, err := f.ReadAt(data, 0+off); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return data, nil
}

// replayer recomputes commits.
type replayer struct {
	l    *Ledger
	last *job
}

// segment replays the frames of one segment and returns the offset behind the last. What was written behind that and never
// acknowledged is passed over: the next commit lies over it, or, if it didn't fit there, at the start of the next segment.
func (r *replayer) segment(data []byte, pos walPosition) (int64, error) {
	for {
		f, err := parseFrame(data)
		if errors.Is(err, errNoFrame) && zero(data[:min(len(data), 4096)]) {
			return pos.off, nil
		}
		if err != nil || f.seq <= r.l.writer.durable {
			if laterFrame(data, r.l.writer.durable) {
				return 0, fmt.Errorf("a commit after %d is damaged, and later ones are there: %w",
					r.l.writer.durable, querschott.ErrHalt)
			}
			return pos.off, nil
		}
		if f.seq != r.l.writer.durable+1 {
			return 0, fmt.Errorf("commit %d follows commit %d: %w", f.seq, r.l.writer.durable, querschott.ErrHalt)
		}
		pos.off += int64(len(f.raw))
		if err := r.commit(f, pos); err != nil {
			return 0, err
		}
		data = data[len(f.raw):]
	}
}

// commit does once more what the writer did, and compares.
func (r *replayer) commit(f *frame, pos walPosition) error {
	l := r.l
	pending := map[logID][]tile.Hash{}
	for _, e := range f.entries {
		l.noteEpoch(e.leaf)
		pending[e.id] = append(pending[e.id], tile.Leaf(e.leaf))
	}
	bad := func(what string) error {
		return fmt.Errorf("commit %d has been changed: %s: %w", f.seq, what, querschott.ErrHalt)
	}
	if len(pending) != len(f.heads) {
		return bad("its entries are not of the logs that it names")
	}
	j := job{sheet: sheet{slices.Clone(f.raw), make([]*log, len(f.entries))}, pos: pos}
	heads := make([]tile.Hash, len(f.heads))
	for i, h := range f.heads {
		if i > 0 && f.heads[i-1].id.compare(h.id) >= 0 || len(pending[h.id]) == 0 || h.id.owner == commits {
			return bad("its heads are in disorder")
		}
		g := l.log(h.id)
		span := tile.Grow(g.tail, pending[h.id])
		if span.New.Size != h.size || span.Root != h.root {
			return bad("a head is not that of its entries")
		}
		heads[i] = proof.HeadLeaf(g.origin, span.New.Size, span.Root)
		j.logs, j.spans = append(j.logs, g), append(j.spans, *span)
	}
	for i, e := range f.entries {
		j.owners[i] = l.log(e.id)
	}
	j.chain = l.log(logID{commits, f.year})
	tree := tile.Grow(tile.Tree{}, heads)
	c := &commit{
		Commit: f.commit(tree.Root), signer: j.chain.signer, index: j.chain.tail.Size, heads: tree, sig: f.sig,
	}
	c.chain = tile.Grow(j.chain.tail, []tile.Hash{tile.Leaf(c.Bytes())})
	if c.chain.New.Size != f.size || c.chain.Root != f.root {
		return bad("the chain's head is not that of its commits")
	}
	j.commit = c
	for i, g := range j.logs {
		g.publish(j.spans[i].New)
	}
	j.chain.publish(c.chain.New)
	l.packer.put(j)
	l.writer.durable, r.last = f.seq, &j
	return nil
}

// finish verifies the last commit's signature.
func (r *replayer) finish() error {
	if r.last == nil {
		return nil
	}
	c := r.last.commit
	if !c.signer.Verify(c.chain.New.Size, c.chain.Root, c.sig) {
		return fmt.Errorf("commit %d isn't signed with this ledger's key: %w", c.Seq, querschott.ErrHalt)
	}
	return nil
}
