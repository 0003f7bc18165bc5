package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/internal/raced"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/proof"
)

// model is a ledger as simple as can be: leaves in lists, trees by x/mod's tlog.
type model struct {
	leaves map[string][][]byte
	stored map[string][]tlog.Hash
	doors  map[querschott.Compartment]ledger.DoorMark
}

func (m *model) add(origin string, leaf []byte) error {
	n := int64(len(m.leaves[origin]))
	hashes, err := tlog.StoredHashes(n, leaf, m.reader(origin))
	m.leaves[origin] = append(m.leaves[origin], leaf)
	m.stored[origin] = append(m.stored[origin], hashes...)
	return err
}

func (m *model) reader(origin string) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, m.stored[origin][i])
		}
		return out, nil
	})
}

// TestModel drives the ledger with random calls, restarts, full disks and turns of the year, and compares with the model.
func TestModel(t *testing.T) {
	raced.Alone(t)
	rapid.Check(t, func(t *rapid.T) {
		d := crashdisk.New()
		now := midyear
		cfg := config(d, "d")
		cfg.SegmentSize, cfg.SnapshotBytes = 16<<10, 20<<10
		cfg.Now = func() time.Time { return now }
		m := &model{map[string][][]byte{}, map[string][]tlog.Hash{}, map[querschott.Compartment]ledger.DoorMark{}}
		l, err := ledger.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) { m.append(t, l, now.Year()) },
			"prove":  func(t *rapid.T) { m.prove(t, l) },
			"restart": func(t *rapid.T) {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if l, err = ledger.Open(cfg); err != nil {
					t.Fatal(err)
				}
			},
			"next year": func(*rapid.T) { now = now.AddDate(1, 0, 0) },
			"": func(t *rapid.T) {
				m.compare(t, l)
			},
		})
	})
}

func (m *model) append(t *rapid.T, l *ledger.Ledger, year int) {
	iks := append(insurers(3), "")
	entries := make([]ledger.Entry, rapid.IntRange(1, 12).Draw(t, "entries"))
	for i := range entries {
		entries[i] = access(rapid.SampledFrom(iks).Draw(t, "insurer"), i)
		if rapid.Bool().Draw(t, "door") {
			entries[i].Kind, entries[i].Epoch = ledger.KindDoorChange, rapid.Uint64Range(1, 9).Draw(t, "epoch")
			entries[i].Stages = ledger.Stages{Share: rapid.Uint8Max(100).Draw(t, "share"), Plan: [8]uint8{10, 100}, Every: time.Minute}
		}
	}
	receipts, err := l.Append(context.Background(), entries...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range receipts {
		r, e := &receipts[i], entries[i]
		want := ledger.InsurerOrigin(domain, e.Compartment.Insurer, year)
		if r.Origin != want || r.Index != uint64(len(m.leaves[want])) {
			t.Fatalf("entry %d is %d of %s, want %d of %s", i, r.Index, r.Origin, len(m.leaves[want]), want)
		}
		if err := m.add(want, r.Leaf()); err != nil {
			t.Fatal(err)
		}
		if e.Kind == ledger.KindDoorChange && e.Compartment.Insurer != "" {
			if e.Epoch >= m.doors[e.Compartment].Epoch {
				m.doors[e.Compartment] = ledger.DoorMark{Epoch: e.Epoch, Action: e.Action, Stages: e.Stages}
			}
		}
	}
	for _, i := range []int{0, len(receipts) - 1} { // verifying is the expensive part
		r := &receipts[i]
		got, err := proof.VerifyReceipt(r.Marshal(), r.Leaf(), r.VKey())
		if err != nil {
			t.Fatal(err)
		}
		root, err := tlog.TreeHash(int64(len(m.leaves[r.Origin])), m.reader(r.Origin))
		if err != nil || got.Root != root || got.Size != uint64(len(m.leaves[r.Origin])) {
			t.Fatalf("receipt %d has root %s, want %s, %v", i, got.Root, root, err)
		}
	}
}

func (m *model) prove(t *rapid.T, l *ledger.Ledger) {
	for origin, leaves := range m.leaves {
		i := rapid.IntRange(0, len(leaves)-1).Draw(t, "index")
		file, err := l.Prove(origin, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		got, err := proof.Parse(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := tlog.ProveRecord(int64(len(leaves)), int64(i), m.reader(origin))
		if err != nil || !slices.Equal(got.Path, want) {
			t.Fatalf("proof of %d: got %v, want %v, %v", i, got.Path, want, err)
		}
		e, err := l.Entry(origin, uint64(i))
		if err != nil || !slices.Equal(e.Bytes, leaves[i]) || e.Payload == nil {
			t.Fatalf("entry %d of %s: %+v, %v", i, origin, e, err)
		}
	}
}

func (m *model) compare(t *rapid.T, l *ledger.Ledger) {
	origins := 0
	for _, origin := range l.Origins() {
		leaves, ok := m.leaves[origin]
		if !ok {
			continue // a log of commits
		}
		origins++
		root, err := tlog.TreeHash(int64(len(leaves)), m.reader(origin))
		if err != nil {
			t.Fatal(err)
		}
		note, err := l.Checkpoint(origin)
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(string(note), "\n\n")
		got, err := proof.ParseCheckpoint(text + "\n")
		if want := (proof.Checkpoint{Origin: origin, Size: uint64(len(leaves)), Root: root}); err != nil || got != want {
			t.Fatalf("got %+v, want %+v, %v", got, want, err)
		}
	}
	if origins != len(m.leaves) {
		t.Fatalf("got %d logs, want %d", origins, len(m.leaves))
	}
	got := l.LastDoors()
	if fmt.Sprint(got) != fmt.Sprint(m.doors) {
		t.Fatalf("doors: got %v, want %v", got, m.doors)
	}
}

// When the disk is full, appends say so, nothing acknowledged is lost, and they go on when there is room again.
func TestFull(t *testing.T) {
	raced.Alone(t)
	for room := int64(0); room < 120<<10; room += 9 << 10 {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			d := crashdisk.New()
			cfg := config(d, "d")
			cfg.SegmentSize, cfg.SnapshotBytes = 16<<10, 8<<10
			l := open(t, cfg)
			ik := insurers(1)[0]
			acked := appendN(t, l, access(ik, 0))
			d.Limit(room)
			var full error
			for n := 1; full == nil && n < 3000; n++ {
				var r []ledger.Receipt
				if r, full = l.Append(context.Background(), access(ik, n)); full == nil {
					acked = append(acked, r...)
				}
			}
			if !disk.IsFull(full) || errors.Is(full, querschott.ErrHalt) {
				t.Fatalf("after %d entries: got %v", len(acked), full)
			}
			d.Limit(-1)
			for n := range 200 {
				acked = append(acked, appendN(t, l, access(ik, n))...)
			}
			checkAcked(t, l, acked)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			checkAcked(t, open(t, cfg), acked)
		})
	}
}

func checkAcked(t *testing.T, l *ledger.Ledger, acked []ledger.Receipt) {
	t.Helper()
	for i := range acked {
		r := &acked[i]
		e, err := l.Entry(r.Origin, r.Index)
		if err != nil || !slices.Equal(e.Bytes, r.Leaf()) || r.Index != uint64(i) {
			t.Fatalf("entry %d: %+v, %v", i, e, err)
		}
	}
	report, err := l.Verify(context.Background(), nil)
	if err != nil || len(report.Faults) > 0 || report.Entries != uint64(len(acked)) {
		t.Fatalf("%d acknowledged, %+v, %v", len(acked), report, err)
	}
}
