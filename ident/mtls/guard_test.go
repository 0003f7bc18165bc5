package mtls

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/wire/zeta"
)

// popp is the payload of a PoPP token.
func popp(change map[string]any) []byte {
	p := map[string]any{
		"version": "1.0.0", "iss": "https://popp.example.com", "iat": start.Unix() - 60, "proofMethod": "ehc-practitioner-trustedchannel",
		"patientProofTime": start.Unix() - 120, "patientId": "X123450000", "insurerId": string(insurer), "actorId": "1-practice", "actorProfessionOid": "1.2.276.0.76.4.32",
	}
	for k, v := range change {
		p[k] = v
	}
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return b
}

func header(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func user() zeta.UserInfo {
	return zeta.UserInfo{Identifier: "1-practice", ProfessionOID: "1.2.276.0.76.4.50", CommonName: "Praxis", Organization: "BAG"}
}

func headers() http.Header {
	return http.Header{
		"Zeta-User-Info": {header(user())}, "Zeta-Popp-Token-Content": {base64.RawURLEncoding.EncodeToString(popp(nil))},
		"Zeta-Client-Data": {header(zeta.ClientData{Client: "client-1", Product: "praxis-x", Version: "4.2"})}, "Accept": {"*/*"},
	}
}

type guarded struct {
	*Machines
	guard, partner *identity
}

func newGuarded(t testing.TB) guarded {
	guard, partner := issue(t, "guard", nil), issue(t, "guard", nil)
	g := pinned("guard", guard)
	g.Guard, g.Insurer = true, ""
	return guarded{open(t, newClock().now, g, pinned("partner", partner)), guard, partner}
}

func TestGuardIsBelieved(t *testing.T) {
	g := newGuarded(t)
	a, err := g.Asserted(g.guard.state(), headers())
	if err != nil {
		t.Fatal(err)
	}
	id, err := a.Identity()
	if err != nil {
		t.Fatal(err)
	}
	pin := PinOf(g.guard.cert).String()
	want := querschott.Caller{Actor: "1-practice", Role: querschott.RolePractice, Profession: "1.2.276.0.76.4.50", Name: "Praxis", Organization: "BAG"}
	facts := ident.Facts{
		Subject: "1-practice", Client: "client-1", Product: "praxis-x", Version: "4.2", Issuer: "machine:guard", Key: pin,
		PresenceIssuer: "https://popp.example.com", PresenceIssued: time.Unix(start.Unix()-60, 0), PresenceProved: time.Unix(start.Unix()-120, 0),
	}
	if id.Caller != want || id.Facts != facts || id.Binding != pin || id.Credential.Actor != want.Actor || id.MayCall(querschott.EPA) == nil {
		t.Errorf("%+v", id)
	}
	if p := id.Presence; p == nil || p.Patient != "X123450000" || p.Insurer != string(insurer) || !bytes.Equal(p.Content, popp(nil)) {
		t.Errorf("presence %+v", id.Presence)
	}
	alone := headers()
	alone.Del("Zeta-Popp-Token-Content")
	alone.Del("Zeta-Client-Data")
	a, err = g.Asserted(g.guard.state(), alone)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := a.Identity(); err != nil || id.Presence != nil || id.Facts.Product != "" {
		t.Errorf("%+v, %v", id, err)
	}
}

// TestOthersAreNotBelieved sends a guard's headers over every connection that is not a guard's.
func TestOthersAreNotBelieved(t *testing.T) {
	g := newGuarded(t)
	stranger := issue(t, "guard", nil)
	for name, s := range map[string]*tls.ConnectionState{
		"no TLS": nil, "no certificate": {HandshakeComplete: true}, "a partner": g.partner.state(), "a stranger": stranger.state(),
		"a partner who shows the guard's certificate second": g.partner.state(g.guard),
	} {
		if a, err := g.Asserted(s, headers()); a != nil || err != nil {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// TestSmuggledHeaders adds to a guard's headers what a client could have got past it.
func TestSmuggledHeaders(t *testing.T) {
	g := newGuarded(t)
	forged := header(zeta.UserInfo{Identifier: "1-victim", ProfessionOID: "1.2.276.0.76.4.50", CommonName: "x"})
	for name, change := range map[string]func(http.Header){
		"twice":           func(h http.Header) { h.Add("ZETA-User-Info", forged) },
		"twice, first":    func(h http.Header) { h["Zeta-User-Info"] = []string{forged, h.Get("Zeta-User-Info")} },
		"underscores":     func(h http.Header) { h["Zeta_user_info"] = []string{forged} },
		"one underscore":  func(h http.Header) { h["Zeta-User_info"] = []string{forged} },
		"capitals":        func(h http.Header) { h["ZETA-USER-INFO"] = []string{forged} },
		"small letters":   func(h http.Header) { h["zeta-user-info"] = []string{forged} },
		"instead":         func(h http.Header) { delete(h, "Zeta-User-Info"); h["ZETA_User_Info"] = []string{forged} },
		"presence":        func(h http.Header) { h["Zeta_popp_token_content"] = h["Zeta-Popp-Token-Content"] },
		"client":          func(h http.Header) { h["zeta-client-data"] = h["Zeta-Client-Data"] },
		"no value":        func(h http.Header) { h["Zeta-User-Info"] = nil },
		"none":            func(h http.Header) { delete(h, "Zeta-User-Info") },
		"empty":           func(h http.Header) { h.Set("Zeta-User-Info", "") },
		"two in one line": func(h http.Header) { h.Set("Zeta-User-Info", h.Get("Zeta-User-Info")+","+forged) },
		"two one by one":  func(h http.Header) { h.Set("Zeta-User-Info", h.Get("Zeta-User-Info")+forged) },
		"member twice": func(h http.Header) {
			h.Set("Zeta-User-Info", base64.RawURLEncoding.EncodeToString([]byte(`{"identifier":"1-practice","professionOID":"1.2.276.0.76.4.50","commonName":"x","identifier":"1-victim"}`)))
		},
		"not JSON": func(h http.Header) {
			h.Set("Zeta-User-Info", base64.RawURLEncoding.EncodeToString([]byte("1-practice")))
		},
		"endless":          func(h http.Header) { h.Set("Zeta-User-Info", strings.Repeat("A", 1<<20)) },
		"presence damaged": func(h http.Header) { h.Set("Zeta-Popp-Token-Content", "e30") },
		"presence empty":   func(h http.Header) { h.Set("Zeta-Popp-Token-Content", "") },
		"client damaged":   func(h http.Header) { h.Set("Zeta-Client-Data", "e30") },
	} {
		h := headers()
		change(h)
		if a, err := g.Asserted(g.guard.state(), h); a != nil || querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("%s: %+v, %v, want invalid", name, a, err)
		} else if strings.Contains(err.Error(), "X123450000") || strings.Contains(err.Error(), "1-victim") {
			t.Errorf("%s: the error shows a value: %v", name, err)
		}
	}
}

func TestGuardAndToken(t *testing.T) {
	g := newGuarded(t)
	token := func(change func(*ident.Identity)) *ident.Identity {
		id := &ident.Identity{
			Caller:   querschott.Caller{Actor: "1-practice", Profession: "1.2.276.0.76.4.50", Name: "Praxis with a name that was cut"},
			Facts:    ident.Facts{Subject: "1-practice", Client: "client-1", Product: "praxis-x", Version: "4.2"},
			Presence: &querschott.Presence{Content: popp(nil)},
		}
		change(id)
		return id
	}
	a, err := g.Asserted(g.guard.state(), headers())
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*ident.Identity)
		what   string // "" if they agree
	}{
		"the same": {func(*ident.Identity) {}, ""},
		"other blanks": {func(id *ident.Identity) {
			var b bytes.Buffer
			_ = json.Indent(&b, popp(nil), "", "   ")
			id.Presence.Content = b.Bytes()
		}, ""},
		"another subject":     {func(id *ident.Identity) { id.Facts.Subject = "1-other" }, "identifier"},
		"subject in capitals": {func(id *ident.Identity) { id.Facts.Subject = "1-Practice" }, "identifier"},
		"no subject":          {func(id *ident.Identity) { id.Facts.Subject = "" }, "identifier"},
		"another profession":  {func(id *ident.Identity) { id.Caller.Profession = "1.2.276.0.76.4.59" }, "profession"},
		"another patient":     {func(id *ident.Identity) { id.Presence.Content = popp(map[string]any{"patientId": "X123450001"}) }, "presence"},
		"another insurer":     {func(id *ident.Identity) { id.Presence.Content = popp(map[string]any{"insurerId": "103169760"}) }, "presence"},
		"another time":        {func(id *ident.Identity) { id.Presence.Content = popp(map[string]any{"iat": start.Unix()}) }, "presence"},
		"no PoPP token":       {func(id *ident.Identity) { id.Presence = nil }, "presence"},
		"damaged content":     {func(id *ident.Identity) { id.Presence.Content = []byte("{}") }, "presence"},
		"another client":      {func(id *ident.Identity) { id.Facts.Client = "client-2" }, "client"},
		"another product":     {func(id *ident.Identity) { id.Facts.Product = "" }, "client"},
		"another version":     {func(id *ident.Identity) { id.Facts.Version = "4.3" }, "client"},
	} {
		err := a.Compare(token(tc.change))
		m, ok := errors.AsType[*Mismatch](err)
		if ok != (tc.what != "") || ok && (m.What != tc.what || querschott.CodeOf(err) != querschott.CodeForbidden || strings.Contains(err.Error(), "X1234")) {
			t.Errorf("%s: %v, want mismatch %q", name, err, tc.what)
		}
	}
}

// TestSecondLine checks what a guard's word alone does not open.
func TestSecondLine(t *testing.T) {
	g := newGuarded(t)
	quarter := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	for name, tc := range map[string]struct {
		user    zeta.UserInfo
		content []byte
		ok      bool
	}{
		"good":                      {user(), popp(nil), true},
		"start of the quarter":      {user(), popp(map[string]any{"iat": quarter, "patientProofTime": quarter}), true},
		"last quarter":              {user(), popp(map[string]any{"iat": quarter - 2*3600, "patientProofTime": quarter - 2*3600}), false},
		"card used last quarter":    {user(), popp(map[string]any{"patientProofTime": quarter - 2*3600}), false},
		"issued last quarter":       {user(), popp(map[string]any{"iat": quarter - 3630, "patientProofTime": quarter - 3590}), false},
		"of the future":             {user(), popp(map[string]any{"iat": start.Unix() + 120}), false},
		"card used after the issue": {user(), popp(map[string]any{"patientProofTime": start.Unix() + 120}), false},
		"another institution":       {user(), popp(map[string]any{"actorId": "1-other"}), false},
		"insured person":            {zeta.UserInfo{Identifier: "X123450000", ProfessionOID: "1.2.276.0.76.4.49"}, popp(map[string]any{"actorId": "X123450000"}), false},
	} {
		h := headers()
		h.Set("Zeta-User-Info", header(tc.user))
		h.Set("Zeta-Popp-Token-Content", base64.RawURLEncoding.EncodeToString(tc.content))
		a, err := g.Asserted(g.guard.state(), h)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if id, err := a.Identity(); (err == nil) != tc.ok || err != nil && (querschott.CodeOf(err) != querschott.CodeForbidden || id != nil) {
			t.Errorf("%s: %+v, %v, want ok = %v", name, id, err, tc.ok)
		}
	}
}

// TestDenyListReachesMachines puts what this package says of callers against a deny list.
func TestDenyListReachesMachines(t *testing.T) {
	g := newGuarded(t)
	a, err := g.Asserted(g.guard.state(), headers())
	if err != nil {
		t.Fatal(err)
	}
	behind, err := a.Identity()
	if err != nil {
		t.Fatal(err)
	}
	partner, err := g.Identify(g.partner.state())
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		dimension ident.Dimension
		value     string
		id        *ident.Identity
	}{
		"partner by name": {ident.BySubject, "Partner", partner}, "partner by key": {ident.ByKey, strings.ToUpper(partner.Binding), partner},
		"practice behind the guard": {ident.BySubject, "1-practice", behind}, "the guard's key": {ident.ByKey, PinOf(g.guard.cert).String(), behind},
		"PoPP service": {ident.ByPresenceIssuer, "https://popp.example.com", behind}, "stolen tokens": {ident.ByPresenceBefore, start.Format(time.RFC3339), behind},
	} {
		r, err := ident.OpenRevocations(crashdisk.New(), "denied.json", newClock().now)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Check(&tc.id.Facts); err != nil {
			t.Fatal(err)
		}
		if err := r.Add(ident.Revocation{Dimension: tc.dimension, Value: tc.value, Reason: "x", Actors: []querschott.Actor{"x"}}); err != nil {
			t.Fatal(err)
		}
		if r.Check(&tc.id.Facts) == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func FuzzHeaders(f *testing.F) {
	h := headers()
	f.Add("Zeta-User-Info", h.Get("Zeta-User-Info"), "Zeta-Popp-Token-Content", h.Get("Zeta-Popp-Token-Content"))
	f.Add("Zeta-User-Info", h.Get("Zeta-User-Info"), "Zeta-Client-Data", h.Get("Zeta-Client-Data"))
	f.Add("Zeta-User-Info", h.Get("Zeta-User-Info"), "ZETA_USER_INFO", h.Get("Zeta-User-Info"))
	g := newGuarded(f)
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		h := http.Header{name1: {value1}}
		h[name2] = append(h[name2], value2)
		a, err := g.Asserted(g.guard.state(), h)
		if err != nil {
			return
		}
		if _, ok := h["Zeta-User-Info"]; !ok || a.User.Identifier == "" || name1 == name2 {
			t.Errorf("%v is believed: %+v", h, a.User)
		}
		if id, err := a.Identity(); err == nil && (id.Caller.Role == querschott.RoleInsured || id.Caller.Role == querschott.RoleOperator || id.Caller.Role == querschott.RoleStaff) {
			t.Errorf("%v makes somebody %s", h, id.Caller.Role)
		}
	})
}
