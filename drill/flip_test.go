package drill

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
)

func compartment(t *testing.T, s string) querschott.Compartment {
	t.Helper()
	c, err := querschott.ParseCompartment(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheSameSeedMakesTheSameMoves(t *testing.T) {
	doors := []string{"100000000/eau", "100000000/letter", "100000000/mail"}
	f, g := &Flipper{}, &Flipper{}
	for _, s := range doors {
		c := compartment(t, s)
		f.Doors, g.Doors = append(f.Doors, c), append(g.Doors, c)
	}
	f.Seed(5)
	g.Seed(5)
	seen := map[string]bool{}
	for range 200 {
		c, s := f.Next()
		if d, u := g.Next(); c != d || s != u {
			t.Fatal("the same seed makes other moves")
		}
		seen[c.String()+s.String()] = true
	}
	if len(seen) != 12 {
		t.Errorf("%d of 12 moves were made", len(seen))
	}
}

func TestFlipperRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		states := map[querschott.Compartment]querschott.DoorState{}
		f := &Flipper{
			Doors:  []querschott.Compartment{compartment(t, "100000000/eau"), compartment(t, "100000000/letter")},
			States: []querschott.DoorState{querschott.Hold, querschott.Closed}, Every: time.Second,
			Set: func(_ context.Context, c querschott.Compartment, s querschott.DoorState) error {
				states[c] = s
				return nil
			},
		}
		began := time.Now()
		moves, err := f.Run(t.Context(), 500)
		if took := time.Since(began); err != nil || moves != 500 || took < 400*time.Second || took > 600*time.Second {
			t.Errorf("%d moves in %v, %v", moves, took, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if moves, err = f.Run(ctx, 0); err != nil || moves < 30 || moves > 120 {
			t.Errorf("%d moves in a minute, %v", moves, err)
		}
		if err := f.Restore(t.Context(), querschott.Open); err != nil {
			t.Error(err)
		}
		want := map[querschott.Compartment]querschott.DoorState{f.Doors[0]: querschott.Open, f.Doors[1]: querschott.Open}
		if diff := cmp.Diff(want, states); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFlipperStopsAtAnError(t *testing.T) {
	jammed := errors.New("the door is jammed")
	f := &Flipper{
		Doors: []querschott.Compartment{compartment(t, "100000000/eau")},
		Set:   func(context.Context, querschott.Compartment, querschott.DoorState) error { return jammed },
	}
	if moves, err := f.Run(t.Context(), 0); moves != 0 || !errors.Is(err, jammed) {
		t.Errorf("%d moves, %v", moves, err)
	}
	if err := f.Restore(t.Context(), querschott.Open); !errors.Is(err, jammed) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.Set = func(context.Context, querschott.Compartment, querschott.DoorState) error {
		cancel()
		return jammed
	}
	if _, err := f.Run(ctx, 0); err != nil {
		t.Errorf("the end of the context is no error, got %v", err)
	}
}
