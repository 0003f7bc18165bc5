package zeta

import (
	"errors"
	"strings"

	"github.com/querschott/querschott/wire/internal/object"
)

// The values of typ in the headers of the three tokens. An access token may also be a plain "JWT".
const (
	TypeAccess   = "at+jwt"
	TypePlain    = "JWT"
	TypeProof    = "dpop+jwt"
	TypePresence = "vnd.telematik.popp+jwt"
)

// Levels of authentication in the claim acr (gemSpec_ZETA A_29820), the lower first.
const (
	Substantial = "gematik-ehealth-loa-substantial"
	High        = "gematik-ehealth-loa-high"
)

const (
	maxText      = 512 // octets of a claim
	maxAudiences = 16

	maxTime = 253402300799 // the last second of the year 9999
)

// The ways in which claims are refused. They hold nothing of the claims.
var (
	ErrMissing = errors.New("a required claim is missing")
	ErrClaim   = errors.New("a claim has another form than its schema says")
)

// Access holds the claims of an access token (RFC 9068, schema access-token.yaml). Times are seconds since 1970.
type Access struct {
	Issuer         string       `json:"iss"`
	Expires        int64        `json:"exp"`
	Issued         int64        `json:"iat"`
	NotBefore      int64        `json:"nbf,omitempty"` // 0 if there is none
	Audience       []string     `json:"aud"`
	Scope          string       `json:"scope"` // separated by single blanks
	Subject        string       `json:"sub"`   // Telematik-ID, KVNR or another identifier
	Profession     string       `json:"profession_oid,omitempty"`
	CommonName     string       `json:"common_name,omitempty"`
	Organization   string       `json:"organization_name,omitempty"`
	Client         string       `json:"client_id"`
	Address        string       `json:"ip_address"` // of the client when the token was issued; see Complete
	Product        string       `json:"product_id"`
	ProductVersion string       `json:"product_version"`
	Platform       string       `json:"platform,omitempty"`
	ACR            string       `json:"acr,omitempty"` // required by the newest schema, absent in the published example
	ID             string       `json:"jti"`
	Session        string       `json:"sid,omitempty"` // as acr
	Version        int64        `json:"ver,omitempty"` // contract of issuing: 0 and 1 are the same
	Confirmation   Confirmation `json:"cnf"`
	Nonce          bool         `json:"-"` // whether there is a claim nonce, which no schema knows
}

// Confirmation binds a token to a key.
type Confirmation struct {
	Thumbprint string `json:"jkt"` // RFC 7638, base64url
}

// Complete reports whether the claims are there that the newest schema requires beyond RFC 9068. Issuers outside of the
// Telematikinfrastruktur do not know them.
func (a *Access) Complete() bool { return a.Address != "" && a.Product != "" && a.ProductVersion != "" }

// ParseAccess reads the payload of an access token. What RFC 9068 requires is required, and scope and the binding to a key.
func ParseAccess(payload []byte) (*Access, error) {
	a := &Access{}
	if err := object.Each(string(payload), a.member); err != nil {
		return nil, err
	}
	for _, required := range [...]string{a.Issuer, a.Scope, a.Subject, a.Client, a.ID} {
		if required == "" {
			return nil, ErrMissing
		}
	}
	if a.Expires == 0 || a.Issued == 0 || len(a.Audience) == 0 || a.Confirmation.Thumbprint == "" {
		return nil, ErrMissing
	}
	return a, nil
}

func (a *Access) member(name string, v object.Value) error {
	switch name {
	case "iss":
		return text(&a.Issuer, v)
	case "exp":
		return seconds(&a.Expires, v)
	case "iat":
		return seconds(&a.Issued, v)
	case "nbf":
		return seconds(&a.NotBefore, v)
	case "aud":
		return audience(&a.Audience, v)
	case "scope":
		return text(&a.Scope, v)
	case "sub":
		return text(&a.Subject, v)
	case "profession_oid":
		return text(&a.Profession, v)
	case "common_name":
		return text(&a.CommonName, v)
	case "organization_name":
		return text(&a.Organization, v)
	}
	return a.clientMember(name, v)
}

func (a *Access) clientMember(name string, v object.Value) (err error) {
	switch name {
	case "client_id":
		return text(&a.Client, v)
	case "ip_address":
		return text(&a.Address, v)
	case "product_id":
		return text(&a.Product, v)
	case "product_version":
		return text(&a.ProductVersion, v)
	case "platform":
		return text(&a.Platform, v)
	case "acr":
		return text(&a.ACR, v)
	case "jti":
		return text(&a.ID, v)
	case "sid":
		return text(&a.Session, v)
	case "ver":
		a.Version, err = v.Int()
	case "cnf":
		return v.Each(func(name string, v object.Value) error {
			if name != "jkt" {
				return nil
			}
			return text(&a.Confirmation.Thumbprint, v)
		})
	case "nonce":
		a.Nonce = true
	}
	return err
}

// HasScope reports whether one of the token's scopes is the given one.
func (a *Access) HasScope(scope string) bool {
	for s := range strings.SplitSeq(a.Scope, " ") {
		if s == scope && s != "" {
			return true
		}
	}
	return false
}

// Proof holds the claims of a DPoP proof (RFC 9449 4.2).
type Proof struct {
	ID     string `json:"jti"`
	Method string `json:"htm"`
	Target string `json:"htu"`
	Issued int64  `json:"iat"` // seconds since 1970
	Hash   string `json:"ath,omitempty"`
	Nonce  string `json:"nonce,omitempty"`
}

// ParseProof reads the payload of a DPoP proof. ath and nonce may be missing.
func ParseProof(payload []byte) (Proof, error) {
	var p Proof
	if err := object.Each(string(payload), p.member); err != nil {
		return Proof{}, err
	}
	if p.ID == "" || p.Method == "" || p.Target == "" || p.Issued == 0 {
		return Proof{}, ErrMissing
	}
	return p, nil
}

func (p *Proof) member(name string, v object.Value) error {
	switch name {
	case "jti":
		return text(&p.ID, v)
	case "htm":
		return text(&p.Method, v)
	case "htu":
		return text(&p.Target, v)
	case "iat":
		return seconds(&p.Issued, v)
	case "ath":
		return text(&p.Hash, v)
	case "nonce":
		return text(&p.Nonce, v)
	}
	return nil
}

// Presence holds the claims of a PoPP token (gemSpec_PoPP_Service 1.0.0). All are required. It has neither exp nor jti nor
// aud: it is valid for every service, any number of times.
type Presence struct {
	Issued     int64  `json:"iat"` // seconds since 1970
	Version    string `json:"version"`
	Issuer     string `json:"iss"`
	Method     string `json:"proofMethod"` // any value: the published list is still growing
	Proved     int64  `json:"patientProofTime"`
	Patient    string `json:"patientId"` // KVNR; whoever uses it checks its pattern
	Insurer    string `json:"insurerId"` // IK; as patientId
	Actor      string `json:"actorId"`   // must equal sub of the access token
	Profession string `json:"actorProfessionOid"`
}

// ParsePresence reads the payload of a PoPP token. It refuses versions other than 1.
func ParsePresence(payload []byte) (*Presence, error) {
	p := &Presence{}
	if err := object.Each(string(payload), p.member); err != nil {
		return nil, err
	}
	for _, required := range [...]string{p.Version, p.Issuer, p.Method, p.Patient, p.Insurer, p.Actor, p.Profession} {
		if required == "" {
			return nil, ErrMissing
		}
	}
	if p.Issued == 0 || p.Proved == 0 {
		return nil, ErrMissing
	}
	if !strings.HasPrefix(p.Version, "1.") {
		return nil, ErrClaim
	}
	return p, nil
}

func (p *Presence) member(name string, v object.Value) error {
	switch name {
	case "iat":
		return seconds(&p.Issued, v)
	case "version":
		return text(&p.Version, v)
	case "iss":
		return text(&p.Issuer, v)
	case "proofMethod":
		return text(&p.Method, v)
	case "patientProofTime":
		return seconds(&p.Proved, v)
	case "patientId":
		return text(&p.Patient, v)
	case "insurerId":
		return text(&p.Insurer, v)
	case "actorId":
		return text(&p.Actor, v)
	case "actorProfessionOid":
		return text(&p.Profession, v)
	}
	return nil
}

// text takes a string of at most maxText octets without control characters: claims end up in headers and records.
func text(dst *string, v object.Value) error {
	s, err := v.Text()
	if err != nil || len(s) > maxText {
		return ErrClaim
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return ErrClaim
		}
	}
	*dst = s
	return nil
}

func seconds(dst *int64, v object.Value) error {
	n, err := v.Int()
	if err != nil || n <= 0 || n > maxTime {
		return ErrClaim
	}
	*dst = n
	return nil
}

// audience takes one text or a list of at most maxAudiences.
func audience(dst *[]string, v object.Value) error {
	var one string
	if text(&one, v) == nil {
		*dst = []string{one}
		return nil
	}
	return v.Items(func(v object.Value) error {
		if err := text(&one, v); err != nil {
			return err
		}
		if *dst = append(*dst, one); len(*dst) > maxAudiences {
			return ErrClaim
		}
		return nil
	})
}
