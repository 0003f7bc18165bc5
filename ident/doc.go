// Package ident says who is calling: the KIM accounts that may send mail, and the operators' access to the console.
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
//
// On disk:
//
//	accounts file     JSON: address, role, salt and hash per account. Readers learn who may send, not how;
//	                  writers can make themselves an account.
//	links directory   one file per login link not yet used, named after the link's hash. Readers learn which operator
//	                  is about to log in; writers can log in as anybody.
package ident
