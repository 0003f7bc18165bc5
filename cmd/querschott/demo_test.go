package main

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/querschott/querschott/drill/demo"
)

// curtain keeps what is shown, and ends the demonstration after the last line of the attack.
type curtain struct {
	stop func()

	mu   sync.Mutex // guards the field below
	text strings.Builder
}

func (c *curtain) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func (c *curtain) Write(data []byte) (int, error) {
	if c.stop != nil && bytes.Contains(data, []byte("  > mail ")) {
		c.stop()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(data)
}

// A demonstration plays the attack and tells its course; the report has it too.
func TestDemoPlaysTheAttack(t *testing.T) {
	root := newRoot()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out bytes.Buffer
	screen := &curtain{stop: stop}
	root.SetOut(&out)
	root.SetErr(screen)
	root.SetArgs([]string{"demo", "--data", t.TempDir(), "--insured", "2000", "--rate", "5", "--checks", "2", "--attack-after", "1s", "--for", "60s", "--report", "-"})
	if err := root.ExecuteContext(ctx); err != nil {
		t.Fatalf("%v\n%s", err, screen.String())
	}
	var r struct {
		demo.Report
		Attack *struct {
			Detected  *float64 `json:"detected_after_s"`
			Contained *float64 `json:"contained_after_s"`
			Reached   int      `json:"records_reached"`
			Closed    []string `json:"doors_closed"`
			Scope     *struct {
				Persons  int
				Exact    bool
				Verified *bool `json:"proof_verified"`
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	at := 0
	for _, want := range []string{"attack ", "early warning  D1 ", "credential held ", "doors  none closed, 400 untouched", "(scope exact: missed 0, extra 0, proof verified)", "ordinary staff ", "rejected 0, lost 0"} {
		i := strings.Index(screen.String()[at:], want)
		if i < 0 {
			t.Fatalf("the course lacks %q, or it is not in order:\n%s", want, screen.String())
		}
		at += i
	}
	if number := regexp.MustCompile(`\b[A-Z][0-9]{9}\b`).FindString(screen.String()); number != "" {
		t.Error("the number of an insured person is shown")
	}
	a := r.Attack
	if a == nil || a.Detected == nil || a.Contained == nil || a.Closed == nil || len(a.Closed) > 0 || a.Scope == nil {
		t.Fatalf("the report says %s", out.String())
	}
	if a.Reached == 0 || a.Reached > 70 || !a.Scope.Exact || a.Scope.Persons != a.Reached || a.Scope.Verified == nil || !*a.Scope.Verified {
		t.Errorf("the attack: %+v, scope %+v", a, a.Scope)
	}
	if r.Mail.Accepted == 0 || r.Mail.Lost > 0 || r.Mail.Rejected > 0 {
		t.Errorf("mail: %+v", r.Mail)
	}
}

// With --calm nothing is played, and the report says so.
func TestCalmDemo(t *testing.T) {
	root := newRoot()
	var out bytes.Buffer
	screen := &curtain{}
	root.SetOut(&out)
	root.SetErr(screen)
	root.SetArgs([]string{"demo", "--data", t.TempDir(), "--insured", "2000", "--calm", "--attack-after", "0s", "--for", "2s", "--report", "-"})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, screen.String())
	}
	if !strings.Contains(out.String(), `"attack": null`) || strings.Contains(screen.String(), "  > ") {
		t.Errorf("it is not calm: %s\n%s", out.String(), screen.String())
	}
}
