package console

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident/local"
	"github.com/querschott/querschott/ident/oidc"
	"github.com/querschott/querschott/wire/jose"
)

// corp is an identity provider that says of everybody what the test wants.
//
// mu guards what follows it.
type corp struct {
	*httptest.Server
	t   *testing.T
	clk *clock
	key *ecdsa.PrivateKey

	mu       sync.Mutex
	sub      string
	nonce    string
	sendBack string // origin of the console, to which browsers are sent at once
}

func newCorp(t *testing.T) *corp {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &corp{t: t, key: key}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

// console makes a house whose console knows the provider.
func (c *corp) console(t *testing.T) *house {
	t.Helper()
	return newHouseWith(t, 1, all, func(h *house, cfg *Config) {
		c.clk = h.clk
		p, err := oidc.New(oidc.Config{
			Name: "corp", Issuer: c.URL, ClientID: "console", ClientSecret: "geheim", RedirectURL: "http://127.0.0.1" + ReturnPath,
			RoleClaim: "groups", Roles: map[string]querschott.Role{"operators": querschott.RoleOperator}, Now: h.clk.now, Sessions: h.sessions,
		})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Provider = &Provider{Name: "Corp SSO", OIDC: p}
	})
}

func (c *corp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	var answer any
	switch r.URL.Path {
	case "/auth":
		c.nonce = r.FormValue("nonce")
		http.Redirect(w, r, c.sendBack+back(r.FormValue("state")), http.StatusSeeOther)
		return
	case "/.well-known/openid-configuration":
		answer = map[string]string{"issuer": c.URL, "authorization_endpoint": c.URL + "/auth", "token_endpoint": c.URL + "/token", "jwks_uri": c.URL + "/keys"}
	case "/keys":
		public, err := jose.KeyOf(&c.key.PublicKey)
		if err != nil {
			c.t.Error(err)
		}
		answer = map[string]any{"keys": []any{public}}
	case "/token":
		answer = map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": c.sign(map[string]any{
			"sub": c.sub, "nonce": c.nonce, "groups": []string{"operators"}, "sid": "s-" + c.sub,
		})}
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		c.t.Error(err)
	}
}

func (c *corp) sign(claims map[string]any) string {
	claims["iss"], claims["aud"] = c.URL, "console"
	claims["iat"], claims["exp"] = c.clk.now().Unix(), c.clk.now().Add(time.Minute).Unix()
	payload, err := json.Marshal(claims)
	if err != nil {
		c.t.Error(err)
	}
	token, err := jose.Sign(jose.Header{Alg: "ES256"}, payload, c.key)
	if err != nil {
		c.t.Error(err)
	}
	return token
}

// begin presses the button and returns the state with which the provider would send the browser back.
func (c *corp) begin(b *browser, sub string) (state string) {
	c.t.Helper()
	r := b.still().post("/login/provider", nil)
	at, err := url.Parse(r.header.Get("Location"))
	if err != nil || r.status != http.StatusSeeOther || !strings.HasPrefix(at.String(), c.URL+"/auth?") {
		c.t.Fatalf("the button: %d %v", r.status, r.header)
	}
	if k := r.header.Get("Set-Cookie"); !strings.HasPrefix(k, flowCookie+"=") || !strings.HasSuffix(k, "; Path=/; Max-Age=600; HttpOnly; SameSite=Lax") {
		c.t.Errorf("cookie of the login: %s", k)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sub, c.nonce = sub, at.Query().Get("nonce")
	return at.Query().Get("state")
}

func back(state string) string {
	return ReturnPath + "?" + url.Values{"state": {state}, "code": {"c"}}.Encode()
}

func TestLoginByTheProvider(t *testing.T) {
	c := newCorp(t)
	h := c.console(t)
	b := h.browser()
	if page := b.get("/login").body; !strings.Contains(page, "Mit Corp SSO anmelden") || !strings.Contains(page, `name="password"`) {
		t.Fatalf("the login page:\n%s", page)
	}
	state := c.begin(b, "anna")
	stranger := h.browser()
	if r := stranger.get(back(state)); r.status != http.StatusBadRequest || stranger.cookie(sessionCookie) != "" || !strings.Contains(r.body, "nicht in diesem Browser begonnen") {
		t.Errorf("in another browser: %d", r.status)
	}
	r := b.get(back(state))
	if r.status != http.StatusOK || r.header.Get("Refresh") != "0; url=/" || b.cookie(sessionCookie) == "" || b.cookie(flowCookie) != "" {
		t.Fatalf("coming back: %d %v\n%s", r.status, r.header, r.body)
	}
	page := b.get("/")
	if page.status != http.StatusOK || !strings.Contains(page.body, "</span>anna</span>") {
		t.Fatalf("the matrix: %d", page.status)
	}
	b.csrf = csrfField.FindStringSubmatch(page.body)[1]
	door := h.c(0, querschott.EAU)
	if r := b.post(doorPath(door), h.order(door, "closed", "über den Anbieter")); r.status != http.StatusOK {
		t.Errorf("a move: %d", r.status)
	}
	if o, _ := h.book.Current(door); o.Actor != "anna" {
		t.Errorf("signed by %s", o.Actor)
	}
	if last := h.records[len(h.records)-1]; last != "corp:anna operator true" {
		t.Errorf("recorded: %s", last)
	}
	if r := b.get(back(state)); r.status != http.StatusBadRequest {
		t.Errorf("coming back twice: %d", r.status)
	}
	// The provider's word ends the session, though it is no browser; nobody else's does.
	word := url.Values{"logout_token": {"a.b.c"}}
	if r := h.ended(word); r.status != http.StatusBadRequest || b.get("/").status != http.StatusOK {
		t.Errorf("a forged logout: %d", r.status)
	}
	word.Set("logout_token", c.sign(map[string]any{"sub": "anna", "jti": "1", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": struct{}{}}}))
	if r := h.ended(word); r.status != http.StatusOK || b.get("/").status != http.StatusUnauthorized {
		t.Errorf("a logout at the provider: %d\n%s", r.status, r.body)
	}
}

// ended is what the provider's server sends.
func (h *house) ended(f url.Values) response {
	b := h.browser()
	r := b.form(endPath, f)
	r.Header.Del("Sec-Fetch-Site")
	return b.do(r)
}

func TestProviderSpeaksForOperatorsOnly(t *testing.T) {
	c := newCorp(t)
	h := c.console(t)
	for name, bring := range map[string]func(b *browser) string{
		"no operator of this node": func(b *browser) string { return back(c.begin(b, "eve")) },
		"refused by the provider": func(b *browser) string {
			return ReturnPath + "?" + url.Values{"state": {c.begin(b, "anna")}, "error": {"access_denied"}, "error_description": {nasty}}.Encode()
		},
		"another login's nonce": func(b *browser) string {
			state := c.begin(b, "anna")
			c.begin(h.browser(), "anna")
			return back(state)
		},
	} {
		b := h.browser()
		r := b.get(bring(b))
		if r.status != http.StatusUnauthorized || b.cookie(sessionCookie) != "" || strings.Contains(r.body, nasty) ||
			!strings.Contains(r.body, "Corp SSO hat niemanden angemeldet, der hier Operator ist.") {
			t.Errorf("%s: %d\n%s", name, r.status, r.body)
		}
	}
	if n := h.sessions.Len(); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

func TestProviderIsDead(t *testing.T) {
	c := newCorp(t)
	h := c.console(t)
	anna := h.account(local.Account{Name: "anna", Role: querschott.RoleOperator})
	c.Close()
	b := h.browser()
	r := b.post("/login/provider", nil)
	if r.status != http.StatusBadGateway || !strings.Contains(r.body, "Corp SSO antwortet nicht. Melden Sie sich mit einem lokalen Konto") || !strings.Contains(r.body, `name="password"`) {
		t.Fatalf("the button: %d\n%s", r.status, r.body)
	}
	if r := b.post("/login", h.filled(anna)); r.status != http.StatusOK || !strings.Contains(r.body, `id="matrix"`) {
		t.Errorf("the local account: %d", r.status)
	}
	h.operator("bert")
}
