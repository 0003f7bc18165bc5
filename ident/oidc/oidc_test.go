package oidc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
)

const (
	clientID = "querschott"
	secret   = "client secret with : and %"
	back     = "https://console.example/oidc"
	insurerA = querschott.IK("109500969")
	insurerB = querschott.IK("103169760")
)

var (
	rsaKey, _   = rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _    = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	otherKey, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
)

type house struct {
	*Provider
	issuer   *issuer
	clk      *clock
	sessions *ident.Sessions
}

func config(url string, clk *clock) Config {
	return Config{
		Name: "ad", Issuer: url, ClientID: clientID, ClientSecret: secret, RedirectURL: back, RoleClaim: "groups",
		Roles:        map[string]querschott.Role{"desk": querschott.RoleStaff, "admins": querschott.RoleOperator},
		InsurerClaim: "ik", Insurers: []querschott.IK{insurerA, insurerB}, Now: clk.now, Sessions: ident.NewSessions(clk.now, 0, 0),
	}
}

func newHouse(t *testing.T, change ...func(*Config)) *house {
	t.Helper()
	clk := &clock{at: time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)}
	i := newIssuer(t, clk)
	cfg := config(i.url, clk)
	for _, fn := range change {
		fn(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &house{p, i, clk, cfg.Sessions}
}

// begin goes to the provider and comes back.
func (h *house) begin(t *testing.T) (cookie string, query url.Values) {
	t.Helper()
	address, cookie, err := h.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cookie, h.issuer.visit(address)
}

func (h *house) login(t *testing.T) (string, ident.Session, error) {
	t.Helper()
	cookie, query := h.begin(t)
	return h.Finish(t.Context(), cookie, query)
}

func TestLogin(t *testing.T) {
	for name, bend := range map[string]func(i *issuer){
		"ES256": func(*issuer) {},
		"RS256": func(i *issuer) {
			i.bend, i.sign = func(h, _ map[string]any) { h["alg"], h["kid"] = "RS256", "r" }, signRS256
		},
		"secret in the form": func(i *issuer) { i.basic = false },
		"two audiences, made for us": func(i *issuer) {
			i.bend = func(_, c map[string]any) { c["aud"], c["azp"] = []string{"other", clientID}, clientID }
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.issuer.set(func() { bend(h.issuer) })
			key, s, err := h.login(t)
			if err != nil {
				t.Fatal(err)
			}
			want := querschott.Caller{Actor: "ad:u-1", Role: querschott.RoleStaff, Name: "Carla C.", Insurer: insurerA}
			facts := ident.Facts{Subject: "u-1", Client: clientID, Session: "s-1", Issuer: h.issuer.url}
			if s.Caller != want || s.Facts != facts || !strings.HasPrefix(string(s.Credential.ID), "oidc/ad/") {
				t.Errorf("logged in as %+v", s)
			}
			if again, err := h.sessions.Session(key); err != nil || again.Caller != want {
				t.Errorf("session: %+v, %v", again, err)
			}
		})
	}
}

func TestAnswersThatAreNotValid(t *testing.T) {
	claim := func(name string, value any) func(*issuer) {
		return func(i *issuer) { i.bend = func(_, c map[string]any) { c[name] = value } }
	}
	now := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC).Unix()
	for name, bend := range map[string]func(i *issuer){
		"wrong nonce":      claim("nonce", "x"),
		"no nonce":         claim("nonce", nil),
		"wrong aud":        claim("aud", "other"),
		"no aud":           claim("aud", nil),
		"foreign issuer":   claim("iss", "https://elsewhere.example"),
		"issuer with /":    func(i *issuer) { i.bend = func(_, c map[string]any) { c["iss"] = i.url + "/" } },
		"expired":          claim("exp", now-1),
		"no end":           claim("exp", nil),
		"not yet valid":    claim("nbf", now+600),
		"from the future":  claim("iat", now+120),
		"no time":          claim("iat", nil),
		"nobody":           claim("sub", ""),
		"no sub":           claim("sub", nil),
		"sub is a number":  claim("sub", 7),
		"sub is invisible": claim("sub", "u\u200b1"),
		"sub folded":       claim("\u017fub", "admin"),
		"made for another": claim("azp", "other"),
		"azp is an object": claim("azp", map[string]string{}),
		"two audiences":    claim("aud", []string{clientID, "other"}),
		"alg none": func(i *issuer) {
			i.bend, i.sign = func(h, _ map[string]any) { h["alg"] = "none" }, func(map[string]any, string) []byte { return nil }
		},
		"alg HS256 with the secret": func(i *issuer) {
			i.bend = func(h, _ map[string]any) { h["alg"] = "HS256" }
			i.sign = func(_ map[string]any, input string) []byte {
				m := hmac.New(sha256.New, []byte(secret))
				m.Write([]byte(input))
				return m.Sum(nil)
			}
		},
		"foreign key": func(i *issuer) {
			i.sign = func(_ map[string]any, input string) []byte { return signES256(otherKey, input) }
		},
		"key in the header": func(i *issuer) {
			i.bend = func(h, _ map[string]any) { delete(h, "kid"); h["jwk"] = foreignJWK() }
			i.sign = func(_ map[string]any, input string) []byte { return signES256(otherKey, input) }
		},
		"unknown key": func(i *issuer) { i.bend = func(h, _ map[string]any) { h["kid"] = "x" } },
		"alg of another key": func(i *issuer) {
			i.bend = func(h, _ map[string]any) { h["kid"] = "r" }
		},
		"no signature": func(i *issuer) { i.sign = func(map[string]any, string) []byte { return nil } },
		"changed":      func(i *issuer) { i.raw = changed },
		"no token":     func(i *issuer) { i.raw = func(string) string { return "" } },
		"not compact": func(i *issuer) {
			i.raw = func(s string) string {
				p := strings.Split(s, ".")
				return fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, p[1], p[0], p[2])
			}
		},
		"endless": claim("x", strings.Repeat("x", maxTokenSize)),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.issuer.set(func() { bend(h.issuer) })
			_, _, err := h.login(t)
			if querschott.CodeOf(err) != querschott.CodeUnauthorized || h.sessions.Len() != 0 {
				t.Errorf("%v, want unauthorized", err)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the client's secret: %v", err)
			}
		})
	}
}

// TestAlgorithmsAreThoseConfigured offers a good signature by an algorithm that was not asked for.
func TestAlgorithmsAreThoseConfigured(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Algorithms = []string{"RS256"} })
	if _, _, err := h.login(t); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("%v, want unauthorized", err)
	}
}

func TestLoginBelongsToOneBrowser(t *testing.T) {
	h := newHouse(t)
	cookie, query := h.begin(t)
	victim, own := h.begin(t)
	change := func(fn func(url.Values)) url.Values {
		q := maps.Clone(query)
		fn(q)
		return q
	}
	later, _ := New(h.cfg) // another process
	for name, tc := range map[string]struct {
		p      *Provider
		cookie string
		query  url.Values
	}{
		"an attacker's answer":     {h.Provider, victim, query},
		"no cookie":                {h.Provider, "", query},
		"endless cookie":           {h.Provider, strings.Repeat("A", 1<<20), query},
		"cookie is cut":            {h.Provider, cookie[:len(cookie)-4], query},
		"cookie of a longer life":  {h.Provider, longer(cookie), query},
		"state of another login":   {h.Provider, cookie, change(func(q url.Values) { q["state"] = own["state"] })},
		"no state":                 {h.Provider, cookie, change(func(q url.Values) { q.Del("state") })},
		"two states":               {h.Provider, cookie, change(func(q url.Values) { q["state"] = append(q["state"], "x") })},
		"begun in another process": {later, cookie, query},
		"empty query":              {h.Provider, cookie, url.Values{}},
	} {
		if _, _, err := tc.p.Finish(t.Context(), tc.cookie, tc.query); querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	for name, q := range map[string]url.Values{
		"no code":                    change(func(q url.Values) { q.Del("code") }),
		"two codes":                  change(func(q url.Values) { q["code"] = append(q["code"], "x") }),
		"foreign code":               change(func(q url.Values) { q.Set("code", "x") }),
		"code of another login":      change(func(q url.Values) { q["code"] = own["code"] }), // PKCE
		"answer of another issuer":   change(func(q url.Values) { q.Set("iss", "https://elsewhere.example") }),
		"answer of two issuers":      change(func(q url.Values) { q["iss"] = []string{h.issuer.url, "x"} }),
		"the provider says no":       change(func(q url.Values) { q.Set("error", "access_denied") }),
		"the provider says nonsense": change(func(q url.Values) { q.Set("error", "<script>"+secret) }),
	} {
		_, _, err := h.Finish(t.Context(), cookie, q)
		if querschott.CodeOf(err) != querschott.CodeUnauthorized || strings.Contains(err.Error(), "<") {
			t.Errorf("%s: %v, want unauthorized", name, err)
		}
	}
	if _, _, err := h.Finish(t.Context(), cookie, query); err != nil {
		t.Fatalf("what went wrong before spoilt the login: %v", err)
	}
}

func longer(cookie string) string {
	b, _ := base64.RawURLEncoding.DecodeString(cookie)
	binary.BigEndian.PutUint64(b[32:], binary.BigEndian.Uint64(b[32:])+3600)
	return b64(b)
}

// TestReplayedAnswer brings the same answer twice, to a provider that takes a code once and to one that does not.
func TestReplayedAnswer(t *testing.T) {
	for _, reused := range []bool{false, true} {
		h := newHouse(t)
		h.issuer.set(func() { h.issuer.reused = reused })
		cookie, query := h.begin(t)
		if _, _, err := h.Finish(t.Context(), cookie, query); err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.Finish(t.Context(), cookie, query); querschott.CodeOf(err) != querschott.CodeInvalid || h.sessions.Len() != 1 {
			t.Errorf("the second time: %v", err)
		}
		other, fresh := h.begin(t)
		fresh["code"] = query["code"]
		if _, _, err := h.Finish(t.Context(), other, fresh); querschott.CodeOf(err) != querschott.CodeUnauthorized {
			t.Errorf("a used code in a new login: %v", err)
		}
	}
}

func TestLoginTakesTenMinutes(t *testing.T) {
	h := newHouse(t)
	cookie, query := h.begin(t)
	h.clk.advance(flowLife)
	if _, _, err := h.Finish(t.Context(), cookie, query); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("after ten minutes: %v", err)
	}
	cookie, query = h.begin(t)
	h.clk.advance(flowLife - time.Second)
	if _, _, err := h.Finish(t.Context(), cookie, query); err != nil {
		t.Error(err)
	}
	h.clk.advance(flowLife)
	_, _, _ = h.login(t)
	if len(h.done) != 1 {
		t.Errorf("%d finished logins are remembered", len(h.done))
	}
}

func TestBackChannelLogout(t *testing.T) {
	const event = "http://schemas.openid.net/event/backchannel-logout"
	h := newHouse(t)
	console, _ := h.sessions.Begin("console", querschott.Caller{Actor: "anna"}, ident.Facts{Subject: "u-1", Session: "s-1"})
	as := func(sub, sid string) string {
		h.issuer.set(func() { h.issuer.bend = func(_, c map[string]any) { c["sub"], c["sid"] = sub, sid } })
		key, _, err := h.login(t)
		if err != nil {
			t.Fatal(err)
		}
		h.issuer.set(func() { h.issuer.bend = nil })
		return key
	}
	number := 0
	logout := func(change map[string]any) string {
		number++
		now := h.clk.now().Unix()
		c := map[string]any{"iss": h.issuer.url, "aud": clientID, "iat": now, "exp": now + 120, "jti": fmt.Sprint(number), "events": map[string]any{event: map[string]any{}}}
		maps.Copy(c, change)
		h.issuer.mu.Lock()
		defer h.issuer.mu.Unlock()
		return h.issuer.jwt(c)
	}
	one, two, other := as("u-1", "s-1"), as("u-1", "s-2"), as("u-2", "s-3")
	for name, raw := range map[string]string{
		"nobody":         logout(nil),
		"foreign issuer": logout(map[string]any{"sub": "u-1", "iss": "https://elsewhere.example"}),
		"foreign client": logout(map[string]any{"sub": "u-1", "aud": "other"}),
		"an ID token":    logout(map[string]any{"sub": "u-1", "nonce": "x"}),
		"no event":       logout(map[string]any{"sub": "u-1", "events": map[string]any{}}),
		"no number":      logout(map[string]any{"sub": "u-1", "jti": ""}),
		"expired":        logout(map[string]any{"sub": "u-1", "exp": h.clk.now().Unix() - 1}),
		"old":            logout(map[string]any{"sub": "u-1", "iat": h.clk.now().Unix() - 3600}),
		"of the future":  logout(map[string]any{"sub": "u-1", "iat": h.clk.now().Unix() + 3600}),
		"changed":        logout(map[string]any{"sub": "u-1"}) + "A",
		"nothing":        "",
		"endless":        strings.Repeat("A.", 1<<20),
	} {
		if n, err := h.Logout(t.Context(), raw); querschott.CodeOf(err) != querschott.CodeInvalid || n != 0 {
			t.Errorf("%s: %d sessions ended, %v", name, n, err)
		}
	}
	if h.sessions.Len() != 4 {
		t.Fatalf("%d sessions left of 4", h.sessions.Len())
	}
	raw := logout(map[string]any{"sub": "u-1", "sid": "s-1"})
	if n, err := h.Logout(t.Context(), raw); n != 1 || err != nil {
		t.Errorf("one session: %d ended, %v", n, err)
	}
	if n, err := h.Logout(t.Context(), raw); querschott.CodeOf(err) != querschott.CodeInvalid || n != 0 {
		t.Errorf("the same token again: %d ended, %v", n, err)
	}
	if n, err := h.Logout(t.Context(), logout(map[string]any{"sub": "u-1"})); n != 1 || err != nil {
		t.Errorf("all sessions: %d ended, %v", n, err)
	}
	for name, key := range map[string]string{"first": one, "second": two} {
		if _, err := h.sessions.Session(key); err == nil {
			t.Errorf("the %s session goes on", name)
		}
	}
	for name, key := range map[string]string{"another person's": other, "the console's": console} {
		if _, err := h.sessions.Session(key); err != nil {
			t.Errorf("%s session ended", name)
		}
	}
}

// FuzzFinish comes back with cookies and states that were not made here.
func FuzzFinish(f *testing.F) {
	clk := &clock{at: time.Unix(1e9, 0)}
	p, err := New(config("https://idp.example", clk))
	if err != nil {
		f.Fatal(err)
	}
	_, cookie := p.newFlow()
	f.Add(cookie, "state=x&code=y")
	f.Add("", "state=&code=")
	f.Fuzz(func(t *testing.T, cookie, query string) {
		q, _ := url.ParseQuery(query)
		if _, _, err := p.Finish(t.Context(), cookie, q); querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("%q, %q: %v", cookie, query, err)
		}
	})
}

// changed is another text that differs in the middle.
func changed(s string) string {
	at, other := len(s)/2, "A"
	if s[at] == 'A' {
		other = "B"
	}
	return s[:at] + other + s[at+1:]
}
