// Package oidc is logging in through somebody else's identity provider: an OpenID Connect relying party for operators and
// insurers' staff.
//
// What it promises:
//
//   - A provider that is dead, slow or hostile stops neither the start nor any other way in: it is first asked when somebody
//     logs in, answers are bounded in time and size, the last good description of it stays in use, and what fails here says
//     that local accounts and login links work.
//   - A login ends in the browser that began it (state), with an answer made for this login (nonce), by the code that was given
//     to this login (PKCE, S256), from exactly the configured issuer, for this client, signed with a configured algorithm,
//     in time. Nothing is kept for a login that is not finished: all of it follows from a cookie and a key in memory.
//   - A provider speaks for itself only. Its people are actors with its name in front, so that they are never mistaken for a
//     local account; they get a role only if the configuration gives it to a value of their role claim; and staff are confined
//     to an insurer for which this provider may speak.
//   - The provider can end sessions (back-channel logout).
//
// Implemented: OpenID Connect Core 1.0 (authorization code flow), Discovery 1.0, Back-Channel Logout 1.0, RFC 7636 (PKCE),
// RFC 9207 (issuer in the answer). Not implemented: logout that we begin at the provider, refresh tokens, UserInfo, request
// objects, encrypted tokens, sender-constrained tokens.
//
// A session begun here is the house's own ([ident.Sessions]). The provider sends the browser back from a foreign site: a cookie
// with SameSite=Strict that is set on that answer comes with the first request that our own page makes, not with a redirect.
// A login is finished by the process that began it.
package oidc
