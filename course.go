package querschott

import "time"

// Stage is a part of a request's way through the gate.
type Stage uint8

// The stages, in the order in which a request that is served passes them.
const (
	StageIdentify Stage = iota // who calls
	StageDoor                  // whose compartment, may it be reached, is there room
	StageService               // the service answers
	StageLedger                // the entry becomes durable
	stages
)

func (s Stage) String() string {
	if s < stages {
		return [stages]string{"identify", "door", "service", "ledger"}[s]
	}
	return "unknown"
}

// Course is how a request went through the gate, for traces: nothing of it is in files, and no detector reads it. Ids are those
// of W3C Trace Context; zeros are none. It belongs to the request's goroutine until its event is published, and is never
// changed afterwards.
type Course struct {
	Trace   [16]byte // the trace of the hop in front; zero: the request's own
	Parent  [8]byte  // the span that this one is part of
	Span    [8]byte  // the request's, or the part's
	Service [8]byte  // of the stage service, which the service behind the gate may have been told
	Part    bool     // a later part of an answer whose first part has an event of its own

	times [stages]struct{ from, to time.Duration } // since the request came; to 0: not reached
	at    Stage
	open  bool
}

// Begin says that a stage begins, so long after the request came; the one before ends.
func (c *Course) Begin(s Stage, after time.Duration) {
	c.End(after)
	if t := &c.times[s]; t.to == 0 {
		t.from = after
	}
	c.at, c.open = s, true
}

// End ends the stage that is under way, if any.
func (c *Course) End(after time.Duration) {
	if c.open {
		c.times[c.at].to, c.open = max(after, 1), false
	}
}

// Passed returns when a stage began and ended, since the request came; false if the request did not get there.
func (c *Course) Passed(s Stage) (from, to time.Duration, passed bool) {
	t := c.times[s]
	return t.from, t.to, t.to > 0
}

// Stages returns all stages.
func Stages() []Stage { return []Stage{StageIdentify, StageDoor, StageService, StageLedger} }
