// Package token identifies HTTP requests by the tokens of the Zero Trust access of the telematics infrastructure: an access
// token that is bound to a key, a proof that the caller holds that key (DPoP), and, where a service asks for it, a proof that
// the insured person's card was there (PoPP).
//
// What it promises:
//
//   - [Verifier.Identify] accepts a proof once. Of two requests with the same proof one at most is identified, across
//     restarts too: a proof that may have been used before this process began needs a nonce of this process, unless the
//     memory of the process before was handed over ([Verifier.SaveProofs]).
//   - What is remembered of a token is that its signature is right, and no longer than its key is believed. Whether it is
//     expired, revoked, meant for this route and bound to this key is judged for every request.
//   - Memory is bounded whatever comes: only proofs and tokens of callers that a known issuer vouched for are remembered. When
//     there is no room to remember a proof the request is refused, not accepted unseen.
//   - Keys come from their issuer only, never from the token. Strangers' tokens cannot make the gate call an issuer more
//     often than once in [IssuerConfig.MinReload]. When an issuer is unreachable its last known keys serve for
//     [IssuerConfig.KeepFor] and their age is shown; [Issuer.Drop] ends belief in all of them with the next request.
//   - Refusals are [zeta.Error]s: what the client may know in the description, what detectors need in Reason. Neither holds an
//     identifier. A missing PoPP token is 400, every other fault of it 403 (gemSpec_ZETA A_26477-01).
//
// Whose clock: every time is judged by [Config.Now].
//
// Several gates: the memory of proofs is this process's own. Requests of one key must reach the same gate, or
// [Verifier.Tighten] must be on.
package token
