package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
)

// talk serves connections one after another: each request gets what say returns, and the connection ends when it returns false.
// Requests are told with the number of their connection.
func talk(t *testing.T, say func(conn, request int) (answer string, more bool)) (upstream string, requests <-chan string, ended <-chan int) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	heard, over := make(chan string, 100), make(chan int, 100)
	go func() {
		for n := 1; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(conn)
			for i := 1; ; i++ {
				r, err := http.ReadRequest(in)
				if err != nil {
					break
				}
				heard <- fmt.Sprintf("%d %s", n, r.Method)
				answer, more := say(n, i)
				if _, err := io.WriteString(conn, answer); err != nil || !more {
					break
				}
			}
			conn.Close()
			over <- n
		}
	}()
	return "http://" + l.Addr().String() + "/fhir", heard, over
}

const okAnswer = okHeader + "Content-Length: 2\r\n\r\n{}"

// idleWire returns the wire that waits for the next request of one.
func (w *world) idleWire() *wire {
	ws := &w.proxy.lanes.of(querschott.Compartment{Insurer: one, Service: querschott.EPA}).wires
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.idle) != 1 {
		w.t.Fatalf("%d wires wait", len(ws.idle))
	}
	return ws.idle[0]
}

// A service that closes a connection after an answer, whether it says so or not, costs no request.
func TestWiresThatEnd(t *testing.T) {
	for name, answer := range map[string]string{
		"said":   okHeader + "Connection: close\r\nContent-Length: 2\r\n\r\n{}",
		"unsaid": okAnswer,
	} {
		t.Run(name, func(t *testing.T) {
			upstream, requests, ended := talk(t, func(int, int) (string, bool) { return answer, false })
			w := newWorldAt(t, upstream, nil)
			for n := 1; n <= 3; n++ {
				if got := w.mustAsk(request("GET", "/fhir/Patient/1", "")); got.Status != http.StatusOK {
					t.Fatalf("got %d", got.Status)
				}
				if got, want := <-requests, fmt.Sprintf("%d GET", n); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				<-ended
			}
		})
	}
}

// A request whose connection ends before any answer is sent once more, on another one; a connection that was just made is the
// last.
func TestWireThatEndsUnderARequest(t *testing.T) {
	upstream, requests, _ := talk(t, func(conn, request int) (string, bool) {
		if conn == 1 && request == 2 || conn > 2 {
			return "", false
		}
		return okAnswer, conn == 1
	})
	w := newWorldAt(t, upstream, nil)
	for range 2 {
		w.mustAsk(request("GET", "/fhir/Patient/1", ""))
	}
	if _, err := w.ask(request("GET", "/fhir/Patient/1", "")); err == nil {
		t.Error("no answer counts as one")
	}
	var got []string
	for range 4 {
		got = append(got, <-requests)
	}
	if want := "[1 GET 1 GET 2 GET 3 GET]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// What a service says before it is asked is nobody's answer.
func TestAnswersThatNobodyAskedFor(t *testing.T) {
	upstream, requests, _ := talk(t, func(conn, _ int) (string, bool) {
		if conn == 1 {
			return okAnswer + okHeader + "Content-Length: 9\r\n\r\n{\"of\":\"a\"}", true
		}
		return okAnswer, true
	})
	w := newWorldAt(t, upstream, nil)
	for range 2 {
		if got := w.mustAsk(request("GET", "/fhir/Patient/1", "")); string(got.body) != "{}" {
			t.Errorf("got %q", got.body)
		}
		// What has been said must have arrived before the wire is looked at: both came in one piece.
	}
	<-requests
	if got := <-requests; got != "2 GET" {
		t.Errorf("the second request went over connection %s", got)
	}
}

// The same, when it comes while the wire waits.
func TestLateAnswersThatNobodyAskedFor(t *testing.T) {
	say := make(chan string)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				return
			}
			_, _ = io.WriteString(conn, okAnswer)
			if text, ok := <-say; ok {
				_, _ = io.WriteString(conn, text)
			}
		}
	}()
	w := newWorldAt(t, "http://"+l.Addr().String()+"/fhir", nil)
	w.mustAsk(request("GET", "/fhir/Patient/1", ""))
	waiting := w.idleWire()
	if !waiting.quiet() {
		t.Fatal("a wire that waits is not taken for one")
	}
	say <- strings.Replace(okAnswer, "{}", "[]", 1)
	for deadline := time.Now().Add(time.Minute); waiting.quiet(); {
		if time.Now().After(deadline) {
			t.Fatal("nothing arrived")
		}
	}
	go close(say)
	if got := w.mustAsk(request("GET", "/fhir/Patient/1", "")); string(got.body) != "{}" {
		t.Errorf("got %q", got.body)
	}
}

// Wires that nobody uses are closed.
func TestWiresAreDropped(t *testing.T) {
	upstream, _, ended := talk(t, func(int, int) (string, bool) { return okAnswer, true })
	w := newWorldAt(t, upstream, nil)
	w.mustAsk(request("HEAD", "/fhir/Patient/1", ""))
	w.idleWire()
	ws := &w.proxy.lanes.of(querschott.Compartment{Insurer: one, Service: querschott.EPA}).wires
	ws.drop(time.Now().Add(-time.Hour))
	w.idleWire()
	ws.drop(time.Now())
	if n := <-ended; n != 1 || len(ws.idle) != 0 {
		t.Errorf("connection %d ended, %d wires wait", n, len(ws.idle))
	}
}

func TestWhatAWireCarries(t *testing.T) {
	for name, c := range map[string]struct {
		r    *http.Request
		want bool
	}{
		"GET":     {&http.Request{Method: "GET"}, true},
		"HEAD":    {&http.Request{Method: "HEAD"}, true},
		"DELETE":  {&http.Request{Method: "DELETE"}, false},
		"body":    {&http.Request{Method: "GET", Body: io.NopCloser(strings.NewReader("x"))}, false},
		"upgrade": {&http.Request{Method: "GET", Header: http.Header{"Upgrade": {"websocket"}}}, false},
	} {
		if got := carries(c.r); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
