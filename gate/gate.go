// Package gate is the contract between the one way in and what stands behind it: built-in services, which see neither
// credential nor socket, and passages to services that an operator already has, which see the request as it came.
//
// What it promises to both: the request was identified, lies within what its caller may reach, has passed the door of its
// compartment and the caps, and its body is bounded. Nothing of an answer leaves before its facts are durable in the ledger.
package gate

import (
	"context"
	"io"
	"net/http"
	"net/netip"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/service"
)

// Request is a request that was identified and may pass.
type Request struct {
	service.Request

	// Raw is the request as it came, credentials included, for a backend that passes it on. What only a gate may set is
	// gone from its header (ZETA-*, hop-by-hop and, unless they came from a trusted hop, forwarding headers). Its URL and
	// Host are the caller's; its Body is the same as Request.Body, bounded.
	Raw *http.Request
	// Identity is what the caller proved. It is never nil; on a route that asks for nobody its role is RoleUnknown.
	Identity *ident.Identity
	// Remote is the caller's address, told by a trusted hop or taken from the connection.
	Remote netip.Addr
	// Place is what the route's locator found, zero if the route has none.
	Place Place
}

// Place is whose data a request is about, as far as the request itself says so.
type Place struct {
	Insurer querschott.IK   // "" when it names none
	Person  querschott.KVNR // "" when it names none
	// Known is false for a request that no rule describes. It is recorded as such.
	Known bool
	// Found is what else the locator found out, for a backend that goes with it.
	Found any
}

// Locator finds whose data a request is about. It is asked after identification and before the door. It may read the body
// if it puts back what it read (into Request.Body and Raw.Body). A [querschott.Error] refuses the request; any other error
// is a fault of ours.
type Locator func(ctx context.Context, r *Request) (Place, error)

// Backend answers one request. It follows the rules of [service.Func].
type Backend func(ctx context.Context, r *Request) (*service.Answer, error)

// Serve puts a service behind the gate: it gets the request without credential, connection and address.
func Serve(f service.Func) Backend {
	return func(ctx context.Context, r *Request) (*service.Answer, error) { return f(ctx, &r.Request) }
}

// Tunnel opens a passage for a request that asks to switch protocols (Upgrade: websocket).
type Tunnel func(ctx context.Context, r *Request) (*Passage, error)

// Passage is an open way through the gate. The gate records it, sends the 101, carries bytes both ways and cuts it when the
// door stops serving, when the credential ends, or when either side is done.
type Passage struct {
	// Header is of the 101 answer: Upgrade, Sec-WebSocket-Accept and the like.
	Header http.Header
	// Conn is the service's end. The gate closes it. It is nil if the service would not switch; then Answer is what it said.
	Conn   io.ReadWriteCloser
	Answer *service.Answer
	Facts  service.Facts
}
