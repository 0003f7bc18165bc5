package watch_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/raced"
	"github.com/querschott/querschott/watch"
)

var update = flag.Bool("update", false, "write what happens to testdata/scenarios.txt")

// scene is one paragraph of the file.
type scene struct {
	text  string // comments and flush-left lines
	steps []string
	world *traffic
}

const scenarios = "testdata/scenarios.txt"

func scenes(t *testing.T) []*scene {
	t.Helper()
	file, err := os.ReadFile(scenarios)
	if err != nil {
		t.Fatal(err)
	}
	var list []*scene
	for _, p := range strings.Split(strings.TrimSpace(string(file)), "\n\n") {
		s := &scene{}
		for _, line := range strings.Split(p, "\n") {
			if strings.HasPrefix(line, " ") {
				continue
			}
			s.text += line + "\n"
			if !strings.HasPrefix(line, "#") {
				s.steps = append(s.steps, line)
			}
		}
		list = append(list, s)
	}
	return list
}

// canaries, and the registered job, of every scenario.
var canaries = []string{"00000000000000c1", "00000000000000c2"}

// play runs a scenario without the detectors named.
func (s *scene) play(t *testing.T, off ...string) []string {
	t.Helper()
	w := newTraffic()
	s.world = w
	w.users = 30
	for _, line := range s.steps {
		s.step(t, line)
	}
	job := watch.Job{ID: "campaign-1", From: w.begin, To: w.begin.AddDate(0, 0, 2), Persons: 300}
	r := run(t, w, watch.Config{Canaries: canaries, Policy: &watch.Policy{Off: off, Jobs: []watch.Job{job}, Maintenance: tickets(w)}})
	var out []string
	for _, a := range r.Alarms {
		day := int(a.Time.Sub(w.begin)/(24*time.Hour)) + 1
		out = append(out, fmt.Sprintf("day %d: %s %s (%s, %s) %s", day, a.Detector, a.Cause, a.Kind, a.Severity, a.Actor))
	}
	return out
}

// tickets lets the supplier work on the first day of every scenario.
func tickets(w *traffic) []watch.Ticket {
	return []watch.Ticket{{ID: "T-1", From: w.begin, To: w.begin.AddDate(0, 0, 1), Actors: []querschott.Actor{"supplier-1"}}}
}

// verb is something that can happen in a scenario. The texts in brackets are the arguments.
type verb struct {
	form *regexp.Regexp
	do   func(w *traffic, a []string)
}

var verbs = []verb{
	{re(`(\d+) clerks work (\d+) days(?: with (\d+) practices)?(?: with (\d+) gates)?`), func(w *traffic, a []string) {
		w.clerks, w.days, w.practices, w.gates = num(a[0]), num(a[1]), num(a[2]), max(num(a[3]), 1)
	}},
	{re(`clerk-(\d+) reads (\d+) persons on day (\d+) at (\d+) a minute`), func(w *traffic, a []string) {
		w.reads(a[0], a[2], num(a[1]), 1/float64(num(a[3])), func(*clerk) string { return "" })
	}},
	{re(`clerk-(\d+) reads (\d+) persons on day (\d+) for (?:the job|the task) (\S+)`), func(w *traffic, a []string) {
		w.reads(a[0], a[2], num(a[1]), 1, func(*clerk) string { return a[3] })
	}},
	{re(`clerk-(\d+) reads (\d+) persons on day (\d+) for one reason`), func(w *traffic, a []string) {
		w.reads(a[0], a[2], num(a[1]), 1, func(*clerk) string { return "case-77" })
	}},
	{re(`clerk-(\d+) takes (\d+) calls on day (\d+)`), func(w *traffic, a []string) {
		w.reads(a[0], a[2], num(a[1]), 2, (*clerk).reason)
	}},
	{re(`clerk-(\d+) steals (\d+) persons a day from day (\d+)`), func(w *traffic, a []string) {
		w.steal(num(a[0]), num(a[2])-1, num(a[1]), noReason)
	}},
	{re(`clerk-(\d+) steals (\d+) persons a day from day (\d+) with invented reasons`), func(w *traffic, a []string) {
		w.steal(num(a[0]), num(a[2])-1, num(a[1]), (*clerk).reason)
	}},
	{re(`(\d+) clerks of one insurer steal (\d+) persons a day from day (\d+)`), func(w *traffic, a []string) {
		for i := range num(a[0]) {
			w.steal(1+3*i, num(a[2])-1, num(a[1]), noReason)
		}
	}},
	{re(`clerk-(\d+) touches canary (\d) on day (\d+)`), func(w *traffic, a []string) {
		w.clerk(a[0], a[2], 1, func(_ int, e *querschott.Access) { e.Person = canaries[num(a[1])-1] })
	}},
	{re(`clerk-(\d+) is refused at another insurer (\d+) times on day (\d+)`), func(w *traffic, a []string) {
		w.clerk(a[0], a[2], num(a[1]), func(_ int, e *querschott.Access) { deny(e, "foreign-insurer"); e.Insurer = "108312586" })
	}},
	{re(`clerk-(\d+) reaches another insurer (\d+) times on day (\d+)`), func(w *traffic, a []string) {
		w.clerk(a[0], a[2], num(a[1]), func(_ int, e *querschott.Access) { e.Insurer = "108312586" })
	}},
	{re(`clerk-(\d+) asks for (\d+) numbers that do not exist on day (\d+)`), func(w *traffic, a []string) {
		w.clerk(a[0], a[2], num(a[1]), func(_ int, e *querschott.Access) { e.Outcome, e.Cause, e.Status = "failed", "not-there", 404 })
	}},
	{re(`user-(\d+) reaches (\d+) persons on day (\d+)`), func(w *traffic, a []string) {
		w.app(a[0], a[2], num(a[1]), func(*querschott.Access) {})
	}},
	{re(`user-(\d+) is refused (\d+) other persons on day (\d+)`), func(w *traffic, a []string) {
		w.app(a[0], a[2], num(a[1]), func(e *querschott.Access) { deny(e, "foreign-person") })
	}},
	{re(`(\d+) accounts (fail|succeed) from one network on day (\d+)`), func(w *traffic, a []string) {
		w.on(num(a[2])-1, func(at time.Time, add func(querschott.Access)) {
			for i := range num(a[0]) {
				e := user(500+i, at, 1210+float64(i)/10, 9000+i)
				e.Address = fmt.Sprintf("198.51.100.%d", i)
				if a[1] == "fail" {
					deny(&e, "not-identified")
				}
				add(e)
			}
		})
	}},
	{re(`clerk-(\d+) works at night from a new network with a new key on day (\d+)`), func(w *traffic, a []string) {
		w.on(num(a[1])-1, func(at time.Time, add func(querschott.Access)) {
			c := w.staff[num(a[0])-1]
			e := c.event(at, 22*60+30, 5, c.reason())
			e.Address, e.Binding = "198.51.100.7", "key-new"
			add(e)
		})
	}},
	{re(`clerk-(\d+) has a new (key|network) on day (\d+)`), func(w *traffic, a []string) {
		w.clerk(a[0], a[2], 3, func(_ int, e *querschott.Access) {
			if a[1] == "key" {
				e.Binding = "key-new"
			} else {
				e.Address = "198.51.100.7"
			}
		})
	}},
	{re(`practice-(\d+) checks (\d+) cards on day (\d+)`), func(w *traffic, a []string) { w.cards(a[0], a[2], num(a[1]), 12*60) }},
	{re(`practice-(\d+) checks (\d+) cards in the night of day (\d+)`), func(w *traffic, a []string) { w.cards(a[0], a[2], num(a[1]), 60) }},
	{re(`clerk-(\d+) is refused for (\S+) (\d+) times on day (\d+)`), func(w *traffic, a []string) {
		w.clerk(a[0], a[3], num(a[2]), func(_ int, e *querschott.Access) { deny(e, a[1]) })
	}},
	{re(`clerk-(\d+) is refused by a door (\d+) times on day (\d+)`), func(w *traffic, a []string) {
		w.clerk(a[0], a[2], num(a[1]), func(_ int, e *querschott.Access) { deny(e, "door") })
	}},
	{re(`clerk-(\d+) works with two keys in turn on day (\d+)`), func(w *traffic, a []string) {
		w.clerk(a[0], a[1], 3, func(i int, e *querschott.Access) { e.Binding = []string{"key-a", "key-b"}[i%2] })
	}},
	{re(`gate (\w) loses (\d+) events on day (\d+)`), func(w *traffic, a []string) {
		w.clerk("1", a[2], num(a[1]), func(_ int, e *querschott.Access) { e.Gate, e.Outcome = a[0], "never sent" })
	}},
	{re(`gate (\w) falls silent on day (\d+)`), func(w *traffic, a []string) { w.silent, w.silentDay = a[0], num(a[1])-1 }},
	{re(`everybody does ([\d.]+) times as much from day (\d+) to day (\d+)`), func(w *traffic, a []string) {
		f, _ := strconv.ParseFloat(a[0], 64)
		for d := num(a[1]) - 1; d < num(a[2]); d++ {
			w.factor[d] = f
		}
	}},
}

func re(form string) *regexp.Regexp { return regexp.MustCompile("^" + form + "$") }

func num(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

func deny(e *querschott.Access, cause string) {
	e.Outcome, e.Cause, e.Status, e.Records = "denied", cause, 403, 0
}

func (s *scene) step(t *testing.T, line string) {
	t.Helper()
	for _, v := range slices.Concat(verbs, moreVerbs) {
		if m := v.form.FindStringSubmatch(line); m != nil {
			v.do(s.world, m[1:])
			return
		}
	}
	t.Fatalf("nobody knows how to play %q", line)
}

// reads makes a clerk read persons on a day from 12:00 on, so many minutes apart.
func (w *traffic) reads(number, day string, persons int, apart float64, reason func(*clerk) string) {
	w.on(num(day)-1, func(at time.Time, add func(querschott.Access)) {
		c := w.staff[num(number)-1]
		for i := range persons {
			add(c.event(at, 9*60+float64(i)*apart, 1000+i, reason(c)))
		}
	})
}

// clerk adds events of a clerk on a day, ten seconds apart; each has a reason and is about the same person.
func (w *traffic) clerk(number, day string, times int, change func(i int, e *querschott.Access)) {
	w.on(num(day)-1, func(at time.Time, add func(querschott.Access)) {
		c := w.staff[num(number)-1]
		for i := range times {
			e := c.event(at, 19*60+float64(i)/6, 7, "case-"+c.name)
			change(i, &e)
			add(e)
		}
	})
}

func (w *traffic) app(number, day string, persons int, change func(*querschott.Access)) {
	w.on(num(day)-1, func(at time.Time, add func(querschott.Access)) {
		for i := range persons {
			e := user(num(number), at, 1300+float64(i)/10, 8000+i)
			change(&e)
			add(e)
		}
	})
}

func (w *traffic) cards(number, day string, cards int, minute float64) {
	w.on(num(day)-1, func(at time.Time, add func(querschott.Access)) {
		for i := range cards {
			add(check(num(number), at, minute+float64(i)/4, i))
		}
	})
}

// TestScenarios plays the file: what happens, and indented below it what the early warning says.
func TestScenarios(t *testing.T) {
	raced.Alone(t)
	var got strings.Builder
	for i, s := range scenes(t) {
		if i > 0 {
			got.WriteString("\n")
		}
		if got.WriteString(s.text); len(s.steps) == 0 {
			continue
		}
		alarms := s.play(t)
		if len(alarms) == 0 {
			alarms = []string{"nothing"}
		}
		for _, a := range alarms {
			got.WriteString("    " + a + "\n")
		}
	}
	if *update {
		if err := os.WriteFile(scenarios, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(scenarios)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("the early warning says something else; -update writes it (-want +got):\n%s", d)
	}
}

// TestEveryDetectorEarnsItsPlace takes each detector out: a scenario that it alone finds must then find nothing.
func TestEveryDetectorEarnsItsPlace(t *testing.T) {
	raced.Alone(t)
	alone := map[string]*scene{} // the shortest scenario with alarms of this detector only
	for _, s := range scenes(t) {
		if m := regexp.MustCompile(`(?m)^# ([DR]\d+)\. `).FindStringSubmatch(s.text); m != nil {
			alone[m[1]] = s
		}
	}
	for _, name := range []string{"D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9", "D10", "D11", "D12", "D13", "D14", "D15", "D16", "D17", "R1", "R2", "R3", "R4"} {
		s := alone[name]
		if s == nil {
			t.Errorf("no scenario is for %s", name)
			continue
		}
		with := strings.Join(s.play(t), "\n")
		if !strings.Contains(with, name+" ") {
			t.Errorf("%s does not find its scenario:\n%s%s", name, s.text, with)
		}
		if without := strings.Join(s.play(t, name), "\n"); strings.Contains(without, name+" ") || without == with {
			t.Errorf("without %s its scenario is found as before:\n%s", name, without)
		}
	}
}
