package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/zeta"
)

// pieceSize is how much of a long answer is recorded with one entry. No piece has room for more than maxPersons.
const pieceSize = 32 << 10

// maxPooled is how large a buffer may be that waits for the next answer.
const maxPooled = 2 * pieceSize

// answer reads the service's answer, whole or as the beginning of a long one.
func (c *call) answer() (*service.Answer, error) {
	resp := c.resp
	if strings.EqualFold(strings.TrimSpace(resp.Header.Get(zeta.HeaderCause)), "proxy") {
		return nil, errHeaders // gemSpec_ZETA A_26974-01
	}
	if resp.StatusCode < http.StatusOK || resp.StatusCode > 599 {
		return nil, errProtocol
	}
	a := &service.Answer{
		Status: resp.StatusCode, Header: c.p.incoming(resp.Header, c.r.Raw.Host), Facts: c.v.facts(c.r.Method, resp.StatusCode),
	}
	if c.r.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified {
		defer c.close()
		c.conclude(a, &found{})
		return a, nil
	}
	s := &stream{call: c, links: c.p.linksFor(resp.Header)}
	s.counting(c.v.rule.counterFor(resp.Header.Get("Content-Type")))
	s.event = c.v.rule.Stream || isStream(resp.Header.Get("Content-Type"))
	if err := s.decode(a.Header); err != nil {
		return nil, err
	}
	if s.links != nil || s.decoded {
		stale(a.Header)
	}
	if !s.event {
		b := bodies.Get().(*bytes.Buffer)
		b.Reset()
		b.Grow(int(min(max(resp.ContentLength, 0), pieceSize)) + bytes.MinRead) // no more for what a service only promises
		if _, err := b.ReadFrom(io.LimitReader(s.src, c.p.cfg.Limits.Buffer+1)); err != nil {
			return nil, err
		}
		head := b.Bytes()
		if int64(len(head)) <= c.p.cfg.Limits.Buffer {
			whole, err := s.whole(a, b)
			if whole || err != nil {
				return a, err
			}
			s.counting(c.v.rule.counterFor(resp.Header.Get("Content-Type")))
		}
		s.src = io.MultiReader(bytes.NewReader(head), s.src)
	}
	if _, ok := s.count.(*document); ok { // too large for XPath
		if s.unreadable() {
			return nil, errUnreadable
		}
		s.counting(&opaque{})
	}
	s.begin(a)
	return a, nil
}

// conclude completes the facts of an answer whose content is known.
func (c *call) conclude(a *service.Answer, in *found) {
	all := c.v.persons
	all.merge(in)
	if c.v.rule.Count == countOne && a.Status < http.StatusMultipleChoices {
		all.records = 1
	}
	settle(&a.Facts, &all)
}

// stale removes what describes bytes that were changed on the way.
func stale(h http.Header) {
	for _, name := range []string{"Content-Md5", "Content-Digest", "Repr-Digest", "Digest", "Accept-Ranges"} {
		delete(h, name)
	}
}

// stream is an answer on its way: decoded, counted, rewritten.
type stream struct {
	*call
	src     io.Reader
	links   *links // nil: they stay as they are
	event   bool   // it goes on as it comes
	decoded bool
	sent    int64 // bytes
	done    bool
	buf     []byte
	pending found // of bytes that were held back
}

// bodies are buffers for whole answers.
var bodies = sync.Pool{New: func() any { return &bytes.Buffer{} }}

// whole counts a complete answer. It reports false for one that names more persons than an entry of the ledger has room for.
func (s *stream) whole(a *service.Answer, b *bytes.Buffer) (bool, error) {
	in, data := &found{}, b.Bytes()
	if s.count != nil {
		err := s.count.write(data)
		if err == nil {
			err = s.count.finish()
		}
		*in = s.count.take()
		if err != nil && len(data) > 0 {
			if s.unreadable() && a.Status < http.StatusMultipleChoices {
				return false, errUnreadable
			}
			in.records, in.unknown = max(in.records, 1), true
		}
	}
	if len(in.persons) > maxPersons {
		return false, nil
	}
	defer s.close()
	s.conclude(a, in)
	a.Body = data
	if b.Cap() <= maxPooled {
		a.Sent = func() { bodies.Put(b) }
	}
	if s.links != nil {
		a.Body = append(s.links.write(nil, data), s.links.rest()...)
	}
	for name, values := range s.resp.Trailer {
		if len(values) > 0 && len(passing(http.Header{name: values}, notFromServices, 0)) > 0 {
			a.Header[http.TrailerPrefix+name] = values
		}
	}
	return true, nil
}

// unreadable counts an answer that cannot be counted, and reports whether it is to be blocked.
func (s *stream) unreadable() bool {
	s.p.stats.unreadable.Add(1)
	return s.p.cfg.Unreadable == block
}

// begin makes the answer one in pieces.
func (s *stream) begin(a *service.Answer) {
	_, opaque := s.count.(*opaque)
	s.conclude(a, &found{unknown: opaque})
	s.limit.Reset(s.p.cfg.Timeouts.Stream)
	s.buf = make([]byte, pieceSize)
	a.Next = s.next
	a.Close = func() error {
		s.close()
		return nil
	}
}

// next returns the next piece. Everything in it is counted.
func (s *stream) next(ctx context.Context) (service.Piece, error) {
	unlink := context.AfterFunc(ctx, func() { s.cancel(context.Cause(ctx)) })
	defer unlink()
	for !s.done {
		p, ok, err := s.piece()
		if err != nil {
			s.p.stats.cut.Add(1)
			return service.Piece{}, fmt.Errorf("an answer of %s broke off: %s", s.p.upstream.Host, words(err))
		}
		if ok {
			return p, nil
		}
	}
	return service.Piece{}, io.EOF
}

// piece reads, counts and rewrites. ok is false if nothing is ready to leave.
func (s *stream) piece() (p service.Piece, ok bool, err error) {
	n, err := s.fill()
	if err != nil && !errors.Is(err, io.EOF) {
		return p, false, err
	}
	s.done = err != nil
	if s.sent += int64(n); s.sent > s.p.cfg.Limits.Answer && !s.event {
		return p, false, errTooLong
	}
	if err := s.look(s.buf[:n]); err != nil {
		return p, false, err
	}
	p.Data = s.buf[:n]
	if s.links != nil {
		p.Data = s.links.write(nil, p.Data)
		if s.done {
			p.Data = append(p.Data, s.links.rest()...)
		}
	}
	if len(p.Data) == 0 {
		return p, false, nil
	}
	p.Records, p.Persons = s.pending.records, s.pending.persons
	s.pending = found{}
	return p, true, nil
}

// look counts bytes before they leave.
func (s *stream) look(b []byte) error {
	if s.count == nil {
		return nil
	}
	err := s.count.write(b)
	if err == nil && s.done {
		err = s.count.finish()
	}
	in := s.count.take()
	s.pending.merge(&in)
	if err == nil {
		return nil
	}
	if s.unreadable() {
		return err
	}
	s.counting(&opaque{})
	if len(b) > 0 {
		s.pending.records = max(s.pending.records, 1)
	}
	return nil
}

// fill reads what a piece is made of: what there is of an event stream, a full buffer of anything else.
func (s *stream) fill() (n int, err error) {
	for n < len(s.buf) && err == nil && (n == 0 || !s.event) {
		var m int
		m, err = s.src.Read(s.buf[n:])
		n += m
	}
	return n, err
}
