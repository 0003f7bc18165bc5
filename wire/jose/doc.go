// Package jose reads, verifies and writes the one form of signed JSON that the house believes: compact JWS with ES256 over
// P-256. There is no negotiation: a token with any other algorithm parses and never verifies.
//
// What it promises:
//
//   - [Parse], [ParseKey] and [ParseKeySet] read any octets without a panic, within their bounds, and accept one spelling
//     only: base64url without padding and without loose bits, JSON without duplicate names or trailing data.
//   - A [Key] is a point on the curve, never the infinite one. A JWK with private members is refused wherever it stands,
//     and so is a set with one: whoever publishes a private key has lost it.
//   - [Token.Verify] takes the key from its caller. What a token carries (jwk, x5c) is material to compare with, and a
//     header with "crit" is refused, because this package knows no extension.
//
// Not supported, on purpose: every other algorithm, encryption, JSON serialisation, detached payloads.
//
// Sources: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518 3.4 (ES256), RFC 7638 (thumbprint), RFC 8725 (best practices).
package jose
