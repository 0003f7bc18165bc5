package node

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ident/local"
	"github.com/querschott/querschott/ident/oidc"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/web/console"
)

// OIDCConfig configures logging in to the operators' page by an identity provider.
type OIDCConfig struct {
	Issuer     string       `yaml:"issuer" json:"issuer" doc:"Issuer, exactly as in its tokens; empty: none. Login links and local accounts work whatever becomes of it. It sends browsers back to /login/provider/return of the page, under the first of console.hosts or else console.listen, and can end sessions at /login/provider/logout (back-channel logout)."`
	Name       string       `yaml:"name" json:"name" doc:"Name on the button, empty: the issuer's host."`
	Client     string       `yaml:"client" json:"client" doc:"Client ID of the page there."`
	SecretFile string       `yaml:"secret_file" json:"secret_file" doc:"File with the client's secret, empty: a public client."`
	Scopes     []string     `yaml:"scopes" json:"scopes" doc:"Scopes to ask for; openid must be among them."`
	ACR        []string     `yaml:"acr" json:"acr" doc:"Accepted values of the claim acr: how thoroughly the provider must have checked the person. Empty: any."`
	Claim      string       `yaml:"claim" json:"claim" doc:"Claim that says who somebody is. Any but 'sub' may be given to somebody else one day."`
	RoleClaim  string       `yaml:"role_claim" json:"role_claim" doc:"Claim that must hold one of role_values besides, a dot leads into an object; empty: whoever is in people will do."`
	RoleValues []string     `yaml:"role_values" json:"role_values" doc:"What role_claim must hold."`
	People     []OIDCPerson `yaml:"people" json:"people" doc:"Which person there is which operator here. Nobody else gets in."`
}

// OIDCPerson is one person at the identity provider.
type OIDCPerson struct {
	ID       string           `yaml:"id" json:"id" doc:"Value of the claim."`
	Operator querschott.Actor `yaml:"operator" json:"operator" doc:"Name of the operator."`
}

func defaultOIDC() OIDCConfig {
	return OIDCConfig{Scopes: []string{"openid", "profile"}, ACR: []string{}, Claim: "sub", RoleValues: []string{}, People: []OIDCPerson{}}
}

// providerName stands in front of the provider's people, so that they are never taken for local accounts.
const providerName = "oidc"

func (c *ConsoleConfig) validateOIDC(w *wrongs) {
	o := &c.OIDC
	if o.Issuer == "" {
		return
	}
	if o.Client == "" {
		w.add("console.oidc.client: is missing")
	}
	if len(o.People) == 0 {
		w.add("console.oidc.people: nobody could log in")
	}
	seen := map[string]bool{}
	for i, p := range o.People {
		switch {
		case p.ID == "" || p.Operator == "":
			w.add("console.oidc.people[%d]: id and operator are needed", i)
		case seen[p.ID]:
			w.add("console.oidc.people[%d]: %s stands there twice", i, p.ID)
		}
		seen[p.ID] = true
	}
	if (o.RoleClaim == "") != (len(o.RoleValues) == 0) {
		w.add("console.oidc.role_claim and role_values: one needs the other")
	}
}

// ConsoleAddress is where browsers find the operators' page, "" if there is none.
func (c *Config) ConsoleAddress() string {
	if c.Console.Listen == "" {
		return ""
	}
	scheme, host := "http://", c.Console.Listen
	if c.Console.Certificate != "" {
		scheme = "https://"
	}
	if len(c.Console.Hosts) > 0 {
		host = c.Console.Hosts[0]
	}
	return scheme + host
}

// provider makes the identity provider of the operators' page, nil if there is none. It asks it nothing.
func (c *Config) provider(sessions *ident.Sessions, now func() time.Time) (*console.Provider, error) {
	o := &c.Console.OIDC
	if o.Issuer == "" {
		return nil, nil
	}
	secret := ""
	if o.SecretFile != "" {
		data, err := os.ReadFile(o.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the secret of the client at the identity provider: %w", err)
		}
		secret = string(bytes.TrimRight(data, "\r\n"))
	}
	roleClaim, values := o.RoleClaim, o.RoleValues
	if roleClaim == "" {
		roleClaim, values = o.Claim, nil
		for _, p := range o.People {
			values = append(values, p.ID)
		}
	}
	roles := map[string]querschott.Role{}
	for _, v := range values {
		roles[v] = querschott.RoleOperator
	}
	p, err := oidc.New(oidc.Config{
		Name: providerName, Issuer: o.Issuer, ClientID: o.Client, ClientSecret: secret, RedirectURL: c.ConsoleAddress() + console.ReturnPath,
		Scopes: o.Scopes, ACR: o.ACR, ActorClaim: o.Claim, RoleClaim: roleClaim, Roles: roles, Now: now, Sessions: sessions,
	})
	if err != nil {
		return nil, err
	}
	at, err := url.Parse(o.Issuer)
	if err != nil {
		return nil, err
	}
	return &console.Provider{Name: cmp.Or(o.Name, at.Hostname()), OIDC: p}, nil
}

// openLogins opens the ways in for people: links, and accounts if there is a page or a route for them.
func (n *Node) openLogins() (err error) {
	if n.sessions == nil {
		n.sessions = ident.NewSessions(n.opt.Now, 0, 0)
	}
	if n.staff == nil && n.cfg.Console.Listen != "" {
		if n.staff, err = n.cfg.OpenStaff(n.sessions, n.opt.Now); err != nil {
			return err
		}
	}
	n.logins, err = ident.OpenConsole(ident.ConsoleConfig{FS: disk.OS{}, Dir: n.path("links"), Now: n.opt.Now, Sessions: n.sessions})
	return err
}

// consoleOperator says as which operator somebody acts who is logged in. Whoever is denied by the operator's name is denied
// whichever way he came in.
func (n *Node) consoleOperator(s ident.Session) (querschott.Actor, error) {
	if err := n.denied.Check(&s.Facts); err != nil {
		return "", err
	}
	who := s.Caller.Actor
	switch s.Facts.Issuer {
	case "": // a link
	case local.Issuer:
		if !n.staff.Valid(s) {
			return "", querschott.Refuse(querschott.CodeUnauthorized, "log in again")
		}
	default:
		who = n.cfg.Console.OIDC.operator(who)
	}
	if _, ok := n.signers[who]; !ok {
		return "", querschott.Refuse(querschott.CodeForbidden, "you are no operator of this node")
	}
	return who, n.denied.Check(&ident.Facts{Subject: string(who)})
}

func (o *OIDCConfig) operator(who querschott.Actor) querschott.Actor {
	for _, p := range o.People {
		if id, ok := strings.CutPrefix(string(who), providerName+":"); ok && id == p.ID {
			return p.Operator
		}
	}
	return ""
}

func (n *Node) recordConsoleLogin(ctx context.Context, who querschott.Credential, admitted bool) error {
	e := ledger.Entry{
		Kind: ledger.KindAccess, At: n.opt.Now(), Action: ledger.ActionLogin, Data: ledger.DataAccount, Outcome: ledger.OutcomeSuccess,
		Reason: ledger.ReasonNone, Role: who.Role, Purpose: ledger.PurposeOperations, Actor: who.Actor, Credential: who.ID,
	}
	if !admitted {
		e.Kind, e.Outcome, e.Reason = ledger.KindAttempt, ledger.OutcomeDenied, ledger.ReasonNotIdentified
	}
	err := n.append(ctx, e)
	return err
}

func (c *Config) checkOIDC(f *findings, now time.Time) {
	clock := func() time.Time { return now }
	if _, err := c.provider(ident.NewSessions(clock, 0, 0), clock); err != nil {
		f.add(Fault, "correct console.oidc", "the identity provider of the operators' page cannot be used: %v", err)
	}
	operators, _ := LoadOperators(c.Operators) // a list that cannot be used is a finding of its own
	for _, p := range c.Console.OIDC.People {
		if !slices.ContainsFunc(operators, func(o Operator) bool { return o.Name == p.Operator }) {
			f.add(Warning, "querschott operator add "+string(p.Operator), "console.oidc.people: there is no operator %s", p.Operator)
		}
	}
}
