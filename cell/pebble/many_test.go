package pebble_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/pebble"
)

func directories(base string, n int) []string {
	dirs := make([]string, n)
	for i := range dirs {
		dirs[i] = filepath.Join(base, fmt.Sprintf("%09d", i))
	}
	return dirs
}

func TestOpenAllKeepsGoing(t *testing.T) {
	dirs := directories(t.TempDir(), 5)
	stores, errs := pebble.OpenAll(dirs, pebble.Options{Logger: quiet})
	for i, s := range stores {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		put(t, s, "k", fmt.Sprint(i))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	manifests, _ := filepath.Glob(filepath.Join(dirs[3], "MANIFEST-*"))
	for _, m := range manifests {
		if err := os.Remove(m); err != nil {
			t.Fatal(err)
		}
	}
	stores, errs = pebble.OpenAll(dirs, pebble.Options{Logger: quiet, MustExist: true})
	for i, s := range stores {
		if i == 3 {
			if s != nil || errs[i] == nil || !strings.Contains(errs[i].Error(), dirs[i]) {
				t.Errorf("damaged store: %v, %v", s, errs[i])
			}
			continue
		}
		if errs[i] != nil {
			t.Fatalf("a sound store is not open: %v", errs[i])
		}
		if v, err := s.Get([]byte("k")); err != nil || string(v) != fmt.Sprint(i) {
			t.Errorf("store %d: %q, %v", i, v, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// BenchmarkOpen80 opens and closes eighty stores with data in them and reports the time of opening and what the process
// has in memory (resident set) for them. Run it alone: go test -run '^$' -bench Open80 -benchtime 3x ./cell/pebble
func BenchmarkOpen80(b *testing.B) {
	dirs := directories(b.TempDir(), 80)
	opening := time.Duration(0)
	var rss int64
	for b.Loop() {
		before := resident(b)
		shared := pebble.NewShared(64<<20, 1000)
		start := time.Now()
		stores, errs := pebble.OpenAll(dirs, pebble.Options{Shared: shared, Logger: quiet})
		opening += time.Since(start)
		for i, s := range stores {
			if errs[i] != nil {
				b.Fatal(errs[i])
			}
			put(b, s, "k", strings.Repeat("v", 1024))
		}
		rss = resident(b) - before
		for _, s := range stores {
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
		shared.Close()
	}
	b.ReportMetric(float64(opening.Milliseconds())/float64(b.N), "open-ms")
	b.ReportMetric(float64(rss)/(1<<20), "MiB")
	b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines-left")
}

func resident(b *testing.B) int64 {
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(data), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// BenchmarkCommit writes values of 1 KiB from 64 goroutines into one store, each durable.
func BenchmarkCommit(b *testing.B) {
	s := open(b, b.TempDir(), pebble.Options{Logger: quiet})
	defer s.Close()
	value := make([]byte, 1024)
	var next sync.Mutex
	n := 0
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			next.Lock()
			n++
			k := fmt.Appendf(nil, "%09d", n)
			next.Unlock()
			var batch cell.Batch
			batch.Put(k, value)
			if err := s.Commit(&batch); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
