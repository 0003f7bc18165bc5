//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/querschott/querschott"
)

// insideNamespace says that this process may mount, in a user namespace of its own.
const insideNamespace = "QUERSCHOTT_E2E_NAMESPACE"

// tmpfs mounts a small file system in memory and returns how to make it larger. Without the right to mount, the test runs
// once more in a user namespace, where it has it; then mounted is false and the test is over.
func tmpfs(t *testing.T, dir, size string) (resize func(size string), mounted bool) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("none", dir, "tmpfs", 0, "size="+size)
	if err != nil && os.Getenv(insideNamespace) == "" {
		again(t)
		return nil, false
	}
	if err != nil {
		missing(t, "no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return func(size string) {
		t.Helper()
		if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal(err)
		}
	}, true
}

// again runs this test in a process with a user and mount namespace of its own.
func again(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	switch {
	case len(out) == 0 && err != nil:
		missing(t, "no user namespace can be made here: %v", err)
	case err != nil:
		t.Fatalf("in a user namespace: %v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("in a user namespace:\n%s", out)
	}
}

// TestDiskFull fills the disk of one copy of the journal while doors are on hold: senders are asked to come again, nothing
// that was accepted is lost, an alarm is in the log, and with room it goes on by itself.
func TestDiskFull(t *testing.T) {
	i := install(t, 1)
	disk := filepath.Join(i.dir, "small-disk")
	resize, mounted := tmpfs(t, disk, "6m")
	if !mounted {
		return
	}
	i.set(t, map[string]string{"intake.copies": "[journal-a, small-disk/journal-b]", "intake.segment": "1MiB", "intake.max_mail": "512KiB"})
	practice := i.world.Practices()[0]
	password := i.account(t, string(practice.KIM))
	p, at := i.serve(t)
	c, err := dial(t.Context(), at.TLS, i.tls(), string(practice.KIM), password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.hangUp()
	var promised []posted
	send := func() error {
		about := i.world.Person(len(promised) % i.world.Persons())
		m, err := practice.SickNote(about, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.deliver(string(m.From), string(m.To), m.Body); err != nil {
			return err
		}
		promised = append(promised, posted{m, about.Number})
		return nil
	}
	for err == nil && len(promised) < 10_000 {
		err = send()
	}
	const want = "452 4.3.1 no room at present, repeat later"
	if err == nil || !strings.Contains(answer(err), want) {
		t.Fatalf("after %d mails the answer is %v, want %s", len(promised), err, want)
	}
	full := len(promised)
	if full == 0 {
		t.Fatal("not even one mail was accepted")
	}
	if !strings.Contains(p.log.String(), "ALARM: the intake has no room") {
		t.Error("the log has no alarm")
	}
	spool, err := i.client(t).Spool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if spool.Messages != full || spool.Trouble == "" {
		t.Errorf("the spool says %d messages and trouble %q; %d were accepted", spool.Messages, spool.Trouble, full)
	}

	resize("64m")
	eventually(t, "mail is accepted again", func() bool {
		err := send()
		if err != nil && codeOf(err) != 452 {
			t.Fatal(err)
		}
		return err == nil
	})
	if err := send(); err != nil {
		t.Fatal(err)
	}
	client := i.client(t)
	i.openAll(t)
	eventually(t, "everything is delivered", func() bool {
		s, err := client.Spool(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Messages == 0 && s.Trouble == ""
	})
	p.stop(t)
	checkDelivered(t, i, []querschott.Compartment{{Insurer: i.world.Insurers()[0].IK, Service: querschott.EAU}}, promised)
	t.Logf("full after %d mails; %d in all", full, len(promised))
}
