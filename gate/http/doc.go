// Package http is the entrance for HTTP: it says who calls, about whose data, whether the door lets the request through,
// and lets no byte of an answer out that is not recorded.
//
// # The way of a request
//
//	form       target, host, method, size; the rate of its network
//	identify   who calls; ZETA-* headers count over a guard's connection only; the credential's rate
//	place      which insurer it is about; whether this caller may reach it, and is still in force
//	early      what a standard wants answered whatever the door's state is
//	door       as the table of the house says
//	caps       different persons per credential; room in the compartment
//	service    the backend answers
//	ledger     the entry is durable
//	answer     only then the first byte leaves
//
// # Promises
//
//   - An access that cannot be recorded does not happen: the caller gets 503 and nothing of the answer.
//   - Every request of somebody who was identified has exactly one entry, whether it was served or refused. Of a long
//     answer, each piece has one before it leaves, and one more if it was cut off; of a tunnel, one when it opens and one when
//     it ends.
//   - What is refused before anybody is identified has one entry per network, cause and minute, with a count, written when
//     the minute is over: strangers cannot fill the ledger. A crash loses the counts of the last minute. More than 4,096
//     networks and causes in one minute share one entry. What Public routes answer is anybody's and in no entry.
//   - A door that closes stops what it forbids: [Server.Obey] returns when nothing of it is under way. A request whose
//     answer has not begun is refused; a long answer is cut before its next piece, in a way that nobody takes for its end; a
//     tunnel is closed. A write that has happened keeps its answer.
//   - A flood on one compartment fills its own places and its own queue. The others have theirs. What all share is bounded
//     per network (connections, requests before identification) and per credential.
//   - The number of different persons that a credential gets to is counted exactly, per minute, quarter of an hour and day,
//     before the answer leaves: the person over the limit is not reached. The counts are in memory; a restart forgets them. If
//     they need more room than Limits.Persons, the credential that was quiet for longest is forgotten, which
//     Stats.ForgottenPersons shows.
//   - Events go to the stream without waiting. An access to many persons is one event for each, whose records and bytes
//     add up to those of the access. Of a network that is over its rate there is one event a minute, so that a flood of
//     strangers does not push the events of others out of the buffers.
//   - Services see neither credential nor cookie nor connection (gate.Serve). A panic in one is a 500 with a reference, and is
//     recorded. Bodies are never decompressed.
//   - Traces are noted only if Config.Traced says so: when each stage began and ended ([querschott.Course]). Only a trusted hop
//     says which trace a request is part of; what others say of traces goes no further.
//   - Every request works within bounds of time and memory, however slowly its sender or receiver goes. Logs name no caller, no
//     address and no person.
//
// A target that two parsers may understand differently is refused, not cleaned: encoded slashes, dot segments, empty
// segments, backslashes, semicolons, double encoding, absolute form, a host with a trailing dot, a second tenant header. On an
// HTTP/1.1 connection no request follows one whose body was chunked, so a disagreement about its length smuggles nothing.
//
// # Answers of the gate itself
//
// In the form of the route: RFC 9457 (application/problem+json), or the error JSON of gemSpec_ZETA with Zeta-Error-Origin.
//
//	400 invalid              target, query or header cannot be understood; body broke off
//	400 invalid              PoPP token missing (identification says so)
//	401 unauthorized         not identified
//	403 forbidden            revoked, another insurer's or another person's data, not for this kind of caller
//	404 not-found            no such route; no such insurer here
//	405 method-not-allowed   with Allow
//	413 too-large            body
//	421 invalid              the host is not the one that the connection was made for
//	429 too-many-requests    rate of the network or credential, different persons; Retry-After and X-Rate-Limit-*
//	431                      header (net/http)
//	500 internal             with a reference
//	502, 504 upstream-failed the service gave no usable answer, or none in time
//	503 door-closed          Retry-After, incident, status page
//	503 door-held            the same; the door is on hold, or open for reading only
//	503 no-room              too many under way for this insurer; the ledger does not record; the node stops
//	505 invalid              HTTP/1.0
//
// # Standards
//
// W3C Trace Context (traceparent), RFC 9110 and 9112 (HTTP, HTTP/1.1), 9113 (HTTP/2), 8446 (TLS 1.3), 9457 (problem details), 9562 (UUIDv7), 6455 (WebSocket, for
// tunnels), gemSpec_ZETA 1.4.0 as far as an enforcement point's headers and errors go.
package http
