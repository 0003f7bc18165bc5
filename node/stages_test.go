package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/watch"
)

const slowPlan door.Plan = "10,50,100 every 24h0m0s"

// openInStages has both operators open a door under a plan.
func (r *live) openInStages(c querschott.Compartment, p door.Plan) door.Order {
	r.h.tb.Helper()
	out, err := r.Order(r.h.tb.Context(), door.Request{Compartment: c, To: querschott.Open, Reason: "test", Stages: p}, anna, r.h.signer(anna), r.h.signer(ben))
	if err != nil || out.Order == nil {
		r.h.tb.Fatalf("the door did not open in stages: %+v, %v", out, err)
	}
	return *out.Order
}

// An operator who can write the data directory gets nobody past a stage: the ledger remembers the plan.
func TestTamperedPlanMeansHold(t *testing.T) {
	h, _ := newVSDMHouse(t, 1)
	n := h.run()
	c, kept := h.compartment(0, querschott.VSDM), h.compartment(0, querschott.EAU)
	o := n.openInStages(c, slowPlan)
	n.openInStages(kept, slowPlan)
	n.stop()

	o.Epoch, o.From, o.To, o.Inverse, o.Stages = o.Epoch+1, querschott.Open, querschott.ReadOnly, querschott.Open, ""
	raw, err := note.Sign(&note.Note{Text: o.Text()}, h.signer(anna))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(h.cfg.Data, "doors", string(c.Insurer)+"-"+string(c.Service)+".order")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	n = h.run()
	if got := n.Door(c).To; got != querschott.Hold {
		t.Errorf("with an order without the plan the door is %s, want hold", got)
	}
	if o := n.Door(kept); o.To != querschott.Open || o.Stages != slowPlan || n.doors.Share(kept) != 10 {
		t.Errorf("the other door is %s, %q at %d %%", o.To, o.Stages, n.doors.Share(kept))
	}
}

// What makes an interval of a stage bad, and what does not.
func TestStageJudge(t *testing.T) {
	vsdm, eau := querschott.Compartment{Insurer: "109500969", Service: querschott.VSDM}, querschott.Compartment{Insurer: "109500969", Service: querschott.EAU}
	trouble := map[querschott.Compartment]string{}
	var canary error
	leaving := false
	s := &stages{
		trouble: func() map[querschott.Compartment]string { return trouble }, canary: func(querschott.Compartment) error { return canary },
		leaving: func() bool { return leaving },
		counts:  map[querschott.Compartment]*stageCount{},
	}
	for _, c := range []querschott.Compartment{vsdm, eau} {
		s.begin(door.Order{Compartment: c, Stages: slowPlan})
	}
	requests := func(c querschott.Compartment, n, failed int) {
		s.count(c, func(k *stageCount) { k.requests, k.failed = k.requests+n, k.failed+failed })
	}
	alarm := func(mode watch.Mode) {
		s.hearAlarm(t.Context(), &watch.Alarm{Insurer: vsdm.Insurer, Service: vsdm.Service, Detector: "D4", Mode: mode})
	}
	for _, tc := range []struct {
		what string
		c    querschott.Compartment
		do   func()
		bad  string // "" for a good interval
	}{
		{"nothing", vsdm, func() {}, ""},
		{"an alarm", vsdm, func() { alarm(watch.Live) }, "alarm D4"},
		{"the interval after it", vsdm, func() {}, ""},
		{"an alarm in shadow mode", vsdm, func() { alarm(watch.Shadow) }, ""},
		{"5 per cent failed", vsdm, func() { requests(vsdm, 100, 5) }, ""},
		{"6 per cent failed", vsdm, func() { requests(vsdm, 100, 6) }, "6 of 100 requests failed"},
		{"few requests", vsdm, func() { requests(vsdm, 19, 19) }, ""},
		{"another door's requests", vsdm, func() { requests(eau, 100, 100) }, ""},
		{"canary traffic", vsdm, func() { canary = errors.New("canary traffic: broken") }, "canary traffic: broken"},
		{"canary traffic of mail", eau, func() { s.take(eau) }, "canary traffic: broken"},
		{"canary traffic while the node stops", vsdm, func() { leaving = true }, door.ErrUnjudged.Error()},
		{"canary traffic that is through", eau, func() { leaving, canary = false, nil }, ""},
		{"mail that is delivered", eau, func() { s.take(eau); s.delivered([]intake.Delivery{{Compartment: eau}}) }, ""},
		{"mail that was damaged", eau, func() {
			s.delivered([]intake.Delivery{{Compartment: eau, Note: intake.Note{Result: intake.ResultDamaged}}})
		}, "1 messages were damaged"},
		{"mail that cannot be delivered", eau, func() { trouble[eau] = "the cell failed" }, "mail cannot be delivered"},
		{"mail that can be delivered again", eau, func() { delete(trouble, eau) }, ""},
	} {
		tc.do()
		err := s.judge(tc.c, time.Time{}, time.Time{})
		if got := fmt.Sprint(err); err == nil && tc.bad != "" || err != nil && got != tc.bad {
			t.Errorf("%s: %v, want %q", tc.what, err, tc.bad)
		}
	}
}

// A door of mail that opens in stages goes back to hold by itself when its cell fails, and loses nothing.
func TestMailStageFallsBack(t *testing.T) {
	h := newHouse(t, 2)
	n := h.open()
	failing, fine := h.compartment(0, querschott.EAU), h.compartment(1, querschott.EAU)
	stuck := map[querschott.Compartment]string{failing: "nothing can be delivered"}
	n.stages.trouble = func() map[querschott.Compartment]string { return stuck }
	r := h.runs(n)
	for _, c := range []querschott.Compartment{failing, fine} {
		r.openInStages(c, "10,100 every 1s")
	}
	h.until("the door falls back", func() bool { return r.Door(failing).To == querschott.Hold })
	if o := r.Door(failing); o.Actor != door.MachineActor || o.Reason != "the interval at 10 % was bad: mail cannot be delivered" {
		t.Errorf("it was held by %s: %s", o.Actor, o.Reason)
	}
	if r.Door(fine).To != querschott.Open {
		t.Error("the other insurer's door fell too")
	}
	mails := h.notes(0, 1)
	r.send(mails...)
	r.move(querschott.Open, failing)
	r.arrive(mails...)
}
