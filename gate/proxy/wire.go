package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// idleTime is how long a connection to the service waits for the next request.
const idleTime = 90 * time.Second

// wires are the connections of one lane for requests without a body. Each is written to and read from by the goroutine of the
// request that it carries: net/http's transport has two more for each connection, and passes every request and answer between
// them, which costs more than the system calls. The formats are net/http's.
type wires struct {
	dial   func(context.Context) (*wire, error)
	header time.Duration // how long the service may take for the header of an answer
	most   int64         // bytes of such a header

	mu    sync.Mutex // guards the fields below
	idle  []*wire    // the longest unused first
	sweep *time.Timer
}

// wire is one connection. Whoever took it owns it.
type wire struct {
	conn  net.Conn
	raw   syscall.RawConn // of the socket
	r     *bufio.Reader
	w     *bufio.Writer
	left  int64 // bytes that may be read
	used  bool  // it has carried a request
	since time.Time
}

// dialer makes what connects to the service.
func dialer(s *Settings, t *tls.Config) (func(context.Context) (*wire, error), error) {
	u, err := url.Parse(s.Upstream)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	address := net.JoinHostPort(u.Hostname(), port)
	if t.ServerName == "" {
		t = t.Clone()
		t.ServerName = u.Hostname()
	}
	d := &net.Dialer{Timeout: s.Timeouts.Connect, KeepAlive: 30 * time.Second}
	return func(ctx context.Context) (*wire, error) {
		conn, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		l := &wire{conn: conn}
		if socket, ok := conn.(syscall.Conn); ok {
			if l.raw, err = socket.SyscallConn(); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
		}
		if u.Scheme == "https" {
			secure := tls.Client(conn, t)
			greeting, cancel := context.WithTimeout(ctx, s.Timeouts.Connect)
			defer cancel()
			if err := secure.HandshakeContext(greeting); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			l.conn = secure
		}
		l.r, l.w = bufio.NewReaderSize(l, 8<<10), bufio.NewWriter(l.conn)
		return l, nil
	}, nil
}

// carries reports whether a request goes over a wire: it changes nothing, so that it may be sent again when its connection
// turns out to be closed, and has nothing to send while its answer comes.
func carries(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Body == nil && r.Header.Get("Upgrade") == ""
}

// errGone says that the service closed a connection instead of answering.
var errGone = errors.New("the service closed the connection")

// ask sends a request and returns when the header of its answer is there. The end of the request's context ends both.
func (s *wires) ask(r *http.Request) (*http.Response, error) {
	for {
		l, err := s.take(r.Context())
		if err != nil {
			return nil, err
		}
		again := l.used
		resp, err := s.over(l, r)
		if err == nil || !again || !errors.Is(err, errGone) || r.Context().Err() != nil {
			return resp, err
		}
	}
}

// over sends a request over a wire.
func (s *wires) over(l *wire, r *http.Request) (*http.Response, error) {
	stop := context.AfterFunc(r.Context(), func() { _ = l.conn.Close() })
	l.used, l.left = true, s.most
	_ = l.conn.SetReadDeadline(time.Now().Add(s.header)) // fails on a closed connection only
	resp, err := l.exchange(r)
	if err != nil {
		stop()
		_ = l.conn.Close() // its end is the news
		return nil, err
	}
	_ = l.conn.SetReadDeadline(time.Time{})
	l.left = math.MaxInt64
	ended := resp.Body == http.NoBody
	resp.Body = &wireBody{ReadCloser: resp.Body, wires: s, wire: l, stop: stop, ended: ended, last: resp.Close}
	return resp, nil
}

// exchange writes a request and reads the header of its answer, without those that only announce it.
func (l *wire) exchange(r *http.Request) (*http.Response, error) {
	err := writeHead(l.w, r)
	if err == nil {
		err = l.w.Flush()
	}
	if err == nil {
		_, err = l.r.Peek(1)
	}
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			err = errors.Join(errGone, err)
		}
		return nil, err
	}
	for {
		resp, err := http.ReadResponse(l.r, r)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
}

// errHead says that a request cannot be written down as one.
var errHead = errors.New("a header of the request is none")

// writeHead writes a request that has no body (RFC 9112 3 and 5).
func writeHead(w *bufio.Writer, r *http.Request) error {
	target := r.URL.RequestURI()
	if !plainText(target) || strings.Contains(target, " ") || !plainText(r.Host) {
		return errHead
	}
	for _, part := range [...]string{r.Method, " ", target, " HTTP/1.1\r\nHost: ", r.Host, "\r\n"} {
		_, _ = w.WriteString(part) // an error stays until Flush
	}
	for name, values := range r.Header {
		if !isToken(name) {
			return errHead
		}
		for _, value := range values {
			if !plainText(value) {
				return errHead
			}
			_, _ = w.WriteString(name)
			_, _ = w.WriteString(": ")
			_, _ = w.WriteString(value)
			_, _ = w.WriteString("\r\n")
		}
	}
	_, err := w.WriteString("\r\n")
	return err
}

// plainText reports whether a value has no control characters but tabs (RFC 9110 5.5).
func plainText(s string) bool {
	for len(s) >= 8 && allText(uint64(s[0])|uint64(s[1])<<8|uint64(s[2])<<16|uint64(s[3])<<24|
		uint64(s[4])<<32|uint64(s[5])<<40|uint64(s[6])<<48|uint64(s[7])<<56) {
		s = s[8:]
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// allText looks at eight bytes at once, as [allPlain] does; a tab is left to who looks at each.
func allText(x uint64) bool {
	const each = 0x0101010101010101
	del := x ^ each*0x7f
	return ((x-each*' ')&^x|(del-each)&^del)&(each<<7) == 0
}

// isToken reports whether a name is a token (RFC 9110 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && !strings.ContainsRune("!#$%&'*+.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// Read reads as much as may be read.
func (l *wire) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLong
	}
	n, err := l.conn.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// quiet reports whether a wire is open and the service has said nothing that nobody asked for: that would be taken for the next
// answer.
func (l *wire) quiet() bool {
	if l.r.Buffered() > 0 || l.raw == nil {
		return false
	}
	waits := false
	err := l.raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		waits = errors.Is(err, unix.EAGAIN)
		return true
	})
	return err == nil && waits
}

// take returns the wire that was used last, or another one.
func (s *wires) take(ctx context.Context) (*wire, error) {
	for {
		s.mu.Lock()
		n := len(s.idle)
		if n == 0 {
			s.mu.Unlock()
			return s.dial(ctx)
		}
		l := s.idle[n-1]
		s.idle[n-1] = nil
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		if l.quiet() {
			return l, nil
		}
		_ = l.conn.Close() // the service has left it
	}
}

// put keeps a wire for the next request.
func (s *wires) put(l *wire) {
	l.since = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = append(s.idle, l)
	if s.sweep == nil {
		s.sweepLater()
	}
}

// drop closes the wires that have not been used since a time.
func (s *wires) drop(before time.Time) {
	s.mu.Lock()
	n := 0
	for n < len(s.idle) && !s.idle[n].since.After(before) {
		n++
	}
	old := slices.Clone(s.idle[:n])
	s.idle = slices.Delete(s.idle, 0, n)
	if s.sweep != nil {
		s.sweep.Stop()
		s.sweep = nil
	}
	if len(s.idle) > 0 {
		s.sweepLater()
	}
	s.mu.Unlock()
	for _, l := range old {
		_ = l.conn.Close() // nobody uses it
	}
}

// sweepLater closes in a while what is not used until then. The caller holds mu.
func (s *wires) sweepLater() {
	s.sweep = time.AfterFunc(idleTime, func() { s.drop(time.Now().Add(-idleTime)) })
}

// wireBody is the body of an answer. Its wire carries further requests if it was read to its end.
type wireBody struct {
	io.ReadCloser
	wires *wires
	wire  *wire
	stop  func() bool
	ended bool
	last  bool // the service closes the connection
}

func (b *wireBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || errors.Is(err, io.EOF)
	return n, err
}

// Close gives the wire back, or ends it: what is left of an answer is not waited for. It is called once.
func (b *wireBody) Close() error {
	if b.stop() && b.ended && !b.last {
		b.wires.put(b.wire)
		return nil
	}
	return b.wire.conn.Close()
}
