package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott/node"
)

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup DIR", Short: "Back up the running node into a new directory", Args: limitArgs(cobra.ExactArgs(1)),
		Long: `Back up the running node into a new directory: configuration, keyring, doors, journal, cells, outbox and ledger. The
keyring's key file is not in it, so a backup alone can be read by nobody; keep the key file elsewhere.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			m, err := c.Backup(cmd.Context(), dir)
			if err != nil {
				return err
			}
			m.Bytes = max(m.Bytes, 0)
			return a.show(cmd, map[string]any{"dir": dir, "files": len(m.Files), "bytes": m.Bytes, "vkey": m.VKey}, func(w io.Writer) {
				fmt.Fprintf(w, "%s: %d files, %s\nits manifest is signed by %s\n", dir, len(m.Files), bytesText(m.Bytes), m.VKey)
			})
		},
	}
}

func (a *app) restoreCommand() *cobra.Command {
	var verify bool
	var vkey string
	cmd := &cobra.Command{
		Use: "restore BACKUP [DIR]", Short: "Check a backup, and put it into an empty directory", Args: limitArgs(cobra.RangeArgs(1, 2)),
		Long: `Check every file of a backup against its signed manifest and put it into DIR, which must be empty. With --verify the
restored node is opened, without listening anywhere, and its ledger is verified; without DIR only the files are checked.`,
		Example: "  querschott restore --verify backup-2026-11-23 /srv/querschott",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				m, err := node.CheckBackup(args[0], vkey)
				if err != nil {
					return err
				}
				return a.show(cmd, map[string]any{"files": len(m.Files), "bytes": m.Bytes, "made": m.Made, "valid": true}, func(w io.Writer) {
					fmt.Fprintf(w, "the backup is whole: %d files, made %s\n", len(m.Files), m.Made)
				})
			}
			r, err := node.Restore(cmd.Context(), args[0], args[1], vkey, verify,
				node.Options{Version: version(), Passphrase: askPassphrase, Log: newLog(node.Default().Log)})
			if r.Config == "" {
				return err
			}
			return errors.Join(err, a.show(cmd, r, func(w io.Writer) {
				fmt.Fprintf(w, "restored %d files, %s; configuration: %s\n", r.Files, bytesText(r.Bytes), r.Config)
				if r.Ledger != nil {
					fmt.Fprintf(w, "ledger: %d entries, %d faults; cells: %d; waiting messages: %d\n", r.Ledger.Entries, len(r.Ledger.Faults), r.Cells, r.Waiting)
				}
			}))
		},
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "open the restored node and verify its ledger")
	cmd.Flags().StringVar(&vkey, "vkey", "", "key that must have signed the manifest; default: the one that it names")
	return cmd
}
