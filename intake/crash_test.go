package intake

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/internal/raced"
)

var errPower = errors.New("no power")

// machine is a house whose power fails.
type machine struct {
	*house
	rng    *rand.Rand
	disks  []*crashdisk.Disk
	left   atomic.Int64 // disk operations until the power fails
	acked  map[querschott.Compartment]map[uint64]string
	serial atomic.Int64
	mu     sync.Mutex // guards acked
}

// arm lets the power fail after n operations of all disks together; cells then commit nothing more. Until then every tenth
// commit fails, having been done or not.
func (m *machine) arm(n int64) {
	m.left.Store(n)
	for _, d := range m.disks {
		d.Fail(func(string, string) error {
			if m.left.Add(-1) < 0 {
				return errPower
			}
			return nil
		})
	}
	for i := range m.cs {
		fate := rand.New(rand.NewPCG(m.rng.Uint64(), 0))
		m.memory(i).Inject(func(*cell.Batch) celltest.Failure {
			switch n := fate.IntN(20); {
			case m.left.Load() < 0 || n == 0:
				return celltest.Undone
			case n == 1:
				return celltest.Done
			default:
				return celltest.None
			}
		})
	}
}

// crash takes the power away from everything that is not synced. The function that it returns takes the machine up again.
func (m *machine) crash() (restore func()) {
	m.left.Store(-1)
	disks := make([]*crashdisk.Disk, len(m.disks))
	for i, d := range m.disks {
		disks[i] = d.Crash(m.rng)
	}
	cells := map[querschott.IK]cell.Store{}
	for i, c := range m.cs {
		cells[c.Insurer] = m.memory(i).Crash()
	}
	return func() { m.disks, m.cells = disks, cells }
}

func (m *machine) copies() []Copy {
	var list []Copy
	for _, d := range m.disks {
		list = append(list, mem(d))
	}
	return list
}

// life takes messages in and delivers until the power fails.
func (m *machine) life() {
	j, err := Open(m.config(m.copies()...))
	if err != nil {
		if !errors.Is(err, errPower) {
			m.t.Fatal(err)
		}
		m.crash()()
		return
	}
	p := m.pump(j, effects)
	if err := p.OpenAll(m.all(1)); err != nil {
		m.t.Fatal(err)
	}
	stop := run(p)
	var senders sync.WaitGroup
	for w := range 3 {
		size := m.rng.IntN(m.body - 20)
		senders.Go(func() { m.send(j, m.cs[w%len(m.cs)], 20, size) })
	}
	senders.Wait()
	restore := m.crash()
	stop()
	_ = j.Close() // of a machine without power
	restore()
}

func (m *machine) send(j *Journal, c querschott.Compartment, n, size int) {
	for range n {
		id := fmt.Sprint(m.serial.Add(1))
		body := id + string(make([]byte, size))
		r, err := j.Append(context.Background(), Arrival{Compartment: c, Sender: "a@b", MessageID: id, Body: []byte(body)})
		if err != nil {
			if querschott.CodeOf(err) != querschott.CodeNoRoom {
				m.t.Errorf("append: %v", err)
			}
			continue
		}
		m.mu.Lock()
		m.acked[c][r.Seq] = body
		m.mu.Unlock()
	}
}

// check delivers what is left and compares the cells with what was promised.
func (m *machine) check() {
	m.t.Helper()
	j := m.journal(m.copies()...)
	defer m.close(j)
	m.drain(j, effects)
	if n := j.Stats().Quarantined; n > 0 {
		m.t.Errorf("%d messages were put aside; nothing was damaged", n)
	}
	for _, c := range m.cs {
		last := uint64(0)
		got := map[uint64]string{}
		seen := map[string]bool{}
		for _, e := range m.effects(c) {
			if e.seq <= last {
				m.t.Errorf("%s: %d came after %d", c, e.seq, last)
			}
			if seen[e.body] {
				m.t.Errorf("%s: a message was delivered twice", c)
			}
			last = e.seq
			got[e.seq], seen[e.body] = e.body, true
		}
		for seq, body := range m.acked[c] {
			if got[seq] != body {
				m.t.Errorf("%s: message %d was acknowledged and is not there", c, seq)
			}
		}
	}
}

// Whatever the moment at which the power fails, what was acknowledged is delivered exactly once and in order.
func TestPowerFailures(t *testing.T) {
	lives := raced.Some(300, 60)
	if testing.Short() {
		lives = 50
	}
	h := newHouse(t, 2)
	h.seg, h.body = 32<<10, 1<<10
	var said bytes.Buffer
	h.log = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelError}))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for lives > 0 && !t.Failed() {
		m := &machine{house: h, rng: rng, acked: map[querschott.Compartment]map[uint64]string{}}
		for range 1 + rng.IntN(2) {
			m.disks = append(m.disks, crashdisk.New())
		}
		for _, c := range h.cs {
			h.cells[c.Insurer], m.acked[c] = celltest.NewMemory(), map[uint64]string{}
		}
		for range 1 + rng.IntN(4) {
			m.arm(rng.Int64N(300))
			m.life()
			lives--
		}
		m.check()
		if strings.Contains(said.String(), "ALARM: a cell has taken more") {
			t.Error("the journal was taken for rolled back")
		}
		if t.Failed() {
			t.Log(said.String())
		}
		said.Reset()
	}
}

// What an interrupted write has left is neither delivered in parts nor taken for damage.
func TestTornTail(t *testing.T) {
	h := newHouse(t, 1)
	h.seg, h.body = 32<<10, 1<<10
	for cut := range 38 {
		h.cells[h.cs[0].Insurer] = celltest.NewMemory()
		d := crashdisk.New()
		j := h.journal(mem(d))
		want := h.fill(j, h.cs[0], 3)
		before := entries(t, d)
		h.fill(j, h.cs[0], 1)
		last := entries(t, d)[len(before)]
		torn := d.Crash(rand.New(rand.NewPCG(1, 1)))
		h.close(j)
		f, err := torn.Open(mem(torn).path(1))
		if err != nil {
			t.Fatal(err)
		}
		from := int64(last.off) + int64(cut)*14
		if _, err := f.WriteAt(make([]byte, 4096), from); err != nil {
			t.Fatal(err)
		}
		j = h.journal(mem(torn))
		h.drain(j, effects)
		if got := bodies(h.effects(h.cs[0])); len(got) != len(want) || got[2] != want[2] || j.Stats().Quarantined != 0 {
			t.Errorf("cut after %d bytes: %d messages, %d put aside", cut*14, len(got), j.Stats().Quarantined)
		}
		h.close(j)
	}
}

// entries scans the first segment of a disk.
func entries(t testing.TB, d *crashdisk.Disk) []entry {
	t.Helper()
	f, err := d.Open(mem(d).path(1))
	if err != nil {
		t.Fatal(err)
	}
	head, _, err := readHead(f)
	if err != nil {
		t.Fatal(err)
	}
	all := newContents()
	if err := all.scan(f, head); err != nil {
		t.Fatal(err)
	}
	return all.sorted()
}

// A journal that was restored from a backup must not give a number twice: the cells would take what gets it for
// delivered.
func TestRolledBackJournal(t *testing.T) {
	h := newHouse(t, 1)
	d := crashdisk.New()
	j := h.journal(mem(d))
	h.fill(j, h.cs[0], 1)
	backup := d.Crash(rand.New(rand.NewPCG(1, 1)))
	h.close(j)
	for range 3 { // each start takes another segment
		j = h.journal(mem(d))
		h.fill(j, h.cs[0], 1)
		h.drain(j, effects)
		h.close(j)
	}
	before := len(h.effects(h.cs[0]))
	j = h.journal(mem(backup))
	h.pump(j, effects)
	want := h.fill(j, h.cs[0], 1)
	h.close(j)
	j = h.journal(mem(backup)) // here what the cell's cursor covers is dropped
	h.drain(j, effects)
	h.close(j)
	got := h.effects(h.cs[0])
	if len(got) != before+1 || got[before].body != want[0] {
		t.Fatalf("%d effects, want %d and then the new message", len(got), before+1)
	}
	value, err := h.cells[h.cs[0].Insurer].Get(cursorKey(h.cs[0], j.ID()))
	if err != nil || binary.BigEndian.Uint64(value) != got[before].seq {
		t.Errorf("the cursor is %x, %v", value, err)
	}
}
