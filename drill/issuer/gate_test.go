package issuer

import (
	"errors"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ident/token"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/wire/zeta"
)

// TestTheGateBelievesWhomItIsToldToBelieve lets the gate find the keys of two issuers by discovery and believe one of them.
func TestTheGateBelievesWhomItIsToldToBelieve(t *testing.T) {
	s, other := serve(t, Options{}), serve(t, Options{})
	known := func(source token.Source) *token.Issuer {
		i, err := token.NewIssuer(token.IssuerConfig{Issuer: s.url, Source: source, Client: http.DefaultClient, Plain: true, Now: s.clock.now})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	revocations, err := ident.OpenRevocations(crashdisk.New(), filepath.Join("d", "revocations"), s.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := token.New(token.Config{
		Now: s.clock.now, Access: []*token.Issuer{known(token.Metadata)}, Presence: []*token.Issuer{known(token.Federation)}, Revocations: revocations,
	})
	if err != nil {
		t.Fatal(err)
	}
	const target = "https://vsdm.example/vsdservice/v1/vsdmbundle"
	identify := func(from, presenceFrom *served, at time.Time) (*ident.Identity, error) {
		t.Helper()
		c := from.client(t)
		access, err := c.AccessToken(t.Context(), []string{"https://vsdm.example"}, "vsdservice")
		if err != nil {
			t.Fatal(err)
		}
		presence, err := presenceFrom.PresenceToken(Card{Patient: "X123456780", Insurer: "109500969", Actor: "1-2DEV7", Issued: at})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(nonce string) (*ident.Identity, error) {
			proof, err := drill.Proof(c.Key, "GET", target, access, nonce, s.clock.at)
			if err != nil {
				t.Fatal(err)
			}
			return verifier.Identify(t.Context(), &token.Request{
				Method: "GET", URL: target, Remote: netip.MustParseAddr("127.0.0.1"), Audience: []string{"https://vsdm.example"},
				Scopes: []string{"vsdservice"}, Presence: token.PresenceRequired,
				Header: http.Header{"Authorization": {"DPoP " + access}, "Dpop": {proof}, "Popp": {presence}},
			})
		}
		id, err := ask("")
		if z, ok := errors.AsType[*zeta.Error](err); ok && z.Nonce != "" { // a gate that has just started wants a nonce of its own
			return ask(z.Nonce)
		}
		return id, err
	}
	id, err := identify(s, s, s.clock.at)
	if err != nil {
		t.Fatal(err)
	}
	if id.Caller.Actor != "1-2DEV7" || id.Presence == nil || id.Presence.Insurer != "109500969" || id.Facts.Issuer != s.url {
		t.Errorf("%+v", id.Caller)
	}
	for name, tc := range map[string]struct {
		access, presence *served
		at               time.Time
		status           int
	}{
		"another issuer's access token": {other, s, s.clock.at, http.StatusUnauthorized},
		"another issuer's PoPP token":   {s, other, s.clock.at, http.StatusForbidden},
		"a card of another quarter":     {s, s, s.clock.at.AddDate(0, -3, 0), http.StatusForbidden},
	} {
		_, err := identify(tc.access, tc.presence, tc.at)
		if z, ok := errors.AsType[*zeta.Error](err); !ok || z.Status != tc.status {
			t.Errorf("%s: %v", name, err)
		}
	}
}
