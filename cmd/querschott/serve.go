package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/node"
)

func (a *app) serveCommand() *cobra.Command {
	var events string
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the node of a configuration", Args: limitArgs(cobra.NoArgs),
		Long: `Run the node of a configuration until SIGINT or SIGTERM; a second one ends it at once, without waiting for messages
under way. Doors keep the state of their last signed order; a new compartment starts on hold.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("access") {
				if cfg.HTTP.AccessLog = events; events != "" && events != "-" {
					if cfg.HTTP.AccessLog, err = filepath.Abs(events); err != nil {
						return err
					}
				}
			}
			log := newLog(cfg.Log)
			opt := node.Options{Log: log, Version: version(), Passphrase: askPassphrase}
			dev, err := newDevIssuer(cmd.Context(), cfg, &opt)
			if err != nil {
				return err
			}
			n, err := node.Open(cmd.Context(), cfg, opt)
			if err != nil {
				return errors.Join(err, dev.close())
			}
			at := n.Addresses()
			log.Info("ready", "starttls", at.StartTLS, "tls", at.TLS, "http", at.HTTP, "metrics", at.Metrics, "console", at.Console, "gates", at.Gates, "control", at.Control)
			return errors.Join(dev.run(cmd.Context(), log, n.Run), n.Close())
		},
	}
	cmd.Flags().StringVar(&events, "access", "", "write access events to this file, or - for standard output, instead of http.access_log")
	return cmd
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
	if read := filedPassphrase(); read != nil {
		return read()
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

// filedPassphrase reads the passphrase from QUERSCHOTT_PASSPHRASE_FILE; nil if that names no file. Checks use it: they ask nobody.
func filedPassphrase() func() ([]byte, error) {
	file := os.Getenv("QUERSCHOTT_PASSPHRASE_FILE")
	if file == "" {
		return nil
	}
	return func() ([]byte, error) {
		data, err := os.ReadFile(file)
		for len(data) > 0 && (data[len(data)-1] == '\n' || data[len(data)-1] == '\r') {
			data = data[:len(data)-1]
		}
		return data, err
	}
}

func (a *app) initCommand() *cobra.Command {
	var operators []string
	var domain string
	var passphrase, exercise bool
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Make a node's directory: commented configuration, keyring, operators' keys",
		Long: `Make a node's directory. Nothing that exists is overwritten. Give each operator the key file under DIR/operators and
delete it there; keep DIR/unlock.key on another medium than the data.

--drill makes one for exercises, with an HTTP entrance and issuers that give every token to everybody: never for real data.`,
		Example: `  querschott init /etc/querschott --domain kassen.example --operator anna --operator ben
  querschott init ./exercise --drill`,
		Args: limitArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg := node.Default()
			if domain != "" {
				cfg.Domain, cfg.Mail.Hostname = domain, "mail."+domain
				cfg.Mail.StatusPage = "https://status." + domain + "/"
			}
			opt := node.InitOptions{Config: cfg, Passphrase: askPassphrase}
			if exercise {
				opt.Config.Drill, opt.Config.HTTP.Listen, opt.Config.HTTP.DevIssuers = true, "127.0.0.1:8443", true
				opt.Config.Status.Publish = []string{"status-page"}
			}
			if passphrase {
				opt.Config.Keyring.Unlock = "passphrase"
			}
			var err error
			if opt.Operators, err = initNames(domain, operators); err != nil {
				return err
			}
			made, err := node.Init(args[0], opt)
			if err != nil {
				return err
			}
			return a.show(cmd, map[string]any{"config": args[0] + "/" + node.ConfigFile, "data": made.Data, "key": made.Keyring.Key, "operators": operators},
				func(w io.Writer) {
					if exercise {
						fmt.Fprintf(w, initDrillNext, args[0], args[0]+"/"+node.ConfigFile)
						return
					}
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
	cmd.Flags().BoolVar(&exercise, "drill", false, "for exercises only: what 'querschott drill run --data' may attack")
	cmd.AddCommand(a.initGate())
	return cmd
}

// initNames refuses names that a node cannot have before anything is made.
func initNames(domain string, operators []string) ([]querschott.Actor, error) {
	if domain != "" {
		if err := node.CheckDomain(domain); err != nil {
			return nil, usageError{fmt.Errorf("--domain %.90q: %w", domain, err)}
		}
	}
	var list []querschott.Actor
	for _, name := range operators {
		if err := node.CheckOperator(querschott.Actor(name)); err != nil {
			return nil, usageError{fmt.Errorf("--operator %w", err)}
		}
		list = append(list, querschott.Actor(name))
	}
	return list, nil
}

// initDrillNext says how a directory for exercises comes to its first drill.
const initDrillNext = `Made %[1]s: a node for exercises. Everything that it says and writes is marked as such.

Next:
  1. querschott drill prepare %[1]s
  2. querschott --config %[2]s serve
  3. two operators open the doors, in another terminal:
     querschott --config %[2]s door set all open --key %[1]s/operators/anna.key --reason drill
     querschott --config %[2]s door approve --all --key %[1]s/operators/ben.key
  4. querschott drill run january-2023 --data %[1]s --report -
`

func (a *app) initGate() *cobra.Command {
	var g node.Gate
	var service, insurer, name, domain string
	var operators []string
	cmd := &cobra.Command{
		Use:   "gate --upstream URL DIR",
		Short: "Make the directory of a node that stands in front of an existing service",
		Long: `Make the directory of a node that stands in front of an existing service and changes nothing in it: every request is
identified, checked against the door of its compartment, recorded, and passed on. The configuration is commented. Its rules
say how to find insurer, persons and number of records in requests and answers; they are those of a FHIR server. Requests
that no rule describes are passed on and recorded as unknown.`,
		Example: `  querschott init gate --upstream https://fhir.internal.example/fhir /etc/querschott --insurer 109500969 --name "Musterkasse"
  querschott init gate --upstream http://127.0.0.1:8080/fhir ./try --insurer 109500969 --dev`,
		Args: limitArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if g.Upstream == "" {
				return usageError{errors.New("name the existing service with --upstream")}
			}
			opt := node.InitOptions{Passphrase: askPassphrase}
			var err error
			if opt.Operators, err = initNames(domain, operators); err != nil {
				return err
			}
			g.Service = querschott.Service(service)
			if insurer != "" {
				in, err := newInsurer(insurer, cmp.Or(name, insurer), []string{service}, nil)
				if err != nil {
					return usageError{err}
				}
				g.Insurer, opt.Insurers = in.IK, []node.Insurer{in}
			}
			if opt.Config, err = node.GateConfig(g); err != nil {
				return usageError{err}
			}
			if domain != "" {
				opt.Config.Domain, opt.Config.Mail.StatusPage = domain, "https://status."+domain+"/"
			}
			made, err := node.Init(args[0], opt)
			if err != nil {
				return err
			}
			return a.show(cmd, map[string]any{"config": args[0] + "/" + node.ConfigFile, "data": made.Data, "key": made.Keyring.Key, "operators": operators},
				func(w io.Writer) {
					fmt.Fprintf(w, `Made %[1]s: a gate in front of %[3]s.

Next:
  1. put the entrance's certificate and key into %[1]s/tls (or change http.certificate)
  2. name the insurers: querschott --config %[1]s/%[2]s insurer add IK --name NAME --service %[4]s (--insurer has done so)
  3. say in http.access_issuers who issues access tokens, or in http.machines who calls with a certificate
  4. read http.routes: where a request says whose data it is about
  5. querschott --config %[1]s/%[2]s config check
  6. querschott --config %[1]s/%[2]s serve
  7. two operators open the doors: querschott door set all open, querschott door approve --all
`, args[0], node.ConfigFile, g.Upstream, service)
				})
		},
	}
	f := cmd.Flags()
	f.StringVar(&g.Upstream, "upstream", "", "base URL of the existing service (mandatory)")
	f.StringVar(&service, "service", "epa", "whose doors decide: epa, vsdm, app or desk")
	f.StringVar(&insurer, "insurer", "", "IK, if the service has the data of one insurer only (default: requests say it in X-Insurer)")
	f.StringVar(&name, "name", "", "name of that insurer")
	f.BoolVar(&g.Dev, "dev", false, "for a first try: issuers for development give everybody every token")
	f.StringArrayVar(&operators, "operator", []string{"anna", "ben"}, "operators to make keys for; opening a door takes two")
	f.StringVar(&domain, "domain", "", "name of the platform, part of the ledgers' and keys' names")
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
			return a.examine(cmd, func(cfg *node.Config) []node.Finding { return cfg.Check(time.Now(), filedPassphrase()) })
		},
	})
	return cmd
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Examine the configuration, the data and the running node; each finding with its fix", Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.examine(cmd, func(cfg *node.Config) []node.Finding { return cfg.Doctor(cmd.Context(), time.Now(), filedPassphrase()) })
		},
	}
}

// examine runs a check of the configuration. One that cannot be read is the first thing that it finds.
func (a *app) examine(cmd *cobra.Command, check func(*node.Config) []node.Finding) error {
	cfg, err := a.load()
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return err
	case err != nil:
		return a.findings(cmd, []node.Finding{{
			Severity: node.Fault, Text: err.Error(), Fix: "correct the configuration; 'querschott config' prints an example that explains every field",
		}})
	}
	return a.findings(cmd, check(cfg))
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
				if h := s.HTTP; h != nil {
					table(w, "HTTP CONNECTIONS|IN FLIGHT|REVOCATIONS|EVENTS LOST", [][]string{{
						fmt.Sprint(h.Connections), fmt.Sprint(h.InFlight), fmt.Sprint(h.Revocations), fmt.Sprint(h.Lost),
					}})
					for _, outcome := range slices.Sorted(maps.Keys(h.Outcomes)) {
						fmt.Fprintf(w, "requests %s: %d\n", outcome, h.Outcomes[outcome])
					}
				}
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
