// Package api describes the platform's own HTTP APIs and says whether the node is well: an OpenAPI 3.1 document, the same as a
// page that people read, /healthz, and the place of /metrics.
//
// What it promises:
//
//   - The document is made from declarations in Go next to the types that are answered; a schema is what encoding/json
//     makes of its type. A route that does not say what every status means is no document: [New] fails.
//   - Document and page are served by the node itself and need nothing else: no script, no foreign host, nothing inline.
//     The page is there in German and English.
//   - /healthz says in words of a closed form why the node is not ready, never in texts that came from elsewhere. However
//     many ask, the node looks once a second; a look that hangs holds up one request and is itself a reason.
//
// Standards: OpenAPI 3.1.0, JSON Schema 2020-12, RFC 9457 (problems).
package api
