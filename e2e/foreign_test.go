//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// foreign is a script of npm/ at work. It is asked on standard input and reports as one JSON value.
type foreign struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr record
}

// startForeign starts what [script] prepares.
func startForeign(t *testing.T, dir, name, ca string, args ...string) *foreign {
	t.Helper()
	f := &foreign{name: name, cmd: script(t.Context(), dir, name, ca, args...)}
	f.cmd.Stderr = &f.stderr
	stdin, err := f.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	f.stdin, f.stdout = stdin, bufio.NewReader(stdout)
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return f
}

// line waits for a line that the script prints before it is told to go on.
func (f *foreign) line(t *testing.T) string {
	t.Helper()
	line, err := f.stdout.ReadString('\n')
	if err != nil {
		f.failed(t, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// report tells the script what it shall do, and reads what it reports at its end.
func (f *foreign) report(t *testing.T, asked, into any) {
	t.Helper()
	if err := json.NewEncoder(f.stdin).Encode(asked); err != nil {
		f.failed(t, err)
	}
	if err := f.stdin.Close(); err != nil {
		f.failed(t, err)
	}
	text, err := io.ReadAll(f.stdout)
	if err != nil {
		f.failed(t, err)
	}
	if err := f.cmd.Wait(); err != nil {
		t.Fatalf("%s ended with %v\n%s", f.name, err, tail(f.stderr.String(), 2000))
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s reports %.300q: %v", f.name, text, err)
	}
}

// failed ends the test with what the script has said: it ended too early.
func (f *foreign) failed(t *testing.T, err error) {
	t.Helper()
	ended := f.cmd.Wait()
	t.Fatalf("%s: %v; it ended with %v\n%s", f.name, err, ended, tail(f.stderr.String(), 2000))
}

// foreignAnswer is what a client of other people's parts was answered; not every script reports everything.
type foreignAnswer struct {
	Status                  int
	ETag, Pz, Type          string
	RequestID, Authenticate string
	RetryAfter, Cache       string
	Body                    string
	NamesPerson             bool
}

// refusal is an answer that must be a refusal, and what it must say.
type refusal struct {
	got    foreignAnswer
	status int
	text   string
}

// mustRefuse judges requests that must be refused: nothing of a person is in the answers.
func mustRefuse(t *testing.T, list map[string]refusal) {
	t.Helper()
	for name, want := range list {
		g := want.got
		if g.Status != want.status || !strings.Contains(g.Authenticate+g.Body, want.text) || g.NamesPerson || g.Pz != "" || g.ETag != "" {
			t.Errorf("%s: %d, want %d with %q: %s %.300s; names the person: %t; check number %q",
				name, g.Status, want.status, want.text, g.Authenticate, g.Body, g.NamesPerson, g.Pz)
		}
	}
}
