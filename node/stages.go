package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/watch"
)

const (
	stageEvents   = 8192
	stageErrors   = 5  // per cent of the requests that may fail in a good interval
	stageRequests = 20 // that there must have been for a share to mean anything
)

// stages judges how a door does that opens in stages: by alarms about its compartment, by how many requests failed, by what
// became of its mail, and by canary traffic.
type stages struct {
	events  *access.Subscription
	trouble func() map[querschott.Compartment]string // what mail cannot be delivered, and why
	canary  func(querschott.Compartment) error       // tries the door as callers and senders do
	leaving func() bool                              // whether the entrances are to end
	mu      sync.Mutex
	counts  map[querschott.Compartment]*stageCount // only of doors that open in stages
}

// stageCount is what happened since the interval before was judged.
type stageCount struct {
	requests, failed int
	damaged          int // messages that were damaged in every copy
	alarm            string
}

// openStages begins to listen to alarms and requests.
func (n *Node) openStages(context.Context) error {
	n.stages.events = n.stream.Subscribe("stages", stageEvents)
	n.onAlarm(n.stages.hearAlarm)
	return nil
}

// hearAlarm notes an alarm about a compartment. One in shadow mode leads to nothing.
func (s *stages) hearAlarm(_ context.Context, a *watch.Alarm) {
	if a.Mode == watch.Shadow {
		return
	}
	s.count(querschott.Compartment{Insurer: a.Insurer, Service: a.Service}, func(c *stageCount) { c.alarm = a.Detector })
}

// hearSharp notes an alarm that was raised at double sensitivity. It leads a door back, and to nothing else.
func (s *stages) hearSharp(a *watch.Alarm) {
	if a.Mode == watch.Shadow {
		return
	}
	s.count(querschott.Compartment{Insurer: a.Insurer, Service: a.Service}, func(c *stageCount) {
		if c.alarm == "" {
			c.alarm = a.Detector + " at double sensitivity"
		}
	})
}

// doors lists the doors with a plan.
func (s *stages) doors() []querschott.Compartment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.counts))
}

func (s *stages) count(c querschott.Compartment, do func(*stageCount)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.counts[c]; n != nil {
		do(n)
	}
}

// run counts requests until the context ends.
func (s *stages) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-s.events.Events():
			if e.Canary {
				continue // it is judged by itself
			}
			s.count(querschott.Compartment{Insurer: e.Insurer, Service: e.Service}, func(c *stageCount) {
				c.requests++
				if e.Status >= 500 && e.Outcome == ledger.OutcomeFailed.String() {
					c.failed++
				}
			})
		}
	}
}

// delivered counts what became of messages.
func (s *stages) delivered(list []intake.Delivery) {
	for _, d := range list {
		if d.Note.Result == intake.ResultDamaged {
			s.count(d.Compartment, func(c *stageCount) { c.damaged++ })
		}
	}
}

// judge says why the interval that ends was bad, and begins the next one.
func (s *stages) judge(c querschott.Compartment, _, _ time.Time) error {
	if err := s.take(c).bad(); err != nil {
		return err
	}
	if c.Service.ByMail() && s.trouble()[c] != "" {
		return errors.New("mail cannot be delivered")
	}
	if s.leaving() {
		return door.ErrUnjudged
	}
	err := s.canary(c)
	if s.leaving() {
		return door.ErrUnjudged // an entrance that ends with the node is not broken
	}
	return err
}

// take ends an interval and begins the next one.
func (s *stages) take(c querschott.Compartment) stageCount {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.counts[c]
	s.counts[c] = &stageCount{}
	if n == nil {
		return stageCount{}
	}
	return *n
}

// bad says what of the counts makes the interval a bad one.
func (n stageCount) bad() error {
	switch {
	case n.alarm != "":
		return fmt.Errorf("alarm %s", n.alarm)
	case n.requests >= stageRequests && n.failed*100 > n.requests*stageErrors:
		return fmt.Errorf("%d of %d requests failed", n.failed, n.requests)
	case n.damaged > 0:
		return fmt.Errorf("%d messages were damaged", n.damaged)
	}
	return nil
}

// begin counts for a door from the moment at which it opens in stages.
func (s *stages) begin(o door.Order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Stages == "" {
		delete(s.counts, o.Compartment)
	} else if s.counts[o.Compartment] == nil {
		s.counts[o.Compartment] = &stageCount{}
	}
}

// obeyPump has the pump follow a door at its stage.
func (n *Node) obeyPump(ctx context.Context, o door.Order) error {
	n.stages.begin(o)
	n.pump.Pace(o.Compartment, n.doors.Share(o.Compartment))
	return n.pump.Obey(ctx, o.Compartment, o.Epoch, o.To)
}

// stagesOf is a plan as the ledger's leaves have it, at a share.
func stagesOf(p door.Plan, share int) (s ledger.Stages) {
	for i, one := range p.Shares() {
		s.Plan[i] = uint8(one)
	}
	if s.Plan[0] != 0 {
		s.Share, s.Every = uint8(share), p.Every()
	}
	return s
}

// planOf is the plan of a leaf. What is none is no plan of an order's either.
func planOf(s ledger.Stages) door.Plan {
	if s == (ledger.Stages{}) {
		return ""
	}
	p, err := door.MakePlan(s.Shares(), s.Every)
	if err != nil {
		return "of another version"
	}
	return p
}

// recordStep is the ledger's entry for a stage of an opening.
func (n *Node) recordStep(ctx context.Context, o door.Order, s door.Step) error {
	return n.append(ctx, ledger.Entry{
		Kind: ledger.KindDoorChange, At: s.At, Compartment: o.Compartment, Action: doorActions[o.To],
		Data: ledger.DataDoorOrder, Outcome: ledger.OutcomeSuccess, Reason: ledger.ReasonOperator, Role: querschott.RoleMachine,
		Purpose: ledger.PurposeSecurity, Actor: door.MachineActor, Epoch: o.Epoch, Stages: stagesOf(o.Stages, s.Share),
		Detail: []ledger.Field{{Name: "step", Value: s.Text()}},
	})
}
