package watch

// table holds a bounded number of keys. When it is full, a hand goes round and forgets the first key that was quiet since it
// came by last; what is forgotten is counted.
type table[V any] struct {
	room    int
	by      map[string]*slot[V]
	ring    []*slot[V]
	hand    int
	evicted uint64
}

type slot[V any] struct {
	key   string
	seen  bool // since the hand came by
	value V
}

func newTable[V any](room int) *table[V] {
	return &table[V]{room: max(room, 1), by: map[string]*slot[V]{}}
}

// get returns the value of a key, zero for a new one. It stays valid until the key is forgotten.
func (t *table[V]) get(key string) *V {
	s := t.by[key]
	if s == nil {
		s = &slot[V]{key: key}
		t.by[key] = s
		if len(t.ring) < t.room {
			t.ring = append(t.ring, s)
		} else {
			t.ring[t.victim()] = s
		}
	}
	s.seen = true
	return &s.value
}

// victim forgets a key and returns its place in the ring.
func (t *table[V]) victim() int {
	for {
		at, s := t.hand, t.ring[t.hand]
		t.hand = (t.hand + 1) % len(t.ring)
		if s.seen {
			s.seen = false
			continue
		}
		delete(t.by, s.key)
		t.evicted++
		return at
	}
}

func (t *table[V]) stats() Stats { return Stats{Keys: len(t.by), Evicted: t.evicted} }
