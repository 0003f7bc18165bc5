package scope

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/bits"
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
		switch a, b := o.major(&x), o.major(&y); { // most pairs differ early
		case a != b:
			return cmp.Compare(a, b)
		case x.second != y.second:
			return cmp.Compare(x.second, y.second)
		}
		return cmp.Or(cmp.Compare(o.minor(&x), o.minor(&y)), cmp.Compare(x.class, y.class), cmp.Compare(x.records, y.records))
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

// reader gives the events of a block one by one. It accepts no more than what an encoder may have written.
type reader struct {
	b     []byte // what is left of the block
	order order
	base  int64
	begun bool
	event // the one that was read last
}

// next reads the next event. There must be something left.
func (r *reader) next() error {
	v, n := uvarint(r.b)
	if n <= 0 || !r.begun && v&newMajor == 0 {
		return errBlock
	}
	b := r.b[n:]
	major, second := r.order.major(&r.event), r.second+int64(v>>flagBits)
	if v&newMajor != 0 {
		d, n := uvarint(b)
		if n <= 0 || d > uint64(1<<32-1-major) {
			return errBlock
		}
		b = b[n:]
		major += uint32(d)
		second = r.base + int64(v>>flagBits)
	}
	if v&newClass != 0 {
		if len(b) == 0 {
			return errBlock
		}
		r.class, b = b[0], b[1:]
	}
	minor, n := uvarint(b)
	if n <= 0 || minor > 1<<32-1 || second < 0 || second >= openEnd {
		return errBlock
	}
	r.b, r.second, r.records, r.begun = b[n:], second, 0, true
	r.cred, r.person = major, uint32(minor)
	if r.order == byPerson {
		r.cred, r.person = r.person, r.cred
	}
	if r.person > 0 {
		return nil
	}
	records, n := uvarint(r.b)
	if n <= 0 || records > 1<<32-1 {
		return errBlock
	}
	r.b, r.records = r.b[n:], uint32(records)
	return nil
}

// rest appends the events that are left.
func (r *reader) rest(out []event) ([]event, error) {
	for len(r.b) > 0 {
		if err := r.next(); err != nil {
			return out, err
		}
		out = append(out, r.event)
	}
	return out, nil
}

// sweep puts the persons of the events ahead into a set, as long as these differ from the event before in their person and by a
// few seconds only, name somebody and lie before to. So it reads nearly all events of a theft, at a small part of what next costs. It returns
// how many there were.
func (r *reader) sweep(set bitset, to int64) (n uint64) {
	const (
		others = 0x80 | 1<<flagBits - 1                   // of the first byte: more bytes of it, and flags
		ends   = 0x80<<8 | 0x80<<16 | 0x80<<24 | 0x80<<32 // of the four bytes behind it: that there are more
	)
	b, second := r.b, r.second
	for len(b) >= 8 {
		v := binary.LittleEndian.Uint64(b)
		end := ^v & ends // its lowest bit is the highest of the person's last byte
		if v&others != 0 || end == 0 {
			break
		}
		at := second + int64(v&0x7f>>flagBits)
		v &= end ^ (end - 1)
		person := v>>8&0x7f | v>>9&(0x7f<<7) | v>>10&(0x7f<<14) | v>>11&(0x7f<<21)
		word := person / 64
		if at >= to || person == 0 || word >= uint64(len(set)) {
			break
		}
		set[word] |= 1 << (person % 64)
		second = at
		b = b[bits.TrailingZeros64(end)/8+1:]
		n++
	}
	r.b, r.second = b, second
	return n
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
