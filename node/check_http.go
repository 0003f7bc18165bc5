package node

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate/proxy"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ident/token"
	"github.com/querschott/querschott/internal/disk"
)

// checkHTTP examines what the HTTP entrance needs. An entrance that does not listen needs nothing.
func (c *Config) checkHTTP(f *findings, now time.Time) {
	c.checkDenyList(f, now)
	insurers, err := LoadInsurers(c.Insurers)
	if err != nil {
		return // it has been said
	}
	has := slices.ContainsFunc(insurers, func(in Insurer) bool { return slices.Contains(in.Services, querschott.VSDM) })
	if c.HTTP.Listen == "" {
		if has {
			f.add(Warning, "set http.listen", "insurers have the service vsdm, and there is no HTTP entrance")
		}
		return
	}
	checkCertificate(f, "http", c.HTTP.Certificate, c.HTTP.Key, now)
	c.checkCallers(f)
	if has {
		c.checkNumbers(f, now)
	} else if len(c.HTTP.Routes) == 0 {
		f.add(Warning, "give an insurer the service vsdm, or add a route", "the HTTP entrance has nothing behind it")
	}
	for i := range c.HTTP.Routes {
		r := &c.HTTP.Routes[i]
		if p, err := proxy.New(proxy.Config{Settings: r.Proxy}); err != nil {
			f.add(Fault, "correct http.routes", "the route %s cannot be used: %v", r.Name, err)
		} else if err := p.Close(); err != nil {
			f.add(Fault, "correct http.routes", "the route %s: %v", r.Name, err)
		}
	}
	if dir := filepath.Dir(c.HTTP.AccessLog); c.HTTP.AccessLog != "" && c.HTTP.AccessLog != "-" {
		if _, err := os.Stat(dir); err != nil {
			f.add(Fault, "make the directory, or change http.access_log", "access events cannot be written: %v", err)
		}
		private(f, c.HTTP.AccessLog, "it tells who accessed what kind of data when")
	}
}

// checkCallers examines how callers identify themselves.
func (c *Config) checkCallers(f *findings) {
	if c.HTTP.DevIssuers {
		f.add(Warning, "set http.dev_issuers: false", "issuers for development give every token to everybody who asks: this is no configuration for real data")
	}
	if len(c.HTTP.AccessIssuers) == 0 && len(c.HTTP.Machines) == 0 && !c.HTTP.DevIssuers {
		f.add(Fault, "set http.access_issuers", "nobody can identify himself to the HTTP entrance")
	}
	for _, list := range []struct {
		issuers []IssuerConfig
		usual   token.Source
	}{{c.HTTP.AccessIssuers, token.Metadata}, {c.HTTP.PresenceIssuers, token.Federation}} {
		for i := range list.issuers {
			t, err := list.issuers[i].token(list.usual)
			if err == nil {
				t.Now = time.Now
				_, err = token.NewIssuer(t)
			}
			if err != nil {
				f.add(Fault, "correct the issuer in http.access_issuers or http.presence_issuers", "%v", err)
			}
		}
	}
	for _, m := range c.HTTP.Machines {
		if m.CA == "" {
			continue
		}
		if _, err := certificates(m.CA); err != nil {
			f.add(Fault, "correct http.machines", "machine %s cannot be known: %v", m.Name, err)
		}
	}
}

func (c *Config) checkNumbers(f *findings, now time.Time) {
	if c.VSDM.Secrets == "" {
		f.add(Remark, "set vsdm.secrets", "the secrets of check numbers are made here: record services elsewhere cannot verify them")
	} else if secret, err := readNumberSecret(c.VSDM.Secrets, c.VSDM.KeyVersion); err != nil {
		f.add(Fault, "correct vsdm.secrets", "%v", err)
	} else {
		if len(secret) < leastSecret {
			f.add(Fault, "ask for a longer one", "the secret of check numbers has %d bytes, at least %d are needed", len(secret), leastSecret)
		}
		clear(secret)
		private(f, c.VSDM.Secrets, "it opens the way to every record")
	}
	if len(c.HTTP.PresenceIssuers) == 0 && !c.HTTP.DevIssuers && !slices.ContainsFunc(c.HTTP.Machines, func(m Machine) bool { return m.Guard }) {
		f.add(Fault, "set http.presence_issuers", "nobody can prove that a card was there, so no card can be checked")
	}
	if end := time.Date(2029, 4, 3, 0, 0, 0, 0, time.UTC); now.After(end.AddDate(-1, 0, 0)) {
		f.add(Warning, "plan the successor with gematik", "the format of check numbers ends on %s", end.Format(time.DateOnly))
	}
}

// leastSecret is the shortest secret of check numbers, in bytes (A_27278).
const leastSecret = 32

// checkDenyList examines the deny list of a node that may be running.
func (c *Config) checkDenyList(f *findings, now time.Time) {
	file := filepath.Join(c.Data, denyFile)
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return
	}
	if _, err := ident.OpenRevocations(disk.OS{}, file, func() time.Time { return now }); err != nil {
		f.add(Fault, "restore it from a backup; the ledger has every change", "the deny list cannot be used: %v", err)
	}
}
