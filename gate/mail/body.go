package mail

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// drainFactor times MaxMail is read and thrown away of a message that is too large, so that its sender hears why.
const drainFactor = 16

// body collects one message within the server's memory for bodies. After fault it only counts.
type body struct {
	srv      *Server
	owner    querschott.Credential
	octets   []byte
	reserved int64
	total    int64
	fault    reply // why it cannot be taken; the zero reply if it can
}

func (b *body) write(p []byte) {
	b.total += int64(len(p))
	switch {
	case b.fault.code != 0:
	case b.total > b.srv.cfg.Limits.MaxMail:
		b.fail(replyTooLarge)
	case b.total > int64(cap(b.octets)) && !b.grow():
		b.fail(replyMemory)
	default:
		b.octets = append(b.octets, p...)
	}
}

// grow reserves memory as the message really comes, not as it was announced: a sender that announces much and sends
// nothing takes nothing from others.
func (b *body) grow() bool {
	want := min(max(2*int64(cap(b.octets)), b.total, 96<<10), b.srv.cfg.Limits.MaxMail)
	if !b.srv.reserve(b.owner, want-b.reserved) {
		return false
	}
	b.reserved = want
	larger := make([]byte, len(b.octets), want)
	copy(larger, b.octets)
	b.octets = larger
	return true
}

func (b *body) fail(r reply) {
	if b.fault.code != 0 {
		return // the first one counts
	}
	b.release()
	b.fault = r
}

// release gives the memory back. The octets themselves may still be read by an intake whose caller has stopped waiting.
func (b *body) release() {
	b.srv.unreserve(b.owner, b.reserved)
	b.octets, b.reserved = nil, 0
}

func (b *body) drained() bool { return b.total > drainFactor*b.srv.cfg.Limits.MaxMail }

// data answers DATA.
func (c *session) data(arg string) reply {
	switch {
	case arg != "":
		return replyArguments
	case c.tx == nil || len(c.tx.recipients) == 0 || c.tx.body != nil:
		return replyOrder
	}
	c.write(replyContinue)
	if c.flush() != nil {
		return reply{end: true}
	}
	b := &body{srv: c.srv, owner: *c.credential}
	c.tx.body = b // until it is whole, it counts as aborted
	if r := c.readDotted(b); r.code != 0 || r.end {
		return r
	}
	return c.complete()
}

// complete answers a message that has come whole, and forgets it.
func (c *session) complete() reply {
	tx, b := c.tx, c.tx.body
	defer b.release()
	c.tx = nil
	if b.fault.code != 0 {
		return b.fault
	}
	return c.take(tx, b.octets)
}

// readDotted reads up to CRLF "." CRLF, which is the only end of a message. It takes off the first dot of a line that
// begins with one after a CRLF (RFC 5321 4.5.2). Whatever else goes wrong ends the connection: what is still to come
// of the message must never be read as commands. The zero reply means that the end was read.
func (c *session) readDotted(b *body) reply {
	patience := c.patience()
	fresh := true // at the start of a line, that is after CRLF
	cr := false   // the last octet was CR
	for {
		if err := patience.renew(); err != nil {
			return reply{end: true}
		}
		piece, err := c.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return broken(err)
		}
		if fresh && piece[0] == '.' {
			switch {
			case string(piece) == ".\r\n":
				return reply{}
			case lineEnd(piece[1]):
				b.fail(replySmuggled) // CRLF "." LF or CRLF "." CR: see loneDot
			}
			piece = piece[1:]
		}
		b.write(piece)
		if b.drained() {
			return replyMuchTooLarge
		}
		n := len(piece)
		fresh = n >= 2 && piece[n-2] == '\r' && piece[n-1] == '\n' || n == 1 && cr && piece[0] == '\n'
		cr = n > 0 && piece[n-1] == '\r'
	}
}

// bdat answers BDAT (RFC 3030). The octets of a chunk follow the command whatever is wrong with it, so they are always
// read, or the connection ends.
func (c *session) bdat(arg string) reply {
	size, last, ok := parseChunk(arg)
	if !ok {
		return ending(replyArguments) // nobody knows how much follows
	}
	var b *body
	if c.tx != nil && len(c.tx.recipients) > 0 {
		if c.tx.body == nil {
			c.tx.body = &body{srv: c.srv, owner: *c.credential}
		}
		b = c.tx.body
	}
	if size > drainFactor*c.srv.cfg.Limits.MaxMail {
		return replyMuchTooLarge
	}
	if r := c.readChunk(b, size); r.code != 0 || r.end {
		return r
	}
	switch {
	case b == nil:
		return replyOrder
	case last:
		return c.complete()
	case b.fault.code != 0:
		c.tx = nil // later chunks of it are out of order
		return b.fault
	}
	return replyDone
}

// readChunk reads size octets into b, or nowhere. The zero reply means that all of them came.
func (c *session) readChunk(b *body, size int64) reply {
	if c.flush() != nil { // answers to commands before it
		return reply{end: true}
	}
	patience := c.patience()
	for size > 0 {
		if err := patience.renew(); err != nil {
			return reply{end: true}
		}
		if _, err := c.in.Peek(1); err != nil {
			return broken(err)
		}
		piece, err := c.in.Peek(int(min(size, int64(c.in.Buffered()))))
		if err != nil {
			return broken(err)
		}
		if b != nil {
			b.write(piece)
			if b.drained() {
				return replyMuchTooLarge
			}
		}
		size -= int64(len(piece))
		_, _ = c.in.Discard(len(piece)) // they are in the buffer
	}
	return reply{}
}

func parseChunk(arg string) (size int64, last, ok bool) {
	number, word, more := strings.Cut(arg, " ")
	if !digits(number) || more && !strings.EqualFold(strings.TrimSpace(word), "LAST") {
		return 0, false, false
	}
	size, err := strconv.ParseInt(number, 10, 64)
	return size, more, err == nil
}

// broken answers a message that broke off: with 421 if the sender may still listen.
func broken(err error) reply {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return replyTimeout
	}
	return reply{end: true}
}

// patience is how long a message may take: each of its pieces, and the whole.
type patience struct {
	c     *session
	set   time.Time // when the deadline was moved last
	until time.Time
}

func (c *session) patience() *patience {
	return &patience{c: c, until: time.Now().Add(c.srv.cfg.Limits.Body)}
}

// renew moves the deadline for the next piece, if that is worth a call.
func (p *patience) renew() error {
	now := time.Now()
	block := p.c.srv.cfg.Limits.Block
	if now.Sub(p.set) < block/16 {
		return nil
	}
	p.set = now
	deadline := now.Add(block)
	if p.until.Before(deadline) {
		deadline = p.until
	}
	return p.c.nc.SetReadDeadline(deadline)
}

// loneDot reports whether a dot stands alone between line ends of which at least one is not CRLF: some servers would end
// the message there and read commands from the rest (SMTP smuggling, CVE-2023-51764 and its kin). Nothing of that
// happens here, but such a message is meant to deceive whoever reads it next.
func loneDot(octets []byte) bool {
	for i := 0; ; i++ {
		n := bytes.IndexByte(octets[i:], '.')
		if n < 0 {
			return false
		}
		i += n
		if i+1 >= len(octets) || !lineEnd(octets[i+1]) || i > 0 && !lineEnd(octets[i-1]) {
			continue
		}
		before := i == 0 || bytes.HasSuffix(octets[:i], []byte("\r\n"))
		after := bytes.HasPrefix(octets[i+1:], []byte("\r\n"))
		if !before || !after {
			return true
		}
	}
}

func lineEnd(c byte) bool { return c == '\r' || c == '\n' }
