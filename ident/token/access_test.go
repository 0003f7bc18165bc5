package token

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/wire/zeta"
)

func TestIdentity(t *testing.T) {
	w := newWorld(t)
	r := w.request(t, w.access(t))
	r.Presence = PresenceRequired
	r.Header["Popp"] = []string{w.presence(t)}
	now := time.Unix(w.clock.now().Unix(), 0)
	for _, name := range []string{"cold", "warm"} {
		r.Header["Dpop"] = []string{w.proof(t, r.Header["Authorization"][0][5:])}
		got := w.want(t, name, r, 200, "", "")
		if got == nil {
			continue
		}
		id := got.Credential.ID
		want := &ident.Identity{
			Credential: querschott.Credential{ID: id, Actor: lei, Role: querschott.RolePractice},
			Caller:     querschott.Caller{Actor: lei, Role: querschott.RolePractice, Profession: "1.2.276.0.76.4.50", Name: "Praxis", Organization: "BAG"},
			Binding:    w.client.key.Thumbprint(), Issued: now, Expires: now.Add(300 * time.Second),
			Facts: ident.Facts{
				Subject: lei, Client: "cid", Session: "session-1", Token: "token-1", Key: w.client.key.Thumbprint(), Product: "product", Version: "1.0",
				Issuer: pdp, Network: "192.0.2.1", PresenceIssuer: popp, PresenceIssued: now, PresenceProved: now,
			},
			Presence: &querschott.Presence{
				Version: "1.0.0", Issuer: popp, Issued: now, Proved: now, Method: "ehc-practitioner-user-x509", Patient: "X123450000",
				Insurer: "109500969", Actor: lei, Profession: "1.2.276.0.76.4.32", Hash: got.Presence.Hash, Content: got.Presence.Content,
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if !strings.HasPrefix(string(id), "zeta/") || len(id) != 21 || strings.Contains(string(id), lei) {
			t.Errorf("%s: credential %s", name, id)
		}
		if p, err := zeta.ParsePresence(got.Presence.Content); err != nil || p.Patient != "X123450000" {
			t.Errorf("%s: content %s: %v", name, got.Presence.Content, err)
		}
	}
}

// The official table for access tokens, and what it leaves out.
func TestAccessTokenTable(t *testing.T) {
	w := newWorld(t)
	h, c := w.accessHeader(), w.accessClaims()
	now := w.clock.now().Unix()
	stranger := newSigner(t, "pdp-1")
	long := strings.Repeat("x", 500)
	for _, tc := range []struct {
		name   string
		token  string
		status int
		code   zeta.Code
		reason zeta.Reason
	}{
		{"right", w.pdp.sign(t, h, c), 200, "", ""},
		{"typ JWT", w.pdp.sign(t, h.with("typ", "JWT"), c), 200, "", ""},
		{"no acr, no sid", w.pdp.sign(t, h, c.with("acr", nil).with("sid", nil)), 200, "", ""},
		{"audience as text", w.pdp.sign(t, h, c.with("aud", aud)), 200, "", ""},
		{"several audiences", w.pdp.sign(t, h, c.with("aud", []string{"x", aud})), 200, "", ""},
		{"a claim nonce", w.pdp.sign(t, h, c.with("nonce", "x")), 200, "", ""},
		{"expired within the leeway", w.pdp.sign(t, h, c.with("exp", now-59)), 200, "", ""},
		{"issued within the leeway", w.pdp.sign(t, h, c.with("iat", now+60)), 200, "", ""},
		{"not before within the leeway", w.pdp.sign(t, h, c.with("nbf", now+60)), 200, "", ""},
		{"wrong key", stranger.sign(t, h, c), 401, zeta.InvalidToken, zeta.ReasonTokenSignature},
		{"unknown kid", w.pdp.sign(t, h.with("kid", "x"), c), 401, zeta.InvalidToken, zeta.ReasonTokenKey},
		{"no kid", w.pdp.sign(t, h.with("kid", nil), c), 401, zeta.InvalidToken, zeta.ReasonTokenForm},
		{"own key in the header", stranger.sign(t, h.with("jwk", jwkOf(t, stranger.key)), c), 401, zeta.InvalidToken, zeta.ReasonTokenSignature},
		{"alg RS1", w.pdp.sign(t, h.with("alg", "RS1"), c), 401, zeta.InvalidToken, zeta.ReasonTokenAlgorithm},
		{"alg RS256", w.pdp.sign(t, h.with("alg", "RS256"), c), 401, zeta.InvalidToken, zeta.ReasonTokenAlgorithm},
		{"alg ES384", w.pdp.sign(t, h.with("alg", "ES384"), c), 401, zeta.InvalidToken, zeta.ReasonTokenAlgorithm},
		{"alg HS256", w.pdp.sign(t, h.with("alg", "HS256"), c), 401, zeta.InvalidToken, zeta.ReasonTokenAlgorithm},
		{"alg none", w.pdp.sign(t, h.with("alg", "none"), c), 401, zeta.InvalidToken, zeta.ReasonTokenAlgorithm},
		{"alg none, no signature", cut(w.pdp.sign(t, h.with("alg", "none"), c)), 401, zeta.InvalidToken, zeta.ReasonTokenAlgorithm},
		{"no signature", cut(w.pdp.sign(t, h, c)), 401, zeta.InvalidToken, zeta.ReasonTokenSignature},
		{"no alg", w.pdp.sign(t, h.with("alg", nil), c), 401, zeta.InvalidToken, zeta.ReasonTokenAlgorithm},
		{"typ dpop", w.pdp.sign(t, h.with("typ", "dpop"), c), 401, zeta.InvalidToken, zeta.ReasonTokenForm},
		{"no typ", w.pdp.sign(t, h.with("typ", nil), c), 401, zeta.InvalidToken, zeta.ReasonTokenForm},
		{"an extension", w.pdp.sign(t, h.with("crit", []string{"x"}), c), 401, zeta.InvalidToken, zeta.ReasonTokenForm},
		{"expired", w.pdp.sign(t, h, c.with("exp", now-60)), 401, zeta.InvalidToken, zeta.ReasonTokenTime},
		{"issued in the future", w.pdp.sign(t, h, c.with("iat", now+61)), 401, zeta.InvalidToken, zeta.ReasonTokenTime},
		{"not yet valid", w.pdp.sign(t, h, c.with("nbf", now+61)), 401, zeta.InvalidToken, zeta.ReasonTokenTime},
		{"no exp", w.pdp.sign(t, h, c.with("exp", nil)), 401, zeta.InvalidToken, zeta.ReasonTokenForm},
		{"unknown audience", w.pdp.sign(t, h, c.with("aud", "https://other.example")), 401, zeta.InsufficientScope, zeta.ReasonTokenAudience},
		{"a part of the audience", w.pdp.sign(t, h, c.with("aud", aud+"/")), 401, zeta.InsufficientScope, zeta.ReasonTokenAudience},
		{"scope missing", w.pdp.sign(t, h, c.with("scope", "openid")), 401, zeta.InsufficientScope, zeta.ReasonTokenScope},
		{"scope with more letters", w.pdp.sign(t, h, c.with("scope", "vsdservice2")), 401, zeta.InsufficientScope, zeta.ReasonTokenScope},
		{"foreign issuer", w.pdp.sign(t, h, c.with("iss", "https://other.example")), 401, zeta.InvalidToken, zeta.ReasonTokenIssuer},
		{"the issuer with a slash", w.pdp.sign(t, h, c.with("iss", pdp+"/")), 401, zeta.InvalidToken, zeta.ReasonTokenIssuer},
		{"the other kind of issuer", w.popp.sign(t, h.with("kid", "popp-1"), c.with("iss", popp)), 401, zeta.InvalidToken, zeta.ReasonTokenIssuer},
		{"no binding", w.pdp.sign(t, h, c.with("cnf", object{})), 401, zeta.InvalidToken, zeta.ReasonTokenForm},
		{"odd binding", w.pdp.sign(t, h, c.with("cnf", object{"jkt": "x"})), 401, zeta.InvalidToken, zeta.ReasonTokenUnbound},
		{"too long", w.pdp.sign(t, h, c.with("a", []string{
			long, long, long, long, long, long, long, long, long, long, long, long, long, long, long, long,
		})), 401, zeta.InvalidToken, zeta.ReasonTokenForm},
		{"no JWS", "x", 401, zeta.InvalidToken, zeta.ReasonTokenForm},
	} {
		w.want(t, tc.name, w.request(t, tc.token), tc.status, tc.code, tc.reason)
	}
}

// cut takes the signature away.
func cut(compact string) string { return compact[:strings.LastIndexByte(compact, '.')+1] }

func TestAuthorizationHeader(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	for _, tc := range []struct {
		name   string
		values []string
		status int
		reason zeta.Reason
	}{
		{"right", []string{"DPoP " + token}, 200, ""},
		{"other letters", []string{"dpop " + token}, 200, ""},
		{"blanks", []string{"DPoP   " + token}, 200, ""},
		{"none", nil, 401, zeta.ReasonNoToken},
		{"empty", []string{""}, 401, zeta.ReasonNoToken},
		{"two", []string{"DPoP " + token, "DPoP " + token}, 401, zeta.ReasonTokenForm},
		{"bearer", []string{"Bearer " + token}, 401, zeta.ReasonNoToken},
		{"basic", []string{"Basic eDp5"}, 401, zeta.ReasonNoToken},
		{"scheme only", []string{"DPoP"}, 401, zeta.ReasonTokenForm},
		{"scheme and blank", []string{"DPoP "}, 401, zeta.ReasonTokenForm},
		{"token only", []string{token}, 401, zeta.ReasonNoToken},
		{"oversize", []string{"DPoP " + strings.Repeat("x", maxAccess+1)}, 401, zeta.ReasonTokenForm},
	} {
		r := w.request(t, token)
		r.Header["Authorization"] = tc.values
		w.want(t, tc.name, r, tc.status, zeta.InvalidToken, tc.reason)
	}
	w = newWorld(t, func(c *Config) { c.AllowBearer = true })
	token = w.access(t)
	r := w.request(t, token)
	r.Header["Authorization"] = []string{"Bearer " + token}
	w.want(t, "bearer, allowed", r, 200, "", "")
	r.Header.Del("DPoP")
	w.want(t, "bearer without a proof", r, 401, zeta.InvalidProof, zeta.ReasonNoProof)
}

func TestSwitches(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RefuseNonceClaim, c.StrictAudience = true, true })
	h, c := w.accessHeader(), w.accessClaims()
	w.want(t, "claim nonce", w.request(t, w.pdp.sign(t, h, c.with("nonce", "x"))), 401, zeta.InvalidToken, zeta.ReasonTokenForm)
	w.want(t, "audience", w.request(t, w.pdp.sign(t, h, c.with("aud", "x"))), 403, zeta.InsufficientScope, zeta.ReasonTokenAudience)
	w.want(t, "scope", w.request(t, w.pdp.sign(t, h, c.with("scope", "x"))), 403, zeta.InsufficientScope, zeta.ReasonTokenScope)
	r := w.request(t, w.access(t))
	r.URL = "https://other.example/"
	w.want(t, "target", r, 403, zeta.InvalidProof, zeta.ReasonProofTarget)
}

// What the route demands is judged for remembered tokens, too.
func TestRouteDemands(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	w.want(t, "right", w.request(t, token), 200, "", "")
	r := w.request(t, token)
	r.Audience = []string{aud, "second"}
	w.want(t, "second audience", r, 401, zeta.InsufficientScope, zeta.ReasonTokenAudience)
	r = w.request(t, token)
	r.Scopes = []string{"vsdservice", "second"}
	w.want(t, "second scope", r, 401, zeta.InsufficientScope, zeta.ReasonTokenScope)
	r = w.request(t, token)
	r.Audience = nil
	w.want(t, "no audience configured", r, 500, zeta.ServerError, zeta.ReasonInternal)
	for _, tc := range []struct {
		acr, demanded string
		status        int
	}{
		{zeta.Substantial, zeta.Substantial, 200},
		{zeta.High, zeta.Substantial, 200},
		{zeta.High, zeta.High, 200},
		{zeta.Substantial, zeta.High, 401},
		{"", zeta.Substantial, 401},
		{"unknown", zeta.Substantial, 401},
		{"", "", 200},
		{"unknown", "unknown", 401},
	} {
		r := w.request(t, w.pdp.sign(t, w.accessHeader(), w.accessClaims().with("acr", tc.acr)))
		r.ACR = tc.demanded
		w.want(t, tc.acr+" for "+tc.demanded, r, tc.status, zeta.StepUp, zeta.ReasonLevel)
	}
}

func TestRememberedTokenExpires(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	w.want(t, "fresh", w.request(t, token), 200, "", "")
	if n, _, _ := w.v.Remembered(); n != 1 {
		t.Fatalf("%d tokens are remembered, want 1", n)
	}
	w.clock.advance(359 * time.Second)
	w.want(t, "last second", w.request(t, token), 200, "", "")
	w.clock.advance(time.Second)
	w.want(t, "over", w.request(t, token), 401, zeta.InvalidToken, zeta.ReasonTokenTime)
}

func TestForgedTokenIsNotRemembered(t *testing.T) {
	w := newWorld(t)
	token := newSigner(t, "pdp-1").sign(t, w.accessHeader(), w.accessClaims())
	for range 2 {
		w.want(t, "forged", w.request(t, token), 401, zeta.InvalidToken, zeta.ReasonTokenSignature)
	}
	if n, _, _ := w.v.Remembered(); n != 0 {
		t.Errorf("%d tokens are remembered, want 0", n)
	}
}

func TestRevocation(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	with := func() *Request {
		r := w.request(t, token)
		r.Presence, r.Header["Popp"] = PresenceRequired, []string{w.presence(t)}
		return r
	}
	w.want(t, "before", with(), 200, "", "")
	for _, deny := range []ident.Revocation{
		{Dimension: ident.BySubject, Value: lei},
		{Dimension: ident.ByClient, Value: "cid"},
		{Dimension: ident.BySession, Value: "session-1"},
		{Dimension: ident.ByToken, Value: "token-1"},
		{Dimension: ident.ByKey, Value: w.client.key.Thumbprint()},
		{Dimension: ident.ByProduct, Value: "product"},
		{Dimension: ident.ByVersion, Value: "product/1.0"},
		{Dimension: ident.ByIssuer, Value: pdp},
		{Dimension: ident.ByNetwork, Value: "192.0.2.0/24"},
		{Dimension: ident.ByPresenceIssuer, Value: popp},
		{Dimension: ident.ByPresenceBefore, Value: w.clock.now().Add(time.Hour).UTC().Format(time.RFC3339)},
	} {
		deny.Reason, deny.Actors = "test", []querschott.Actor{"a"}
		if err := w.revoked.Add(deny); err != nil {
			t.Fatal(err)
		}
		w.want(t, string(deny.Dimension), with(), 403, zeta.AccessDenied, zeta.ReasonRevoked)
		if err := w.revoked.Remove(w.revoked.List()...); err != nil {
			t.Fatal(err)
		}
		w.want(t, string(deny.Dimension)+" lifted", with(), 200, "", "")
	}
}

func TestTravel(t *testing.T) {
	for _, session := range []any{"session-1", nil} {
		w := newWorld(t, func(c *Config) { c.NoTravel = true })
		token := w.pdp.sign(t, w.accessHeader(), w.accessClaims().with("sid", session))
		w.want(t, "same address", w.request(t, token), 200, "", "")
		r := w.request(t, token)
		r.Remote = netip.MustParseAddr("::ffff:192.0.2.1")
		w.want(t, "same address, mapped", r, 200, "", "")
		r = w.request(t, token)
		r.Remote = netip.MustParseAddr("192.0.2.2")
		w.want(t, "other address", r, 401, zeta.InvalidToken, zeta.ReasonTravel)
		w.want(t, "same address, afterwards", w.request(t, token), 403, zeta.AccessDenied, zeta.ReasonRevoked)
	}
	w := newWorld(t, func(c *Config) { c.NoTravel = true })
	r := w.request(t, w.access(t))
	r.Remote = netip.Addr{}
	w.want(t, "no address", r, 401, zeta.InvalidToken, zeta.ReasonTravel)
	w = newWorld(t)
	r = w.request(t, w.access(t))
	r.Remote = netip.MustParseAddr("192.0.2.2")
	w.want(t, "other address, allowed", r, 200, "", "")
}

func TestRoles(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct {
		profession, sub, organization string
		want                          querschott.Caller
	}{
		{"1.2.276.0.76.4.54", "3-1", "", querschott.Caller{Actor: "3-1", Role: querschott.RolePractice}},
		{"1.2.276.0.76.4.30", "1-1", "", querschott.Caller{Actor: "1-1", Role: querschott.RolePractice}},
		{"1.2.276.0.76.4.59", "8-01", "", querschott.Caller{Actor: "8-01", Role: querschott.RolePartner}},
		{"1.2.276.0.76.4.303", "9-1", "", querschott.Caller{Actor: "9-1", Role: querschott.RolePartner}},
		{"", "machine", "", querschott.Caller{Actor: "machine", Role: querschott.RolePartner}},
		{"1.2.3.49", "x", "", querschott.Caller{Actor: "x", Role: querschott.RolePractice}},
		{"1.2.276.0.76.4.49", "X123450000", "109500969", querschott.Caller{Role: querschott.RoleInsured, Person: "X123450000", Insurer: "109500969"}},
		{"1.2.276.0.76.4.49", "X123450000", "AOK", querschott.Caller{Role: querschott.RoleInsured, Person: "X123450000"}},
		{"1.2.276.0.76.4.49", "x123450000", "", querschott.Caller{Role: querschott.RoleUnknown}},
	} {
		token := w.pdp.sign(t, w.accessHeader(), w.accessClaims().with("profession_oid", tc.profession).with("sub", tc.sub).with("organization_name", tc.organization))
		id := w.want(t, tc.profession, w.request(t, token), 200, "", "")
		if id == nil {
			continue
		}
		got := id.Caller
		if tc.want.Actor == "" {
			if !strings.HasPrefix(string(got.Actor), "insured/") || strings.Contains(string(got.Actor), "12345") || got.Name != "" {
				t.Errorf("%s: caller %+v", tc.profession, got)
			}
			got.Actor = ""
		} else {
			tc.want.Name = "Praxis"
		}
		tc.want.Profession, tc.want.Organization = tc.profession, tc.organization
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.profession, diff)
		}
		if id.Credential.Role != got.Role || id.Credential.Actor != id.Caller.Actor {
			t.Errorf("%s: credential %+v, caller %+v", tc.profession, id.Credential, got)
		}
	}
}

// An insurer's own provider speaks for this insurer's employees, and needs only the claims that every provider knows. It cannot
// name anybody else: no practice, no insured person, no employee of another insurer, nobody whose name is not what it looks like.
func TestIssuerOfStaff(t *testing.T) {
	const own, ik = "https://login.kasse.example", "109500969"
	provider := newSigner(t, "kasse-1")
	w := newWorld(t, func(c *Config) {
		c.Access = append(c.Access, newIssuer(t, IssuerConfig{
			Issuer: own, Source: Static, Keys: provider.set(), Now: c.Now, StaffOnly: true, Staff: func(of querschott.IK) bool { return of == ik },
		}))
	})
	h := w.accessHeader().with("kid", "kasse-1")
	employee := w.accessClaims().with("iss", own).with("sub", "c.mueller").with("organization_name", ik).with("profession_oid", ident.ProfessionInsurer).
		with("ip_address", nil).with("product_id", nil).with("product_version", nil)
	id := w.want(t, "an employee", w.request(t, provider.sign(t, h, employee)), 200, "", "")
	if id == nil || id.Caller.Role != querschott.RoleStaff || id.Caller.Insurer != ik || id.Caller.Actor != ik+"/c.mueller" {
		t.Fatalf("an employee: %+v", id)
	}
	again := w.want(t, "with another program", w.request(t, provider.sign(t, h, employee.with("client_id", "another"))), 200, "", "")
	if again == nil || again.Credential != id.Credential {
		t.Errorf("with another program the employee is %+v, and was %+v", again, id.Credential)
	}
	colleague := w.want(t, "a colleague", w.request(t, provider.sign(t, h, employee.with("sub", "c.meier"))), 200, "", "")
	if colleague == nil || colleague.Credential.ID == id.Credential.ID {
		t.Error("two employees have one credential")
	}
	for what, c := range map[string]object{
		"a practice":           employee.with("profession_oid", "1.2.276.0.76.4.50").with("sub", "1-2PRACTICE"),
		"an insured person":    employee.with("profession_oid", "1.2.276.0.76.4.49").with("sub", "X123450000"),
		"the institution":      employee.with("organization_name", "Kasse"),
		"another insurer":      employee.with("organization_name", "101575519"),
		"no profession":        employee.with("profession_oid", nil),
		"an escape sequence":   employee.with("sub", "c.mueller\u009b2J"),
		"text that turns":      employee.with("sub", "c.\u202erelleum"),
		"a line of its own":    employee.with("sub", "c.mueller\u2028anna"),
		"all that is required": employee.with("profession_oid", "1.2.276.0.76.4.50").with("ip_address", "192.0.2.1").with("product_id", "p").with("product_version", "1"),
	} {
		w.want(t, what, w.request(t, provider.sign(t, h, c)), 401, zeta.InvalidToken, zeta.ReasonTokenIssuer)
	}
	for _, claim := range []string{"ip_address", "product_id", "product_version"} {
		c := w.accessClaims().with(claim, nil)
		w.want(t, "a practice without "+claim, w.request(t, w.pdp.sign(t, w.accessHeader(), c)), 401, zeta.InvalidToken, zeta.ReasonTokenForm)
	}
	w.want(t, "an employee in the words of another issuer", w.request(t, w.pdp.sign(t, w.accessHeader(), employee.with("iss", pdp))), 401,
		zeta.InvalidToken, zeta.ReasonTokenForm)
}

// No refusal repeats what the request held.
func TestRefusalsHoldNoIdentifiers(t *testing.T) {
	w := newWorld(t)
	h, c := w.accessHeader(), w.accessClaims()
	good := w.access(t)
	requests := []*Request{
		w.request(t, w.pdp.sign(t, h.with("kid", "SECRET"), c)),
		w.request(t, w.pdp.sign(t, h, c.with("iss", "SECRET"))),
		w.request(t, w.pdp.sign(t, h, c.with("sub", []string{"SECRET"}))),
		w.request(t, w.pdp.sign(t, h, c.with("aud", "SECRET"))),
		w.request(t, good),
		w.request(t, good),
		w.request(t, good),
	}
	requests[4].Header["Dpop"] = []string{w.client.sign(t, w.proofHeader(t), w.proofClaims(good).with("htu", "https://SECRET.example:x/"))}
	requests[5].Header["Dpop"] = []string{"SECRET." + base64.RawURLEncoding.EncodeToString([]byte("SECRET")) + ".SECRET"}
	requests[6].Presence = PresenceRequired
	requests[6].Header["Popp"] = []string{w.popp.sign(t, w.presenceHeader(), w.presenceClaims().with("actorId", "SECRET").with("patientId", "SECRET"))}
	for i, r := range requests {
		_, err := w.v.Identify(t.Context(), r)
		if err == nil || strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*Config){
		"no clock":           func(c *Config) { c.Now = nil },
		"no deny list":       func(c *Config) { c.Revocations = nil },
		"no issuer":          func(c *Config) { c.Access = nil },
		"an issuer twice":    func(c *Config) { c.Access = append(c.Access, c.Access[0]) },
		"a short pseudonym":  func(c *Config) { c.Pseudonym = []byte("x") },
		"an issuer twice, 2": func(c *Config) { c.Presence = append(c.Presence, c.Presence[0]) },
	} {
		cfg := w.cfg
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if r := w.request(t, w.access(t)); http.CanonicalHeaderKey("DPoP") != "Dpop" || r.Header.Get("dpop") == "" {
		t.Error("tests use another header than clients")
	}
}
