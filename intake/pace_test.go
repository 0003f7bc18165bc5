package intake

import (
	"slices"
	"testing"
	"time"

	"github.com/querschott/querschott/internal/disk/crashdisk"
)

// TestPaceOfAStage: while a door opens in stages a compartment takes its share of turns and messages, in order and without
// losing any; at the last stage it takes all of them at once.
func TestPaceOfAStage(t *testing.T) {
	h := newHouse(t, 2)
	j := h.journal(mem(crashdisk.New()))
	defer h.close(j)
	slow, free := h.cs[0], h.cs[1]
	const many = 40
	want := h.fill(j, slow, many)
	h.fill(j, free, many)
	p := h.pump(j, effects)
	p.Pace(slow, 10)
	p.Pace(free, whole)
	defer run(p)()
	begin := time.Now()
	if err := p.OpenAll(h.all(1)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(h.effects(free)) == many })
	const first = turnMessages / 10 // of the first turn; nine times the pace passes before the next one
	waitFor(t, func() bool { return len(h.effects(slow)) >= first })
	if n := len(h.effects(slow)); n > first && time.Since(begin) < 9*pace {
		t.Errorf("%d messages after %s at 10 per cent", n, time.Since(begin))
	}
	waitFor(t, func() bool { return len(h.effects(slow)) >= 2*first })
	if took := time.Since(begin); took < 9*pace {
		t.Errorf("two turns took %s at 10 per cent, want %s and more", took, 9*pace)
	}
	p.Pace(slow, whole)
	waitFor(t, func() bool { return len(h.effects(slow)) == many })
	if got := bodies(h.effects(slow)); !slices.Equal(got, want) {
		t.Errorf("the order is %v", got)
	}
}
