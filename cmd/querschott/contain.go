package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/node"
)

func (a *app) containCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "contain", Short: "What was done about alarms: list, preview, release, approve"}
	cmd.AddCommand(
		a.containList(), a.containPreview(),
		a.containChange("release", "Undo what a run holds: one person, one command", "released", `Undo what a run holds. Credentials are let in again at the next request. Opening a door is proposed
to two operators ('querschott door pending').`, (*node.Client).ReleaseRun),
		a.containChange("approve", "Say yes to what a run asks", "approved", `Say yes to what a run asks. An order is carried out when two different operators have said yes within an hour; what a person shall do
by hand is marked as seen by one.`, (*node.Client).ApproveRun),
	)
	return cmd
}

func (a *app) containList() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "list", Short: "List what was done about alarms", Args: limitArgs(cobra.NoArgs), Example: "  querschott contain list --all",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			list, err := c.Runs(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(cmd, list, func(w io.Writer) { printRuns(w, list, all) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also what is over")
	return cmd
}

func printRuns(w io.Writer, list []contain.Run, all bool) {
	var rows [][]string
	for _, r := range list {
		for i, d := range r.Deeds {
			live := d.State == contain.Done || d.State == contain.Asked || d.State == contain.Failed || d.State == contain.Begun
			if !live && !all {
				continue
			}
			what, until := d.Manual, "-"
			if d.Action != nil {
				what = deedText(d.Action)
			}
			if !d.Until.IsZero() {
				until = d.Until.Local().Format(time.DateTime)
			}
			rows = append(rows, []string{
				r.ID, strconv.Itoa(i + 1), string(d.State), what, since(d.At, time.Now()), until, r.Alarm.Detector + "/" + r.Alarm.Cause, r.Case, d.Effect, d.Why.String(),
			})
		}
	}
	table(w, "RUN|NO|STATE|WHAT|SINCE|UNTIL|ALARM|INCIDENT|EFFECT|WHY", rows)
}

func (a *app) containPreview() *cobra.Command {
	var x contain.Action
	var compartment string
	cmd := &cobra.Command{
		Use: "preview", Short: "Say whom something would hit, from the last 15 minutes", Args: limitArgs(cobra.NoArgs),
		Example: `  querschott contain preview --door 109500969/desk
  querschott contain preview --actor c.mueller
  querschott contain preview --group 109500969/staff`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			switch {
			case compartment != "":
				x.Kind = contain.MoveDoor
				if x.Compartment, err = querschott.ParseCompartment(compartment); err != nil {
					return usageError{err}
				}
			case x.Group != "":
				x.Kind = contain.HoldGroup
			case x.Actor != "" || x.Credential != "":
				x.Kind = contain.HoldCredential
			default:
				return usageError{fmt.Errorf("name what would be held or shut: --door, --group, --actor or --credential")}
			}
			c, _, err := a.client()
			if err != nil {
				return err
			}
			h, err := c.Preview(cmd.Context(), x)
			if err != nil {
				return err
			}
			return a.show(cmd, h, func(w io.Writer) {
				fmt.Fprintf(w, "from %s to %s: %d requests of %d users about %d insured persons; %d mails of %d senders came in, %d documents wait\n",
					h.From.Local().Format(time.TimeOnly), h.To.Local().Format(time.TimeOnly), h.Requests, h.Users, h.Persons, h.Mails, h.Senders, h.Waiting)
				if h.Known.IsZero() || h.Known.After(h.From) {
					fmt.Fprintln(w, "the node remembers less than that: it counts from", h.Known.Local().Format(time.DateTime))
				}
				if x.Compartment.Service.ByMail() {
					fmt.Fprintln(w, "on hold and read-only mail is taken in and waits; closed it is refused for now, and its senders come again")
				}
			})
		},
	}
	cmd.Flags().StringVar(&compartment, "door", "", "a compartment's door: IK/SERVICE")
	cmd.Flags().StringVar(&x.Group, "group", "", "a group: IK/ROLE")
	cmd.Flags().StringVar((*string)(&x.Actor), "actor", "", "somebody, as alarms name him")
	cmd.Flags().StringVar((*string)(&x.Credential), "credential", "", "a credential, as alarms name it")
	return cmd
}

// changeRun is a client's method that changes a run.
type changeRun = func(c *node.Client, ctx context.Context, s note.Signer, run string, number int) (contain.Run, error)

func (a *app) containChange(verb, short, done, long string, change changeRun) *cobra.Command {
	var key string
	var number int
	cmd := &cobra.Command{
		Use: verb + " RUN", Short: short, Long: long, Args: limitArgs(cobra.ExactArgs(1)),
		Example: "  querschott contain " + verb + " run-20261129-120000-0001 --key operators/anna.key",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			signer, _, err := operatorKey(key)
			if err != nil {
				return err
			}
			r, err := change(c, cmd.Context(), signer, args[0], number)
			if err != nil {
				return err
			}
			return a.show(cmd, r, func(w io.Writer) {
				fmt.Fprintln(w, done)
				printRuns(w, []contain.Run{r}, true)
			})
		},
	}
	cmd.Flags().StringVar(&key, "key", envOr("QUERSCHOTT_OPERATOR_KEY", ""), "your operator's key file")
	cmd.Flags().IntVar(&number, "number", 0, "only this deed of the run (column NO); 0: all of them")
	return cmd
}
