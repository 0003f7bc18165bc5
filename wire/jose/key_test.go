package jose

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The key of RFC 9449, figure 4, and its thumbprint, as it stands in figure 8.
const (
	rfcX          = "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs"
	rfcY          = "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"
	rfcThumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
)

func jwk(x, y, more string) string {
	return fmt.Sprintf(`{"kty":"EC","x":%q,"y":%q,"crv":"P-256"%s}`, x, y, more)
}

func generate(t testing.TB) (*ecdsa.PrivateKey, Key) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := KeyOf(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return private, k
}

func TestParseKey(t *testing.T) {
	offCurve := rfcY[:20] + "A" + rfcY[21:]
	short := base64.RawURLEncoding.EncodeToString(make([]byte, 31))
	long := base64.RawURLEncoding.EncodeToString(make([]byte, 33))
	zero := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	loose := rfcX[:42] + "t" // the last sign has two bits that stand for nothing
	for _, tc := range []struct {
		name, jwk string
		want      error
	}{
		{"right", jwk(rfcX, rfcY, ""), nil},
		{"for signatures", jwk(rfcX, rfcY, `,"use":"sig","alg":"ES256","kid":"1","key_ops":["verify"]`), nil},
		{"unknown members", jwk(rfcX, rfcY, `,"e":"AQAB","foo":{"d":1}`), nil},
		{"private", jwk(rfcX, rfcY, `,"d":"`+rfcX+`"`), ErrPrivate},
		{"private, empty", jwk(rfcX, rfcY, `,"d":null`), ErrPrivate},
		{"symmetric part", jwk(rfcX, rfcY, `,"k":"AA"`), ErrPrivate},
		{"private RSA part", jwk(rfcX, rfcY, `,"dq":"AA"`), ErrPrivate},
		{"for encryption", jwk(rfcX, rfcY, `,"use":"enc"`), ErrKey},
		{"other algorithm", jwk(rfcX, rfcY, `,"alg":"ES384"`), ErrKey},
		{"off the curve", jwk(rfcX, offCurve, ""), ErrKey},
		{"infinite", jwk(zero, zero, ""), ErrKey},
		{"x of 31 octets", jwk(short, rfcY, ""), ErrKey},
		{"y of 31 octets", jwk(rfcX, short, ""), ErrKey},
		{"x of 33 octets", jwk(long, rfcY, ""), ErrKey},
		{"y of 33 octets", jwk(rfcX, long, ""), ErrKey},
		{"no y", jwk(rfcX, "", ""), ErrKey},
		{"padding", jwk(rfcX+"=", rfcY, ""), ErrKey},
		{"line break", jwk(rfcX[:20]+"\n"+rfcX[20:], rfcY, ""), ErrKey},
		{"line break instead of a sign", jwk(rfcX[:20]+"\n"+rfcX[21:], rfcY, ""), ErrKey},
		{"loose bits", jwk(loose, rfcY, ""), ErrKey},
		{"standard alphabet", jwk(strings.ReplaceAll(rfcX, "-", "+"), rfcY, ""), ErrKey},
		{"other curve", strings.Replace(jwk(rfcX, rfcY, ""), "P-256", "P-384", 1), ErrKey},
		{"other type", strings.Replace(jwk(rfcX, rfcY, ""), `"EC"`, `"OKP"`, 1), ErrKey},
		{"other case", strings.Replace(jwk(rfcX, rfcY, ""), `"kty"`, `"KTY"`, 1), ErrKey},
		{"too long", jwk(rfcX, rfcY, "") + strings.Repeat(" ", maxKey), ErrLimit},
	} {
		k, err := ParseKey([]byte(tc.jwk))
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: ParseKey = %v, want %v", tc.name, err, tc.want)
		}
		if (err != nil) != k.IsZero() {
			t.Errorf("%s: key and error contradict each other", tc.name)
		}
	}
	for _, bad := range []string{"", "null", "[]", jwk(rfcX, rfcY, `,"x":"`+rfcX+`"`), jwk(rfcX, rfcY, "") + "{}", jwk(rfcX, rfcY, `,"use":1`)} {
		if _, err := ParseKey([]byte(bad)); err == nil {
			t.Errorf("ParseKey(%q) is no error", bad)
		}
	}
}

func TestThumbprint(t *testing.T) {
	k, err := ParseKey([]byte(jwk(rfcX, rfcY, "")))
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Thumbprint(); got != rfcThumbprint {
		t.Errorf("Thumbprint() = %s, want %s", got, rfcThumbprint)
	}
}

func TestKeyOfRefusesOtherCurves(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := KeyOf(&private.PublicKey); !errors.Is(err, ErrKey) {
		t.Errorf("KeyOf(P-384) = %v, want %v", err, ErrKey)
	}
	if _, err := KeyOf(nil); !errors.Is(err, ErrKey) {
		t.Errorf("KeyOf(nil) = %v, want %v", err, ErrKey)
	}
	if _, err := Sign(Header{}, nil, private); err == nil {
		t.Error("Sign with a P-384 key is no error")
	}
}

func TestKeyRoundTrip(t *testing.T) {
	_, k := generate(t)
	k.ID = "this"
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	var back Key
	if err := json.Unmarshal(text, &back); err != nil || !back.Equal(k) || back.ID != k.ID {
		t.Errorf("%s reads as %+v, %v", text, back, err)
	}
	if _, other := generate(t); other.Equal(k) {
		t.Error("two keys are equal")
	}
	if zero := (Key{}); zero.Equal(zero) {
		t.Error("no key equals no key")
	}
}

func TestParseKeySet(t *testing.T) {
	_, a := generate(t)
	_, b := generate(t)
	a.ID, b.ID = "a", "b"
	text, err := json.Marshal(KeySet{"a": a, "b": b})
	if err != nil {
		t.Fatal(err)
	}
	set, err := ParseKeySet(text)
	if err != nil || len(set) != 2 || set["a"].Thumbprint() != a.Thumbprint() || set["b"].Thumbprint() != b.Thumbprint() {
		t.Fatalf("%s reads as %v, %v", text, set, err)
	}
	rsa := `{"kty":"RSA","kid":"r","use":"enc","alg":"RSA-OAEP","n":"AA","e":"AQAB"}`
	good := jwk(rfcX, rfcY, `,"kid":"g"`)
	for _, tc := range []struct {
		name, keys string
		want       error
		ids        string
	}{
		{"foreign keys are left out", good + "," + rsa + "," + strings.Replace(good, `"g"`, `"h","use":"enc"`, 1), nil, "g"},
		{"without id", jwk(rfcX, rfcY, ""), nil, rfcThumbprint},
		{"two foreign keys without id", good + `,{"kty":"OKP"},{"kty":"OKP"}`, nil, "g"},
		{"empty", "", nil, ""},
		{"one id twice", good + "," + good, ErrDuplicate, ""},
		{"one id twice, the other foreign", good + "," + strings.Replace(rsa, `"r"`, `"g"`, 1), ErrDuplicate, ""},
		{"the thumbprint as somebody's id", jwk(rfcX, rfcY, "") + "," + jwk(rfcX, rfcY, `,"kid":"`+rfcThumbprint+`"`), ErrDuplicate, ""},
		{"a private key", good + "," + jwk(rfcX, rfcY, `,"kid":"h","d":"AA"`), ErrPrivate, ""},
		{"a foreign private key", good + "," + strings.Replace(rsa, `"e"`, `"d":"AA","e"`, 1), ErrPrivate, ""},
		{"a broken key", good + "," + jwk(rfcX, rfcX, `,"kid":"h"`), ErrKey, ""},
		{"too many", strings.Repeat(`{"kty":"OKP"},`, maxKeys) + good, ErrLimit, ""},
	} {
		set, err := ParseKeySet([]byte(`{"keys":[` + tc.keys + `]}`))
		if !errors.Is(err, tc.want) || strings.Join(set.IDs(), " ") != tc.ids {
			t.Errorf("%s: ParseKeySet = %v, %v, want %q, %v", tc.name, set.IDs(), err, tc.ids, tc.want)
		}
	}
	for _, bad := range []string{"", "{}", `{"keys":{}}`, `{"keys":[],"keys":[]}`, `{"keys":[1]}`, `{"keys":[` + good + `]}x`, strings.Repeat(" ", maxKeySet+1)} {
		if _, err := ParseKeySet([]byte(bad)); err == nil {
			t.Errorf("ParseKeySet(%.40q) is no error", bad)
		}
	}
}

func FuzzParseKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[` + jwk(rfcX, rfcY, `,"kid":"g"`) + `]}`))
	f.Add([]byte(`{"keys":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := ParseKeySet(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseKeySet(again)
		if err != nil || len(back) != len(set) {
			t.Fatalf("%q reads as %v, which writes %s, which reads as %v: %v", text, set, again, back, err)
		}
		for id, k := range set {
			if other := back[id]; !other.Equal(k) {
				t.Fatalf("key %q changed", id)
			}
		}
	})
}
