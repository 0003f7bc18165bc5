// Package tessera holds nothing but this test: Tessera's fsck, which isn't ours, checks logs that the ledger exported.
// It is a module of its own because Tessera brings about a hundred others.
package tessera

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
)

// export has the ledger's own test write logs into a directory: <n>/ in the layout of C2SP tlog-tiles, <n>.vkey beside it.
func export(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-run", "^TestExport$", "./ledger")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "QUERSCHOTT_EXPORT="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("couldn't export logs: %v\n%s", err, out)
	}
	return dir
}

// workers are more than one changed entry can make wrong tiles: each wrong tile ends a worker, and without workers fsck
// waits for ever.
const workers = 8

func check(t *testing.T, dir, vkey string) error {
	t.Helper()
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return fsck.New(v.Name(), v, &client.FileFetcher{Root: dir}, leafHashes, fsck.Opts{N: workers}).Check(t.Context())
}

// leafHashes is the hasher of Tessera's own fsck command.
func leafHashes(bundle []byte) ([][]byte, error) {
	b := &api.EntryBundle{}
	if err := b.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	var out [][]byte
	for _, e := range b.Entries {
		out = append(out, rfc6962.DefaultHasher.HashLeaf(e))
	}
	return out, nil
}

func TestFsck(t *testing.T) {
	root := export(t)
	keys, err := filepath.Glob(filepath.Join(root, "*.vkey"))
	if err != nil || len(keys) != 3 {
		t.Fatalf("got %d logs, want two insurers' and that of the commits; %v", len(keys), err)
	}
	for _, name := range keys {
		vkey, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		dir := strings.TrimSuffix(name, ".vkey")
		if err := check(t, dir, string(vkey)); err != nil {
			t.Errorf("%s: %v", vkey, err)
		}
		changed := ""
		for _, pattern := range []string{"tile/entries/000*", "tile/entries/000.p/*"} {
			found, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				if info, err := os.Stat(f); err == nil && info.Mode().IsRegular() {
					changed = f
				}
			}
		}
		b, err := os.ReadFile(changed)
		if err != nil {
			t.Fatal(err)
		}
		b[20] ^= 1
		if err := os.WriteFile(changed, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := check(t, dir, string(vkey)); err == nil {
			t.Errorf("%s: a changed entry was not found", vkey)
		}
	}
}

// TestLogs checks logs that somebody else has exported: QUERSCHOTT_LOGS is a directory with <n>/ and <n>.vkey.
func TestLogs(t *testing.T) {
	root := os.Getenv("QUERSCHOTT_LOGS")
	if root == "" {
		t.Skip("QUERSCHOTT_LOGS names no directory")
	}
	keys, err := filepath.Glob(filepath.Join(root, "*.vkey"))
	if err != nil || len(keys) == 0 {
		t.Fatalf("no log in %s: %v", root, err)
	}
	for _, name := range keys {
		vkey, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(t, strings.TrimSuffix(name, ".vkey"), string(vkey)); err != nil {
			t.Errorf("%s: %v", vkey, err)
		}
	}
}
