// Package cms reads, verifies and writes CMS SignedData as it occurs in KIM: the signed documents (.p7s) of eAU and eEB
// and the signature layer of a KIM mail.
//
// What it promises:
//
//   - [Parse] reads DER and BER (indefinite lengths, strings in pieces) of any octets without a panic, within the bounds
//     of [MaxSize], [MaxDepth] and [MaxElements], and returns the signed octets exactly: the concatenated pieces.
//   - [SignedData.Verify] judges the signature value and the signed attributes only. Whether a certificate is trusted, in
//     its time and not revoked is somebody else's question, asked with the time of arrival (K-15).
//   - Every error is an [*Error] with a [Problem]. [Unsupported] and [Limit] are gaps or bounds of ours and must never be
//     told to a sender as a fault of his (K-02); the other problems are findings about his octets.
//   - [Sign] writes DER that other programs verify.
//
// Supported: digest SHA-256; RSASSA-PSS (explicit parameters, SHA-256, MGF1 with SHA-256, a salt of any length but none),
// RSASSA-PKCS1-v1_5 and ECDSA on P-256. Keys on brainpool curves are recognised and reported as unsupported. EnvelopedData and
// AuthEnvelopedData are not read.
//
// Sources: RFC 5652 (CMS), RFC 4056 (RSASSA-PSS in CMS), RFC 5754 (SHA-2 in CMS), RFC 5035 (signingCertificateV2), RFC 6211
// (CMSAlgorithmProtection), X.690 (BER, DER).
package cms
