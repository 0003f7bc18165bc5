// Package local is logging in with a name, a password and a second factor, for operators and for insurers' staff. It asks no
// identity provider and no mail server, so it works when all of them are dead.
//
// What it promises:
//
//   - Nobody gets in with less than both factors, and no answer and no amount of work tells which of name, password and code
//     was wrong: every attempt costs one argon2id and one comparison with each code, also for a name that does not exist.
//   - A code works once, whichever process it is shown to: that it is used is durable before the session begins. Codes are
//     TOTP as authenticator apps make them (RFC 6238: SHA-1, six digits, 30 seconds, one step of clock skew either way) and
//     ten recovery codes of 80 random bits.
//   - Nobody can lock anybody out. Failures slow down the address they come from, and slow down strangers who try one name;
//     a browser that logged in with that name before is counted apart from the strangers. There is no lock to lift.
//   - A flood of logins takes a bounded part of the machine: so many hashes at a time, so many waiting, the rest refused. One
//     more hash is kept free for browsers that logged in before.
//   - A password is one that its owner chose: at least 12 characters, of any kind, and not the account's name (NIST SP
//     800-63B: length instead of rules of composition). It is compared after Unicode normalisation NFC.
//
// An account begins with an invitation: a token that works once, for a limited time, with which its owner sets password and
// second factor. The inviter learns neither. Renewing an account ends password, second factor and sessions at once and makes
// an invitation.
//
// On disk:
//
//	accounts file   JSON: name, role, insurer, argon2id hash and its parameters, TOTP secret, hashes of recovery codes.
//	                Readers have everybody's second factor and can guess passwords at 64 MiB and a tenth of a second each;
//	                writers can make themselves an operator. Set back to an older state, it revives accounts and passwords.
//	used directory  one file per account: the last TOTP step and the recovery codes that were used. Readers learn who logged
//	                in when. Writers, and whoever sets it back, can make codes work again, and have to know the password
//	                all the same. If lost, codes of the last 90 seconds and used recovery codes work again.
//	device.key      in the used directory. Readers can pass for a known browser: they are throttled apart from strangers, and
//	                are let in no sooner. If lost, all browsers are strangers until they log in again.
package local
