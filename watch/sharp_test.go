package watch

import (
	"fmt"
	"testing"
	"time"

	"github.com/querschott/querschott"
)

// At double sensitivity half as much is enough, and what is less than half is not.
func TestSharp(t *testing.T) {
	at := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		half int // events that are enough at double sensitivity, and not ordinarily
		make func(i int) querschott.Access
		want string
	}{
		"persons in a minute": {11, func(i int) querschott.Access {
			return querschott.Access{Role: querschott.RoleStaff, Outcome: "success", Action: "read", Person: fmt.Sprint("p", i)}
		}, "D1/cap-minute"},
		"other insurers": {2, func(int) querschott.Access {
			return querschott.Access{Role: querschott.RoleStaff, Outcome: "denied", Cause: "foreign-insurer", Action: "read"}
		}, "D4/foreign-insurer"},
		"what is not there": {8, func(int) querschott.Access {
			return querschott.Access{Role: querschott.RoleStaff, Outcome: "not_found", Action: "read"}
		}, "D4/not-found-run"},
		"other persons in the app": {2, func(int) querschott.Access {
			return querschott.Access{Role: querschott.RoleInsured, Outcome: "denied", Cause: "foreign-person", Action: "read"}
		}, "D5/foreign-person"},
		"deleting": {25, func(i int) querschott.Access {
			return querschott.Access{Role: querschott.RoleStaff, Outcome: "success", Action: "delete", Person: fmt.Sprint("p", i%3), Records: 1}
		}, "D11/mass-delete"},
	} {
		play := func(sharp float64, n int) (found bool) {
			w, err := New(Config{Sharp: sharp, Emit: func(a *Alarm) { found = found || a.Detector+"/"+a.Cause == tc.want }})
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				e := tc.make(i)
				e.Time, e.Actor, e.Tenant, e.Insurer, e.Service = at.Add(time.Duration(i)*time.Second), "clerk", "109500969", "109500969", querschott.Desk
				e.Gate, e.Seq = "g", uint64(i+1)
				w.Observe(&e)
			}
			return found
		}
		if play(0, tc.half) {
			t.Errorf("%s: %d are enough ordinarily", name, tc.half)
		}
		if !play(2, tc.half) {
			t.Errorf("%s: %d are not enough at double sensitivity", name, tc.half)
		}
		if play(2, tc.half-1) {
			t.Errorf("%s: %d are enough at double sensitivity", name, tc.half-1)
		}
	}
	r := slowRule.sharpened(2)
	if r.h != slowRule.h/2 || r.oneFloor != slowRule.oneFloor/2 || r.oneTimes <= 1 || slowRule.sharpened(1) != slowRule {
		t.Errorf("the rule is %+v", r)
	}
}
