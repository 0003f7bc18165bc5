package intake

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell/pebble"
	"github.com/querschott/querschott/internal/disk"
)

// BenchmarkAppend measures the intake of 1 KiB messages for 80 insurers, and in the same run its floor: a plain journal
// with group commit on the same kind of file, without sealing, checksums or an index.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("floor/writers=%d", writers), func(b *testing.B) {
			p := newPlain(b)
			measure(b, writers, func(int) error { p.append(); return nil })
			p.stop()
		})
		b.Run(fmt.Sprintf("intake/writers=%d", writers), func(b *testing.B) {
			h := newHouse(b, 80)
			h.seg = DefaultSegment
			j := h.journal(Copy{disk.OS{}, b.TempDir()})
			body := make([]byte, 1024)
			measure(b, writers, func(i int) error {
				_, err := j.Append(b.Context(), Arrival{
					Compartment: h.cs[i%len(h.cs)], Sender: "a@b", MessageID: strconv.Itoa(i), Body: body, Received: time.Now(),
				})
				return err
			})
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// measure runs b.N operations on so many goroutines and reports the rate and the 50th and 99th percentile.
func measure(b *testing.B, writers int, do func(i int) error) {
	b.Helper()
	var next atomic.Int64
	times := make([][]time.Duration, writers)
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range writers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				begin := time.Now()
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
				times[w] = append(times[w], time.Since(begin))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(times...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-us")
}

// plain is the floor: callers queue 1 KiB, one goroutine writes and syncs what has queued. Like the intake it keeps what
// it has accepted, in files that were filled with zeros in the background.
type plain struct {
	mu      sync.Mutex
	pending []chan struct{}
	kick    chan struct{}
	quit    chan struct{}
	ready   chan disk.File
	done    sync.WaitGroup
}

func newPlain(b *testing.B) *plain {
	p := &plain{kick: make(chan struct{}, 1), quit: make(chan struct{}), ready: make(chan disk.File)}
	dir := b.TempDir()
	p.done.Go(func() { p.prepare(b, dir) })
	p.done.Go(func() { p.write(b) })
	return p
}

func (p *plain) prepare(b *testing.B, dir string) {
	for n := 0; ; n++ {
		f, err := disk.OS{}.Create(filepath.Join(dir, fmt.Sprint(n)))
		if err == nil {
			err = disk.Preallocate(f, DefaultSegment)
		}
		if err == nil {
			err = disk.OS{}.SyncDir(dir)
		}
		if err != nil {
			b.Error(err)
			return
		}
		select {
		case p.ready <- f:
		case <-p.quit:
			_ = f.Close()
			return
		}
	}
}

func (p *plain) write(b *testing.B) {
	f, off, buf := <-p.ready, int64(0), []byte(nil)
	for {
		select {
		case <-p.kick:
		case <-p.quit:
			_ = f.Close()
			return
		}
		p.mu.Lock()
		batch := p.pending
		p.pending = nil
		p.mu.Unlock()
		size := int64(len(batch)) << 10
		if int64(cap(buf)) < size {
			buf = make([]byte, size)
		}
		if off+size > DefaultSegment {
			_ = f.Close()
			f, off = <-p.ready, 0
		}
		if err := writeSync(f, buf[:size], off); err != nil {
			b.Error(err)
		}
		off += size
		for _, c := range batch {
			close(c)
		}
	}
}

func (p *plain) append() {
	c := make(chan struct{})
	p.mu.Lock()
	p.pending = append(p.pending, c)
	p.mu.Unlock()
	select {
	case p.kick <- struct{}{}:
	default:
	}
	<-c
}

func (p *plain) stop() {
	close(p.quit)
	p.done.Wait()
}

// BenchmarkDrain delivers 100,000 messages of 2 KiB of 80 insurers while 25 a second keep arriving.
func BenchmarkDrain(b *testing.B) {
	for _, store := range []string{"memory", "pebble"} {
		b.Run(store, func(b *testing.B) {
			h := newHouse(b, 80)
			h.seg = DefaultSegment
			if store == "pebble" {
				h.pebble(b)
			}
			j := h.journal(Copy{disk.OS{}, b.TempDir()})
			const messages = 100000
			for range b.N {
				b.StopTimer()
				h.flood(b, j, messages)
				p := h.pump(j, Keep)
				stop := run(p)
				b.StartTimer()
				begin := time.Now()
				if err := p.OpenAll(h.all(1)); err != nil {
					b.Fatal(err)
				}
				tick := time.NewTicker(40 * time.Millisecond)
				for i := 0; p.Stats().Delivered < messages; i++ {
					<-tick.C
					if err := h.append(j, h.cs[i%len(h.cs)], fmt.Sprint("new", i), string(make([]byte, 2048))); err != nil {
						b.Fatal(err)
					}
				}
				tick.Stop()
				b.ReportMetric(messages/time.Since(begin).Seconds(), "msg/s")
				b.StopTimer()
				waitFor(b, func() bool { return len(j.Backlogs()) == 0 })
				stop()
			}
			h.close(j)
		})
	}
}

// pebble gives every insurer a store on the disk.
func (h *house) pebble(b *testing.B) {
	shared := pebble.NewShared(64<<20, 4096)
	b.Cleanup(shared.Close)
	for _, c := range h.cs {
		s, err := pebble.Open(filepath.Join(b.TempDir(), string(c.Insurer)), pebble.Options{Shared: shared, Logger: h.log})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() })
		h.cells[c.Insurer] = s
	}
}

// flood appends n messages of 2 KiB, to these compartments in turn or to all.
func (h *house) flood(b *testing.B, j *Journal, n int, cs ...querschott.Compartment) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	body := string(make([]byte, 2048))
	if len(cs) == 0 {
		cs = h.cs
	}
	for range 256 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := h.append(j, cs[int(i)%len(cs)], fmt.Sprint(i), body); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkClose measures how long a door takes to close while its messages, and those of 79 others, are being delivered.
func BenchmarkClose(b *testing.B) {
	h := newHouse(b, 80)
	h.seg = DefaultSegment
	h.pebble(b)
	j := h.journal(Copy{disk.OS{}, b.TempDir()})
	h.flood(b, j, 40000)
	p := h.pump(j, Keep)
	stop := run(p)
	if err := p.OpenAll(h.all(1)); err != nil {
		b.Fatal(err)
	}
	var times []time.Duration
	epoch := uint64(1)
	b.ResetTimer()
	for i := range b.N {
		c := h.cs[i%len(h.cs)]
		if j.Waiting(c) < 2*turnMessages {
			b.StopTimer()
			h.flood(b, j, 4*turnMessages, c)
			b.StartTimer()
		}
		epoch++
		begin := time.Now()
		if err := p.Obey(b.Context(), c, epoch, querschott.Hold); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(begin))
		b.StopTimer()
		epoch++
		if err := p.Obey(b.Context(), c, epoch, querschott.Open); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.StopTimer()
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-us")
	stop()
	h.close(j)
}

// BenchmarkStart opens a journal in which 100,000 messages of 80 insurers wait: closed as it should be, and after a crash.
func BenchmarkStart(b *testing.B) {
	h := newHouse(b, 80)
	h.seg = DefaultSegment
	dir := Copy{disk.OS{}, b.TempDir()}
	j := h.journal(dir)
	h.flood(b, j, 100000)
	h.close(j)
	for _, crashed := range []bool{false, true} {
		b.Run(fmt.Sprintf("crashed=%v", crashed), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				if crashed {
					h.dropIndices(b, dir)
				}
				b.StartTimer()
				j := h.journal(dir)
				h.pump(j, Keep)
				b.StopTimer()
				if got := len(j.Backlogs()); got != 80 {
					b.Errorf("%d insurers have messages", got)
				}
				h.close(j)
			}
		})
	}
}

func (h *house) dropIndices(b *testing.B, c Copy) {
	names, err := c.FS.List(c.Dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range segmentNumbers(names) {
		f, err := c.FS.Open(c.path(n))
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(f.Truncate(h.seg), f.Close()); err != nil {
			b.Fatal(err)
		}
	}
}
