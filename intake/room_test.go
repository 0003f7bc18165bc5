package intake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

func TestFullDiskIsTransient(t *testing.T) {
	h := newHouse(t, 1)
	d := crashdisk.New()
	d.Limit(3 << 20)
	j := h.journal(mem(d))
	defer j.Close()
	accepted := 0
	var err error
	for i := range 1000 {
		if err = h.append(j, h.cs[0], fmt.Sprint(i), string(make([]byte, 100<<10))); err != nil {
			break
		}
		accepted++
	}
	if got := querschott.CodeOf(err); got != querschott.CodeNoRoom {
		t.Fatalf("got %v after %d", err, accepted)
	}
	if j.Trouble() == "" {
		t.Error("nobody is told that there is no room")
	}
	if got := j.Waiting(h.cs[0]); got != accepted {
		t.Errorf("%d wait, %d were accepted", got, accepted)
	}
	d.Limit(-1)
	waitFor(t, func() bool { return h.append(j, h.cs[0], "again", "x") == nil })
}

// A copy fails while messages come in: senders are asked to try again, nothing acknowledged is lost, and it goes on by
// itself when the copy is back.
func TestFailingCopyIsTransient(t *testing.T) {
	for _, op := range []string{"write", "sync", "create", "any"} {
		t.Run(op, func(t *testing.T) {
			h := newHouse(t, 1)
			h.seg, h.body = 64<<10, 1<<10
			good, bad := crashdisk.New(), crashdisk.New()
			j := h.journal(mem(good), mem(bad))
			want := h.fill(j, h.cs[0], 5)
			broken := errors.New("broken")
			bad.Fail(func(what, _ string) error {
				if what == op || op == "any" {
					return broken
				}
				return nil
			})
			big := string(make([]byte, h.body))
			refused := 0
			for i := range 200 { // more than the active and the prepared segment take
				err := h.append(j, h.cs[0], fmt.Sprint("during ", i), big)
				switch {
				case err == nil:
					want = append(want, big)
				case querschott.CodeOf(err) == querschott.CodeNoRoom:
					refused++
				default:
					t.Fatal(err)
				}
			}
			if refused == 0 || j.Trouble() == "" {
				t.Errorf("%d refused, trouble %q", refused, j.Trouble())
			}
			bad.Fail(nil)
			waitFor(t, func() bool { return h.append(j, h.cs[0], "after", "after") == nil })
			want = append(want, "after")
			waitFor(t, func() bool { return j.Trouble() == "" })
			h.drain(j, effects)
			if diff := cmp.Diff(want, bodies(h.effects(h.cs[0]))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			h.close(j)
		})
	}
}

// The disk of a copy is replaced by an empty one while the node runs.
func TestReplacedCopyIsFilledAgain(t *testing.T) {
	h := newHouse(t, 1)
	h.seg, h.body = 64<<10, 1<<10
	good, bad := crashdisk.New(), crashdisk.New()
	j := h.journal(mem(good), mem(bad))
	h.fill(j, h.cs[0], 300)
	j.mu.Lock()
	var closed []uint64
	for n, s := range j.segments {
		if !s.open {
			closed = append(closed, n)
		}
	}
	j.mu.Unlock()
	if len(closed) == 0 {
		t.Fatal("nothing to restore")
	}
	for _, n := range closed {
		if err := bad.Remove(mem(bad).path(n)); err != nil {
			t.Fatal(err)
		}
	}
	bad.Fail(func(string, string) error { return errors.New("pulled out") })
	for h.append(j, h.cs[0], "x", "x") == nil {
	}
	bad.Fail(nil)
	waitFor(t, func() bool {
		for _, n := range closed {
			if f, err := bad.Open(mem(bad).path(n)); err != nil || f.Close() != nil {
				return false
			}
		}
		return true
	})
	h.close(j)
}

func TestMissingCopyIsRestored(t *testing.T) {
	h := newHouse(t, 1)
	h.seg, h.body = 64<<10, 1<<10
	d := crashdisk.New()
	j := h.journal(mem(d))
	want := h.fill(j, h.cs[0], 300)
	h.close(j)
	second := crashdisk.New()
	j = h.journal(mem(d), mem(second))
	waitFor(t, func() bool { return lacking(j, 1) == 0 })
	h.close(j)
	j = h.journal(mem(second)) // alone
	defer h.close(j)
	h.drain(j, effects)
	if diff := cmp.Diff(want, bodies(h.effects(h.cs[0]))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// lacking returns how many of the closed segments a copy does not have.
func lacking(j *Journal, i int) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.segments {
		if !s.open && s.files()[i] == nil {
			n++
		}
	}
	return n
}

// What could not be restored is tried again, whether or not anything else happens meanwhile.
func TestMendingIsTriedAgain(t *testing.T) {
	for _, op := range []string{"create", "write", "rename"} {
		t.Run(op, func(t *testing.T) {
			h := newHouse(t, 1)
			h.seg, h.body = 64<<10, 1<<10
			d, second := crashdisk.New(), crashdisk.New()
			j := h.journal(mem(d))
			h.fill(j, h.cs[0], 300)
			h.close(j)
			var failed atomic.Int64
			second.Fail(func(what, name string) error {
				if what == op && strings.HasSuffix(name, ".tmp") && failed.Add(1) <= 3 { // only what mending does
					return errors.New("not now")
				}
				return nil
			})
			j = h.journal(mem(d), mem(second))
			defer h.close(j)
			waitFor(t, func() bool { return lacking(j, 1) == 0 })
			if n := failed.Load(); n < 3 {
				t.Errorf("only %d attempts failed: nothing was tried again", n)
			}
		})
	}
}

// A copy whose disk is dead does not keep the node from starting and delivering; without any journal at hand it does.
func TestStartWithADeadCopy(t *testing.T) {
	h := newHouse(t, 1)
	d, dead := crashdisk.New(), crashdisk.New()
	j := h.journal(mem(d), mem(dead))
	want := h.fill(j, h.cs[0], 10)
	h.close(j)
	dead.Fail(func(string, string) error { return errors.New("dead") })
	j = h.journal(mem(d), mem(dead))
	h.drain(j, effects)
	if diff := cmp.Diff(want, bodies(h.effects(h.cs[0]))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := h.append(j, h.cs[0], "x", "x"); querschott.CodeOf(err) != querschott.CodeNoRoom {
		t.Errorf("accepted on one copy of two: %v", err)
	}
	h.close(j)
	if _, err := Open(h.config(mem(crashdisk.New()), mem(dead))); !errors.Is(err, querschott.ErrHalt) {
		t.Errorf("a new journal was begun although the old one may be on the dead copy: %v", err)
	}
}

func TestForeignCopyHalts(t *testing.T) {
	h := newHouse(t, 1)
	a, b := crashdisk.New(), crashdisk.New()
	h.close(h.journal(mem(a)))
	h.close(h.journal(mem(b)))
	if _, err := Open(h.config(mem(a), mem(b))); !errors.Is(err, querschott.ErrHalt) {
		t.Errorf("two journals were taken for one: %v", err)
	}
}

// Restarts leave nothing behind: neither the segment that was prepared nor an unfinished one nor what mending left.
func TestRestartsPileNothingUp(t *testing.T) {
	h := newHouse(t, 1)
	d := crashdisk.New()
	for range 20 {
		for _, name := range []string{segmentName(1) + ".tmp", "0000000000000000.seg", "ffffffffffffffff.seg", "1.seg", "README"} {
			if _, err := d.Create(mem(d).Dir + "/" + name); err != nil {
				t.Fatal(err)
			}
		}
		j := h.journal(mem(d))
		if err := h.append(j, h.cs[0], "x", "x"); err != nil {
			t.Fatal(err)
		}
		h.drain(j, effects)
		h.close(j)
		if _, err := d.Create(mem(d).path(j.last + 1)); err != nil { // interrupted
			t.Fatal(err)
		}
	}
	h.close(h.journal(mem(d)))
	names, err := d.List("journal")
	if err != nil {
		t.Fatal(err)
	}
	segments := 0
	for _, name := range names {
		if strings.HasSuffix(name, ".tmp") {
			t.Errorf("%s is left", name)
		}
		segments += len(segmentNumbers([]string{name}))
	}
	if segments > 3 {
		t.Errorf("%d segments are left: %v", segments, names)
	}
}

func TestFreezeKeepsFiles(t *testing.T) {
	h := newHouse(t, 1)
	h.seg, h.body = 64<<10, 1<<10
	d := crashdisk.New()
	j := h.journal(mem(d))
	defer h.close(j)
	h.fill(j, h.cs[0], 200)
	list := func() int {
		names, err := d.List("journal")
		if err != nil {
			t.Fatal(err)
		}
		return len(segmentNumbers(names))
	}
	release, before := j.Freeze(), list()
	h.drain(j, effects)
	if got := list(); got < before {
		t.Errorf("%d segments of %d are left during a backup", got, before)
	}
	release()
	release()
	waitFor(t, func() bool { return list() <= 2 })
}

// Whoever appends while the journal is closed gets an answer.
func TestCloseAnswersEverybody(t *testing.T) {
	h := newHouse(t, 2)
	d := crashdisk.New()
	j := h.journal(mem(d))
	var wg sync.WaitGroup
	var accepted atomic.Int64
	begun := make(chan struct{}, 1000)
	for w := range 16 {
		wg.Go(func() {
			for i := 0; ; i++ {
				if err := h.append(j, h.cs[w%2], fmt.Sprint(w, i), "x"); err != nil {
					if querschott.CodeOf(err) != querschott.CodeNoRoom {
						t.Error(err)
					}
					return
				}
				accepted.Add(1)
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 500 {
		<-begun
	}
	h.close(j)
	wg.Wait()
	h.close(j)
	j = h.journal(mem(d))
	defer h.close(j)
	if got := int64(j.Waiting(h.cs[0]) + j.Waiting(h.cs[1])); got != accepted.Load() {
		t.Errorf("%d wait, %d were accepted", got, accepted.Load())
	}
}

// While the disk hangs, memory must not fill with messages whose senders have long gone.
func TestHangingDiskBoundsMemory(t *testing.T) {
	h := newHouse(t, 1)
	d := crashdisk.New()
	j := h.journal(mem(d))
	h.fill(j, h.cs[0], 1)
	hang := make(chan struct{})
	d.Fail(func(op, _ string) error {
		if op == "sync" {
			<-hang
		}
		return nil
	})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	busy := 0
	for i := range maxPending + maxFlightEntries + 100 {
		_, err := j.Append(gone, Arrival{Compartment: h.cs[0], MessageID: fmt.Sprint(i)})
		if querschott.CodeOf(err) == querschott.CodeNoRoom {
			busy++
		} else if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	close(hang)
	h.close(j)
	if got := j.Stats().Appended; got > maxFlightEntries {
		t.Errorf("%d messages were written for senders who had gone", got)
	}
	t.Logf("%d refused", busy)
}
