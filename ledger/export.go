package ledger

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/ledger/tile"
)

// Export writes a log as a directory in the layout of C2SP tlog-tiles: tiles, entry bundles, and last the checkpoint
// that covers them. What other people's verifiers read is in it, and nothing else: no payloads. The directory should
// be empty or hold an older export of the same log.
func (l *Ledger) Export(origin, dir string) error {
	g, err := l.find(origin)
	if err != nil {
		return err
	}
	if err := l.export(g, dir); err != nil {
		return fmt.Errorf("couldn't export log %s: %w", origin, err)
	}
	return nil
}

func (l *Ledger) export(g *log, dir string) error {
	note := g.checkpoint()
	v, err := proof.NewVerifier(g.signer.VKey())
	if err != nil {
		return err
	}
	head, err := proof.OpenCheckpoint(note, v)
	if err != nil {
		return err
	}
	hashes, err := l.hashes(g, head.Size)
	if err != nil {
		return err
	}
	err = tile.Set(head.Size, func(r tile.Ref) error {
		var data []byte
		if !r.Entries {
			b, err := hashes.tile(r.Level, r.N*tile.Width, r.W)
			if err != nil {
				return err
			}
			data = b
		} else {
			err := l.runs(g, r.N*tile.Width, r.N*tile.Width+uint64(r.W), func(run *run) error {
				data = run.entries
				return nil
			})
			if err != nil {
				return err
			}
		}
		return l.put(filepath.Join(dir, filepath.FromSlash(r.Path())), data)
	})
	if err = errors.Join(err, hashes.close()); err != nil {
		return err
	}
	return disk.WriteFile(l.cfg.FS, filepath.Join(dir, "checkpoint"), note)
}

func (l *Ledger) put(name string, data []byte) error {
	if err := l.cfg.FS.MkdirAll(filepath.Dir(name)); err != nil {
		return err
	}
	f, err := l.cfg.FS.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	return errors.Join(err, f.Close())
}
