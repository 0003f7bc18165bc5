package http

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/zeta"
)

// A service that takes too long, in every place where it can.
func TestServiceIsSlow(t *testing.T) {
	wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, serve := range map[string]func(context.Context, *gate.Request) (*service.Answer, error){
		"answer": func(ctx context.Context, _ *gate.Request) (*service.Answer, error) { return nil, wait(ctx) },
		"first piece": func(context.Context, *gate.Request) (*service.Answer, error) {
			return &service.Answer{Status: 200, Next: func(ctx context.Context) (service.Piece, error) { return service.Piece{}, wait(ctx) }}, nil
		},
	} {
		w := open(t, func(c *Config) { c.Limits.Service = 50 * time.Millisecond })
		w.serve = serve
		got := w.ask(ask{target: "/fixed", as: "practice"})
		if got.status != 504 || got.member("code") != "upstream-failed" {
			t.Errorf("%s: got %v", name, got)
		}
		if e := w.take(); len(e) != 1 || e[0].Outcome != ledger.OutcomeFailed || detail(e[0], "cause") != "upstream_time" {
			t.Errorf("%s: the entries are %+v", name, e)
		}
	}
	w := open(t, func(c *Config) { c.Limits.Service = 500 * time.Millisecond })
	f := feeding(w)
	f.pieces = make(chan service.Piece, 1)
	f.pieces <- piece(1) // in time, however busy the machine is
	_, r := begin(t, w, false, "practice")
	expect(t, r, 1)
	if _, err := io.ReadAll(r); err == nil {
		t.Error("an answer whose second piece never came has a good end")
	}
	w.await(func() bool { return w.srv.Stats().InFlight == 0 })
	if e := w.take(); len(e) != 2 || e[1].Outcome != ledger.OutcomePartial || detail(e[1], "cause") != "upstream_time" {
		t.Errorf("the entries are %+v", e)
	}
}

// A caller who leaves: what was reached for him is recorded all the same.
func TestCallerGoes(t *testing.T) {
	for name, obedient := range map[string]bool{"service stops": true, "service goes on": false} {
		w := open(t)
		inside := make(chan struct{})
		w.serve = func(ctx context.Context, r *gate.Request) (*service.Answer, error) {
			close(inside)
			<-ctx.Done()
			if obedient {
				return nil, ctx.Err()
			}
			return plain(ctx, r)
		}
		c := w.dial()
		_, _ = io.WriteString(c, getFixed)
		<-inside
		_ = c.Close()
		w.await(func() bool { return w.srv.Stats().InFlight == 0 })
		e := w.take()
		if len(e) != 1 || (e[0].Outcome == ledger.OutcomeSuccess) == obedient || obedient && detail(e[0], "cause") != "caller-gone" {
			t.Errorf("%s: the entries are %+v", name, e)
		}
	}
}

func TestCallerGoesInTheMiddle(t *testing.T) {
	w := open(t)
	w.serve = func(context.Context, *gate.Request) (*service.Answer, error) {
		n := 0
		return &service.Answer{Status: 200, Facts: service.Facts{Outcome: ledger.OutcomeSuccess}, Next: func(context.Context) (service.Piece, error) {
			n++
			return service.Piece{Data: make([]byte, 1<<20), Records: 1}, nil // for ever
		}}, nil
	}
	c := w.dial()
	_, _ = io.WriteString(c, getFixed)
	_, _ = io.ReadFull(c, make([]byte, 100))
	_ = c.Close()
	w.await(func() bool { return w.srv.Stats().InFlight == 0 })
	e := w.take()
	if last := e[len(e)-1]; last.Outcome != ledger.OutcomePartial || detail(last, "cause") != "caller-gone" {
		t.Errorf("the last entry is %+v", last)
	}
}

// A long answer that is refused before its first piece is an ordinary refusal.
func TestStreamIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		first  func(context.Context) (service.Piece, error)
		before func() error
		status int
	}{
		"service fails": {func(context.Context) (service.Piece, error) { return service.Piece{}, errors.New("broken") }, nil, 500},
		"too many": {func(context.Context) (service.Piece, error) {
			return service.Piece{Data: []byte("secret"), Persons: []querschott.KVNR{kvnr(1), kvnr(2)}}, nil
		}, nil, 429},
		"ledger fails": {func(context.Context) (service.Piece, error) { return service.Piece{Data: []byte("secret")}, nil }, func() error { return errors.New("full") }, 503},
		"nothing":      {func(context.Context) (service.Piece, error) { return service.Piece{}, io.EOF }, nil, 200},
	} {
		w := open(t, func(c *Config) { c.Limits.Reach = Reach{1, 1, 1} })
		w.before = tc.before
		w.serve = func(context.Context, *gate.Request) (*service.Answer, error) {
			return &service.Answer{
				Status: 200, Next: tc.first, Facts: service.Facts{Outcome: ledger.OutcomeSuccess}, Close: func() error { return errors.New("noted") },
			}, nil
		}
		got := w.ask(ask{target: "/fixed", as: "practice"})
		if got.status != tc.status || strings.Contains(got.body, "secret") || got.err != nil {
			t.Errorf("%s: got %v", name, got)
		}
		if e := w.take(); len(e) != 1 && tc.before == nil {
			t.Errorf("%s: the entries are %+v", name, e)
		}
		w.await(func() bool { w.mu.Lock(); defer w.mu.Unlock(); return strings.Contains(w.log.String(), "noted") })
	}
}

// A public document may be long, too, and reaches no record either.
func TestPublicStream(t *testing.T) {
	for _, records := range []uint32{0, 1} {
		w := open(t)
		n := 0
		w.serve = func(context.Context, *gate.Request) (*service.Answer, error) {
			return &service.Answer{Status: 200, Facts: service.Facts{Outcome: ledger.OutcomeSuccess}, Next: func(context.Context) (service.Piece, error) {
				if n++; n > 2 {
					return service.Piece{}, io.EOF
				}
				return service.Piece{Data: []byte("x"), Records: records}, nil
			}}, nil
		}
		got := w.ask(ask{target: "/public"})
		if want := map[uint32]int{0: 200, 1: 500}[records]; got.status != want || records == 0 && got.body != "xx" {
			t.Errorf("%d records: got %v", records, got)
		}
		if e := w.take(); len(e) != 0 {
			t.Errorf("the entries are %+v", e)
		}
	}
}

func TestTunnelFails(t *testing.T) {
	for name, tc := range map[string]struct {
		tunnel gate.Tunnel
		status int
	}{
		"error":   {func(context.Context, *gate.Request) (*gate.Passage, error) { return nil, errors.New("broken") }, 500},
		"nothing": {func(context.Context, *gate.Request) (*gate.Passage, error) { return nil, nil }, 500},
		"empty":   {func(context.Context, *gate.Request) (*gate.Passage, error) { return &gate.Passage{}, nil }, 500},
		"panic":   {func(context.Context, *gate.Request) (*gate.Passage, error) { panic("broken") }, 500},
		"slow":    {func(ctx context.Context, _ *gate.Request) (*gate.Passage, error) { <-ctx.Done(); return nil, ctx.Err() }, 504},
		"not upstream": {func(context.Context, *gate.Request) (*gate.Passage, error) {
			return nil, zeta.Upstream(zeta.ReasonUpstream, nil)
		}, 502},
	} {
		w := open(t, func(c *Config) {
			c.Limits.Service = 50 * time.Millisecond
			c.Routes[len(c.Routes)-1].Tunnel = tc.tunnel
		})
		if _, _, resp := upgrade(t, w, ""); resp.StatusCode != tc.status {
			t.Errorf("%s: got %v", name, resp)
		}
		if e := w.take(); len(e) != 1 || e[0].Outcome != ledger.OutcomeFailed {
			t.Errorf("%s: the entries are %+v", name, e)
		}
	}
}

func TestQuietTunnel(t *testing.T) {
	w := open(t, func(c *Config) { c.Limits.Quiet = time.Millisecond })
	c, r, _ := upgrade(t, w, "")
	_, _ = io.WriteString(c, "ab") // unless it is over already
	_, _ = io.ReadAll(r)
	w.await(func() bool { return w.srv.Stats().InFlight == 0 })
	if e := w.take(); len(e) != 2 || e[1].Outcome != ledger.OutcomeSuccess || detail(e[1], "cause") != "quiet" {
		t.Errorf("the entries are %+v", e)
	}
}

// What identification says goes to the caller as it is said; what it does not say is a fault of ours.
func TestIdentificationSays(t *testing.T) {
	for name, tc := range map[string]struct {
		err     error
		status  int
		error   string
		header  string
		value   string
		problem string
	}{
		"nonce":   {zeta.NeedNonce("n-1"), 401, "use_dpop_nonce", "Dpop-Nonce", "n-1", "unauthorized"},
		"level":   {zeta.NeedLevel("gold"), 401, "insufficient_user_authentication", "Www-Authenticate", `DPoP error="insufficient_user_authentication", algs="ES256", acr_values="gold"`, "unauthorized"},
		"no keys": {zeta.NoKeys(7*time.Second, nil), 503, "temporarily_unavailable", "Retry-After", "7", "no-room"},
		"fault":   {errors.New("secret"), 500, "server_error", "Zeta-Error-Origin", "pep", "internal"},
		"nothing": {nil, 500, "server_error", "Zeta-Error-Origin", "pep", "internal"},
		"foreign": {zeta.ForeignActor(), 403, "access_denied", "Zeta-Error-Origin", "pep", "forbidden"},
	} {
		w := open(t, func(c *Config) {
			c.Identify = func(context.Context, *http.Request, *Route) (*ident.Identity, error) { return nil, tc.err }
		})
		got := w.ask(ask{target: "/vsd/v1/bundle", as: "practice"})
		if got.status != tc.status || got.member("error") != tc.error || got.header.Get(tc.header) != tc.value || strings.Contains(got.body, "secret") {
			t.Errorf("%s: got %v %v", name, got, got.header)
		}
		got = w.ask(ask{target: "/fixed", as: "practice"})
		if got.status != tc.status || got.member("code") != tc.problem || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %v %v", name, got, got.header)
		}
	}
}

func TestRouteSaysWhatWrites(t *testing.T) {
	w := open(t, func(c *Config) {
		for i := range c.Routes {
			c.Routes[i].Write = func(r *gate.Request) bool { return r.Method == "POST" && r.Path != "_search" }
		}
	})
	w.move(desk, querschott.ReadOnly)
	for target, want := range map[string]int{"/_search": 200, "/other": 503} {
		if got := w.ask(ask{method: "POST", target: "/desk/" + string(one) + target, as: "practice"}); got.status != want {
			t.Errorf("%s: got %v, want %d", target, got, want)
		}
	}
}

func TestNetworks(t *testing.T) {
	for addr, want := range map[string]string{"192.0.2.7:1": "192.0.2.7/32", "[2001:db8::1]:1": "2001:db8::/64", "[::ffff:192.0.2.7]:1": "192.0.2.7/32", "pipe": "invalid Prefix"} {
		if got := network(peerOf(addr)).String(); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	if !within(netip.MustParseAddr("10.1.2.3"), prefixes("10.0.0.0/8")) || within(netip.Addr{}, prefixes("10.0.0.0/8")) {
		t.Error("a network does not know its addresses")
	}
}

func TestJitter(t *testing.T) {
	s := &Server{cfg: Config{Jitter: jitter}}
	seen := map[time.Duration]bool{}
	for range 100 {
		d := s.later(time.Minute)
		if d < time.Minute || d >= 2*time.Minute {
			t.Fatalf("a time of %v", d)
		}
		seen[d] = true
	}
	if len(seen) < 90 {
		t.Errorf("only %d different times of 100", len(seen))
	}
}

func TestIDsRise(t *testing.T) {
	now := time.Now()
	a, same, b := newID(now), newID(now), newID(now.Add(time.Millisecond))
	if a >= b || len(a) != 36 || a == same {
		t.Errorf("the ids are %s, %s and %s", a, same, b)
	}
}
