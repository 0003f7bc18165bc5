package intake

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/seal"
)

var fuzzHead = segmentHead{journal: journalID{1}, number: 7, size: 1 << 16}

// record makes a record as a writer does.
func record(h header, body []byte, s segmentHead) []byte {
	b := append(make([]byte, headerSize), body...)
	h.finish(b, s)
	return pad(b, 0)
}

// FuzzScan reads a segment of which anything may have been written by anybody. Records in it get right checksums, so that
// the fuzzer comes behind them.
func FuzzScan(f *testing.F) {
	entry := header{kind: kindEntry, seq: fuzzHead.firstSeq(), contextOff: dataStart, settled: dataStart}
	good := append(record(header{kind: kindContext}, make([]byte, seal.EncSize), fuzzHead), record(entry, []byte("sealed"), fuzzHead)...)
	f.Add(good, true)
	f.Add(good[:len(good)-40], false)
	f.Add(append(make([]byte, 64), good...), true)
	f.Add(bytes.Repeat([]byte(recordMagic), 100), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, data []byte, mend bool) {
		if len(data) > int(fuzzHead.size) {
			return
		}
		data = bytes.Clone(data)
		if mend {
			for off := 0; off+headerSize <= len(data); off += align {
				if b := data[off:]; string(b[:4]) == recordMagic {
					binary.BigEndian.PutUint32(b[4:], headerCRC(b, fuzzHead))
				}
			}
		}
		d := crashdisk.New()
		file, err := d.Create("x")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(writeHead(file, fuzzHead), writeSync(file, data, dataStart)); err != nil {
			t.Fatal(err)
		}
		all := newContents()
		if err := all.scan(file, fuzzHead); err != nil {
			t.Fatal(err)
		}
		for _, e := range all.sorted() {
			if _, _, err := readRecord(file, fuzzHead, int64(e.off), e.bodyLen); err != nil {
				t.Fatalf("%+v was found and cannot be read: %v", e, err)
			}
		}
	})
}

// FuzzSegment opens a journal of arbitrary bytes. It may be refused; it must not be believed.
func FuzzSegment(f *testing.F) {
	h := newHouse(f, 1)
	h.seg, h.body = 32<<10, 1<<10
	d := crashdisk.New()
	j := h.journal(mem(d))
	h.fill(j, h.cs[0], 2)
	h.close(j)
	file, err := d.Open(mem(d).path(1))
	if err != nil {
		f.Fatal(err)
	}
	size, err := file.Size()
	if err != nil {
		f.Fatal(err)
	}
	good, err := disk.ReadFile(d, mem(d).path(1), size)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, uint16(0), byte(0))
	f.Add(good, uint16(dataStart+3), byte(1))
	f.Add(good[:20000], uint16(40), byte(7))
	f.Add([]byte("QSJSEG01"), uint16(1), byte(1))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, mask byte) {
		data = bytes.Clone(data)
		if int(at) < len(data) {
			data[at] ^= mask
		}
		d := crashdisk.New()
		file, err := d.Create(mem(d).path(1))
		if err != nil {
			t.Fatal(err)
		}
		if err := writeSync(file, data, 0); err != nil {
			t.Fatal(err)
		}
		j, err := read(h.config(mem(d)))
		if err != nil {
			return
		}
		if n := j.Waiting(h.cs[0]); n > 2 {
			t.Errorf("%d messages wait in a journal of two", n)
		}
		_ = j.Bindings(func(_ querschott.Compartment, b Binding) {
			if b != BindingOf("a@b", "0") && b != BindingOf("a@b", "1") {
				t.Error("a binding that nobody has appended")
			}
		})
	})
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte{1, 'a', 0, 2, 'b', 'c', 'd'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parsePlain(b)
		if err != nil {
			return
		}
		again, err := parsePlain(appendPlain(nil, &a))
		if err != nil || again.Sender != a.Sender || again.Recipient != a.Recipient || again.MessageID != a.MessageID || !bytes.Equal(again.Body, a.Body) {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
	})
}

func FuzzIndex(f *testing.F) {
	list := []entry{{seq: fuzzHead.firstSeq(), off: dataStart, bodyLen: 9, service: 1}, {seq: fuzzHead.firstSeq() + 5, off: 4096, ik: 1}}
	f.Add(encodeIndex(list, fuzzHead)[headerSize:])
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseIndex(b, fuzzHead)
		if err != nil {
			return
		}
		for _, e := range got {
			if e.off < dataStart || e.end() > fuzzHead.size || segmentOf(e.seq) != fuzzHead.number {
				t.Errorf("%+v stands outside of its segment", e)
			}
		}
		if len(got)*indexEntry != len(b) {
			t.Errorf("%d entries of %d bytes", len(got), len(b))
		}
	})
}

func FuzzParseStored(f *testing.F) {
	f.Add([]byte("\x02{}message"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, message, err := ParseStored(b); err == nil && !bytes.HasSuffix(b, message) {
			t.Error("the message is not the end of what was stored")
		}
	})
}

// What is written is read, and nowhere else.
func TestRecordsBelongToTheirPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		h := header{
			bodyLen: rng.Uint32(), bodyCRC: rng.Uint32(), seq: rng.Uint64(), received: rng.Int64(), ik: rng.Uint32(), service: byte(rng.Uint32()),
			kind: kind(rng.Uint32()), counter: rng.Uint32(), contextOff: rng.Uint32(), context: [16]byte{1, 2}, binding: Binding{3}, settled: rng.Uint32(),
		}
		b := make([]byte, headerSize)
		h.put(b, fuzzHead)
		if got, err := parseHeader(b, fuzzHead); err != nil || got != h {
			t.Fatalf("got %+v, %v, want %+v", got, err, h)
		}
		for _, other := range []segmentHead{{journal: journalID{2}, number: 7}, {journal: journalID{1}, number: 8}} {
			if _, err := parseHeader(b, other); err == nil {
				t.Fatal("a record counts in another segment")
			}
		}
		b[rng.IntN(headerSize)] ^= 1 << rng.IntN(8)
		if _, err := parseHeader(b, fuzzHead); err == nil {
			t.Fatal("a changed header counts")
		}
	})
}

func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var want []uint64
		next := uint64(0)
		for _, push := range rapid.SliceOfN(rapid.IntRange(-300, 900), 0, 30).Draw(t, "steps") {
			for ; push > 0; push-- {
				next++
				q.push(ref{seq: next, bodyLen: uint32(next)})
				want = append(want, next)
			}
			for ; push < 0 && len(want) > 0; push++ {
				if got := q.pop().seq; got != want[0] {
					t.Fatalf("got %d, want %d", got, want[0])
				}
				want = want[1:]
			}
			bytes := int64(0)
			for _, n := range want {
				bytes += int64(n)
			}
			if q.len() != len(want) || q.bytes != bytes || cap(q.refs) > 4*max(len(want), 1024) {
				t.Fatalf("%d of %d entries, %d of %d bytes, capacity %d", q.len(), len(want), q.bytes, bytes, cap(q.refs))
			}
		}
	})
}
