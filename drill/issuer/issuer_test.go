package issuer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

const base = "https://issuer.dev.invalid"

// clock stands at a moment of the quarter in which the published tokens were issued.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newClock() *clock { return &clock{time.Date(2026, 4, 24, 12, 3, 26, 0, time.UTC)} }

func newIssuer(t testing.TB, c *clock, name string, o Options) *Issuer {
	t.Helper()
	o.ForTestsOnly = true
	i, err := New(c.now, name, o)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	s, err := newSigner()
	if err != nil {
		t.Fatal(err)
	}
	return s.private
}

func keyOf(t testing.TB, private *ecdsa.PrivateKey) jose.Key {
	t.Helper()
	k, err := jose.KeyOf(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestNobodyGetsAnIssuerByAccident(t *testing.T) {
	c := newClock()
	if _, err := New(c.now, base, Options{}); err == nil {
		t.Error("an issuer was made though nobody said that it is for tests only")
	}
	for _, name := range []string{
		"", "issuer.dev.invalid", "https://popp.example.com", "https://dev.invalid.example.com", "https://notdev.invalid.", "http://10.0.0.1:80",
		"http://0.0.0.0:80", "http://[2001:db8::1]", base + "/", base + "/path", base + "?q", base + "#f", "https://a@issuer.dev.invalid", "ftp://127.0.0.1",
		"https://dev.invalid", "https://localhost.example.com",
	} {
		if _, err := New(c.now, name, Options{ForTestsOnly: true}); err == nil {
			t.Errorf("an issuer is called %q", name)
		}
	}
	for _, name := range []string{base, "http://127.0.0.1:8441", "http://[::1]:1", "https://LOCALHOST", "https://a.b.dev.invalid:8443"} {
		if _, err := New(c.now, name, Options{ForTestsOnly: true}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// required reads which members of the payload a published schema requires.
func required(t *testing.T, schema string) []string {
	t.Helper()
	return requiredAt(t, schema, "\n    required:\n", "      - ")
}

// requiredAt reads the last list under that line.
func requiredAt(t *testing.T, schema, under, item string) []string {
	t.Helper()
	text := string(published(t, "zeta", "schemas", schema))
	at := strings.LastIndex(text, under)
	if at < 0 {
		t.Fatal("the schema requires nothing")
	}
	var names []string
	for line := range strings.Lines(text[at+len(under):]) {
		name, ok := strings.CutPrefix(line, item)
		if !ok {
			break
		}
		names = append(names, strings.TrimSpace(name))
	}
	return names
}

// published reads a file that somebody else has published.
func published(t *testing.T, name ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "..", "shared", "data"}, name...)...))
	if os.IsNotExist(err) && os.Getenv("CI") != "true" {
		t.Skip("the published data are not here")
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func members(t *testing.T, payload []byte) map[string]json.RawMessage {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(payload, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func verified(t *testing.T, compact string, keys jose.KeySet) *jose.Token {
	t.Helper()
	token, err := jose.Parse(compact, 8<<10)
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Verify(keys[token.Header.Kid]); err != nil {
		t.Fatalf("kid %s: %v", token.Header.Kid, err)
	}
	return token
}

func TestAccessTokenHasWhatTheSchemaRequires(t *testing.T) {
	c := newClock()
	i := newIssuer(t, c, base, Options{Audience: []string{"vsdm"}})
	text, err := i.AccessToken(Grant{Binding: "thumb"})
	if err != nil {
		t.Fatal(err)
	}
	token := verified(t, text, i.AccessKeys())
	if token.Header.Typ != zeta.TypeAccess || token.Header.Kid == "" {
		t.Errorf("header %+v", token.Header)
	}
	have := members(t, token.Payload)
	names := required(t, "access-token.yaml")
	if len(names) != 14 {
		t.Errorf("the schema requires %q", names)
	}
	for _, name := range append(names, "querschott_dev", "profession_oid", "common_name", "platform") {
		if len(have[name]) == 0 || string(have[name]) == `""` {
			t.Errorf("claim %s is missing", name)
		}
	}
	a, err := zeta.ParseAccess(token.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if a.Issuer != base || a.Expires-a.Issued != 300 || a.Issued != c.at.Unix() || !slices.Equal(a.Audience, []string{"vsdm"}) ||
		a.Scope != "vsdservice" || a.Confirmation.Thumbprint != "thumb" || a.ACR != zeta.High {
		t.Errorf("%+v", a)
	}
}

func TestAccessTokenSaysWhatWasAskedFor(t *testing.T) {
	c := newClock()
	i := newIssuer(t, c, base, Options{})
	g := Grant{
		Practice: Practice{"5-1", "1.2.276.0.76.4.53", "Klinik", "Klinik GmbH", "soft", "9.9", "windows"}, Client: "cid",
		Address: netip.MustParseAddr("192.0.2.9"), Audience: []string{"a", "b"}, Scope: "x y", ACR: zeta.Substantial, Session: "sid", Version: 2,
		Issued: c.at.Add(-time.Hour), Lifetime: time.Minute, Binding: "thumb",
	}
	text, err := i.AccessToken(g)
	if err != nil {
		t.Fatal(err)
	}
	a, err := zeta.ParseAccess(verified(t, text, i.AccessKeys()).Payload)
	if err != nil {
		t.Fatal(err)
	}
	id := a.ID
	a.ID = ""
	want := zeta.Access{
		Issuer: base, Issued: c.at.Add(-time.Hour).Unix(), Expires: c.at.Add(-59 * time.Minute).Unix(), Audience: []string{"a", "b"}, Scope: "x y",
		Subject: "5-1", Profession: "1.2.276.0.76.4.53", CommonName: "Klinik", Organization: "Klinik GmbH", Client: "cid", Address: "192.0.2.9",
		Product: "soft", ProductVersion: "9.9", Platform: "windows", ACR: zeta.Substantial, Session: "sid", Version: 2,
		Confirmation: zeta.Confirmation{Thumbprint: "thumb"},
	}
	got, _ := json.Marshal(a)
	if wanted, _ := json.Marshal(want); !bytes.Equal(got, wanted) {
		t.Errorf("got %s, want %s", got, wanted)
	}
	if again, err := i.AccessToken(g); err != nil || strings.Contains(again, id) {
		t.Errorf("two tokens have one id: %v", err)
	}
	if _, err := i.AccessToken(Grant{}); err == nil {
		t.Error("a token is bound to nothing")
	}
}

func TestPresenceTokenLooksLikeThePublished(t *testing.T) {
	c := newClock()
	i := newIssuer(t, c, base, Options{})
	text, err := i.PresenceToken(Card{Patient: "X123456780", Insurer: "109500969", Actor: "1-1"})
	if err != nil {
		t.Fatal(err)
	}
	token := verified(t, text, i.PresenceKeys())
	leaf, err := jose.LeafKey(token.Header.X5C[0])
	if err != nil {
		t.Fatal(err)
	}
	key := i.PresenceKeys()[token.Header.Kid]
	if token.Header.Typ != zeta.TypePresence || !leaf.Equal(key) || token.Header.Kid != leaf.Thumbprint() {
		t.Errorf("kid %s, leaf %s, typ %s", token.Header.Kid, leaf.Thumbprint(), token.Header.Typ)
	}
	certificate, err := x509.ParseCertificate(token.Header.X5C[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(i.CA())
	if _, err := certificate.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: c.at}); err != nil {
		t.Errorf("the chain: %v", err)
	}
	if o := certificate.Subject.Organization; len(o) != 1 || !strings.Contains(o[0], "NOT-VALID") {
		t.Errorf("the certificate of organization %q does not say that it is not valid", o)
	}
	p, err := zeta.ParsePresence(token.Payload)
	if err != nil {
		t.Fatal(err)
	}
	want := zeta.Presence{
		Version: "1.0.0", Issuer: base, Issued: c.at.Unix(), Method: "ehc-practitioner-user-x509", Proved: c.at.Unix(), Patient: "X123456780",
		Insurer: "109500969", Actor: "1-1", Profession: "1.2.276.0.76.4.50",
	}
	if *p != want {
		t.Errorf("got %+v, want %+v", *p, want)
	}
	first := strings.Trim(strings.Split(string(published(t, "vsdm2", "popp", "popp_tokens.csv")), "\n")[1], "\"\r")
	theirs, err := jose.Parse(first, 8<<10)
	if err != nil {
		t.Fatal(err)
	}
	ours, has := members(t, theirs.Payload), members(t, token.Payload)
	for name := range ours {
		if _, ok := has[name]; !ok {
			t.Errorf("the published tokens have claim %s", name)
		}
	}
	if len(ours) != len(has) || len(theirs.Header.X5C) != len(token.Header.X5C) {
		t.Errorf("%d claims and %d certificates, the published have %d and %d", len(has), len(token.Header.X5C), len(ours), len(theirs.Header.X5C))
	}
}

func TestPresenceTokenSaysWhatWasAskedFor(t *testing.T) {
	c := newClock()
	i := newIssuer(t, c, base, Options{})
	old := c.at.AddDate(0, -3, 0)
	text, err := i.PresenceToken(Card{"no number", "no IK", "2-2", "1.2.276.0.76.4.32", "healthid", old.Add(-time.Hour), old})
	if err != nil {
		t.Fatal(err)
	}
	p, err := zeta.ParsePresence(verified(t, text, i.PresenceKeys()).Payload)
	if err != nil {
		t.Fatal(err)
	}
	want := zeta.Presence{
		Version: "1.0.0", Issuer: base, Issued: old.Unix(), Method: "healthid", Proved: old.Add(-time.Hour).Unix(), Patient: "no number",
		Insurer: "no IK", Actor: "2-2", Profession: "1.2.276.0.76.4.32",
	}
	if *p != want {
		t.Errorf("got %+v, want %+v", *p, want)
	}
	if _, err := i.PresenceToken(Card{Insurer: "109500969"}); err == nil {
		t.Error("a token is about nobody")
	}
}

func TestEveryIssuerHasKeysOfItsOwn(t *testing.T) {
	c := newClock()
	a, b := newIssuer(t, c, base, Options{}), newIssuer(t, c, base, Options{})
	text, err := a.AccessToken(Grant{Binding: "thumb"})
	if err != nil {
		t.Fatal(err)
	}
	token, err := jose.Parse(text, 8<<10)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []jose.KeySet{b.AccessKeys(), a.PresenceKeys(), a.EntityKeys()} {
		for _, k := range set {
			if token.Verify(k) == nil {
				t.Error("a foreign key verifies the token")
			}
		}
	}
}
