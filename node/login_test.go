package node

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ident/local"
	"github.com/querschott/querschott/ledger"
)

func withSSO(c *Config) {
	c.Console.OIDC.Issuer, c.Console.OIDC.Client = "https://sso.kassen.example", "console"
	c.Console.OIDC.People = []OIDCPerson{{ID: "248289761001", Operator: anna}, {ID: "anna", Operator: ben}, {ID: "x", Operator: "gone"}}
}

// Whichever way somebody came in, the console acts for the operator that he is, and for nobody else.
func TestWhoIsWhichOperator(t *testing.T) {
	h := newHouse(t, 1, withSSO)
	now := time.Now()
	h.opt.Now = func() time.Time { return now }
	n := h.run()
	operator := querschott.RoleOperator
	begin := func(way, actor string, role querschott.Role, f ident.Facts) ident.Session {
		_, s := n.sessions.Begin(way, querschott.Caller{Actor: querschott.Actor(actor), Role: role}, f)
		return s
	}
	sso := ident.Facts{Subject: "s", Issuer: "https://sso.kassen.example"}
	for _, c := range []struct {
		name string
		s    ident.Session
		want querschott.Actor
	}{
		{"link", begin("console", "anna", operator, ident.Facts{Subject: "anna"}), anna},
		{"link of nobody", begin("console", "eve", operator, ident.Facts{Subject: "eve"}), ""},
		{"account that is not there", begin("local", "anna", operator, ident.Facts{Subject: "anna", Issuer: local.Issuer}), ""},
		{"provider", begin("oidc/oidc", "oidc:248289761001", operator, sso), anna},
		{"provider, somebody whose claim is an operator's name", begin("oidc/oidc", "oidc:anna", operator, sso), ben},
		{"provider, an operator's name that nobody maps", begin("oidc/oidc", "oidc:ben", operator, sso), ""},
		{"provider, the name of another provider", begin("oidc/oidc", "248289761001", operator, sso), ""},
		{"provider, an operator that there is not", begin("oidc/oidc", "oidc:x", operator, sso), ""},
	} {
		if got, err := n.consoleOperator(c.s); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	for _, entry := range []ident.Revocation{
		{Dimension: ident.BySubject, Value: "anna", Reason: "x", Actors: []querschott.Actor{ben}},
		{Dimension: ident.ByIssuer, Value: "https://sso.kassen.example", Reason: "x", Actors: []querschott.Actor{ben}},
	} {
		s := begin("oidc/oidc", "oidc:248289761001", operator, sso)
		if err := n.Deny(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
		if who, err := n.consoleOperator(s); querschott.CodeOf(err) != querschott.CodeForbidden {
			t.Errorf("denied by %s: %q, %v", entry.Dimension, who, err)
		}
		if err := n.Admit(t.Context(), ben, entry); err != nil {
			t.Fatal(err)
		}
	}
}

// An operator logs in to the page of a node with his local account, is disabled by the command, and is out.
func TestOperatorLogsInToThePage(t *testing.T) {
	h := newHouse(t, 1)
	var later atomic.Int64 // nanoseconds after the machine's clock
	h.opt.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	n := h.run()
	acc, err := h.cfg.OpenStaff(ident.NewSessions(h.opt.Now, 0, 0), h.opt.Now)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := acc.Invite(local.Account{Name: "anna", Role: querschott.RoleOperator}, "administrator")
	if err != nil {
		t.Fatal(err)
	}
	e, err := acc.Begin(token)
	if err != nil {
		t.Fatal(err)
	}
	const password = "a long enough password"
	if _, err := acc.Finish(t.Context(), token, password, authenticator(t, e.Secret, h.opt.Now())); err != nil {
		t.Fatal(err)
	}
	reload := func() {
		t.Helper()
		if err := NewClient(h.cfg).ReloadAccounts(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	reload()
	later.Store(int64(time.Minute))
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	defer client.CloseIdleConnections()
	page := func(method, path string, form url.Values) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, n.Addresses().Console+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		got, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return got.StatusCode
	}
	form := url.Values{"name": {"anna"}, "password": {"wrong"}, "code": {authenticator(t, e.Secret, h.opt.Now())}}
	if got := page("POST", "/login", form); got != http.StatusUnauthorized {
		t.Errorf("with a wrong password: %d", got)
	}
	form.Set("password", password)
	if got := page("POST", "/login", form); got != http.StatusOK {
		t.Fatalf("login: %d", got)
	}
	if got := page("GET", "/", nil); got != http.StatusOK {
		t.Errorf("the page: %d", got)
	}
	var recorded []string
	for e, err := range n.ledger.Scan(h.origin(""), 0, 1000) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Leaf.Action == ledger.ActionLogin {
			recorded = append(recorded, e.Leaf.Outcome.String()+" "+string(e.Payload.Actor))
		}
	}
	if want := []string{ledger.OutcomeDenied.String() + " ", ledger.OutcomeSuccess.String() + " anna"}; !slices.Equal(recorded, want) {
		t.Errorf("the ledger has %q, want %q", recorded, want)
	}
	if err := acc.Disable("anna"); err != nil {
		t.Fatal(err)
	}
	reload()
	if got := page("GET", "/", nil); got != http.StatusUnauthorized {
		t.Errorf("after the account was disabled: %d", got)
	}
}

func TestProviderInTheConfiguration(t *testing.T) {
	for want, change := range map[string]func(*OIDCConfig){
		"":                            func(*OIDCConfig) {},
		"console.oidc.client":         func(o *OIDCConfig) { o.Client = "" },
		"console.oidc.people: nobody": func(o *OIDCConfig) { o.People = nil },
		"people[1]: anna stands":      func(o *OIDCConfig) { o.People = []OIDCPerson{{"anna", anna}, {"anna", ben}} },
		"people[0]: id and operator":  func(o *OIDCConfig) { o.People[0].Operator = "" },
		"role_claim and role_values":  func(o *OIDCConfig) { o.RoleClaim = "groups" },
	} {
		c := Default()
		withSSO(&c)
		change(&c.Console.OIDC)
		err := c.validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	c := Default()
	withSSO(&c)
	now := time.Now()
	clock := func() time.Time { return now }
	if p, err := c.provider(nil, clock); err != nil || p.Name != "sso.kassen.example" {
		t.Errorf("%+v, %v", p, err)
	}
	c.Console.OIDC.Issuer = "http://sso.kassen.example"
	if _, err := c.provider(nil, clock); err == nil {
		t.Error("an issuer without TLS is believed")
	}
	withSSO(&c)
	c.Console.OIDC.SecretFile = filepath.Join(t.TempDir(), "secret")
	if _, err := c.provider(nil, clock); err == nil {
		t.Error("the secret is missing, and nobody says so")
	}
	if err := os.WriteFile(c.Console.OIDC.SecretFile, []byte("geheim\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.provider(nil, clock); err != nil {
		t.Error(err)
	}
	var f findings
	c.checkOIDC(&f, now)
	if len(f) != 3 { // there is no list of operators here
		t.Errorf("found %+v", f)
	}
}
