package watch_test

import (
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/querschott/querschott/internal/raced"
	"github.com/querschott/querschott/watch"
)

// TestQuarter measures false alarms over a quarter of nothing but ordinary work, and how soon thefts are found. It has two
// shares of accesses without a reason: 3 % and, with processes that forget to give theirs, 12 %. The figures are printed;
// what is demanded of them leaves room for other machines' arithmetic, not for a detector that has gone bad.
func TestQuarter(t *testing.T) {
	raced.Alone(t)
	seeds, clerks := 1, 60
	if os.Getenv("QUERSCHOTT_LONG") != "" {
		seeds, clerks = 5, 300
	}
	for _, world := range []struct {
		name       string
		unexpl     float64
		newProcess float64
		most       float64 // false alarms per 1,000 clerks and working day
	}{{"3 % without a reason", 0.03, 0, 0.6}, {"12 % without a reason", 0.12, 0.005, 2}} {
		t.Run(world.name, func(t *testing.T) {
			all, days := map[string]int{}, 0
			for seed := range uint64(seeds) {
				w := newTraffic()
				w.seed, w.clerks, w.practices, w.users, w.days, w.gates = 100+seed, clerks, clerks/3, clerks, 91, 2
				w.unexpl, w.newProcess = world.unexpl, world.newProcess
				for d := 40; d < 50; d++ {
					w.factor[d] = 1.4 // a wave of flu
				}
				for _, a := range run(t, w, watch.Config{}).Alarms {
					all[a.Detector+" "+a.Cause]++
				}
				days += 65
			}
			sum := 0
			for _, k := range slices.Sorted(maps.Keys(all)) {
				t.Logf("%-28s %d", k, all[k])
				sum += all[k]
			}
			per := float64(sum) / float64(days)
			t.Logf("%d seeds, %d clerks, %d practices, %d users: %d false alarms in %d working days, %.3f a day, %.2f per 1,000 clerks and day",
				seeds, clerks, clerks/3, clerks, sum, days, per, per/float64(clerks)*1000)
			if got := per / float64(clerks) * 1000; got > world.most {
				t.Errorf("%.2f false alarms per 1,000 clerks and working day, want at most %.2f", got, world.most)
			}
		})
	}
}

// TestThefts measures how many of those who steal slowly are found, and after how many days.
func TestThefts(t *testing.T) {
	raced.Alone(t)
	seeds, from, clerks, slack := 1, 28, 45, 0.6 // three thieves are too few to be strict
	if os.Getenv("QUERSCHOTT_LONG") != "" {
		seeds, from, clerks, slack = 10, 42, 90, 1
	}
	const thieves = 3
	for _, theft := range []struct {
		name     string
		perDay   int
		unexpl   float64
		within   int // days
		least    float64
		reason   func(*clerk) string
		detector string
	}{
		{"20 a day, 3 %", 20, 0.03, 10, 0.7, noReason, "D10"},
		{"50 a day, 3 %", 50, 0.03, 3, 0.9, noReason, "D10"},
		{"150 a day, 3 %", 150, 0.03, 2, 0.95, noReason, "D10"},
		{"20 a day, 12 %", 20, 0.12, 10, 0.5, noReason, "D10"},
		{"50 a day, 12 %", 50, 0.12, 3, 0.7, noReason, "D10"},
		{"150 a day, 12 %", 150, 0.12, 2, 0.9, noReason, "D10"},
		{"150 a day, forged reasons", 150, 0.03, 7, 0.5, (*clerk).reason, "R2"},
	} {
		t.Run(theft.name, func(t *testing.T) {
			found, soon, total, firstDays := 0, 0, 0, []int{}
			for seed := range uint64(seeds) {
				w := newTraffic()
				w.seed, w.clerks, w.days, w.unexpl = 200+seed, clerks, from+16, theft.unexpl
				if theft.unexpl > 0.1 {
					w.newProcess = 0.005
				}
				thief := map[string]bool{}
				for i := range thieves {
					n := 1 + (int(seed)*5+i*7)%clerks
					w.steal(n, from, theft.perDay, theft.reason)
					thief["clerk-"+itoa(n)] = true
				}
				total += len(thief)
				start := w.begin.AddDate(0, 0, from)
				first := map[string]int{}
				for _, a := range run(t, w, watch.Config{}).Alarms {
					if thief[string(a.Actor)] && !a.Time.Before(start) && a.Detector == theft.detector {
						if _, ok := first[string(a.Actor)]; !ok {
							first[string(a.Actor)] = int(a.Time.Sub(start)/(24*time.Hour)) + 1
						}
					}
				}
				for _, d := range first {
					found++
					firstDays = append(firstDays, d)
					if d <= theft.within {
						soon++
					}
				}
			}
			slices.Sort(firstDays)
			median := 0
			if len(firstDays) > 0 {
				median = firstDays[len(firstDays)/2]
			}
			share := float64(soon) / float64(total)
			t.Logf("%d of %d found, %d within %d days (%.0f %%), median day %d", found, total, soon, theft.within, 100*share, median)
			if share < theft.least*slack {
				t.Errorf("found %.0f %% within %d days, want %.0f %%", 100*share, theft.within, 100*theft.least*slack)
			}
		})
	}
}

// TestSeasons has a quarter end and a holiday pass: what moves everybody makes nobody suspicious and is not learned as his habit.
// Whoever takes thirty a day then, or at any other time, is told.
func TestSeasons(t *testing.T) {
	raced.Alone(t)
	const clerks, turn, more = 45, 26, 2.2 // the last three days of a quarter, and the first ones of the next
	world := func(seed uint64, season bool) *traffic {
		w := newTraffic()
		w.seed, w.clerks, w.days, w.unexpl = 300+seed, clerks, turn+25, 0.12
		if season {
			for d := turn; d < turn+8; d++ {
				w.factor[d] = more
			}
			w.factor[turn+14], w.factor[turn+15] = 0.1, 1.6 // a holiday, and what it has left
		}
		return w
	}
	alarms := func(w *traffic) (who map[string]int) {
		who = map[string]int{}
		for _, a := range run(t, w, watch.Config{}).Alarms {
			if !a.Time.Before(w.begin.AddDate(0, 0, turn)) {
				who[string(a.Actor)]++
			}
		}
		return who
	}
	calm, moved, alone := 0, 0, 0 // persons named
	for seed := range uint64(4) {
		calm += len(alarms(world(seed, false)))
		moved += len(alarms(world(seed, true)))
		w := world(seed, true)
		n := 4 + 6*int(seed)
		w.steal(n, turn, 30, noReason)
		alone += min(alarms(w)["clerk-"+itoa(n)], 1)
	}
	t.Logf("of %d clerks an alarm names %d without a season and %d with one; of 4 thieves in it, %d", 4*clerks, calm, moved, alone)
	if moved > calm+4 { // the rise takes a moment to be everybody's
		t.Errorf("the season names %d clerks, without it %d are named", moved, calm)
	}
	if alone < 3 {
		t.Errorf("%d of 4 thieves are told", alone)
	}
}
