package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestWatchReplayWithRules(t *testing.T) {
	events := write(t, "a.ndjson", recorded("a", 0, 15))
	rule := write(t, "rule.yml", "title: Reads\nname: reads\nlogsource: {product: querschott}\ndetection: {s: {action: read}, condition: s}\n")
	got, err := replay(t, events, "--rules", filepath.Dir(rule), "--own-rules")
	if err != nil || !strings.Contains(got, "sigma/reads") {
		t.Errorf("%v: %s", err, got)
	}
	broken := write(t, "rule.yml", "title: Reads\nlogsource: {product: querschott}\ndetection: {s: {asn: 5}, condition: s}\n")
	if _, err := replay(t, events, "--rules", filepath.Dir(broken)); err == nil || !strings.Contains(err.Error(), broken+`:3: events have no field "asn"`) {
		t.Errorf("got %v, want the file and the line of the fault", err)
	}
}
