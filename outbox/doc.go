// Package outbox holds mail that leaves the house until it has left.
//
// # Promises
//
//   - [Outbox.Put] returns nil only when the mail is durable in the outbox's store. It talks to no mail server: a relay that
//     is slow or gone slows nobody who puts.
//   - The same ID is one mail, however often it is put and whatever became of it. IDs of mail that is done are remembered
//     for [Options.Retention]; the first mail put under an ID is the one that counts.
//   - Mail reaches the relay at least once: when the process ends between the relay's answer and the note of it, the same
//     bytes with the same Message-ID are sent again. Mail reaches a local mailbox exactly once, in one atomic batch.
//   - Nothing is dropped. What the relay refuses for good (5xx) is kept, shown by [Outbox.Failed] and sent again only on
//     [Outbox.Retry]; everything else is tried until it succeeds, after one minute at first and every four hours at last.
//   - One recipient domain that is slow or refuses does not stop the others: every domain has its own line and its own
//     pauses, and takes at most half of the connections. A relay that cannot be reached is tried by one connection, after
//     five seconds at first and every five minutes at last, and costs the waiting mail nothing.
//   - Memory does not grow with the queue, only with the number of recipient domains in it.
//
// Mail to the relay is SMTP (RFC 5321) over STARTTLS (RFC 3207) or implicit TLS (RFC 8314), with AUTH PLAIN (RFC 4954).
// There is no way back to plain text when the relay does not offer TLS. Refusals of our login (530, 534, 535, 538) speak
// against the configuration and not against the mail, so they pause the relay and refuse no mail.
//
// Mail that was queued for the relay and belongs to a local domain by now moves into its mailbox when its turn comes; no
// turn comes while the relay is away or mail is paused, unless there is no relay any more.
//
// # In the store
//
// Keys are made by cell.Key in the space cell.SpaceOutbox. A ref is the time of the Put (u64, Unix microseconds) and the
// first 16 bytes of the SHA-256 of the ID. A lane is the first 8 bytes of the SHA-256 of the recipient's domain, a box the
// first 16 bytes of that of the recipient's address, both in lower case. Integers are big-endian.
//
//	kind 'm'  queued or refused mail        ref              sealed: envelope, body
//	     'd'  when queued mail is due       lane, time, ref  size u32, attempts u32
//	     'a'  age of queued mail            ref              -
//	     'f'  why mail was refused          ref              sealed: envelope, size, attempts, code, time, reason
//	     's'  seen                          SHA-256 of ID    'q' and ref while it is here, 'd' when it is done
//	     'p'  mail that is done, by time    time, ID hash    -
//	     'b'  mail in a mailbox             box, ref         sealed: envelope, body
//	     'l'  list of a mailbox             box, ref         size u32
//
// Sealed values are bound to their keys: one moved to another place does not open.
//
// # What an attacker could do with the store
//
// Who reads it learns how much mail went to how many domains and mailboxes, when, and how long it was; and can check a
// guess of an address or ID. Who writes it can lose mail, or put back an old store as a whole, which sends mail again.
// Mail that does not open is parked with the refused mail and does not hold up the rest.
package outbox
