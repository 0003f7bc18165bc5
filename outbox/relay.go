package outbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// The relay's patience and ours (RFC 5321 section 4.5.3.2).
const (
	connectTime  = time.Minute      // from the call to the end of AUTH
	commandTime  = 5 * time.Minute  // for the answer to a command
	blockTime    = 3 * time.Minute  // for a block of the body to be taken
	finalTime    = 10 * time.Minute // for the answer to the end of the body
	quitTime     = 5 * time.Second
	idleTime     = 10 * time.Second // how long a connection is kept for more mail
	mailsPerCall = 100              // relays like to see a new connection now and then
	blockSize    = 64 << 10
	maxReply     = 200 // characters of an answer that are kept
)

// RelayTLS says how the connection to the relay is protected.
type RelayTLS string

// The ways to protect the connection.
const (
	RelayStartTLS    RelayTLS = "starttls" // RFC 3207; a relay that does not offer it gets nothing
	RelayImplicitTLS RelayTLS = "tls"      // RFC 8314
	RelayPlain       RelayTLS = "none"     // only to a relay on this host
)

// Relay is the mail server that takes mail which leaves.
type Relay struct {
	Address  string      // host:port
	TLS      RelayTLS    // default RelayStartTLS
	Config   *tls.Config // nil: the system's trusted roots; the server's name defaults to the host in Address
	User     string      // for AUTH PLAIN; "": no AUTH
	Password string
	Hello    string // the name in EHLO; default "localhost"

	// dial replaces the network in tests.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (r Relay) withDefaults() (Relay, error) {
	host, _, err := net.SplitHostPort(r.Address)
	if err != nil {
		return r, fmt.Errorf("the relay's address is not host:port: %w", err)
	}
	switch r.TLS {
	case "":
		r.TLS = RelayStartTLS
	case RelayStartTLS, RelayImplicitTLS:
	case RelayPlain:
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return r, fmt.Errorf("the relay %s is not on this host, so the way to it needs TLS", r.Address)
		}
	default:
		return r, fmt.Errorf("unknown protection %q of the relay: use starttls, tls or none", string(r.TLS))
	}
	if r.Config = r.Config.Clone(); r.Config == nil {
		r.Config = &tls.Config{}
	}
	r.Config.MinVersion = max(r.Config.MinVersion, tls.VersionTLS12)
	if r.Config.ServerName == "" {
		r.Config.ServerName = host
	}
	if r.Hello == "" {
		r.Hello = "localhost"
	}
	if r.dial == nil {
		r.dial = (&net.Dialer{}).DialContext
	}
	return r, nil
}

// call is one connection to the relay, ready for mail. It ends when the context of its making does.
type call struct {
	raw    net.Conn
	client *smtp.Client
	mails  int
	dirty  bool // a transaction was left unfinished
	stop   func() bool
}

func (r *Relay) call(ctx context.Context) (*call, error) {
	limited, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	raw, err := r.dial(limited, "tcp", r.Address)
	if err != nil {
		return nil, err
	}
	c := &call{raw: raw}
	stop := context.AfterFunc(limited, func() { _ = raw.Close() })
	err = r.greet(limited, c)
	if !stop() && err == nil {
		err = limited.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	c.stop = context.AfterFunc(ctx, func() { _ = raw.Close() })
	c.client.CommandTimeout, c.client.SubmissionTimeout = commandTime, finalTime
	return c, nil
}

func (r *Relay) greet(ctx context.Context, c *call) (err error) {
	switch r.TLS {
	case RelayStartTLS:
		if c.client, err = smtp.NewClientStartTLS(c.raw, r.Config); err != nil {
			return err
		}
	case RelayImplicitTLS:
		conn := tls.Client(c.raw, r.Config)
		if err := conn.HandshakeContext(ctx); err != nil {
			return err
		}
		c.client = smtp.NewClient(conn)
	case RelayPlain:
		c.client = smtp.NewClient(c.raw)
	}
	if err := c.client.Hello(r.Hello); err != nil {
		return err
	}
	if r.User == "" {
		return nil
	}
	return c.client.Auth(sasl.NewPlainClient("", r.User, r.Password))
}

// hangUp ends the connection, politely if there is time for it.
func (c *call) hangUp(polite bool) {
	if polite {
		c.client.CommandTimeout = quitTime
		_ = c.client.Quit() // whatever it says, the connection is closed next
	}
	c.stop()
	_ = c.raw.Close()
}

// stage is how far a transaction came.
type stage int

const (
	stageConnect stage = iota
	stageMail
	stageRecipient
	stageBody
)

// deliver sends a mail. On an error it says at which stage.
func (c *call) deliver(m Mail) (stage, error) {
	if c.dirty {
		if err := c.client.Reset(); err != nil {
			return stageMail, err
		}
	}
	c.dirty = true
	if err := c.client.Mail(m.From, &smtp.MailOptions{Size: int64(len(m.Body))}); err != nil {
		return stageMail, err
	}
	if err := c.client.Rcpt(m.To, nil); err != nil {
		return stageRecipient, err
	}
	w, err := c.client.Data()
	if err != nil {
		return stageBody, err
	}
	for rest := m.Body; len(rest) > 0; {
		block := rest[:min(len(rest), blockSize)]
		rest = rest[len(block):]
		if err := c.raw.SetWriteDeadline(time.Now().Add(blockTime)); err != nil {
			return stageBody, err
		}
		if _, err := w.Write(block); err != nil {
			return stageBody, err
		}
	}
	if _, err := w.CloseWithResponse(); err != nil {
		return stageBody, err
	}
	c.dirty = false
	return stageBody, nil
}

// result is what becomes of a mail.
type result int

const (
	untouched result = iota // the relay was not asked about it
	sent
	later
	refused
)

// verdict is the relay's answer to a mail.
type verdict struct {
	result  result
	code    uint16 // of the SMTP reply; 0 if there was none
	reason  string
	relay   bool // it speaks against the relay
	domain  bool // it speaks against the recipient's domain
	hangUp  bool // the connection is of no use any more
	relayOK bool // the relay is at work
}

// judge reads an error of the relay.
func judge(at stage, err error) verdict {
	if err == nil {
		return verdict{result: sent, relayOK: true}
	}
	reply, ok := errors.AsType[*smtp.SMTPError](err)
	if !ok {
		// Cut off or silent. Whether the mail has arrived is unknown, so it is sent again.
		v := verdict{result: later, reason: clean(err.Error()), hangUp: true, relay: at <= stageMail, domain: at > stageMail}
		if at == stageConnect {
			v.result = untouched
		}
		return v
	}
	v := verdict{code: uint16(reply.Code), reason: clean(reply.Error()), hangUp: reply.Code == 421}
	subject := reply.EnhancedCode[1] // RFC 3463: 1 address, 2 mailbox, 3 mail system
	switch {
	case at == stageConnect:
		v.result, v.relay, v.hangUp = untouched, true, true
	case ours(reply.Code):
		v.result, v.relay, v.hangUp = untouched, true, true
	case reply.Code/100 == 5:
		v.result, v.relayOK = refused, true
	case at == stageMail || subject == 3:
		v.result, v.relay = later, true
	default:
		v.result, v.domain, v.relayOK = later, subject != 1 && subject != 2, true
	}
	return v
}

// ours reports whether a refusal is about how we log in (RFC 4954 section 6, RFC 3207 section 4).
func ours(code int) bool { return code == 530 || code == 534 || code == 535 || code == 538 }

// clean makes a foreign text fit for logs and pages.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), maxReply)]
}
