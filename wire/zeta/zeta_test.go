package zeta

import (
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/querschott/querschott/wire/internal/shared"
)

// required returns the names under the last list "required" of that indentation in a published schema.
func required(t *testing.T, schema, indent string) []string {
	t.Helper()
	text := string(shared.File(t, "data/zeta/schemas/"+schema))
	blocks := regexp.MustCompile(`(?m)^`+indent+`required:\n((?:`+indent+` *- .*\n?)+)`).FindAllStringSubmatch(text+"\n", -1)
	if len(blocks) == 0 {
		t.Fatalf("%s has no list of required members", schema)
	}
	var names []string
	for line := range strings.Lines(blocks[len(blocks)-1][1]) {
		names = append(names, strings.Trim(line, "- \n"))
	}
	return names
}

func members(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// without returns one copy of m for each of the names, which lacks it, and one in which it has another type.
func without(t *testing.T, m map[string]any, name string) (missing, odd []byte) {
	t.Helper()
	c := maps.Clone(m)
	if _, ok := c[name]; !ok {
		t.Fatalf("the sample has no %s", name)
	}
	delete(c, name)
	missing = marshal(t, c)
	c[name] = map[string]any{"x": true}
	return missing, marshal(t, c)
}

func sampleAccess() Access {
	return Access{
		Issuer: "https://pdp.example", Expires: 1777032506, Issued: 1777032206, NotBefore: 1777032206, Audience: []string{"https://a.example", "b"},
		Scope: "openid vsdservice", Subject: "883110000168650", Profession: "1.2.276.0.76.4.50", CommonName: "Praxis Müller", Organization: "BAG",
		Client: "cid", Address: "192.0.2.1", Product: "product", ProductVersion: "1.0", Platform: "linux", ACR: High, ID: "id", Session: "sid",
		Version: 2, Confirmation: Confirmation{"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},
	}
}

func TestParseAccess(t *testing.T) {
	want := sampleAccess()
	got, err := ParseAccess(marshal(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if string(marshal(t, got)) != string(marshal(t, want)) {
		t.Errorf("read %+v, want %+v", got, want)
	}
	for scope, has := range map[string]bool{"vsdservice": true, "openid": true, "vsd": false, "": false, "openid vsdservice": false} {
		if got.HasScope(scope) != has {
			t.Errorf("HasScope(%q) = %v", scope, !has)
		}
	}
}

func TestAccessClaimsRequiredBySchema(t *testing.T) {
	sample := members(t, marshal(t, sampleAccess()))
	names := required(t, "access-token.yaml", "    ")
	if len(names) != 14 {
		t.Fatalf("the schema requires %q, want 14 claims", names)
	}
	for _, name := range names {
		missing, odd := without(t, sample, name)
		optional := name == "acr" || name == "sid"
		if a, err := ParseAccess(missing); (err == nil && a.Complete()) != optional {
			t.Errorf("without %s: %v", name, err)
		}
		if name == "cnf" {
			odd = []byte(strings.Replace(string(odd), `{"x":true}`, `"x"`, 1))
		}
		if _, err := ParseAccess(odd); err == nil {
			t.Errorf("with odd %s: no error", name)
		}
	}
}

func TestPublishedAccessToken(t *testing.T) {
	var example struct{ Payload json.RawMessage }
	if err := json.Unmarshal(shared.File(t, "data/zeta/examples/access-token/example-access-token.json"), &example); err != nil {
		t.Fatal(err)
	}
	a, err := ParseAccess(example.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if a.Subject != "1-2-ARZT-WalterWalter01" || a.Expires != 1740931200 || !slices.Equal(a.Audience, []string{"https://test-ik-nr.vsdm2.ti-dienste.de"}) ||
		a.ACR != "" || a.Session != "" || a.Confirmation.Thumbprint != "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" {
		t.Errorf("read %+v", a)
	}
}

func TestAccessClaimForms(t *testing.T) {
	good := string(marshal(t, sampleAccess()))
	for _, tc := range []struct {
		name, old, replacement string
		ok                     bool
	}{
		{"audience as text", `["https://a.example","b"]`, `"b"`, true},
		{"no audience", `["https://a.example","b"]`, `[]`, false},
		{"audience with a number", `["https://a.example","b"]`, `["b",1]`, false},
		{"too many audiences", `["https://a.example","b"]`, `["b"` + strings.Repeat(`,"b"`, maxAudiences) + `]`, false},
		{"unknown claim", `"ver":2`, `"ver":2,"foo":{"bar":[1]}`, true},
		{"claim twice", `"ver":2`, `"ver":2,"sub":"other"`, false},
		{"exp as text", `"exp":1777032506`, `"exp":"1777032506"`, false},
		{"exp with a fraction", `"exp":1777032506`, `"exp":1777032506.5`, false},
		{"exp below zero", `"exp":1777032506`, `"exp":-1`, false},
		{"exp far away", `"exp":1777032506`, `"exp":253402300800`, false},
		{"line break in a claim", `"cid"`, `"c\nid"`, false},
		{"long claim", `"cid"`, `"` + strings.Repeat("c", maxText+1) + `"`, false},
		{"empty subject", `"883110000168650"`, `""`, false},
		{"empty thumbprint", `"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"`, `""`, false},
		{"behind the end", `4I"}}`, `4I"}}{}`, false},
	} {
		if !strings.Contains(good, tc.old) {
			t.Fatalf("%s: the sample has no %s", tc.name, tc.old)
		}
		if _, err := ParseAccess([]byte(strings.Replace(good, tc.old, tc.replacement, 1))); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if a, err := ParseAccess([]byte(strings.Replace(good, `"ver":2`, `"nonce":"x"`, 1))); err != nil || !a.Nonce {
		t.Errorf("a claim nonce is not noticed: %v", err)
	}
}

func sampleProof() Proof {
	return Proof{ID: "j", Method: "GET", Target: "https://a.example/x", Issued: 1777032206, Hash: "h", Nonce: "n"}
}

func TestParseProof(t *testing.T) {
	want := sampleProof()
	got, err := ParseProof(marshal(t, want))
	if err != nil || got != want {
		t.Fatalf("read %+v, %v", got, err)
	}
	sample := members(t, marshal(t, want))
	for _, name := range required(t, "dpop-token.yaml", "    ") {
		missing, odd := without(t, sample, name)
		if _, err := ParseProof(missing); !errors.Is(err, ErrMissing) {
			t.Errorf("without %s: %v", name, err)
		}
		if _, err := ParseProof(odd); !errors.Is(err, ErrClaim) {
			t.Errorf("with odd %s: %v", name, err)
		}
	}
	for _, name := range []string{"ath", "nonce"} {
		missing, odd := without(t, sample, name)
		if _, err := ParseProof(missing); err != nil {
			t.Errorf("without %s: %v", name, err)
		}
		if _, err := ParseProof(odd); err == nil {
			t.Errorf("with odd %s: no error", name)
		}
	}
}

func samplePresence() Presence {
	return Presence{
		Issued: 1777032206, Version: "1.0.0", Issuer: "https://popp.example.com", Method: "ehc-practitioner-user-x509", Proved: 1777032206,
		Patient: "X123450000", Insurer: "109500969", Actor: "883110000168650", Profession: "1.2.276.0.76.4.32",
	}
}

func TestParsePresence(t *testing.T) {
	want := samplePresence()
	got, err := ParsePresence(marshal(t, want))
	if err != nil || *got != want {
		t.Fatalf("read %+v, %v", got, err)
	}
	sample := members(t, marshal(t, want))
	if len(sample) != 9 {
		t.Fatalf("%d claims, want 9", len(sample))
	}
	for name := range sample {
		missing, odd := without(t, sample, name)
		if _, err := ParsePresence(missing); !errors.Is(err, ErrMissing) {
			t.Errorf("without %s: %v", name, err)
		}
		if _, err := ParsePresence(odd); !errors.Is(err, ErrClaim) {
			t.Errorf("with odd %s: %v", name, err)
		}
	}
	for version, ok := range map[string]bool{"1.0.0": true, "1.1.0": true, "2.0.0": false, "10.0": false, "1": false} {
		want.Version = version
		if _, err := ParsePresence(marshal(t, want)); (err == nil) != ok {
			t.Errorf("version %s: %v", version, err)
		}
	}
}

func TestSameTarget(t *testing.T) {
	for _, tc := range []struct {
		htu, own string
		want     bool
	}{
		{"https://a.example/x", "https://a.example/x", true},
		{"https://A.Example/x", "https://a.example/x", true},
		{"HTTPS://a.example/x", "https://a.example/x", true},
		{"https://a.example:443/x", "https://a.example/x", true},
		{"https://a.example/x", "https://a.example:443/x", true},
		{"http://a.example:80/x", "http://a.example/x", true},
		{"wss://a.example/x", "https://a.example/x", true},
		{"wss://a.example:443/x", "https://a.example/x", true},
		{"ws://a.example/x", "http://a.example/x", true},
		{"https://a.example", "https://a.example/", true},
		{"https://a.example/x", "https://a.example/x?profileVersion=1.0", true},
		{"https://a.example/x", "https://a.example/x#f", true},
		{"https://[2001:DB8::1]:443/x", "https://[2001:db8::1]/x", true},
		{"https://a.example/x?profileVersion=1.0", "https://a.example/x?profileVersion=1.0", false},
		{"https://a.example/x?", "https://a.example/x", false},
		{"https://a.example/x#f", "https://a.example/x", false},
		{"https://a.example/X", "https://a.example/x", false},
		{"https://a.example/x/", "https://a.example/x", false},
		{"https://a.example/y/../x", "https://a.example/x", false},
		{"https://a.example/%78", "https://a.example/x", false},
		{"https://a.example:444/x", "https://a.example/x", false},
		{"https://a.example:80/x", "https://a.example/x", false},
		{"http://a.example/x", "https://a.example/x", false},
		{"http://a.example:443/x", "https://a.example/x", false},
		{"https://b.example/x", "https://a.example/x", false},
		{"https://a.example.b/x", "https://a.example/x", false},
		{"https://user@a.example/x", "https://a.example/x", false},
		{"https://user@a.example/x", "https://user@a.example/x", false},
		{"//a.example/x", "https://a.example/x", false},
		{"/x", "/x", false},
		{"", "", false},
		{"https:a.example/x", "https:a.example/x", false},
		{"file:///x", "file:///x", false},
	} {
		if got := SameTarget(tc.htu, tc.own); got != tc.want {
			t.Errorf("SameTarget(%q, %q) = %v", tc.htu, tc.own, got)
		}
	}
}

func FuzzSameTarget(f *testing.F) {
	f.Add("https://A.example:443/x", "https://a.example/x")
	f.Add("wss://[::1]/", "https://[::1]")
	f.Fuzz(func(t *testing.T, htu, own string) {
		same := SameTarget(htu, own)
		if n, err := NormalTarget(own); err == nil {
			if again, err := NormalTarget(n); err != nil || again != n {
				t.Fatalf("%q is %q, which is %q, %v", own, n, again, err)
			}
			if !strings.ContainsAny(htu, "?#") && SameTarget(htu, n) != same {
				t.Fatalf("%q: %q and %q differ", htu, own, n)
			}
		} else if same {
			t.Fatalf("%q is the same as %q, which is no target", htu, own)
		}
	})
}

func FuzzClaims(f *testing.F) {
	f.Add(marshal(f, sampleAccess()))
	f.Add(marshal(f, sampleProof()))
	f.Add(marshal(f, samplePresence()))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if a, err := ParseAccess(payload); err == nil {
			if again, err := ParseAccess(marshal(t, a)); err != nil || string(marshal(t, again)) != string(marshal(t, a)) {
				t.Fatalf("%q: %v", payload, err)
			}
		}
		if p, err := ParseProof(payload); err == nil {
			if again, err := ParseProof(marshal(t, p)); err != nil || again != p {
				t.Fatalf("%q: %v", payload, err)
			}
		}
		if p, err := ParsePresence(payload); err == nil {
			if again, err := ParsePresence(marshal(t, p)); err != nil || *again != *p {
				t.Fatalf("%q: %v", payload, err)
			}
		}
	})
}
