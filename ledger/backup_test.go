package ledger_test

import (
	"sync"
	"testing"

	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
)

// A backup taken while entries are appended opens, verifies, and has everything acknowledged before it began.
func TestBackupWhileAppending(t *testing.T) {
	cfg := config(disk.OS{}, t.TempDir())
	cfg.SegmentSize, cfg.SnapshotBytes = 64<<10, 128<<10
	l := open(t, cfg)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := l.Append(t.Context(), access(insurers(1)[0], 1)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for round := range 3 {
		before := uint64(0)
		for range 300 {
			r, err := l.Append(t.Context(), access(insurers(1)[0], 1))
			if err != nil {
				t.Fatal(err)
			}
			before = r[0].Index + 1
		}
		copied := cfg
		copied.Dir = cfg.Dir + "-backup" + string(rune('0'+round))
		if err := l.Backup(copied.Dir); err != nil {
			t.Fatal(err)
		}
		b, err := ledger.Open(copied)
		if err != nil {
			t.Fatal(err)
		}
		report, err := b.Verify(t.Context(), nil)
		if err != nil || len(report.Faults) > 0 {
			t.Fatalf("%+v, %v", report, err)
		}
		if report.Entries < before {
			t.Errorf("the backup has %d entries, %d were acknowledged before it", report.Entries, before)
		}
		appendN(t, b, access(insurers(1)[0], 1)) // it is a ledger like every other
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
}
