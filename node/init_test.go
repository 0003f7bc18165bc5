package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
)

// TestInitGoesOnWhereItWasInterrupted removes what a crash at each step would not have left.
func TestInitGoesOnWhereItWasInterrupted(t *testing.T) {
	for _, lost := range [][]string{
		{},
		{"operators.yaml", "operators/anna.key", "operators/ben.key"},
		{"data/keyring.age", "data/keyring.pub", "operators.yaml", "operators/anna.key", "operators/ben.key"},
		{"unlock.key", "data/keyring.age", "data/keyring.pub", "operators.yaml", "operators/anna.key", "operators/ben.key"},
	} {
		h := newHouse(t, 1)
		kept, err := os.ReadFile(h.cfg.Keyring.Key)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range append(lost, ConfigFile) {
			if err := os.Remove(filepath.Join(h.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		cfg := Default()
		cfg.Domain = h.cfg.Domain
		if _, err := Init(h.dir, InitOptions{Config: cfg, Operators: []querschott.Actor{anna, ben}}); err != nil {
			t.Errorf("without %v: %v", lost, err)
			continue
		}
		if key, err := os.ReadFile(h.cfg.Keyring.Key); err != nil || len(lost) < 6 && string(key) != string(kept) {
			t.Errorf("without %v the key file was replaced: %v", lost, err)
		}
		list, err := LoadOperators(h.cfg.Operators)
		if err != nil || len(list) != 2 {
			t.Errorf("without %v there are %d operators: %v", lost, len(list), err)
		}
		h.signer(anna)
		h.signer(ben)
		if _, err := os.Stat(filepath.Join(h.dir, ConfigFile+".tmp")); !os.IsNotExist(err) {
			t.Errorf("without %v a draft was left: %v", lost, err)
		}
	}
}

func TestInitWithTwoPassphrases(t *testing.T) {
	dir, typed := t.TempDir(), 0
	cfg := Default()
	cfg.Keyring.Unlock = "passphrase"
	opt := InitOptions{Config: cfg, WorkFactor: 4, Passphrase: func() ([]byte, error) {
		typed++
		return fmt.Appendf(nil, "passphrase number %d", typed), nil
	}}
	if _, err := Init(dir, opt); err == nil {
		t.Fatal("a passphrase that was typed differently the second time was taken")
	}
	opt.Passphrase = passphrase
	if _, err := Init(dir, opt); err != nil {
		t.Errorf("after a mistyped passphrase: %v", err)
	}
}

func TestOperatorNames(t *testing.T) {
	h := newHouse(t, 1)
	for _, name := range []querschott.Actor{"", "querschott", "../anna", "a.b", "a b", "a+b", "jörg", querschott.Actor(strings.Repeat("a", 33)), "a\nb"} {
		if _, err := h.cfg.AddOperator(name, h.dir); err == nil {
			t.Errorf("the operator %q was added", name)
		}
		if _, err := Init(filepath.Join(h.dir, "other"), InitOptions{Operators: []querschott.Actor{name}}); err == nil {
			t.Errorf("a directory was made with the operator %q", name)
		}
	}
	if _, err := os.Stat(filepath.Join(h.dir, "other")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused name has left something: %v", err)
	}
}

// TestListsAreChangedByManyCommandsAtOnce loses nobody.
func TestListsAreChangedByManyCommandsAtOnce(t *testing.T) {
	h := newHouse(t, 1)
	world := drill.NewWorld(11, 12, 120).Insurers()
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			if _, err := h.cfg.AddOperator(querschott.Actor(fmt.Sprintf("op%d", i)), h.dir); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			in := Insurer{IK: world[i].IK, Name: "x", Addresses: []string{fmt.Sprintf("a%d@b.kim.telematik-test", i)}}
			if err := h.cfg.AddInsurers(in); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	operators, err := LoadOperators(h.cfg.Operators)
	if err != nil || len(operators) != 14 {
		t.Errorf("%d operators, want 14: %v", len(operators), err)
	}
	insurers, err := LoadInsurers(h.cfg.Insurers)
	if err != nil || len(insurers) != 13 {
		t.Errorf("%d insurers, want 13: %v", len(insurers), err)
	}
}

// TestRestoreWritesOnlyWhereItMay signs a backup whose configuration names a foreign place with a key of its own.
func TestRestoreWritesOnlyWhereItMay(t *testing.T) {
	h := newHouse(t, 1)
	elsewhere := filepath.Join(t.TempDir(), "accounts.json")
	text, err := os.ReadFile(h.cfg.file)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), `accounts: "accounts.json"`, fmt.Sprintf("accounts: %q", elsewhere), 1))
	if err := os.WriteFile(h.cfg.file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	accounts, err := os.ReadFile(h.cfg.Mail.Accounts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(elsewhere, accounts, 0o600); err != nil {
		t.Fatal(err)
	}
	if h.cfg, err = LoadConfig(h.cfg.file); err != nil {
		t.Fatal(err)
	}
	n := h.open()
	backup := filepath.Join(h.dir, "backup")
	m, err := n.Backup(t.Context(), backup)
	if err := errors.Join(err, n.Close(), os.Remove(elsewhere)); err != nil {
		t.Fatal(err)
	}
	_, err = Restore(t.Context(), backup, filepath.Join(h.dir, "restored"), "", false, h.opt)
	if err == nil || !strings.Contains(err.Error(), elsewhere) {
		t.Errorf("a backup of an unknown signer says where to write: %v", err)
	}
	if _, err := os.Stat(elsewhere); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
	if _, err := Restore(t.Context(), backup, filepath.Join(h.dir, "restored"), m.VKey, false, h.opt); err != nil {
		t.Errorf("with the signer's key: %v", err)
	}
	if _, err := os.Stat(elsewhere); err != nil {
		t.Error(err)
	}
}
