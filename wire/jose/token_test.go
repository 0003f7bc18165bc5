package jose

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott/wire/internal/shared"
)

const limit = 4096

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// RFC 7515, appendix A.3.
func TestVerifyOfficialExample(t *testing.T) {
	k, err := ParseKey([]byte(jwk("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "")))
	if err != nil {
		t.Fatal(err)
	}
	compact := "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ." +
		"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	token, err := Parse(compact, limit)
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Verify(k); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(string(token.Payload), `{"iss":"joe"`) {
		t.Errorf("payload %q", token.Payload)
	}
}

func TestSignAndVerify(t *testing.T) {
	private, k := generate(t)
	_, other := generate(t)
	for i := range 300 { // short r and s come once in 128
		payload := bytes.Repeat([]byte{'x'}, i)
		compact, err := Sign(Header{Typ: "t", Kid: "k", JWK: k, X5C: [][]byte{{1}, {2, 3}}}, payload, private)
		if err != nil {
			t.Fatal(err)
		}
		token, err := Parse(compact, limit)
		if err != nil {
			t.Fatal(err)
		}
		h := &token.Header
		if !bytes.Equal(token.Payload, payload) || h.Typ != "t" || h.Alg != "ES256" || h.Kid != "k" || !h.JWK.Equal(k) || len(h.X5C) != 2 || h.X5C[1][1] != 3 {
			t.Fatalf("read back as %+v", token)
		}
		if err := token.Verify(k); err != nil {
			t.Fatal(err)
		}
		if err := token.Verify(other); !errors.Is(err, ErrSignature) {
			t.Fatalf("verified by another key: %v", err)
		}
		if err := token.Verify(Key{}); !errors.Is(err, ErrSignature) {
			t.Fatalf("verified by no key: %v", err)
		}
	}
	if _, err := Sign(Header{Alg: "none"}, nil, private); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("Sign with alg none: %v", err)
	}
}

// Not one sign of a token can be changed, and no part of it be cut off.
func TestEveryChangeIsNoticed(t *testing.T) {
	private, k := generate(t)
	compact, err := Sign(Header{Typ: "t", Kid: "k"}, []byte(`{"a":"b"}`), private)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(compact) {
		for _, c := range []byte("A_9.=") {
			if compact[i] == c {
				continue
			}
			changed := compact[:i] + string(c) + compact[i+1:]
			if token, err := Parse(changed, limit); err == nil && token.Verify(k) == nil {
				t.Errorf("%s verifies", changed)
			}
		}
		if token, err := Parse(compact[:i], limit); err == nil && token.Verify(k) == nil {
			t.Errorf("the first %d octets verify", i)
		}
	}
	for _, changed := range []string{compact + "A", compact + "=", compact + ".", "." + compact, compact + "\n", " " + compact, strings.Replace(compact, ".", "\n.", 1)} {
		if token, err := Parse(changed, limit); err == nil && token.Verify(k) == nil {
			t.Errorf("%q verifies", changed)
		}
	}
}

func TestOtherAlgorithmsNeverVerify(t *testing.T) {
	private, k := generate(t)
	good, err := Sign(Header{}, []byte("{}"), private)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(good, ".")
	for _, alg := range []string{"none", "None", "HS256", "RS256", "RS1", "RS999", "ES384", "ES256K", "EdDSA", "es256", ""} {
		for _, signature := range []string{"", rest[strings.IndexByte(rest, '.')+1:]} {
			token, err := Parse(encode(`{"alg":"`+alg+`"}`)+"."+encode("{}")+"."+signature, limit)
			if err != nil {
				t.Fatal(err)
			}
			if err := token.Verify(k); !errors.Is(err, ErrAlgorithm) {
				t.Errorf("alg %q: Verify = %v, want %v", alg, err, ErrAlgorithm)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	x5c := `["` + strings.Repeat(`AA==","`, maxCertificates) + `AA=="]`
	for name, compact := range map[string]string{
		"nothing":                 "",
		"dots":                    "..",
		"two parts":               encode("{}") + "." + encode("{}"),
		"four parts":              encode("{}") + "." + encode("{}") + ".AAAA.AAAA",
		"padding":                 encode(`{"alg":"ES256" }`) + "=." + encode("{}") + ".AAAA",
		"header is no JSON":       encode("x") + "." + encode("{}") + ".AAAA",
		"header is a list":        encode("[]") + "." + encode("{}") + ".AAAA",
		"a name twice":            encode(`{"alg":"ES256","alg":"none"}`) + "." + encode("{}") + ".AAAA",
		"data behind":             encode(`{"alg":"ES256"}{}`) + "." + encode("{}") + ".AAAA",
		"alg is a number":         encode(`{"alg":1}`) + "." + encode("{}") + ".AAAA",
		"typ is a list":           encode(`{"typ":[]}`) + "." + encode("{}") + ".AAAA",
		"kid too long":            encode(`{"kid":"`+strings.Repeat("k", maxID+1)+`"}`) + "." + encode("{}") + ".AAAA",
		"an extension":            encode(`{"alg":"ES256","crit":["b64"],"b64":false}`) + "." + encode("{}") + ".AAAA",
		"an unknown extension":    encode(`{"alg":"ES256","crit":[]}`) + "." + encode("{}") + ".AAAA",
		"private key":             encode(`{"jwk":`+jwk(rfcX, rfcY, `,"d":"AA"`)+`}`) + "." + encode("{}") + ".AAAA",
		"jwk is text":             encode(`{"jwk":"x"}`) + "." + encode("{}") + ".AAAA",
		"x5c is text":             encode(`{"x5c":"AA=="}`) + "." + encode("{}") + ".AAAA",
		"x5c is empty":            encode(`{"x5c":[]}`) + "." + encode("{}") + ".AAAA",
		"x5c in base64url":        encode(`{"x5c":["_-8="]}`) + "." + encode("{}") + ".AAAA",
		"x5c with breaks":         encode(`{"x5c":["AA\n=="]}`) + "." + encode("{}") + ".AAAA",
		"x5c without end":         encode(`{"x5c":`+x5c+`}`) + "." + encode("{}") + ".AAAA",
		"loose bits in a payload": encode("{}") + ".e31.AAAA",
		"too long":                encode("{}") + "." + strings.Repeat("A", limit) + ".AAAA",
	} {
		if _, err := Parse(compact, limit); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestErrorsHoldNothingOfTheToken(t *testing.T) {
	const secret = "geheim"
	for _, compact := range []string{
		encode(`{"`+secret+`":"`+secret+`","`+secret+`":1}`) + "." + secret + "." + secret,
		encode(`{"typ":`+secret+`}`) + "." + secret + "." + secret,
		secret + "." + secret + "." + secret,
		secret,
	} {
		if _, err := Parse(compact, limit); err == nil || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), encode(secret)) {
			t.Errorf("Parse(%q) = %v", compact, err)
		}
	}
}

func TestLeafKey(t *testing.T) {
	private, k := generate(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "leaf"}, NotAfter: time.Unix(1<<31, 0)}
	der, err := x509.CreateCertificate(nil, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := LeafKey(der)
	if err != nil || !leaf.Equal(k) {
		t.Errorf("LeafKey = %v, %v", leaf, err)
	}
	if _, err := LeafKey(der[1:]); err == nil {
		t.Error("half a certificate has a key")
	}
	if _, err := LeafKey(append(der, make([]byte, maxCertificate)...)); !errors.Is(err, ErrLimit) {
		t.Errorf("a long certificate: %v", err)
	}
}

// All published proofs of patient presence verify with the key of their certificate, and their kid is its thumbprint.
func TestPublishedTokens(t *testing.T) {
	lines := strings.Fields(string(shared.File(t, "data/vsdm2/popp/popp_tokens.csv")))[1:]
	if len(lines) != 300 {
		t.Fatalf("%d tokens, want 300", len(lines))
	}
	for i, compact := range lines {
		token, err := Parse(compact, limit)
		if err != nil {
			t.Fatalf("token %d: %v", i, err)
		}
		leaf, err := LeafKey(token.Header.X5C[0])
		if err != nil {
			t.Fatalf("token %d: %v", i, err)
		}
		if err := token.Verify(leaf); err != nil || leaf.Thumbprint() != token.Header.Kid || !json.Valid(token.Payload) {
			t.Errorf("token %d: %v", i, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	private, k := generate(f)
	good, err := Sign(Header{Typ: "t", Kid: "k", JWK: k, X5C: [][]byte{{1}}}, []byte(`{"a":1}`), private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, compact string) {
		token, err := Parse(compact, limit)
		if err != nil {
			return
		}
		if token.Verify(k) == nil && compact != good {
			t.Fatalf("%q verifies", compact)
		}
		parts := strings.Split(compact, ".")
		if len(parts) != 3 || len(compact) > limit || base64.RawURLEncoding.EncodeToString(token.Payload) != parts[1] {
			t.Fatalf("%q was accepted", compact)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	private, k := generate(b)
	compact, err := Sign(Header{Typ: "dpop+jwt", JWK: k}, []byte(`{"jti":"3c2b1a","htm":"GET","htu":"https://example.com/a","iat":1777032206}`), private)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(compact, limit); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	private, k := generate(b)
	compact, err := Sign(Header{}, []byte(`{}`), private)
	if err != nil {
		b.Fatal(err)
	}
	token, err := Parse(compact, limit)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := token.Verify(k); err != nil {
			b.Fatal(err)
		}
	}
}

// A header that was read before is not read again, and means the same; one that is written otherwise is read.
func TestParseAgain(t *testing.T) {
	private, k := generate(t)
	other, o := generate(t)
	sign := func(h Header, payload string, key *ecdsa.PrivateKey) string {
		compact, err := Sign(h, []byte(payload), key)
		if err != nil {
			t.Fatal(err)
		}
		return compact
	}
	first, err := Parse(sign(Header{Typ: "t", JWK: k}, "1", private), limit)
	if err != nil {
		t.Fatal(err)
	}
	known := first.Head()
	for name, tc := range map[string]struct {
		compact string
		is      bool
		key     Key
	}{
		"the same":        {sign(Header{Typ: "t", JWK: k}, "2", private), true, k},
		"another key":     {sign(Header{Typ: "t", JWK: o}, "2", other), false, o},
		"another type":    {sign(Header{Typ: "u", JWK: k}, "2", private), false, k},
		"signed by other": {sign(Header{Typ: "t", JWK: k}, "2", other), true, k},
	} {
		again, err := ParseAgain(tc.compact, limit, known)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := Parse(tc.compact, limit)
		if err != nil {
			t.Fatal(err)
		}
		if known.Is(again) != tc.is || !again.Header.JWK.Equal(tc.key) || again.Header.Typ != plain.Header.Typ || again.Header.Alg != plain.Header.Alg {
			t.Errorf("%s: %+v, known %v; without what is known %+v", name, again.Header, known.Is(again), plain.Header)
		}
		if got, want := again.Verify(again.Header.JWK), plain.Verify(plain.Header.JWK); !errors.Is(got, want) {
			t.Errorf("%s: Verify = %v, want %v", name, got, want)
		}
	}
	if (*Head)(nil).Is(first) {
		t.Error("nothing known is a token's header")
	}
}
