package issuer

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/wire/zeta"
)

func TestClientGetsTokens(t *testing.T) {
	for _, demand := range []bool{false, true} {
		s := serve(t, Options{DemandNonce: demand, Scopes: []string{"vsdservice", "other"}})
		c := s.client(t)
		text, err := c.AccessToken(t.Context(), []string{"https://vsdm.example"}, "vsdservice")
		if err != nil {
			t.Fatal(err)
		}
		a, err := zeta.ParseAccess(verified(t, text, s.AccessKeys()).Payload)
		if err != nil {
			t.Fatal(err)
		}
		key := keyOf(t, c.Key)
		if a.Issuer != s.url || a.Subject != "1-2DEV7" || a.Client != c.ID || a.Audience[0] != "https://vsdm.example" || a.Scope != "vsdservice" ||
			a.Confirmation.Thumbprint != key.Thumbprint() || a.Address != "127.0.0.1" || a.Version != 1 {
			t.Errorf("%+v", a)
		}
		card, err := c.PresenceToken(t.Context(), Card{Patient: "X123456780", Insurer: "109500969", Actor: a.Subject, Proved: s.clock.at.Add(-time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		p, err := zeta.ParsePresence(verified(t, card, s.PresenceKeys()).Payload)
		if err != nil || p.Actor != a.Subject || p.Proved != s.clock.at.Add(-time.Hour).Unix() || p.Issued != s.clock.at.Unix() {
			t.Errorf("%+v, %v", p, err)
		}
	}
}

func TestClientIsToldWhatIsWrong(t *testing.T) {
	s := serve(t, Options{})
	c := s.client(t)
	if _, err := c.AccessToken(t.Context(), nil, "root"); err == nil || !strings.Contains(err.Error(), "invalid_scope") {
		t.Errorf("%v", err)
	}
	if _, err := c.PresenceToken(t.Context(), Card{}); err == nil || !strings.Contains(err.Error(), "invalid_request") {
		t.Errorf("%v", err)
	}
	stranger := *c
	stranger.ID = "dev-stranger"
	if _, err := stranger.AccessToken(t.Context(), nil, ""); err == nil || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.AccessToken(ctx, nil, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := Register(t.Context(), http.DefaultClient, s.clock.now, s.url+"/nowhere", Practice{}); err == nil {
		t.Error("registered nowhere")
	}
}

func TestProofOfTheHouseIsAccepted(t *testing.T) {
	s := serve(t, Options{})
	r := s.request(s.client(t))
	proof, err := drill.Proof(r.key, "POST", s.url+"/token", "", "", s.clock.at)
	if err != nil {
		t.Fatal(err)
	}
	r.proofBy, r.header = nil, http.Header{"Dpop": {proof}}
	if status, _, m := s.send(t, r); status != 200 {
		t.Errorf("%d %v", status, m)
	}
}
