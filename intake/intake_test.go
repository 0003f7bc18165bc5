package intake

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/internal/wait"
	"github.com/querschott/querschott/seal"
)

// house is a journal, its cells and its keys, without doors and entrances.
type house struct {
	t      testing.TB
	cs     []querschott.Compartment
	ring   *seal.Keyring
	cells  map[querschott.IK]cell.Store
	seg    int64
	body   int
	log    *slog.Logger
	record func(context.Context, []Delivery) error
	unlock func(...querschott.Compartment) (map[querschott.Compartment]*seal.Keys, error)
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
	h := &house{
		t: t, cs: insurers(n), ring: ring, cells: map[querschott.IK]cell.Store{}, seg: 1 << 20, body: 1 << 19,
		log: slog.New(slog.DiscardHandler), unlock: ring.Unlock,
		record: func(context.Context, []Delivery) error { return nil },
	}
	if err := ring.AddCompartments(h.cs...); err != nil {
		t.Fatal(err)
	}
	for _, c := range h.cs {
		h.cells[c.Insurer] = celltest.NewMemory()
	}
	return h
}

func (h *house) config(copies ...Copy) Config {
	return Config{
		Copies: copies, Quarantine: Copy{copies[0].FS, "quarantine"}, Contexts: seal.NewContexts(h.ring.Public, time.Now),
		Segment: h.seg, MaxBody: h.body, Now: time.Now, Log: h.log,
	}
}

func (h *house) journal(copies ...Copy) *Journal {
	h.t.Helper()
	j, err := Open(h.config(copies...))
	if err != nil {
		h.t.Fatal(err)
	}
	return j
}

func (h *house) pump(j *Journal, handler Handler) *Pump {
	h.t.Helper()
	p, err := NewPump(PumpConfig{
		Journal: j, Unlock: h.unlock, Handlers: map[querschott.Service]Handler{querschott.EAU: handler}, Keep: Keep,
		Cell:   func(ik querschott.IK) (cell.Store, error) { return h.cells[ik], nil },
		Record: h.record, Now: time.Now, Log: h.log,
	}, h.cs)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// run starts a pump; the returned function ends it.
func run(p *Pump) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = p.Run(ctx) })
	return sync.OnceFunc(func() {
		cancel()
		done.Wait()
	})
}

// all names every compartment of the house with an epoch.
func (h *house) all(epoch uint64) map[querschott.Compartment]uint64 {
	m := map[querschott.Compartment]uint64{}
	for _, c := range h.cs {
		m[c] = epoch
	}
	return m
}

func (h *house) close(j *Journal) {
	h.t.Helper()
	if err := j.Close(); err != nil {
		h.t.Error(err)
	}
}

func (h *house) memory(i int) *celltest.Memory { return h.cells[h.cs[i].Insurer].(*celltest.Memory) }

// drain opens all doors and delivers until nothing waits.
func (h *house) drain(j *Journal, handler Handler) *Pump {
	h.t.Helper()
	p := h.pump(j, handler)
	stop := run(p)
	defer stop()
	if err := p.OpenAll(h.all(1)); err != nil {
		h.t.Fatal(err)
	}
	waitFor(h.t, func() bool { return len(j.Backlogs()) == 0 })
	return p
}

// effects is a handler that numbers what it is given, in the cell itself.
func effects(_ context.Context, m *Message, tx *Tx) (Note, error) {
	n := uint64(0)
	switch v, err := tx.Get(effectKey(m.Compartment, nil)); {
	case err == nil:
		n = binary.BigEndian.Uint64(v)
	case !errors.Is(err, cell.ErrNotFound):
		return Note{}, err
	}
	at := binary.BigEndian.AppendUint64(nil, n)
	tx.Put(effectKey(m.Compartment, at), append(binary.BigEndian.AppendUint64(nil, m.Seq), m.Body...))
	tx.Put(effectKey(m.Compartment, nil), binary.BigEndian.AppendUint64(nil, n+1))
	return Note{Result: "stored"}, nil
}

func effectKey(c querschott.Compartment, at []byte) []byte {
	return cell.Key(cell.ServiceSpace(c.Service), cell.KindIndex, []byte("effect"), at)
}

type effect struct {
	seq  uint64
	body string
}

// effects returns what a compartment's cell has of the handler above, in the order of delivery.
func (h *house) effects(c querschott.Compartment) []effect {
	h.t.Helper()
	var list []effect
	prefix := cell.Key(cell.ServiceSpace(c.Service), cell.KindIndex, []byte("effect"))
	err := h.cells[c.Insurer].Scan(prefix, cell.PrefixEnd(prefix), func(k, v []byte) error {
		if !bytes.Equal(k, effectKey(c, nil)) {
			list = append(list, effect{binary.BigEndian.Uint64(v), string(v[8:])})
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

func bodies(list []effect) []string {
	var out []string
	for _, e := range list {
		out = append(out, e.body)
	}
	return out
}

// fill appends n messages to a compartment; their bodies are their numbers, 400 bytes long.
func (h *house) fill(j *Journal, c querschott.Compartment, n int) []string {
	h.t.Helper()
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("%-400d", i))
		if err := h.append(j, c, fmt.Sprint(i), want[i]); err != nil {
			h.t.Fatal(err)
		}
	}
	return want
}

func (h *house) append(j *Journal, c querschott.Compartment, id, body string) error {
	_, err := j.Append(h.t.Context(), Arrival{Compartment: c, Sender: "a@b", MessageID: id, Body: []byte(body), Received: time.Now()})
	return err
}

func mem(d *crashdisk.Disk) Copy { return Copy{d, "journal"} }

func TestDeliveryInOrder(t *testing.T) {
	h := newHouse(t, 3)
	d := crashdisk.New()
	copies := []Copy{mem(d), {d, "second"}}
	j := h.journal(copies...)
	want := map[querschott.Compartment][]string{}
	for _, c := range h.cs {
		want[c] = h.fill(j, c, 100)
	}
	h.close(j)
	j = h.journal(copies...)
	if p := h.drain(j, effects); p.Stats().Delivered != 300 {
		t.Errorf("%d delivered, want 300", p.Stats().Delivered)
	}
	for _, c := range h.cs {
		if diff := cmp.Diff(want[c], bodies(h.effects(c))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c, diff)
		}
	}
	h.close(j)
	j = h.journal(copies...)
	defer h.close(j)
	h.pump(j, effects)
	if got := j.Backlogs(); len(got) != 0 {
		t.Errorf("%v wait again after a restart", got)
	}
}

func TestTooLarge(t *testing.T) {
	h := newHouse(t, 1)
	j := h.journal(mem(crashdisk.New()))
	defer j.Close()
	for name, a := range map[string]Arrival{
		"body":       {Compartment: h.cs[0], Body: make([]byte, h.body+1)},
		"message id": {Compartment: h.cs[0], MessageID: string(make([]byte, maxEnvelope+1))},
	} {
		if _, err := j.Append(t.Context(), a); querschott.CodeOf(err) != querschott.CodeTooLarge {
			t.Errorf("%s: got %v", name, err)
		}
	}
	cfg := h.config(mem(crashdisk.New()))
	cfg.MaxBody = int(h.seg)
	if _, err := Open(cfg); err == nil {
		t.Error("a journal was opened whose segments are too small for what it takes")
	}
}

// waitFor asks until the answer is yes, as long as the test has time.
func waitFor(t testing.TB, yes func() bool) {
	t.Helper()
	end := wait.Over(t)
	for !yes() {
		select {
		case <-end:
			t.Fatal("waited in vain")
		case <-time.After(time.Millisecond):
		}
	}
}
