package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/scope"
)

// window is a time asked for, as flags say it.
type window struct{ from, to string }

func (w *window) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.from, "from", "", "beginning: a time as 2026-11-29T08:00:00+01:00, or how long ago, as 54h")
	cmd.Flags().StringVar(&w.to, "to", "now", "end, the first moment that is not asked for: a time, how long ago, or 'now'")
}

func (w *window) times(now time.Time) (from, to time.Time, err error) {
	if from, err = moment(w.from, now); err == nil {
		to, err = moment(w.to, now)
	}
	return from, to, err
}

func moment(text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return now, nil
	}
	if ago, err := time.ParseDuration(strings.TrimPrefix(text, "-")); err == nil {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usageError{fmt.Errorf("%q is no time: write 2026-11-29T08:00:00+01:00, 54h for 54 hours ago, or now", text)}
	}
	return t, nil
}

func (a *app) scopeCommand() *cobra.Command {
	var w window
	var credentials, insurers []string
	var list, reveal bool
	var dir, proofFile string
	cmd := &cobra.Command{
		Use: "scope", Short: "Which persons did a credential reach? Exactly, per insurer", Args: limitArgs(cobra.NoArgs),
		Long: `Print which insured persons one or several credentials reached in a time, per insurer: how many, which kinds of data, the
lower, best and upper bound, and the evidence grade. E2 means that the ledger excludes it, E4 that it is known who.
Persons are pseudonyms. --reveal shows their numbers, which is recorded in the ledger as an access to each of them.
--csv writes one file for each insurer that was reached; none of them has another insurer's persons. --proof writes a
proof that the answer is complete; with --insurer it shows nothing of the logs of other insurers.`,
		Example: "  querschott scope --credential staff:anna --from 54h\n" +
			"  querschott scope --credential staff:anna --from 2026-11-27T08:00:00+01:00 --to 2026-11-29T14:00:00+01:00 --csv lists",
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := node.ScopeRequest{Question: scope.Question{Persons: list || reveal}, Reveal: reveal && dir == ""}
			for _, c := range credentials {
				q.Credentials = append(q.Credentials, querschott.CredentialID(c))
			}
			for _, in := range insurers {
				q.Insurers = append(q.Insurers, querschott.IK(in))
			}
			var err error
			if q.From, q.To, err = w.times(time.Now()); err != nil {
				return err
			}
			c, _, err := a.client()
			if err != nil {
				return err
			}
			if dir != "" {
				q.Persons = false
			}
			answer, err := c.Scope(cmd.Context(), q)
			if err != nil {
				return err
			}
			if dir != "" {
				if err := writeLists(cmd, c, q, reveal, answer, dir); err != nil {
					return err
				}
			}
			if proofFile != "" {
				if err := writeProof(cmd, c, q.Question, proofFile); err != nil {
					return err
				}
			}
			return a.show(cmd, answer, func(out io.Writer) { showAnswer(out, answer) })
		},
	}
	w.flags(cmd)
	cmd.Flags().StringSliceVar(&credentials, "credential", nil, "credential; several are taken together")
	cmd.Flags().StringSliceVar(&insurers, "insurer", nil, "IK of an insurer; default: all")
	cmd.Flags().BoolVar(&list, "persons", false, "list the persons")
	cmd.Flags().BoolVar(&reveal, "reveal", false, "list the persons with their numbers (recorded)")
	cmd.Flags().StringVar(&dir, "csv", "", "directory for one list of persons per insurer")
	cmd.Flags().StringVar(&proofFile, "proof", "", "file for the proof that the answer is complete; see 'querschott verify scope'")
	must(cmd.MarkFlagRequired("credential"))
	must(cmd.MarkFlagRequired("from"))
	cmd.AddCommand(a.scopePerson(), a.scopeLeak(), a.scopeRebuild())
	return cmd
}

// must is for what only a mistake in this program can fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func showAnswer(out io.Writer, a *scope.Answer) {
	var rows [][]string
	for i := range a.Insurers {
		r := &a.Insurers[i]
		if r.Events == 0 && r.Grade != scope.GradeNoSign {
			continue
		}
		var groups []string
		for _, g := range r.Groups {
			groups = append(groups, fmt.Sprintf("%s %d", g.Data, g.Persons))
		}
		rows = append(rows, []string{
			insurerName(r.Insurer), string(r.Grade), num(r.Bounds.Lower), num(r.Bounds.Best), num(r.Bounds.Upper), num(r.Possible), num(r.Excluded),
			num(r.Unnamed), stamp(r.First), stamp(r.Last), strings.Join(groups, ", "),
		})
	}
	table(out, "INSURER|GRADE|LOWER|BEST|UPPER|POSSIBLE|REFUSED|UNNAMED|FIRST|LAST|PERSONS BY KIND OF DATA", rows)
	excluded := 0
	for i := range a.Insurers {
		if a.Insurers[i].Insurer != "" && a.Insurers[i].Grade == scope.GradeExcluded {
			excluded++
		}
	}
	fmt.Fprintf(out, "total: lower %d, best %d, upper %d; excluded by the ledger (E2): %d insurers\n", a.Total.Lower, a.Total.Best, a.Total.Upper, excluded)
	fmt.Fprintf(out, "as of %s, coverage %.1f %%, sealed until %s\n", a.AsOf.Format(time.RFC3339), 100*a.Coverage, stamp(time.Unix(a.Sealed, 0)))
	for _, c := range a.Unknown {
		fmt.Fprintf(out, "UNKNOWN: the ledger has nobody's data under the credential %s. Is it written as alarms and access events write it?\n", c)
	}
	for _, g := range a.Gaps {
		fmt.Fprintln(out, "GAP:", g)
	}
	for i := range a.Insurers {
		for _, p := range a.Insurers[i].Persons {
			fmt.Fprintf(out, "%s  %s  %s  %s  %s\n", insurerName(a.Insurers[i].Insurer), p.Pseudonym, p.Number, p.Result, strings.Join(p.Data, ","))
		}
	}
}

func num(n uint64) string { return strconv.FormatUint(n, 10) }

func stamp(t time.Time) string {
	if t.IsZero() || t.Unix() == 0 {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func insurerName(ik querschott.IK) string {
	if ik == "" {
		return "platform"
	}
	return string(ik)
}

// writeLists writes one file of persons for each insurer that has some. Each is asked for by itself, so that no file can have
// another one's persons.
func writeLists(cmd *cobra.Command, c *node.Client, q node.ScopeRequest, reveal bool, all *scope.Answer, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for i := range all.Insurers {
		in := all.Insurers[i].Insurer
		if all.Insurers[i].Events == 0 {
			continue
		}
		q.Insurers, q.Persons, q.Reveal = []querschott.IK{in}, true, reveal
		one, err := c.Scope(cmd.Context(), q)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, "scope-"+insurerName(in)+".csv")
		if err := os.WriteFile(path, personsCSV(one, in), 0o600); err != nil {
			return err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "wrote", path)
	}
	return nil
}

// writeProof writes the proof of an answer, and says how it is checked. It is checked here first.
func writeProof(cmd *cobra.Command, c *node.Client, q scope.Question, path string) error {
	proved, err := c.ScopeProof(cmd.Context(), q)
	if err != nil {
		return err
	}
	if _, err := proved.Proof.Verify(proved.VKey); err != nil {
		return err
	}
	data, err := proved.Proof.Marshal()
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "wrote %s (%s)\ncheck: querschott verify scope %s --vkey '%s'\n", path, bytesText(int64(len(data))), path, proved.VKey)
	return nil
}

func (a *app) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "verify", Short: "Check proofs offline: needs no node, no network and no configuration"}
	cmd.AddCommand(a.verifyScope())
	return cmd
}

func (a *app) verifyScope() *cobra.Command {
	var vkey string
	var list bool
	cmd := &cobra.Command{
		Use: "scope FILE", Short: "Check offline that an answer about who was reached is complete", Args: limitArgs(cobra.ExactArgs(1)),
		Long: `Check a proof of 'querschott scope --proof' with nothing but one public key of the platform's ledger, and print what it
shows: counted from the proof's records. It fails when a record, a neighbour, a segment, a round or an insurer is withheld.
Exit code 5: it does not hold, or not for the whole time asked for.`,
		Example: "  querschott verify scope reached.proof --vkey 'kassen.example/ledger/commits/2026+1a2b3c4d+AQ...'",
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			if err := checkVKey(vkey); err != nil {
				return err
			}
			v, err := scope.Verify(file, vkey)
			if err != nil {
				return foundError{err}
			}
			if !list {
				for i := range v.Reach {
					v.Reach[i].Persons = nil
				}
			}
			if err := a.show(cmd, v, func(out io.Writer) { showVerified(out, v) }); err != nil {
				return err
			}
			if !v.Complete {
				return errFound
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&vkey, "vkey", "", "public key of one of the platform's logs (C2SP vkey)")
	cmd.Flags().BoolVar(&list, "persons", false, "list the persons")
	must(cmd.MarkFlagRequired("vkey"))
	return cmd
}

func showVerified(out io.Writer, v *scope.Verified) {
	fmt.Fprintf(out, "credentials %v, from %s to %s\n", v.Credentials, stamp(v.From), stamp(v.To))
	rows := make([][]string, len(v.Reach))
	for i := range v.Reach {
		r := &v.Reach[i]
		rows[i] = []string{
			insurerName(r.Insurer), string(r.Grade), num(r.Bounds.Lower), num(r.Bounds.Best), num(r.Bounds.Upper), num(r.Excluded), num(r.Unnamed),
		}
	}
	table(out, "INSURER|GRADE|LOWER|BEST|UPPER|REFUSED|UNNAMED", rows)
	for i := range v.Reach {
		for _, p := range v.Reach[i].Persons {
			fmt.Fprintf(out, "%s  %s  %s  %s\n", insurerName(v.Reach[i].Insurer), p.Pseudonym, p.Result, strings.Join(p.Data, ","))
		}
	}
	fmt.Fprintf(out, "total: lower %d, best %d, upper %d\n", v.Total.Lower, v.Total.Best, v.Total.Upper)
	fmt.Fprintf(out, "the proof holds: rounds %d to %d, under %s at %d entries with the root %v\n", v.Rounds[0], v.Rounds[1], v.Checkpoint.Origin, v.Checkpoint.Size, v.Checkpoint.Root)
	if !v.Complete {
		fmt.Fprintf(out, "NOT COMPLETE: what came from %s on was not sealed when the proof was made\n", stamp(v.Sealed))
	}
}

// personsCSV is the list of one insurer's persons.
func personsCSV(a *scope.Answer, in querschott.IK) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	row := func(cells ...string) { _ = w.Write(cells) } // a buffer takes everything
	row("insurer", "pseudonym", "number", "result", "data", "log", "entry")
	for i := range a.Insurers {
		if a.Insurers[i].Insurer != in {
			continue
		}
		for _, p := range a.Insurers[i].Persons {
			row(insurerName(in), p.Pseudonym, p.Number, p.Result.String(), strings.Join(p.Data, " "), p.Log, num(p.Entry))
		}
	}
	w.Flush()
	return b.Bytes()
}

func (a *app) scopePerson() *cobra.Command {
	var w window
	var insurer, file string
	cmd := &cobra.Command{
		Use: "person", Short: "Who saw, changed or was refused one insured person's data?", Args: limitArgs(cobra.NoArgs),
		Long: `Print everybody who saw or changed the data of one insured person, or was refused them. The person's number (KVNR) is read
from standard input or from a file, never from the command line, where others could see it. That it was asked is recorded
in the ledger as an access to this person.`,
		Example: "  querschott scope person --insurer 109500969 --from 8760h < number.txt",
		RunE: func(cmd *cobra.Command, _ []string) error {
			number, err := readNumber(cmd, file)
			if err != nil {
				return err
			}
			q := node.WhoRequest{Insurer: querschott.IK(insurer), Person: number}
			if q.From, q.To, err = w.times(time.Now()); err != nil {
				return err
			}
			c, _, err := a.client()
			if err != nil {
				return err
			}
			seen, err := c.Who(cmd.Context(), q)
			if err != nil {
				return err
			}
			return a.show(cmd, seen, func(out io.Writer) {
				rows := make([][]string, len(seen.List))
				for i, s := range seen.List {
					rows[i] = []string{stamp(s.At), s.Result.String(), s.Data, string(s.Actor), string(s.Credential), string(s.Role)}
				}
				table(out, "TIME|RESULT|DATA|ACTOR|CREDENTIAL|ROLE", rows)
				fmt.Fprintf(out, "%d events, as of %s, coverage %.1f %%\n", len(rows), seen.AsOf.Format(time.RFC3339), 100*seen.Coverage)
				for _, g := range seen.Gaps {
					fmt.Fprintln(out, "GAP:", g)
				}
			})
		},
	}
	w.flags(cmd)
	cmd.Flags().StringVar(&insurer, "insurer", "", "IK of the person's insurer")
	cmd.Flags().StringVar(&file, "kvnr-file", "-", "file with the person's number, - for standard input")
	must(cmd.MarkFlagRequired("insurer"))
	must(cmd.MarkFlagRequired("from"))
	return cmd
}

// readNumber reads a person's number from a file or from standard input.
func readNumber(cmd *cobra.Command, file string) (string, error) {
	in := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, 100))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

func (a *app) scopeRebuild() *cobra.Command {
	return &cobra.Command{
		Use: "rebuild", Short: "Make the index of who reached whom again from the ledger", Args: limitArgs(cobra.NoArgs),
		Long: `Throw the index of the running node away and make it again from the ledger, which alone is the truth. It is done by itself
when the index is found damaged. Questions wait meanwhile; accesses do not.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			if err := c.ScopeRebuild(cmd.Context()); err != nil {
				return err
			}
			return a.show(cmd, struct{}{}, func(w io.Writer) { fmt.Fprintln(w, "the index is made again") })
		},
	}
}
