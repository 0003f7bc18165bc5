package drill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/querschott/querschott"
)

// Flipper moves doors at random, as nobody should: to find out whether mail survives it. The same seed makes the same
// moves. It belongs to one goroutine.
type Flipper struct {
	Doors  []querschott.Compartment
	States []querschott.DoorState // nil: all of them
	Every  time.Duration          // between two moves on average, at most twice as long; 0: at once
	Set    func(context.Context, querschott.Compartment, querschott.DoorState) error

	rng *rand.Rand
}

// Seed chooses the moves; without it they are those of seed 0.
func (f *Flipper) Seed(seed uint64) { f.rng = rand.New(rand.NewPCG(seed, 0x666c6970)) }

// Next returns the next move without making it.
func (f *Flipper) Next() (querschott.Compartment, querschott.DoorState) {
	if f.rng == nil {
		f.Seed(0)
	}
	states := f.States
	if len(states) == 0 {
		states = []querschott.DoorState{querschott.Open, querschott.Hold, querschott.ReadOnly, querschott.Closed}
	}
	return f.Doors[f.rng.IntN(len(f.Doors))], states[f.rng.IntN(len(states))]
}

// Run moves doors until it has made n moves (0: without end) or the context ends, which is no error, and returns how many
// it has made. An error of Set ends it. The doors stay as they are then.
func (f *Flipper) Run(ctx context.Context, n int) (moves int, err error) {
	for (n == 0 || moves < n) && f.pause(ctx) {
		c, state := f.Next()
		err := f.Set(ctx, c, state)
		if ctx.Err() != nil {
			return moves, nil //nolint:nilerr // a move that the end of the context cut short is no failure
		}
		if err != nil {
			return moves, fmt.Errorf("couldn't move the door of %s to %s: %w", c, state, err)
		}
		moves++
	}
	return moves, nil
}

// Restore sets every door to one state, in order, and stops at the first error.
func (f *Flipper) Restore(ctx context.Context, state querschott.DoorState) error {
	for _, c := range f.Doors {
		if err := f.Set(ctx, c, state); err != nil {
			return fmt.Errorf("couldn't move the door of %s to %s: %w", c, state, err)
		}
	}
	return nil
}

// pause waits for the next move. It returns false when the context has ended.
func (f *Flipper) pause(ctx context.Context) bool {
	if f.Every <= 0 {
		return ctx.Err() == nil
	}
	if f.rng == nil {
		f.Seed(0)
	}
	timer := time.NewTimer(time.Duration(f.rng.Int64N(2*int64(f.Every) + 1)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
