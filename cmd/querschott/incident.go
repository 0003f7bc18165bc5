package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/incident"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/scope"
)

func (a *app) incidentCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "incident", Short: "The story of a case: what is known, who decided what, which evidence there is"}
	cmd.AddCommand(
		a.incidentList(), a.incidentShow(), a.incidentVerify(), a.incidentExport(), a.incidentOpen(), a.incidentEvidence(),
		a.incidentEntry("note REF TEXT", "Write down what is known", "what happened", incident.Fact),
		a.incidentEntry("assume REF TEXT", "Write down what is assumed", "what is assumed", incident.Assumption),
		a.incidentEntry("ask REF TEXT", "Write down what is not known", "what is not known", incident.Question),
		a.incidentEntry("act REF TEXT", "Write down what was done", "what was done", incident.Action),
		a.incidentEntry("decide REF TEXT", "Write down what was decided, and why", "what was decided", incident.Decision),
		a.incidentEntry("contained REF TEXT", "Say that nothing more is being reached", "how it is contained", incident.Contained),
		a.incidentCorrect(), a.incidentRole("role REF ROLE PERSON", "Give somebody a role", incident.RoleGiven),
		a.incidentRole("handover REF ROLE PERSON", "Hand a role over; it counts when the other takes it", incident.Handover),
		a.incidentAnswer("take REF N", "Take over the role that entry N hands over", incident.Acknowledgement),
		a.incidentWish("close REF", "Ask for the case to be closed; a second operator approves", incident.Close),
		a.incidentWish("unmask REF", "Ask for the names in alarms; a second operator approves", incident.Unmask),
		a.incidentAnswer("approve REF N", "Approve the request that entry N is, as the second person", incident.Approval),
	)
	return cmd
}

// saying are the options of an entry.
type saying struct {
	key, why, happened, learned string
}

func (s *saying) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.key, "key", envOr("QUERSCHOTT_OPERATOR_KEY", ""), "your operator's key file")
}

func (s *saying) times(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.happened, "happened", "", "when it happened: a time, or how long ago, as 54h; default: not known")
	cmd.Flags().StringVar(&s.learned, "learned", "now", "when it was learned: a time, or how long ago")
}

// fill adds to an entry what the options say.
func (s *saying) fill(e *incident.Entry) (err error) {
	e.Why = s.why
	now := time.Now()
	if s.happened != "" {
		if e.Happened, err = moment(s.happened, now); err != nil {
			return err
		}
	}
	if s.learned != "" && s.learned != "now" {
		e.Learned, err = moment(s.learned, now)
	}
	return err
}

// hand hands an entry in and prints where it stands.
func (a *app) hand(cmd *cobra.Command, s *saying, ref string, e incident.Entry) error {
	x, err := a.handIn(cmd.Context(), s, ref, e)
	if err != nil {
		return err
	}
	return a.show(cmd, x, func(w io.Writer) {
		fmt.Fprintf(w, "%s, entry %d, %s\n", x.Case.Ref, x.Case.Version, x.Case.Status)
	})
}

// handIn signs an entry for the version of the case that is in force and hands it in.
func (a *app) handIn(ctx context.Context, s *saying, ref string, e incident.Entry) (*incident.Export, error) {
	if err := s.fill(&e); err != nil {
		return nil, err
	}
	c, _, err := a.client()
	if err != nil {
		return nil, err
	}
	signer, _, err := operatorKey(s.key)
	if err != nil {
		return nil, err
	}
	d := node.IncidentChange{Ref: ref, Entry: e}
	if ref != "" {
		seen, err := c.Incident(ctx, ref)
		if err != nil {
			return nil, err
		}
		d.Version = seen.Case.Version
	}
	return c.ChangeIncident(ctx, signer, d)
}

func (a *app) incidentOpen() *cobra.Command {
	var s saying
	cmd := &cobra.Command{
		Use: "open TITLE", Short: "Open a case by hand", Args: limitArgs(cobra.ExactArgs(1)),
		Example: `  querschott incident open "Musterkasse reports mails with our name" --learned 20m --key operators/anna.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.hand(cmd, &s, "", incident.Entry{Kind: incident.Fact, Text: args[0]})
		},
	}
	s.register(cmd)
	s.times(cmd)
	return cmd
}

func (a *app) incidentEntry(use, short, what string, kind incident.Kind) *cobra.Command {
	var s saying
	verb, _, _ := strings.Cut(use, " ")
	example := fmt.Sprintf("  querschott incident %s VF-2026-0001 %q --happened 3h --key operators/anna.key", verb, what)
	cmd := &cobra.Command{
		Use: use, Short: short, Args: limitArgs(cobra.ExactArgs(2)), Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.hand(cmd, &s, args[0], incident.Entry{Kind: kind, Text: args[1]})
		},
	}
	s.register(cmd)
	s.times(cmd)
	if kind == incident.Decision {
		cmd.Example = `  querschott incident decide VF-2026-0001 "the desk of Musterkasse stays closed" --why "two passwords are stolen" --key operators/anna.key`
		cmd.Flags().StringVar(&s.why, "why", "", "the reason (mandatory)")
		must(cmd.MarkFlagRequired("why"))
	}
	return cmd
}

func (a *app) incidentCorrect() *cobra.Command {
	var s saying
	var as string
	cmd := &cobra.Command{
		Use: "correct REF N TEXT", Short: "Put an entry in the place of entry N, which stays readable", Args: limitArgs(cobra.ExactArgs(3)),
		Example: `  querschott incident correct VF-2026-0001 3 "the password was stolen on Sunday" --as fact --why "she remembers" --key operators/anna.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := entryNumber(args[1])
			if err != nil {
				return err
			}
			return a.hand(cmd, &s, args[0], incident.Entry{Kind: incident.Correction, Supersedes: n, As: incident.Kind(as), Text: args[2]})
		},
	}
	s.register(cmd)
	s.times(cmd)
	cmd.Flags().StringVar(&as, "as", "fact", "what it is: fact, assumption, question, decision or action")
	cmd.Flags().StringVar(&s.why, "why", "", "why it is corrected (mandatory)")
	must(cmd.MarkFlagRequired("why"))
	return cmd
}

func entryNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, usageError{fmt.Errorf("%q is no number of an entry", text)}
	}
	return n, nil
}

func (a *app) incidentRole(use, short string, kind incident.Kind) *cobra.Command {
	var s saying
	verb, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use: use, Short: short, Args: limitArgs(cobra.ExactArgs(3)),
		Long:    short + ".\nThe roles are lead, recorder, data-protection-officer and communications.",
		Example: "  querschott incident " + verb + " VF-2026-0001 lead ben --key operators/anna.key",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.hand(cmd, &s, args[0], incident.Entry{Kind: kind, Role: incident.Role(args[1]), Person: querschott.Actor(args[2])})
		},
	}
	s.register(cmd)
	return cmd
}

func (a *app) incidentWish(use, short string, wish incident.Wish) *cobra.Command {
	var s saying
	verb, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use: use, Short: short, Args: limitArgs(cobra.ExactArgs(1)),
		Example: "  querschott incident " + verb + ` VF-2026-0001 --why "cleared up" --key operators/anna.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.hand(cmd, &s, args[0], incident.Entry{Kind: incident.Request, Wish: wish})
		},
	}
	s.register(cmd)
	cmd.Flags().StringVar(&s.why, "why", "", "the reason (mandatory)")
	must(cmd.MarkFlagRequired("why"))
	return cmd
}

func (a *app) incidentAnswer(use, short string, kind incident.Kind) *cobra.Command {
	var s saying
	verb, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use: use, Short: short, Args: limitArgs(cobra.ExactArgs(2)),
		Example: "  querschott incident " + verb + " VF-2026-0001 12 --key operators/ben.key",
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := entryNumber(args[1])
			if err != nil {
				return err
			}
			return a.hand(cmd, &s, args[0], incident.Entry{Kind: kind, Answers: n})
		},
	}
	s.register(cmd)
	return cmd
}

func (a *app) incidentEvidence() *cobra.Command {
	var s saying
	var w window
	var e incident.Evidence
	var grade, insurer, text string
	var credentials []string
	var upper uint64
	var keysHeld bool
	cmd := &cobra.Command{
		Use: "evidence REF", Short: "Add evidence: the ledger's own answer about credentials, or a grade by hand", Args: limitArgs(cobra.ExactArgs(1)),
		Long: `With --credential the ledger's index is asked which persons were reached, and its answer becomes one entry per insurer, with grade,
bounds, range and root. An insurer is excluded (E2) only if you also say with --keys-held that no key was released beside the
ledger's way. By hand, grades E0, E1, E3 and E5 can be added.`,
		Example: `  querschott incident evidence VF-2026-0001 --credential staff:erika --from 54h --keys-held --key operators/anna.key
  querschott incident evidence VF-2026-0001 --grade E5 --match "bait 7" --source "dump offered in a forum" --key operators/anna.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			list := []incident.Evidence{e}
			list[0].Grade, list[0].Insurer = scope.Grade(grade), querschott.IK(insurer)
			if upper > 0 {
				list[0].Bounds = &scope.Bounds{Upper: upper}
			}
			if len(credentials) > 0 {
				var err error
				if list, err = a.askScope(cmd.Context(), credentials, &w, keysHeld); err != nil {
					return err
				}
			} else if grade == "" {
				return usageError{errors.New("say either --credential and --from, or --grade")}
			}
			for i := range list {
				if err := a.hand(cmd, &s, args[0], incident.Entry{Kind: incident.Finding, Text: text, Evidence: &list[i]}); err != nil {
					return err
				}
			}
			return nil
		},
	}
	s.register(cmd)
	s.times(cmd)
	w.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&credentials, "credential", nil, "ask the ledger about these credentials")
	f.BoolVar(&keysHeld, "keys-held", false, "no key was released beside the ledger's way")
	f.StringVar(&grade, "grade", "", "grade by hand: E0, E1, E3 or E5")
	f.StringVar(&insurer, "insurer", "", "whose data; default: all")
	f.StringVar(&e.Source, "source", "", "where it comes from")
	f.StringVar(&e.Match, "match", "", "of E5: the bait or copy that was recognised")
	f.Uint64Var(&upper, "upper", 0, "at most so many persons")
	f.Float64Var(&e.Coverage, "coverage", 0, "which part was examined, 0 to 1")
	f.StringVar(&text, "text", "", "in words")
	return cmd
}

func (a *app) askScope(ctx context.Context, credentials []string, w *window, keysHeld bool) ([]incident.Evidence, error) {
	c, _, err := a.client()
	if err != nil {
		return nil, err
	}
	var q node.ScopeRequest
	for _, x := range credentials {
		q.Credentials = append(q.Credentials, querschott.CredentialID(x))
	}
	if q.From, q.To, err = w.times(time.Now()); err != nil {
		return nil, err
	}
	answer, err := c.Scope(ctx, q)
	if err != nil {
		return nil, err
	}
	return incident.FromScope(answer, keysHeld), nil
}

func (a *app) incidentList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all cases with their state", Args: limitArgs(cobra.NoArgs), Example: "  querschott incident list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			list, err := c.Incidents(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(cmd, list, func(w io.Writer) {
				var rows [][]string
				for _, x := range list {
					rows = append(rows, []string{x.Ref, string(x.Status), stamp(x.Opened), string(x.Lead), strconv.Itoa(x.Entries), string(x.Worst), x.Title + x.Fault})
				}
				table(w, "INCIDENT|STATUS|OPENED|LEAD|ENTRIES|GRADE|TITLE", rows)
			})
		},
	}
}

func (a *app) incidentShow() *cobra.Command {
	return &cobra.Command{
		Use: "show REF", Short: "Show one case with its timeline", Args: limitArgs(cobra.ExactArgs(1)), Example: "  querschott incident show VF-2026-0001",
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := a.incident(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.show(cmd, x, func(w io.Writer) { showIncident(w, x) })
		},
	}
}

func (a *app) incident(ctx context.Context, ref string) (*incident.Export, error) {
	c, _, err := a.client()
	if err != nil {
		return nil, err
	}
	return c.Incident(ctx, ref)
}

func showIncident(w io.Writer, x *incident.Export) {
	c := x.Case
	fmt.Fprintf(w, "%s  %s  %s\n", c.Ref, c.Status, c.Title)
	for _, f := range x.Faults {
		fmt.Fprintln(w, "NOT AS THE LEDGER KNOWS IT:", f)
	}
	for _, r := range incident.Roles() {
		if who := c.Roles[r]; who != "" {
			fmt.Fprintf(w, "%s: %s\n", r, who)
		}
	}
	var rows [][]string
	for i := range c.Entries {
		e := &c.Entries[i]
		what := string(e.Kind)
		if e.As != "" {
			what += " as " + string(e.As)
		}
		rows = append(rows, []string{strconv.Itoa(e.N), stamp(e.Happened), stamp(e.Learned), what, string(e.By), entryText(c, e)})
	}
	table(w, "N|HAPPENED|LEARNED|WHAT|WHO|", rows)
	for _, e := range c.Waiting() {
		fmt.Fprintf(w, "entry %d waits for an answer: %s%s %s\n", e.N, e.Wish, e.Role, e.Person)
	}
}

func entryText(c *incident.Case, e *incident.Entry) string {
	parts := []string{e.Text}
	if e.Evidence != nil {
		parts = append(parts, string(e.Evidence.Grade)+" "+incident.Word("en", "grade."+string(e.Evidence.Grade)), string(e.Evidence.Insurer))
	}
	parts = append(parts, string(e.Wish), string(e.Role), string(e.Person))
	if e.Why != "" {
		parts = append(parts, "because: "+e.Why)
	}
	if e.Alarm != nil {
		parts = append(parts, "("+e.Alarm.Arithmetic("en")+"; "+string(e.Alarm.Actor)+")")
	}
	if by := c.ReplacedBy(e.N); by != 0 {
		parts = append(parts, fmt.Sprintf("[corrected by %d]", by))
	}
	if e.Answers != 0 {
		parts = append(parts, fmt.Sprintf("[answers %d]", e.Answers))
	}
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}

func (a *app) incidentVerify() *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Compare all cases with the ledger", Args: limitArgs(cobra.NoArgs), Example: "  querschott incident verify",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			faults, err := c.IncidentFaults(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.show(cmd, faults, func(w io.Writer) {
				for _, f := range faults {
					fmt.Fprintln(w, f)
				}
				fmt.Fprintf(w, "%d faults\n", len(faults))
			}); err != nil {
				return err
			}
			if len(faults) > 0 {
				return errFound
			}
			return nil
		},
	}
}

func (a *app) incidentExport() *cobra.Command {
	var language, file string
	cmd := &cobra.Command{
		Use: "export REF", Short: "Write a case as a page to print, or as JSON with -o json", Args: limitArgs(cobra.ExactArgs(1)),
		Long: `Write a case as a page that needs nothing else and runs nothing, to be printed or sent; with -o json as JSON. Names in alarms are
pseudonyms unless two persons wanted otherwise.`,
		Example: "  querschott incident export VF-2026-0001 --language de --file VF-2026-0001.html\n  querschott incident export VF-2026-0001 -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := a.incident(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if file == "" {
				return a.writeIncident(cmd.OutOrStdout(), x, language)
			}
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			if err != nil {
				return err
			}
			return errors.Join(a.writeIncident(f, x, language), f.Close())
		},
	}
	cmd.Flags().StringVar(&language, "language", "de", "'de' or 'en'")
	cmd.Flags().StringVar(&file, "file", "", "file to write; default: standard output")
	return cmd
}

func (a *app) writeIncident(w io.Writer, x *incident.Export, language string) error {
	if a.output == "json" {
		return x.WriteJSON(w)
	}
	return x.WriteHTML(w, language)
}
