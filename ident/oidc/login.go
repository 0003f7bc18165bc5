package oidc

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
)

const (
	keyBytes  = 32
	flowLife  = 10 * time.Minute // from the first page to the return from the provider
	flowBytes = 32 + 8           // random, end
	leeway    = time.Minute      // between the provider's clock and ours
)

// flow is one login on its way. State, nonce and verifier follow from the cookie and the key, so that nothing is kept and
// nobody can fill the memory with logins that he does not finish. A cookie that was not made here has no state that anybody
// knows.
type flow struct {
	key []byte
	id  string // the cookie: random, end
}

func newKey() []byte {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the program instead
	return key
}

func (p *Provider) newFlow() (f flow, cookie string) {
	b := make([]byte, 32, flowBytes)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	b = binary.BigEndian.AppendUint64(b, uint64(p.cfg.Now().Add(flowLife).Unix()))
	f = flow{p.key, string(b)}
	return f, base64.RawURLEncoding.EncodeToString(b)
}

// openFlow returns the login that a cookie is about, if the cookie was made here, and when it is over.
func (p *Provider) openFlow(cookie string) (f flow, end time.Time, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(cookie[:min(len(cookie), 256)])
	if err != nil || len(b) != flowBytes {
		return flow{}, time.Time{}, false
	}
	f = flow{p.key, string(b)}
	end = time.Unix(int64(binary.BigEndian.Uint64(b[32:])), 0)
	return f, end, p.cfg.Now().Before(end)
}

func (f flow) text(purpose string) string {
	m := hmac.New(sha256.New, f.key)
	_, _ = m.Write([]byte("querschott/oidc/" + purpose + "\x00" + f.id)) // a hash takes everything
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// Start begins a login: the browser keeps the cookie (Secure, HttpOnly, SameSite=Lax, ten minutes) and goes to the address.
// CodeUpstream when the provider never answered.
func (p *Provider) Start(ctx context.Context) (address, cookie string, err error) {
	d, err := p.describe(ctx)
	if err != nil {
		return "", "", err
	}
	f, cookie := p.newFlow()
	options := []oauth2.AuthCodeOption{oidc.Nonce(f.text("nonce")), oauth2.S256ChallengeOption(f.text("verifier"))}
	if len(p.cfg.ACR) != 0 {
		options = append(options, oauth2.SetAuthURLParam("acr_values", strings.Join(p.cfg.ACR, " ")))
	}
	return d.oauth.AuthCodeURL(f.text("state"), options...), cookie, nil
}

// Finish takes what the browser brings back: its cookie and the query. It begins a session, whose secret belongs into a
// cookie as [ident.Sessions] says. CodeInvalid if this browser began no such login, CodeUnauthorized if the provider or its
// answer says no, CodeForbidden for somebody without a role here, CodeUpstream if the provider does not answer.
func (p *Provider) Finish(ctx context.Context, cookie string, query url.Values) (secret string, s ident.Session, err error) {
	f, end, ok := p.openFlow(cookie)
	if !ok || len(query["state"]) != 1 || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(f.text("state"))) != 1 || p.isDone(f) {
		return "", ident.Session{}, querschott.Refuse(querschott.CodeInvalid, "this browser did not begin this login, or too long ago; begin again")
	}
	d, err := p.describe(ctx)
	if err != nil {
		return "", ident.Session{}, err
	}
	if err := p.checkAnswer(d, query); err != nil {
		return "", ident.Session{}, err
	}
	raw, err := p.exchange(ctx, d, f, query.Get("code"))
	if err != nil {
		return "", ident.Session{}, err
	}
	c, err := p.verify(ctx, d, f, raw)
	if err != nil {
		return "", ident.Session{}, invalidAnswer(err)
	}
	caller, err := p.caller(c)
	if err != nil {
		return "", ident.Session{}, err
	}
	if !p.markDone(f, end) {
		return "", ident.Session{}, querschott.Refuse(querschott.CodeInvalid, "this login is finished already; begin again")
	}
	facts := ident.Facts{Subject: c.text("sub"), Client: p.cfg.ClientID, Session: c.text("sid"), Token: c.text("jti"), Issuer: p.cfg.Issuer}
	secret, s = p.cfg.Sessions.Begin("oidc/"+p.cfg.Name, caller, facts)
	return secret, s, nil
}

// checkAnswer looks at what stands beside the state.
func (p *Provider) checkAnswer(d *description, query url.Values) error {
	// RFC 9207, section 2.4: an answer of another provider must not be taken for this one's.
	if from := query["iss"]; len(from) > 1 || len(from) == 1 && from[0] != p.cfg.Issuer || len(from) == 0 && d.says {
		return invalidAnswer(errors.New("it comes from another issuer, or does not say from whom"))
	}
	if query.Has("error") {
		return &querschott.Error{
			Code: querschott.CodeUnauthorized, Public: "the identity provider refused the login", Err: fmt.Errorf("it says %s", word(query.Get("error"))),
		}
	}
	if len(query["code"]) != 1 || query.Get("code") == "" {
		return invalidAnswer(errors.New("it has no code, or several"))
	}
	return nil
}

// exchange gets the ID token for the code.
func (p *Provider) exchange(ctx context.Context, d *description, f flow, code string) (string, error) {
	t, err := d.oauth.Exchange(oidc.ClientContext(ctx, p.client), code, oauth2.VerifierOption(f.text("verifier")))
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response != nil && refused.Response.StatusCode < 500 {
		// The answer itself is not for the log: it may hold what we sent.
		return "", invalidAnswer(fmt.Errorf("the code was refused: status %d, %s", refused.Response.StatusCode, word(refused.ErrorCode)))
	}
	if err != nil {
		if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
			err = fmt.Errorf("status %d, %s", refused.Response.StatusCode, word(refused.ErrorCode))
		}
		return "", &querschott.Error{Code: querschott.CodeUpstream, Public: unreachable, Err: fmt.Errorf("couldn't exchange the code: %w", bounded(err))}
	}
	raw, ok := t.Extra("id_token").(string)
	if !ok {
		return "", invalidAnswer(errors.New("there is no ID token"))
	}
	return raw, nil
}

// verify checks the ID token (OpenID Connect Core 1.0, section 3.1.3.7).
func (p *Provider) verify(ctx context.Context, d *description, f flow, raw string) (claims, error) {
	if !compact(raw) {
		return nil, errors.New("the ID token is too long, or no compact JWS")
	}
	t, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, bounded(err)
	}
	var c claims
	if err := t.Claims(&c); err != nil {
		return nil, bounded(err)
	}
	// The library reads names of claims without regard to case; these are what they are called exactly.
	if c.text("iss") != p.cfg.Issuer || c.text("sub") == "" || c.text("sub") != t.Subject {
		return nil, errors.New("issuer or subject is missing or ambiguous")
	}
	if subtle.ConstantTimeCompare([]byte(c.text("nonce")), []byte(f.text("nonce"))) != 1 {
		return nil, errors.New("the nonce is another login's")
	}
	if azp := c.text("azp"); azp != p.cfg.ClientID && (c["azp"] != nil || len(t.Audience) > 1) {
		return nil, errors.New("the ID token was made for another client")
	}
	if t.IssuedAt.IsZero() || t.IssuedAt.After(p.cfg.Now().Add(leeway)) {
		return nil, errors.New("the ID token was issued in the future, or does not say when")
	}
	if len(p.cfg.ACR) != 0 && !slices.Contains(p.cfg.ACR, c.text("acr")) {
		return nil, errors.New("the provider did not check the person as thoroughly as is demanded")
	}
	return c, nil
}

// Logout follows the provider's word that somebody logged out there (OpenID Connect Back-Channel Logout 1.0) and returns how
// many sessions ended. CodeInvalid for a token that is not the provider's, not for us, or was followed already.
func (p *Provider) Logout(ctx context.Context, raw string) (ended int, err error) {
	if !compact(raw) {
		return 0, badLogout(errors.New("it is too long, or no compact JWS"))
	}
	d, err := p.describe(ctx)
	if err != nil {
		return 0, err
	}
	t, err := d.logouts.VerifyLogout(ctx, raw)
	if err != nil {
		return 0, badLogout(bounded(err))
	}
	now := p.cfg.Now()
	if t.IssuedAt.After(now.Add(leeway)) || now.Sub(t.IssuedAt) > flowLife {
		return 0, badLogout(errors.New("it was issued in the future or too long ago"))
	}
	if !p.once(p.ended, t.TokenID, t.IssuedAt.Add(flowLife+leeway)) {
		return 0, badLogout(errors.New("it was followed already"))
	}
	return p.cfg.Sessions.EndWhere(func(s ident.Session) bool {
		own := s.Facts.Issuer == p.cfg.Issuer && s.Facts.Client == p.cfg.ClientID
		return own && (t.SessionID == "" || s.Facts.Session == t.SessionID) && (t.Subject == "" || s.Facts.Subject == t.Subject)
	}), nil
}

func (p *Provider) isDone(f flow) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, done := p.done[f.id]
	return done
}

func (p *Provider) markDone(f flow, end time.Time) (first bool) { return p.once(p.done, f.id, end) }

// once reports whether it is the first time that the key is seen. The key is forgotten at its end, when it works no more.
func (p *Provider) once(seen map[string]time.Time, key string, end time.Time) (first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now()
	for k, e := range seen {
		if !now.Before(e) {
			delete(seen, k)
		}
	}
	if _, again := seen[key]; again {
		return false
	}
	seen[key] = end
	return true
}

func compact(raw string) bool { return len(raw) <= maxTokenSize && strings.Count(raw, ".") == 2 }

func invalidAnswer(err error) error {
	return &querschott.Error{Code: querschott.CodeUnauthorized, Public: "the identity provider's answer is not valid; begin again", Err: err}
}

func badLogout(err error) error {
	return &querschott.Error{Code: querschott.CodeInvalid, Public: "the logout token is not valid", Err: err}
}

// word keeps of foreign text what can be an error code (RFC 6749, section 5.2).
func word(s string) string {
	s = s[:min(len(s), 64)]
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }) {
		return "nothing that is known"
	}
	return s
}
