package celltest

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott/cell"
)

// model compares a store with a map under random batches. All runs share one store, which each run empties first.
func model(t *testing.T, open func(t *testing.T) cell.Store) {
	s := open(t)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	key := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0xff}), 0, 4)
	rapid.Check(t, func(r *rapid.T) {
		var wipe cell.Batch
		for _, p := range Dump(t, s, nil, nil) {
			wipe.Delete([]byte(p.Key))
		}
		if err := s.Commit(&wipe); err != nil {
			r.Fatal(err)
		}
		want := map[string]string{}
		for range rapid.IntRange(1, 12).Draw(r, "commits") {
			var b cell.Batch
			for range rapid.IntRange(0, 6).Draw(r, "operations") {
				k := key.Draw(r, "key")
				if rapid.Bool().Draw(r, "delete") {
					b.Delete(k)
					delete(want, string(k))
				} else {
					v := rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(r, "value")
					b.Put(k, v)
					want[string(k)] = string(v)
				}
			}
			if err := s.Commit(&b); err != nil {
				r.Fatal(err)
			}
			lo, hi := key.Draw(r, "lo"), key.Draw(r, "hi")
			compare(t, r, s, want, nil, nil)
			compare(t, r, s, want, lo, hi)
			compare(t, r, s, want, lo, cell.PrefixEnd(lo))
		}
	})
}

func compare(t *testing.T, r *rapid.T, s cell.Store, model map[string]string, lo, hi []byte) {
	var want []Pair
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if k >= string(lo) && (hi == nil || k < string(hi)) {
			want = append(want, Pair{k, model[k]})
		}
	}
	if diff := cmp.Diff(want, Dump(t, s, lo, hi)); diff != "" {
		r.Fatalf("scan of [%q, %q) (-want +got):\n%s", lo, hi, diff)
	}
}
