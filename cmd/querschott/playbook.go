package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/node"
)

func (a *app) playbookCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "playbook", Short: "Agreed reactions to alarms: check, sign, import, try"}
	cmd.AddCommand(a.playbookCheck(), a.playbookSign(), a.playbookImport(), a.playbookList(), a.playbookShow(), a.playbookSimulate())
	return cmd
}

// readPlaybook reads a file and refuses one that is too long before it is in memory.
func readPlaybook(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, contain.MaxPlaybook+1))
	return data, errors.Join(err, f.Close())
}

// checked is what 'playbook check' says about one file.
type checked struct {
	File   string         `json:"file"`
	ID     string         `json:"id,omitempty"`
	Digest string         `json:"digest,omitempty"`
	Doors  []string       `json:"doors,omitempty"` // IKs, or * for the insurer of the alarm
	Faults contain.Faults `json:"faults,omitempty"`
}

func (a *app) playbookCheck() *cobra.Command {
	return &cobra.Command{
		Use: "check FILE...", Short: "Say whether playbooks can be executed here, and if not, which steps cannot", Args: limitArgs(cobra.MinimumNArgs(1)),
		Long: `Say whether playbooks can be executed here exactly as they stand there, and if not, which steps cannot and why. No node is needed.
Signatures are not looked at: 'querschott playbook import' does that. Exit code 5 if a playbook has a fault.`,
		Example: "  querschott playbook check bulk-read.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			var list []checked
			bad := false
			for _, name := range args {
				data, err := readPlaybook(name)
				if err != nil {
					return err
				}
				c := checked{File: name}
				p, err := contain.ParsePlaybook(data)
				if p != nil {
					c.ID, c.Digest, c.Doors = p.ID, p.Digest, p.Doors()
				}
				if errors.As(err, &c.Faults) {
					bad = true
				}
				list = append(list, c)
			}
			err := a.show(cmd, list, func(w io.Writer) {
				for _, c := range list {
					if len(c.Faults) == 0 {
						fmt.Fprintf(w, "%s: can be executed; sha256 %s\n", c.File, c.Digest)
					}
					for _, f := range c.Faults {
						fmt.Fprintf(w, "%s: %s: %s\n", c.File, orWhole(f.Step), f.Reason)
					}
				}
			})
			if err == nil && bad {
				err = errFound
			}
			return err
		},
	}
}

func orWhole(step string) string {
	if step == "" {
		return "playbook"
	}
	return step
}

func (a *app) playbookSign() *cobra.Command {
	var key, insurer, out string
	cmd := &cobra.Command{
		Use: "sign FILE", Short: "Sign a playbook as an operator, or for an insurer", Args: limitArgs(cobra.ExactArgs(1)),
		Long: `Sign a playbook: as an operator of the platform, or with --insurer for the insurer whose key it is. An operator's signature is needed
for every import; an insurer's for every playbook that may move its doors. An insurer's key is an Ed25519 key as operators have it, and
its public half stands under 'keys' of that insurer in insurers.yaml.`,
		Example: `  querschott playbook sign bulk-read.json --key operators/anna.key
  querschott playbook sign bulk-read.json --key kasse.key --insurer 109500969`,
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readPlaybook(args[0])
			if err != nil {
				return err
			}
			p, err := contain.ParsePlaybook(data)
			if err != nil {
				return &querschott.Error{Code: querschott.CodeInvalid, Public: err.Error()}
			}
			signer, public, err := playbookKey(key)
			if err != nil {
				return err
			}
			signee, _, _ := strings.Cut(signer.Name(), ".")
			if insurer != "" {
				if _, err := querschott.ParseIK(insurer); err != nil {
					return usageError{err}
				}
				signee = insurer
			}
			signed, err := contain.Sign(p, signee, signer, public, time.Now(), "jss--"+newUUID())
			if err != nil {
				return err
			}
			if out == "" {
				out = args[0]
			}
			if err := os.WriteFile(out, append(signed, '\n'), 0o644); err != nil {
				return err
			}
			return a.show(cmd, map[string]string{"file": out, "signee": signee, "digest": p.Digest}, func(w io.Writer) {
				fmt.Fprintf(w, "%s has signed %s (sha256 %s)\n", signee, out, p.Digest)
			})
		},
	}
	cmd.Flags().StringVar(&key, "key", envOr("QUERSCHOTT_OPERATOR_KEY", ""), "key file of whoever signs")
	cmd.Flags().StringVar(&insurer, "insurer", "", "IK of the insurer that signs; empty: an operator does")
	cmd.Flags().StringVar(&out, "out", "", "file to write; empty: the same one")
	return cmd
}

func playbookKey(file string) (note.Signer, contain.Key, error) {
	if file == "" {
		return nil, contain.Key{}, usageError{errors.New("a playbook is signed: name your key file with --key or QUERSCHOTT_OPERATOR_KEY")}
	}
	s, vkey, err := node.LoadOperatorPair(file)
	if err != nil {
		return nil, contain.Key{}, err
	}
	key, err := contain.KeyOf(vkey)
	return s, key, err
}

// newUUID is a random identifier (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (a *app) playbookImport() *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "Give a signed playbook to the running node", Args: limitArgs(cobra.ExactArgs(1)),
		Long: `Give a signed playbook to the running node. It is refused if a step cannot be executed as it stands there, if a signature is missing,
or if a newer version is held.`,
		Example: "  querschott playbook import bulk-read.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readPlaybook(args[0])
			if err != nil {
				return err
			}
			c, _, err := a.client()
			if err != nil {
				return err
			}
			v, err := c.ImportPlaybook(cmd.Context(), data)
			if err != nil {
				return err
			}
			return a.show(cmd, v, func(w io.Writer) {
				fmt.Fprintf(w, "held: %s, signed by %v and insurers %v\n", v.ID, v.Signed.Operators, v.Signed.Insurers)
			})
		},
	}
}

func (a *app) playbookList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the playbooks of the running node", Args: limitArgs(cobra.NoArgs), Example: "  querschott playbook list -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			list, err := c.Playbooks(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(cmd, list, func(w io.Writer) {
				rows := make([][]string, len(list))
				for i, v := range list {
					by := fmt.Sprint(v.Signed.Operators, " ", v.Signed.Insurers)
					if v.Shipped {
						by = "shipped, unsigned: holds credentials, asks for doors"
					}
					rows[i] = []string{v.ID, v.Name, strings.Join(v.Triggers, " "), strings.Join(v.Doors, " "), v.Modified.Format(time.RFC3339), by}
				}
				table(w, "ID|NAME|ALARMS|DOORS|MODIFIED|SIGNED BY", rows)
			})
		},
	}
}

func (a *app) playbookShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Print the file of a playbook, to be changed, signed and imported", Args: limitArgs(cobra.ExactArgs(1)),
		Example: "  querschott playbook show playbook--1f > bulk-read.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			file, err := c.Playbook(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(file)
			return err
		},
	}
}

func (a *app) playbookSimulate() *cobra.Command {
	var asLive bool
	cmd := &cobra.Command{
		Use: "simulate ID", Short: "Say what a playbook would have done in the last 24 hours, and whom it would have hit", Args: limitArgs(cobra.ExactArgs(1)),
		Long: `Say what a playbook would have done about the alarms of the last 24 hours, and whom it would have hit. Nothing is changed. Events are
read from http.access_log and the files that were renamed; without them the node has the newest 131,072 in memory only. The answer says
from when on it knows events. Progress goes to standard error.`,
		Example: "  querschott playbook simulate playbook--1f --as-live",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			h, err := c.Simulate(cmd.Context(), node.SimulateRequest{ID: args[0], AsLive: asLive}, func(p node.SimulateProgress) {
				fmt.Fprintf(cmd.ErrOrStderr(), "read %d of %d MiB of recorded events\n", p.Read>>20, p.Total>>20)
			})
			if err != nil {
				return err
			}
			return a.show(cmd, h, func(w io.Writer) { printRehearsal(w, h) })
		},
	}
	cmd.Flags().BoolVar(&asLive, "as-live", false, "alarms of detectors in shadow mode too, as if they were live")
	return cmd
}

func printRehearsal(w io.Writer, h *contain.Rehearsal) {
	fmt.Fprintf(w, "from %s to %s: %d events, from %s\n", h.From.Local().Format(time.DateTime), h.To.Local().Format(time.DateTime), h.Events, h.Source)
	switch {
	case h.Known.IsZero():
		fmt.Fprintln(w, "no events are known: whom it would have hit cannot be said")
	case h.Known.After(h.From):
		fmt.Fprintln(w, "events are known from", h.Known.Local().Format(time.DateTime), "on only")
	}
	if h.Faults > 0 {
		fmt.Fprintf(w, "%d lines were not readable\n", h.Faults)
	}
	if h.AtLeast {
		fmt.Fprintln(w, "there were more users than are counted: the figures say at least")
	}
	var rows [][]string
	for _, t := range h.Trials {
		for _, d := range t.Deeds {
			hit, what := "-", d.Manual
			if d.Action != nil {
				what = deedText(d.Action)
			}
			if d.Hit != nil {
				hit = fmt.Sprintf("%d requests, %d users", d.Hit.Requests, d.Hit.Users)
			}
			rows = append(rows, []string{t.At.Local().Format(time.DateTime), t.Alarm, string(d.State), what, hit, d.Why.String()})
		}
	}
	table(w, "ALARM AT|ALARM|STATE|WHAT|WOULD HAVE HIT|WHY", rows)
}

// deedText says in one line what an action is.
func deedText(a *contain.Action) string {
	switch a.Kind {
	case contain.MoveDoor:
		return fmt.Sprintf("door %s to %s", a.Compartment, a.To)
	case contain.ShutInsurer:
		return fmt.Sprintf("all doors of insurer %s to %s", a.Insurer, a.To)
	case contain.HoldGroup:
		return "hold group " + a.Group
	default:
		return fmt.Sprintf("%s of %s", a.Kind, a.Actor)
	}
}
