package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
)

// step is something that happens to an outbox.
type step struct {
	Do       string
	ID, To   string             // put
	For      time.Duration      // wait
	Weather  int32              // relay: 0 takes mail, 1 says later, 2 hangs up
	Down     bool               // net
	Failures []celltest.Failure // store: of the next commits
	Workers  int                // crash: of the next process
}

var steps = rapid.Custom(func(r *rapid.T) step {
	s := step{Do: rapid.SampledFrom([]string{"put", "put", "put", "wait", "wait", "relay", "net", "store", "crash", "retry", "pause"}).Draw(r, "do")}
	switch s.Do {
	case "put":
		s.ID = rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"}).Draw(r, "id")
		s.To = rapid.SampledFrom([]string{"x@here.example", "x@one.example", "y@one.example", "x@two.example", "no@two.example"}).Draw(r, "to")
	case "wait":
		s.For = rapid.SampledFrom([]time.Duration{0, time.Second, 2 * time.Minute, 5 * time.Hour}).Draw(r, "for")
	case "relay":
		s.Weather = rapid.Int32Range(0, 2).Draw(r, "weather")
	case "net", "pause":
		s.Down = rapid.Bool().Draw(r, "down")
	case "store":
		some := rapid.SampledFrom([]celltest.Failure{celltest.None, celltest.Undone, celltest.Done})
		s.Failures = rapid.SliceOfN(some, 1, 4).Draw(r, "failures")
	case "crash":
		s.Workers = rapid.IntRange(1, 4).Draw(r, "workers")
	}
	return s
})

// Whatever fails and restarts: every acknowledged mail gets out, the relay has the bytes that were put, mailboxes have no
// mail twice, and the counts are those of the store.
func TestModel(t *testing.T) {
	runs := 0
	rapid.Check(t, func(r *rapid.T) {
		plan := rapid.SliceOfN(steps, 1, 30).Draw(r, "steps")
		var err error
		bubble(t, func(t *testing.T) { err = live(t, plan) })
		if err != nil {
			r.Fatal(err)
		}
		runs++
	})
	if runs < 20 {
		t.Errorf("the model ran %d times only", runs)
	}
}

type world struct {
	t       *testing.T
	s       *relayServer
	weather atomic.Int32
	store   *celltest.Memory
	o       *Outbox
	stop    func()

	put     map[string]Mail // acknowledged, or perhaps there
	acked   map[string]bool
	crashes int // each may send what is on its way once more
}

func (w *world) boot(workers int) {
	local := func(a string) bool { return strings.HasSuffix(a, "@here.example") }
	w.o = open(w.t, w.store, Options{Relay: w.s.relay(), Local: local, Workers: workers})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.o.Run(ctx) }()
	w.stop = func() {
		cancel()
		<-done // an error if the store was taken away
	}
}

// live does the steps, then waits a day of good weather and returns what is wrong then.
func live(t *testing.T, plan []step) error {
	w := &world{t: t, s: newRelayServer(t), store: celltest.NewMemory(), put: map[string]Mail{}, acked: map[string]bool{}}
	w.s.onRcpt = func(c *smtp.Conn, to string) error {
		switch {
		case w.weather.Load() == 1:
			return transientReply()
		case w.weather.Load() == 2:
			_ = c.Conn().Close()
			return transientReply()
		case strings.HasPrefix(to, "no@"):
			return permanentReply()
		}
		return nil
	}
	w.boot(2)
	for _, s := range plan {
		if err := w.do(s); err != nil {
			w.stop()
			return err
		}
	}
	w.weather.Store(0)
	w.store.Inject(nil)
	w.s.set(func() { w.s.down = false })
	w.o.Resume()
	pass(24 * time.Hour)
	defer w.stop()
	return w.check()
}

func (w *world) do(s step) error {
	switch s.Do {
	case "put":
		m := letter(s.ID, s.To)
		if old, ok := w.put[s.ID]; ok {
			m = old // the same ID is the same mail
		}
		w.put[s.ID] = m
		err := w.o.Put(context.Background(), m)
		if err == nil {
			w.acked[s.ID] = true
		} else if !errors.Is(err, celltest.ErrInjected) {
			return err
		}
	case "wait":
		pass(s.For)
	case "relay":
		w.weather.Store(s.Weather)
	case "net":
		w.s.set(func() { w.s.down = s.Down })
	case "pause":
		if s.Down {
			w.o.Pause()
		} else {
			w.o.Resume()
		}
	case "store":
		failures := slices.Clone(s.Failures)
		w.store.Inject(func(*cell.Batch) celltest.Failure {
			if len(failures) == 0 {
				return celltest.None
			}
			f := failures[0]
			failures = failures[1:]
			return f
		})
	case "crash":
		w.crashes++
		w.store = w.store.Crash()
		w.stop()
		w.boot(s.Workers)
	case "retry":
		for id := range w.put {
			_ = w.o.Retry(context.Background(), id) // most of them were not refused
		}
	}
	return nil
}

func (w *world) check() error {
	failed, err := w.o.Failed()
	if err != nil {
		return err
	}
	kinds := keysOf(w.t, w.store)
	st := w.o.Status()
	if st.Queued != 0 || st.Failed != len(failed) || kinds["d"]+kinds["a"] != 0 || kinds["m"] != len(failed) || !st.Oldest.IsZero() {
		return fmt.Errorf("after a day of good weather: %+v, keys %v, %d refused", st, kinds, len(failed))
	}
	refused, atRelay := map[string]int{}, map[string]int{}
	for _, f := range failed {
		refused[f.ID]++
	}
	for _, a := range w.s.got() {
		atRelay[a.to+"\n"+a.body]++
	}
	for id, m := range w.put {
		list, err := w.o.List(m.To)
		if err != nil {
			return err
		}
		inBox := 0
		for _, e := range list {
			body, err := w.o.Get(m.To, e.ID)
			if err != nil {
				return err
			}
			if string(body) == string(m.Body) {
				inBox++
			}
		}
		var least, most [3]int // in the mailbox, at the relay, refused
		place := 1
		switch {
		case strings.HasSuffix(m.To, "@here.example"):
			place = 0
		case strings.HasPrefix(m.To, "no@"):
			place = 2
		}
		most[place] = 1
		if w.acked[id] {
			least[place] = 1
		}
		if place == 1 {
			most[1] += w.crashes
		}
		for i, n := range []int{inBox, atRelay[m.To+"\n"+string(m.Body)], refused[id]} {
			if n < least[i] || n > most[i] {
				return fmt.Errorf("%s to %s: place %d has it %d times, want %d to %d", id, m.To, i, n, least[i], most[i])
			}
		}
	}
	return nil
}
