package mail

import (
	"sync/atomic"
)

// Stats is a look at the counters since the start.
type Stats struct {
	Sessions  int64 // open now
	Accepted  uint64
	Aborted   uint64           // messages of which the sender did not send the end
	Transient map[Cause]uint64 // 4xx
	Permanent map[Cause]uint64 // 5xx
	Panics    uint64
}

// counters has a fixed set of causes, made at the start, so that counting takes no lock.
type counters struct {
	sessions                  atomic.Int64
	accepted, aborted, panics atomic.Uint64
	transient, permanent      map[Cause]*atomic.Uint64
}

func newCounters() *counters {
	fresh := func(causes ...Cause) map[Cause]*atomic.Uint64 {
		m := map[Cause]*atomic.Uint64{}
		for _, c := range causes {
			m[c] = new(atomic.Uint64)
		}
		return m
	}
	return &counters{
		transient: fresh(CauseDoorClosed, CauseNoRoom, CauseMemory, CauseDirectory, CauseIntake, CauseLedger, CauseOutbox, CauseSplit,
			CauseConnections, CauseAccountLimit, CauseTimeout, CauseTLS, CauseStopping, CauseInternal, CauseMisbehaviour, CauseRevoked),
		permanent: fresh(CauseUnknown, CausePolicy, CauseTooLarge, CauseSmuggled, CausePassword, CauseProtocol),
	}
}

func (c *counters) count(r reply) {
	switch r.code / 100 {
	case 4:
		c.transient[r.cause].Add(1)
	case 5:
		c.permanent[r.cause].Add(1)
	}
}

// Stats returns the counters. Causes that never occurred are there with zero.
func (s *Server) Stats() Stats {
	look := func(m map[Cause]*atomic.Uint64) map[Cause]uint64 {
		out := make(map[Cause]uint64, len(m))
		for cause, n := range m {
			out[cause] = n.Load()
		}
		return out
	}
	return Stats{
		Sessions:  s.counters.sessions.Load(),
		Accepted:  s.counters.accepted.Load(),
		Aborted:   s.counters.aborted.Load(),
		Panics:    s.counters.panics.Load(),
		Transient: look(s.counters.transient),
		Permanent: look(s.counters.permanent),
	}
}
