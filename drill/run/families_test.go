package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

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

// Every family that can be played is, all at the same time: honest work first, then the attacks.
func TestEveryPlayableFamilyPasses(t *testing.T) {
	p := throwaway(t)
	list, err := attack.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, benign := range []bool{true, false} {
		var some []*attack.Family
		for _, f := range list {
			if f.Benign == benign && Playable(f) == nil {
				some = append(some, f)
			}
		}
		if len(some) < 3 {
			t.Fatalf("%d families are played", len(some))
		}
		together(t, p, some)
	}
}

// together plays families at the same time and judges each by the conditions of a drill.
func together(t *testing.T, p *Platform, list []*attack.Family) {
	t.Helper()
	ctx := t.Context()
	s, err := open(ctx, p, "together", volume{mails: 5, checks: 2, insurers: 3, clerks: 3, known: 100, seed: 1}, Options{Progress: func(string, ...any) {}})
	if err != nil {
		t.Fatal(err)
	}
	var thieves []*thief
	var g errgroup.Group
	for _, f := range list {
		th, err := newThief(p, newLand(p.world, 400), f, 1, longest)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		for _, h := range th.hands {
			h.name += "." + f.Name
		}
		if err := th.prepare(ctx); err != nil {
			t.Fatal(err)
		}
		thieves = append(thieves, th)
	}
	for _, th := range thieves {
		g.Go(func() error {
			playing, end := context.WithTimeout(ctx, longest)
			defer end()
			err := th.play(playing)
			if !th.family.Benign {
				err = errors.Join(err, th.knock(ctx, s.alarms))
			}
			return err
		})
	}
	if err := errors.Join(g.Wait(), wait(ctx, after), s.close(ctx)); err != nil {
		t.Fatal(err)
	}
	for _, th := range thieves {
		r := *s.report
		r.Drill = th.family.Name
		alone := &stage{p: p, opt: s.opt, traffic: s.traffic, alarms: s.alarms, report: &r}
		if err := alone.theft(ctx, th); err != nil {
			t.Fatalf("%s: %v", r.Drill, err)
		}
		if len(r.Thefts) == 0 {
			t.Errorf("%s made no request", r.Drill)
		}
		for _, c := range r.Conditions { // others reach the same persons at the same time
			if !c.Passed && !c.Timed && c.Text != sourceFirst {
				t.Errorf("%s: %s: %s", r.Drill, c.Text, c.Found)
			}
		}
		t.Logf("%s: %d credentials, %d persons, detected %s, factor %.0f", r.Drill, len(r.Thefts), r.Reached, seconds(r.DetectedAfter), r.Factor)
	}
}
