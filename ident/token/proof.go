package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"time"

	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

// proof checks the header DPoP in the order of RFC 9449 4.3 and remembers it once everything else is right: strangers cannot
// fill the memory. The nonce is asked for before that, so that a client may use its proof's jti again in the repetition.
func (v *Verifier) proof(r *Request, a *access, tokenHash *[32]byte, now time.Time) *zeta.Error {
	known := a.head.Load()
	token, refusal := readProof(r, known)
	if refusal != nil {
		return refusal
	}
	if err := token.Verify(token.Header.JWK); err != nil {
		return zeta.BadProof(zeta.ReasonProofSignature, "wrong signature", err)
	}
	thumbprint := token.Header.JWK.Thumbprint()
	if subtle.ConstantTimeCompare([]byte(thumbprint), []byte(a.claims.Confirmation.Thumbprint)) != 1 {
		return zeta.BadProof(zeta.ReasonProofBinding, "the token is bound to another key", nil)
	}
	if !known.Is(token) {
		a.head.Store(token.Head())
	}
	p, err := zeta.ParseProof(token.Payload)
	if err != nil {
		return zeta.BadProof(zeta.ReasonProofForm, "claims are missing or malformed", err)
	}
	var ath [43]byte
	base64.RawURLEncoding.Encode(ath[:], tokenHash[:])
	if subtle.ConstantTimeCompare([]byte(p.Hash), ath[:]) != 1 {
		return zeta.BadProof(zeta.ReasonProofToken, "made for another token", nil)
	}
	age := seconds(v.cfg.ProofAge)
	if v.tight.Load() {
		age = min(age, seconds(tightWindow))
	}
	at, leeway := now.Unix(), seconds(v.cfg.ProofLeeway)
	switch {
	case p.Issued > at+leeway:
		return zeta.BadProof(zeta.ReasonProofTime, "made in the future", nil)
	case p.Issued+age+leeway < at:
		return zeta.BadProof(zeta.ReasonProofTime, "too old", nil)
	case p.Method != r.Method:
		return zeta.BadProof(zeta.ReasonProofMethod, "made for another method", nil)
	case !zeta.SameTarget(p.Target, r.URL):
		return v.wrongTarget()
	}
	if (r.Nonce || v.tight.Load() || p.Issued <= v.fence) && !v.fresh(p.Nonce, now) {
		return zeta.NeedNonce(v.nonces.make(now))
	}
	return v.once(thumbprint, p.ID, p.Issued+v.window(), at)
}

// readProof takes the proof out of its header and checks everything that needs neither signature nor clock.
func readProof(r *Request, known *jose.Head) (*jose.Token, *zeta.Error) {
	compact, ok := single(r.Header, zeta.HeaderDPoP)
	switch {
	case !ok:
		return nil, zeta.BadProof(zeta.ReasonProofForm, "several DPoP headers", nil)
	case compact == "":
		return nil, zeta.BadProof(zeta.ReasonNoProof, "no DPoP header", nil)
	}
	token, err := jose.ParseAgain(compact, maxProof, known)
	switch {
	case err != nil:
		return nil, zeta.BadProof(zeta.ReasonProofForm, "cannot be read", err)
	case token.Header.Typ != zeta.TypeProof:
		return nil, zeta.BadProof(zeta.ReasonProofForm, "not a DPoP proof", nil)
	case token.Header.Alg != "ES256":
		return nil, zeta.BadProof(zeta.ReasonProofAlgorithm, "unsupported algorithm", nil)
	case token.Header.JWK.IsZero():
		return nil, zeta.BadProof(zeta.ReasonProofKey, "no key", nil)
	}
	return token, nil
}

func (v *Verifier) wrongTarget() *zeta.Error {
	refusal := zeta.BadProof(zeta.ReasonProofTarget, "made for another URL", nil)
	if v.cfg.StrictAudience {
		refusal.Status = 403 // gemSpec_ZETA A_29676
	}
	return refusal
}

// fresh reports whether a nonce was made by this process, and lately.
func (v *Verifier) fresh(nonce string, now time.Time) bool {
	issued, ok := v.nonces.issued(nonce)
	return ok && !issued.After(now) && now.Sub(issued) <= v.cfg.NonceAge
}

// once accepts each jti of a key once.
func (v *Verifier) once(thumbprint, jti string, expires, now int64) *zeta.Error {
	var room [43 + 1 + 512]byte
	b := append(room[:0], thumbprint...)
	b = append(b, 0)
	b = append(b, jti...)
	sum := sha256.Sum256(b)
	switch v.proofs.accept(proofKey(sum[:proofBytes]), expires, now) {
	case proofNew:
		return nil
	case proofSeen:
		return zeta.BadProof(zeta.ReasonReplay, "used before", nil)
	default:
		return fullMemory()
	}
}

// fullMemory refuses rather than accepts unseen.
func fullMemory() *zeta.Error {
	refusal := zeta.TooMany(tightWindow)
	refusal.Status, refusal.Code, refusal.Reason = 503, zeta.TemporarilyUnavailable, zeta.ReasonReplayFull
	return refusal
}
