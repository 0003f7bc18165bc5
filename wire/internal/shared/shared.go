// Package shared finds the published test material that lies beside the repository, for tests of the wire packages.
// Nothing of it is ever copied into the repository.
package shared

import (
	"os"
	"path/filepath"
	"testing"
)

// Dir returns the directory named by rel below the shared material. Where the material is missing the test fails under
// CI=true and is skipped otherwise. QUERSCHOTT_SHARED overrides the place, which is ../shared seen from go.mod.
func Dir(t testing.TB, rel string) string {
	t.Helper()
	dir := filepath.Join(root(t), rel)
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the shared test material is missing: %v", err)
		}
		t.Skipf("the shared test material is missing: %v", err)
	}
	return dir
}

// File returns the octets of one file of the shared material, under the rules of [Dir].
func File(t testing.TB, rel string) []byte {
	t.Helper()
	b, err := os.ReadFile(Dir(t, rel))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Glob returns the files that match pattern below the shared material, at least one.
func Glob(t testing.TB, pattern string) []string {
	t.Helper()
	Dir(t, ".")
	names, err := filepath.Glob(filepath.Join(root(t), pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no shared test file matches %s (%v)", pattern, err)
	}
	return names
}

func root(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("QUERSCHOTT_SHARED"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "..", "shared")
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test's directory")
		}
		dir = up
	}
}

// Optional returns the octets of one file of the shared material for the seeds of a fuzz test, nil where it is missing.
func Optional(f *testing.F, rel string) []byte {
	f.Helper()
	b, err := os.ReadFile(filepath.Join(root(f), rel))
	if err != nil {
		return nil
	}
	return b
}
