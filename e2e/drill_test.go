//go:build e2e

package e2e

import (
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	drillrun "github.com/querschott/querschott/drill/run"
)

// The January attack against a platform that the command starts itself: the report is whole, the scope is exact and proved, nobody
// else was disturbed, and the command fails if and only if a condition does.
func TestDrillOfJanuary(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), plain, "drill", "run", "january-2023", "--report", "-")
	out, err := cmd.Output()
	var r drillrun.Report
	if jerr := json.Unmarshal(out, &r); jerr != nil {
		t.Fatalf("no report: %v, %v", jerr, err)
	}
	if (err == nil) != r.Passed {
		t.Errorf("passed %t, and the command ended with %v", r.Passed, err)
	}
	for _, c := range r.Conditions {
		switch {
		case !c.Passed && c.Timed:
			t.Logf("not on this machine: %s: %s", c.Text, c.Found)
		case !c.Passed:
			t.Errorf("%s: %s", c.Text, c.Found)
		}
	}
	if r.Drill != "january-2023" || r.DetectedAfter == nil || r.Reached == 0 || r.Untouched == 0 || len(r.Thefts) != 2 || len(r.Conditions) < 10 {
		t.Errorf("the report: %s", out)
	}
	if s := r.Scope; s == nil || !s.Exact || s.Verified == nil || !*s.Verified || s.Missed+s.Extra > 0 || s.Persons != uint64(r.Reached) {
		t.Errorf("scope: %+v", r.Scope)
	}
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	t.Logf("it used %s of a processor", used.Round(time.Second)) // it ends within 50 s on 2 cores that have nothing else to do
}
