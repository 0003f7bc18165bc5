package ledger_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/internal/raced"
	"github.com/querschott/querschott/ledger"
)

// files lists everything that a ledger in memory has on its disk.
func files(t *testing.T, d *crashdisk.Disk, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, sub := range []string{"", "wal", "packs"} {
		names, err := d.List(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			name = filepath.Join(dir, sub, name)
			b, err := disk.ReadFile(d, name, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			out[name] = b
		}
	}
	return out
}

// Nothing on the disk, in a leaf or in a receipt shows who was concerned or who asked, nor an unkeyed hash of them.
func TestNothingInTheClear(t *testing.T) {
	d := crashdisk.New()
	l := open(t, config(d, "d"))
	ik := insurers(1)[0]
	e := access(ik, 1)
	e.Persons = []querschott.KVNR{person(5), person(4)}
	r := appendN(t, l, e, access(ik, 2))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var secrets []string
	for _, s := range []string{
		person(1).Reveal(), person(2).Reveal(), person(4).Reveal(), person(5).Reveal(), string(e.Actor), string(e.Credential),
		e.RequestID, e.Detail[0].Value,
	} {
		h := sha256.Sum256([]byte(s))
		secrets = append(secrets, s, string(h[:16]))
	}
	all := files(t, d, "d")
	all["receipt"] = r[0].Marshal()
	for name, b := range all {
		for _, s := range secrets {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s contains %q", name, s)
			}
		}
	}
	if len(all) < 5 {
		t.Errorf("only looked at %d files", len(all))
	}
	for i := range r {
		if text := fmt.Sprintf("%+v %#v", r[i], r[i]); strings.Contains(text, person(1).Reveal()) {
			t.Error("a receipt prints a KVNR")
		}
	}
	// The same person has another pseudonym with another insurer and in another year, and the same one in the same log.
	l = open(t, config(d, "d"))
	same := appendN(t, l, access(ik, 2), access(insurers(2)[1], 2))
	leaf := func(r ledger.Receipt) *ledger.Leaf {
		got, err := ledger.ParseLeaf(r.Leaf())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if leaf(r[1]).Person != leaf(same[0]).Person || leaf(same[0]).Person == leaf(same[1]).Person {
		t.Error("pseudonyms don't go with insurer and year")
	}
	if leaf(r[1]).Commit == leaf(same[0]).Commit {
		t.Error("the commitment isn't salted")
	}
	got, err := l.Entry(r[0].Origin, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []querschott.KVNR{person(1), person(4), person(5)}
	slices.Sort(want)
	if !slices.Equal(got.Payload.Persons, want) {
		t.Errorf("got %v, want %v", got.Payload.Persons, want)
	}
}

// A changed bit in what is on the disk is found: Open refuses, or Verify reports it, or reading fails; or it hit what
// doesn't matter, and everything is as it was. Only the very last commit may be taken for a torn one.
func TestEveryFlippedBitIsFound(t *testing.T) {
	raced.Alone(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, closed := range []bool{true, false} {
		d := crashdisk.New()
		cfg := config(d, "d")
		cfg.SegmentSize, cfg.SnapshotBytes = 16<<10, 16<<10
		l := open(t, cfg)
		ik := insurers(1)[0]
		var acked []ledger.Receipt
		for n := range 80 {
			acked = append(acked, appendN(t, l, access(ik, n))...)
		}
		if closed {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		} else if _, err := l.Entry(acked[0].Origin, 0); err != nil {
			t.Fatal(err)
		}
		at := d.Crash(rng)
		for name, b := range files(t, at, "d") {
			if len(b) == 0 {
				continue // the packs are made behind the writer's back: power can fail before the first byte is synced
			}
			for range 25 {
				off := rng.Int64N(int64(len(b)))
				bad := at.Crash(rng)
				if err := bad.Corrupt(name, off, uint(rng.IntN(8))); err != nil {
					t.Fatal(err)
				}
				if what := unharmed(bad, acked, closed); what != "" {
					t.Errorf("closed %v, byte %d of %s: %s", closed, off, name, what)
				}
			}
		}
	}
}

// unharmed opens a ledger and says what is wrong without having been found.
func unharmed(d *crashdisk.Disk, acked []ledger.Receipt, closed bool) string {
	cfg := config(d, "d")
	cfg.SegmentSize, cfg.SnapshotBytes = 16<<10, 16<<10
	l, err := ledger.Open(cfg)
	if err != nil {
		return ""
	}
	defer func() { _ = l.Close() }()
	report, err := l.Verify(context.Background(), nil)
	if err != nil || len(report.Faults) > 0 {
		return ""
	}
	if !closed {
		acked = acked[:len(acked)-1]
	}
	for i := range acked {
		e, err := l.Entry(acked[i].Origin, acked[i].Index)
		if errors.Is(err, ledger.ErrNoEntry) {
			return "an acknowledged entry is gone"
		}
		if err == nil && !bytes.Equal(e.Bytes, acked[i].Leaf()) {
			return "an entry has changed"
		}
		if err == nil && (e.Payload == nil || e.Payload.Detail[0].Value != access("", i).Detail[0].Value) {
			return "a payload has changed"
		}
	}
	return ""
}

// A ledger that was signed with another key is not gone on with.
func TestForeignKey(t *testing.T) {
	for _, closed := range []bool{true, false} {
		d := crashdisk.New()
		l := open(t, config(d, "d"))
		appendN(t, l, access(insurers(1)[0], 1))
		if closed {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		cfg := config(d.Crash(rand.New(rand.NewPCG(1, 1))), "d")
		cfg.Seed = bytes.Repeat([]byte{8}, 32)
		if _, err := ledger.Open(cfg); !errors.Is(err, querschott.ErrHalt) {
			t.Errorf("closed %v: got %v", closed, err)
		}
	}
}

// Lost files are noticed.
func TestMissingFiles(t *testing.T) {
	d := crashdisk.New()
	cfg := config(d, "d")
	cfg.SegmentSize, cfg.SnapshotBytes = 16<<10, 64<<10
	l := open(t, cfg)
	for n := range 200 {
		appendN(t, l, access(insurers(1)[0], n))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	state := d.Crash(rng)
	if err := state.Remove("d/state"); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Open(config(state, "d")); !errors.Is(err, querschott.ErrHalt) {
		t.Errorf("without its state: got %v", err)
	}
	wal := d.Crash(rng)
	for name := range files(t, wal, "d") {
		if strings.HasSuffix(name, ".wal") {
			if err := wal.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := ledger.Open(config(wal, "d")); !errors.Is(err, querschott.ErrHalt) {
		t.Errorf("without its WAL: got %v", err)
	}
	erased := d.Crash(rng)
	for name := range files(t, erased, "d") {
		if strings.HasSuffix(name, ".payload") && !strings.Contains(name, "commits") {
			if err := erased.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	l = open(t, config(erased, "d"))
	e, err := l.Entry(ledger.InsurerOrigin(domain, insurers(1)[0], 2026), 3)
	if err != nil || e.Payload != nil || e.Leaf.Kind != ledger.KindAccess {
		t.Errorf("after its payload was deleted: got %+v, %v", e, err)
	}
	report, err := l.Verify(context.Background(), nil)
	if err != nil || len(report.Faults) > 0 {
		t.Errorf("after payloads were deleted: %+v, %v", report, err)
	}
}

func TestSecondStart(t *testing.T) {
	cfg := config(disk.OS{}, t.TempDir())
	l := open(t, cfg)
	if _, err := ledger.Open(cfg); !errors.Is(err, ledger.ErrLocked) {
		t.Errorf("second start: got %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, cfg)
}

// A failing disk that isn't full stops the ledger for good, and what was acknowledged is there after a restart.
func TestBrokenDisk(t *testing.T) {
	d := crashdisk.New()
	l, err := ledger.Open(config(d, "d"))
	if err != nil {
		t.Fatal(err)
	}
	ik := insurers(1)[0]
	acked := appendN(t, l, access(ik, 0))
	broken := errors.New("input/output error")
	d.Fail(func(op, _ string) error {
		if op == "sync" {
			return broken
		}
		return nil
	})
	_, err = l.Append(context.Background(), access(ik, 1))
	if !errors.Is(err, broken) || !errors.Is(err, querschott.ErrHalt) {
		t.Errorf("got %v", err)
	}
	d.Fail(nil)
	if _, err := l.Append(context.Background(), access(ik, 1)); !errors.Is(err, querschott.ErrHalt) {
		t.Errorf("after a failed sync: got %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, config(d, "d"))
	e, err := again.Entry(acked[0].Origin, 0)
	if err != nil || !bytes.Equal(e.Bytes, acked[0].Leaf()) {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestConfig(t *testing.T) {
	for name, change := range map[string]func(*ledger.Config){
		"seed": func(c *ledger.Config) { c.Seed = c.Seed[:31] }, "domain": func(c *ledger.Config) { c.Domain = "a b" },
		"plus": func(c *ledger.Config) { c.Domain = "a+b" }, "segment": func(c *ledger.Config) { c.SegmentSize = 1 },
		"secret": func(c *ledger.Config) { c.Secret = nil },
	} {
		cfg := config(crashdisk.New(), "d")
		change(&cfg)
		if l, err := ledger.Open(cfg); err == nil {
			t.Errorf("%s: opened", name)
			_ = l.Close()
		}
	}
	cfg := config(crashdisk.New(), "d")
	cfg.Secret = func(querschott.IK, int) ([]byte, error) { return []byte("short"), nil }
	if _, err := open(t, cfg).Append(context.Background(), access("", 1)); err == nil {
		t.Error("a short secret was taken")
	}
}

// counting is a disk that counts the bytes that are read from it.
type counting struct {
	disk.FS
	packs, all atomic.Int64
}

func (c *counting) Open(name string) (disk.File, error) {
	f, err := c.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &counted{f, c, filepath.Base(filepath.Dir(name)) == "packs"}, nil
}

type counted struct {
	disk.File
	of   *counting
	pack bool
}

func (f *counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.of.all.Add(int64(n))
	if f.pack {
		f.of.packs.Add(int64(n))
	}
	return n, err
}

// A start reads the state and the WAL's tail, not the logs.
func TestStartReadsNoLogs(t *testing.T) {
	raced.Alone(t)
	dir := t.TempDir()
	cfg := config(disk.OS{}, dir)
	cfg.SegmentSize, cfg.SnapshotBytes = 0, 0
	l := open(t, cfg)
	iks := insurers(80)
	for n := range 500 {
		batch := make([]ledger.Entry, 200)
		for i := range batch {
			batch[i] = access(iks[(n+i)%80], n*200+i)
		}
		appendN(t, l, batch...)
	}
	for _, what := range []string{"a crash", "Close"} {
		if what == "Close" {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			cfg.Dir = filepath.Join(t.TempDir(), "copy") // looks like a ledger after a crash
			if err := l.Backup(cfg.Dir); err != nil {
				t.Fatal(err)
			}
		}
		read := &counting{FS: disk.OS{}}
		cfg.FS = read
		start := time.Now()
		again := open(t, cfg)
		took, packed := time.Since(start), int64(0)
		packs, err := os.ReadDir(filepath.Join(cfg.Dir, "packs"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range packs {
			if st, err := p.Info(); err == nil {
				packed += st.Size()
			}
		}
		t.Logf("start with 100,000 entries in 80 logs after %s: %s, %d bytes read; %d of %d in packs", what, took, read.all.Load(), read.packs.Load(), packed)
		if read.all.Load() == 0 || read.packs.Load() > packed/100 || what == "Close" && packed < 10<<20 { // whoever packs on may look at ends
			t.Errorf("after %s a start reads %d of %d bytes in packs, %d in all", what, read.packs.Load(), packed, read.all.Load())
		}
		if got := len(again.Origins()); got != 81 {
			t.Errorf("after %s there are %d logs", what, got)
		}
		cfg.Dir = dir
	}
}

// An idle ledger of 80 logs costs next to nothing, also right after a burst.
func TestIdleMemory(t *testing.T) {
	raced.Alone(t)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // pools give up what they hold at the second
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	cfg := config(disk.OS{}, t.TempDir())
	cfg.SegmentSize, cfg.SnapshotBytes = 0, 0
	l := open(t, cfg)
	iks := insurers(80)
	for n := range 100 {
		batch := make([]ledger.Entry, 400)
		for i := range batch {
			batch[i] = access(iks[i%80], n*400+i)
		}
		appendN(t, l, batch...)
	}
	grown := heap() - before
	t.Logf("80 logs after 40,000 entries: %d KiB", grown/1024)
	if grown > 24<<20 {
		t.Errorf("an idle ledger of 80 logs holds %d bytes", grown)
	}
	if len(l.Origins()) != 81 {
		t.Error("logs are missing")
	}
}

func TestWords(t *testing.T) {
	l := &ledger.Leaf{
		Kind: ledger.KindNotice, Action: ledger.ActionVerify, Data: ledger.DataConfiguration, Outcome: ledger.OutcomePartial,
		Reason: ledger.ReasonLaw, Purpose: ledger.PurposeAudit, Role: querschott.RoleMachine, Service: querschott.Desk,
		Insurer: insurers(1)[0], Time: midyear, Records: 1<<32 - 1, Epoch: 1<<64 - 1,
		Actor: ledger.Pseudonym{1}, Credential: ledger.Pseudonym{2}, Person: ledger.Pseudonym{3},
		Request: ledger.Pseudonym{4}, Commit: [32]byte{5}, Stages: ledger.Stages{Share: 50, Plan: [8]uint8{10, 50, 100}, Every: time.Minute},
	}
	got, err := ledger.ParseLeaf(l.Bytes())
	if d := cmp.Diff(l, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	words := fmt.Sprint(l.Kind, l.Action, l.Data, l.Outcome, l.Reason, l.Purpose, ledger.Kind(99))
	if want := "notice verify configuration partial law audit number 99"; words != want {
		t.Errorf("got %s, want %s", words, want)
	}
	if b, err := ledger.KindAccess.MarshalText(); err != nil || string(b) != "access" {
		t.Errorf("got %s, %v", b, err)
	}
}

func FuzzParseLeaf(f *testing.F) {
	f.Add((&ledger.Leaf{Kind: ledger.KindAccess, Insurer: "109500969", Service: querschott.EAU}).Bytes())
	f.Add((&ledger.Leaf{Kind: ledger.KindDoorChange, Stages: ledger.Stages{Share: 10, Plan: [8]uint8{10, 100}, Every: time.Second}}).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := ledger.ParseLeaf(b); err == nil && !bytes.Equal(l.Bytes(), b) {
			t.Errorf("%x was read as %+v", b, l)
		}
	})
}
