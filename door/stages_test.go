package door_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

const plan door.Plan = "10,50,100 every 5m0s"

// staged is a house whose book leads doors through stages.
type staged struct {
	*house

	mu   sync.Mutex // guards the fields below: the book runs beside the test
	bad  error      // what the judge says
	fail error      // of the ledger of steps
}

// set says what the judge and the ledger of steps answer from then on.
func (s *staged) set(bad, fail error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad, s.fail = bad, fail
}

// recorded returns the steps that the ledger has.
func (s *staged) recorded() []door.Step {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	return slices.Clone(s.ledger.steps)
}

func newStaged(t failer) *staged {
	s := &staged{house: newHouse(t)}
	s.now = time.Now
	return s
}

func (s *staged) open() *door.Book {
	s.t.Helper()
	cfg := s.config()
	cfg.Judge = func(querschott.Compartment, time.Time, time.Time) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.bad
	}
	cfg.RecordStep = func(_ context.Context, o door.Order, st door.Step) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.fail == nil {
			s.ledger.mu.Lock()
			s.ledger.steps = append(s.ledger.steps, st)
			s.ledger.mu.Unlock()
		}
		return s.fail
	}
	b, err := door.Open(cfg)
	if err != nil {
		s.t.Fatalf("couldn't open the book: %v", err)
	}
	return b
}

func (s *staged) request(c querschott.Compartment) door.Request {
	r := request(c, querschott.Open)
	r.Stages = plan
	return r
}

// run runs the book until the function that it returns is called.
func run(b *door.Book) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	return func() { cancel(); <-done }
}

// pass lets time pass, and the book act.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestStagesClimbAndFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStaged(t)
		b := s.open()
		defer run(b)()
		s.widen(b, s.request(vsdm))
		want := func(what string, state querschott.DoorState, share int) {
			t.Helper()
			if b.State(vsdm) != state || b.Share(vsdm) != share {
				t.Fatalf("%s: %s at %d, want %s at %d", what, b.State(vsdm), b.Share(vsdm), state, share)
			}
		}
		want("at first", querschott.Open, 10)
		pass(9 * time.Minute)
		want("after one good interval", querschott.Open, 10)
		pass(2 * time.Minute)
		want("after two", querschott.Open, 50)
		s.set(door.ErrUnjudged, nil)
		pass(30 * time.Minute)
		want("while nobody can judge", querschott.Open, 50)
		s.set(errors.New("alarm d4"), nil)
		pass(6 * time.Minute)
		want("after a bad one", querschott.Open, 10)
		pass(5 * time.Minute)
		want("after another at the first stage", querschott.Hold, 100)
		if o, _ := b.Current(vsdm); o.Actor != door.MachineActor || o.Reason != "the interval at 10 % was bad: alarm d4" {
			t.Errorf("held by %+v", o)
		}
		var shares []int
		for _, st := range s.recorded() {
			shares = append(shares, st.Share)
		}
		if !slices.Equal(shares, []int{50, 10}) {
			t.Errorf("steps in the ledger: %v", shares)
		}
	})
}

func TestStagesSurviveRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStaged(t)
		b := s.open()
		stop := run(b)
		s.widen(b, s.request(vsdm))
		pass(11 * time.Minute)
		stop()
		if b = s.open(); b.Share(vsdm) != 50 {
			t.Errorf("after a restart: %d", b.Share(vsdm))
		}
		step := s.readFile("doors/109500969-vsdm.stage")
		n, err := note.Open(step, note.VerifierList(verifier("querschott")))
		if err != nil {
			t.Fatal(err)
		}
		forged, err := note.Sign(&note.Note{Text: n.Text}, keys()["anna"])
		if err != nil {
			t.Fatal(err)
		}
		s.writeFile("doors/109500969-vsdm.stage", forged)
		if b = s.open(); b.Share(vsdm) != 10 {
			t.Errorf("a step that an operator has signed counts: %d", b.Share(vsdm))
		}
		st, err := door.ParseStep(n.Text)
		if err != nil {
			t.Fatal(err)
		}
		st.Share = 99
		odd, err := note.Sign(&note.Note{Text: st.Text()}, keys()["querschott"])
		if err != nil {
			t.Fatal(err)
		}
		s.writeFile("doors/109500969-vsdm.stage", odd)
		if b = s.open(); b.Share(vsdm) != 10 {
			t.Errorf("a step that is not in the plan counts: %d", b.Share(vsdm))
		}
	})
}

// TestStagesForwardNeedTheLedger: a step that lets more out is in the ledger first; one back is in force whatever the ledger
// does, and comes later.
func TestStagesForwardNeedTheLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStaged(t)
		b := s.open()
		defer run(b)()
		s.widen(b, s.request(vsdm))
		s.set(nil, errors.New("no ledger"))
		pass(11 * time.Minute)
		if b.Share(vsdm) != 10 {
			t.Fatalf("without a ledger: %d", b.Share(vsdm))
		}
		s.set(nil, nil)
		pass(11 * time.Minute)
		if b.Share(vsdm) != 50 {
			t.Fatalf("with one: %d", b.Share(vsdm))
		}
		s.set(errors.New("alarm"), errors.New("no ledger"))
		pass(6 * time.Minute)
		if b.Share(vsdm) != 10 {
			t.Fatalf("back without a ledger: %d", b.Share(vsdm))
		}
		s.set(nil, nil)
		pass(2 * time.Second)
		if list := s.recorded(); list[len(list)-1].Share != 10 {
			t.Errorf("the ledger's last step is %+v", list[len(list)-1])
		}
	})
}

// TestTamperedPlanMeansHold: whoever can write the doors' files and sign for one operator gets nobody past a stage. The
// ledger remembers the plan and how far it had come.
func TestTamperedPlanMeansHold(t *testing.T) {
	const file = "doors/109500969-vsdm.order"
	read := func(o door.Order, p door.Plan) door.Order {
		o.From, o.To, o.Inverse, o.Actor, o.Stages = querschott.Open, querschott.ReadOnly, querschott.Open, "anna", p
		return o
	}
	next := func(o door.Order) door.Order { o.Epoch++; return o }
	for name, c := range map[string]struct {
		climbed bool // to the whole
		forge   func(o door.Order) door.Order
		who     []string
		want    querschott.DoorState
		share   int
	}{
		"nothing":                        {false, func(o door.Order) door.Order { return o }, []string{"anna", "bob"}, querschott.Open, 10},
		"read-only for all":              {false, func(o door.Order) door.Order { return next(read(o, "")) }, []string{"anna"}, querschott.Hold, 100},
		"read-only for all, same epoch":  {false, func(o door.Order) door.Order { return read(o, "") }, []string{"anna"}, querschott.Hold, 100},
		"a plan of one's own":            {false, func(o door.Order) door.Order { return next(read(o, "99,100 every 1s")) }, []string{"anna"}, querschott.Hold, 100},
		"the same shares, faster":        {false, func(o door.Order) door.Order { return next(read(o, "10,50,100 every 1s")) }, []string{"anna"}, querschott.Hold, 100},
		"an opening that never was":      {false, func(o door.Order) door.Order { o.Stages = ""; return o }, []string{"anna", "bob"}, querschott.Hold, 100},
		"the plan kept":                  {false, func(o door.Order) door.Order { return next(read(o, plan)) }, []string{"anna"}, querschott.ReadOnly, 10},
		"closed":                         {false, func(o door.Order) door.Order { o = next(read(o, "")); o.To = querschott.Closed; return o }, []string{"anna"}, querschott.Closed, 100},
		"read-only behind the last":      {true, func(o door.Order) door.Order { return next(read(o, "")) }, []string{"anna"}, querschott.ReadOnly, 100},
		"another plan behind the last":   {true, func(o door.Order) door.Order { return next(read(o, "99,100 every 1s")) }, []string{"anna"}, querschott.Hold, 100},
		"the same epoch behind the last": {true, func(o door.Order) door.Order { return read(o, "") }, []string{"anna"}, querschott.Hold, 100},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStaged(t)
				b := s.open()
				stop := run(b)
				s.widen(b, s.request(vsdm))
				if c.climbed {
					pass(21 * time.Minute)
				}
				stop()
				o, _ := b.Current(vsdm)
				s.writeFile(file, s.signed(c.forge(o), c.who...))
				b = s.open()
				if b.State(vsdm) != c.want || b.Share(vsdm) != c.share {
					t.Errorf("the door is %s at %d, want %s at %d", b.State(vsdm), b.Share(vsdm), c.want, c.share)
				}
			})
		})
	}
}

// TestEarlierStepIsNotBelieved: a door that has fallen back is not led forward by the step of before.
func TestEarlierStepIsNotBelieved(t *testing.T) {
	const file = "doors/109500969-vsdm.stage"
	synctest.Test(t, func(t *testing.T) {
		s := newStaged(t)
		b := s.open()
		stop := run(b)
		s.widen(b, s.request(vsdm))
		pass(11 * time.Minute)
		before := s.readFile(file)
		s.set(errors.New("alarm"), nil)
		pass(6 * time.Minute)
		stop()
		if b.Share(vsdm) != 10 {
			t.Fatalf("it has not fallen back: %d", b.Share(vsdm))
		}
		s.writeFile(file, before)
		if b = s.open(); b.State(vsdm) != querschott.Open || b.Share(vsdm) != 10 {
			t.Errorf("with the step of before: %s at %d", b.State(vsdm), b.Share(vsdm))
		}
	})
}

// TestNarrowingKeepsThePlan: one operator cannot get past a stage by making an opening a little narrower.
func TestNarrowingKeepsThePlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStaged(t)
		b := s.open()
		s.widen(b, s.request(vsdm))
		o, err := b.Draft(request(vsdm, querschott.ReadOnly), "anna")
		if err != nil || o.Stages != plan {
			t.Fatalf("the draft has stages %q, %v", o.Stages, err)
		}
		without := o
		without.Stages = ""
		if out, err := b.Submit(context.Background(), s.signed(without, "anna")); err == nil || out.Order != nil {
			t.Fatal("read-only without stages is in force with one signature")
		}
		s.narrow(b, "anna", vsdm, querschott.ReadOnly)
		if o, _ := b.Current(vsdm); b.Share(vsdm) != 10 || o.Meets(10, 9999) != querschott.Hold {
			t.Errorf("share %d, others meet %s", b.Share(vsdm), o.Meets(10, 9999))
		}
	})
}

func TestMeets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := querschott.DoorState(rapid.IntRange(0, 3).Draw(t, "from"))
		o := door.Order{Compartment: vsdm, From: from, To: querschott.Open, Stages: plan}
		point := rapid.IntRange(0, door.Points-1).Draw(t, "point")
		in := false
		for share := 1; share <= 100; share++ {
			s := o.Meets(share, point)
			if in && s != querschott.Open {
				t.Fatalf("let in at a smaller share, and %s at %d", s, share)
			}
			in = s == querschott.Open
			if !in && from != querschott.Open && door.Widens(querschott.VSDM, from, s) {
				t.Fatalf("who is not among %d meets %s, it was %s", share, s, from)
			}
		}
		if !in {
			t.Fatal("not let in at 100")
		}
	})
}

// TestStagesModel lets time, judge, ledger and operators do what they like.
func TestStagesModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newStaged(t)
		clock := time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)
		s.now = func() time.Time { return clock }
		b := s.open()
		shares, was := plan.Shares(), door.Order{}
		share, seen := 100, 0
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				if b.State(vsdm) == querschott.Open {
					t.Skip("open already")
				}
				o, err := b.Draft(s.request(vsdm), "anna")
				if err == nil {
					_, _ = b.Submit(context.Background(), s.signed(o, "anna", "bob"))
				}
			},
			"close": func(*rapid.T) { _, _ = b.Set(context.Background(), request(vsdm, querschott.Closed), keys()["bob"]) },
			"read":  func(*rapid.T) { _, _ = b.Set(context.Background(), request(vsdm, querschott.ReadOnly), keys()["bob"]) },
			"judge": func(t *rapid.T) {
				if s.bad = nil; rapid.Bool().Draw(t, "bad") {
					s.bad = errors.New("bad")
				}
			},
			"ledger": func(t *rapid.T) {
				if s.fail = nil; rapid.Bool().Draw(t, "fails") {
					s.fail = errors.New("no ledger")
				}
			},
			"time": func(t *rapid.T) {
				clock = clock.Add(time.Duration(rapid.IntRange(-10, 20).Draw(t, "minutes")) * time.Minute)
				door.Climb(b)
			},
			"restart": func(*rapid.T) { b = s.open() },
			"": func(t *rapid.T) {
				o, _ := b.Current(vsdm)
				is := b.Share(vsdm)
				switch {
				case o.Stages == "":
					if is != 100 {
						t.Fatalf("share %d without stages", is)
					}
				case o.Stages != plan || !slices.Contains(shares, is):
					t.Fatalf("share %d under the plan %q", is, o.Stages)
				case o != was && is != 10:
					t.Fatalf("an opening begins with %d", is)
				case o == was && is > share:
					if at := slices.Index(shares, is); shares[at-1] != share || len(s.recorded()) == seen || s.recorded()[len(s.recorded())-1].Share != is || s.bad != nil {
						t.Fatalf("from %d to %d, the ledger has %v", share, is, s.recorded())
					}
				}
				was, share, seen = o, is, len(s.recorded())
			},
		})
	})
}

func TestPlanAndStepTexts(t *testing.T) {
	for _, bad := range []door.Plan{"100", "10,50 every 5m0s", "50,10,100 every 5m0s", "0,100 every 5m0s", "010,100 every 5m0s", "100 every 5m", "100 every 0s", "100 every 5m0s ", "10,,100 every 5m0s", "101 every 5m0s"} {
		o := door.Order{Compartment: vsdm, Epoch: 1, To: querschott.Open, At: time.Unix(1, 0), Actor: "anna", Reason: "r", Stages: bad}
		if _, err := door.ParseOrder(o.Text()); err == nil {
			t.Errorf("the plan %q was taken", bad)
		}
	}
	o := door.Order{Compartment: vsdm, Epoch: 1, To: querschott.Open, At: time.Unix(1, 0).UTC(), Actor: "anna", Reason: "r", Stages: plan}
	if got, err := door.ParseOrder(o.Text()); err != nil || got != o {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzStep(f *testing.F) {
	f.Add(door.Step{Compartment: vsdm, Epoch: 3, Number: 1, Share: 50, At: time.Unix(1, 0), Reason: "two good intervals"}.Text())
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := door.ParseStep(text); err == nil && s.Text() != text {
			t.Errorf("%q reads as %q", text, s.Text())
		}
	})
}
