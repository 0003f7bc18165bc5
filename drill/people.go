package drill

import (
	"fmt"
	"sort"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/wire/eau"
	"github.com/querschott/querschott/wire/kim"
)

// Person is an invented insured person of an age at which sick notes are written.
type Person struct {
	eau.Person          // number with a valid check digit, unique in its world
	Index      int      // 0 to World.Persons()-1
	Insurer    *Insurer // who insures the person
}

// Person computes the insured person of an index from 0 to Persons()-1.
func (w *World) Person(index int) Person {
	k := sort.Search(len(w.insurers), func(i int) bool { return w.insurers[i].first > index }) - 1
	d := throw(w.seed, "person", index)
	digits := fmt.Sprintf("X%08d", (w.add+uint64(index)%kvnrs*w.step)%kvnrs)
	born := time.Date(1958, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, d.n(49*365))
	return Person{
		Index: index, Insurer: w.insurers[k],
		Person: eau.Person{
			Number: querschott.KVNR(digits + string(querschott.KVNRCheckDigit(digits))),
			Family: family(&d), Given: d.one(givens), Born: eau.DateOf(born), Address: address(&d),
		},
	}
}

// ByNumber finds the insured person who has a number; false if nobody in this world has it.
func (w *World) ByNumber(number querschott.KVNR) (Person, bool) {
	n, err := querschott.ParseKVNR(number.Reveal())
	if err != nil || n.Reveal()[0] != 'X' {
		return Person{}, false
	}
	digits, err := strconv.ParseUint(n.Reveal()[1:9], 10, 64)
	if err != nil {
		return Person{}, false
	}
	index := (digits + kvnrs - w.add) % kvnrs * w.back % kvnrs
	if index >= uint64(w.persons) {
		return Person{}, false
	}
	return w.Person(int(index)), true
}

func family(d *dice) string { return d.one(familyHeads) + d.one(familyTails) }

// address invents one. Postal codes from 00001 to 00999 are given to no place.
func address(d *dice) eau.Address {
	return eau.Address{
		Street: d.one(streets), Number: fmt.Sprint(1 + d.n(120)),
		PostalCode: fmt.Sprintf("00%03d", 1+d.n(999)), City: d.one(towns),
	}
}

// Practice is an invented practice with one doctor. It writes mail once [World.Enrol] has given it a signing identity.
type Practice struct {
	Office eau.Practice // BSNR with the region 74
	Doctor eau.Doctor   // LANR with a valid check digit
	KIM    kim.Address  // "wanda.nebelsteiger.17@praxis.kim.telematik-test"

	index  int
	space  eau.UUID // name space of what it writes
	signer *Identity
	made   atomic.Uint64 // numbers what it writes
}

// TelematikID is the practice's name in tokens: sector 1 (KBV), kind 2 (practice), BSNR.
func (p *Practice) TelematikID() querschott.Actor { return querschott.Actor("1-2" + p.Office.Number) }

func (w *World) newPractice(index int) *Practice {
	d := throw(w.seed, "practice", index)
	sortOf := []struct{ name, profession, group string }{
		{"Hausarztpraxis", "Facharzt für Allgemeinmedizin", "01"},
		{"Praxis", "Praktischer Arzt", "02"},
		{"Internistische Praxis", "Facharzt für Innere Medizin", "03"},
		{"Orthopädische Praxis", "Facharzt für Orthopädie", "10"},
	}[d.n(4)]
	name, given := family(&d), d.one(givens)
	p := &Practice{
		index: index,
		KIM:   kim.Address(fmt.Sprintf("%s.%s.%d@praxis%s", plain(given), plain(name), index, testDomain)),
		Doctor: eau.Doctor{
			Number: doctorNumber(1000+index*7+d.n(7)) + sortOf.group,
			Title:  "Dr. med.", Family: name, Given: given, Profession: sortOf.profession,
		},
		Office: eau.Practice{
			Number: fmt.Sprintf("74%07d", 1_000_000+index), Name: sortOf.name + " Dr. " + given + " " + name,
			Phone: fmt.Sprintf("03023125%03d", d.n(1000)), // set aside for films and books by the Bundesnetzagentur
		},
	}
	p.Office.Address = address(&d)
	p.space = eau.NewUUID(eau.NamespaceDNS, string(p.KIM))
	return p
}

// doctorNumber returns the first seven digits of a LANR: six digits, weighted 4, 9, 4, 9, 4, 9, and what is missing to the
// next ten (KBV, Arztnummernrichtlinie).
func doctorNumber(serial int) string {
	digits, sum := fmt.Sprintf("%06d", serial), 0
	for i, c := range []byte(digits) {
		sum += int(c-'0') * (4 + 5*(i%2))
	}
	return digits + fmt.Sprint((10-sum%10)%10)
}
