package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/node"
)

// record is a ledger that can be looked at: of a running node, or of one that does not run.
type record interface {
	LedgerOrigins(ctx context.Context) ([]node.LedgerOrigin, error)
	LedgerShow(ctx context.Context, origin string, from, to uint64) ([]node.LedgerEntry, error)
	LedgerProve(ctx context.Context, origin string, index uint64) (node.LedgerProof, error)
	LedgerVerify(ctx context.Context) (*ledger.Report, error)
}

// place is where a command looks for a ledger.
type place struct {
	app       *app
	dir, vkey string
}

func (p *place) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.dir, "data", "", "directory of the node, as init and demo make it: instead of --config, DIR/"+node.ConfigFile)
	cmd.Flags().StringVar(&p.vkey, "vkey", "", "of a node that does not run: public key of one of its logs (C2SP vkey), which it must be signed with")
	must(cmd.MarkFlagDirname("data"))
}

// open returns the ledger and what lets it go. Of a node that does not run it says what is missing.
func (p *place) open(cmd *cobra.Command) (record, func(), error) {
	if p.vkey != "" {
		if err := checkVKey(p.vkey); err != nil {
			return nil, nil, err
		}
	}
	if p.dir != "" {
		p.app.config = filepath.Join(p.dir, node.ConfigFile)
	}
	client, cfg, err := p.app.client()
	if err != nil {
		return nil, nil, err
	}
	if node.Running(cmd.Context(), cfg) {
		return client, func() {}, nil
	}
	s, err := cfg.OpenStopped(askPassphrase, p.vkey)
	switch {
	case errors.Is(err, querschott.ErrHalt), errors.Is(err, node.ErrForeignKey): // what a start would stop at
		return nil, nil, foundError{err}
	case err != nil:
		return nil, nil, err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "The node does not run: its directory is read, and looking is not recorded.")
	if why := s.Sealed(); why != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "Actors, persons and details stay sealed, and there are no checkpoints and proofs: %v\n", why)
	}
	return s, func() { _ = s.Close() }, nil // everything has been read, and there was nothing to write
}
