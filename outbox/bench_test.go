package outbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/pebble"
)

func engine(b *testing.B) cell.Store {
	s, err := pebble.Open(b.TempDir(), pebble.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// from64 runs b.N calls from 64 goroutines.
func from64(b *testing.B, call func(i int64) error) {
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				if err := call(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
}

// BenchmarkPut compares durable Puts of a notification of 2 KiB, into a mailbox and into the queue, with bare commits of as
// many bytes in one key.
func BenchmarkPut(b *testing.B) {
	body := bytes.Repeat([]byte("a line of a delivery status notification\r\n"), 48)
	run := uint64(0)
	mail := func(i int64) Mail {
		return Mail{ID: fmt.Sprintf("%d/%d", run, i), To: fmt.Sprintf("p%d@provider%d.kim.telematik", i%1000, i%10), Body: body}
	}
	for _, c := range []struct {
		name string
		opt  Options
	}{{"mailbox", Options{}}, {"relay", Options{Relay: &Relay{Address: "localhost:1", TLS: RelayPlain}}}} {
		b.Run(c.name, func(b *testing.B) {
			run++
			o := open(b, engine(b), c.opt)
			from64(b, func(i int64) error { return o.Put(context.Background(), mail(i)) })
		})
	}
	b.Run("bare commits", func(b *testing.B) {
		s := engine(b)
		from64(b, func(i int64) error {
			key := make([]byte, 32)
			_, _ = rand.Read(key)
			var batch cell.Batch
			batch.Put(key, body)
			return s.Commit(&batch)
		})
	})
}

// BenchmarkOpen opens an outbox with 100,000 queued mails of ten domains.
func BenchmarkOpen(b *testing.B) {
	s := engine(b)
	opt := Options{Relay: &Relay{Address: "localhost:1", TLS: RelayPlain}}
	o := open(b, s, opt)
	for i := range 100 {
		var list []Mail
		for j := range 1000 {
			list = append(list, letter(fmt.Sprintf("%d/%d", i, j), fmt.Sprintf("p@provider%d.kim.telematik", j%10)))
		}
		mustPut(b, o, list...)
	}
	b.ResetTimer()
	for b.Loop() {
		if n := open(b, s, opt).Status().Queued; n != 100000 {
			b.Fatalf("%d queued", n)
		}
	}
}
