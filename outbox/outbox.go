package outbox

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/seal"
)

// Mail is one message for one recipient.
type Mail struct {
	ID      string    // names the mail for ever: a second Put of the same ID changes nothing
	From    string    // envelope sender; "" is the null reverse path (RFC 5321 section 4.5.5)
	To      string    // envelope recipient
	Body    []byte    // the message with its headers (RFC 5322), lines end with CRLF
	Created time.Time // when it was made; for the record only
}

// Options configure an outbox. The zero value puts everything into local mailboxes.
type Options struct {
	// Relay takes the mail that leaves; nil: all mail goes into local mailboxes.
	Relay *Relay
	// Local reports whether mail to the address goes into a local mailbox although there is a relay; nil: none does.
	// The address is in lower case.
	Local func(address string) bool
	// Paused lets the outbox begin as after Pause.
	Paused bool

	Workers   int           // connections to the relay at the same time; default 4
	Retention time.Duration // for how long the IDs of mail that is done are remembered; default 30 days
	MaxBody   int           // bytes of one body; default 30 MiB

	Now func() time.Time // default time.Now
	Log *slog.Logger     // default: none
}

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
}

// Status is what the outbox has to do.
type Status struct {
	Queued int       // mail on its way
	Failed int       // mail that was refused for good and waits for a decision
	Oldest time.Time // when the oldest queued mail was put; zero if none is queued
	Next   time.Time // when something is tried next; zero if nothing is planned
	Paused bool
	Relay  string // why the relay is not being used for a while; "" if it is
	Sent   uint64 // taken by the relay since the start
	Local  uint64 // put into local mailboxes since the start
}

// Outbox holds mail that leaves. All methods may be called at the same time from many goroutines.
type Outbox struct{ store cell.Store }

var errNotYet = errors.New("the outbox cannot do this")

// Open makes an outbox of a store, which stays the caller's to close.
func Open(store cell.Store, box *seal.Box, o Options) (*Outbox, error) {
	return &Outbox{store: store}, nil
}

// Put takes a mail in.
func (o *Outbox) Put(ctx context.Context, m Mail) error { return o.PutAll(ctx, m) }

// PutAll takes mails in, all or none.
func (o *Outbox) PutAll(ctx context.Context, mails ...Mail) error { return errNotYet }

// Run delivers until the context ends.
func (o *Outbox) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Status reports what the outbox has to do.
func (o *Outbox) Status() Status { return Status{} }

// Pause stops mail from leaving.
func (o *Outbox) Pause() {}

// Resume lets mail leave again.
func (o *Outbox) Resume() {}

// Entry is one mail in a mailbox.
type Entry struct {
	ID   string
	Size int64
	At   time.Time
}

// List returns the mail in a mailbox, oldest first.
func (o *Outbox) List(address string) ([]Entry, error) { return nil, errNotYet }

// Get returns the body of a mail in a mailbox.
func (o *Outbox) Get(address, id string) ([]byte, error) { return nil, errNotYet }

// Delete removes a mail from a mailbox.
func (o *Outbox) Delete(address, id string) error { return errNotYet }

// Count returns how many mails are in a mailbox.
func (o *Outbox) Count(address string) (int, error) { return 0, errNotYet }

// Refused is a mail that was refused for good.
type Refused struct {
	ID, From, To string
	Created      time.Time
	At           time.Time
	Attempts     int
	Code         int
	Reason       string
}

// Failed returns the mail that was refused for good, oldest first.
func (o *Outbox) Failed() ([]Refused, error) { return nil, errNotYet }

// Retry queues a refused mail again.
func (o *Outbox) Retry(ctx context.Context, id string) error { return errNotYet }
