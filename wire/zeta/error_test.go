package zeta

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott/wire/internal/shared"
)

func TestErrors(t *testing.T) {
	cause := errors.New("geheim")
	for _, tc := range []struct {
		err    *Error
		status int
		code   string
		prefix string
		header map[string]string
	}{
		{NoToken(ReasonNoToken, "x"), 401, "invalid_token", "access token error: ", map[string]string{"WWW-Authenticate": `DPoP error="invalid_token", algs="ES256"`}},
		{BadToken(ReasonTokenTime, "x", cause), 401, "invalid_token", "access token invalid: ", nil},
		{WrongScope(ReasonTokenScope, "x", "vsdservice", 401), 401, "insufficient_scope", "access token invalid: ", map[string]string{"WWW-Authenticate": `DPoP error="insufficient_scope", algs="ES256", scope="vsdservice"`}},
		{WrongScope(ReasonTokenAudience, "x", "", 403), 403, "insufficient_scope", "access token invalid: ", map[string]string{"WWW-Authenticate": ""}},
		{NoKeys(1500*time.Millisecond, cause), 503, "temporarily_unavailable", "access token error: ", map[string]string{"Retry-After": "2"}},
		{BadProof(ReasonReplay, "x", cause), 401, "invalid_dpop_proof", "DPoP error: ", map[string]string{"WWW-Authenticate": `DPoP error="invalid_dpop_proof", algs="ES256"`}},
		{NeedNonce("n"), 401, "use_dpop_nonce", "DPoP error: ", map[string]string{"DPoP-Nonce": "n", "WWW-Authenticate": `DPoP error="use_dpop_nonce", algs="ES256"`}},
		{NeedLevel(High), 401, "insufficient_user_authentication", "", map[string]string{"WWW-Authenticate": `DPoP error="insufficient_user_authentication", algs="ES256", acr_values="gematik-ehealth-loa-high"`}},
		{Travel(), 401, "invalid_token", "Impossible Travel: ", nil},
		{NoPresence(), 400, "invalid_request", "PoPP header missing", nil},
		{BadPresence(ReasonPresenceSigned, cause), 403, "access_denied", "PoPP error: InvalidToken", nil},
		{ForeignActor(), 403, "access_denied", "PoPP actorId mismatch: ", nil},
		{Denied(ReasonRevoked, cause), 403, "access_denied", "access denied", nil},
		{NoRoute(), 404, "resource_not_found", "", nil},
		{NoMethod("GET"), 405, "invalid_request", "", map[string]string{"Allow": "GET"}},
		{TooMany(time.Second), 429, "rate_limit_exceeded", "", map[string]string{"Retry-After": "1"}},
		{DoorClosed(time.Minute, "https://status.example/"), 503, "temporarily_unavailable", "", map[string]string{"Retry-After": "60"}},
		{Upstream(ReasonUpstream, cause), 502, "server_error", "internal error: ", nil},
		{Upstream(ReasonUpstreamTimeout, cause), 504, "server_error", "internal error: ", nil},
		{Upstream(ReasonUpstreamRejected, cause), 500, "server_error", "internal error: ", nil},
		{Internal("r", cause), 500, "server_error", "internal error: ", nil},
		{Internal("", cause), 500, "server_error", "internal error: ", nil},
	} {
		var body struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
			URI         string `json:"error_uri"`
		}
		if err := json.Unmarshal(tc.err.Body(), &body); err != nil {
			t.Fatal(err)
		}
		if tc.err.Status != tc.status || body.Error != tc.code || !strings.HasPrefix(body.Description, tc.prefix) || body.Description == "" || body.URI != tc.err.URI {
			t.Errorf("%v: status %d, body %s, want %d %s %s…", tc.err, tc.err.Status, tc.err.Body(), tc.status, tc.code, tc.prefix)
		}
		h := http.Header{}
		tc.err.SetHeader(h)
		if h.Get("zeta-error-origin") != "pep" || h.Get("Content-Type") != "application/json" || (h.Get("WWW-Authenticate") != "") != (tc.status == 401) {
			t.Errorf("%v: headers %v", tc.err, h)
		}
		for name, want := range tc.header {
			if got := h.Get(name); got != want {
				t.Errorf("%v: %s is %q, want %q", tc.err, name, got, want)
			}
		}
		if strings.Contains(string(tc.err.Body()), "geheim") || tc.err.Reason == "" {
			t.Errorf("%v: the body tells the cause, or there is no reason", tc.err)
		}
		if tc.err.Err != nil && (!errors.Is(tc.err, cause) || !strings.Contains(tc.err.Error(), "geheim")) {
			t.Errorf("%v: the cause is lost", tc.err)
		}
	}
}

func TestCodesStandInTheSchema(t *testing.T) {
	schema := string(shared.File(t, "data/zeta/schemas/zeta-error.yaml"))
	for _, code := range []Code{InvalidRequest, InvalidToken, InsufficientScope, InvalidProof, UseNonce, StepUp, AccessDenied, TemporarilyUnavailable, ServerError} {
		if !strings.Contains(schema, "- "+string(code)+"\n") {
			t.Errorf("the schema does not know %s", code)
		}
	}
	if got := required(t, "zeta-error.yaml", ""); len(got) != 1 || got[0] != "error" {
		t.Errorf("the schema requires %q", got)
	}
}

func TestChallengeCannotBeSplit(t *testing.T) {
	h := http.Header{}
	(&Error{Status: 401, Code: InvalidToken, ACR: "a\"b\r\nc", Scope: `d\`}).SetHeader(h)
	if got, want := h.Get("WWW-Authenticate"), `DPoP error="invalid_token", algs="ES256", acr_values="abc", scope="d"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
