package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
)

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
		"name of machines":        func(c *Config) { c.Name = "machine" },
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
