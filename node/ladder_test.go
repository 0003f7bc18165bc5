package node

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/watch"
)

// ladder is a running node with two insurers, on whose doors and deny list the rungs of the ladder act.
type ladder struct {
	*live
	h     *house
	m     *mint
	ahead atomic.Int64 // of the node's clock
	runs  int
}

func newLadder(t *testing.T) *ladder {
	t.Helper()
	l := &ladder{}
	l.h, l.m = newDeskHouse(t)
	l.h.cfg.Contain.Automatic = string(contain.Doors)
	l.h.opt.Now = func() time.Time { return time.Now().Add(time.Duration(l.ahead.Load())) }
	l.live = l.h.run()
	l.openAll()
	for i := range 2 {
		l.deliver(i, 1)
	}
	return l
}

// raise has the judge hear of an alarm, and returns the run that follows when it waits for nothing but persons.
func (l *ladder) raise(t *testing.T, a *watch.Alarm) contain.Run {
	t.Helper()
	l.containAlarm(t.Context(), a)
	l.runs++
	return l.over(l.runs)
}

// read has an employee of the i-th insurer read a person at the desk, and returns the status.
func (l *ladder) read(t *testing.T, c *clerk, i int) int {
	t.Helper()
	return c.ask(t.Context(), "/desk/v1/person/", c.insurer, map[string]string{
		"reason": "case:VG-1", "person": l.h.person(i, 0).Number.Reveal(),
	}).Status
}

// approve has two persons say yes to what a run asks about one rung, and looks whether one of them was not enough.
func (l *ladder) approve(t *testing.T, r *contain.Run, kind contain.ActionKind) contain.Run {
	t.Helper()
	number := 0
	for i, d := range r.Deeds {
		if d.Action != nil && d.Action.Kind == kind && d.State == contain.Asked {
			number = i + 1
		}
	}
	if number == 0 {
		t.Fatalf("no %s is asked for: %s", kind, describeDeeds(r))
	}
	c := NewClient(l.h.cfg)
	one, err := c.ApproveRun(t.Context(), l.h.signer(anna), r.ID, number)
	if err != nil || one.Deeds[number-1].State != contain.Asked {
		t.Fatalf("one person's yes: %s, %v", describeDeeds(&one), err)
	}
	two, err := c.ApproveRun(t.Context(), l.h.signer(ben), r.ID, number)
	if err != nil || two.Deeds[number-1].State != contain.Done {
		t.Fatalf("two persons' yes: %s, %v", describeDeeds(&two), err)
	}
	return two
}

func (l *ladder) release(t *testing.T, r *contain.Run) {
	t.Helper()
	if _, err := NewClient(l.h.cfg).ReleaseRun(t.Context(), l.h.signer(anna), r.ID, 0); err != nil {
		t.Fatal(err)
	}
}

// expires sets the clock behind all times to live and waits until the run's deeds are undone.
func (l *ladder) expires(t *testing.T, r *contain.Run) {
	t.Helper()
	l.ahead.Store(int64(25 * time.Hour))
	l.h.until("its time is over", func() bool {
		for _, now := range l.contain.engine.Runs() {
			if now.ID == r.ID {
				return !strings.Contains(describeDeeds(&now), " done")
			}
		}
		return false
	})
}

// TestLadderHoldsWhoAsks takes the rungs session, credential and group to requests at the gate: who is meant is refused, nobody else is,
// and after the inverse, by a person or by the end of its time, everybody is let in.
func TestLadderHoldsWhoAsks(t *testing.T) {
	l := newLadder(t)
	meant, colleague, other := l.clerk(l.m, 0, "c.mueller"), l.clerk(l.m, 0, "d.schulz"), l.clerk(l.m, 1, "e.weber")
	seen := func(when string, wants ...int) {
		t.Helper()
		for i, c := range []*clerk{meant, colleague, other} {
			if got := l.read(t, c, min(i/2, 1)); got != wants[i] {
				t.Errorf("%s: %s gets %d, want %d", when, c.name, got, wants[i])
			}
		}
	}
	const ok, no = http.StatusOK, http.StatusForbidden
	seen("at first", ok, ok, ok)
	l.h.until("the requests are remembered", func() bool { return len(l.contain.recent.Members(string(meant.insurer)+"/staff", time.Now(), 9)) == 2 })
	desk := l.h.compartment(0, querschott.Desk)
	about := func(detector, cause string) *watch.Alarm {
		a := liveAlarm(l.actorOf(t, meant), desk)
		a.Credential, a.Detector, a.Cause = l.credentialOf(t, meant), detector, cause
		return a
	}
	for _, undo := range []struct {
		name string
		do   func(*testing.T, *contain.Run)
	}{{"released", l.release}, {"over", l.expires}} {
		r := l.raise(t, about("D1", "cap-"+undo.name))
		seen("the credential is held", no, ok, ok)
		undo.do(t, &r)
		l.ahead.Store(0)
		seen("the credential is "+undo.name, ok, ok, ok)

		group := liveAlarm(querschott.Actor("group:"+string(meant.insurer)+"/staff"), desk)
		group.Credential, group.Detector, group.Cause = "", "D15", "group-"+undo.name
		r = l.raise(t, group)
		seen("the group is asked for", ok, ok, ok)
		r = l.approve(t, &r, contain.HoldGroup)
		seen("the group is held", no, no, ok)
		undo.do(t, &r)
		l.ahead.Store(0)
		seen("the group is "+undo.name, ok, ok, ok)

		d := contain.Deed{Key: "step#0.1", Action: &contain.Action{Kind: contain.HoldSession, Credential: l.credentialOf(t, meant), Actor: l.actorOf(t, meant)}, At: time.Now(), Until: time.Now().Add(time.Hour)}
		session := contain.Run{ID: "run-session-" + undo.name, Alarm: *about("D14", "two-places")}
		if _, err := l.doDeed(t.Context(), &session, &d); err != nil {
			t.Fatal(err)
		}
		if list := l.Denied(); len(list) != 1 || list[0].Value != string(d.Action.Credential) {
			t.Errorf("a session is held by %+v", list)
		}
		seen("the session is held", no, ok, ok)
		if _, err := l.undoDeed(t.Context(), &session, &d, anna); err != nil {
			t.Fatal(err)
		}
		seen("the session is released", ok, ok, ok)
	}
}

// actorOf and credentialOf are what access events call an employee.
func (l *ladder) actorOf(t *testing.T, c *clerk) querschott.Actor {
	t.Helper()
	actor, _ := l.namesOf(t, c)
	return actor
}

func (l *ladder) credentialOf(t *testing.T, c *clerk) querschott.CredentialID {
	t.Helper()
	_, credential := l.namesOf(t, c)
	return credential
}

func (l *ladder) namesOf(t *testing.T, c *clerk) (querschott.Actor, querschott.CredentialID) {
	t.Helper()
	sub := l.stream.Subscribe("test", 16)
	defer sub.Close()
	if got := l.read(t, c, 0); got != http.StatusOK {
		t.Fatalf("%s gets %d", c.name, got)
	}
	for e := range sub.Events() {
		if e.Actor != "" {
			return e.Actor, e.Credential
		}
	}
	return "", ""
}

// TestLadderShutsAnInsurer takes the rungs door and insurer to the doors of a running node: two persons' yes puts all doors of one insurer
// on hold and no other one; the inverse proposes to open exactly those, and two operators' yes makes everything as it was. Mail is
// taken in all the while.
func TestLadderShutsAnInsurer(t *testing.T) {
	l := newLadder(t)
	var mails []drill.Mail
	states := func(i int) string {
		var list []string
		for _, s := range []querschott.Service{querschott.EAU, querschott.VSDM, querschott.Desk} {
			list = append(list, l.Door(l.h.compartment(i, s)).To.String())
		}
		return strings.Join(list, " ")
	}
	for i, undo := range []struct { // each with an insurer of its own
		name string
		do   func(*testing.T, *contain.Run)
	}{{"released", l.release}, {"over", l.expires}} {
		vsdm, desk := l.h.compartment(i, querschott.VSDM), l.h.compartment(i, querschott.Desk)
		one := l.raise(t, liveAlarm(querschott.Actor(fmt.Sprint("m-1", i)), vsdm))
		one = l.approve(t, &one, contain.MoveDoor)
		if got := states(i); got != "open read-only open" {
			t.Errorf("the rung of the door: %s", got)
		}
		two := l.raise(t, liveAlarm(querschott.Actor(fmt.Sprint("m-2", i)), desk))
		if got := describeDeeds(&two); got != "hold-credential done, door asked, insurer asked, manual asked" {
			t.Fatalf("two services of one insurer: %s", got)
		}
		two = l.approve(t, &two, contain.ShutInsurer)
		if mine, other := states(i), states(1-i); mine != "hold hold hold" || other != "open open open" {
			t.Errorf("the rung of the insurer: %s; the other insurer: %s", mine, other)
		}
		if got := two.Deeds[2].Effect; got != fmt.Sprintf("4 of 4 doors of insurer %s are hold or closed", vsdm.Insurer) {
			t.Errorf("the effect is %q", got)
		}
		mail := l.h.notes(i, 1)
		l.send(mail...)
		mails = append(mails, mail...)
		undo.do(t, &two)
		if got := len(l.doors.Proposals()); got != 4 || states(i) != "hold hold hold" {
			t.Errorf("%s: %d openings are proposed, want 4, and the doors are %s", undo.name, got, states(i))
		}
		l.approveProposed()
		l.ahead.Store(0)
		if got := states(i); got != "open read-only open" && undo.name == "released" || strings.Contains(got, "hold") {
			t.Errorf("%s and approved: %s, want the doors as they were before the insurer was shut", undo.name, got)
		}
		if l.Door(vsdm).To != querschott.Open {
			l.move(querschott.Open, vsdm)
		}
	}
	l.arrive(mails...)
}
