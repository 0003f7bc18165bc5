package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

// scopeLeakOffline runs the command and returns what it printed.
func scopeLeakOffline(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append([]string{"scope", "leak"}, args...))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// TestManualsHistoryCanBeRead takes the manual's example of a history at its word: a copy with the card of 2019 was made before it was replaced.
func TestManualsHistoryCanBeRead(t *testing.T) {
	chapter, err := os.ReadFile("../../docs/manual/12-scope.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```\n(kvnr,field,.*?)```").FindSubmatch(chapter)
	if example == nil {
		t.Fatal("the chapter has no example of a history")
	}
	history := string(example[1])
	first := strings.Split(strings.Split(history, "\n")[1], ",")
	dump := write(t, "dump.csv", "kvnr,card_id\n"+first[0]+","+first[2]+"\n")
	out, err := scopeLeakOffline(t, dump, "--offline", "--history", write(t, "history.csv", history))
	if err != nil || !strings.Contains(out, "1 rows, 1 different persons") || !strings.Contains(out, "copied between 2019-03-01") || !strings.Contains(out, "and 2021-04-26") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// TestLeakForACaseNeedsAKey is refused before anybody is asked, who would write it down.
func TestLeakForACaseNeedsAKey(t *testing.T) {
	t.Setenv("QUERSCHOTT_OPERATOR_KEY", "")
	out, err := scopeLeakOffline(t, write(t, "dump.csv", "kvnr\n"), "--incident", "VF-2026-0001")
	if exitCode(err) != exitUsage || !strings.Contains(err.Error(), "--key") {
		t.Errorf("%v:\n%s", err, out)
	}
}
