package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/drill/eval"
)

func (a *app) drillCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "drill", Short: "Play invented attacks: how soon are they noticed, and what do they get"}
	cmd.AddCommand(a.drillRun(), a.drillPrepare(), a.drillEval())
	return cmd
}

// evalReport is what --report writes and -o json prints: one report for each share of accesses without a reason, and the
// figures of the first of them in front.
type evalReport struct {
	*eval.Report
	Curve []*eval.Report `json:"by_unexplained,omitempty"`
}

func (a *app) drillEval() *cobra.Command {
	var report, scenarios string
	var names []string
	var unexplained []float64
	cfg := eval.Config{}
	cmd := &cobra.Command{
		Use: "eval", Short: "Measure the early warning on invented people and attacks, in accelerated time",
		Long: `Let an invented crowd work for some weeks while attackers are among it, with the gate's caps, the detectors and what follows
from their alarms, on a clock of its own, and measure what is found, how soon, what the attackers got, and how often innocent
people are suspected. Every figure comes with its 95 % interval over the seeds. Needs no node and changes nothing. The same
arguments give the same figures.

--scenarios takes other people's families of attacks besides those that come with the program (manual, chapter 13), --families
some of them only. --compare watches the same worlds again without holding anything, and compares with simple methods, with
each detector left out, and with labels by lot. The table is written to standard error while --report - is used.`,
		Example: "  querschott drill eval --seeds 20 --days 40 --report eval.json",
		Args:    limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if cfg.Families, err = families(scenarios, names); err != nil {
				return err
			}
			r, err := measure(cmd, cfg, unexplained)
			if err != nil {
				return err
			}
			if report != "" {
				if err := writeEval(cmd, report, r); err != nil {
					return err
				}
			}
			if report == "-" {
				printEval(cmd.ErrOrStderr(), r)
				return nil
			}
			return a.show(cmd, r, func(w io.Writer) { printEval(w, r) })
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Seeds, "seeds", 20, "how many worlds")
	f.Uint64Var(&cfg.First, "first-seed", 1, "the first seed; the others follow")
	f.IntVar(&cfg.Days, "days", 40, "days of each world; alarms of the first half only warm the detectors up")
	f.IntVar(&cfg.WarmUp, "warm-up", 0, "days that only warm the detectors up; default half of --days")
	f.IntVar(&cfg.Staff, "staff", 1000, "employees of all insurers together; 30000 is full size")
	f.Float64SliceVar(&unexplained, "unexplained", []float64{0.03}, "share of accesses without a reason; several for a curve")
	f.StringVar(&scenarios, "scenarios", "", "directory with further families (*.yaml)")
	f.StringSliceVar(&names, "families", nil, "only these families; default all")
	f.IntVar(&cfg.Copies, "copies", 1, "attacks of each family in each world")
	f.StringSliceVar(&cfg.Without, "without", nil, "detectors that do not run")
	f.BoolVar(&cfg.Compare, "compare", false, "also compare with simple methods and without each detector; takes twice as long")
	f.Float64Var(&cfg.Budget, "budget", 16, "alarms for which there is time on a working day, for 30,000 staff")
	f.IntVar(&cfg.Workers, "workers", 0, "worlds at the same time; default one per processor")
	f.StringVar(&report, "report", "", "write the report as JSON into this file, - for standard output")
	return cmd
}

// families returns those of the program and of a directory, or some of them.
func families(dir string, names []string) ([]*attack.Family, error) {
	list, err := attack.Builtin()
	if err != nil {
		return nil, err
	}
	if dir != "" {
		files, err := filepath.Glob(filepath.Join(dir, "*.y*ml"))
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("there are no families (*.yaml) in %s", dir)
		}
		for _, name := range files {
			f, err := family(name)
			if err != nil {
				return nil, err
			}
			list = slices.DeleteFunc(list, func(o *attack.Family) bool { return o.Name == f.Name })
			list = append(list, f)
		}
	}
	if len(names) == 0 {
		return list, nil
	}
	var some []*attack.Family
	for _, n := range names {
		i := slices.IndexFunc(list, func(f *attack.Family) bool { return f.Name == n })
		if i < 0 {
			return nil, fmt.Errorf("there is no family %q; there are %s", n, known(list))
		}
		some = append(some, list[i])
	}
	return some, nil
}

func known(list []*attack.Family) string {
	var names []string
	for _, f := range list {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

func family(name string) (f *attack.Family, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if f, err = attack.Parse(file); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// measure runs the evaluation once for each share.
func measure(cmd *cobra.Command, cfg eval.Config, unexplained []float64) (*evalReport, error) {
	r := &evalReport{}
	for i, u := range unexplained {
		cfg.Unexplained = u
		cfg.Progress = func(done, of int) {
			fmt.Fprintf(cmd.ErrOrStderr(), "\r%.0f %% without a reason: %d of %d worlds ", 100*u, done, of)
			if done == of {
				fmt.Fprintln(cmd.ErrOrStderr())
			}
		}
		one, err := eval.Run(cmd.Context(), cfg)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			r.Report = one
		}
		if len(unexplained) > 1 {
			r.Curve = append(r.Curve, one)
		}
	}
	if r.Report == nil {
		return nil, errors.New("--unexplained needs a share")
	}
	return r, nil
}

func writeEval(cmd *cobra.Command, name string, r *evalReport) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if name == "-" {
		_, err := cmd.OutOrStdout().Write(data)
		return err
	}
	return os.WriteFile(name, data, 0o600)
}

func printEval(w io.Writer, r *evalReport) {
	list := r.Curve
	if len(list) == 0 {
		list = []*eval.Report{r.Report}
	}
	for i, one := range list {
		if i > 0 {
			fmt.Fprintln(w)
		}
		printScenarios(w, one)
		printFalse(w, one)
		printMethods(w, one)
	}
}

func percent(i eval.Interval) string {
	return fmt.Sprintf("%.0f %% (%.0f-%.0f)", 100*i.Value, 100*i.Low, 100*i.High)
}

func printScenarios(w io.Writer, r *eval.Report) {
	var rows [][]string
	for _, f := range r.Families {
		rows = append(rows, []string{
			f.Drill, fmt.Sprint(f.Runs), percent(f.Recall), percent(f.AtBudget), percent(f.Within["3"]), percent(f.Within["10"]), hours(f.Detected), hours(f.Detected95),
			fmt.Sprintf("%.0f %%", 100*f.ContainedShare), fmt.Sprintf("%.0f/%.0f", f.Before, f.Before95), fmt.Sprintf("%.0f/%.0f/%.0f", f.Records, f.Records95, f.RecordsMax),
		})
	}
	table(w, "FAMILY|RUNS|FOUND (95 %)|AT BUDGET|IN 3 DAYS|IN 10 DAYS|AFTER p50|p95|HELD|PERSONS BEFORE p50/p95|IN ALL p50/p95/max", rows)
}

// hours writes seconds so that they can be read.
func hours(s float64) string {
	switch {
	case s == 0:
		return "-"
	case s < 120:
		return fmt.Sprintf("%.0f s", s)
	case s < 7200:
		return fmt.Sprintf("%.0f min", s/60)
	case s < 48*3600:
		return fmt.Sprintf("%.0f h", s/3600)
	default:
		return fmt.Sprintf("%.1f d", s/86400)
	}
}

func figure(i eval.Interval) string { return fmt.Sprintf("%.2f (%.2f-%.2f)", i.Value, i.Low, i.High) }

func printFalse(w io.Writer, r *eval.Report) {
	fmt.Fprintf(w, "%d worlds of %.0f staff, %d insurers and %.0f practices; %d events, %.0f working days counted; %.1f %% of desk accesses explained\n",
		r.Seeds, r.Staff, r.Insurers, r.Practices, r.Events, r.WorkingDays, 100*r.Explained)
	fmt.Fprintf(w, "false alarms per working day: %s, scaled to 30,000 staff: %s without practices and the app, of which %s "+
		"about people to whom nothing happens that looks like an attack; budget %.0f\n", figure(r.FalseSmall), figure(r.False), figure(r.FalseCalm), r.Budget)
	fmt.Fprintf(w, "credentials held wrongly per working day, scaled to 30,000 staff: %s; doors closed wrongly in 6 months: %s\n", figure(r.WrongHolds), figure(r.WrongDoors))
	fmt.Fprintf(w, "doors closed: %d in all worlds; two persons were asked %d times\n", r.Doors, r.Asked)
	fmt.Fprintf(w, "ordinary requests refused per million: %.0f for a held credential, %.0f by a door, %.0f for a cap\n", r.Refused["held"], r.Refused["door"], r.Refused["cap"])
	var rows [][]string
	for _, c := range eval.Largest(r.FalseBy) {
		rows = append(rows, []string{c, fmt.Sprintf("%.3f", r.FalseBy[c])})
	}
	table(w, "FALSE ALARMS|PER WORKING DAY", rows)
	rows = nil
	for _, c := range eval.Largest(r.LookAlike) {
		rows = append(rows, []string{c, fmt.Sprintf("%.3f", r.LookAlike[c])})
	}
	table(w, "OF THESE, DURING|PER WORKING DAY", rows)
}

func printMethods(w io.Writer, r *eval.Report) {
	if len(r.Methods) == 0 {
		return
	}
	var rows [][]string
	for _, m := range r.Methods {
		rows = append(rows, []string{m.Name, fmt.Sprintf("%.1f", m.False), fmt.Sprintf("%.0f %%", 100*m.LookedAt), percent(m.All)})
	}
	table(w, "METHOD, NOTHING HELD|FALSE ALARMS A DAY|LOOKED AT|FOUND AT THE BUDGET (95 %)", rows)
	rows = nil
	for _, d := range eval.Largest(r.Alone()) {
		a := r.Ablation[d]
		var lost []string
		for _, f := range r.Families {
			if l, ok := a.Recall[f.Drill]; ok {
				lost = append(lost, fmt.Sprintf("%s %.0f to %.0f %%", f.Drill, 100*l[0], 100*l[1]))
			}
		}
		rows = append(rows, []string{d, fmt.Sprint(a.Alone), fmt.Sprintf("%.1f", a.False), strings.Join(lost, ", ")})
	}
	table(w, "WITHOUT|RUNS NOT FOUND|FALSE ALARMS A DAY LESS|FOUND BEFORE AND AFTER", rows)
	fmt.Fprintf(w, "nothing held: found %s; without canaries %s; attackers by lot would be called found %s\n", percent(*r.OpenRecall), percent(*r.NoCanaries), percent(*r.Shuffled))
}
