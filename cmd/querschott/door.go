package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/node"
)

func (a *app) doorCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "door", Short: "Show doors and move them"}
	cmd.AddCommand(a.doorList(), a.doorSet(), a.doorPending(), a.doorApprove(), a.doorWithdraw(), a.doorGates())
	return cmd
}

func (a *app) doorList() *cobra.Command {
	var abnormal bool
	cmd := &cobra.Command{
		Use: "list [IK[/SERVICE]...]", Short: "List the doors and their states", ValidArgsFunction: a.completeDoor,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			all, err := c.Doors(cmd.Context())
			if err != nil {
				return err
			}
			for _, p := range args {
				if !slices.ContainsFunc(all, func(d node.DoorView) bool { return matchesAny([]string{p}, d.Compartment) }) {
					return usageError{fmt.Errorf("%s names no compartment of this node; see 'querschott door list'", p)}
				}
			}
			list := slices.DeleteFunc(all, func(d node.DoorView) bool {
				return abnormal && d.To == querschott.Open || len(args) > 0 && !matchesAny(args, d.Compartment)
			})
			return a.show(cmd, list, func(w io.Writer) {
				rows := make([][]string, len(list))
				for i, d := range list {
					rows[i] = []string{
						d.Compartment.String(), stateAt(d.To, d.Share), fmt.Sprint(d.Epoch), fmt.Sprint(d.Waiting), since(d.At, time.Now()),
						string(d.Actor), d.Incident, d.Reason, d.Pending, d.Name,
					}
				}
				table(w, "COMPARTMENT|STATE|EPOCH|WAITING|SINCE|BY|INCIDENT|REASON|PENDING|INSURER", rows)
			})
		},
	}
	cmd.Flags().BoolVar(&abnormal, "not-open", false, "only doors that are not open")
	return cmd
}

// completeDoor completes compartments from the list of insurers and, where they are moved, states. It needs no running node.
func (a *app) completeDoor(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var words []cobra.Completion
	if cfg, err := a.load(); err == nil {
		list, _ := cfg.Compartments() // a list that cannot be read completes nothing; the command itself says why
		for _, c := range list {
			words = append(words, string(c.Insurer), c.String())
		}
	}
	if cmd.Name() == "set" && len(args) > 0 {
		for s := querschott.Hold; s <= querschott.Closed; s++ {
			words = append(words, s.String())
		}
	}
	words = append(words, "all")
	slices.Sort(words)
	return slices.Compact(words), cobra.ShellCompDirectiveNoFileComp
}

// stateAt names a state and, while the door opens in stages, its share.
func stateAt(s querschott.DoorState, share int) string {
	if share < 100 {
		return fmt.Sprintf("%s %d%%", s, share)
	}
	return s.String()
}

// matchesAny reports whether a compartment is named by one of the patterns: IK/SERVICE, IK, */SERVICE or all.
func matchesAny(patterns []string, c querschott.Compartment) bool {
	for _, p := range patterns {
		ik, svc, both := strings.Cut(p, "/")
		if p == "all" || (ik == "*" || ik == string(c.Insurer)) && (!both || svc == "*" || svc == string(c.Service)) {
			return true
		}
	}
	return false
}

// pick lists the compartments that the patterns name; every pattern must name one.
func pick(ctx context.Context, c *node.Client, patterns []string) ([]querschott.Compartment, error) {
	all, err := c.Doors(ctx)
	if err != nil {
		return nil, err
	}
	var list []querschott.Compartment
	for _, p := range patterns {
		before := len(list)
		for _, d := range all {
			if matchesAny([]string{p}, d.Compartment) {
				list = append(list, d.Compartment)
			}
		}
		if len(list) == before {
			return nil, usageError{fmt.Errorf("%s names no compartment of this node; see 'querschott door list'", p)}
		}
	}
	slices.SortFunc(list, querschott.Compartment.Compare)
	return slices.Compact(list), nil
}

// move is the result of one order for one compartment.
type move struct {
	Compartment querschott.Compartment `json:"compartment"`
	node.Moved
	Error string `json:"error,omitempty"`
}

func (a *app) doorSet() *cobra.Command {
	var key, reason, incident string
	var expires, every time.Duration
	var stages string
	cmd := &cobra.Command{
		Use:   "set IK/SERVICE... STATE",
		Short: "Order doors to be open, on hold, read-only or closed",
		Long: `Order doors to move. Closing, holding and setting read-only are in force at once. An order that lets something out
again is a proposal until a different operator approves it ('querschott door approve').

An opening can go in stages: the door is open to 10 per cent of the callers first (of mail: so much of the pace), and the
platform moves on after two good intervals, and back after a bad one. A door that the platform or an incident has shut is
proposed to open in stages unless you say '--stages none'.

Compartments are written 109500969/eau, 109500969 (all of an insurer), */eau (a service of all insurers) or all.`,
		Example: `  querschott door set 109500969/eau closed --key operators/anna.key --reason "password found on sale" --incident VF-1
  querschott door set 109500969/eau open --key operators/anna.key --reason "password changed, all sessions ended"
  querschott door set 109500969/vsdm open --key operators/anna.key --reason "repaired" --stages 10,50,100 --every 5m`,
		Args: limitArgs(cobra.MinimumNArgs(2)), ValidArgsFunction: a.completeDoor,
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := querschott.ParseDoorState(args[len(args)-1])
			if err != nil {
				return usageError{err}
			}
			c, _, err := a.client()
			if err != nil {
				return err
			}
			signer, who, err := operatorKey(key)
			if err != nil {
				return err
			}
			list, err := pick(cmd.Context(), c, args[:len(args)-1])
			if err != nil {
				return err
			}
			plan, err := planOf(stages, every)
			if err != nil {
				return err
			}
			var until time.Time
			if expires > 0 {
				until = time.Now().Add(expires)
			}
			return a.moveAll(cmd, list, func(x querschott.Compartment) (node.Moved, error) {
				return c.Order(cmd.Context(), node.DraftRequest{Compartment: x, To: to, Reason: reason, Incident: incident, Expires: until, Stages: plan, Actor: who}, signer)
			})
		},
	}
	cmd.Flags().StringVar(&key, "key", envOr("QUERSCHOTT_OPERATOR_KEY", ""), "your operator's key file")
	cmd.Flags().StringVar(&reason, "reason", "", "why (mandatory, one line)")
	cmd.Flags().StringVar(&incident, "incident", "", "reference of the incident, told to senders that are refused")
	cmd.Flags().DurationVar(&expires, "expires", 0, "when the order ends, for example 4h; 0: never")
	cmd.Flags().StringVar(&stages, "stages", "", "per cent for which the door opens one after another, for example 10,50,100, or 'none'")
	cmd.Flags().DurationVar(&every, "every", 5*time.Minute, "how long an interval of a stage is; two good ones lead to the next stage")
	return cmd
}

// planOf makes a plan of the flags.
func planOf(stages string, every time.Duration) (string, error) {
	if stages == "" || stages == node.StagesNone {
		return stages, nil
	}
	var shares []int
	for w := range strings.SplitSeq(stages, ",") {
		s, err := strconv.Atoi(w)
		if err != nil {
			return "", usageError{fmt.Errorf("--stages %s: stages are whole numbers with commas, such as 10,50,100", stages)}
		}
		shares = append(shares, s)
	}
	p, err := door.MakePlan(shares, every)
	return string(p), err
}

// operatorKey loads the key; the operator's name is the part of the key's name before the first dot.
func operatorKey(file string) (note.Signer, querschott.Actor, error) {
	if file == "" {
		return nil, "", usageError{errors.New("an order is signed: name your key file with --key or QUERSCHOTT_OPERATOR_KEY")}
	}
	s, err := node.LoadOperatorKey(file)
	if err != nil {
		return nil, "", err
	}
	name, _, _ := strings.Cut(s.Name(), ".")
	return s, querschott.Actor(name), nil
}

// moveAll gives one order per compartment and reports all of them. Some may fail.
func (a *app) moveAll(cmd *cobra.Command, list []querschott.Compartment, order func(querschott.Compartment) (node.Moved, error)) error {
	moves := make([]move, len(list))
	var failed error
	for i, c := range list {
		m, err := order(c)
		moves[i] = move{Compartment: c, Moved: m}
		if err != nil {
			moves[i].Error = err.Error()
			failed = err
		}
	}
	err := a.show(cmd, moves, func(w io.Writer) {
		for _, m := range moves {
			switch {
			case m.Error != "":
				fmt.Fprintf(w, "%s: %s\n", m.Compartment, m.Error)
			case m.Order != nil:
				fmt.Fprintf(w, "%s: %s%s, in force (epoch %d)", m.Compartment, m.Order.To, inStages(m.Order.Stages), m.Order.Epoch)
				if m.Gates != nil {
					fmt.Fprintf(w, "; %s", m.Gates.Full())
				}
				fmt.Fprintln(w)
			case m.Proposal != nil:
				fmt.Fprintf(w, "%s: proposed to be %s%s; a different operator approves it with: querschott door approve %s\n",
					m.Compartment, m.Proposal.To, inStages(m.Proposal.Stages), m.Proposal.ID)
			}
			if m.Warning != "" {
				fmt.Fprintf(w, "%s: WARNING: %s\n", m.Compartment, m.Warning)
			}
		}
	})
	if failed != nil && len(list) > 1 {
		failed = fmt.Errorf("at least one order failed: %w", failed)
	}
	return errors.Join(failed, err)
}

// inStages adds a plan to a state.
func inStages(p door.Plan) string {
	if p == "" {
		return ""
	}
	return " in stages " + string(p)
}

func (a *app) doorPending() *cobra.Command {
	return &cobra.Command{
		Use: "pending", Short: "List what waits for a second operator", Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			list, err := c.Proposals(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(cmd, list, func(w io.Writer) {
				rows := make([][]string, len(list))
				for i, p := range list {
					rows[i] = []string{p.ID, p.From.String(), p.To.String() + inStages(p.Stages), string(p.Actor), since(p.At, time.Now()), p.Incident, p.Reason}
				}
				table(w, "ID|FROM|TO|BY|SINCE|INCIDENT|REASON", rows)
			})
		},
	}
}

func (a *app) doorApprove() *cobra.Command {
	var key string
	var all bool
	cmd := &cobra.Command{
		Use: "approve ID...", Short: "Approve proposals as the second operator",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !all {
				return usageError{errors.New("name the proposals, or --all; see 'querschott door pending'")}
			}
			c, _, err := a.client()
			if err != nil {
				return err
			}
			signer, who, err := operatorKey(key)
			if err != nil {
				return err
			}
			known, err := c.Verifiers(cmd.Context())
			if err != nil {
				return err
			}
			proposals, err := c.Proposals(cmd.Context())
			if err != nil {
				return err
			}
			byCompartment := map[querschott.Compartment]door.Proposal{}
			var list []querschott.Compartment
			for _, p := range proposals {
				if all || slices.Contains(args, p.ID) {
					byCompartment[p.Compartment] = p
					list = append(list, p.Compartment)
				}
			}
			if len(list) < len(args) {
				return querschott.Refuse(querschott.CodeNotFound, "not every proposal named is waiting; see 'querschott door pending'")
			}
			return a.moveAll(cmd, list, func(x querschott.Compartment) (node.Moved, error) {
				p := byCompartment[x]
				if p.Actor == who {
					return node.Moved{}, querschott.Refuse(querschott.CodeForbidden, "you have proposed it; a different operator must approve it")
				}
				return c.Approve(cmd.Context(), p, known, signer)
			})
		},
	}
	cmd.Flags().StringVar(&key, "key", envOr("QUERSCHOTT_OPERATOR_KEY", ""), "your operator's key file")
	cmd.Flags().BoolVar(&all, "all", false, "approve everything that is pending")
	return cmd
}

func (a *app) doorWithdraw() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use: "withdraw ID", Short: "Take a proposal back; every operator may", Args: limitArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			signer, _, err := operatorKey(key)
			if err != nil {
				return err
			}
			if err := c.Withdraw(cmd.Context(), args[0], signer); err != nil {
				return err
			}
			return a.show(cmd, map[string]string{"withdrawn": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s: withdrawn\n", args[0]) })
		},
	}
	cmd.Flags().StringVar(&key, "key", envOr("QUERSCHOTT_OPERATOR_KEY", ""), "your operator's key file")
	return cmd
}
