package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/querschott/querschott"
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

// Restore puts a backup to where its configuration says, as if that lay in the directory. It overwrites nothing: data
// directory and copies of the journal must be empty, the configuration's files must not exist. The key file is not in the
// backup. With verify, which needs the key file in its place, the node is opened, without listening anywhere, and its ledger
// is verified.
func Restore(ctx context.Context, backup, dir, vkey string, verify bool, opt Options) (r Restored, err error) {
	if r.Manifest, err = CheckBackup(backup, vkey); err != nil {
		return r, err
	}
	r.Files, r.Bytes = len(r.Manifest.Files), r.Manifest.Bytes
	config := filepath.Join(backup, "config")
	cfg, err := loadConfig(filepath.Join(config, ConfigFile), dir)
	if err != nil {
		return r, err
	}
	if out := cfg.outside(); vkey == "" && out != "" {
		return r, fmt.Errorf("nothing was restored: the backup's configuration names %s, outside of %s; say with --vkey whose signature the backup must have",
			out, cfg.dir)
	}
	if _, err := os.Stat(cfg.Keyring.Key); verify && err != nil {
		return r, fmt.Errorf("nothing was restored: to verify, the keyring's key file must be in its place: %w", err)
	}
	for _, d := range append([]string{cfg.Data}, cfg.Intake.Copies...) {
		if entries, err := os.ReadDir(d); err == nil && len(entries) > 0 {
			return r, querschott.Refuse(querschott.CodeConflict, "nothing was restored: %s is not empty", d)
		}
	}
	r.Config = filepath.Join(dir, ConfigFile)
	if err := copyNew(filepath.Join(config, ConfigFile), r.Config); err != nil {
		return r, err
	}
	for name, file := range cfg.lists() {
		if err := copyNew(filepath.Join(config, name), file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
	}
	for _, c := range cfg.Intake.Copies {
		if err := copyTree(ctx, filepath.Join(backup, "journal"), c); err != nil {
			return r, err
		}
	}
	if err := copyTree(ctx, filepath.Join(backup, "data"), cfg.Data); err != nil {
		return r, err
	}
	if !verify {
		return r, nil
	}
	return r, r.verify(ctx, cfg, opt)
}

// outside names a place outside of the configuration's directory that a restore would write to. Whoever can change a backup
// can sign its manifest with some key; only a backup whose signer is known may say where to write.
func (c *Config) outside() string {
	places := append([]string{c.Data}, c.Intake.Copies...)
	for _, file := range c.lists() {
		places = append(places, file)
	}
	slices.Sort(places)
	for _, p := range places {
		if rel, err := filepath.Rel(c.dir, p); err != nil || !filepath.IsLocal(rel) {
			return p
		}
	}
	return ""
}

// copyNew copies a file to a place where none is.
func copyNew(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return copyOne(from, to)
}

func (r *Restored) verify(ctx context.Context, cfg *Config, opt Options) (err error) {
	quiet := *cfg
	quiet.Mail.StartTLS, quiet.Mail.TLS, quiet.Console.Listen = "", "", ""
	quiet.HTTP.Listen, quiet.HTTP.AccessLog, quiet.Telemetry, quiet.Watch.Feeds = "", "", TelemetryConfig{}, nil
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
