//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/querschott/querschott/internal/wait"
)

// bin is the directory with the program under test, built with the race detector; a data race ends it with exit code 66.
var bin string

// plain is the same program without the race detector: for what is asked once and from one goroutine, as most commands are,
// for runs whose volume counts, and for those whose time does.
var plain string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "querschott-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // best effort: it lies in the system's temporary directory
	bin, plain = dir, filepath.Join(dir, "plain", "querschott")
	for _, args := range [][]string{{"-race", "-o", filepath.Join(dir, "querschott")}, {"-o", plain}} {
		cmd := exec.Command("go", append(append([]string{"build"}, args...), "../cmd/querschott")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "couldn't build the program: %v\n%s", err, out)
			return 1
		}
	}
	settings := map[string]string{
		"PATH": dir + string(os.PathListSeparator) + os.Getenv("PATH") + string(os.PathListSeparator) + "/usr/sbin",
		// Without the last, every process would wait a second at its end.
		"GORACE": "halt_on_error=1 exitcode=66 atexit_sleep_ms=20",
	}
	for name, value := range settings {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	for _, name := range []string{"QUERSCHOTT_CONFIG", "QUERSCHOTT_DEMO", "QUERSCHOTT_OPERATOR_KEY"} {
		if err := os.Unsetenv(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// long reports whether the long runs are wanted.
func long() bool { return os.Getenv("QUERSCHOTT_LONG") != "" }

// missing fails the test when CI=true and skips it otherwise.
func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// need finds a foreign program.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		missing(t, "%s is not installed: %v", program, err)
	}
	return path
}

// shared returns the files of the published test material that match a pattern, at least one. QUERSCHOTT_SHARED
// overrides its place, which is ../shared seen from the repository.
func shared(t testing.TB, pattern string) []string {
	t.Helper()
	dir := os.Getenv("QUERSCHOTT_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared")
	}
	files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		missing(t, "the shared test material is missing: nothing matches %s in %s", pattern, dir)
	}
	return files
}

// eventually asks again and again until the answer is yes. It gives up shortly before the test's deadline.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := wait.Context(t)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
