package console

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ident/local"
)

// Config is what a console needs. All fields are mandatory unless said otherwise.
type Config struct {
	Doors  *door.Book
	Access *ident.Console // login links, and the sessions of every way in

	Local    *local.Accounts // with a password and a second factor; nil: none
	Provider *Provider       // nil: none

	// Operator returns as which operator somebody acts who is logged in. An error: as none, or no longer, and the session
	// ends. It is asked at every login, with every request and every second for every stream, and must be quick.
	Operator func(ident.Session) (querschott.Actor, error)

	// Record makes a login durable, or the refusal of one. Who cannot be recorded is not let in.
	Record func(ctx context.Context, who querschott.Credential, admitted bool) error

	// Signer returns the key with which the console signs for an operator.
	Signer func(querschott.Actor) (note.Signer, error)

	// Snapshot says how things are. It is called about once a second and must be quick.
	Snapshot func() Snapshot

	Mode     Mode                 // marks every answer of a node that is not the real thing
	Insurers []Insurer            // rows
	Services []querschott.Service // columns, in this order
	Cases    *Cases               // nil: no incidents

	// Enforced says how many gates enforce the order in force of a door; nil: the pages do not tell.
	Enforced func(querschott.Compartment) Enforced

	// Origins are the addresses under which the console is reached, "https://console.example.org". Loopback addresses
	// always work. Every other Host is refused (DNS rebinding).
	Origins []string

	Location *time.Location // of the times shown; nil: UTC
	Now      func() time.Time
	Log      *slog.Logger
	Version  string // shown at the foot; may be empty
}

// Enforced is how many gates enforce an order.
type Enforced struct {
	Gates, Of int
	Since     time.Time // when the last of those began
	Missing   []string  // names of the others
}

// Insurer is one row of the matrix.
type Insurer struct {
	IK      querschott.IK
	Name    string
	Insured int // insured persons; 0: not known
}

// Snapshot is how the node is at one moment. Doors and proposals are not in it: the console asks the book.
type Snapshot struct {
	Compartments map[querschott.Compartment]Compartment // those with nothing to say may be missing
	Totals       Totals
	Journal      string      // why the journal cannot take mail in as it should; empty: it can
	RoomHours    float64     // until the journal is full at the present rate; negative: not known
	Warnings     []Warning   // alarms of the early warning, oldest first
	Held         []Held      // who is shut out
	Explained    []Explained // by compartment; those with the smallest share first
}

// Compartment is what the node knows about one compartment.
type Compartment struct {
	Waiting int       // messages accepted and not yet delivered
	Oldest  time.Time // arrival of the oldest of them; zero: not known
	Trouble string    // what fails there, one line, for operators; empty: nothing
}

// Totals count messages since the node's counters began.
type Totals struct {
	Accepted  uint64 // taken in and acknowledged
	Delivered uint64
	Waiting   uint64
	Refused   uint64 // refused for now: the sender keeps the message and tries again
	Rejected  uint64 // refused for good
	Lost      uint64 // acknowledged, and neither delivered nor waiting

	// Audited is when Lost was last compared with the receipts. Zero: never, and the page claims no number.
	Audited time.Time
}

// Mode marks a node that is not the real thing.
type Mode uint8

// ModeHeader names the mode of a node that is not the real thing, "drill" or "demo", on every answer, also those without a page.
const ModeHeader = "X-Querschott-Mode"

// The modes.
const (
	ModeReal  Mode = iota
	ModeDrill      // an exercise on the real platform
	ModeDemo       // invented insurers and mail
)

// String is the mode's name, "" of the real thing.
func (m Mode) String() string {
	switch m {
	case ModeDrill:
		return "drill"
	case ModeDemo:
		return "demo"
	case ModeReal:
	}
	return ""
}

// Console serves the operators' pages. All methods may be called at the same time.
type Console struct {
	cfg       Config
	locales   map[string]*locale
	templates *template.Template
	assets    map[string]asset
	hosts     map[string]bool // host[:port] in lower case -> reached by TLS
	handler   http.Handler
	hub       *hub
	insurers  map[querschott.IK]Insurer
}

// New checks the configuration and prepares the pages.
func New(cfg Config) (*Console, error) {
	if cfg.Doors == nil || cfg.Access == nil || cfg.Operator == nil || cfg.Record == nil || cfg.Signer == nil || cfg.Snapshot == nil ||
		cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("the console needs doors, access, operators, a record, a signer, a snapshot, a clock and a log")
	}
	if len(cfg.Insurers) == 0 || len(cfg.Services) == 0 {
		return nil, errors.New("the console needs insurers and services to show")
	}
	if cfg.Location == nil {
		cfg.Location = time.UTC
	}
	cfg.Insurers = slices.Clone(cfg.Insurers)
	c := &Console{cfg: cfg, hub: newHub(), insurers: map[querschott.IK]Insurer{}}
	for _, i := range cfg.Insurers {
		if _, twice := c.insurers[i.IK]; twice {
			return nil, fmt.Errorf("insurer %s is listed twice", i.IK)
		}
		c.insurers[i.IK] = i
	}
	var err error
	if c.hosts, err = hostsOf(cfg.Origins); err != nil {
		return nil, err
	}
	c.locales = map[string]*locale{}
	for tag, texts := range catalogue() {
		c.locales[tag] = &locale{Tag: tag, texts: texts, zone: cfg.Location, now: cfg.Now}
	}
	if c.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if c.templates, err = parseTemplates(c.assets); err != nil {
		return nil, err
	}
	c.handler = c.guard(c.mux())
	return c, nil
}

// ServeHTTP answers one request.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// Run feeds the live pages until the context ends, then ends all streams, so that a server's Shutdown need not wait for
// them. While it doesn't run, pages work and are not live.
func (c *Console) Run(ctx context.Context) error { return c.hub.run(ctx, c) }

// route is a pattern of [http.ServeMux] and who answers it.
type route struct {
	pattern string
	serve   http.HandlerFunc
}

func (c *Console) routes() []route {
	return []route{
		{"GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = w.Write([]byte("ok\n")) // whoever asked has gone
		}},
		{"GET /static/{hash}/{name}", c.static},
		{"GET /login", c.loginPage},
		{"POST /login", c.passwordLogin},
		{"GET /login/{token}", c.linkPage},
		{"POST /login/{token}", c.linkLogin},
		{"POST /login/provider", c.withProvider(c.providerStart)},
		{"GET " + ReturnPath, c.withProvider(c.providerReturn)},
		{"POST " + endPath, c.withProvider(c.providerLogout)},
		{"GET /invitation", c.invitation},
		{"POST /invitation", c.enrol},
		{"POST /language", c.language},
		{"POST /logout", c.operator(c.logout)},
		{"GET /{$}", c.operator(c.matrix)},
		{"GET /door/{ik}/{service}", c.operator(c.doorPage)},
		{"POST /door/{ik}/{service}", c.operator(c.moveDoor)},
		{"GET /doors", c.operator(c.bulkPage)},
		{"POST /doors", c.operator(c.moveDoors)},
		{"GET /proposals", c.operator(c.proposalsPage)},
		{"POST /proposals", c.operator(c.decideProposals)},
		{"GET /warnings", c.operator(c.warningsPage)},
		{"POST /release", c.operator(c.release)},
		{"GET /incidents", c.operator(c.incidentsPage)},
		{"POST /incidents", c.operator(c.changeIncident)},
		{"GET /incidents/{ref}", c.operator(c.incidentPage)},
		{"POST /incidents/{ref}", c.operator(c.changeIncident)},
		{"GET /events", c.events},
		{"/", func(w http.ResponseWriter, r *http.Request) {
			c.message(w, r, http.StatusNotFound, "error.notfound", "")
		}},
	}
}

func (c *Console) mux() http.Handler {
	mux := http.NewServeMux()
	for _, r := range c.routes() {
		mux.HandleFunc(r.pattern, r.serve)
	}
	return mux
}

// Limits of what a client may send and how long it may take.
const (
	maxHeader = 64 << 10 // bytes; the preview of a move carries its compartments in the address
	maxBody   = 256 << 10
)

// NewServer returns a server for the console with every timeout set. Streams of events set their own.
func NewServer(addr string, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Addr: addr, Handler: h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      40 * time.Second, // longer than moveTimeout
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // broken handshakes of strangers
	}
}
