package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/drill/run"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/node"
)

func (a *app) drillRun() *cobra.Command {
	opt := run.Options{}
	var dir, report string
	cmd := &cobra.Command{
		Use:   "run january-2023|april-2023|NAME|FILE.yaml",
		Short: "Play a drill through the real entrances of a running platform",
		Long: `Play a drill through the real entrances: the attacker reads through the HTTPS entrance with real tokens, practices send
mail and check cards, clerks work. With --data the platform is the demonstration that runs in that directory, or a node there
whose configuration says 'drill: true'; without it a throwaway platform is started and removed again. Such a node comes to be by
'init --drill' and 'drill prepare', is started with 'serve', and two operators open its doors; the drill brings the insured
persons' data and takes tokens for clerks, practices and the attacker by itself, and says what is missing.

The report compares what the platform says (alarms, doors, scope) with what the attacker really got. What could not be
measured is null. The command fails if a condition is not met.`,
		Example: `  querschott drill run january-2023 --report -
  querschott drill run april-2023 --data ./demo --report april.json
  querschott drill run january-2023 --data ./exercise --report -
  querschott drill run my-attack.yaml --seed 7`,
		Args: limitArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			begin := time.Now()
			opt.Progress = func(format string, args ...any) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%6.1f s  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
			}
			program, err := os.Executable()
			if err != nil {
				return err
			}
			opt.Program = program
			r, err := playDrill(cmd.Context(), args[0], dir, opt)
			if err != nil {
				return err
			}
			return a.showDrill(cmd, r, report)
		},
	}
	cmd.Flags().StringVar(&dir, "data", "", "directory of the running platform (default: a throwaway one)")
	cmd.Flags().StringVar(&report, "report", "", "write the JSON report: a file, or - for standard output")
	cmd.Flags().Uint64Var(&opt.Seed, "seed", 1, "of the invented world and of the attack")
	return cmd
}

// maxAttack is the largest file of an attack that is read.
const maxAttack = 1 << 20

func attackOf(name string) (*attack.Family, error) {
	if !strings.HasSuffix(name, ".yaml") && !strings.HasSuffix(name, ".yml") {
		f, err := run.Find(name)
		if querschott.CodeOf(err) == querschott.CodeNotFound {
			names, nerr := run.Names()
			return nil, errors.Join(usageError{fmt.Errorf("%w; there are %s, and files ending in .yaml", err, strings.Join(names, ", "))}, nerr)
		}
		return f, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usageError{err}
	}
	defer func() { _ = f.Close() }()
	return attack.Parse(io.LimitReader(f, maxAttack+1))
}

func playDrill(ctx context.Context, name, dir string, opt run.Options) (r *run.Report, err error) {
	var f *attack.Family
	if name != run.April {
		if f, err = attackOf(name); err != nil {
			return nil, err
		}
		if err = run.Playable(f); err != nil { // before a platform is started for it
			return nil, usageError{err}
		}
	}
	var p *run.Platform
	if dir != "" {
		p, err = run.Attach(ctx, dir)
	} else {
		opt.Progress("starting a throwaway platform")
		var stop func() error
		p, stop, err = run.Throwaway(ctx, opt.Seed)
		if err == nil {
			defer func() {
				opt.Progress("removing the throwaway platform")
				err = errors.Join(err, stop())
			}()
		}
	}
	if err != nil {
		return nil, err
	}
	if f == nil {
		return run.Blackout(ctx, p, opt)
	}
	return run.Attack(ctx, p, f, opt)
}

func (a *app) showDrill(cmd *cobra.Command, r *run.Report, to string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	switch {
	case to == "-" || to == "" && a.output == "json":
		_, err = cmd.OutOrStdout().Write(data)
	case to != "":
		err = disk.WriteFile(disk.OS{}, to, data)
	}
	if r.Mode == node.ModeDrill {
		fmt.Fprintln(cmd.ErrOrStderr(), "EXERCISE / ÜBUNG")
	}
	for _, c := range r.Conditions {
		mark := "passed"
		if !c.Passed {
			mark = "FAILED"
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s  %s (%s)\n", mark, c.Text, c.Found)
	}
	for _, text := range r.Unseen {
		fmt.Fprintf(cmd.ErrOrStderr(), "not looked at  %s\n", text)
	}
	if err == nil && !r.Passed {
		err = errors.New("the drill was not passed: see its conditions")
	}
	return err
}
