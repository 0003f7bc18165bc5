package run

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/attack"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/internal/raced"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/watch"
)

// everyKnown is how many persons of an insurer are there: more than an employee may reach in a quarter of an hour, so that whoever reads on
// meets a cap at any speed.
const everyKnown = 120

// certain are the families that an exact rule or a cap must find, whatever the machine is doing: they go on until it has.
var certain = map[string]bool{"bulk-fast": true, "bulk-office": true, "bulk-rotating": true, "foreign-insurer": true, "job-abuse": true}

// Every family that can be played, all at once on one platform, with seeds for everything that is drawn. What is asserted holds at any
// speed: detection only of what met an exact rule or a cap.
func TestEveryFamily(t *testing.T) {
	most := raced.Some(1000, 6)
	p := throwaway(t)
	ctx := t.Context()
	s, err := open(ctx, p, "every family", volume{mails: 10, checks: 4, insurers: 3, clerks: 3, known: everyKnown, seed: 1}, Options{Seed: 1, Progress: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	thieves := everybody(t, p, most)
	var g errgroup.Group
	for _, th := range thieves {
		g.Go(func() error { return th.goOn(ctx, s.alarms) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := s.close(ctx); err != nil {
		t.Fatal(err)
	}
	r := s.report
	if r.Mail.Accepted == 0 || r.Mail.Rejected > 0 || r.Mail.Lost > 0 || len(r.Held) > 0 {
		t.Errorf("mail %+v; held although they only worked: %v", r.Mail, r.Held)
	}
	if r.Jobs == nil || r.Jobs.Done == 0 || r.Jobs.Held > 0 {
		t.Errorf("registered jobs: %+v", r.Jobs)
	}
	attackers, at := map[querschott.Actor]bool{}, map[string]bool{}
	for _, th := range thieves {
		for _, h := range th.hands {
			if attackers[h.actor()] {
				t.Errorf("%s attacks twice", h.actor())
			}
			attackers[h.actor()] = !th.family.Benign
			at[querschott.Compartment{Insurer: h.insurer.IK, Service: querschott.Desk}.String()] = true
		}
	}
	for _, door := range r.Closed {
		if !at[door] {
			t.Errorf("the door %s moved, where nobody of an attack works", door)
		}
	}
	for _, h := range s.alarms.list {
		if a := h.alarm; a.Mode == watch.Live && a.Kind == watch.Exact && !attackers[a.Actor] {
			t.Errorf("%s/%s about %s, who only worked", a.Detector, a.Cause, a.Actor)
		}
	}
	for _, th := range thieves {
		report := *r
		report.Drill = th.family.Name
		one := &stage{p: p, opt: s.opt, traffic: s.traffic, alarms: s.alarms, report: &report}
		if err := one.theft(ctx, th); err != nil {
			t.Errorf("%s: %v", th.family.Name, err)
			continue
		}
		th.judged(t, &report)
	}
}

// everybody is the attacker of each of most families, of those that are certain to be found first, with its tokens. Names are those of the
// families: nobody is the attacker of two.
func everybody(t *testing.T, p *Platform, most int) (thieves []*thief) {
	t.Helper()
	list, err := attack.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(list, func(a, b *attack.Family) int {
		switch {
		case certain[a.Name] == certain[b.Name]:
			return 0
		case certain[a.Name]:
			return -1
		}
		return 1
	})
	machines, err := p.stealable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if Playable(f) != nil || len(thieves) == most {
			continue
		}
		l := newLand(p.world, everyKnown)
		l.machines = machines
		th, err := newThief(p, l, f, 1, longest)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		for k, h := range th.hands {
			h.name = fmt.Sprintf("%s.%s.%d", f.Name, k.Role, k.Number)
			h.http.Timeout = 0 // an answer that comes too late for the truth would not be one that nobody got
			delete(machines, k.Insurer)
		}
		if err := th.prepare(t.Context()); err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		thieves = append(thieves, th)
	}
	if len(thieves) < min(most, 25) {
		t.Errorf("only %d families can be played", len(thieves))
	}
	return thieves
}

// goOn plays an attack for its time, and until whatever must be noticed of it was noticed and ended.
func (t *thief) goOn(ctx context.Context, heard *alarms) error {
	playing, end := context.WithCancel(ctx)
	defer end()
	var g errgroup.Group
	g.Go(func() error { return t.play(playing) })
	g.Go(func() error {
		defer end()
		err := wait(ctx, longest)
		for err == nil && certain[t.family.Name] && len(t.broken(heard)) == 0 {
			err = wait(ctx, knockAgain)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	for {
		open := false
		for h := range t.broken(heard) {
			t.mu.Lock()
			held, asked := !h.contained.IsZero(), h.asked
			t.mu.Unlock()
			if held {
				continue
			}
			open = true
			if at, _ := heard.about(h.actor()); !at.IsZero() {
				if _, err := t.grab(ctx, asked); err != nil {
					return err
				}
			}
		}
		if !open {
			return nil
		}
		if err := wait(ctx, knockAgain); err != nil {
			return err
		}
	}
}

// broken are the credentials that have met an exact rule, and so must be found.
func (t *thief) broken(heard *alarms) map[*hand]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := map[*hand]bool{}
	for _, h := range t.order {
		at, _ := heard.about(h.actor())
		if !h.capped.IsZero() || !at.IsZero() || t.family.Name == "job-abuse" && len(h.got) > 0 {
			list[h] = true
		}
	}
	return list
}

// judged asserts what must be so of every family.
func (t *thief) judged(tb testing.TB, r *Report) {
	tb.Helper()
	name := t.family.Name
	union, persons, free := map[whom]bool{}, 0, 0
	detected := false
	for i, h := range t.order {
		th := &r.Thefts[i]
		persons += th.Persons
		for w := range h.got {
			union[w] = true
		}
		most := gatehttp.DefaultReaches()[querschott.RoleStaff].Minute
		if h.machine != nil {
			most = gatehttp.DefaultReaches()[querschott.RolePartner].Minute
		}
		if th.StoppedAfter != nil {
			most *= int(*th.StoppedAfter/60) + 1
		}
		if th.Actor != h.actor() || th.Persons != len(h.got) || th.Persons > most || th.Requests < th.Persons || th.PastCap > th.Persons || (th.Persons > 0) != (th.StoppedAfter != nil) {
			tb.Errorf("%s: a credential, which may reach %d persons: %+v", name, most, *th)
		}
		if (th.Credential == "") != (th.DetectedAfter == nil && th.Persons == 0) {
			tb.Errorf("%s: what the platform calls it is not known, or is without a source: %+v", name, *th)
		}
		if th.ContainedAfter == nil {
			free++
		}
		detected = detected || th.DetectedAfter != nil
		if t.family.Benign && th.ContainedAfter != nil {
			tb.Errorf("%s: held although it is no attack: %+v", name, *th)
		}
	}
	if len(r.Thefts) != len(t.order) || len(t.order) == 0 || r.Reached != len(union) || persons < r.Reached || r.Drill != name || r.Mode != node.ModeDrill || r.Seed != 1 || r.Factor < 1 || r.Seconds <= 0 {
		tb.Errorf("%s: the report is %+v", name, *r)
	}
	if detected != (r.DetectedAfter != nil) || (free == 0) != (r.ContainedAfter != nil) || certain[name] && !detected {
		tb.Errorf("%s: detected after %s, contained after %s, %d credentials are free: %+v", name, seconds(r.DetectedAfter), seconds(r.ContainedAfter), free, r.Thefts)
	}
	if len(union) > 0 || detected {
		if s := r.Scope; s == nil || !s.Exact || s.Missed+s.Extra > 0 || s.Persons != uint64(r.Reached) || s.Verified == nil || !*s.Verified {
			tb.Errorf("%s: reached %d, scope %+v", name, r.Reached, r.Scope)
		}
	}
	var failed []string
	for _, c := range r.Conditions {
		if !c.Passed {
			failed = append(failed, c.Text)
		}
	}
	tb.Logf("%-28s %2d credentials, %3d persons, detected %-8s free %d; not met: %s", name, len(t.order), r.Reached, seconds(r.DetectedAfter), free, strings.Join(failed, "; "))
}
