//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/node"
)

const hostname = "localhost"

// installation is a node's directory, made with the commands that an administrator uses, for an invented world.
type installation struct {
	dir     string
	config  string
	world   *drill.World
	ca      *drill.CA
	program string // under test, as a shell would find it
}

// install makes a directory with every insurer of a world of the given size. Its SMTP ports are free ones of loopback.
func install(t testing.TB, insurers int) *installation {
	t.Helper()
	i := found(t, insurers)
	for _, in := range i.world.Insurers() {
		i.run(t, "insurer", "add", string(in.IK), "--name", in.Name, "--address", string(in.Address))
	}
	return i
}

// found is install without the insurers.
func found(t testing.TB, insurers int) *installation {
	t.Helper()
	dir := t.TempDir()
	i := &installation{program: "querschott", dir: dir, config: filepath.Join(dir, node.ConfigFile), world: drill.NewWorld(7, insurers, 100*insurers)}
	command(t, "init", dir, "--domain", "e2e.querschott.example")
	i.set(t, map[string]string{
		"mail.starttls": "127.0.0.1:0", "mail.tls": "127.0.0.1:0", "console.listen": `""`, "mail.hostname": hostname, "log.format": "json",
		"intake.segment": "4MiB", "intake.max_mail": "2MiB", // each start reads them through
	})
	var err error
	if i.ca, err = drill.NewCA(time.Now()); err != nil {
		t.Fatal(err)
	}
	certify(t, i.ca, filepath.Join(dir, "tls"))
	if err := i.ca.WriteCertificate(dir, "ca"); err != nil {
		t.Fatal(err)
	}
	if err := i.world.Enrol(i.ca); err != nil {
		t.Fatal(err)
	}
	return i
}

// certify writes cert.pem and key.pem for a server on loopback.
func certify(t testing.TB, ca *drill.CA, dir string) {
	t.Helper()
	id, err := ca.Server(hostname, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Write(dir, "server"); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"server.crt": "cert.pem", "server.key": "key.pem"} {
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
}

// set changes values of the configuration, by section and key.
func (i *installation) set(t testing.TB, values map[string]string) {
	t.Helper()
	data, err := os.ReadFile(i.config)
	if err != nil {
		t.Fatal(err)
	}
	lines, section, found := strings.Split(string(data), "\n"), "", 0
	for n, line := range lines {
		key, _, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		if strings.TrimLeft(key, " ") == key {
			section = key
			continue
		}
		if value, wanted := values[section+"."+strings.TrimSpace(key)]; wanted {
			lines[n] = key + ": " + value
			found++
		}
	}
	if found != len(values) {
		t.Fatalf("%d of the keys %v are in the configuration", found, slices.Sorted(maps.Keys(values)))
	}
	if err := os.WriteFile(i.config, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command runs a command that must succeed and returns its standard output.
func command(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), plain, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("querschott %s: %v\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

func (i *installation) run(t testing.TB, args ...string) string {
	t.Helper()
	return command(t, append([]string{"--config", i.config}, args...)...)
}

// account makes a mail account and returns its password.
func (i *installation) account(t testing.TB, address string, flags ...string) string {
	t.Helper()
	var made struct{ Password string }
	out := i.run(t, append([]string{"-o", "json", "account", "add", address}, flags...)...)
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Password == "" {
		t.Fatalf("account add printed %q: %v", out, err)
	}
	return made.Password
}

func (i *installation) load(t testing.TB) *node.Config {
	t.Helper()
	cfg, err := node.LoadConfig(i.config)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func (i *installation) client(t testing.TB) *node.Client { return node.NewClient(i.load(t)) }

func (i *installation) tls() *tls.Config {
	return &tls.Config{RootCAs: i.ca.Pool(), ServerName: hostname, MinVersion: tls.VersionTLS12}
}

// operator loads an operator's key.
func (i *installation) operator(t testing.TB, name querschott.Actor) note.Signer {
	t.Helper()
	s, err := node.LoadOperatorKey(filepath.Join(i.dir, "operators", string(name)+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openAll has two operators open every door.
func (i *installation) openAll(t testing.TB) {
	t.Helper()
	i.run(t, "door", "set", "all", "open", "--key", filepath.Join(i.dir, "operators", "anna.key"), "--reason", "start")
	i.run(t, "door", "approve", "--all", "--key", filepath.Join(i.dir, "operators", "ben.key"))
}

// mover returns a function that moves one door with the operators' keys: anna proposes, ben approves what needs two. A
// door that opens does so at once, for everybody.
func (i *installation) mover(t testing.TB) func(context.Context, querschott.Compartment, querschott.DoorState) error {
	client, anna, ben := i.client(t), i.operator(t, "anna"), i.operator(t, "ben")
	known, err := client.Verifiers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, c querschott.Compartment, to querschott.DoorState) error {
		m, err := client.Order(ctx, node.DraftRequest{Compartment: c, To: to, Reason: "moved by a test", Incident: "VF-7", Stages: node.StagesNone, Actor: "anna"}, anna)
		if querschott.CodeOf(err) == querschott.CodeConflict {
			return nil // it is in that state already
		}
		if err == nil && m.Proposal != nil {
			_, err = client.Approve(ctx, *m.Proposal, known, ben)
		}
		return err
	}
}

// process is a running 'querschott serve'.
type process struct {
	cmd   *exec.Cmd
	ready chan node.Addresses // one value, or closed without one
	ended chan struct{}
	log   *record

	err error // of the process; valid after ended
}

// record keeps what a process writes.
type record struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// start starts the node. It may not be ready yet.
func (i *installation) start(t testing.TB) *process {
	t.Helper()
	p := &process{cmd: exec.Command(i.program, "--config", i.config, "serve"), ready: make(chan node.Addresses, 1), ended: make(chan struct{}), log: &record{}}
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.follow(out)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		if t.Failed() { // the runtime writes what every goroutine does, and ends the process
			_ = p.cmd.Process.Signal(syscall.SIGQUIT)
			select {
			case <-p.ended:
			case <-time.After(10 * time.Second):
			}
			t.Logf("the node's log:\n%s", tail(p.log.String(), 256<<10))
		}
		_ = p.cmd.Process.Kill() // it has ended already, unless the test failed
		<-p.ended
	})
	return p
}

// follow reads the log until its end and finds the line that says where the node listens.
func (p *process) follow(out io.Reader) {
	defer close(p.ready)
	lines := bufio.NewReader(out)
	found := false
	for {
		line, err := lines.ReadBytes('\n')
		_, _ = p.log.Write(line) // never fails
		var said struct{ Msg, StartTLS, TLS string }
		if !found && json.Unmarshal(line, &said) == nil && said.Msg == "ready" {
			found = true
			p.ready <- node.Addresses{StartTLS: said.StartTLS, TLS: said.TLS}
		}
		if err != nil {
			return
		}
	}
}

// serve starts the node and waits until it is ready.
func (i *installation) serve(t testing.TB) (*process, node.Addresses) {
	t.Helper()
	p := i.start(t)
	at, ok := <-p.ready
	if !ok {
		<-p.ended
		t.Fatalf("the node did not start: %v\n%s", p.err, p.log)
	}
	return p, at
}

// stop asks the node to stop, which must end well.
func (p *process) stop(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if p.err != nil {
		t.Fatalf("the node stopped with %v\n%s", p.err, tail(p.log.String(), 8<<10))
	}
}

// kill ends the node as a power failure of the process would: SIGKILL.
func (p *process) kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	<-p.ended
	if code := p.cmd.ProcessState.ExitCode(); code != -1 {
		t.Fatalf("the node ended by itself, with exit code %d:\n%s", code, tail(p.log.String(), 8<<10))
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
