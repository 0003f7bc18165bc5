package contain

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/raced"
	"github.com/querschott/querschott/watch"
)

var update = flag.Bool("update", false, "write what the judge says into testdata")

var begin = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// TestLadder plays the file that a security officer reads: alarms, and below each what it leads to.
func TestLadder(t *testing.T) {
	data, err := os.ReadFile("testdata/ladder.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	j := NewJudge(JudgeConfig{})
	sc := bufio.NewScanner(strings.NewReader(string(data)))
	for sc.Scan() {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "="):
			j = NewJudge(JudgeConfig{})
		case strings.HasPrefix(line, "  "):
			continue // an answer; it is made again
		case line != "" && line[0] != '#':
			a, at := alarmOf(t, line)
			fmt.Fprintln(&got, line)
			fmt.Fprint(&got, answer(j.Judge(a, at)))
			continue
		}
		fmt.Fprintln(&got, line)
	}
	if *update {
		if err := os.WriteFile("testdata/ladder.txt", []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(string(data), got.String()); d != "" {
		t.Errorf("decisions (-want +got):\n%s", d)
	}
}

// alarmOf reads "09:00:05 clerk-1 109500969/desk D1/cap-minute exact high".
func alarmOf(t *testing.T, line string) (*watch.Alarm, time.Time) {
	t.Helper()
	f := strings.Fields(line)
	if len(f) < 6 {
		t.Fatalf("%q is no alarm", line)
	}
	clock, err := time.Parse(time.TimeOnly, f[0])
	if err != nil {
		t.Fatal(err)
	}
	at := begin.Truncate(24 * time.Hour).Add(clock.Sub(clock.Truncate(24 * time.Hour)))
	a := &watch.Alarm{Time: at, Actor: querschott.Actor(f[1]), Credential: querschott.CredentialID("c:" + f[1]), Kind: watch.Kind(f[4]), Severity: watch.Severity(f[5]), Mode: watch.Live}
	a.Detector, a.Cause, _ = strings.Cut(f[3], "/")
	if strings.HasPrefix(f[1], "network:") {
		a.Credential = ""
	}
	if f[2] != "-" {
		ik, service, _ := strings.Cut(f[2], "/")
		a.Insurer, a.Service = querschott.IK(ik), querschott.Service(service)
	}
	if len(f) > 6 {
		a.Mode = watch.Mode(f[6])
	}
	return a, at
}

func answer(d Decision) string {
	var b strings.Builder
	for _, list := range []struct {
		word string
		acts []Action
	}{{"do", d.Actions}, {"ask", d.Ask}} {
		for _, a := range list.acts {
			what := string(a.Credential) + a.Group
			switch a.Kind {
			case MoveDoor:
				what = a.Compartment.String() + " " + a.To.String()
			case ShutInsurer:
				what = string(a.Insurer) + " " + a.To.String()
			default:
			}
			fmt.Fprintf(&b, "  %s %s %s for %s\n", list.word, a.Kind, what, a.TTL)
		}
	}
	fmt.Fprintf(&b, "  because %s\n", d.Why)
	return b.String()
}

// TestJudgeKeepsItsPromises judges random alarms and looks at every decision.
func TestJudgeKeepsItsPromises(t *testing.T) {
	detectors := []string{"D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9", "D10", "D11", "D12", "D13", "D14", "D15", "D16", "D17", "R1", "R2", "sigma/x"}
	rapid.Check(t, func(t *rapid.T) {
		j := NewJudge(JudgeConfig{NoDoors: rapid.Bool().Draw(t, "no doors")})
		now := begin
		held := map[querschott.Actor]bool{}
		var doors []movedDoor
		for range rapid.IntRange(1, 80).Draw(t, "alarms") {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "seconds")) * time.Second)
			a := &watch.Alarm{
				Time: now, Actor: querschott.Actor(rapid.SampledFrom([]string{"a", "b", "c", "d", "network:192.0.2", "group:x/staff"}).Draw(t, "actor")),
				Detector: rapid.SampledFrom(detectors).Draw(t, "detector"), Cause: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "cause"),
				Kind:     rapid.SampledFrom([]watch.Kind{watch.Exact, watch.Statistical}).Draw(t, "kind"),
				Severity: rapid.SampledFrom([]watch.Severity{watch.Low, watch.Medium, watch.High}).Draw(t, "severity"),
				Mode:     rapid.SampledFrom([]watch.Mode{watch.Live, watch.Live, watch.Shadow}).Draw(t, "mode"),
				Insurer:  querschott.IK(rapid.StringMatching(`10950096[1-6]`).Draw(t, "insurer")), Service: querschott.Desk,
			}
			if !strings.Contains(string(a.Actor), ":") {
				a.Credential = querschott.CredentialID("c:" + string(a.Actor))
			}
			d := j.Judge(a, now)
			if a.Mode == watch.Shadow && len(d.Actions)+len(d.Ask) > 0 {
				t.Fatal("shadow mode led to something")
			}
			for _, act := range d.Actions {
				if act.TTL <= 0 {
					t.Fatalf("%s never ends", act.Kind)
				}
				switch act.Kind {
				case HoldCredential:
					held[act.Actor] = true
				case MoveDoor:
					if a.Credential != "" && !held[a.Actor] {
						t.Fatal("a door moved for an actor whose credential was never held")
					}
					doors = append(doors, movedDoor{now, act.Compartment.Insurer, act.Compartment.Service})
				default:
					t.Fatalf("%s was done without a person", act.Kind)
				}
			}
			seen := map[querschott.IK]bool{}
			for _, m := range doors {
				if now.Sub(m.at) < blastWindow {
					seen[m.insurer] = true
				}
			}
			if len(seen) > blastDoors {
				t.Fatalf("doors of %d insurers within ten minutes", len(seen))
			}
		}
	})
}

// TestJudgeIsBounded raises more actors than are remembered.
func TestJudgeIsBounded(t *testing.T) {
	raced.Alone(t)
	j := NewJudge(JudgeConfig{})
	alarm := func(i int, at time.Time) Decision {
		return j.Judge(&watch.Alarm{
			Actor: querschott.Actor(fmt.Sprint(i)), Credential: "c", Detector: "D1", Kind: watch.Exact, Severity: watch.High, Mode: watch.Live,
		}, at)
	}
	for i := range maxSubjects + 10 {
		alarm(i, begin)
	}
	if len(j.actors) != maxSubjects || j.Forgotten() != 10 {
		t.Errorf("%d actors are remembered, %d were turned away", len(j.actors), j.Forgotten())
	}
	if d := alarm(-1, begin.Add(25*time.Hour)); len(d.Actions) != 1 || len(j.actors) != 1 {
		t.Errorf("a day later: %d actors, decision %+v", len(j.actors), d)
	}
}

func TestReleasedMayBeHeldAgain(t *testing.T) {
	j := NewJudge(JudgeConfig{})
	a := &watch.Alarm{Actor: "clerk", Credential: "c", Detector: "D1", Cause: "cap-minute", Kind: watch.Exact, Severity: watch.High, Mode: watch.Live}
	if d := j.Judge(a, begin); len(d.Actions) != 1 {
		t.Fatalf("first: %+v", d)
	}
	if d := j.Judge(a, begin.Add(time.Minute)); len(d.Actions) != 0 {
		t.Fatalf("while held: %+v", d)
	}
	j.Released("clerk", "c")
	if d := j.Judge(a, begin.Add(2*time.Minute)); len(d.Actions) != 1 {
		t.Fatalf("after the release: %+v", d)
	}
}
