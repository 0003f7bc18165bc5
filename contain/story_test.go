package contain

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/watch"
)

// story is one part of testdata/playbooks.txt as it is played.
type story struct {
	t      *testing.T
	tr     Trust
	keys   keyring
	fs     *crashdisk.Disk
	lib    *Library
	far    Automatic
	judge  *Judge
	w      *world
	e      *Engine
	recent *Recent
	raised []*watch.Alarm
	now    time.Time
	crash  int // the step at which the next run is killed
	said   strings.Builder
}

func newStory(t *testing.T) *story {
	tr, k := trust(t)
	tr.Insurers["101575519"], tr.Insurers["104212059"] = k.key(t, "kasse3"), k.key(t, "kasse4")
	s := &story{
		t: t, tr: tr, keys: k, fs: newDisk(), far: Credentials, judge: NewJudge(JudgeConfig{}), w: newWorld(), recent: NewRecent(), now: begin,
	}
	var err error
	if s.lib, err = OpenLibrary(newDisk(), "playbooks", tr); err != nil {
		t.Fatal(err)
	}
	s.open()
	return s
}

func (s *story) open() {
	s.e, _ = engineOn(s.t, s.fs, s.w, s.tr, s.far, func() time.Time { return s.now })
	s.e.cfg.Library = s.lib
	s.e.cfg.Ended = func(r *Run) { s.judge.Learn(r, s.now) }
}

func (s *story) say(format string, args ...any) { fmt.Fprintf(&s.said, "  "+format+"\n", args...) }

var signees = map[string]string{"kasse": string(kasse), "kasse2": string(kasse2), "kasse3": "101575519", "kasse4": "104212059", "mallory": "anna"}

func (s *story) playbook(f []string) {
	data := shippedRaw(s.t, f[0])
	for _, who := range f[3:] {
		signee := who
		if known, ok := signees[who]; ok {
			signee = known
		}
		data = s.keys.sign(s.t, data, [2]string{signee, who})
	}
	h, err := s.lib.Import(data)
	if err != nil {
		s.say("refused: %v", err)
		return
	}
	s.say("held: %s, signed by %v and insurers %v", h.Name, h.Signed.Operators, h.Signed.Insurers)
}

// alarm raises an alarm and carries out what it leads to.
func (s *story) alarm(line string) {
	a, at := alarmOf(s.t, line)
	s.now = at
	s.raised = append(s.raised, a)
	r, err := s.e.Start(a, s.judge.Judge(a, at), "")
	if err != nil {
		s.t.Fatal(err)
	}
	if r == nil {
		s.say("nothing follows")
		return
	}
	s.work()
	s.show()
}

func (s *story) work() {
	ctx, kill := context.WithCancel(s.t.Context())
	defer kill()
	fail, n := s.w.fail, 0
	if s.crash > 0 {
		s.w.fail = func(*Deed) error {
			if n++; n == s.crash {
				kill()
			}
			return nil
		}
	}
	s.e.drain(ctx)
	s.w.fail = fail
	if s.crash > 0 {
		s.say("killed at step %d: %s", s.crash, strings.TrimSuffix(states(s.e), "; "))
		s.crash, s.fs = 0, s.fs.Crash(rand.New(rand.NewPCG(1, 1)))
		s.open()
		s.e.drain(s.t.Context())
	}
}

// show says what has become of the newest run.
func (s *story) show() {
	r := s.e.Runs()[0]
	for i, d := range r.Deeds {
		what, why := d.Name, ""
		if d.Action != nil {
			what = wordsOf(d.Action)
		}
		if d.Why != (Reason{}) {
			why = ": " + d.Why.String()
		}
		s.say("%d %s %s%s", i+1, what, d.State, why)
	}
}

func wordsOf(a *Action) string {
	switch a.Kind {
	case MoveDoor:
		return fmt.Sprintf("door %s %s", a.Compartment, a.To)
	case ShutInsurer:
		return fmt.Sprintf("insurer %s %s", a.Insurer, a.To)
	default:
		return string(a.Kind) + " " + string(a.Credential) + a.Group
	}
}

func (s *story) inForce() {
	var list []string
	for _, r := range s.e.Runs() {
		for _, d := range r.Deeds {
			s.w.mu.Lock()
			until, ok := s.w.inForce[r.ID+d.Key]
			changes := s.w.done[r.ID+d.Key]
			s.w.mu.Unlock()
			if ok {
				list = append(list, fmt.Sprintf("%s until %s, done once: %t", wordsOf(d.Action), until.Format("2 15:04:05"), changes == 1))
			}
		}
	}
	slices.Sort(list)
	if len(list) == 0 {
		s.say("nothing")
	}
	for _, line := range list {
		s.say("%s", line)
	}
}

// clock sets the time of the day, or goes on by a span.
func (s *story) clock(to string) {
	if d, err := time.ParseDuration(to); err == nil {
		s.now = s.now.Add(d)
	} else {
		at, err := time.Parse(time.TimeOnly, to)
		if err != nil {
			s.t.Fatal(err)
		}
		s.now = begin.Truncate(24 * time.Hour).Add(at.Sub(at.Truncate(24 * time.Hour)))
	}
	s.e.Tick(s.t.Context())
	if len(s.e.Runs()) > 0 {
		s.show()
	}
}

func (s *story) change(f []string, by func(context.Context, string, int, querschott.Actor) (Run, error)) {
	number := 0
	if len(f) > 1 {
		number, _ = strconv.Atoi(f[1]) // zero: all
	}
	if _, err := by(s.t.Context(), s.e.Runs()[0].ID, number, querschott.Actor(f[0])); err != nil {
		s.say("refused: %v", err)
		return
	}
	s.show()
}

func (s *story) dryRun(name string) {
	book := s.lib.For("D11", "mass-delete", s.now)
	h := Rehearse(book, s.lib.Get, s.far, JudgeConfig{}, s.raised, s.now.Add(time.Minute), false)
	s.recent.Feed(h)
	for _, t := range h.Trials {
		for _, d := range t.Deeds {
			hit := ""
			if d.Hit != nil {
				hit = fmt.Sprintf(", would have hit %d requests of %d users", d.Hit.Requests, d.Hit.Users)
			}
			s.say("%s: %s %s%s", name, d.Name, d.State, hit)
		}
	}
}

func (s *story) line(line string) {
	f := strings.Fields(line)
	switch f[0] {
	case "playbook":
		s.playbook(f[1:])
	case "automatic":
		s.far = Automatic(f[1])
		s.open()
	case "alarm":
		s.alarm(strings.TrimPrefix(line, "alarm "))
	case "recorded":
		a, _ := alarmOf(s.t, strings.TrimPrefix(line, "recorded "))
		s.raised = append(s.raised, a)
	case "crash":
		s.crash, _ = strconv.Atoi(f[3])
	case "fail":
		s.w.fail = func(d *Deed) error {
			if string(d.Action.Kind) == f[1] {
				return errors.New("the deny list cannot be written")
			}
			return nil
		}
	case "works":
		s.w.fail = nil
	case "clock":
		s.clock(f[1])
	case "release":
		s.change(f[1:], s.e.Release)
	case "approve":
		s.change(f[1:], s.e.Approve)
	case "in":
		s.inForce()
	case "seen", "preview", "dry":
		s.look(f)
	default:
		s.t.Fatalf("nobody knows what %q means", line)
	}
}

func (s *story) look(f []string) {
	if f[0] == "dry" {
		s.dryRun(f[2])
		return
	}
	c, err := querschott.ParseCompartment(f[2])
	if err != nil {
		s.t.Fatal(err)
	}
	if f[0] == "seen" {
		s.recent.Event(&querschott.Access{Time: s.now.Add(time.Second), Insurer: c.Insurer, Service: c.Service, Actor: querschott.Actor(f[1]), Person: f[3], Outcome: "success"})
		return
	}
	h := s.recent.Preview(&Action{Kind: MoveDoor, Compartment: c}, s.now.Add(time.Minute))
	s.say("%d requests of %d users about %d persons", h.Requests, h.Users, h.Persons)
}

// TestPlaybooks plays the file that a security officer reads.
func TestPlaybooks(t *testing.T) {
	data, err := os.ReadFile("testdata/playbooks.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	s := newStory(t)
	lines := bufio.NewScanner(strings.NewReader(string(data)))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "  ") {
			continue // an answer; it is made again
		}
		fmt.Fprintln(&got, line)
		switch {
		case strings.HasPrefix(line, "="):
			s = newStory(t)
		case line != "" && line[0] != '#':
			s.line(line)
			got.WriteString(s.said.String())
			s.said.Reset()
		}
	}
	if *update {
		if err := os.WriteFile("testdata/playbooks.txt", []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(string(data), got.String()); d != "" {
		t.Errorf("what the playbooks did (-want +got):\n%s", d)
	}
}
