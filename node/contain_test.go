package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/watch"
)

func liveAlarm(actor querschott.Actor, c querschott.Compartment) *watch.Alarm {
	return &watch.Alarm{
		Time: time.Now(), Actor: actor, Credential: querschott.CredentialID("local/" + string(actor)), Insurer: c.Insurer, Service: c.Service,
		Detector: "D11", Cause: "mass-delete", Kind: watch.Exact, Severity: watch.Critical, Mode: watch.Live,
	}
}

// TestContainment follows an alarm to the deny list and the door, into the ledger, and back by one person's release.
func TestContainment(t *testing.T) {
	h := newHouse(t, 1)
	h.cfg.Contain.Automatic = string(contain.Doors)
	n := h.run()
	c := NewClient(h.cfg)
	eau := h.compartment(0, querschott.EAU)
	n.containAlarm(t.Context(), liveAlarm("c.mueller", eau))
	var r contain.Run
	h.until("the run is over", func() bool {
		runs, err := c.Runs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(runs) == 1 {
			r = runs[0]
		}
		return !r.Ended.IsZero()
	})
	for _, f := range []ident.Facts{{Actor: "c.mueller"}, {Credential: "local/c.mueller"}} {
		if err := n.denied.Check(&f); querschott.CodeOf(err) != querschott.CodeForbidden {
			t.Errorf("%+v is let in: %v", f, err)
		}
	}
	if len(r.Deeds) != 3 || r.Deeds[0].State != contain.Done || r.Deeds[1].State != contain.Asked {
		t.Fatalf("nobody has signed the shipped playbook, and its deeds are %+v", r.Deeds)
	}
	for _, who := range []querschott.Actor{anna, ben} {
		if _, err := c.ApproveRun(t.Context(), h.signer(who), r.ID, 2); err != nil {
			t.Fatal(err)
		}
	}
	if o := n.Door(eau); o.To != querschott.ReadOnly || o.Actor != door.MachineActor || o.Expires.IsZero() || !strings.Contains(o.Reason, r.ID) {
		t.Errorf("two persons said yes, and the door is %+v", o)
	}
	if held := n.consoleSnapshot().Held; len(held) != 2 {
		t.Errorf("the page counts %d who are held: %+v", len(held), held)
	}
	r, err := c.ReleaseRun(t.Context(), h.signer(anna), r.ID, 0)
	if err != nil || r.Deeds[0].State != contain.Released || !strings.Contains(r.Deeds[1].Effect, "the door is hold") {
		t.Errorf("released: %+v, %v", r.Deeds, err)
	}
	if err := n.denied.Check(&ident.Facts{Actor: "c.mueller"}); err != nil {
		t.Errorf("released, and %v", err)
	}
	if held := n.consoleSnapshot().Held; len(held) > 0 {
		t.Errorf("released, and the page counts %+v", held)
	}
	if o := n.Door(eau); o.To != querschott.Hold {
		t.Errorf("the door is not as it was before: %+v", o)
	}
	var steps []string
	for e, err := range n.ledger.Scan(h.origin(eau.Insurer), 0, 1000) {
		if err == nil && e.Leaf.Kind == ledger.KindPlaybookStep {
			for _, f := range e.Payload.Detail {
				if f.Name == "state" {
					steps = append(steps, f.Value)
				}
			}
		}
	}
	if got := strings.Join(steps, " "); got != "asked asked done released" {
		t.Errorf("the ledger says %q about the door", got)
	}
}

// TestContainmentSparesItsOwn raises alarms about an operator, and about nobody who exists here: neither is shut out by itself.
func TestContainmentSparesItsOwn(t *testing.T) {
	h := newHouse(t, 1)
	n := h.run()
	shadow := liveAlarm("c.mueller", h.compartment(0, querschott.EAU))
	shadow.Mode = watch.Shadow
	n.containAlarm(t.Context(), shadow)
	ours := liveAlarm(anna, h.compartment(0, querschott.EAU))
	n.keepAlarm(t.Context(), ours)
	n.containAlarm(t.Context(), ours)
	c := NewClient(h.cfg)
	h.until("the run is over", func() bool {
		runs, err := c.Runs(t.Context())
		return err == nil && len(runs) == 1 && !runs[0].Ended.IsZero()
	})
	if list := n.Denied(); len(list) != 0 {
		t.Errorf("held: %+v", list)
	}
	if _, err := c.ImportPlaybook(t.Context(), []byte("{}")); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("a file that is no playbook: %v", err)
	}
	list, err := c.Playbooks(t.Context())
	if err != nil || len(list) != 5 || !list[0].Shipped || list[0].Digest == "" {
		t.Errorf("playbooks %+v, %v", list, err)
	}
	if hit, err := c.Preview(t.Context(), contain.Action{Kind: contain.HoldCredential, Actor: "c.mueller"}); err != nil || hit.Requests != 0 {
		t.Errorf("preview %+v, %v", hit, err)
	}
	if got, err := c.Simulate(t.Context(), SimulateRequest{ID: list[0].ID}, nil); err != nil || len(got.Trials) != 1 || !strings.HasPrefix(got.Source, "memory") {
		t.Errorf("simulated %+v, %v", got, err)
	}
}

// TestJudgeOutlivesTheNode raises one suspicion, which leads to nothing, restarts the node, and raises another one: both count.
func TestJudgeOutlivesTheNode(t *testing.T) {
	h := newHouse(t, 1)
	n := h.run()
	suspicion := func(detector string) *watch.Alarm {
		a := liveAlarm("c.mueller", h.compartment(0, querschott.Desk))
		a.Detector, a.Cause, a.Kind, a.Severity = detector, "x", watch.Statistical, watch.Medium
		return a
	}
	first := suspicion("D10")
	n.keepAlarm(t.Context(), first)
	n.containAlarm(t.Context(), first)
	if runs := n.contain.engine.Runs(); len(runs) != 0 {
		t.Fatalf("one suspicion led to %+v", runs)
	}
	n.stop()
	n = h.run()
	n.containAlarm(t.Context(), suspicion("D3"))
	h.until("the credential is held", func() bool { return len(n.Denied()) == 2 })
}

// TestRehearsalReadsTheFiles makes a dry run over a file that was renamed and the one that is written, one line of it torn.
func TestRehearsalReadsTheFiles(t *testing.T) {
	h := newHouse(t, 1)
	log := filepath.Join(t.TempDir(), "access.ndjson")
	h.cfg.HTTP.AccessLog, h.cfg.HTTP.AccessLogKeep = log, 2
	n := h.run()
	a := liveAlarm("c.mueller", h.compartment(0, querschott.EAU))
	a.Time = time.Now().Add(-2 * time.Hour)
	n.keepAlarm(t.Context(), a)
	line := func(at time.Time, seq int) string {
		e, err := json.Marshal(querschott.Access{
			Seq: uint64(seq), Gate: "g", Time: at, Service: a.Service, Insurer: a.Insurer, Actor: a.Actor, Credential: a.Credential, Person: fmt.Sprint(seq), Outcome: "success",
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(e) + "\n"
	}
	for name, text := range map[string]string{
		log + ".1": line(a.Time.Add(-30*time.Hour), 1) + line(a.Time.Add(time.Minute), 2),
		log:        line(a.Time.Add(time.Hour), 3) + "{\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := NewClient(h.cfg)
	list, err := c.Playbooks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Simulate(t.Context(), SimulateRequest{ID: list[0].ID}, nil)
	if err != nil || got.Source != "http.access_log" || got.Events != 2 || got.Faults != 1 || !got.Known.Before(got.From) || len(got.Trials) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if hit := got.Trials[0].Deeds[0].Hit; hit.Requests != 2 || hit.Persons != 2 || hit.Users != 1 {
		t.Errorf("it would have hit %+v", hit)
	}
	if n.contain.read.Load() != n.contain.total.Load() || n.contain.total.Load() == 0 {
		t.Errorf("%d of %d bytes read", n.contain.read.Load(), n.contain.total.Load())
	}
}
