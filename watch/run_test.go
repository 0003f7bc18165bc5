package watch_test

import (
	"strconv"
	"testing"

	"github.com/querschott/querschott/watch"
)

func itoa(n int) string { return strconv.Itoa(n) }

// run plays a world to a watch and returns its report.
func run(t testing.TB, w *traffic, cfg watch.Config) *watch.Report {
	t.Helper()
	s, err := watch.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.play(s.Observe)
	s.Flush()
	return s.Report()
}
