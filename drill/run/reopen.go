package run

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/service/desk"
)

// reopenPlan is the plan that two operators sign in the drill: the stages that are proposed after an incident, with the
// shortest interval that a plan may have in place of its five minutes.
const reopenPlan door.Plan = "10,50,100 every 1s"

const (
	badAt    = 50               // per cent, at which one door has a bad interval
	stuck    = 40 * time.Second // without a door that moves: it is given up
	lookDoor = 150 * time.Millisecond
)

// Reopening is how doors opened again under a plan that two operators had signed.
type Reopening struct {
	Plan     door.Plan `json:"plan"`
	Doors    int       `json:"doors"`
	Whole    int       `json:"open_to_all"` // doors behind their last stage at the end
	Stages   []Stage   `json:"stages"`
	FellBack []Fall    `json:"fell_back"`
}

// Stage is when doors were seen at a share; times are from the first order to open.
type Stage struct {
	Share int     `json:"share"` // per cent
	Doors int     `json:"doors"`
	First float64 `json:"first_s"`
	Last  float64 `json:"last_s"` // when the last door came to it
}

// Fall is a door that went back by itself.
type Fall struct {
	Door  string  `json:"door"`
	From  int     `json:"from"` // per cent
	To    int     `json:"to"`   // per cent; 0: on hold
	After float64 `json:"after_s"`
}

// climb is what is seen of doors that open in stages.
type climb struct {
	begin time.Time
	last  map[querschott.Compartment]int
	seen  map[int]map[querschott.Compartment]bool // by share
	moved time.Time
	r     *Reopening
}

func newClimb(doors int) *climb {
	c := &climb{
		begin: time.Now(), moved: time.Now(), last: map[querschott.Compartment]int{}, seen: map[int]map[querschott.Compartment]bool{},
		r: &Reopening{Plan: reopenPlan, Doors: doors, FellBack: []Fall{}},
	}
	for _, s := range reopenPlan.Shares() {
		c.r.Stages = append(c.r.Stages, Stage{Share: s})
		c.seen[s] = map[querschott.Compartment]bool{}
	}
	return c
}

// note takes in how a door is seen.
func (c *climb) note(k querschott.Compartment, d node.DoorView, now time.Time) {
	share := 0
	if d.To == querschott.Open && d.Stages == reopenPlan {
		share = d.Share
	}
	before, known := c.last[k]
	if share == before {
		return
	}
	after := now.Sub(c.begin).Seconds()
	c.last[k], c.moved = share, now
	if known && share < before {
		c.r.FellBack = append(c.r.FellBack, Fall{k.String(), before, share, after})
	}
	i := slices.IndexFunc(c.r.Stages, func(s Stage) bool { return s.Share == share })
	if i < 0 || c.seen[share][k] {
		return
	}
	c.seen[share][k] = true
	s := &c.r.Stages[i]
	if s.Doors++; s.Doors == 1 {
		s.First = after
	}
	s.Last = after
}

// whole counts the doors behind their last stage.
func (c *climb) whole() (n int) {
	for _, share := range c.last {
		if share == 100 {
			n++
		}
	}
	return n
}

// reopen has one operator propose and another approve that every door opens in stages, and looks how the platform leads them
// on. While one door is at its second stage an alarm about it is provoked.
func (b *blackout) reopen(ctx context.Context) error {
	slices.SortFunc(b.shut, querschott.Compartment.Compare)
	known, err := b.p.node.Verifiers(ctx)
	if err != nil {
		return err
	}
	b.opt.Progress("two operators sign that %d doors open in stages: %s", len(b.shut), reopenPlan)
	c := newClimb(len(b.shut))
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		opening, octx := errgroup.WithContext(gctx)
		opening.SetLimit(4)
		for _, k := range b.shut {
			opening.Go(func() error { return b.openDoor(octx, k, known) })
		}
		return opening.Wait()
	})
	g.Go(func() error { return b.follow(gctx, c) })
	err = g.Wait()
	c.r.Whole = c.whole()
	b.report.Reopening = c.r
	return err
}

// follow looks at the doors until all are open to everybody, or none moves any more.
func (b *blackout) follow(ctx context.Context, c *climb) error {
	provoked, said := false, 0
	at := querschott.Compartment{Insurer: b.p.world.Insurers()[proberOf].IK, Service: querschott.Desk}
	for c.whole() < len(b.shut) && time.Since(c.moved) < stuck {
		doors, err := b.p.doors(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, k := range b.shut {
			c.note(k, doors[k], now)
		}
		for ; said < len(c.r.Stages) && c.r.Stages[said].Doors > 0; said++ {
			b.opt.Progress("the first door is open to %d %% of the callers", c.r.Stages[said].Share)
		}
		if !provoked && c.last[at] == badAt {
			provoked = true
			b.opt.Progress("somebody of %s tries other insurers' desks again", at.Insurer)
			if _, err := b.probe(ctx, "prober.again."+b.tag, waves); err != nil {
				return err
			}
		}
		if err := wait(ctx, lookDoor); err != nil {
			return err
		}
	}
	return nil
}

// probe has an employee try the desks of other insurers, whose doors are open.
func (b *blackout) probe(ctx context.Context, name string, first int) (*employee, error) {
	e := b.p.employee(b.p.world.Insurers()[proberOf], name)
	b.probers[e.actor()] = true
	for i := range 6 {
		other := b.p.world.Insurers()[first+i]
		someone, _ := other.Persons()
		a, err := e.ask(ctx, desk.PathPerson, other.IK, desk.PersonRequest{Reason: "case:VG-0000", Person: b.p.world.Person(someone).Number})
		if err != nil {
			return e, err
		}
		if a.Status == http.StatusOK {
			return e, errors.New("another insurer's desk answered")
		}
	}
	return e, nil
}

// openDoor opens one door by two operators.
func (b *blackout) openDoor(ctx context.Context, c querschott.Compartment, known note.Verifiers) error {
	m, err := b.p.node.Order(ctx, node.DraftRequest{
		Compartment: c, To: querschott.Open, Reason: "drill: systems are clean", Incident: incidentRef, Stages: string(reopenPlan), Actor: b.names[0],
	}, b.signers[0])
	if err != nil {
		return err
	}
	if m.Order != nil {
		return fmt.Errorf("the door of %s was opened by one person alone", c)
	}
	_, err = b.p.node.Approve(ctx, *m.Proposal, known, b.signers[1])
	return err
}

// judgeReopening says whether two persons, three stages and the platform alone led the doors on.
func (b *blackout) judgeReopening() {
	r := b.report.Reopening
	through := true
	var found []string
	for _, s := range r.Stages {
		through = through && s.Doors == r.Doors
		found = append(found, fmt.Sprintf("%d at %d %% from %.1f s to %.1f s", s.Doors, s.Share, s.First, s.Last))
	}
	b.report.require("opening took two operators, and the platform led every door through the stages that they had signed", through && r.Whole == r.Doors,
		fmt.Sprintf("%q: %v; %d of %d open to all at the end", r.Plan, found, r.Whole, r.Doors))
	fell := ""
	for _, f := range r.FellBack {
		fell += fmt.Sprintf("%s from %d to %d %% ", f.Door, f.From, f.To)
	}
	b.report.require("a door falls back by itself when its stage goes badly, and no other", len(r.FellBack) == 1 && r.FellBack[0].From == badAt, fell)
}
