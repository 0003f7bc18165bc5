package crowd

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/attack"
)

var monday = time.Date(2026, 1, 12, 0, 0, 0, 0, time.UTC)

func small(change func(*Config)) Config {
	c := Config{Seed: 5, Staff: 120, Unexplained: 0.03, Begin: monday, Days: 7}
	if change != nil {
		change(&c)
	}
	return c
}

func all(cfg Config) (list []Request) {
	c := New(cfg)
	for r := c.Next(); r != nil; r = c.Next() {
		list = append(list, *r)
	}
	return list
}

func TestSameSeedSameRequestsInOrder(t *testing.T) {
	a, b := all(small(nil)), all(small(nil))
	if !slices.Equal(a, b) {
		t.Error("the same seed makes other requests")
	}
	for i := range a[1:] {
		if a[i+1].Time.Before(a[i].Time) {
			t.Fatalf("request %d goes back in time", i+1)
		}
	}
	if other := all(small(func(c *Config) { c.Seed = 6 })); len(other) == len(a) && other[0].Person == a[0].Person {
		t.Error("another seed makes the same requests")
	}
}

// TestFigures compares an ordinary week with what is said of it.
func TestFigures(t *testing.T) {
	staff, unexplained, practices, users, jobs := 0, 0, 0, 0, 0
	for _, r := range all(small(func(c *Config) { c.Staff = 600; c.Insurers = 80 })) {
		switch r.Role {
		case querschott.RoleStaff:
			staff++
			if r.ReasonRef == "" && !r.Missing {
				unexplained++
			}
			if wd := r.Time.Weekday(); wd == time.Saturday || wd == time.Sunday {
				t.Fatalf("staff works on %s", r.Time)
			}
		case querschott.RolePractice:
			practices++
		case querschott.RolePartner:
			jobs++
		default:
			users++
		}
	}
	perDay := float64(staff) / 600 / 5
	share := float64(unexplained) / float64(staff)
	t.Logf("%.1f accesses per employee and working day, %.4f without a reason; %d practices', %d users', %d jobs'", perDay, share, practices, users, jobs)
	if perDay < 45 || perDay > 70 {
		t.Errorf("%.1f accesses per employee and working day, want about 57", perDay)
	}
	if share < 0.02 || share > 0.045 {
		t.Errorf("%.4f have no reason, want about 0.03", share)
	}
	if practices == 0 || users == 0 || jobs == 0 {
		t.Errorf("%d practices', %d users', %d jobs' requests", practices, users, jobs)
	}
}

func TestChanges(t *testing.T) {
	count := func(ch ...Change) (calls, bare int) {
		for _, r := range all(small(func(c *Config) { c.Changes = ch; c.Days = 2 })) {
			if strings.HasPrefix(r.ReasonRef, "A-") {
				calls++
			}
			if r.Role == querschott.RoleStaff && r.ReasonRef == "" {
				bare++
			}
		}
		return calls, bare
	}
	calls, bare := count()
	more, moreBare := count(Change{From: monday, To: monday.AddDate(0, 0, 3), Roles: []string{"call"}, Times: 1.5})
	if f := float64(more) / float64(calls); f < 1.3 || f > 1.6 {
		t.Errorf("%.2f times as many calls, want about 1.5", f)
	}
	_, lost := count(Change{From: monday, To: monday.AddDate(0, 0, 3), Unexplained: 0.5})
	if lost < 5*bare || moreBare > 2*bare {
		t.Errorf("%d without a reason, %d with a process that is not linked", bare, lost)
	}
	if a, b := len(all(small(nil))), len(all(small(func(c *Config) { c.Changes = []Change{{From: monday, To: monday.AddDate(0, 0, 9), Release: true}} }))); float64(b) < 1.5*float64(a) {
		t.Errorf("%d requests before the release, %d behind it", a, b)
	}
}

func TestHolidays(t *testing.T) {
	for _, c := range []struct {
		date string
		land uint8
		want bool
	}{
		{"2026-04-03", 0, true},
		{"2026-04-06", 0, true},
		{"2026-05-14", 0, true},
		{"2026-05-25", 0, true},
		{"2026-06-04", 0, false},
		{"2026-06-04", corpus, true},
		{"2026-01-06", epiphany, true},
		{"2026-01-06", reform, false},
		{"2026-10-31", reform, true},
		{"2027-03-29", 0, true},
	} {
		d, err := time.Parse(time.DateOnly, c.date)
		if err != nil {
			t.Fatal(err)
		}
		if got := holiday(d, c.land); got != c.want {
			t.Errorf("%s in land %05b: %v", c.date, c.land, got)
		}
	}
}

// TestAttacksLookLikeOthers takes the fields of an attack's request, as far as it does not differ in what it does: each of them
// has the form of an ordinary one.
func TestAttacksLookLikeOthers(t *testing.T) {
	c := New(small(nil))
	ordinary := map[string]map[string]bool{} // forms by field
	form := func(r *Request) map[string]any {
		data, err := json.Marshal(r.Access)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.NewDecoder(bytes.NewReader(data)).Decode(&m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	shape := func(v any) string {
		s, _ := v.(string)
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' || r >= 'a' && r <= 'f' {
				return 'x'
			}
			return r
		}, s)
	}
	for range 8000 {
		r := c.Next()
		if r == nil {
			break
		}
		for k, v := range form(r) {
			if ordinary[k] == nil {
				ordinary[k] = map[string]bool{}
			}
			ordinary[k][shape(v)] = true
		}
	}
	f, err := attack.Parse(strings.NewReader("family: x\ntext: x\nrate: {persons: 40}\nreasons: {give: new}\nfrom: {network: foreign, key: foreign}\n"))
	if err != nil {
		t.Fatal(err)
	}
	run := f.Begin(1, c, monday, nil)
	for range 50 {
		a, ok := run.Next(attack.Outcome{})
		if !ok {
			break
		}
		for k, v := range form(c.Request(a, "")) {
			switch k {
			case "t", "ip", "reason_ref": // their digits vary in number
				continue
			}
			if !ordinary[k][shape(v)] {
				t.Errorf("%s of an attack is %v, which has no ordinary form", k, v)
			}
		}
	}
}

// TestAttacksOnOthers checks what the gate is told of requests that it refuses whoever asks.
func TestAttacksOnOthers(t *testing.T) {
	c := New(small(nil))
	clerk := attack.Holder{Channel: attack.Desk, Insurer: 0, Role: "case"}
	user := attack.Holder{Channel: attack.App, Insurer: 0}
	self := c.insurers[0].users[0].person
	for _, k := range []struct {
		name    string
		a       attack.Access
		refusal string
	}{
		{"own insurer", attack.Access{Holder: clerk, Identified: true, Token: "valid"}, ""},
		{"another insurer", attack.Access{Holder: clerk, Identified: true, Token: "valid", Insurer: 1}, "foreign-insurer"},
		{"a merger", attack.Access{Holder: clerk, Identified: true, Token: "valid", Insurer: 1, Reason: attack.Reason{Kind: "job"}}, ""},
		{"another person", attack.Access{Holder: user, Identified: true, Token: "valid", Person: self + 9}, "foreign-person"},
		{"oneself", attack.Access{Holder: user, Identified: true, Token: "valid", Person: self}, ""},
		{"a wrong password", attack.Access{Holder: user, Token: "valid"}, "not-identified"},
		{"another key", attack.Access{Holder: clerk, Identified: true, Token: "rebound"}, "proof_binding"},
	} {
		k.a.At = monday
		if got := c.Request(k.a, "job-1").Refusal; got != k.refusal {
			t.Errorf("%s: %q, want %q", k.name, got, k.refusal)
		}
	}
}

func TestDelivery(t *testing.T) {
	c, told, last := New(small(func(c *Config) { c.Days = 4 })), map[string]map[uint64]int{}, time.Time{}
	late := 0
	d := NewDelivery(1, func(a *querschott.Access) {
		if told[a.Gate] == nil {
			told[a.Gate] = map[uint64]int{}
		}
		told[a.Gate][a.Seq]++
		if a.Time.Before(last) {
			late++
		}
		last = a.Time
	})
	sent := 0
	for r := c.Next(); r != nil; r = c.Next() {
		sent++
		d.Send(&r.Access, false)
	}
	d.Close()
	n, twice := 0, 0
	for _, seqs := range told {
		for _, k := range seqs {
			n++
			if k > 1 {
				twice++
			}
		}
	}
	if n != sent {
		t.Errorf("%d of %d events came", n, sent)
	}
	if s := float64(twice) / float64(sent); s < 0.015 || s > 0.025 || late < sent/100 {
		t.Errorf("%.3f twice, %d of %d late", s, late, sent)
	}
}

func BenchmarkDay(b *testing.B) {
	for b.Loop() {
		c := New(Config{Seed: 1, Staff: 30_000, Unexplained: 0.03, Begin: monday, Days: 1})
		n := 0
		b.ResetTimer()
		for r := c.Next(); r != nil; r = c.Next() {
			n++
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "requests/s")
	}
}
