// Package issuer plays the issuers of the telematics infrastructure for demonstrations and tests: an authorization server
// that gives anybody the access token he asks for, and a PoPP service that says anybody's card was in anybody's practice.
//
// What it promises:
//
//   - It exists only where somebody has said that it is for tests only ([Options.ForTestsOnly]), and only under a name that
//     is nobody's: a loopback address, localhost or *.dev.invalid.
//   - Its keys are made on the spot and end with the process; nothing is written. Whoever believes its tokens has been
//     configured to.
//   - Everything that it issues says so: access tokens and documents carry the claim querschott_dev, PoPP tokens the
//     certificate of an organization that is called not valid, all of them an issuer's name as above.
//   - Its tokens have every claim that the published schemas require, and no way around the checks of a real issuer but
//     one: it asks nobody whether the client is who it says. Clients prove their keys (private_key_jwt and DPoP), nonces,
//     proofs and assertions work once, requests are bounded, errors are those of the standards.
//   - What it remembers is bounded: the newest 256 clients, nonces and proofs until they expire.
//
// Standards: RFC 6749 (client_credentials), RFC 7521 and 7523 (private_key_jwt), RFC 7591 (registration), RFC 8414
// (metadata), RFC 8707 (resource), RFC 9068 (access tokens), RFC 9449 (DPoP), OpenID Federation 1.0 (entity statement and
// signed key set), gemSpec_PoPP_Service 1.0.0 (PoPP token). The token exchange of ZETA is not played.
package issuer
