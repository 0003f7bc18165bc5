package scope_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestEndOnABusyMachine has time run out while the index ends: that is no failure, and the next start knows
// everybody.
func TestEndOnABusyMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, iks := newWorld(t), insurers(2)
		rng := rand.New(rand.NewPCG(1, 1))
		w.some(t, rng, iks, 300)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.scope.Run(ctx) }()
		w.slow = time.Minute
		begun := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(begun); took < 5*time.Second {
			t.Errorf("it ended after %s: it had time enough", took)
		}
		w.slow = 0
		w.close(t)
		w.open(t)
		w.compare(t, w.question(rng, iks))
		w.close(t)
	})
}
