// Package demo is a whole platform on one machine with an invented world around it: insurers, practices that send over
// real SMTP, operators. Everything lies in one directory.
//
// What is real: the node, the same that 'querschott serve' runs; its SMTP and HTTP ports on loopback; certificates, keys,
// signatures, ledger. What is invented: the insurers, the practices, the insured persons and their sick notes, the authority
// that issued the certificates.
//
// What the practices were promised is compared with what cells and journal hold; no counter is trusted for that.
package demo

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/issuer"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/wire/kim"
)

// relay is the invented mail service that the invented practices send through.
const relay = "fachdienst@praxis.kim.telematik-test"

// Options say what the demonstration is like.
type Options struct {
	Dir     string  // of everything; made if missing
	Insured int     // synthetic insured persons, 0: drill.DefaultPersons
	Rate    float64 // mails per second; 0: nobody sends
	Seed    uint64
	Console string  // address of the operators' page, "": a free loopback port
	SMTP    string  // address of SMTP with STARTTLS, "": a free loopback port
	SMTPS   string  // address of SMTP with implicit TLS, "": a free loopback port
	Checks  float64 // card checks per second; 0: nobody checks
	HTTP    string  // address of the HTTP entrance, "": a free loopback port
	Issuer  string  // address of the issuers of tokens, "": a free loopback port
	Metrics string  // address of the metrics, "": a free loopback port
	Drill   bool    // everything says that it is an exercise
	Version string
	Log     *slog.Logger

	// Beside is run beside the rest, until the context ends; nil for nothing.
	Beside func(context.Context)
}

// File is what DIR/demo.json says: how to get in with other programs.
type File struct {
	Dir       string     `json:"dir"`
	Seed      uint64     `json:"seed"` // of the invented world
	Persons   int        `json:"persons"`
	Config    string     `json:"config"`
	Console   string     `json:"console"`
	SMTP      string     `json:"smtp"`   // STARTTLS
	SMTPS     string     `json:"smtps"`  // implicit TLS
	HTTP      string     `json:"http"`   // base URL of the HTTP entrance: card checks
	Issuer    string     `json:"issuer"` // base URL of the issuers of access and PoPP tokens; they ask nobody for anything
	Metrics   string     `json:"metrics"`
	CA        string     `json:"ca"`
	Practice  Account    `json:"practice"`
	Relay     Account    `json:"relay"`
	Operators []Login    `json:"operators"`
	Insurers  []Mailbox  `json:"insurers"`
	Suppliers []Supplier `json:"suppliers,omitempty"` // whose machines do registered jobs at the desk
}

// Account may send mail.
type Account struct {
	Address   string `json:"address"`
	Password  string `json:"password"`
	Cert      string `json:"cert,omitempty"` // with which the practice signs documents
	Key       string `json:"key,omitempty"`
	Telematik string `json:"telematik_id,omitempty"` // of the practice that checks cards
}

// Login is an operator's way in.
type Login struct {
	Name querschott.Actor `json:"name"`
	URL  string           `json:"url"` // works once
	Key  string           `json:"key"` // file, for the command line
}

// Mailbox is an invented insurer's address.
type Mailbox struct {
	IK      querschott.IK `json:"ik"`
	Name    string        `json:"name"`
	Address string        `json:"address"`
	Insured int           `json:"insured"`
	KVNR    string        `json:"kvnr"` // of one invented insured person, for card checks by hand
}

// Platform is a demonstration that is ready to run.
type Platform struct {
	opt      Options
	world    *drill.World
	ca       *drill.CA
	cfg      *node.Config
	node     *node.Node
	sender   *drill.Sender
	auditor  *drill.Auditor
	issuer   *issuer.Issuer
	issuing  net.Listener // where other programs get tokens
	entrance net.Listener // for HTTP
	registry *registry
	checker  *drill.Checker
	file     File

	last   drill.Verdict // of the last whole look; the goroutine of the lines owns it
	looked time.Time

	mu     sync.Mutex // guards the fields below
	begun  time.Time
	moves  int
	closes []time.Duration // how long closings took to be obeyed
}

// services are those of every insurer.
var services = []querschott.Service{querschott.EAU, querschott.Letter, querschott.VSDM, querschott.Desk}

var operators = []querschott.Actor{"anna", "ben"}

// Open makes the world, or finds it in the directory, opens the node and its doors, and writes demo.json.
func Open(ctx context.Context, opt Options) (p *Platform, err error) {
	if opt.Insured == 0 {
		opt.Insured = drill.DefaultPersons
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Dir, err = filepath.Abs(opt.Dir); err != nil {
		return nil, err
	}
	file := filepath.Join(opt.Dir, node.ConfigFile)
	if cfg, err := node.LoadConfig(file); err == nil && node.Running(ctx, cfg) {
		return nil, fmt.Errorf("a demonstration is running in %s already", opt.Dir)
	}
	p = &Platform{opt: opt, world: drill.NewWorld(opt.Seed, drill.DefaultInsurers, opt.Insured)}
	if err := p.found(); err != nil {
		return nil, fmt.Errorf("couldn't make the demonstration in %s: %w", opt.Dir, err)
	}
	if err := p.openIssuer(ctx); err != nil {
		return nil, errors.Join(err, p.closeListeners())
	}
	p.node, err = node.Open(ctx, p.cfg, node.Options{
		Log: opt.Log, Version: opt.Version, Demo: true, DevIssuer: p.believed(), HTTP: p.entrance,
	})
	if err != nil {
		return nil, errors.Join(err, p.closeListeners())
	}
	p.registry = newRegistry(p.world, p.node)
	steps := []func(context.Context) error{p.openDoors, p.logins, p.practices}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, p.node.Close(), p.closeListeners())
		}
	}
	return p, p.write()
}

// closeListeners lets go of what a demonstration has bound that does not begin.
func (p *Platform) closeListeners() error {
	var errs error
	for _, l := range []net.Listener{p.issuing, p.entrance} {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", address)
}

// found makes identities, configuration, keys and accounts.
func (p *Platform) found() (err error) {
	if err := os.MkdirAll(p.opt.Dir, 0o700); err != nil {
		return err
	}
	if p.ca, err = drill.NewCA(time.Now()); err != nil {
		return err
	}
	if err := p.ca.WriteCertificate(p.opt.Dir, "ca"); err != nil {
		return err
	}
	server, err := p.ca.Server("localhost", "127.0.0.1", "::1")
	if err != nil {
		return err
	}
	if err := server.Write(p.opt.Dir, "server"); err != nil {
		return err
	}
	file := filepath.Join(p.opt.Dir, node.ConfigFile)
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		if _, err := node.Init(p.opt.Dir, p.initOptions()); err != nil {
			return err
		}
	}
	if p.cfg, err = node.LoadConfig(file); err != nil {
		return err
	}
	for address, wish := range map[*string]string{
		&p.cfg.Console.Listen: p.opt.Console, &p.cfg.Mail.StartTLS: p.opt.SMTP, &p.cfg.Mail.TLS: p.opt.SMTPS,
		&p.cfg.HTTP.Listen: p.opt.HTTP, &p.cfg.Telemetry.Listen: p.opt.Metrics,
	} {
		if wish != "" {
			*address = wish // the directory may have been made with another one
		}
	}
	if p.cfg.HTTP.Listen == "" { // made before cards could be checked
		p.cfg.HTTP.Listen, p.cfg.HTTP.Certificate, p.cfg.HTTP.Key = orFree(""), p.cfg.Mail.Certificate, p.cfg.Mail.Key
	}
	if err := p.sameWorld(); err != nil {
		return err
	}
	p.cfg.Drill = p.cfg.Drill || p.opt.Drill
	if len(p.cfg.Status.Publish) == 0 {
		p.cfg.Status.Publish = []string{filepath.Join(p.opt.Dir, "status-page")}
	}
	p.file = File{Dir: p.opt.Dir, Seed: p.opt.Seed, Persons: p.opt.Insured, Config: file, CA: filepath.Join(p.opt.Dir, "ca.crt")}
	if err := p.supply(); err != nil {
		return err
	}
	return p.accounts()
}

// sameWorld refuses a directory that was made for other insurers: they would not get the practices' mail.
func (p *Platform) sameWorld() error {
	list, err := node.LoadInsurers(p.cfg.Insurers)
	if err != nil {
		return err
	}
	same, complete := len(list) == len(p.world.Insurers()), true
	for i, in := range p.world.Insurers() {
		if same = same && list[i].IK == in.IK; !same {
			return errors.New("it was made with another --seed: use that one, or another directory")
		}
		for _, s := range services {
			if !slices.Contains(list[i].Services, s) { // made before there was such a service
				list[i].Services, complete = append(list[i].Services, s), false
			}
		}
	}
	if complete {
		return nil
	}
	return node.SaveInsurers(p.cfg.Insurers, list)
}

func (p *Platform) initOptions() node.InitOptions {
	cfg := node.Default()
	cfg.Domain = "demo.querschott.example"
	cfg.Mail.Hostname = "localhost"
	cfg.Mail.StartTLS, cfg.Mail.TLS = orFree(p.opt.SMTP), orFree(p.opt.SMTPS)
	cfg.Mail.Certificate, cfg.Mail.Key = "server.crt", "server.key"
	cfg.Console.Listen = orFree(p.opt.Console)
	cfg.HTTP.Listen, cfg.Telemetry.Listen = orFree(p.opt.HTTP), orFree(p.opt.Metrics)
	cfg.HTTP.Certificate, cfg.HTTP.Key = "server.crt", "server.key"
	cfg.HTTP.AccessLog, cfg.HTTP.DevIssuers = "access.ndjson", true
	opt := node.InitOptions{Config: cfg, Operators: operators}
	opt.Insurers = insurersOf(p.world)
	return opt
}

// insurersOf are a world's insurers as a node has them.
func insurersOf(w *drill.World) (list []node.Insurer) {
	for _, in := range w.Insurers() {
		list = append(list, node.Insurer{
			IK: in.IK, Name: in.Name, Insured: in.Insured, Addresses: []string{string(in.Address)}, Services: services,
		})
	}
	return list
}

func orFree(address string) string {
	if address == "" {
		return "127.0.0.1:0"
	}
	return address
}

// accounts gives one practice and the practices' mail service fresh passwords.
func (p *Platform) accounts() error {
	acc, err := ident.OpenAccounts(disk.OS{}, p.cfg.Mail.Accounts, time.Now)
	if err != nil {
		return err
	}
	practice := string(p.world.Practices()[0].KIM)
	p.file.Practice.Address, p.file.Relay.Address = practice, relay
	if p.file.Practice.Password, err = password(acc, practice, querschott.RolePractice); err != nil {
		return err
	}
	p.file.Relay.Password, err = password(acc, relay, querschott.RoleRelay)
	return err
}

// password gives an account a fresh password, and makes it if there is none.
func password(acc *ident.Accounts, address string, role querschott.Role) (string, error) {
	for _, a := range acc.List() {
		if a.Address == address {
			return acc.Renew(address)
		}
	}
	return acc.Add(address, role)
}

// openDoors has both operators sign the opening of every door that was never moved.
func (p *Platform) openDoors(ctx context.Context) error {
	var signers []note.Signer
	for _, name := range operators {
		s, err := node.LoadOperatorKey(p.operatorKey(name))
		if err != nil {
			return err
		}
		signers = append(signers, s)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range p.node.Compartments() {
		if p.node.Door(c).Epoch > 0 {
			continue
		}
		g.Go(func() error {
			out, err := p.node.Order(ctx, door.Request{Compartment: c, To: querschott.Open, Reason: "Beginn der Vorführung / start of the demonstration"}, operators[0], signers...)
			if out.Order == nil {
				return err
			}
			if err != nil { // in force, and a machine under load follows later
				p.opt.Log.Warn("a door is open, and not everybody has followed in time", "compartment", c.String(), "err", err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (p *Platform) operatorKey(name querschott.Actor) string {
	return filepath.Join(p.opt.Dir, "operators", string(name)+".key")
}

func (p *Platform) logins(ctx context.Context) error {
	for _, name := range operators {
		url, _, err := p.node.LoginLink(ctx, name)
		if err != nil {
			return err
		}
		p.file.Operators = append(p.file.Operators, Login{Name: name, URL: url, Key: p.operatorKey(name)})
	}
	at := p.node.Addresses()
	p.file.Console, p.file.SMTP, p.file.SMTPS = at.Console, at.StartTLS, at.TLS
	p.file.HTTP, p.file.Issuer, p.file.Metrics = at.HTTP, p.issuer.Name(), at.Metrics
	for _, in := range p.world.Insurers() {
		first, _ := in.Persons()
		p.file.Insurers = append(p.file.Insurers, Mailbox{
			IK: in.IK, Name: in.Name, Address: string(in.Address), Insured: in.Insured, KVNR: p.world.Person(first).Number.Reveal(),
		})
	}
	return nil
}

// practices enrols the practices, writes one identity for 'querschott send', and makes the sender.
func (p *Platform) practices(context.Context) error {
	if err := p.world.Enrol(p.ca); err != nil {
		return err
	}
	id, err := p.ca.Practice(p.world.Practices()[0])
	if err != nil {
		return err
	}
	if err := id.Write(p.opt.Dir, "practice"); err != nil {
		return err
	}
	p.file.Practice.Cert, p.file.Practice.Key = filepath.Join(p.opt.Dir, "practice.crt"), filepath.Join(p.opt.Dir, "practice.key")
	p.sender, err = drill.NewSender(drill.SenderConfig{
		World: p.world, Addr: p.file.SMTPS, TLS: &tls.Config{RootCAs: p.ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS13},
		Login: func(kim.Address) (string, string) { return relay, p.file.Relay.Password },
		Rate:  p.opt.Rate, Seed: p.opt.Seed,
	})
	if err != nil {
		return err
	}
	p.file.Practice.Telematik = string(p.world.Practices()[0].TelematikID())
	p.checker, err = drill.NewChecker(drill.CheckerConfig{
		World: p.world, URL: p.file.HTTP, TLS: &tls.Config{RootCAs: p.ca.Pool(), MinVersion: tls.VersionTLS13},
		Access: p.access, Presence: p.presence, Ready: p.registry.ready, Rate: p.opt.Checks, Seed: p.opt.Seed,
	})
	if err != nil {
		return err
	}
	p.auditor = drill.NewAuditor(p.sender.Books(), p.node.WaitingBindings, p.node.Delivered)
	return nil
}

func (p *Platform) write() error { return p.file.write(demoFile) }

func (f *File) write(name string) error {
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return disk.WriteFile(disk.OS{}, filepath.Join(f.Dir, name), append(data, '\n'))
}

// File returns what demo.json says.
func (p *Platform) File() File { return p.file }

// Node returns the platform's node.
func (p *Platform) Node() *node.Node { return p.node }
