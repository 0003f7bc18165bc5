package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger/proof"
)

func (a *app) spoolCommand() *cobra.Command {
	var flagged bool
	cmd := &cobra.Command{
		Use: "spool", Short: "Show the mail that waits, the oldest of it, and how long the room lasts", Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			if flagged {
				list, err := c.Flagged(cmd.Context())
				if err != nil {
					return err
				}
				return a.show(cmd, list, func(w io.Writer) {
					var rows [][]string
					for _, c := range slices.SortedFunc(maps.Keys(list), querschott.Compartment.Compare) {
						for _, f := range list[c] {
							rows = append(rows, []string{c.String(), fmt.Sprint(f.Seq), f.Received.Format(time.RFC3339), f.Result, strings.Join(f.Findings, "; ")})
						}
					}
					table(w, "COMPARTMENT|SEQ|RECEIVED|RESULT|FINDINGS", rows)
				})
			}
			s, err := c.Spool(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(cmd, s, func(w io.Writer) {
				rows := make([][]string, len(s.Backlogs))
				for i, b := range s.Backlogs {
					rows[i] = []string{b.Compartment.String(), fmt.Sprint(b.Messages), bytesText(b.Bytes), since(time.UnixMicro(b.OldestUS), time.Now())}
				}
				table(w, "COMPARTMENT|WAITING|SIZE|OLDEST", rows)
				fmt.Fprintf(w, "%d messages wait, %s\n", s.Messages, bytesText(s.Bytes))
				for _, c := range s.Copies {
					fmt.Fprintf(w, "room in %s: %s\n", c.Dir, bytesText(c.Free))
				}
				if s.RoomHours != nil {
					fmt.Fprintf(w, "at the rate since the start it lasts %.1f hours\n", *s.RoomHours)
				}
				if s.Flagged > 0 || s.Damaged > 0 {
					fmt.Fprintf(w, "kept with findings: %d (see --flagged), damaged and put aside: %d\n", s.Flagged, s.Damaged)
				}
				if s.Trouble != "" {
					fmt.Fprintln(w, "TROUBLE:", s.Trouble)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&flagged, "flagged", false, "list the delivered messages that were kept with findings")
	return cmd
}

func (a *app) ledgerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ledger", Short: "Show, prove, verify and export the record of every access",
		Long: `Show, prove, verify and export the record of every access. 'list', 'show', 'prove' and 'verify' ask the node if it runs. If it
does not, they read its directory and change nothing in it; meanwhile no node starts there. Actors, persons and details
are sealed, and proofs need a signature: both take the keyring and its key file. Without them '--vkey' names the public
key of one of the platform's logs, and the rest is verified and shown.`,
	}
	cmd.AddCommand(a.ledgerList(), a.ledgerShow(), a.ledgerProve(), a.ledgerVerify(), a.ledgerExport(), a.ledgerCheck())
	return cmd
}

func (a *app) ledgerList() *cobra.Command {
	at := place{app: a}
	cmd := &cobra.Command{
		Use: "list", Short: "List the logs with their keys and checkpoints", Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, done, err := at.open(cmd)
			if err != nil {
				return err
			}
			defer done()
			list, err := c.LedgerOrigins(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(cmd, list, func(w io.Writer) {
				for _, o := range list {
					fmt.Fprintf(w, "%s\n%s\n", o.VKey, o.Checkpoint)
				}
			})
		},
	}
	at.flags(cmd)
	return cmd
}

// sealedWord stands for an actor whom the reader has no key for.
var sealedWord = map[bool]string{true: "(sealed)"}

func (a *app) ledgerShow() *cobra.Command {
	var from, to uint64
	at := place{app: a}
	cmd := &cobra.Command{
		Use: "show ORIGIN", Short: "Show entries of one log; looking is itself recorded if the node runs", Args: limitArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, done, err := at.open(cmd)
			if err != nil {
				return err
			}
			defer done()
			if to == 0 {
				to = from + 100
			}
			list, err := c.LedgerShow(cmd.Context(), args[0], from, to)
			if err != nil {
				return err
			}
			return a.show(cmd, list, func(w io.Writer) {
				rows := make([][]string, len(list))
				for i, e := range list {
					rows[i] = []string{
						strconv.FormatUint(e.Index, 10), e.At.Format(time.RFC3339Nano), e.Kind, e.Action, e.Data, e.Outcome, e.Reason,
						e.Compartment, cmp.Or(string(e.Actor), sealedWord[e.Sealed]), fmt.Sprint(e.Persons),
					}
				}
				table(w, "INDEX|TIME|KIND|ACTION|DATA|OUTCOME|REASON|COMPARTMENT|ACTOR|PERSONS", rows)
			})
		},
	}
	cmd.Flags().Uint64Var(&from, "from", 0, "first entry")
	cmd.Flags().Uint64Var(&to, "to", 0, "entry after the last one (default: 100 entries)")
	at.flags(cmd)
	return cmd
}

func (a *app) ledgerProve() *cobra.Command {
	var out string
	at := place{app: a}
	cmd := &cobra.Command{
		Use: "prove ORIGIN INDEX", Short: "Write the proof of one entry (C2SP tlog-proof) and the entry itself", Args: limitArgs(cobra.ExactArgs(2)),
		Long: `Print the proof that an entry stands in a log, or write it and the entry into a directory: entry-INDEX.tlog-proof and
entry-INDEX.entry. Check it anywhere, without this node, with 'querschott ledger check' or with somebody else's tool.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			index, err := strconv.ParseUint(args[1], 10, 64)
			if err != nil {
				return usageError{fmt.Errorf("%q is not an index", args[1])}
			}
			c, done, err := at.open(cmd)
			if err != nil {
				return err
			}
			defer done()
			p, err := c.LedgerProve(cmd.Context(), args[0], index)
			if err != nil {
				return err
			}
			if out == "" {
				return a.show(cmd, p, func(w io.Writer) { fmt.Fprint(w, p.Proof) })
			}
			base := fmt.Sprintf("%s/entry-%d", out, index)
			if err := os.WriteFile(base+".tlog-proof", []byte(p.Proof), 0o600); err != nil {
				return err
			}
			if err := os.WriteFile(base+".entry", p.Entry, 0o600); err != nil {
				return err
			}
			return a.show(cmd, map[string]string{"proof": base + ".tlog-proof", "entry": base + ".entry", "vkey": p.VKey}, func(w io.Writer) {
				fmt.Fprintf(w, "wrote %[1]s.tlog-proof and %[1]s.entry\ncheck: querschott ledger check %[1]s.tlog-proof %[1]s.entry --vkey '%[2]s'\n", base, p.VKey)
			})
		},
	}
	cmd.Flags().StringVar(&out, "dir", "", "directory to write the files into; default: print the proof")
	at.flags(cmd)
	return cmd
}

func (a *app) ledgerCheck() *cobra.Command {
	var vkey string
	cmd := &cobra.Command{
		Use: "check PROOF ENTRY", Short: "Check a proof offline: needs no node, no network and no configuration", Args: limitArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			entry, err := os.ReadFile(args[1])
			if err != nil {
				return err
			}
			if err := checkVKey(vkey); err != nil {
				return err
			}
			checked, err := proof.Verify(raw, entry, vkey)
			if err != nil {
				return foundError{fmt.Errorf("the proof does not hold: %w", err)}
			}
			return a.show(cmd, checked, func(w io.Writer) {
				fmt.Fprintf(w, "the entry stands in %s, a log of %d entries with the root %v\n", checked.Origin, checked.Size, checked.Root)
			})
		},
	}
	cmd.Flags().StringVar(&vkey, "vkey", "", "public key of the log (C2SP vkey)")
	must(cmd.MarkFlagRequired("vkey"))
	return cmd
}

// checkVKey tells a key that is none from a proof that does not hold.
func checkVKey(vkey string) error {
	if _, err := proof.NewVerifier(vkey); err != nil {
		return usageError{fmt.Errorf("--vkey: %w", err)}
	}
	return nil
}

func (a *app) ledgerVerify() *cobra.Command {
	at := place{app: a}
	cmd := &cobra.Command{
		Use: "verify", Short: "Recompute every tree and verify every signature of a node's ledger", Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, done, err := at.open(cmd)
			if err != nil {
				return err
			}
			defer done()
			r, err := c.LedgerVerify(cmd.Context())
			if err != nil {
				return err
			}
			err = a.show(cmd, r, func(w io.Writer) {
				fmt.Fprintf(w, "%d logs, %d entries, %d commits, %d signatures verified, %d faults\n", r.Logs, r.Entries, r.Commits, r.Signatures, len(r.Faults))
				for _, f := range r.Faults {
					fmt.Fprintln(w, "FAULT", f)
				}
			})
			if err == nil && len(r.Faults) > 0 {
				err = errFound
			}
			return err
		},
	}
	at.flags(cmd)
	return cmd
}

func (a *app) ledgerExport() *cobra.Command {
	return &cobra.Command{
		Use: "export ORIGIN DIR", Short: "Write one log as C2SP tlog-tiles, for other people's verifiers", Args: limitArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			dir, err := filepath.Abs(args[1])
			if err != nil {
				return err
			}
			if err := c.LedgerExport(cmd.Context(), args[0], dir); err != nil {
				return err
			}
			return a.show(cmd, map[string]string{"dir": dir}, func(w io.Writer) { fmt.Fprintln(w, "wrote", dir) })
		},
	}
}
