package proxy

import (
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 1.3 wants it; it protects nothing
	"encoding/base64"
	"io"
	"net/http"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ledger"
)

// Tunnel is a [gate.Tunnel] for WebSocket. Other protocols are not switched to: what they carry could be requests that nobody
// has checked. The gate counts bytes; messages are not looked at.
func (p *Proxy) Tunnel(ctx context.Context, r *gate.Request) (*gate.Passage, error) {
	p.stats.requests.Add(1)
	key := r.Raw.Header.Get("Sec-Websocket-Key")
	if nonce, err := base64.StdEncoding.DecodeString(key); err != nil || len(nonce) != 16 || r.Raw.Method != http.MethodGet {
		return nil, querschott.Refuse(querschott.CodeInvalid, "only WebSocket is switched to here")
	}
	v, err := p.look(r)
	if err != nil {
		return nil, err
	}
	if !v.known {
		p.stats.unmatched.Add(1)
		if p.cfg.Unmatched == refuse {
			p.stats.refused.Add(1)
			return nil, querschott.Refuse(querschott.CodeForbidden, "no rule describes this request")
		}
	}
	c := p.begin(ctx, r, v)
	defer c.unlink()
	out, err := c.request()
	if err != nil {
		return nil, err
	}
	out.Body, out.ContentLength = nil, 0
	out.Header.Set("Connection", "Upgrade")
	out.Header.Set("Upgrade", "websocket")
	if err := c.send(ctx, out); err != nil {
		return nil, err
	}
	return c.passage(ctx, key)
}

// passage reads what the service says to the switch.
func (c *call) passage(ctx context.Context, key string) (*gate.Passage, error) {
	if c.resp.StatusCode != http.StatusSwitchingProtocols {
		a, err := c.answer()
		if err != nil {
			c.close()
			return nil, c.failure(ctx, err)
		}
		return &gate.Passage{Answer: a, Facts: a.Facts}, nil
	}
	c.limit.Stop()
	conn, ok := c.resp.Body.(io.ReadWriteCloser)
	if !ok || !strings.EqualFold(c.resp.Header.Get("Upgrade"), "websocket") || c.resp.Header.Get("Sec-Websocket-Accept") != accept(key) {
		c.close()
		return nil, c.failure(ctx, errProtocol)
	}
	h := c.p.incoming(c.resp.Header, c.r.Raw.Host)
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade")
	p := &gate.Passage{Header: h, Conn: &tunnelEnd{conn, c}, Facts: c.v.facts(c.r.Method, http.StatusSwitchingProtocols)}
	all := c.v.persons
	settle(&p.Facts, &all)
	p.Facts.Action = ledger.ActionExecute
	if c.v.rule.action != ledger.ActionNone {
		p.Facts.Action = c.v.rule.action
	}
	return p, nil
}

// accept is what a service that understands WebSocket answers to a key (RFC 6455 4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// tunnelEnd is the service's end of a tunnel. Closing it gives the connection's slot back.
type tunnelEnd struct {
	io.ReadWriteCloser
	call *call
}

func (t *tunnelEnd) Close() error {
	err := t.ReadWriteCloser.Close()
	t.call.close()
	return err
}
