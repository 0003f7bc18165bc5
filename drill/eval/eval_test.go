package eval

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/drill/crowd"
	"github.com/querschott/querschott/internal/raced"
	"github.com/querschott/querschott/watch"
)

var update = flag.Bool("update", false, "write testdata/tiny.json")

// some returns built-in families.
func some(t *testing.T, names ...string) (list []*attack.Family) {
	t.Helper()
	all, err := attack.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		for _, f := range all {
			if f.Name == n {
				list = append(list, f)
			}
		}
	}
	if len(list) != len(names) {
		t.Fatalf("there are %d of %v", len(list), names)
	}
	return list
}

func tiny(t *testing.T, change func(*Config)) *Report {
	t.Helper()
	cfg := Config{Seeds: 2, First: 1, Days: 14, WarmUp: 10, Staff: 40, Unexplained: 0.03, Workers: 2, Families: some(t, "bulk-fast", "benign-migration", "foreign-insurer")}
	if change != nil {
		change(&cfg)
	}
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func asJSON(t *testing.T, r *Report) []byte {
	t.Helper()
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(data, '\n')
}

// TestTiny compares a tiny evaluation with its file. Only detectors of facts run, whose limits are the gate's.
func TestTiny(t *testing.T) {
	raced.Alone(t)
	got := asJSON(t, tiny(t, func(c *Config) {
		c.Compare = true
		c.Without = []string{"D5", "D6", "D7", "D8", "D9", "D10", "D11", "D12", "D13", "D15", "D16", "R1", "R2", "R3", "R4"}
	}))
	const name = "testdata/tiny.json"
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("the evaluation says something else; -update writes it (-want +got):\n%s", d)
	}
}

func TestWorkersDoNotMatter(t *testing.T) {
	one, two := tiny(t, func(c *Config) { c.Workers = 1 }), tiny(t, nil)
	if d := cmp.Diff(string(asJSON(t, one)), string(asJSON(t, two))); d != "" {
		t.Error(d)
	}
}

// TestFastTheftIsContained: the loop is closed. Whoever reads as fast as he can gets no further than the cap, and is held.
func TestFastTheftIsContained(t *testing.T) {
	raced.Alone(t)
	r := tiny(t, nil)
	f := r.Families[0]
	if f.Found != 2 || f.ContainedShare != 1 || f.RecordsMax > 50 {
		t.Errorf("%+v", f)
	}
	without := tiny(t, func(c *Config) { c.Without = []string{"D1", "D14", "D7", "D10"} })
	if g := without.Families[0]; g.RecordsMax <= f.RecordsMax {
		t.Errorf("without its detectors it gets %.0f persons, with them %.0f", g.RecordsMax, f.RecordsMax)
	}
}

// TestTruth decides whom alarms are about.
func TestTruth(t *testing.T) {
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	fs := some(t, "slow-theft-50", "mules-ten", "benign-campaign", "unseen")
	alone, many, campaign, unseen := &run{family: fs[0], actors: 1}, &run{family: fs[1], actors: 9}, &run{family: fs[2], actors: 6}, &run{family: fs[3], actors: 1}
	tr := newTruth()
	for _, r := range []*run{alone, many, campaign, unseen} {
		r.began, r.last = at, at.Add(72*time.Hour)
		tr.runs = append(tr.runs, r)
	}
	tr.actors["ma-1"], tr.actors["ma-2"], tr.networks["network:80.1.2"] = []*run{alone}, []*run{campaign, many}, []*run{alone}
	tr.insurers["109500969"], tr.insurers["104940005"] = []*run{alone, many}, []*run{alone, campaign}
	for _, c := range []struct {
		actor   querschott.Actor
		insurer querschott.IK
		after   time.Duration
		run     *run
		beside  bool
	}{
		{"ma-1", "", time.Hour, alone, false},
		{"ma-1", "", -time.Hour, nil, false},
		{"ma-1", "", 72*time.Hour + after + 1, nil, false},
		{"ma-2", "", time.Hour, many, false},
		{"ma-3", "", time.Hour, nil, false},
		{"network:80.1.2", "", time.Hour, alone, false},
		{"network:80.1.3", "", time.Hour, nil, false},
		{"gate:g1", "", time.Hour, unseen, false},
		{"group:109500969/staff", "109500969", time.Hour, many, true},
		{"group:104940005/staff", "104940005", time.Hour, nil, true},
		{"group:101575519/staff", "101575519", time.Hour, nil, false},
	} {
		got := tr.judge(&watch.Alarm{Actor: c.actor, Insurer: c.insurer}, at.Add(c.after))
		if got.run != c.run || got.beside != c.beside {
			t.Errorf("%s at %s: %+v", c.actor, c.after, got)
		}
	}
	tr.abused["sys-1"] = alone
	if v := tr.judge(&watch.Alarm{Actor: "sys-1", Cause: "job-persons"}, at.Add(time.Hour)); v.run != nil || !v.beside {
		t.Errorf("the owner of a job that somebody else abused: %+v", v)
	}
	if !tr.attacker("ma-2") || tr.attacker("ma-3") {
		t.Error("who attacks is wrong")
	}
}

// TestNoCredentialIsUsedTwice: an alarm about a credential that two attacks use would count for one of them, and the other would
// be called not found. The largest insurer of these worlds has fewer employees than attacks want of it.
func TestNoCredentialIsUsedTwice(t *testing.T) {
	all, err := attack.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(8) {
		cfg := Config{Seeds: 1, Days: 4, Staff: 400, Unexplained: 0.03, Families: all}
		if err := cfg.check(); err != nil {
			t.Fatal(err)
		}
		w, err := newWorld(&cfg, seed, false)
		if err != nil {
			t.Fatal(err)
		}
		by, none := map[querschott.Actor]string{}, 0
		for _, r := range w.truth.runs {
			if r.family.Work == nil && len(r.run.Holders()) == 0 {
				none++
			}
			for _, h := range r.run.Holders() {
				a, _ := w.crowd.Actor(h)
				if by[a] != "" {
					t.Errorf("seed %d: %s and %s use the credential of %s", seed, by[a], r.family.Name, a)
				}
				by[a] = r.family.Name
			}
		}
		if none > 0 {
			t.Errorf("seed %d: %d attacks found nobody", seed, none)
		}
	}
}

func TestInterval(t *testing.T) {
	got := interval([]ratio{{1, 1}, {0, 1}, {1, 1}, {1, 1}, {0, 1}, {1, 1}, {1, 1}, {1, 1}, {0, 1}, {1, 1}})
	if got.Value != 0.7 || got.Low > 0.5 || got.Low < 0.3 || got.High < 0.9 {
		t.Errorf("%+v", got)
	}
	if got := interval([]ratio{{3, 3}, {2, 2}}); got != (Interval{1, 1, 1}) {
		t.Errorf("%+v", got)
	}
	if got := interval([]ratio{{0, 0}}); got != (Interval{}) {
		t.Errorf("%+v", got)
	}
	if got := chance(2, 0.5); got != 0.75 {
		t.Errorf("two alarms of which half are looked at: %g", got)
	}
	if got := quantile([]float64{5, 1, 2, 3, 4}, 0.95); got != 5 {
		t.Errorf("p95 %g", got)
	}
}

// TestBaselines lets each simple method see what it is for.
func TestBaselines(t *testing.T) {
	list, err := baselines()
	if err != nil {
		t.Fatal(err)
	}
	w, err := watch.New(watch.Config{Also: list})
	if err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	read := func(actor string, at time.Time, n int, gap time.Duration) {
		for range n {
			seq++
			w.Observe(&querschott.Access{
				Seq: seq, Gate: "g", Time: at, Service: querschott.Desk, Insurer: "109500969", Tenant: "109500969", Actor: querschott.Actor(actor),
				Role: querschott.RoleStaff, ReasonRef: actor, Person: "p" + string(rune('a'+seq%26)) + time.Duration(seq).String(), Outcome: "success",
			})
			at = at.Add(gap)
		}
	}
	day := time.Date(2026, 3, 2, 7, 0, 0, 0, time.UTC)
	for d := range 12 {
		read("steady", day.AddDate(0, 0, d), 20, 15*time.Minute)
	}
	read("steady", day.AddDate(0, 0, 12), 60, 7*time.Minute)
	read("busy", day.AddDate(0, 0, 13), 310, 100*time.Second)
	read("fast", day.AddDate(0, 0, 14), 50, time.Second)
	read("hour", day.AddDate(0, 0, 15), 61, 50*time.Second)
	w.Flush()
	got := map[string][]string{}
	for _, a := range w.Report().Alarms {
		if baseline(a.Detector) {
			got[shown(a.Detector)] = append(got[shown(a.Detector)], string(a.Actor))
		}
	}
	want := map[string][]string{fixedName: {"busy"}, ownName: {"steady"}, bucketName: {"fast"}, sigmaShown: {"hour"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestLabelsStandInNoEvent plays a world twice, once with attacks that are told to be benign: the detectors' events are the same.
func TestLabelsStandInNoEvent(t *testing.T) {
	raced.Alone(t)
	events := func(benign bool) []byte {
		fs := some(t, "bulk-fast", "foreign-insurer")
		for _, f := range fs {
			f.Benign = benign
		}
		cfg := Config{Seeds: 1, First: 3, Days: 6, WarmUp: 4, Staff: 30, Unexplained: 0.03, Families: fs}
		if err := cfg.check(); err != nil {
			t.Fatal(err)
		}
		w, err := newWorld(&cfg, 3, true)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		w.delivery = crowd.NewDelivery(3, func(a *querschott.Access) {
			w.watch.Observe(a)
			if err := enc.Encode(a); err != nil {
				t.Fatal(err)
			}
		})
		if err := w.play(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if !bytes.Equal(events(false), events(true)) {
		t.Error("the events of an attack say that it is one")
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Seeds: 0, Days: 10, Staff: 100}, "seeds"},
		{Config{Seeds: 1, Days: 1, Staff: 100}, "days"},
		{Config{Seeds: 1, Days: 10, Staff: 5}, "staff"},
		{Config{Seeds: 1, Days: 10, Staff: 100, Unexplained: math.NaN()}, "without a reason"},
		{Config{Seeds: 1, Days: 10, WarmUp: 10, Staff: 100}, "warms up"},
		{Config{Seeds: 1, Days: 10, Staff: 100, Copies: 99}, "attacks"},
		{Config{Seeds: 1, Days: 10, Staff: 100, Without: []string{"D99"}}, "D99"},
	} {
		if _, err := Run(t.Context(), c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.want)
		}
	}
}
