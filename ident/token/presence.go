package token

import (
	"context"
	"crypto/subtle"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

// presence is a PoPP token whose signature is right. It is never changed.
type presence struct {
	presence querschott.Presence
	issuer   *Issuer
	key      jose.Key // that signed it
}

// presenceToken checks the header PoPP (gemSpec_ZETA A_26477-01): 400 if it is missing where it is demanded, 403 for the rest.
func (v *Verifier) presenceToken(ctx context.Context, r *Request, a *access, now time.Time) (*presence, *zeta.Error) {
	if r.Presence == PresenceNone {
		return nil, nil
	}
	compact, ok := single(r.Header, zeta.HeaderPoPP)
	switch {
	case !ok || len(compact) > maxPresence:
		return nil, zeta.BadPresence(zeta.ReasonPresenceForm, nil)
	case compact == "" && r.Presence == PresenceRequired:
		return nil, zeta.NoPresence()
	case compact == "":
		return nil, nil
	}
	hash := sumOf(compact)
	p := v.presences.get(&hash)
	if p != nil && !p.issuer.usable(&p.key, now) {
		v.presences.forget(&hash)
		p = nil
	}
	if p == nil {
		var refusal *zeta.Error
		if p, refusal = v.readPresence(ctx, compact, &hash, now, r.PresenceAge); refusal != nil {
			return nil, refusal
		}
	} else if !v.present(&p.presence, now, r.PresenceAge) {
		return nil, zeta.BadPresence(zeta.ReasonPresenceTime, nil)
	}
	if subtle.ConstantTimeCompare([]byte(p.presence.Actor), []byte(a.claims.Subject)) != 1 {
		return nil, zeta.ForeignActor()
	}
	return p, nil
}

// readPresence verifies a PoPP token that is not remembered. Its times are judged before its key is looked for.
func (v *Verifier) readPresence(ctx context.Context, compact string, hash *[32]byte, now time.Time, age time.Duration) (*presence, *zeta.Error) {
	token, err := jose.Parse(compact, maxPresence)
	if err != nil || token.Header.Typ != zeta.TypePresence || token.Header.Alg != "ES256" || token.Header.Kid == "" {
		return nil, zeta.BadPresence(zeta.ReasonPresenceForm, err)
	}
	claims, err := zeta.ParsePresence(token.Payload)
	if err != nil {
		return nil, zeta.BadPresence(zeta.ReasonPresenceForm, err)
	}
	p := &presence{issuer: v.presence[claims.Issuer], presence: querschott.Presence{
		Version: claims.Version, Issuer: claims.Issuer, Issued: time.Unix(claims.Issued, 0), Proved: time.Unix(claims.Proved, 0), Method: claims.Method,
		Patient: claims.Patient, Insurer: claims.Insurer, Actor: querschott.Actor(claims.Actor), Profession: claims.Profession, Hash: *hash, Content: token.Payload,
	}}
	if p.issuer == nil {
		return nil, zeta.BadPresence(zeta.ReasonPresenceIssuer, nil)
	}
	if !v.present(&p.presence, now, age) {
		return nil, zeta.BadPresence(zeta.ReasonPresenceTime, nil)
	}
	if p.key, err = p.issuer.Find(ctx, token.Header.Kid); err != nil {
		return nil, zeta.BadPresence(zeta.ReasonPresenceKey, err)
	}
	if !sameLeaf(token, p.key) {
		return nil, zeta.BadPresence(zeta.ReasonPresenceKey, nil)
	}
	if err := token.Verify(p.key); err != nil {
		return nil, zeta.BadPresence(zeta.ReasonPresenceSigned, err)
	}
	v.presences.put(hash, p, zeta.QuarterEnd(p.presence.Issued).Add(zeta.Grace), now)
	return p, nil
}

// sameLeaf compares the certificate that a token shows, if it shows one, with the key of the set. The certificate alone proves
// nothing.
func sameLeaf(token *jose.Token, key jose.Key) bool {
	if token.Header.X5C == nil {
		return true
	}
	leaf, err := jose.LeafKey(token.Header.X5C[0])
	return err == nil && leaf.Equal(key)
}

// present checks when the token was issued and when the card was used: both in this quarter, or both within the route's age.
func (v *Verifier) present(p *querschott.Presence, now time.Time, age time.Duration) bool {
	if p.Issued.After(now.Add(v.cfg.Leeway)) || p.Proved.After(p.Issued.Add(v.cfg.Leeway)) {
		return false
	}
	for _, t := range [...]time.Time{p.Issued, p.Proved} {
		end := t.Add(age + v.cfg.Leeway)
		if age == 0 {
			end = zeta.QuarterEnd(t).Add(zeta.Grace)
		}
		if !now.Before(end) {
			return false
		}
	}
	return true
}
