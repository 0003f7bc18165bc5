package token

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/wire/zeta"
)

func newClock() *clock { return &clock{at: time.Unix(1777032300, 0)} }

func wantKey(t *testing.T, name string, i *Issuer, id string, want error) {
	t.Helper()
	key, err := i.Find(t.Context(), id)
	if err != want || (err == nil) != (key.ID == id) { //nolint:errorlint // the very error is wanted
		t.Errorf("%s: Find(%q) = %q, %v, want %v", name, id, key.ID, err, want)
	}
}

func TestDiscovery(t *testing.T) {
	s, c := newServer(t), newClock()
	one, two := newSigner(t, "1"), newSigner(t, "2")
	s.metadata(t, file{etag: `"a"`}, one)
	i := s.issuer(t, c)
	if got := i.Status(); !got.Stale || len(got.Keys) != 0 {
		t.Errorf("at first: %+v", got)
	}
	wantKey(t, "first token", i, "1", nil)
	if got := i.Status(); got.Stale || !slices.Equal(got.Keys, []string{one.key.Thumbprint()}) || !got.Loaded.Equal(c.now()) || got.Err != "" {
		t.Errorf("afterwards: %+v", got)
	}
	c.advance(11 * time.Second)
	s.metadata(t, file{etag: `"b"`}, one, two)
	wantKey(t, "rotated", i, "2", nil)
	wantKey(t, "old key", i, "1", nil)
	c.advance(11 * time.Second)
	wantKey(t, "unknown", i, "3", errUnknown)
	if n := s.count("/jwks"); n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
}

func TestUnknownKeysDoNotStorm(t *testing.T) {
	s, c := newServer(t), newClock()
	s.metadata(t, file{}, newSigner(t, "1"))
	i := s.issuer(t, c)
	for second := range 60 {
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() { _, _ = i.Find(t.Context(), fmt.Sprint("x", second, n)) })
		}
		wg.Wait()
		c.advance(time.Second)
	}
	if n := s.count("/jwks"); n != 6 {
		t.Errorf("asked %d times within 60 seconds, want 6", n)
	}
}

// Tokens that are wrong in other ways make nobody ask.
func TestOnlySensibleTokensAsk(t *testing.T) {
	s := newServer(t)
	key := newSigner(t, "1")
	s.metadata(t, file{}, key)
	s.put("/popp", file{body: text(t, key.set())})
	w := newWorld(t, func(c *Config) {
		c.Access = append(c.Access, newIssuer(t, IssuerConfig{Issuer: s.URL, Source: Metadata, Client: s.Client(), Now: c.Now}))
		c.Presence = append(c.Presence, newIssuer(t, IssuerConfig{Issuer: s.URL, Source: KeySet, URL: s.URL + "/popp", Client: s.Client(), Now: c.Now}))
	})
	h, claims := w.accessHeader().with("kid", "9"), w.accessClaims().with("iss", s.URL)
	for _, token := range []string{
		key.sign(t, h.with("typ", "x"), claims), key.sign(t, h.with("alg", "RS256"), claims), key.sign(t, h, claims.with("exp", 1)),
		key.sign(t, h, claims.with("cnf", nil)), key.sign(t, h, claims.with("iss", s.URL+"/")), "x",
	} {
		if _, err := w.v.Identify(t.Context(), w.request(t, token)); err == nil {
			t.Error("a wrong token is accepted")
		}
	}
	ph, pc := w.presenceHeader().with("kid", "9"), w.presenceClaims().with("iss", s.URL)
	for _, popp := range []string{key.sign(t, ph.with("typ", "x"), pc), key.sign(t, ph, pc.with("iat", 1)), key.sign(t, ph, pc.with("patientId", nil))} {
		if _, err := w.v.Identify(t.Context(), w.asks(t, w.access(t), popp)); err == nil {
			t.Error("a wrong PoPP token is accepted")
		}
	}
	if n := s.count("/jwks") + s.count("/popp"); n != 0 {
		t.Errorf("asked %d times, want 0", n)
	}
	w.want(t, "unknown kid", w.request(t, key.sign(t, h, claims)), 401, zeta.InvalidToken, zeta.ReasonTokenKey)
	w.want(t, "known kid", w.request(t, key.sign(t, h.with("kid", "1"), claims)), 200, "", "")
	w.want(t, "unknown kid", w.asks(t, w.access(t), key.sign(t, ph, pc)), 403, zeta.AccessDenied, zeta.ReasonPresenceKey)
	w.want(t, "known kid", w.asks(t, w.access(t), key.sign(t, ph.with("kid", "1"), pc)), 200, "", "")
	if a, p := s.count("/jwks"), s.count("/popp"); a != 1 || p != 1 {
		t.Errorf("asked %d and %d times, want once each", a, p)
	}
}

func TestUnreachableIssuer(t *testing.T) {
	s := newServer(t)
	s.breaks(503)
	key := newSigner(t, "1")
	s.metadata(t, file{}, key)
	var access *Issuer
	w := newWorld(t, func(c *Config) {
		access = newIssuer(t, IssuerConfig{Issuer: s.URL, Source: Metadata, Client: s.Client(), Now: c.Now})
		c.Access = append(c.Access, access)
		c.Presence = append(c.Presence, newIssuer(t, IssuerConfig{Issuer: s.URL, Source: KeySet, URL: s.URL + "/jwks", Client: s.Client(), Now: c.Now}))
	})
	token := func() string {
		return key.sign(t, w.accessHeader().with("kid", "1"), w.accessClaims().with("iss", s.URL))
	}
	popp := func() string {
		return key.sign(t, w.presenceHeader().with("kid", "1"), w.presenceClaims().with("iss", s.URL))
	}
	w.want(t, "never reached", w.request(t, token()), 503, zeta.TemporarilyUnavailable, zeta.ReasonKeysUnavailable)
	w.want(t, "never reached", w.asks(t, w.access(t), popp()), 403, zeta.AccessDenied, zeta.ReasonPresenceKey)
	if got := access.Status(); !strings.Contains(got.Err, "503") {
		t.Errorf("status %+v", got)
	}
	s.breaks(0)
	w.want(t, "too early", w.request(t, token()), 503, zeta.TemporarilyUnavailable, zeta.ReasonKeysUnavailable)
	w.clock.advance(10 * time.Second)
	w.want(t, "reached", w.request(t, token()), 200, "", "")
	w.want(t, "reached", w.asks(t, w.access(t), popp()), 200, "", "")
	s.breaks(500)
	w.clock.advance(300*time.Second + 24*time.Hour - time.Second)
	w.want(t, "last known keys", w.request(t, token()), 200, "", "")
	w.want(t, "last known keys", w.asks(t, w.access(t), popp()), 200, "", "")
	if got := access.Status(); !got.Stale || got.Age < 24*time.Hour {
		t.Errorf("status %+v", got)
	}
	remembered := token()
	w.want(t, "last known keys", w.request(t, remembered), 200, "", "")
	access.Freeze(true)
	w.clock.advance(time.Second)
	w.want(t, "frozen keys", w.request(t, token()), 200, "", "")
	access.Freeze(false)
	w.want(t, "keys too old", w.request(t, token()), 503, zeta.TemporarilyUnavailable, zeta.ReasonKeysUnavailable)
	w.want(t, "keys too old, remembered token", w.request(t, remembered), 503, zeta.TemporarilyUnavailable, zeta.ReasonKeysUnavailable)
	w.want(t, "keys too old", w.asks(t, w.access(t), popp()), 403, zeta.AccessDenied, zeta.ReasonPresenceKey)
}

func TestDrop(t *testing.T) {
	w := newWorld(t)
	token, popp := w.access(t), w.presence(t)
	w.want(t, "before", w.asks(t, token, popp), 200, "", "")
	w.cfg.Presence[0].Drop(true)
	w.want(t, "PoPP issuer dropped", w.asks(t, token, popp), 403, zeta.AccessDenied, zeta.ReasonPresenceKey)
	w.want(t, "other services", w.request(t, token), 200, "", "")
	w.cfg.Access[0].Drop(true)
	w.want(t, "issuer dropped", w.request(t, token), 401, zeta.InvalidToken, zeta.ReasonTokenIssuer)
	if list := w.v.Issuers(); len(list) != 2 || !list[0].Dropped || !list[1].Dropped {
		t.Errorf("issuers %+v", list)
	}
	w.cfg.Access[0].Drop(false)
	w.cfg.Presence[0].Drop(false)
	w.want(t, "lifted", w.asks(t, token, popp), 200, "", "")
}

// A key that its issuer takes back ends what was remembered of its tokens.
func TestWithdrawnKeyEndsRememberedTokens(t *testing.T) {
	s := newServer(t)
	one, two := newSigner(t, "1"), newSigner(t, "2")
	other := newSigner(t, "1")
	s.metadata(t, file{}, one)
	w := newWorld(t, func(c *Config) {
		c.Access = append(c.Access, newIssuer(t, IssuerConfig{Issuer: s.URL, Source: Metadata, Client: s.Client(), Now: c.Now}))
	})
	sign := func(k signer) string {
		return k.sign(t, w.accessHeader().with("kid", k.key.ID), w.accessClaims().with("iss", s.URL))
	}
	token := sign(one)
	w.want(t, "signed by the first key", w.request(t, token), 200, "", "")
	s.metadata(t, file{}, other, two)
	w.clock.advance(10 * time.Second)
	w.want(t, "signed by the second key", w.request(t, sign(two)), 200, "", "")
	w.want(t, "remembered, the id is another key's", w.request(t, token), 401, zeta.InvalidToken, zeta.ReasonTokenSignature)
	token = sign(other)
	w.want(t, "signed by the other key", w.request(t, token), 200, "", "")
	s.metadata(t, file{}, two, newSigner(t, "3"))
	w.clock.advance(10 * time.Second)
	w.want(t, "makes the gate ask", w.request(t, sign(newSigner(t, "4"))), 401, zeta.InvalidToken, zeta.ReasonTokenKey)
	w.want(t, "remembered, key gone", w.request(t, token), 401, zeta.InvalidToken, zeta.ReasonTokenKey)
}

func TestConditionalRequests(t *testing.T) {
	for _, f := range []file{{etag: `"a"`}, {modified: "Fri, 24 Apr 2026 12:00:00 GMT"}} {
		s, c := newServer(t), newClock()
		s.metadata(t, f, newSigner(t, "1"))
		i := s.issuer(t, c)
		wantKey(t, "first", i, "1", nil)
		c.advance(10 * time.Second)
		s.put("/jwks", file{body: "not read", etag: f.etag, modified: f.modified})
		wantKey(t, "unchanged", i, "2", errUnknown)
		if got := i.Status(); got.Err != "" || !got.Loaded.Equal(c.now()) || len(got.Keys) != 1 {
			t.Errorf("status %+v", got)
		}
		c.advance(10 * time.Second)
		wantKey(t, "still there", i, "1", nil)
	}
}

func TestBrokenAnswersKeepTheKeys(t *testing.T) {
	key := newSigner(t, "1")
	good := text(t, key.set())
	for name, f := range map[string]file{
		"no JSON":     {body: "<html>"},
		"empty":       {body: `{"keys":[]}`},
		"twice":       {body: strings.Replace(good, `[`, `[`+strings.TrimSuffix(strings.TrimPrefix(good, `{"keys":[`), `]}`)+`,`, 1)},
		"private key": {body: strings.Replace(good, `"kid"`, `"d":"AA","kid"`, 1)},
		"endless":     {body: good + strings.Repeat(" ", maxDocument)},
	} {
		s, c := newServer(t), newClock()
		s.metadata(t, file{}, key)
		i := s.issuer(t, c)
		wantKey(t, name, i, "1", nil)
		c.advance(10 * time.Second)
		s.put("/jwks", f)
		wantKey(t, name, i, "2", errUnknown)
		wantKey(t, name, i, "1", nil)
		if got := i.Status(); got.Err == "" {
			t.Errorf("%s: the status tells no error", name)
		}
	}
}

func TestWhereKeysMayComeFrom(t *testing.T) {
	const document = "/.well-known/oauth-authorization-server"
	c, key := newClock(), newSigner(t, "1")
	set := text(t, key.set())
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(set)) }))
	t.Cleanup(plain.Close)
	for name, change := range map[string]func(*server){
		"a redirect of the document": func(s *server) {
			s.put("/elsewhere", file{body: text(t, object{"issuer": s.URL, "jwks_uri": s.URL + "/jwks"})})
			s.put(document, file{location: s.URL + "/elsewhere"})
		},
		"a redirect of the keys": func(s *server) {
			s.put("/elsewhere", file{body: set})
			s.put("/jwks", file{location: s.URL + "/elsewhere"})
		},
		"another issuer": func(s *server) {
			s.put(document, file{body: text(t, object{"issuer": "https://other.example", "jwks_uri": s.URL + "/jwks"})})
		},
		"keys without TLS": func(s *server) {
			s.put(document, file{body: text(t, object{"issuer": s.URL, "jwks_uri": plain.URL})})
		},
		"keys in a file": func(s *server) {
			s.put(document, file{body: text(t, object{"issuer": s.URL, "jwks_uri": "file:///etc/keys"})})
		},
		"no place": func(s *server) { s.put(document, file{body: text(t, object{"issuer": s.URL})}) },
		"nothing":  func(s *server) { s.breaks(404) },
	} {
		s := newServer(t)
		s.metadata(t, file{}, key)
		change(s)
		wantKey(t, name, s.issuer(t, c), "1", errNoKeys)
	}
	s := newServer(t)
	s.metadata(t, file{}, key)
	i := s.issuer(t, c, func(cfg *IssuerConfig) { cfg.Client = http.DefaultClient })
	wantKey(t, "an unknown certificate authority", i, "1", errNoKeys)
	i = newIssuer(t, IssuerConfig{Issuer: "http://x", Source: KeySet, URL: plain.URL, Plain: true, Client: plain.Client(), Now: c.now})
	wantKey(t, "without TLS, allowed", i, "1", nil)
}

func TestPins(t *testing.T) {
	s, c := newServer(t), newClock()
	one, two := newSigner(t, "1"), newSigner(t, "2")
	s.metadata(t, file{}, one, two)
	i := s.issuer(t, c, func(cfg *IssuerConfig) { cfg.Pins = []string{two.key.Thumbprint()} })
	wantKey(t, "pinned", i, "2", nil)
	wantKey(t, "not pinned", i, "1", errUnknown)
	static := IssuerConfig{Issuer: "x", Source: Static, Keys: one.set(), Pins: []string{two.key.Thumbprint()}, Now: c.now}
	if _, err := NewIssuer(static); err == nil {
		t.Error("static keys, none of them pinned, are no error")
	}
}

func TestFreeze(t *testing.T) {
	s, c := newServer(t), newClock()
	one, two := newSigner(t, "1"), newSigner(t, "2")
	s.metadata(t, file{}, one)
	i := s.issuer(t, c)
	wantKey(t, "before", i, "1", nil)
	i.Freeze(true)
	s.metadata(t, file{}, two)
	c.advance(48 * time.Hour)
	wantKey(t, "frozen, old key", i, "1", nil)
	wantKey(t, "frozen, new key", i, "2", errUnknown)
	i.Freeze(false)
	wantKey(t, "lifted", i, "2", nil)
	wantKey(t, "lifted, old key", i, "1", errUnknown)
}

func TestNewKeysAreTold(t *testing.T) {
	s, c, fs := newServer(t), newClock(), crashdisk.New()
	one, two := newSigner(t, "1"), newSigner(t, "2")
	s.metadata(t, file{}, one)
	var told []string
	config := func(cfg *IssuerConfig) {
		cfg.FS, cfg.File = fs, "issuer.json"
		cfg.NewKey = func(_, thumbprint string) { told = append(told, thumbprint) }
	}
	i := s.issuer(t, c, config)
	wantKey(t, "first", i, "1", nil)
	c.advance(10 * time.Second)
	wantKey(t, "again", i, "2", errUnknown)
	s.metadata(t, file{}, one, two)
	c.advance(10 * time.Second)
	wantKey(t, "second", i, "2", nil)
	i = s.issuer(t, c, config) // the next process
	wantKey(t, "kept", i, "1", nil)
	wantKey(t, "asked", i, "3", errUnknown)
	if want := []string{one.key.Thumbprint(), two.key.Thumbprint()}; !slices.Equal(told, want) {
		t.Errorf("told of %q, want %q", told, want)
	}
}

func TestKeysSurviveRestarts(t *testing.T) {
	s, c, fs := newServer(t), newClock(), crashdisk.New()
	key := newSigner(t, "1")
	s.metadata(t, file{}, key)
	keep := func(cfg *IssuerConfig) { cfg.FS, cfg.File = fs, "issuer.json" }
	wantKey(t, "first", s.issuer(t, c, keep), "1", nil)
	loaded := c.now()
	s.breaks(500)
	c.advance(time.Hour)
	i := s.issuer(t, c, keep)
	wantKey(t, "kept", i, "1", nil)
	if got := i.Status(); !got.Loaded.Equal(loaded) || got.Age != time.Hour || !got.Stale {
		t.Errorf("status %+v", got)
	}
	i = s.issuer(t, c, keep, func(cfg *IssuerConfig) { cfg.Pins = []string{newSigner(t, "").key.Thumbprint()} })
	wantKey(t, "kept, but not pinned", i, "1", errNoKeys)
	c.advance(24 * time.Hour)
	wantKey(t, "too old", s.issuer(t, c, keep), "1", errTooOld)

	cfg := IssuerConfig{Issuer: "https://other.example", Source: Metadata, Client: s.Client(), Now: c.now, FS: fs, File: "issuer.json"}
	if _, err := NewIssuer(cfg); err == nil {
		t.Error("another issuer's file is taken over")
	}
	if err := disk.WriteFile(fs, "issuer.json", []byte("{")); err != nil {
		t.Fatal(err)
	}
	cfg.Issuer = s.URL
	if _, err := NewIssuer(cfg); err == nil {
		t.Error("half a file is taken over")
	}
}

func TestNewIssuerRefuses(t *testing.T) {
	c := newClock()
	for name, cfg := range map[string]IssuerConfig{
		"no name":        {Source: Static, Keys: newSigner(t, "1").set(), Now: c.now},
		"no clock":       {Issuer: "x", Source: Static, Keys: newSigner(t, "1").set()},
		"no keys":        {Issuer: "x", Source: Static, Now: c.now},
		"no source":      {Issuer: "x", Now: c.now},
		"no client":      {Issuer: "https://x.example", Source: Metadata, Now: c.now},
		"without TLS":    {Issuer: "http://x.example", Source: Metadata, Client: http.DefaultClient, Now: c.now},
		"no URL":         {Issuer: "https://x.example", Source: KeySet, Client: http.DefaultClient, Now: c.now},
		"user in a URL":  {Issuer: "https://x.example", Source: KeySet, URL: "https://u@x.example", Client: http.DefaultClient, Now: c.now},
		"file as issuer": {Issuer: "file:///x", Source: Federation, Plain: true, Client: http.DefaultClient, Now: c.now},
	} {
		if _, err := NewIssuer(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// An issuer that signs its keys for ten years is asked again all the same.
func TestFarEndIsCut(t *testing.T) {
	s, c := newServer(t), newClock()
	far := func(statement, set object) {
		statement["exp"], set["exp"] = c.now().Unix()+10*365*86400, c.now().Unix()+10*365*86400
	}
	s.federation(t, c, newSigner(t, "e"), far, newSigner(t, "1"))
	i := s.issuer(t, c, func(cfg *IssuerConfig) { cfg.Source = Federation })
	wantKey(t, "far end", i, "1", nil)
	if got, want := i.Status().Until, c.now().Add(48*time.Hour); !got.Equal(want) {
		t.Errorf("the keys end at %s, want %s", got, want)
	}
}

func TestRunRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newSigner(t, "1")
		var asked atomic.Int64
		var broken atomic.Bool
		client := &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			asked.Add(1)
			w := httptest.NewRecorder()
			if broken.Load() {
				w.WriteHeader(500)
			} else {
				w.Header().Set("Cache-Control", "public, max-age=60")
				_, _ = w.WriteString(text(t, key.set()))
			}
			return w.Result(), nil
		})}
		i := newIssuer(t, IssuerConfig{Issuer: "https://x.example", Source: KeySet, URL: "https://x.example/jwks", Client: client, Now: time.Now})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- i.Run(ctx) }()
		wait := func(d time.Duration, want int64, stale bool) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			if got := asked.Load(); got != want || i.Status().Stale != stale {
				t.Errorf("asked %d times, want %d; status %+v", got, want, i.Status())
			}
		}
		wait(time.Second, 1, false)
		wait(60*time.Second, 2, false)
		wait(60*time.Second, 3, false)
		broken.Store(true)
		wait(100*time.Second, 3+5, true) // every 10 seconds from the 60th on
		broken.Store(false)
		wait(10*time.Second, 3+6, false)
		i.Freeze(true)
		wait(10*time.Minute, 3+6, true)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// While an attempt hangs everybody waits for it, up to a bound, and nobody makes another; whoever gives up is not held.
func TestHangingIssuer(t *testing.T) {
	s, c := newServer(t), newClock()
	s.metadata(t, file{}, newSigner(t, "1"))
	hold := make(chan struct{})
	s.hold = hold
	i := s.issuer(t, c)
	var wg sync.WaitGroup
	var found atomic.Int64
	for range 50 {
		wg.Go(func() {
			if _, err := i.Find(t.Context(), "1"); err == nil {
				found.Add(1)
			}
		})
	}
	<-s.started
	for i.waiting.Load() != 50 {
		runtime.Gosched()
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.Find(impatient, "1"); err == nil {
		t.Error("somebody without patience found a key")
	}
	i.waiting.Add(maxWaiting)
	if _, err := i.Find(t.Context(), "1"); err == nil {
		t.Error("one too many found a key")
	}
	i.waiting.Add(-maxWaiting)
	close(hold)
	wg.Wait()
	if found.Load() != 50 || s.count("/jwks") != 1 {
		t.Errorf("%d of 50 found the key; asked %d times", found.Load(), s.count("/jwks"))
	}
}

func TestMaxAge(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"":                             maxFreshness,
		"max-age=60":                   time.Minute,
		"public, Max-Age=60":           time.Minute,
		`max-age="60"`:                 time.Minute,
		"max-age=60, max-age=30":       30 * time.Second,
		"no-store":                     0,
		"max-age=60, no-cache":         0,
		"max-age=-1":                   maxFreshness,
		"max-age=99999999999999999999": maxFreshness,
		"max-age=x":                    maxFreshness,
	} {
		if got := maxAge(http.Header{"Cache-Control": {value}}); got != want {
			t.Errorf("maxAge(%q) = %s, want %s", value, got, want)
		}
	}
}
