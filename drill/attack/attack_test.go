package attack

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
)

// plain is a landscape of three insurers.
type plain struct{ staff int }

func (plain) Insurers() []Insurer {
	return []Insurer{{querschott.IK("109500969"), 5000}, {querschott.IK("104940005"), 2000}, {querschott.IK("101575519"), 100}}
}

func (p plain) Holders(insurer int, c Channel, role string) int {
	switch {
	case c == VSDM || c == EPA:
		return 40
	case c == App:
		return 500 / (insurer + 1)
	case role == Partner:
		return 1
	default:
		return p.staff / (insurer + 1)
	}
}

func (plain) Known(h Holder, c Choice, most int) []int {
	if c == VIP {
		return nil
	}
	return []int{h.Number % 50, 7, 8, 9}[:min(most, 4)]
}

var monday = time.Date(2026, 1, 5, 0, 0, 0, 0, time.FixedZone("CET", 3600))

func parse(t testing.TB, text string) *Family {
	t.Helper()
	f, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return f
}

// play runs to its end, or to so many requests.
func play(r *Run, most int, outcome func(Access) Outcome) []Access {
	var list []Access
	var last Outcome
	for range most {
		a, ok := r.Next(last)
		if !ok {
			break
		}
		list = append(list, a)
		last = outcome(a)
	}
	return list
}

func served(Access) Outcome { return Outcome{} }

func TestBuiltinFamilies(t *testing.T) {
	list, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	benign, found := 0, map[string]bool{}
	for _, f := range list {
		if f.Benign {
			benign++
		}
		for _, d := range f.Finds {
			found[d] = true
		}
		got := play(f.Begin(7, plain{60}, monday, nil), 4000, served)
		if (len(got) == 0) != (f.Work != nil) {
			t.Errorf("%s makes %d requests", f.Name, len(got))
		}
		for i, a := range got {
			if i > 0 && a.At.Before(got[i-1].At) {
				t.Fatalf("%s: request %d goes back in time", f.Name, i)
			}
		}
		again := play(f.Begin(7, plain{60}, monday, nil), 4000, served)
		if d := cmp.Diff(got, again); d != "" {
			t.Errorf("%s: the same seed makes other requests:\n%.500s", f.Name, d)
		}
	}
	if benign < 7 {
		t.Errorf("%d benign families, want at least 7", benign)
	}
	for _, d := range []string{"D1", "D2", "D3", "D4", "D5", "D7", "D8", "D10", "D14", "D15", "D17", "R1", "R2"} {
		if !found[d] {
			t.Errorf("no family is for %s", d)
		}
	}
}

func TestRates(t *testing.T) {
	for _, c := range []struct {
		text     string
		from, to int // requests in ten days from a Monday on
	}{
		{"rate: {persons: 20}", 8 * 20, 8 * 20},
		{"rate: {persons: 20, days: every}", 10 * 20, 10 * 20},
		{"rate: {persons: 20, days: weekend}", 2 * 20, 2 * 20},
		{"rate: {persons: 2, per: hour, hours: 08:00-16:00, spacing: even}", 8 * 16, 8 * 16},
		{"rate: {persons: 20, days: every, hours: 23:00-01:00}", 10 * 20, 11 * 20},
		{"rate: {persons: 20, days: every, work: 2, pause: 3}", 60, 100},
		{"rate: {persons: 100, days: every, ramp: 10d}", 500, 560},
		{"rate: {persons: 100, days: every, jitter: 0.3}", 700, 1400},
		{"rate: {persons: 20, spacing: bursts, burst: 5, gap: 1s}", 8 * 20, 8 * 20},
		{"who: {mules: 3}\nrate: {persons: 20}", 3 * 8 * 20, 3 * 8 * 20},
		{"start: {total: 50}\nrate: {persons: 20}", 50, 50},
	} {
		got := len(play(parse(t, "family: x\ntext: x\n"+c.text+"\n").Begin(1, plain{60}, monday, nil), 10_000, served))
		if got < c.from || got > c.to {
			t.Errorf("%s: %d requests, want %d to %d", c.text, got, c.from, c.to)
		}
	}
}

func TestHoursAreKept(t *testing.T) {
	f := parse(t, "family: x\ntext: x\nrate: {persons: 50, days: every, hours: 22:30-04:15}\n")
	for _, a := range play(f.Begin(3, plain{60}, monday, nil), 10_000, served) {
		if m := a.At.Hour()*60 + a.At.Minute(); m >= 4*60+15 && m < 22*60+30 {
			t.Fatalf("a request at %s", a.At)
		}
	}
}

func TestPersonsAndReasons(t *testing.T) {
	f := parse(t, "family: x\ntext: x\nwho: {insurer: largest}\nrate: {persons: 1000}\npersons: {missing: 0.2, foreign: 0.3, own: 0.1}\nreasons: {give: one, share: 0.5}\n")
	missing, foreign, own, reasons := 0, 0, 0, map[uint64]int{}
	all := play(f.Begin(3, plain{60}, monday, nil), 4000, served)
	for _, a := range all {
		switch {
		case a.Person < 0:
			missing++
		case a.Insurer != 0:
			foreign++
		case a.Person < 50:
			own++
		}
		if a.Reason.Kind != "none" {
			reasons[a.Reason.Number]++
		}
	}
	n := float64(len(all))
	for _, c := range []struct {
		what      string
		got, want float64
	}{{"missing", float64(missing) / n, 0.2}, {"foreign", float64(foreign) / n, 0.3}, {"own", float64(own) / n, 0.1}} {
		if c.got < c.want-0.02 || c.got > c.want+0.02 {
			t.Errorf("%s: %.3f, want %.1f", c.what, c.got, c.want)
		}
	}
	if len(reasons) != 1 {
		t.Errorf("%d reasons, want one", len(reasons))
	}
}

func TestReactions(t *testing.T) {
	text := "family: x\ntext: x\nwho: {mules: 1, spares: 2}\nstart: {lasts: 1d}\nrate: {persons: 60, per: hour, hours: any, spacing: even}\n"
	count := func(then string, result Result) (n int, holders map[Holder]bool) {
		holders = map[Holder]bool{}
		for _, a := range play(parse(t, text+"refused: {then: "+then+", wait: 10m, tries: 3}\n").Begin(1, plain{60}, monday, nil), 10_000, func(Access) Outcome {
			return Outcome{Result: result}
		}) {
			n++
			holders[a.Holder] = true
		}
		return n, holders
	}
	for _, c := range []struct {
		then    string
		result  Result
		n, most int // requests, credentials
	}{
		{"stop", Held, 1, 1}, {"retry", Held, 3, 1}, {"rotate", Held, 3, 3}, {"back-off", Capped, 3, 1}, {"rotate", Capped, 9, 3}, {"retry", Shut, 3, 1},
	} {
		n, holders := count(c.then, c.result)
		if n != c.n || len(holders) != c.most {
			t.Errorf("%s after result %d: %d requests with %d credentials, want %d with %d", c.then, c.result, n, len(holders), c.n, c.most)
		}
	}
	if n, _ := count("retry", Denied); n != 24*60 {
		t.Errorf("what is denied for itself stops nobody: %d requests, want %d", n, 24*60)
	}
}

// TestTakenCredentialsAreLeft recruits until nobody is left.
func TestTakenCredentialsAreLeft(t *testing.T) {
	f, taken := parse(t, "family: x\ntext: x\nwho: {mules: 7, spares: 2, together: true, role: case}\nrate: {persons: 9}\n"), map[Holder]bool{}
	of := func(h Holder) bool { return taken[h] }
	const all = 60 + 30 + 20 // of the three insurers
	for seed := range uint64(60) {
		r := f.Begin(seed, plain{60}, monday, of)
		for _, h := range r.Holders() {
			if taken[h] {
				t.Fatalf("%+v is used twice", h)
			}
			taken[h] = true
		}
		if left := all - len(taken); left > 0 && seed == 59 {
			t.Errorf("%d of %d are never found", left, all)
		}
	}
	r := f.Begin(99, plain{60}, monday, of)
	if a, ok := r.Next(Outcome{}); ok {
		t.Errorf("nobody is left, and %+v makes a request", a.Holder)
	}
}

func TestRetryWaits(t *testing.T) {
	f := parse(t, "family: x\ntext: x\nstart: {lasts: 1d}\nrate: {persons: 60, per: hour, hours: any, spacing: even}\nrefused: {then: retry, wait: 1m}\n")
	first := true
	list := play(f.Begin(1, plain{60}, monday, nil), 3, func(Access) Outcome {
		o := Outcome{}
		if first {
			o = Outcome{Result: Capped, RetryAfter: 20 * time.Minute}
		}
		first = false
		return o
	})
	if got := list[1].At.Sub(list[0].At); got != 20*time.Minute || list[1].Person != list[0].Person || !list[1].Again {
		t.Errorf("tried again after %s: %+v, %+v", got, list[0], list[1])
	}
}

func TestFaultsNameTheirLine(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"family: x\ntext: x\nwhom: {}\n", "line 3: unknown key"},
		{"family: X\ntext: x\n", "line 1: family"},
		{"family: x\ntext: x\nrate:\n  persons: lots\n", "line 4: a number"},
		{"family: x\ntext: x\nrate:\n  persons: 9..3\n", "line 4"},
		{"family: x\ntext: x\nrate:\n  persons: 20\n  hours: 25:00-26:00\n", "line 5"},
		{"family: x\ntext: x\nrate: {persons: 5}\nstart: {lasts: 3 weeks}\n", "line 4: a time"},
		{"family: x\ntext: x\nrate: {persons: 5}\nwho:\n  channel: fax\n", "line 5: who.channel is one of desk"},
		{"family: x\ntext: x\nrate: {persons: 300000}\n", "line 3: rate.persons makes at most"},
		{"family: x\ntext: x\nrate: {persons: 5}\nreasons: {share: 1.5}\n", "line 4: reasons.share lies"},
		{"family: x\ntext: x\nrate: {persons: 5}\npersons: {choose: list}\n", "line 4: persons.list"},
		{"family: x\ntext: x\nwork: {times: 2}\n", "line 3: work changes"},
		{"family: x\ntext: x\nrate: {persons: 5}\nrotate: {after: 10}\n", "rotate.what"},
		{"family: x\ntext: x\n", "rate.persons is above 0"},
		{"", "a file holds one family"},
		{"family: x\n---\nfamily: y\n", "a file holds one family"},
	} {
		if _, err := Parse(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
}

var update = flag.Bool("update", false, "write the table of keys into the manual")

// TestManual compares the manual's table with the keys.
func TestManual(t *testing.T) {
	const name = "../../docs/manual/13-drills.md"
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	table.WriteString("| key | |\n|---|---|\n")
	for _, k := range Keys() {
		table.WriteString("| `" + k.Name + "` | " + k.Doc + " |\n")
	}
	want := regexp.MustCompile(`(?s)\| key \| \|\n.*?\n\n`).ReplaceAllLiteral(got, append(table.Bytes(), '\n'))
	if *update {
		if err := os.WriteFile(name, want, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(string(want), string(got)); d != "" || !bytes.Contains(got, table.Bytes()) {
		t.Errorf("the manual has other keys; -update writes them (-want +got):\n%s", d)
	}
}

func FuzzParse(f *testing.F) {
	entries, err := builtin.ReadDir("families")
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		data, err := builtin.ReadFile("families/" + e.Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint64(1), byte(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint64, result byte) {
		fam, err := Parse(bytes.NewReader(data))
		if err != nil {
			return
		}
		r := fam.Begin(seed, plain{3}, monday, nil)
		if fam.Work != nil {
			r.Insurers()
			return
		}
		var at time.Time
		for _, a := range play(r, 50, func(Access) Outcome { return Outcome{Result: Result(result % 6)} }) {
			if a.At.Before(at) {
				t.Fatal("time went back")
			}
			if at = a.At; a.Person >= max(plain{}.Insurers()[a.Insurer].Persons, 1) {
				t.Fatalf("person %d is not there", a.Person)
			}
		}
	})
}
