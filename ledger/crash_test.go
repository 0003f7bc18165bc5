package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/internal/raced"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/proof"
)

// history is what the outside world has been told: it must stay true across crashes.
type history struct {
	mu       sync.Mutex
	receipts []told
	heads    map[string]string // origin and size -> root
}

type told struct{ file, leaf []byte }

func (h *history) tell(r *ledger.Receipt) {
	file, leaf := r.Marshal(), r.Leaf()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.receipts = append(h.receipts, told{file, leaf})
}

// head records a signed head and reports whether another root was signed at the same size.
func (h *history) head(origin string, size uint64, root fmt.Stringer) error {
	key := fmt.Sprintf("%s %d", origin, size)
	if before, ok := h.heads[key]; ok && before != root.String() {
		return fmt.Errorf("%s has two roots: %s and %s", key, before, root)
	}
	h.heads[key] = root.String()
	return nil
}

var errPower = errors.New("no power")

// TestCrash pulls the plug at random operations of the disk, again and again on the same disk, start-ups included.
func TestCrash(t *testing.T) {
	lineages := raced.Some(60, 12)
	if testing.Short() {
		lineages = 10
	}
	for seed := range lineages {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(seed), 1))
			d := crashdisk.New()
			h := &history{heads: map[string]string{}}
			for range 6 {
				d = generation(t, d, rng, h)
				if t.Failed() {
					return
				}
			}
			l := open(t, crashConfig(d))
			checkHistory(t, l, h)
		})
	}
}

func crashConfig(d *crashdisk.Disk) ledger.Config {
	cfg := config(d, "d")
	cfg.SegmentSize, cfg.SnapshotBytes = 16<<10, 12<<10
	return cfg
}

// generation opens the ledger, appends from some goroutines until the power goes, and returns the disk as it is found
// afterwards.
func generation(t *testing.T, d *crashdisk.Disk, rng *rand.Rand, h *history) *crashdisk.Disk {
	var mu sync.Mutex
	left := rng.IntN(400)
	d.Fail(func(string, string) error {
		mu.Lock()
		defer mu.Unlock()
		if left--; left < 0 {
			return errPower
		}
		return nil
	})
	l, err := ledger.Open(crashConfig(d))
	if err == nil {
		iks := insurers(4)
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for n := range 150 {
					r, err := l.Append(context.Background(), access(iks[(w+n)%4], n), access(iks[n%4], n+1))
					if err != nil {
						return
					}
					h.tell(&r[0])
					h.tell(&r[1])
					if n%20 == 19 {
						_, _ = l.Prove(r[0].Origin, r[0].Index) // brings the packs up to date
					}
				}
			})
		}
		wg.Wait()
		if rng.IntN(3) > 0 {
			_ = l.Close() // without power: only the goroutines end
		} else {
			defer func() { _ = l.Close() }()
		}
	} else if !errors.Is(err, errPower) {
		t.Fatalf("couldn't open after a crash: %v", err)
	}
	return d.Crash(rng)
}

// checkHistory holds the recovered ledger against everything that was acknowledged.
func checkHistory(t *testing.T, l *ledger.Ledger, h *history) {
	t.Helper()
	vkey, _ := l.VKey(ledger.CommitsOrigin(domain, 2026))
	for _, r := range h.receipts {
		got, err := proof.VerifyReceipt(r.file, r.leaf, vkey)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.head(got.Origin, got.Size, got.Root); err != nil {
			t.Error(err)
		}
		text, _, _ := strings.Cut(string(got.Checkpoint), "\n\n")
		c, err := proof.ParseCheckpoint(text + "\n")
		if err != nil {
			t.Fatal(err)
		}
		if err := h.head(c.Origin, c.Size, c.Root); err != nil {
			t.Error(err)
		}
		e, err := l.Entry(got.Origin, got.Index)
		if err != nil {
			t.Fatalf("acknowledged entry %d of %s: %v", got.Index, got.Origin, err)
		}
		if !bytes.Equal(e.Bytes, r.leaf) || e.Payload == nil {
			t.Fatalf("acknowledged entry %d of %s has changed", got.Index, got.Origin)
		}
	}
	report, err := l.Verify(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Faults) > 0 || report.Entries < uint64(len(h.receipts)) {
		t.Fatalf("%d acknowledged, report %+v", len(h.receipts), report)
	}
	for _, origin := range l.Origins() {
		vkey, err := l.VKey(origin)
		if err != nil {
			t.Fatal(err)
		}
		v, err := proof.NewVerifier(vkey)
		if err != nil {
			t.Fatal(err)
		}
		note, err := l.Checkpoint(origin)
		if err != nil {
			t.Fatal(err)
		}
		c, err := proof.OpenCheckpoint(note, v)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.head(c.Origin, c.Size, c.Root); err != nil {
			t.Error(err)
		}
	}
}
