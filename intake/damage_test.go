package intake

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/seal"
)

// damaged is a house with ten messages on two copies, closed.
type damaged struct {
	*house
	a, b *crashdisk.Disk
	want []string
	list []entry
}

func newDamaged(t *testing.T) *damaged {
	h := newHouse(t, 1)
	h.seg, h.body = 64<<10, 1<<10
	d := &damaged{house: h, a: crashdisk.New(), b: crashdisk.New()}
	j := h.journal(mem(d.a), mem(d.b))
	d.want = h.fill(j, h.cs[0], 10)
	h.close(j)
	d.list = entries(t, d.a)
	if len(d.list) != 10 {
		t.Fatalf("%d entries", len(d.list))
	}
	return d
}

// flip damages one bit of the first segment.
func (d *damaged) flip(off int64, disks ...*crashdisk.Disk) {
	d.t.Helper()
	for _, disk := range disks {
		if err := disk.Corrupt(mem(disk).path(1), off, 3); err != nil {
			d.t.Fatal(err)
		}
	}
}

// without returns what is to be delivered if one message is not.
func (d *damaged) without(i int) []string {
	return append(append([]string(nil), d.want[:i]...), d.want[i+1:]...)
}

// deliver opens the journal, delivers and compares.
func (d *damaged) deliver(want []string, quarantined uint64) Stats {
	d.t.Helper()
	j := d.journal(mem(d.a), mem(d.b))
	j.Freeze() // tests look at the files afterwards
	d.drain(j, effects)
	d.close(j)
	if diff := cmp.Diff(want, bodies(d.effects(d.cs[0]))); diff != "" {
		d.t.Errorf("(-want +got):\n%s", diff)
	}
	s := j.Stats()
	if s.Quarantined != quarantined {
		d.t.Errorf("%d were put aside, want %d", s.Quarantined, quarantined)
	}
	return s
}

func (d *damaged) quarantine() []string {
	names, err := d.a.List("quarantine")
	if err != nil {
		d.t.Fatal(err)
	}
	return names
}

// dropIndex cuts the index off, as a crash does.
func (d *damaged) dropIndex() {
	for _, disk := range []*crashdisk.Disk{d.a, d.b} {
		f, err := disk.Open(mem(disk).path(1))
		if err != nil {
			d.t.Fatal(err)
		}
		if err := f.Truncate(d.seg); err != nil {
			d.t.Fatal(err)
		}
	}
}

func TestDamageInOneCopyIsMended(t *testing.T) {
	for _, index := range []bool{true, false} {
		for name, at := range map[string]int64{"header": 5, "crc": 9, "body": headerSize + 7, "tag": headerSize + 400} {
			t.Run(fmt.Sprint(name, index), func(t *testing.T) {
				d := newDamaged(t)
				d.flip(int64(d.list[4].off)+at, d.a)
				if !index {
					d.dropIndex()
				}
				if s := d.deliver(d.want, 0); s.Mended == 0 {
					t.Error("nothing was mended")
				}
				if got := entries(t, d.a); !slices.Equal(d.list, got) {
					t.Errorf("the first copy is not whole again: %v", got)
				}
			})
		}
	}
}

func TestDamageInEveryCopyTouchesOneMessage(t *testing.T) {
	for _, index := range []bool{true, false} {
		for name, at := range map[string]int64{"header": 5, "crc": 9, "body": headerSize + 7, "tag": headerSize + 400} {
			t.Run(fmt.Sprint(name, index), func(t *testing.T) {
				d := newDamaged(t)
				d.flip(int64(d.list[4].off)+at, d.a)
				d.flip(int64(d.list[4].off)+at+1, d.b)
				if !index {
					d.dropIndex()
				}
				d.deliver(d.without(4), 1)
				if got := d.quarantine(); len(got) != 2 {
					t.Errorf("put aside: %v", got)
				}
				d.deliver(d.without(4), 0) // and it is said once
			})
		}
	}
}

func TestDamagedContextHasATwin(t *testing.T) {
	d := newDamaged(t)
	d.flip(dataStart+headerSize+5, d.a, d.b)
	d.deliver(d.want, 0)
}

func TestDamagedContextAndTwin(t *testing.T) {
	d := newDamaged(t)
	for _, disk := range []*crashdisk.Disk{d.a, d.b} {
		f, err := disk.Open(mem(disk).path(1))
		if err != nil {
			t.Fatal(err)
		}
		head, _, err := readHead(f)
		if err != nil {
			t.Fatal(err)
		}
		var places []int64
		if err := walk(f, head, func(h header, off int64, _ []byte) {
			if h.kind == kindContext {
				places = append(places, off)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if len(places)%2 != 0 {
			t.Errorf("%d context records: not each has a twin", len(places))
		}
		for _, off := range places {
			d.flip(off+headerSize+9, disk)
		}
	}
	d.deliver(nil, 10)
}

func TestDamagedSegmentHeaders(t *testing.T) {
	for name, offs := range map[string][]int64{"first": {3}, "twin": {headTwin + 3}, "both": {3, headTwin + 3}} {
		for _, index := range []bool{true, false} {
			for _, everywhere := range []bool{true, false} {
				t.Run(fmt.Sprint(name, index, everywhere), func(t *testing.T) {
					d := newDamaged(t)
					disks := []*crashdisk.Disk{d.a}
					if everywhere {
						disks = append(disks, d.b)
					}
					for _, off := range offs {
						d.flip(off, disks...)
					}
					if !index {
						d.dropIndex()
					}
					if s := d.deliver(d.want, 0); s.Mended == 0 {
						t.Error("the header was not mended")
					}
				})
			}
		}
	}
}

// An index may be old, wrong or written by somebody else: it costs time, not messages.
func TestLyingIndex(t *testing.T) {
	lies := map[string]func(list []entry) []entry{
		"offset":   func(list []entry) []entry { list[4].off = list[5].off; return list },
		"length":   func(list []entry) []entry { list[4].bodyLen -= 8; return list },
		"outside":  func(list []entry) []entry { list[4].off = 1 << 30; return list },
		"huge":     func(list []entry) []entry { list[4].bodyLen = 1<<32 - 1; return list },
		"order":    func(list []entry) []entry { list[4], list[5] = list[5], list[4]; return list },
		"twice":    func(list []entry) []entry { list[4] = list[5]; return list },
		"foreign":  func(list []entry) []entry { list[4].seq += 1 << seqBits; return list },
		"too many": func(list []entry) []entry { return append(list, make([]entry, 1000)...) },
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			d := newDamaged(t)
			for _, disk := range []*crashdisk.Disk{d.a, d.b} {
				f, err := disk.Open(mem(disk).path(1))
				if err != nil {
					t.Fatal(err)
				}
				head, _, err := readHead(f)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(f.Truncate(d.seg), writeSync(f, encodeIndex(lie(entries(t, disk)), head), d.seg)); err != nil {
					t.Fatal(err)
				}
			}
			d.deliver(d.want, 0)
		})
	}
	t.Run("short in one copy", func(t *testing.T) { // as of a copy that failed
		d := newDamaged(t)
		f, err := d.a.Open(mem(d.a).path(1))
		if err != nil {
			t.Fatal(err)
		}
		head, _, err := readHead(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Truncate(d.seg), writeSync(f, encodeIndex(d.list[:4], head), d.seg)); err != nil {
			t.Fatal(err)
		}
		d.deliver(d.want, 0)
	})
}

// A disk that cannot be read is not damage: nothing is put aside, and delivery goes on when it can be read again.
func TestUnreadableDiskIsNotDamage(t *testing.T) {
	d := newDamaged(t)
	d.b = d.a // one copy is enough here
	j := d.journal(mem(d.a))
	defer d.close(j)
	d.a.Fail(func(op, _ string) error {
		if op == "read" {
			return errors.New("cable pulled")
		}
		return nil
	})
	p := d.pump(j, effects)
	defer run(p)()
	if err := p.OpenAll(d.all(1)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(p.Trouble()) == 1 })
	d.a.Fail(nil)
	waitFor(t, func() bool { return p.Stats().Delivered == 10 })
	if got := j.Stats().Quarantined; got != 0 || len(p.Trouble()) != 0 {
		t.Errorf("%d put aside, trouble %v", got, p.Trouble())
	}
}

// A closed journal is not damage either.
func TestPumpOutlivesJournal(t *testing.T) {
	d := newDamaged(t)
	j := d.journal(closing{mem(d.a).FS, d.t}.copy())
	p := d.pump(j, effects)
	d.close(j)
	stop := run(p)
	if err := p.OpenAll(d.all(1)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(p.Trouble()) == 1 })
	stop()
	if got := j.Stats().Quarantined; got != 0 || len(d.quarantine()) != 0 {
		t.Errorf("%d put aside", got)
	}
}

// closing is a disk whose closed files cannot be read, like real ones.
type closing struct {
	disk.FS
	t testing.TB
}

func (c closing) copy() Copy { return Copy{c, "journal"} }

func (c closing) Open(name string) (disk.File, error) {
	f, err := c.FS.Open(name)
	return &closingFile{File: f}, err
}

type closingFile struct {
	disk.File
	closed bool
}

func (f *closingFile) Close() error { f.closed = true; return f.File.Close() }

func (f *closingFile) ReadAt(b []byte, off int64) (int, error) {
	if f.closed {
		return 0, errors.New("file already closed")
	}
	return f.File.ReadAt(b, off)
}

// Somebody changes a ciphertext and mends the checksums: it is put aside if other messages open, and only then.
func TestTamperedMessage(t *testing.T) {
	d := newDamaged(t)
	d.tamper(4)
	d.deliver(d.without(4), 1)

	d = newDamaged(t)
	for i := range 10 {
		d.tamper(i)
	}
	d.stalls()
}

// With the wrong keyring no message opens, and none is put aside.
func TestWrongKeyringStalls(t *testing.T) {
	d := newDamaged(t)
	other := newHouse(t, 1)
	d.unlock = other.ring.Unlock
	d.stalls()
	d.unlock = d.ring.Unlock
	d.deliver(d.want, 0)
}

// stalls expects that nothing is delivered and nothing is put aside.
func (d *damaged) stalls() {
	d.t.Helper()
	j := d.journal(mem(d.a), mem(d.b))
	defer d.close(j)
	p := d.pump(j, effects)
	stop := run(p)
	if err := p.OpenAll(d.all(1)); err != nil {
		d.t.Fatal(err)
	}
	ch := p.chambers[d.cs[0]]
	waitFor(d.t, func() bool { ch.mu.Lock(); defer ch.mu.Unlock(); return ch.tries >= 3 })
	stop()
	if s := p.Stats(); s != (PumpStats{}) || j.Waiting(d.cs[0]) != 10 || len(d.quarantine()) != 0 {
		d.t.Errorf("%+v, %d wait, put aside: %v", s, j.Waiting(d.cs[0]), d.quarantine())
	}
	if got := p.Trouble()[d.cs[0]]; !strings.Contains(got, "nothing can be delivered") {
		d.t.Errorf("trouble: %q", got)
	}
}

// tamper changes a bit of a message's ciphertext in every copy and makes the checksums right again.
func (d *damaged) tamper(i int) {
	d.t.Helper()
	for _, disk := range []*crashdisk.Disk{d.a, d.b} {
		f, err := disk.Open(mem(disk).path(1))
		if err != nil {
			d.t.Fatal(err)
		}
		head, _, err := readHead(f)
		if err != nil {
			d.t.Fatal(err)
		}
		e := d.list[i]
		h, raw, err := readRecord(f, head, int64(e.off), e.bodyLen)
		if err != nil {
			d.t.Fatal(err)
		}
		raw[headerSize] ^= 1
		h.bodyCRC = crc32.Checksum(raw[headerSize:], castagnoli)
		h.put(raw, head)
		if err := writeSync(f, raw, int64(e.off)); err != nil {
			d.t.Fatal(err)
		}
	}
}

// The audit shows what it can and names what it cannot.
func TestBindings(t *testing.T) {
	d := newDamaged(t)
	d.flip(int64(d.list[4].off)+5, d.a, d.b)
	j := d.journal(mem(d.a), mem(d.b))
	defer d.close(j)
	got := map[Binding]bool{}
	err := j.Bindings(func(_ querschott.Compartment, b Binding) { got[b] = true })
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint(d.list[4].seq)) {
		t.Errorf("the damaged entry is not named: %v", err)
	}
	for i := range 10 {
		if got[BindingOf("a@b", fmt.Sprint(i))] != (i != 4) {
			t.Errorf("message %d: shown %v", i, i == 4)
		}
	}
}

// A context serves at most so many entries; each entry's context stands in its segment, twice.
func TestContexts(t *testing.T) {
	h := newHouse(t, 1)
	d := crashdisk.New()
	j := h.journal(mem(d))
	defer h.close(j)
	n := seal.ContextEntries + 100
	for i := range n {
		if err := h.append(j, h.cs[0], fmt.Sprint(i), ""); err != nil {
			t.Fatal(err)
		}
	}
	f, err := d.Open(mem(d).path(1))
	if err != nil {
		t.Fatal(err)
	}
	head, _, err := readHead(f)
	if err != nil {
		t.Fatal(err)
	}
	records, uses, counters := map[[16]byte]int{}, map[[16]byte]int{}, map[string]bool{}
	if err := walk(f, head, func(h header, off int64, _ []byte) {
		switch h.kind {
		case kindContext:
			records[h.context]++
		case kindEntry:
			uses[h.context]++
			counters[fmt.Sprint(h.context, h.counter)] = true
			if int64(h.contextOff) >= off {
				t.Errorf("the context of the entry at %d stands behind it", off)
			}
		case kindIndex:
			t.Errorf("an index stands at %d, among the records", off)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if len(counters) != n || len(uses) < 2 {
		t.Errorf("%d nonces for %d entries in %d contexts", len(counters), n, len(uses))
	}
	for id, k := range uses {
		if k > seal.ContextEntries || records[id] != 2 {
			t.Errorf("a context serves %d entries and stands there %d times", k, records[id])
		}
	}
}
