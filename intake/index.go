package intake

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/querschott/querschott/internal/disk"
)

const indexEntry = 36

// encodeIndex makes the index record of a closed segment.
func encodeIndex(entries []entry, head segmentHead) []byte {
	b := make([]byte, headerSize, headerSize+indexEntry*len(entries))
	be := binary.BigEndian
	for _, e := range entries {
		b = be.AppendUint64(b, e.seq)
		b = be.AppendUint32(b, e.off)
		b = be.AppendUint32(b, e.bodyLen)
		b = be.AppendUint64(b, uint64(e.received))
		b = be.AppendUint32(b, e.ik)
		b = append(b, e.service, 0, 0, 0, 0, 0, 0, 0)
	}
	h := header{kind: kindIndex}
	h.finish(b, head)
	return b
}

// parseIndex reads the body of an index record. An index of which anything is impossible is none.
func parseIndex(body []byte, head segmentHead) ([]entry, error) {
	if len(body)%indexEntry != 0 {
		return nil, errDamaged
	}
	be := binary.BigEndian
	entries := make([]entry, 0, len(body)/indexEntry)
	for last := uint64(0); len(body) > 0; body = body[indexEntry:] {
		e := entry{
			seq: be.Uint64(body), off: be.Uint32(body[8:]), bodyLen: be.Uint32(body[12:]),
			received: int64(be.Uint64(body[16:])), ik: be.Uint32(body[24:]), service: body[28],
		}
		if !e.plausible(head) || e.seq <= last {
			return nil, errDamaged
		}
		last = e.seq
		entries = append(entries, e)
	}
	return entries, nil
}

// readIndex reads a closed segment's index from one copy.
func readIndex(f disk.File, head segmentHead) ([]entry, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	most := head.size / recordSize(0) * indexEntry // what a segment full of empty entries would need
	n := size - head.size - headerSize
	if n < 0 || n > most {
		return nil, errNoRecord
	}
	b, err := readFull(f, head.size, headerSize+int(n))
	if err != nil {
		return nil, err
	}
	h, err := parseHeader(b, head)
	body := b[headerSize:]
	if err != nil || h.kind != kindIndex || int64(h.bodyLen) != n || crc32.Checksum(body, castagnoli) != h.bodyCRC {
		return nil, errDamaged
	}
	return parseIndex(body, head)
}

// writeIndex writes a closed segment's index. It is a cache: an error costs a scan at the next start.
func (j *Journal) writeIndex(s *segment, entries []entry) {
	index := encodeIndex(entries, s.head)
	for i, f := range s.files() {
		if f == nil {
			continue
		}
		if _, err := f.WriteAt(index, s.head.size); err != nil {
			j.cfg.Log.Warn("couldn't write the index of a journal segment; the next start will scan it",
				"dir", j.cfg.Copies[i].Dir, "err", err)
		}
	}
}
