// Package celltest is the conformance suite of [cell.Store], which every implementation passes, and [Memory], a store
// for the tests of other packages that fails on demand.
package celltest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott/cell"
)

// Run checks that the stores which open returns keep the promises of [cell.Store]. open is called for every case and
// returns an empty store; Run closes it.
func Run(t *testing.T, open func(t *testing.T) cell.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, cell.Store)
	}{
		{"order and bounds", orderAndBounds},
		{"overwrite and delete", overwriteAndDelete},
		{"a batch in its order", batchOrder},
		{"empty keys and values", empty},
		{"large values", large},
		{"copies", copies},
		{"the callback's errors", callbackErrors},
		{"a scan sees one moment", oneMoment},
		{"concurrent commits", concurrent},
		{"atomic to readers", atomicToReaders},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			c.test(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	t.Run("after close", func(t *testing.T) { afterClose(t, open(t)) })
	t.Run("close during use", func(t *testing.T) { closeDuringUse(t, open(t)) })
	t.Run("model", func(t *testing.T) { model(t, open) })
}

// Pair is a key with its value.
type Pair struct{ Key, Value string }

// Dump returns the pairs of [lo, hi) in the order of the scan.
func Dump(t testing.TB, s cell.Store, lo, hi []byte) []Pair {
	t.Helper()
	var out []Pair
	err := s.Scan(lo, hi, func(k, v []byte) error {
		out = append(out, Pair{string(k), string(v)})
		return nil
	})
	if err != nil {
		t.Fatalf("Scan(%q, %q): %v", lo, hi, err)
	}
	return out
}

func put(t testing.TB, s cell.Store, kv ...string) {
	t.Helper()
	var b cell.Batch
	for i := 0; i < len(kv); i += 2 {
		b.Put([]byte(kv[i]), []byte(kv[i+1]))
	}
	if err := s.Commit(&b); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

func wantDump(t testing.TB, s cell.Store, lo, hi []byte, want ...Pair) {
	t.Helper()
	if diff := cmp.Diff(want, Dump(t, s, lo, hi)); diff != "" {
		t.Errorf("Scan(%q, %q) (-want +got):\n%s", lo, hi, diff)
	}
}

func orderAndBounds(t *testing.T, s cell.Store) {
	wantDump(t, s, nil, nil)
	put(t, s, "b", "2", "a\xff", "3", "a", "1", "a\x00", "4", "\xff\xff", "5", "ab", "6")
	all := []Pair{{"a", "1"}, {"a\x00", "4"}, {"ab", "6"}, {"a\xff", "3"}, {"b", "2"}, {"\xff\xff", "5"}}
	wantDump(t, s, nil, nil, all...)
	wantDump(t, s, []byte("a"), nil, all...)
	wantDump(t, s, []byte("a\x00"), []byte("b"), all[1:4]...)
	wantDump(t, s, nil, []byte("b"), all[:4]...)
	wantDump(t, s, []byte("aa"), []byte("\xff"), all[2:5]...)
	wantDump(t, s, []byte("b"), []byte("b"))
	wantDump(t, s, []byte("b"), []byte("a"))
	wantDump(t, s, nil, []byte{})
	wantDump(t, s, []byte{}, []byte{0})
	wantDump(t, s, []byte("c"), []byte("d"))
}

func overwriteAndDelete(t *testing.T, s cell.Store) {
	put(t, s, "a", "1", "b", "2", "c", "3")
	put(t, s, "b", "22")
	var b cell.Batch
	b.Delete([]byte("a"))
	b.Delete([]byte("never there"))
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	wantDump(t, s, nil, nil, Pair{"b", "22"}, Pair{"c", "3"})
	if _, err := s.Get([]byte("a")); !errors.Is(err, cell.ErrNotFound) {
		t.Errorf("Get of a deleted key: %v, want ErrNotFound", err)
	}
	put(t, s, "a", "again")
	if v, err := s.Get([]byte("a")); err != nil || string(v) != "again" {
		t.Errorf("Get: %q, %v", v, err)
	}
}

func batchOrder(t *testing.T, s cell.Store) {
	var b cell.Batch
	if err := s.Commit(&b); err != nil {
		t.Fatalf("empty batch: %v", err)
	}
	b.Put([]byte("a"), []byte("1"))
	b.Delete([]byte("a"))
	b.Delete([]byte("b"))
	b.Put([]byte("b"), []byte("1"))
	b.Put([]byte("b"), []byte("2"))
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	wantDump(t, s, nil, nil, Pair{"b", "2"})
	b.Reset()
	b.Put([]byte("c"), []byte("3"))
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	wantDump(t, s, nil, nil, Pair{"b", "2"}, Pair{"c", "3"})
}

func empty(t *testing.T, s cell.Store) {
	put(t, s, "", "of the empty key", "e", "")
	wantDump(t, s, nil, nil, Pair{"", "of the empty key"}, Pair{"e", ""})
	for _, k := range []string{"", "e"} {
		if v, err := s.Get([]byte(k)); err != nil || v == nil {
			t.Errorf("Get(%q) = %v, %v; want a value that is not nil", k, v, err)
		}
	}
}

func large(t *testing.T, s cell.Store) {
	value := make([]byte, 32<<20)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(value)
	var b cell.Batch
	b.Put([]byte("large"), value)
	b.Put([]byte("small"), []byte("x"))
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get([]byte("large"))
	if err != nil || !bytes.Equal(got, value) {
		t.Errorf("Get: %d bytes, %v; want the %d bytes committed", len(got), err, len(value))
	}
	n := 0
	if err := s.Scan(nil, nil, func(_, v []byte) error { n += len(v); return nil }); err != nil || n != len(value)+1 {
		t.Errorf("Scan: %d bytes, %v", n, err)
	}
}

// copies checks that neither side keeps what belongs to the other.
func copies(t *testing.T, s cell.Store) {
	k, v := []byte("key"), []byte("value")
	var b cell.Batch
	b.Put(k, v)
	k[0], v[0] = 'X', 'X'
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	for _, op := range b.Ops() {
		spoil(op.Key)
		spoil(op.Value)
	}
	wantDump(t, s, nil, nil, Pair{"key", "value"})
	got, err := s.Get([]byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	spoil(got)
	wantDump(t, s, nil, nil, Pair{"key", "value"})
}

func callbackErrors(t *testing.T, s cell.Store) {
	put(t, s, "a", "", "b", "", "c", "")
	mine := errors.New("mine")
	for _, c := range []struct{ give, want error }{
		{mine, mine},
		{cell.ErrStop, nil},
		{fmt.Errorf("enough: %w", cell.ErrStop), nil},
		{cell.ErrNotFound, cell.ErrNotFound},
	} {
		calls := 0
		err := s.Scan(nil, nil, func(k, _ []byte) error {
			if calls++; string(k) == "b" {
				return c.give
			}
			return nil
		})
		if err != c.want || calls != 2 { //nolint:errorlint // the callback's error comes back as it is
			t.Errorf("callback returns %v: scan returns %v after %d calls, want %v after 2", c.give, err, calls, c.want)
		}
	}
}

func oneMoment(t *testing.T, s cell.Store) {
	for i := range 100 {
		put(t, s, fmt.Sprintf("%03d", i), "before")
	}
	n := 0
	err := s.Scan(nil, nil, func(k, v []byte) error {
		if string(v) != "before" {
			t.Errorf("key %s has value %q of a later commit", k, v)
		}
		n++
		var b cell.Batch
		b.Put([]byte("999"), []byte("during"))
		b.Put([]byte("099"), []byte("during"))
		b.Delete([]byte("098"))
		if err := s.Commit(&b); err != nil {
			return err
		}
		_, err := s.Get([]byte("999"))
		return err
	})
	if err != nil || n != 100 {
		t.Errorf("scan saw %d keys, %v; want 100", n, err)
	}
}

func concurrent(t *testing.T, s cell.Store) {
	const writers, each = 16, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				var b cell.Batch
				b.Put(fmt.Appendf(nil, "%02d/%02d", w, i), []byte("x"))
				b.Put(fmt.Appendf(nil, "last/%02d", w), fmt.Appendf(nil, "%02d", i))
				if err := s.Commit(&b); err != nil {
					t.Error(err)
				}
				if v, err := s.Get(fmt.Appendf(nil, "last/%02d", w)); err != nil || string(v) != fmt.Sprintf("%02d", i) {
					t.Errorf("a writer does not read its own commit: %q, %v", v, err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(Dump(t, s, nil, nil)); got != writers*each+writers {
		t.Errorf("%d keys, want %d", got, writers*each+writers)
	}
}

// atomicToReaders moves one token between two keys; no reader may see none or two.
func atomicToReaders(t *testing.T, s cell.Store) {
	put(t, s, "at/0", "token")
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		for i := range 200 {
			var b cell.Batch
			b.Delete(fmt.Appendf(nil, "at/%d", i%2))
			b.Put(fmt.Appendf(nil, "at/%d", (i+1)%2), []byte("token"))
			if err := s.Commit(&b); err != nil {
				t.Error(err)
			}
		}
	})
	for range 2 {
		wg.Go(func() {
			for {
				if got := Dump(t, s, []byte("at/"), cell.PrefixEnd([]byte("at/"))); len(got) != 1 {
					t.Errorf("a scan saw %d tokens", len(got))
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	wg.Wait()
}

func afterClose(t *testing.T, s cell.Store) {
	put(t, s, "a", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var b, none cell.Batch
	b.Put([]byte("a"), nil)
	_, get := s.Get([]byte("a"))
	for name, err := range map[string]error{
		"Get": get, "Commit": s.Commit(&b), "Commit of nothing": s.Commit(&none), "Close": s.Close(),
		"Scan":            s.Scan(nil, nil, func(_, _ []byte) error { return nil }),
		"Scan of nothing": s.Scan([]byte("b"), []byte("a"), func(_, _ []byte) error { return nil }),
	} {
		if !errors.Is(err, cell.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
}

// closeDuringUse checks that calls under way end well or with ErrClosed.
func closeDuringUse(t *testing.T, s cell.Store) {
	var wg sync.WaitGroup
	started := make(chan struct{}, 64)
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				var b cell.Batch
				b.Put(fmt.Appendf(nil, "%d/%d", w, i), []byte("x"))
				err := s.Commit(&b)
				if err == nil {
					err = s.Scan(nil, nil, func(_, _ []byte) error { return nil })
				}
				if errors.Is(err, cell.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("during Close: %v", err)
					return
				}
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	for range cap(started) {
		<-started
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}
