package node

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 1.3 wants it; it protects nothing
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"
	"time"
)

// errand is what another process of a measurement does: one of its fields is set.
type errand struct {
	Backend *plainBackend
	Proxy   *plainProxy
	Load    *load
}

// errandVariable marks a process that was started for an errand.
const errandVariable = "QUERSCHOTT_ERRAND"

// Lines of a peer begin with these words, as the test binary writes lines of its own.
const (
	peerReady = "ready "
	peerDone  = "done "
)

// TestPeer is another process of a measurement: what stands beside the node shall not share its memory and its processor
// time. The errand is a line of JSON on the standard input; the end of the input ends the process.
func TestPeer(t *testing.T) {
	if os.Getenv(errandVariable) == "" {
		t.Skip("only measurements call it")
	}
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var e errand
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatal(err)
	}
	switch {
	case e.Backend != nil:
		err = answerAll(e.Backend.handler(), in, nil)
	case e.Proxy != nil:
		err = e.Proxy.run(in)
	case e.Load != nil:
		err = e.Load.run(in)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// say writes one line for the process that measures.
func say(word string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(os.Stdout, "%s%s\n", word, text)
	return err
}

// answerAll serves a handler until the input ends.
func answerAll(h http.Handler, in io.Reader, tc *tls.Config) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, TLSConfig: tc, ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() {
		if tc == nil {
			failed <- srv.Serve(l)
			return
		}
		failed <- srv.ServeTLS(l, "", "")
	}()
	if err := say(peerReady, l.Addr().String()); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	_ = srv.Close()
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// plainBackend is an existing service: a FHIR server that does nothing but answer, and an echo for WebSockets.
type plainBackend struct {
	Body []byte // of every answer; Person in it becomes the last segment of the path
	Slow time.Duration
}

// somebody stands in the backend's answers for the person who is asked for.
const somebody = "A123456780"

func (p *plainBackend) handler() http.Handler {
	before, after, _ := bytes.Cut(p.Body, []byte(somebody))
	after = bytes.ReplaceAll(after, []byte(somebody), nil)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch who := path.Base(r.URL.Path); {
		case r.Header.Get("Upgrade") == "websocket":
			echo(w, r)
		default:
			if strings.HasPrefix(r.URL.Path, slowPath) {
				wait := time.NewTimer(p.Slow)
				defer wait.Stop()
				select {
				case <-wait.C:
				case <-r.Context().Done():
				}
			}
			body := make([]byte, 0, len(before)+len(who)+len(after))
			body = append(append(append(body, before...), who...), after...)
			w.Header().Set("Content-Type", "application/fhir+json")
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			_, _ = w.Write(body) // the caller has gone
		}
	})
}

// echo switches to WebSocket and sends back what comes.
func echo(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	if rw.Flush() == nil {
		_, _ = io.Copy(conn, rw) // until the caller leaves
	}
}

// plainProxy is net/http/httputil's reverse proxy behind TLS and nothing else.
type plainProxy struct {
	Upstream, Certificate, Key string
}

func (p *plainProxy) run(in io.Reader) error {
	to, err := url.Parse(p.Upstream)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(p.Certificate, p.Key)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
	return answerAll(proxy, in, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13})
}

// peer is another process, as the one that measures sees it.
type peer struct {
	tb    testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	noise bytes.Buffer // what it said besides
}

// startPeer starts a process and returns when it is ready.
func startPeer(tb testing.TB, e errand, ready any) *peer {
	tb.Helper()
	line, err := json.Marshal(e)
	if err != nil {
		tb.Fatal(err)
	}
	p := &peer{tb: tb, cmd: exec.Command(os.Args[0], "-test.run", "^TestPeer$", "-test.timeout", "20m")} //nolint:gosec // this test itself
	p.cmd.Env = append(os.Environ(), errandVariable+"=1")
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.end)
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		tb.Fatal(err)
	}
	p.hear(peerReady, ready)
	return p
}

// hear waits for a line of the peer.
func (p *peer) hear(word string, v any) {
	p.tb.Helper()
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			p.tb.Fatalf("another process of the measurement ended early: %v\n%s", err, p.noise.String())
		}
		rest, ok := strings.CutPrefix(line, word)
		if !ok {
			p.noise.WriteString(line)
			continue
		}
		if err := json.Unmarshal([]byte(rest), v); err != nil {
			p.tb.Fatal(err)
		}
		return
	}
}

// end ends the process. It may be called more than once.
func (p *peer) end() {
	if p.in == nil {
		return
	}
	_ = p.in.Close()
	p.in = nil
	_, _ = io.Copy(&p.noise, p.out)
	if err := p.cmd.Wait(); err != nil {
		p.tb.Errorf("another process of the measurement: %v\n%s", err, p.noise.String())
	}
}

// play starts a load that is ready and returns what came of it.
func (p *peer) play() *outcome {
	p.tb.Helper()
	p.begin()
	return p.outcome()
}

func (p *peer) begin() {
	p.tb.Helper()
	if _, err := io.WriteString(p.in, "go\n"); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *peer) outcome() *outcome {
	p.tb.Helper()
	o := &outcome{}
	p.hear(peerDone, o)
	return o
}
