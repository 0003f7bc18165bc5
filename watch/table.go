package watch

// table holds a bounded number of keys. The key that was quiet for longest makes room for a new one, and is counted.
type table[V any] struct {
	room    int
	by      map[string]*slot[V]
	first   *slot[V] // used last
	last    *slot[V] // quiet for longest
	evicted uint64
}

type slot[V any] struct {
	key        string
	value      V
	prev, next *slot[V]
}

func newTable[V any](room int) *table[V] {
	return &table[V]{room: max(room, 1), by: map[string]*slot[V]{}}
}

// get returns the value of a key, zero for a new one. It stays valid until the key is forgotten.
func (t *table[V]) get(key string) *V {
	s := t.by[key]
	switch s {
	case nil:
		if len(t.by) >= t.room {
			old := t.last
			t.unlink(old)
			delete(t.by, old.key)
			t.evicted++
		}
		s = &slot[V]{key: key}
		t.by[key] = s
	case t.first:
		return &s.value
	default:
		t.unlink(s)
	}
	s.next = t.first
	if t.first != nil {
		t.first.prev = s
	}
	t.first = s
	if t.last == nil {
		t.last = s
	}
	return &s.value
}

// peek returns the value of a key, nil if it is not there, and leaves its age as it is.
func (t *table[V]) peek(key string) *V {
	if s := t.by[key]; s != nil {
		return &s.value
	}
	return nil
}

func (t *table[V]) unlink(s *slot[V]) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		t.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		t.last = s.prev
	}
	s.prev, s.next = nil, nil
}

func (t *table[V]) stats() Stats { return Stats{Keys: len(t.by), Evicted: t.evicted} }
