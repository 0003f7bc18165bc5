package door_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

func TestWidens(t *testing.T) {
	const hold, open, readOnly, closed = querschott.Hold, querschott.Open, querschott.ReadOnly, querschott.Closed
	type move struct{ from, to querschott.DoorState }
	always := map[move]bool{{hold, open}: true, {closed, open}: true, {readOnly, open}: true}
	onlyReads := map[move]bool{{hold, readOnly}: true, {closed, readOnly}: true}
	for _, s := range querschott.Services() {
		for from := hold; from <= closed; from++ {
			for to := hold; to <= closed; to++ {
				m := move{from, to}
				want := always[m] || onlyReads[m] && !s.ByMail()
				if got := door.Widens(s, from, to); got != want {
					t.Errorf("%s: %s -> %s: widens = %v, want %v", s, from, to, got, want)
				}
			}
		}
	}
}

func TestLegal(t *testing.T) {
	for from := querschott.Hold; from <= querschott.Closed; from++ {
		for to := querschott.Hold; to <= querschott.Closed+1; to++ {
			var want querschott.Code
			switch {
			case to > querschott.Closed:
				want = querschott.CodeInvalid
			case from == to:
				want = querschott.CodeConflict
			}
			err := door.Legal(from, to)
			if got := querschott.CodeOf(err); (err != nil) != (want != "") || err != nil && got != want {
				t.Errorf("%s -> %s: got %v, want code %q", from, to, err, want)
			}
		}
	}
}

var update = flag.Bool("update", false, "write what happens to testdata/moves.txt")

// TestMoves plays testdata/moves.txt: what somebody does, and indented below it what happens.
func TestMoves(t *testing.T) {
	const name = "testdata/moves.txt"
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for i, scene := range strings.SplitAfter(string(file), "\n\n") {
		synctest.Test(t, func(t *testing.T) {
			got.WriteString(playScene(t, fmt.Sprintf("scene %d", i+1), scene))
		})
	}
	if *update {
		if err := os.WriteFile(name, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(strings.Split(string(file), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("%s (-file +happened):\n%s", name, diff)
	}
}

type scene struct {
	*house
	b     *door.Book
	c     querschott.Compartment
	stop  func()
	judge func(error)
	seen  string // the proposal that was shown last, "none" before
	bad   error  // what the judge of stages says; there is one once he has been named
	led   bool
	kept  map[string][]byte // order files by epoch, as somebody may have copied them
}

func playScene(t *testing.T, where, text string) string {
	s := &scene{house: newHouse(t), c: eau, seen: "none", kept: map[string][]byte{}}
	s.now = time.Now
	s.start()
	defer func() {
		s.stop()
		s.ledger.check(t)
	}()
	var out strings.Builder
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		l := lines.Text()
		if strings.HasPrefix(l, " ") {
			continue
		}
		out.WriteString(l + "\n")
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		result, err := s.do(strings.Fields(l))
		if err != nil {
			t.Fatalf("%s, line %d: %q: %v", where, n, l, err)
		}
		out.WriteString("    " + result + "\n")
	}
	return out.String()
}

func (s *scene) start() {
	s.b = s.open()
	if s.led {
		led := &staged{house: s.house}
		s.b = led.open()
		s.judge = func(err error) { led.bad = err }
		s.judge(s.bad)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.b.Run(ctx) }()
	s.stop = func() { cancel(); <-done }
}

func (s *scene) file() string { return fmt.Sprintf("doors/%s-%s.order", s.c.Insurer, s.c.Service) }

func (s *scene) order() door.Order {
	o, _ := s.b.Current(s.c)
	return o
}

func (s *scene) do(words []string) (string, error) {
	switch words[0] {
	case "door":
		c, err := querschott.ParseCompartment(words[1])
		s.c = c
		return s.state(), err
	case "wait":
		d, err := time.ParseDuration(words[1])
		<-time.After(d)
		synctest.Wait()
		return s.state(), err
	case "restart":
		s.stop()
		if len(words) > 1 {
			d, err := time.ParseDuration(words[2])
			if err != nil {
				return "", err
			}
			<-time.After(d)
		}
		s.start()
		return s.state(), nil
	case "judge":
		if s.bad = nil; words[2] == "bad" {
			s.bad = errors.New("alarm")
		}
		if s.led {
			s.judge(s.bad)
			return s.state(), nil
		}
		s.stop()
		s.led = true
		s.start()
		return s.state(), nil
	case "intruder":
		return s.intrude(words[1:])
	}
	signer, ok := keys()[strings.ReplaceAll(words[0], "-", " ")]
	if !ok {
		return "", errors.New("nobody has that name")
	}
	switch words[1] {
	case "sets":
		r := request(s.c, 0)
		if err := r.To.UnmarshalText([]byte(words[2])); err != nil {
			return "", err
		}
		if len(words) > 3 && words[3] == "in" {
			r.Stages = plan
		} else if len(words) > 3 {
			d, err := time.ParseDuration(words[4])
			if err != nil {
				return "", err
			}
			r.Expires = s.now().Add(d)
		}
		return s.outcome(s.b.Set(context.Background(), r, signer)), nil
	case "approves":
		return s.outcome(s.b.Approve(context.Background(), s.seen, signer)), nil
	case "withdraws":
		if err := s.b.Withdraw(context.Background(), s.seen, signer); err != nil {
			return s.outcome(door.Outcome{}, err), nil
		}
		return s.state(), nil
	}
	return "", errors.New("nobody can do that")
}

// intrude is somebody who can write the data directory.
func (s *scene) intrude(words []string) (string, error) {
	raw := s.readFile(s.file())
	switch words[0] {
	case "copies":
		s.kept[strconv.FormatUint(s.order().Epoch, 10)] = raw
		return "has the file of epoch " + strconv.FormatUint(s.order().Epoch, 10), nil
	case "restores":
		s.writeFile(s.file(), s.kept[words[2]])
	case "deletes":
		if err := s.fs.Remove(s.file()); err != nil {
			return "", err
		}
	case "edits": // edits <old> -> <new>
		s.writeFile(s.file(), []byte(strings.ReplaceAll(string(raw), "to "+words[1]+"\n", "to "+words[3]+"\n")))
	case "has": // has <who> sign <from> -> <to>
		o := s.order()
		o.Epoch++
		if err := errors.Join(o.From.UnmarshalText([]byte(words[3])), o.To.UnmarshalText([]byte(words[5]))); err != nil {
			return "", err
		}
		o.Actor = querschott.Actor(words[1])
		s.writeFile(s.file(), s.signed(o, words[1]))
	default:
		return "", errors.New("an intruder cannot do that")
	}
	return "the file is another one", nil
}

func (s *scene) proposal() (p door.Proposal, ok bool) {
	for _, p := range s.b.Proposals() {
		if p.Compartment == s.c {
			s.seen = p.ID
			return p, true
		}
	}
	return p, false
}

func (s *scene) outcome(out door.Outcome, err error) string {
	if err != nil && out.Order == nil {
		e := new(querschott.Error)
		if !errors.As(err, &e) {
			return "failed: " + err.Error()
		}
		return fmt.Sprintf("refused (%s): %s", e.Code, strings.ReplaceAll(e.Public, s.seen, "..."))
	}
	return s.state()
}

func (s *scene) state() string {
	o := s.order()
	line := fmt.Sprintf("%s, epoch %d", s.b.State(s.c), o.Epoch)
	if share := s.b.Share(s.c); share < 100 {
		line += fmt.Sprintf(", at %d %%", share)
	}
	if o.Actor != "" {
		line += fmt.Sprintf(", ordered by %s", o.Actor)
	}
	if o.Approver != "" {
		line += fmt.Sprintf(" and %s", o.Approver)
	}
	switch {
	case o.Actor == "" && o.Reason != "":
		line += "; " + o.Reason
	case !o.Expires.IsZero() && !o.Expires.After(s.now()):
		line += ", expired"
	case !o.Expires.IsZero():
		line += fmt.Sprintf(", for %s, then %s", o.Expires.Sub(s.now()).Round(time.Minute), o.Inverse)
	}
	if p, ok := s.proposal(); ok {
		line += fmt.Sprintf("; %s proposes %s", p.Actor, p.To)
	}
	return line
}
