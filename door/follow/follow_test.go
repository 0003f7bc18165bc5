package follow_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/querschott/querschott"
)

func TestGatesFollow(t *testing.T) {
	inWorld(t, []string{"north", "south"}, func(t *testing.T, ctx context.Context, w *world) {
		if err := w.pub.Publish("deny", 1, []byte(strings.Repeat("x", 100_000))); err != nil {
			t.Fatal(err)
		}
		north, south := w.gate(ctx, w.named("north")), w.gate(ctx, w.named("south"))
		synctest.Wait()
		if err := w.open(vsdm); err != nil {
			t.Fatal(err)
		}
		north.want(t, vsdm, querschott.Open)
		south.want(t, vsdm, querschott.Open)
		south.want(t, eau, querschott.Hold)
		if n := len(south.lists["deny"]); n != 100_000 {
			t.Errorf("the deny list has %d bytes at the gate", n)
		}
		if err := w.set(vsdm, querschott.Closed); err != nil {
			t.Fatal(err)
		}
		north.want(t, vsdm, querschott.Closed)
		south.want(t, vsdm, querschott.Closed)
		if s := w.pub.Enforced(vsdm, 2); !strings.HasPrefix(s, "2 of 2 gates enforce epoch 2 of 109500969/vsdm since ") {
			t.Errorf("status: %s", s)
		}
		if err := w.pub.Publish("deny", 1, nil); err == nil {
			t.Error("an epoch of the deny list came twice")
		}
	})
}

// TestPartition cuts the network: what is open is held after a lease, what is closed stays closed, and contact mends it.
func TestPartition(t *testing.T) {
	inWorld(t, []string{"north"}, func(t *testing.T, ctx context.Context, w *world) {
		north := w.gate(ctx, w.named("north"))
		synctest.Wait()
		if err := w.open(vsdm); err != nil {
			t.Fatal(err)
		}
		if err := w.set(eau, querschott.Closed); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Minute)
		north.want(t, vsdm, querschott.Open) // heartbeats came
		w.partition()
		pass(30 * time.Second)
		north.want(t, vsdm, querschott.Open)
		pass(32 * time.Second)
		north.want(t, vsdm, querschott.Hold)
		north.want(t, eau, querschott.Closed)
		start := time.Now()
		err := w.set(vsdm, querschott.ReadOnly)
		if err == nil || !strings.Contains(err.Error(), "north") || time.Since(start) > 0 {
			t.Errorf("a gate that is gone was waited for %s: %v", time.Since(start), err)
		}
		if s := w.pub.Status()[0]; !s.Missing || s.Connected {
			t.Errorf("status: %+v", s)
		}
		w.cut.Store(false)
		pass(12 * time.Second)
		north.want(t, vsdm, querschott.ReadOnly)
		north.want(t, eau, querschott.Closed)
	})
}

// TestLateGate starts a gate when one operator has narrowed what two had opened: the opening proves it.
func TestLateGate(t *testing.T) {
	inWorld(t, []string{"north"}, func(t *testing.T, ctx context.Context, w *world) {
		if err := w.open(vsdm); err == nil || !strings.Contains(err.Error(), "north") {
			t.Errorf("a gate that was never there is not named: %v", err)
		}
		_ = w.set(vsdm, querschott.ReadOnly) // north is missing
		north := w.gate(ctx, w.named("north"))
		pass(time.Second)
		north.want(t, vsdm, querschott.ReadOnly)
	})
}

// TestSilentGate has a gate that takes everything and answers nothing.
func TestSilentGate(t *testing.T) {
	inWorld(t, []string{"mute", "north"}, func(t *testing.T, ctx context.Context, w *world) {
		north := w.gate(ctx, w.named("north"))
		conn, err := w.dial("mute")
		if err != nil {
			t.Fatal(err)
		}
		w.work.Go(func() {
			b := make([]byte, 4096)
			for err := error(nil); err == nil; {
				_, err = conn.Read(b)
			}
		})
		synctest.Wait()
		start := time.Now()
		err = w.set(vsdm, querschott.Closed)
		if err == nil || !strings.Contains(err.Error(), "mute") || strings.Contains(err.Error(), "north") {
			t.Errorf("want mute and nobody else named: %v", err)
		}
		if d := time.Since(start); d > 4*time.Second {
			t.Errorf("the book waited %s", d)
		}
		north.want(t, vsdm, querschott.Closed)
		pass(61 * time.Second)
		if s := w.pub.Status(); s[0].Connected || !s[1].Connected || s[1].Missing {
			t.Errorf("after a lease: %+v", s)
		}
	})
}

// TestGateRemembers starts a gate again that remembers epochs: an older order is refused, and what was closed stays so.
func TestGateRemembers(t *testing.T) {
	inWorld(t, []string{"north"}, func(t *testing.T, ctx context.Context, w *world) {
		w.remembered = func(c querschott.Compartment) (uint64, querschott.DoorState, bool) {
			if c == eau {
				return 1, querschott.Closed, true
			}
			return 7, querschott.Open, true
		}
		_ = w.open(vsdm) // epoch 1, from before a backup
		north := w.gate(ctx, w.named("north"))
		if o, _ := north.Current(eau); o.To != querschott.Closed {
			t.Errorf("what was closed before the start is %s", o.To)
		}
		pass(time.Second)
		north.want(t, vsdm, querschott.Hold)
		s := w.pub.Status()[0]
		if len(s.Doors) != 2 || !strings.Contains(s.Doors[1].Fault+s.Doors[0].Fault, "epoch 1 is older than epoch 7") {
			t.Errorf("status: %+v", s.Doors)
		}
	})
}

// TestSpread waits for a list as the book waits for a door, and names the gate that refuses it.
func TestSpread(t *testing.T) {
	inWorld(t, []string{"north", "south"}, func(t *testing.T, ctx context.Context, w *world) {
		north := w.gate(ctx, w.named("north"))
		synctest.Wait()
		if err := w.pub.Publish("deny", 1, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := w.pub.Spread(ctx, "deny", 1); err == nil || !strings.HasSuffix(err.Error(), "from south") {
			t.Errorf("a gate that was never there: %v", err)
		}
		if north.lists["deny"] != "x" {
			t.Error("the gate has no list")
		}
		w.gate(ctx, w.named("south"))
		synctest.Wait()
		if err := w.pub.Spread(ctx, "deny", 1); err != nil {
			t.Error(err)
		}
		if err := w.pub.Publish("deny", 2, []byte("refuse me")); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := w.pub.Spread(ctx, "deny", 2); err == nil || !strings.Contains(err.Error(), "north (no), south (no)") || time.Since(start) > 0 {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		if north.lists["deny"] != "x" {
			t.Error("the earlier list is gone")
		}
	})
}
