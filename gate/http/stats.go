package http

import (
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

// Buckets are the upper bounds of the latency histogram: from the request to the first byte of its answer. What is longer
// than the last is counted behind it.
var Buckets = [...]time.Duration{
	250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Stats is a look at the counters since the start. None names a caller or a person.
type Stats struct {
	Connections int64 // open now
	InFlight    int64 // requests
	Tunnels     int64 // open now

	Outcomes map[Outcome]uint64 // of requests and pieces of long answers; those that occurred
	Latency  map[querschott.Service]Histogram

	Cut              uint64 // answers that were broken off
	Panics           uint64
	RefusedConns     uint64 // connections for which there was no room
	OustedConns      uint64 // idle connections that made way
	BrokenConns      uint64 // TLS handshakes and connections that failed
	CrowdedRates     uint64 // requests of keys that shared a bucket for want of room
	ForgottenPersons uint64 // persons that no longer count to their credential, for want of room
	Unsettled        uint64 // times that what is known of unknown callers could not be recorded
}

// Outcome is what requests are counted by.
type Outcome struct {
	Service querschott.Service // "" for those that reached no route of a service
	Outcome ledger.Outcome
	Cause   ledger.ReasonKind
}

// Histogram counts latencies.
type Histogram struct {
	Counts [len(Buckets) + 1]uint64 // not cumulative
	Sum    time.Duration
}

const (
	services = 8 // codes of services, 0 for none
	outcomes = int(ledger.OutcomePartial) + 1
	reasons  = int(ledger.ReasonLaw) + 1
)

// counters has a fixed place for everything that is counted, so that counting takes no lock.
type counters struct {
	inFlight, tunnels      atomic.Int64
	cut, panics, unsettled atomic.Uint64
	refused, ousted        atomic.Uint64
	broken                 atomic.Uint64
	outcomes               [services][outcomes][reasons]atomic.Uint64
	latency                [services][len(Buckets) + 1]atomic.Uint64
	took                   [services]atomic.Int64
}

func (c *counters) count(s querschott.Service, o ledger.Outcome, r ledger.ReasonKind, took time.Duration) {
	i := s.Code() % services
	c.outcomes[i][min(int(o), outcomes-1)][min(int(r), reasons-1)].Add(1)
	b := 0
	for b < len(Buckets) && took > Buckets[b] {
		b++
	}
	c.latency[i][b].Add(1)
	c.took[i].Add(int64(took))
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	c := &s.stats
	st := Stats{
		Connections: s.conns.open(), InFlight: c.inFlight.Load(), Tunnels: c.tunnels.Load(), Cut: c.cut.Load(), Panics: c.panics.Load(),
		RefusedConns: c.refused.Load(), OustedConns: c.ousted.Load(), BrokenConns: c.broken.Load(), Unsettled: c.unsettled.Load(),
		CrowdedRates:     s.networks.crowded.Load() + s.credentials.crowded.Load(),
		ForgottenPersons: s.reaches.by.forgotten.Load(),
		Outcomes:         map[Outcome]uint64{}, Latency: map[querschott.Service]Histogram{},
	}
	for _, name := range append(querschott.Services(), "") {
		i := name.Code()
		h := Histogram{Sum: time.Duration(c.took[i].Load())}
		seen := false
		for b := range h.Counts {
			h.Counts[b] = c.latency[i][b].Load()
			seen = seen || h.Counts[b] > 0
		}
		if seen {
			st.Latency[name] = h
		}
		for o := range outcomes {
			for r := range reasons {
				if n := c.outcomes[i][o][r].Load(); n > 0 {
					st.Outcomes[Outcome{name, ledger.Outcome(o), ledger.ReasonKind(r)}] = n
				}
			}
		}
	}
	return st
}
