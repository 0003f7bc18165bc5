package watch

import (
	"time"

	"github.com/querschott/querschott"
)

// canary is D3: invented persons whom nobody has a reason to look for. One touch is worth a look; two different ones by the
// same actor within a day say that somebody walks through a list. Registered jobs touch everybody.
type canary struct {
	persons map[string]bool
	touched *table[touches]
}

type touches struct {
	first  querschott.Access // only time and person are kept
	events int
}

func newCanary(pseudonyms []string, keys int) *canary {
	d := &canary{touched: newTable[touches](keys)}
	d.set(pseudonyms)
	return d
}

func (d *canary) set(pseudonyms []string) {
	d.persons = make(map[string]bool, len(pseudonyms))
	for _, p := range pseudonyms {
		d.persons[p] = true
	}
}

func (*canary) Name() string { return "D3" }

func (d *canary) Stats() Stats { return d.touched.stats() }

func (d *canary) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *canary) Observe(e *Event, to []Alarm) []Alarm {
	if e.Person == "" || e.Job || !d.persons[e.Person] {
		return to
	}
	t := d.touched.get(e.Who)
	t.events++
	if t.first.Person != "" && t.first.Person != e.Person && e.At.Sub(t.first.Time) < 24*time.Hour {
		return append(to, e.alarm("D3", "canary-second", Exact, Critical, Number{"canaries", 2, "persons"}).since(t.first.Time.Unix(), t.events))
	}
	if t.first.Person == "" || e.At.Sub(t.first.Time) >= 24*time.Hour {
		t.first, t.events = querschott.Access{Person: e.Person, Time: e.At}, 1
	}
	return append(to, e.alarm("D3", "canary", Exact, High, Number{"canaries", 1, "persons"}))
}
