package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// drillEval runs the command and returns what it prints on both outputs.
func drillEval(t *testing.T, args ...string) (out, stderr string, err error) {
	t.Helper()
	root := newRoot()
	var o, e bytes.Buffer
	root.SetOut(&o)
	root.SetErr(&e)
	root.SetArgs(append([]string{"drill", "eval"}, args...))
	err = root.ExecuteContext(t.Context())
	return o.String(), e.String(), err
}

func TestDrillEval(t *testing.T) {
	dir := t.TempDir()
	mine := "family: my-own\ntext: Somebody reads 300 persons in an evening.\nrate: {persons: 300, hours: evening, days: every}\n"
	if err := os.WriteFile(filepath.Join(dir, "mine.yaml"), []byte(mine), 0o600); err != nil {
		t.Fatal(err)
	}
	small := []string{"--seeds", "1", "--days", "6", "--staff", "30", "--scenarios", dir, "--families", "my-own,bulk-fast"}
	out, stderr, err := drillEval(t, append(small, "--report", "-", "--compare")...)
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Drill     string
		Scenarios []struct {
			Drill   string
			Runs    int
			Records float64 `json:"records_reached"`
		}
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v:\n%.300s", err, out)
	}
	if r.Drill != "eval" || len(r.Scenarios) != 2 || r.Scenarios[0].Drill != "my-own" || r.Scenarios[0].Runs != 1 {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{"1 of 2 worlds", "my-own", "false alarms per working day", "METHOD, NOTHING HELD"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("standard error lacks %q:\n%s", want, stderr)
		}
	}
	if out, _, err = drillEval(t, append(small, "--unexplained", "0.03,0.1", "-o", "json")...); err != nil || strings.Count(out, `"unexplained": 0.1`) != 1 {
		t.Errorf("%v: %.300s", err, out)
	}
}

func TestDrillEvalSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bad.yaml"), []byte("family: x\ntext: x\nrate: {persons: many}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--families", "no-such"}, `there is no family "no-such"; there are`},
		{[]string{"--scenarios", t.TempDir()}, "there are no families"},
		{[]string{"--scenarios", dir}, "bad.yaml: line 3: a number"},
		{[]string{"--seeds", "0"}, "seeds"},
		{[]string{"--without", "D77"}, "D77"},
		{[]string{"extra"}, "extra"},
	} {
		if _, _, err := drillEval(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
	}
}
