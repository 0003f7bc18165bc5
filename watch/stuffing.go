package watch

import (
	"math"
	"time"
)

// stuffing is D6: stolen lists of passwords tried on logins. It names networks, the success that follows a storm from the same
// network, and a share of failures that rises for everybody. It never names a failing account: to lock accounts is what the
// attacker can do to everybody else.
type stuffing struct {
	networks *table[loginStorm]
	minute   int64
	failed   float64 // in the running minute
	all      float64
	usual    float64 // share of failures
	known    int     // minutes with logins that usual rests on
	sum      float64
	first    int64 // minute in which sum left 0
}

// loginStorm is the logins of one network in ten minutes.
type loginStorm struct {
	window int64
	names  distinct // accounts that failed
	failed int
	tried  int
}

const (
	stormNames   = 30  // accounts with a failure, of one network in ten minutes
	stormShare   = 0.5 // of its logins
	stormLearned = 60  // minutes with logins before the share of failures says something
	stormLeast   = 20  // failures in a minute below which the share says nothing
	stormK       = 1.5
	stormH       = 12
)

func newStuffing(keys int) *stuffing { return &stuffing{networks: newTable[loginStorm](keys / 4)} }

func (*stuffing) Name() string { return "D6" }

func (d *stuffing) Stats() Stats { return d.networks.stats() }

func (d *stuffing) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *stuffing) Observe(e *Event, to []Alarm) []Alarm {
	if e.Action != "login" {
		return to
	}
	failed := e.Result != Reached
	if !e.Test {
		to = d.everybody(e, failed, to)
	}
	if e.Address == "" {
		return to
	}
	n := d.networks.get(network(e.Address))
	if w := e.Sec / 600; n.window != w {
		n.names.reset()
		n.window, n.failed, n.tried = w, 0, 0
	}
	n.tried++
	if !failed {
		if n.names.count() >= e.most(stormNames) {
			to = append(to, e.alarm("D6", "success-in-storm", Statistical, High, Number{"failing_accounts", float64(n.names.count()), "accounts/10 min"},
				Number{"failed", float64(n.failed), "logins/10 min"}).since(n.window*600, n.tried))
		}
		return to
	}
	n.failed++
	if !n.names.add(hash(e.Who)) || n.names.count() != e.most(stormNames) || float64(n.failed) < stormShare*float64(n.tried) {
		return to
	}
	a := e.alarm("D6", "many-accounts", Statistical, High, Number{"failing_accounts", float64(e.most(stormNames)), "accounts/10 min"},
		Number{"failed", float64(n.failed), "logins/10 min"}, Number{"logins", float64(n.tried), "logins/10 min"}).since(n.window*600, n.failed)
	a.Insurer = "" // a network belongs to nobody
	return append(to, a.networkAs(e))
}

// everybody judges the minute that has ended: attackers with a network for each account are seen in the sum only.
func (d *stuffing) everybody(e *Event, failed bool, to []Alarm) []Alarm {
	if m := e.Sec / 60; m != d.minute {
		if d.all > 0 {
			to = d.judge(e, to)
		}
		if m > d.minute+10 {
			d.sum = 0
		}
		d.minute, d.failed, d.all = m, 0, 0
	}
	d.all++
	if failed {
		d.failed++
	}
	return to
}

func (d *stuffing) judge(e *Event, to []Alarm) []Alarm {
	expected := d.usual * d.all
	sd := math.Sqrt(expected*(1-d.usual) + 1 + 0.01*d.all)
	if z := min((d.failed-expected)/sd, winsor); d.known >= stormLearned && (d.failed >= stormLeast || z < 0) {
		if d.sum == 0 {
			d.first = d.minute
		}
		if d.sum = max(0, d.sum+z-stormK); d.sum > stormH {
			a := e.alarm("D6", "failing-logins", Statistical, High, Number{"failed", d.failed, "logins/min"}, Number{"logins", d.all, "logins/min"},
				Number{"usual_share", d.usual, "of all logins"}, Number{"sum", d.sum, "deviations"}, Number{"sum_limit", stormH, "deviations"}).since(d.first*60, int(d.failed))
			a.Actor, a.Credential, a.Insurer = "logins", "", ""
			to = append(to, a)
			d.sum = 0
		}
	}
	if d.sum > stormH/2 {
		return to // what is suspicious teaches nothing
	}
	d.known++
	d.usual += (d.failed/d.all - d.usual) * max(1/float64(d.known), 0.01) * min(d.all/10, 1)
	return to
}
