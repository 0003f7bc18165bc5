package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ident/local"
	"github.com/querschott/querschott/node"
)

func (a *app) staffCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "staff", Short: "Maintain the accounts of operators and insurers' staff for the HTTP entrance"}
	var who local.Account
	var role, insurer string
	invite := a.staffInvitation("invite NAME", "Make an account, and an invitation with which its owner completes it", func(acc *local.Accounts, name string) (string, time.Time, error) {
		who.Name, who.Role, who.Insurer = name, querschott.Role(role), querschott.IK(insurer)
		return acc.Invite(who, staffActor)
	})
	invite.Example = `  querschott staff invite c.mueller --insurer 109500969
  querschott staff invite anna --role operator`
	invite.Flags().StringVar(&role, "role", string(querschott.RoleStaff), "staff (of one insurer) or operator")
	invite.Flags().StringVar(&insurer, "insurer", "", "IK of the insurer whose staff it is")
	invite.Flags().StringVar(&who.Display, "display", "", "name that is shown")
	cmd.AddCommand(invite,
		a.staffInvitation("renew NAME", "End password, second factor and sessions of an account, and invite its owner again",
			func(acc *local.Accounts, name string) (string, time.Time, error) { return acc.Renew(name, staffActor) }),
		a.staffChange("disable NAME", "Keep an account, and let nobody in with it", (*local.Accounts).Disable),
		a.staffChange("remove NAME", "Remove an account", (*local.Accounts).Remove),
		a.staffEnrol(), a.staffList())
	return cmd
}

// staffActor is who invites from the command line.
const staffActor = querschott.Actor("administrator")

func (a *app) staff() (*node.Config, *local.Accounts, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, nil, err
	}
	acc, err := cfg.OpenStaff(ident.NewSessions(time.Now, 0, 0), time.Now)
	return cfg, acc, err
}

// tellStaff makes a running node read the accounts again.
func tellStaff(cmd *cobra.Command, cfg *node.Config) error {
	err := node.NewClient(cfg).ReloadAccounts(cmd.Context())
	if err == nil || errors.Is(err, node.ErrNotRunning) {
		return nil
	}
	return fmt.Errorf("the account is changed, but the running node does not know yet: %w", err)
}

func (a *app) staffInvitation(use, short string, invite func(*local.Accounts, string) (string, time.Time, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: limitArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, acc, err := a.staff()
			if err != nil {
				return err
			}
			token, expires, err := invite(acc, args[0])
			if err != nil {
				return err
			}
			told := tellStaff(cmd, cfg)
			where := "'querschott staff enrol'"
			if at := cfg.ConsoleAddress(); at != "" {
				where = at + "/invitation or " + where
			}
			return errors.Join(told, a.show(cmd, map[string]any{"name": args[0], "invitation": token, "expires": expires}, func(w io.Writer) {
				fmt.Fprintf(w, "%s\ninvitation: %s\n(it is shown only here and works once, until %s; %s completes the account)\n",
					args[0], token, expires.Local().Format(time.DateTime), where)
			}))
		},
	}
}

func (a *app) staffChange(use, short string, change func(*local.Accounts, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: limitArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, acc, err := a.staff()
			if err != nil {
				return err
			}
			if err := change(acc, args[0]); err != nil {
				return err
			}
			told := tellStaff(cmd, cfg)
			return errors.Join(told, a.show(cmd, map[string]string{"name": args[0]}, func(w io.Writer) { fmt.Fprintln(w, "done") }))
		},
	}
}

func (a *app) staffEnrol() *cobra.Command {
	return &cobra.Command{
		Use: "enrol", Short: "Complete an account: second factor, password, recovery codes", Args: limitArgs(cobra.NoArgs),
		Long: `Complete an account with an invitation. It shows the secret for the authenticator app, and asks for the code that the app
shows then and for a password of at least 12 characters. Invitation, code and password are asked for, or read from standard
input, a line each.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, acc, err := a.staff()
			if err != nil {
				return err
			}
			in := bufio.NewReader(cmd.InOrStdin())
			token, err := ask(cmd, in, "Invitation: ", true)
			if err != nil {
				return err
			}
			e, err := acc.Begin(token)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: put this secret into the authenticator app:\n  %s\n  %s\n", e.Name, e.Secret, e.URI)
			code, err := ask(cmd, in, "Code that the app shows: ", false)
			if err != nil {
				return err
			}
			password, err := ask(cmd, in, "Password: ", true)
			if err != nil {
				return err
			}
			recovery, err := acc.Finish(cmd.Context(), token, password, code)
			if err != nil {
				return err
			}
			told := tellStaff(cmd, cfg)
			return errors.Join(told, a.show(cmd, map[string]any{"name": e.Name, "recovery_codes": recovery}, func(w io.Writer) {
				fmt.Fprintf(w, "done; recovery codes, each works once in place of the app's code (they are shown only here):\n  %s\n", strings.Join(recovery, "\n  "))
			}))
		},
	}
}

// ask asks for a line; a secret one is not shown while it is typed.
func ask(cmd *cobra.Command, in *bufio.Reader, what string, secret bool) (string, error) {
	fd := int(os.Stdin.Fd())
	terminal := cmd.InOrStdin() == os.Stdin && term.IsTerminal(fd)
	if terminal {
		fmt.Fprint(cmd.ErrOrStderr(), what)
	}
	if terminal && secret {
		line, err := term.ReadPassword(fd)
		fmt.Fprintln(cmd.ErrOrStderr())
		return strings.TrimSpace(string(line)), err
	}
	line, err := in.ReadString('\n')
	if err != nil && (!errors.Is(err, io.EOF) || line == "") {
		return "", usageError{fmt.Errorf("there is no answer to %q", strings.TrimSuffix(what, ": "))}
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// staffListed is what may be shown of an account.
type staffListed struct {
	Name     string          `json:"name"`
	Display  string          `json:"display,omitempty"`
	Role     querschott.Role `json:"role"`
	Insurer  querschott.IK   `json:"insurer,omitempty"`
	Created  time.Time       `json:"created"`
	Invited  time.Time       `json:"invited_until,omitzero"`
	Enrolled time.Time       `json:"enrolled,omitzero"`
	Disabled time.Time       `json:"disabled,omitzero"`
}

func (s *staffListed) state() string {
	switch {
	case !s.Disabled.IsZero():
		return "disabled " + s.Disabled.Format(time.DateOnly)
	case !s.Enrolled.IsZero():
		return "in force"
	case !s.Invited.IsZero():
		return "invited until " + s.Invited.Local().Format(time.DateTime)
	default:
		return "not completed"
	}
}

func (a *app) staffList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the accounts", Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, acc, err := a.staff()
			if err != nil {
				return err
			}
			list := []staffListed{}
			for _, x := range acc.List() {
				list = append(list, staffListed(x))
			}
			return a.show(cmd, list, func(w io.Writer) {
				rows := make([][]string, len(list))
				for i := range list {
					rows[i] = []string{list[i].Name, list[i].Display, string(list[i].Role), string(list[i].Insurer), list[i].state()}
				}
				table(w, "NAME|SHOWN AS|ROLE|INSURER|STATE", rows)
			})
		},
	}
}
