package ledger_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
)

// BenchmarkAppend measures acknowledged entries: durable, under a signed head, with pseudonyms and a sealed payload, over
// 80 insurers. The floor is the same number of bytes in a write-ahead log with group commit and nothing else, in the same
// run.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		var floor, ours float64
		b.Run(fmt.Sprintf("floor/writers=%d", writers), func(b *testing.B) {
			w := newPlain(b)
			record := make([]byte, walBytes)
			floor = measure(b, writers, func(context.Context, int) error { return w.append(record) })
		})
		b.Run(fmt.Sprintf("ledger/writers=%d", writers), func(b *testing.B) {
			cfg := config(disk.OS{}, b.TempDir())
			cfg.SegmentSize, cfg.SnapshotBytes = 0, 0
			cfg.Now = time.Now
			l := open(b, cfg)
			iks := insurers(80)
			entries := make([]ledger.Entry, 80)
			for i := range entries {
				entries[i] = access(iks[i], i)
			}
			ours = measure(b, writers, func(ctx context.Context, n int) error {
				_, err := l.Append(ctx, entries[n%80])
				return err
			})
			head, err := l.Head(ledger.CommitsOrigin(domain, time.Now().UTC().Year()))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/float64(head.Size), "entries/commit")
			if floor > 0 {
				b.ReportMetric(ours/floor, "of-floor")
			}
		})
	}
}

// BenchmarkRead measures proofs from a log of 100,000 entries, the verification of a whole ledger, and what an entry takes
// on disk once its WAL segments are retired.
func BenchmarkRead(b *testing.B) {
	const size = 100_000
	dir := b.TempDir()
	cfg := config(disk.OS{}, dir)
	cfg.SegmentSize, cfg.SnapshotBytes = 1<<20, 4<<20
	l := open(b, cfg)
	fill(b, l, size)
	origin := ledger.InsurerOrigin(domain, insurers(1)[0], 2026)
	b.Run("prove", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			if _, err := l.Prove(origin, uint64(n*7919%size)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if r, err := l.Verify(b.Context(), nil); err != nil || len(r.Faults) > 0 {
				b.Fatal(r, err)
			}
		}
		b.ReportMetric(size*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		b.ReportMetric(float64(bytesIn(b, filepath.Join(dir, "packs")))/size, "B/entry")
	})
}

func bytesIn(b *testing.B, dir string) (sum int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			b.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}

const walBytes = 330 // what one entry of this benchmark takes in the ledger's WAL

// measure runs b.N calls on some goroutines and returns and reports calls per second.
func measure(b *testing.B, writers int, call func(context.Context, int) error) float64 {
	b.ReportAllocs()
	took := make([][]time.Duration, writers)
	per := b.N/writers + 1
	for i := range took {
		took[i] = make([]time.Duration, 0, per)
	}
	b.ResetTimer()
	start, busy := time.Now(), processorTime(b)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(b.Context()) // of its own, as callers have
			defer cancel()
			for n := range per {
				at := time.Now()
				if err := call(ctx, w*7+n); err != nil {
					b.Error(err)
					return
				}
				took[w] = append(took[w], time.Since(at))
			}
		})
	}
	wg.Wait()
	rate := float64(per*writers) / time.Since(start).Seconds()
	busy = processorTime(b) - busy
	b.StopTimer()
	b.ReportMetric(float64(busy)/float64(per*writers), "cpu-ns/op")
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(rate, "appends/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
	return rate
}

// processorTime is what this process has taken of the processors, in user and kernel mode.
func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// plain is a write-ahead log with group commit on preallocated segments and nothing else.
type plain struct {
	mu    sync.Mutex
	queue []plainRequest
	wake  chan struct{}
	files []disk.File
}

type plainRequest struct {
	record []byte
	done   chan error
}

func newPlain(b *testing.B) *plain {
	const size, count = 64 << 20, 8
	w := &plain{wake: make(chan struct{}, 1)}
	dir := b.TempDir()
	for i := range count {
		f, err := disk.OS{}.Create(filepath.Join(dir, strings.Repeat("w", i+1)))
		if err != nil {
			b.Fatal(err)
		}
		if err := disk.Preallocate(f, size); err != nil {
			b.Fatal(err)
		}
		w.files = append(w.files, f)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run()
	}()
	b.Cleanup(func() {
		close(w.wake)
		<-ended
		for _, f := range w.files {
			_ = f.Close()
		}
	})
	return w
}

func (w *plain) append(record []byte) error {
	done := make(chan error, 1)
	w.mu.Lock()
	w.queue = append(w.queue, plainRequest{record, done})
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return <-done
}

func (w *plain) run() {
	var batch []plainRequest
	var buf []byte
	file, tail := 0, w.tail(0)
	for range w.wake {
		w.mu.Lock()
		batch, w.queue = w.queue, batch[:0]
		w.mu.Unlock()
		buf = buf[:0]
		for _, r := range batch {
			buf = append(buf, r.record...)
		}
		if int64(len(buf)) > tail.Room() {
			_ = tail.Close()
			file = (file + 1) % len(w.files)
			tail = w.tail(file)
		}
		err := tail.Add(buf)
		for _, r := range batch {
			r.done <- err
		}
	}
	_ = tail.Close()
}

func (w *plain) tail(file int) *disk.Appender {
	a, err := disk.NewAppender(w.files[file], 0)
	if err != nil {
		panic(err)
	}
	return a
}
