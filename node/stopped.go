package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/seal"
)

// StoppedLedger is the ledger of a node that does not run, for whoever only looks. Nothing in the node's directory changes: what
// the newest entries would change at a start, they change in memory. While it is open no node starts on the directory.
type StoppedLedger struct {
	ledger  *ledger.Ledger
	release func() error
	locked  error // why the keyring cannot be opened; nil if it is open
}

// ErrForeignKey says that a ledger is not signed with the key that somebody has been given.
var ErrForeignKey = errors.New("the ledger is not signed with the key that you named")

// OpenStopped opens the ledger of a node that does not run. Signatures are verified with the keyring's key; vkey, which may be
// empty, is that of any of the platform's logs, and must be the same. Where the keyring cannot be opened vkey is all there is: then
// payloads stay sealed and there are no proofs.
func (c *Config) OpenStopped(ask func() ([]byte, error), vkey string) (_ *StoppedLedger, err error) {
	dir := filepath.Join(c.Data, "ledger")
	if _, err := os.Stat(filepath.Join(dir, "wal")); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w, and never was: there is no ledger in %s", ErrNotRunning, c.Data)
	}
	var public ed25519.PublicKey
	if vkey != "" {
		if _, public, err = proof.PublicKey(vkey); err != nil {
			return nil, err
		}
	}
	s := &StoppedLedger{}
	if s.release, err = ledger.Hold(dir); errors.Is(err, ledger.ErrLocked) {
		return nil, fmt.Errorf("a node runs on %s and does not answer: %w", c.Data, err)
	} else if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	view := disk.NewOverlay()
	cfg := ledger.Config{FS: view, Dir: dir, Domain: c.Domain, SegmentSize: 16 << 10} // of what is made in memory
	var keyring *seal.Keyring
	keyring, s.locked = c.lookIntoKeyring(view, ask)
	switch {
	case s.locked == nil:
		if cfg.Seed, err = keyring.Secret("ledger/signing", ed25519.SeedSize); err != nil {
			return nil, err
		}
		if own := ed25519.NewKeyFromSeed(cfg.Seed).Public().(ed25519.PublicKey); public != nil && !own.Equal(public) {
			return nil, ErrForeignKey
		}
		cfg.Secret = newYears(keyring, nil).secret
	case public == nil:
		return nil, fmt.Errorf("%w; without the keyring, name with --vkey the key of one of the platform's logs: then the ledger is verified and shown without actors, persons and details",
			s.locked)
	default:
		cfg.Public = public
	}
	s.ledger, err = ledger.Open(cfg)
	return s, err
}

// lookIntoKeyring opens the keyring for reading.
func (c *Config) lookIntoKeyring(view disk.FS, ask func() ([]byte, error)) (*seal.Keyring, error) {
	k, err := seal.OpenKeyring(view, filepath.Join(c.Data, "keyring.age"), c.unlock(ask))
	if err != nil {
		return nil, err
	}
	k.Freeze()
	return k, nil
}

// Sealed says why actors, persons and details cannot be shown; nil if they can.
func (s *StoppedLedger) Sealed() error { return s.locked }

// Close lets nodes start again.
func (s *StoppedLedger) Close() error { return errors.Join(s.ledger.Close(), s.release()) }

// LedgerOrigins lists the logs of the ledger, without checkpoints if the keyring is locked.
func (s *StoppedLedger) LedgerOrigins(context.Context) ([]LedgerOrigin, error) {
	return origins(s.ledger)
}

// LedgerShow returns entries of one log. Looking is not recorded: nothing can be.
func (s *StoppedLedger) LedgerShow(_ context.Context, origin string, from, to uint64) ([]LedgerEntry, error) {
	if err := checkStretch(from, to); err != nil {
		return nil, err
	}
	return stretch(s.ledger, origin, from, to)
}

// LedgerProve returns the proof of one entry.
func (s *StoppedLedger) LedgerProve(_ context.Context, origin string, index uint64) (LedgerProof, error) {
	p, err := prove(s.ledger, origin, index)
	if errors.Is(err, ledger.ErrNoKey) {
		err = fmt.Errorf("a proof needs a checkpoint that the platform signs, and its keyring cannot be opened: %w", s.locked)
	}
	return p, err
}

// LedgerVerify recomputes every tree and verifies every signature.
func (s *StoppedLedger) LedgerVerify(ctx context.Context) (*ledger.Report, error) {
	return s.ledger.Verify(ctx, nil)
}
