package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/ledger/tile"
)

// Report is the result of [Ledger.Verify].
type Report struct {
	Logs       int     `json:"logs"`
	Entries    uint64  `json:"entries"` // of all logs but those of commits
	Commits    uint64  `json:"commits"`
	Signatures uint64  `json:"signatures"` // verified: of commits that are still in the WAL, and of every log's checkpoint
	Faults     []Fault `json:"faults,omitempty"`
}

// Fault is one place where the ledger isn't what was signed.
type Fault struct {
	Origin string `json:"origin"`
	What   string `json:"what"`
}

func (f Fault) String() string { return f.Origin + ": " + f.What }

// Verify recomputes every log from its entry bundles, every commit from the logs, and the chain of commits from the
// commits, compares them with the tiles and with what is signed, and verifies all signatures that are there. progress,
// which may be nil, is told now and then how many entries are done. Appending goes on meanwhile; what is appended after
// the call isn't verified. Faults are in the report; the error says that the check couldn't be made.
func (l *Ledger) Verify(ctx context.Context, progress func(done uint64)) (*Report, error) {
	v := &verifier{l: l, ctx: ctx, progress: progress, logs: map[logID]*cursor{}, signatures: map[uint64][64]byte{}}
	if err := v.run(); err != nil {
		return nil, fmt.Errorf("couldn't verify the ledger: %w", err)
	}
	return &v.report, nil
}

type verifier struct {
	l          *Ledger
	ctx        context.Context
	progress   func(uint64)
	report     Report
	logs       map[logID]*cursor
	signatures map[uint64][64]byte // by sequence, of the commits in the WAL
}

// cursor recomputes one log from its first entry on.
type cursor struct {
	g     *log
	size  uint64 // how far the log went when the check began
	tree  tile.Tree
	root  tile.Hash // of tree
	run   *run      // the entries behind tree.Size, or nil
	fault bool      // the log's first fault is reported; more would be the same one
}

func (v *verifier) fault(g *log, format string, args ...any) {
	v.report.Faults = append(v.report.Faults, Fault{g.origin, fmt.Sprintf(format, args...)})
}

func (v *verifier) run() error {
	var chains []*cursor
	// Heads of commits come first: what they cover is in the logs by the time that these are looked at.
	logs := v.l.sorted()
	for _, g := range logs {
		if c := (&cursor{g: g, size: g.head.Load().Size}); g.id.owner == commits && c.size > 0 {
			chains = append(chains, c)
		}
	}
	if err := v.readWAL(); err != nil {
		return err
	}
	for _, g := range v.l.sorted() {
		if g.id.owner == commits || g.head.Load().Size == 0 {
			continue
		}
		c := &cursor{g: g, size: g.head.Load().Size}
		v.logs[g.id] = c
		v.report.Logs++
		if err := v.l.packer.until(g, c.size); err != nil {
			return err
		}
	}
	for _, c := range chains {
		v.report.Logs++
		if err := v.l.packer.until(c.g, c.size); err != nil {
			return err
		}
		if err := v.chain(c); err != nil {
			return err
		}
	}
	for _, g := range v.l.sorted() {
		if c := v.logs[g.id]; c != nil {
			v.checkHead(c)
		}
	}
	return nil
}

// chain recomputes a log of commits, and with it all logs up to what its last commit covers.
func (v *verifier) chain(c *cursor) error {
	for c.tree.Size < c.size {
		i, err := v.advance(c, c.tree.Size+1)
		if err != nil || i < 0 {
			return err
		}
		entry, err := proof.ParseCommit(c.run.leaf(i))
		if err != nil {
			v.fault(c.g, "commit %d can't be read", c.tree.Size-1)
			return nil //nolint:nilerr // what is wrong with the ledger is in the report
		}
		root, err := v.heads(c.run.sealed(i))
		if err != nil {
			return err
		}
		if root != entry.Root && !c.fault {
			c.fault = true
			v.fault(c.g, "commit %d covers other heads than those of its logs", entry.Seq)
		}
		v.report.Commits++
		if sig, ok := v.signatures[entry.Seq]; ok {
			v.report.Signatures++
			if !c.g.signer.Verify(c.tree.Size, c.root, sig) {
				v.fault(c.g, "the signature of commit %d is wrong", entry.Seq)
			}
		}
	}
	v.checkHead(c)
	return nil
}

// heads brings the logs that a commit touched to their sizes in it and returns the root over their heads.
func (v *verifier) heads(payload []byte) (tile.Hash, error) {
	var leaves []tile.Hash
	for r := (reader{b: payload}); len(r.b) > 0 && !r.bad; {
		id := logID{r.u32(), r.u16()}
		size := r.u64()
		c := v.logs[id]
		if c == nil || size > c.size {
			return tile.Hash{}, nil // matches no commit
		}
		for c.tree.Size < size {
			before := c.tree.Size
			if i, err := v.advance(c, size); err != nil || i < 0 {
				return tile.Hash{}, err
			}
			v.count(c.tree.Size - before)
		}
		leaves = append(leaves, proof.HeadLeaf(c.g.origin, c.tree.Size, c.root))
	}
	return tile.Grow(tile.Tree{}, leaves).Root, nil
}

func (v *verifier) count(n uint64) {
	before := v.report.Entries
	v.report.Entries += n
	if v.progress != nil && before>>16 != v.report.Entries>>16 {
		v.progress(v.report.Entries)
	}
}

// advance takes more entries of one chunk into a cursor's tree, at most up to a size. It returns where the first of them
// is in the cursor's run, or -1 when the log can't be read on.
func (v *verifier) advance(c *cursor, to uint64) (first int, err error) {
	if err := v.ctx.Err(); err != nil {
		return 0, err
	}
	n := c.tree.Size
	if c.run == nil || n == c.run.first+uint64(c.run.n) {
		if c.run, err = v.read(c, n); err != nil || c.run == nil {
			return -1, err
		}
	}
	first = int(n - c.run.first)
	leaves := make([]tile.Hash, min(to-n, uint64(c.run.n-first)))
	for i := range leaves {
		leaves[i] = tile.Leaf(c.run.leaf(first + i))
	}
	s := tile.Grow(c.tree, leaves)
	v.checkTiles(c, s, first)
	c.tree, c.root = s.New, s.Root
	return first, nil
}

// read returns the chunk from an entry on.
func (v *verifier) read(c *cursor, from uint64) (*run, error) {
	var out *run
	end := min(c.size, (from/tile.Width+1)*tile.Width)
	err := v.l.runs(c.g, from, end, func(r *run) error {
		out = r
		return nil
	})
	if err != nil && c.fault {
		return nil, nil
	}
	if err != nil {
		c.fault = true
		v.fault(c.g, "entry %d and on can't be read: %v", from, err)
		return nil, nil
	}
	return out, nil
}

// checkTiles compares the nodes that entries of one chunk, the first of which is at first in the run, completed with what
// the packs hold.
func (v *verifier) checkTiles(c *cursor, s *tile.Span, first int) {
	if c.fault {
		return
	}
	h := hashReader{l: v.l, g: c.g}
	for level := 0; s.New.Size>>(tile.Height*level) > s.Old.Size>>(tile.Height*level); level++ {
		at, nodes := s.Level(tile.Height * level)
		stored := c.run.hashes[first*hashSize:]
		if level > 0 { // one: a chunk is a tile
			var err error
			stored, err = h.tile(level, at, 1)
			if err = errors.Join(err, h.close()); err != nil {
				c.fault = true
				v.fault(c.g, "a tile of level %d can't be read: %v", level, err)
				return
			}
		}
		for i, want := range nodes {
			if tile.Hash(stored[i*hashSize:]) != want {
				c.fault = true
				v.fault(c.g, "hash %d of tile level %d is not that of its entries", at+uint64(i), level)
				return
			}
		}
	}
}

// checkHead compares a recomputed log with its signed head.
func (v *verifier) checkHead(c *cursor) {
	head := c.g.head.Load()
	if !c.g.signer.Signs() { // there is no checkpoint; what the state and the last commit were signed with was verified at the start
		if !c.fault && (head.Size < c.tree.Size || head.Size == c.tree.Size && head.Root() != c.tree.Root()) {
			v.fault(c.g, "its head is not that of its entries")
		}
		return
	}
	signed, err := proof.NewVerifier(c.g.signer.VKey())
	if err != nil {
		v.fault(c.g, "its key can't be read: %v", err)
		return
	}
	cp, err := proof.OpenCheckpoint(c.g.checkpoint(), signed)
	if err != nil {
		v.fault(c.g, "its checkpoint is not signed: %v", err)
		return
	}
	v.report.Signatures++
	switch {
	case c.fault:
	case cp.Size < c.tree.Size || head.Size < c.tree.Size:
		v.fault(c.g, "its head has shrunk")
	case head.Size == c.tree.Size && head.Root() != c.tree.Root(), cp.Size == c.tree.Size && cp.Root != c.tree.Root():
		v.fault(c.g, "its head is not that of its entries")
	}
}

// segment returns what stands behind the header of a WAL segment, nothing when it is retired, perhaps just now and already
// given another number.
func (v *verifier) segment(seg uint64) ([]byte, error) {
	fsys, dir := v.l.cfg.FS, v.l.wal.dir
	f, size, err := openSegment(fsys, dir, seg)
	if err != nil {
		again, gone := fsys.Open(segmentName(dir, seg))
		if errors.Is(gone, fs.ErrNotExist) {
			return nil, nil
		}
		if gone == nil {
			err = errors.Join(err, again.Close())
		}
		return nil, err
	}
	data, err := readFrom(f, segmentHeader, size)
	return data, errors.Join(err, f.Close())
}

// readWAL collects the signatures that are still in the WAL. Segments may be retired meanwhile.
func (v *verifier) readWAL() error {
	names, err := v.l.cfg.FS.List(v.l.wal.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		var seg uint64
		if _, err := fmt.Sscanf(name, "%d.wal", &seg); err != nil || name != segmentBase(seg) {
			continue // being made
		}
		data, err := v.segment(seg)
		if err != nil {
			return err
		}
		for {
			frame, err := parseFrame(data)
			if err != nil {
				break // its end, or a commit in the making
			}
			v.signatures[frame.seq] = frame.sig
			data = data[len(frame.raw):]
		}
	}
	return nil
}
