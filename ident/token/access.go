package token

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

// access is an access token whose signature is right. Only head changes.
type access struct {
	// head is the header of the last proof that was signed with the key that this token is bound to: the next one says the same.
	head atomic.Pointer[jose.Head]

	claims *zeta.Access
	issuer *Issuer
	key    jose.Key // that signed it

	credential querschott.Credential
	caller     querschott.Caller
	facts      ident.Facts
}

// retryKeys is what a client is told to wait when there are no keys.
const retryKeys = 10 * time.Second

// credential takes the token out of the header Authorization.
func (v *Verifier) credential(h http.Header) (string, *zeta.Error) {
	value, ok := single(h, "Authorization")
	if !ok {
		return "", zeta.NoToken(zeta.ReasonTokenForm, "several Authorization headers")
	}
	scheme, compact, ok := strings.Cut(value, " ")
	switch {
	case value == "":
		return "", zeta.NoToken(zeta.ReasonNoToken, "no Authorization header")
	case strings.EqualFold(scheme, "DPoP"), v.cfg.AllowBearer && strings.EqualFold(scheme, "Bearer"):
	default:
		return "", zeta.NoToken(zeta.ReasonNoToken, "the scheme is not DPoP")
	}
	if compact = strings.TrimLeft(compact, " "); !ok || compact == "" || len(compact) > maxAccess {
		return "", zeta.NoToken(zeta.ReasonTokenForm, "no token of an acceptable size")
	}
	return compact, nil
}

// accessToken returns the token's contents if an issuer of ours signed it and it is in its time.
func (v *Verifier) accessToken(ctx context.Context, compact string, hash *[32]byte, now time.Time) (*access, *zeta.Error) {
	if a := v.tokens.get(hash); a != nil {
		if a.issuer.usable(&a.key, now) {
			return a, v.timely(a.claims, now)
		}
		v.tokens.forget(hash)
	}
	token, claims, refusal := v.readAccess(compact)
	if refusal == nil {
		refusal = v.timely(claims, now)
	}
	if refusal != nil {
		return nil, refusal
	}
	issuer := v.access[claims.Issuer]
	if issuer == nil {
		return nil, zeta.BadToken(zeta.ReasonTokenIssuer, "unknown issuer", nil)
	}
	key, err := issuer.Find(ctx, token.Header.Kid)
	switch {
	case errors.Is(err, errUnknown):
		return nil, zeta.BadToken(zeta.ReasonTokenKey, "unknown key", err)
	case errors.Is(err, errDropped):
		return nil, zeta.BadToken(zeta.ReasonTokenIssuer, "unknown issuer", err)
	case err != nil:
		return nil, zeta.NoKeys(retryKeys, err)
	}
	if err := token.Verify(key); err != nil {
		return nil, zeta.BadToken(zeta.ReasonTokenSignature, "wrong signature", err)
	}
	a := &access{claims: claims, issuer: issuer, key: key}
	v.describe(a)
	switch staff := a.caller.Role == querschott.RoleStaff; {
	case !staff && issuer.cfg.StaffOnly:
		return nil, zeta.BadToken(zeta.ReasonTokenIssuer, "its issuer vouches for employees of its insurers only", nil)
	case !staff && !claims.Complete():
		return nil, zeta.BadToken(zeta.ReasonTokenForm, "claims are missing or malformed", zeta.ErrMissing)
	}
	v.tokens.put(hash, a, time.Unix(claims.Expires, 0).Add(v.cfg.Leeway), now)
	return a, nil
}

// readAccess checks everything that needs neither key nor clock.
func (v *Verifier) readAccess(compact string) (*jose.Token, *zeta.Access, *zeta.Error) {
	token, err := jose.Parse(compact, maxAccess)
	if err != nil {
		return nil, nil, zeta.BadToken(zeta.ReasonTokenForm, "cannot be read", err)
	}
	if token.Header.Alg != "ES256" {
		return nil, nil, zeta.NoToken(zeta.ReasonTokenAlgorithm, "unsupported algorithm")
	}
	if token.Header.Typ != zeta.TypeAccess && token.Header.Typ != zeta.TypePlain {
		return nil, nil, zeta.BadToken(zeta.ReasonTokenForm, "not an access token", nil)
	}
	if token.Header.Kid == "" {
		return nil, nil, zeta.BadToken(zeta.ReasonTokenForm, "no key id", nil)
	}
	claims, err := zeta.ParseAccess(token.Payload)
	if err != nil {
		return nil, nil, zeta.BadToken(zeta.ReasonTokenForm, "claims are missing or malformed", err)
	}
	if !thumbprintForm(claims.Confirmation.Thumbprint) {
		return nil, nil, zeta.BadToken(zeta.ReasonTokenUnbound, "bound to no key", nil)
	}
	if claims.Nonce && v.cfg.RefuseNonceClaim {
		return nil, nil, zeta.BadToken(zeta.ReasonTokenForm, "a claim that does not belong there", nil)
	}
	return token, claims, nil
}

// timely checks exp, iat and nbf.
func (v *Verifier) timely(claims *zeta.Access, at time.Time) *zeta.Error {
	now, leeway := at.Unix(), seconds(v.cfg.Leeway)
	switch {
	case claims.Expires+leeway <= now:
		return zeta.BadToken(zeta.ReasonTokenTime, "expired", nil)
	case claims.Issued > now+leeway:
		return zeta.BadToken(zeta.ReasonTokenTime, "issued in the future", nil)
	case claims.NotBefore > now+leeway:
		return zeta.BadToken(zeta.ReasonTokenTime, "not yet valid", nil)
	}
	return nil
}

// suits checks what the route demands of the token.
func (v *Verifier) suits(a *access, r *Request) *zeta.Error {
	status := http.StatusUnauthorized
	if v.cfg.StrictAudience {
		status = http.StatusForbidden
	}
	for _, audience := range r.Audience {
		if !slices.Contains(a.claims.Audience, audience) {
			return zeta.WrongScope(zeta.ReasonTokenAudience, "meant for another service", "", status)
		}
	}
	for _, scope := range r.Scopes {
		if !a.claims.HasScope(scope) {
			return zeta.WrongScope(zeta.ReasonTokenScope, "a scope is missing", strings.Join(r.Scopes, " "), status)
		}
	}
	if r.ACR != "" && (level(r.ACR) == 0 || level(a.claims.ACR) < level(r.ACR)) {
		return zeta.NeedLevel(r.ACR)
	}
	return nil
}

// level orders the levels of authentication, 0 for one that is not known. A route that demands such a level lets nobody in.
func level(acr string) int {
	switch acr {
	case zeta.Substantial:
		return 1
	case zeta.High:
		return 2
	}
	return 0
}

// describe says who the token's holder is, in the words of the house.
func (v *Verifier) describe(a *access) {
	c := a.claims
	a.caller = querschott.Caller{
		Actor: querschott.Actor(c.Subject), Role: ident.RoleOf(c.Profession), Profession: c.Profession, Name: c.CommonName, Organization: c.Organization,
	}
	if a.caller.Role == querschott.RoleInsured {
		// The number of a person stands nowhere in the record but as a pseudonym.
		a.caller.Actor = querschott.Actor("insured/" + v.pseudonym("person", c.Subject))
		a.caller.Name = ""
		if kvnrForm(c.Subject) {
			a.caller.Person = querschott.KVNR(c.Subject)
		} else {
			a.caller.Role = querschott.RoleUnknown // insured persons are known by their number only
		}
		if ik, err := querschott.ParseIK(c.Organization); err == nil {
			a.caller.Insurer = ik // schema access-token.yaml: "or IK-Nummer of the health insurance company"
		}
	}
	credential := c.Issuer + "\x00" + c.Client + "\x00" + c.Subject
	if ik, ok := a.staffOf(); ok {
		// Names of people are unique at their insurer only.
		a.caller.Actor, a.caller.Role, a.caller.Insurer = querschott.Actor(string(ik)+"/"+c.Subject), querschott.RoleStaff, ik
		// An employee with several programs is one: caps and holds are the person's, or a second program would have its own.
		credential = "staff\x00" + c.Issuer + "\x00" + string(a.caller.Actor)
	}
	a.credential = querschott.Credential{
		ID:    querschott.CredentialID("zeta/" + v.pseudonym("credential", credential)),
		Actor: a.caller.Actor, Role: a.caller.Role,
	}
	a.facts = ident.Facts{
		Subject: c.Subject, Client: c.Client, Session: c.Session, Token: c.ID, Key: c.Confirmation.Thumbprint,
		Product: c.Product, Version: c.ProductVersion, Issuer: c.Issuer,
	}
}

// staffOf returns the insurer whose employee the token's holder is, if its issuer vouches for that insurer's. The name will be
// read by people, on terminals too: it has nothing in it that they do not see.
func (a *access) staffOf() (querschott.IK, bool) {
	vouches := a.issuer.cfg.Staff
	if vouches == nil || a.claims.Profession != ident.ProfessionInsurer || strings.ContainsFunc(a.claims.Subject, unseen) {
		return "", false
	}
	ik, err := querschott.ParseIK(a.claims.Organization)
	return ik, err == nil && vouches(ik)
}

func unseen(r rune) bool { return !unicode.IsGraphic(r) || r == unicode.ReplacementChar }

// pseudonym is 16 hexadecimal digits that only holders of the key can lead back.
func (v *Verifier) pseudonym(what, s string) string {
	m := hmac.New(sha256.New, v.cfg.Pseudonym)
	m.Write([]byte("querschott/token/" + what + "\x00" + s))
	return hex.EncodeToString(m.Sum(nil)[:8])
}

// kvnrForm checks the pattern only: many test numbers have a wrong check digit, and the issuer vouches for the number.
func kvnrForm(s string) bool {
	return len(s) == 10 && s[0] >= 'A' && s[0] <= 'Z' && strings.Trim(s[1:], "0123456789") == ""
}
