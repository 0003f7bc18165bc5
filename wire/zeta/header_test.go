package zeta

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott/wire/internal/shared"
)

func TestUserInfo(t *testing.T) {
	access := sampleAccess()
	value, err := access.UserInfo().Encode()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"identifier":"883110000168650","professionOID":"1.2.276.0.76.4.50","commonName":"Praxis Müller","organizationName":"BAG"}`
	if string(raw) != want {
		t.Errorf("wrote %s, want %s", raw, want)
	}
	back, err := ParseUserInfo(value)
	if err != nil || back != access.UserInfo() {
		t.Errorf("read %+v, %v", back, err)
	}
	for _, name := range required(t, "zeta-user-info.yaml", "") {
		missing, odd := without(t, members(t, raw), name)
		for _, doc := range [][]byte{missing, odd} {
			if _, err := ParseUserInfo(base64.RawURLEncoding.EncodeToString(doc)); err == nil {
				t.Errorf("%s is no error", doc)
			}
		}
	}
}

func TestLongNamesAreShortened(t *testing.T) {
	u := UserInfo{Identifier: "1-" + strings.Repeat("9", 60), ProfessionOID: "1.2.276.0.76.4.50", CommonName: "Müller", Organization: strings.Repeat("ä", 60)}
	value, err := u.Encode()
	if err != nil || len(value) > MaxUserInfo {
		t.Fatalf("%d octets, %v", len(value), err)
	}
	back, err := ParseUserInfo(value)
	if err != nil || back.Organization != "" || back.CommonName != "Müller" || back.Identifier != u.Identifier {
		t.Errorf("read %+v, %v", back, err)
	}
	u.CommonName = strings.Repeat("ö", 60)
	value, err = u.Encode()
	if err != nil || len(value) > MaxUserInfo || len(value) < MaxUserInfo-4 {
		t.Fatalf("%d octets, %v", len(value), err)
	}
	back, err = ParseUserInfo(value)
	if err != nil || strings.Trim(back.CommonName, "ö") != "" || back.CommonName == "" || back.Identifier != u.Identifier {
		t.Errorf("read %+v, %v", back, err)
	}
	u.Identifier = strings.Repeat("9", 200)
	if value, err := u.Encode(); err == nil {
		t.Errorf("an identifier of 200 octets is written: %d octets", len(value))
	}
}

func TestClientData(t *testing.T) {
	access := sampleAccess()
	value, err := access.ClientData().Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseClientData(value)
	if err != nil || back != access.ClientData() {
		t.Errorf("read %+v, %v", back, err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range required(t, "client-data.yaml", "") {
		missing, odd := without(t, members(t, raw), name)
		for _, doc := range [][]byte{missing, odd} {
			if _, err := ParseClientData(base64.RawURLEncoding.EncodeToString(doc)); err == nil {
				t.Errorf("%s is no error", doc)
			}
		}
	}
	access.Client = strings.Repeat("c", 200)
	if _, err := access.ClientData().Encode(); err == nil {
		t.Error("a client id of 200 octets is written")
	}
}

func TestPublishedHeaderExamples(t *testing.T) {
	u, err := ParseUserInfo(base64.StdEncoding.EncodeToString(shared.File(t, "data/zeta/examples/zeta-user-info/zeta-user-info.json")))
	if err != nil || u.CommonName != "Beispiel-Apotheke" {
		t.Errorf("read %+v, %v", u, err)
	}
	c, err := ParseClientData(base64.StdEncoding.EncodeToString(shared.File(t, "data/zeta/examples/client-data/client-data.json")))
	if err != nil || c.Platform != "linux" {
		t.Errorf("read %+v, %v", c, err)
	}
}

// Our form of the published contents is theirs, octet by octet: 347 characters.
func TestPublishedPresenceContents(t *testing.T) {
	values := strings.Fields(string(shared.File(t, "data/vsdm2/popp/popp_token_contents.csv")))[1:]
	if len(values) != 19 {
		t.Fatalf("%d contents, want 19", len(values))
	}
	for _, value := range values {
		payload, err := DecodePresence(value)
		if err != nil {
			t.Fatal(err)
		}
		again, err := EncodePresence(payload)
		if err != nil || again != value || len(again) != 347 {
			t.Errorf("wrote %s, %v, want %s", again, err, value)
		}
	}
}

func TestDecodeLiberally(t *testing.T) {
	payload := marshal(t, samplePresence())
	payload = append(payload[:len(payload)-1], `,"x":"???>>>ÿÿ"}`...)
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		got, err := DecodePresence(encoding.EncodeToString(payload))
		if err != nil || string(got) != string(payload) {
			t.Errorf("read %s, %v", got, err)
		}
	}
	value := base64.StdEncoding.EncodeToString(payload)
	for _, bad := range []string{"", "!", value[:40] + "\n" + value[40:], value + "AAAA", strings.Repeat("A", maxHeader+1), base64.StdEncoding.EncodeToString([]byte("{}"))} {
		if _, err := DecodePresence(bad); err == nil {
			t.Errorf("%.60q is no error", bad)
		}
	}
	if _, err := EncodePresence([]byte("{")); err == nil {
		t.Error("half a payload is written")
	}
	pretty := []byte(strings.ReplaceAll(string(marshal(t, samplePresence())), ",", ",\n    "))
	if value, err := EncodePresence(pretty); err != nil || len(value) != 347 {
		t.Errorf("a payload with blanks has %d octets, %v", len(value), err)
	}
	if _, err := EncodePresence([]byte(`"` + strings.Repeat("x", 400) + `"`)); err == nil {
		t.Error("a long payload is written")
	}
}

func TestHeaderNamesAreCanonical(t *testing.T) {
	for _, name := range []string{
		HeaderUserInfo, HeaderPresence, HeaderClientData, HeaderCause, HeaderAPIVersion, HeaderPoPP, HeaderDPoP, HeaderDPoPNonce, HeaderOrigin,
	} {
		if diff := cmp.Diff(http.CanonicalHeaderKey(name), name); diff != "" {
			t.Error(diff)
		}
	}
	for canonical, official := range map[string]string{
		HeaderUserInfo: "ZETA-User-Info", HeaderPresence: "ZETA-PoPP-Token-Content", HeaderClientData: "ZETA-Client-Data", HeaderCause: "ZETA-Cause",
		HeaderAPIVersion: "ZETA-API-Version", HeaderPoPP: "PoPP", HeaderDPoP: "DPoP", HeaderDPoPNonce: "DPoP-Nonce", HeaderOrigin: "zeta-error-origin",
	} {
		if http.CanonicalHeaderKey(official) != canonical {
			t.Errorf("%s is not %s", canonical, official)
		}
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("eyJpZGVudGlmaWVyIjoiYSIsInByb2Zlc3Npb25PSUQiOiIiLCJjb21tb25OYW1lIjoiIn0")
	f.Add(base64.StdEncoding.EncodeToString(marshal(f, samplePresence())))
	f.Fuzz(func(t *testing.T, value string) {
		if u, err := ParseUserInfo(value); err == nil {
			if again, err := u.Encode(); err == nil {
				if back, err := ParseUserInfo(again); err != nil || back.Identifier != u.Identifier {
					t.Fatalf("%+v became %+v, %v", u, back, err)
				}
			}
		}
		if c, err := ParseClientData(value); err == nil {
			if again, err := c.Encode(); err == nil {
				if back, err := ParseClientData(again); err != nil || back != c {
					t.Fatalf("%+v became %+v, %v", c, back, err)
				}
			}
		}
		if payload, err := DecodePresence(value); err == nil {
			if _, err := EncodePresence(payload); err != nil && len(payload) < 300 {
				t.Fatal(err)
			}
		}
	})
}
