// Command querschott runs and operates a node: see 'querschott help'.
//
// Exit codes: 0 done, 1 failed, 2 used wrongly, 3 the node is not running, 4 refused (door, rights, conflict), 5 a check
// found something.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/node"
)

const (
	exitFailed     = 1
	exitUsage      = 2
	exitNotRunning = 3
	exitRefused    = 4
	exitFound      = 5
)

// errFound says that a check found something; the findings have been printed.
var errFound = errors.New("the check found something")

// foundError is what a check found, when that is one thing and there is nothing else to print.
type foundError struct{ error }

func (e foundError) Unwrap() error { return e.error }

// usageError is a command that cannot be understood.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once, whatever hangs
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil && !errors.Is(err, errFound) {
		fmt.Fprintln(os.Stderr, "querschott:", err)
	}
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	var usage usageError
	var found foundError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errFound), errors.As(err, &found), errors.Is(err, node.ErrBackup):
		return exitFound
	case errors.Is(err, node.ErrNotRunning):
		return exitNotRunning
	case querschott.CodeOf(err) != querschott.CodeInternal:
		return exitRefused
	default:
		return exitFailed
	}
}

// app is what all commands share.
type app struct {
	config string // path of the configuration
	output string // "text" or "json"
}

func newRoot() *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use:   "querschott",
		Short: "The service platform of statutory health insurers that keeps working while it is under attack",
		Long: `Querschott takes in electronic sick notes and other KIM mail for many statutory health insurers.
Every insurer and service is a compartment with a door of its own. Nothing accepted is ever lost.

Start with:   querschott demo
For real:     querschott init DIR, then querschott serve --config DIR/querschott.yaml`,
		SilenceUsage: true, SilenceErrors: true, Version: version(),
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "text" && a.output != "json" {
				return usageError{fmt.Errorf("-o %s: the output is 'text' or 'json'", a.output)}
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath())}
	})
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "text", "output format: text or json")
	root.PersistentFlags().StringVar(&a.config, "config", envOr("QUERSCHOTT_CONFIG", node.ConfigFile), "configuration file")
	must(root.MarkPersistentFlagFilename("config", "yaml", "yml"))
	must(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)))
	root.AddCommand(
		a.demoCommand(), a.serveCommand(), a.initCommand(), a.configCommand(), a.doctorCommand(), a.statusCommand(),
		a.insurerCommand(), a.operatorCommand(), a.accountCommand(), a.staffCommand(), a.loginCommand(),
		a.revokeCommand(), a.vsdmCommand(), a.tokenCommand(), a.doorCommand(), a.breakGlassCommand(), a.spoolCommand(), a.ledgerCommand(), a.backupCommand(), a.restoreCommand(), a.sendCommand(),
		a.watchCommand(), a.playbookCommand(), a.containCommand(), a.canaryCommand(), a.scopeCommand(), a.verifyCommand(), a.deskCommand(), a.drillCommand(), a.incidentCommand(), a.statusPageCommand(),
	)
	groups(root)
	return root
}

// groups makes commands that only hold others show their help, and refuse words that are none of them: without it a
// mistyped check would end well. A command without an option that it must have is used wrongly.
func groups(cmd *cobra.Command) {
	if cmd.Runnable() && cmd.PreRunE == nil {
		cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateRequiredFlags(); err != nil {
				return usageError{fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath())}
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		groups(c)
	}
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Args = limitArgs(cobra.NoArgs)
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// version is what the build knows of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && v == "(devel)" {
			v = "devel-" + s.Value[:12]
		}
	}
	return v
}

// load reads the configuration.
func (a *app) load() (*node.Config, error) {
	cfg, err := node.LoadConfig(a.config)
	if errors.Is(err, os.ErrNotExist) {
		return nil, usageError{fmt.Errorf("there is no configuration %s: name one with --config, or make one with 'querschott init DIR'", a.config)}
	}
	return cfg, err
}

// client reads the configuration and speaks to its node.
func (a *app) client() (*node.Client, *node.Config, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, nil, err
	}
	return node.NewClient(cfg), cfg, nil
}
