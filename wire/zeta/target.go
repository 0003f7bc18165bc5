package zeta

import (
	"errors"
	"net"
	"net/url"
	"strings"
)

// ErrTarget means that a text is no absolute http(s) or ws(s) URL without user.
var ErrTarget = errors.New("not the URL of a request")

// SameTarget reports whether the claim htu of a proof names the request's own URL (RFC 9449 4.3). The claim may have neither
// query nor fragment; those of own are ignored. Letter case of scheme and host, default ports and the missing path make no
// difference, wss is https and ws is http; the path is compared as it stands.
func SameTarget(htu, own string) bool {
	if strings.ContainsAny(htu, "?#") {
		return false
	}
	if htu == own && strings.HasPrefix(own, "https://") && !strings.Contains(own, "@") {
		return true
	}
	a, err := NormalTarget(htu)
	if err != nil {
		return false
	}
	b, err := NormalTarget(own)
	return err == nil && a == b
}

// NormalTarget returns a URL in the form in which targets are compared, without query and fragment.
func NormalTarget(s string) (string, error) {
	s, _, _ = strings.Cut(s, "#")
	s, _, _ = strings.Cut(s, "?")
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.Hostname() == "" || u.Opaque != "" {
		return "", ErrTarget // the parser's error would repeat the URL
	}
	scheme, port := strings.ToLower(u.Scheme), ""
	switch scheme {
	case "https", "wss":
		scheme, port = "https", "443"
	case "http", "ws":
		scheme, port = "http", "80"
	default:
		return "", ErrTarget
	}
	host := strings.ToLower(u.Hostname())
	if p := u.Port(); p != "" && p != port {
		host = net.JoinHostPort(host, p)
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return scheme + "://" + host + path, nil
}
