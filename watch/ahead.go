package watch

// ahead reads a word of each place in memory that the detectors are about to go to for an event of this actor. Each of them is
// far away, and one after another they cost more than everything else that is done for an event; asked for at once the
// processor fetches them together. What it returns means nothing, it only keeps the reads.
func (a *actor) ahead(e *Event) (x uint64) {
	b := &a.bulk
	x = a.keys.key ^ uint64(a.asked.quarter) ^ uint64(b.now)
	if n := len(b.last); n > 0 {
		x ^= b.last[int(e.Subject)&(n-1)].person
	}
	if n := len(b.steps); n > 0 {
		x ^= b.steps[n-1].person
		for _, from := range b.from {
			x ^= b.steps[min(int(from), n-1)].person
		}
	}
	if s := a.staff; s != nil {
		x ^= s.ahead(e)
	}
	return x
}

// ahead does the same for what is held of those who need reasons.
func (s *staff) ahead(e *Event) (x uint64) {
	r := &s.reasons
	if n := len(r.by); n > 0 {
		x = r.by[int(e.cause)&(n-1)].reason
	}
	for _, f := range [...]*profile{&s.slow, &s.cases, &s.persons} {
		x ^= uint64(f.day) ^ uint64(f.events)
	}
	return x ^ uint64(s.mule.day) ^ uint64(s.pace.day) ^ uint64(s.habit.day) ^ s.habit.keys[3] ^ s.gaze.mark ^ uint64(s.trail.day) ^ uint64(s.copies.day)
}
