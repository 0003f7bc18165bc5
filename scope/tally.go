package scope

import (
	"cmp"
	"encoding/hex"
	"math/bits"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

// tally counts in one log.
type tally struct {
	book     *book
	creds    []uint32
	from, to int64
	list     bool

	kinds       [256]*kind // by class
	unnamed     uint64
	first, last int64
}

// kind is what events of one class reached.
type kind struct {
	persons bitset
	events  uint64
}

func newTally(b *book, q *Question) *tally {
	t := &tally{book: b, first: openEnd, list: q.Persons}
	t.from, t.to = q.seconds()
	for _, c := range q.Credentials {
		if o := b.credentials.find(b.credential(c)); o > 0 && !slices.Contains(t.creds, o) {
			t.creds = append(t.creds, o)
		}
	}
	return t
}

// credential returns the log's pseudonym of a credential; none if the log cannot be read.
func (b *book) credential(c querschott.CredentialID) ledger.Pseudonym {
	if b.names == nil {
		return ledger.Pseudonym{}
	}
	return b.names.Credential(c)
}

// count lets all tallies look at all segments that they concern, and at what is open. The largest begin.
func (s *Scope) count(tallies []*tally) error {
	busy := slices.DeleteFunc(slices.Clone(tallies), func(t *tally) bool { return len(t.creds) == 0 })
	slices.SortStableFunc(busy, func(x, y *tally) int { return -cmp.Compare(len(x.book.persons.keys), len(y.book.persons.keys)) })
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, t := range busy {
		g.Go(func() error {
			for _, seg := range s.segs {
				if err := t.look(seg); err != nil {
					return err
				}
			}
			t.note(t.book.open)
			return nil
		})
	}
	return g.Wait()
}

// look counts what a segment has.
func (t *tally) look(seg *segment) error {
	at := seg.log(t.book.origin)
	if at < 0 || seg.until() < t.from || seg.since() >= t.to {
		return nil
	}
	for _, c := range t.creds {
		err := seg.scan(sectionKey{at, byCredential}, c, t.from, t.to, func(r *reader) error { return t.read(c, r) })
		if err != nil {
			return err
		}
	}
	return nil
}

// read counts the events of one credential in a block.
func (t *tally) read(cred uint32, r *reader) error {
	for len(r.b) > 0 {
		if err := r.next(); err != nil {
			return err
		}
		if r.cred != cred || r.second < t.from || r.second >= t.to {
			continue
		}
		k, err := t.count(&r.event)
		if err != nil {
			return err
		}
		k.events += r.sweep(k.persons, t.to)
		t.last = max(t.last, r.second)
	}
	return nil
}

// note counts the events of all credentials that are asked for.
func (t *tally) note(open []event) {
	for i := range open {
		if e := &open[i]; e.second >= t.from && e.second < t.to && slices.Contains(t.creds, e.cred) {
			_, _ = t.count(e) // the book has given the ordinals itself
		}
	}
}

// count counts one event and returns its kind.
func (t *tally) count(e *event) (*kind, error) {
	k := t.kinds[e.class]
	if k == nil {
		k = &kind{persons: newBitset(t.book)}
		t.kinds[e.class] = k
	}
	if int(e.person) > len(t.book.persons.keys) {
		return nil, errBlock
	}
	if e.person == 0 {
		t.unnamed += uint64(e.records)
	}
	k.events++
	k.persons.set(e.person)
	t.first, t.last = min(t.first, e.second), max(t.last, e.second)
	return k, nil
}

// events returns how many were counted.
func (t *tally) events() (n uint64) {
	for _, k := range t.kinds {
		if k != nil {
			n += k.events
		}
	}
	return n
}

// results returns who was reached, possibly reached, and refused. The sets overlap, and are nil for nobody.
func (t *tally) results() (reached, possible, refused bitset) {
	with := func(want Result) bitset {
		return t.union(func(class int) bool { return Result(class&3) == want })
	}
	return with(Reached), with(Possible), with(Refused)
}

// union returns the persons of some classes. The set may be one of these classes' own.
func (t *tally) union(of func(class int) bool) (set bitset) {
	own := false
	for class, k := range t.kinds {
		switch {
		case k == nil || !of(class):
		case set == nil:
			set = k.persons
		default:
			if !own {
				set, own = slices.Clone(set), true
			}
			for i, w := range k.persons {
				set[i] |= w
			}
		}
	}
	return set
}

// group is one kind of data, and who of it was reached or possibly reached.
type group struct {
	name    string
	persons bitset
	events  uint64
}

func (t *tally) groups() (list []group) {
	for data := range len(t.kinds) / 4 {
		g := group{name: ledger.DataClass(data).String()}
		of := func(class int) bool { return class>>2 == data && Result(class&3) != Refused }
		g.persons = t.union(of)
		for class, k := range t.kinds[4*data : 4*data+4] {
			if k != nil && of(4*data+class) {
				g.events += k.events
			}
		}
		if g.events > 0 {
			list = append(list, g)
		}
	}
	return list
}

// persons lists everybody in the order of their pseudonyms.
func (t *tally) persons() (list []Person) {
	var results [Refused + 1]bitset
	results[Reached], results[Possible], results[Refused] = t.results()
	groups := t.groups()
	for i, key := range t.book.persons.keys {
		o := uint32(i + 1)
		for result := Reached; result <= Refused; result++ {
			if results[result].has(o) {
				p := Person{Pseudonym: pseudonymText(key), Result: result, Log: t.book.origin, Entry: t.book.persons.first[i]}
				for _, g := range groups {
					if g.persons.has(o) {
						p.Data = append(p.Data, g.name)
					}
				}
				slices.Sort(p.Data)
				list = append(list, p)
				break
			}
		}
	}
	slices.SortFunc(list, func(x, y Person) int { return strings.Compare(x.Pseudonym, y.Pseudonym) })
	return list
}

func pseudonymText(p ledger.Pseudonym) string { return hex.EncodeToString(p[:]) }

// bitset is a set of persons of one book; nil is an empty one that stays so. Ordinal 0 is in it or not and never counts.
type bitset []uint64

func newBitset(b *book) bitset { return make(bitset, len(b.persons.keys)/64+1) }

func (s bitset) set(i uint32) { s[i/64] |= 1 << (i % 64) }

func (s bitset) has(i uint32) bool { return s != nil && s[i/64]>>(i%64)&1 == 1 }

// count returns how many persons are in it and in none of the others.
func (s bitset) count(without ...bitset) (n uint64) {
	for i, w := range s {
		if i == 0 {
			w &^= 1
		}
		for _, o := range without {
			if o != nil {
				w &^= o[i]
			}
		}
		n += uint64(bits.OnesCount64(w))
	}
	return n
}
