package ledger_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/proof"
)

const domain = "betreiber.example"

var midyear = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// config is a ledger with small segments and a clock that stands still.
func config(fs disk.FS, dir string) ledger.Config {
	return ledger.Config{
		FS: fs, Dir: dir, Domain: domain, Seed: bytes.Repeat([]byte{7}, 32), Secret: secret,
		Now: func() time.Time { return midyear }, SegmentSize: 64 << 10, SnapshotBytes: 256 << 10,
	}
}

func secret(insurer querschott.IK, year int) ([]byte, error) {
	s := sha256.Sum256(fmt.Appendf(nil, "%s %d", insurer, year))
	return s[:], nil
}

func open(tb testing.TB, cfg ledger.Config) *ledger.Ledger {
	tb.Helper()
	l, err := ledger.Open(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
	})
	return l
}

// insurers returns valid IKs.
func insurers(n int) []querschott.IK {
	out := make([]querschott.IK, n)
	for i := range out {
		s := fmt.Sprintf("1095%04d", i)
		out[i] = querschott.IK(s + string(querschott.IKCheckDigit(s)))
	}
	return out
}

// person returns a valid KVNR.
func person(n int) querschott.KVNR {
	s := fmt.Sprintf("%c%08d", 'A'+n%26, n)
	return querschott.KVNR(s + string(querschott.KVNRCheckDigit(s)))
}

func access(ik querschott.IK, n int) ledger.Entry {
	return ledger.Entry{
		Kind: ledger.KindAccess, At: midyear.Add(time.Duration(n) * time.Millisecond),
		Compartment: querschott.Compartment{Insurer: ik, Service: querschott.VSDM},
		Action:      ledger.ActionRead, Data: ledger.DataInsured, Records: 1, Outcome: ledger.OutcomeSuccess,
		Role: querschott.RolePractice, Purpose: ledger.PurposeTreatment, Epoch: 3,
		Actor: querschott.Actor(fmt.Sprintf("practice-%d", n%50)), Credential: "smcb:80276883110000000001",
		Person: person(n), RequestID: fmt.Sprintf("6f1c2f9e-0000-4000-8000-%012d", n),
		Detail: []ledger.Field{{Name: "document", Value: fmt.Sprintf("doc-%d", n)}},
	}
}

func appendN(tb testing.TB, l *ledger.Ledger, entries ...ledger.Entry) []ledger.Receipt {
	tb.Helper()
	r, err := l.Append(context.Background(), entries...)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestAppendAndRead(t *testing.T) {
	for name, fs := range map[string]disk.FS{"memory": crashdisk.New(), "os": disk.OS{}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, config(fs, dir))
			iks := insurers(3)
			for n := range 700 {
				want := access(iks[n%3], n)
				r := appendN(t, l, want)[0]
				checkReceipt(t, &r, iks[n%3], uint64(n/3))
			}
			r := appendN(t, l, ledger.Entry{Kind: ledger.KindNodeChange, Action: ledger.ActionStart})[0]
			if want := domain + "/ledger/platform/2026"; r.Origin != want || r.Index != 0 {
				t.Errorf("got %s %d, want %s 0", r.Origin, r.Index, want)
			}
			checkRead(t, l, iks)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			again := open(t, config(fs, dir))
			checkRead(t, again, iks)
			r = appendN(t, again, access(iks[0], 700))[0]
			checkReceipt(t, &r, iks[0], 234)
		})
	}
}

func checkReceipt(t *testing.T, r *ledger.Receipt, ik querschott.IK, index uint64) {
	t.Helper()
	got, err := proof.VerifyReceipt(r.Marshal(), r.Leaf(), r.VKey())
	if err != nil {
		t.Fatalf("entry %d: %v", index, err)
	}
	if want := ledger.InsurerOrigin(domain, ik, 2026); got.Origin != want || got.Index != index || r.Index != index {
		t.Fatalf("got %s %d, want %s %d", got.Origin, got.Index, want, index)
	}
	if !r.Time().Equal(midyear) {
		t.Fatalf("got time %s, want %s", r.Time(), midyear)
	}
}

// checkRead reads the 700 entries back and verifies proofs of some.
func checkRead(t *testing.T, l *ledger.Ledger, iks []querschott.IK) {
	t.Helper()
	for i, ik := range iks {
		origin := ledger.InsurerOrigin(domain, ik, 2026)
		vkey, err := l.VKey(origin)
		if err != nil {
			t.Fatal(err)
		}
		n := i
		for got, err := range l.Scan(origin, 0, 1000) {
			if err != nil {
				t.Fatal(err)
			}
			want := access(ik, n)
			payload := &ledger.Payload{
				Actor: want.Actor, Credential: want.Credential, RequestID: want.RequestID,
				Persons: []querschott.KVNR{want.Person}, Detail: want.Detail,
			}
			if d := cmp.Diff(payload, got.Payload); d != "" {
				t.Fatalf("payload of %d (-want +got):\n%s", n, d)
			}
			if !got.Leaf.Time.Equal(want.At) || got.Leaf.Kind != want.Kind || got.Leaf.Epoch != 3 || got.Leaf.Insurer != ik {
				t.Fatalf("leaf of %d: %+v", n, got.Leaf)
			}
			if got.Index%50 == 0 {
				file, err := l.Prove(origin, got.Index)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := proof.Verify(file, got.Bytes, vkey); err != nil {
					t.Fatalf("proof of %d: %v", got.Index, err)
				}
			}
			n += 3
		}
		if n < 700 {
			t.Fatalf("%s ends at %d", origin, n)
		}
	}
}

func TestErrors(t *testing.T) {
	l := open(t, config(crashdisk.New(), "d"))
	ik := insurers(1)[0]
	ctx := context.Background()
	long := access(ik, 1)
	long.Detail = []ledger.Field{{Name: "x", Value: strings.Repeat("y", 60_000)}}
	nobody := access("000000000", 1)
	for name, e := range map[string]ledger.Entry{
		"no kind": {}, "no insurer": nobody, "bad insurer": access("123456789", 1),
		"role": {Kind: ledger.KindAccess, Role: "king"}, "action": {Kind: ledger.KindAccess, Action: 200},
		"service": {Kind: ledger.KindAccess, Compartment: querschott.Compartment{Service: "tax"}},
	} {
		if _, err := l.Append(ctx, access(ik, 0), e); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := l.Append(ctx, long); !errors.Is(err, ledger.ErrTooLarge) {
		t.Errorf("long payload: got %v", err)
	}
	if _, err := l.Append(ctx, make([]ledger.Entry, 0)...); err != nil {
		t.Errorf("nothing: %v", err)
	}
	many := make([]ledger.Entry, 300)
	for i := range many {
		many[i] = access(ik, i)
	}
	if _, err := l.Append(ctx, many...); !errors.Is(err, ledger.ErrTooLarge) {
		t.Errorf("more than a segment: got %v", err)
	}
	if got := l.Origins(); len(got) != 0 {
		t.Errorf("after refused entries there are logs: %v", got)
	}
	if _, err := l.Checkpoint("nowhere"); !errors.Is(err, ledger.ErrNoLog) {
		t.Errorf("unknown log: got %v", err)
	}
	appendN(t, l, access(ik, 0))
	if _, err := l.Prove(ledger.InsurerOrigin(domain, ik, 2026), 1); !errors.Is(err, ledger.ErrNoEntry) {
		t.Errorf("proof behind the end: got %v", err)
	}
	if _, err := l.Entry(ledger.InsurerOrigin(domain, ik, 2026), 1); !errors.Is(err, ledger.ErrNoEntry) {
		t.Errorf("entry behind the end: got %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(ctx, access(ik, 0)); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("after Close: got %v", err)
	}
}

// Every writer's acknowledgements come in the order of its log.
func TestOrder(t *testing.T) {
	l := open(t, config(disk.OS{}, t.TempDir()))
	iks := insurers(5)
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			last := map[string]uint64{}
			for n := range 50 {
				r, err := l.Append(context.Background(), access(iks[(w+n)%5], n), access(iks[w%5], n))
				if err != nil {
					t.Error(err)
					return
				}
				for i := range r {
					if before, ok := last[r[i].Origin]; ok && before >= r[i].Index {
						t.Errorf("writer %d: %d comes after %d", w, r[i].Index, before)
					}
					last[r[i].Origin] = r[i].Index
				}
			}
		})
	}
	wg.Wait()
}
