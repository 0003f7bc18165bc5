package node

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestSpareCollections(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
	defer func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}()
	t.Setenv("GOGC", "50")
	t.Setenv("GOMEMLIMIT", "1GiB")
	spareCollections()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("GOGC is set, and the percentage became %d", got)
	}
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("GOMEMLIMIT is set, and the limit became %d", got)
	}
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	spareCollections()
	if got := debug.SetGCPercent(100); got != garbage {
		t.Errorf("the percentage is %d, want %d", got, garbage)
	}
	if got, all := debug.SetMemoryLimit(-1), memory(); all < 64<<20 || got != all/2 {
		t.Errorf("the limit is %d bytes, of %d", got, all)
	}
}
