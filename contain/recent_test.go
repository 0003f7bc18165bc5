package contain

import (
	"fmt"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
)

// TestPreview counts who would be hit, and only what was served in the last 15 minutes.
func TestPreview(t *testing.T) {
	m := NewRecent()
	served := func(minute int, actor, person string, ik querschott.IK, outcome string) {
		m.Event(&querschott.Access{
			Time: begin.Add(time.Duration(minute) * time.Minute), Service: querschott.Desk, Insurer: ik, Tenant: ik, Role: querschott.RoleStaff,
			Actor: querschott.Actor(actor), Credential: querschott.CredentialID("c:" + actor), Person: person, Outcome: outcome,
		})
	}
	served(-16, "old", "p0", kasse, "success")
	served(-10, "a", "p1", kasse, "success")
	served(-9, "a", "p2", kasse, "success")
	served(-8, "b", "p2", kasse, "success")
	served(-7, "b", "p3", kasse, "denied")
	served(-6, "c", "p4", kasse2, "success")
	desk, eau := querschott.Compartment{Insurer: kasse, Service: querschott.Desk}, querschott.Compartment{Insurer: kasse, Service: querschott.EAU}
	for i, at := range []int{-20, -14, -13, -12, 0} { // the first too early, the last too late
		m.Mail(begin.Add(time.Duration(at)*time.Minute), querschott.Actor([]string{"x", "y"}[i%2]), eau)
	}
	m.Mail(begin.Add(-time.Minute), "y", querschott.Compartment{Insurer: kasse2, Service: querschott.EAU})
	for _, tc := range []struct {
		action                   Action
		requests, users, persons int
		mails, senders           int
	}{
		{Action{Kind: MoveDoor, Compartment: desk}, 3, 2, 2, 0, 0},
		{Action{Kind: MoveDoor, Compartment: eau}, 0, 0, 0, 3, 2},
		{Action{Kind: HoldCredential, Actor: "a", Credential: "c:a"}, 2, 1, 2, 0, 0},
		{Action{Kind: HoldCredential, Actor: "y", Credential: "c:y"}, 0, 0, 0, 0, 0},
		{Action{Kind: HoldGroup, Group: "109500969/staff"}, 3, 2, 2, 0, 0},
		{Action{Kind: ShutInsurer, Insurer: kasse2}, 1, 1, 1, 1, 1},
		{Action{Kind: HoldSession, Credential: "c:none"}, 0, 0, 0, 0, 0},
	} {
		h, known := m.Preview(&tc.action, begin), begin.Add(-16*time.Minute)
		if tc.action.Kind == MoveDoor || tc.action.Kind == ShutInsurer {
			known = begin.Add(-20 * time.Minute)
		}
		if h.Requests != tc.requests || h.Users != tc.users || h.Persons != tc.persons || h.Mails != tc.mails || h.Senders != tc.senders ||
			!h.Known.Equal(known) {
			t.Errorf("%s: %+v", tc.action.Kind, h)
		}
	}
	if got := fmt.Sprint(m.Members("109500969/staff", begin, 10)); got != "[a b old]" {
		t.Errorf("members %s", got)
	}
}

// TestPreviewKnowsWhatItForgot says from when on mail is counted when more came in than there is room for.
func TestPreviewKnowsWhatItForgot(t *testing.T) {
	m, eau := NewRecent(), querschott.Compartment{Insurer: kasse, Service: querschott.EAU}
	const more = 1000
	for i := range recentEvents + more {
		m.Mail(begin.Add(time.Duration(i-recentEvents-more)*time.Millisecond), "x", eau)
	}
	h := m.Preview(&Action{Kind: MoveDoor, Compartment: eau}, begin)
	if h.Mails != recentEvents || h.Senders != 1 || !h.Known.Equal(begin.Add(-recentEvents*time.Millisecond)) {
		t.Errorf("%+v", h)
	}
}

// TestRehearse plays alarms of the last day against a playbook, with nothing changed.
func TestRehearse(t *testing.T) {
	tr, k := trust(t)
	l := agreed(t, tr, k)
	m := NewRecent()
	old := burst("m-9", kasse)
	old.Time = begin.Add(-25 * time.Hour)
	alarms := []*watch.Alarm{old}
	event := func(at time.Time, actor, credential string, ik querschott.IK) {
		m.Event(&querschott.Access{Time: at, Service: querschott.EPA, Insurer: ik, Actor: querschott.Actor(actor), Credential: querschott.CredentialID(credential), Person: "p", Outcome: "success"})
	}
	event(begin.Add(-30*time.Hour), "early", "e", kasse)
	for i, ik := range []querschott.IK{kasse, kasse2} {
		alarms = append(alarms, burst(fmt.Sprint("m-", i), ik))
		event(begin.Add(time.Minute), "user", "u", ik)
	}
	event(begin.Add(2*time.Minute), "m-0", "c:m-0", kasse)
	event(begin.Add(3*time.Minute), "m-0", "another", kasse)
	event(begin.Add(31*time.Minute), "late", "l", kasse)
	h := Rehearse(l.For("D11", "mass-delete", begin), l.Get, Doors, JudgeConfig{}, alarms, begin.Add(time.Hour), false)
	m.Feed(h)
	if len(h.Trials) != 2 || h.Events != 5 || !h.Known.Equal(begin.Add(-30*time.Hour)) || h.AtLeast {
		t.Fatalf("%+v", h)
	}
	for i, want := range []struct {
		state                    State
		hold, requests, doorUser int
	}{{Done, 2, 3, 2}, {Asked, 0, 1, 1}} {
		hold, door := h.Trials[i].Deeds[0], h.Trials[i].Deeds[1]
		if door.State != want.state || door.Hit.Users != want.doorUser || door.Hit.Requests != want.requests || hold.Hit.Requests != want.hold {
			t.Errorf("%d: %+v, hit %+v and %+v", i, door, door.Hit, hold.Hit)
		}
	}
}

// TestRehearsalIsBounded counts more users than it may.
func TestRehearsalIsBounded(t *testing.T) {
	h := &Rehearsal{counted: maxCounted - 1}
	set := map[string]bool{}
	for _, who := range []string{"a", "a", "b"} {
		h.mark(set, who)
	}
	if len(set) != 1 || !h.AtLeast {
		t.Errorf("%d counted, at least: %t", len(set), h.AtLeast)
	}
}

// TestRecentIsBounded fills the ring one and a half times.
func TestRecentIsBounded(t *testing.T) {
	m := NewRecent()
	for i := range recentEvents * 3 / 2 {
		m.Event(&querschott.Access{Time: begin.Add(time.Duration(i) * time.Millisecond), Outcome: "success"})
	}
	h := m.Preview(&Action{Kind: MoveDoor}, begin.Add(time.Hour))
	if len(m.events) != recentEvents || h.Known.Before(begin.Add(recentEvents/2*time.Millisecond)) {
		t.Errorf("%d events, known from %s", len(m.events), h.Known)
	}
}
