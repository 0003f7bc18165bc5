package watch

import "math"

// acquaintances is whom an actor reached with a reason in the last two to four weeks. It tells apart what looks alike by number: work
// whose reasons are not linked, and paperwork that is caught up with, is about the same mixture of known persons and strangers as ever;
// whoever carries off data reads persons who were never his.
//
// It is two Bloom filters that take turns. Whoever stands in neither is a stranger; of the strangers one in ten to twenty is taken for known.
type acquaintances struct {
	turn int // number of the running fortnight
	bits [2][knownWords]uint64

	day   int
	noted int     // persons of today
	known float64 // accesses with a reason to known persons, of about the last month
	all   float64 // to anybody
	today int     // accesses with a reason
	usual float64 // of a day
	days  int

	bare      float64 // different persons without a reason of about the last three days
	bareKnown float64 // known ones of them
}

const (
	knownWords = 128  // of 64 bits: 600 persons a fortnight fill a seventh
	knownDays  = 14   // of a turn
	knownDaily = 200  // persons that are remembered of one day, so that nobody makes everybody known
	knownFades = 0.97 // what a day of work is worth a day later
	bareFades  = 0.6  // the same of accesses without a reason

	mixtureLeast = 60   // accesses with a reason from which on there is a usual mixture
	mixtureShare = 0.7  // of the usual share of known persons, so that a task that differs somewhat is nobody's fault
	mixtureTail  = 1e-4 // how unlikely a mixture must be
	mixtureSees  = 6    // known persons that there must be to say that work is as usual

	busyDays = 5 // days before somebody can be busier than usual
	busyMost = 3.0
)

// meet reports whether an event's person is a stranger, and remembers the person if there is a reason. Turns of different actors end on
// different days.
func (k *acquaintances) meet(e *Event) (stranger bool) {
	if k.day != e.Day {
		k.begin(e)
	}
	i, j := e.Subject>>50%(64*knownWords), e.Subject>>37%(64*knownWords)
	has := func(b *[knownWords]uint64) bool { return b[i/64]>>(i%64)&1 != 0 && b[j/64]>>(j%64)&1 != 0 }
	now := &k.bits[k.turn%2]
	stranger = !has(now) && !has(&k.bits[(k.turn+1)%2])
	if !e.Explained {
		return stranger
	}
	if k.noted < knownDaily && !has(now) {
		now[i/64] |= 1 << (i % 64)
		now[j/64] |= 1 << (j % 64)
		k.noted++
	}
	k.today++
	k.all++
	if !stranger {
		k.known++
	}
	return stranger
}

// begin begins another day.
func (k *acquaintances) begin(e *Event) {
	turn := (e.Day + int(e.actor.id%knownDays)) / knownDays
	for ; k.turn < turn; k.turn++ {
		if turn-k.turn > 2 {
			k.turn = turn - 2
		}
		k.bits[(k.turn+1)%2] = [knownWords]uint64{}
	}
	fade := math.Pow(knownFades, float64(e.Day-k.day))
	k.known, k.all = k.known*fade, k.all*fade
	k.bare, k.bareKnown = k.bare*bareFades, k.bareKnown*bareFades
	if k.today > 0 {
		k.days++
		n := float64(k.today)
		if k.days > busyDays {
			n = min(n, 3*k.usual)
		}
		k.usual += (n - k.usual) / float64(min(k.days, 20))
	}
	k.day, k.noted, k.today = e.Day, 0, 0
}

// busy is how many times as much explained work as on a usual day there has been today, from 1 on: whoever does twice as much forgets
// twice as many references.
func (k *acquaintances) busy() float64 {
	if k.days < busyDays || k.usual == 0 {
		return 1
	}
	return min(max(float64(k.today)/k.usual, 1), busyMost)
}

// mixture says whose persons somebody reaches without a reason: his own work's, or strangers. Both are false where it cannot be told.
func (k *acquaintances) mixture() (own, strangers bool) {
	if k.all < mixtureLeast {
		return false, false
	}
	p := k.known / k.all
	if p*k.bare >= mixtureSees && k.bareKnown >= p*k.bare/2 {
		return true, false
	}
	return false, binomialTail(int(k.bareKnown+0.5), int(k.bare+0.5), mixtureShare*p) < mixtureTail
}

// binomialTail returns the probability of k or fewer among n when each is with probability p.
func binomialTail(k, n int, p float64) float64 {
	if p <= 0 || k >= n {
		return 1
	}
	term := math.Pow(1-p, float64(n))
	sum := term
	for i := range k {
		term *= float64(n-i) / float64(i+1) * p / (1 - p)
		sum += term
	}
	return sum
}
