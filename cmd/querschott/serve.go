package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/node"
)

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "Run the node of a configuration", Args: limitArgs(cobra.NoArgs),
		Long: `Run the node of a configuration until SIGINT or SIGTERM; a second one ends it at once, without waiting for messages
under way. Doors keep the state of their last signed order; a new compartment starts on hold.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			log := newLog(cfg.Log)
			n, err := node.Open(cmd.Context(), cfg, node.Options{Log: log, Version: version(), Passphrase: askPassphrase})
			if err != nil {
				return err
			}
			at := n.Addresses()
			log.Info("ready", "starttls", at.StartTLS, "tls", at.TLS, "console", at.Console, "control", at.Control)
			return errors.Join(n.Run(cmd.Context()), n.Close())
		},
	}
}

func newLog(c node.LogConfig) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // the configuration has been checked
	}
	opt := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opt))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opt))
}

// askPassphrase takes the passphrase from QUERSCHOTT_PASSPHRASE_FILE (for a service manager) or from the terminal.
func askPassphrase() ([]byte, error) {
	if file := os.Getenv("QUERSCHOTT_PASSPHRASE_FILE"); file != "" {
		data, err := os.ReadFile(file)
		for len(data) > 0 && (data[len(data)-1] == '\n' || data[len(data)-1] == '\r') {
			data = data[:len(data)-1]
		}
		return data, err
	}
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return nil, errors.New("the keyring needs a passphrase: start from a terminal, or name a file in QUERSCHOTT_PASSPHRASE_FILE")
	}
	fmt.Fprint(os.Stderr, "Passphrase of the keyring: ")
	pass, err := term.ReadPassword(fd)
	fmt.Fprintln(os.Stderr)
	return pass, err
}

func (a *app) initCommand() *cobra.Command {
	var operators []string
	var domain string
	var passphrase bool
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Make a node's directory: commented configuration, keyring, operators' keys",
		Long: `Make a node's directory. Nothing that exists is overwritten. Give each operator the key file under DIR/operators and
delete it there; keep DIR/unlock.key on another medium than the data.`,
		Example: "  querschott init /etc/querschott --domain kassen.example --operator anna --operator ben",
		Args:    limitArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg := node.Default()
			if domain != "" {
				cfg.Domain, cfg.Mail.Hostname = domain, "mail."+domain
				cfg.Mail.StatusPage = "https://status." + domain + "/"
			}
			opt := node.InitOptions{Config: cfg, Passphrase: askPassphrase}
			if passphrase {
				opt.Config.Keyring.Unlock = "passphrase"
			}
			for _, name := range operators {
				opt.Operators = append(opt.Operators, querschott.Actor(name))
			}
			made, err := node.Init(args[0], opt)
			if err != nil {
				return err
			}
			return a.show(cmd, map[string]any{"config": args[0] + "/" + node.ConfigFile, "data": made.Data, "key": made.Keyring.Key, "operators": operators},
				func(w io.Writer) {
					fmt.Fprintf(w, `Made %[1]s.

Next:
  1. put the mail entrance's certificate and key into %[1]s/tls (or change mail.certificate)
  2. querschott --config %[1]s/%[2]s insurer add 109500969 --name "Musterkasse" --address eau@musterkasse.kim.telematik
  3. querschott --config %[1]s/%[2]s account add praxis@example.kim.telematik
  4. querschott --config %[1]s/%[2]s config check
  5. querschott --config %[1]s/%[2]s serve
  6. two operators open the doors: querschott door set all open, querschott door approve --all
`, args[0], node.ConfigFile)
				})
		},
	}
	cmd.Flags().StringArrayVar(&operators, "operator", []string{"anna", "ben"}, "operators to make keys for; opening a door takes two")
	cmd.Flags().StringVar(&domain, "domain", "", "name of the platform, part of the ledgers' and keys' names")
	cmd.Flags().BoolVar(&passphrase, "passphrase", false, "protect the key file by a passphrase")
	return cmd
}

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Print a commented example of the configuration", Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.show(cmd, node.Default(), func(w io.Writer) { fmt.Fprint(w, node.Example(node.Default())) })
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use: "check", Short: "Check the configuration and everything that it names, without starting", Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			return a.findings(cmd, cfg.Check(time.Now()))
		},
	})
	return cmd
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Examine the configuration, the data and the running node; each finding with its fix", Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			return a.findings(cmd, cfg.Doctor(cmd.Context(), time.Now()))
		},
	}
}

// findings prints what a check found. Anything but a remark is exit code 5.
func (a *app) findings(cmd *cobra.Command, list []node.Finding) error {
	bad := 0
	for _, f := range list {
		if f.Severity != node.Remark {
			bad++
		}
	}
	err := a.show(cmd, map[string]any{"ok": bad == 0, "findings": list}, func(w io.Writer) {
		for _, f := range list {
			fmt.Fprintf(w, "%-7s %s\n        fix: %s\n", f.Severity, f.Text, f.Fix)
		}
		if bad == 0 {
			fmt.Fprintln(w, "everything is in order")
		}
	})
	if err == nil && bad > 0 {
		err = errFound
	}
	return err
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show how the running node is", Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(cmd, s, func(w io.Writer) {
				table(w, "ACCEPTED|DELIVERED|WAITING|OUTGOING|SESSIONS|KEYS IN MEMORY|PROPOSALS", [][]string{{
					fmt.Sprint(s.Mail.Accepted), fmt.Sprint(s.Mail.Delivered), fmt.Sprint(s.Mail.Waiting), fmt.Sprint(s.Mail.Outgoing),
					fmt.Sprint(s.Mail.Sessions), fmt.Sprint(s.Doors.KeysInMemory), fmt.Sprint(s.Doors.Proposals),
				}})
				for _, state := range slices.Sorted(maps.Keys(s.Doors.States)) {
					fmt.Fprintf(w, "doors %s: %d\n", state, s.Doors.States[state])
				}
				for _, t := range s.Trouble {
					fmt.Fprintf(w, "TROUBLE %s: %s\n", t.Where(), t.Text)
				}
			})
		},
	}
}
