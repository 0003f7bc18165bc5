package node

import (
	"os"
	"strings"
	"testing"
)

const (
	tableBegin = "<!-- trust table: made from node/trust.go -->\n"
	tableEnd   = "<!-- end of trust table -->"
)

// trustTable is the table as the README shows it.
func trustTable() string {
	var b strings.Builder
	b.WriteString("| file | what it holds | may it be lost? | may it be rolled back? | who reads it can | who writes it can |\n|---|---|---|---|---|---|\n")
	for _, r := range Trust() {
		b.WriteString("| `" + strings.Join([]string{r.Pattern + "`", r.Holds, r.Lost, r.Back, r.Reader, r.Writer}, " | ") + " |\n")
	}
	return b.String()
}

// TestTrustTableInREADME compares the README with the code; QUERSCHOTT_UPDATE=1 writes it.
func TestTrustTableInREADME(t *testing.T) {
	const file = "../README.md"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatal("README.md has no place for the trust table")
	}
	want := before + tableBegin + trustTable() + tableEnd + after
	if want == string(data) {
		return
	}
	if os.Getenv("QUERSCHOTT_UPDATE") == "" {
		t.Fatal("the trust table in README.md is not that of the code; QUERSCHOTT_UPDATE=1 go test ./node -run TrustTable writes it")
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestUnknownFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"keyring.age", "keyring.age.tmp", "doors/109500969-eau.order", "cells/109500969/000002.log", "alarms.ndjson", "alarms.ndjson.1", "stranger", "doors/x.sh"} {
		path := dir + "/" + name
		if err := os.MkdirAll(path[:strings.LastIndex(path, "/")], 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := UnknownFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, " ") != "doors/x.sh stranger" {
		t.Errorf("got %v", got)
	}
}
