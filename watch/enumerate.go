package watch

import (
	"time"

	"github.com/querschott/querschott"
)

// enumeration is D5: the app as a way to other people's data. An account sees its own person and those it represents; an
// account that keeps asking for others, or gets to more of them than a family has, breaks the rule. Whoever spreads his
// attempts over many accounts is found by the network they come from.
type enumeration struct {
	accounts held
	networks *table[networkTrail]
	window   int64                   // number of the ten minutes
	failing  [failingNetworks]uint64 // bits of the networks that had a failure in them, by hash
}

// accountTrail is what one account saw today, and where it was refused.
type accountTrail struct {
	day     int
	persons distinct
	refused burst
}

// ownTrail is the first person that an account saw today; most see no other.
type ownTrail struct {
	person uint64
	day    int
}

// networkTrail is a network since its first failure in these ten minutes. What succeeded before it does not count.
type networkTrail struct {
	window int64
	names  distinct
	failed int
	asked  int
}

const (
	familyMost  = 8   // different persons of one account in a day; parents with many children and a ward stay below
	strangeMost = 3   // refused attempts on another person within strangeSpan
	strangeSpan = 600 // seconds
	namesMost   = 30  // different accounts or persons with failures, of one network in ten minutes
	failedShare = 0.5 // of the network's requests since the first failure in these ten minutes

	failingNetworks = 1 << 12 // words of the table of failing networks
)

func newEnumeration(keys int) *enumeration {
	return &enumeration{networks: newTable[networkTrail](keys / 4)}
}

func (*enumeration) Name() string { return "D5" }

func (d *enumeration) Stats() Stats {
	a, n := d.accounts.stats(), d.networks.stats()
	return Stats{a.Keys + n.Keys, a.Evicted + n.Evicted}
}

func (d *enumeration) forget(a *actor) {
	if a.account != nil {
		d.accounts.drop(a)
	}
}

func (d *enumeration) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *enumeration) Observe(e *Event, to []Alarm) []Alarm {
	switch e.Role {
	case querschott.RoleInsured:
		to = d.account(e, to)
	case querschott.RoleUnknown, "":
	default:
		return to
	}
	return d.network(e, to)
}

func (d *enumeration) account(e *Event, to []Alarm) []Alarm {
	if e.Result == Denied && (e.Cause == "foreign-person" || e.Cause == "foreign-insurer") {
		if first, full := d.trail(e).refused.add(e.Sec, e.most(strangeMost), strangeSpan); full {
			to = append(to, e.alarm("D5", "foreign-person", Exact, High, Number{"attempts", float64(e.most(strangeMost)), "requests"},
				Number{"window", strangeSpan, "s"}).since(first, e.most(strangeMost)))
		}
	}
	if e.Result != Reached || e.Subject == 0 {
		return to
	}
	own := &e.actor.own
	if own.day != e.Day {
		*own = ownTrail{e.Subject, e.Day}
	}
	if own.person == e.Subject {
		return to
	}
	t := d.trail(e)
	if t.day != e.Day {
		t.persons.reset()
		t.day = e.Day
	}
	if t.persons.add(e.Subject) && t.persons.count() == e.most(familyMost) { // and the first one
		to = append(to, e.alarm("D5", "many-persons", Exact, Critical, Number{"persons", float64(e.most(familyMost) + 1), "persons/day"},
			Number{"limit", float64(e.most(familyMost)), "persons/day"}))
	}
	return to
}

func (d *enumeration) trail(e *Event) *accountTrail {
	if e.actor.account == nil {
		e.actor.account = &accountTrail{}
		d.accounts.keys++
	}
	return e.actor.account
}

func (d *enumeration) network(e *Event, to []Alarm) []Alarm {
	if e.Address == "" {
		return to
	}
	w := e.Sec / 600
	if d.window != w {
		d.window, d.failing = w, [failingNetworks]uint64{}
	}
	where := network(e.Address)
	h := hash(where)
	word, bit := &d.failing[h%failingNetworks], uint64(1)<<(h>>58)
	failed := e.Result == NotFound || e.Result == Denied
	if !failed && *word&bit == 0 {
		return to
	}
	*word |= bit
	n := d.networks.get(where)
	if n.window != w {
		n.names.reset()
		n.window, n.failed, n.asked = w, 0, 0
	}
	n.asked++
	if !failed {
		return to
	}
	n.failed++
	name := e.Subject
	if name == 0 && (e.Actor != "" || e.Credential != "") {
		name = hash(e.Who)
	}
	if name == 0 || !n.names.add(name) || n.names.count() < e.most(namesMost) || float64(n.failed) < failedShare*float64(n.asked) {
		return to
	}
	a := e.alarm("D5", "network", Statistical, Medium, Number{"different", float64(n.names.count()), "accounts or persons/10 min"},
		Number{"failed", float64(n.failed), "requests/10 min"}, Number{"requests", float64(n.asked), "requests/10 min"}).since(n.window*600, n.failed)
	a.Insurer = "" // a network belongs to nobody
	return append(to, a.networkAs(e))
}

// networkAs names the network in place of an account, which is only one of many.
func (a Alarm) networkAs(e *Event) Alarm {
	a.Actor, a.Credential = "network:"+querschott.Actor(network(e.Address)), ""
	return a
}
