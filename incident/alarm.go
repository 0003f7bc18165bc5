package incident

import (
	"slices"
	"time"
)

// alarmsOfCase is how many entries about alarms a case has room for; later ones are counted by whoever raises them.
const alarmsOfCase = 1000

// ForAlarm returns the case that an alarm belongs to, nil if there is none: one that is not closed and has an alarm of the
// same actor, or one of the same cause at the same insurer on the same day (UTC).
func (b *Book) ForAlarm(s *Source) *Case {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found *Case
	for _, c := range b.cases {
		if c.Status != Closed && slices.ContainsFunc(c.Entries, func(e Entry) bool { return e.Alarm != nil && related(e.Alarm, s) }) &&
			(found == nil || c.Ref < found.Ref) {
			found = c
		}
	}
	if found == nil {
		return nil
	}
	return found.snapshot()
}

func related(a, b *Source) bool {
	if a.Actor != "" && a.Actor == b.Actor {
		return true
	}
	return a.Cause == b.Cause && a.Detector == b.Detector && a.Insurer == b.Insurer && day(a.Last) == day(b.Last)
}

func day(t time.Time) int64 { return t.Unix() / 86_400 }

// FullOfAlarms reports whether further alarms need a case no more: it has enough of them to be looked at.
func (c *Case) FullOfAlarms() bool { return len(c.Sources()) >= alarmsOfCase }
