package http

import (
	"bytes"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"unicode/utf8"
)

// kind says what becomes of a header on its way through the gate.
type kind uint8

const (
	endToEnd   kind = iota
	hop             // between two machines only: never goes on
	override        // would change what the request is: never goes on
	forwarding      // who called: believed from trusted hops only
	guarded         // what a guard proved: believed from guards only
	credential      // goes on to backends that see the raw request, never to services
)

var kinds = map[string]kind{
	"connection": hop, "keep-alive": hop, "proxy-connection": hop, "te": hop, "trailer": hop, "transfer-encoding": hop,
	"upgrade": hop, "proxy-authenticate": hop, "proxy-authorization": hop, "http2-settings": hop,

	"x-http-method-override": override, "x-http-method": override, "x-method-override": override, "x-original-url": override,
	"x-rewrite-url": override, "x-request-id": override,

	"forwarded": forwarding, "via": forwarding, "x-real-ip": forwarding, "x-client-ip": forwarding, "client-ip": forwarding,
	"true-client-ip": forwarding, "cf-connecting-ip": forwarding, "x-cluster-client-ip": forwarding, "x-host": forwarding,
	"x-original-host": forwarding,

	// Trace ids and baggage that callers choose would tie their requests together, here and behind the gate.
	"traceparent": forwarding, "tracestate": forwarding, "baggage": forwarding,

	"authorization": credential, "dpop": credential, "popp": credential, "cookie": credential, "x-api-key": credential,
}

// kindOf treats - and _ alike, since some services do.
func kindOf(name string) kind {
	var buf [40]byte // longer than every name and prefix that matters
	n := copy(buf[:], name)
	low := buf[:n]
	for i, c := range low {
		switch {
		case c == '_':
			low[i] = '-'
		case 'A' <= c && c <= 'Z':
			low[i] = c + 'a' - 'A'
		}
	}
	if k, ok := kinds[string(low)]; ok && n == len(name) {
		return k
	}
	switch {
	case bytes.HasPrefix(low, prefixZETA):
		return guarded
	case bytes.HasPrefix(low, prefixOurs):
		return override
	case bytes.HasPrefix(low, prefixForwarded):
		return forwarding
	}
	return endToEnd
}

var prefixZETA, prefixOurs, prefixForwarded = []byte("zeta-"), []byte("querschott-"), []byte("x-forwarded-")

// strip returns the headers that may go on from a peer: gemSpec_ZETA A_25669-01 for ZETA-*, and no forwarding headers
// unless a trusted hop set them.
func strip(h http.Header, guard, trusted bool) http.Header {
	out := make(http.Header, len(h))
	named := connectionNamed(h)
	for name, values := range h {
		switch kindOf(name) {
		case endToEnd, credential:
		case guarded:
			if !guard {
				continue
			}
		case forwarding:
			if !trusted {
				continue
			}
		case hop, override:
			continue
		}
		if !slices.Contains(named, name) {
			out[name] = values
		}
	}
	return out
}

// connectionNamed returns the headers that Connection declares to be between two machines only (RFC 9110 7.6.1).
func connectionNamed(h http.Header) (names []string) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			names = append(names, textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)))
		}
	}
	return names
}

// bare returns the headers without what identifies the caller, and without what a guard said: services get both as values.
func bare(h http.Header) http.Header {
	out := make(http.Header, len(h))
	for name, values := range h {
		if k := kindOf(name); k == endToEnd {
			out[name] = values
		}
	}
	return out
}

// unguarded removes ZETA-* in place, after identification has read them.
func unguarded(h http.Header) {
	for name := range h {
		if kindOf(name) == guarded {
			delete(h, name)
		}
	}
}

// answerHeader copies the headers of an answer that may leave. The length, the request's name and what is between two
// machines are the gate's.
func answerHeader(to, from http.Header) {
	named := connectionNamed(from)
	for name, values := range from {
		name = textproto.CanonicalMIMEHeaderKey(name)
		if k := kindOf(name); k == hop || k == guarded || k == override || name == "Content-Length" || slices.Contains(named, name) {
			continue
		}
		to[name] = slices.Clip(values)
	}
	if to.Get("Cache-Control") == "" {
		to.Set("Cache-Control", "no-store, private")
	}
}

// caller returns who calls: the peer, or whom the trusted hops in front saw.
func caller(peer netip.Addr, h http.Header, trusted []netip.Prefix) (addr netip.Addr, hop bool) {
	if !within(peer, trusted) {
		return peer, false
	}
	list := strings.Split(strings.Join(h["X-Forwarded-For"], ","), ",")
	addr = peer
	for _, s := range slices.Backward(list) {
		a, err := netip.ParseAddr(strings.TrimSpace(s))
		if err != nil {
			break // what stands in front of it is hearsay
		}
		if addr = a.Unmap().WithZone(""); !within(addr, trusted) {
			break
		}
	}
	return addr, true
}

func within(a netip.Addr, list []netip.Prefix) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// network is what one caller is likely to have for itself: an IPv4 address or an IPv6 /64.
func network(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // not from a network: all such callers share one
	}
	return p
}

// hostile says what a decoded path has that two parsers may read differently, "" for nothing.
func hostile(path string) string {
	if !utf8.ValidString(path) {
		return "is not UTF-8"
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == ';' }) {
		return "has a character that paths do not have here"
	}
	if i := strings.IndexByte(path, '%'); i >= 0 {
		return "is encoded twice"
	}
	for i, segment := range strings.Split(path[1:], "/") {
		if segment == "." || segment == ".." {
			return "has a dot segment"
		}
		if segment == "" && i < strings.Count(path, "/")-1 {
			return "has an empty segment"
		}
	}
	return ""
}

// hostileURL says the same of a request's target, and of the name of the host.
func hostileURL(r *http.Request) string {
	u := r.URL
	if u.IsAbs() || u.Host != "" || u.Opaque != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") {
		return "the target is not a path"
	}
	if u.Fragment != "" || u.RawFragment != "" || strings.ContainsRune(r.RequestURI, '#') {
		return "the target has a fragment"
	}
	if raw := strings.ToLower(u.RawPath); strings.Contains(raw, "%2f") || strings.Contains(raw, "%5c") {
		return "the path has an encoded slash"
	}
	if what := hostile(u.Path); what != "" {
		return "the path " + what
	}
	if !validHost(hostName(r.Host)) {
		return "the host is no name"
	}
	return ""
}

// hostName returns a host in lower case without its port.
func hostName(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") && strings.Trim(host[i+1:], "0123456789") == "" {
		host = host[:i]
	}
	return strings.ToLower(host)
}

// validHost accepts names without a trailing dot, and addresses.
func validHost(host string) bool {
	if in, ok := strings.CutPrefix(host, "["); ok {
		in, ok = strings.CutSuffix(in, "]")
		a, err := netip.ParseAddr(in)
		return ok && err == nil && a.Is6() && a.Zone() == ""
	}
	if host == "" || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return false
		}
	}
	return true
}
