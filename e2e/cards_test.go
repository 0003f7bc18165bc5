//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/wire/vsd"
)

// asked is one card check and its answer.
type asked struct {
	who            drill.Person
	actor          querschott.Actor
	known          bool // with the entity tag of the data at hand
	begun, arrived time.Time
	answer         *drill.CardAnswer
	err            error // instead of an answer
}

// served reports whether master data left, or that they are unchanged.
func (a *asked) served() bool {
	return a.answer.Status == http.StatusOK || a.answer.Status == http.StatusNotModified
}

// wrong says what is wrong with an answer: it must be the person's bundle, a 304 without a body, or a refusal by the door.
func (a *asked) wrong() string {
	r := a.answer
	switch r.Status {
	case http.StatusOK:
		rec, _, err := vsd.ParseBundle(r.Body, vsd.JSON)
		if err != nil {
			return fmt.Sprintf("the bundle cannot be read: %v", err)
		}
		if rec.Patient.Number != a.who.Number || rec.Payors[0].IK != a.who.Insurer.IK {
			return "the bundle is somebody else's"
		}
	case http.StatusNotModified:
		if !a.known || len(r.Body) > 0 {
			return "nobody asked whether the data have changed, or there is a body"
		}
	case http.StatusServiceUnavailable:
		var refusal struct {
			Code string `json:"error"`
			URI  string `json:"error_uri"`
		}
		if err := json.Unmarshal(r.Body, &refusal); err != nil || refusal.Code != "temporarily_unavailable" || r.RetryAfter == "" ||
			bytes.Contains(r.Body, []byte("OperationOutcome")) || r.Number != "" || r.ETag != "" {
			return fmt.Sprintf("Retry-After %q, check number %q, entity tag %q: %.300s", r.RetryAfter, r.Number, r.ETag, r.Body)
		}
		return ""
	default:
		return fmt.Sprintf("status %d: %.300s", r.Status, r.Body)
	}
	if len(r.Number) != 64 || r.ETag == "" {
		return fmt.Sprintf("check number %q, entity tag %q", r.Number, r.ETag)
	}
	return ""
}

// reader checks cards of some persons, one after the other.
type reader struct {
	*practice
	persons []drill.Person
	tags    map[int]string
	asked   []asked
	broken  []asked // checks without a whole answer
}

// readers are practices that each check cards of everybody.
func (e *entrance) readers(t testing.TB, n, persons int) []*reader {
	var list []drill.Person
	for _, in := range e.world.Insurers() {
		for k := range persons {
			list = append(list, e.person(in, k))
		}
	}
	readers := make([]*reader, n)
	for k := range readers {
		readers[k] = &reader{practice: e.practice(t, k), persons: list, tags: map[int]string{}}
	}
	return readers
}

// next checks one card. An error means that there was no answer.
func (r *reader) next(ctx context.Context, rng *rand.Rand) error {
	a := asked{who: r.persons[rng.IntN(len(r.persons))], actor: r.actor}
	tag := r.tags[a.who.Index]
	a.known = tag != "" && rng.IntN(2) == 0
	a.begun = time.Now()
	a.answer, a.err = r.check(ctx, a.who.Number, a.who.Insurer.IK, func(c *drill.CardCheck) {
		if a.known {
			c.Known = tag
		}
	})
	a.arrived = time.Now()
	if a.err != nil {
		r.broken = append(r.broken, a)
		return a.err
	}
	if a.answer.ETag != "" {
		r.tags[a.who.Index] = a.answer.ETag
	}
	r.asked = append(r.asked, a)
	return nil
}

// span is the time between the acknowledgement of a door's closing and the first order after it.
type span struct {
	ordered, from, to time.Time
	state             querschott.DoorState
}

// flipper moves the doors of one compartment at random and remembers when nothing may leave.
type flipper struct {
	c        querschott.Compartment
	moves    int
	moved    func()
	answered func() int64 // how many checks were, of all insurers
	all      []span       // every order; the last may be without its end
}

func (f *flipper) run(ctx context.Context, move func(context.Context, querschott.Compartment, querschott.DoorState) error, rng *rand.Rand) error {
	states := []querschott.DoorState{querschott.Open, querschott.Hold, querschott.ReadOnly, querschott.Closed}
	for ctx.Err() == nil {
		to := states[rng.IntN(len(states))]
		ordered := f.end()
		if err := move(context.WithoutCancel(ctx), f.c, to); err != nil {
			return fmt.Errorf("couldn't move %s to %s: %w", f.c, to, err)
		}
		f.moves++
		f.moved()
		f.all = append(f.all, span{ordered: ordered, from: time.Now(), state: to})
		pause := time.After(time.Duration(rng.Int64N(int64(700 * time.Millisecond))))
		for begun, many := f.answered(), rng.Int64N(2)*16; ctx.Err() == nil; { // a busy machine answers nothing in most pauses
			select {
			case <-ctx.Done():
			case <-pause:
				pause = time.After(10 * time.Millisecond)
			}
			if f.answered()-begun >= many {
				break
			}
		}
	}
	f.end()
	return nil
}

// end ends the time of the last order.
func (f *flipper) end() time.Time {
	at := time.Now()
	if n := len(f.all); n > 0 {
		f.all[n-1].to = at
	}
	return at
}

// shut is when nothing may leave.
func (f *flipper) shut() (list []span) {
	for _, s := range f.all {
		if s.state == querschott.Hold || s.state == querschott.Closed {
			list = append(list, s)
		}
	}
	return list
}

// around is what was ordered at about the time of a check.
func (f *flipper) around(a *asked) (text string) {
	const near = 300 * time.Millisecond
	for _, s := range f.all {
		if s.to.After(a.begun.Add(-near)) && s.ordered.Before(a.arrived.Add(near)) {
			text += fmt.Sprintf("; %s ordered at %s, in force at %s", s.state, s.ordered.Sub(a.begun), s.from.Sub(a.begun))
		}
	}
	return text
}

// TestCardsWhileDoorsFlip checks cards of three insurers while their doors move at random. What has left, when, and what the
// ledger says of it must agree.
func TestCardsWhileDoorsFlip(t *testing.T) {
	t.Parallel()
	const persons = 20
	e := installHTTP(t, 3, unlimited)
	p, _ := e.serve(t)
	e.openAll(t)
	e.deliver(t, persons)
	times := 1
	if long() {
		times = 20
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)

	readers := e.readers(t, 8, persons)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var flippers []*flipper
	move := e.mover(t)
	var moving, reading errgroup.Group
	var served, unchanged, refused, moves atomic.Int64
	for n, in := range e.world.Insurers() {
		f := &flipper{c: querschott.Compartment{Insurer: in.IK, Service: querschott.VSDM}, moved: func() { moves.Add(1) }}
		f.answered = func() int64 { return served.Load() + unchanged.Load() + refused.Load() }
		flippers = append(flippers, f)
		moving.Go(func() error {
			defer cancel() // one that ends early ends the test
			return f.run(ctx, move, rand.New(rand.NewPCG(seed, uint64(n))))
		})
	}
	for n, r := range readers {
		rng := rand.New(rand.NewPCG(seed, 100+uint64(n)))
		reading.Go(func() error {
			for ctx.Err() == nil {
				if r.next(t.Context(), rng) != nil {
					continue // it is judged with the others
				}
				switch r.asked[len(r.asked)-1].answer.Status {
				case http.StatusOK:
					served.Add(1)
				case http.StatusNotModified:
					unchanged.Add(1)
				default:
					refused.Add(1)
				}
			}
			return nil
		})
	}
	eventually(t, "enough was moved, answered and refused", func() bool {
		return ctx.Err() != nil || moves.Load() >= int64(150*times) && served.Load() >= int64(300*times) && unchanged.Load() >= int64(60*times) && refused.Load() >= int64(500*times)
	})
	cancel()
	if err := cmp.Or(moving.Wait(), reading.Wait()); err != nil {
		t.Fatal(err)
	}
	e.judge(t, readers, flippers)
	p.stop(t)
}

// judge holds the answers against the doors and the ledger.
func (e *entrance) judge(t *testing.T, readers []*reader, flippers []*flipper) {
	t.Helper()
	shut := map[querschott.IK][]span{}
	moves := 0
	for _, f := range flippers {
		shut[f.c.Insurer], moves = f.shut(), moves+f.moves
	}
	page := e.load(t).Mail.StatusPage
	counts := map[int]int{}
	paged := 0  // refusals that name the status page: those by the door itself, not those of keys that are on their way
	inside := 0 // checks that lay wholly between an acknowledgement and the next order
	requests := map[string]*asked{}
	for _, r := range readers {
		for k := range r.asked {
			a := &r.asked[k]
			counts[a.answer.Status]++
			if a.answer.Status == http.StatusServiceUnavailable && bytes.Contains(a.answer.Body, []byte(page)) {
				paged++
			}
			if w := a.wrong(); w != "" {
				t.Errorf("request %s: %s", a.answer.RequestID, w)
			}
			if requests[a.answer.RequestID] != nil {
				t.Errorf("two requests are called %s", a.answer.RequestID)
			}
			requests[a.answer.RequestID] = a
			for _, s := range shut[a.who.Insurer.IK] {
				if a.begun.Before(s.from) || a.arrived.After(s.to) {
					continue
				}
				inside++
				if a.served() {
					t.Errorf("request %s was answered %d, %s after the door's %s was acknowledged", a.answer.RequestID, a.answer.Status, a.begun.Sub(s.from), s.state)
				}
			}
		}
	}
	t.Logf("%d moves; answers by status %v, %d name the status page; %d requests while a door was known to be shut", moves, counts, paged, inside)
	cut := cutByDoors(t, readers, flippers)
	if counts[200] < 100 || counts[304] < 20 || counts[503] < 100 || moves < 30 || inside < 50 {
		t.Error("that proves little")
	}
	e.compare(t, requests, cut)
}

// cutByDoors counts the answers that were under way when their door closed and were cut off. There are no other broken ones.
func cutByDoors(t *testing.T, readers []*reader, flippers []*flipper) (cut int) {
	t.Helper()
	by := map[querschott.IK]*flipper{}
	for _, f := range flippers {
		by[f.c.Insurer] = f
	}
	for _, r := range readers {
		for _, a := range r.broken {
			if slices.ContainsFunc(by[a.who.Insurer.IK].shut(), func(s span) bool { return a.begun.Before(s.from) && a.arrived.After(s.ordered) }) {
				cut++
			} else {
				t.Errorf("a check at %s had no whole answer for %s, and no door closed meanwhile: %v%s", a.begun, a.arrived.Sub(a.begun), a.err, by[a.who.Insurer.IK].around(&a))
			}
		}
	}
	t.Logf("%d answers cut off by doors", cut)
	return cut
}

// compare holds requests against the ledger: one entry each, saying what happened, and none besides but those of answers that
// were cut off, whose names the practices may not have got.
func (e *entrance) compare(t *testing.T, requests map[string]*asked, cut int) {
	t.Helper()
	recorded := entries(t, e.client(t))
	total := 0
	for id, a := range requests {
		list := recorded[id]
		total += len(list)
		if len(list) != 1 {
			t.Errorf("request %s has %d entries, was answered %d", id, len(list), a.answer.Status)
			continue
		}
		want := "denied"
		if a.served() {
			want = "success"
		}
		c := querschott.Compartment{Insurer: a.who.Insurer.IK, Service: querschott.VSDM}
		if got := list[0]; got.Outcome != want || got.Compartment != c.String() || got.Actor != a.actor || (got.Records == 1) != (a.answer.Status == http.StatusOK) {
			t.Errorf("request %s, answered %d, is recorded as %+v", id, a.answer.Status, got)
		}
	}
	unnamed := len(recorded) - len(requests)
	t.Logf("%d requests, %d entries, %d of answers that were cut off", len(requests), total, unnamed)
	if unnamed > cut {
		t.Errorf("the ledger has %d requests that nobody made", unnamed-cut)
	}
}

// TestKillCardChecks kills the process with SIGKILL at random moments while practices check cards. Whoever got an answer finds
// it in the ledger, and every check number that was issued is recognised.
func TestKillCardChecks(t *testing.T) {
	t.Parallel()
	const persons = 10
	rounds := 20
	e := installHTTP(t, 2, unlimited)
	if long() {
		rounds, e.program = 1000, plain
	}
	p, _ := e.serve(t)
	e.openAll(t)
	e.deliver(t, persons)
	p.stop(t)

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	l := newLamp()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	readers := e.readers(t, 4, persons)
	var g errgroup.Group
	for n, r := range readers {
		rng := rand.New(rand.NewPCG(seed, uint64(n+1)))
		g.Go(func() error {
			for {
				if _, err := l.wait(ctx); err != nil {
					return nil //nolint:nilerr // the test has ended
				}
				if err := r.next(ctx, rng); err != nil {
					r.client.CloseIdleConnections()
				} else {
					l.answer()
				}
			}
		})
	}
	starts := killRounds(t, e.installation, l, rounds, 100, rand.New(rand.NewPCG(seed, 0)))
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	e.auditKilled(t, readers, len(starts))
}

// auditKilled looks for every answer in the ledger, and shows every check number to the node.
func (e *entrance) auditKilled(t *testing.T, readers []*reader, starts int) {
	t.Helper()
	p, _ := e.serve(t)
	client := e.client(t)
	if r, err := client.LedgerVerify(t.Context()); err != nil || len(r.Faults) > 0 {
		t.Fatalf("the ledger has faults: %+v, %v", r, err)
	}
	recorded := entries(t, client)
	answered, broken := 0, 0
	var numbers []asked
	for _, r := range readers {
		broken += len(r.broken)
		for _, a := range r.asked {
			answered++
			if w := a.wrong(); w != "" {
				t.Errorf("request %s: %s", a.answer.RequestID, w)
			}
			if list := recorded[a.answer.RequestID]; len(list) != 1 {
				t.Errorf("request %s was answered %d and has %d entries", a.answer.RequestID, a.answer.Status, len(list))
			}
			if a.served() {
				numbers = append(numbers, a)
			}
		}
	}
	t.Logf("%d starts, %d checks answered, %d without an answer, %d entries", starts, answered, broken, len(recorded))
	if starts < 15 || answered < 10*starts || broken == 0 {
		t.Error("that proves little")
	}
	e.recognise(t, client, numbers)
	p.stop(t)
}

// recognise shows check numbers as the record service would.
func (e *entrance) recognise(t *testing.T, client *node.Client, numbers []asked) {
	t.Helper()
	var mu sync.Mutex // guards verdicts
	verdicts := map[string]int{}
	var g errgroup.Group
	g.SetLimit(16)
	for _, a := range numbers {
		g.Go(func() error {
			got, err := client.CheckNumber(t.Context(), node.NumberShown{Number: a.answer.Number, Person: a.who.Number.Reveal(), Actor: a.actor})
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			verdicts[string(got.Verdict)]++
			if !got.Good || got.Insurer != a.who.Insurer.IK || got.Request != a.answer.RequestID {
				t.Errorf("the check number of request %s is %+v", a.answer.RequestID, got)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("check numbers: %v", verdicts)
	if len(verdicts) != 1 || verdicts["issued"] != len(numbers) {
		t.Errorf("%d check numbers were issued, shown: %v", len(numbers), verdicts)
	}
	other := slices.IndexFunc(numbers, func(a asked) bool { return a.actor != numbers[0].actor })
	if got, err := client.CheckNumber(t.Context(), node.NumberShown{
		Number: numbers[0].answer.Number, Person: numbers[0].who.Number.Reveal(), Actor: numbers[other].actor,
	}); err != nil || got.Good || !got.Critical {
		t.Errorf("a check number in somebody else's hands is %+v, %v", got, err)
	}
}
