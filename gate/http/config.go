package http

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ledger"
)

// Config is what the entrance needs. The functions are called by many requests at the same time, with a context that ends
// when the request's patience does.
type Config struct {
	Routes     []Route
	TLS        *tls.Config // TLS 1.3 unless its MinVersion says 1.2
	StatusPage string      // URL that a refusal by a door names; the compartment is added to it as "#<IK>-<service>"
	Version    string      // sent as ZETA-API-Version on routes of that form; "" for none

	// Identify says who calls. The request is as the route may see it: RemoteAddr is the caller's, ZETA-* headers are there
	// only if Guard believes the connection. An error is a refusal: one with Code or a [Refuser]; any other is a fault of
	// ours. An identity beside the error is of a known caller who may not pass, and is recorded with the refusal.
	Identify func(context.Context, *http.Request, *Route) (*ident.Identity, error)
	// Valid says whether an identity is still in force (ident.Revocations.Check). It is asked once the compartment is known,
	// before each piece of a long answer, and every second for tunnels. Nil: always.
	Valid func(*ident.Identity) error
	// Guard reports whether a connection is a ZETA Guard's, whose ZETA-* headers are believed. Nil: none is.
	Guard func(*tls.ConnectionState) bool
	// Owner says which insurer of this platform an IK belongs to, as an insurer may have several. Nil: each to itself.
	Owner func(ik string) (querschott.IK, bool)
	// Door returns the order in force (door.Book.Current); false for a compartment that this platform does not have.
	Door func(querschott.Compartment) (door.Order, bool)
	// Share returns to how many per cent a door is open whose order has stages (door.Book.Share), and ShareKey decides who is
	// among them; gates with the same key let in the same callers. Nil: 100, and a random key.
	Share    func(querschott.Compartment) int
	ShareKey []byte
	// Record writes entries to the ledger; nil means durable.
	Record func(context.Context, ...ledger.Entry) error
	// Pseudonym names a person in access events: keyed, in hexadecimal.
	Pseudonym func(querschott.Compartment, querschott.KVNR) string
	Stream    *access.Stream
	// Traced reports whether a request is traced, by its id: then its event has a course. A trusted hop in front decides for what
	// it sends. Nil: none is.
	Traced func(request string) bool

	Trusted []netip.Prefix    // load balancers in front: their X-Forwarded-For is believed
	Log     *slog.Logger      // default: none
	Now     func() time.Time  // default time.Now; for what is judged and recorded, not for network timeouts
	Jitter  func(int64) int64 // a random number below n, n > 0; default from math/rand/v2
	Limits  Limits
}

// Rate allows a burst, refilled so many times a second.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Reach bounds how many different persons one credential may get to.
type Reach struct {
	Minute, Quarter, Day int // within any minute, any quarter of an hour, any 24 hours
}

// Limits bound what callers can take up. Zero means the default.
type Limits struct {
	Connections int   // in all; default 4,000. The one that idles for longest makes way for a new one
	PerNetwork  int   // connections per network (IPv4 address, IPv6 /64); default 400
	Streams     int   // concurrent requests on one HTTP/2 connection; default 100
	Header      int   // bytes of a request's header; default 32 KiB
	Body        int64 // bytes of a request's body, unless the route says otherwise; default 1 MiB

	Network    Rate                      // requests of one network before anybody is identified; default 500 a second, burst 2,000
	Credential Rate                      // requests of one credential; default 50 a second, burst 200
	Rates      map[querschott.Role]Rate  // for some roles, instead of Credential
	Reach      Reach                     // default 300 a minute, 1,500 a quarter of an hour, 10,000 a day
	Reaches    map[querschott.Role]Reach // for some roles, instead of Reach; the defaults are those of [DefaultReaches]
	Keys       int                       // networks and credentials whose rates are remembered; default 200,000 each
	Persons    int                       // persons remembered for Reach, over all credentials; default 2,000,000

	Concurrent int           // requests under way in one compartment; default 128
	Waiting    int           // requests that wait for it; default twice Concurrent
	Patience   time.Duration // how long they wait; default 2 seconds
	Tunnels    int           // open tunnels in one compartment; default 2,000

	HeaderTime time.Duration // for the header of a request, and the TLS handshake; default 10 seconds
	BodyStart  time.Duration // for a body before BodyRate counts; default 10 seconds
	BodyRate   int           // bytes a second that a sender must reach after that; default 1,000
	WriteTime  time.Duration // for a part of an answer to be taken; default 30 seconds
	Idle       time.Duration // for a connection without a request; default 2 minutes
	Identify   time.Duration // default 10 seconds
	Service    time.Duration // for an answer, or each piece of a long one, unless the route says otherwise; default 30 seconds
	Record     time.Duration // for the ledger; default 10 seconds
	Tunnel     time.Duration // for a tunnel in all; default 12 hours
	Quiet      time.Duration // for a tunnel on which nothing passes; default 5 minutes
	Grace      time.Duration // for requests under way when the node stops; default 10 seconds
}

// DefaultReaches returns the limits of roles that differ from the rest: an insurer's employee works by hand, an insured
// person has one's own data and that of a few whom one represents, a partner's machine works for many.
func DefaultReaches() map[querschott.Role]Reach {
	return map[querschott.Role]Reach{
		querschott.RoleInsured: {Minute: 10, Quarter: 10, Day: 20},
		querschott.RoleStaff:   {Minute: 20, Quarter: 100, Day: 600},
		querschott.RolePartner: {Minute: 3000, Quarter: 30_000, Day: 500_000},
	}
}

const (
	recheck     = time.Second // for what a tunnel is asked again
	maxReceived = 256 << 10   // bytes of a body that HTTP/2 takes before somebody reads it
)

func (c Config) withDefaults() (Config, error) {
	if c.Identify == nil || c.Door == nil || c.Record == nil || c.Pseudonym == nil || c.Stream == nil {
		return c, errors.New("couldn't set up the HTTP entrance: a function is missing in its configuration")
	}
	if c.TLS == nil {
		return c, errors.New("couldn't set up the HTTP entrance: it has no TLS configuration")
	}
	var err error
	if c.TLS, err = modern(c.TLS); err != nil {
		return c, err
	}
	if u, err := url.Parse(c.StatusPage); err != nil || u.Host == "" || u.Fragment != "" {
		return c, errors.New("couldn't set up the HTTP entrance: the status page has no URL")
	}
	if c.Valid == nil {
		c.Valid = func(*ident.Identity) error { return nil }
	}
	if c.Guard == nil {
		c.Guard = func(*tls.ConnectionState) bool { return false }
	}
	if c.Owner == nil {
		c.Owner = func(ik string) (querschott.IK, bool) { return querschott.IK(ik), ik != "" }
	}
	if c.Share == nil {
		c.Share = func(querschott.Compartment) int { return 100 }
	}
	if len(c.ShareKey) == 0 {
		c.ShareKey = []byte(rand.Text())
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Jitter == nil {
		c.Jitter = jitter
	}
	c.Limits = c.Limits.withDefaults()
	return c, nil
}

// modern returns a copy of a configuration that speaks TLS 1.3, and 1.2 only if it says so: then with ephemeral keys and
// authenticated encryption only. SHA-1 and MD5 are in none of it.
func modern(t *tls.Config) (*tls.Config, error) {
	t = t.Clone()
	switch t.MinVersion {
	case 0, tls.VersionTLS13:
		t.MinVersion = tls.VersionTLS13
	case tls.VersionTLS12:
		t.CipherSuites = []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		}
	default:
		return nil, fmt.Errorf("couldn't set up the HTTP entrance: %s is not spoken, TLS 1.2 and 1.3 are", tls.VersionName(t.MinVersion))
	}
	t.NextProtos = []string{"h2", "http/1.1"}
	t.DynamicRecordSizingDisabled = true // an answer is a few KiB: small records would be as many writes to the network
	return t, nil
}

func (l Limits) withDefaults() Limits {
	std(&l.Connections, 4000)
	std(&l.PerNetwork, 400)
	std(&l.Streams, 100)
	std(&l.Header, 32<<10)
	std(&l.Body, 1<<20)
	l.Network = l.Network.or(Rate{500, 2000})
	l.Credential = l.Credential.or(Rate{50, 200})
	l.Reach = l.Reach.or(Reach{300, 1500, 10_000})
	if l.Reaches == nil {
		l.Reaches = DefaultReaches()
	}
	std(&l.Keys, 200_000)
	std(&l.Persons, 2_000_000)
	std(&l.Concurrent, 128)
	std(&l.Waiting, 2*l.Concurrent)
	std(&l.Patience, 2*time.Second)
	std(&l.Tunnels, 2000)
	std(&l.HeaderTime, 10*time.Second)
	std(&l.BodyStart, 10*time.Second)
	std(&l.BodyRate, 1000)
	std(&l.WriteTime, 30*time.Second)
	std(&l.Idle, 2*time.Minute)
	std(&l.Identify, 10*time.Second)
	std(&l.Service, 30*time.Second)
	std(&l.Record, 10*time.Second)
	std(&l.Tunnel, 12*time.Hour)
	std(&l.Quiet, 5*time.Minute)
	std(&l.Grace, 10*time.Second)
	return l
}

func (r Rate) or(standard Rate) Rate {
	if r.PerSecond <= 0 || r.Burst <= 0 {
		return standard
	}
	return r
}

func (r Reach) or(standard Reach) Reach {
	std(&r.Minute, standard.Minute)
	std(&r.Quarter, standard.Quarter)
	std(&r.Day, standard.Day)
	return r
}

func std[T int | int64 | time.Duration](v *T, standard T) {
	if *v <= 0 {
		*v = standard
	}
}
