package demo_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/drill/demo"
	"github.com/querschott/querschott/node"
)

// running is a demonstration that runs until the test ends; stop ends it earlier and returns its report.
type running struct {
	*demo.Platform
	lines chan demo.Line
	stop  func() demo.Report
}

func start(t *testing.T, rate float64) *running {
	t.Helper()
	p, err := demo.Open(t.Context(), demo.Options{Dir: t.TempDir(), Insured: 2000, Rate: rate, Seed: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Platform: p, lines: make(chan demo.Line, 1000)}
	done := make(chan demo.Report, 1)
	go func() {
		report, err := p.Run(ctx, 0, func(l demo.Line) { r.lines <- l })
		if err != nil {
			t.Error(err)
		}
		done <- report
	}()
	r.stop = sync.OnceValue(func() demo.Report {
		cancel()
		return <-done
	})
	t.Cleanup(func() { r.stop() })
	return r
}

// until waits for a line that satisfies.
func (r *running) until(t *testing.T, ok func(demo.Line) bool) demo.Line {
	t.Helper()
	for {
		select {
		case l := <-r.lines:
			if l.Lost > 0 || l.Rejected > 0 {
				t.Fatal(l)
			}
			if ok(l) {
				return l
			}
		case <-t.Context().Done():
			t.Fatal("waited in vain")
		}
	}
}

// move has the operators move a door.
func (r *running) move(t *testing.T, c querschott.Compartment, to querschott.DoorState) {
	t.Helper()
	first, err := node.LoadOperatorKey(r.File().Operators[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	second, err := node.LoadOperatorKey(r.File().Operators[1].Key)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Node().Order(t.Context(), door.Request{Compartment: c, To: to, Reason: "test"}, "anna", first, second)
	if err != nil {
		t.Fatal(err)
	}
}

// The largest insurer's sick notes wait while its door is on hold and are refused for now while it is closed; the others
// are delivered; in the end all are delivered and none is lost.
func TestDoorsOfTheLargestInsurer(t *testing.T) {
	r := start(t, 100)
	c := querschott.Compartment{Insurer: r.File().Insurers[0].IK, Service: querschott.EAU}
	r.until(t, func(l demo.Line) bool { return l.Delivered > 50 })
	r.move(t, c, querschott.Hold)
	held := r.until(t, func(l demo.Line) bool { return l.Waiting > 10 })
	if keys, all := r.Node().Status().Doors.KeysInMemory, len(r.Node().Compartments()); keys != all-1 {
		t.Errorf("%d of %d compartments have private keys in memory while one door is on hold", keys, all)
	}
	if held.Delivered == 0 {
		t.Error("nothing was delivered to the others")
	}
	r.move(t, c, querschott.Closed)
	r.until(t, func(l demo.Line) bool { return l.Refused > 3 })
	r.move(t, c, querschott.Open)
	r.until(t, func(l demo.Line) bool { return l.Waiting == 0 })
	report := r.stop()
	if m := report.Mail; m.Lost != 0 || m.Rejected != 0 || m.Accepted == 0 || m.Accepted != m.Delivered+m.Waiting || m.Refused == 0 {
		t.Errorf("got %+v", m)
	}
	if report.Doors.Changes != 3 || report.Doors.CloseP99 <= 0 || !report.Ledger.Verified || report.Insurers != 80 {
		t.Errorf("got %+v", report)
	}
}

// demo.json is what other programs start from.
func TestFile(t *testing.T) {
	r := start(t, 0)
	data, err := os.ReadFile(filepath.Join(r.File().Dir, "demo.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"console", "smtp", "smtps", "ca", "practice", "relay", "operators", "insurers", "config"} {
		if got[key] == nil {
			t.Errorf("demo.json has no %s", key)
		}
	}
	st, err := os.Stat(filepath.Join(r.File().Dir, "demo.json"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("demo.json holds passwords and has mode %v, %v", st.Mode(), err)
	}
	if strings.Contains(string(data), "PRIVATE+KEY") {
		t.Error("demo.json holds an operator's key")
	}
}
