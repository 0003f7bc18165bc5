package contain

import (
	"fmt"
	"testing"
	"time"

	"github.com/querschott/querschott"
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
	desk := querschott.Compartment{Insurer: kasse, Service: querschott.Desk}
	for _, tc := range []struct {
		action                   Action
		requests, users, persons int
	}{
		{Action{Kind: MoveDoor, Compartment: desk}, 3, 2, 2},
		{Action{Kind: HoldCredential, Actor: "a", Credential: "c:a"}, 2, 1, 2},
		{Action{Kind: HoldGroup, Group: "109500969/staff"}, 3, 2, 2},
		{Action{Kind: ShutInsurer, Compartment: querschott.Compartment{Insurer: kasse2}}, 1, 1, 1},
		{Action{Kind: HoldSession, Credential: "c:none"}, 0, 0, 0},
	} {
		h := m.Preview(&tc.action, begin)
		if h.Requests != tc.requests || h.Users != tc.users || h.Persons != tc.persons || !h.Known.Equal(begin.Add(-16*time.Minute)) {
			t.Errorf("%s: %+v", tc.action.Kind, h)
		}
	}
	if got := fmt.Sprint(m.Members("109500969/staff", begin, 10)); got != "[a b old]" {
		t.Errorf("members %s", got)
	}
}

// TestDryRun plays alarms of the last day against a playbook, with nothing changed.
func TestDryRun(t *testing.T) {
	tr, k := trust(t)
	l := agreed(t, tr, k)
	m := NewRecent()
	for i, ik := range []querschott.IK{kasse, kasse2} {
		a := burst(fmt.Sprint("m-", i), ik)
		m.Alarm(a)
		m.Event(&querschott.Access{Time: begin.Add(time.Minute), Service: querschott.EPA, Insurer: ik, Actor: "user", Outcome: "success"})
	}
	old := burst("m-9", kasse)
	old.Time = begin.Add(-25 * time.Hour)
	m.Alarm(old)
	book := l.For("D11", "mass-delete", begin)
	got := m.DryRun(book, l.Get, Doors, JudgeConfig{}, begin, false)
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []State{Done, Asked} {
		d := got[i].Deeds[1]
		if d.State != want || d.Action.Kind != MoveDoor || d.Hit.Users != 1 || d.Hit.Requests != 1 {
			t.Errorf("%d: %+v, hit %+v", i, d, d.Hit)
		}
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
