package run

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/querschott/querschott/drill/attack"
)

const (
	manual     = "../../docs/manual/13-drills.md"
	tableFirst = "| family | against a running platform |\n|---|---|\n"
)

// The manual says of every family that comes with the program whether it is played against a running platform, or why not;
// QUERSCHOTT_UPDATE=1 writes it.
func TestManualSaysWhichFamiliesArePlayed(t *testing.T) {
	list, err := attack.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	want := tableFirst
	for _, f := range list {
		why := unplayable(f)
		switch {
		case why != "":
			why = "refused: " + why
		case f.Benign:
			why = "played; nobody may be suspected"
		default:
			why = "played"
		}
		want += fmt.Sprintf("| `%s` | %s |\n", f.Name, why)
		if got := Playable(f); (got == nil) != (unplayable(f) == "") || got != nil && !strings.Contains(got.Error(), unplayable(f)) {
			t.Errorf("%s: %v", f.Name, got)
		}
	}
	data, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(data), tableFirst)
	_, after, ended := strings.Cut(rest, "\n\n")
	if !found || !ended {
		t.Fatal("the manual has no table of families")
	}
	if text := before + want + "\n" + after; text != string(data) {
		if os.Getenv("QUERSCHOTT_UPDATE") == "" {
			t.Fatal("the manual's table is not what the code says; QUERSCHOTT_UPDATE=1 go test ./drill/run -run Manual writes it")
		}
		if err := os.WriteFile(manual, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
