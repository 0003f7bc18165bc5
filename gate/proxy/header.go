package proxy

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/wire/zeta"
)

// hopByHop are headers between two machines only (RFC 9110 7.6.1). The gate has removed them; that is not relied on.
var hopByHop = setOf(
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Http2-Settings",
)

// notFromCallers are headers that would change what was checked, or that only a gate sets.
var notFromCallers = setOf(
	"X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url", "X-Request-Id", "Expect",
	"Accept-Encoding", "Content-Length", "Host",
)

// notFromServices are headers of answers that are the gate's, or would lead callers past it.
var notFromServices = setOf("X-Request-Id", "Alt-Svc", "Content-Length")

func setOf(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

func reserved(name string) bool {
	return strings.HasPrefix(name, "Zeta-") || strings.HasPrefix(name, "Querschott-")
}

// passing returns what may pass of h, with room for more. Headers with '_' do not: some services read them as '-'. Values are
// shared with h.
func passing(h http.Header, names map[string]bool, room int) http.Header {
	out := make(http.Header, len(h)+room)
	for name, values := range h {
		if !hopByHop[name] && !names[name] && !strings.Contains(name, "_") && !reserved(http.CanonicalHeaderKey(name)) {
			out[name] = slices.Clip(values)
		}
	}
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			out.Del(textproto.TrimString(name))
		}
	}
	return out
}

// outgoing returns the header that the service gets. A ZETA header that does not fit is an error.
func (p *Proxy) outgoing(r *gate.Request, v *view) (http.Header, error) {
	h := passing(r.Raw.Header, notFromCallers, 9)
	for name := range p.drop {
		delete(h, name)
	}
	dropCookies(h, p.cfg.Headers.Cookies)
	if v.rule.Count != "" && v.rule.Count != countNone && v.rule.Count != countOne {
		h.Del("Range")
		h.Del("If-Range")
	}
	h["Accept-Encoding"] = identityOnly
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // otherwise net/http writes its own
	}
	h.Set("X-Request-Id", r.ID)
	h.Set("Querschott-Door-Epoch", uitoa(r.Epoch))
	p.forwarded(h, r)
	if p.cfg.Headers.Identity {
		return h, identify(h, r)
	}
	return h, nil
}

var identityOnly = []string{"identity"}

// identify says who calls, in the form of a ZETA Guard. A caller who was not identified gets no header.
func identify(h http.Header, r *gate.Request) error {
	if r.Caller.Actor == "" || r.Caller.Role == querschott.RoleUnknown {
		return nil
	}
	user, err := zeta.UserInfo{
		Identifier: string(r.Caller.Actor), ProfessionOID: r.Caller.Profession, CommonName: r.Caller.Name, Organization: r.Caller.Organization,
	}.Encode()
	if err != nil {
		return err
	}
	h.Set(zeta.HeaderUserInfo, user)
	if r.Presence == nil {
		return nil
	}
	content, err := zeta.EncodePresence(r.Presence.Content)
	if err != nil {
		return err
	}
	h.Set(zeta.HeaderPresence, content)
	return nil
}

// forwarded says where the request came from. What stands there already came from a trusted hop: the gate has removed
// everything else.
func (p *Proxy) forwarded(h http.Header, r *gate.Request) {
	proto := "http"
	if r.Raw.TLS != nil {
		proto = "https"
	}
	if p.cfg.Headers.Forwarded {
		element := "for=" + node(r.Remote) + ";host=" + quoted(r.Raw.Host) + ";proto=" + proto
		h.Set("Forwarded", strings.Join(append(h["Forwarded"], element), ", ")) // gemSpec_ZETA A_28439
	}
	if p.cfg.Headers.XForwarded {
		h.Set("X-Forwarded-For", strings.Join(append(h["X-Forwarded-For"], r.Remote.String()), ", "))
		for _, more := range [...][2]string{{"X-Forwarded-Host", r.Raw.Host}, {"X-Forwarded-Proto", proto}} {
			if h.Get(more[0]) == "" {
				h.Set(more[0], more[1])
			}
		}
	}
}

// node writes an address in the form of RFC 7239 section 6.
func node(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "unknown"
	case a.Is4() || a.Is4In6():
		return a.Unmap().String()
	}
	return `"[` + a.WithZone("").String() + `]"`
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func quoted(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.'
	}) {
		return s
	}
	return `"` + escaper.Replace(s) + `"`
}

// dropCookies removes cookies by name, '*' at the end of a name standing for any rest.
func dropCookies(h http.Header, names []string) {
	if len(names) == 0 || len(h["Cookie"]) == 0 {
		return
	}
	var kept []string
	for _, line := range h["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			part = strings.TrimSpace(part)
			if name, _, _ := strings.Cut(part, "="); part != "" && !anyName(names, strings.TrimSpace(name)) {
				kept = append(kept, part)
			}
		}
	}
	if delete(h, "Cookie"); len(kept) > 0 {
		h.Set("Cookie", strings.Join(kept, "; "))
	}
}

func anyName(names []string, name string) bool {
	for _, n := range names {
		if prefix, open := strings.CutSuffix(n, "*"); n == name || open && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// incoming returns the header that the caller gets.
func (p *Proxy) incoming(in http.Header, host string) http.Header {
	h := passing(in, notFromServices, 0)
	for _, name := range []string{"Location", "Content-Location"} {
		if at := h.Get(name); at != "" {
			h.Set(name, p.location(at, host))
		}
	}
	if cookies := h["Set-Cookie"]; len(cookies) > 0 {
		own := make([]string, len(cookies))
		for i, c := range cookies {
			own[i] = p.cookie(c)
		}
		h["Set-Cookie"] = own
	}
	return h
}

// location turns an address of the service into one of the gate's. host is what the service was told to be.
func (p *Proxy) location(at, host string) string {
	u, err := url.Parse(at)
	if err != nil || u.Opaque != "" || u.User != nil {
		return at
	}
	own := strings.EqualFold(u.Host, p.upstream.Host) || strings.EqualFold(u.Host, host)
	if u.Host != "" && !own || u.Host == "" && !strings.HasPrefix(u.Path, "/") {
		return at
	}
	path, below := mapPath(u.EscapedPath(), p.upstream.EscapedPath(), p.public.EscapedPath())
	if !below {
		return at
	}
	rest := ""
	if u.RawQuery != "" {
		rest = "?" + u.RawQuery
	}
	if u.Fragment != "" {
		rest += "#" + u.EscapedFragment()
	}
	if path == "" || strings.HasPrefix(path, "//") {
		path = "/" + strings.TrimLeft(path, "/")
	}
	if u.Host == "" || p.public.Host == "" {
		return path + rest
	}
	return p.public.Scheme + "://" + p.public.Host + path + rest
}

// cookie fits a cookie of the service to the gate's host and path.
func (p *Proxy) cookie(c string) string {
	parts := strings.Split(c, ";")
	kept := parts[:1]
	for _, part := range parts[1:] {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch strings.ToLower(name) {
		case "domain":
			if strings.EqualFold(strings.TrimPrefix(value, "."), p.upstream.Hostname()) {
				continue // without a domain it is the gate's host
			}
		case "path":
			if path, ok := mapPath(value, p.upstream.EscapedPath(), p.public.EscapedPath()); ok && path != "" {
				part = " Path=" + path
			}
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, ";")
}
