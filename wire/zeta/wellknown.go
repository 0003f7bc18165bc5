package zeta

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/querschott/querschott/wire/internal/object"
)

// The paths of well-known documents.
const (
	PathProtectedResource   = "/.well-known/oauth-protected-resource"
	PathAuthorizationServer = "/.well-known/oauth-authorization-server"
	PathOpenID              = "/.well-known/openid-configuration"
	PathFederation          = "/.well-known/openid-federation"
)

// CacheControl is the header of well-known documents; clients load them again after a day or a 404 (A_28426).
const CacheControl = "public, max-age=86400"

// Uses of the inner channel ZETA/ASL.
const (
	ASLNotSupported = "not_supported"
	ASLRequired     = "required"
	ASLPassthrough  = "required_passthrough"
)

const maxDocument = 256 << 10

// ErrDocument means that a well-known document cannot be used.
var ErrDocument = errors.New("the document is not as its specification says")

// Document is a well-known document as it is served: application/json with a strong ETag and [CacheControl].
type Document struct {
	Body []byte
	ETag string // with its quotes
}

// ProtectedResource is the metadata of a protected resource (RFC 9728, schema opr-well-known.yaml).
type ProtectedResource struct {
	Resource             string       `json:"resource"`              // https URL
	AuthorizationServers []string     `json:"authorization_servers"` // exactly one (A_28464)
	JWKSURI              string       `json:"jwks_uri,omitempty"`
	ScopesSupported      []string     `json:"scopes_supported,omitempty"`
	BearerMethods        []string     `json:"bearer_methods_supported"`
	ResourceName         string       `json:"resource_name,omitempty"`
	Documentation        string       `json:"resource_documentation,omitempty"`
	ProofAlgorithms      []string     `json:"dpop_signing_alg_values_supported"`
	BoundTokensRequired  bool         `json:"dpop_bound_access_tokens_required"`
	ASLUse               string       `json:"zeta_asl_use"`
	APIVersions          []APIVersion `json:"api_versions_supported,omitempty"`
}

// APIVersion is one version of the API behind the gate.
type APIVersion struct {
	Major         int    `json:"major_version"`
	Version       string `json:"version"` // major.minor.patch
	Status        string `json:"status"`  // stable, beta, alpha, deprecated, retired
	Documentation string `json:"documentation_uri,omitempty"`
}

// NewProtectedResource returns the metadata of a resource as the gate serves it: tokens in the header only, bound to a key,
// ES256, no inner channel.
func NewProtectedResource(resource, authorizationServer string, scopes ...string) ProtectedResource {
	return ProtectedResource{
		Resource: resource, AuthorizationServers: []string{authorizationServer}, ScopesSupported: scopes,
		BearerMethods: []string{"header"}, ProofAlgorithms: []string{"ES256"}, BoundTokensRequired: true, ASLUse: ASLNotSupported,
	}
}

// Document checks the metadata and writes it.
func (r ProtectedResource) Document() (Document, error) {
	if !absolute(r.Resource) || len(r.AuthorizationServers) != 1 || !absolute(r.AuthorizationServers[0]) || r.ASLUse == "" {
		return Document{}, fmt.Errorf("couldn't write the metadata of the protected resource: %w", ErrDocument)
	}
	return document(r)
}

// AuthorizationServer is the metadata of an authorization server (RFC 8414, schema as-well-known.yaml). Every member
// without omitempty is required.
type AuthorizationServer struct {
	Issuer                string       `json:"issuer"`
	AuthorizationEndpoint string       `json:"authorization_endpoint"`
	NonceEndpoint         string       `json:"nonce_endpoint"`
	RegistrationEndpoint  string       `json:"registration_endpoint"`
	TokenEndpoint         string       `json:"token_endpoint"`
	RedirectionEndpoint   string       `json:"redirection_endpoint"`
	JWKSURI               string       `json:"jwks_uri"`
	Scopes                []string     `json:"scopes_supported"`
	ResponseTypes         []string     `json:"response_types_supported"`
	GrantTypes            []string     `json:"grant_types_supported"`
	AuthMethods           []string     `json:"token_endpoint_auth_methods_supported"`
	AuthAlgorithms        []string     `json:"token_endpoint_auth_signing_alg_values_supported"`
	ChallengeMethods      []string     `json:"code_challenge_methods_supported"`
	RevocationEndpoint    string       `json:"revocation_endpoint"`
	APIVersions           []APIVersion `json:"api_versions_supported,omitempty"`
}

// Document checks the metadata and writes it.
func (s AuthorizationServer) Document() (Document, error) {
	for _, u := range []string{
		s.Issuer, s.AuthorizationEndpoint, s.NonceEndpoint, s.RegistrationEndpoint, s.TokenEndpoint, s.RedirectionEndpoint, s.JWKSURI,
		s.RevocationEndpoint,
	} {
		if !absolute(u) {
			return Document{}, fmt.Errorf("couldn't write the metadata of the authorization server: %w", ErrDocument)
		}
	}
	for _, list := range [][]string{s.Scopes, s.ResponseTypes, s.GrantTypes, s.AuthMethods, s.AuthAlgorithms, s.ChallengeMethods} {
		if list == nil {
			return Document{}, fmt.Errorf("couldn't write the metadata of the authorization server: %w", ErrDocument)
		}
	}
	return document(s)
}

func document(v any) (Document, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return Document{}, fmt.Errorf("couldn't write a well-known document: %w", err)
	}
	sum := sha256.Sum256(body)
	return Document{body, `"` + hex.EncodeToString(sum[:16]) + `"`}, nil
}

// absolute reports whether s is an http or https URL with a host and without user and fragment.
func absolute(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && u.Fragment == ""
}

// KeysOf reads an authorization server's metadata, which must name the expected issuer (RFC 8414 3.3), and returns where its
// keys are.
func KeysOf(metadata []byte, issuer string) (jwksURI string, err error) {
	if len(metadata) > maxDocument {
		return "", ErrDocument
	}
	var named string
	err = object.Each(string(metadata), func(name string, v object.Value) error {
		switch name {
		case "issuer":
			return text(&named, v)
		case "jwks_uri":
			return text(&jwksURI, v)
		}
		return nil
	})
	if err == nil && (named != issuer || !absolute(jwksURI)) {
		err = ErrDocument
	}
	if err != nil {
		return "", fmt.Errorf("couldn't read the metadata of the issuer: %w", err)
	}
	return jwksURI, nil
}

// Statement is what counts of an entity statement (OpenID Federation 1.0) or of a signed set of keys: the payload of a JWT.
type Statement struct {
	Issuer  string
	Subject string
	Issued  int64
	Expires int64  // required
	Keys    []byte // "jwks" of an entity statement as it stands there, nil if there is none
	KeysURI string // metadata.oauth_resource.signed_jwks_uri; may be relative
}

// ParseStatement reads the payload of an entity statement or of a signed set of keys.
func ParseStatement(payload []byte) (*Statement, error) {
	if len(payload) > maxDocument {
		return nil, ErrDocument
	}
	s := &Statement{}
	if err := object.Each(string(payload), s.member); err != nil {
		return nil, fmt.Errorf("couldn't read the statement: %w", err)
	}
	if s.Expires == 0 {
		return nil, fmt.Errorf("couldn't read the statement: %w", ErrMissing)
	}
	return s, nil
}

func (s *Statement) member(name string, v object.Value) error {
	switch name {
	case "iss":
		return text(&s.Issuer, v)
	case "sub":
		return text(&s.Subject, v)
	case "iat":
		return seconds(&s.Issued, v)
	case "exp":
		return seconds(&s.Expires, v)
	case "jwks":
		s.Keys = []byte(v)
	case "metadata":
		return v.Each(func(name string, v object.Value) error {
			if name != "oauth_resource" {
				return nil
			}
			return v.Each(func(name string, v object.Value) error {
				if name != "signed_jwks_uri" {
					return nil
				}
				return text(&s.KeysURI, v)
			})
		})
	}
	return nil
}

// Resolve returns the absolute URL of a reference in a document of the issuer.
func Resolve(issuer, reference string) (string, error) {
	base, err := url.Parse(strings.TrimSuffix(issuer, "/") + "/")
	if err != nil {
		return "", ErrDocument
	}
	u, err := base.Parse(reference)
	if err != nil || !absolute(u.String()) {
		return "", ErrDocument
	}
	return u.String(), nil
}
