// Package proxy puts the gate in front of a service that an operator already has, without changing the service: a FHIR
// server, a portal, anything that speaks HTTP/1.1.
//
// # Promises
//
//   - Rules say whose data a request is about and how many records an answer holds. The first rule that fits wins. What
//     no rule fits, and an answer that cannot be read, is recorded as unknown and passed or refused, as configured.
//   - A record is counted before any of its content leaves. A FHIR resource that has not said its type by then counts as
//     one even if it turns out to be none, so a long answer may be counted too high, never too low.
//   - What the rules looked at is what the service sees: a path or a query that two readers could understand differently
//     is refused with 400, and so is a request that names two insurers.
//   - An insurer is taken from path, host name, query or header only, never from a body, which may come slowly or be too
//     large to look into. Places that contradict each other refuse the request.
//   - Whoever may reach one person only gets no request through that names another.
//   - Whatever the service sends costs bounded time and memory: headers, silence, endless answers, compressed bombs, deep
//     documents. Each has its limit, and each compartment its own connections, so that one insurer's slow service holds up
//     nobody else.
//   - Nothing that only a gate may say passes in either direction (ZETA-*, Querschott-*, X-Request-Id), and no header by
//     which frameworks let a caller change the method or path that was checked.
//
// # Why this is not httputil.ReverseProxy
//
// The standard library's ReverseProxy writes an answer while it reads it. Here an answer has to be counted and recorded
// first, and a long one is pulled piece by piece, so that the gate can record each piece and stop at a closed door. net/http's
// transport and framing are used; requests without a body have connections of their own, which need no goroutines.
//
// # What does not pass
//
// Requests of other protocols than HTTP and WebSocket; trailers of requests; 1xx answers other than 101; Range on routes
// whose records are counted, since a part of a document cannot be counted; compressed answers (they are asked for
// uncompressed and decoded if they come compressed all the same).
//
// # Standards
//
// RFC 9110 and 9112 (HTTP), 7239 (Forwarded), 9457 (problem details), 6901 (JSON pointer, with * for every element), 6455
// (WebSocket), FHIR R4 (bundles, search, JSON and XML, NDJSON of bulk data), WHATWG server-sent events, XPath 1.0.
package proxy
