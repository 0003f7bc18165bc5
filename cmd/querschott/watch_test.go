package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// recorded returns lines of one clerk who reads so many persons, two seconds apart, from the n-th second on.
func recorded(gate string, n, persons int) string {
	var b strings.Builder
	for i := range persons {
		at := time.Date(2026, 11, 23, 9, 0, n+2*i, 0, time.UTC)
		fmt.Fprintf(&b, `{"seq":%d,"gate":%q,"t":%q,"service":"desk","subject_tenant":"109500969","tenant":"109500969","actor":"clerk-1",`+
			`"credential":"c1","actor_role":"staff","action":"read","subject":"%016x","n_records":1,"bytes":10,"outcome":"success","request_id":"r",`+
			`"door_epoch":1,"took_us":5}`+"\n", i+1, gate, at.Format(time.RFC3339), i)
	}
	return b.String()
}

// replay runs the command and returns what it prints.
func replay(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs(append([]string{"watch", "replay"}, args...))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if strings.HasSuffix(name, ".gz") {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(text))
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		text = b.String()
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReplayOfNothing prints no time where there is none.
func TestReplayOfNothing(t *testing.T) {
	for _, args := range [][]string{nil, {"-o", "json"}, {"--report", "-"}} {
		out, err := replay(t, append([]string{write(t, "empty.ndjson", "")}, args...)...)
		if err != nil || strings.Contains(out, "0001") || !strings.Contains(out, "0 alarms") && !strings.Contains(out, `"events": 0`) {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
}

func TestWatchReplay(t *testing.T) {
	plain := write(t, "a.ndjson", recorded("a", 0, 15)+"not an event\n")
	packed := write(t, "b.ndjson.gz", recorded("b", 1, 20))
	report := filepath.Join(t.TempDir(), "report.json")
	canary := write(t, "canaries", "# invented\n0000000000000013\n") // person 19, whom only gate b has
	out, err := replay(t, plain, packed, "--report", report, "--canaries", canary)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"D3", "canary", "clerk-1", "a.ndjson:16: it is not one JSON object", "35 events", "explained in 109500969/desk: 0.0 % of 35"} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "cap-minute") {
		t.Errorf("20 different persons are within the cap:\n%s", out)
	}
	data, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var r replayReport
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Alarms) != 1 || r.Alarms[0].Actor != "clerk-1" || r.Alarms[0].Insurer != "109500969" || len(r.Alarms[0].Arithmetic) == 0 {
		t.Errorf("the report has the alarms %+v, want the canary", r.Alarms)
	}
	if r.Reading.Bad[plain] != 1 || r.Counts.Events != 35 {
		t.Errorf("the report counts %v bad lines and %d events, want 1 and 35", r.Reading.Bad, r.Counts.Events)
	}
}

func TestWatchReplayWithPolicy(t *testing.T) {
	events := write(t, "a", recorded("a", 0, 15))
	strict := write(t, "p.json", `{"caps":{"staff":{"minute":10,"quarter_hour":100,"day":600}},"live":["D1"]}`)
	out, err := replay(t, events, "--policy", strict, "--report", "-")
	if err != nil {
		t.Fatal(err)
	}
	var r replayReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if len(r.Alarms) != 1 || r.Alarms[0].Cause != "cap-minute" || r.Alarms[0].Mode != "live" {
		t.Errorf("got %+v, want one live alarm of the minute's cap", r.Alarms)
	}
	if out, err := replay(t, events, "-o", "json"); err != nil || !strings.Contains(out, `"alarms": []`) {
		t.Errorf("got %v and %s, want no alarms", err, out)
	}
}

func TestWatchReplayRefuses(t *testing.T) {
	events := write(t, "a", recorded("a", 0, 1))
	for name, args := range map[string][]string{
		"nothing to read":    {},
		"no such file":       {filepath.Join(t.TempDir(), "none")},
		"no event at all":    {write(t, "b", "hello\nthere\n")},
		"broken packing":     {write(t, "c", "\x1f\x8bnothing")},
		"unknown key":        {events, "--policy", write(t, "p", `{"cap":{}}`)},
		"unknown detector":   {events, "--policy", write(t, "p", `{"off":["D99"]}`)},
		"caps that fall":     {events, "--policy", write(t, "p", `{"caps":{"staff":{"minute":10,"quarter_hour":5,"day":600}}}`)},
		"job without an end": {events, "--policy", write(t, "p", `{"jobs":[{"id":"j","persons":1}]}`)},
		"no canaries there":  {events, "--canaries", filepath.Join(t.TempDir(), "none")},
	} {
		if _, err := replay(t, args...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := replay(t, write(t, "empty", "")); err != nil {
		t.Errorf("an empty file is no fault: %v", err)
	}
}
