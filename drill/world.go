package drill

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"sort"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/wire/kim"
)

// How large a world usually is, and may be.
const (
	DefaultInsurers = 80
	DefaultPersons  = 50_000
	MaxPersons      = 10_000_000

	insured      = 25_000_000 // persons that the insurers of a world stand for
	atLeast      = 5          // synthetic persons of the smallest insurer, if there are enough
	practices    = 400
	serials      = 10_000 // of IKs
	kvnrs        = 100_000_000
	testDomain   = ".kim.telematik-test"
	insurerLocal = "post"
)

// MaxInsurers is the number of insurers for which there are names.
var MaxInsurers = len(stems)

// Insurer is an invented health insurer.
type Insurer struct {
	IK      querschott.IK // valid check digit; digits three and four are 00, so that it can be told from others at a glance
	Name    string        // "Nordwind Krankenkasse"; at most 45 characters
	Short   string        // unique, fit for a host name: "nordwind"
	Insured int           // persons it stands for; the sizes follow Zipf's law
	Address kim.Address   // one mailbox for all of its services, the Dienstkennung tells them apart: post@nordwind.kim.telematik-test

	first, persons int // its synthetic insured persons
}

// Persons returns the numbers of the insurer's synthetic insured persons: first, first+1, ..., n of them; see [World.Person].
func (i *Insurer) Persons() (first, n int) { return i.first, i.persons }

// World is an invented landscape of insurers, insured persons and practices. It does not change, except for what
// [World.Enrol] adds, and may be used by many goroutines.
type World struct {
	seed      uint64
	persons   int
	insurers  []*Insurer // largest first
	practices []*Practice
	sums      []int // insured of this and all larger insurers
	byIK      map[querschott.IK]*Insurer
	byAddress map[kim.Address]*Insurer
	step, add uint64 // person i has the KVNR digits (add + i*step) mod 10^8
	back      uint64 // step * back = 1 (mod 10^8)
}

// NewWorld makes the world of a seed with 1 to [MaxInsurers] insurers and as many to [MaxPersons] synthetic insured
// persons; other numbers are a programmer's mistake and panic. Persons are computed when asked for, none is kept.
func NewWorld(seed uint64, insurers, persons int) *World {
	if insurers < 1 || insurers > MaxInsurers || persons < insurers || persons > MaxPersons {
		panic(fmt.Sprintf("drill: no world has %d insurers with %d persons", insurers, persons))
	}
	rng := rand.New(rand.NewPCG(seed, 0x71756572))
	w := &World{
		seed: seed, persons: persons,
		byIK: map[querschott.IK]*Insurer{}, byAddress: map[kim.Address]*Insurer{},
		step: 10*rng.Uint64N(kvnrs/10) + []uint64{1, 3, 7, 9}[rng.IntN(4)], // has no factor in common with 10^8
		add:  rng.Uint64N(kvnrs),
	}
	w.back = new(big.Int).ModInverse(new(big.Int).SetUint64(w.step), big.NewInt(kvnrs)).Uint64()
	sizes, heads := zipf(insured, insurers), spread(persons, insurers)
	names, numbers := rng.Perm(len(stems)), rng.Perm(serials)
	first, sum := 0, 0
	for i := range insurers {
		in := newInsurer(stems[names[i]], sorts[rng.IntN(len(sorts))], numbers[i])
		in.Insured, in.first, in.persons = sizes[i], first, heads[i]
		first, sum = first+heads[i], sum+sizes[i]
		w.insurers, w.sums = append(w.insurers, in), append(w.sums, sum)
		w.byIK[in.IK], w.byAddress[in.Address] = in, in
	}
	for i := range practices {
		w.practices = append(w.practices, w.newPractice(i))
	}
	return w
}

func newInsurer(stem, sort string, serial int) *Insurer {
	digits := fmt.Sprintf("1000%04d", serial)
	in := &Insurer{
		IK:   querschott.IK(digits + string(querschott.IKCheckDigit(digits))),
		Name: stem + " " + sort, Short: plain(stem),
	}
	in.Address = kim.Address(insurerLocal + "@" + in.Short + testDomain)
	return in
}

// zipf divides a total among n by Zipf's law: the k-th gets a share of 1/k. The rounding goes to the first.
func zipf(total, n int) []int {
	harmonic := 0.0
	for k := range n {
		harmonic += 1 / float64(k+1)
	}
	sizes, rest := make([]int, n), total
	for k := range sizes {
		sizes[k] = int(float64(total) / harmonic / float64(k+1))
		rest -= sizes[k]
	}
	sizes[0] += rest
	return sizes
}

// spread divides persons by Zipf's law too, after everybody has got a few.
func spread(persons, n int) []int {
	few := min(atLeast, persons/n)
	heads := zipf(persons-few*n, n)
	for k := range heads {
		heads[k] += few
	}
	return heads
}

// Insurers returns all insurers, the largest first.
func (w *World) Insurers() []*Insurer { return w.insurers }

// Practices returns all practices.
func (w *World) Practices() []*Practice { return w.practices }

// Persons returns how many synthetic insured persons there are.
func (w *World) Persons() int { return w.persons }

// Insurer finds an insurer by its IK.
func (w *World) Insurer(ik querschott.IK) (*Insurer, bool) {
	in, ok := w.byIK[ik]
	return in, ok
}

// Mailbox finds the insurer that an address belongs to: the directory of this world.
func (w *World) Mailbox(a kim.Address) (*Insurer, bool) {
	in, ok := w.byAddress[a]
	return in, ok
}

// pick returns the insurer of one of the 25 million insured, number 0 to Insured()-1.
func (w *World) pick(number int) *Insurer {
	return w.insurers[sort.SearchInts(w.sums, number+1)]
}

// Insured returns how many persons the insurers stand for.
func (w *World) Insured() int { return w.sums[len(w.sums)-1] }
