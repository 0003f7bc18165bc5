package ledger_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/raced"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/ledger/tile"
)

// fill appends n entries to one insurer's log, and some to another's.
func fill(tb testing.TB, l *ledger.Ledger, n int) {
	tb.Helper()
	iks := insurers(2)
	var batch []ledger.Entry
	for i := range n {
		if batch = append(batch, access(iks[0], i)); len(batch) == 1000 || i == n-1 {
			batch = append(batch, access(iks[1], i))
			appendN(tb, l, batch...)
			batch = nil
		}
	}
}

// TestExport writes logs in the layout of C2SP tlog-tiles and has other people's readers check them: torchwood and
// x/mod's tlog here. With QUERSCHOTT_EXPORT set to a directory the logs are left there, each with its verifier key in
// the file vkey beside it, for the readers that live in modules of their own (e2e/tessera).
func TestExport(t *testing.T) {
	raced.Alone(t)
	out := os.Getenv("QUERSCHOTT_EXPORT")
	if out == "" {
		out = t.TempDir()
	}
	cfg := config(disk.OS{}, t.TempDir())
	cfg.SegmentSize, cfg.SnapshotBytes = 1<<20, 4<<20
	l := open(t, cfg)
	const size = 70_000
	fill(t, l, size)
	for i, origin := range l.Origins() {
		dir := filepath.Join(out, fmt.Sprint(i))
		if err := l.Export(origin, dir); err != nil {
			t.Fatal(err)
		}
		vkey, err := l.VKey(origin)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+".vkey", []byte(vkey), 0o600); err != nil {
			t.Fatal(err)
		}
		readAsOthers(t, l, origin, vkey, dir)
	}
	origin := ledger.InsurerOrigin(domain, insurers(1)[0], 2026)
	for i, o := range l.Origins() {
		if o == origin {
			checkFiles(t, filepath.Join(out, fmt.Sprint(i)), size)
		}
	}
}

// checkFiles compares the exported tree with the set of tiles that a log of its size has, file by file.
func checkFiles(t *testing.T, dir string, size uint64) {
	t.Helper()
	want := map[string]int64{"checkpoint": 0}
	err := tile.Set(size, func(r tile.Ref) error {
		want[r.Path()] = int64(r.W) * 32
		if r.Entries {
			want[r.Path()] = int64(r.W) * (2 + ledger.LeafSize)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, dir+string(filepath.Separator)))
		if got[name] = info.Size(); name == "checkpoint" {
			got[name] = 0
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}

// readAsOthers reads a log with torchwood's client and proves entries with x/mod's tlog from the tiles, and compares
// with the proofs that the ledger gives.
func readAsOthers(t *testing.T, l *ledger.Ledger, origin, vkey, dir string) {
	t.Helper()
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(origin), torchwood.SingleVerifierPolicy(v))
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	head, _, err := torchwood.VerifyCheckpoint(signed, policy)
	if err != nil {
		t.Fatal(err)
	}
	tiles, err := torchwood.NewTileFS(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	client, err := torchwood.NewClient(tiles)
	if err != nil {
		t.Fatal(err)
	}
	hashes := torchwood.TileHashReaderWithContext(t.Context(), head.Tree, tiles)
	n := int64(0)
	for i, entry := range client.AllEntries(t.Context(), head.Tree, 0) {
		if i != n {
			t.Fatalf("%s: entry %d comes after %d", origin, i, n-1)
		}
		n++
		if i%(head.N/20+1) != 0 {
			continue
		}
		path, err := tlog.ProveRecord(head.N, i, hashes)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(path, head.N, head.Hash, i, tlog.RecordHash(entry)); err != nil {
			t.Fatal(err)
		}
		file, err := l.Prove(origin, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(torchwood.FormatProof(i, path, signed)), string(file)); d != "" {
			t.Fatalf("%s: proof of %d (-others +ours):\n%s", origin, i, d)
		}
		if err := torchwood.VerifyProof(policy, tlog.RecordHash(entry), file); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Err(); err != nil || n != head.N {
		t.Fatalf("%s: read %d of %d entries: %v", origin, n, head.N, err)
	}
	checkConsistency(t, l, head, signed, v, hashes)
}

func checkConsistency(
	t *testing.T, l *ledger.Ledger, head torchwood.Checkpoint, signed []byte, v note.Verifier, hashes tlog.HashReader,
) {
	t.Helper()
	newer, err := proof.OpenCheckpoint(signed, v)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{1, 2, head.N / 2, head.N - 1, head.N} {
		if size < 1 || size > head.N {
			continue
		}
		root, err := tlog.TreeHash(size, hashes)
		if err != nil {
			t.Fatal(err)
		}
		path, err := l.Consistency(head.Origin, uint64(size), uint64(head.N))
		if err != nil {
			t.Fatal(err)
		}
		older := proof.Checkpoint{Origin: head.Origin, Size: uint64(size), Root: root}
		if err := proof.CheckConsistency(older, newer, path); err != nil {
			t.Errorf("%s: %d to %d: %v", head.Origin, size, head.N, err)
		}
	}
	if _, err := l.Consistency(head.Origin, uint64(head.N), uint64(head.N)+1); err == nil {
		t.Error("a proof for a size that isn't there")
	}
}

// A log of 70,000 entries verifies as a whole, before and after a restart.
func TestVerifyLarge(t *testing.T) {
	raced.Alone(t)
	dir := t.TempDir()
	cfg := config(disk.OS{}, dir)
	cfg.SegmentSize, cfg.SnapshotBytes = 1<<20, 4<<20
	l := open(t, cfg)
	fill(t, l, 70_000)
	for range 2 {
		told := uint64(0)
		report, err := l.Verify(context.Background(), func(n uint64) { told = n })
		if err != nil {
			t.Fatal(err)
		}
		want := &ledger.Report{Logs: 3, Entries: 70_070, Commits: 70, Signatures: report.Signatures}
		if d := cmp.Diff(want, report); d != "" || report.Signatures < 3 || told == 0 {
			t.Errorf("told %d, (-want +got):\n%s", told, d)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, cfg)
	}
}
