package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/intake"
)

// Config is what the entrance needs. The functions are called by many sessions at the same time, with a context that
// ends when the session's patience does.
type Config struct {
	Hostname   string      // how the server names itself
	TLS        *tls.Config // at least TLS 1.2 is asked for
	Postmaster string      // From of delivery status notifications; default postmaster@Hostname
	StatusPage string      // URL that a refusal by a door names
	RetryAfter string      // when a sender should come back to a closed door, in words; default "15 minutes"

	// Authenticate checks user name and password (ident.Accounts.Authenticate).
	Authenticate func(user, password string) (querschott.Credential, bool)
	// Valid reports whether a credential is still in force (ident.Accounts.Valid). It is asked at every MAIL.
	Valid func(querschott.Credential) bool
	// Directory returns whose the address is. An error with CodeUnknownHere says that the directory is healthy and does
	// not know the address; every other error says that it cannot tell. The address is in lower case.
	Directory func(ctx context.Context, address string) (querschott.IK, error)
	// Place says which compartment takes the mail for one that the header names, which the insurer may not have; default the
	// same.
	Place func(querschott.Compartment) querschott.Compartment
	// Door returns what may pass into a compartment; it is asked at RCPT and again at the end of the message.
	Door func(querschott.Compartment) Door
	// Append takes the message in (intake.Journal.Append). It may go on reading the body after its context has ended.
	Append func(context.Context, intake.Arrival) (intake.Receipt, error)
	// Record writes the ledger's entry; nil means durable.
	Record func(context.Context, Taken) error
	// Notify puts a notification into the outbox; nil means durable. The same ID twice is one mail.
	Notify func(context.Context, DSN) error

	Log *slog.Logger     // default: none
	Now func() time.Time // default time.Now; for what is recorded, not for network timeouts

	Limits Limits
}

// Limits bound what senders can take up. Zero means the default.
type Limits struct {
	MaxMail      int64 // bytes of one message; default 30 MiB
	BodyMemory   int64 // bytes of all messages being received; default 512 MiB, at least MaxMail
	Practice     int64 // of it for one practice account; default an eighth, at least MaxMail
	Relay        int64 // of it for one relay account; default a half, at least MaxMail
	Recipients   int   // per message; default 100 (RFC 5321 4.5.3.1.8)
	Connections  int   // in all; default 6,000. The oldest that has not logged in makes way for a new one
	PerIP        int   // connections per network address; default 1,000, since Fachdienste come from few
	PerPractice  int   // sessions per practice account; default 20
	PerRelay     int   // sessions per relay account; default 1,000
	Errors       int   // faulty commands per connection; default 20
	AuthFailures int   // per connection; default 3

	Login  time.Duration // from the connection to a successful AUTH; default 1 minute
	Idle   time.Duration // for one command line; default 5 minutes (RFC 5321 4.5.3.2.7)
	Block  time.Duration // for the next bytes of a message; default 3 minutes (RFC 5321 4.5.3.2.5)
	Body   time.Duration // for a whole message; default 30 minutes
	Write  time.Duration // for an answer to be taken; default 1 minute
	Lookup time.Duration // for the directory; default 10 seconds
	Accept time.Duration // for intake, ledger and outbox; default 1 minute
	Grace  time.Duration // for messages under way when the node stops; default 10 seconds
}

// Door is a door as mail sees it.
type Door struct {
	State    querschott.DoorState
	Incident string // reference that a refused sender is told; may be empty
}

// Taken is an accepted message as the ledger records it.
type Taken struct {
	Compartment querschott.Compartment
	Credential  querschott.Credential
	Sender      string // envelope sender, lower case; a relay's differs from the credential's actor
	MessageID   string // without angle brackets; may be empty
	Size        int    // bytes
	Received    time.Time
	Receipt     intake.Receipt
	Reference   string // names this transaction in the gate's log
}

// DSN is a delivery status notification on its way to the outbox. Its envelope sender is empty (RFC 3461 section 5.1).
type DSN struct {
	ID      string // the same for the same receipt
	To      string
	Body    []byte
	Created time.Time
}

func (c Config) withDefaults() (Config, error) {
	if c.Authenticate == nil || c.Valid == nil || c.Directory == nil || c.Door == nil || c.Append == nil || c.Record == nil || c.Notify == nil {
		return c, errors.New("couldn't set up the mail entrance: a function is missing in its configuration")
	}
	if c.TLS == nil {
		return c, errors.New("couldn't set up the mail entrance: it has no TLS configuration, and passwords pass over TLS only")
	}
	if c.Hostname == "" || !printable(c.Hostname) || strings.Contains(c.Hostname, " ") {
		return c, fmt.Errorf("couldn't set up the mail entrance: %q is no host name", c.Hostname)
	}
	if u, err := url.Parse(c.StatusPage); err != nil || u.Host == "" || !printable(c.StatusPage) {
		return c, errors.New("couldn't set up the mail entrance: the status page has no URL")
	}
	c.TLS = c.TLS.Clone()
	c.TLS.MinVersion = max(c.TLS.MinVersion, tls.VersionTLS12)
	if c.Postmaster == "" {
		c.Postmaster = "postmaster@" + c.Hostname
	}
	if c.RetryAfter == "" {
		c.RetryAfter = "15 minutes"
	}
	if c.Place == nil {
		c.Place = func(x querschott.Compartment) querschott.Compartment { return x }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Limits = c.Limits.withDefaults()
	return c, nil
}

func (l Limits) withDefaults() Limits {
	std(&l.MaxMail, 30<<20)
	std(&l.BodyMemory, max(512<<20, l.MaxMail))
	std(&l.Practice, max(l.BodyMemory/8, l.MaxMail))
	std(&l.Relay, max(l.BodyMemory/2, l.MaxMail))
	std(&l.Recipients, 100)
	std(&l.Connections, 6000)
	std(&l.PerIP, 1000)
	std(&l.PerPractice, 20)
	std(&l.PerRelay, 1000)
	std(&l.Errors, 20)
	std(&l.AuthFailures, 3)
	std(&l.Login, time.Minute)
	std(&l.Idle, 5*time.Minute)
	std(&l.Block, 3*time.Minute)
	std(&l.Body, 30*time.Minute)
	std(&l.Write, time.Minute)
	std(&l.Lookup, 10*time.Second)
	std(&l.Accept, time.Minute)
	std(&l.Grace, 10*time.Second)
	return l
}

func std[T int | int64 | time.Duration](v *T, standard T) {
	if *v <= 0 {
		*v = standard
	}
}

// printable reports whether s has printable ASCII only.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
