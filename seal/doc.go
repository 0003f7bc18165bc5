// Package seal holds the only ciphers of the house and the keys of the compartments.
//
// Its promises:
//
//   - Whoever takes something in can seal it and cannot read it afterwards. Sealing asks public keys only ([Contexts]).
//   - One damaged entry is one damaged entry: entries of one context open in any order ([Keys.Open]).
//   - What is sealed for one compartment, person, record or place in a journal opens nowhere else: all of that is in the
//     associated data: [RecordAAD] for records, for entries what the journal gives to [Context.Seal].
//   - Private keys of a compartment are in memory only between [Keyring.Unlock] and [Keys.Forget], which belong to the
//     opening and closing of its door.
//   - Nobody who can write the public half of the keyring, or replace the whole keyring without having its identity, can
//     redirect what is sealed: the keyring notices when it is opened and at every unlocking.
//   - Keys print as "[secret]" under every verb, in logs and in JSON.
//
// Sealing gives secrecy and integrity, not origin: everybody who has a public key can seal to it.
//
// # Ciphers
//
// Entries for a compartment: HPKE (RFC 9180) in base mode with MLKEM768-X25519 (X-Wing, draft-ietf-hpke-pq), HKDF-SHA256
// and AES-256-GCM. One encapsulation makes a context. The key of its entries comes from the HPKE exporter, with the
// context's id, key version included, as part of the exporter context; the nonce is the entry's counter as a 96-bit
// big-endian number. The info string binds purpose and compartment. A context serves at most one second or 1,024 entries.
//
// Records and data keys: AES-256-GCM with random 96-bit nonces. One key seals the records of one person, or the data keys
// of one compartment, both far below the 2^32 messages that this allows.
//
// Everything else that is local to the platform ([Box]): XAES-256-GCM (C2SP XAES-256-GCM) with random 192-bit nonces, so
// that nobody has to count messages.
//
// Pseudonyms of insured persons: HMAC-SHA-256 under the compartment's index key, 16 bytes. Names of other data that must
// be found again without being kept ([Keys.Blind]): the same with a label in front, 32 bytes.
//
// # Files
//
//	keyring.age  age-encryption.org/v1 to one X25519 recipient; inside JSON with all private keys and a MAC under a key
//	             derived from the identity, because anybody who knows a recipient can encrypt to it
//	keyring.pub  JSON with the public halves, signed (Ed25519) by a key that is in keyring.age
//	key file     the identity: one AGE-SECRET-KEY-1 line, as age-keygen writes it; or the same encrypted with a
//	             passphrase (age -p). It belongs to the operator and does not lie in the data directory
//
// keyring.age is written first, keyring.pub second, each of them atomically. A keyring.pub that is missing or older and
// properly signed is what a crash in between leaves; it is written again from the private half. Any other disagreement
// is [ErrTampered].
//
// # What Go cannot do
//
// Key bytes that this package owns are overwritten when they are forgotten. Copies that the standard library and package
// age keep inside (expanded AES and ML-KEM keys, the identity as a string, buffers of the JSON encoder) can only be let
// go; the garbage collector decides when their memory is used again.
package seal
