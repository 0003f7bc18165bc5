package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

const (
	pdp  = "https://pdp.example"
	popp = "https://popp.example.com"
	ours = "https://vsdm.example/vsdservice/v1/vsdmbundle"
	aud  = "https://vsdm.example"
	lei  = "883110000168650"
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

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

func (c *clock) advance(d time.Duration) { c.set(c.now().Add(d)) }

// signer is a key pair with a kid.
type signer struct {
	private *ecdsa.PrivateKey
	key     jose.Key
}

func newSigner(t testing.TB, id string) signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jose.KeyOf(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	key.ID = id
	return signer{private, key}
}

func (s signer) set() jose.KeySet { return jose.KeySet{s.key.ID: s.key} }

// sign signs any header, ours or not, with the algorithm ES256 whatever the header says.
func (s signer) sign(t testing.TB, header, payload any) string {
	t.Helper()
	var parts [2]string
	for i, v := range []any{header, payload} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(b)
	}
	signed := parts[0] + "." + parts[1]
	sum := sha256.Sum256([]byte(signed))
	r, z, err := ecdsa.Sign(rand.Reader, s.private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), z.FillBytes(make([]byte, 32))...))
}

// object is a JSON object that tests bend.
type object map[string]any

func (o object) with(name string, value any) object {
	c := object{}
	for k, v := range o {
		c[k] = v
	}
	if value == nil {
		delete(c, name)
	} else {
		c[name] = value
	}
	return c
}

// world is a verifier with its issuers and one client.
type world struct {
	clock   *clock
	cfg     Config
	pdp     signer
	popp    signer
	client  signer
	v       *Verifier
	revoked *ident.Revocations
	proofNo atomic.Int64
}

func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	w := &world{
		clock: &clock{at: time.Unix(1777032300, 0)}, // 2026-04-24
		pdp:   newSigner(t, "pdp-1"), popp: newSigner(t, "popp-1"), client: newSigner(t, ""),
	}
	var err error
	if w.revoked, err = ident.OpenRevocations(crashdisk.New(), "revocations.json", w.clock.now); err != nil {
		t.Fatal(err)
	}
	w.cfg = Config{
		Now: w.clock.now, Revocations: w.revoked, Pseudonym: []byte("0123456789abcdef"),
		Access:   []*Issuer{newIssuer(t, IssuerConfig{Issuer: pdp, Source: Static, Keys: w.pdp.set(), Now: w.clock.now})},
		Presence: []*Issuer{newIssuer(t, IssuerConfig{Issuer: popp, Source: Static, Keys: w.popp.set(), Now: w.clock.now})},
	}
	for _, c := range change {
		c(&w.cfg)
	}
	w.v = newVerifier(t, w.cfg)
	w.clock.advance(10 * time.Minute) // proofs of before may need a nonce
	return w
}

func newIssuer(t testing.TB, cfg IssuerConfig) *Issuer {
	t.Helper()
	i, err := NewIssuer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func newVerifier(t testing.TB, cfg Config) *Verifier {
	t.Helper()
	v, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (w *world) accessHeader() object { return object{"typ": "at+jwt", "alg": "ES256", "kid": "pdp-1"} }

func (w *world) accessClaims() object {
	now := w.clock.now().Unix()
	return object{
		"iss": pdp, "exp": now + 300, "iat": now, "aud": []string{aud}, "scope": "openid vsdservice", "sub": lei,
		"profession_oid": "1.2.276.0.76.4.50", "common_name": "Praxis", "organization_name": "BAG", "client_id": "cid", "ip_address": "192.0.2.1",
		"product_id": "product", "product_version": "1.0", "platform": "linux", "acr": zeta.Substantial, "jti": "token-1", "sid": "session-1",
		"cnf": object{"jkt": w.client.key.Thumbprint()},
	}
}

func (w *world) access(t testing.TB) string {
	return w.pdp.sign(t, w.accessHeader(), w.accessClaims())
}

func jwkOf(t testing.TB, k jose.Key) object {
	t.Helper()
	k.ID = ""
	b, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	var o object
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatal(err)
	}
	return object{"kty": o["kty"], "crv": o["crv"], "x": o["x"], "y": o["y"]}
}

func (w *world) proofHeader(t testing.TB) object {
	return object{"typ": "dpop+jwt", "alg": "ES256", "jwk": jwkOf(t, w.client.key)}
}

func (w *world) proofClaims(access string) object {
	sum := sha256.Sum256([]byte(access))
	return object{
		"jti": fmt.Sprintf("proof-%d", w.proofNo.Add(1)), "htm": "GET", "htu": ours, "iat": w.clock.now().Unix(),
		"ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	}
}

func (w *world) proof(t testing.TB, access string) string {
	return w.client.sign(t, w.proofHeader(t), w.proofClaims(access))
}

func (w *world) presenceHeader() object {
	return object{"typ": "vnd.telematik.popp+jwt", "alg": "ES256", "kid": "popp-1"}
}

func (w *world) presenceClaims() object {
	now := w.clock.now().Unix()
	return object{
		"iat": now, "version": "1.0.0", "iss": popp, "proofMethod": "ehc-practitioner-user-x509", "patientProofTime": now,
		"patientId": "X123450000", "insurerId": "109500969", "actorId": lei, "actorProfessionOid": "1.2.276.0.76.4.32",
	}
}

func (w *world) presence(t testing.TB) string {
	return w.popp.sign(t, w.presenceHeader(), w.presenceClaims())
}

// request is a right request of the client with an access token and a proof for it.
func (w *world) request(t testing.TB, access string) *Request {
	return &Request{
		Method: "GET", URL: ours, Remote: netip.MustParseAddr("192.0.2.1"), Audience: []string{aud}, Scopes: []string{"vsdservice"},
		Header: http.Header{"Authorization": {"DPoP " + access}, "Dpop": {w.proof(t, access)}},
	}
}

// want checks that a request is refused in this way, or accepted if status is 200.
func (w *world) want(t *testing.T, name string, r *Request, status int, code zeta.Code, reason zeta.Reason) *ident.Identity {
	t.Helper()
	id, err := w.v.Identify(t.Context(), r)
	if status == http.StatusOK {
		if err != nil || id == nil {
			t.Errorf("%s: %v, want to be accepted", name, err)
		}
		return id
	}
	refusal, ok := errors.AsType[*zeta.Error](err)
	if !ok || id != nil || refusal.Status != status || refusal.Code != code || refusal.Reason != reason {
		t.Errorf("%s: %v, %v, want %d %s (%s)", name, id, err, status, code, reason)
	}
	return nil
}
