package vsdm

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/pebble"
	"github.com/querschott/querschott/seal"
)

// onDisk is a world of one insurer whose cell is a real one, with so many insured.
func onDisk(b *testing.B, n int) (*world, cell.Store, []querschott.KVNR) {
	b.Helper()
	store, err := pebble.Open(b.TempDir(), pebble.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	var persons []querschott.KVNR
	for i := range n {
		first := fmt.Sprintf("K%08d", i)
		persons = append(persons, querschott.KVNR(first+string(rune(querschott.KVNRCheckDigit(first)))))
	}
	c := compartment(statutory)
	keys, _, err := seal.NewKeys(c)
	if err != nil {
		b.Fatal(err)
	}
	vault := cell.NewVault(store, c, keys)
	w := newWorld(b, func(cfg *Config) {
		cfg.Cell = func(querschott.IK) (cell.Store, error) { return store, nil }
		cfg.Vault = func(querschott.Compartment) (*cell.Vault, error) { return vault, nil }
	})
	if _, err := w.s.Import(b.Context(), c, people(b, n), nil); err != nil {
		b.Fatal(err)
	}
	return w, store, persons
}

// measure runs b.N operations on so many goroutines and reports the rate and the 50th and 99th percentile.
func measure(b *testing.B, callers int, do func(i int) error) {
	b.Helper()
	var next atomic.Int64
	times := make([][]time.Duration, callers)
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for c := range callers {
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
				times[c] = append(times[c], time.Since(begin))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(times...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-us")
}

// BenchmarkAnswer measures answers from a cell on disk, with the issue log durable before each of them, and in the same run
// two floors: reading and opening the same records, and that with one durable commit of the size of a log's entry.
func BenchmarkAnswer(b *testing.B) {
	const insured = 2000
	for _, callers := range []int{1, 64} {
		w, store, persons := onDisk(b, insured)
		vault, err := w.cfg.Vault(compartment(statutory))
		if err != nil {
			b.Fatal(err)
		}
		name := recordName(statutory)
		read := func(i int) error {
			_, _, err := vault.GetRecord(persons[i%insured], name)
			return err
		}
		b.Run(fmt.Sprintf("floor=read/callers=%d", callers), func(b *testing.B) { measure(b, callers, read) })
		var commits atomic.Uint64
		b.Run(fmt.Sprintf("floor=read+commit/callers=%d", callers), func(b *testing.B) {
			measure(b, callers, func(i int) error {
				if err := read(i); err != nil {
					return err
				}
				var batch cell.Batch
				batch.Put(cell.Key('z', 'z', cell.Uint64(commits.Add(1))), make([]byte, 180))
				return store.Commit(&batch)
			})
		})
		etags := make([]string, insured)
		for i := range etags {
			etags[i] = w.ask(w.request(statutory, persons[i])).Header.Get("ETag")
		}
		for _, format := range formats {
			for _, status := range []int{http.StatusOK, http.StatusNotModified} {
				b.Run(fmt.Sprintf("%s/status=%d/callers=%d", format.MediaType()[len("application/"):], status, callers), func(b *testing.B) {
					if format.MediaType() == xmlType && status == http.StatusNotModified {
						b.Skip("nothing is rendered")
					}
					measure(b, callers, func(i int) error {
						r := w.request(statutory, persons[i%insured])
						r.Header["Accept"] = []string{format.MediaType()}
						if status == http.StatusNotModified {
							r.Header["If-None-Match"] = []string{etags[i%insured]}
						}
						a, err := w.s.Answer(b.Context(), r)
						if err == nil && a.Status != status {
							err = fmt.Errorf("status %d", a.Status)
						}
						return err
					})
				})
			}
		}
	}
}

// BenchmarkAnswerInMemory is what an answer costs without a disk.
func BenchmarkAnswerInMemory(b *testing.B) {
	w := newWorld(b)
	w.insure(statutory, anna)
	r := w.request(statutory, anna)
	etag := w.ask(r).Header.Get("ETag")
	for status, match := range map[int]string{http.StatusOK: "0", http.StatusNotModified: etag} {
		b.Run(fmt.Sprintf("status=%d", status), func(b *testing.B) {
			r := w.request(statutory, anna)
			r.Header.Set("If-None-Match", match)
			b.ReportAllocs()
			for b.Loop() {
				if a, err := w.s.Answer(b.Context(), r); err != nil || a.Status != status {
					b.Fatal(err)
				}
			}
		})
	}
	vault, err := w.vault(compartment(statutory))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("floor=read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := vault.GetRecord(anna, recordName(statutory)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCheck measures verdicts about a number shown again, with 80 insurers: in the log that is named, and in all.
func BenchmarkCheck(b *testing.B) {
	var tenants []Tenant
	for i := range 78 {
		first := fmt.Sprintf("10950%03d", i)
		tenants = append(tenants, Tenant{Insurer: querschott.IK(first + string(rune(querschott.IKCheckDigit(first))))})
	}
	w := newWorld(b, func(c *Config) { c.Tenants = append(tenants, Tenant{Insurer: statutory}) })
	w.insure(statutory, anna)
	n := w.number(w.ask(w.request(statutory, anna)))
	for _, hint := range []querschott.IK{statutory, ""} {
		b.Run(fmt.Sprintf("hint=%t", hint != ""), func(b *testing.B) {
			for b.Loop() {
				if f, err := w.s.Check(Shown{n, anna, doctor, hint}); err != nil || !f.Verdict.Good() {
					b.Fatal(err)
				}
			}
		})
	}
}
