package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/gate/proxy"
	"github.com/querschott/querschott/ident/mtls"
	"github.com/querschott/querschott/ledger"
)

// Sizes of the stream's buffers.
const (
	fileEvents    = 8192
	trafficEvents = 8192
)

// openHTTP makes the HTTP entrance and binds its address.
func (n *Node) openHTTP(ctx context.Context) error {
	n.stream = access.NewStream(n.cfg.Domain)
	if err := n.openAccessLog(); err != nil {
		return err
	}
	if err := n.openTelemetry(ctx); err != nil {
		return err
	}
	if n.cfg.HTTP.Listen == "" {
		return nil
	}
	if n.sockets.http = n.opt.HTTP; n.sockets.http == nil {
		listeners, err := listen(ctx, n.cfg.HTTP.Listen)
		if err != nil {
			return err
		}
		n.sockets.http = listeners[0]
	}
	base := n.cfg.HTTP.URL
	if base == "" {
		base = "https://" + n.sockets.http.Addr().String()
	}
	n.base = strings.TrimSuffix(base, "/")
	if err := n.openIdentification(ctx); err != nil {
		return err
	}
	routes, err := n.routes()
	if err != nil {
		return err
	}
	tc, err := n.httpTLS()
	if err != nil {
		return err
	}
	shares, err := n.keyring.Secret("door/shares", 32)
	if err != nil {
		return err
	}
	l := &n.cfg.HTTP.Limits
	n.http, err = gatehttp.New(gatehttp.Config{
		Routes: routes, TLS: tc, StatusPage: n.cfg.Mail.StatusPage, Version: "1.0.0",
		Identify: n.identify, Valid: n.valid, Guard: n.guard, Owner: n.owner, Door: n.current, Share: n.doors.Share, ShareKey: shares, Record: n.recordHTTP,
		Pseudonym: func(c querschott.Compartment, p querschott.KVNR) string {
			return n.years.pseudonym(c.Insurer, p, n.opt.Now())
		},
		Stream: n.stream, Traced: n.traced(), Trusted: n.cfg.HTTP.trusted(), Log: n.log, Now: n.opt.Now,
		Limits: gatehttp.Limits{
			Connections: l.Connections, PerNetwork: l.PerAddress, Header: int(l.Header), Body: int64(l.Body), Concurrent: l.Concurrent,
			Network:    gatehttp.Rate{PerSecond: float64(l.NetworkRate), Burst: 4 * l.NetworkRate},
			Credential: gatehttp.Rate{PerSecond: float64(l.Rate), Burst: l.Burst},
			Reach:      gatehttp.Reach{Minute: l.Minute, Quarter: l.Quarter, Day: l.Day},
			HeaderTime: time.Duration(l.HeaderTimeout), Service: time.Duration(l.Timeout), Idle: time.Duration(l.IdleTimeout), Grace: grace,
		},
	})
	if err != nil {
		return err
	}
	n.doors.Enforce("the HTTP entrance", n.http.Obey)
	return nil
}

// openAccessLog subscribes the file of access events.
func (n *Node) openAccessLog() (err error) {
	path := n.cfg.HTTP.AccessLog
	if path == "" {
		return nil
	}
	if path == "-" {
		path = "/dev/stdout"
	}
	n.accessFile, err = access.OpenFile(access.FileConfig{
		Path: path, Max: int64(n.cfg.HTTP.AccessLogSize), Keep: n.cfg.HTTP.AccessLogKeep, Now: n.opt.Now,
		Alarm: func(err error, lost uint64) {
			n.log.Error("ALARM: access events are lost; the ledger has what happened", "lost", lost, "err", err)
		},
	})
	if err != nil {
		return err
	}
	n.accessSub = n.stream.Subscribe("file", fileEvents)
	return nil
}

func (n *Node) httpTLS() (*tls.Config, error) {
	c := &n.cfg.HTTP
	cert, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, fmt.Errorf("couldn't load the certificate of the HTTP entrance: %w", err)
	}
	n.canary.http = cert.Leaf
	tc := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	if c.MinTLS == "1.2" {
		tc.MinVersion = tls.VersionTLS12
	}
	if n.machines != nil {
		tc = mtls.Ask(tc)
	}
	return tc, nil
}

// trusted returns the networks of the load balancers in front; they have been checked.
func (c *HTTPConfig) trusted() []netip.Prefix {
	var list []netip.Prefix
	for _, p := range c.Proxies {
		if prefix, err := netip.ParsePrefix(p); err == nil {
			list = append(list, prefix)
		}
	}
	return list
}

// owner says which insurer of this platform an IK belongs to.
func (n *Node) owner(ik string) (querschott.IK, bool) {
	owner, ok := n.byIK[querschott.IK(ik)]
	return owner, ok
}

// recordHTTP is the ledger's entries before an answer leaves.
func (n *Node) recordHTTP(ctx context.Context, entries ...ledger.Entry) error {
	err := n.append(ctx, entries...)
	return err
}

func (n *Node) routes() ([]gatehttp.Route, error) {
	routes, err := n.vsdmRoutes(n.base)
	if err != nil {
		return nil, err
	}
	n.who["vsdm"] = []string{byToken, byGuard}
	routes = append(routes, n.deskRoutes()...)
	for i := range n.cfg.HTTP.Routes {
		r, err := n.route(&n.cfg.HTTP.Routes[i])
		if err != nil {
			return nil, err
		}
		routes = append(routes, r)
	}
	return append(append(routes, n.staffRoutes()...), append(n.feedRoutes(), n.publicRoutes()...)...), nil
}

// route puts the gate in front of an existing service.
func (n *Node) route(c *RouteConfig) (gatehttp.Route, error) {
	p, err := proxy.New(proxy.Config{Settings: c.Proxy, Log: n.log, Now: n.opt.Now})
	if err != nil {
		return gatehttp.Route{}, fmt.Errorf("route %s: %w", c.Name, err)
	}
	n.proxies[c.Name], n.who[c.Name] = p, c.Who
	r := gatehttp.Route{
		Name: c.Name, Host: strings.ToLower(c.Host), Path: c.Path, Methods: c.Methods, Service: querschott.Service(c.Proxy.Service),
		Tenant: gatehttp.Tenant{From: gatehttp.FromLocator}, Locate: p.Locate, // who names no insurer passes no door, so he is answered 404
		Audience: orBase(c.Audience, n.base), Scopes: c.Scopes, Nonce: c.Nonce, ACR: c.ACR, MaxBody: int64(c.Body),
		Data: dataOf(querschott.Service(c.Proxy.Service)), Backend: p.Backend, Tunnel: p.Tunnel, Write: p.Writes,
		Timeout: c.Proxy.Timeouts.Header + c.Proxy.Timeouts.Answer,
	}
	for _, role := range c.Roles {
		r.Roles = append(r.Roles, querschott.Role(role))
	}
	switch c.Presence {
	case "optional":
		r.Presence = gatehttp.PresenceOptional
	case "required":
		r.Presence = gatehttp.PresenceRequired
	}
	if c.Errors == "zeta" {
		r.Form = gatehttp.FormZETA
	}
	return r, nil
}
