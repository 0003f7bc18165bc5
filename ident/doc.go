// Package ident says who is calling: the KIM accounts that may send mail, the operators' access to the console, and the
// sessions of everybody who logs in to a web page. Its parts say it of requests over HTTP: ident/token of ZETA tokens,
// ident/mtls of machines and guards, ident/local and ident/oidc of people. All of them end in an [Identity], and in one list of
// what is denied: [Revocations].
//
// What it promises:
//
//   - A secret leaves the package once, when it is made; what stays is its hash. Secrets are never chosen by people: an
//     account's password has 160 random bits, a login link and a session 256. Guessing is hopeless whatever a guess
//     costs, so a salted SHA-256 is enough and a slow hash would only let strangers burn the gate's processor.
//   - [Accounts.Authenticate] takes no lock, compares in constant time and costs the same for an account that is unknown,
//     revoked or given a wrong password.
//   - A login link works once, however many try it at the same time and whatever crashes: its file is removed before the
//     session begins.
//   - Sessions live in memory only. A restart ends them all.
//   - [Revocations.Check] is asked before every request. It takes no lock, allocates nothing and remembers no answer: an entry
//     acts on the next request. Two spellings of a value that people read as one are one: letter case, invisible characters
//     and compatibility forms do not count, and a network address in any notation is that address. A list that cannot be
//     understood stops the start; one that cannot be reloaded leaves the list in force.
//
// On disk:
//
//	accounts file     JSON: address, role, salt and hash per account. Readers learn who may send, not how;
//	                  writers can make themselves an account.
//	links directory   one file per login link not yet used, named after the link's hash. Readers learn which operator
//	                  is about to log in; writers can log in as anybody.
//	deny list         JSON: what is denied, why, by whom, from when until when. Readers learn who is suspected, which can be
//	                  the number of a person; writers can shut anybody out and let anybody back in. Set back to an older
//	                  state, or lost while the node is down, it lets back in whom later entries shut out.
package ident
