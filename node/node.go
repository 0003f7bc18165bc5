package node

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/pebble"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/door/follow"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/gate/mail"
	"github.com/querschott/querschott/gate/proxy"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ident/local"
	"github.com/querschott/querschott/ident/mtls"
	"github.com/querschott/querschott/ident/token"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/outbox"
	"github.com/querschott/querschott/scope"
	"github.com/querschott/querschott/seal"
	"github.com/querschott/querschott/seal/pruefziffer"
	"github.com/querschott/querschott/service/desk"
	"github.com/querschott/querschott/service/eau"
	"github.com/querschott/querschott/service/vsdm"
	"github.com/querschott/querschott/telemetry"
	"github.com/querschott/querschott/web/api"
	"github.com/querschott/querschott/web/console"
)

// Sizes of what all cells share.
const (
	cellCache = 64 << 20
	cellFiles = 2000
)

// Options are what a configuration file cannot hold.
type Options struct {
	Passphrase func() ([]byte, error) // asked once, if the keyring needs one
	Now        func() time.Time
	Log        *slog.Logger
	Version    string
	Demo       bool         // marks every page
	HTTP       net.Listener // in place of http.listen, nil: that address is bound
	DevIssuer  *DevIssuer   // nil: none

	patience time.Duration // of orders and playbooks with those who obey; 0: door.DefaultPatience, and what playbooks say
}

// Node is a platform that is open. Run makes it work.
type Node struct {
	cfg       *Config
	opt       Options
	log       *slog.Logger
	insurers  []Insurer
	operators []Operator
	roster    []Operator // the operators with the keys that the console signs with
	byAddress map[string]querschott.IK
	byIK      map[querschott.IK]querschott.IK // insurers by their own and further IKs
	started   time.Time

	keyring  *seal.Keyring
	years    *years
	machine  note.Signer // the platform's own key, and how it is verified
	vkey     string
	ledger   *ledger.Ledger
	scope    *scope.Scope
	shared   *pebble.Shared
	cells    map[querschott.IK]*pebble.Store
	outStore *pebble.Store
	outbox   *outbox.Outbox
	journal  *intake.Journal
	pump     *intake.Pump
	vaults   *vaults
	doors    *door.Book
	bookKeys *door.Keys                       // of those who may order doors here; nil at a gate
	gates    *gates                           // that follow this node; nil: none
	follower *follow.Follower                 // nil: this node keeps its own book
	signers  map[querschott.Actor]note.Signer // the keys that the console signs with
	accounts *ident.Accounts

	export     *telemetry.Export // nil: nothing is sent
	traffic    *telemetry.Traffic
	trafficSub *access.Subscription
	health     *api.Health
	api        *api.API

	accessFile *access.File // nil: access events are written to no file
	accessSub  *access.Subscription

	denied   *ident.Revocations
	logins   *ident.Console
	gate     *mail.Server
	vsdm     *vsdm.Service // nil: no insurer has it
	recent   recent
	desk     *desk.Service // nil: no insurer has it
	numbers  *pruefziffer.Keys
	issueLog *pebble.Store // of check numbers
	stream   *access.Stream
	http     *gatehttp.Server // nil: there is no HTTP entrance
	base     string           // its address as callers know it
	tokens   *token.Verifier  // nil: nobody issues tokens
	keySets  []*token.Issuer
	proxies  map[string]*proxy.Proxy // by route
	who      map[string][]string     // by route: how callers identify themselves
	machines *mtls.Machines          // nil: none
	staff    *local.Accounts         // nil: no route lets people in by them
	sessions *ident.Sessions
	page     *console.Console
	web      *http.Server
	alarms   *alarms      // early warning
	cases    *cases       // incidents
	contain  *containment // what is done about alarms
	reach    *reach       // whose data held credentials reached
	stages   *stages      // of doors that open by and by
	canary   *canaryTraffic
	public   *publisher // of the state of the doors
	sockets  sockets
	audit    atomic.Pointer[Audit]
	asked    sync.WaitGroup // answers on the control socket that are being made

	mu     sync.Mutex // guards failed
	failed []Trouble  // parts that have ended while the node goes on
}

// sockets are bound when the node opens, so that Run cannot fail for want of an address.
type sockets struct {
	starttls, implicit                   []net.Listener
	web, control, http, telemetry, gates net.Listener
}

// Open opens everything and binds the addresses. It accepts nothing before Run.
func Open(ctx context.Context, cfg *Config, opt Options) (n *Node, err error) {
	spread()
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	n = &Node{
		cfg: cfg, opt: opt, log: opt.Log, started: opt.Now(), reach: newReach(), canary: newCanaryTraffic(),
		cells: map[querschott.IK]*pebble.Store{}, signers: map[querschott.Actor]note.Signer{}, byAddress: map[string]querschott.IK{},
		byIK: map[querschott.IK]querschott.IK{}, proxies: map[string]*proxy.Proxy{}, who: map[string][]string{},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
			n = nil
		}
	}()
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"telemetry", n.openExport},
		{"lists", n.openLists},
		{"keyring", n.openKeyring},
		{"ledger", n.openLedger},
		{"scope index", n.openScope},
		{"deny list", n.openDenyList},
		{"cells", n.openCells},
		{"outbox", n.openOutbox},
		{"journal", n.openJournal},
		{"pump", n.openPump},
		{"doors", n.openDoors},
		{"address for gates", n.openGates},
		{"mail entrance", n.openGate},
		{"service of master data", n.openVSDM},
		{"service of the desk", n.openDesk},
		{"HTTP entrance", n.openHTTP},
		{"early warning", n.openAlarms},
		{"incidents", n.openCases},
		{"public status", n.openPublisher},
		{"stages of doors", n.openStages},
		{"containment", n.openContainment},
		{"console", n.openConsole},
		{"control socket", n.openControl},
	}
	for _, s := range steps {
		begin := time.Now()
		if err := s.do(ctx); err != nil {
			return n, fmt.Errorf("couldn't open the %s: %w", s.what, err)
		}
		n.log.Debug("opened", "part", s.what, "took", time.Since(begin).Round(time.Millisecond))
	}
	return n, nil
}

func (n *Node) path(name string) string { return filepath.Join(n.cfg.Data, name) }

func (n *Node) openLists(ctx context.Context) (err error) {
	if err := os.MkdirAll(n.cfg.Data, 0o700); err != nil {
		return err
	}
	if err := n.cfg.checkSocket(); err != nil {
		return err
	}
	if Running(ctx, n.cfg) { // it would be noticed later, but by then the keyring may have been written
		return fmt.Errorf("another node is running on %s", n.cfg.Data)
	}
	if n.insurers, err = LoadInsurers(n.cfg.Insurers); err != nil {
		return err
	}
	if len(n.insurers) == 0 {
		return fmt.Errorf("there is no insurer in %s: add one with 'querschott insurer add'", n.cfg.Insurers)
	}
	for _, in := range n.insurers {
		for _, ik := range append([]querschott.IK{in.IK}, in.Further...) {
			n.byIK[ik] = in.IK
		}
		for _, a := range in.Addresses {
			n.byAddress[strings.ToLower(a)] = in.IK
		}
	}
	n.operators, err = LoadOperators(n.cfg.Operators)
	return err
}

// unlock makes the way to the keyring's identity.
func (c *Config) unlock(ask func() ([]byte, error)) seal.Unlock {
	if c.Keyring.Unlock == "passphrase" {
		return seal.Passphrase(ask, c.Keyring.Key)
	}
	return seal.KeyFile(c.Keyring.Key)
}

func (n *Node) openKeyring(context.Context) (err error) {
	var f findings
	private(&f, n.cfg.Keyring.Key, unlocksAll)
	for _, found := range f {
		n.log.Warn("the keyring's key file is not private", "what", found.Text, "fix", found.Fix)
	}
	n.keyring, err = seal.OpenKeyring(disk.OS{}, n.path("keyring.age"), n.cfg.unlock(n.opt.Passphrase))
	if err != nil {
		return err
	}
	return n.keyring.AddCompartments(compartments(n.insurers)...)
}

func (n *Node) openLedger(context.Context) error {
	n.years = newYears(n.keyring, n.insurers)
	if err := n.years.provide(n.opt.Now()); err != nil {
		return err
	}
	seed, err := n.keyring.Secret("ledger/signing", ed25519.SeedSize)
	if err != nil {
		return err
	}
	n.ledger, err = ledger.Open(ledger.Config{
		FS: disk.OS{}, Dir: n.path("ledger"), Domain: n.cfg.Domain, Seed: seed, Now: n.opt.Now, Secret: n.years.secret,
	})
	if errors.Is(err, ledger.ErrLocked) {
		return fmt.Errorf("another node is running on %s: %w", n.cfg.Data, err)
	}
	return err
}

// openCells opens every insurer's store. One that fails is said, and only its insurer goes without. So does an insurer whose
// store is gone: whose doors have been moved had one, and an empty one in its place would hide the loss.
func (n *Node) openCells(context.Context) error {
	n.shared = pebble.NewShared(cellCache, cellFiles)
	moved := map[querschott.IK]bool{}
	for c := range n.ledger.LastDoors() {
		moved[c.Insurer] = true
	}
	var insurers []querschott.IK
	var dirs []string
	for _, in := range n.insurers {
		dir := n.path(filepath.Join("cells", string(in.IK)))
		if _, err := os.Stat(dir); moved[in.IK] && errors.Is(err, fs.ErrNotExist) {
			n.log.Error("ALARM: the cell of an insurer is gone; its mail is taken in and waits", "insurer", string(in.IK),
				"fix", "put "+dir+" back from a backup and start again; to begin with an empty one, make the directory")
			continue
		}
		insurers, dirs = append(insurers, in.IK), append(dirs, dir)
	}
	stores, errs := pebble.OpenAll(dirs, pebble.Options{Shared: n.shared, Logger: n.log})
	for i, ik := range insurers {
		if errs[i] != nil {
			n.log.Error("ALARM: the cell of an insurer cannot be opened; its mail is taken in and waits", "insurer", string(ik),
				"err", errs[i], "fix", "repair or restore "+dirs[i]+" and start again")
			continue
		}
		n.cells[ik] = stores[i]
	}
	return nil
}

func (n *Node) cell(ik querschott.IK) (cell.Store, error) {
	if s, ok := n.cells[ik]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("the cell of %s is not open", ik)
}

func (n *Node) openJournal(context.Context) (err error) {
	var copies []intake.Copy
	for _, dir := range n.cfg.Intake.Copies {
		copies = append(copies, intake.Copy{FS: disk.OS{}, Dir: dir})
	}
	n.journal, err = intake.Open(intake.Config{
		Copies: copies, Quarantine: intake.Copy{FS: disk.OS{}, Dir: n.path("quarantine")},
		Contexts: seal.NewContexts(n.keyring.Public, time.Now), Segment: int64(n.cfg.Intake.Segment),
		MaxBody: int(n.cfg.Intake.MaxMail), Now: n.opt.Now, Log: n.log,
	})
	return err
}

func (n *Node) openPump(context.Context) (err error) {
	if n.canary.key, err = n.keyring.Secret("canary/mail", 32); err != nil {
		return err
	}
	unlock := (&unlocker{read: n.keyring.Unlock}).Unlock
	n.vaults = newVaults(compartments(n.insurers), n.deskRooms(), unlock, n.cell)
	n.pump, err = intake.NewPump(intake.PumpConfig{
		Journal: n.journal, Cell: n.cell, Unlock: unlock, Record: n.recordDeliveries,
		Handlers: map[querschott.Service]intake.Handler{querschott.EAU: n.orCanary(eau.Take)}, Keep: n.orCanary(intake.Keep),
		Now: n.opt.Now, Log: n.log,
	}, compartments(n.insurers))
	return err
}

// openDoors reads the doors and opens those that were open, with one unlocking of the keyring.
func (n *Node) openDoors(ctx context.Context) error {
	var err error
	if n.machine, n.vkey, err = n.signer("machine." + n.cfg.Domain); err != nil {
		return err
	}
	var operators []door.Operator
	for _, op := range n.operators {
		s, v, err := n.signer("console." + string(op.Name) + "." + n.cfg.Domain)
		if err != nil {
			return err
		}
		n.signers[op.Name] = s
		keys := append([]string{v}, op.Keys...)
		operators = append(operators, door.Operator{Name: op.Name, Keys: keys})
		n.roster = append(n.roster, Operator{Name: op.Name, Keys: keys})
	}
	verifier, err := note.NewVerifier(n.vkey)
	if err != nil {
		return err
	}
	glass, err := n.cfg.glassKey()
	if err != nil {
		return fmt.Errorf("couldn't read the key for emergencies: %w", err)
	}
	if n.cfg.follows() {
		err = n.openFollower()
	} else {
		n.bookKeys, err = door.NewKeys(operators, verifier, glass)
	}
	if err != nil {
		return err
	}
	n.stages = &stages{trouble: n.pump.Trouble, canary: n.tryDoor, leaving: func() bool { return false }, counts: map[querschott.Compartment]*stageCount{}}
	n.doors, err = door.Open(door.Config{ //nolint:contextcheck // what it records must be recorded whatever becomes of the caller
		FS: disk.OS{}, Dir: n.path("doors"), Compartments: compartments(n.insurers), Operators: operators, BreakGlass: glass,
		Machine: n.machine, MachineKey: verifier, Record: n.recordOrder, RecordStep: n.recordStep,
		Judge: n.stages.judge, Last: n.lastOrders(), Publisher: n.cfg.Doors.Follow.Address, Patience: n.opt.patience,
		Now: n.opt.Now, Log: n.log,
	})
	if err != nil {
		return err
	}
	n.doors.Enforce("the alarm of emergencies", n.sayGlass)
	n.takeGlass(ctx) // before anything is delivered
	n.doors.Enforce("the pump", n.obeyPump)
	n.doors.Enforce("the vaults", n.vaults.Obey)
	open, reads := map[querschott.Compartment]uint64{}, map[querschott.Compartment]uint64{}
	for _, c := range n.doors.Compartments() {
		o, _ := n.doors.Current(c)
		n.stages.begin(o)
		switch {
		case c.Service.ByMail() && o.To.Delivers():
			n.pump.Pace(c, n.doors.Share(c))
			open[c] = o.Epoch
		}
		if o.To.ServesReads() {
			reads[c] = o.Epoch // those without a room are left out
		}
	}
	if err := n.vaults.OpenAll(reads); err != nil {
		n.log.Error("ALARM: services cannot answer, though their doors are open; it is tried again", "err", err)
	}
	if len(open) == 0 {
		return nil
	}
	return n.pump.OpenAll(open)
}

// lastOrders is what the ledger remembers of the doors at the start.
func (n *Node) lastOrders() func(querschott.Compartment) (door.Mark, bool) {
	marks := n.ledger.LastDoors()
	states := map[ledger.Action]querschott.DoorState{}
	for state, action := range doorActions {
		states[action] = state
	}
	return func(c querschott.Compartment) (door.Mark, bool) {
		m, ok := marks[c]
		return door.Mark{Epoch: m.Epoch, To: states[m.Action], Stages: planOf(m.Stages), Share: int(m.Stages.Share)}, ok
	}
}

// signer makes a note signer whose key is in the keyring.
func (n *Node) signer(name string) (note.Signer, string, error) {
	seed, err := n.keyring.Secret("door/"+name, ed25519.SeedSize)
	if err != nil {
		return nil, "", err
	}
	return SignerFromSeed(name, seed)
}

func (n *Node) openOutbox(context.Context) error {
	key, err := n.keyring.Secret("outbox", 32)
	if err != nil {
		return err
	}
	if n.outStore, err = pebble.Open(n.path("outbox"), pebble.Options{Shared: n.shared, Logger: n.log}); err != nil {
		return err
	}
	opt, err := n.outboxOptions()
	if err != nil {
		return err
	}
	n.outbox, err = outbox.Open(n.outStore, seal.NewBox(key), opt)
	return err
}

func (n *Node) openGate(ctx context.Context) (err error) {
	if n.accounts, err = ident.OpenAccounts(disk.OS{}, n.cfg.Mail.Accounts, n.opt.Now); err != nil {
		return err
	}
	if n.cfg.Mail.StartTLS == "" && n.cfg.Mail.TLS == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(n.cfg.Mail.Certificate, n.cfg.Mail.Key)
	if err != nil {
		return fmt.Errorf("couldn't load the certificate of the mail entrance: %w", err)
	}
	n.canary.mail = cert.Leaf
	n.gate, err = mail.New(mail.Config{
		Hostname: n.cfg.Mail.Hostname, TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		StatusPage: n.cfg.Mail.StatusPage, Authenticate: n.authenticate, Valid: n.validSender,
		Directory: n.directory, Place: n.place, Door: n.mailDoor, Append: n.journal.Append, Record: n.recordArrival, Notify: n.notify,
		Log: n.log, Now: n.opt.Now,
		Limits: mail.Limits{MaxMail: int64(n.cfg.Intake.MaxMail), Connections: n.cfg.Mail.MaxConnections},
	})
	if err != nil {
		return err
	}
	n.warnOfFiles()
	if n.sockets.starttls, err = listen(ctx, n.cfg.Mail.StartTLS); err != nil {
		return err
	}
	n.sockets.implicit, err = listen(ctx, n.cfg.Mail.TLS)
	return err
}

// warnOfFiles says that connections could use up the files that journal, ledger and cells need. (Go has raised the limit to
// the hard one at the start.)
func (n *Node) warnOfFiles() {
	const others = 500 // journal, ledger, page, control socket
	need := uint64(n.cfg.Mail.MaxConnections + cellFiles + others)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < need {
		n.log.Warn("too few files may be open for all connections that are allowed", "limit", limit.Cur, "needed", need,
			"fix", "raise the limit (LimitNOFILE of systemd, ulimit -n), or lower mail.max_connections")
	}
}

func listen(ctx context.Context, address string) ([]net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

// directory says whose an address is.
func (n *Node) directory(_ context.Context, address string) (querschott.IK, error) {
	if ik, ok := n.byAddress[address]; ok {
		return ik, nil
	}
	if ik, ok := n.canary.recipient(address); ok {
		return ik, nil
	}
	return "", querschott.Refuse(querschott.CodeUnknownHere, "no insurer of this platform has this address")
}

// place gives mail for a service that its insurer does not have to the compartment for what no service takes.
func (n *Node) place(c querschott.Compartment) querschott.Compartment {
	if _, known := n.doors.Current(c); !known {
		c.Service = querschott.Mail
	}
	return c
}

// mailDoor says what mail may pass. A compartment that this node does not know is on hold and takes mail.
func (n *Node) mailDoor(c querschott.Compartment) mail.Door {
	o, _ := n.current(c)
	return mail.Door{State: o.To, Incident: o.Incident}
}
