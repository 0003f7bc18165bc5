package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/querschott/querschott/ledger"
)

// Restored says what a restore found.
type Restored struct {
	Manifest Manifest       `json:"-"`
	Files    int            `json:"files"`
	Bytes    int64          `json:"bytes"`
	Config   string         `json:"config"`
	Ledger   *ledger.Report `json:"ledger,omitempty"`  // with verify
	Waiting  int            `json:"waiting,omitempty"` // with verify: messages in the journal
	Cells    int            `json:"cells,omitempty"`   // with verify: cells that opened
}

// Restore puts a backup into an empty directory, laid out as Init does. The key file is not in the backup; put it where the
// configuration says. With verify the node is opened there, without listening anywhere, and its ledger is verified.
func Restore(ctx context.Context, backup, dir, vkey string, verify bool, opt Options) (r Restored, err error) {
	if r.Manifest, err = CheckBackup(backup, vkey); err != nil {
		return r, err
	}
	r.Files, r.Bytes = len(r.Manifest.Files), r.Manifest.Bytes
	if err := fill(dir, filepath.Join(backup, "config")); err != nil {
		return r, err
	}
	r.Config = filepath.Join(dir, ConfigFile)
	cfg, err := LoadConfig(r.Config)
	if err != nil {
		return r, err
	}
	for _, c := range cfg.Intake.Copies {
		if err := fill(c, filepath.Join(backup, "journal")); err != nil {
			return r, err
		}
	}
	if err := fill(cfg.Data, filepath.Join(backup, "data")); err != nil {
		return r, err
	}
	if !verify {
		return r, nil
	}
	return r, r.verify(ctx, cfg, opt)
}

// fill copies a tree into a directory that must have nothing in it.
func fill(dir, from string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty; nothing is overwritten", dir)
	}
	return copyTree(from, dir)
}

func (r *Restored) verify(ctx context.Context, cfg *Config, opt Options) (err error) {
	if _, err := os.Stat(cfg.Keyring.Key); err != nil {
		return fmt.Errorf("restored, but not verified: put the keyring's key file to %s and verify again: %w", cfg.Keyring.Key, err)
	}
	quiet := *cfg
	quiet.Mail.StartTLS, quiet.Mail.TLS, quiet.Console.Listen = "", "", ""
	n, err := Open(ctx, &quiet, opt)
	if err != nil {
		return fmt.Errorf("restored, but the node does not open: %w", err)
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	r.Cells = len(n.cells)
	r.Waiting = n.Status().Mail.Waiting
	if r.Ledger, err = n.VerifyLedger(ctx); err != nil {
		return err
	}
	if len(r.Ledger.Faults) > 0 {
		return fmt.Errorf("restored, but the ledger does not verify: %s", r.Ledger.Faults[0])
	}
	if r.Cells < len(n.insurers) {
		return fmt.Errorf("restored, but only %d of %d cells open; see the log", r.Cells, len(n.insurers))
	}
	return nil
}
