package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/ledger/tile"
)

// Entered is an entry as the ledger holds it.
type Entered struct {
	Origin  string
	Index   uint64
	Leaf    *Leaf
	Bytes   []byte   // the leaf as it stands in the log: what proofs are about
	Payload *Payload // nil once it is erased, and while it is sealed
	Sealed  bool     // there is a payload, and nobody here has its key
}

// Prove returns the proof that an entry stands in its log, as a tlog-proof file against the log's own checkpoint.
func (l *Ledger) Prove(origin string, index uint64) ([]byte, error) {
	g, err := l.find(origin)
	if err != nil {
		return nil, err
	}
	note := g.checkpoint()
	if note == nil {
		return nil, fmt.Errorf("couldn't prove entry %d of %s: %w", index, origin, ErrNoKey)
	}
	v, err := proof.NewVerifier(g.signer.VKey())
	if err != nil {
		return nil, err
	}
	head, err := proof.OpenCheckpoint(note, v)
	if err != nil {
		return nil, err
	}
	if index >= head.Size {
		return nil, fmt.Errorf("couldn't prove entry %d of %s: %w", index, origin, ErrNoEntry)
	}
	hashes, err := l.hashes(g, head.Size)
	if err != nil {
		return nil, err
	}
	path, err := tlog.ProveRecord(int64(head.Size), int64(index), hashes)
	if err == nil {
		var leaf []tlog.Hash
		if leaf, err = hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))}); err == nil {
			err = tlog.CheckRecord(path, int64(head.Size), head.Root, int64(index), leaf[0])
		}
	}
	if err = errors.Join(err, hashes.close()); err != nil {
		return nil, fmt.Errorf("couldn't prove entry %d of %s: %w", index, origin, err)
	}
	p := proof.Proof{Index: index, Path: path, Checkpoint: note}
	return p.Marshal(), nil
}

// Consistency returns the proof that a log of size newer begins with the log of size older (RFC 6962 §2.1.2). Both
// sizes lie between 1 and the log's size.
func (l *Ledger) Consistency(origin string, older, newer uint64) ([]tile.Hash, error) {
	g, err := l.find(origin)
	if err != nil {
		return nil, err
	}
	if older == 0 || older > newer || newer > g.head.Load().Size {
		return nil, fmt.Errorf("couldn't prove %s consistent between %d and %d: %w", origin, older, newer, ErrNoEntry)
	}
	hashes, err := l.hashes(g, newer)
	if err != nil {
		return nil, err
	}
	path, err := tlog.ProveTree(int64(newer), int64(older), hashes)
	if err = errors.Join(err, hashes.close()); err != nil {
		return nil, fmt.Errorf("couldn't prove %s consistent between %d and %d: %w", origin, older, newer, err)
	}
	return path, nil
}

// Entry returns one entry of an insurer's or the platform's log.
func (l *Ledger) Entry(origin string, index uint64) (*Entered, error) {
	for e, err := range l.Scan(origin, index, index+1) {
		return e, err
	}
	return nil, fmt.Errorf("%s has no entry %d: %w", origin, index, ErrNoEntry)
}

// Scan returns the entries from the index from up to but without the index to, as far as the log goes. It ends with the
// first error.
func (l *Ledger) Scan(origin string, from, to uint64) iter.Seq2[*Entered, error] {
	return func(yield func(*Entered, error) bool) {
		if err := l.scan(origin, from, to, yield); err != nil {
			yield(nil, fmt.Errorf("couldn't read log %s: %w", origin, err))
		}
	}
}

func (l *Ledger) scan(origin string, from, to uint64, yield func(*Entered, error) bool) error {
	g, err := l.find(origin)
	if err != nil {
		return err
	}
	if g.id.owner == commits {
		return ErrNoLog
	}
	to = min(to, g.head.Load().Size)
	var keys *secrets
	if l.cfg.Secret != nil {
		if keys, err = g.keys(&l.cfg); err != nil {
			return err
		}
	}
	if err := l.packer.until(g, to); err != nil {
		return err
	}
	stopped := false
	err = l.runs(g, from, to, func(r *run) error {
		for i := range r.n {
			e, err := r.entered(g, keys, i)
			if err != nil {
				return fmt.Errorf("entry %d: %w", r.first+uint64(i), err)
			}
			if !yield(e, nil) {
				stopped = true
				return errStop
			}
		}
		return nil
	})
	if stopped {
		return nil
	}
	return err
}

var errStop = errors.New("stop")

// entered opens one entry of a run, without keys as far as it is not sealed.
func (r *run) entered(g *log, keys *secrets, i int) (*Entered, error) {
	b := slices.Clone(r.leaf(i))
	leaf, err := ParseLeaf(b)
	if err != nil {
		return nil, err
	}
	e := &Entered{Origin: g.origin, Index: r.first + uint64(i), Leaf: leaf, Bytes: b}
	sealed := r.sealed(i)
	if zero(sealed) {
		return e, nil
	}
	if keys == nil {
		e.Sealed = true
		return e, nil
	}
	plain, err := keys.box.Open(nil, payloadAAD(nil, g.origin, b), sealed)
	if err != nil {
		return nil, fmt.Errorf("couldn't open its payload: %w", err)
	}
	if commitment(plain) != leaf.Commit || len(plain) < saltSize {
		return nil, errPayload
	}
	e.Payload, err = parsePayload(plain[saltSize:])
	return e, err
}

// run is a run of entries of one chunk, as the packs hold it.
type run struct {
	first   uint64
	n       int
	id      logID
	hashes  []byte // 32 each
	entries []byte // as in a bundle
	ends    []uint32
	payload []byte
	start   uint32 // of payload in its file
}

func (r *run) leaf(i int) []byte {
	stride := 2 + r.id.leafSize()
	return r.entries[i*stride+2 : (i+1)*stride]
}

func (r *run) sealed(i int) []byte {
	from := r.start
	if i > 0 {
		from = r.ends[i-1]
	}
	return r.payload[from-r.start : r.ends[i]-r.start]
}

// runs calls fn for runs that cover the entries [from, to), which the packs must hold.
func (l *Ledger) runs(g *log, from, to uint64, fn func(*run) error) error {
	for from < to {
		seg := from / packEntries
		end := min(to, (seg+1)*packEntries)
		if err := l.runsOf(g, seg, from, end, fn); err != nil {
			return err
		}
		from = end
	}
	return nil
}

// runsOf does it within one pack file.
func (l *Ledger) runsOf(g *log, seg, from, to uint64, fn func(*run) error) (err error) {
	dir := l.packer.store.dir
	pack, err := l.cfg.FS.Open(packName(dir, g.id, seg))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pack.Close()) }()
	payload, err := l.cfg.FS.Open(payloadName(dir, g.id, seg))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		defer func() { err = errors.Join(err, payload.Close()) }()
	} else {
		payload = nil // erased as a whole
	}
	for from < to {
		n := min(to-from, tile.Width-from%tile.Width)
		r, err := readRun(pack, payload, g.id, from, int(n))
		if err != nil {
			return err
		}
		if err := fn(r); err != nil {
			return err
		}
		from += n
	}
	return nil
}

func readRun(pack, payload disk.File, id logID, from uint64, n int) (*run, error) {
	at, stride := placeOf(id, from), 2+id.leafSize()
	r := &run{first: from, n: n, id: id, hashes: make([]byte, n*hashSize), entries: make([]byte, n*stride)}
	if err := readFull(pack, r.hashes, at.hashAt()); err != nil {
		return nil, err
	}
	if err := readFull(pack, r.entries, at.entryAt()); err != nil {
		return nil, err
	}
	for i := range n {
		if int(binary.BigEndian.Uint16(r.entries[i*stride:])) != id.leafSize() {
			return nil, fmt.Errorf("entry %d has a wrong length", from+uint64(i))
		}
	}
	ends := make([]byte, 4*n)
	if err := readFull(pack, ends, at.endAt()); err != nil {
		return nil, err
	}
	if from%packEntries > 0 {
		var before [4]byte
		if err := readFull(pack, before[:], placeOf(id, from-1).endAt()); err != nil {
			return nil, err
		}
		r.start = binary.BigEndian.Uint32(before[:])
	}
	last := r.start
	for i := range n {
		end := binary.BigEndian.Uint32(ends[4*i:])
		if end < last || end-last > 1<<16 {
			return nil, fmt.Errorf("the payload of entry %d ends before it begins", from+uint64(i))
		}
		r.ends = append(r.ends, end)
		last = end
	}
	r.payload = make([]byte, last-r.start)
	if payload == nil {
		return r, nil
	}
	return r, readFull(payload, r.payload, int64(r.start))
}

func readFull(f disk.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// hashReader reads nodes of a log from its packs; it is a [tlog.HashReader]. It keeps one pack file open.
type hashReader struct {
	l    *Ledger
	g    *log
	seg  uint64
	file disk.File
	buf  [tileSize]byte
}

// hashes returns a reader of the nodes of a log of a size that has been durable before the call.
func (l *Ledger) hashes(g *log, size uint64) (*hashReader, error) {
	if err := l.packer.until(g, size); err != nil {
		return nil, fmt.Errorf("couldn't bring the packs of %s up to date: %w", g.origin, err)
	}
	return &hashReader{l: l, g: g}, nil
}

// ReadHashes returns complete nodes by their stored hash index.
func (h *hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		height, n := tlog.SplitStoredHashIndex(x)
		below := height % tile.Height
		b, err := h.tile(height/tile.Height, uint64(n)<<below, 1<<below)
		if err != nil {
			return nil, err
		}
		out[i] = foldTile(b)
	}
	return out, nil
}

// foldTile joins hashes, a power of two of them, to their root.
func foldTile(b []byte) tile.Hash {
	if len(b) == hashSize {
		return tile.Hash(b)
	}
	half := len(b) / 2
	return tile.Node(foldTile(b[:half]), foldTile(b[half:]))
}

// tile returns count hashes of a tile level from one tile. They are valid until the next call.
func (h *hashReader) tile(level int, first uint64, count int) ([]byte, error) {
	b := h.buf[:count*hashSize]
	if level >= 2 {
		p := &h.g.pack
		p.mu.RLock()
		defer p.mu.RUnlock()
		for i := range count {
			copy(b[i*hashSize:], p.upper[level-2][first+uint64(i)][:])
		}
		return b, nil
	}
	seg, at := first/tile.Width, int64(first%tile.Width)*hashSize
	if level == 0 {
		seg, at = first/packEntries, placeOf(h.g.id, first).hashAt()
	}
	if h.file == nil || h.seg != seg {
		if err := h.close(); err != nil {
			return nil, err
		}
		f, err := h.l.cfg.FS.Open(packName(h.l.packer.store.dir, h.g.id, seg))
		if err != nil {
			return nil, err
		}
		h.seg, h.file = seg, f
	}
	return b, readFull(h.file, b, at)
}

func (h *hashReader) close() error {
	if h.file == nil {
		return nil
	}
	f := h.file
	h.file = nil
	return f.Close()
}
