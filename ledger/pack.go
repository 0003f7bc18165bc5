package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger/tile"
)

// A pack file holds 65,536 entries of one log: its tile of level 1, and 256 chunks. A chunk holds a tile of level 0, the
// end of each of its entries' payloads in the payload file (uint32, big endian), and an entry bundle; what isn't written
// yet is absent or zero. So every tile and bundle, partial ones included, is one run of bytes at a computed place.
// Tiles of level 2 and up are few; they live in memory and in the state file.
const (
	packEntries = tile.Width * tile.Width
	hashSize    = 32
	tileSize    = tile.Width * hashSize
	endsSize    = tile.Width * 4
)

func chunkSize(leafSize int) int64 { return int64(tileSize + endsSize + tile.Width*(2+leafSize)) }

// place says where an entry lies in the packs.
type place struct {
	seg       uint64 // which pack file
	chunk     int64  // offset of its chunk
	index     int64  // in the chunk
	leafBytes int64
}

func placeOf(id logID, index uint64) place {
	n := int64(index % packEntries)
	return place{index / packEntries, tileSize + n/tile.Width*chunkSize(id.leafSize()), n % tile.Width, int64(id.leafSize())}
}

func (p place) hashAt() int64  { return p.chunk + p.index*hashSize }
func (p place) endAt() int64   { return p.chunk + tileSize + p.index*4 }
func (p place) entryAt() int64 { return p.chunk + tileSize + endsSize + p.index*(2+p.leafBytes) }

func packName(dir string, id logID, seg uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s-%06d.pack", id.fileName(), seg))
}

func payloadName(dir string, id logID, seg uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s-%06d.payload", id.fileName(), seg))
}

// pack is how far one log has got in the pack files. The packer owns it; readers hold mu.
type pack struct {
	waiting waiting   // entries that are not in the files yet
	tree    tile.Tree // what the files hold and what waits

	mu         sync.RWMutex
	filed      uint64  // how many entries the files hold
	upper      []upper // tiles of level 2 and up
	payloadEnd uint32  // of the current payload file

	open  *packFiles // nil while closed
	dirty bool       // written since the last sync
}

// upper holds all hashes of one tile level.
type upper []tile.Hash

type packFiles struct {
	seg           uint64
	pack, payload disk.File
}

// waiting is a run of entries and the complete nodes that came with them.
type waiting struct {
	entries []byte // as in bundles
	sealed  []byte
	lengths []uint32 // of the sealed payloads
	hashes  []tile.Hash
	level1  []tile.Hash
	higher  [][]tile.Hash // levels 2 and up
}

func (w *waiting) add(leaf, sealed []byte) {
	w.entries = append(binary.BigEndian.AppendUint16(w.entries, uint16(len(leaf))), leaf...)
	w.sealed = append(w.sealed, sealed...)
	w.lengths = append(w.lengths, uint32(len(sealed)))
}

func (p *pack) grow(s *tile.Span) {
	w := &p.waiting
	_, leaves := s.Level(0)
	w.hashes = append(w.hashes, leaves...)
	_, nodes := s.Level(tile.Height)
	w.level1 = append(w.level1, nodes...)
	for level := 2; s.New.Size>>(tile.Height*level) > 0; level++ {
		for len(w.higher) < level-1 {
			w.higher = append(w.higher, nil)
		}
		_, nodes := s.Level(tile.Height * level)
		w.higher[level-2] = append(w.higher[level-2], nodes...)
	}
	p.tree = s.New
}

// drop forgets the first entries, which were written, and keeps the memory, unless it is much.
func (w *waiting) drop(n, stride, sealed, level1 int) {
	if n == len(w.lengths) && cap(w.entries)+cap(w.sealed) > 256<<10 {
		*w = waiting{}
		return
	}
	w.entries, w.sealed = shift(w.entries, n*stride), shift(w.sealed, sealed)
	w.lengths, w.hashes, w.level1 = shift(w.lengths, n), shift(w.hashes, n), shift(w.level1, level1)
	for i := range w.higher {
		w.higher[i] = w.higher[i][:0]
	}
}

// shift drops the first elements and moves the others to the front.
func shift[T any](s []T, n int) []T { return s[:copy(s, s[n:])] }

// packStore is the directory of pack files.
type packStore struct {
	fs      disk.FS
	dir     string
	created bool   // files that the directory may not know yet
	image   []byte // memory for a chunk
}

// whole returns how many of the waiting entries fill chunks.
func (p *pack) whole() int {
	n := uint64(len(p.waiting.lengths))
	return int(n - min(n, (p.filed+n)%tile.Width))
}

// flush writes the first n entries of what waits. It may be repeated after an error: the same bytes go to the same places.
func (s *packStore) flush(g *log, n int) error {
	p := &g.pack
	w := &p.waiting
	if n == 0 {
		return nil
	}
	end, size := p.payloadEnd, p.filed
	sealed, level1 := w.sealed, w.level1
	p.dirty = true
	for done, all := 0, n; done < all; {
		n := min(all-done, tile.Width-int(size%tile.Width))
		if size%packEntries == 0 {
			end = 0
		}
		if err := s.turn(g, size); err != nil {
			return err
		}
		lengths := w.lengths[done : done+n]
		bytes, err := s.writeRun(g, size, w, done, lengths, sealed, end)
		if err != nil {
			return err
		}
		sealed, end = sealed[bytes:], end+bytes
		size, done = size+uint64(n), done+n
		if size%tile.Width == 0 {
			at := int64((size/tile.Width-1)%tile.Width) * hashSize
			if _, err := p.open.pack.WriteAt(level1[0][:], at); err != nil {
				return err
			}
			level1 = level1[1:]
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, hashes := range w.higher {
		for len(p.upper) <= i {
			p.upper = append(p.upper, nil)
		}
		p.upper[i] = append(p.upper[i], hashes...)
	}
	p.payloadEnd, p.filed = end, size
	w.drop(n, 2+g.id.leafSize(), len(w.sealed)-len(sealed), len(w.level1)-len(level1))
	return nil
}

// writeRun writes entries of one chunk and returns how many bytes of payload they have.
func (s *packStore) writeRun(
	g *log, index uint64, w *waiting, done int, lengths []uint32, sealed []byte, end uint32,
) (uint32, error) {
	n, stride := len(lengths), 2+g.id.leafSize()
	b := s.image[:0]
	for _, h := range w.hashes[done : done+n] {
		b = append(b, h[:]...)
	}
	bytes := uint32(0)
	for _, n := range lengths {
		bytes += n
		b = binary.BigEndian.AppendUint32(b, end+bytes)
	}
	b = append(b, w.entries[done*stride:(done+n)*stride]...)
	s.image = b
	at, f := placeOf(g.id, index), g.pack.open
	if _, err := f.payload.WriteAt(sealed[:bytes], int64(end)); err != nil {
		return 0, err
	}
	if n == tile.Width { // the three lie behind each other
		_, err := f.pack.WriteAt(b, at.hashAt())
		return bytes, err
	}
	hashes, ends := n*hashSize, n*(hashSize+4)
	if _, err := f.pack.WriteAt(b[:hashes], at.hashAt()); err != nil {
		return 0, err
	}
	if _, err := f.pack.WriteAt(b[hashes:ends], at.endAt()); err != nil {
		return 0, err
	}
	_, err := f.pack.WriteAt(b[ends:], at.entryAt())
	return bytes, err
}

// turn makes the files that an index lies in the open ones.
func (s *packStore) turn(g *log, index uint64) error {
	p, seg := &g.pack, index/packEntries
	if p.open != nil && p.open.seg == seg {
		return nil
	}
	if p.open != nil {
		if err := errors.Join(p.open.pack.Sync(), p.open.payload.Sync()); err != nil {
			return err
		}
		if err := s.close(g); err != nil {
			return err
		}
	}
	open := s.fs.Open
	if index%packEntries == 0 {
		open = s.fs.Create
		s.created = true
	}
	f := &packFiles{seg: seg}
	var err error
	if f.pack, err = open(packName(s.dir, g.id, seg)); err != nil {
		return err
	}
	if f.payload, err = open(payloadName(s.dir, g.id, seg)); err != nil {
		return errors.Join(err, f.pack.Close())
	}
	p.open = f
	return nil
}

func (s *packStore) close(g *log) error {
	f := g.pack.open
	g.pack.open = nil
	if f == nil {
		return nil
	}
	return errors.Join(f.pack.Close(), f.payload.Close())
}

// sync makes everything that flush wrote durable. Files of logs that were not written to since the last time are closed.
// One file is synced after the other, with a breath between them.
func (s *packStore) sync(logs []*log, breathe func()) error {
	for _, g := range logs {
		f := g.pack.open
		if f == nil {
			continue
		}
		var err error
		if g.pack.dirty {
			err = f.pack.Sync()
			breathe()
			err = errors.Join(err, f.payload.Sync())
			breathe()
		} else {
			err = s.close(g)
		}
		if err != nil {
			return err
		}
	}
	for _, g := range logs {
		g.pack.dirty = false
	}
	if s.created {
		if err := s.fs.SyncDir(s.dir); err != nil {
			return err
		}
		s.created = false
	}
	return nil
}
