package http

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/internal/wait"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
)

var desk = querschott.Compartment{Insurer: one, Service: querschott.Desk}

var errPanic = errors.New("panic")

// feed is a service whose long answer the test feeds.
type feed struct {
	pieces chan service.Piece
	fail   chan error
	closed chan struct{}
}

func (f *feed) serve(context.Context, *gate.Request) (*service.Answer, error) {
	return &service.Answer{
		Status: 200, Facts: service.Facts{Action: ledger.ActionSearch, Data: ledger.DataAccount, Outcome: ledger.OutcomeSuccess},
		Next: func(ctx context.Context) (service.Piece, error) {
			select {
			case p, ok := <-f.pieces:
				if !ok {
					return service.Piece{}, io.EOF
				}
				return p, nil
			case err := <-f.fail:
				if errors.Is(err, errPanic) {
					panic("broken")
				}
				return service.Piece{}, err
			case <-ctx.Done():
				return service.Piece{}, ctx.Err()
			}
		},
		Close: func() error { close(f.closed); return nil },
	}, nil
}

func feeding(w *world) *feed {
	f := &feed{make(chan service.Piece), make(chan error), make(chan struct{})}
	w.serve = f.serve
	return f
}

func piece(n int) service.Piece {
	return service.Piece{Data: []byte(fmt.Sprintf("piece %d\n", n)), Records: 1, Persons: []querschott.KVNR{kvnr(n)}}
}

func begin(t *testing.T, w *world, two bool, as string) (*http.Response, *bufio.Reader) {
	t.Helper()
	resp, err := w.client(two).Do(ask{target: "/desk/" + string(one) + "/all", as: as}.request(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp, bufio.NewReader(resp.Body)
}

func expect(t *testing.T, r *bufio.Reader, n int) {
	t.Helper()
	if line, err := r.ReadString('\n'); err != nil || line != fmt.Sprintf("piece %d\n", n) {
		t.Fatalf("got %q, %v; want piece %d", line, err, n)
	}
}

func TestStream(t *testing.T) {
	for _, two := range []bool{false, true} {
		w := open(t)
		f := feeding(w)
		go func() { f.pieces <- piece(1) }()
		resp, r := begin(t, w, two, "practice")
		if resp.StatusCode != 200 {
			t.Fatalf("got %v", resp)
		}
		expect(t, r, 1)
		for i := 2; i <= 5; i++ {
			f.pieces <- piece(i)
			expect(t, r, i)
			if e := w.take(); e[len(e)-1].Persons[0] != kvnr(i) {
				t.Errorf("piece %d left, and the last entry is %+v", i, e[len(e)-1])
			}
		}
		close(f.pieces)
		if rest, err := io.ReadAll(r); len(rest) != 0 || err != nil {
			t.Errorf("the end is %q, %v", rest, err)
		}
		<-f.closed
		if events := w.heard(); len(events) != 5 || events[4].Bytes != 8 || events[4].Records != 1 {
			t.Errorf("the events are %+v", events)
		}
	}
}

// Every way in which a long answer is cut off: nobody takes it for a whole one, no piece after the cut leaves, and the
// ledger says that it was cut, and why.
func TestStreamIsCut(t *testing.T) {
	for name, tc := range map[string]struct {
		cut    func(*world, *feed)
		reason ledger.ReasonKind
		cause  string
	}{
		"door closes": {func(w *world, _ *feed) { w.move(desk, querschott.Closed) }, ledger.ReasonDoor, "door"},
		"door holds":  {func(w *world, _ *feed) { w.move(desk, querschott.Hold) }, ledger.ReasonDoor, "door"},
		"door closes, and nobody told us": {func(w *world, f *feed) {
			w.set(func() { o := w.doors[desk]; o.To = querschott.Closed; w.doors[desk] = o })
			f.pieces <- piece(2)
		}, ledger.ReasonDoor, "door"},
		"revoked": {func(w *world, f *feed) {
			w.set(func() { w.invalid["c-practice"] = true })
			f.pieces <- piece(2)
		}, ledger.ReasonNotAllowed, "revoked"},
		"too many persons": {func(_ *world, f *feed) {
			f.pieces <- service.Piece{Data: []byte("secret"), Records: 3, Persons: []querschott.KVNR{kvnr(2), kvnr(3), kvnr(4)}}
		}, ledger.ReasonOverCap, "reach"},
		"service fails":  {func(_ *world, f *feed) { f.fail <- errors.New("broken") }, ledger.ReasonOwnFailure, ""},
		"service panics": {func(_ *world, f *feed) { f.fail <- errPanic }, ledger.ReasonOwnFailure, "panic"},
		"ledger fails": {func(w *world, f *feed) {
			n := 0
			w.set(func() {
				w.before = func() error {
					if n++; n == 1 {
						return errors.New("full")
					}
					return nil
				}
			})
			f.pieces <- piece(2)
		}, ledger.ReasonOwnFailure, ""},
	} {
		for _, two := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", name, two), func(t *testing.T) {
				w := open(t, func(c *Config) { c.Limits.Reach = Reach{3, 3, 3} })
				f := feeding(w)
				go func() { f.pieces <- piece(1) }()
				_, r := begin(t, w, two, "practice")
				expect(t, r, 1)
				tc.cut(w, f)
				rest, err := io.ReadAll(r)
				if err == nil || len(rest) != 0 {
					t.Errorf("the end is %q, %v; want an error and nothing more", rest, err)
				}
				<-f.closed
				w.await(func() bool { return w.srv.Stats().InFlight == 0 })
				e := w.take()
				if len(e) != 2 || e[0].Outcome != ledger.OutcomeSuccess || e[1].Outcome != ledger.OutcomePartial || e[1].Reason != tc.reason ||
					e[1].Records != 0 || detail(e[1], "bytes") != "8" || tc.cause != "door" && detail(e[1], "cause") != tc.cause {
					t.Errorf("the entries are %+v", e)
				}
				if w.srv.Stats().Cut != 1 {
					t.Errorf("%d are counted as cut", w.srv.Stats().Cut)
				}
			})
		}
	}
}

// await waits for a state that another goroutine reaches.
func (w *world) await(ok func() bool) {
	w.t.Helper()
	for end := wait.End(w.t); !ok(); {
		if !end.IsZero() && time.Now().After(end) {
			w.t.Fatal("it never came to that")
		}
		<-time.After(time.Millisecond)
	}
}

// A request that is with its service when the door closes gets no answer of it.
func TestDoorClosesUnderARequest(t *testing.T) {
	for _, obedient := range []bool{true, false} { // whether the service heeds its context
		w := open(t)
		inside, finish := make(chan struct{}), make(chan struct{})
		w.serve = func(ctx context.Context, r *gate.Request) (*service.Answer, error) {
			close(inside)
			if obedient {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			<-finish
			return plain(ctx, r)
		}
		got := make(chan answer)
		go func() { got <- w.ask(ask{target: "/desk/" + string(one), as: "practice"}) }()
		<-inside
		w.move(desk, querschott.Closed) // returns although the service works on
		close(finish)
		if a := <-got; a.status != 503 || a.member("code") != "door-closed" || strings.Contains(a.body, "hello") {
			t.Errorf("obedient %v: got %v", obedient, a)
		}
		if e := w.take(); len(e) != 1 || e[0].Reason != ledger.ReasonDoor {
			t.Errorf("the entries are %+v", e)
		}
	}
}

// A write that has happened keeps its answer: whoever asked must know.
func TestWriteKeepsItsAnswer(t *testing.T) {
	w := open(t)
	inside := make(chan struct{})
	w.serve = func(ctx context.Context, r *gate.Request) (*service.Answer, error) {
		close(inside)
		<-ctx.Done() // too late
		return plain(ctx, r)
	}
	got := make(chan answer)
	go func() { got <- w.ask(ask{method: "POST", target: "/desk/" + string(one), as: "practice"}) }()
	<-inside
	w.move(desk, querschott.ReadOnly)
	if a := <-got; a.status != 200 {
		t.Errorf("got %v", a)
	}
	if e := w.take(); len(e) != 1 || e[0].Outcome != ledger.OutcomeSuccess {
		t.Errorf("the entries are %+v", e)
	}
}

// A request that waits for its turn when the door closes never reaches the service, whoever frees the place.
func TestDoorClosesBeforeTheTurn(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		w := open(t, func(c *Config) { c.Limits.Concurrent = 1 })
		inside, finish := make(chan struct{}, 2), make(chan struct{})
		w.serve = func(ctx context.Context, r *gate.Request) (*service.Answer, error) {
			inside <- struct{}{}
			select {
			case <-finish:
			case <-ctx.Done():
			}
			return plain(ctx, r)
		}
		first, second := make(chan answer), make(chan answer)
		go func() { first <- w.ask(ask{method: method, target: "/desk/" + string(one), as: "practice"}) }()
		<-inside
		go func() { second <- w.ask(ask{method: method, target: "/desk/" + string(one), as: "practice"}) }()
		w.await(func() bool { return w.srv.lane(desk).waiting.Load() == 1 })
		w.move(desk, querschott.Closed)
		close(finish)
		<-first
		if a := <-second; a.status != 503 || len(inside) != 0 {
			t.Errorf("%s: got %v, and %d more reached the service", method, a, len(inside))
		}
	}
}

// A write that is being applied when the door goes to hold is told to stop, though the route could take it in for later.
func TestHoldStopsApplying(t *testing.T) {
	w := open(t)
	inside := make(chan struct{})
	w.serve = func(ctx context.Context, _ *gate.Request) (*service.Answer, error) {
		close(inside)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	got := make(chan answer)
	go func() { got <- w.ask(ask{method: "POST", target: "/queue/" + string(one), as: "practice"}) }()
	<-inside
	w.move(desk, querschott.Hold)
	if a := <-got; a.status != 503 || a.member("code") != "door-held" {
		t.Errorf("got %v", a)
	}
}

// Obey returns only when what was on its way has ended, even if the receiver takes nothing.
func TestObeyWaitsForSlowReceivers(t *testing.T) {
	for _, two := range []bool{false, true} {
		w := open(t, func(c *Config) { c.Limits.WriteTime = time.Hour }) // nothing else cuts it
		f := feeding(w)
		go func() { f.pieces <- piece(1) }()
		_, r := begin(t, w, two, "practice")
		expect(t, r, 1)
		go func() {
			f.pieces <- service.Piece{Data: make([]byte, 64<<20)} // more than any buffer on the way
		}()
		w.await(func() bool { return len(w.take()) > 0 })
		w.move(desk, querschott.Closed)
		if n := w.srv.Stats().Cut; n != 1 {
			t.Errorf("%d answers are cut when Obey has returned", n)
		}
	}
}

// upgrade opens a tunnel.
func upgrade(t *testing.T, w *world, header string) (*tls.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	c, err := tls.Dial("tcp", w.addr, w.tls("http/1.1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(wait.End(t))
	_, err = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: gate.example\r\nAuthorization: Test practice\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"+header+"\r\n")
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, r, resp
}

func says(t *testing.T, c *tls.Conn, r *bufio.Reader, word, want string) {
	t.Helper()
	if _, err := io.WriteString(c, word); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(want))
	if _, err := io.ReadFull(r, b); err != nil || string(b) != want {
		t.Fatalf("got %q, %v; want %q", b, err, want)
	}
}

func TestTunnel(t *testing.T) {
	w := open(t)
	c, r, resp := upgrade(t, w, "")
	if resp.StatusCode != 101 || resp.Header.Get("Sec-Websocket-Accept") != "x" || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("X-Request-Id") == "theirs" {
		t.Fatalf("got %v", resp)
	}
	says(t, c, r, "ab", "abab")
	says(t, c, r, "c", "cc")
	if n := w.srv.Stats().Tunnels; n != 1 {
		t.Errorf("%d tunnels are open, want 1", n)
	}
	_ = c.Close()
	w.await(func() bool { return w.srv.Stats().InFlight == 0 })
	e := w.take()
	if len(e) != 2 || e[0].Action != ledger.ActionRead || e[1].Action != ledger.ActionClose || detail(e[1], "bytes") != "6" || detail(e[1], "bytes-in") != "3" {
		t.Errorf("the entries are %+v", e)
	}
}

// What a client sends right behind its request goes to the service.
func TestTunnelWithEarlyBytes(t *testing.T) {
	w := open(t)
	c := w.dial()
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: gate.example\r\nAuthorization: Test practice\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nxy")
	var got strings.Builder
	for r := bufio.NewReader(c); !strings.HasSuffix(got.String(), "\r\n\r\nxyxy"); {
		b, err := r.ReadByte()
		if err != nil {
			t.Fatalf("got %q, %v", got.String(), err)
		}
		got.WriteByte(b)
	}
	if !strings.HasPrefix(got.String(), "HTTP/1.1 101 ") {
		t.Errorf("got %q", got.String())
	}
}

func TestTunnelIsRefused(t *testing.T) {
	w := open(t)
	if _, _, resp := upgrade(t, w, "X-No: 1\r\n"); resp.StatusCode != 403 {
		t.Errorf("got %v", resp)
	}
	if _, _, resp := upgrade(t, w, "Content-Length: 1\r\n\r\nx"); resp.StatusCode != 400 {
		t.Errorf("with a body: got %v", resp)
	}
	if got := w.ask(ask{target: "/ws", as: "practice"}); got.status != 400 {
		t.Errorf("without an upgrade: got %v", got)
	}
	w.move(querschott.Compartment{Insurer: one, Service: querschott.EPA}, querschott.Closed)
	if _, _, resp := upgrade(t, w, ""); resp.StatusCode != 503 {
		t.Errorf("with the door closed: got %v", resp)
	}
	w.move(querschott.Compartment{Insurer: one, Service: querschott.EPA}, querschott.Open)
	w.set(func() { w.before = func() error { return errors.New("full") } })
	if _, _, resp := upgrade(t, w, ""); resp.StatusCode != 503 {
		t.Errorf("without a ledger: got %v", resp)
	}
}

func TestTunnelIsCut(t *testing.T) {
	for name, tc := range map[string]struct {
		cut   func(*world)
		cause string
	}{
		"door":       {func(w *world) { w.move(querschott.Compartment{Insurer: one, Service: querschott.EPA}, querschott.Hold) }, "door"},
		"credential": {func(w *world) { w.set(func() { w.invalid["c-practice"] = true }) }, "credential"},
		"expired":    {func(w *world) { w.clock.Store(int64(time.Hour)) }, "credential"},
		"stop":       {func(w *world) { w.stop() }, "stop"},
		"nobody told": {func(w *world) {
			w.set(func() {
				w.doors[querschott.Compartment{Insurer: one, Service: querschott.EPA}] = door.Order{To: querschott.Closed}
			})
		}, "door"},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.people["practice"].Expires = time.Now().Add(30 * time.Minute)
			c, r, _ := upgrade(t, w, "")
			says(t, c, r, "ab", "abab")
			tc.cut(w)
			if b, err := io.ReadAll(r); len(b) != 0 {
				t.Errorf("the end is %q, %v", b, err)
			}
			w.await(func() bool { return w.srv.Stats().InFlight == 0 })
			e := w.take()
			if len(e) != 2 || e[1].Outcome != ledger.OutcomePartial || detail(e[1], "cause") != tc.cause {
				t.Errorf("the entries are %+v", e)
			}
		})
	}
}

func TestTunnelsAreBounded(t *testing.T) {
	w := open(t, func(c *Config) { c.Limits.Tunnels, c.Limits.Concurrent = 1, 1 })
	c, r, _ := upgrade(t, w, "")
	says(t, c, r, "ab", "abab")
	if _, _, resp := upgrade(t, w, ""); resp.StatusCode != 503 {
		t.Errorf("a second tunnel: got %v", resp)
	}
	if got := w.ask(ask{target: "/fixed", as: "practice"}); got.status != 200 {
		t.Errorf("a request beside the tunnel: got %v", got)
	}
}

// A write that does not stop keeps Obey from saying that it has.
func TestObeyWaitsForWrites(t *testing.T) {
	w := open(t)
	inside, finish := make(chan struct{}), make(chan struct{})
	w.serve = func(ctx context.Context, r *gate.Request) (*service.Answer, error) {
		close(inside)
		<-finish
		return plain(ctx, r)
	}
	got := make(chan answer)
	go func() { got <- w.ask(ask{method: "POST", target: "/desk/" + string(one), as: "practice"}) }()
	<-inside
	w.set(func() { w.doors[desk] = door.Order{Compartment: desk, To: querschott.Closed} })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.srv.Obey(ctx, door.Order{Compartment: desk, To: querschott.Closed}); err == nil {
		t.Error("the gate says that nothing is under way")
	}
	close(finish)
	if a := <-got; a.status != 200 {
		t.Errorf("got %v", a)
	}
	if err := w.srv.Obey(t.Context(), door.Order{Compartment: desk, To: querschott.Closed}); err != nil {
		t.Errorf("the gate does not obey: %v", err)
	}
}
