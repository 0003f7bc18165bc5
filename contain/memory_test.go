package contain

import (
	"errors"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
)

func suspicion(actor, detector, cause string, at time.Time) *watch.Alarm {
	return &watch.Alarm{
		Time: at, Actor: querschott.Actor(actor), Credential: querschott.CredentialID("c:" + actor), Insurer: kasse, Service: querschott.Desk,
		Detector: detector, Cause: cause, Kind: watch.Statistical, Severity: watch.Medium, Mode: watch.Live,
	}
}

// TestJudgeRemembers restarts the judge between a first signal, which led to nothing, and a second one: together they hold.
func TestJudgeRemembers(t *testing.T) {
	first, second := suspicion("clerk", "D10", "sum", begin), suspicion("clerk", "D3", "one", begin.Add(10*time.Minute))
	if d := NewJudge(JudgeConfig{}).Judge(second, second.Time); len(d.Actions) != 0 {
		t.Fatalf("the second signal alone leads to %+v", d)
	}
	j := NewJudge(JudgeConfig{})
	j.Remember([]*watch.Alarm{first, first}, nil, begin.Add(5*time.Minute))
	if d := j.Judge(second, second.Time); len(d.Actions) == 0 || d.Actions[0].Kind != HoldCredential || len(d.Signals) != 2 {
		t.Errorf("after a restart: %+v", d)
	}
	j = NewJudge(JudgeConfig{})
	j.Remember([]*watch.Alarm{first}, nil, begin.Add(2*time.Hour))
	if len(j.actors) != 0 {
		t.Error("a signal of two hours ago counts")
	}
}

// TestBudgetSurvives lets the engine move doors of three insurers, restarts engine and judge, and raises an alarm about a fourth.
func TestBudgetSurvives(t *testing.T) {
	insurers := []querschott.IK{"109500969", "108018007", "101575519", "104212059"}
	play := func(state State, by int, later time.Duration) Decision {
		var runs []Run
		for i, ik := range insurers[:3] {
			a := burst("m-"+string(ik), ik)
			d := NewJudge(JudgeConfig{}).Judge(a, begin)
			r := Run{ID: string(rune('a' + i)), Alarm: *a, Decision: d, Began: begin, Ended: begin}
			for _, act := range d.Actions {
				x := &Deed{Key: "k", Action: &act, State: state, At: begin, Until: begin.Add(act.TTL), By: make([]querschott.Actor, by)}
				r.Deeds = append(r.Deeds, x)
			}
			runs = append(runs, r)
		}
		j := NewJudge(JudgeConfig{})
		now := begin.Add(later)
		j.Remember(nil, runs, now)
		return j.Judge(burst("m-4", insurers[3]), now)
	}
	for _, tc := range []struct {
		state State
		by    int
		later time.Duration
		moves bool
	}{
		{Done, 0, 5 * time.Minute, false},
		{Failed, 0, 5 * time.Minute, false}, // it may have happened
		{Released, 0, 5 * time.Minute, false},
		{Asked, 0, 5 * time.Minute, true},
		{Lapsed, 0, 5 * time.Minute, true},
		{Done, 2, 5 * time.Minute, true}, // two persons, not automation
		{Done, 0, 11 * time.Minute, true},
	} {
		d := play(tc.state, tc.by, tc.later)
		if moved := len(d.Actions) == 2; moved != tc.moves {
			t.Errorf("three doors %s by %d persons, %s ago: %+v", tc.state, tc.by, tc.later, d)
		}
	}
}

// TestOnlyWhatIsInForceCounts lets a hold fail, be asked, and be done: only then is the credential held already for the next alarm.
func TestOnlyWhatIsInForceCounts(t *testing.T) {
	tr, k := trust(t)
	for _, tc := range []struct {
		name string
		far  Automatic
		err  error
		want bool // the next alarm holds
	}{{"done", Doors, nil, false}, {"failed", Doors, errors.New("disk"), true}, {"asked", Off, nil, true}} {
		w, j := newWorld(), NewJudge(JudgeConfig{})
		w.fail = func(*Deed) error { return tc.err }
		e, _ := engineOn(t, newDisk(), w, tr, tc.far, func() time.Time { return begin })
		e.cfg.Library = agreed(t, tr, k)
		e.cfg.Ended = func(r *Run) { j.Learn(r, begin) }
		a := burst("m-1", kasse)
		if _, err := e.Start(a, j.Judge(a, begin), ""); err != nil {
			t.Fatal(err)
		}
		e.drain(t.Context())
		again := *a
		again.Cause = "another"
		if d := j.Judge(&again, begin.Add(time.Minute)); (len(d.Actions) > 0) != tc.want {
			t.Errorf("%s, and the next alarm leads to %+v", tc.name, d)
		}
	}
	j := NewJudge(JudgeConfig{})
	d := j.Judge(burst("m-1", kasse), begin)
	j.Withdraw(d.Actions, begin)
	if again := j.Judge(burst("m-1", kasse), begin); len(again.Actions) != len(d.Actions) || len(j.moved) != 1 {
		t.Errorf("withdrawn, and then %+v, moved %v", again, j.moved)
	}
}
