package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/node"
)

func (a *app) breakGlassCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "break-glass", Short: "Shut doors in an emergency, without login, network or ledger"}
	cmd.AddCommand(
		a.breakGlassInit(),
		a.breakGlassMove("close", "Close doors", querschott.Closed),
		a.breakGlassMove("hold", "Set doors on hold", querschott.Hold),
		a.breakGlassMove("open-proposal", "Propose to open doors; two operators must approve", querschott.Open),
	)
	return cmd
}

func (a *app) breakGlassInit() *cobra.Command {
	return &cobra.Command{
		Use: "init", Short: "Make the key for emergencies and print its five shares", Args: limitArgs(cobra.NoArgs),
		Long: `Make the key for emergencies. Its private half is kept nowhere: it is printed in five shares, any two of which are the
key. Give them to five people on paper, and start the node again so that it knows the public half.`,
		Example: `  querschott break-glass init > shares.txt   # print, hand out, and destroy the file`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			list, err := node.NewBreakGlass(cfg)
			if err != nil {
				return err
			}
			return a.show(cmd, map[string][]string{"shares": list}, func(w io.Writer) {
				for _, s := range list {
					fmt.Fprintln(w, s)
				}
			})
		},
	}
}

func (a *app) breakGlassMove(use, short string, to querschott.DoorState) *cobra.Command {
	var reason, incident string
	cmd := &cobra.Command{
		Use: use + " IK/SERVICE...", Short: short,
		Long: short + ` with the key for emergencies. It asks for two of its five shares (or reads them from its input, a line each: on the
command line everybody on the machine could see them) and needs the machine of the node, but no login, no identity provider, no
network and no ledger. If the node does not answer, hold and closed are left in the data directory, and
the node obeys them within a second or when it starts, for up to 24 hours. Every use is an alarm and an entry of the ledger.`,
		Example: `  querschott break-glass ` + use + ` 109500969/eau --reason "attack, nobody can log in"`,
		Args:    limitArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			list, err := cfg.Compartments()
			if err != nil {
				return err
			}
			var chosen []querschott.Compartment
			for _, c := range list {
				if matchesAny(args, c) {
					chosen = append(chosen, c)
				}
			}
			if len(chosen) == 0 {
				return usageError{errors.New("no compartment of this node is named")}
			}
			signer, err := emergencyKey(cmd, cfg)
			if err != nil {
				return err
			}
			return a.moveAll(cmd, chosen, func(c querschott.Compartment) (node.Moved, error) {
				d := node.DraftRequest{Compartment: c, To: to, Reason: reason, Incident: incident}
				m, deferred, err := node.BreakGlass(cmd.Context(), cfg, d, signer)
				if err == nil && deferred {
					m.Warning = "the node does not answer; the order is left for it, and it obeys when it runs again"
				}
				return m, err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why (mandatory, one line)")
	cmd.Flags().StringVar(&incident, "incident", "", "reference of the incident")
	return cmd
}

// emergencyKey asks for two shares and puts them together.
func emergencyKey(cmd *cobra.Command, cfg *node.Config) (note.Signer, error) {
	in := bufio.NewReader(cmd.InOrStdin())
	var parts [2]string
	for i, what := range []string{"First share: ", "Second share: "} {
		var err error
		if parts[i], err = ask(cmd, in, what, true); err != nil {
			return nil, err
		}
	}
	return node.BreakGlassSigner(cfg, strings.TrimSpace(parts[0]), strings.TrimSpace(parts[1]))
}
