package ledger_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/ledger"
)

// A disk that fills up and gets room again, while many append: whatever was sealed behind a batch that got no room is
// refused with it, and everything acknowledged is there, provable and in its place.
func TestFullWhileManyAppend(t *testing.T) {
	d := crashdisk.New()
	cfg := config(d, "d")
	cfg.SegmentSize, cfg.SnapshotBytes = 16<<10, 8<<10
	l := open(t, cfg)
	iks := insurers(5)
	var mu sync.Mutex
	acked := map[string][]ledger.Receipt{}
	refused := 0
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for n := range 150 {
				if w == 0 {
					d.Limit(int64(n%3-1) * 4 << 10) // no limit, nothing, a little
				}
				r, err := l.Append(context.Background(), access(iks[(w+n)%5], n), access(iks[n%5], n))
				mu.Lock()
				switch {
				case err == nil:
					for i := range r {
						acked[r[i].Origin] = append(acked[r[i].Origin], r[i])
					}
				case disk.IsFull(err) && !errors.Is(err, querschott.ErrHalt):
					refused++
				default:
					t.Errorf("got %v", err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if refused == 0 {
		t.Error("the disk was never full")
	}
	d.Limit(-1)
	appendN(t, l, access(iks[0], 0))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, cfg)
	for origin, list := range acked {
		slices.SortFunc(list, func(a, b ledger.Receipt) int { return int(a.Index) - int(b.Index) })
		for i := range list {
			e, err := again.Entry(origin, list[i].Index)
			if err != nil || !slices.Equal(e.Bytes, list[i].Leaf()) {
				t.Fatalf("%s, entry %d: %+v, %v", origin, list[i].Index, e, err)
			}
			if i > 0 && list[i].Index == list[i-1].Index {
				t.Fatalf("%s: two entries have index %d", origin, list[i].Index)
			}
		}
	}
	if report, err := again.Verify(context.Background(), nil); err != nil || len(report.Faults) > 0 {
		t.Fatal(report, err)
	}
}

// After a crash, the segment behind the current one may be ready before anything was written to that.
func TestTwoEmptySegments(t *testing.T) {
	d := crashdisk.New()
	cfg := config(d, "d")
	l := open(t, cfg)
	acked := appendN(t, l, access(insurers(1)[0], 0))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := d.List("d/wal")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var last int
	if _, err := fmt.Sscanf(strings.TrimSuffix(names[len(names)-1], ".wal"), "%d", &last); err != nil {
		t.Fatal(err)
	}
	for seg := last + 1; seg <= last+2; seg++ {
		b := make([]byte, cfg.SegmentSize)
		binary.BigEndian.PutUint32(b, 0x514c5731)
		binary.BigEndian.PutUint64(b[4:], uint64(seg))
		binary.BigEndian.PutUint32(b[12:], crc32.Checksum(b[:12], crc32.MakeTable(crc32.Castagnoli)))
		if err := disk.WriteFile(d, filepath.Join("d/wal", fmt.Sprintf("%08d.wal", seg)), b); err != nil {
			t.Fatal(err)
		}
	}
	l = open(t, cfg)
	for n := range 400 { // into the third segment
		acked = append(acked, appendN(t, l, access(insurers(1)[0], n))...)
	}
	checkAcked(t, l, acked)
}

// Segments that were retired are written over again. What is left of commits from long ago behind the last one, here
// always at the very place where the next one would go, is not taken for a commit, and is not damage either.
func TestReusedSegment(t *testing.T) {
	d := crashdisk.New()
	cfg := config(d, "d")
	cfg.SegmentSize, cfg.SnapshotBytes = 16<<10, 32<<10
	l := open(t, cfg)
	var acked []ledger.Receipt
	for range 400 {
		acked = append(acked, appendN(t, l, access(insurers(1)[0], 1000))...)
	}
	if report, err := l.Verify(t.Context(), nil); err != nil || len(report.Faults) > 0 {
		t.Fatal(report, err)
	}
	found := d.Crash(rand.New(rand.NewPCG(1, 1)))
	old := 0
	for name, b := range files(t, found, "d") {
		if strings.HasSuffix(name, ".wal") && fallsBack(b[64:]) {
			old++
		}
	}
	if old == 0 {
		t.Error("no old commit stands behind a later one")
	}
	cfg.FS = found
	again := open(t, cfg)
	acked = append(acked, appendN(t, again, access(insurers(1)[0], 1000))...)
	checkAcked(t, again, acked)
}

// fallsBack reports whether a commit of a segment is followed at once by an older one.
func fallsBack(b []byte) bool {
	var last uint64
	for bytes.HasPrefix(b, []byte("QLF1")) {
		seq := binary.BigEndian.Uint64(b[8:])
		if seq < last {
			return true
		}
		last, b = seq, b[binary.BigEndian.Uint32(b[4:]):]
	}
	return false
}
