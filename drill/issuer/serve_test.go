package issuer

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

// served is an issuer behind a socket.
type served struct {
	*Issuer
	clock *clock
	url   string
}

func serve(t testing.TB, o Options) *served {
	t.Helper()
	s := &served{clock: newClock()}
	var h atomic.Pointer[http.Handler]
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*h.Load()).ServeHTTP(w, r) }))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	s.Issuer = newIssuer(t, s.clock, srv.URL, o)
	handler, err := s.Handler()
	if err != nil {
		t.Fatal(err)
	}
	h.Store(&handler)
	return s
}

func (s *served) client(t testing.TB) *Client {
	t.Helper()
	c, err := Register(t.Context(), http.DefaultClient, s.clock.now, s.url, Practice{Subject: "1-2DEV7"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// call sends a request and returns the status, the header and the members of the answer.
func (s *served) call(t testing.TB, method, path, mime, body string, header http.Header) (int, http.Header, map[string]string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	if mime != "" {
		req.Header.Set("Content-Type", mime)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	raw, answer := map[string]json.RawMessage{}, map[string]string{}
	if err := json.Unmarshal(text, &raw); err != nil {
		answer["text"] = string(text)
	}
	for k, v := range raw {
		answer[k] = strings.Trim(string(v), `"`)
	}
	return resp.StatusCode, resp.Header, answer
}

const formType = "application/x-www-form-urlencoded"

func TestDocuments(t *testing.T) {
	s := serve(t, Options{})
	for _, path := range []string{zeta.PathAuthorizationServer, zeta.PathOpenID} {
		status, _, m := s.call(t, "GET", path, "", "", nil)
		if status != 200 || m["issuer"] != s.url || m["querschott_dev"] != Mark {
			t.Errorf("%s: %d %v", path, status, m)
		}
		for _, name := range topRequired(t, "as-well-known.yaml") {
			if m[name] == "" {
				t.Errorf("%s lacks %s", path, name)
			}
		}
		text, _ := json.Marshal(map[string]string{"issuer": m["issuer"], "jwks_uri": m["jwks_uri"]})
		if at, err := zeta.KeysOf(text, s.url); err != nil || at != s.url+"/jwks" {
			t.Errorf("keys at %s, %v", at, err)
		}
	}
	_, h, m := s.call(t, "GET", "/jwks", "", "", nil)
	set, err := jose.ParseKeySet([]byte(`{"keys":` + m["keys"] + `}`))
	if err != nil || len(set) != 1 || h.Get("Content-Type") != "application/jwk-set+json" {
		t.Fatalf("%v, %v", set, err)
	}
	for id, k := range s.AccessKeys() {
		if got := set[id]; !got.Equal(k) {
			t.Error("the set has another key")
		}
	}
}

// topRequired reads the last list of a schema without payload.
func topRequired(t *testing.T, schema string) []string {
	t.Helper()
	return requiredAt(t, schema, "\nrequired:\n", "  - ")
}

func TestFederation(t *testing.T) {
	s := serve(t, Options{})
	get := func(path, typ string) (*jose.Token, *zeta.Statement) {
		t.Helper()
		_, h, m := s.call(t, "GET", path, "", "", nil)
		if h.Get("Content-Type") != "application/"+typ {
			t.Errorf("%s is %s", path, h.Get("Content-Type"))
		}
		token := verified(t, m["text"], s.EntityKeys())
		if token.Header.Typ != typ || !strings.Contains(string(token.Payload), Mark) {
			t.Errorf("%s: %+v %s", path, token.Header, token.Payload)
		}
		st, err := zeta.ParseStatement(token.Payload)
		if err != nil || st.Issuer != s.url || st.Subject != s.url || st.Expires != s.clock.at.Add(24*time.Hour).Unix() {
			t.Fatalf("%s: %+v, %v", path, st, err)
		}
		return token, st
	}
	_, st := get(zeta.PathFederation, "entity-statement+jwt")
	vouched, err := jose.ParseKeySet(st.Keys)
	if err != nil || len(vouched) != 1 {
		t.Fatalf("%v, %v", vouched, err)
	}
	for id := range s.EntityKeys() {
		if _, ok := vouched[id]; !ok {
			t.Error("the statement does not vouch for its own key")
		}
	}
	at, err := zeta.Resolve(s.url, st.KeysURI)
	if err != nil || at != s.url+pathSigned {
		t.Fatalf("the key set is at %s, %v", at, err)
	}
	token, _ := get(pathSigned, "jwk-set+jwt")
	keys, err := jose.ParseKeySet(token.Payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.PresenceToken(Card{Patient: "X123456780", Insurer: "109500969"})
	if err != nil {
		t.Fatal(err)
	}
	verified(t, text, keys)
}

func TestRegistrationRefuses(t *testing.T) {
	s := serve(t, Options{})
	key := keyOf(t, newKey(t))
	jwk, _ := json.Marshal(key)
	keys := `{"keys":[` + string(jwk) + `]}`
	const method = `"token_endpoint_auth_method":"private_key_jwt"`
	for name, tc := range map[string]struct {
		body, code string
		status     int
	}{
		"no JSON":          {`client_name=x`, "invalid_request", 400},
		"two values":       {`{} {}`, "invalid_request", 400},
		"too large":        {`{"client_name":"` + strings.Repeat("x", maxBody) + `"}`, "invalid_request", 413},
		"no method":        {`{"jwks":` + keys + `}`, "invalid_client_metadata", 400},
		"another method":   {`{"token_endpoint_auth_method":"client_secret_basic","jwks":` + keys + `}`, "invalid_client_metadata", 400},
		"another grant":    {`{` + method + `,"grant_types":["implicit"],"jwks":` + keys + `}`, "invalid_client_metadata", 400},
		"no keys":          {`{` + method + `}`, "invalid_client_metadata", 400},
		"an empty set":     {`{` + method + `,"jwks":{"keys":[]}}`, "invalid_client_metadata", 400},
		"a private key":    {`{` + method + `,"jwks":` + strings.Replace(keys, `"kty"`, `"d":"AA","kty"`, 1) + `}`, "invalid_client_metadata", 400},
		"a key of no kind": {`{` + method + `,"jwks":{"keys":[{"kty":"RSA","n":"AA","e":"AQAB"}]}}`, "invalid_client_metadata", 400},
	} {
		if status, _, m := s.call(t, "POST", pathRegister, "application/json", tc.body, nil); status != tc.status || m["error"] != tc.code {
			t.Errorf("%s: %d %v", name, status, m)
		}
	}
	body := `{` + method + `,"unknown":1,"jwks":` + keys + `}`
	status, _, m := s.call(t, "POST", pathRegister, "application/json", body, nil)
	if status != 201 || !strings.HasPrefix(m["client_id"], "dev-") || m["querschott_dev"] != Mark {
		t.Errorf("a good one: %d %v", status, m)
	}
	if status, _, m := s.call(t, "POST", pathRegister, "application/json", body, nil); status != 409 || m["error"] != "conflict" {
		t.Errorf("the same key again: %d %v", status, m)
	}
}

func TestOldClientsMakeRoom(t *testing.T) {
	var c clients
	key := func(n int) jose.KeySet {
		k := keyOf(t, newKey(t))
		return jose.KeySet{fmt.Sprint(n): k}
	}
	first := &client{id: "first", keys: key(0)}
	c.add(first)
	for n := range maxClients {
		if !c.add(&client{id: fmt.Sprint(n), keys: key(n)}) {
			t.Fatal("no room")
		}
	}
	if c.find("first") != nil || c.find("0") == nil || len(c.byID) != maxClients || len(c.byKey) != maxClients || c.order.Len() != maxClients {
		t.Errorf("%d clients, %d keys", len(c.byID), len(c.byKey))
	}
	if !c.add(first) {
		t.Error("whoever made room cannot come back")
	}
}

// request is a good request to the token endpoint that a test spoils.
type request struct {
	form    url.Values
	header  http.Header
	claims  assertion
	typ     string
	kid     string
	key     *ecdsa.PrivateKey
	proof   zeta.Proof
	proofBy *ecdsa.PrivateKey
	proofAs string // typ
	raw     string // instead of the form
	mime    string
	path    string
}

func (s *served) request(c *Client) *request {
	now := s.clock.at
	return &request{
		form: url.Values{"grant_type": {"client_credentials"}, "client_id": {c.ID}, "client_assertion_type": {assertionType}},
		claims: assertion{
			Issuer: c.ID, Subject: c.ID, Audience: audiences{s.url}, Issued: now.Unix(), NotBefore: now.Unix(),
			Expires: now.Add(time.Minute).Unix(), ID: "assertion",
		},
		key: c.Key, mime: formType, path: pathToken, header: http.Header{},
		proof: zeta.Proof{ID: "proof", Method: "POST", Target: s.url + "/token", Issued: now.Unix()}, proofBy: c.Key, proofAs: zeta.TypeProof,
	}
}

func (s *served) send(t testing.TB, r *request) (int, http.Header, map[string]string) {
	t.Helper()
	payload, err := json.Marshal(r.claims)
	if err != nil {
		t.Fatal(err)
	}
	if r.key != nil {
		a, err := jose.Sign(jose.Header{Typ: r.typ, Kid: r.kid}, payload, r.key)
		if err != nil {
			t.Fatal(err)
		}
		r.form.Set("client_assertion", a)
	}
	if r.proofBy != nil {
		payload, err := json.Marshal(r.proof)
		if err != nil {
			t.Fatal(err)
		}
		p, err := jose.Sign(jose.Header{Typ: r.proofAs, JWK: keyOf(t, r.proofBy)}, payload, r.proofBy)
		if err != nil {
			t.Fatal(err)
		}
		r.header.Add("DPoP", p)
	}
	body := r.form.Encode()
	if r.raw != "" {
		body = r.raw
	}
	return s.call(t, "POST", r.path, r.mime, body, r.header)
}

func TestTokenEndpointAccepts(t *testing.T) {
	for name, change := range map[string]func(*served, *request){
		"as it is":             func(*served, *request) {},
		"typ JWT":              func(_ *served, r *request) { r.typ = "JWT" },
		"typ of a newer draft": func(_ *served, r *request) { r.typ = "client-authentication+jwt" },
		"kid":                  func(_ *served, r *request) { r.kid = keyOf(t, r.key).Thumbprint() },
		"audience":             func(s *served, r *request) { r.claims.Audience = audiences{"x", s.url + "/token"} },
		"no client_id":         func(_ *served, r *request) { r.form.Del("client_id") },
		"a resource":           func(_ *served, r *request) { r.form["resource"] = []string{"https://a.example/", "urn:b"} },
		"just valid":           func(s *served, r *request) { r.claims.Expires = s.clock.at.Add(-59 * time.Second).Unix() },
		"a proof of before":    func(s *served, r *request) { r.proof.Issued = s.clock.at.Add(-proofLife).Unix() },
		"another key's proof":  func(_ *served, r *request) { r.proofBy = newKey(t) },
		"a nonce of ours": func(s *served, r *request) {
			_, _, m := s.call(t, "GET", "/nonce", "", "", nil)
			r.claims.Nonce = m["nonce"]
		},
	} {
		s := serve(t, Options{})
		r := s.request(s.client(t))
		change(s, r)
		status, h, m := s.send(t, r)
		if status != 200 || m["token_type"] != "DPoP" || m["expires_in"] != "300" || m["scope"] != "vsdservice" || m["querschott_dev"] != Mark ||
			h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", name, status, m)
			continue
		}
		a, err := zeta.ParseAccess(verified(t, m["access_token"], s.AccessKeys()).Payload)
		if err != nil || a.Confirmation.Thumbprint != keyOf(t, r.proofBy).Thumbprint() {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
		if len(r.form["resource"]) == 2 && (len(a.Audience) != 2 || a.Version != 2) {
			t.Errorf("%s: %v by contract %d", name, a.Audience, a.Version)
		}
	}
}

func TestTokenEndpointRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*served, *request)
		code   string
		status int
	}{
		"no form":               {func(_ *served, r *request) { r.mime = "application/json" }, "invalid_request", 400},
		"no type":               {func(_ *served, r *request) { r.mime = "" }, "invalid_request", 400},
		"a broken form":         {func(_ *served, r *request) { r.raw = "grant_type=%zz" }, "invalid_request", 400},
		"too large":             {func(_ *served, r *request) { r.form.Set("scope", strings.Repeat("x", maxBody)) }, "invalid_request", 413},
		"in the query":          {func(_ *served, r *request) { r.path += "?scope=x" }, "invalid_request", 400},
		"a parameter twice":     {func(_ *served, r *request) { r.form.Add("grant_type", grantCredentials) }, "invalid_request", 400},
		"too many audiences":    {func(_ *served, r *request) { r.form["audience"] = make([]string, 17) }, "invalid_request", 400},
		"no grant":              {func(_ *served, r *request) { r.form.Del("grant_type") }, "invalid_request", 400},
		"another grant":         {func(_ *served, r *request) { r.form.Set("grant_type", "password") }, "unsupported_grant_type", 400},
		"no assertion":          {func(_ *served, r *request) { r.key = nil }, "invalid_client", 401},
		"another kind":          {func(_ *served, r *request) { r.form.Set("client_assertion_type", "saml2") }, "invalid_client", 401},
		"no JWS":                {func(_ *served, r *request) { r.key = nil; r.form.Set("client_assertion", "a.b") }, "invalid_client", 401},
		"another typ":           {func(_ *served, r *request) { r.typ = "at+jwt" }, "invalid_client", 401},
		"forged":                {func(_ *served, r *request) { r.key = newKey(t) }, "invalid_client", 401},
		"another kid":           {func(_ *served, r *request) { r.kid = "x" }, "invalid_client", 401},
		"unknown client":        {func(_ *served, r *request) { r.claims.Issuer, r.claims.Subject = "x", "x"; r.form.Del("client_id") }, "invalid_client", 401},
		"sub is not iss":        {func(_ *served, r *request) { r.claims.Subject = "x" }, "invalid_client", 401},
		"another client_id":     {func(_ *served, r *request) { r.form.Set("client_id", "x") }, "invalid_client", 401},
		"for somebody else":     {func(_ *served, r *request) { r.claims.Audience = audiences{"https://else.example/token"} }, "invalid_client", 401},
		"for nobody":            {func(_ *served, r *request) { r.claims.Audience = nil }, "invalid_client", 401},
		"expired":               {func(s *served, r *request) { r.claims.Expires = s.clock.at.Add(-time.Minute).Unix() }, "invalid_client", 401},
		"never expires":         {func(_ *served, r *request) { r.claims.Expires = 0 }, "invalid_client", 401},
		"expires too late":      {func(s *served, r *request) { r.claims.Expires = s.clock.at.Add(time.Hour).Unix() }, "invalid_client", 401},
		"from the future":       {func(s *served, r *request) { r.claims.Issued = s.clock.at.Add(2 * time.Minute).Unix() }, "invalid_client", 401},
		"not yet valid":         {func(s *served, r *request) { r.claims.NotBefore = s.clock.at.Add(2 * time.Minute).Unix() }, "invalid_client", 401},
		"no jti":                {func(_ *served, r *request) { r.claims.ID = "" }, "invalid_client", 401},
		"a nonce of nobody":     {func(_ *served, r *request) { r.claims.Nonce = "x" }, "invalid_client", 401},
		"no proof":              {func(_ *served, r *request) { r.proofBy = nil }, "invalid_dpop_proof", 400},
		"two proofs":            {func(_ *served, r *request) { r.header.Add("DPoP", "x") }, "invalid_dpop_proof", 400},
		"a proof of no kind":    {func(_ *served, r *request) { r.proofAs = "JWT" }, "invalid_dpop_proof", 400},
		"for another method":    {func(_ *served, r *request) { r.proof.Method = "GET" }, "invalid_dpop_proof", 400},
		"for another target":    {func(s *served, r *request) { r.proof.Target = s.url + "/nonce" }, "invalid_dpop_proof", 400},
		"a proof too old":       {func(s *served, r *request) { r.proof.Issued = s.clock.at.Add(-181 * time.Second).Unix() }, "invalid_dpop_proof", 400},
		"a proof of the future": {func(s *served, r *request) { r.proof.Issued = s.clock.at.Add(61 * time.Second).Unix() }, "invalid_dpop_proof", 400},
		"a proof without jti":   {func(_ *served, r *request) { r.proof.ID = "" }, "invalid_dpop_proof", 400},
		"nobody's nonce":        {func(_ *served, r *request) { r.proof.Nonce = "x" }, "use_dpop_nonce", 400},
		"another scope":         {func(_ *served, r *request) { r.form.Set("scope", "vsdservice root") }, "invalid_scope", 400},
		"a relative resource":   {func(_ *served, r *request) { r.form.Set("resource", "/vsdm") }, "invalid_target", 400},
		"a resource's part":     {func(_ *served, r *request) { r.form.Set("resource", "https://a.example/#x") }, "invalid_target", 400},
		"an empty audience":     {func(_ *served, r *request) { r.form.Set("audience", "") }, "invalid_target", 400},
		"a long audience":       {func(_ *served, r *request) { r.form.Set("audience", strings.Repeat("x", 513)) }, "invalid_target", 400},
	} {
		s := serve(t, Options{})
		r := s.request(s.client(t))
		tc.change(s, r)
		status, h, m := s.send(t, r)
		if status != tc.status || m["error"] != tc.code || m["error_description"] == "" || m["access_token"] != "" ||
			h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v", name, status, m)
		}
	}
}

func TestProofWithoutItsOwnKeyIsRefused(t *testing.T) {
	s := serve(t, Options{})
	r := s.request(s.client(t))
	payload, _ := json.Marshal(r.proof)
	forged, err := jose.Sign(jose.Header{Typ: zeta.TypeProof, JWK: keyOf(t, r.key)}, payload, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	keyless, err := jose.Sign(jose.Header{Typ: zeta.TypeProof}, payload, r.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, proof := range []string{forged, keyless} {
		r := s.request(s.client(t))
		r.proofBy, r.header = nil, http.Header{"Dpop": {proof}}
		if status, _, m := s.send(t, r); status != 400 || m["error"] != "invalid_dpop_proof" {
			t.Errorf("%d %v", status, m)
		}
	}
}

func TestEverythingWorksOnce(t *testing.T) {
	s := serve(t, Options{})
	c := s.client(t)
	if status, _, m := s.send(t, s.request(c)); status != 200 {
		t.Fatalf("%d %v", status, m)
	}
	again := s.request(c)
	again.proof.ID = "another"
	if status, _, m := s.send(t, again); status != 401 || m["error"] != "invalid_client" {
		t.Errorf("the same assertion again: %d %v", status, m)
	}
	again = s.request(c)
	again.claims.ID = "another"
	if status, _, m := s.send(t, again); status != 400 || m["error"] != "invalid_dpop_proof" {
		t.Errorf("the same proof again: %d %v", status, m)
	}

	_, _, m := s.call(t, "GET", "/nonce", "", "", nil)
	nonce := m["nonce"]
	if len(nonce) != 22 { // 128 bits
		t.Errorf("the nonce is %q", nonce)
	}
	for n, want := range []int{200, 400} {
		r := s.request(c)
		r.claims.ID, r.proof.ID, r.proof.Nonce = fmt.Sprint("n", n), fmt.Sprint("n", n), nonce
		if status, _, m := s.send(t, r); status != want {
			t.Errorf("the nonce for the %d. time: %d %v", n+1, status, m)
		}
	}
	_, _, m = s.call(t, "GET", "/nonce", "", "", nil)
	s.clock.at = s.clock.at.Add(nonceLife)
	r := s.request(c)
	r.claims.ID, r.proof.ID, r.proof.Nonce = "late", "late", m["nonce"]
	if status, _, answer := s.send(t, r); status != 400 || answer["error"] != "use_dpop_nonce" {
		t.Errorf("a nonce after its life: %d %v", status, answer)
	}
}

func TestOneNonceForManyAtTheSameTime(t *testing.T) {
	i := newIssuer(t, newClock(), base, Options{})
	nonce, ok := i.newNonce()
	if !ok {
		t.Fatal("no nonce")
	}
	var taken atomic.Int32
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if i.nonces.take(nonce, i.now()) {
				taken.Add(1)
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 1 {
		t.Errorf("%d took one nonce", n)
	}
}

func TestADemandedNonce(t *testing.T) {
	s := serve(t, Options{DemandNonce: true})
	c := s.client(t)
	status, h, m := s.send(t, s.request(c))
	if status != 400 || m["error"] != "use_dpop_nonce" || h.Get("DPoP-Nonce") == "" {
		t.Fatalf("%d %v", status, m)
	}
	r := s.request(c)
	r.claims.ID, r.proof.ID, r.proof.Nonce = "second", "second", h.Get("DPoP-Nonce")
	if status, _, m := s.send(t, r); status != 200 {
		t.Errorf("%d %v", status, m)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	o, now := newOnce(), time.Unix(1_777_000_000, 0)
	for n := range maxRemembered {
		if !o.add(fmt.Sprint(n), now.Add(time.Minute), now) {
			t.Fatal("no room")
		}
	}
	if o.add("one more", now.Add(time.Minute), now) || len(o.until) != maxRemembered {
		t.Error("more than the bound are remembered")
	}
	later := now.Add(time.Minute)
	if !o.add("one more", later.Add(time.Minute), later) || len(o.until) != 1 {
		t.Errorf("%d are remembered after all have expired", len(o.until))
	}
	if o.take("one more", later.Add(time.Minute)) {
		t.Error("an expired value was taken")
	}
}

func TestOtherEndpoints(t *testing.T) {
	s := serve(t, Options{})
	for _, tc := range []struct {
		method, path, body, code string
		status                   int
	}{
		{"GET", "/authorize", "", "unsupported_response_type", 400},
		{"GET", "/redirect", "", "unsupported_response_type", 400},
		{"POST", "/revoke", "", "unsupported_token_type", 400},
		{"POST", pathPresence, `{"patientId":"X123456780"}`, "invalid_request", 400},
		{"POST", pathPresence, `{"patientId":`, "invalid_request", 400},
		{"POST", pathPresence, `{"patientId":"` + strings.Repeat("x", maxBody) + `"}`, "invalid_request", 413},
		{"GET", "/token", "", "", 405},
		{"GET", "/", "", "", 404},
	} {
		if status, _, m := s.call(t, tc.method, tc.path, "application/json", tc.body, nil); status != tc.status || m["error"] != tc.code {
			t.Errorf("%s %s: %d %v", tc.method, tc.path, status, m)
		}
	}
}

func FuzzToken(f *testing.F) {
	i, err := New(newClock().now, base, Options{ForTestsOnly: true})
	if err != nil {
		f.Fatal(err)
	}
	h, err := i.Handler()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pathToken, "grant_type=client_credentials&client_assertion_type=x&client_assertion=a.b.c", "a.b.c")
	f.Add(pathRegister, `{"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[]}}`, "")
	f.Add(pathPresence, `{"patientId":"X","insurerId":"Y"}`, "")
	f.Fuzz(func(t *testing.T, path, body, proof string) {
		switch path {
		case pathToken, pathRegister, pathPresence:
		default:
			path = pathToken
		}
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Content-Type", formType)
		r.Header["Dpop"] = []string{proof}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 || path == pathToken && w.Code == 200 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
