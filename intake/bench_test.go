package intake

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
			body := string(make([]byte, 1024))
			measure(b, writers, func(i int) error { return h.append(j, h.cs[i%len(h.cs)], fmt.Sprint(i), body) })
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

// plain is the floor: callers queue 1 KiB, one goroutine writes and syncs what has queued.
type plain struct {
	mu      sync.Mutex
	pending []chan struct{}
	kick    chan struct{}
	quit    chan struct{}
	done    sync.WaitGroup
}

func newPlain(b *testing.B) *plain {
	f, err := disk.OS{}.Create(filepath.Join(b.TempDir(), "plain"))
	if err != nil {
		b.Fatal(err)
	}
	if err := disk.Preallocate(f, DefaultSegment); err != nil {
		b.Fatal(err)
	}
	p := &plain{kick: make(chan struct{}, 1), quit: make(chan struct{})}
	p.done.Go(func() {
		off, buf := int64(0), []byte(nil)
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
			if size := len(batch) << 10; cap(buf) < size {
				buf = make([]byte, size)
			}
			if off+int64(len(batch)<<10) > DefaultSegment {
				off = 0
			}
			if err := writeSync(f, buf[:len(batch)<<10], off); err != nil {
				b.Error(err)
			}
			off += int64(len(batch) << 10)
			for _, c := range batch {
				close(c)
			}
		}
	})
	return p
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
