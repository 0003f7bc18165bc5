// Package mail is the entrance for KIM mail over SMTP: it says who hands a message in, which compartment it is for, and
// answers 250 only for what the platform will never lose.
//
// # Promises
//
//   - 250 at the end of a message means: durable on every copy of the intake, recorded in the ledger, and the delivery
//     status notification, if one was asked for, durable in the outbox. Any failure of ours before that is a 4xx; the
//     sender keeps the message and repeats it.
//   - A 5xx is an answer to a fault of the sender's, never to one of ours. The table below is complete.
//   - A sender that stops in the middle of a message leaves nothing behind, whether it used DATA or BDAT.
//   - A message ends at CRLF "." CRLF and nowhere else. What follows a message that broke off is never read as commands.
//   - Every session works within fixed bounds of time and memory; a panic ends one connection.
//   - Logs hold no mail address, no network address, no subject and no content.
//
// A message that is repeated because its last answer was 4xx or got lost may be in the intake twice. Services tell such
// repetitions apart by the document, not by the mail.
//
// # Answers
//
//	220 -      ready; ready for TLS
//	221 2.0.0  goodbye
//	235 2.7.0  authenticated
//	250 -      greeting and capabilities
//	250 2.0.0  done; accepted, with receipt and number of copies
//	250 2.1.0  sender
//	250 2.1.5  recipient
//	252 2.5.0  VRFY tells nothing
//	334 -      AUTH goes on
//	354 -      send the message
//	421 4.3.0  internal error; the connection ends
//	421 4.3.2  the node is stopping
//	421 4.4.2  nothing was heard for too long
//	421 4.7.0  too many connections or errors, or the account is no longer in force; the connection ends
//	451 4.3.0  internal error, with a reference; the directory cannot be read
//	451 4.3.2  the door is closed, with incident and status page
//	452 4.3.1  no room in the journal or in memory
//	452 4.5.3  too many recipients, or one of another insurer: repeat for the rest
//	454 4.7.0  the account has too many sessions
//	500 5.5.2  not a command; a line too long or not ended by CRLF
//	501 5.1.3  not a mail address
//	501 5.5.2  AUTH cannot be understood
//	501 5.5.4  parameters cannot be understood
//	501 5.7.0  AUTH was cancelled
//	502 5.5.1  command not implemented
//	503 5.5.1  command out of order
//	504 5.5.4  parameter value not implemented
//	504 5.7.4  AUTH mechanism not implemented
//	530 5.7.0  TLS or AUTH is needed first
//	535 5.7.8  wrong user name or password
//	550 5.1.1  the healthy directory does not know the recipient (K-17)
//	550 5.7.1  MAIL FROM is not the user (A_23421); From, Sender or Reply-To break A_23422
//	552 5.3.4  larger than SIZE
//	554 5.6.0  a lone dot between line ends that are not both CRLF: an attempt to smuggle a message
//	555 5.5.4  MAIL or RCPT parameter not implemented
//
// # Standards
//
// RFC 5321 (SMTP), 1870 (SIZE), 2034 and 3463 (enhanced codes), 2920 (PIPELINING), 3030 (CHUNKING; no BINARYMIME), 3207
// (STARTTLS), 3461 (DSN), 4954 (AUTH PLAIN and LOGIN, over TLS only), 6152 (8BITMIME), 9422 (LIMITS).
package mail
