package watch_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/watch"
)

// A stream brings more than its buffer holds while nobody looks. Alarms after that say how much was not seen, until the day
// after has ended; alarms of a stream without a gap say nothing of it.
func TestAlarmsSayWhatWasNotSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := watch.New(watch.Config{})
		if err != nil {
			t.Fatal(err)
		}
		stream := access.NewStream("g")
		sub := stream.Subscribe("watch", 100)
		publish := func(n, from int) {
			for i := range n {
				e := at(0, 0, from+i*min(from, 1)) // from 0 on: one person again and again
				e.Time, e.RequestID = time.Now(), strconv.Itoa(i)
				stream.Publish(e)
				if from > 0 {
					<-time.After(time.Second) // of the fake clock
				}
			}
		}
		publish(1000, 0)
		if got := sub.Dropped(); got != 900 {
			t.Fatalf("%d were dropped, want 900", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx, sub) }()
		synctest.Wait()
		unseen := func(cause string, since time.Time) (n float64, found bool) {
			for _, a := range w.Report().Alarms {
				if a.Cause != cause || a.Time.Before(since) {
					continue
				}
				for _, x := range a.Arithmetic {
					if x.Name == watch.NotSeen {
						n = x.Value
					}
				}
				return n, true
			}
			return 0, false
		}
		for _, day := range []struct {
			name string
			want float64
		}{{"the same day", 900}, {"the day after", 900}, {"two days after", 0}} {
			begin := time.Now()
			publish(21, 1000)
			synctest.Wait()
			if got, ok := unseen("cap-minute", begin); !ok || got != day.want {
				t.Errorf("%s an alarm (%t) says that %v events were not seen, want %v", day.name, ok, got, day.want)
			}
			<-time.After(24 * time.Hour)
		}
		if got := w.Summary().Counts.Lost; got != 900 {
			t.Errorf("%d are lost", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
