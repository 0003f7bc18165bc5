package scope

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
)

// order is one of the two orders in which a segment holds its events.
type order uint8

const (
	byCredential order = iota // credential, second, person
	byPerson                  // person, second, credential; events without a person are left out
)

// major and minor are the parts of an event's key before and behind the second.
func (o order) major(e *event) uint32 {
	if o == byPerson {
		return e.person
	}
	return e.cred
}

func (o order) minor(e *event) uint32 {
	if o == byPerson {
		return e.cred
	}
	return e.person
}

func (o order) sort(list []event) {
	slices.SortFunc(list, func(x, y event) int {
		return cmp.Or(
			cmp.Compare(o.major(&x), o.major(&y)), cmp.Compare(x.second, y.second), cmp.Compare(o.minor(&x), o.minor(&y)),
			cmp.Compare(x.class, y.class), cmp.Compare(x.records, y.records),
		)
	})
}

const (
	blockSize = 4096 // a block ends behind the event that reaches it
	blockMost = blockSize + 5*binary.MaxVarintLen64
	digestLen = 16
)

// block is where a block lies and how it begins.
type block struct {
	major  uint32
	second int64
	off    int64 // in the segment file
	len    int
	sum    [digestLen]byte
}

var errBlock = errors.New("a block of a segment is damaged")

// Flags beside the seconds of an event.
const (
	newMajor = 1 << iota
	newClass
	flagBits = iota
)

// encoder writes sorted events as blocks. Within a block an event is
//
//	uvarint  seconds<<2 | newClass | newMajor: seconds since the event before, or since base behind a new major
//	uvarint  major minus that before, if it is another one; the first event of a block always says it
//	byte     class, if it is another one
//	uvarint  minor
//	uvarint  records, if the event has no person
type encoder struct {
	order  order
	base   int64
	off    int64
	out    []byte
	blocks []block
	begin  int // of the block at hand in out
	last   event
}

func (w *encoder) add(e *event) {
	if len(w.out)-w.begin >= blockSize {
		w.end()
	}
	first := len(w.out) == w.begin
	if first {
		w.blocks = append(w.blocks, block{major: w.order.major(e), second: e.second, off: w.off + int64(w.begin)})
		w.last = event{}
	}
	major, before := w.order.major(e), w.order.major(&w.last)
	flags, seconds := uint64(0), e.second-w.last.second
	if first || major != before {
		flags, seconds = newMajor, e.second-w.base
	}
	if e.class != w.last.class {
		flags |= newClass
	}
	w.out = binary.AppendUvarint(w.out, uint64(seconds)<<flagBits|flags)
	if flags&newMajor != 0 {
		w.out = binary.AppendUvarint(w.out, uint64(major-before))
	}
	if flags&newClass != 0 {
		w.out = append(w.out, e.class)
	}
	w.out = binary.AppendUvarint(w.out, uint64(w.order.minor(e)))
	if e.person == 0 {
		w.out = binary.AppendUvarint(w.out, uint64(e.records))
	}
	w.last = *e
}

// end closes the block at hand.
func (w *encoder) end() {
	if len(w.out) == w.begin {
		return
	}
	b := &w.blocks[len(w.blocks)-1]
	b.len, b.sum = len(w.out)-w.begin, digest(w.out[w.begin:])
	w.begin = len(w.out)
}

func digest(b []byte) (d [digestLen]byte) {
	sum := sha256.Sum256(b)
	copy(d[:], sum[:])
	return d
}

// decodeBlock appends the events of a block. It accepts no more than what an encoder may have written.
func decodeBlock(out []event, b []byte, o order, base int64) ([]event, error) {
	var major uint32
	var last, second int64
	var class uint8
	for first := true; len(b) > 0; first = false {
		v, n := uvarint(b)
		if n <= 0 || first && v&newMajor == 0 {
			return out, errBlock
		}
		b = b[n:]
		second = last + int64(v>>flagBits)
		if v&newMajor != 0 {
			d, n := uvarint(b)
			if n <= 0 || uint64(major)+d > 1<<32-1 {
				return out, errBlock
			}
			b = b[n:]
			major += uint32(d)
			second = base + int64(v>>flagBits)
		}
		if v&newClass != 0 {
			if len(b) == 0 {
				return out, errBlock
			}
			class, b = b[0], b[1:]
		}
		minor, n := uvarint(b)
		if n <= 0 || minor > 1<<32-1 || second < 0 || second >= openEnd {
			return out, errBlock
		}
		b = b[n:]
		cred, person := major, uint32(minor)
		if o == byPerson {
			cred, person = person, cred
		}
		records := uint64(0)
		if person == 0 {
			if records, n = uvarint(b); n <= 0 || records > 1<<32-1 {
				return out, errBlock
			}
			b = b[n:]
		}
		out = append(out, event{second: second, cred: cred, person: person, records: uint32(records), class: class})
		last = second
	}
	return out, nil
}

// uvarint is binary.Uvarint with the short ones first.
func uvarint(b []byte) (uint64, int) {
	if len(b) >= 4 {
		switch {
		case b[0] < 0x80:
			return uint64(b[0]), 1
		case b[1] < 0x80:
			return uint64(b[0]&0x7f) | uint64(b[1])<<7, 2
		case b[2] < 0x80:
			return uint64(b[0]&0x7f) | uint64(b[1]&0x7f)<<7 | uint64(b[2])<<14, 3
		case b[3] < 0x80:
			return uint64(b[0]&0x7f) | uint64(b[1]&0x7f)<<7 | uint64(b[2]&0x7f)<<14 | uint64(b[3])<<21, 4
		}
	}
	return binary.Uvarint(b)
}

// appendIndex writes the sparse index of a section: of each block major and second (differences of the one, the other as it
// is), length and digest.
func appendIndex(b []byte, blocks []block) []byte {
	var last uint32
	for i := range blocks {
		k := &blocks[i]
		b = binary.AppendUvarint(b, uint64(k.major-last))
		b = binary.AppendUvarint(b, uint64(k.second))
		b = binary.AppendUvarint(b, uint64(k.len))
		b = append(b, k.sum[:]...)
		last = k.major
	}
	return b
}

// parseIndex reads the sparse index of a section that begins at off.
func parseIndex(b []byte, off int64) ([]block, error) {
	var out []block
	var major uint64
	for len(b) > 0 {
		var v [3]uint64
		for i := range v {
			x, n := binary.Uvarint(b)
			if n <= 0 {
				return nil, errBlock
			}
			v[i], b = x, b[n:]
		}
		major += v[0]
		if major > 1<<32-1 || v[1] >= uint64(openEnd) || v[2] == 0 || v[2] > blockMost || len(b) < digestLen {
			return nil, errBlock
		}
		out = append(out, block{major: uint32(major), second: int64(v[1]), off: off, len: int(v[2]), sum: [digestLen]byte(b)})
		b, off = b[digestLen:], off+int64(v[2])
	}
	return out, nil
}
