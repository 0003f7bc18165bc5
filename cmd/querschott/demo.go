package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/demo"
	"github.com/querschott/querschott/drill/run"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/node"
)

func (a *app) demoCommand() *cobra.Command {
	opt := demo.Options{Rate: 25, Checks: 10, Insured: drill.DefaultPersons}
	var length time.Duration
	var report string
	var calm bool
	after := 20 * time.Second
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a platform with 80 invented insurers and practices that send and check cards",
		Long: `Run a whole platform on this machine: 80 invented insurers, practices that send sick notes over real SMTP and
check health cards over real HTTPS, two operators. It listens on loopback only. Nobody and nothing in it exists; certificates come from an authority made at the
start.

After 20 s the January attack is played, unless --calm: a stolen credential of an insurer's employee reads on through the real
desk interface while clerks look somebody up. The terminal and the page show the early warning, the credential held, the doors,
how many records were reached, whether the platform's answer to that is exact and proved, and that no mail was lost.

DIR/demo.json says how to get in with other programs: addresses, CA file, a practice's account, the operators' links.
Close a door on the page and watch: mail for it is refused for now and comes again; mail for the others goes on. Lost is
found by comparing what the practices got a 250 for with what is in the cells and in the journal.`,
		Example: `  querschott demo
  querschott demo --data ./demo --rate 100 --calm
  querschott demo --for 30s --report -`,
		Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			begin := time.Now()
			if opt.Rate < 0 || opt.Checks < 0 || opt.Insured < 1 || length < 0 || after < 0 {
				return usageError{errors.New("--rate, --checks, --for and --attack-after cannot be below 0, --insured not below 1")}
			}
			if dir := filepath.Dir(report); report != "" && report != "-" && !isDir(dir) {
				return usageError{fmt.Errorf("--report: there is no directory %s", dir)} // known before the run, not at its end
			}
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
			screen := &screen{out: out}
			if !calm {
				opt.Beside = screen.attack(run.Show{Seed: opt.Seed, After: after, Dir: opt.Dir, Name: screen.name})
			}
			p, err := demo.Open(cmd.Context(), opt)
			if err != nil {
				return err
			}
			screen.node = p.Node()
			introduce(out, p.File(), temporary, time.Since(begin))
			r, err := p.Run(cmd.Context(), length, screen.line)
			if err != nil {
				return err
			}
			return writeReport(cmd, report, a.output == "json", demoReport{r, screen.course})
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.Dir, "data", "", "directory that keeps everything (default: a temporary one, which is named)")
	f.Float64Var(&opt.Rate, "rate", opt.Rate, "mails per second")
	f.IntVar(&opt.Insured, "insured", opt.Insured, "synthetic insured persons")
	f.Uint64Var(&opt.Seed, "seed", 1, "of the invented world")
	f.DurationVar(&length, "for", 0, "stop after this time (default: run until interrupted)")
	f.BoolVar(&calm, "calm", false, "without the January attack")
	f.DurationVar(&after, "attack-after", after, "when the January attack begins")
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

// demoReport is a demonstration's report; the attack is null without one.
type demoReport struct {
	demo.Report
	Attack *run.Course `json:"attack"`
}

// screen is the terminal: a line each second, and what happens in between.
type screen struct {
	out    io.Writer
	node   *node.Node  // set before the demonstration runs
	course *run.Course // valid after it

	mu   sync.Mutex // guards the field below, and out
	last demo.Line
}

func (s *screen) line(l demo.Line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = l
	fmt.Fprintln(s.out, l)
	if l.Trouble != "" {
		fmt.Fprintln(s.out, "          last trouble of a practice:", l.Trouble)
	}
}

// event shows what has happened between two lines.
func (s *screen) event(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "%s  > %s\n", time.Now().Format(time.TimeOnly), text)
}

func (s *screen) name(real string) string { return s.node.Pseudonym(real) }

// attack plays the January attack beside the demonstration; what goes wrong with it is shown, and ends nothing.
func (s *screen) attack(show run.Show) func(context.Context) {
	show.Say, show.Mail = s.event, s.mail
	return func(ctx context.Context) {
		var err error
		if s.course, err = run.Play(ctx, show); err != nil {
			s.event("the attack could not be played to its end: " + err.Error())
		}
	}
}

// mail says what has become of the practices' mail so far.
func (s *screen) mail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("mail  accepted %d, rejected %d, lost %d", s.last.Accepted, s.last.Rejected, s.last.Lost)
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
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

func writeReport(cmd *cobra.Command, to string, asJSON bool, r demoReport) error {
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
