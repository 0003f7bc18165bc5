package issuer

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

// Paths below the issuer's name.
const (
	pathKeys     = "/jwks"
	pathNonce    = "/nonce"
	pathRegister = "/register"
	pathToken    = "/token"
	pathPresence = "/popp/token"
	pathSigned   = "/popp/jwks"
)

const (
	maxBody       = 16 << 10
	nonceLife     = 300 * time.Second
	statementLife = 24 * time.Hour
)

// Handler serves the issuer: the documents of both issuers, /nonce, /register, /token and, for PoPP tokens, /popp/token.
func (i *Issuer) Handler() (http.Handler, error) {
	metadata, err := i.metadata()
	if err != nil {
		return nil, err
	}
	keys, err := json.Marshal(i.access.set())
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, path := range []string{zeta.PathAuthorizationServer, zeta.PathOpenID} {
		mux.HandleFunc("GET "+path, static("application/json", metadata))
	}
	mux.HandleFunc("GET "+pathKeys, static("application/jwk-set+json", keys))
	mux.HandleFunc("GET "+zeta.PathFederation, i.signed("entity-statement+jwt", func(at time.Time) any { return i.statement(at) }))
	mux.HandleFunc("GET "+pathSigned, i.signed("jwk-set+jwt", func(at time.Time) any { return i.signedKeys(at) }))
	mux.HandleFunc("GET "+pathNonce, i.serveNonce)
	mux.HandleFunc("POST "+pathRegister, i.answer(i.register))
	mux.HandleFunc("POST "+pathToken, i.answer(i.token))
	mux.HandleFunc("POST "+pathPresence, i.answer(i.presence))
	for _, path := range []string{"/authorize", "/redirect"} {
		mux.HandleFunc(path, i.answer(func(*http.Request) (reply, error) {
			return reply{}, &fault{status: http.StatusBadRequest, Code: "unsupported_response_type", Description: "this issuer has the grant client_credentials only"}
		}))
	}
	mux.HandleFunc("POST /revoke", i.answer(func(*http.Request) (reply, error) {
		return reply{}, &fault{status: http.StatusBadRequest, Code: "unsupported_token_type", Description: "this issuer remembers no tokens"} // RFC 7009 2.2.1
	}))
	return http.MaxBytesHandler(mux, maxBody), nil
}

// metadata is RFC 8414, with the mark.
func (i *Issuer) metadata() ([]byte, error) {
	at := func(path string) string { return i.base + path }
	m := zeta.AuthorizationServer{
		Issuer: i.base, AuthorizationEndpoint: at("/authorize"), NonceEndpoint: at(pathNonce), RegistrationEndpoint: at(pathRegister),
		TokenEndpoint: at(pathToken), RedirectionEndpoint: at("/redirect"), RevocationEndpoint: at("/revoke"), JWKSURI: at(pathKeys),
		Scopes: i.opt.Scopes, ResponseTypes: []string{"code"}, GrantTypes: []string{grantCredentials},
		AuthMethods: []string{"private_key_jwt"}, AuthAlgorithms: []string{"ES256"}, ChallengeMethods: []string{"S256"},
	}
	if _, err := m.Document(); err != nil { // the checks of the schema
		return nil, err
	}
	return json.Marshal(struct {
		zeta.AuthorizationServer
		Proofs []string `json:"dpop_signing_alg_values_supported"`
		Dev    string   `json:"querschott_dev"`
	}{m, []string{"ES256"}, Mark})
}

// statement is an entity statement of OpenID Federation.
type statement struct {
	Issuer   string      `json:"iss"`
	Subject  string      `json:"sub"`
	Issued   int64       `json:"iat"`
	Expires  int64       `json:"exp"`
	Keys     jose.KeySet `json:"jwks"`
	Metadata struct {
		Resource struct {
			Keys string `json:"signed_jwks_uri"`
			Name string `json:"organization_name"`
		} `json:"oauth_resource"`
	} `json:"metadata"`
	Dev string `json:"querschott_dev"`
}

func (i *Issuer) statement(at time.Time) statement {
	s := statement{
		Issuer: i.base, Subject: i.base, Issued: at.Unix(), Expires: at.Add(statementLife).Unix(), Keys: i.entity.set(), Dev: Mark,
	}
	s.Metadata.Resource.Keys, s.Metadata.Resource.Name = i.base+pathSigned, "Querschott DEV-ONLY - NOT-VALID"
	return s
}

// signedSet is a signed key set of OpenID Federation.
type signedSet struct {
	Issuer  string     `json:"iss"`
	Subject string     `json:"sub"`
	Issued  int64      `json:"iat"`
	Expires int64      `json:"exp"`
	Keys    []jose.Key `json:"keys"`
	Dev     string     `json:"querschott_dev"`
}

func (i *Issuer) signedKeys(at time.Time) signedSet {
	return signedSet{i.base, i.base, at.Unix(), at.Add(statementLife).Unix(), []jose.Key{i.popp.public}, Mark}
}

func static(mime string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		send(w, http.StatusOK, mime, body)
	}
}

func (i *Issuer) signed(typ string, payload func(time.Time) any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		text, err := i.entity.sign(typ, payload(i.now()))
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=60")
		send(w, http.StatusOK, "application/"+typ, []byte(text))
	}
}

// newNonce makes a nonce of 128 random bits (A_28144).
func (i *Issuer) newNonce() (string, bool) {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	nonce, now := base64.RawURLEncoding.EncodeToString(b[:]), i.now()
	return nonce, i.nonces.add(nonce, now.Add(nonceLife), now)
}

func (i *Issuer) serveNonce(w http.ResponseWriter, _ *http.Request) {
	nonce, ok := i.newNonce()
	if !ok {
		refuse(w, busy())
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	reply{http.StatusOK, struct {
		Nonce string `json:"nonce"`
	}{nonce}}.send(w)
}

// presence issues a PoPP token for anybody.
func (i *Issuer) presence(r *http.Request) (reply, error) {
	var c Card
	if err := readJSON(r, &c); err != nil {
		return reply{}, err
	}
	token, err := i.PresenceToken(c)
	if err != nil {
		return reply{}, invalid("patientId and insurerId are needed")
	}
	return reply{http.StatusOK, struct {
		Token string `json:"popp_token"`
		Dev   string `json:"querschott_dev"`
	}{token, Mark}}, nil
}

// fault is an error of an endpoint (RFC 6749 5.2).
type fault struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
	status      int
	nonce       string // for the header DPoP-Nonce
}

func (f *fault) Error() string { return f.Code + ": " + f.Description }

func invalid(description string) *fault {
	return &fault{status: http.StatusBadRequest, Code: "invalid_request", Description: description}
}

func busy() *fault {
	return &fault{status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", Description: "too much is under way; try again"}
}

// reply is an answer that went well; its body becomes JSON.
type reply struct {
	status int
	body   any
}

func (a reply) send(w http.ResponseWriter) {
	body, err := json.Marshal(a.body)
	if err != nil {
		refuse(w, err)
		return
	}
	send(w, a.status, "application/json", body)
}

// answer serves an endpoint whose answers are nobody else's.
func (i *Issuer) answer(serve func(*http.Request) (reply, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store") // RFC 6749 5.1
		a, err := serve(r)
		if err != nil {
			refuse(w, err)
			return
		}
		a.send(w)
	}
}

func refuse(w http.ResponseWriter, err error) {
	f, ok := errors.AsType[*fault](err)
	if !ok {
		f = &fault{status: http.StatusInternalServerError, Code: "server_error"}
	}
	if f.nonce != "" {
		w.Header().Set(zeta.HeaderDPoPNonce, f.nonce)
	}
	body, err := json.Marshal(f)
	if err != nil {
		panic(err) // texts always marshal
	}
	send(w, f.status, "application/json", body)
}

func send(w http.ResponseWriter, status int, mime string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", mime)
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever asked has gone
}

// tooLarge tells a body over the limit from one that cannot be read.
func tooLarge(err error) *fault {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		f := invalid("the request is too large")
		f.status = http.StatusRequestEntityTooLarge
		return f
	}
	return invalid("the request cannot be read")
}

// readJSON reads one JSON value. Members that are not known are ignored (RFC 7591 2).
func readJSON(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	if err := d.Decode(into); err != nil {
		return tooLarge(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return invalid("the request has something behind its end")
	}
	return nil
}
