package watch

import "hash/maphash"

// actor is what all detectors hold of one actor. It is looked up once for each event: what an event costs is the number of
// places in memory that it touches, so what every event needs lies together, and what only few actors need hangs on a
// pointer. Each part belongs to the detector that declares its type.
type actor struct {
	id   uint64 // hash of the name
	name string
	seen bool // since the hand came by
	test bool // it is played by the watch itself
	at   int  // its place in the ring

	asked askTrail  // D4
	bulk  bulkTrail // D1
	keys  keysOf    // D14: the credential that was used last
	own   ownTrail  // D5: the first person of the day

	staff    *staff            // who needs reasons
	account  *accountTrail     // D5: users of the app who saw others or were refused
	probes   *probeTrail       // D4: who failed
	practice *practiceTrail    // D8: practices
	writes   *writeTrail       // D11: who wrote
	others   []keysOf          // D14: further credentials
	refusals map[string]*burst // D14: who was refused
}

// staff is what is held of an actor who needs reasons.
type staff struct {
	reasons reasonTrail // R1, R2
	slow    profile     // D10
	mule    muleTrail   // D15
	pace    paceTrail   // R3
	cases   profile     // R2
	persons profile     // R3
	habit   habit       // D7
	gaze    gaze        // D9
	trail   slowTrail   // D10
	copies  copyTrail   // R4
	known   acquaintances
}

// clerk returns what is held of an actor who needs reasons.
func (a *actor) clerk() *staff {
	if a.staff == nil {
		a.staff = &staff{}
	}
	return a.staff
}

// actors holds a bounded number of actors. When it is full, a hand goes round and forgets the first actor that was quiet
// since it came by last.
//
// It is a table with open addressing. An entry and its actor are told by 128 bits of two hashes, one of them with a seed that
// nobody knows; names are not compared, they would be one more place to go to.
type actors struct {
	room    int
	seed    maphash.Seed
	table   []actorPlace
	used    int // places taken in table, by forgotten actors too
	ring    []*actor
	hand    int
	evicted uint64
	forget  []func(*actor) // told before an actor is forgotten
}

// actorPlace is an entry of the table. One that was forgotten has a hash and no actor.
type actorPlace struct {
	hash uint64 // 0: free
	of   *actor
}

func newActors(room int) *actors {
	return &actors{room: max(room, 1), seed: maphash.MakeSeed(), table: make([]actorPlace, 64)}
}

// get returns what is held of an actor.
func (s *actors) get(name string) *actor {
	h, id := max(maphash.String(s.seed, name), 1), hash(name)
	mask := len(s.table) - 1
	for i := int(h) & mask; s.table[i].hash != 0; i = (i + 1) & mask {
		if p := &s.table[i]; p.hash == h && p.of != nil && p.of.id == id {
			p.of.seen = true
			return p.of
		}
	}
	a := &actor{id: id, name: name, seen: true}
	if len(s.ring) < s.room {
		a.at = len(s.ring)
		s.ring = append(s.ring, a)
	} else {
		a.at = s.victim()
		s.ring[a.at] = a
	}
	s.put(h, a)
	return a
}

// put enters an actor that is in the ring.
func (s *actors) put(h uint64, a *actor) {
	if 4*(s.used+1) > 3*len(s.table) {
		s.rebuild()
		return
	}
	mask := len(s.table) - 1
	i := int(h) & mask
	for s.table[i].hash != 0 {
		i = (i + 1) & mask
	}
	s.table[i] = actorPlace{h, a}
	s.used++
}

// rebuild makes the table anew from the ring, with room to grow.
func (s *actors) rebuild() {
	size := 64
	for size < 2*len(s.ring) {
		size *= 2
	}
	s.table, s.used = make([]actorPlace, size), 0
	for _, a := range s.ring {
		s.put(max(maphash.String(s.seed, a.name), 1), a)
	}
}

// victim forgets an actor and returns its place in the ring.
func (s *actors) victim() int {
	for {
		at, a := s.hand, s.ring[s.hand]
		s.hand = (s.hand + 1) % len(s.ring)
		if a.seen {
			a.seen = false
			continue
		}
		s.remove(a)
		for _, f := range s.forget {
			f(a)
		}
		s.evicted++
		return at
	}
}

func (s *actors) remove(a *actor) {
	mask := len(s.table) - 1
	for i := int(max(maphash.String(s.seed, a.name), 1)) & mask; ; i = (i + 1) & mask {
		if s.table[i].of == a {
			s.table[i].of = nil
			return
		}
	}
}

// held counts the actors that a detector holds something of.
type held struct {
	keys    int
	evicted uint64
}

// drop notes that one of them is forgotten.
func (h *held) drop(a *actor) {
	if h.keys--; !a.test {
		h.evicted++
	}
}

func (h *held) stats() Stats { return Stats{Keys: h.keys, Evicted: h.evicted} }

// needsReason reports whether a detector of unexplained accesses looks at an event: a person was reached by somebody who
// has to say why.
func (e *Event) needsReason() bool { return e.Result == Reached && e.Subject != 0 && reasons(e.Role) }
