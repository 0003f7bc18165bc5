package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/watch"
	"github.com/querschott/querschott/watch/sigma"
)

func (a *app) watchCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "watch", Short: "Early warning: what the detectors of the running node say, and what they would have said"}
	cmd.AddCommand(a.watchStatus(), a.watchAlarms(), a.watchExplained(), a.watchReplay())
	return cmd
}

// replayReport is what --report writes and -o json prints.
type replayReport struct {
	*watch.Report
	Reading *watch.Reading `json:"reading"`
	Took    float64        `json:"took_s"`
	Rate    float64        `json:"events_per_s"`
}

func (a *app) watchReplay() *cobra.Command {
	var report, canaries, policy string
	var rules sigma.Config
	cmd := &cobra.Command{
		Use: "replay FILE...", Short: "Run the detectors over recorded access events, in event time",
		Long: `Run the detectors over files of access events (NDJSON as the node writes it, plain or gzip, - for standard input) in event
time, and print what they would have said. Several files are merged by time. Needs no node and no configuration, and
changes nothing. Lines that are no events are counted and named; only when all of them are none does the command fail.
The policy is JSON: caps, registered jobs, detectors that are off. The canaries are pseudonyms, one a line.`,
		Example: "  querschott watch replay access.ndjson.1 access.ndjson --report alarms.json",
		Args:    limitArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := watchConfig(policy, canaries)
			if err != nil {
				return err
			}
			if rules.Own || len(rules.Dirs) > 0 {
				engine, err := sigma.New(rules)
				if err != nil {
					return err
				}
				cfg.Also = append(cfg.Also, engine)
			}
			r, err := replayFiles(cmd, cfg, args)
			if err != nil {
				return err
			}
			if report != "" {
				if err := writeReplay(cmd, report, r); err != nil || report == "-" {
					return err
				}
			}
			return a.show(cmd, r, func(w io.Writer) { printReplay(w, r) })
		},
	}
	cmd.Flags().StringVar(&report, "report", "", "write the report as JSON into this file, - for standard output in place of the table")
	cmd.Flags().StringVar(&canaries, "canaries", "", "file with the pseudonyms of canary persons")
	cmd.Flags().StringVar(&policy, "policy", "", "file with the policy (JSON)")
	cmd.Flags().StringArrayVar(&rules.Dirs, "rules", nil, "directory with rules in Sigma 2.1 (*.yml), may be repeated")
	cmd.Flags().BoolVar(&rules.Own, "own-rules", false, "also run the rules in Sigma that come with the program")
	return cmd
}

// watchConfig reads what the operator decided.
func watchConfig(policy, canaries string) (cfg watch.Config, err error) {
	if policy != "" {
		f, err := os.Open(policy)
		if err != nil {
			return cfg, err
		}
		cfg.Policy, err = watch.ParsePolicy(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return cfg, fmt.Errorf("%s: %w", policy, err)
		}
	}
	if canaries != "" {
		cfg.Canaries, err = node.ReadPseudonyms(canaries)
	}
	return cfg, err
}

func replayFiles(cmd *cobra.Command, cfg watch.Config, names []string) (r *replayReport, err error) {
	w, err := watch.New(cfg)
	if err != nil {
		return nil, err
	}
	var sources []watch.Source
	for _, name := range names {
		f := os.Stdin
		if name != "-" {
			if f, err = os.Open(name); err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
		}
		text, err := unpacked(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		sources = append(sources, watch.Source{Name: name, Reader: access.NewReader(text)})
	}
	begun := time.Now()
	reading, err := w.Replay(cmd.Context(), sources)
	if err != nil {
		return nil, err
	}
	took := time.Since(begun).Seconds()
	return &replayReport{w.Report(), reading, took, float64(reading.Lines) / max(took, 1e-6)}, nil
}

// unpacked undoes gzip, which it knows by its first two bytes.
func unpacked(f io.Reader) (io.Reader, error) {
	r := bufio.NewReaderSize(f, 1<<16)
	if head, err := r.Peek(2); err != nil || head[0] != 0x1f || head[1] != 0x8b {
		return r, nil //nolint:nilerr // a file too short to be packed is read as it is, and so is its error
	}
	return gzip.NewReader(r)
}

// writeReplay writes the report to a file, or to standard output.
func writeReplay(cmd *cobra.Command, name string, r *replayReport) error {
	if name == "-" {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o600)
}

func printReplay(w io.Writer, r *replayReport) {
	rows := make([][]string, len(r.Alarms))
	for i, a := range r.Alarms {
		rows[i] = []string{
			a.Time.Format(time.RFC3339), a.Detector, a.Cause, string(a.Kind), string(a.Severity), string(a.Actor), string(a.Insurer),
			strconv.Itoa(a.Events.Count), arithmetic(a.Arithmetic),
		}
	}
	table(w, "TIME|DETECTOR|CAUSE|KIND|SEVERITY|ACTOR|INSURER|EVENTS|ARITHMETIC", rows)
	fmt.Fprintf(w, "%d alarms (%d exact, %d statistical, %d over the budget) in %d events", len(r.Alarms), r.ByKind[watch.Exact],
		r.ByKind[watch.Statistical], r.Over, r.Counts.Events)
	if r.Counts.Events > 0 { // else there is no time that it could be from or to
		fmt.Fprintf(w, ", %s to %s", r.From.Format(time.RFC3339), r.To.Format(time.RFC3339))
	}
	fmt.Fprintln(w)
	c := r.Counts
	fmt.Fprintf(w, "left out: %d twice, %d refused by a door; %d late, %d lost\n", c.Duplicates, c.Doors, c.Late, c.Lost)
	for _, s := range r.Explained {
		fmt.Fprintf(w, "explained in %s: %.1f %% of %d\n", s.Compartment, 100*s.Share, s.Reached-s.Implied)
	}
	for name, s := range r.Detectors {
		if s.Evicted > 0 {
			fmt.Fprintf(w, "WARNING: %s had to forget %d actors to stay within its memory\n", name, s.Evicted)
		}
	}
	for _, f := range r.Reading.Faults {
		fmt.Fprintf(w, "no event: %s:%d: %s\n", f.Source, f.Line, f.Why)
	}
}

// arithmetic writes the first figures of an alarm; the report has all of them.
func arithmetic(numbers []watch.Number) string {
	var parts []string
	for i, n := range numbers {
		if i < 4 || n.Name == watch.NotSeen {
			parts = append(parts, fmt.Sprintf("%s %.4g %s", n.Name, n.Value, n.Unit))
		}
	}
	return strings.Join(parts, ", ")
}
