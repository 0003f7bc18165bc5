package run

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/scope"
)

// January and April are the names of the two drills after real events.
const (
	January = "january-2023"
	April   = "april-2023"
)

//go:embed january-2023.yaml
var january []byte

// Names lists the drills that come with the program and can be played against a running platform.
func Names() ([]string, error) {
	list, err := attack.Builtin()
	names := []string{January, April}
	for _, f := range list {
		if Playable(f) == nil {
			names = append(names, f.Name)
		}
	}
	return names, err
}

// Find returns the attack of a name.
func Find(name string) (*attack.Family, error) {
	if name == January {
		return attack.Parse(bytes.NewReader(january))
	}
	list, err := attack.Builtin()
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(list, func(f *attack.Family) bool { return f.Name == name }); i >= 0 {
		return list[i], nil
	}
	return nil, querschott.Refuse(querschott.CodeNotFound, "there is no drill %.50q", name)
}

// Options say how a drill is played.
type Options struct {
	Seed     uint64
	Progress func(format string, args ...any)
	Program  string // this program's file, with which the status page becomes a process of its own; empty: the drill serves it
}

// Times of a drill.
const (
	before  = 4 * time.Second  // of ordinary work alone
	longest = 20 * time.Second // of an attack
	patient = 3 * time.Minute  // of one that ends by itself, and of what must come: a machine may be busy
	after   = 2 * time.Second
	pause   = 1500 * time.Millisecond // between what one clerk looks up
)

// stage is a drill under way: the platform, who works there, and what it says.
type stage struct {
	p       *Platform
	opt     Options
	traffic *traffic
	alarms  *alarms
	report  *Report

	begun time.Time
	doors map[querschott.Compartment]uint64 // epochs at the beginning
	stop  context.CancelFunc
	work  errgroup.Group
	seen  map[querschott.Compartment]bool // doors that were not open at some time
}

// open prepares everything and begins the ordinary work.
func open(ctx context.Context, p *Platform, name string, v volume, opt Options) (*stage, error) {
	s := &stage{p: p, opt: opt, report: &Report{Drill: name, Mode: p.mode, Seed: opt.Seed, Factor: 1, Closed: []string{}, Thefts: []Theft{}, Held: []string{}}, seen: map[querschott.Compartment]bool{}}
	if p.mode == node.ModeDrill {
		opt.Progress("EXERCISE / ÜBUNG: status, page, mail and ledger of this node say so")
	}
	if err := p.serving(ctx, p.world.Insurers()[:v.insurers]); err != nil {
		return nil, err
	}
	opt.Progress("bringing persons' data into the cells, and tokens to %d clerks", v.insurers*v.clerks)
	var err error
	if s.traffic, err = newTraffic(ctx, p, v); err != nil {
		return nil, err
	}
	if s.alarms, err = listen(ctx, p.node); err != nil {
		return nil, err
	}
	doors, err := p.doors(ctx)
	if err != nil {
		return nil, err
	}
	s.doors = map[querschott.Compartment]uint64{}
	for c, d := range doors {
		s.doors[c] = d.Epoch
	}
	working, stop := context.WithCancel(ctx)
	s.stop = stop
	s.begun = time.Now()
	s.work.Go(func() error { return s.traffic.run(working, pause) })
	s.work.Go(func() error { return s.alarms.run(working) })
	s.work.Go(func() error { return s.watchDoors(working) })
	opt.Progress("ordinary work has begun: %.0f mails and %.0f card checks a second, %d clerks", v.mails, v.checks, v.insurers*v.clerks)
	return s, nil
}

// watchDoors notes which doors are not open.
func (s *stage) watchDoors(ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		doors, err := s.p.doors(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil // it was told to end
			}
			return err
		}
		for c, d := range doors {
			if d.To != querschott.Open {
				s.seen[c] = true
			}
		}
	}
}

// close ends the ordinary work and counts.
func (s *stage) close(ctx context.Context) error {
	s.opt.Progress("ordinary work ends; what the practices were promised is looked for")
	s.traffic.sender.SetRate(0)
	s.traffic.checker.SetRate(0)
	draining, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := s.traffic.sender.Drain(draining)
	if errors.Is(err, context.DeadlineExceeded) { // mail that is still refused for now waits at the practices
		err = nil
	}
	s.stop()
	if err := errors.Join(err, s.work.Wait()); err != nil {
		return err
	}
	r := s.report
	r.Seconds = time.Since(s.begun).Seconds()
	held := r.Mail.Held
	if r.Mail, err = s.traffic.audit(ctx); err != nil {
		return err
	}
	r.Mail.Held = held
	r.Staff, r.Jobs, r.Cards = sum(s.traffic.clerks), s.traffic.jobs(), s.traffic.cards()
	if r.Held, err = s.wronglyHeld(ctx); err != nil {
		return err
	}
	doors, err := s.p.doors(ctx)
	for c, d := range doors {
		switch {
		case d.Epoch != s.doors[c] || s.seen[c]:
			r.Closed = append(r.Closed, c.String())
		default:
			r.Untouched++
		}
	}
	slices.Sort(r.Closed)
	return err
}

// wronglyHeld returns the clerks and machines whose credentials were held since the beginning.
func (s *stage) wronglyHeld(ctx context.Context) ([]string, error) {
	list := []string{}
	runs, err := s.p.node.Runs(ctx)
	for i := range runs {
		r := &runs[i]
		if r.Began.Before(s.begun) || !slices.ContainsFunc(r.Deeds, holds) {
			continue
		}
		for _, c := range slices.Concat(s.traffic.clerks, s.traffic.machines) {
			if c.actor() == r.Alarm.Actor && !slices.Contains(list, string(c.actor())) {
				list = append(list, string(c.actor()))
			}
		}
	}
	return list, err
}

// holds reports whether a deed has refused somebody's credential.
func holds(d *contain.Deed) bool {
	a := d.Action
	return a != nil && (a.Kind == contain.HoldCredential || a.Kind == contain.HoldSession) && !slices.Contains([]contain.State{contain.Asked, contain.Refused, contain.Lapsed}, d.State)
}

// nobodyHeld is the condition about those who only worked, and came back when a door had refused them.
func (s *stage) nobodyHeld() {
	w := &s.report.Staff
	s.report.require("nobody was held who only worked", len(s.report.Held) == 0 && w.Held == 0,
		fmt.Sprintf("%v; clerks were refused %d times by doors and came back %d times, %d questions were answered then and %d given up", s.report.Held, w.Refused, w.Again, w.Served, w.GivenUp))
}

// jobsWentOn is the condition about registered jobs: whatever happens, they are no attack. A door may stand in their way.
func (s *stage) jobsWentOn() {
	if j := s.report.Jobs; j != nil {
		s.report.require("registered jobs went on", j.Errors == 0 && j.Held == 0 && j.Done > 0, fmt.Sprintf("%d looks, %d refused by doors, %d errors %s", j.Done, j.Refused, j.Errors, j.Trouble))
	}
}

// falseAlarms counts the alarms about those who only worked.
func (s *stage) falseAlarms(attackers map[querschott.Actor]bool) {
	perDay := float64(s.alarms.others(attackers)) * (24 * time.Hour).Seconds() / s.report.Seconds
	s.report.FalseAlarms = &perDay
}

// Attack plays an attack through the desk beside ordinary work.
func Attack(ctx context.Context, p *Platform, f *attack.Family, opt Options) (*Report, error) {
	s, err := open(ctx, p, f.Name, volume{mails: 25, checks: 8, insurers: 6, clerks: 5, known: 400, seed: opt.Seed}, opt)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	most := longest
	if f.Name == January {
		most = 0
	}
	l := newLand(p.world, 400)
	if f.Who.Role == attack.Partner {
		if l.machines, err = p.stealable(ctx); err != nil {
			return nil, err
		}
	}
	t, err := newThief(p, l, f, opt.Seed, most)
	if err != nil {
		return nil, err
	}
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	for _, n := range t.notes() {
		opt.Progress("played otherwise: %s", n)
	}
	if err := wait(ctx, before); err != nil {
		return nil, err
	}
	opt.Progress("%s", f.Text)
	limit := longest
	if f.Name == January {
		limit = patient
	}
	attacking, end := context.WithTimeout(ctx, limit)
	err = t.play(attacking)
	end()
	if !f.Benign {
		err = errors.Join(err, t.knock(ctx, s.alarms))
	}
	if err := errors.Join(err, wait(ctx, after)); err != nil {
		return nil, err
	}
	if err := s.close(ctx); err != nil {
		return nil, err
	}
	return s.report, s.theft(ctx, t)
}

// theft fills in what is about the attack.
func (s *stage) theft(ctx context.Context, t *thief) error {
	r := s.report
	r.Reached, r.Factor, r.Thefts, r.Notes = len(t.got), t.factor, t.thefts(s.alarms), t.notes()
	attackers := map[querschott.Actor]bool{}
	r.DetectedAfter, r.ContainedAfter = t.summary(s.alarms)
	for _, h := range t.hands {
		attackers[h.actor()] = true
	}
	s.falseAlarms(attackers)
	s.opt.Progress("asking the platform whom the credentials reached")
	if err := t.identify(ctx, r.Thefts); err != nil {
		return err
	}
	first, err := t.source(ctx)
	if err != nil {
		return err
	}
	var answer *scope.Answer
	if list := credentials(r.Thefts); len(list) > 0 {
		if r.Scope, answer, err = t.compare(ctx, list); err != nil {
			return err
		}
	}
	s.conditions(t, answer, first)
	if t.family.Name == January {
		if err := s.leak(ctx, t); err != nil {
			return err
		}
	}
	r.judge()
	return nil
}

// credentials are what the platform calls the attacker's, as its alarms or its ledger do.
func credentials(thefts []Theft) (list []querschott.CredentialID) {
	for i := range thefts {
		if c := thefts[i].Credential; c != "" {
			list = append(list, c)
		}
	}
	return list
}

// summary is from the first malicious request to the first alarm, and until the last of the credentials was refused as such.
func (t *thief) summary(heard *alarms) (detected, contained *float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var first, last time.Time
	all := len(t.order) > 0
	for _, h := range t.order {
		if at, _ := heard.about(h.actor()); !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
		all = all && !h.contained.IsZero()
		if h.contained.After(last) {
			last = h.contained
		}
	}
	if !all {
		last = time.Time{}
	}
	return between(t.first, first), between(t.first, last)
}

const sourceFirst = "source credential ranked first"

// What a fast theft must stay below.
const (
	maxPastCap   = 50
	maxContained = 1.0 // seconds after the cap was crossed
)

func (s *stage) conditions(t *thief, answer *scope.Answer, source querschott.CredentialID) {
	r := s.report
	if t.family.Benign {
		s.harmless()
		s.ordinary()
		return
	}
	worst, free, slowest := 0, 0, 0.0
	for _, th := range r.Thefts {
		worst = max(worst, th.PastCap)
		if th.ContainedAfter == nil {
			free++
		}
		if th.AfterCap != nil {
			slowest = max(slowest, *th.AfterCap)
		}
	}
	r.require("the theft was detected", r.DetectedAfter != nil, seconds(r.DetectedAfter))
	r.require("every credential of the attacker was held", free == 0, fmt.Sprintf("%d were not, the last after %s", free, seconds(r.ContainedAfter)))
	r.requireInTime("within 1 s of the first refusal for a cap", slowest <= maxContained, fmt.Sprintf("%.3f s at most", slowest))
	r.require("at most 50 persons were reached past the cap", worst <= maxPastCap, fmt.Sprintf("%d", worst))
	if answer == nil {
		r.require("whom the attacker reached is known", false, "the platform could not be asked: it knows no credential of the attacker")
	} else {
		same, found := t.perInsurer(answer)
		r.require("dedupe gives distinct persons per insurer", same, found)
		r.require("the proof of the scope verifies, and is complete", r.Scope.Verified != nil && *r.Scope.Verified, "")
		r.require("the scope is exact", r.Scope.Exact, fmt.Sprintf("missed %d, extra %d", r.Scope.Missed, r.Scope.Extra))
		grade := scope.GradeReached
		if r.Reached == 0 {
			grade = scope.GradeExcluded
		}
		r.require("wrong statement impossible without evidence grade: the insurer's answer has the grade "+string(grade), r.Scope.Grade == string(grade), r.Scope.Grade)
		if r.Reached > 0 {
			r.require(sourceFirst, source != "" && slices.Contains(credentials(r.Thefts), source), string(source))
		}
	}
	s.ordinary()
}

// harmless are the conditions about what only looks like an attack.
func (s *stage) harmless() {
	r := s.report
	held := ""
	for _, th := range r.Thefts {
		if th.ContainedAfter != nil {
			held += string(th.Actor) + " "
		}
	}
	r.require("it is no attack, and no alarm was raised that may lead to something", r.DetectedAfter == nil, seconds(r.DetectedAfter))
	r.require("nobody was held", held == "", held)
	r.require("no door was closed", len(r.Closed) == 0, fmt.Sprint(len(r.Closed)))
}

// ordinary are the conditions about everybody else.
func (s *stage) ordinary() {
	r := s.report
	r.require("0 mails rejected", r.Mail.Rejected == 0 && r.Mail.Accepted > 0, fmt.Sprintf("%d of %d", r.Mail.Rejected, r.Mail.Accepted))
	r.require("0 mails lost", r.Mail.Lost == 0, fmt.Sprint(r.Mail.Lost))
	r.require("ordinary staff were not disturbed", r.Staff.Errors == 0 && r.Staff.Done > 0, fmt.Sprintf("%d looks, %d errors %s", r.Staff.Done, r.Staff.Errors, r.Staff.Trouble))
	s.nobodyHeld()
	s.jobsWentOn()
	r.require("card checks went on", r.Cards.Errors == 0 && r.Cards.Done > 0, fmt.Sprintf("%d checks, %d errors %s", r.Cards.Done, r.Cards.Errors, r.Cards.Trouble))
}

func seconds(s *float64) string {
	if s == nil {
		return "never"
	}
	return fmt.Sprintf("%.3f s", *s)
}
