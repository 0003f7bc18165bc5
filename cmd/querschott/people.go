package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/wire/kim"
)

func (a *app) insurerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "insurer", Short: "Add and list insurers"}
	var name string
	var services, addresses []string
	add := &cobra.Command{
		Use: "add IK", Short: "Add an insurer; a running node takes it in at its next start", Args: limitArgs(cobra.ExactArgs(1)),
		Example: `  querschott insurer add 109500969 --name "Musterkasse" --address eau@musterkasse.kim.telematik
  querschott insurer add 109500969 --name "Musterkasse" --address eau@musterkasse.kim.telematik --service eau --service vsdm`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := newInsurer(args[0], name, services, addresses)
			if err != nil {
				return usageError{err}
			}
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if err := cfg.AddInsurers(in); err != nil {
				return err
			}
			return a.show(cmd, in, func(w io.Writer) {
				fmt.Fprintf(w, "%s %s added; its doors will be on hold until two operators open them\n", in.IK, in.Name)
			})
		},
	}
	add.Flags().StringVar(&name, "name", "", "name of the insurer")
	add.Flags().StringArrayVar(&services, "service", []string{"eau", "letter"}, "services of the insurer: eau, letter, vsdm, epa, app, desk")
	add.Flags().StringArrayVar(&addresses, "address", nil, "KIM addresses of the insurer")
	list := &cobra.Command{
		Use: "list", Short: "List the insurers", Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			all, err := node.LoadInsurers(cfg.Insurers)
			if err != nil {
				return err
			}
			return a.show(cmd, all, func(w io.Writer) {
				rows := make([][]string, len(all))
				for i, in := range all {
					rows[i] = []string{string(in.IK), in.Name, fmt.Sprint(in.Services), fmt.Sprint(in.Addresses)}
				}
				table(w, "IK|NAME|SERVICES|ADDRESSES", rows)
			})
		},
	}
	cmd.AddCommand(add, list)
	return cmd
}

func newInsurer(ik, name string, services, addresses []string) (node.Insurer, error) {
	in := node.Insurer{Name: name}
	var err error
	if in.IK, err = querschott.ParseIK(ik); err != nil {
		return in, err
	}
	if name == "" {
		return in, errors.New("an insurer needs a --name")
	}
	for _, s := range services {
		v, err := querschott.ParseService(s)
		if err != nil {
			return in, err
		}
		in.Services = append(in.Services, v)
	}
	if len(addresses) == 0 && slices.ContainsFunc(in.Services, querschott.Service.ByMail) {
		return in, errors.New("an insurer with a service by mail needs at least one --address; other services are named with --service")
	}
	for _, s := range addresses {
		v, err := kim.ParseAddress(s)
		if err != nil {
			return in, err
		}
		in.Addresses = append(in.Addresses, string(v))
	}
	return in, nil
}

func (a *app) operatorCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "operator", Short: "Add and list operators"}
	var dir string
	add := &cobra.Command{
		Use: "add NAME", Short: "Make an operator and a key file; a running node takes it in at its next start", Args: limitArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			file, err := cfg.AddOperator(querschott.Actor(args[0]), dir)
			if err != nil {
				return err
			}
			return a.show(cmd, map[string]string{"operator": args[0], "key": file}, func(w io.Writer) {
				fmt.Fprintf(w, "%s added; hand %s over and delete it here\n", args[0], file)
			})
		},
	}
	add.Flags().StringVar(&dir, "dir", ".", "directory for the key file")
	list := &cobra.Command{
		Use: "list", Short: "List the operators", Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			all, err := node.LoadOperators(cfg.Operators)
			if err != nil {
				return err
			}
			return a.show(cmd, all, func(w io.Writer) {
				for _, op := range all {
					fmt.Fprintln(w, op.Name, op.Keys)
				}
			})
		},
	}
	cmd.AddCommand(add, list)
	return cmd
}

func (a *app) loginCommand() *cobra.Command {
	return &cobra.Command{
		Use: "login OPERATOR", Short: "Make a one-time link to the operators' page", Args: limitArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			l, err := c.Login(cmd.Context(), querschott.Actor(args[0]))
			if err != nil {
				return err
			}
			return a.show(cmd, l, func(w io.Writer) {
				fmt.Fprintf(w, "%s\n(works once, until %s)\n", l.URL, l.Expires.Local().Format(time.TimeOnly))
			})
		},
	}
}

// listed is what may be shown of an account.
type listed struct {
	Address string          `json:"address"`
	Role    querschott.Role `json:"role"`
	Created time.Time       `json:"created"` // of its present password
	Revoked time.Time       `json:"revoked,omitzero"`
}

func (a *app) accountCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "account", Short: "Maintain the accounts that may send mail"}
	var relay bool
	add := a.accountChange("add ADDRESS", "Make an account and print its generated password, once", func(acc *ident.Accounts, address string) (string, error) {
		role := querschott.RolePractice
		if relay {
			role = querschott.RoleRelay
		}
		return acc.Add(address, role)
	})
	add.Flags().BoolVar(&relay, "relay", false, "a mail transfer agent that sends for many addresses")
	cmd.AddCommand(add,
		a.accountChange("renew ADDRESS", "Give an account a new password", (*ident.Accounts).Renew),
		a.accountChange("revoke ADDRESS", "Keep an account, and let nobody in with it", func(acc *ident.Accounts, address string) (string, error) {
			return "", acc.Revoke(address)
		}),
		a.accountChange("remove ADDRESS", "Remove an account", func(acc *ident.Accounts, address string) (string, error) {
			return "", acc.Remove(address)
		}),
		&cobra.Command{
			Use: "list", Short: "List the accounts", Args: limitArgs(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, acc, err := a.accounts()
				if err != nil {
					return err
				}
				list := []listed{} // without the passwords' hashes
				for _, x := range acc.List() {
					list = append(list, listed{x.Address, x.Role, x.Created, x.Revoked})
				}
				return a.show(cmd, list, func(w io.Writer) {
					rows := make([][]string, len(list))
					for i, x := range list {
						state := "in force"
						if !x.Revoked.IsZero() {
							state = "revoked " + x.Revoked.Format(time.DateOnly)
						}
						rows[i] = []string{x.Address, string(x.Role), x.Created.Format(time.DateOnly), state}
					}
					table(w, "ADDRESS|ROLE|PASSWORD OF|STATE", rows)
				})
			},
		})
	return cmd
}

func (a *app) accounts() (*node.Config, *ident.Accounts, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, nil, err
	}
	acc, err := ident.OpenAccounts(disk.OS{}, cfg.Mail.Accounts, time.Now)
	return cfg, acc, err
}

// accountChange is a command that changes one account and tells a running node.
func (a *app) accountChange(use, short string, change func(*ident.Accounts, string) (password string, err error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: limitArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, acc, err := a.accounts()
			if err != nil {
				return err
			}
			password, err := change(acc, args[0])
			if err != nil {
				return err
			}
			told := node.NewClient(cfg).ReloadAccounts(cmd.Context())
			switch {
			case errors.Is(told, node.ErrNotRunning):
				told = nil
			case told != nil:
				told = fmt.Errorf("the account is changed, but the running node does not know yet: %w", told)
			}
			result := map[string]string{"address": args[0]}
			if password != "" {
				result["password"] = password
			}
			return errors.Join(told, a.show(cmd, result, func(w io.Writer) { // the password cannot be had a second time
				if password == "" {
					fmt.Fprintln(w, "done")
					return
				}
				fmt.Fprintf(w, "%s\npassword: %s\n(it is shown only here)\n", args[0], password)
			}))
		},
	}
}
