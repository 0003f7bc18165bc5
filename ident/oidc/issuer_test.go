package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
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

func foreignJWK() map[string]string {
	return map[string]string{"kty": "EC", "crv": "P-256", "x": b64(otherKey.X.FillBytes(make([]byte, 32))), "y": b64(otherKey.Y.FillBytes(make([]byte, 32)))}
}
