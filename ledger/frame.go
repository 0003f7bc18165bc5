package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/ledger/tile"
)

// A frame is one commit in the WAL, big endian:
//
//	magic uint32, length uint32 (of the whole frame), sequence uint64, time int64 (µs), entries uint32, heads uint32
//	entries: owner uint32, year uint16, sealed length uint16, leaf, sealed payload
//	heads:   owner uint32, year uint16, size uint64, root          ascending, one for each touched log
//	commit:  year uint16, size uint64, root                         of the log of commits after this commit
//	         Ed25519 signature of that log's checkpoint
//	CRC-32C uint32 over all before it
const (
	frameMagic  = 0x514c4631 // "QLF1"
	frameHeader = 4 + 4 + 8 + 8 + 4 + 4
	entryHeader = 4 + 2 + 2
	headSize    = 4 + 2 + 8 + 32
	frameTail   = 2 + 8 + 32 + 64 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type frame struct {
	seq     uint64
	time    int64
	entries []frameEntry
	heads   []frameHead
	year    uint16
	size    uint64
	root    tile.Hash
	sig     [64]byte
	raw     []byte
}

type frameEntry struct {
	id           logID
	leaf, sealed []byte
}

type frameHead struct {
	id   logID
	size uint64
	root tile.Hash
}

var (
	errNoFrame = errors.New("no frame")      // nothing was ever written here
	errFrame   = errors.New("damaged frame") // something was, and it's not whole
)

// beginFrame leaves room for the header; endFrame fills it in.
func beginFrame(b []byte) []byte { return append(b[:0], make([]byte, frameHeader)...) }

func appendHead(b []byte, id logID, size uint64, root tile.Hash) []byte {
	b = binary.BigEndian.AppendUint32(b, id.owner)
	b = binary.BigEndian.AppendUint16(b, id.year)
	b = binary.BigEndian.AppendUint64(b, size)
	return append(b, root[:]...)
}

func endFrame(b []byte, c *commit, year uint16, entries int) []byte {
	be := binary.BigEndian
	b = be.AppendUint64(be.AppendUint16(b, year), c.chain.New.Size)
	b = append(append(b, c.chain.Root[:]...), c.sig[:]...)
	be.PutUint32(b[0:], frameMagic)
	be.PutUint32(b[4:], uint32(len(b)+4))
	be.PutUint64(b[8:], c.Seq)
	be.PutUint64(b[16:], uint64(c.Time))
	be.PutUint32(b[24:], uint32(entries))
	be.PutUint32(b[28:], c.Heads)
	return be.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// frameLength returns the length that a frame's header claims. errNoFrame means that there are only zeros.
func frameLength(header []byte, room int64) (int64, error) {
	if len(header) < frameHeader || zero(header) {
		return 0, errNoFrame
	}
	n := int64(binary.BigEndian.Uint32(header[4:]))
	if binary.BigEndian.Uint32(header) != frameMagic || n < frameHeader+frameTail || n > room {
		return 0, errFrame
	}
	return n, nil
}

// parseFrame reads one whole frame. What it returns shares memory with b.
func parseFrame(b []byte) (*frame, error) {
	n, err := frameLength(b[:min(len(b), frameHeader)], int64(len(b)))
	if err != nil {
		return nil, err
	}
	b = b[:n]
	be := binary.BigEndian
	if crc32.Checksum(b[:n-4], castagnoli) != be.Uint32(b[n-4:]) {
		return nil, errFrame
	}
	f := &frame{seq: be.Uint64(b[8:]), time: int64(be.Uint64(b[16:])), raw: b}
	entries, heads := be.Uint32(b[24:]), be.Uint32(b[28:])
	if int64(entries)*(entryHeader+LeafSize)+int64(heads)*headSize > n {
		return nil, errFrame
	}
	r := reader{b: b[frameHeader : n-4]}
	f.entries = make([]frameEntry, entries)
	for i := range f.entries {
		e := &f.entries[i]
		e.id = logID{r.u32(), r.u16()}
		sealed := r.u16()
		e.leaf, e.sealed = r.take(LeafSize), r.take(uint64(sealed))
	}
	f.heads = make([]frameHead, heads)
	for i := range f.heads {
		f.heads[i] = frameHead{logID{r.u32(), r.u16()}, r.u64(), r.hash()}
	}
	f.year, f.size, f.root = r.u16(), r.u64(), r.hash()
	copy(f.sig[:], r.take(64))
	if r.bad || len(r.b) > 0 {
		return nil, errFrame
	}
	return f, nil
}

// laterFrame reports whether b holds a whole frame with a sequence number above seq: then what is damaged before it was
// once acknowledged, and may not be cut off.
func laterFrame(b []byte, seq uint64) bool {
	magic := binary.BigEndian.AppendUint32(nil, frameMagic)
	for {
		at := bytes.Index(b, magic)
		if at < 0 {
			return false
		}
		if f, err := parseFrame(b[at:]); err == nil && f.seq > seq {
			return true
		}
		b = b[at+1:]
	}
}

// commit returns the commit's leaf.
func (f *frame) commit(heads tile.Hash) proof.Commit {
	return proof.Commit{Seq: f.seq, Time: f.time, Heads: uint32(len(f.heads)), Root: heads}
}
