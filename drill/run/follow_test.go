package run

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/node"
)

// throwaway starts a platform for a test.
func throwaway(t *testing.T) *Platform {
	t.Helper()
	if testing.Short() {
		t.Skip("plays drills against a platform")
	}
	p, stop, err := Throwaway(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// unmet fails a test for every condition that is not met, but for those that compare with a clock.
func unmet(t *testing.T, r *Report) {
	t.Helper()
	for _, c := range r.Conditions {
		if !c.Passed && !c.Timed {
			t.Errorf("%s: %s: %s", r.Drill, c.Text, c.Found)
		}
	}
}

// Any number of drills follow one another on one platform, with the same seed: whoever was held is not the attacker again, and
// what earlier attackers reached is not counted.
func TestDrillsFollowOneAnother(t *testing.T) {
	p := throwaway(t)
	f, err := Find(January)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[querschott.Actor]bool{}
	for range 3 {
		r, err := Attack(t.Context(), p, f, Options{Seed: 1, Progress: t.Logf})
		if err != nil {
			t.Fatal(err)
		}
		unmet(t, r)
		if r.Mode != node.ModeDrill || len(r.Thefts) != 2 || r.Reached == 0 {
			t.Errorf("mode %q, %d credentials, %d persons", r.Mode, len(r.Thefts), r.Reached)
		}
		for _, th := range r.Thefts {
			if seen[th.Actor] {
				t.Errorf("%s attacks again", th.Actor)
			}
			seen[th.Actor] = true
		}
	}
}

// Clerks whom a door refuses come back, get what they asked for when it opens, and nobody is suspected for that.
func TestClerksComeBack(t *testing.T) {
	p := throwaway(t)
	s, err := open(t.Context(), p, "retries", volume{insurers: 1, clerks: 8, known: 100, seed: 1}, Options{Progress: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	signers, names, err := p.signers()
	if err != nil {
		t.Fatal(err)
	}
	c := querschott.Compartment{Insurer: p.world.Insurers()[0].IK, Service: querschott.Desk}
	_, err = p.node.Order(t.Context(), node.DraftRequest{Compartment: c, To: querschott.Closed, Reason: "test", Actor: names[0]}, signers[0])
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "clerks come back", func() bool { w := sum(s.traffic.clerks); return w.Again > 8 && w.Refused > 16 })
	known, err := p.node.Verifiers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := &blackout{stage: s, signers: signers, names: names}
	if err := b.openDoor(t.Context(), c, known); err != nil {
		t.Fatal(err)
	}
	soon(t, "a clerk who came back is served", func() bool { return sum(s.traffic.clerks).Served > 0 })
	if err := s.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := s.report
	s.nobodyHeld()
	unmet(t, r)
	if w := r.Staff; w.Errors > 0 || w.Held > 0 || w.Again < w.Served || s.alarms.others(nil) > 0 {
		t.Errorf("%+v, %d alarms", w, s.alarms.others(nil))
	}
}

// soon waits until something is so; the test's own deadline ends it.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		if wait(t.Context(), 50*time.Millisecond) != nil {
			t.Fatalf("it did not happen that %s", what)
		}
	}
}

// A clerk asks a question until it is answered, but not for ever, and every attempt is counted.
func TestAttend(t *testing.T) {
	ask := func(status ...int) func() (*drill.DeskAnswer, error) {
		n := -1
		return func() (*drill.DeskAnswer, error) {
			if n++; status[min(n, len(status)-1)] == 0 {
				return nil, errors.New("no connection")
			}
			return &drill.DeskAnswer{Status: status[min(n, len(status)-1)]}, nil
		}
	}
	for _, c := range []struct {
		name                                               string
		status                                             []int
		done, refused, held, failed, again, served, gaveUp uint64
	}{
		{"at once", []int{200}, 1, 0, 0, 0, 0, 0, 0},
		{"a door", []int{503, 503, 200}, 1, 2, 0, 0, 2, 1, 0},
		{"a door for long", []int{503}, 0, clerkTries, 0, 0, clerkTries - 1, 0, 1},
		{"held", []int{http.StatusForbidden, 200}, 1, 0, 1, 1, 1, 1, 0},
		{"a cap", []int{429, 200}, 1, 0, 0, 1, 1, 1, 0},
		{"a broken line", []int{0, 200}, 1, 0, 0, 1, 1, 1, 0},
	} {
		k := &clerk{}
		if k.attend(t.Context(), func() bool { return true }, ask(c.status...)) {
			t.Errorf("%s: the day is over", c.name)
		}
		got := []uint64{k.done.Load(), k.refused.Load(), k.held.Load(), k.failed.Load(), k.again.Load(), k.served.Load(), k.gaveUp.Load()}
		want := []uint64{c.done, c.refused, c.held, c.failed, c.again, c.served, c.gaveUp}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: counted %d, want %d", c.name, got, want)
				break
			}
		}
	}
	if k := (&clerk{}); !k.attend(t.Context(), func() bool { return false }, ask(200)) || k.done.Load() > 0 {
		t.Error("a clerk works after the end of the day")
	}
}

// The report begins with the fields that others read, in their order.
func TestReportFields(t *testing.T) {
	yes, some := true, 1.5
	r := &Report{
		Drill: January, DetectedAfter: &some, ContainedAfter: &some, Reached: 40, Closed: []string{}, Untouched: 320, Mail: Mail{Accepted: 7}, FalseAlarms: &some,
		Scope: &Scope{Persons: 40, Exact: true, Verified: &yes},
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"drill":"january-2023","detected_after_s":1.5,"contained_after_s":1.5,"records_reached":40,"doors_closed":[],"doors_untouched":320,` +
		`"mail":{"accepted":7,"rejected":0,"lost":0`
	if len(data) < len(want) || string(data[:len(want)]) != want {
		t.Errorf("the report begins with %.300s", data)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	const scope = `{"persons":40,"exact":true,"proof_verified":true,"missed":0,"extra":0`
	if s := string(fields["scope"]); len(s) < len(scope) || s[:len(scope)] != scope {
		t.Errorf("scope: %s", s)
	}
	if string(fields["false_alarms_per_day"]) != "1.5" {
		t.Errorf("false_alarms_per_day: %s", fields["false_alarms_per_day"])
	}
	data, err = json.Marshal(&Report{}) // nothing could be measured
	if err != nil {
		t.Fatal(err)
	}
	fields = nil
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"detected_after_s", "contained_after_s", "false_alarms_per_day", "scope"} {
		if string(fields[name]) != "null" {
			t.Errorf("%s is %s though nobody measured it", name, fields[name])
		}
	}
}
