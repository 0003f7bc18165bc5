package issuer

import (
	"crypto/rand"
	"encoding/json"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

const (
	grantCredentials = "client_credentials"
	assertionType    = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

	maxToken     = 8 << 10     // octets of an assertion
	maxProof     = 4 << 10     // octets of a proof
	maxNames     = 16          // audiences
	leeway       = time.Minute // towards clients' clocks
	proofLife    = 2 * time.Minute
	maxAssertion = 10 * time.Minute // longest life of a client assertion
)

// registration is a request of RFC 7591, with what only a dev issuer takes on trust.
type registration struct {
	Name     string          `json:"client_name,omitempty"`
	Method   string          `json:"token_endpoint_auth_method"`
	Grants   []string        `json:"grant_types"`
	Keys     json.RawMessage `json:"jwks"`
	Practice Practice        `json:"querschott_practice"`
}

func (i *Issuer) register(r *http.Request) (reply, error) {
	var in registration
	if err := readJSON(r, &in); err != nil {
		return reply{}, err
	}
	wrong := func(description string) error {
		return &fault{status: http.StatusBadRequest, Code: "invalid_client_metadata", Description: description}
	}
	if in.Method != "private_key_jwt" {
		return reply{}, wrong("token_endpoint_auth_method must be private_key_jwt")
	}
	if in.Grants == nil {
		in.Grants = []string{grantCredentials}
	}
	if !slices.Contains(in.Grants, grantCredentials) {
		return reply{}, wrong("grant_types must name client_credentials; this issuer has no token exchange")
	}
	keys, err := jose.ParseKeySet(in.Keys)
	if err != nil || len(keys) == 0 {
		return reply{}, wrong("jwks must hold public keys on P-256 and nothing private")
	}
	c := &client{id: "dev-" + strings.ToLower(rand.Text()), keys: keys, practice: in.Practice.standard(), issued: i.now()}
	if !i.clients.add(c) {
		return reply{}, &fault{status: http.StatusConflict, Code: "conflict", Description: "a key is another client's"}
	}
	return reply{http.StatusCreated, struct {
		ID     string `json:"client_id"`
		Issued int64  `json:"client_id_issued_at"`
		Status string `json:"status"`
		Dev    string `json:"querschott_dev"`
		registration
	}{c.id, c.issued.Unix(), "pending_verification", Mark, registration{in.Name, in.Method, in.Grants, in.Keys, c.practice}}}, nil
}

// token answers the token endpoint: client_credentials with private_key_jwt and DPoP.
func (i *Issuer) token(r *http.Request) (reply, error) {
	form, err := readForm(r)
	if err != nil {
		return reply{}, err
	}
	switch grant := form.Get("grant_type"); grant {
	case grantCredentials:
	case "":
		return reply{}, invalid("grant_type is missing")
	default:
		return reply{}, &fault{status: http.StatusBadRequest, Code: "unsupported_grant_type", Description: "this issuer has client_credentials only"}
	}
	c, err := i.authenticate(form)
	if err != nil {
		return reply{}, err
	}
	binding, err := i.proved(r)
	if err != nil {
		return reply{}, err
	}
	g := Grant{Practice: c.practice, Client: c.id, Binding: binding, Address: remote(r)}
	if g.Scope, err = i.scope(form.Get("scope")); err != nil {
		return reply{}, err
	}
	if g.Audience, g.Version, err = audience(form); err != nil {
		return reply{}, err
	}
	token, err := i.AccessToken(g)
	if err != nil {
		return reply{}, err
	}
	return reply{http.StatusOK, struct {
		Token   string `json:"access_token"`
		Type    string `json:"token_type"`
		Expires int64  `json:"expires_in"`
		Scope   string `json:"scope"`
		Dev     string `json:"querschott_dev"`
	}{token, "DPoP", int64(i.opt.Lifetime / time.Second), g.Scope, Mark}}, nil
}

// readForm reads a form in which only audience and resource may come more than once (RFC 6749 3.2, RFC 8707 2).
func readForm(r *http.Request) (url.Values, error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		return nil, invalid("the request must be a form")
	}
	if err := r.ParseForm(); err != nil {
		return nil, tooLarge(err)
	}
	if r.URL.RawQuery != "" {
		return nil, invalid("parameters belong into the body")
	}
	for name, values := range r.PostForm {
		if n := len(values); n > 1 && name != "audience" && name != "resource" || n > maxNames {
			return nil, invalid("a parameter comes more than once")
		}
	}
	return r.PostForm, nil
}

// remote is the address of whoever holds the connection: nobody stands in front of a dev issuer.
func remote(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// assertion is the payload of a client assertion (RFC 7523 3).
type assertion struct {
	Issuer    string    `json:"iss"`
	Subject   string    `json:"sub"`
	Audience  audiences `json:"aud"`
	Expires   int64     `json:"exp"`
	Issued    int64     `json:"iat"`
	NotBefore int64     `json:"nbf"`
	ID        string    `json:"jti"`
	Nonce     string    `json:"nonce"`
}

// audiences is one text or a list.
type audiences []string

func (a *audiences) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// authenticate finds the client whose key signed the assertion (RFC 7523 3). It does not say what was wrong with it.
func (i *Issuer) authenticate(form url.Values) (*client, error) {
	refused := &fault{status: http.StatusUnauthorized, Code: "invalid_client", Description: "the client assertion is not valid here"}
	if form.Get("client_assertion_type") != assertionType || form.Get("client_assertion") == "" {
		refused.Description = "a client assertion (private_key_jwt) is needed"
		return nil, refused
	}
	token, err := jose.Parse(form.Get("client_assertion"), maxToken)
	if err != nil || !slices.Contains([]string{"", "JWT", "client-authentication+jwt"}, token.Header.Typ) {
		return nil, refused
	}
	var a assertion
	if json.Unmarshal(token.Payload, &a) != nil || a.Issuer != a.Subject {
		return nil, refused
	}
	if id := form.Get("client_id"); id != "" && id != a.Issuer {
		return nil, refused
	}
	c := i.clients.find(a.Issuer)
	if c == nil || token.Verify(c.key(token.Header.Kid)) != nil {
		return nil, refused
	}
	now := i.now()
	expires := time.Unix(a.Expires, 0)
	switch {
	case !now.Before(expires.Add(leeway)) || expires.After(now.Add(maxAssertion)),
		time.Unix(a.Issued, 0).After(now.Add(leeway)) || time.Unix(a.NotBefore, 0).After(now.Add(leeway)),
		!slices.Contains(a.Audience, i.base) && !slices.Contains(a.Audience, i.base+pathToken),
		a.Nonce != "" && !i.nonces.take(a.Nonce, now),
		a.ID == "" || len(a.ID) > 256 || !i.used.add("assertion "+c.id+" "+a.ID, expires.Add(leeway), now):
		return nil, refused
	}
	return c, nil
}

// key returns the client's key of that id; without an id its only key.
func (c *client) key(id string) jose.Key {
	if id == "" && len(c.keys) == 1 {
		for _, k := range c.keys {
			return k
		}
	}
	return c.keys[id]
}

// proved checks the DPoP proof and returns the thumbprint of its key (RFC 9449 4.3, 8).
func (i *Issuer) proved(r *http.Request) (string, error) {
	wrong := &fault{status: http.StatusBadRequest, Code: "invalid_dpop_proof", Description: "the DPoP proof is not valid here"}
	proofs := r.Header.Values("DPoP")
	if len(proofs) != 1 {
		wrong.Description = "exactly one DPoP proof is needed"
		return "", wrong
	}
	token, err := jose.Parse(proofs[0], maxProof)
	if err != nil || token.Header.Typ != zeta.TypeProof || token.Verify(token.Header.JWK) != nil {
		return "", wrong
	}
	p, err := zeta.ParseProof(token.Payload)
	now := i.now()
	issued := time.Unix(p.Issued, 0)
	if err != nil || p.Method != http.MethodPost || !zeta.SameTarget(p.Target, i.base+pathToken) ||
		issued.After(now.Add(leeway)) || now.After(issued.Add(proofLife+leeway)) {
		return "", wrong
	}
	if p.Nonce == "" && i.opt.DemandNonce || p.Nonce != "" && !i.nonces.take(p.Nonce, now) {
		nonce, ok := i.newNonce()
		if !ok {
			return "", busy()
		}
		return "", &fault{status: http.StatusBadRequest, Code: "use_dpop_nonce", Description: "the proof needs the nonce of this answer", nonce: nonce}
	}
	thumbprint := token.Header.JWK.Thumbprint()
	if !i.used.add("proof "+thumbprint+" "+p.ID, issued.Add(proofLife+leeway+time.Second), now) {
		return "", wrong
	}
	return thumbprint, nil
}

// scope returns what is granted: what was asked for, all if nothing was.
func (i *Issuer) scope(asked string) (string, error) {
	if asked == "" {
		return strings.Join(i.opt.Scopes, " "), nil
	}
	for s := range strings.SplitSeq(asked, " ") {
		if !slices.Contains(i.opt.Scopes, s) {
			return "", &fault{status: http.StatusBadRequest, Code: "invalid_scope", Description: "a scope is not known here"}
		}
	}
	return asked, nil
}

// audience returns the audiences that were asked for, and by which contract: audience is the first, resource the second.
func audience(form url.Values) (list []string, version int64, err error) {
	list, version = form["audience"], 1
	if resources := form["resource"]; len(resources) > 0 {
		list, version = resources, 2
		for _, s := range resources {
			if u, err := url.Parse(s); err != nil || !u.IsAbs() || u.Fragment != "" {
				return nil, 0, &fault{status: http.StatusBadRequest, Code: "invalid_target", Description: "a resource is no absolute URI"} // RFC 8707 2
			}
		}
	}
	if slices.ContainsFunc(list, func(s string) bool { return s == "" || len(s) > 512 }) {
		return nil, 0, &fault{status: http.StatusBadRequest, Code: "invalid_target", Description: "an audience is empty or too long"}
	}
	if len(list) == 0 {
		version = 0
	}
	return list, version, nil
}
