package http

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ledger"
)

// Route says who answers which requests, and what is asked of their callers. The table is fixed.
type Route struct {
	Name    string             // for ledger, events and metrics
	Host    string             // lower case, without a port; "" for any
	Path    string             // one path, or with a slash at its end everything below
	Methods []string           // others are answered 405; empty: the backend judges methods itself
	Service querschott.Service // of the compartments; "" only for a Public route
	Tenant  Tenant

	Public   bool // nobody is identified, no door is asked, nothing is recorded: documents that are anybody's
	Audience []string
	Scopes   []string
	Presence Presence
	Nonce    bool              // a DPoP proof needs a nonce of ours
	ACR      string            // lowest level of authentication, "" for any
	Roles    []querschott.Role // who may call; empty: everybody who is identified

	MaxBody int64         // bytes; 0: Limits.Body
	Timeout time.Duration // for the answer, or for each piece of a long one; 0: Limits.Service
	Form    Form
	Data    ledger.DataClass // what a refused request was after
	Purpose ledger.Purpose   // of a refused request

	// Unplaced lets requests through to the backend that name no insurer of this platform; its answer may then reach no
	// record. Otherwise they are answered 404.
	Unplaced bool
	// Write reports whether a request changes something. Nil: by its method.
	Write func(*gate.Request) bool
	// Locate finds insurer and person, for Tenant.From FromLocator.
	Locate gate.Locator
	// Misfit words the refusal of a method that is none of Methods as the standard does: status, headers, body. It is asked before
	// anybody is identified, so it may depend on nothing but the method and how its caller wants to be answered. Nil: the gate's
	// own words.
	Misfit gate.Backend
	// Early answers what the standard wants answered whatever the door's state is. It reaches no record, and returns nil to
	// let the request go on. Nil: nothing.
	Early gate.Backend
	// Backend answers. It may be nil if there is a Tunnel.
	Backend gate.Backend
	// Later takes a write in that is applied when the door opens, and answers 202. Nil: the service cannot, and writes are
	// refused unless the door is open.
	Later gate.Backend
	// Tunnel answers requests to switch protocols. Nil: there are none.
	Tunnel gate.Tunnel
}

// Presence says whether a route wants a proof of patient presence.
type Presence uint8

// What a route wants.
const (
	PresenceNone Presence = iota
	PresenceOptional
	PresenceRequired
)

// Form is how a refusal by the gate looks.
type Form uint8

// The forms.
const (
	FormProblem Form = iota // RFC 9457, application/problem+json: our own APIs
	FormZETA                // gemSpec_ZETA error JSON: services that stand behind a ZETA Guard elsewhere
)

// Tenant says where a request names the insurer.
type Tenant struct {
	From    From
	Header  string                   // FromHeader
	Hosts   map[string]querschott.IK // FromHost: names in lower case, without a port
	Insurer querschott.IK            // FromRoute
}

// From is the place of the insurer's name.
type From uint8

// The places.
const (
	FromNowhere  From = iota // of a Public route
	FromRoute                // the route serves one insurer
	FromPresence             // insurerId of the PoPP token
	FromHost
	FromPath   // the first segment behind the route's path, an IK; the backend does not see it
	FromHeader // one header, exactly once
	FromCaller // the caller's own insurer
	FromLocator
)

// router finds routes: by host, then by the longest path.
type router struct {
	hosts map[string][]*Route // longest path first; "" for any host
}

func newRouter(routes []Route) (*router, error) {
	t := &router{hosts: map[string][]*Route{}}
	names := map[string]bool{}
	for i := range routes {
		r := routes[i]
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("couldn't set up the route %q: %w", r.Name, err)
		}
		if names[r.Name] {
			return nil, fmt.Errorf("couldn't set up the routes: two are called %q", r.Name)
		}
		names[r.Name] = true
		t.hosts[r.Host] = append(t.hosts[r.Host], &r)
	}
	for host, list := range t.hosts {
		slices.SortFunc(list, func(a, b *Route) int {
			return cmp.Or(cmp.Compare(len(b.Path), len(a.Path)), cmp.Compare(a.Path, b.Path))
		})
		for i := 1; i < len(list); i++ {
			if list[i].Path == list[i-1].Path {
				return nil, fmt.Errorf("couldn't set up the routes: two have the path %s on host %q", list[i].Path, host)
			}
		}
	}
	return t, nil
}

func (r *Route) check() error {
	switch {
	case r.Name == "":
		return fmt.Errorf("it has no name")
	case !strings.HasPrefix(r.Path, "/") || hostile(r.Path) != "":
		return fmt.Errorf("%q is no path", r.Path)
	case r.Host != strings.ToLower(r.Host) || r.Host != "" && !validHost(r.Host):
		return fmt.Errorf("%q is no host name in lower case", r.Host)
	case r.Backend == nil && r.Tunnel == nil:
		return fmt.Errorf("nobody answers it")
	case r.Public != (r.Tenant.From == FromNowhere):
		return fmt.Errorf("a route names its insurer if and only if it is not public")
	case !r.Public && r.Service.Code() == 0:
		return fmt.Errorf("it has no service")
	case r.Tenant.From == FromPath && !strings.HasSuffix(r.Path, "/"):
		return fmt.Errorf("the insurer stands behind its path, which must end in a slash")
	case r.Tenant.From == FromHeader && http.CanonicalHeaderKey(r.Tenant.Header) != r.Tenant.Header || r.Tenant.From == FromHeader && r.Tenant.Header == "":
		return fmt.Errorf("%q is no header's name", r.Tenant.Header)
	case r.Tenant.From == FromLocator && r.Locate == nil:
		return fmt.Errorf("nobody locates its requests")
	case r.Tenant.From == FromPresence && r.Presence == PresenceNone:
		return fmt.Errorf("the insurer stands in a proof of presence that nobody asks for")
	}
	return nil
}

// find returns the route of a request and the path behind it.
func (t *router) find(host, path string) (*Route, string) {
	if host != "" {
		if r, rest := match(t.hosts[host], path); r != nil {
			return r, rest
		}
	}
	return match(t.hosts[""], path)
}

func match(routes []*Route, path string) (*Route, string) {
	for _, r := range routes {
		if rest, ok := strings.CutPrefix(path, r.Path); ok && (rest == "" || strings.HasSuffix(r.Path, "/")) {
			return r, rest
		}
	}
	return nil, ""
}

// allows reports whether the gate lets a method through to the backend. HEAD is not GET here.
func (r *Route) allows(method string) bool {
	return len(r.Methods) == 0 || slices.Contains(r.Methods, method)
}

func (r *Route) writes(q *gate.Request) bool {
	if r.Write != nil {
		return r.Write(q)
	}
	return !readOnly(q.Method)
}

func readOnly(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// attempted is the action of a request that no service has judged.
func attempted(method string) ledger.Action {
	switch method {
	case http.MethodGet, http.MethodHead:
		return ledger.ActionRead
	case http.MethodPost:
		return ledger.ActionCreate
	case http.MethodPut, http.MethodPatch:
		return ledger.ActionUpdate
	case http.MethodDelete:
		return ledger.ActionDelete
	default:
		return ledger.ActionNone
	}
}
