package token

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"testing"
	"time"
)

func hashOf(i int) *[32]byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
	return &sum
}

func TestResultsAreBounded(t *testing.T) {
	r := newResults[int](160)
	now := time.Unix(1000, 0)
	for i := range 10_000 {
		r.put(hashOf(i), &i, now.Add(time.Hour), now)
		if got := r.get(hashOf(i)); got == nil || *got != i {
			t.Fatalf("entry %d is not remembered", i)
		}
		if n := r.len(); n > 160 {
			t.Fatalf("%d entries are remembered, want 160 at most", n)
		}
	}
	if n := r.len(); n < 150 {
		t.Errorf("%d entries are remembered, want about 160", n)
	}
}

func TestResultsThatAreOverGoFirst(t *testing.T) {
	r := newResults[int](8 * cacheShards)
	now := time.Unix(1000, 0)
	lasting := hashOf(0)
	zero := 0
	r.put(lasting, &zero, now.Add(time.Hour), now)
	for i := 1; i < 1000; i++ {
		r.put(hashOf(i), &i, now.Add(-time.Second), now)
	}
	if r.get(lasting) == nil {
		t.Error("an entry that lasts went before entries that are over")
	}
	r.forget(lasting)
	if r.get(lasting) != nil {
		t.Error("a forgotten entry is remembered")
	}
}

func TestResultsRace(t *testing.T) {
	r := newResults[int](64)
	now := time.Unix(1000, 0)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				r.put(hashOf(i), &i, now, now)
				if got := r.get(hashOf(i)); got != nil && *got != i {
					t.Errorf("entry %d says %d", i, *got)
				}
				r.forget(hashOf(i))
			}
		})
	}
	wg.Wait()
}
