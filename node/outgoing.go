package node

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"

	"github.com/querschott/querschott/outbox"
)

func (n *Node) outboxOptions() (outbox.Options, error) {
	relay, err := n.cfg.relay()
	if err != nil {
		return outbox.Options{}, err
	}
	return outbox.Options{Relay: relay, Local: n.cfg.local, Now: n.opt.Now, Log: n.log}, nil
}

// local reports whether mail to an address stays here.
func (c *Config) local(address string) bool {
	_, domain, _ := strings.Cut(strings.ToLower(address), "@")
	for _, l := range c.Outbox.Local {
		if strings.EqualFold(l, domain) {
			return true
		}
	}
	return false
}

// relay returns how to reach the mail relay, nil if there is none.
func (c *Config) relay() (*outbox.Relay, error) {
	if c.Outbox.Relay == "" {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(c.Outbox.Relay)
	if err != nil {
		return nil, err
	}
	r := &outbox.Relay{
		Address: c.Outbox.Relay, TLS: outbox.RelayTLS(c.Outbox.RelayTLS), User: c.Outbox.User, Hello: c.Mail.Hostname,
		Config: &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12},
	}
	if c.Outbox.RelayCA != "" {
		pem, err := os.ReadFile(c.Outbox.RelayCA)
		if err != nil {
			return nil, err
		}
		r.Config.RootCAs = x509.NewCertPool()
		if !r.Config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("outbox.relay_ca holds no certificate")
		}
	}
	if c.Outbox.PasswordFile != "" {
		password, err := os.ReadFile(c.Outbox.PasswordFile)
		if err != nil {
			return nil, err
		}
		r.Password = strings.TrimRight(string(password), "\r\n")
	}
	return r, nil
}
