package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/service/desk"
	"github.com/querschott/querschott/service/vsdm"
	"github.com/querschott/querschott/wire/vsd"
)

const (
	// canaryPatience is how long canary traffic may take, and how long mail before it may stand still, before it counts as failed.
	canaryPatience = 10 * time.Second
	// canaryScheme is how it identifies itself in the header Authorization.
	canaryScheme = "Canary "
	// canaryCredential begins the names of its credentials. No other credential begins like this.
	canaryCredential = "canary/"
	maxCanaryAnswer  = 1 << 20
)

// canaryTraffic is what the platform needs to come to its own entrances as callers and senders do, while doors open in stages.
// Nothing of it outlives the process but the key of the mark on its mails.
type canaryTraffic struct {
	patience   time.Duration
	http, mail *x509.Certificate // of the entrances, the only ones that are spoken to
	key        []byte            // of the mark

	mu     sync.Mutex // guards what follows
	passes []*pass
	onWay  map[querschott.Compartment]*canaryMail // taken in, and not delivered when it was last looked for
	tried  int                                    // mails that were handed in
}

// pass lets one request or one mail in, once, and only while the platform waits for its answer.
type pass struct {
	secret string
	c      querschott.Compartment
	id     querschott.CredentialID
	spent  bool

	person querschott.KVNR // of a request: the only one whose data it reaches
	from   netip.Addr      // where the request comes from

	sender, recipient string // of a mail
}

func newCanaryTraffic() *canaryTraffic {
	return &canaryTraffic{patience: canaryPatience, onWay: map[querschott.Compartment]*canaryMail{}}
}

// issue makes a pass good until the function that it returns is called.
func (t *canaryTraffic) issue(p *pass) (end func()) {
	p.secret = rand.Text()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.passes = append(t.passes, p)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.passes = slices.DeleteFunc(t.passes, func(other *pass) bool { return other == p })
	}
}

// spend takes the pass with a secret, which nobody can take again.
func (t *canaryTraffic) spend(secret string) (pass, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.passes {
		if subtle.ConstantTimeCompare([]byte(p.secret), []byte(secret)) == 1 && !p.spent {
			p.spent = true
			return *p, true
		}
	}
	return pass{}, false
}

// identify says who comes with a pass: the platform, in the capacity of those whom the route is for, for one person of one
// insurer. The gate refuses an answer about anybody else.
func (t *canaryTraffic) identify(secret string, r *http.Request, route *gatehttp.Route, now time.Time) (*ident.Identity, error) {
	p, ok := t.spend(secret)
	if !ok || p.person == "" || route.Service != p.c.Service || remote(r) != p.from {
		return nil, errNobody
	}
	id := &ident.Identity{
		Credential: querschott.Credential{ID: p.id, Actor: door.MachineActor, Role: querschott.RoleMachine},
		Caller:     querschott.Caller{Actor: door.MachineActor, Role: querschott.RoleMachine, Insurer: p.c.Insurer, Person: p.person},
		Issued:     now, Canary: true,
		Facts: ident.Facts{Subject: string(door.MachineActor), Actor: door.MachineActor, Credential: p.id, Network: p.from.String()},
	}
	if len(route.Roles) > 0 {
		id.Caller.Role = route.Roles[0]
	}
	if route.Presence != gatehttp.PresenceNone {
		id.Presence = &querschott.Presence{
			Version: "1.0.0", Issuer: "canary", Issued: now, Proved: now, Method: "canary", Patient: p.person.Reveal(),
			Insurer: string(p.c.Insurer), Actor: door.MachineActor, Profession: "canary", Hash: sha256.Sum256([]byte(secret)),
		}
	}
	return id, nil
}

// tryDoor is the canary traffic of a door that opens in stages.
func (n *Node) tryDoor(c querschott.Compartment) error {
	try := n.tryRead
	if c.Service.ByMail() {
		try = n.tryMail
	}
	if err := try(c); err != nil {
		return fmt.Errorf("canary traffic: %w", err)
	}
	return nil
}

// tryRead asks for the master data of a canary person as a caller does: over the network, through the HTTP entrance with all
// that it demands, and compares what comes back with what was stored. Of an insurer without canaries it asks for somebody
// who is not there, and the desk must say that there are no master data while their door is shut. There is no such traffic
// without an HTTP entrance, and for services that the platform does not carry itself.
func (n *Node) tryRead(c querschott.Compartment) error {
	if n.http == nil || c.Service != querschott.VSDM && c.Service != querschott.Desk {
		return nil
	}
	data, _ := n.doors.Current(querschott.Compartment{Insurer: c.Insurer, Service: querschott.VSDM})
	index, number, stored := n.canaryOf(c.Insurer)
	ctx, cancel := context.WithTimeout(context.Background(), n.canary.patience)
	defer cancel()
	status, body, err := n.askCanary(ctx, c, number)
	switch {
	case err != nil:
		n.log.Warn("canary traffic did not get through the HTTP entrance", "compartment", c.String(), "err", err)
		return errors.New("the HTTP entrance does not answer")
	case status == http.StatusNotFound && !stored:
		return nil
	case status == http.StatusServiceUnavailable && c.Service == querschott.Desk && !data.To.ServesReads():
		return nil
	case status != http.StatusOK:
		return fmt.Errorf("the HTTP entrance answers %d", status)
	}
	e := insured.Entry{Record: n.invented(c.Insurer, index, number)}
	if c.Service == querschott.Desk {
		want, err := json.Marshal(desk.PersonOf([]*insured.Entry{&e}))
		if err != nil || !bytes.Equal(body, want) {
			return errNotStored
		}
		return nil
	}
	got, _, err := vsd.ParseBundle(body, vsd.JSON)
	if err != nil || !bytes.Equal(got.Encode(), e.Record.Encode()) {
		return errNotStored
	}
	return nil
}

var errNotStored = errors.New("what is read is not what was stored")

// canaryOf returns an insurer's first canary, and whether its master data are known to be in the cell.
func (n *Node) canaryOf(in querschott.IK) (index uint32, number querschott.KVNR, stored bool) {
	if kept := n.alarms.canaries.kept(in); len(kept) > 0 {
		index = kept[0]
	}
	number = n.alarms.canaries.number(in, index)
	n.alarms.storing.Lock()
	defer n.alarms.storing.Unlock()
	return index, number, n.alarms.stored[number]
}

// askCanary sends the request over a connection of its own. Its credential is one of those that the door's stage lets in.
func (n *Node) askCanary(ctx context.Context, c querschott.Compartment, number querschott.KVNR) (status int, body []byte, err error) {
	p := &pass{c: c, person: number}
	for i := range 100_000 {
		p.id = querschott.CredentialID(fmt.Sprintf("%s%s/%d", canaryCredential, c, i))
		if n.http.LetsIn(c, p.id) {
			break
		}
	}
	conn, err := dialOwn(ctx, n.sockets.http.Addr(), n.canary.http)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = conn.Close() }() // it is used once
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return 0, nil, err
	}
	p.from = local.Addr().Unmap()
	defer n.canary.issue(p)()
	transport := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }, DisableKeepAlives: true}
	r, err := n.canaryRequest(ctx, c, number)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", canaryScheme+p.secret)
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxCanaryAnswer))
	return answer.StatusCode, body, err
}

func (n *Node) canaryRequest(ctx context.Context, c querschott.Compartment, number querschott.KVNR) (*http.Request, error) {
	base, err := url.Parse(n.base)
	if err != nil {
		return nil, err
	}
	here := "https://" + base.Host
	if c.Service == querschott.Desk {
		ask, err := json.Marshal(desk.PersonRequest{Reason: "job:canary-traffic", Person: number})
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, here+desk.PathPerson+string(c.Insurer), bytes.NewReader(ask))
		if err == nil {
			r.Header.Set("Content-Type", "application/json")
		}
		return r, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, here+vsdm.Path+"?profileVersion="+n.cfg.VSDM.Profiles[0], nil)
	if err == nil {
		r.Header.Set("Accept", vsd.JSON.MediaType())
		r.Header.Set("If-None-Match", "0")
	}
	return r, err
}

// dialOwn connects to an entrance of this node, and speaks to whoever proves to have its certificate: a pass goes to nobody
// else. A certificate that callers would not accept, because its time is over or it has no name, is not accepted here either.
func dialOwn(ctx context.Context, a net.Addr, cert *x509.Certificate) (net.Conn, error) {
	conn, err := dialPlain(ctx, a)
	if err != nil {
		return nil, err
	}
	tc := tls.Client(conn, trustOnly(cert))
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return tc, nil
}

func dialPlain(ctx context.Context, a net.Addr) (net.Conn, error) {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return nil, err
	}
	to := at.String()
	if at.Addr().IsUnspecified() {
		to = fmt.Sprintf("localhost:%d", at.Port())
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to)
}

// trustOnly is the client's side of a connection to the holder of one certificate, under a name that it has.
func trustOnly(cert *x509.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	name := ""
	switch {
	case len(cert.DNSNames) > 0:
		name = strings.Replace(cert.DNSNames[0], "*", "canary", 1)
	case len(cert.IPAddresses) > 0:
		name = cert.IPAddresses[0].String()
	}
	return &tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS12}
}
