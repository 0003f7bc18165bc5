package contain

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/raced"
)

var errPower = errors.New("the power is gone")

// agreed is a disk with the playbook for write bursts, signed by anna and kasse.
func agreed(t testing.TB, tr Trust, k keyring) *Library {
	l, err := OpenLibrary(newDisk(), "playbooks", tr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Import(k.sign(t, shippedRaw(t, "write-burst"), [2]string{"anna", "anna"}, [2]string{string(kasse), "kasse"})); err != nil {
		t.Fatal(err)
	}
	return l
}

func decide(t testing.TB, actor string, ik querschott.IK) Decision {
	t.Helper()
	d := NewJudge(JudgeConfig{}).Judge(burst(actor, ik), begin)
	if len(d.Actions) != 2 {
		t.Fatalf("%+v", d)
	}
	return d
}

// TestKilledAtEveryBoundary takes the power away at every single operation on the disk in turn, before and after every deed, and starts
// again: the run is completed, each deed changed something exactly once, and nothing else did.
func TestKilledAtEveryBoundary(t *testing.T) {
	tr, k := trust(t)
	l := agreed(t, tr, k)
	finished := false
	for cut := int64(1); !finished; cut++ {
		for seed := range uint64(2) {
			fs, w := newDisk(), newWorld()
			e, _ := engineOn(t, fs, w, tr, Doors, func() time.Time { return begin })
			e.cfg.Library = l
			r, err := e.Start(burst("m-1", kasse), decide(t, "m-1", kasse), "VF-1")
			if err != nil {
				t.Fatal(err)
			}
			ctx, kill := context.WithCancel(t.Context())
			var left atomic.Int64
			left.Store(cut)
			tick := func() error {
				if left.Add(-1) <= 0 {
					kill()
					return errPower
				}
				return nil
			}
			fs.Fail(func(string, string) error { return tick() })
			w.fail = func(*Deed) error { _ = tick(); return nil } // killed before the deed is said to be done
			e.drain(ctx)
			finished = left.Load() > 0
			kill()

			w.fail = nil
			after := fs.Crash(rand.New(rand.NewPCG(seed, uint64(cut))))
			e, cried := engineOn(t, after, w, tr, Doors, func() time.Time { return begin.Add(time.Second) })
			e.cfg.Library = l
			e.drain(t.Context())
			got := e.Runs()
			if len(got) != 1 || got[0].ID != r.ID || got[0].Ended.IsZero() || got[0].Trouble != "" {
				t.Fatalf("cut %d: %+v, %v", cut, got, *cried)
			}
			if len(w.done) != 2 || w.count() != 2 {
				t.Fatalf("cut %d: in force %v, done %v", cut, w.inForce, w.done)
			}
			for key, n := range w.done {
				if n != 1 {
					t.Fatalf("cut %d: %s changed something %d times", cut, key, n)
				}
			}
		}
		if cut > 1000 {
			t.Fatal("it never ends")
		}
	}
}

// TestEverythingEnds begins runs at random, releases and approves at random, lets hands fail, and turns the clock forth and back:
// when all times to live are over, everything is as it was before.
func TestEverythingEnds(t *testing.T) {
	tr, k := trust(t)
	l := agreed(t, tr, k)
	rapid.Check(t, func(rt *rapid.T) {
		w, now := newWorld(), begin
		e, _ := engineOn(t, newDisk(), w, tr, Doors, func() time.Time { return now })
		e.cfg.Library = l
		judge := NewJudge(JudgeConfig{})
		broken := false
		w.fail = func(*Deed) error {
			if broken {
				return errors.New("the deny list cannot be written")
			}
			return nil
		}
		for n := range rapid.IntRange(1, 12).Draw(rt, "moves") {
			broken = rapid.IntRange(0, 4).Draw(rt, "broken") == 0
			switch rapid.IntRange(0, 3).Draw(rt, "move") {
			case 0, 1:
				a := burst(fmt.Sprint("m-", n), rapid.SampledFrom([]querschott.IK{kasse, kasse2}).Draw(rt, "insurer"))
				if _, err := e.Start(a, judge.Judge(a, now), ""); err != nil {
					rt.Fatal(err)
				}
				e.drain(t.Context())
			case 2:
				for _, r := range e.Runs() {
					_, _ = e.Release(t.Context(), r.ID, rapid.IntRange(0, 2).Draw(rt, "number"), "anna")
					_, _ = e.Approve(t.Context(), r.ID, 0, rapid.SampledFrom([]querschott.Actor{"anna", "bob"}).Draw(rt, "who"))
				}
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(-90, 90).Draw(rt, "minutes")) * time.Minute)
				e.Tick(t.Context())
			}
		}
		broken, now = false, now.Add(maxTTL+2*time.Hour)
		e.Tick(t.Context())
		if w.count() != 0 {
			rt.Fatalf("still in force: %v", w.inForce)
		}
		for _, r := range e.Runs() {
			for _, d := range r.Deeds {
				if d.holds() || d.State == Asked && d.Action != nil {
					rt.Fatalf("%s is %s", d.Key, d.State)
				}
			}
		}
	})
}

// states lists the deeds of the newest run.
func states(e *Engine) string {
	var b strings.Builder
	for _, d := range e.Runs()[0].Deeds {
		what := "manual"
		if d.Action != nil {
			what = string(d.Action.Kind)
		}
		fmt.Fprintf(&b, "%s %s; ", what, d.State)
	}
	return b.String()
}

// TestAuthority has how far the platform goes by itself, by configuration and by who has signed.
func TestAuthority(t *testing.T) {
	tr, k := trust(t)
	signed := agreed(t, tr, k)
	unsigned, err := OpenLibrary(newDisk(), "playbooks", tr)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		library *Library
		far     Automatic
		insurer querschott.IK
		want    string
	}{
		{"agreed", signed, Doors, kasse, "hold-credential done; door done; manual asked; "},
		{"credentials only", signed, Credentials, kasse, "hold-credential done; door asked; manual asked; "},
		{"off", signed, Off, kasse, "hold-credential asked; door asked; manual asked; "},
		{"another insurer's signature", signed, Doors, kasse2, "hold-credential done; door asked; manual asked; "},
		{"shipped", unsigned, Doors, kasse, "hold-credential done; door asked; manual asked; "},
	} {
		e, _ := engineOn(t, newDisk(), newWorld(), tr, tc.far, func() time.Time { return begin })
		e.cfg.Library = tc.library
		if _, err := e.Start(burst("m-1", tc.insurer), decide(t, "m-1", tc.insurer), ""); err != nil {
			t.Fatal(err)
		}
		e.drain(t.Context())
		if got := states(e); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestNoDoorWithoutTheCredential lets the hold fail: then the door is asked for, not moved.
func TestNoDoorWithoutTheCredential(t *testing.T) {
	tr, k := trust(t)
	w := newWorld()
	w.fail = func(d *Deed) error {
		if d.Action.Kind == HoldCredential {
			return errors.New("the deny list cannot be written")
		}
		return nil
	}
	e, cried := engineOn(t, newDisk(), w, tr, Doors, func() time.Time { return begin })
	e.cfg.Library = agreed(t, tr, k)
	if _, err := e.Start(burst("m-1", kasse), decide(t, "m-1", kasse), ""); err != nil {
		t.Fatal(err)
	}
	e.drain(t.Context())
	if got := states(e); got != "hold-credential failed; door asked; manual asked; " || len(*cried) == 0 {
		t.Errorf("%s, cried %v", got, *cried)
	}
}

// TestTwoPersons has the way of a question: one person twice is no second one, and an hour is the limit.
func TestTwoPersons(t *testing.T) {
	tr, _ := trust(t)
	w, now := newWorld(), begin
	e, _ := engineOn(t, newDisk(), w, tr, Credentials, func() time.Time { return now })
	r, err := e.Start(burst("m-1", kasse), decide(t, "m-1", kasse), "")
	if err != nil {
		t.Fatal(err)
	}
	e.drain(t.Context())
	if _, err := e.Approve(t.Context(), r.ID, 2, "anna"); err != nil || w.count() != 1 {
		t.Fatalf("one person: %v, %v", err, w.inForce)
	}
	if _, err := e.Approve(t.Context(), r.ID, 2, "anna"); querschott.CodeOf(err) != querschott.CodeForbidden {
		t.Errorf("the same person: %v", err)
	}
	if _, err := e.Approve(t.Context(), r.ID, 2, "bob"); err != nil || w.count() != 2 {
		t.Errorf("two persons: %v, %v", err, w.inForce)
	}
	if _, err := e.Release(t.Context(), r.ID, 1, "anna"); err != nil || w.count() != 1 {
		t.Errorf("released: %v, %v", err, w.inForce)
	}
	late, err := e.Start(burst("m-2", kasse), decide(t, "m-2", kasse), "")
	if err != nil {
		t.Fatal(err)
	}
	e.drain(t.Context())
	now = now.Add(askLife)
	if _, err := e.Approve(t.Context(), late.ID, 2, "bob"); querschott.CodeOf(err) != querschott.CodeConflict {
		t.Errorf("an hour later: %v", err)
	}
	if _, err := e.Approve(t.Context(), "run-1", 0, "bob"); querschott.CodeOf(err) != querschott.CodeNotFound {
		t.Errorf("no such run: %v", err)
	}
}

// TestSilent lets a hand hang: the deadline passes, what follows is done, and somebody is told.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, k := trust(t)
		w := newWorld()
		hands := w.hands()
		e, cried := engineOn(t, newDisk(), w, tr, Doors, time.Now)
		e.cfg.Library = agreed(t, tr, k)
		e.cfg.Hands.Do = func(ctx context.Context, r *Run, d *Deed) (string, error) {
			if d.Action.Kind == MoveDoor {
				<-ctx.Done()
				return "", ctx.Err()
			}
			return hands.Do(ctx, r, d)
		}
		began := time.Now()
		if _, err := e.Start(burst("m-1", kasse), decide(t, "m-1", kasse), ""); err != nil {
			t.Fatal(err)
		}
		e.drain(t.Context())
		if got := states(e); got != "hold-credential done; door failed; manual asked; " || time.Since(began) != 5*time.Second || len(*cried) != 1 {
			t.Errorf("%s after %s, cried %v", got, time.Since(began), *cried)
		}
	})
}

// TestClockGoesBack turns the clock back an hour: nothing ends early by it, and no run takes another one's place.
func TestClockGoesBack(t *testing.T) {
	tr, k := trust(t)
	w, now := newWorld(), begin
	e, _ := engineOn(t, newDisk(), w, tr, Doors, func() time.Time { return now })
	e.cfg.Library = agreed(t, tr, k)
	for i := range 3 {
		name := fmt.Sprint("m-", i)
		if _, err := e.Start(burst(name, kasse), decide(t, name, kasse), ""); err != nil {
			t.Fatal(err)
		}
		e.drain(t.Context())
		now = now.Add(-time.Hour)
		e.Tick(t.Context())
	}
	if len(e.Runs()) != 3 || w.count() != 6 {
		t.Errorf("%d runs, in force %v", len(e.Runs()), w.inForce)
	}
}

// TestFlood raises ten times as many alarms as runs are kept, all by new actors at four insurers: everything stays bounded, what is
// in force is never forgotten for it, and at most three insurers' doors have moved.
func TestFlood(t *testing.T) {
	raced.Alone(t)
	tr, k := trust(t)
	l := agreed(t, tr, k)
	w := newWorld()
	fs := newDisk()
	e, _ := engineOn(t, fs, w, tr, Credentials, func() time.Time { return begin })
	e.cfg.Library = l
	judge := NewJudge(JudgeConfig{})
	refused := 0
	for i := range maxRuns + 200 {
		a := burst(fmt.Sprint("m-", i), kasse)
		if _, err := e.Start(a, judge.Judge(a, begin), ""); err != nil {
			refused++
		}
		for len(e.queue) > 0 {
			e.carryOut(t.Context(), <-e.queue)
		}
	}
	if got := len(e.Runs()); got != maxRuns || refused != 200 || w.count() != maxRuns {
		t.Errorf("%d runs, %d refused aloud, %d in force", got, refused, w.count())
	}
}
