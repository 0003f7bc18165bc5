package zeta

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Code is the value of "error" in an error body. The list is open (schema zeta-error.yaml).
type Code string

// The codes that a gate answers with.
const (
	InvalidRequest         Code = "invalid_request"
	InvalidToken           Code = "invalid_token"
	InsufficientScope      Code = "insufficient_scope"
	InvalidProof           Code = "invalid_dpop_proof"
	UseNonce               Code = "use_dpop_nonce"
	StepUp                 Code = "insufficient_user_authentication"
	AccessDenied           Code = "access_denied"
	ResourceNotFound       Code = "resource_not_found"
	RateLimitExceeded      Code = "rate_limit_exceeded"
	TemporarilyUnavailable Code = "temporarily_unavailable"
	ServerError            Code = "server_error"
)

// Reason says for the record and for detectors why a request was refused. It never leaves the house.
type Reason string

// The reasons.
const (
	ReasonNoToken          Reason = "no_token"         // no Authorization, or another scheme
	ReasonTokenForm        Reason = "token_form"       // cannot be read, or lacks a claim
	ReasonTokenAlgorithm   Reason = "token_algorithm"  // not ES256
	ReasonTokenKey         Reason = "token_key"        // nobody knows the kid
	ReasonTokenSignature   Reason = "token_signature"  // somebody forged or changed it
	ReasonTokenIssuer      Reason = "token_issuer"     // not one of ours
	ReasonTokenTime        Reason = "token_time"       // expired, not yet valid, from the future
	ReasonTokenAudience    Reason = "token_audience"   // for somebody else
	ReasonTokenScope       Reason = "token_scope"      // does not grant this
	ReasonTokenUnbound     Reason = "token_unbound"    // bound to no key
	ReasonKeysUnavailable  Reason = "keys_unavailable" // no keys to verify with
	ReasonNoProof          Reason = "no_proof"
	ReasonProofForm        Reason = "proof_form"
	ReasonProofAlgorithm   Reason = "proof_algorithm"
	ReasonProofKey         Reason = "proof_key"       // private, not on the curve, of another size
	ReasonProofSignature   Reason = "proof_signature" // not made with the key that it shows
	ReasonProofBinding     Reason = "proof_binding"   // the token is bound to another key: a stolen token
	ReasonProofToken       Reason = "proof_token"     // made for another token
	ReasonProofTime        Reason = "proof_time"
	ReasonProofMethod      Reason = "proof_method"
	ReasonProofTarget      Reason = "proof_target"
	ReasonReplay           Reason = "dpop_replay" // the same proof twice
	ReasonReplayFull       Reason = "replay_full" // no room to remember proofs
	ReasonNonce            Reason = "nonce"
	ReasonTravel           Reason = "impossible_travel" // comes from another address than its token was issued to
	ReasonLevel            Reason = "level"             // acr too low
	ReasonNoPresence       Reason = "no_presence"
	ReasonPresenceForm     Reason = "presence_form"
	ReasonPresenceKey      Reason = "presence_key"       // nobody knows the kid, or x5c shows another key
	ReasonPresenceSigned   Reason = "presence_signature" // somebody forged or changed it
	ReasonPresenceIssuer   Reason = "presence_issuer"
	ReasonPresenceTime     Reason = "presence_time"  // from the future, or not of this quarter
	ReasonPresenceActor    Reason = "presence_actor" // made for another institution
	ReasonRevoked          Reason = "revoked"        // on the deny list
	ReasonGuard            Reason = "guard_mismatch" // the guard's headers contradict the token
	ReasonRoute            Reason = "unknown_route"
	ReasonMethod           Reason = "unknown_method"
	ReasonTooMany          Reason = "rate_limit"
	ReasonDoor             Reason = "door"     // the compartment's door is not open
	ReasonUpstream         Reason = "upstream" // the service gave no usable answer
	ReasonUpstreamTimeout  Reason = "upstream_time"
	ReasonUpstreamRejected Reason = "upstream_denied" // the service says that the gate's headers are wrong
	ReasonInternal         Reason = "internal"
)

// Error is a refusal in the form of ZETA: the body {error, error_description, error_uri} with its status and headers.
type Error struct {
	Status      int
	Code        Code
	Description string // shown to the client; holds no identifier
	URI         string // error_uri, "" for none
	Reason      Reason // for the record
	Err         error  // the cause, for the log; nil if there is none

	RetryAfter time.Duration // rounded up to seconds; 0: no header
	Allow      string        // methods, for 405
	Nonce      string        // for the header DPoP-Nonce
	ACR        string        // the level that the route demands
	Scope      string        // the scopes that the route demands
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Description)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Body returns the JSON of the answer.
func (e *Error) Body() []byte {
	b, err := json.Marshal(struct {
		Code        Code   `json:"error"`
		Description string `json:"error_description,omitempty"`
		URI         string `json:"error_uri,omitempty"`
	}{e.Code, e.Description, e.URI})
	if err != nil {
		panic(err) // texts always marshal
	}
	return b
}

// SetHeader sets the headers of the answer.
func (e *Error) SetHeader(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set(HeaderOrigin, "pep") // gemSpec_ZETA A_29860: clients tell the gate's refusals from the service's
	if e.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", e.challenge())
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if e.Allow != "" {
		h.Set("Allow", e.Allow)
	}
	if e.Nonce != "" {
		h.Set(HeaderDPoPNonce, e.Nonce)
	}
}

// challenge writes the value of WWW-Authenticate (RFC 9449 7.1; acr_values: RFC 9470 3; scope: RFC 6750 3).
func (e *Error) challenge() string {
	s := `DPoP error="` + string(e.Code) + `", algs="ES256"`
	if e.ACR != "" {
		s += `, acr_values="` + quotable(e.ACR) + `"`
	}
	if e.Scope != "" {
		s += `, scope="` + quotable(e.Scope) + `"`
	}
	return s
}

func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
}

// The refusals in the order of the published table. Texts before the colon are those of the official enforcement point, which
// its tests look for; what follows the colon is one of our own fixed texts.

// NoToken refuses a request without a readable credential: the header is missing, of another scheme, or the algorithm is not
// ours.
func NoToken(reason Reason, detail string) *Error {
	return &Error{Status: http.StatusUnauthorized, Code: InvalidToken, Description: "access token error: " + detail, Reason: reason}
}

// BadToken refuses an access token that can be read and is not valid here.
func BadToken(reason Reason, detail string, cause error) *Error {
	return &Error{Status: http.StatusUnauthorized, Code: InvalidToken, Description: "access token invalid: " + detail, Reason: reason, Err: cause}
}

// WrongScope refuses an access token for another audience or without the required scopes. status is 401, or 403 where the
// route follows A_29676.
func WrongScope(reason Reason, detail, scope string, status int) *Error {
	return &Error{Status: status, Code: InsufficientScope, Description: "access token invalid: " + detail, Reason: reason, Scope: scope}
}

// NoKeys says that access tokens cannot be verified for the time being.
func NoKeys(retry time.Duration, cause error) *Error {
	return &Error{
		Status: http.StatusServiceUnavailable, Code: TemporarilyUnavailable, Description: "access token error: no keys to verify with",
		Reason: ReasonKeysUnavailable, Err: cause, RetryAfter: retry,
	}
}

// BadProof refuses a DPoP proof.
func BadProof(reason Reason, detail string, cause error) *Error {
	return &Error{Status: http.StatusUnauthorized, Code: InvalidProof, Description: "DPoP error: " + detail, Reason: reason, Err: cause}
}

// NeedNonce asks for a proof with this nonce (RFC 9449 9).
func NeedNonce(nonce string) *Error {
	return &Error{
		Status: http.StatusUnauthorized, Code: UseNonce, Description: "DPoP error: the proof needs the nonce of this answer",
		Reason: ReasonNonce, Nonce: nonce,
	}
}

// NeedLevel asks for an authentication of a higher level (A_29860).
func NeedLevel(acr string) *Error {
	return &Error{
		Status: http.StatusUnauthorized, Code: StepUp, Description: "a higher level of authentication is required", Reason: ReasonLevel, ACR: acr,
	}
}

// Travel refuses a request from another address than its token was issued to (A_28803). Access and refresh token are to be
// revoked.
func Travel() *Error {
	return &Error{
		Status: http.StatusUnauthorized, Code: InvalidToken, Description: "Impossible Travel: the address is not that of the token", Reason: ReasonTravel,
	}
}

// NoPresence refuses a request without a PoPP token where one is demanded (A_26477-01: the only 400).
func NoPresence() *Error {
	return &Error{Status: http.StatusBadRequest, Code: InvalidRequest, Description: "PoPP header missing", Reason: ReasonNoPresence}
}

// BadPresence refuses a PoPP token. The description is the one that the official test list expects for all of them.
func BadPresence(reason Reason, cause error) *Error {
	return &Error{Status: http.StatusForbidden, Code: AccessDenied, Description: "PoPP error: InvalidToken", Reason: reason, Err: cause}
}

// ForeignActor refuses a PoPP token that was made for another institution. Neither id is told.
func ForeignActor() *Error {
	return &Error{
		Status: http.StatusForbidden, Code: AccessDenied, Description: "PoPP actorId mismatch: the token was issued to another institution",
		Reason: ReasonPresenceActor,
	}
}

// Denied refuses whoever is on a deny list, without saying why.
func Denied(reason Reason, cause error) *Error {
	return &Error{Status: http.StatusForbidden, Code: AccessDenied, Description: "access denied", Reason: reason, Err: cause}
}

// NoRoute says that nothing is served here.
func NoRoute() *Error {
	return &Error{Status: http.StatusNotFound, Code: ResourceNotFound, Description: "there is nothing here", Reason: ReasonRoute}
}

// NoMethod says which methods the route has, separated by ", ".
func NoMethod(allow string) *Error {
	return &Error{
		Status: http.StatusMethodNotAllowed, Code: InvalidRequest, Description: "the method is not allowed here", Reason: ReasonMethod, Allow: allow,
	}
}

// TooMany says that a rate is exceeded. The headers x-rate-limit-* are the gate's.
func TooMany(retry time.Duration) *Error {
	return &Error{
		Status: http.StatusTooManyRequests, Code: RateLimitExceeded, Description: "too many requests", Reason: ReasonTooMany, RetryAfter: retry,
	}
}

// DoorClosed says that a compartment's door is not open. uri is the public status page.
func DoorClosed(retry time.Duration, uri string) *Error {
	return &Error{
		Status: http.StatusServiceUnavailable, Code: TemporarilyUnavailable, Description: "this service is closed for the time being",
		URI: uri, Reason: ReasonDoor, RetryAfter: retry,
	}
}

// Upstream says that the service behind the gate gave no usable answer (502), none in time (504), or that our own headers to
// it were wrong (500, A_26974-01).
func Upstream(reason Reason, cause error) *Error {
	var status int
	switch reason {
	case ReasonUpstreamTimeout:
		status = http.StatusGatewayTimeout
	case ReasonUpstreamRejected:
		status = http.StatusInternalServerError
	default:
		status = http.StatusBadGateway
	}
	return &Error{Status: status, Code: ServerError, Description: "internal error: the service gave no usable answer", Reason: reason, Err: cause}
}

// Internal hides a fault of ours. reference finds it in the log, "" for none.
func Internal(reference string, cause error) *Error {
	description := "internal error: "
	if reference == "" {
		description += "see the operator's log"
	} else {
		description += "reference " + reference
	}
	return &Error{Status: http.StatusInternalServerError, Code: ServerError, Description: description, Reason: ReasonInternal, Err: cause}
}
