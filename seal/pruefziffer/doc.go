// Package pruefziffer issues and verifies the check number of the Prüfungsnachweis: the evidence that a card was checked
// online, which a practice bills with and shows to the record service as proof of presence.
//
// What it promises:
//
//   - A number of version 2 says nothing to somebody without the key, and every change of one of its bits makes it
//     worthless. It is accepted while iat - 30 s < now < iat + 20 min 15 s, where iat is when it was issued, rounded down to
//     eight seconds by the format.
//   - Up to four keys of one operator letter are in use. A key that was added issues at once; the one before verifies for
//     [Overlap] more, which outlasts every number that it issued, and is then dropped ([Keys.Add], [Keys.Sweep]).
//   - Nothing is issued from [Last] on: the format's clock of 24 bits runs out at [End]. [Keys.Alarms] says so from 2028.
//   - A key issues at most 2^32 numbers, because its nonces are random 96-bit values; [Keys.Alarms] says so from 2^30.
//   - No two versions have the same secret: the version's bits are not authenticated by the format, so only different keys
//     keep them from being changed.
//   - Keys, secrets and numbers print as "[secret]" under every verb, in logs and in JSON. No error contains any of them.
//   - KVNR, health card value and message authentication codes are compared in constant time.
//
// Numbers of version 1 carry the KVNR in clear and can be had by everybody who can ask for foreign cards. They are verified
// only where the keys were made with [Legacy], and never issued.
//
// # Characters that ISO-8859-15 does not have
//
// The format hashes the street's name in ISO-8859-15. A character that is not in it, such as ł or a combining accent, counts
// as one question mark, which is what the encoders of the platforms do that compute the same value elsewhere. Such streets
// exist abroad only; refusing them would leave the person without evidence. Nothing is normalised before.
//
// # What Go cannot do
//
// The secret that this package holds for version 1 is overwritten when a key is dropped. Expanded AES keys can only be let
// go.
//
// Sources: gemSpec_VSDM_2 A_27278, A_27279, A_27286, A_27323, A_27352 as quoted by gematik's epa-poc-collection 1.0.0;
// RFC 5869 (HKDF), NIST SP 800-38D (GCM), RFC 4648 (base64).
package pruefziffer
