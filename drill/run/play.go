package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/watch"
)

// Show says how the January attack is played beside a demonstration that runs.
type Show struct {
	Dir   string              // of the demonstration
	Seed  uint64              // of the attack
	After time.Duration       // when it begins
	Name  func(string) string // pseudonym of somebody, as the operators' page has it
	Mail  func() string       // what has become of the practices' mail
	Say   func(string)        // a line of the course, when it happens
}

// Course is what a demonstration's report says of the attack; what has not happened, or could not be measured, is null.
type Course struct {
	DetectedAfter  *float64 `json:"detected_after_s"`
	ContainedAfter *float64 `json:"contained_after_s"`
	Reached        int      `json:"records_reached"`
	Closed         []string `json:"doors_closed"`
	Scope          *Scope   `json:"scope"`
}

// What a demonstration has of ordinary work at the desk: two looks a second.
const (
	showInsurers = 3
	showClerks   = 2
	showPause    = 3 * time.Second
	showKnown    = 100 // persons of each insurer whom clerks and attacker ask about
)

// show is a demonstration's attack under way.
type show struct {
	Show
	p      *Platform
	t      *thief
	alarms *alarms
	doors  map[querschott.Compartment]node.DoorView // before
	warned *heard                                   // the first alarm, when it was told
	held   bool                                     // that was told too
}

// Play has clerks look somebody up in a demonstration that is starting, and plays the attack. It goes on until the context
// ends. The course is what has happened until then; nil, if the attack has not begun.
func Play(ctx context.Context, opt Show) (*Course, error) {
	begin := time.Now()
	p, err := attachSoon(ctx, opt.Dir)
	if err != nil {
		return nil, ended(ctx, err)
	}
	s := &show{Show: opt, p: p}
	clerks, err := p.clerks(ctx, showInsurers, showClerks, showKnown)
	if err == nil {
		err = s.prepare(ctx)
	}
	if err != nil {
		return nil, ended(ctx, fmt.Errorf("couldn't prepare the attack: %w", err))
	}
	var g errgroup.Group
	var c *Course
	for i, k := range clerks {
		g.Go(func() error { return k.work(ctx, rand.New(rand.NewPCG(opt.Seed, uint64(i))), showPause) })
	}
	g.Go(func() error {
		if wait(ctx, time.Until(begin.Add(opt.After))) != nil {
			return nil //nolint:nilerr // it ends before
		}
		c, err = s.attack(ctx)
		if err != nil {
			return err
		}
		w := sum(clerks)
		s.say("ordinary staff  %d looks at the desk, %d refused by a door, %d errors %s", w.Done, w.Refused, w.Errors, w.Trouble)
		s.say("%s", s.Mail())
		return nil
	})
	return c, ended(ctx, g.Wait())
}

// ended is the error of what was not told to end.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was told to end
	}
	return err
}

func (s *show) say(format string, args ...any) {
	s.Say(strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// prepare steals one credential.
func (s *show) prepare(ctx context.Context) error {
	f, err := Find(January)
	if err != nil {
		return err
	}
	f.Who.Spares = attack.Range{}
	if s.t, err = newThief(s.p, newLand(s.p.world, showKnown), f, s.Seed, 0); err != nil {
		return err
	}
	return s.t.prepare(ctx)
}

// attack plays it and tells its course.
func (s *show) attack(ctx context.Context) (c *Course, err error) {
	if s.doors, err = s.p.doors(ctx); err != nil {
		return nil, err
	}
	if s.alarms, err = listen(ctx, s.p.node); err != nil {
		return nil, err
	}
	s.say("attack  a stolen credential of an insurer's employee reads on through the desk, as fast as the gate answers")
	hearing, stop := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return s.alarms.run(hearing) })
	g.Go(func() error { s.tell(hearing); return nil })
	attacking, end := context.WithTimeout(ctx, longest)
	err = s.t.play(attacking)
	end()
	err = errors.Join(err, s.settle(ctx))
	stop()
	err = errors.Join(err, g.Wait())
	s.look()
	c = &Course{Reached: len(s.t.got), Closed: []string{}}
	c.DetectedAfter, c.ContainedAfter = s.t.summary(s.alarms)
	if err != nil {
		return c, err
	}
	return c, s.result(ctx, c)
}

// settle waits until the platform's alarm is heard, for some time: the attack may be over before.
func (s *show) settle(ctx context.Context) error {
	waiting, end := context.WithTimeout(ctx, after)
	defer end()
	for s.first() == nil {
		if wait(waiting, lookAgain) != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// tell looks again and again what there is to say.
func (s *show) tell(ctx context.Context) {
	for wait(ctx, lookAgain) == nil {
		s.look()
	}
}

// look says when the first alarm is raised, and when the credential is held.
func (s *show) look() {
	if s.warned == nil {
		if s.warned = s.first(); s.warned == nil {
			return
		}
		s.warn(s.warned)
	}
	if first, held := s.t.containment(); !s.held && !held.IsZero() {
		s.held = true
		s.say("credential held  %s after the warning, %.2f s after the first request", late(held.Sub(s.warned.at)), held.Sub(first).Seconds())
	}
}

// late writes a time that may be nothing: the credential can be refused before the drill has heard of the alarm.
func late(d time.Duration) string {
	return fmt.Sprintf("%.2f s", max(0, d.Seconds()))
}

// first returns the first alarm about the attacker that may lead to something.
func (s *show) first() *heard {
	s.alarms.mu.Lock()
	defer s.alarms.mu.Unlock()
	i := slices.IndexFunc(s.alarms.list, func(h heard) bool {
		return h.alarm.Mode == watch.Live && slices.ContainsFunc(s.t.run.Holders(), func(o attack.Holder) bool { return s.t.hands[o].actor() == h.alarm.Actor })
	})
	if i < 0 {
		return nil
	}
	h := s.alarms.list[i]
	return &h
}

func (s *show) warn(h *heard) {
	var numbers []string
	for _, n := range h.alarm.Arithmetic {
		unit := n.Unit
		if n.Value == 1 {
			unit = strings.TrimSuffix(unit, "s")
		}
		numbers = append(numbers, fmt.Sprintf("%s %g %s", n.Name, n.Value, unit))
	}
	s.say("early warning  %s %s, %s, %s: %s; %d persons read by then", h.alarm.Detector, h.alarm.Cause, s.Name(string(h.alarm.Actor)),
		h.alarm.Severity, strings.Join(numbers, ", "), s.t.reached())
}

// result asks the platform for doors and scope.
func (s *show) result(ctx context.Context, c *Course) error {
	if c.DetectedAfter == nil {
		s.say("early warning  none about the attacker")
	}
	if c.ContainedAfter == nil {
		s.say("credential not held")
	}
	after, err := s.p.doors(ctx)
	if err != nil {
		return err
	}
	for k, d := range after {
		if d.Epoch != s.doors[k].Epoch {
			c.Closed = append(c.Closed, k.String())
		}
	}
	slices.Sort(c.Closed)
	moved := "none closed"
	if n := len(c.Closed); n > 0 {
		moved = fmt.Sprintf("%d moved", n)
	}
	s.say("doors  %s, %d untouched", moved, len(after)-len(c.Closed))
	return s.scope(ctx, c)
}

// scope compares whom the platform says the credential reached with whom it did.
func (s *show) scope(ctx context.Context, c *Course) error {
	thefts := s.t.thefts(s.alarms)
	if err := s.t.identify(ctx, thefts); err != nil {
		return err
	}
	list := credentials(thefts)
	if len(list) == 0 {
		return errors.New("the platform knows no credential of the attacker: it can't be asked whom it reached")
	}
	var err error
	if c.Scope, _, err = s.t.compare(ctx, list); err != nil {
		return err
	}
	exact, proof := "NOT exact", "proof does NOT verify"
	if c.Scope.Exact {
		exact = "exact"
	}
	if v := c.Scope.Verified; v != nil && *v {
		proof = "proof verified"
	}
	s.say("records reached  %d; the platform says %d (scope %s: missed %d, extra %d, %s)", c.Reached, c.Scope.Persons, exact, c.Scope.Missed, c.Scope.Extra, proof)
	return nil
}

// reached is how many persons' data came.
func (t *thief) reached() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.got)
}

// containment is when the first request was made and when a credential was first refused as such.
func (t *thief) containment() (first, held time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.order {
		if !h.contained.IsZero() && (held.IsZero() || h.contained.Before(held)) {
			held = h.contained
		}
	}
	return t.first, held
}
