package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/demo"
	"github.com/querschott/querschott/internal/disk"
)

func (a *app) demoCommand() *cobra.Command {
	opt := demo.Options{Rate: 25, Checks: 10, Insured: drill.DefaultPersons}
	var length time.Duration
	var report string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a platform with 80 invented insurers and practices that send and check cards",
		Long: `Run a whole platform on this machine: 80 invented insurers, practices that send sick notes over real SMTP and
check health cards over real HTTPS, two operators. It listens on loopback only. Nobody and nothing in it exists; certificates come from an authority made at the
start.

DIR/demo.json says how to get in with other programs: addresses, CA file, a practice's account, the operators' links.
Close a door on the page and watch: mail for it is refused for now and comes again; mail for the others goes on. Lost is
found by comparing what the practices got a 250 for with what is in the cells and in the journal.`,
		Example: `  querschott demo
  querschott demo --data ./demo --rate 100
  querschott demo --for 30s --report -`,
		Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			begin := time.Now()
			quiet := report == "-" || a.output == "json"
			out := cmd.OutOrStdout()
			if quiet {
				out = cmd.ErrOrStderr()
			}
			temporary := opt.Dir == ""
			if temporary {
				if opt.Dir, err = os.MkdirTemp("", "querschott-demo-"); err != nil {
					return err
				}
			}
			opt.Version = version()
			opt.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			p, err := demo.Open(cmd.Context(), opt)
			if err != nil {
				return err
			}
			introduce(out, p.File(), temporary, time.Since(begin))
			r, err := p.Run(cmd.Context(), length, func(l demo.Line) {
				fmt.Fprintln(out, l)
				if l.Trouble != "" {
					fmt.Fprintln(out, "          last trouble of a practice:", l.Trouble)
				}
			})
			if err != nil {
				return err
			}
			return writeReport(cmd, report, a.output == "json", r)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.Dir, "data", "", "directory that keeps everything (default: a temporary one, which is named)")
	f.Float64Var(&opt.Rate, "rate", opt.Rate, "mails per second")
	f.IntVar(&opt.Insured, "insured", opt.Insured, "synthetic insured persons")
	f.Uint64Var(&opt.Seed, "seed", 1, "of the invented world")
	f.DurationVar(&length, "for", 0, "stop after this time (default: run until interrupted)")
	f.StringVar(&report, "report", "", "write a JSON report at the end: a file, or - for standard output")
	f.StringVar(&opt.Console, "console", "", "address of the operators' page (default: a free loopback port)")
	f.StringVar(&opt.SMTP, "smtp", "", "address of SMTP with STARTTLS (default: a free loopback port)")
	f.Float64Var(&opt.Checks, "checks", opt.Checks, "card checks per second")
	f.StringVar(&opt.HTTP, "http", "", "address of the HTTP entrance (default: a free loopback port)")
	f.StringVar(&opt.Issuer, "issuer", "", "address of the issuers of tokens (default: a free loopback port)")
	f.StringVar(&opt.Metrics, "metrics", "", "address of the metrics (default: a free loopback port)")
	f.StringVar(&opt.SMTPS, "smtps", "", "address of SMTP with implicit TLS (default: a free loopback port)")
	return cmd
}

func introduce(w io.Writer, f demo.File, temporary bool, took time.Duration) {
	fmt.Fprintf(w, "Querschott demo: 80 invented insurers, ready after %.1f s.\n\n", took.Seconds())
	fmt.Fprintf(w, "  page   %s\n", f.Console)
	for _, l := range f.Operators {
		fmt.Fprintf(w, "  %-6s %s   (works once)\n", l.Name, l.URL)
	}
	fmt.Fprintf(w, "  SMTP   %s (STARTTLS), %s (TLS), CA %s\n", f.SMTP, f.SMTPS, f.CA)
	fmt.Fprintf(w, "  cards  %s (HTTPS), tokens from %s, metrics %s\n", f.HTTP, f.Issuer, f.Metrics)
	note := ""
	if temporary {
		note = "   (temporary; keep one with --data DIR)"
	}
	fmt.Fprintf(w, "  data   %s%s\n  more   %s\n\n", f.Dir, note, filepath.Join(f.Dir, "demo.json"))
}

func writeReport(cmd *cobra.Command, to string, asJSON bool, r demo.Report) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if to == "-" || to == "" && asJSON {
		_, err = cmd.OutOrStdout().Write(data)
	} else if to != "" {
		err = disk.WriteFile(disk.OS{}, to, data)
	}
	if err == nil && (r.Mail.Lost > 0 || !r.Ledger.Verified) {
		err = errors.New("mail was lost or the ledger does not verify: see the report")
	}
	return err
}
