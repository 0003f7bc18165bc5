package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/watch"
)

func (a *app) watchStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say what the early warning of the running node looks at, and how well", Args: limitArgs(cobra.NoArgs),
		Example: "  querschott watch status -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.WatchStatus(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(cmd, s, func(w io.Writer) { printWatch(w, &s) })
		},
	}
}

func printWatch(w io.Writer, s *node.WatchStatus) {
	c := s.Counts
	fmt.Fprintf(w, "events %d, of them twice %d, late %d, refused by a door %d; lost %d, without room %d\n", c.Events, c.Duplicates, c.Late, c.Doors, c.Lost, s.EventsDropped)
	fmt.Fprintf(w, "live: %s\ncanaries: %d\n", strings.Join(s.Live, ", "), s.Canaries)
	if len(s.Blind) > 0 {
		fmt.Fprintf(w, "BLIND: %s\n", strings.Join(s.Blind, ", "))
	}
	var rows [][]string
	for name, d := range s.Detectors {
		rows = append(rows, []string{name, strconv.Itoa(s.ByName[name]), strconv.Itoa(d.Keys), strconv.FormatUint(d.Evicted, 10)})
	}
	slices.SortFunc(rows, func(a, b []string) int { return slices.Compare(a, b) })
	table(w, "DETECTOR|ALARMS|HOLDS|FORGOTTEN", rows)
	rows = nil
	for name, f := range s.Feeds {
		refused := uint64(0)
		for _, n := range f.Refused {
			refused += n
		}
		rows = append(rows, []string{name, strconv.FormatUint(f.Taken, 10), strconv.FormatUint(refused, 10), strconv.FormatUint(f.Limited, 10), strconv.FormatUint(f.NotKept, 10), since(f.Last, time.Now())})
	}
	if len(rows) > 0 {
		slices.SortFunc(rows, func(a, b []string) int { return slices.Compare(a, b) })
		table(w, "FEED|TAKEN|REFUSED|TOO FAST|NOT KEPT|LAST", rows)
	}
}

func (a *app) watchAlarms() *cobra.Command {
	var q node.AlarmQuery
	var back time.Duration
	var insurer string
	cmd := &cobra.Command{
		Use: "alarms", Short: "List the alarms of the running node", Args: limitArgs(cobra.NoArgs),
		Example: "  querschott watch alarms --since 24h --detector D1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			if q.Insurer = querschott.IK(insurer); back > 0 {
				q.Since = time.Now().Add(-back)
			}
			list, err := c.WatchAlarms(cmd.Context(), q)
			if err != nil {
				return err
			}
			return a.show(cmd, list, func(w io.Writer) { printAlarms(w, list) })
		},
	}
	cmd.Flags().DurationVar(&back, "since", 0, "only alarms that are not older, such as 24h")
	cmd.Flags().StringVar(&q.Detector, "detector", "", "only of this detector")
	cmd.Flags().StringVar(&insurer, "insurer", "", "only of this insurer (IK)")
	cmd.Flags().StringVar(&q.Actor, "actor", "", "only about this actor")
	cmd.Flags().BoolVar(&q.Live, "live", false, "only those that may lead to something")
	cmd.Flags().IntVar(&q.Most, "most", 100, "the newest of them")
	return cmd
}

func printAlarms(w io.Writer, list []*watch.Alarm) {
	rows := make([][]string, len(list))
	for i, al := range list {
		rows[i] = []string{
			al.Time.Local().Format(time.DateTime), al.Detector, al.Cause, string(al.Kind), string(al.Severity), string(al.Mode), string(al.Actor),
			string(al.Insurer), arithmetic(al.Arithmetic),
		}
	}
	table(w, "TIME|DETECTOR|CAUSE|KIND|SEVERITY|MODE|ACTOR|INSURER|ARITHMETIC", rows)
}

func (a *app) watchExplained() *cobra.Command {
	return &cobra.Command{
		Use: "explained", Short: "Say how many accesses have a reason, by insurer and service", Args: limitArgs(cobra.NoArgs),
		Long: `Say which share of the accesses that need a reason have one, for every insurer and service, since the start of the node.
The detectors of slow theft are as good as the reasons are: below 97 % find out which process forgets to give its own.`,
		Example: "  querschott watch explained",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.WatchStatus(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(cmd, s.Explained, func(w io.Writer) {
				rows := make([][]string, len(s.Explained))
				for i, e := range s.Explained {
					rows[i] = []string{e.Compartment, fmt.Sprintf("%.1f %%", 100*e.Share), strconv.FormatUint(e.Reached-e.Implied, 10), strconv.FormatUint(e.Implied, 10)}
				}
				table(w, "COMPARTMENT|EXPLAINED|NEED A REASON|NEED NONE", rows)
			})
		},
	}
}

func (a *app) canaryCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "canary", Short: "Invented insured persons that nobody has a reason to look for"}
	cmd.AddCommand(a.canaryList(), a.canaryRotate())
	return cmd
}

func (a *app) canaryList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the canary persons; that they were shown is in the ledger", Args: limitArgs(cobra.NoArgs),
		Long: `List the canary persons. Whoever knows them can avoid them: look at the list with two people, and only to exclude them from
billing and other counts.`,
		Example: "  querschott canary list -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			list, err := c.Canaries(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(cmd, list, func(w io.Writer) {
				rows := make([][]string, len(list))
				for i, p := range list {
					rows[i] = []string{string(p.Insurer), p.Number, map[bool]string{true: "retired"}[p.Retired]}
				}
				table(w, "INSURER|NUMBER|", rows)
			})
		},
	}
}

func (a *app) canaryRotate() *cobra.Command {
	var r node.CanaryRotation
	cmd := &cobra.Command{
		Use: "rotate", Short: "Make canary persons, and replace a share of those that are there", Args: limitArgs(cobra.NoArgs),
		Long: `Make the canary persons that are missing (watch.canary_per in the configuration says how many), and replace a share of those
that are there, the oldest first. Their master data are put into the insurers' cells like those of everybody else, where
the service vsdm is there and its door serves reads. Agree with the insurers on numbers that are never issued
(watch.canary_prefix), and exclude canaries from billing. Replaced ones are watched on.`,
		Example: "  querschott canary rotate --share 0.05",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			done, err := c.RotateCanaries(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.show(cmd, done, func(w io.Writer) {
				fmt.Fprintf(w, "%d canaries, %d of them made anew; master data of %d stored, of %d still to be stored\n", done.Kept, done.Fresh, done.Stored, done.Waiting)
			})
		},
	}
	cmd.Flags().Float64Var(&r.Share, "share", 0, "share of each insurer's canaries that is replaced, 0.05 once a month; at least one if above 0")
	return cmd
}
