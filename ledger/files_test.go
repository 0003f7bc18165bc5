package ledger_test

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func sha(s string) [32]byte { return sha256.Sum256([]byte(s)) }

// copyTree copies a ledger's directory as a crash would leave it that lost nothing. A WAL segment that is being made
// may be renamed meanwhile.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	for _, sub := range []string{"", "wal", "packs"} {
		entries, err := os.ReadDir(filepath.Join(from, sub))
		if err == nil {
			err = os.MkdirAll(filepath.Join(to, sub), 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(from, sub, e.Name()))
			if e.IsDir() || errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(to, sub, e.Name()), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
