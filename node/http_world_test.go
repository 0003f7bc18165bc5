package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

// mint issues tokens to everybody.
type mint struct {
	tb  testing.TB
	key *ecdsa.PrivateKey
	id  jose.Key
}

const (
	accessIssuer   = "https://pdp.example.com"
	presenceIssuer = "https://popp.example.com"
)

func newMint(tb testing.TB) *mint {
	tb.Helper()
	key := newKey(tb)
	public, err := jose.KeyOf(&key.PublicKey)
	if err != nil {
		tb.Fatal(err)
	}
	public.ID = public.Thumbprint()
	return &mint{tb, key, public}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// issuer is how a node learns of the mint.
func (m *mint) issuer() *DevIssuer {
	set := jose.KeySet{m.id.ID: m.id}
	return &DevIssuer{Access: accessIssuer, Presence: presenceIssuer, AccessKeys: set, PresenceKeys: set}
}

func (m *mint) sign(typ string, claims any) string {
	m.tb.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		m.tb.Fatal(err)
	}
	token, err := jose.Sign(jose.Header{Typ: typ, Kid: m.id.ID}, payload, m.key)
	if err != nil {
		m.tb.Fatal(err)
	}
	return token
}

// access issues an access token for a practice, bound to a key.
func (m *mint) access(p *drill.Practice, key *ecdsa.PrivateKey, audience string, now time.Time) string {
	m.tb.Helper()
	public, err := jose.KeyOf(&key.PublicKey)
	if err != nil {
		m.tb.Fatal(err)
	}
	return m.sign(zeta.TypeAccess, zeta.Access{
		Issuer: accessIssuer, Issued: now.Unix(), Expires: now.Add(5 * time.Minute).Unix(), Audience: []string{audience}, Scope: "vsdservice",
		Subject: string(p.TelematikID()), Profession: "1.2.276.0.76.4.50", CommonName: "Praxis", Client: "c1", Address: "127.0.0.1",
		Product: "test", ProductVersion: "1", ID: rand.Text(), Session: "s1", Confirmation: zeta.Confirmation{Thumbprint: public.Thumbprint()},
	})
}

// presence proves that a person's card is in a practice.
func (m *mint) presence(p *drill.Practice, number querschott.KVNR, insurer querschott.IK, now time.Time) string {
	return m.sign(zeta.TypePresence, zeta.Presence{
		Version: "1.0.0", Issuer: presenceIssuer, Issued: now.Unix(), Proved: now.Unix(), Method: "ehc-practitioner-trustedchannel",
		Patient: number.Reveal(), Insurer: string(insurer), Actor: string(p.TelematikID()), Profession: "1.2.276.0.76.4.50",
	})
}

// newVSDMHouse is a house whose insurers check cards, with an HTTP entrance that believes a mint.
func newVSDMHouse(tb testing.TB, insurers int, change ...func(*Config)) (*house, *mint) {
	tb.Helper()
	change = append([]func(*Config){func(c *Config) {
		c.HTTP.Listen, c.HTTP.Certificate, c.HTTP.Key = "127.0.0.1:0", "server.crt", "server.key"
		c.HTTP.DevIssuers = true
	}}, change...)
	h := newHouseWith(tb, insurers, []querschott.Service{querschott.EAU, querschott.Letter, querschott.VSDM}, change...)
	m := newMint(tb)
	h.opt.DevIssuer = m.issuer()
	return h, m
}

// deliver stores the master data of the insurer's first persons.
func (r *live) deliver(i, persons int) {
	r.h.tb.Helper()
	in := r.h.world.Insurers()[i]
	first, _ := in.Persons()
	for k := range persons {
		record := r.h.world.MasterData(r.h.world.Person(first + k))
		if _, err := r.PutInsured(r.h.compartment(i, querschott.VSDM), record); err != nil {
			r.h.tb.Fatal(err)
		}
	}
}

// person is the k-th of an insurer's.
func (h *house) person(i, k int) drill.Person {
	first, _ := h.world.Insurers()[i].Persons()
	return h.world.Person(first + k)
}

// reader is a practice that checks cards.
type reader struct {
	r        *live
	m        *mint
	client   *http.Client
	practice *drill.Practice
	key      *ecdsa.PrivateKey
}

func (r *live) reader(m *mint) *reader {
	r.h.tb.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: r.h.clientTLS(), ForceAttemptHTTP2: true}}
	r.h.tb.Cleanup(client.CloseIdleConnections)
	return &reader{r, m, client, r.h.world.Practices()[0], newKey(r.h.tb)}
}

// check asks for a person's master data; change may spoil the request.
func (x *reader) check(ctx context.Context, p drill.Person, change ...func(*drill.CardCheck)) *drill.CardAnswer {
	x.r.h.tb.Helper()
	now := time.Now()
	base := x.r.Addresses().HTTP
	c := drill.CardCheck{
		URL: base, Key: x.key, Access: x.m.access(x.practice, x.key, base, now), Version: "1.0",
		Presence: x.m.presence(x.practice, p.Number, p.Insurer.IK, now),
	}
	for _, fn := range change {
		fn(&c)
	}
	answer, err := c.Do(ctx, x.client, now)
	if err != nil {
		x.r.h.tb.Fatal(err)
	}
	return answer
}

// read reads a file of the house.
func (h *house) read(name string) string {
	h.tb.Helper()
	data, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		h.tb.Fatal(err)
	}
	return string(data)
}

// events reads a file of access events.
func (h *house) events(name string) (list []querschott.Access) {
	h.tb.Helper()
	f, err := os.Open(filepath.Join(h.dir, name))
	if err != nil {
		h.tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for r := access.NewReader(f); ; {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			h.tb.Fatal(err)
		}
		list = append(list, e)
	}
}
