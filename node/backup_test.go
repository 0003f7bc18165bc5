package node

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/intake"
)

// TestBackupWhileMailFlows backs a node up under load and restores it elsewhere: what was accepted before the backup is
// delivered or waiting there.
func TestBackupWhileMailFlows(t *testing.T) {
	h := newHouse(t, 3, func(c *Config) { c.Insurers, c.Mail.Accounts = "kassen.yaml", "konten.json" })
	n := h.run()
	n.move(querschott.Open, h.compartment(0, querschott.EAU), h.compartment(1, querschott.EAU))
	var mails []drill.Mail
	for i := range 3 {
		mails = append(mails, h.notes(i, 60)...)
	}
	const before = 20 // of each insurer
	var accepted atomic.Int64
	enough, done := make(chan struct{}), make(chan struct{})
	var g errgroup.Group
	for i := range 3 {
		g.Go(func() error {
			c := n.client()
			for k := range 60 {
				if k == before {
					<-done // closed when the backup begins
				}
				if _, err := handIn(c, &mails[60*i+k]); err != nil {
					return err
				}
				if accepted.Add(1) == 3*before {
					close(enough)
				}
			}
			return c.Quit()
		})
	}
	<-enough
	close(done)
	dir := filepath.Join(h.dir, "backup")
	m, err := NewClient(h.cfg).Backup(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	want := map[querschott.Compartment]querschott.DoorState{}
	for _, c := range n.Compartments() {
		want[c] = n.Door(c).To
	}
	n.stop()
	restored := h.restore(dir, m.VKey)
	defer func() {
		if err := restored.Close(); err != nil {
			t.Error(err)
		}
	}()
	waiting := map[intake.Binding]bool{}
	if err := restored.WaitingBindings(func(_ querschott.Compartment, b intake.Binding) { waiting[b] = true }); err != nil {
		t.Fatal(err)
	}
	for i := range mails {
		b := mails[i].Binding()
		in, err := restored.Delivered(mails[i].Compartment, b)
		if err != nil {
			t.Fatal(err)
		}
		if i%60 < before && !in && !waiting[b] {
			t.Errorf("mail %d, accepted before the backup, is lost", i)
		}
	}
	got := map[querschott.Compartment]querschott.DoorState{}
	for _, c := range restored.Compartments() {
		got[c] = restored.Door(c).To
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("doors (-want +got):\n%s", diff)
	}
	if _, ok := restored.accounts.Authenticate(relayUser, h.password); !ok {
		t.Error("the restored node does not know the mail account")
	}
}

// restore restores a backup into a new directory with the original's key file, verified, and opens it.
func (h *house) restore(backup, vkey string) *Node {
	h.tb.Helper()
	dir := filepath.Join(h.dir, "restored")
	if _, err := Restore(h.tb.Context(), backup, dir, vkey, true, h.opt); err == nil || !strings.Contains(err.Error(), "nothing was restored") {
		h.tb.Fatalf("verified without a key file: %v", err)
	}
	if err := copyNew(h.cfg.Keyring.Key, filepath.Join(dir, "unlock.key")); err != nil {
		h.tb.Fatal(err)
	}
	r, err := Restore(h.tb.Context(), backup, dir, vkey, true, h.opt)
	if err != nil {
		h.tb.Fatal(err)
	}
	if r.Ledger == nil || len(r.Ledger.Faults) > 0 || r.Ledger.Entries == 0 || r.Cells != len(h.world.Insurers()) || r.Waiting < 20 {
		h.tb.Errorf("restored %+v", r)
	}
	if _, err := Restore(h.tb.Context(), backup, dir, vkey, false, h.opt); err == nil || !strings.Contains(err.Error(), "not empty") {
		h.tb.Errorf("restored over something: %v", err)
	}
	cfg, err := LoadConfig(r.Config)
	if err != nil {
		h.tb.Fatal(err)
	}
	cfg.Mail.StartTLS, cfg.Mail.TLS, cfg.Console.Listen = "", "", ""
	n, err := Open(context.WithoutCancel(h.tb.Context()), cfg, h.opt)
	if err != nil {
		h.tb.Fatal(err)
	}
	return n
}

func TestBackupHoldsNoKey(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	dir := filepath.Join(h.dir, "backup")
	if _, err := n.Backup(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(h.cfg.Keyring.Key)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(key))
	secret := lines[len(lines)-1]
	if !strings.HasPrefix(secret, "AGE-SECRET-KEY") {
		t.Fatalf("the key file's form is not known here")
	}
	operator, err := os.ReadFile(filepath.Join(h.dir, "operators", "anna.key"))
	if err != nil {
		t.Fatal(err)
	}
	if found := search(t, dir, secret, strings.TrimSpace(string(operator)), h.password); len(found) > 0 {
		t.Errorf("in the backup: %v", found)
	}
}

func TestDamagedBackups(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	dir := filepath.Join(h.dir, "backup")
	m, err := n.Backup(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckBackup(dir, ""); err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(dir, "data", "keyring.age")
	manifest := filepath.Join(dir, manifestFile)
	foreign := func() string {
		_, vkey, err := SignerFromSeed("machine."+h.cfg.Domain, make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		return vkey
	}
	for _, tc := range []struct {
		name, vkey, want string
		do               func() error
	}{
		{"another key", foreign(), "manifest is not valid", func() error { return nil }},
		{"a changed file", m.VKey, "keyring.age", func() error { return flip(victim) }},
		{"a missing file", m.VKey, "keyring.age", func() error { return os.Remove(victim) }},
		{"a foreign file", m.VKey, "stranger", func() error { return os.WriteFile(filepath.Join(dir, "data", "stranger"), nil, 0o600) }},
		{"a changed manifest", "", "manifest is not valid", func() error { return flip(manifest) }},
		{"an unsigned manifest", "", "not signed", func() error { return os.WriteFile(manifest, []byte("{}\n"), 0o600) }},
		{"no manifest", "", "couldn't read", func() error { return os.Remove(manifest) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			kept := filepath.Join(t.TempDir(), "kept")
			if err := copyTree(t.Context(), dir, kept); err != nil {
				t.Fatal(err)
			}
			if err := tc.do(); err != nil {
				t.Fatal(err)
			}
			if _, err := CheckBackup(dir, tc.vkey); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			to := filepath.Join(t.TempDir(), "to")
			if _, err := Restore(t.Context(), dir, to, tc.vkey, false, h.opt); err == nil {
				t.Error("it was restored")
			}
			if _, err := os.Stat(to); err == nil {
				t.Error("something was written")
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(kept, dir); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// flip changes one bit in the middle of a file.
func flip(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 1
	return os.WriteFile(file, b, 0o600)
}
