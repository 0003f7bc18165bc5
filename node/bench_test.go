package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/pebble"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/intake"
)

const allInsurers = drill.DefaultInsurers

// large is a house of 80 insurers with the journal that the default configuration has.
func large(b *testing.B) *house {
	b.Helper()
	h := newHouse(b, allInsurers, func(c *Config) { c.Intake = Default().Intake })
	h.opt.Log = nil
	return h
}

func long(short, long int) int {
	if os.Getenv("QUERSCHOTT_LONG") != "" {
		return long
	}
	return short
}

// doors lists one service's door of every insurer.
func (h *house) doors(s querschott.Service) (list []querschott.Compartment) {
	for i := range h.world.Insurers() {
		list = append(list, h.compartment(i, s))
	}
	return list
}

// spread writes n sick notes over all insurers.
func (h *house) spread(n int) []drill.Mail {
	h.tb.Helper()
	list := make([]drill.Mail, n)
	h.parallel(n, func(k int) error {
		m, err := h.note(k%allInsurers, k)
		list[k] = m
		return err
	})
	return list
}

// note writes the k-th sick note for the i-th insurer.
func (h *house) note(i, k int) (drill.Mail, error) {
	first, persons := h.world.Insurers()[i].Persons()
	p := h.world.Practices()[k%len(h.world.Practices())]
	return p.SickNote(h.world.Person(first+k%persons), time.Now())
}

// parallel runs n calls on 16 goroutines.
func (h *house) parallel(n int, do func(k int) error) {
	h.tb.Helper()
	var next atomic.Int64
	var g errgroup.Group
	for range 16 {
		g.Go(func() error {
			for {
				k := int(next.Add(1)) - 1
				if k >= n {
					return nil
				}
				if err := do(k); err != nil {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		h.tb.Fatal(err)
	}
}

// put gives a mail to the journal, past the entrance.
func (r *live) put(ctx context.Context, m *drill.Mail) error {
	_, err := r.journal.Append(ctx, intake.Arrival{
		Compartment: m.Compartment, Sender: string(m.From), Recipient: string(m.To),
		MessageID: strings.Trim(m.MessageID, "<>"), Received: time.Now(), Body: m.Body,
	})
	return err
}

// percentiles reports the 50th and the 99th in milliseconds.
func percentiles(b *testing.B, name string, all []time.Duration) {
	b.Helper()
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(all[len(all)/2]), name+"p50-ms")
	b.ReportMetric(ms(all[len(all)*99/100]), name+"p99-ms")
}

// processor returns how much processor time this process has taken. Unlike the clock it says the same on a busy machine.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAccept measures the whole way of a signed sick note up to its 250: SMTP over TLS on 16 connections, sealed in two
// copies of the journal, the ledger's entry, the notification in the outbox. Senders and node share the machine. The floor
// is the same bytes over TLS into two files with group commit and nothing else.
func BenchmarkAccept(b *testing.B) {
	for _, state := range []querschott.DoorState{querschott.Hold, querschott.Open} {
		b.Run("doors="+state.String(), func(b *testing.B) {
			h := large(b)
			n := h.run()
			if state != querschott.Hold {
				n.move(state, h.doors(querschott.EAU)...)
			}
			mails := h.spread(b.N)
			clients := make(chan func(*drill.Mail) error, 16)
			for range cap(clients) {
				c := n.client()
				clients <- func(m *drill.Mail) error { _, err := handIn(c, m); return err }
			}
			accept(b, h, mails, clients)
		})
	}
	b.Run("floor", func(b *testing.B) {
		h := large(b)
		mails := h.spread(b.N)
		f := newFloor(b, h)
		clients := make(chan func(*drill.Mail) error, 16)
		for range cap(clients) {
			clients <- f.client()
		}
		accept(b, h, mails, clients)
	})
}

func accept(b *testing.B, h *house, mails []drill.Mail, clients chan func(*drill.Mail) error) {
	b.Helper()
	took := make([]time.Duration, len(mails))
	bytes := 0
	for i := range mails {
		bytes += len(mails[i].Body)
	}
	b.ResetTimer()
	used := processor(b)
	h.parallel(len(mails), func(k int) error {
		send := <-clients
		defer func() { clients <- send }()
		begin := time.Now()
		err := send(&mails[k])
		took[k] = time.Since(begin)
		return err
	})
	b.StopTimer()
	b.ReportMetric(float64(len(mails))/b.Elapsed().Seconds(), "mails/s")
	b.ReportMetric(float64((processor(b)-used).Microseconds())/float64(len(mails)), "cpu-µs/mail")
	b.ReportMetric(float64(bytes)/float64(len(mails)), "B/mail")
	percentiles(b, "", took)
}

// BenchmarkDrain measures how fast a backlog of real sick notes for 80 insurers is delivered when the doors open, while 25
// more arrive each second. The floor is the same number of bytes put into the same stores in batches of 64.
func BenchmarkDrain(b *testing.B) {
	backlog := long(20_000, 100_000)
	b.Run(fmt.Sprintf("backlog=%d", backlog), func(b *testing.B) {
		var spent, used time.Duration
		for range b.N {
			b.StopTimer()
			h := large(b)
			n := h.run()
			size := h.fill(n, backlog)
			ctx, stop := context.WithCancel(b.Context())
			var trickle errgroup.Group
			trickle.Go(func() error { return h.trickle(ctx, n) })
			b.StartTimer()
			begin, before := time.Now(), processor(b)
			n.move(querschott.Open, h.doors(querschott.EAU)...)
			h.until("the backlog", func() bool { return n.pump.Stats().Delivered >= uint64(backlog) })
			spent, used = spent+time.Since(begin), used+processor(b)-before
			b.StopTimer()
			stop()
			if err := trickle.Wait(); err != nil {
				b.Fatal(err)
			}
			if s := n.pump.Stats(); s.Duplicates+s.Flagged+s.Damaged > 0 {
				b.Fatalf("%+v", s)
			}
			b.ReportMetric(float64(size)/float64(backlog), "B/mail")
			n.stop()
		}
		b.ReportMetric(float64(b.N*backlog)/spent.Seconds(), "mails/s")
		b.ReportMetric(float64(used.Microseconds())/float64(b.N*backlog), "cpu-µs/mail")
	})
	b.Run("floor", func(b *testing.B) {
		var spent time.Duration
		const mails, size = 20_000, 20 << 10
		for range b.N {
			spent += drainFloor(b, mails, size)
		}
		b.ReportMetric(float64(b.N*mails)/spent.Seconds(), "mails/s")
	})
}

// fill puts a backlog into the journal.
func (h *house) fill(n *live, backlog int) int64 {
	h.tb.Helper()
	var size atomic.Int64
	h.parallel(backlog, func(k int) error {
		m, err := h.note(k%allInsurers, k)
		if err != nil {
			return err
		}
		size.Add(int64(len(m.Body)))
		return n.put(h.tb.Context(), &m)
	})
	return size.Load()
}

// trickle lets 25 mails a second arrive.
func (h *house) trickle(ctx context.Context, n *live) error {
	tick := time.NewTicker(time.Second / 25)
	defer tick.Stop()
	for k := 0; ; k++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			m, err := h.note(k%allInsurers, k)
			if err != nil {
				return err
			}
			if err := n.put(context.WithoutCancel(ctx), &m); err != nil {
				return err
			}
		}
	}
}

func drainFloor(b *testing.B, mails, size int) time.Duration {
	b.StopTimer()
	shared := pebble.NewShared(cellCache, cellFiles)
	defer shared.Close()
	dir := b.TempDir()
	var dirs []string
	for i := range allInsurers {
		dirs = append(dirs, filepath.Join(dir, strconv.Itoa(i)))
	}
	stores, errs := pebble.OpenAll(dirs, pebble.Options{Shared: shared})
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	value := make([]byte, size)
	if _, err := rand.Read(value); err != nil {
		b.Fatal(err)
	}
	b.StartTimer()
	begin := time.Now()
	var g errgroup.Group
	for w := range 4 {
		g.Go(func() error {
			for k := w * 64; k < mails; k += 4 * 64 {
				var batch cell.Batch
				for i := range 64 {
					batch.Put(binary.BigEndian.AppendUint64(nil, uint64(k+i)), value)
				}
				if err := stores[k/64%allInsurers].Commit(&batch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	spent := time.Since(begin)
	b.StopTimer()
	for _, s := range stores {
		err = errors.Join(err, s.Close())
	}
	if err != nil {
		b.Fatal(err)
	}
	return spent
}

// BenchmarkClose measures closing one door while mail flows on 8 connections: from the order until it returns, when it is
// obeyed, on disk and in the ledger; and until the pump and the keys have obeyed.
func BenchmarkClose(b *testing.B) {
	h := large(b)
	n := h.run()
	doors := h.doors(querschott.EAU)
	n.move(querschott.Open, doors...)
	changes, cancel := n.Changes(1 << 16)
	defer cancel()
	ctx, stop := context.WithCancel(b.Context())
	var load errgroup.Group
	var sent atomic.Int64
	for w := range 8 {
		c := n.client()
		load.Go(func() error {
			for k := w; ctx.Err() == nil; k += 8 {
				m, err := h.note(k%allInsurers, k)
				if err != nil {
					return err
				}
				if _, err := handIn(c, &m); err == nil { // the others wait for an open door
					sent.Add(1)
				}
			}
			return nil
		})
	}
	signer := h.signer(anna)
	var took []time.Duration
	begin := time.Now()
	b.ResetTimer()
	for i := range b.N {
		c := doors[i%len(doors)]
		at := time.Now()
		out, err := n.Order(ctx, door.Request{Compartment: c, To: querschott.Closed, Reason: "benchmark"}, anna, signer)
		took = append(took, time.Since(at))
		if err != nil || out.Order == nil {
			b.Fatal(err)
		}
		b.StopTimer()
		n.move(querschott.Open, c)
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(float64(sent.Load())/time.Since(begin).Seconds(), "mails/s")
	stop()
	if err := load.Wait(); err != nil {
		b.Fatal(err)
	}
	var obeyed []time.Duration
	for len(changes) > 0 {
		if c := <-changes; c.Order.To == querschott.Closed {
			obeyed = append(obeyed, c.Obeyed)
		}
	}
	percentiles(b, "", took)
	percentiles(b, "obeyed-", obeyed)
}

// BenchmarkStart measures opening a node of 80 insurers with 100,000 messages that wait.
func BenchmarkStart(b *testing.B) {
	const waiting = 100_000
	h := large(b)
	n := h.run()
	h.parallel(waiting, func(k int) error {
		_, err := n.journal.Append(b.Context(), intake.Arrival{
			Compartment: h.compartment(k%allInsurers, querschott.EAU), Sender: "a@b", MessageID: strconv.Itoa(k), Received: time.Now(), Body: make([]byte, 1024),
		})
		return err
	})
	n.stop()
	b.ResetTimer()
	for range b.N {
		again, err := Open(b.Context(), h.cfg, h.opt)
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		if got := again.Spool().Messages; got != waiting {
			b.Fatalf("%d messages wait", got)
		}
		if err := again.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/start")
}

// idleDirectory names the configuration for a process that does nothing but be a node.
const idleDirectory = "QUERSCHOTT_IDLE_CONFIG"

// TestIdleNode is the other process of BenchmarkIdleMemory.
func TestIdleNode(t *testing.T) {
	file := os.Getenv(idleDirectory)
	if file == "" {
		t.Skip("only BenchmarkIdleMemory calls it")
	}
	cfg, err := LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	n, err := Open(t.Context(), cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := errors.Join(n.Run(ctx), n.Close()); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s\nkeys %d\n", status, len(n.cells))
}

// BenchmarkIdleMemory measures the resident memory of a node of 80 insurers with all doors open and no traffic.
func BenchmarkIdleMemory(b *testing.B) {
	h := large(b)
	n := h.run()
	n.openAll()
	n.stop()
	var peak, rss float64
	for range b.N {
		cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run", "^TestIdleNode$")
		cmd.Env = append(os.Environ(), idleDirectory+"="+h.cfg.file)
		out, err := cmd.Output()
		if err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		rss, peak = max(rss, kilobytes(b, string(out), "VmRSS:")), max(peak, kilobytes(b, string(out), "VmHWM:"))
	}
	b.ReportMetric(rss/1024, "MiB")
	b.ReportMetric(peak/1024, "peak-MiB")
}

func kilobytes(b *testing.B, status, name string) float64 {
	b.Helper()
	_, rest, _ := strings.Cut(status, name)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		b.Fatalf("no %s in %s", name, status)
	}
	v, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// BenchmarkFairness measures from a message's receipt until it is in its cell, for 79 insurers, alone and while a flood of
// 20,000 sick notes for the 80th is delivered.
func BenchmarkFairness(b *testing.B) {
	flood := long(20_000, 100_000)
	for _, flooded := range []bool{false, true} {
		b.Run(fmt.Sprintf("flood=%v", flooded), func(b *testing.B) {
			h := large(b)
			n := h.run()
			victim := h.compartment(0, querschott.EAU)
			others := h.doors(querschott.EAU)[1:]
			n.move(querschott.Open, others...)
			if flooded {
				h.parallel(flood, func(k int) error {
					m, err := h.note(0, k)
					if err != nil {
						return err
					}
					return n.put(b.Context(), &m)
				})
			}
			b.ResetTimer()
			n.move(querschott.Open, victim)
			var took []time.Duration
			end := time.Now().Add(3 * time.Second)
			for k := 0; time.Now().Before(end) || flooded && n.journal.Waiting(victim) > 0; k++ {
				m, err := h.note(1+k%len(others), k)
				if err != nil {
					b.Fatal(err)
				}
				if err := n.put(b.Context(), &m); err != nil {
					b.Fatal(err)
				}
				took = append(took, n.emptied(m.Compartment))
			}
			b.StopTimer()
			b.ReportMetric(float64(len(took)), "probes")
			percentiles(b, "", took)
		})
	}
}

// emptied returns how long it takes until nothing waits in a compartment.
func (r *live) emptied(c querschott.Compartment) time.Duration {
	begin := time.Now()
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for r.journal.Waiting(c) > 0 {
		<-tick.C
	}
	return time.Since(begin)
}
