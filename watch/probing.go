package watch

import "time"

// probing is D4: somebody tries what is not his. The gate refuses it always; the alarm says that it was tried. An access to
// another insurer's data that did not fail is a fact of its own, whoever it was.
type probing struct {
	held held // actors with failures
}

// probeTrail is the failures of one actor.
type probeTrail struct {
	foreign burst
	missing burst
}

// askTrail is how many requests one actor made.
type askTrail struct {
	asked   [4]uint16 // by quarter of an hour
	quarter int64     // number of the newest
}

const (
	foreignMost  = 3   // refused attempts on another insurer's data within probeSpan
	missingMost  = 15  // requests for what is not there within probeSpan
	missingShare = 0.4 // of all requests of the last half hour that this must be
	probeSpan    = 600 // seconds
)

func (*probing) Name() string { return "D4" }

func (d *probing) Stats() Stats { return d.held.stats() }

func (d *probing) forget(a *actor) {
	if a.probes != nil {
		d.held.drop(a)
	}
}

func (d *probing) trail(a *actor) *probeTrail {
	if a.probes == nil {
		a.probes = &probeTrail{}
		d.held.keys++
	}
	return a.probes
}

func (d *probing) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *probing) Observe(e *Event, to []Alarm) []Alarm {
	asked := e.actor.asked.ask(e.Sec)
	abroad := e.Cause == "foreign-insurer" || e.Tenant != "" && e.Insurer != "" && e.Tenant != e.Insurer
	switch {
	case abroad && e.Result == Reached && !e.Job:
		return append(to, e.alarm("D4", "foreign-insurer-reached", Exact, Critical, Number{"records", float64(e.Records), "records"}))
	case abroad && (e.Result == Denied || e.Result == NotFound):
		if first, full := d.trail(e.actor).foreign.add(e.Sec, e.most(foreignMost), probeSpan); full {
			return append(to, e.alarm("D4", "foreign-insurer", Exact, High, Number{"attempts", float64(e.most(foreignMost)), "requests"},
				Number{"window", probeSpan, "s"}).since(first, e.most(foreignMost)))
		}
	case e.Result == NotFound:
		most := e.most(missingMost)
		first, full := d.trail(e.actor).missing.add(e.Sec, most, probeSpan)
		if share := float64(most) / float64(max(asked, most)); full && share >= missingShare {
			return append(to, e.alarm("D4", "not-found-run", Statistical, Medium, Number{"not_found", float64(most), "requests"},
				Number{"window", probeSpan, "s"}, Number{"share_at_least", share, "of the last half hour"}).since(first, most))
		}
	}
	return to
}

// ask counts a request and returns how many there were in the running and the last two quarters of an hour.
func (t *askTrail) ask(sec int64) (n int) {
	for q := sec / 900; t.quarter < q; t.quarter++ {
		if q-t.quarter > int64(len(t.asked)) {
			t.asked, t.quarter = [4]uint16{}, q-1
		}
		t.asked[(t.quarter+1)%4] = 0
	}
	if at := &t.asked[t.quarter%4]; *at < 1<<16-1 {
		*at++
	}
	for i := range int64(3) {
		if t.quarter >= i {
			n += int(t.asked[(t.quarter-i)%4])
		}
	}
	return n
}
