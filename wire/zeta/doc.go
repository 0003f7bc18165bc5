// Package zeta has the words that clients, issuers and enforcement points of the Zero Trust access of the telematics
// infrastructure (ZETA) exchange: the claims of access tokens, DPoP proofs and PoPP tokens, the ZETA-* headers, error
// bodies and well-known documents.
//
// What it promises:
//
//   - Everything that reads foreign octets is bounded, allows one meaning only (no name twice, nothing behind the end) and
//     refuses a document that lacks a required claim or has one of another type. It judges no signature and no time.
//   - What is written to other parties stays within the published limits: compact JSON, base64url without padding.
//   - An [Error] says to the client what the published tables say and nothing about persons; why exactly it came to that
//     stands in its Cause and Reason, which no body and no header holds.
//
// Sources: gemSpec_ZETA 1.4.0 and the schemas of the zeta repository (API 2.0.0-draft), gemSpec_PoPP_Service 1.0.0, RFC 9068
// (access tokens), RFC 9449 (DPoP), RFC 9728 (protected resource metadata), RFC 8414 (authorization server metadata),
// RFC 6750 and RFC 9470 (challenges), OpenID Federation 1.0 (entity statements).
package zeta
