package token

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott/wire/jose"
)

// server is an issuer on the net that tests change and break. It answers like a strict one: to a conditional request for what
// it has it says 304, and it counts what it is asked.
type server struct {
	*httptest.Server
	mu      sync.Mutex
	files   map[string]file
	asked   map[string]int
	status  int           // answered to everything, unless 0
	hold    chan struct{} // answers wait for it, unless nil
	started chan struct{} // told of every request, if there is room
}

type file struct {
	body, etag, modified, cache string
	location                    string // of a redirect, instead of a body
}

func newServer(t testing.TB) *server {
	s := &server{files: map[string]file{}, asked: map[string]int{}, started: make(chan struct{}, 1)}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that refuse the certificate are meant to
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked[r.URL.Path]++
	f, ok := s.files[r.URL.Path]
	status, hold := s.status, s.hold
	s.mu.Unlock()
	select {
	case s.started <- struct{}{}:
	default:
	}
	if hold != nil {
		<-hold
	}
	for name, value := range map[string]string{"ETag": f.etag, "Last-Modified": f.modified, "Cache-Control": f.cache} {
		if value != "" {
			w.Header().Set(name, value)
		}
	}
	switch {
	case status != 0:
		w.WriteHeader(status)
	case !ok:
		http.NotFound(w, r)
	case f.location != "":
		http.Redirect(w, r, f.location, http.StatusFound)
	case f.etag != "" && r.Header.Get("If-None-Match") == f.etag, f.etag == "" && f.modified != "" && r.Header.Get("If-Modified-Since") == f.modified:
		w.WriteHeader(http.StatusNotModified)
	default:
		_, _ = w.Write([]byte(f.body))
	}
}

func (s *server) put(path string, f file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = f
}

func (s *server) breaks(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

func (s *server) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

func text(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// metadata makes the server an authorization server with these keys.
func (s *server) metadata(t testing.TB, f file, keys ...signer) {
	t.Helper()
	set := jose.KeySet{}
	for _, k := range keys {
		set[k.key.ID] = k.key
	}
	s.put("/.well-known/oauth-authorization-server", file{body: text(t, object{"issuer": s.URL, "jwks_uri": s.URL + "/jwks"})})
	f.body = text(t, set)
	s.put("/jwks", f)
}

func (s *server) issuer(t testing.TB, c *clock, change ...func(*IssuerConfig)) *Issuer {
	t.Helper()
	cfg := IssuerConfig{Issuer: s.URL, Source: Metadata, Client: s.Client(), Now: c.now}
	for _, f := range change {
		f(&cfg)
	}
	return newIssuer(t, cfg)
}

// federation makes the server a PoPP service.
func (s *server) federation(t testing.TB, c *clock, entity signer, bend func(statement, set object), keys ...signer) {
	t.Helper()
	now := c.now().Unix()
	list := make([]object, 0, len(keys))
	for _, k := range keys {
		list = append(list, jwkOf(t, k.key).with("kid", k.key.ID))
	}
	statement := object{
		"iss": s.URL, "sub": s.URL, "iat": now, "exp": now + 86400, "jwks": object{"keys": []object{jwkOf(t, entity.key).with("kid", entity.key.ID)}},
		"metadata": object{"oauth_resource": object{"signed_jwks_uri": "/signed"}},
	}
	set := object{"iss": s.URL, "iat": now, "exp": now + 3600, "keys": list}
	bend(statement, set)
	s.put("/.well-known/openid-federation", file{body: entity.sign(t, object{"typ": "entity-statement+jwt", "alg": "ES256", "kid": entity.key.ID}, statement)})
	s.put("/signed", file{body: entity.sign(t, object{"alg": "ES256", "kid": entity.key.ID}, set)})
}

func TestFederation(t *testing.T) {
	entity, stranger, key := newSigner(t, "e"), newSigner(t, "e"), newSigner(t, "1")
	for _, tc := range []struct {
		name string
		bend func(s *server, statement, set object)
		want error
	}{
		{"right", func(*server, object, object) {}, nil},
		{"absolute URL", func(s *server, statement, _ object) {
			statement["metadata"] = object{"oauth_resource": object{"signed_jwks_uri": s.URL + "/signed"}}
		}, nil},
		{"no issuer in the set", func(_ *server, _, set object) { delete(set, "iss") }, nil},
		{"another entity", func(_ *server, statement, _ object) { statement["iss"] = "https://other.example" }, errNoKeys},
		{"about another entity", func(_ *server, statement, _ object) { statement["sub"] = "https://other.example" }, errNoKeys},
		{"statement expired", func(_ *server, statement, _ object) { statement["exp"] = 1777032300 - 61 }, errNoKeys},
		{"statement without end", func(_ *server, statement, _ object) { delete(statement, "exp") }, errNoKeys},
		{"no place of keys", func(_ *server, statement, _ object) { delete(statement, "metadata") }, errNoKeys},
		{"signed by a key that it does not list", func(_ *server, statement, _ object) {
			statement["jwks"] = object{"keys": []object{jwkOf(t, stranger.key).with("kid", "e")}}
		}, errNoKeys},
		{"set expired", func(_ *server, _, set object) { set["exp"] = 1777032300 - 61 }, errNoKeys},
		{"set without end", func(_ *server, _, set object) { delete(set, "exp") }, errNoKeys},
		{"set of another issuer", func(_ *server, _, set object) { set["iss"] = "https://other.example" }, errNoKeys},
		{"set without keys", func(_ *server, _, set object) { delete(set, "keys") }, errNoKeys},
	} {
		s, c := newServer(t), newClock()
		s.federation(t, c, entity, func(statement, set object) { tc.bend(s, statement, set) }, key)
		i := s.issuer(t, c, func(cfg *IssuerConfig) { cfg.Source = Federation })
		wantKey(t, tc.name, i, "1", tc.want)
		if got := i.Status(); (got.Err == "") != (tc.want == nil) {
			t.Errorf("%s: status %+v", tc.name, got)
		}
	}
}

func TestFederationTrust(t *testing.T) {
	entity, stranger, key := newSigner(t, "e"), newSigner(t, "e"), newSigner(t, "1")
	none := func(object, object) {}
	s, c := newServer(t), newClock()
	pin := func(cfg *IssuerConfig) { cfg.Source, cfg.Pins = Federation, []string{entity.key.Thumbprint()} }
	s.federation(t, c, stranger, none, key)
	i := s.issuer(t, c, pin)
	wantKey(t, "statement of a key that is not pinned", i, "1", errNoKeys)
	s.federation(t, c, entity, none, key)
	c.advance(10 * time.Second)
	wantKey(t, "pinned", i, "1", nil)

	good := s.files["/signed"]
	s.federation(t, c, stranger, none, newSigner(t, "2"))
	forged := s.files["/signed"]
	s.federation(t, c, entity, none, key)
	s.put("/signed", forged)
	c.advance(10 * time.Second)
	wantKey(t, "set signed by a stranger", i, "2", errUnknown)
	s.put("/signed", good)
	// The set's end and a day: the official tests expect one more period, then refusal.
	s.breaks(500)
	c.set(time.Unix(1777032300, 0).Add(10*time.Second + time.Hour + 24*time.Hour - 11*time.Second))
	wantKey(t, "unreachable", i, "1", nil)
	c.advance(12 * time.Second)
	wantKey(t, "unreachable for too long", i, "1", errTooOld)
}
