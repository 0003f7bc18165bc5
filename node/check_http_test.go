package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheckOfTheHTTPEntrance(t *testing.T) {
	h, _ := newVSDMHouse(t, 1)
	has := func(text string) Severity {
		for _, f := range h.cfg.Check(time.Now(), nil) {
			if strings.Contains(f.Text, text) {
				if f.Fix == "" {
					t.Errorf("%q has no fix", f.Text)
				}
				return f.Severity
			}
		}
		return ""
	}
	whole := h.cfg.HTTP
	secrets := filepath.Join(h.dir, "secrets")
	if err := os.WriteFile(secrets, []byte("0 00ff\n1 zz\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(*Config)
		text   string
		want   Severity
	}{
		{"as it is", func(*Config) {}, "issuers for development give every token", Warning},
		{"made secrets", func(*Config) {}, "the secrets of check numbers are made here", Remark},
		{"no entrance", func(c *Config) { c.HTTP.Listen = "" }, "there is no HTTP entrance", Warning},
		{"no certificate", func(c *Config) { c.HTTP.Certificate = "/nothing" }, "the certificate of http cannot be used", Fault},
		{"nobody", func(c *Config) { c.HTTP.DevIssuers = false }, "nobody can identify himself", Fault},
		{"no presence", func(c *Config) { c.HTTP.DevIssuers = false }, "no card can be checked", Fault},
		{"keys that are not there", func(c *Config) {
			c.HTTP.AccessIssuers = []IssuerConfig{{Issuer: "https://a.example", Keys: "/nothing"}}
		}, "couldn't read the keys", Fault},
		{"keys that are none", func(c *Config) { c.HTTP.PresenceIssuers = []IssuerConfig{{Issuer: "https://a.example", Keys: secrets}} }, "holds no keys", Fault},
		{"CA that is none", func(c *Config) { c.HTTP.Machines = []Machine{{Name: "m", CA: secrets}} }, "machine m cannot be known", Fault},
		{"no directory for events", func(c *Config) { c.HTTP.AccessLog = "/nothing/a" }, "access events cannot be written", Fault},
		{"short secret", func(c *Config) { c.VSDM.Secrets = secrets }, "has 1 bytes", ""},
		{"short secret of version 0", func(c *Config) { c.VSDM.Secrets = secrets }, "has 2 bytes", Fault},
		{"readable secrets", func(c *Config) { c.VSDM.Secrets = secrets }, "it opens the way to every record", Warning},
		{"no secret", func(c *Config) { c.VSDM.Secrets, c.VSDM.KeyVersion = secrets, 2 }, "has no secret of version 2", Fault},
		{"secret that is none", func(c *Config) { c.VSDM.Secrets, c.VSDM.KeyVersion = secrets, 1 }, "is not hexadecimal", Fault},
		{"route that cannot be", func(c *Config) { c.HTTP.Routes = []RouteConfig{{Name: "r"}} }, "the route r cannot be used", Fault},
	} {
		vsdm := h.cfg.VSDM
		tc.change(h.cfg)
		if got := has(tc.text); got != tc.want {
			t.Errorf("%s: %q is %q, want %q", tc.name, tc.text, got, tc.want)
		}
		h.cfg.HTTP, h.cfg.VSDM = whole, vsdm
	}
	if err := os.WriteFile(filepath.Join(h.cfg.Data, denyFile), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := has("the deny list cannot be used"); got != Fault {
		t.Errorf("a damaged deny list is %q", got)
	}
}
