package watch_test

import (
	"fmt"
	"time"

	"github.com/querschott/querschott"
)

// moreVerbs are what can happen beside reading.
var moreVerbs = []verb{
	{re(`(\d+) accounts fail to log in from one network on day (\d+)(, and one of them gets in)?`), func(w *traffic, a []string) {
		w.on(num(a[1])-1, func(at time.Time, add func(querschott.Access)) {
			for i := range num(a[0]) + 1 {
				e := login(700+i, at, 1210+float64(i)/30, "198.51.100.9")
				if i < num(a[0]) {
					deny(&e, "not-identified")
				} else if a[2] == "" {
					return
				}
				add(e)
			}
		})
	}},
	{re(`users log in on day (\d+); from (\d\d):00 on (\d+) a minute fail, each from elsewhere, for (\d+) minutes`), func(w *traffic, a []string) {
		w.on(num(a[0])-1, func(at time.Time, add func(querschott.Access)) {
			for m := range 600 {
				for i := range 10 {
					e := login(m*10+i, at, float64(480+m)+float64(i)/20, fmt.Sprintf("203.%d.%d.1", m%200, i))
					if i == 0 {
						deny(&e, "not-identified")
					}
					add(e)
				}
				if from := 60 * num(a[1]); 480+m >= from && 480+m < from+num(a[3]) {
					for i := range num(a[2]) {
						e := login(9000+m*50+i, at, float64(480+m)+0.5+float64(i)/1000, fmt.Sprintf("198.%d.%d.1", m%250, i))
						deny(&e, "not-identified")
						add(e)
					}
				}
			}
		})
	}},
	{re(`clerk-(\d+) looks at one person without a reason twice on every day from (\d+) to (\d+)( and has a case of this person)?`), func(w *traffic, a []string) {
		for d := num(a[1]); d <= num(a[2]); d++ {
			w.on(d-1, func(at time.Time, add func(querschott.Access)) {
				c := w.staff[num(a[0])-1]
				add(c.event(at, 600, 4711, ""))
				add(c.event(at, 800, 4711, ""))
				if a[3] != "" {
					add(c.event(at, 801, 4711, "case-4711"))
				}
			})
		}
	}},
	{re(`clerk-(\d+) (changes|deletes) (\d+) records a second for (\d+) seconds on day (\d+)( for the job campaign-1)?`), func(w *traffic, a []string) {
		w.clerk(a[0], a[4], num(a[2])*num(a[3]), func(i int, e *querschott.Access) {
			e.Time = e.Time.Truncate(time.Hour).Add(time.Duration(i) * time.Second / time.Duration(num(a[2])))
			e.Action = map[string]string{"changes": "update", "deletes": "delete"}[a[1]]
			if a[5] != "" {
				e.ReasonRef = "campaign-1"
			}
		})
	}},
	{re(`(\S+) as (staff|operator) does "(\S+)" on day (\d+)(?: for (\S+))?`), func(w *traffic, a []string) {
		w.on(num(a[3])-1, func(at time.Time, add func(querschott.Access)) {
			add(querschott.Access{
				Time: at.Add(12 * time.Hour), Actor: querschott.Actor(a[0]), Credential: "x", Role: querschott.Role(a[1]), Action: a[2], ReasonRef: a[4],
			})
		})
	}},
	{re(`(\d+) requests a second for (\d+) seconds on day (\d+)`), func(w *traffic, a []string) {
		w.on(num(a[2])-1, func(at time.Time, add func(querschott.Access)) {
			for i := range num(a[0]) * num(a[1]) {
				add(querschott.Access{
					Time: at.Add(12*time.Hour + time.Duration(i)*time.Second/time.Duration(num(a[0]))), Service: querschott.Desk,
					Actor: querschott.Actor(fmt.Sprintf("bot-%d", i%5000)), Role: querschott.RoleMachine, Action: "read",
				})
			}
		})
	}},
	{re(`supplier-1 works on day (\d+)`), func(w *traffic, a []string) {
		w.on(num(a[0])-1, func(at time.Time, add func(querschott.Access)) {
			for i := range 3 {
				add(querschott.Access{
					Time: at.Add(12*time.Hour + time.Duration(i)*time.Minute), Service: querschott.Desk, Actor: "supplier-1", Credential: "vpn",
					Role: "maintenance", Action: "read",
				})
			}
		})
	}},
	{re(`clerk-(\d+) reads (\d+) persons on day (\d+) for reasons of colleagues`), func(w *traffic, a []string) {
		k := 0
		w.reads(a[0], a[2], num(a[1]), 3, func(*clerk) string { k++; return fmt.Sprintf("case-clerk-%d-%d", 10+k/5, 1+k%5) })
	}},
	{re(`clerk-(\d+) reads (\d+) persons on day (\d+), (\d+) a minute, with invented reasons`), func(w *traffic, a []string) {
		w.reads(a[0], a[2], num(a[1]), 1/float64(num(a[3])), (*clerk).reason)
	}},
	{re(`clerk-(\d+) takes over (\d+) cases of a colleague on day (\d+)`), func(w *traffic, a []string) {
		w.on(num(a[2])-1, func(at time.Time, add func(querschott.Access)) {
			for i := range num(a[1]) {
				add(w.staff[num(a[0])+2].event(at, 420+float64(i)/10, 3000+i, fmt.Sprintf("old-%d", i)))
				add(w.staff[num(a[0])-1].event(at, 700+3*float64(i), 3000+i, fmt.Sprintf("old-%d", i)))
			}
		})
	}},
}

// login is a login of the app's user.
func login(n int, at time.Time, minute float64, address string) querschott.Access {
	e := user(n, at, minute, 0)
	e.Action, e.Person, e.Address, e.Binding = "login", "", address, ""
	return e
}
