package mail

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/querschott/querschott"
)

// maxLine bounds a command or AUTH line, in bytes with its CRLF. RFC 5321 asks for 512, extensions for some more.
const maxLine = 4096

// session is one connection. Its goroutine owns everything but what mu guards.
type session struct {
	srv       *Server
	raw       net.Conn        // the connection below TLS; never replaced
	ctx       context.Context // of the connection; ends when the node can wait no longer
	peer      netip.Addr
	reference string // names the session in logs and in answers about internal errors
	loginBy   time.Time

	in  *bufio.Reader
	out *bufio.Writer

	secured    bool // TLS
	greeted    bool
	credential *querschott.Credential // nil before AUTH
	tx         *transaction           // nil outside of a message
	errors     int
	failures   int // of AUTH

	entered, ousted bool // logged in; ended to make way for others; both guarded by srv.mu

	mu      sync.Mutex
	nc      net.Conn
	waiting bool // for a command line: nothing is lost by ending now
	closing bool
}

func newSession(ctx context.Context, srv *Server, nc net.Conn, peer netip.Addr) *session {
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the program instead
	c := &session{srv: srv, raw: nc, ctx: ctx, peer: peer, reference: hex.EncodeToString(id[:]), loginBy: time.Now().Add(srv.cfg.Limits.Login)}
	c.attach(nc)
	return c
}

// attach makes nc the connection: at the start, and after the handshake of STARTTLS.
func (c *session) attach(nc net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc = nc
	c.in, c.out = bufio.NewReaderSize(nc, maxLine), bufio.NewWriterSize(nc, 1024)
}

// serve runs the session until its end. A panic ends this connection only.
func (c *session) serve(implicit bool) {
	defer func() { _ = c.nc.Close() }() // nothing more is wanted from it
	defer func() {
		if p := recover(); p != nil {
			c.srv.counters.panics.Add(1)
			c.srv.cfg.Log.Error("a mail session panicked", "reference", c.reference, "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			c.write(replyPanic)
			_ = c.flush() // the sender sees a lost connection instead
		}
		c.reset()
	}()
	if implicit && !c.handshake() {
		return
	}
	c.write(positive(220, "", c.srv.cfg.Hostname+" ESMTP"))
	for c.step() {
	}
	_ = c.flush() // the connection ends either way
}

// step reads one command and answers it. It returns false when the session is over.
func (c *session) step() bool {
	line, err := c.readLine()
	if err != nil {
		return c.badLine(err)
	}
	r := c.command(line)
	c.write(r)
	if r.code >= 500 && r.cause == CauseProtocol {
		if c.errors++; c.errors >= c.srv.cfg.Limits.Errors && !r.end {
			c.write(replyErrors)
			return false
		}
	}
	return !r.end
}

// badLine answers what came instead of a line, and ends the session: where the next line begins is a matter of opinion.
func (c *session) badLine(err error) bool {
	switch {
	case errors.Is(err, errStopping):
		c.write(replyStopping)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.write(replyTimeout)
	case errors.Is(err, bufio.ErrBufferFull):
		c.write(replyLongLine)
	case errors.Is(err, errLine):
		c.write(replyBadLine)
	}
	return false // nobody is there to be answered
}

var (
	errStopping = errors.New("the node is stopping")
	errLine     = errors.New("not a line of SMTP")
)

// readLine returns the next line without its CRLF. A line may take as long as the session may be idle.
func (c *session) readLine() (string, error) {
	if buffered, _ := c.in.Peek(c.in.Buffered()); bytes.IndexByte(buffered, '\n') < 0 {
		if err := c.flush(); err != nil { // answers to pipelined commands go out together (RFC 2920)
			return "", err
		}
	}
	if !c.wait() {
		return "", errStopping
	}
	line, err := c.in.ReadSlice('\n')
	if !c.resume() && err != nil {
		return "", errStopping
	}
	if err != nil {
		return "", err
	}
	text, crlf := strings.CutSuffix(string(line), "\r\n")
	if !crlf || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return "", errLine
	}
	return text, nil
}

// wait sets the deadline for a line. It returns false if the session is to end instead.
func (c *session) wait() bool {
	deadline := time.Now().Add(c.srv.cfg.Limits.Idle)
	if c.credential == nil && c.loginBy.Before(deadline) {
		deadline = c.loginBy
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	c.waiting = true
	return c.nc.SetReadDeadline(deadline) == nil
}

// resume returns false if the session is to end.
func (c *session) resume() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
	return !c.closing
}

// nudge ends the session before its next command. Called by the server.
func (c *session) nudge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = true
	if c.waiting {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only if the connection is over
	}
}

// sever ends the connection now, whatever it is doing. Called by the server.
func (c *session) sever() {
	_ = c.raw.Close() // the session sees it
}

// write answers; the answer goes out with the next flush. The zero reply is silence.
func (c *session) write(r reply) {
	if r.code == 0 {
		return
	}
	c.srv.counters.count(r)
	_, _ = c.out.WriteString(r.String()) // an error comes back from flush
}

func (c *session) flush() error {
	if c.out.Buffered() == 0 {
		return nil
	}
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.srv.cfg.Limits.Write)); err != nil {
		return err
	}
	return c.out.Flush()
}

func (r reply) String() string {
	if r.enhanced == "" {
		return fmt.Sprintf("%d %s\r\n", r.code, r.text)
	}
	return fmt.Sprintf("%d %s %s\r\n", r.code, r.enhanced, r.text)
}

// handshake turns the connection into a TLS one, within the time for the login.
func (c *session) handshake() bool {
	t := tls.Server(c.nc, c.srv.cfg.TLS)
	ctx, cancel := context.WithDeadline(c.ctx, c.loginBy)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		c.srv.counters.transient[CauseTLS].Add(1)
		return false
	}
	c.attach(t)
	c.secured = true
	return true
}

// command answers one line.
func (c *session) command(line string) reply {
	verb, arg, _ := strings.Cut(line, " ")
	arg = strings.Trim(arg, " \t")
	switch strings.ToUpper(verb) {
	case "EHLO":
		return c.hello(arg, true)
	case "HELO":
		return c.hello(arg, false)
	case "STARTTLS":
		return c.startTLS(arg)
	case "AUTH":
		return c.auth(arg)
	case "MAIL":
		return c.mail(arg)
	case "RCPT":
		return c.rcpt(arg)
	case "DATA":
		return c.data(arg)
	case "BDAT":
		return c.bdat(arg)
	case "RSET":
		c.reset()
		return replyDone
	case "NOOP":
		return replyDone
	case "QUIT":
		return replyBye
	case "VRFY":
		return positive(252, "2.5.0", "send the message and see")
	case "EXPN", "HELP", "TURN", "ETRN", "SEND", "SOML", "SAML":
		return replyNotHere
	}
	return replyNoCommand
}

// hello begins the session, or begins it again (RFC 5321 4.1.4). The name that the client gives is of no use here.
func (c *session) hello(name string, extended bool) reply {
	if name == "" {
		return replyArguments
	}
	c.reset()
	c.greeted = true
	if !extended {
		return positive(250, "", c.srv.cfg.Hostname)
	}
	l := c.srv.cfg.Limits
	lines := []string{
		c.srv.cfg.Hostname, "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "DSN",
		fmt.Sprintf("SIZE %d", l.MaxMail),
		fmt.Sprintf("LIMITS RCPTMAX=%d RCPTDOMAINMAX=1", l.Recipients),
	}
	switch {
	case !c.secured:
		lines = append(lines, "STARTTLS")
	case c.credential == nil:
		lines = append(lines, "AUTH PLAIN LOGIN")
	}
	last := len(lines) - 1
	for _, l := range lines[:last] {
		_, _ = fmt.Fprintf(c.out, "250-%s\r\n", l) // an error comes back from flush
	}
	return positive(250, "", lines[last])
}

func (c *session) startTLS(arg string) reply {
	switch {
	case arg != "":
		return replyArguments
	case c.secured:
		return replyOrder
	case c.in.Buffered() > 0:
		return replyInjected // CVE-2011-0411: commands from before the handshake must not run after it
	}
	c.write(positive(220, "", "ready for TLS"))
	if c.flush() != nil || !c.handshake() {
		return reply{end: true}
	}
	c.reset()
	c.greeted = false
	return reply{}
}

// reset forgets the message under way.
func (c *session) reset() {
	if c.tx == nil {
		return
	}
	if c.tx.body != nil {
		c.srv.counters.aborted.Add(1)
		c.tx.body.release()
	}
	c.tx = nil
}
