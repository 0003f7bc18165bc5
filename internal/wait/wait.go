// Package wait tells tests how long they may wait: until shortly before the time of the whole run is over. It promises that
// whoever waited in vain is named by a test that fails, and not by a list of goroutines; a busy machine alone lets no test fail.
package wait

import (
	"context"
	"testing"
	"time"
)

// rest is what is left for a test to say what it has waited for.
const rest = 10 * time.Second

// End is when waiting ends; zero if the run has no limit.
func End(tb testing.TB) time.Time {
	if limited, ok := tb.(interface{ Deadline() (time.Time, bool) }); ok { // a benchmark has none
		if end, ok := limited.Deadline(); ok {
			return end.Add(-rest)
		}
	}
	return time.Time{}
}

// Over is told when waiting ends; nil, and never, if the run has no limit.
func Over(tb testing.TB) <-chan time.Time {
	end := End(tb)
	if end.IsZero() {
		return nil
	}
	return time.After(time.Until(end))
}

// Context is the test's own, and ends when waiting does.
func Context(tb testing.TB) (context.Context, context.CancelFunc) {
	end := End(tb)
	if end.IsZero() {
		return context.WithCancel(tb.Context())
	}
	return context.WithDeadline(tb.Context(), end)
}
