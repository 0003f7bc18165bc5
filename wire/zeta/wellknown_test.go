package zeta

import (
	"slices"
	"strings"
	"testing"
)

func TestProtectedResource(t *testing.T) {
	r := NewProtectedResource("https://vsdm.example", "https://pdp.example", "vsdservice")
	r.APIVersions = []APIVersion{{Major: 1, Version: "1.0.0", Status: "stable"}}
	d, err := r.Document()
	if err != nil {
		t.Fatal(err)
	}
	doc := members(t, d.Body)
	for _, name := range required(t, "opr-well-known.yaml", "") {
		if _, ok := doc[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	want := `{"resource":"https://vsdm.example","authorization_servers":["https://pdp.example"],"scopes_supported":["vsdservice"],"bearer_methods_supported":["header"],"dpop_signing_alg_values_supported":["ES256"],"dpop_bound_access_tokens_required":true,"zeta_asl_use":"not_supported","api_versions_supported":[{"major_version":1,"version":"1.0.0","status":"stable"}]}`
	if string(d.Body) != want {
		t.Errorf("wrote %s, want %s", d.Body, want)
	}
	if len(d.ETag) != 34 || d.ETag[0] != '"' {
		t.Errorf("ETag %s", d.ETag)
	}
	r.ScopesSupported = nil
	if other, err := r.Document(); err != nil || other.ETag == d.ETag {
		t.Errorf("another document has the same ETag, or %v", err)
	}
	r.AuthorizationServers = []string{"https://pdp.example", "https://pdp.example"}
	if _, err := r.Document(); err == nil {
		t.Error("two authorization servers are no error")
	}
	if _, err := NewProtectedResource("vsdm.example", "https://pdp.example").Document(); err == nil {
		t.Error("a resource that is no URL is no error")
	}
}

func TestAuthorizationServer(t *testing.T) {
	u := "https://pdp.example/x"
	s := AuthorizationServer{
		Issuer: "https://pdp.example", AuthorizationEndpoint: u, NonceEndpoint: u, RegistrationEndpoint: u, TokenEndpoint: u, RedirectionEndpoint: u,
		JWKSURI: "https://pdp.example/jwks", Scopes: []string{"vsdservice"}, ResponseTypes: []string{"code"}, GrantTypes: []string{}, AuthMethods: []string{},
		AuthAlgorithms: []string{}, ChallengeMethods: []string{}, RevocationEndpoint: u,
	}
	d, err := s.Document()
	if err != nil {
		t.Fatal(err)
	}
	doc := members(t, d.Body)
	for _, name := range required(t, "as-well-known.yaml", "") {
		if _, ok := doc[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	if got, err := KeysOf(d.Body, "https://pdp.example"); err != nil || got != s.JWKSURI {
		t.Errorf("KeysOf = %q, %v", got, err)
	}
	for name, metadata := range map[string]string{
		"other issuer": strings.Replace(string(d.Body), `"https://pdp.example"`, `"https://evil.example"`, 1),
		"issuer twice": strings.Replace(string(d.Body), `{`, `{"issuer":"https://pdp.example",`, 1),
		"no keys":      strings.Replace(string(d.Body), `jwks_uri`, `jwks_url`, 1),
		"odd keys":     strings.Replace(string(d.Body), `https://pdp.example/jwks`, `file:///etc/passwd`, 1),
		"nothing":      "",
		"long":         string(d.Body) + strings.Repeat(" ", maxDocument),
	} {
		if got, err := KeysOf([]byte(metadata), "https://pdp.example"); err == nil {
			t.Errorf("%s: KeysOf = %q", name, got)
		}
	}
	s.TokenEndpoint = ""
	if _, err := s.Document(); err == nil {
		t.Error("metadata without a token endpoint is no error")
	}
	s.TokenEndpoint, s.Scopes = u, nil
	if _, err := s.Document(); err == nil {
		t.Error("metadata without scopes is no error")
	}
}

const statement = `{"iss":"https://popp.example","sub":"https://popp.example","iat":1,"exp":2,"jwks":{"keys":[{"kty":"EC"}]},"metadata":{"oauth_resource":{"signed_jwks_uri":"/jwks"},"federation_entity":{}}}`

func TestParseStatement(t *testing.T) {
	s, err := ParseStatement([]byte(statement))
	if err != nil || s.Issuer != "https://popp.example" || s.Subject != s.Issuer || s.Issued != 1 || s.Expires != 2 || s.KeysURI != "/jwks" || string(s.Keys) != `{"keys":[{"kty":"EC"}]}` {
		t.Errorf("read %+v, %v", s, err)
	}
	if s, err := ParseStatement([]byte(`{"exp":7,"keys":[]}`)); err != nil || s.Expires != 7 {
		t.Errorf("read %+v, %v", s, err)
	}
	for _, bad := range []string{"", "[]", `{"exp":2,"exp":3}`, strings.Replace(statement, `"exp":2,`, "", 1), strings.Replace(statement, `"/jwks"`, "1", 1), strings.Replace(statement, `{"oauth`, `["oauth`, 1), strings.Repeat(" ", maxDocument+1)} {
		if _, err := ParseStatement([]byte(bad)); err == nil {
			t.Errorf("%.60q is no error", bad)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, tc := range []struct{ issuer, reference, want string }{
		{"https://popp.example", "/jwks", "https://popp.example/jwks"},
		{"https://popp.example", "jwks", "https://popp.example/jwks"},
		{"https://popp.example/a", "jwks", "https://popp.example/a/jwks"},
		{"https://popp.example", "https://other.example/jwks", "https://other.example/jwks"},
		{"https://popp.example", "file:///etc/passwd", ""},
		{"https://popp.example", "https://u@other.example/jwks", ""},
		{"popp", "jwks", ""},
	} {
		got, err := Resolve(tc.issuer, tc.reference)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("Resolve(%q, %q) = %q, %v", tc.issuer, tc.reference, got, err)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	f.Add([]byte(statement))
	f.Add([]byte(`{"issuer":"https://pdp.example","jwks_uri":"https://pdp.example/jwks"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		if uri, err := KeysOf(doc, "https://pdp.example"); err == nil && !slices.Contains([]string{"https", "http:"}, uri[:5]) {
			t.Fatalf("%q: keys at %q", doc, uri)
		}
		if s, err := ParseStatement(doc); err == nil && s.Expires <= 0 {
			t.Fatalf("%q: %+v", doc, s)
		}
	})
}
