package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
)

// dimensions are what a deny entry can name, for help and completion.
var dimensions = []struct {
	name ident.Dimension
	what string
}{
	{ident.BySubject, "Telematik-ID, account or machine: whoever the credential stands for"},
	{ident.ByActor, "who stands behind credentials, as ledger and access events name them"},
	{ident.ByCredential, "one credential, as ledger and access events name it"},
	{ident.ByClient, "client_id of access tokens"},
	{ident.BySession, "sid of access tokens"},
	{ident.ByToken, "jti of one access token"},
	{ident.ByKey, "thumbprint of a key or certificate"},
	{ident.ByProduct, "a client program, every version"},
	{ident.ByVersion, "one version of a client program: product/version"},
	{ident.ByIssuer, "an issuer of credentials"},
	{ident.ByNetwork, "address or network, such as 192.0.2.0/24"},
	{ident.ByPresenceIssuer, "an issuer of PoPP tokens"},
	{ident.ByPresenceBefore, "PoPP tokens issued before a time (RFC 3339)"},
	{ident.ByProofAge, "PoPP tokens whose card was used longer ago than a time such as 36h"},
	{ident.ByInsurer, "IK: whatever is for this insurer's compartments"},
}

func (a *app) revokeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke", Short: "Shut out credentials, keys and networks"}
	cmd.AddCommand(a.revokeAdd(), a.revokeRemove(), a.revokeList())
	return cmd
}

// denyFlags are what names an entry besides dimension and value.
type denyFlags struct {
	key, insurer, subject, run string
}

func (f *denyFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.key, "key", envOr("QUERSCHOTT_OPERATOR_KEY", ""), "your operator's key file")
	cmd.Flags().StringVar(&f.insurer, "insurer", "", "only where this insurer's compartments are concerned (IK)")
	cmd.Flags().StringVar(&f.subject, "subject", "", "for popp-before and proof-older-than: of this subject only")
	cmd.Flags().StringVar(&f.run, "run", "", "reference of the incident or playbook")
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var list []string
		for _, d := range dimensions {
			list = append(list, string(d.name)+"\t"+d.what)
		}
		return list, cobra.ShellCompDirectiveNoFileComp
	}
}

// entry makes the deny entry that the arguments name. The value "-" is read from the first line of standard input, so that
// the number of a person stands in no list of processes.
func (f *denyFlags) entry(cmd *cobra.Command, args []string) (ident.Revocation, error) {
	v := ident.Revocation{Dimension: ident.Dimension(args[0]), Value: args[1], Subject: f.subject, Insurer: querschott.IK(f.insurer), Run: f.run}
	known := false
	for _, d := range dimensions {
		known = known || d.name == v.Dimension
	}
	if !known {
		return v, usageError{fmt.Errorf("%q is nothing that can be revoked; see '%s --help'", args[0], cmd.CommandPath())}
	}
	if v.Value == "-" {
		line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return v, err
		}
		v.Value = strings.TrimSpace(line)
	}
	if f.insurer != "" {
		if _, err := querschott.ParseIK(f.insurer); err != nil {
			return v, usageError{err}
		}
	}
	return v, nil
}

func dimensionHelp() string {
	var b strings.Builder
	for _, d := range dimensions {
		fmt.Fprintf(&b, "  %-17s %s\n", d.name, d.what)
	}
	return b.String()
}

func (a *app) revokeAdd() *cobra.Command {
	var f denyFlags
	var reason string
	var length time.Duration
	cmd := &cobra.Command{
		Use: "add DIMENSION VALUE", Short: "Refuse whoever shows this, from the next request on", Args: limitArgs(cobra.ExactArgs(2)),
		Long: `Refuse whoever shows this, from the next request on. The value "-" is read from standard input. What can be named:

` + dimensionHelp(),
		Example: `  querschott revoke add subject 1-20012345 --reason "token store stolen" --key operators/anna.key
  querschott revoke add popp-before 2026-11-23T12:00:00Z --subject 1-20012345 --reason "token store stolen" --key operators/anna.key
  querschott revoke add network 192.0.2.0/24 --for 4h --reason "replayed proofs" --key operators/anna.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := f.entry(cmd, args)
			if err != nil {
				return err
			}
			if v.Reason = reason; reason == "" {
				return usageError{errors.New("say why with --reason")}
			}
			if length > 0 {
				v.Until = time.Now().Add(length).UTC()
			}
			c, _, err := a.client()
			if err != nil {
				return err
			}
			signer, who, err := operatorKey(f.key)
			if err != nil {
				return err
			}
			if err := c.Deny(cmd.Context(), signer, v); err != nil {
				return err
			}
			gates, err := c.DenyEnforced(cmd.Context())
			if err != nil {
				return fmt.Errorf("it is in force, but how many gates enforce it is not known: %w", err)
			}
			return a.show(cmd, map[string]any{"dimension": v.Dimension, "by": who, "gates": gates}, func(w io.Writer) {
				fmt.Fprintf(w, "in force: %s is refused from the next request on; of the deny list, %s\n", v.Dimension, gates.Full())
			})
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why (mandatory, one line)")
	cmd.Flags().DurationVar(&length, "for", 0, "how long, for example 4h; 0: until it is removed")
	return cmd
}

func (a *app) revokeRemove() *cobra.Command {
	var f denyFlags
	cmd := &cobra.Command{
		Use: "remove DIMENSION VALUE", Short: "Take an entry off the deny list", Args: limitArgs(cobra.ExactArgs(2)),
		Long: `Take an entry off the deny list. An entry that was made for one insurer, subject or run is named with the same options.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := f.entry(cmd, args)
			if err != nil {
				return err
			}
			c, _, err := a.client()
			if err != nil {
				return err
			}
			signer, who, err := operatorKey(f.key)
			if err != nil {
				return err
			}
			if err := c.Admit(cmd.Context(), signer, v); err != nil {
				return err
			}
			gates, err := c.DenyEnforced(cmd.Context())
			if err != nil {
				return fmt.Errorf("it is removed, but at how many gates is not known: %w", err)
			}
			return a.show(cmd, map[string]any{"dimension": v.Dimension, "by": who, "gates": gates}, func(w io.Writer) {
				fmt.Fprintf(w, "removed; of the deny list, %s\n", gates.Full())
			})
		},
	}
	f.register(cmd)
	return cmd
}

func (a *app) revokeList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the deny list", Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			list, err := c.Denied(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(cmd, list, func(w io.Writer) {
				rows := make([][]string, len(list))
				for i, v := range list {
					until := "removed"
					if !v.Until.IsZero() {
						until = v.Until.Local().Format(time.DateTime)
					}
					rows[i] = []string{
						string(v.Dimension), v.Value, v.Subject, string(v.Insurer), since(v.From, time.Now()), until, fmt.Sprint(v.Actors), v.Run, v.Reason,
					}
				}
				table(w, "DIMENSION|VALUE|SUBJECT|INSURER|SINCE|UNTIL|BY|RUN|REASON", rows)
			})
		},
	}
}
