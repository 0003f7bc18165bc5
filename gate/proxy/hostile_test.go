package proxy

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/wire/zeta"
)

// rawService answers every connection with the bytes that send writes.
func rawService(t *testing.T, send func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 64<<10)
				if _, err := conn.Read(buf); err != nil {
					return
				}
				send(conn)
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/fhir"
}

// forever writes until the other side is gone.
func forever(conn net.Conn, text string) {
	for {
		if _, err := io.WriteString(conn, text); err != nil {
			return
		}
	}
}

// silent waits until the other side is gone.
func silent(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

const okHeader = "HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\n"

func runHeader(t *TimeoutSettings) { t.Header = 300 * time.Millisecond }
func runIdle(t *TimeoutSettings)   { t.Idle = 300 * time.Millisecond }
func runWhole(t *TimeoutSettings)  { t.Answer = 600 * time.Millisecond }
func runStream(t *TimeoutSettings) { t.Stream = 900 * time.Millisecond }

// hostileServices are services that do harm, whether they mean to or not.
var hostileServices = []struct {
	name   string
	send   func(net.Conn)
	status int                    // of the refusal; 0: the answer begins, and is cut
	limit  func(*TimeoutSettings) // what runs out; nil: nothing, however busy the machine is
}{
	{"says nothing", silent, 504, runHeader},
	{"hangs up", func(net.Conn) {}, 502, nil},
	{"no HTTP", func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH A123456780\r\n\r\n") }, 502, nil},
	{"flood of headers", func(c net.Conn) {
		_, _ = io.WriteString(c, okHeader)
		forever(c, "X-A: "+strings.Repeat("b", 1000)+"\r\n")
	}, 502, nil},
	{"one endless header", func(c net.Conn) {
		_, _ = io.WriteString(c, okHeader+"X-A: ")
		forever(c, strings.Repeat("b", 1000))
	}, 502, nil},
	{"early hints without end", func(c net.Conn) { forever(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") }, 502, nil},
	{"slow header", func(c net.Conn) { _, _ = io.WriteString(c, okHeader); silent(c) }, 504, runHeader},
	{"slow body", func(c net.Conn) { _, _ = io.WriteString(c, okHeader+"Content-Length: 100\r\n\r\n{"); silent(c) }, 504, runIdle},
	{"drops of a body", func(c net.Conn) {
		_, _ = io.WriteString(c, okHeader+"\r\n")
		for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
			if _, err := io.WriteString(c, " "); err != nil {
				tick.Stop()
				return
			}
		}
	}, 504, runWhole},
	{"half a body", func(c net.Conn) { _, _ = io.WriteString(c, okHeader+"Content-Length: 100\r\n\r\n{}") }, 502, nil},
	{"two lengths", func(c net.Conn) {
		_, _ = io.WriteString(c, okHeader+"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ")
	}, 502, nil},
	{"broken chunks", func(c net.Conn) {
		_, _ = io.WriteString(c, okHeader+"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
	}, 502, nil},
	{"half a chunk", func(c net.Conn) {
		_, _ = io.WriteString(c, okHeader+"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
	}, 502, nil},
	{"unknown transfer coding", func(c net.Conn) {
		_, _ = io.WriteString(c, okHeader+"Transfer-Encoding: gzip\r\n\r\n{}")
	}, 502, nil},
	{"status 000", func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n") }, 502, nil},
	{"status 999", func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 999 Much\r\nContent-Length: 0\r\n\r\n") }, 502, nil},
	{"switches unasked", func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		silent(c)
	}, 502, nil},
	{"endless body", func(c net.Conn) {
		_, _ = io.WriteString(c, okHeader+"\r\n{\"resourceType\":\"Bundle\",\"a\":\"")
		forever(c, strings.Repeat("a", 1000))
	}, 0, nil},
	{"long body that breaks off", func(c net.Conn) {
		_, _ = io.WriteString(c, okHeader+"Content-Length: 100000\r\n\r\n"+strings.Repeat(" ", 50_000))
	}, 0, nil},
	{"long body that falls silent", func(c net.Conn) {
		_, _ = io.WriteString(c, okHeader+"Content-Length: 100000\r\n\r\n"+strings.Repeat(" ", 50_000))
		silent(c)
	}, 0, runIdle},
	{"long body in drops", func(c net.Conn) {
		_, _ = io.WriteString(c, okHeader+"\r\n"+strings.Repeat(" ", 50_000))
		for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
			if _, err := io.WriteString(c, " "); err != nil {
				tick.Stop()
				return
			}
		}
	}, 0, runStream},
}

func TestHostileServices(t *testing.T) {
	for _, tc := range hostileServices {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorldAt(t, rawService(t, tc.send), func(s *Settings) {
				s.Timeouts = TimeoutSettings{time.Hour, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour}
				if tc.limit != nil {
					tc.limit(&s.Timeouts)
				}
				s.Limits.Buffer, s.Limits.Answer, s.Limits.Header = 4<<10, 1<<20, 8<<10
			})
			var z *zeta.Error
			a, err := w.proxy.Backend(t.Context(), request("GET", "/fhir/Patient/A123456780", ""))
			for tc.status == 0 && errors.As(err, &z) && z.Status == http.StatusGatewayTimeout { // a busy machine did not begin in time
				a, err = w.proxy.Backend(t.Context(), request("GET", "/fhir/Patient/A123456780", ""))
			}
			if tc.status == 0 {
				if err != nil {
					t.Fatalf("it did not begin: %v", err)
				}
				if got, err := drain(t, a); err == nil || len(got.body) == 0 || len(got.body) > 2<<20 {
					t.Errorf("it ended after %d bytes with %v", len(got.body), err)
				}
				if w.proxy.Stats().Cut != 1 {
					t.Error("it is not counted")
				}
				return
			}
			if !errors.As(err, &z) || z.Status != tc.status {
				t.Errorf("got %v, want status %d", err, tc.status)
			} else if strings.Contains(err.Error(), "A123456780") {
				t.Errorf("the error names a person: %v", err)
			}
			if w.proxy.Stats().Failed != 1 {
				t.Error("it is not counted")
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	w := newWorldAt(t, "http://"+l.Addr().String()+"/fhir", nil)
	var z *zeta.Error
	if _, err := w.ask(request("GET", "/fhir/Patient/1", "")); !errors.As(err, &z) || z.Status != http.StatusBadGateway {
		t.Errorf("got %v", err)
	}
}

func compressed(t *testing.T, how, text string) []byte {
	var b bytes.Buffer
	var w io.WriteCloser
	switch how {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	default:
		var err error
		if w, err = flate.NewWriter(&b, 9); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCompressedAnswers(t *testing.T) {
	patient := `{"resourceType":"Patient","id":"A123456780"}`
	bomb := `{"resourceType":"Patient","a":"` + strings.Repeat(" ", 3<<20)
	for _, tc := range []struct {
		name, encoding string
		body           []byte
		mode           string
		ok             bool
	}{
		{"gzip", "gzip", compressed(t, "gzip", patient), "pass", true},
		{"deflate", "deflate", compressed(t, "zlib", patient), "pass", true},
		{"deflate without its wrapping", "deflate", compressed(t, "flate", patient), "pass", true},
		{"half of it", "gzip", compressed(t, "gzip", patient)[:20], "pass", false},
		{"not what it says", "gzip", []byte(patient), "pass", false},
		{"bomb", "gzip", compressed(t, "gzip", bomb), "pass", false},
		{"bomb of deflate", "deflate", compressed(t, "zlib", bomb), "pass", false},
		{"twice", "gzip, gzip", compressed(t, "gzip", patient), "block", false},
		{"unknown", "br", []byte(patient), "block", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var asked atomic.Value
			w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Store(r.Header.Get("Accept-Encoding"))
				w.Header().Set("Content-Encoding", tc.encoding)
				w.Header().Set("ETag", `"a"`)
				w.Header().Set("Content-Type", "application/fhir+json")
				_, _ = w.Write(tc.body)
			}), func(s *Settings) { s.Unreadable = tc.mode })
			got, err := w.ask(request("GET", "/fhir/Patient/A123456780", "", "Accept-Encoding", "gzip"))
			if asked.Load() != "identity" {
				t.Errorf("asked for %q", asked.Load())
			}
			if !tc.ok {
				if err == nil {
					t.Errorf("%d bytes passed", len(got.body))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(got.body) != patient || got.records != 1 || got.Header.Get("Content-Encoding") != "" || got.Header.Get("ETag") != `W/"a"` {
				t.Errorf("%d records, %v, %q", got.records, got.Header, got.body)
			}
		})
	}
}

func TestUnknownEncodingPassesMarked(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "br")
		_, _ = io.WriteString(w, "whatever")
	}), nil)
	got := w.mustAsk(request("GET", "/fhir/Patient/1", ""))
	if got.records != 1 || detail(&got.Facts, "records") != "unknown" || got.Header.Get("Content-Encoding") != "br" || string(got.body) != "whatever" {
		t.Errorf("%d records, %v, %q", got.records, got.Facts.Detail, got.body)
	}
}

// A slow service of one insurer takes no connection from another's.
func TestCompartmentsHaveTheirOwnConnections(t *testing.T) {
	entered, release := make(chan struct{}, 2), make(chan struct{})
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Insurer") == string(one) {
			entered <- struct{}{}
			<-release
		}
	}), func(s *Settings) {
		s.Limits.Connections, s.Timeouts.Slot = 2, 10*time.Millisecond
	})
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := w.proxy.Backend(context.Background(), request("GET", "/fhir/metadata", ""))
			done <- err
		}()
		<-entered
	}
	if _, err := w.ask(request("GET", "/fhir/metadata", "")); querschott.CodeOf(err) != querschott.CodeNoRoom {
		t.Errorf("the third of one insurer: %v", err)
	}
	r := request("GET", "/fhir/metadata", "", "X-Insurer", string(two))
	r.Compartment.Insurer = two
	w.mustAsk(r)
	close(release)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestLanesAreBounded(t *testing.T) {
	w := newWorldAt(t, "http://127.0.0.1:1/fhir", nil)
	for i := range maxLanes + 100 {
		w.proxy.lanes.of(querschott.Compartment{Insurer: querschott.IK(fmt.Sprint(i)), Service: querschott.EPA})
	}
	if n := len(w.proxy.lanes.by); n > maxLanes+1 {
		t.Errorf("%d lanes", n)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	var conns atomic.Int32
	seen := map[string]bool{}
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !seen[r.RemoteAddr] {
			seen[r.RemoteAddr] = true
			conns.Add(1)
		}
		_, _ = io.WriteString(w, "{}")
	}), nil)
	for range 10 {
		w.mustAsk(request("GET", "/fhir/metadata", ""))
	}
	if conns.Load() > 5 { // one, but on a busy machine a connection may not be back yet
		t.Errorf("%d connections for 10 requests", conns.Load())
	}
}
