package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
)

// A backup is a directory:
//
//	manifest       what it holds, signed by the platform's key
//	data/          as the data directory
//	journal/       one copy of the journal
//	config/        configuration, insurers, operators, accounts
//
// The key file of the keyring is not in it: who has a backup cannot read it.
const manifestFile = "manifest"

// Manifest says what a backup holds.
type Manifest struct {
	Domain string            `json:"domain"`
	Made   time.Time         `json:"made"`
	VKey   string            `json:"vkey"` // of the platform's key that signed the manifest
	Bytes  int64             `json:"bytes"`
	Files  map[string]string `json:"files"` // path in the backup -> SHA-256, hexadecimal
}

func (n *Node) controlBackup(r *http.Request) (any, error) {
	d, err := decode[struct {
		Dir string `json:"dir"`
	}](r)
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(d.Dir) {
		return nil, querschott.Refuse(querschott.CodeInvalid, "the backup's directory must be an absolute path")
	}
	if err := n.recordNode(r.Context(), ledger.ActionRead, ledger.KindExport, ledger.DataConfiguration, ledger.Field{Name: "backup", Value: d.Dir}); err != nil {
		return nil, err
	}
	return n.Backup(r.Context(), d.Dir)
}

// Backup copies the platform's state while it works. The journal is copied before the cells: what moves from one to the
// other meanwhile is in both, and a cell's cursor tells. The directory must not exist; it is removed again if the backup
// fails or the context ends.
func (n *Node) Backup(ctx context.Context, dir string) (m Manifest, err error) {
	if err := n.apart(dir); err != nil {
		return m, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return m, err
	}
	if err := os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
		return m, querschott.Refuse(querschott.CodeConflict, "%s exists already", dir)
	} else if err != nil {
		return m, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("couldn't back up to %s: %w", dir, err), os.RemoveAll(dir))
		}
	}()
	release := n.journal.Freeze()
	defer release()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		return m, err
	}
	for _, step := range []func(context.Context, string) error{n.backupConfig, n.backupJournal, n.backupCells, n.backupLedger} {
		if err := errors.Join(ctx.Err(), step(ctx, dir)); err != nil {
			return m, err
		}
	}
	return n.writeManifest(dir)
}

// apart refuses a directory inside of those that the node itself writes: a copy of a directory into itself has no end.
func (n *Node) apart(dir string) error {
	for _, own := range append([]string{n.cfg.Data}, n.cfg.Intake.Copies...) {
		if rel, err := filepath.Rel(resolved(own), resolved(dir)); err == nil && filepath.IsLocal(rel) {
			return querschott.Refuse(querschott.CodeInvalid, "%s lies inside of %s, which the node itself writes", dir, own)
		}
	}
	return nil
}

// resolved resolves the links in that part of a path which exists.
func resolved(path string) string {
	for rest := ""; ; {
		if at, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Join(at, rest)
		}
		if path == filepath.Dir(path) {
			return filepath.Join(path, rest)
		}
		path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
	}
}

func (n *Node) backupConfig(ctx context.Context, dir string) error {
	config := filepath.Join(dir, "config")
	if err := os.MkdirAll(config, 0o700); err != nil {
		return err
	}
	if err := copyOne(n.cfg.file, filepath.Join(config, ConfigFile)); err != nil {
		return err
	}
	for name, file := range n.cfg.lists() {
		if err := copyOne(file, filepath.Join(config, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // an empty list has no file
		}
	}
	for _, name := range []string{"keyring.age", "keyring.pub"} {
		if err := copyOne(n.path(name), filepath.Join(dir, "data", name)); err != nil {
			return err
		}
	}
	if err := copyOne(n.path(denyFile), filepath.Join(dir, "data", denyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // an empty list has no file
	}
	if err := copyTree(ctx, n.path(staffDir), filepath.Join(dir, "data", staffDir)); err != nil {
		return err
	}
	for _, sub := range []string{playbookDir, runDir} {
		if err := copyTree(ctx, n.path(sub), filepath.Join(dir, "data", sub)); err != nil {
			return err
		}
	}
	return copyTree(ctx, n.path("doors"), filepath.Join(dir, "data", "doors"))
}

// lists says where the files lie that a backup holds under these names, whatever they are called here.
func (c *Config) lists() map[string]string {
	return map[string]string{"insurers.yaml": c.Insurers, "operators.yaml": c.Operators, "accounts.json": c.Mail.Accounts, "staff.json": c.HTTP.Staff}
}

// backupJournal copies the first copy of the journal. A record that is being written while it is copied has not been
// acknowledged; recovery leaves it out.
func (n *Node) backupJournal(ctx context.Context, dir string) error {
	if err := copyTree(ctx, n.path("quarantine"), filepath.Join(dir, "data", "quarantine")); err != nil {
		return err
	}
	return copyTree(ctx, n.cfg.Intake.Copies[0], filepath.Join(dir, "journal"))
}

func (n *Node) backupCells(ctx context.Context, dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "data", "cells"), 0o700); err != nil {
		return err
	}
	for ik, store := range n.cells {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := store.Checkpoint(filepath.Join(dir, "data", "cells", string(ik))); err != nil {
			return err
		}
	}
	if n.issueLog != nil {
		if err := n.issueLog.Checkpoint(filepath.Join(dir, "data", "issued")); err != nil {
			return err
		}
	}
	return n.outStore.Checkpoint(filepath.Join(dir, "data", "outbox"))
}

// backupLedger copies the ledger, then the incidents: a copy of an incident may have entries that the copied ledger does not
// know, never the other way round.
func (n *Node) backupLedger(ctx context.Context, dir string) error {
	if err := n.ledger.Backup(filepath.Join(dir, "data", "ledger")); err != nil {
		return err
	}
	return copyTree(ctx, n.path("incidents"), filepath.Join(dir, "data", "incidents"))
}

func (n *Node) writeManifest(dir string) (Manifest, error) {
	m := Manifest{Domain: n.cfg.Domain, Made: n.opt.Now().UTC(), VKey: n.vkey}
	var err error
	if m.Files, m.Bytes, err = hashTree(dir); err != nil {
		return m, err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, err
	}
	signed, err := note.Sign(&note.Note{Text: string(text) + "\n"}, n.machine)
	if err != nil {
		return m, err
	}
	return m, disk.WriteFile(disk.OS{}, filepath.Join(dir, manifestFile), signed)
}

// hashTree returns the SHA-256 of every file below a directory.
func hashTree(dir string) (map[string]string, int64, error) {
	files := map[string]string{}
	var total int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == manifestFile {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		h := sha256.New()
		size, err := io.Copy(h, f)
		files[filepath.ToSlash(rel)] = hex.EncodeToString(h.Sum(nil))
		total += size
		return errors.Join(err, f.Close())
	})
	return files, total, err
}

// copyTree copies the files below a directory; one that is not there is left out.
func copyTree(ctx context.Context, from, to string) error {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if strings.HasSuffix(rel, ".tmp") {
			return nil // a file that is being replaced
		}
		err = copyOne(path, filepath.Join(to, rel))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed since it was listed
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func copyOne(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// ErrBackup says that a backup is not what somebody has signed.
var ErrBackup = errors.New("the backup cannot be relied on")

// CheckBackup verifies a backup's manifest and every file in it. With a vkey the manifest must be signed by that key;
// without one by the key that the manifest names, which proves only that it is whole.
func CheckBackup(dir, vkey string) (Manifest, error) {
	signed, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return Manifest{}, fmt.Errorf("couldn't read the backup's manifest: %w", err)
	}
	m, err := readManifest(signed, vkey)
	if err != nil {
		return m, fmt.Errorf("%w: its manifest is not valid: %w", ErrBackup, err)
	}
	files, _, err := hashTree(dir)
	if err != nil {
		return m, err
	}
	var wrong []string
	for name, sum := range m.Files {
		if files[name] != sum {
			wrong = append(wrong, name)
		}
		delete(files, name)
	}
	for name := range files {
		wrong = append(wrong, name)
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return m, fmt.Errorf("%w: files that are changed, missing or foreign: %d, the first is %s", ErrBackup, len(wrong), wrong[0])
	}
	return m, nil
}

func readManifest(signed []byte, vkey string) (m Manifest, err error) {
	text, _, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return m, errors.New("it is not signed")
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return m, err
	}
	if vkey == "" {
		vkey = m.VKey
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return m, err
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return m, err
	}
	m = Manifest{}
	return m, json.Unmarshal([]byte(n.Text), &m)
}
