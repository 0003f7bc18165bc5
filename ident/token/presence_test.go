package token

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

// asks makes a request that shows a PoPP token.
func (w *world) asks(t testing.TB, access, popp string) *Request {
	r := w.request(t, access)
	r.Presence = PresenceRequired
	if popp != "" {
		r.Header["Popp"] = []string{popp}
	}
	return r
}

func certificate(t testing.TB, s signer) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "popp"}, NotAfter: time.Unix(1<<31, 0)}
	der, err := x509.CreateCertificate(nil, template, template, &s.private.PublicKey, s.private)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func TestPresenceTable(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	h, c := w.presenceHeader(), w.presenceClaims()
	now := w.clock.now().Unix()
	stranger := newSigner(t, "popp-1")
	sign := w.popp.sign
	for _, tc := range []struct {
		name   string
		popp   string
		status int
		reason zeta.Reason
	}{
		{"right", sign(t, h, c), 200, ""},
		{"with its certificate", sign(t, h.with("x5c", []string{certificate(t, w.popp)}), c), 200, ""},
		{"unknown method of proof", sign(t, h, c.with("proofMethod", "new")), 200, ""},
		{"issued within the leeway", sign(t, h, c.with("iat", now+60)), 200, ""},
		{"card used earlier in the quarter", sign(t, h, c.with("patientProofTime", now-20*86400)), 200, ""},
		{"typ JWT", sign(t, h.with("typ", "JWT"), c), 403, zeta.ReasonPresenceForm},
		{"alg none", cut(sign(t, h.with("alg", "none"), c)), 403, zeta.ReasonPresenceForm},
		{"alg RS256", sign(t, h.with("alg", "RS256"), c), 403, zeta.ReasonPresenceForm},
		{"no kid", sign(t, h.with("kid", nil), c), 403, zeta.ReasonPresenceForm},
		{"unknown kid", sign(t, h.with("kid", "x"), c), 403, zeta.ReasonPresenceKey},
		{"another certificate", sign(t, h.with("x5c", []string{certificate(t, stranger)}), c), 403, zeta.ReasonPresenceKey},
		{"a broken certificate", sign(t, h.with("x5c", []string{"AAAA"}), c), 403, zeta.ReasonPresenceKey},
		{"foreign key", stranger.sign(t, h, c), 403, zeta.ReasonPresenceSigned},
		{"foreign key with its certificate", stranger.sign(t, h.with("x5c", []string{certificate(t, stranger)}), c), 403, zeta.ReasonPresenceKey},
		{"foreign key with its jwk", stranger.sign(t, h.with("jwk", jwkOf(t, stranger.key)), c), 403, zeta.ReasonPresenceSigned},
		{"foreign key with its kid and jwk", stranger.sign(t, h.with("kid", stranger.key.Thumbprint()).with("jwk", jwkOf(t, stranger.key)), c), 403, zeta.ReasonPresenceKey},
		{"no signature", cut(sign(t, h, c)), 403, zeta.ReasonPresenceSigned},
		{"foreign issuer", sign(t, h, c.with("iss", "https://other.example")), 403, zeta.ReasonPresenceIssuer},
		{"issuer of access tokens", w.pdp.sign(t, h.with("kid", "pdp-1"), c.with("iss", pdp)), 403, zeta.ReasonPresenceIssuer},
		{"iat of 2023", sign(t, h, c.with("iat", 1680000000)), 403, zeta.ReasonPresenceTime},
		{"card used in 2023", sign(t, h, c.with("patientProofTime", 1680000000)), 403, zeta.ReasonPresenceTime},
		{"from the future", sign(t, h, c.with("iat", now+61)), 403, zeta.ReasonPresenceTime},
		{"card used after the issue", sign(t, h, c.with("patientProofTime", now+61)), 403, zeta.ReasonPresenceTime},
		{"foreign actor", sign(t, h, c.with("actorId", "x")), 403, zeta.ReasonPresenceActor},
		{"no patient", sign(t, h, c.with("patientId", nil)), 403, zeta.ReasonPresenceForm},
		{"no insurer", sign(t, h, c.with("insurerId", nil)), 403, zeta.ReasonPresenceForm},
		{"another version", sign(t, h, c.with("version", "2.0.0")), 403, zeta.ReasonPresenceForm},
		{"oversize", sign(t, h, c.with("a", strings.Repeat("x", maxPresence))), 403, zeta.ReasonPresenceForm},
		{"no JWS", "x", 403, zeta.ReasonPresenceForm},
		{"the access token", token, 403, zeta.ReasonPresenceForm},
	} {
		for _, again := range []string{"", " again"} {
			w.want(t, tc.name+again, w.asks(t, token, tc.popp), tc.status, zeta.AccessDenied, tc.reason)
		}
	}
	w.want(t, "missing", w.asks(t, token, ""), 400, zeta.InvalidRequest, zeta.ReasonNoPresence)
	r := w.asks(t, token, w.presence(t))
	r.Header["Popp"] = append(r.Header["Popp"], r.Header["Popp"][0])
	w.want(t, "two", r, 403, zeta.AccessDenied, zeta.ReasonPresenceForm)
}

func TestPresenceModes(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	for _, tc := range []struct {
		mode   PresenceMode
		popp   string
		status int
		shown  bool
	}{
		{PresenceNone, "", 200, false},
		{PresenceNone, w.presence(t), 200, false},
		{PresenceNone, "broken", 200, false},
		{PresenceOptional, "", 200, false},
		{PresenceOptional, w.presence(t), 200, true},
		{PresenceOptional, "broken", 403, false},
		{PresenceRequired, w.presence(t), 200, true},
	} {
		r := w.asks(t, token, tc.popp)
		r.Presence = tc.mode
		id := w.want(t, tc.popp, r, tc.status, zeta.AccessDenied, zeta.ReasonPresenceForm)
		if id != nil && ((id.Presence != nil) != tc.shown || id.Facts.PresenceIssued.IsZero() == tc.shown) {
			t.Errorf("mode %d: presence %v", tc.mode, id.Presence)
		}
	}
}

// What belongs to somebody else is refused from memory, too.
func TestRememberedPresenceIsJudgedAgain(t *testing.T) {
	w := newWorld(t)
	popp := w.presence(t)
	w.want(t, "own", w.asks(t, w.access(t), popp), 200, "", "")
	foreign := w.pdp.sign(t, w.accessHeader(), w.accessClaims().with("sub", "other"))
	w.want(t, "foreign", w.asks(t, foreign, popp), 403, zeta.AccessDenied, zeta.ReasonPresenceActor)
	w.clock.advance(10 * time.Minute)
	r := w.asks(t, w.access(t), popp)
	r.PresenceAge = 9 * time.Minute
	w.want(t, "age of the route, with leeway", r, 403, zeta.AccessDenied, zeta.ReasonPresenceTime)
	r = w.asks(t, w.access(t), popp)
	r.PresenceAge = 9*time.Minute + time.Second
	w.want(t, "longer age of the route", r, 200, "", "")
	w.clock.set(time.Date(2026, 7, 1, 0, 4, 59, 0, time.UTC))
	w.want(t, "end of the quarter", w.asks(t, w.access(t), popp), 200, "", "")
	w.clock.set(time.Date(2026, 7, 1, 0, 5, 0, 0, time.UTC))
	w.want(t, "after the quarter", w.asks(t, w.access(t), popp), 403, zeta.AccessDenied, zeta.ReasonPresenceTime)
}

func TestQuarters(t *testing.T) {
	for _, tc := range []struct {
		issued, now string
		status      int
	}{
		{"2026-04-24T12:00:00Z", "2026-04-24T12:00:00Z", 200},
		{"2026-04-24T12:00:00Z", "2026-06-30T23:59:59Z", 200},
		{"2026-04-24T12:00:00Z", "2026-07-01T00:04:00Z", 200},
		{"2026-04-24T12:00:00Z", "2026-07-01T00:06:00Z", 403},
		{"2026-04-24T12:00:00Z", "2026-07-02T00:00:00Z", 403},
		{"2025-12-31T23:30:00Z", "2026-01-01T01:00:00Z", 200}, // 00:30 on 1 January in Berlin
		{"2025-12-31T23:30:00Z", "2026-03-31T22:04:59Z", 200},
		{"2025-12-31T23:30:00Z", "2026-03-31T22:05:00Z", 403},
		{"2025-12-31T22:30:00Z", "2026-01-01T00:06:00Z", 403},
		{"2026-06-30T22:30:00Z", "2026-07-01T12:00:00Z", 200},
	} {
		w := newWorld(t)
		now, err := time.Parse(time.RFC3339, tc.now)
		if err != nil {
			t.Fatal(err)
		}
		issued, err := time.Parse(time.RFC3339, tc.issued)
		if err != nil {
			t.Fatal(err)
		}
		w.clock.set(now)
		w.v.fence = 0
		popp := w.popp.sign(t, w.presenceHeader(), w.presenceClaims().with("iat", issued.Unix()).with("patientProofTime", issued.Unix()))
		w.want(t, tc.issued+" at "+tc.now, w.asks(t, w.access(t), popp), tc.status, zeta.AccessDenied, zeta.ReasonPresenceTime)
	}
}

// published returns the published PoPP tokens and the key that signed them.
func published(t *testing.T) (tokens []string, set jose.KeySet) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "vsdm2", "popp", "popp_tokens.csv"))
	if os.IsNotExist(err) && os.Getenv("CI") != "true" {
		t.Skip("the published tokens are not here")
	}
	if err != nil {
		t.Fatal(err)
	}
	tokens = strings.Fields(string(b))[1:]
	if len(tokens) != 300 {
		t.Fatalf("%d tokens, want 300", len(tokens))
	}
	token, err := jose.Parse(tokens[0], maxPresence)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := jose.LeafKey(token.Header.X5C[0])
	if err != nil {
		t.Fatal(err)
	}
	return tokens, jose.KeySet{leaf.Thumbprint(): leaf}
}

func TestPublishedPresenceTokens(t *testing.T) {
	tokens, set := published(t)
	for _, tc := range []struct {
		now      string
		accepted int
	}{
		{"2026-04-24T12:02:00Z", 0}, // 86 seconds before their issue
		{"2026-04-24T12:03:26Z", 300},
		{"2026-05-15T00:00:00Z", 300},
		{"2026-06-30T23:59:59Z", 300},
		{"2026-07-01T00:04:59Z", 300},
		{"2026-07-01T00:05:00Z", 0},
		{"2026-07-02T00:00:00Z", 0},
		{"2027-05-15T00:00:00Z", 0},
	} {
		w := newWorld(t, func(c *Config) {
			c.Presence = []*Issuer{newIssuer(t, IssuerConfig{Issuer: popp, Source: Static, Keys: set, Now: c.Now})}
		})
		now, err := time.Parse(time.RFC3339, tc.now)
		if err != nil {
			t.Fatal(err)
		}
		w.clock.set(now)
		accepted := 0
		r := &Request{Presence: PresenceRequired, Header: http.Header{}}
		holder := &access{claims: &zeta.Access{Subject: lei}}
		for _, compact := range tokens {
			r.Header["Popp"] = []string{compact}
			p, refusal := w.v.presenceToken(t.Context(), r, holder, now)
			if refusal == nil && p.presence.Insurer == "109500969" {
				accepted++
			}
		}
		if accepted != tc.accepted {
			t.Errorf("%s: %d are accepted, want %d", tc.now, accepted, tc.accepted)
		}
	}
}

func TestPublishedTokensIdentify(t *testing.T) {
	tokens, set := published(t)
	w := newWorld(t, func(c *Config) {
		c.Presence = []*Issuer{newIssuer(t, IssuerConfig{Issuer: popp, Source: Static, Keys: set, Now: c.Now})}
	})
	access := w.access(t)
	for _, compact := range tokens {
		if id := w.want(t, "published", w.asks(t, access, compact), 200, "", ""); id != nil && string(id.Presence.Actor) != lei {
			t.Errorf("actor %s", id.Presence.Actor)
		}
	}
}

// Each published token is changed at another octet of what is signed; the first one at every octet.
func TestChangedPublishedTokens(t *testing.T) {
	tokens, set := published(t)
	w := newWorld(t, func(c *Config) {
		c.Presence = []*Issuer{newIssuer(t, IssuerConfig{Issuer: popp, Source: Static, Keys: set, Now: c.Now})}
	})
	read := func(compact string) bool {
		var hash [32]byte
		_, refusal := w.v.readPresence(t.Context(), compact, &hash, w.clock.now(), 0)
		return refusal == nil
	}
	change := func(compact string, i int) string {
		c := byte('A')
		if compact[i] == c {
			c = 'B'
		}
		return compact[:i] + string(c) + compact[i+1:]
	}
	for n, compact := range tokens {
		if !read(compact) {
			t.Fatalf("token %d is not accepted", n)
		}
		signed := strings.LastIndexByte(compact, '.')
		if i := n * (signed - 1) / len(tokens); read(change(compact, i)) {
			t.Errorf("token %d, changed at %d, is accepted", n, i)
		}
	}
	for i := range tokens[0] {
		if read(change(tokens[0], i)) {
			t.Errorf("a token changed at %d is accepted", i)
		}
	}
}
