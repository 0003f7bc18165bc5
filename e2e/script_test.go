//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/internal/wait"
)

// TestScripts runs the commands as an administrator does: testdata/script. Besides testscript's own commands there are
//
//	exit CODE ARGS...     runs querschott and wants this exit code
//	json ARGS...          runs querschott -o json, wants code 0 or 5 and one JSON value on standard output
//	until REGEXP ARGS...  runs querschott until its standard output matches
//	loopback CONFIG       sets free loopback ports, and makes certificates where the configuration wants them
//	flip FILE OFFSET      turns one bit of a file over
//	password FILE         checks that an account was printed with its password, and writes the password into the file
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"PATH", "GORACE"} {
				e.Setenv(name, os.Getenv(name))
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit": scriptExit, "json": scriptJSON, "until": func(ts *testscript.TestScript, neg bool, args []string) { scriptUntil(ts, wait.Over(t), neg, args) },
			"loopback": scriptLoopback, "flip": scriptFlip, "password": scriptPassword,
		},
	})
}

// secrets are the forms in which the program keeps secrets. No command prints one of them.
var secrets = regexp.MustCompile(`PRIVATE\+KEY|AGE-SECRET-KEY|BEGIN (EC |RSA )?PRIVATE KEY`)

// invoke runs querschott, without the race detector, in the script's directory and shows what it printed to the script.
func invoke(ts *testscript.TestScript, args []string) (stdout string, code int) {
	cmd := exec.Command(plain, args...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "GORACE", "HOME", "TMPDIR", "QUERSCHOTT_CONFIG", "QUERSCHOTT_OPERATOR_KEY", "QUERSCHOTT_PASSPHRASE_FILE"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		ts.Fatalf("%v", err)
	}
	_, _ = ts.Stdout().Write(out.Bytes()) // both write into memory
	_, _ = ts.Stderr().Write(errs.Bytes())
	if secret := secrets.FindString(out.String() + errs.String()); secret != "" {
		ts.Fatalf("querschott %v prints a secret: %s...", args, secret)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func scriptExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE ARGS...")
	}
	if _, code := invoke(ts, args[1:]); strconv.Itoa(code) != args[0] {
		ts.Fatalf("querschott %v ended with %d, want %s", args[1:], code, args[0])
	}
}

func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	out, code := invoke(ts, append([]string{"-o", "json"}, args...))
	if neg || code != 0 && code != 5 {
		ts.Fatalf("querschott -o json %v ended with %d", args, code)
	}
	dec := json.NewDecoder(strings.NewReader(out))
	var v any
	if err := dec.Decode(&v); err != nil {
		ts.Fatalf("querschott -o json %v printed no JSON: %v", args, err)
	}
	if err := dec.Decode(&v); !errors.Is(err, io.EOF) {
		ts.Fatalf("querschott -o json %v printed more than one value", args)
	}
}

func scriptUntil(ts *testscript.TestScript, over <-chan time.Time, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP ARGS...")
	}
	wanted := regexp.MustCompile(args[0])
	for {
		if out, _ := invoke(ts, args[1:]); wanted.MatchString(out) {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-over:
			ts.Fatalf("querschott %v never printed %s", args[1:], args[0])
		}
	}
}

func scriptLoopback(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: loopback CONFIG")
	}
	file := ts.MkAbs(args[0])
	text := ts.ReadFile(file)
	for _, port := range []string{"2525", "2465", "8080"} {
		text = strings.Replace(text, `"127.0.0.1:`+port+`"`, `"127.0.0.1:0"`, 1)
	}
	ts.Check(os.WriteFile(file, []byte(text), 0o600))
	ca, err := drill.NewCA(time.Now())
	ts.Check(err)
	id, err := ca.Server(hostname, "127.0.0.1")
	ts.Check(err)
	dir := filepath.Join(filepath.Dir(file), "tls")
	ts.Check(id.Write(dir, "server"))
	ts.Check(os.Rename(filepath.Join(dir, "server.crt"), filepath.Join(dir, "cert.pem")))
	ts.Check(os.Rename(filepath.Join(dir, "server.key"), filepath.Join(dir, "key.pem")))
}

func scriptFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	offset, err := strconv.Atoi(args[1])
	ts.Check(err)
	data := []byte(ts.ReadFile(args[0]))
	if offset < 0 {
		offset += len(data)
	}
	data[offset] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

func scriptPassword(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: password FILE")
	}
	m := regexp.MustCompile(`(?m)^password: ([a-z2-7]{20,})$`).FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil {
		ts.Fatalf("no password was printed")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(m[1]), 0o600))
}

// TestHelp walks through all commands: each has a help text with its usage and a line for every flag.
func TestHelp(t *testing.T) {
	t.Parallel()
	var walk func(path []string)
	walked := 0
	subcommand := regexp.MustCompile(`(?m)^  ([a-z-]+) +\S`)
	walk = func(path []string) {
		walked++
		text := command(t, append(append([]string{}, path...), "--help")...)
		name := "querschott " + strings.Join(path, " ")
		if !strings.Contains(text, "Usage:\n  "+strings.TrimSpace(name)) || len(strings.SplitN(text, "\n", 2)[0]) < 15 {
			t.Errorf("%s --help says little:\n%s", name, text)
		}
		for _, line := range regexp.MustCompile(`(?m)^ +(-., )?--[a-z-]+.*$`).FindAllString(text, -1) {
			if !regexp.MustCompile(`--[a-z-]+( [a-zA-Z0-9]+)? {2,}\S`).MatchString(line) {
				t.Errorf("%s: a flag is not explained: %s", name, line)
			}
		}
		_, list, ok := strings.Cut(text, "Available Commands:\n")
		if !ok {
			return
		}
		list, _, _ = strings.Cut(list, "\n\n")
		for _, m := range subcommand.FindAllStringSubmatch(list, -1) {
			if m[1] != "help" {
				walk(append(append([]string{}, path...), m[1]))
			}
		}
	}
	walk(nil)
	if walked < 30 {
		t.Errorf("there are only %d commands", walked)
	}
	t.Logf("%d commands", walked)
}

// TestCompletion makes the shells' completion scripts.
func TestCompletion(t *testing.T) {
	t.Parallel()
	for shell, want := range map[string]string{"bash": "complete ", "zsh": "#compdef querschott", "fish": "complete -c querschott"} {
		if out := command(t, "completion", shell); !strings.Contains(out, want) {
			t.Errorf("completion %s prints nothing of use", shell)
		}
	}
	if out := command(t, "__complete", "door", "s"); !strings.HasPrefix(out, "set\t") {
		t.Errorf("'door s' is completed with %q", out)
	}
}
