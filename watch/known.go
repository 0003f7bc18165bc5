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

	last     int64   // when the last access with a reason was, in seconds since 1970
	gaps     float64 // accesses with a reason that came so long behind another that he may have been away; of all
	bareAway float64 // persons without a reason who were reached while he was
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

	awaySeconds = 3600 // without an access with a reason, after which nothing says that somebody is at work
	awayTimes   = 2    // times as often as his own pauses say, and
	awaySlack   = 0.02 // a little more

	busyDays = 5 // days before somebody can be busier than usual
	busyMost = 3.0
)

// unexplained notes a person who was reached without a reason, for the first time today.
func (k *acquaintances) unexplained(e *Event) {
	k.bare++
	if !e.Stranger {
		k.bareKnown++
	}
	if e.Sec-k.last > awaySeconds {
		k.bareAway++
	}
}

// away reports whether persons are reached without a reason while their actor is not at his work, more often than his own pauses explain:
// a password has two users. Who is there has forgotten some references and not all of them; where all of them are missing, mixture says
// whose work it is.
func (k *acquaintances) away() bool {
	if k.all < mixtureLeast || k.bareAway < 1 {
		return false
	}
	p := awayTimes*k.gaps/k.all + awaySlack
	return p < 1 && 1-binomialTail(int(k.bareAway+0.5)-1, int(k.bare+0.5), p) < mixtureTail
}

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
	if e.Sec-k.last > awaySeconds {
		k.gaps++
	}
	k.last = max(k.last, e.Sec)
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
	k.known, k.all, k.gaps = k.known*fade, k.all*fade, k.gaps*fade
	k.bare, k.bareKnown, k.bareAway = k.bare*bareFades, k.bareKnown*bareFades, k.bareAway*bareFades
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

// strange reports whether the persons whom several actors reach without a reason, taken together, are strangers to their work. Of each of
// them there may be too few to say so, and a call centre's own work is about strangers mostly: all of them together tell.
func strange(list []*acquaintances) bool {
	bare, known, expected := 0.0, 0.0, 0.0
	for _, k := range list {
		if k.all < mixtureLeast {
			continue
		}
		bare, known = bare+k.bare, known+k.bareKnown
		expected += k.known / k.all * k.bare
	}
	return bare > 0 && binomialTail(int(known+0.5), int(bare+0.5), mixtureShare*expected/bare) < mixtureTail
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
