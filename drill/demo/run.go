package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/node"
)

// Line is what the terminal shows once a second.
type Line struct {
	At        time.Time
	Accepted  int
	Delivered int
	Waiting   int
	Refused   uint64 // for now: the practices keep it and repeat it
	Rejected  uint64
	Lost      int
	Cards     drill.CheckerStats
	Trouble   string
}

func (l Line) String() string {
	return fmt.Sprintf("%s  accepted %d  delivered %d  waiting %d  refused for now %d  rejected %d  lost %d  cards checked %d  refused %d  errors %d",
		l.At.Format(time.TimeOnly), l.Accepted, l.Delivered, l.Waiting, l.Refused, l.Rejected, l.Lost,
		l.Cards.Checked, l.Cards.Refused, l.Cards.Errors)
}

// Report is what a demonstration that stops by itself says at its end.
type Report struct {
	Seconds  float64 `json:"seconds"`
	Insurers int     `json:"insurers"`
	Mail     struct {
		Accepted   int    `json:"accepted"`
		Delivered  int    `json:"delivered"`
		Waiting    int    `json:"waiting"`
		Refused    uint64 `json:"refused_transient"`
		Rejected   uint64 `json:"rejected"`
		Lost       int    `json:"lost"`
		Duplicates uint64 `json:"duplicates"`
	} `json:"mail"`
	VSDM struct {
		Checked     uint64  `json:"checked"`
		NotModified uint64  `json:"not_modified"`
		Refused     uint64  `json:"refused"`
		Errors      uint64  `json:"errors"`
		P99         float64 `json:"p99_ms"`  // of the last seconds
		Records     int64   `json:"records"` // persons whose master data are there
	} `json:"vsdm"`
	Doors struct {
		Changes  int     `json:"changes"`
		CloseP99 float64 `json:"close_p99_ms"`
	} `json:"doors"`
	Ledger struct {
		Entries  uint64 `json:"entries"`
		Verified bool   `json:"verified"`
	} `json:"ledger"`
}

// Run works until the context ends or the time is over (0: no end), shows a line each second, and reports. Promises are
// compared with cells and journal once more from the start, after the practices have stopped.
func (p *Platform) Run(ctx context.Context, length time.Duration, show func(Line)) (Report, error) {
	p.mu.Lock()
	p.begun = time.Now()
	p.mu.Unlock()
	outer, stop := context.WithCancel(ctx)
	defer stop()
	g, gctx := errgroup.WithContext(context.WithoutCancel(ctx))
	running, stopNode := context.WithCancel(gctx)
	sending, stopSending := context.WithCancel(gctx)
	g.Go(func() error { return p.node.Run(running) })
	g.Go(func() error { return p.sender.Run(sending) })
	g.Go(func() error { return p.checker.Run(sending) })
	g.Go(func() error { return p.registry.fill(sending) })
	g.Go(func() error { return p.serveIssuer(running) })
	g.Go(func() error { return p.watchDoors(running) })
	if p.opt.Beside != nil {
		g.Go(func() error { p.opt.Beside(sending); return nil })
	}
	g.Go(func() error {
		defer stopNode()
		p.lines(outer, gctx, length, show)
		p.sender.SetRate(0)
		p.checker.SetRate(0)
		stopSending()
		return nil
	})
	err := g.Wait()
	stopSending()
	report, rerr := p.report(context.WithoutCancel(ctx))
	return report, errors.Join(err, rerr, p.node.Close())
}

// lines shows a line each second until it is time to stop.
func (p *Platform) lines(ctx, parts context.Context, length time.Duration, show func(Line)) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var end <-chan time.Time
	if length > 0 {
		end = time.After(length)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-parts.Done():
			return
		case <-end:
			return
		case now := <-tick.C:
			show(p.line(now))
		}
	}
}

// A whole look at the promises reads every message that waits. When many wait it is taken every tenth second only, and a
// glance at the cells in between; lost is then what the last look has found.
const (
	manyWait    = 2000
	lookSeconds = 10
)

func (p *Platform) line(now time.Time) Line {
	glance := p.last.Waiting > manyWait && now.Sub(p.looked) < lookSeconds*time.Second
	look := p.auditor.Look
	if glance {
		look = p.auditor.Glance
	}
	v, err := look()
	s := p.sender.Stats()
	l := Line{
		At: now, Accepted: v.Promised, Delivered: v.Delivered, Waiting: v.Waiting, Refused: s.Refused, Rejected: s.Rejected,
		Lost: v.Lost, Cards: p.checker.Stats(), Trouble: s.Trouble,
	}
	if l.Trouble == "" {
		l.Trouble = l.Cards.Trouble
	}
	switch {
	case err != nil:
		l.Trouble = "the audit failed: " + err.Error()
	case glance:
		l.Lost = p.last.Lost
	default:
		p.last, p.looked = v, now
		p.node.SetAudit(node.Audit{Lost: uint64(v.Lost), At: now})
	}
	return l
}

// watchDoors measures how long closings take to be obeyed.
func (p *Platform) watchDoors(ctx context.Context) error {
	changes, cancel := p.node.Changes(4096)
	defer cancel()
	for {
		select {
		case c := <-changes:
			p.count(c)
		case <-ctx.Done():
			for len(changes) > 0 {
				p.count(<-changes)
			}
			return nil
		}
	}
}

func (p *Platform) count(c door.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moves++
	if c.Order.To == querschott.Closed {
		p.closes = append(p.closes, c.Obeyed)
	}
}

func (p *Platform) report(ctx context.Context) (r Report, err error) {
	v, err := drill.Audit(p.sender.Books(), p.node.WaitingBindings, p.node.Delivered)
	if err != nil {
		return r, err
	}
	s := p.sender.Stats()
	r.Insurers = len(p.world.Insurers())
	r.Mail.Accepted, r.Mail.Delivered, r.Mail.Waiting, r.Mail.Lost = v.Promised, v.Delivered, v.Waiting, v.Lost
	r.Mail.Refused, r.Mail.Rejected = s.Refused, s.Rejected
	c := p.checker.Stats()
	r.VSDM.Checked, r.VSDM.NotModified, r.VSDM.Refused, r.VSDM.Errors = c.Checked, c.NotModified, c.Refused, c.Errors
	r.VSDM.P99, r.VSDM.Records = float64(c.P99.Microseconds())/1000, p.registry.total.Load()
	r.Mail.Duplicates = p.node.Status().Pump.Duplicates
	p.mu.Lock()
	r.Seconds = time.Since(p.begun).Seconds()
	r.Doors.Changes = p.moves
	if len(p.closes) > 0 {
		slices.Sort(p.closes)
		r.Doors.CloseP99 = float64(p.closes[len(p.closes)*99/100].Microseconds()) / 1000
	}
	p.mu.Unlock()
	checked, err := p.node.VerifyLedger(ctx)
	if err != nil {
		return r, err
	}
	r.Ledger.Entries, r.Ledger.Verified = checked.Entries, len(checked.Faults) == 0
	return r, nil
}
