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
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/cell/pebble"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/seal"
	"github.com/querschott/querschott/service"
)

// insurersOf are IKs of so many insurers.
func insurersOf(n int) (tenants []Tenant) {
	for i := range n {
		first := fmt.Sprintf("10950%03d", i)
		tenants = append(tenants, Tenant{Insurer: querschott.IK(first + string(rune(querschott.IKCheckDigit(first))))})
	}
	return tenants
}

func personOf(i int) querschott.KVNR {
	first := fmt.Sprintf("K%08d", i)
	return querschott.KVNR(first + string(rune(querschott.KVNRCheckDigit(first))))
}

// onDisk is a world of so many insurers whose cells are real ones, each with so many insured.
func onDisk(b *testing.B, insurers, insured int) *world {
	b.Helper()
	stores, vaults := map[querschott.IK]cell.Store{}, map[querschott.Compartment]*cell.Vault{}
	tenants := insurersOf(insurers)
	caches := pebble.NewShared(64<<20, 1000)
	for _, t := range tenants {
		store, err := pebble.Open(b.TempDir(), pebble.Options{Shared: caches})
		if err != nil {
			b.Fatal(err)
		}
		c := compartment(t.Insurer)
		keys, _, err := seal.NewKeys(c)
		if err != nil {
			b.Fatal(err)
		}
		stores[t.Insurer], vaults[c] = store, cell.NewVault(store, c, keys)
	}
	b.Cleanup(func() {
		for _, store := range stores {
			_ = store.Close()
		}
		caches.Close()
	})
	issues, err := pebble.Open(b.TempDir(), pebble.Options{Shared: caches})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = issues.Close() })
	w := newWorld(b, func(cfg *Config) {
		cfg.Tenants, cfg.Issues = tenants, issues
		cfg.Cell = func(ik querschott.IK) (cell.Store, error) { return stores[ik], nil }
		cfg.Vault = func(c querschott.Compartment) (*cell.Vault, error) { return vaults[c], nil }
	})
	for _, t := range tenants {
		err := w.s.write(compartment(t.Insurer), func(wr *writer) error {
			for i := range insured {
				if _, err := wr.put(invent(t.Insurer, personOf(i)), nil); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return w
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

// BenchmarkAnswer measures answers from cells on disk, with the issue log durable before each of them, and in the same run
// two floors: reading and opening the same records, and that with one durable commit of the size of a log's entry.
func BenchmarkAnswer(b *testing.B) {
	for _, size := range []struct{ insurers, insured, callers int }{{1, 2000, 1}, {1, 2000, 64}, {80, 50, 64}} {
		b.Run(fmt.Sprintf("insurers=%d/callers=%d", size.insurers, size.callers), func(b *testing.B) {
			w := onDisk(b, size.insurers, size.insured)
			at := func(i int) (querschott.IK, querschott.KVNR) {
				return w.cfg.Tenants[i%size.insurers].Insurer, personOf(i / size.insurers % size.insured)
			}
			read := func(i int) error {
				ik, person := at(i)
				vault, err := w.cfg.Vault(compartment(ik))
				if err != nil {
					return err
				}
				_, _, err = vault.GetRecord(person, insured.Name(ik))
				return err
			}
			b.Run("floor=read", func(b *testing.B) { measure(b, size.callers, read) })
			var commits atomic.Uint64
			b.Run("floor=read+commit", func(b *testing.B) {
				measure(b, size.callers, func(i int) error {
					if err := read(i); err != nil {
						return err
					}
					var batch cell.Batch
					batch.Put(cell.Key('z', 'z', cell.Uint64(commits.Add(1))), make([]byte, 180))
					return w.cfg.Issues.Commit(&batch)
				})
			})
			for _, format := range formats {
				b.Run("status=200/"+format.MediaType()[len("application/fhir+"):], func(b *testing.B) {
					measure(b, size.callers, func(i int) error {
						ik, person := at(i)
						r := w.request(ik, person)
						r.Header["Accept"] = []string{format.MediaType()}
						_, err := expect(b, w, r, http.StatusOK)
						return err
					})
				})
			}
			var tags sync.Map
			for i := range size.insurers * size.insured {
				ik, person := at(i)
				a, err := expect(b, w, w.request(ik, person), http.StatusOK)
				if err != nil {
					b.Fatal(err)
				}
				tags.Store(i, a.Header.Get("ETag"))
			}
			b.Run("status=304", func(b *testing.B) {
				measure(b, size.callers, func(i int) error {
					ik, person := at(i)
					r := w.request(ik, person)
					tag, _ := tags.Load(i % (size.insurers * size.insured))
					r.Header["If-None-Match"] = []string{tag.(string)}
					_, err := expect(b, w, r, http.StatusNotModified)
					return err
				})
			})
		})
	}
}

func expect(b *testing.B, w *world, r *service.Request, status int) (*service.Answer, error) {
	a, err := w.s.Answer(b.Context(), r)
	if err == nil && a.Status != status {
		err = fmt.Errorf("status %d", a.Status)
	}
	return a, err
}

// noDisk is a store whose commits cost nothing and do nothing.
type noDisk struct{ *celltest.Memory }

func (noDisk) Commit(*cell.Batch) error { return nil }

// BenchmarkAnswerInMemory is what an answer costs besides the issue log's commit.
func BenchmarkAnswerInMemory(b *testing.B) {
	w := newWorld(b)
	w.insure(statutory, anna)
	s := w.other(func(c *Config) {
		c.Issues = noDisk{w.issues}
	})
	etag := w.ask(w.request(statutory, anna)).Header.Get("ETag")
	for status, match := range map[int]string{http.StatusOK: "0", http.StatusNotModified: etag} {
		b.Run(fmt.Sprintf("status=%d", status), func(b *testing.B) {
			r := w.request(statutory, anna)
			r.Header.Set("If-None-Match", match)
			b.ReportAllocs()
			for b.Loop() {
				if a, err := s.Answer(b.Context(), r); err != nil || a.Status != status {
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
			if _, _, err := vault.GetRecord(anna, insured.Name(statutory)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCheck measures the verdict about a number that is shown again.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b)
	w.insure(statutory, anna)
	p := Shown{w.number(w.ask(w.request(statutory, anna))), anna, doctor}
	b.ReportAllocs()
	for b.Loop() {
		if f, err := w.s.Check(p); err != nil || !f.Verdict.Good() {
			b.Fatal(err)
		}
	}
}
