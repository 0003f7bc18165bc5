package watch

import (
	"math"
	"testing"

	"github.com/querschott/querschott"
)

// meets lets somebody reach persons from number first on, on a day, and counts strangers.
func meets(k *acquaintances, day, first, n int, explained bool) (strangers int) {
	a := &actor{id: 3}
	for i := range n {
		e := &Event{Access: &querschott.Access{}, Day: day, Subject: mix(uint64(first+i) + 1), Explained: explained, actor: a}
		if k.meet(e) {
			strangers++
		}
	}
	return strangers
}

func TestAcquaintances(t *testing.T) {
	k := &acquaintances{}
	if n := meets(k, 1000, 0, 100, true); n < 97 {
		t.Errorf("%d of 100 persons whom nobody met are strangers", n)
	}
	if n := meets(k, 1010, 0, 100, false); n != 0 {
		t.Errorf("%d of 100 persons are strangers ten days later", n)
	}
	if n := meets(k, 1060, 0, 100, false); n != 100 {
		t.Errorf("%d of 100 persons are strangers two months later", n)
	}
	if meets(k, 1061, 5000, 100, false); meets(k, 1061, 5000, 100, false) < 97 {
		t.Error("whoever is reached without a reason becomes known by it")
	}
	meets(k, 1062, 10_000, 5000, true)
	if n := meets(k, 1062, 50_000, 1000, false); n < 900 {
		t.Errorf("a day of very many reasons leaves %d of 1000 strangers", n)
	}
}

func TestMixtureTellsWhoseWorkItIs(t *testing.T) {
	for _, c := range []struct {
		name           string
		known, all     float64
		bare, knownOf  float64
		own, strangers bool
	}{
		{"half known as ever", 500, 1000, 30, 14, true, false},
		{"strangers only", 500, 1000, 30, 1, false, true},
		{"few of them", 500, 1000, 6, 0, false, false},
		{"work is about strangers anyway", 20, 1000, 40, 0, false, false},
		{"nothing is known", 5, 10, 40, 0, false, false},
	} {
		k := &acquaintances{known: c.known, all: c.all, bare: c.bare, bareKnown: c.knownOf}
		if own, strangers := k.mixture(); own != c.own || strangers != c.strangers {
			t.Errorf("%s: own %t, strangers %t", c.name, own, strangers)
		}
	}
	if p := binomialTail(1, 3, 0.5); math.Abs(p-0.5) > 1e-12 {
		t.Errorf("at most one of three coins: %v", p)
	}
}

// Half of somebody's references are forgotten while he works; whoever has his password works on when he is gone.
func TestAwayTellsTwoUsersOfAPassword(t *testing.T) {
	for _, c := range []struct {
		name  string
		from  int64 // minute of the day at which persons are reached without a reason, from 08:00 to 16:00 with one
		every int64 // minutes between accesses with a reason
		away  bool
	}{
		{"at work", 9 * 60, 10, false},
		{"in the evening", 18 * 60, 10, true},
		{"who gives a reason every other hour may be away at any time", 9 * 60, 120, false},
	} {
		k, a := &acquaintances{}, &actor{id: 3}
		see := func(day int, minute int64, explained bool) {
			e := &Event{Access: &querschott.Access{}, Day: day, Sec: int64(day)*86400 + minute*60, Subject: mix(uint64(minute) + 1), Explained: explained, actor: a}
			if e.Stranger = k.meet(e); !explained {
				k.unexplained(e)
			}
		}
		work := func(day int, with bool) {
			for m := int64(8 * 60); m < 16*60; m++ {
				if m%c.every == 0 {
					see(day, m, true)
				}
				if i := m - c.from; with && i >= 0 && i < 150 && i%10 == 5 {
					see(day, m, false)
				}
			}
		}
		for day := range 25 {
			work(1000+day, false)
		}
		work(1025, true)
		for m := c.from; c.from > 16*60 && m < c.from+150; m += 10 {
			see(1025, m, false)
		}
		if k.bare < 10 {
			t.Fatalf("%s: only %g persons without a reason", c.name, k.bare)
		}
		if got := k.away(); got != c.away {
			t.Errorf("%s: away %t, %g of %g persons while away, %g of %g accesses behind a pause", c.name, got, k.bareAway, k.bare, k.gaps, k.all)
		}
	}
}

// What is too little of each says something of all: five of a call centre, each with 20 persons nobody of whom he knew.
func TestStrangersOfSeveral(t *testing.T) {
	one := func(known float64) *acquaintances {
		return &acquaintances{known: 120, all: 1000, bare: 30, bareKnown: known}
	}
	if _, strangers := one(0).mixture(); strangers {
		t.Error("one alone is enough; the test says nothing")
	}
	if !strange([]*acquaintances{one(0), one(0), one(0), one(1), one(0)}) {
		t.Error("five with strangers only are not told apart")
	}
	if strange([]*acquaintances{one(4), one(3), one(2), one(5), one(4)}) {
		t.Error("five whose persons are of their work are told apart")
	}
	if fresh := (&acquaintances{known: 12, all: 20, bare: 300}); strange([]*acquaintances{fresh, fresh, fresh}) {
		t.Error("of whom nothing is known, something is said")
	}
}

// TestRiseOfAPart lets a third of a group do much more than usual: it explains itself, unless it is too few, or apart.
func TestRiseOfAPart(t *testing.T) {
	day := func(rising int, apart bool) (alarms, together int) {
		p := newProfiler(slowRule)
		g := p.peers("g")
		var all []*profile
		for range 12 {
			f := &profile{group: g, role: p.peers("r"), base: 2, sd: 2, n: 20, c: 8}
			g.members, all = append(g.members, f), append(all, f)
			g.expected += 2
			f.role.members = append(f.role.members, f)
			f.role.expected += 2
		}
		g.there = len(all)
		for range 20 {
			for _, f := range all[:rising] {
				f.apart = apart
				v := p.add(f, 1)
				alarms += int(boolNumber(v.cause != ""))
				together += int(boolNumber(v.together))
			}
		}
		return alarms, together
	}
	if alarms, together := day(4, false); alarms > 0 || together == 0 {
		t.Errorf("four of twelve rise: %d alarms, %d times explained", alarms, together)
	}
	if alarms, _ := day(1, false); alarms != 1 {
		t.Errorf("one of twelve rises: %d alarms", alarms)
	}
	if alarms, _ := day(4, true); alarms != 4 {
		t.Errorf("four rise with strangers' data: %d alarms", alarms)
	}
}

func boolNumber(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
