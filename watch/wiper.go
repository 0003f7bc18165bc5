package watch

import "time"

// wiper is D11: somebody overwrites or deletes as fast as he can. What a registered job does is no alarm; a mass deletion
// without one is a fact.
type wiper struct{ held held }

// writeTrail is what one actor wrote.
type writeTrail struct {
	second  int64 // of count
	count   float64
	seconds int     // with writes, that usual rests on
	usual   float64 // writes in such a second
	sum     float64
	began   int64 // when sum left 0

	minute  int64 // in which deleted began
	deleted int
}

const (
	deleteMost  = 50 // records deleted within a minute
	writeSpare  = 3  // writes in a second above the usual that add nothing
	writeSum    = 60 // writes above that are an alarm
	writeStart  = 20 // writes a second that somebody without a past may do
	writeKnown  = 30 // seconds with writes that are a past
	writePauses = 10 // seconds after which a burst is over
)

// writes are the actions that change records; true: they delete them.
var writes = map[string]bool{
	"create": false, "update": false, "write": false, "replace": false, "encrypt": false, "import": false,
	"delete": true, "erase": true, "forget": true, "shred": true,
}

func (*wiper) Name() string { return "D11" }

func (d *wiper) Stats() Stats { return d.held.stats() }

func (d *wiper) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *wiper) forget(a *actor) {
	if a.writes != nil {
		d.held.drop(a)
	}
}

func (d *wiper) Observe(e *Event, to []Alarm) []Alarm {
	if e.Action == "read" || e.Result != Reached || e.Job {
		return to
	}
	deletes, ok := writes[e.Action]
	if !ok {
		return to
	}
	t := e.actor.writes
	if t == nil {
		t = &writeTrail{usual: writeStart}
		e.actor.writes = t
		d.held.keys++
	}
	n := float64(max(e.Records, 1))
	if deletes {
		to = t.delete(e, int(n), to)
	}
	t.turn(e.Sec)
	t.count += n
	over := t.sum + max(0, t.count-t.usual-writeSpare)
	if over <= float64(e.most(writeSum)) {
		return to
	}
	t.sum, t.count = 0, 0
	return append(to, e.alarm("D11", "write-burst", Statistical, Critical, Number{"above_usual", over, "records"}, Number{"limit", float64(e.most(writeSum)), "records"},
		Number{"usual", t.usual, "records/s"}).since(t.began, int(over)))
}

// turn judges the second that has ended.
func (t *writeTrail) turn(sec int64) {
	if sec == t.second {
		return
	}
	if t.second != 0 {
		before := t.sum
		t.sum = max(0, t.sum+t.count-t.usual-writeSpare)
		if before == 0 && t.sum > 0 || sec-t.second > writePauses {
			t.began = sec
		}
		if sec-t.second > writePauses {
			t.sum = 0
		}
		if t.sum < writeSum/4 { // what is suspicious teaches nothing
			if t.seconds == writeKnown {
				t.usual = min(t.usual, writeStart)
			}
			t.seconds++
			t.usual += (t.count - t.usual) / float64(min(max(t.seconds, 5), 300))
		}
	} else {
		t.began = sec
	}
	t.second, t.count = sec, 0
}

// delete counts the records of a minute.
func (t *writeTrail) delete(e *Event, n int, to []Alarm) []Alarm {
	if e.Sec-t.minute >= 60 {
		t.minute, t.deleted = e.Sec, 0
	}
	before := t.deleted
	if t.deleted += n; before >= e.most(deleteMost) || t.deleted < e.most(deleteMost) {
		return to
	}
	return append(to, e.alarm("D11", "mass-delete", Exact, Critical, Number{"deleted", float64(t.deleted), "records/min"},
		Number{"limit", float64(e.most(deleteMost)), "records/min"}).since(t.minute, t.deleted))
}
