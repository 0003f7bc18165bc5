package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/web/console"
)

// grace is how long answers under way may take when the node stops.
const grace = 10 * time.Second

// Run works until the context ends: entrances first to stop, journal and ledger last.
func (n *Node) Run(ctx context.Context) error {
	spareCollections()
	if err := n.recordNode(context.WithoutCancel(ctx), ledger.ActionStart, ledger.KindNodeChange, ledger.DataConfiguration,
		ledger.Field{Name: "version", Value: n.opt.Version}); err != nil {
		return fmt.Errorf("couldn't record the start: %w", err)
	}
	inner, stopInner := context.WithCancel(context.WithoutCancel(ctx))
	defer stopInner()
	entrances, ectx := errgroup.WithContext(ctx)
	n.stages.leaving = func() bool { return ectx.Err() != nil }
	var core errgroup.Group
	for name, run := range map[string]func(context.Context) error{
		"the pump": n.pump.Run, "the door book": n.doors.Run, "the outbox": n.outbox.Run,
	} {
		core.Go(func() error { return n.part(inner, name, run) })
	}

	if n.accessFile != nil {
		core.Go(func() error { return n.part(inner, "the file of access events", n.writeAccess) })
	}
	core.Go(func() error { return n.part(inner, "the metrics of requests", n.observe) })
	core.Go(func() error { return n.part(inner, "the early warning", n.alarms.run) })
	core.Go(func() error { return n.part(inner, "the ledger's entries of foreign events", n.recordFeeds) })
	core.Go(func() error { return n.part(inner, "the file of alarms", n.syncAlarms) })
	core.Go(func() error { return n.part(inner, "the record of foreign events", n.syncRecords) })
	core.Go(func() error { return n.part(inner, "containment", n.contain.run) })
	core.Go(func() error { return n.part(inner, "the reach of held credentials", n.findReach) })
	core.Go(func() error { return n.part(inner, "the scope index", n.scope.Run) })
	core.Go(func() error { return n.part(inner, "the comparison of incidents with the ledger", n.checkCases) })
	core.Go(func() error { return n.part(inner, "the stages of doors", n.stages.run) })
	core.Go(func() error { return n.part(inner, "the detectors at double sensitivity", n.sharpen) })
	core.Go(func() error { return n.part(inner, "the public status", n.publish) })
	core.Go(func() error { return n.part(inner, "the orders of emergencies", n.watchGlass) })
	if n.follower != nil {
		core.Go(func() error { return n.part(inner, "the link to the book of doors", n.follower.Run) })
	}
	for _, issuer := range n.keySets {
		core.Go(func() error { return n.part(inner, "the keys of an issuer", issuer.Run) })
	}

	if n.http != nil {
		entrances.Go(func() error { return n.http.Run(ectx, n.sockets.http) })
	}
	if n.gates != nil {
		entrances.Go(func() error { return n.serveGates(ectx) })
		entrances.Go(func() error { return n.watchDenyList(ectx) })
	}
	if n.gate != nil {
		entrances.Go(func() error { return n.gate.Run(ectx, n.sockets.starttls, n.sockets.implicit) })
	}
	if n.sockets.web != nil {
		entrances.Go(func() error { return n.page.Run(ectx) })
		entrances.Go(func() error { return serve(ectx, n.web, n.sockets.web, n.cfg.Console.Certificate != "") })
	}
	entrances.Go(func() error {
		return serve(ectx, &http.Server{Handler: n.controlHandler(), ReadHeaderTimeout: 5 * time.Second}, n.sockets.control, false)
	})
	if n.sockets.telemetry != nil {
		operations := &http.Server{Handler: n.api.Operations(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
		entrances.Go(func() error { return serve(ectx, operations, n.sockets.telemetry, false) })
	}
	entrances.Go(func() error { return n.housekeeping(ectx) })
	err := entrances.Wait()
	n.asked.Wait() // what is answered on the control socket uses everything that ends now
	if n.tokens != nil {
		err = errors.Join(err, n.tokens.SaveProofs())
	}
	stopInner()
	err = errors.Join(err, core.Wait())
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	defer n.closeExport(last)
	return errors.Join(err, n.recordNode(last, ledger.ActionStop, ledger.KindNodeChange, ledger.DataConfiguration))
}

// part runs what delivers, as against what takes in: when it fails the node goes on accepting, and says so.
func (n *Node) part(ctx context.Context, name string, run func(context.Context) error) error {
	err := run(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	n.log.Error("ALARM: a part of the node has ended", "part", name, "err", err, "fix", "see what failed, and start the node again")
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed = append(n.failed, Trouble{Text: name + " has ended: " + err.Error()})
	return err
}

func (n *Node) writeAccess(ctx context.Context) error { return n.accessFile.Run(ctx, n.accessSub) }

// serve runs an HTTP server until the context ends. What is not answered in the time of grace is cut off.
func serve(ctx context.Context, s *http.Server, l net.Listener, withTLS bool) error {
	stopped := make(chan error, 1)
	s.BaseContext = func(net.Listener) context.Context { return ctx }
	go func() {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		err := s.Shutdown(end)
		if err != nil {
			err = errors.Join(fmt.Errorf("couldn't finish every answer: %w", err), s.Close())
		}
		stopped <- err
	}()
	var err error
	if withTLS {
		err = s.ServeTLS(l, "", "")
	} else {
		err = s.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return <-stopped
	}
	return err
}

// housekeeping forgets what has expired, and looks after the ledger's coming year.
func (n *Node) housekeeping(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for tried := n.opt.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if now := n.opt.Now(); now.Sub(tried).Abs() > time.Hour {
				tried = now
				n.pruneNumbers(ctx)
				if err := n.years.provide(now); err != nil && n.years.trouble(now) != "" {
					n.log.Error("ALARM: the ledger has no secrets for the coming year", "err", err, "fix", "put the keyring's key file in its place")
				}
			}
			n.mendVaults()
			if n.sessions != nil {
				n.sessions.Sweep()
			}
			if err := n.logins.Sweep(); err != nil {
				n.log.Warn("couldn't remove expired login links", "err", err)
			}
		}
	}
}

// Close releases everything in reverse order. A node that runs must have stopped.
func (n *Node) Close() error {
	var errs error
	for _, p := range n.proxies {
		errs = errors.Join(errs, p.Close())
	}
	for _, l := range append(append([]net.Listener{n.sockets.web, n.sockets.control, n.sockets.http, n.sockets.telemetry, n.sockets.gates}, n.sockets.starttls...), n.sockets.implicit...) {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = errors.Join(errs, err)
			}
		}
	}
	errs = errors.Join(errs, n.closeFeeds())
	if n.numbers != nil {
		n.numbers.Forget()
	}
	if n.vaults != nil {
		n.vaults.Close()
	}
	if n.journal != nil {
		errs = errors.Join(errs, n.journal.Close())
	}
	if n.outStore != nil {
		errs = errors.Join(errs, n.outStore.Close())
	}
	if n.issueLog != nil {
		errs = errors.Join(errs, n.issueLog.Close())
	}
	for _, s := range n.cells {
		errs = errors.Join(errs, s.Close())
	}
	if n.shared != nil {
		n.shared.Close()
	}
	if n.scope != nil {
		errs = errors.Join(errs, n.scope.Close())
	}
	if n.ledger != nil {
		errs = errors.Join(errs, n.ledger.Close())
	}
	return errs
}

func (n *Node) openConsole(ctx context.Context) error {
	if err := n.openLogins(); err != nil || n.cfg.Console.Listen == "" {
		return err
	}
	provider, err := n.cfg.provider(n.sessions, n.opt.Now)
	if err != nil {
		return err
	}
	listeners, err := listen(ctx, n.cfg.Console.Listen)
	if err != nil {
		return err
	}
	n.sockets.web = listeners[0]
	rows := make([]console.Insurer, len(n.insurers))
	for i, in := range n.insurers {
		rows[i] = console.Insurer{IK: in.IK, Name: in.Name, Insured: in.Insured}
	}
	page, err := console.New(console.Config{
		Doors: n.doors, Access: n.logins, Local: n.staff, Provider: provider, Operator: n.consoleOperator, Record: n.recordConsoleLogin,
		Enforced: n.consoleEnforced,
		Mode:     map[string]console.Mode{ModeDemo: console.ModeDemo, ModeDrill: console.ModeDrill}[n.mode()],
		Snapshot: n.consoleSnapshot, Insurers: rows, Services: n.services(),
		Signer:   n.consoleSigner,
		Cases:    &console.Cases{Book: n.cases.book, Name: n.cases.name, Release: n.releaseHeld},
		Location: time.Local, // what the clock on the operators' wall shows
		Origins:  n.origins(), Now: n.opt.Now, Log: n.log, Version: n.opt.Version,
	})
	if err != nil {
		return err
	}
	n.page = page
	n.web = console.NewServer(n.cfg.Console.Listen, page, n.log)
	if n.cfg.Console.Certificate == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(n.cfg.Console.Certificate, n.cfg.Console.Key)
	if err != nil {
		return fmt.Errorf("couldn't load the certificate of the console: %w", err)
	}
	n.web.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	return nil
}

func (n *Node) consoleSigner(a querschott.Actor) (note.Signer, error) {
	if s, ok := n.signers[a]; ok {
		return s, nil
	}
	return nil, querschott.RefuseAs(querschott.CodeForbidden, "order.not-operator", "%s is no operator of this node", a)
}

// services lists the services that any insurer has, in the order in which they are shown.
func (n *Node) services() []querschott.Service {
	used := map[querschott.Service]bool{}
	for _, c := range n.doors.Compartments() {
		used[c.Service] = true
	}
	var list []querschott.Service
	for _, s := range querschott.Services() {
		if used[s] {
			list = append(list, s)
		}
	}
	return list
}

func (n *Node) origins() []string {
	scheme := "http://"
	if n.cfg.Console.Certificate != "" {
		scheme = "https://"
	}
	list := []string{n.Addresses().Console}
	for _, h := range n.cfg.Console.Hosts {
		list = append(list, scheme+h)
	}
	return list
}

// consoleSnapshot is what the operators' page shows besides the doors.
func (n *Node) consoleSnapshot() console.Snapshot {
	s := console.Snapshot{Compartments: map[querschott.Compartment]console.Compartment{}, Journal: n.journal.Trouble(), RoomHours: -1}
	for _, b := range n.journal.Backlogs() {
		s.Compartments[b.Compartment] = console.Compartment{Waiting: b.Messages, Oldest: time.UnixMicro(b.OldestUS)}
		s.Totals.Waiting += uint64(b.Messages)
	}
	for _, t := range n.trouble() {
		if t.Compartment != nil {
			c := s.Compartments[*t.Compartment]
			c.Trouble = t.Text
			s.Compartments[*t.Compartment] = c
		}
	}
	if room := n.Spool().RoomHours; room != nil {
		s.RoomHours = *room
	}
	st := n.Status()
	s.Totals.Accepted, s.Totals.Delivered = st.Mail.Accepted, st.Mail.Delivered
	for _, v := range st.Mail.Transient {
		s.Totals.Refused += v
	}
	for _, v := range st.Mail.Permanent {
		s.Totals.Rejected += v
	}
	if audit := n.audit.Load(); audit != nil {
		s.Totals.Lost, s.Totals.Audited = audit.Lost, audit.At
	}
	s.Warnings, s.Held, s.Explained = n.cases.warnings(), n.held(), n.cases.explained.look(n.alarms.watch, n.opt.Now())
	return s
}

// Audit is the result of comparing what senders were promised with what cells and journal hold.
type Audit struct {
	Lost uint64
	At   time.Time
}

// SetAudit makes the result of an audit known to the page.
func (n *Node) SetAudit(a Audit) { n.audit.Store(&a) }
