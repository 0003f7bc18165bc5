package http

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
)

var errQuiet = errors.New("nothing passed for too long")

// tunnels reports whether the request asks for a tunnel, and the route has one.
func (v *visit) tunnels() bool {
	r := v.raw
	return v.route.Tunnel != nil && r.ProtoMajor == 1 && r.Method == http.MethodGet && r.Header.Get("Upgrade") != "" &&
		slices.Contains(connectionNamed(r.Header), "Upgrade")
}

// tunnel opens a passage and carries bytes until one side is done, or the gate says so. It is recorded when it opens and
// when it ends.
func (v *visit) tunnel(ctx context.Context, l *lane) *refusal {
	if !v.body.ended {
		return refused(querschott.CodeInvalid, "a request to switch protocols has no body")
	}
	if l.tunnels.Add(1) > int64(v.srv.cfg.Limits.Tunnels) {
		l.tunnels.Add(-1)
		return v.crowded()
	}
	defer l.tunnels.Add(-1)
	v.transit.tunnel = true
	says := l.enter(v.transit, v.state())
	defer v.transit.exit()
	if says != pass {
		return v.byDoor(v.current())
	}
	v.at(querschott.StageService)
	p, err := v.dig(ctx)
	if err != nil {
		return v.broken(ctx, err)
	}
	if p.Conn == nil {
		if p.Answer == nil {
			return v.internal(errors.New("the tunnel gave neither a passage nor an answer"))
		}
		return v.answer(ctx, p.Answer, false)
	}
	defer func() { _ = p.Conn.Close() }() // closed already if all went well
	if f := v.usable(&service.Answer{Status: http.StatusOK, Facts: p.Facts}, false); f != nil {
		return f
	}
	if f := v.admit(&p.Facts); f != nil {
		return f
	}
	if !v.departs() {
		return v.byDoor(v.current())
	}
	if err := v.record(ctx, v.entry(&p.Facts, http.StatusSwitchingProtocols, 0)); err != nil {
		return v.unrecorded(err)
	}
	v.tell(&p.Facts, http.StatusSwitchingProtocols, 0, "")
	return v.carry(ctx, p)
}

// dig has the route open its passage in time.
func (v *visit) dig(ctx context.Context) (*gate.Passage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, v.timeout(), context.DeadlineExceeded)
	defer cancel()
	p, err := v.route.Tunnel(ctx, v.req)
	if err == nil && p == nil {
		err = errors.New("the tunnel gave no passage")
	}
	return p, v.expired(ctx, err)
}

// carry is what happens behind the 101.
func (v *visit) carry(ctx context.Context, p *gate.Passage) *refusal {
	client, buffered, err := v.out.rc.Hijack()
	if err != nil {
		return v.internal(fmt.Errorf("couldn't take over a connection: %w", err))
	}
	v.sent = true
	v.srv.stats.tunnels.Add(1)
	defer v.srv.stats.tunnels.Add(-1)
	_ = client.SetDeadline(time.Time{}) // a connection without deadlines shows in the first read
	t := &tunnel{client: client, in: buffered.Reader, service: p.Conn, patience: v.srv.cfg.Limits.WriteTime}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, t.close)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		v.guard(ctx, t, cancel)
	}()
	h := http.Header{}
	answerHeader(h, p.Header)
	h.Del("Cache-Control")
	h.Set("X-Request-Id", v.id)
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, v.raw.Header["Upgrade"][:1]
	t.run(h)
	cause := context.Cause(ctx)
	cancel(nil)
	<-ended
	stop()
	t.close()
	v.closed(ctx, t, p, cause)
	return nil
}

// guard asks again and again what was asked when the tunnel was opened; a door that closes ends the context.
func (v *visit) guard(ctx context.Context, t *tunnel, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(recheck)
	defer ticker.Stop()
	opened, heard, quiet := time.Now(), int64(-1), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now := t.up.Load() + t.down.Load(); now != heard {
			heard, quiet = now, time.Now()
		}
		end := v.identity.Expires
		switch {
		case v.srv.cfg.Valid(v.identity) != nil, !end.IsZero() && !v.srv.cfg.Now().Before(end), time.Since(opened) > v.srv.cfg.Limits.Tunnel:
			cancel(errOver)
		case time.Since(quiet) > v.srv.cfg.Limits.Quiet:
			cancel(errQuiet)
		case v.placed && v.transit.forbids(v.current().To):
			cancel(errDoor) // nobody told us
		}
	}
}

// closed records how much went through a tunnel, and why it ended.
func (v *visit) closed(ctx context.Context, t *tunnel, p *gate.Passage, cause error) {
	facts := service.Facts{
		Action: ledger.ActionClose, Data: p.Facts.Data, Fields: p.Facts.Fields, Purpose: p.Facts.Purpose, Person: p.Facts.Person,
		Outcome: ledger.OutcomeSuccess, Detail: []ledger.Field{{Name: "bytes-in", Value: strconv.FormatInt(t.up.Load(), 10)}},
	}
	why := ""
	switch {
	case errors.Is(cause, errDoor):
		facts.Outcome, facts.Cause, why = ledger.OutcomePartial, ledger.ReasonDoor, "door"
	case errors.Is(cause, errOver):
		facts.Outcome, facts.Cause, why = ledger.OutcomePartial, ledger.ReasonExpired, "credential"
	case errors.Is(cause, errStop):
		facts.Outcome, facts.Cause, why = ledger.OutcomePartial, ledger.ReasonOperator, "stop"
	case errors.Is(cause, errQuiet):
		why = "quiet"
	}
	if why != "" {
		facts.Detail = append(facts.Detail, ledger.Field{Name: "cause", Value: why})
	}
	if err := v.record(ctx, v.entry(&facts, http.StatusSwitchingProtocols, t.down.Load())); err != nil {
		v.report(v.unrecorded(err))
	}
	v.tell(&facts, http.StatusSwitchingProtocols, t.down.Load(), why)
}

// tunnel is two connections and what passes between them.
type tunnel struct {
	client   net.Conn
	in       *bufio.Reader // what the client sends; it may hold some already
	service  io.ReadWriteCloser
	patience time.Duration // for the client to take what it is sent
	up, down atomic.Int64  // bytes from and to the client

	once sync.Once
}

func (t *tunnel) close() {
	t.once.Do(func() {
		_ = t.client.Close()  // there is
		_ = t.service.Close() // nothing left to lose
	})
}

// run sends the 101 and carries bytes until one side has ended.
func (t *tunnel) run(h http.Header) {
	var both sync.WaitGroup
	both.Go(func() {
		defer t.close()
		_ = t.client.SetWriteDeadline(time.Now().Add(t.patience)) // a failure shows in the write
		if _, err := io.WriteString(t.client, "HTTP/1.1 101 Switching Protocols\r\n"); err != nil {
			return
		}
		if h.Write(t.client) != nil {
			return
		}
		if _, err := io.WriteString(t.client, "\r\n"); err != nil {
			return
		}
		t.copy(&t.down, t.service.Read, func(b []byte) (int, error) {
			_ = t.client.SetWriteDeadline(time.Now().Add(t.patience)) // as above
			return t.client.Write(b)
		})
	})
	both.Go(func() {
		defer t.close()
		t.copy(&t.up, t.in.Read, t.service.Write)
	})
	both.Wait()
}

func (t *tunnel) copy(n *atomic.Int64, read, write func([]byte) (int, error)) {
	b := make([]byte, 16<<10)
	for {
		got, err := read(b)
		if got > 0 {
			if _, err := write(b[:got]); err != nil {
				return
			}
			n.Add(int64(got))
		}
		if err != nil {
			return
		}
	}
}
