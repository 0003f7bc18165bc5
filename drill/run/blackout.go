package run

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/service/desk"
)

// The course of April 2023, each hour of it in a third of a second: selected systems off after 12 hours, clusters after 30, eAU back
// after 54. What arrives meanwhile is the traffic of that time.
const (
	hour         = time.Second / 3
	firstWave    = 12 * hour           // after the alarm
	secondWave   = 30*hour - firstWave // after the first
	dark         = 54*hour - 30*hour   // until it is opened again
	aprilMails   = 120                 // a second
	aprilChecks  = 8
	few, cluster = 4, 16 // insurers of the two waves
	waves        = few + cluster
	proberOf     = 5 // the insurer whose employee is the indicator; it is in the second wave
	tellWithin   = 5 * time.Minute
	incidentRef  = "VF-2023-0424"
)

// closing is what an authorised person orders: mail is taken in and waits, what answers is shut.
var closing = map[querschott.Service]querschott.DoorState{
	querschott.EAU: querschott.Hold, querschott.Letter: querschott.Hold, querschott.VSDM: querschott.Closed, querschott.Desk: querschott.Closed,
}

// Blackout plays April 2023: alarms, doors close in two waves, the traffic of 54 hours arrives, doors open again under
// a plan of stages.
func Blackout(ctx context.Context, p *Platform, opt Options) (*Report, error) {
	s, err := open(ctx, p, April, volume{mails: aprilMails, checks: aprilChecks, insurers: 24, clerks: 1, known: 60, seed: opt.Seed}, opt)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	s.report.Factor = time.Hour.Seconds() / hour.Seconds()
	b := &blackout{stage: s, prober: &thief{p: p}, probers: map[querschott.Actor]bool{}, tag: freshTag()}
	if b.signers, b.names, err = p.signers(); err != nil {
		return nil, err
	}
	if b.page, err = s.openPage(ctx); err != nil {
		return nil, err
	}
	if b.page != nil {
		defer b.page.stop()
	}
	if err := errors.Join(wait(ctx, before), b.indicator(ctx)); err != nil {
		return nil, err
	}
	for _, act := range []func(context.Context) error{b.close, b.pageRight, b.reopen, b.pageClear, s.close} {
		if err := act(ctx); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(b.emptied(ctx), b.reached(ctx)); err != nil {
		return nil, err
	}
	if err := b.pageAlone(ctx); err != nil {
		return nil, err
	}
	s.falseAlarms(b.probers)
	b.judge()
	return s.report, nil
}

// blackout is the drill of April under way.
type blackout struct {
	*stage
	signers []note.Signer
	names   []querschott.Actor
	prober  *thief // who reaches nobody
	probers map[querschott.Actor]bool
	tag     string // of their names

	page    *public // nil: nothing is published
	shut    []querschott.Compartment
	slowest atomic.Int64 // ns: of a closing order, until it was obeyed
	told    *float64     // s: until a desk was told
	began   time.Time    // the first wave
}

// indicator is what the early warning reports first: an employee of one insurer tries the desks of others. Nobody's data come.
func (b *blackout) indicator(ctx context.Context) error {
	b.prober.first = time.Now()
	b.opt.Progress("somebody tries other insurers' desks")
	e, err := b.probe(ctx, "prober."+b.tag, proberOf+1)
	if err != nil {
		return err
	}
	l := newLand(b.p.world, 0)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		insurer, nobody := l.person(proberOf, -1)
		a, err := e.ask(ctx, desk.PathPerson, insurer, desk.PersonRequest{Reason: "case:VG-0000", Person: nobody})
		if err != nil {
			return err
		}
		now := time.Now()
		b.prober.latest = now
		if at, _ := b.alarms.about(e.actor()); !at.IsZero() {
			b.report.DetectedAfter = between(b.prober.first, at)
		}
		if a.Status == http.StatusForbidden && b.report.ContainedAfter == nil {
			b.report.ContainedAfter = between(b.prober.first, now)
		}
		if b.report.DetectedAfter != nil && b.report.ContainedAfter != nil {
			return nil
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// reached asks the platform whom the prober's credential reached, and has it prove that it was nobody.
func (b *blackout) reached(ctx context.Context) error {
	_, credential := b.alarms.about(b.p.employee(b.p.world.Insurers()[proberOf], "prober."+b.tag).actor())
	if credential == "" {
		return nil
	}
	s, _, err := b.prober.compare(ctx, []querschott.CredentialID{credential})
	b.report.Scope = s
	return err
}

// close orders both waves and waits while the traffic of the dark hours arrives.
func (b *blackout) close(ctx context.Context) error {
	begin := time.Now()
	if err := errors.Join(wait(ctx, firstWave), b.wave(ctx, "the first systems", b.p.world.Insurers()[:few])); err != nil {
		return err
	}
	if err := errors.Join(wait(ctx, secondWave), b.wave(ctx, "a cluster", b.p.world.Insurers()[few:few+cluster])); err != nil {
		return err
	}
	for time.Since(begin) < firstWave+secondWave+dark {
		spool, err := b.p.node.Spool(ctx)
		if err != nil {
			return err
		}
		b.report.Mail.Held = max(b.report.Mail.Held, spool.Messages)
		if err := wait(ctx, time.Second/2); err != nil {
			return err
		}
	}
	return nil
}

// wave closes all doors of some insurers.
func (b *blackout) wave(ctx context.Context, what string, list []*drill.Insurer) error {
	var doors []querschott.Compartment
	for _, in := range list {
		for s := range closing {
			doors = append(doors, querschott.Compartment{Insurer: in.IK, Service: s})
		}
	}
	b.opt.Progress("%s: %d doors are ordered to close", what, len(doors))
	begin := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, c := range doors {
		g.Go(func() error {
			at := time.Now()
			b.page.ordered(c)
			err := b.shutDoor(gctx, c)
			if took := int64(time.Since(at)); took > b.slowest.Load() {
				b.slowest.Store(took)
			}
			return err
		})
	}
	err := g.Wait()
	b.shut = append(b.shut, doors...)
	if err == nil && b.told == nil {
		b.began = begin
		b.told, err = b.learn(ctx, list[0], begin)
	}
	return err
}

// shutDoor closes one door.
func (b *blackout) shutDoor(ctx context.Context, c querschott.Compartment) error {
	_, err := b.p.node.Order(ctx, node.DraftRequest{
		Compartment: c, To: closing[c.Service], Reason: "attack: drill, on systems behind it", Incident: incidentRef, Actor: b.names[0],
	}, b.signers[0])
	return err
}

// learn asks at a closed desk until the refusal says why and where to look, and returns how long that took.
func (b *blackout) learn(ctx context.Context, in *drill.Insurer, begin time.Time) (*float64, error) {
	first, _ := in.Persons()
	e := b.p.employee(in, "asks.why")
	for time.Since(begin) < secondWave+dark {
		a, err := e.ask(ctx, desk.PathPerson, in.IK, desk.PersonRequest{Reason: "call:drill", Person: b.p.world.Person(first).Number})
		if err != nil {
			return nil, err
		}
		if a.Status == http.StatusServiceUnavailable && told(a) {
			return between(begin, time.Now()), nil
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// emptied waits until nothing waits in the journal, as long as it becomes less, and looks for every promise once more.
func (b *blackout) emptied(ctx context.Context) error {
	const standstill = 15 * time.Second
	least := -1
	for end := time.Now().Add(standstill); time.Now().Before(end); {
		spool, err := b.p.node.Spool(ctx)
		if err != nil {
			return err
		}
		if spool.Messages == 0 {
			break
		}
		if least < 0 || spool.Messages < least {
			least, end = spool.Messages, time.Now().Add(standstill)
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	held := b.report.Mail.Held
	m, err := b.traffic.audit(ctx)
	b.report.Mail = m
	b.report.Mail.Held = held
	if s, serr := b.p.node.Status(ctx); serr == nil {
		b.report.Mail.Twice = s.Pump.Duplicates
	}
	return err
}

func (b *blackout) judge() {
	r := b.report
	closed := map[querschott.IK]bool{}
	for _, c := range b.shut {
		closed[c.Insurer] = true
	}
	var undisturbed Work
	for _, c := range b.traffic.clerks {
		if !closed[c.insurer.IK] {
			undisturbed.Done += c.done.Load()
			undisturbed.Refused += c.refused.Load()
			undisturbed.Errors += c.failed.Load()
		}
	}
	r.require("the indicator raised an alarm", r.DetectedAfter != nil, seconds(r.DetectedAfter))
	r.require("its credential was held", r.ContainedAfter != nil, seconds(r.ContainedAfter))
	r.require("whom the indicator's credential reached is known exactly, and proved", r.Scope != nil && r.Scope.Exact && r.Scope.Verified != nil && *r.Scope.Verified, r.Scope.String())
	r.require("0 eAU rejected", r.Mail.Rejected == 0 && r.Mail.Accepted > 0, fmt.Sprintf("%d of %d mails", r.Mail.Rejected, r.Mail.Accepted))
	r.require("0 eAU lost", r.Mail.Lost == 0, fmt.Sprint(r.Mail.Lost))
	r.require("mail was taken in and waited while doors were on hold", r.Mail.Held > 0, fmt.Sprintf("%d at most", r.Mail.Held))
	r.require("everything is delivered exactly once after the reopening", r.Mail.Delivered == r.Mail.Accepted,
		fmt.Sprintf("%d of %d, %d documents that came again were recognised", r.Mail.Delivered, r.Mail.Accepted, r.Mail.Twice))
	r.require("doors of untouched cells stay open", len(r.Closed) == len(b.shut) && undisturbed.Refused+undisturbed.Errors == 0 && undisturbed.Done > 0,
		fmt.Sprintf("%d doors moved, %d ordered; %d looks at untouched insurers, %d refused, %d errors", len(r.Closed), len(b.shut), undisturbed.Done, undisturbed.Refused, undisturbed.Errors))
	var practices *float64
	if at := b.traffic.cardTold.Load(); at > 0 {
		practices = between(b.began, time.Unix(0, at))
	}
	r.require("practices and desks are told in under 5 minutes", b.told != nil && *b.told < tellWithin.Seconds() && practices != nil && *practices < tellWithin.Seconds(),
		"by the refusal itself, with incident and status page: a desk after "+seconds(b.told)+", a practice after "+seconds(practices))
	r.require("every closing was obeyed when its order was answered", len(r.Closed) >= len(b.shut), "the slowest after "+time.Duration(b.slowest.Load()).Round(time.Millisecond).String())
	b.judgeReopening()
	b.judgePage()
	b.nobodyHeld()
	b.jobsWentOn()
	r.require("staff and practices had no errors but refusals by doors", r.Staff.Errors == 0 && r.Cards.Errors == 0, r.Staff.Trouble+r.Cards.Trouble)
	r.judge()
}
