package proxy

import (
	"bytes"
	"mime"
	"net/http"
	"strings"
)

// links replaces the service's base URL by the public one at the beginning of quoted text, in a body that comes in pieces. It
// holds back what may be the beginning of one.
type links struct {
	from, to []byte // with the quotation mark in front
	held     []byte
}

// linksFor returns what rewrites the links of an answer, nil if they stay.
func (p *Proxy) linksFor(h http.Header) *links {
	if !p.cfg.Links {
		return nil
	}
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || !strings.Contains(media, "json") && !strings.Contains(media, "xml") {
		return nil
	}
	from := p.upstream.Scheme + "://" + p.upstream.Host + strings.TrimSuffix(p.upstream.EscapedPath(), "/")
	to := p.public.Scheme + "://" + p.public.Host + strings.TrimSuffix(p.public.EscapedPath(), "/")
	return &links{from: []byte(`"` + from), to: []byte(`"` + to)}
}

// write appends to out what of the body is certain with these bytes.
func (l *links) write(out, b []byte) []byte {
	l.held = append(l.held, b...)
	rest := l.held
	for {
		i := bytes.Index(rest, l.from)
		if i < 0 || i+len(l.from) == len(rest) {
			break
		}
		out = append(out, rest[:i]...)
		if bytes.IndexByte([]byte(`"/?#`), rest[i+len(l.from)]) >= 0 {
			out = append(out, l.to...)
		} else {
			out = append(out, l.from...) // another host or path that begins alike
		}
		rest = rest[i+len(l.from):]
	}
	keep := len(rest)
	for n := min(len(l.from), len(rest)); n > 0; n-- {
		if bytes.HasSuffix(rest, l.from[:n]) {
			keep = len(rest) - n
			break
		}
	}
	out = append(out, rest[:keep]...)
	l.held = append(l.held[:0], rest[keep:]...)
	return out
}

// rest returns what was held back, at the end of the body.
func (l *links) rest() []byte {
	rest := l.held
	l.held = nil
	return rest
}
