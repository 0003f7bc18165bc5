package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/wire/zeta"
)

func uitoa(n uint64) string { return strconv.FormatUint(n, 10) }

// call is one request to the service and its answer. It lives as long as its answer is read, which may be longer than the
// context that it began with.
type call struct {
	p    *Proxy
	r    *gate.Request
	v    *view
	way  *lane
	body *callerBody
	resp *http.Response
	// count looks at the answer; nil if there is nothing to look at.
	count counter

	ctx    context.Context // of the request to the service
	cancel context.CancelCauseFunc
	unlink func() bool // lets the call outlive the context that it began with
	limit  *time.Timer // of the whole answer
	idle   *time.Timer // of the next bytes; nil until some are waited for
	late   bool        // no header came in time
	once   sync.Once
}

// begin makes a call that ends with ctx until it is unlinked.
func (p *Proxy) begin(ctx context.Context, r *gate.Request, v *view) *call {
	c := &call{p: p, r: r, v: v, body: &callerBody{r: r.Body}}
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	c.unlink = context.AfterFunc(ctx, func() { c.cancel(context.Cause(ctx)) })
	return c
}

// ask sends the request and returns when the header of the answer is there.
func (c *call) ask(ctx context.Context) error {
	out, err := c.request()
	if err != nil {
		return err
	}
	return c.send(ctx, out)
}

// send gets the header of the answer. If it fails, the call is closed.
func (c *call) send(ctx context.Context, out *http.Request) (err error) {
	if c.way, err = c.p.lanes.enter(ctx, c.r.Compartment); err != nil {
		return err
	}
	c.limit = time.AfterFunc(c.p.cfg.Timeouts.Answer, func() { c.cancel(errTooSlow) })
	resp, err := c.way.roundTrip(out)
	if err != nil {
		c.late = isTimeout(c.cause(), err)
		c.close()
		return c.failure(ctx, err)
	}
	c.resp = resp
	return nil
}

// request makes the request that the service gets.
func (c *call) request() (*http.Request, error) {
	p, raw := c.p, c.r.Raw
	path, ok := mapPath(raw.URL.EscapedPath(), p.public.EscapedPath(), p.upstream.EscapedPath())
	if !ok {
		return nil, querschott.Refuse(querschott.CodeNotFound, "there is nothing here")
	}
	target := *p.upstream
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return nil, errPath()
	}
	target.Path, target.RawPath, target.RawQuery = decoded, path, raw.URL.RawQuery
	header, err := p.outgoing(c.r, c.v)
	if err != nil {
		return nil, zeta.Internal(c.r.ID, err)
	}
	if !isToken(raw.Method) {
		return nil, querschott.Refuse(querschott.CodeInvalid, "the method is not valid")
	}
	out := (&http.Request{
		Method: raw.Method, URL: &target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, Host: raw.Host,
	}).WithContext(c.ctx)
	if p.cfg.Headers.Host == hostUpstream {
		out.Host = p.upstream.Host
	}
	if raw.ContentLength != 0 {
		out.Body, out.ContentLength = c.body, raw.ContentLength
	}
	return out, nil
}

// counting goes on with another counter.
func (c *call) counting(with counter) {
	if c.count != nil {
		c.count.stop()
	}
	c.count = with
}

// close gives everything back, once.
func (c *call) close() {
	c.once.Do(func() {
		c.limit.Stop()
		if c.idle != nil {
			c.idle.Stop()
		}
		if c.resp != nil {
			_ = c.resp.Body.Close() // nothing more is read
		}
		c.cancel(context.Canceled)
		c.counting(nil)
		c.way.leave()
	})
}

// Read reads the answer's body; silence ends it.
func (c *call) Read(b []byte) (int, error) {
	if c.idle == nil {
		c.idle = time.AfterFunc(c.p.cfg.Timeouts.Idle, func() { c.cancel(errSilent) })
	} else {
		c.idle.Reset(c.p.cfg.Timeouts.Idle)
	}
	n, err := c.resp.Body.Read(b)
	c.idle.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := c.cause(); cause != nil {
			err = cause
		}
	}
	return n, err
}

// cause is why the call was given up, nil if it was not.
func (c *call) cause() error { return context.Cause(c.ctx) }

// isTimeout reports whether the service took too long, cause being why the call was given up, or nil.
func isTimeout(cause, err error) bool {
	for _, known := range []error{errSilent, errTooSlow, context.DeadlineExceeded} {
		if errors.Is(cause, known) || errors.Is(err, known) {
			return true
		}
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// callerBody is the body of the caller's request. It remembers that it, and not the service, failed.
type callerBody struct {
	r io.Reader

	mu  sync.Mutex // guards err: the transport reads in a goroutine of its own
	err error
}

func (b *callerBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
	}
	return n, err
}

// Close leaves the caller's connection to the gate.
func (b *callerBody) Close() error { return nil }

func (b *callerBody) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}
