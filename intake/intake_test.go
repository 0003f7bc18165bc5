package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/seal"
)

// house is a journal, its cells and its keys, without doors and entrances.
type house struct {
	t     testing.TB
	cs    []querschott.Compartment
	keys  map[querschott.Compartment]*seal.Keyring
	ring  *seal.Keyring
	cells map[querschott.IK]cell.Store
	seg   int64
	log   *slog.Logger
}

func insurers(n int) []querschott.Compartment {
	var list []querschott.Compartment
	for i := range n {
		first := fmt.Sprintf("10%06d", 1000+i)
		ik := querschott.IK(first + string(querschott.IKCheckDigit(first)))
		list = append(list, querschott.Compartment{Insurer: ik, Service: querschott.EAU})
	}
	return list
}

func newHouse(t testing.TB, n int) *house {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "unlock.key")
	if err := seal.NewKeyFile(key); err != nil {
		t.Fatal(err)
	}
	ring, err := seal.CreateKeyring(disk.OS{}, filepath.Join(dir, "keyring.age"), seal.KeyFile(key))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, cs: insurers(n), ring: ring, cells: map[querschott.IK]cell.Store{}, seg: 1 << 20, log: slog.New(slog.DiscardHandler)}
	if err := ring.AddCompartments(h.cs...); err != nil {
		t.Fatal(err)
	}
	for _, c := range h.cs {
		h.cells[c.Insurer] = celltest.NewMemory()
	}
	return h
}

func (h *house) journal(copies ...Copy) *Journal {
	h.t.Helper()
	j, err := Open(Config{
		Copies: copies, Quarantine: Copy{copies[0].FS, "quarantine"}, Contexts: seal.NewContexts(h.ring.Public, time.Now),
		Segment: h.seg, MaxBody: 1 << 19, Now: time.Now, Log: h.log,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return j
}

func (h *house) pump(j *Journal, handler Handler) *Pump {
	h.t.Helper()
	p, err := NewPump(PumpConfig{
		Journal: j, Unlock: h.ring.Unlock, Handlers: map[querschott.Service]Handler{querschott.EAU: handler}, Keep: Keep,
		Cell:   func(ik querschott.IK) (cell.Store, error) { return h.cells[ik], nil },
		Record: func(context.Context, []Delivery) error { return nil }, Now: time.Now, Log: h.log,
	}, h.cs)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

func (h *house) append(j *Journal, c querschott.Compartment, id, body string) error {
	_, err := j.Append(h.t.Context(), Arrival{Compartment: c, Sender: "a@b", MessageID: id, Body: []byte(body), Received: time.Now()})
	return err
}

func mem(d *crashdisk.Disk) Copy { return Copy{d, "journal"} }

// collect is a handler that remembers what it delivered.
type collect struct {
	mu   sync.Mutex
	list map[querschott.Compartment][]string
}

func (c *collect) take(_ context.Context, m *Message, tx *Tx) (Note, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list[m.Compartment] = append(c.list[m.Compartment], string(m.Body))
	return Note{Result: "stored"}, nil
}

func TestDeliveryInOrder(t *testing.T) {
	h := newHouse(t, 3)
	d := crashdisk.New()
	j := h.journal(mem(d), Copy{d, "second"})
	for i := range 300 {
		if err := h.append(j, h.cs[i%3], fmt.Sprint(i), fmt.Sprint(i/3)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = h.journal(mem(d), Copy{d, "second"})
	got := &collect{list: map[querschott.Compartment][]string{}}
	p := h.pump(j, got.take)
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { _ = p.Run(ctx) })
	open := map[querschott.Compartment]uint64{}
	for _, c := range h.cs {
		open[c] = 1
	}
	if err := p.OpenAll(open); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return p.Stats().Delivered == 300 })
	cancel()
	run.Wait()
	for _, c := range h.cs {
		for i, body := range got.list[c] {
			if body != fmt.Sprint(i) {
				t.Fatalf("%s: message %d is %q", c, i, body)
			}
		}
		if got := j.Waiting(c); got != 0 {
			t.Errorf("%s: %d still wait", c, got)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = h.journal(mem(d), Copy{d, "second"})
	h.pump(j, got.take)
	for _, c := range h.cs {
		if got := j.Waiting(c); got != 0 {
			t.Errorf("%s: %d wait again after a restart", c, got)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTooLarge(t *testing.T) {
	h := newHouse(t, 1)
	j := h.journal(mem(crashdisk.New()))
	defer j.Close()
	err := h.append(j, h.cs[0], "1", string(make([]byte, 1<<20)))
	if got := querschott.CodeOf(err); got != querschott.CodeTooLarge {
		t.Errorf("got %v (%s)", err, got)
	}
}

func TestFullDiskIsTransient(t *testing.T) {
	h := newHouse(t, 1)
	d := crashdisk.New()
	d.Limit(3 << 20)
	j := h.journal(mem(d))
	defer j.Close()
	accepted := 0
	var err error
	for i := range 1000 {
		if err = h.append(j, h.cs[0], fmt.Sprint(i), string(make([]byte, 100<<10))); err != nil {
			break
		}
		accepted++
	}
	if got := querschott.CodeOf(err); got != querschott.CodeNoRoom {
		t.Fatalf("got %v after %d", err, accepted)
	}
	if j.Trouble() == "" {
		t.Error("nobody is told that there is no room")
	}
	if got := j.Waiting(h.cs[0]); got != accepted {
		t.Errorf("%d wait, %d were accepted", got, accepted)
	}
	d.Limit(-1)
	waitFor(t, func() bool { return h.append(j, h.cs[0], "again", "x") == nil })
}

// waitFor asks until the answer is yes; the test's own deadline ends it otherwise.
func waitFor(t testing.TB, yes func() bool) {
	t.Helper()
	for !yes() {
		select {
		case <-t.Context().Done():
			t.Fatal(errors.New("waited in vain"))
		case <-time.After(time.Millisecond):
		}
	}
}
