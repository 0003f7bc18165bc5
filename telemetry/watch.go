package telemetry

import (
	"strings"

	"github.com/querschott/querschott"
)

// Watch is the early warning as metrics show it.
type Watch struct {
	Events        uint64 // that the detectors looked at
	Lost          uint64 // numbers of gates that never came
	Dropped       uint64 // events of this gate for which there was no room
	NotKept       uint64 // events of foreign sources that the next start will not know
	Alarms        map[string]int
	CAPEC         map[string]int // alarms by the attack's pattern, "" for none
	Over          int            // alarms over the budget
	AlarmsDropped uint64         // that nobody could act on
	Evicted       uint64
	Blind         int
	Canaries      int
	Explained     []Explained
}

// Explained is how much of one compartment's accesses has a reason.
type Explained struct {
	Compartment querschott.Compartment
	Share       float64
}

func (h House) watch() []Family {
	if h.Watch == nil {
		return nil
	}
	type p = part[Watch]
	return append(parts(h.Watch,
		p{"watch_events_total", "Access events that the detectors looked at.", Counter, func(w Watch) float64 { return float64(w.Events) }},
		p{"watch_events_lost_total", "Numbers of gates' events that never came.", Counter, func(w Watch) float64 { return float64(w.Lost) }},
		p{"watch_events_dropped_total", "Events of this gate for which the early warning had no room.", Counter, func(w Watch) float64 { return float64(w.Dropped) }},
		p{"watch_fed_not_kept_total", "Events of foreign sources that the next start will not know.", Counter, func(w Watch) float64 { return float64(w.NotKept) }},
		p{"watch_alarms_over_budget_total", "Statistical alarms beyond the insurers' weekly budgets.", Counter, func(w Watch) float64 { return float64(w.Over) }},
		p{"watch_alarms_dropped_total", "Alarms for which there was no room.", Counter, func(w Watch) float64 { return float64(w.AlarmsDropped) }},
		p{"detector_evicted_total", "Actors and other keys that detectors forgot to stay within their memory; should be 0.", Counter, func(w Watch) float64 { return float64(w.Evicted) }},
		p{"watch_blind_detectors", "Detectors that did not find what they were shown; should be 0.", Gauge, func(w Watch) float64 { return float64(w.Blind) }},
		p{"watch_canaries", "Canary persons.", Gauge, func(w Watch) float64 { return float64(w.Canaries) }},
	),
		Family{
			Name: prefix + "watch_alarms_total", Kind: Counter, Labels: []Label{LabelName}, Help: "Alarms by detector; those of rules in Sigma together.",
			Look: func(tell Tell) {
				for name, n := range h.Watch().Alarms {
					if name = strings.ToLower(name); strings.HasPrefix(name, "sigma") {
						name = "sigma"
					}
					tell(float64(n), name)
				}
			},
		},
		Family{
			Name: prefix + "attack_detections_total", Kind: Counter, Labels: []Label{LabelCAPEC}, Help: "Attacks that the early warning detected, by CAPEC pattern.",
			Look: func(tell Tell) {
				for capec, n := range h.Watch().CAPEC {
					if capec == "" {
						capec = none
					}
					tell(float64(n), capec)
				}
			},
		},
		Family{
			Name: prefix + "watch_explained_share", Labels: []Label{LabelInsurer, LabelService},
			Help: "Share of the accesses that need a reason and have one, since the start.", Look: func(tell Tell) {
				for _, e := range h.Watch().Explained {
					tell(e.Share, string(e.Compartment.Insurer), string(e.Compartment.Service))
				}
			},
		})
}
