//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// peers makes a directory in which the scripts of npm/ run with the packages that its lock file names. './test' installs
// them, once for each state of the lock file, outside the tree.
func peers(t testing.TB) string {
	t.Helper()
	need(t, "node")
	h := sha256.New()
	for _, name := range []string{"package.json", "package-lock.json"} {
		data, err := os.ReadFile(filepath.Join("npm", name))
		if err != nil {
			t.Fatal(err)
		}
		h.Write(data)
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	installed := filepath.Join(cache, "querschott", "npm-"+hex.EncodeToString(h.Sum(nil))[:16])
	if _, err := os.Stat(filepath.Join(installed, "built")); err != nil {
		missing(t, "the npm packages are not installed in %s; './test e2e' does it", installed)
	}
	dir := t.TempDir()
	scripts, err := filepath.Glob(filepath.Join("npm", "*.mjs"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	for _, from := range append(scripts, filepath.Join("npm", "package.json")) {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(from)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(installed, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// script prepares a run of one of the scripts; ca is the only authority that it believes besides the usual ones.
func script(ctx context.Context, dir, name, ca string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "node", append([]string{filepath.Join(dir, name)}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+ca, "NODE_NO_WARNINGS=1")
	return cmd
}
