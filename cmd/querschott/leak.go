package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott/incident"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/scope/leak"
)

func (a *app) scopeLeak() *cobra.Command {
	var w window
	var s saying
	var histories []string
	var offline bool
	var ref string
	cmd := &cobra.Command{
		Use: "leak FILE...", Short: "Whose leak is this? How many persons, whose, from when, and who can have taken it", Args: limitArgs(cobra.MinimumNArgs(1)),
		Long: `Read what somebody offers as stolen data (CSV, JSON, NDJSON, SQL INSERTs, or any text with insured persons' numbers; - is
standard input) and print how many rows and how many different persons it has, of which insurers, how many canaries, and which
credentials reached these persons, the most likely source first. Persons are recognised by numbers with a valid check digit.
--history reads what an insurer knows of fields that change (CSV or NDJSON: kvnr, field, value, valid_from, valid_to, insurer),
and says when the copy was made. Numbers live only as long as the run; nothing that is printed or stored has one. That it was
asked is recorded in the ledger, as an access to each person whom an insurer's log knows. --offline asks no node.
--incident adds the insurers' persons to a case as evidence of the grade E5.`,
		Example: "  querschott scope leak offered/*.csv offered/dump.sql\n" +
			"  querschott scope leak offered.csv --history cards.csv --from 2160h -o json\n" +
			"  querschott scope leak offered.csv --incident VF-2026-0001 --key operators/anna.key",
		RunE: func(cmd *cobra.Command, args []string) error {
			if offline && ref != "" {
				return usageError{errors.New("evidence for a case needs the node: leave --offline out")}
			}
			if ref != "" { // a key that is missing shows before the question is asked and recorded
				if _, _, err := operatorKey(s.key); err != nil {
					return err
				}
			}
			d := leak.NewDump()
			defer d.Forget()
			if err := readDump(cmd, d, histories, args); err != nil {
				return err
			}
			var known *leak.Known
			if !offline {
				var err error
				if known, err = a.askLeak(cmd, d, &w); err != nil {
					return err
				}
			}
			r := d.Report(known)
			if err := a.show(cmd, r, func(out io.Writer) { showLeak(out, r) }); err != nil || ref == "" {
				return err
			}
			list := incident.FromLeak(r)
			for _, e := range list {
				if _, err := a.handIn(cmd.Context(), &s, ref, incident.Entry{Kind: incident.Finding, Evidence: &e}); err != nil {
					return err
				}
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: evidence about %d insurers was added\n", ref, len(list))
			return nil
		},
	}
	w.flags(cmd)
	s.register(cmd)
	cmd.Flags().Lookup("from").Usage += "; default: since the ledger began"
	cmd.Flags().StringSliceVar(&histories, "history", nil, "file of values that persons' fields had, and when; several are taken together")
	cmd.Flags().BoolVar(&offline, "offline", false, "ask no node: counts and windows only")
	cmd.Flags().StringVar(&ref, "incident", "", "case to which the result is added as evidence")
	return cmd
}

// readDump reads histories, then files.
func readDump(cmd *cobra.Command, d *leak.Dump, histories, files []string) error {
	read := func(name string, fn func(io.Reader) error) error {
		if name == "-" {
			return fn(cmd.InOrStdin())
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // only read
		if err := fn(f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	for _, name := range histories {
		if err := read(name, d.ReadHistory); err != nil {
			return err
		}
	}
	for _, name := range files {
		if err := read(name, d.Read); err != nil {
			return err
		}
	}
	return nil
}

// askLeak asks the running node about the persons of a dump.
func (a *app) askLeak(cmd *cobra.Command, d *leak.Dump, w *window) (*leak.Known, error) {
	now := time.Now()
	q := node.LeakRequest{Windows: d.Date()}
	var err error
	if q.To, err = moment(w.to, now); err != nil {
		return nil, err
	}
	if w.from != "" {
		if q.From, err = moment(w.from, now); err != nil {
			return nil, err
		}
	}
	c, _, err := a.client()
	if err != nil {
		return nil, err
	}
	q.Numbers = make([]string, 0, len(d.Numbers()))
	for _, k := range d.Numbers() {
		q.Numbers = append(q.Numbers, k.Reveal())
	}
	defer clear(q.Numbers)
	return c.Leak(cmd.Context(), q)
}

func showLeak(out io.Writer, r *leak.Report) {
	rows := make([][]string, len(r.Files))
	for i := range r.Files {
		f := &r.Files[i]
		rows[i] = []string{f.SHA256[:16], f.Format, num(f.Rows), num(f.Persons), num(f.Fresh), num(f.Unreadable), num(f.Wrong), strings.Join(f.Fields, ",")}
	}
	table(out, "FILE (SHA-256)|FORMAT|ROWS|PERSONS|NEW|UNREADABLE|WRONG DIGIT|FIELDS", rows)
	fmt.Fprintf(out, "%d rows, %d different persons\n\n", r.Rows, r.Persons)
	rows = rows[:0]
	for _, s := range r.Insurers {
		rows = append(rows, []string{string(s.Insurer), string(s.Grade), fmt.Sprint(s.Persons), fmt.Sprint(s.Ledger), fmt.Sprint(s.History), fmt.Sprint(s.Canaries)})
	}
	table(out, "INSURER|GRADE|PERSONS|BY LEDGER|BY HISTORY|CANARIES", rows)
	fmt.Fprintf(out, "persons whom neither the ledger nor the history knows: %d; canaries: %d\n\n", r.Unknown, r.Canaries)
	for _, w := range r.Windows {
		fmt.Fprintf(out, "copied between %s and %s: %d records, %d of them at no other time\n", stamp(w.From), stamp(w.To), w.Records, w.Only)
	}
	if r.More > 0 {
		fmt.Fprintf(out, "and in %d more windows: the history is not of these persons\n", r.More)
	}
	if r.Strange > 0 {
		fmt.Fprintf(out, "values that the history does not have: %d\n", r.Strange)
	}
	if r.Ranking != nil {
		showRanking(out, r.Ranking)
	}
}

func showRanking(out io.Writer, r *leak.Ranking) {
	var rows [][]string
	add := func(rank, who, actor string, k *leak.Reading) {
		in := "yes"
		if !k.InWindow {
			in = "no"
		}
		rows = append(rows, []string{
			rank, who, actor, fmt.Sprintf("%.1f %%", 100*k.Coverage), fmt.Sprintf("%.1f %%", 100*k.Precision), fmt.Sprint(k.Matches), num(k.Persons),
			fmt.Sprintf("%.1f", k.Evidence), in, stamp(k.First), stamp(k.Last),
		})
	}
	for i := range r.Readers {
		x := &r.Readers[i]
		add(fmt.Sprint(x.Rank), string(x.Credential), string(x.Actor), &x.Reading)
		for j := range x.Best {
			if len(x.Best) > 1 || x.Best[j].Persons != x.Persons {
				add("", "  period", "", &x.Best[j])
			}
		}
	}
	table(out, "RANK|CREDENTIAL|ACTOR|COVERAGE|PRECISION|MATCHES|PERSONS READ|EVIDENCE|IN WINDOW|FIRST|LAST", rows)
	for _, m := range r.Cover {
		fmt.Fprintf(out, "together: %s adds %d persons, %.1f %% of the dump so far\n", m.Credential, m.Adds, 100*m.Together)
	}
	fmt.Fprintf(out, "confidence: %s\n", r.Confidence)
	for _, w := range r.Why {
		fmt.Fprintln(out, " ", w)
	}
	for _, g := range r.Gaps {
		fmt.Fprintln(out, "GAP:", g)
	}
}
