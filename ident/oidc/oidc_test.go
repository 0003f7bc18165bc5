package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
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

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

var (
	rsaKey, _   = rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _    = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	otherKey, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
)

// issuer is an identity provider that checks what it is sent as strictly as one should. What it says can be bent.
//
// mu guards all fields.
type issuer struct {
	t   *testing.T
	clk *clock
	url string

	mu     sync.Mutex
	codes  map[string]url.Values // given out and not yet used: the request they belong to
	reused bool                  // hands out tokens for used codes as well
	bend   func(header, claims map[string]any)
	sign   func(header map[string]any, input string) []byte
	raw    func(token string) string
	page   func(w http.ResponseWriter, r *http.Request) bool // answers instead
	basic  bool                                              // wants the secret in the header
	asked  map[string]int
}

func newIssuer(t *testing.T, clk *clock) *issuer {
	i := &issuer{t: t, clk: clk, codes: map[string]url.Values{}, asked: map[string]int{}, basic: true}
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked[r.URL.Path]++
	if i.page != nil && i.page(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		methods := []string{"client_secret_post"}
		if i.basic {
			methods = []string{"client_secret_basic", "client_secret_post"}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.url, "authorization_endpoint": i.url + "/auth", "token_endpoint": i.url + "/token", "jwks_uri": i.url + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "none", "HS256"}, "token_endpoint_auth_methods_supported": methods,
		})
	case "/keys":
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{
			map[string]string{"kty": "RSA", "kid": "r", "n": b64(rsaKey.N.Bytes()), "e": b64(big.NewInt(int64(rsaKey.E)).Bytes())},
			map[string]string{"kty": "EC", "kid": "e", "crv": "P-256", "x": b64(ecKey.X.FillBytes(make([]byte, 32))), "y": b64(ecKey.Y.FillBytes(make([]byte, 32)))},
		}})
	case "/token":
		i.token(w, r)
	default:
		http.NotFound(w, r)
	}
}

// token is the token endpoint: client, code, redirect address and PKCE have to be right.
func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	id, pass, header := r.BasicAuth()
	if header {
		id, _ = url.QueryUnescape(id)
		pass, _ = url.QueryUnescape(pass)
	} else {
		id, pass = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	request, known := i.codes[r.PostFormValue("code")]
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	switch {
	case header != i.basic || id != clientID || pass != secret:
		i.t.Errorf("client is %q by header = %v", id, header)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
		return
	case !known || request.Get("code_challenge") != b64(sum[:]) || r.PostFormValue("redirect_uri") != back || r.PostFormValue("grant_type") != "authorization_code":
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"` + r.PostFormValue("code") + `"}`))
		return
	}
	if !i.reused {
		delete(i.codes, r.PostFormValue("code"))
	}
	now := i.clk.now().Unix()
	token := i.jwt(map[string]any{
		"iss": i.url, "sub": "u-1", "aud": clientID, "exp": now + 300, "iat": now, "nonce": request.Get("nonce"), "sid": "s-1",
		"name": "Carla C.", "groups": []string{"x", "desk"}, "ik": string(insurerA),
	})
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "a", "token_type": "Bearer", "expires_in": 300, "id_token": token})
}

func (i *issuer) jwt(claims map[string]any) string {
	header := map[string]any{"alg": "ES256", "kid": "e"}
	if i.bend != nil {
		i.bend(header, claims)
	}
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	input := b64(h) + "." + b64(c)
	signature := signES256(ecKey, input)
	if i.sign != nil {
		signature = i.sign(header, input)
	}
	token := input + "." + b64(signature)
	if i.raw != nil {
		token = i.raw(token)
	}
	return token
}

func signES256(key *ecdsa.PrivateKey, input string) []byte {
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		panic(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func signRS256(_ map[string]any, input string) []byte {
	sum := sha256.Sum256([]byte(input))
	s, err := rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return s
}

// visit is the browser at the provider's login page: it comes back with a code.
func (i *issuer) visit(address string) url.Values {
	i.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		i.t.Fatal(err)
	}
	q := u.Query()
	if !strings.HasPrefix(address, i.url+"/auth?") || q.Get("response_type") != "code" || q.Get("client_id") != clientID || q.Get("redirect_uri") != back ||
		q.Get("code_challenge_method") != "S256" || len(q.Get("nonce")) < 43 || len(q.Get("state")) < 43 || q.Get("scope") != "openid profile" {
		i.t.Fatalf("sent to %s", address)
	}
	code := make([]byte, 16)
	_, _ = rand.Read(code)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.codes[b64(code)] = q
	return url.Values{"code": {b64(code)}, "state": {q.Get("state")}}
}

func (i *issuer) set(fn func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	fn()
}

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
		"changed":      func(i *issuer) { i.raw = func(s string) string { return s[:len(s)/2] + "A" + s[len(s)/2+1:] } },
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

func foreignJWK() map[string]string {
	return map[string]string{"kty": "EC", "crv": "P-256", "x": b64(otherKey.X.FillBytes(make([]byte, 32))), "y": b64(otherKey.Y.FillBytes(make([]byte, 32)))}
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

func TestWhoIsWho(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		claims map[string]any
		want   querschott.Caller // nobody: forbidden
	}{
		{"operator", nil, map[string]any{"groups": "admins", "ik": nil}, querschott.Caller{Actor: "ad:u-1", Role: querschott.RoleOperator, Name: "Carla C."}},
		{"operator with an insurer is an operator", nil, map[string]any{"groups": []string{"admins"}}, querschott.Caller{Actor: "ad:u-1", Role: querschott.RoleOperator, Name: "Carla C."}},
		{"two roles", nil, map[string]any{"groups": []string{"admins", "desk"}}, querschott.Caller{}},
		{"no role", nil, map[string]any{"groups": []string{"users"}}, querschott.Caller{}},
		{"role in other case", nil, map[string]any{"groups": []string{"Admins"}}, querschott.Caller{}},
		{"claim in other case", nil, map[string]any{"groups": nil, "Groups": []string{"admins"}}, querschott.Caller{}},
		{"no claim", nil, map[string]any{"groups": nil}, querschott.Caller{}},
		{"claim of another kind", nil, map[string]any{"groups": map[string]bool{"admins": true}}, querschott.Caller{}},
		{"endless claim", nil, map[string]any{"groups": append(make([]int, maxValues), 0)}, querschott.Caller{}},
		{"path", func(c *Config) { c.RoleClaim = "realm_access.roles" }, map[string]any{"realm_access": map[string]any{"roles": []string{"desk"}}}, querschott.Caller{Actor: "ad:u-1", Role: querschott.RoleStaff, Name: "Carla C.", Insurer: insurerA}},
		{"name with dots", func(c *Config) { c.RoleClaim = "https://x.example/roles" }, map[string]any{"https://x.example/roles": []string{"desk"}}, querschott.Caller{Actor: "ad:u-1", Role: querschott.RoleStaff, Name: "Carla C.", Insurer: insurerA}},
		{"insurer as a list", nil, map[string]any{"ik": []string{string(insurerB)}}, querschott.Caller{Actor: "ad:u-1", Role: querschott.RoleStaff, Name: "Carla C.", Insurer: insurerB}},
		{"two insurers", nil, map[string]any{"ik": []string{string(insurerA), string(insurerB)}}, querschott.Caller{}},
		{"no insurer", nil, map[string]any{"ik": nil}, querschott.Caller{}},
		{"foreign insurer", nil, map[string]any{"ik": "101575519"}, querschott.Caller{}},
		{"insurer as a number", nil, map[string]any{"ik": 109500969}, querschott.Caller{}},
		{"insurer with a space", nil, map[string]any{"ik": "109500969 "}, querschott.Caller{}},
		{"the only insurer", func(c *Config) { c.InsurerClaim, c.Insurers = "", []querschott.IK{insurerB} }, nil, querschott.Caller{Actor: "ad:u-1", Role: querschott.RoleStaff, Name: "Carla C.", Insurer: insurerB}},
		{"another actor claim", func(c *Config) { c.ActorClaim = "email" }, map[string]any{"email": "carla@kasse.example", "name": "a\nb"}, querschott.Caller{Actor: "ad:carla@kasse.example", Role: querschott.RoleStaff, Insurer: insurerA}},
		{"no actor", func(c *Config) { c.ActorClaim = "email" }, nil, querschott.Caller{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var changes []func(*Config)
			if tc.change != nil {
				changes = append(changes, tc.change)
			}
			h := newHouse(t, changes...)
			h.issuer.set(func() { h.issuer.bend = func(_, c map[string]any) { maps.Copy(c, tc.claims) } })
			_, s, err := h.login(t)
			if tc.want == (querschott.Caller{}) {
				if querschott.CodeOf(err) != querschott.CodeForbidden || h.sessions.Len() != 0 {
					t.Errorf("%+v, %v, want forbidden", s.Caller, err)
				}
			} else if err != nil || s.Caller != tc.want {
				t.Errorf("%+v, %v, want %+v", s.Caller, err, tc.want)
			}
		})
	}
}

func TestACR(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.ACR = []string{"mfa"} })
	address, cookie, err := h.Start(t.Context())
	if err != nil || !strings.Contains(address, "acr_values=mfa") {
		t.Fatal(address, err)
	}
	if _, _, err := h.Finish(t.Context(), cookie, h.issuer.visit(address)); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("without acr: %v", err)
	}
	h.issuer.set(func() { h.issuer.bend = func(_, c map[string]any) { c["acr"] = "mfa" } })
	if _, _, err := h.login(t); err != nil {
		t.Error(err)
	}
}

// TestDeadProvider starts without it, loses it in between and gets it back.
func TestDeadProvider(t *testing.T) {
	h := newHouse(t)
	dead := func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(strings.Repeat("sorry ", 1000)))
		return true
	}
	h.issuer.set(func() { h.issuer.page = dead })
	for range 50 {
		_, _, err := h.Start(t.Context())
		if querschott.CodeOf(err) != querschott.CodeUpstream || !strings.Contains(err.Error(), "local account") || len(err.Error()) > 1000 {
			t.Fatalf("a dead provider: %v", err)
		}
	}
	h.issuer.set(func() {
		if n := h.issuer.asked["/.well-known/openid-configuration"]; n != 1 {
			t.Errorf("asked %d times in a moment", n)
		}
		h.issuer.page = nil
	})
	if _, err := h.Age(); err == nil {
		t.Error("nobody sees that the provider does not answer")
	}
	h.clk.advance(retryAfter)
	cookie, query := h.begin(t)
	h.issuer.set(func() { h.issuer.page = dead })
	if _, _, err := h.Finish(t.Context(), cookie, query); querschott.CodeOf(err) != querschott.CodeUpstream {
		t.Errorf("a provider that died in between: %v", err)
	}
	h.clk.advance(freshFor)
	if _, _, err := h.Start(t.Context()); err != nil {
		t.Errorf("the description is not used on: %v", err)
	}
	if age, err := h.Age(); age < freshFor || err == nil {
		t.Errorf("age %v, %v", age, err)
	}
	h.issuer.set(func() { h.issuer.page = nil })
	h.clk.advance(retryAfter)
	if _, _, err := h.login(t); err != nil {
		t.Error(err)
	}
	if age, err := h.Age(); age != 0 || err != nil {
		t.Errorf("age %v, %v", age, err)
	}
	gone := newHouse(t, func(c *Config) { c.Issuer = "http://127.0.0.1:1" })
	if _, _, err := gone.Start(t.Context()); querschott.CodeOf(err) != querschott.CodeUpstream {
		t.Errorf("nobody listens: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := newHouse(t).Start(ctx); err != nil {
		t.Errorf("somebody who goes away makes the provider one that failed: %v", err)
	}
}

func TestHostileProvider(t *testing.T) {
	document := func(change map[string]any) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/.well-known/openid-configuration" {
				return false
			}
			base := "http://" + r.Host
			d := map[string]any{"issuer": base, "authorization_endpoint": base + "/auth", "token_endpoint": base + "/token", "jwks_uri": base + "/keys"}
			maps.Copy(d, change)
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(d)
			return true
		}
	}
	for name, page := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"another issuer":   document(map[string]any{"issuer": "https://elsewhere.example"}),
		"script as page":   document(map[string]any{"authorization_endpoint": "javascript:alert(1)"}),
		"plain elsewhere":  document(map[string]any{"token_endpoint": "http://elsewhere.example/token"}),
		"keys of the file": document(map[string]any{"jwks_uri": "file:///etc/passwd"}),
		"no keys":          document(map[string]any{"jwks_uri": ""}),
		"endless":          document(map[string]any{"x": strings.Repeat("x", maxAnswer)}),
		"elsewhere": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/elsewhere" {
				return document(nil)(w, &http.Request{URL: &url.URL{Path: "/.well-known/openid-configuration"}, Host: r.Host})
			}
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return true
		},
	} {
		h := newHouse(t)
		h.issuer.set(func() { h.issuer.page = page })
		if address, _, err := h.Start(t.Context()); querschott.CodeOf(err) != querschott.CodeUpstream {
			t.Errorf("%s: %q, %v, want upstream-failed", name, address, err)
		}
	}
	h := newHouse(t)
	h.issuer.set(func() {
		h.issuer.page = document(map[string]any{"authorization_response_iss_parameter_supported": true})
	})
	cookie, query := h.begin(t)
	if _, _, err := h.Finish(t.Context(), cookie, query); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("an answer that does not say from whom: %v", err)
	}
	query.Set("iss", h.issuer.url)
	if _, _, err := h.Finish(t.Context(), cookie, query); err != nil {
		t.Error(err)
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

// TestStrangersCannotMakeUsAsk sends logout tokens with keys that nobody has, and then somebody logs in.
func TestStrangersCannotMakeUsAsk(t *testing.T) {
	h := newHouse(t)
	header := b64([]byte(`{"alg":"ES256","kid":"unknown"}`))
	for range 100 {
		if _, err := h.Logout(t.Context(), header+"."+b64([]byte("{}"))+"."+b64(make([]byte, 64))); err == nil {
			t.Fatal("accepted")
		}
	}
	h.issuer.set(func() {
		if n := h.issuer.asked["/keys"]; n > asksPer {
			t.Errorf("the provider was asked %d times", n)
		}
	})
	if _, _, err := h.login(t); err != nil {
		t.Errorf("strangers keep people out: %v", err)
	}
}

func TestConfigThatMakesNoSense(t *testing.T) {
	clk := &clock{at: time.Now()}
	for name, change := range map[string]func(*Config){
		"no name":                 func(c *Config) { c.Name = "" },
		"name with a colon":       func(c *Config) { c.Name = "a:b" },
		"plain issuer":            func(c *Config) { c.Issuer = "http://idp.example" },
		"issuer that seems local": func(c *Config) { c.Issuer = "http://127.0.0.1.evil.example" },
		"issuer with a user":      func(c *Config) { c.Issuer = "https://a@idp.example" },
		"no client":               func(c *Config) { c.ClientID = "" },
		"no way back":             func(c *Config) { c.RedirectURL = "/oidc" },
		"no openid":               func(c *Config) { c.Scopes = []string{"profile"} },
		"alg none":                func(c *Config) { c.Algorithms = []string{"none"} },
		"alg HS256":               func(c *Config) { c.Algorithms = []string{"ES256", "HS256"} },
		"no roles":                func(c *Config) { c.Roles = nil },
		"no role claim":           func(c *Config) { c.RoleClaim = "" },
		"role of a machine":       func(c *Config) { c.Roles = map[string]querschott.Role{"x": querschott.RoleMachine} },
		"staff of nobody":         func(c *Config) { c.Insurers = nil },
		"staff of some":           func(c *Config) { c.InsurerClaim = "" },
		"insurer not an IK":       func(c *Config) { c.Insurers = []querschott.IK{"109500968"} },
	} {
		cfg := config("https://idp.example", clk)
		if _, err := New(cfg); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestCarefulWithAddresses(t *testing.T) {
	reached := errors.New("reached")
	c := &careful{next: next(func(*http.Request) (*http.Response, error) { return nil, reached }), now: time.Now}
	for address, ok := range map[string]bool{"https://idp.example": true, "http://idp.example": false, "http://127.0.0.1": false, "ftp://idp.example": false} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.RoundTrip(r); errors.Is(err, reached) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

type next func(*http.Request) (*http.Response, error)

func (n next) RoundTrip(r *http.Request) (*http.Response, error) { return n(r) }

func FuzzFlowCookie(f *testing.F) {
	clk := &clock{at: time.Unix(1e9, 0)}
	p, err := New(config("https://idp.example", clk))
	if err != nil {
		f.Fatal(err)
	}
	_, cookie := p.newFlow()
	f.Add(cookie)
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if fl, _, ok := p.openFlow(s); ok && (len(fl.id) != flowBytes || fl.id[:32] == "") {
			t.Errorf("%q is a login: %q", s, fl.id)
		}
	})
}

func FuzzClaims(f *testing.F) {
	clk := &clock{at: time.Unix(1e9, 0)}
	cfg := config("https://idp.example", clk)
	cfg.RoleClaim = "a.b.c"
	p, err := New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"sub":"x","a":{"b":{"c":["desk"]}},"ik":"109500969","name":"N"}`))
	f.Add([]byte(`{"sub":"x","a.b.c":"admins"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c claims
		if json.Unmarshal(data, &c) != nil {
			return
		}
		caller, err := p.caller(c)
		if err != nil {
			return
		}
		staff := caller.Role == querschott.RoleStaff && (caller.Insurer == insurerA || caller.Insurer == insurerB)
		operator := caller.Role == querschott.RoleOperator && caller.Insurer == ""
		if !staff && !operator || !strings.HasPrefix(string(caller.Actor), "ad:") || len(caller.Actor) < 4 {
			t.Errorf("%+v", caller)
		}
	})
}
