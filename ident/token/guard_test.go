package token

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/querschott/querschott/wire/zeta"
)

func TestAgree(t *testing.T) {
	w := newWorld(t)
	r := w.asks(t, w.access(t), w.presence(t))
	id := w.want(t, "right", r, 200, "", "")
	if id == nil {
		return
	}
	encode := func(v any) string { return base64.StdEncoding.EncodeToString([]byte(text(t, v))) }
	user := object{"identifier": lei, "professionOID": "1.2.276.0.76.4.50", "commonName": "Praxis"}
	client := object{"client_id": "cid", "product_id": "product", "product_version": "1.0"}
	pretty := base64.URLEncoding.EncodeToString([]byte(strings.ReplaceAll(string(id.Presence.Content), ",", ",\n  ")))
	for _, tc := range []struct {
		name, header string
		values       []string
		agrees       bool
	}{
		{"nothing", zeta.HeaderUserInfo, nil, true},
		{"user", zeta.HeaderUserInfo, []string{encode(user)}, true},
		{"other user", zeta.HeaderUserInfo, []string{encode(user.with("identifier", "x"))}, false},
		{"other profession", zeta.HeaderUserInfo, []string{encode(user.with("professionOID", "x"))}, false},
		{"user twice", zeta.HeaderUserInfo, []string{encode(user), encode(user)}, false},
		{"broken user", zeta.HeaderUserInfo, []string{"!"}, false},
		{"client", zeta.HeaderClientData, []string{encode(client)}, true},
		{"other client", zeta.HeaderClientData, []string{encode(client.with("client_id", "x"))}, false},
		{"other product", zeta.HeaderClientData, []string{encode(client.with("product_id", "x"))}, false},
		{"broken client", zeta.HeaderClientData, []string{"e30"}, false},
		{"presence", zeta.HeaderPresence, []string{base64.RawURLEncoding.EncodeToString(id.Presence.Content)}, true},
		{"presence, written anew", zeta.HeaderPresence, []string{pretty}, true},
		{"other patient", zeta.HeaderPresence, []string{encode(w.presenceClaims().with("patientId", "X123450001"))}, false},
		{"broken presence", zeta.HeaderPresence, []string{"e30"}, false},
	} {
		err := Agree(http.Header{tc.header: tc.values}, id)
		refusal, ok := errors.AsType[*zeta.Error](err)
		if (err == nil) != tc.agrees || err != nil && (!ok || refusal.Status != 403 || refusal.Reason != zeta.ReasonGuard) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	bare := *id
	bare.Presence = nil
	if err := Agree(http.Header{zeta.HeaderPresence: {pretty}}, &bare); err == nil {
		t.Error("a presence that no token proved is no error")
	}
}
