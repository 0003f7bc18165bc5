package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/watch"
)

// agree has anna and all insurers sign the shipped playbook of a name, so that a node of the house moves doors by itself.
func (h *house) agree(name string) {
	h.tb.Helper()
	list, err := LoadInsurers(h.cfg.Insurers)
	if err != nil {
		h.tb.Fatal(err)
	}
	operators, err := LoadOperators(h.cfg.Operators)
	if err != nil {
		h.tb.Fatal(err)
	}
	vkey := ""
	for _, o := range operators {
		if o.Name == anna {
			vkey = o.Keys[0]
		}
	}
	key, err := contain.KeyOf(vkey)
	if err != nil {
		h.tb.Fatal(err)
	}
	signees := []string{string(anna)}
	for i := range list {
		list[i].Keys = []string{vkey}
		signees = append(signees, string(list[i].IK))
	}
	if err := SaveInsurers(h.cfg.Insurers, list); err != nil {
		h.tb.Fatal(err)
	}
	books, err := contain.Shipped()
	if err != nil {
		h.tb.Fatal(err)
	}
	for _, p := range books {
		if p.Name != name {
			continue
		}
		for i, who := range signees {
			data, err := contain.Sign(p, who, h.signer(anna), key, time.Now(), fmt.Sprintf("jss--6f2c1f3e-6f0a-4c3e-9b0b-7d1f5a9e2c%02d", i))
			if err == nil {
				p, err = contain.ParsePlaybook(data)
			}
			if err != nil {
				h.tb.Fatal(err)
			}
		}
		file := strings.TrimPrefix(p.ID, "playbook--") + ".json"
		if err := os.WriteFile(filepath.Join(h.cfg.Data, playbookDir, file), p.Raw(), 0o600); err != nil {
			h.tb.Fatal(err)
		}
	}
}

// newAgreed is a house whose node moves doors by itself for bursts of writes.
func newAgreed(t *testing.T, insurers int) *house {
	t.Helper()
	h := newHouse(t, insurers)
	h.cfg.Contain.Automatic = string(contain.Doors)
	if err := os.MkdirAll(filepath.Join(h.cfg.Data, playbookDir), 0o700); err != nil {
		t.Fatal(err)
	}
	h.agree("Write burst")
	return h
}

// over waits until the newest run is over and returns it.
func (r *live) over(runs int) contain.Run {
	r.h.tb.Helper()
	var last contain.Run
	r.h.until("the run is over", func() bool {
		list := r.contain.engine.Runs()
		if len(list) == runs {
			last = list[0]
		}
		return len(list) == runs && !last.Ended.IsZero()
	})
	return last
}

// killed carries a run out with the hands of the node until the power is cut when the cut-th file is put in its place, and returns what
// the disk then holds; nil if there were not so many.
func (r *live) killed(a *watch.Alarm, cut int64) *crashdisk.Disk {
	t := r.h.tb
	t.Helper()
	fs := crashdisk.New()
	e, err := contain.OpenEngine(contain.Config{
		FS: fs, Dir: "runs", Library: r.contain.library, Automatic: contain.Doors, Now: r.opt.Now,
		Hands: contain.Hands{Do: r.doDeed, Undo: r.undoDeed, Tell: r.tellDeed}, Alarm: func(string, error) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	var left atomic.Int64
	left.Store(cut)
	fs.Fail(func(op, _ string) error {
		if op == "rename" && left.Add(-1) == 0 {
			kill()
		}
		return ctx.Err()
	})
	if _, err := e.Start(a, contain.NewJudge(contain.JudgeConfig{}).Judge(a, r.opt.Now()), ""); err != nil && ctx.Err() == nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- e.Work(ctx) }()
	r.h.until("the run is over or killed", func() bool { return ctx.Err() != nil || !e.Runs()[0].Ended.IsZero() })
	finished := ctx.Err() == nil
	kill()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if finished {
		return nil
	}
	return fs.Crash(rand.New(rand.NewPCG(1, uint64(cut))))
}

// TestKilledAtEveryStep kills a run of the real doors and the real deny list at every boundary between its steps in turn, and
// starts the node on what the disk then holds: the credential is held once, the door has moved once, and everything is released
// as if nothing had happened. A run that was not on disk yet has changed nothing.
func TestKilledAtEveryStep(t *testing.T) {
	h := newAgreed(t, 1)
	n := h.run()
	c := h.compartment(0, querschott.EAU)
	n.move(querschott.Open, c)
	completed, nothing := 0, 0
	for cut := int64(1); ; cut++ {
		before := n.Door(c).Epoch
		a := liveAlarm(querschott.Actor(fmt.Sprint("m-", cut)), c)
		disk := n.killed(a, cut)
		if disk == nil {
			break
		}
		names, err := disk.List("runs")
		if err != nil {
			t.Fatal(err)
		}
		names = slices.DeleteFunc(names, func(name string) bool { return filepath.Ext(name) != ".json" }) // what was not put in its place
		n.stop()
		h.putRuns(disk, names)
		n = h.run()
		if len(names) == 0 {
			nothing++
			if len(n.Denied()) != 0 || n.Door(c).Epoch != before {
				t.Fatalf("cut %d: the run is not on disk, and %+v are denied, the door is %+v", cut, n.Denied(), n.Door(c))
			}
			continue
		}
		completed++
		r := n.over(1)
		if got := describeDeeds(&r); got != "hold-credential done, door done, manual asked" || r.Trouble != "" {
			t.Fatalf("cut %d: %s %s", cut, got, r.Trouble)
		}
		if o := n.Door(c); o.To != querschott.ReadOnly || o.Epoch != before+1 || len(n.Denied()) != 2 {
			t.Fatalf("cut %d: the door is %s at epoch %d, before %d; denied: %+v", cut, o.To, o.Epoch, before, n.Denied())
		}
		if _, err := NewClient(h.cfg).ReleaseRun(t.Context(), h.signer(anna), r.ID, 0); err != nil {
			t.Fatal(err)
		}
		n.approveProposed()
		if o := n.Door(c); o.To != querschott.Open || len(n.Denied()) != 0 {
			t.Fatalf("cut %d: released, the door is %s and %+v are denied", cut, o.To, n.Denied())
		}
	}
	if completed < 6 || nothing == 0 {
		t.Errorf("%d runs were completed after a kill, and %d had not begun", completed, nothing)
	}
}

// putRuns puts run files into the node's directory of runs, in place of those that are over.
func (h *house) putRuns(from *crashdisk.Disk, names []string) {
	h.tb.Helper()
	if err := os.RemoveAll(filepath.Join(h.cfg.Data, runDir)); err != nil {
		h.tb.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(h.cfg.Data, runDir), 0o700); err != nil {
		h.tb.Fatal(err)
	}
	for _, name := range names {
		f, err := from.Open(filepath.Join("runs", name))
		if err != nil {
			h.tb.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			h.tb.Fatal(err)
		}
		data := make([]byte, size)
		if _, err := f.ReadAt(data, 0); err != nil {
			h.tb.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.cfg.Data, runDir, name), data, 0o600); err != nil {
			h.tb.Fatal(err)
		}
	}
}

func describeDeeds(r *contain.Run) string {
	list := make([]string, len(r.Deeds))
	for i, d := range r.Deeds {
		kind := "manual"
		if d.Action != nil {
			kind = string(d.Action.Kind)
		}
		list[i] = kind + " " + string(d.State)
	}
	return strings.Join(list, ", ")
}

// approveProposed has two operators say yes to every opening that is proposed.
func (r *live) approveProposed() {
	r.h.tb.Helper()
	for _, p := range r.doors.Proposals() {
		for _, who := range []querschott.Actor{anna, ben} {
			if _, err := r.doors.Approve(r.h.tb.Context(), p.ID, r.h.signer(who)); err != nil {
				r.h.tb.Fatal(err)
			}
		}
	}
}

// TestClockJumps sets the clock of a node with a held credential and a moved door two hours back and then more than a day ahead. Going
// back lifts nothing; going ahead ends what is held, and the door is proposed to be opened, not opened. Mail is taken in all the
// while and delivered once.
func TestClockJumps(t *testing.T) {
	h := newAgreed(t, 1)
	var ahead atomic.Int64
	h.opt.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	n := h.run()
	c := h.compartment(0, querschott.EAU)
	n.move(querschott.Open, c)
	mails := h.notes(0, 4)
	n.send(mails[0])
	a := liveAlarm("c.mueller", c)
	n.containAlarm(t.Context(), a)
	n.over(1)
	who := ident.Facts{Actor: a.Actor, Credential: a.Credential}
	look := func(when string, held bool, proposals int) {
		t.Helper()
		if err := n.denied.Check(&who); (err != nil) != held {
			t.Errorf("%s: the credential is held: %t, want %t", when, err != nil, held)
		}
		if o := n.Door(c); o.To != querschott.ReadOnly || len(n.doors.Proposals()) != proposals {
			t.Errorf("%s: the door is %s, %d openings are proposed", when, o.To, len(n.doors.Proposals()))
		}
	}
	look("at first", true, 0)
	n.send(mails[1])

	ahead.Store(int64(-2 * time.Hour))
	n.contain.engine.Tick(t.Context())
	look("two hours back", true, 0)
	n.send(mails[2])

	ahead.Store(int64(25 * time.Hour))
	h.until("what has run out is undone", func() bool {
		r := n.contain.engine.Runs()[0]
		return describeDeeds(&r) == "hold-credential over, door over, manual asked"
	})
	look("a day ahead", false, 1)
	n.send(mails[3])

	ahead.Store(0)
	n.contain.engine.Tick(t.Context())
	look("and back", false, 1)
	dated := n.doors.Proposals()[0]
	if _, err := n.doors.Approve(t.Context(), dated.ID, h.signer(anna)); err == nil {
		t.Error("an opening is approved that is dated tomorrow")
	}
	n.move(querschott.Open, c)
	n.arrive(mails...)
	h.until("each mail is accepted and delivered once", func() bool {
		s := n.Status().Mail
		return s.Accepted == uint64(len(mails)) && s.Delivered == uint64(len(mails))
	})
}

// TestOverloadedStream publishes ten times as many access events as the early warning has room for while it stands
// still: requests at the gate are answered and recorded meanwhile, what found no room is counted exactly and shown, the
// detectors catch up, and the alarm that follows says how much was not seen.
func TestOverloadedStream(t *testing.T) {
	h, m := newDeskHouse(t)
	open := h.open()
	free := make(chan struct{})
	learn := open.alarms.before
	open.alarms.before = func(ctx context.Context) {
		learn(ctx)
		select {
		case <-free:
		case <-ctx.Done():
		}
	}
	n := h.runs(open)
	n.openAll()
	const persons = 25
	for k := range persons {
		if _, err := n.PutInsured(h.compartment(0, querschott.VSDM), h.world.MasterData(h.person(0, k))); err != nil {
			t.Fatal(err)
		}
	}
	x, thief := n.clerk(m, 0, "d.schulz"), n.clerk(m, 0, "c.mueller")
	read := func(c *clerk, k int) *drill.DeskAnswer {
		return c.ask(t.Context(), "/desk/v1/person/", c.insurer, map[string]string{
			"reason": fmt.Sprintf("case:VG-%d", k), "person": h.person(0, k).Number.Reveal(),
		})
	}
	const flood = 10 * watchEvents
	for i := range flood {
		n.stream.Publish(querschott.Access{
			Time: time.Now(), Service: querschott.Desk, Insurer: x.insurer, Tenant: x.insurer, Actor: "batch", Credential: "batch", Role: querschott.RoleMachine,
			Action: "read", Outcome: "success", RequestID: fmt.Sprint(i),
		})
		if i%(flood/8) == 0 { // somebody works all the while
			if got := read(x, i/(flood/8)); got.Status != http.StatusOK {
				t.Fatalf("a request in the flood: %d", got.Status)
			}
		}
	}
	st := n.stream.Stats()
	dropped := st.Published - watchEvents
	status := n.WatchStatus()
	if status.EventsDropped != dropped || dropped < 9*watchEvents {
		t.Errorf("%d of %d events found no room, %d are counted", dropped, st.Published, status.EventsDropped)
	}
	if w := n.measuredWatch(); w.Dropped != dropped {
		t.Errorf("the metrics say that %d were dropped", w.Dropped)
	}
	served := 0
	for e, err := range n.ledger.Scan(h.origin(x.insurer), 0, 10_000) {
		if err == nil && e.Leaf.Kind == ledger.KindAccess && e.Leaf.Service == querschott.Desk && e.Leaf.Outcome == ledger.OutcomeSuccess {
			served++
		}
	}
	if served != 8 {
		t.Errorf("the ledger has %d of 8 reads in the flood", served)
	}

	close(free)
	h.until("the detectors have caught up", func() bool { return n.WatchStatus().Counts.Events >= watchEvents && n.waiting(alarmsSubscriber) == 0 })
	for k := range persons {
		read(thief, k)
	}
	h.until("the thief is held", func() bool { return len(n.Denied()) == 2 })
	list := n.alarms.book.list(AlarmQuery{Detector: "D1", Actor: string(n.contain.engine.Runs()[0].Alarm.Actor)})
	if len(list) == 0 {
		t.Fatal("there is no alarm about the thief")
	}
	unseen := 0.0
	for _, x := range list[0].Arithmetic {
		if x.Name == watch.NotSeen {
			unseen = x.Value
		}
	}
	if s := n.WatchStatus(); unseen != float64(dropped) || s.Counts.Lost != dropped {
		t.Errorf("the alarm says that %v events were not seen, the status %d, and %d found no room", unseen, s.Counts.Lost, dropped)
	}
}

// waiting returns how many events wait for a subscriber.
func (r *live) waiting(name string) int {
	for _, s := range r.stream.Stats().Subscribers {
		if s.Name == name {
			return s.Waiting
		}
	}
	return 0
}

// TestMailDuringPartition takes in mail at a gate that has lost the book: it waits there while the gate holds everything, and
// is delivered once when the link is back.
func TestMailDuringPartition(t *testing.T) {
	w := newTwin(t)
	eau := w.book.compartment(0, querschott.EAU)
	north := w.gate.run()
	w.connected(eau)
	w.main.move(querschott.Open, eau)
	w.gate.until("the book's order", func() bool { return north.doors.State(eau) == querschott.Open })
	w.lose()
	w.gate.until("the end of the lease", func() bool { return north.doors.State(eau) == querschott.Hold })
	mails := w.gate.notes(0, 3)
	north.send(mails...)
	if got := north.count(mails); got != 0 {
		t.Errorf("%d of the mails are delivered behind a door on hold", got)
	}
	w.book.cfg.Doors.Gates.Listen = w.gate.cfg.Doors.Follow.Address
	w.main = w.book.run()
	w.connected(eau)
	north.arrive(mails...)
	w.gate.until("each is delivered once", func() bool { s := north.Status().Mail; return s.Accepted == 3 && s.Delivered == 3 })
}
