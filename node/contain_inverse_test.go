package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

// agreedWith makes a library with the shipped playbook for write bursts, signed by an operator and all insurers of the house.
func agreedWith(t *testing.T, h *house) *contain.Library {
	t.Helper()
	trust := contain.Trust{Operators: map[querschott.Actor][]contain.Key{}, Insurers: map[querschott.IK][]contain.Key{}}
	s, vkey, err := SignerFromSeed("test", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	key, err := contain.KeyOf(vkey)
	if err != nil {
		t.Fatal(err)
	}
	trust.Operators[anna] = []contain.Key{key}
	list, err := contain.Shipped()
	if err != nil {
		t.Fatal(err)
	}
	l, err := contain.OpenLibrary(crashdisk.New(), "playbooks", trust)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.Name != "Write burst" {
			continue
		}
		signees := []string{string(anna)}
		for _, in := range h.world.Insurers() {
			trust.Insurers[in.IK] = []contain.Key{key}
			signees = append(signees, string(in.IK))
		}
		for i, who := range signees {
			data, err := contain.Sign(p, who, s, key, time.Now(), fmt.Sprintf("jss--6f2c1f3e-6f0a-4c3e-9b0b-7d1f5a9e2c%02d", i))
			if err == nil {
				p, err = contain.ParsePlaybook(data)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.Import(p.Raw()); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// reality is an engine whose hands move the doors and the deny list of a running node. Its disk and its clock are the test's.
type reality struct {
	t     *testing.T
	n     *live
	lib   *contain.Library
	fs    *crashdisk.Disk
	now   time.Time
	e     *contain.Engine
	moved map[querschott.Compartment]bool // by an operator in between
}

func (x *reality) open() {
	e, err := contain.OpenEngine(contain.Config{
		FS: x.fs, Dir: "runs", Library: x.lib, Automatic: contain.Doors, Patience: time.Hour, Now: func() time.Time { return x.now },
		Hands: contain.Hands{Do: x.n.doDeed, Undo: x.n.undoDeed, Tell: x.n.tellDeed}, Alarm: func(string, error) {},
	})
	if err != nil {
		x.t.Fatal(err)
	}
	x.e = e
}

// work carries out what waits until it is over, or until the power is cut.
func (x *reality) work(cut int64, r *rand.Rand) {
	ctx, kill := context.WithCancel(x.t.Context())
	defer kill()
	if cut > 0 {
		var left atomic.Int64
		left.Store(cut)
		x.fs.Fail(func(string, string) error {
			if left.Add(-1) <= 0 {
				kill()
				return errors.New("the power is gone")
			}
			return nil
		})
	}
	done := make(chan error)
	go func() { done <- x.e.Work(ctx) }()
	for tick := time.NewTicker(time.Millisecond); ; {
		over := true
		for _, r := range x.e.Runs() {
			over = over && !r.Ended.IsZero()
		}
		if over || ctx.Err() != nil {
			tick.Stop()
			break
		}
		<-tick.C
	}
	kill()
	if err := <-done; err != nil {
		x.t.Fatal(err)
	}
	if cut > 0 {
		x.fs = x.fs.Crash(r)
		x.open()
		x.work(0, r)
	}
}

// approveAll has two operators open what the platform proposes.
func (x *reality) approveAll(h *house) {
	for _, p := range x.n.doors.Proposals() {
		for _, who := range []querschott.Actor{anna, ben} {
			if _, err := x.n.doors.Approve(x.t.Context(), p.ID, h.signer(who)); err != nil {
				x.t.Fatal(err)
			}
		}
	}
}

// TestUndoneForReal takes random sequences of runs, releases, ends of time and power cuts to the real book of doors and the real deny list: when
// all times to live are over, both are as they were, but for what an operator ordered in between.
func TestUndoneForReal(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	n.openAll()
	lib := agreedWith(t, h)
	foreign := ident.Revocation{Dimension: ident.ByActor, Value: "m-0", Reason: "by hand", Actors: []querschott.Actor{anna}, Run: "VF-1"}
	if err := n.Deny(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	before := n.Denied()
	x := &reality{t: t, n: n, lib: lib, now: time.Now().Add(time.Minute)}
	held, shut, crashed := 0, 0, 0
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 7))
		x.fs, x.moved = crashdisk.New(), map[querschott.Compartment]bool{}
		x.open()
		for move := range 6 {
			c := h.compartment(r.IntN(2), querschott.EAU)
			switch r.IntN(5) {
			case 0, 1, 2:
				a := liveAlarm(querschott.Actor(fmt.Sprint("m-", r.IntN(3))), c)
				if _, err := x.e.Start(a, contain.NewJudge(contain.JudgeConfig{}).Judge(a, x.now), ""); err != nil {
					t.Fatal(err)
				}
				cut := int64(r.IntN(2) * (1 + r.IntN(12)))
				crashed += int(min(cut, 1))
				x.work(cut, r)
			case 3:
				for _, run := range x.e.Runs() {
					_, _ = x.e.Release(t.Context(), run.ID, r.IntN(3), anna) // there may be nothing to release
				}
			case 4:
				x.now = x.now.Add(time.Duration(r.IntN(90)) * time.Minute)
				x.e.Tick(t.Context())
				if o := n.Door(c); move == 5 && o.To == querschott.ReadOnly {
					if _, err := n.doors.Set(t.Context(), door.Request{Compartment: c, To: querschott.Closed, Reason: "by hand"}, h.signer(ben)); err != nil {
						t.Fatal(err)
					}
					x.moved[c] = true
				}
			}
			held = max(held, len(n.Denied())-len(before))
			if n.Door(c).To == querschott.ReadOnly {
				shut++
			}
		}
		x.now = x.now.Add(8 * 24 * time.Hour)
		x.e.Tick(t.Context())
		x.approveAll(h)
		if got := n.Denied(); !reflect.DeepEqual(got, before) {
			t.Fatalf("seed %d: the deny list is %+v, before it was %+v", seed, got, before)
		}
		for i := range 2 {
			c := h.compartment(i, querschott.EAU)
			o := n.Door(c)
			if want := querschott.Open; x.moved[c] && o.To != querschott.Closed || !x.moved[c] && o.To != want {
				t.Fatalf("seed %d: the door %s is %s: %s", seed, c, o.To, o.Reason)
			}
			if x.moved[c] {
				out, err := n.doors.Set(t.Context(), door.Request{Compartment: c, To: querschott.Open, Reason: "again"}, h.signer(anna))
				if err == nil {
					_, err = n.doors.Approve(t.Context(), out.Proposal.ID, h.signer(ben))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, run := range x.e.Runs() {
			for _, d := range run.Deeds {
				if d.State == contain.Done || d.State == contain.Begun || strings.Contains(d.Why.String(), "couldn't") {
					t.Fatalf("seed %d: %s is %s", seed, d.Key, d.State)
				}
			}
		}
	}
	if held == 0 || shut == 0 || crashed == 0 {
		t.Errorf("nothing was tried: %d held, %d shut, %d power cuts", held, shut, crashed)
	}
}
