package intake

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/querschott/querschott"
)

const (
	recordMagic  = "QSJR"
	segmentMagic = "QSJSEG01"
	headerSize   = 112
	segHeader    = 64
	headTwin     = 512  // the segment header stands a second time, in another sector
	dataStart    = 1024 // the first record
	align        = 32
)

type kind uint8

const (
	kindEntry   kind = 1
	kindContext kind = 2
	kindIndex   kind = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// journalID tells journals apart: sequence numbers mean something only together with it.
type journalID [16]byte

// Binding names a message without saying what is in it: SHA-256 over sender and message id.
type Binding [32]byte

// BindingOf returns the binding of a message.
func BindingOf(sender, messageID string) Binding {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(sender)))
	h.Write(n[:])
	h.Write([]byte(sender))
	h.Write([]byte(messageID))
	return Binding(h.Sum(nil))
}

// header is a record's header.
type header struct {
	bodyLen    uint32
	bodyCRC    uint32
	seq        uint64
	received   int64 // Unix microseconds
	ik         uint32
	service    byte
	kind       kind
	counter    uint32
	contextOff uint32 // where in the segment the context record stands
	context    [16]byte
	binding    Binding
	settled    uint32 // everything before this offset was durable on every copy when the record was written
}

func (h *header) put(b []byte, s segmentHead) {
	_ = b[headerSize-1]
	clear(b[:headerSize])
	copy(b, recordMagic)
	be := binary.BigEndian
	be.PutUint32(b[8:], h.bodyLen)
	be.PutUint32(b[12:], h.bodyCRC)
	be.PutUint64(b[16:], h.seq)
	be.PutUint64(b[24:], uint64(h.received))
	be.PutUint32(b[32:], h.ik)
	b[36], b[37] = h.service, byte(h.kind)
	be.PutUint32(b[40:], h.counter)
	be.PutUint32(b[44:], h.contextOff)
	copy(b[48:], h.context[:])
	copy(b[64:], h.binding[:])
	be.PutUint32(b[96:], h.settled)
	be.PutUint32(b[4:], headerCRC(b, s))
}

// headerCRC covers the journal and the segment too, so that no record counts anywhere else.
func headerCRC(b []byte, s segmentHead) uint32 {
	return crc32.Update(s.seed(), castagnoli, b[8:headerSize])
}

func (s segmentHead) seed() uint32 {
	var b [24]byte
	copy(b[:], s.journal[:])
	binary.BigEndian.PutUint64(b[16:], s.number)
	return crc32.Checksum(b[:], castagnoli)
}

var (
	errNoRecord = errors.New("there is no record here")
	errDamaged  = errors.New("the record is damaged")
)

// parseHeader reads a record header; errNoRecord if it is none of this segment.
func parseHeader(b []byte, s segmentHead) (h header, err error) {
	if len(b) < headerSize || string(b[:4]) != recordMagic {
		return h, errNoRecord
	}
	be := binary.BigEndian
	if be.Uint32(b[4:]) != headerCRC(b, s) {
		return h, errNoRecord
	}
	h = header{
		bodyLen: be.Uint32(b[8:]), bodyCRC: be.Uint32(b[12:]), seq: be.Uint64(b[16:]), received: int64(be.Uint64(b[24:])),
		ik: be.Uint32(b[32:]), service: b[36], kind: kind(b[37]), counter: be.Uint32(b[40:]), contextOff: be.Uint32(b[44:]),
		settled: be.Uint32(b[96:]),
	}
	copy(h.context[:], b[48:64])
	copy(h.binding[:], b[64:96])
	return h, nil
}

// aad appends what an entry's ciphertext is bound to besides its key and counter.
func (h *header) aad(b []byte) []byte {
	b = append(b, "querschott/intake/v1"...)
	b = binary.BigEndian.AppendUint32(b, h.ik)
	b = append(b, h.service)
	b = binary.BigEndian.AppendUint64(b, h.seq)
	b = binary.BigEndian.AppendUint64(b, uint64(h.received))
	return append(b, h.binding[:]...)
}

// recordSize is what a record with a body of n bytes takes in a segment.
func recordSize(n int) int64 {
	return (int64(headerSize+n) + align - 1) / align * align
}

// plainSize is the length of what appendPlain appends, without the lengths of its fields.
func (a *Arrival) plainSize() int {
	return len(a.Sender) + len(a.Recipient) + len(a.MessageID) + len(a.Body)
}

// appendPlain is the plaintext of an entry.
func appendPlain(dst []byte, a *Arrival) []byte {
	for _, s := range []string{a.Sender, a.Recipient, a.MessageID} {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	return append(dst, a.Body...)
}

// parsePlain is the inverse of appendPlain; the result shares memory with b.
func parsePlain(b []byte) (a Arrival, err error) {
	for _, s := range []*string{&a.Sender, &a.Recipient, &a.MessageID} {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return Arrival{}, fmt.Errorf("couldn't read the entry: its fields run over its end")
		}
		*s = string(b[k : k+int(n)])
		b = b[k+int(n):]
	}
	a.Body = b
	return a, nil
}

func fromMicro(us int64) time.Time { return time.UnixMicro(us).UTC() }

// segmentHead is a segment's header.
type segmentHead struct {
	journal journalID
	number  uint64
	size    int64 // bytes for header and records; the index stands behind
}

// Sequence numbers hold the segment's number, so that they rise without being remembered anywhere.
const (
	seqBits    = 24
	maxEntries = 1<<seqBits - 1
	maxNumber  = 1<<(64-seqBits) - 1 // of a segment
)

func (s segmentHead) firstSeq() uint64 { return s.number<<seqBits + 1 }

func segmentOf(seq uint64) (number uint64) { return seq >> seqBits }

// entry is what is kept of an entry while it waits, and what an index holds of it.
type entry struct {
	seq      uint64
	received int64 // Unix microseconds
	off      uint32
	bodyLen  uint32
	ik       uint32
	service  byte
}

func (h *header) entry(off int64) entry {
	return entry{h.seq, h.received, uint32(off), h.bodyLen, h.ik, h.service}
}

// end is the offset behind the entry.
func (e *entry) end() int64 { return int64(e.off) + recordSize(int(e.bodyLen)) }

// plausible reports whether the entry can stand in the segment: a file from which it came may have been made by anybody.
func (e *entry) plausible(s segmentHead) bool {
	return e.off >= dataStart && e.off%align == 0 && e.end() <= s.size &&
		segmentOf(e.seq) == s.number && e.seq >= s.firstSeq()
}

func (e *entry) compartment() (querschott.Compartment, error) {
	s, err := querschott.ServiceFromCode(e.service)
	if err != nil {
		return querschott.Compartment{}, err
	}
	return querschott.Compartment{Insurer: querschott.IKFromNumber(e.ik), Service: s}, nil
}

func (s *segmentHead) put(b []byte) {
	clear(b[:segHeader])
	copy(b, segmentMagic)
	copy(b[8:], s.journal[:])
	binary.BigEndian.PutUint64(b[24:], s.number)
	binary.BigEndian.PutUint64(b[32:], uint64(s.size))
	binary.BigEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
}

func parseSegmentHead(b []byte) (s segmentHead, err error) {
	if len(b) < segHeader || string(b[:8]) != segmentMagic ||
		binary.BigEndian.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli) {
		return s, errors.New("it has no valid segment header")
	}
	copy(s.journal[:], b[8:24])
	s.number = binary.BigEndian.Uint64(b[24:])
	s.size = int64(binary.BigEndian.Uint64(b[32:]))
	if s.size < dataStart || s.size > maxSegment {
		return s, fmt.Errorf("its header gives it %d bytes", s.size)
	}
	if s.number == 0 || s.number > maxNumber {
		return s, fmt.Errorf("its header gives it the number %d", s.number)
	}
	return s, nil
}
