package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/proof"
)

// lost returns the directory of a node as a power cut leaves it that comes now: the newest entries are in no pack yet.
func (r *live) lost() *Config {
	r.h.tb.Helper()
	dir := r.h.tb.TempDir()
	cfg := *r.h.cfg
	cfg.Data = filepath.Join(dir, "data")
	if err := r.ledger.Backup(filepath.Join(cfg.Data, "ledger")); err != nil {
		r.h.tb.Fatal(err)
	}
	for _, name := range []string{"keyring.age", "keyring.pub"} {
		if err := copyOne(r.path(name), filepath.Join(cfg.Data, name)); err != nil {
			r.h.tb.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(cfg.Data, "ledger", "lock"), nil, 0o600); err != nil {
		r.h.tb.Fatal(err)
	}
	return &cfg
}

func (h *house) stopped(cfg *Config, vkey string) *StoppedLedger {
	h.tb.Helper()
	s, err := cfg.OpenStopped(h.opt.Passphrase, vkey)
	if err != nil {
		h.tb.Fatal(err)
	}
	return s
}

// TestLedgerOfAStoppedNode reads the ledger that a power cut leaves, entries included that are in its newest file only, and changes
// nothing on the disk.
func TestLedgerOfAStoppedNode(t *testing.T) {
	h := newHouse(t, 1)
	if _, err := h.cfg.OpenStopped(nil, ""); !errors.Is(err, ErrNotRunning) {
		t.Errorf("where no node has run: %v", err)
	}
	n := h.run()
	n.openAll()
	origin := h.origin(h.world.Insurers()[0].IK)
	want, err := stretch(n.ledger, origin, 0, 1000)
	if err != nil || len(want) == 0 {
		t.Fatal(len(want), err)
	}
	if _, err := h.cfg.OpenStopped(nil, ""); !errors.Is(err, ledger.ErrLocked) {
		t.Errorf("while a node runs: %v", err)
	}
	cfg := n.lost()
	packs, err := os.ReadDir(filepath.Join(cfg.Data, "ledger", "packs"))
	if err != nil {
		t.Fatal(err)
	}
	before, _, err := hashTree(cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	s := h.stopped(cfg, "")
	if got, err := s.LedgerShow(t.Context(), origin, 0, 1000); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("with %d packs: %v %s", len(packs), err, cmp.Diff(want, got))
	}
	if r, err := s.LedgerVerify(t.Context()); err != nil || len(r.Faults) > 0 || r.Entries < uint64(len(want)) || r.Signatures == 0 {
		t.Errorf("verified: %+v, %v", r, err)
	}
	last := uint64(len(want) - 1)
	p, err := s.LedgerProve(t.Context(), origin, last)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := proof.Verify([]byte(p.Proof), p.Entry, p.VKey); err != nil || at.Origin != origin || at.Size != last+1 {
		t.Errorf("proved: %+v, %v", at, err)
	}
	if _, err := s.LedgerShow(t.Context(), "x", 0, 1); querschott.CodeOf(err) != querschott.CodeNotFound {
		t.Errorf("no log: %v", err)
	}
	list, err := s.LedgerOrigins(t.Context())
	if err != nil || len(list) < 3 || list[0].Checkpoint == "" {
		t.Errorf("logs: %+v, %v", list, err)
	}
	if _, err := ledger.Open(ledgerConfig(cfg, n)); !errors.Is(err, ledger.ErrLocked) {
		t.Errorf("a node starts while somebody looks: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if after, _, err := hashTree(cfg.Data); err != nil || cmp.Diff(before, after) != "" {
		t.Errorf("looking has changed %s, %v", cmp.Diff(before, after), err)
	}
	l, err := ledger.Open(ledgerConfig(cfg, n))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func ledgerConfig(cfg *Config, n *live) ledger.Config {
	seed, err := n.keyring.Secret("ledger/signing", 32)
	if err != nil {
		n.h.tb.Fatal(err)
	}
	return ledger.Config{FS: disk.OS{}, Dir: filepath.Join(cfg.Data, "ledger"), Domain: cfg.Domain, Seed: seed, Secret: n.years.secret}
}

// TestLedgerWithoutTheKeyring shows what is left without the key file: everything that is not sealed, held against a key that
// somebody was given.
func TestLedgerWithoutTheKeyring(t *testing.T) {
	h := newHouse(t, 1)
	n := h.run()
	n.openAll()
	origin := h.origin(h.world.Insurers()[0].IK)
	vkey, err := n.ledger.VKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	want, err := stretch(n.ledger, origin, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	cfg := n.lost()
	n.stop()
	cfg.Keyring.Key += ".away"
	if _, err := cfg.OpenStopped(nil, ""); err == nil || !strings.Contains(err.Error(), "--vkey") {
		t.Errorf("without key file and key: %v", err)
	}
	s := h.stopped(cfg, vkey)
	got, err := s.LedgerShow(t.Context(), origin, 0, 1000)
	if err != nil || len(got) != len(want) || s.Sealed() == nil {
		t.Fatalf("%d entries of %d: %v, %v", len(got), len(want), err, s.Sealed())
	}
	for i := range got {
		w := want[i]
		w.Sealed, w.Actor, w.Persons, w.RequestID, w.Detail = true, "", nil, "", nil
		if d := cmp.Diff(w, got[i]); d != "" {
			t.Error(d)
		}
	}
	if r, err := s.LedgerVerify(t.Context()); err != nil || len(r.Faults) > 0 || r.Entries < uint64(len(want)) {
		t.Errorf("verified: %+v, %v", r, err)
	}
	if _, err := s.LedgerProve(t.Context(), origin, 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("proved: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	_, foreign, err := SignerFromSeed(origin, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.OpenStopped(nil, foreign); !errors.Is(err, querschott.ErrHalt) {
		t.Errorf("with a foreign key: %v", err)
	}
	if _, err := h.cfg.OpenStopped(nil, foreign); !errors.Is(err, ErrForeignKey) {
		t.Errorf("with a foreign key, and the keyring: %v", err)
	}
	closed := h.stopped(h.cfg, vkey) // as a node leaves it that was stopped in order
	if got, err := closed.LedgerShow(t.Context(), origin, 0, 1000); err != nil || len(got) < len(want) {
		t.Errorf("after an orderly end: %d entries of %d, %v", len(got), len(want), err)
	}
	if err := closed.Close(); err != nil {
		t.Error(err)
	}
}
