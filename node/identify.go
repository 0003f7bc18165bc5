package node

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ident/mtls"
	"github.com/querschott/querschott/ident/token"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

// proofsFile hands the proofs that were used over from one run of the node to the next.
const proofsFile = "proofs.bin"

// DevIssuer issues tokens to anybody. A node believes it only in a demonstration, or if its configuration says so.
type DevIssuer struct {
	Access, Presence         string // as the tokens name them
	AccessKeys, PresenceKeys jose.KeySet
}

// openIdentification makes what says who calls.
func (n *Node) openIdentification(context.Context) error {
	if n.opt.DevIssuer != nil && !n.opt.Demo && !n.cfg.HTTP.DevIssuers {
		return errors.New("issuers for development would be believed, and http.dev_issuers does not say so")
	}
	if err := n.openMachines(); err != nil {
		return err
	}
	if err := n.openStaff(); err != nil {
		return err
	}
	access, err := n.issuers(n.cfg.HTTP.AccessIssuers, token.Metadata)
	if err != nil {
		return err
	}
	presence, err := n.issuers(n.cfg.HTTP.PresenceIssuers, token.Federation)
	if err != nil {
		return err
	}
	if d := n.opt.DevIssuer; d != nil {
		if !n.opt.Demo {
			n.log.Warn("issuers for development are believed: everybody who reaches the entrance can have every token")
		}
		if access, err = n.dev(access, d.Access, d.AccessKeys); err != nil {
			return err
		}
		if presence, err = n.dev(presence, d.Presence, d.PresenceKeys); err != nil {
			return err
		}
	}
	n.keySets = append(access, presence...)
	if len(access) == 0 {
		return nil // nobody can identify himself by a token
	}
	key, err := n.keyring.Secret("ident/pseudonym", 32)
	if err != nil {
		return err
	}
	c := &n.cfg.HTTP
	n.tokens, err = token.New(token.Config{
		Now: n.opt.Now, Access: access, Presence: presence, Revocations: n.denied,
		Leeway: time.Duration(c.Leeway), ProofAge: time.Duration(c.ProofAge), ProofLeeway: time.Duration(c.Leeway),
		AllowBearer: c.AllowBearer, NoTravel: c.NoTravel, StrictAudience: c.StrictAudience,
		Pseudonym: key, FS: disk.OS{}, ProofsFile: n.path(proofsFile),
	})
	return err
}

func (n *Node) issuers(list []IssuerConfig, usual token.Source) ([]*token.Issuer, error) {
	var all []*token.Issuer
	for i := range list {
		c, err := list[i].token(usual)
		if err != nil {
			return nil, err
		}
		if c.Source != token.Static {
			sum := sha256.Sum256([]byte(c.Issuer))
			c.FS, c.File = disk.OS{}, n.path(filepath.Join("issuers", hex.EncodeToString(sum[:8])+".json"))
			if err := os.MkdirAll(n.path("issuers"), 0o700); err != nil {
				return nil, err
			}
		}
		c.Now = n.opt.Now
		c.NewKey = func(issuer, thumbprint string) {
			n.log.Warn("an issuer has a key that this node has never seen", "issuer", issuer, "key", thumbprint)
		}
		issuer, err := token.NewIssuer(c)
		if err != nil {
			return nil, err
		}
		all = append(all, issuer)
	}
	return all, nil
}

func (n *Node) dev(list []*token.Issuer, name string, keys jose.KeySet) ([]*token.Issuer, error) {
	issuer, err := token.NewIssuer(token.IssuerConfig{Issuer: name, Source: token.Static, Keys: keys, Now: n.opt.Now, Plain: true, Staff: func(querschott.IK) bool { return true }})
	if err != nil {
		return nil, err
	}
	return append(list, issuer), nil
}

// accessIssuers names the issuers of access tokens; the first is the one that clients are sent to.
func (n *Node) accessIssuers() []string {
	var names []string
	for _, c := range n.cfg.HTTP.AccessIssuers {
		names = append(names, c.Issuer)
	}
	if n.opt.DevIssuer != nil {
		names = append(names, n.opt.DevIssuer.Access)
	}
	return names
}

// maxKeySet is the largest file of an issuer's keys.
const maxKeySet = 256 << 10

// token translates the configuration of an issuer, and reads its files.
func (c *IssuerConfig) token(usual token.Source) (token.IssuerConfig, error) {
	t := token.IssuerConfig{Issuer: c.Issuer, Source: token.Source(c.Source), URL: c.URL, Pins: c.Pins, Plain: ownHost(c.Issuer) && (c.URL == "" || ownHost(c.URL))}
	if len(c.Staff) > 0 {
		t.Staff, t.StaffOnly = func(ik querschott.IK) bool { return slices.Contains(c.Staff, string(ik)) }, true
	}
	if c.Keys != "" {
		data, err := disk.ReadFile(disk.OS{}, c.Keys, maxKeySet)
		if err != nil {
			return t, fmt.Errorf("couldn't read the keys of issuer %s: %w", c.Issuer, err)
		}
		if t.Keys, err = jose.ParseKeySet(data); err != nil {
			return t, fmt.Errorf("%s holds no keys of an issuer: %w", c.Keys, err)
		}
		t.Source = token.Static
		return t, nil
	}
	if t.Source == "" {
		t.Source = usual
	}
	t.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if c.CA == "" {
		return t, nil
	}
	pool, err := certificates(c.CA)
	if err != nil {
		return t, err
	}
	t.Client.Transport = &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, MaxIdleConns: 2,
		IdleConnTimeout: time.Minute,
	}
	return t, nil
}

// certificates reads a CA file.
func certificates(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

// errNobody refuses everybody.
var errNobody = querschott.Refuse(querschott.CodeUnauthorized, "nobody can identify himself here")

// ownHost reports whether an address is this host's, where plain HTTP reveals nothing to anybody else.
func ownHost(address string) bool {
	u, err := url.Parse(address)
	return err == nil && loopback(net.JoinHostPort(u.Hostname(), "0"))
}

// openMachines reads who identifies itself by a certificate.
func (n *Node) openMachines() error {
	var list []mtls.Machine
	for _, c := range n.cfg.HTTP.Machines {
		m := mtls.Machine{
			Name: c.Name, Subject: c.Subject, Role: querschott.Role(c.Role), Insurer: querschott.IK(c.Insurer), Guard: c.Guard,
		}
		for _, p := range c.Pins {
			pin, err := mtls.ParsePin(p)
			if err != nil {
				return err
			}
			m.Pins = append(m.Pins, pin)
		}
		for _, s := range c.Services {
			m.Services = append(m.Services, querschott.Service(s))
		}
		if c.CA != "" {
			pool, err := certificates(c.CA)
			if err != nil {
				return err
			}
			m.CA = pool
		}
		list = append(list, m)
	}
	if len(list) == 0 {
		return nil
	}
	var err error
	n.machines, err = mtls.New(list, n.opt.Now)
	return err
}

// guard reports whether a connection is a ZETA Guard's.
func (n *Node) guard(state *tls.ConnectionState) bool {
	return n.machines != nil && n.machines.Guard(state)
}

// identify says who calls. Its errors are refusals. A guard's word and a token that came with it must agree; a token counts
// before the certificate of the connection that it came over.
func (n *Node) identify(ctx context.Context, r *http.Request, route *gatehttp.Route) (*ident.Identity, error) {
	if secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), canaryScheme); ok {
		return n.canary.identify(secret, r, route, n.opt.Now())
	}
	who := n.who[route.Name]
	by := func(way string) bool { return slices.Contains(who, way) }
	switch {
	case by(byGuard) && n.guard(r.TLS):
		return n.byGuard(ctx, r, route)
	case by(byToken) && n.tokens != nil && (r.Header.Get("Authorization") != "" || !by(byCertificate) && !by(byStaff)):
		id, err := n.byToken(ctx, r, route)
		if err == nil && by(byOwnMachine) && id.Caller.Role == querschott.RolePartner {
			return id, errNoMachine
		}
		return id, err
	case by(byCertificate) && n.machines != nil && r.TLS != nil && len(r.TLS.PeerCertificates) > 0:
		id, err := n.machines.Identify(r.TLS)
		if err != nil {
			return nil, err
		}
		return n.admitted(id, r, route)
	case by(byOwnMachine) && n.machines != nil && r.TLS != nil && len(r.TLS.PeerCertificates) > 0:
		return n.byOwnMachine(r, route)
	case by(byStaff):
		return n.byStaff(r, route)
	default:
		return nil, errNobody
	}
}

func (n *Node) byToken(ctx context.Context, r *http.Request, route *gatehttp.Route) (*ident.Identity, error) {
	return n.tokens.Identify(ctx, &token.Request{
		Method: r.Method, URL: n.base + r.URL.EscapedPath(), Header: r.Header, Remote: remote(r),
		Audience: route.Audience, Scopes: route.Scopes, ACR: route.ACR, Nonce: route.Nonce,
		Presence: token.PresenceMode(route.Presence), PresenceAge: time.Duration(n.cfg.HTTP.PresenceAge),
	})
}

// errNoMachine refuses machines of partners that nobody has listed for one insurer.
var errNoMachine = querschott.Refuse(querschott.CodeForbidden, "a machine is known here by its certificate, and for one insurer")

// byOwnMachine lets the machine in that does an insurer's jobs. A browser may show a certificate that nobody here knows.
func (n *Node) byOwnMachine(r *http.Request, route *gatehttp.Route) (*ident.Identity, error) {
	id, err := n.machines.Identify(r.TLS)
	if err != nil {
		return n.byStaff(r, route)
	}
	if id.Caller.Insurer == "" {
		return id, errNoMachine
	}
	return n.admitted(id, r, route)
}

// byGuard takes a guard's word, and checks it against the tokens where they came too.
func (n *Node) byGuard(ctx context.Context, r *http.Request, route *gatehttp.Route) (*ident.Identity, error) {
	said, err := n.machines.Asserted(r.TLS, r.Header)
	if err != nil {
		return nil, err
	}
	if said == nil {
		return nil, errNobody
	}
	if n.tokens == nil || r.Header.Get("Authorization") == "" {
		id, err := said.Identity()
		if err != nil {
			return nil, err
		}
		if id.Presence == nil && route.Presence == gatehttp.PresenceRequired {
			return id, zeta.NoPresence()
		}
		return n.admitted(id, r, route)
	}
	id, err := n.byToken(ctx, r, route)
	if err != nil {
		return id, err
	}
	if err := said.Compare(id); err != nil {
		n.log.Error("ALARM: a ZETA Guard says something else than the token that came with it", "err", err)
		return id, err
	}
	return id, nil
}

// admitted asks the deny list about a credential that no verifier of tokens has asked about.
func (n *Node) admitted(id *ident.Identity, r *http.Request, route *gatehttp.Route) (*ident.Identity, error) {
	if at := remote(r); at.IsValid() {
		id.Facts.Network = at.String()
	}
	if err := n.denied.Check(&id.Facts); err != nil {
		return id, err
	}
	return id, id.MayCall(route.Service)
}

// remote is the caller's address, as the gate has found it.
func remote(r *http.Request) netip.Addr {
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return at.Addr().Unmap()
	}
	at, err := netip.ParseAddr(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Unmap()
}

// valid says whether an identity is still in force.
func (n *Node) valid(id *ident.Identity) error {
	id.Facts.Actor, id.Facts.Credential = id.Credential.Actor, id.Credential.ID
	return n.denied.Check(&id.Facts)
}
