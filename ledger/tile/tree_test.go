package tile_test

import (
	"fmt"
	"slices"
	"testing"

	"filippo.io/torchwood"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/querschott/querschott/ledger/tile"
)

// The values of RFC 6962 trees that C2SP readers agree on.
func TestHashes(t *testing.T) {
	a, b := tile.Leaf([]byte("a")), tile.Leaf([]byte("b"))
	for _, c := range []struct {
		name string
		got  tile.Hash
		want string
	}{
		{"empty tree", tile.Tree{}.Root(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
		{"empty entry", tile.Leaf(nil), "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0="},
		{"a", a, "Aippeebat6pa5MPl5F9+l3ESp+Y1k4INvsHsc4ok+Tw="},
		{"b", b, "V+s1YV1H807HFMrN9f10YIpejhAnJOgLJLKHwMJ7ajE="},
		{"a and b", tile.Node(a, b), "sTeYX/SE+2ANuTEHx3sDZcgNePW0Kd7Q/Zc2HQd5mes="},
	} {
		if c.got.String() != c.want {
			t.Errorf("%s: got %s, want %s", c.name, c.got, c.want)
		}
	}
}

// store is the reference: all stored hashes of a log, as x/mod computes them.
type store []tlog.Hash

func (s store) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = s[x]
	}
	return out, nil
}

// TestSpans grows a tree in random steps and holds every root, path and tile level against x/mod's tlog.
func TestSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ref store
		var tree tile.Tree
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			k := rapid.IntRange(0, 400).Draw(t, "added")
			leaves := make([]tile.Hash, k)
			for i := range leaves {
				n := int64(tree.Size) + int64(i)
				leaves[i] = tile.Leaf(fmt.Appendf(nil, "entry %d", n))
				hs, err := tlog.StoredHashesForRecordHash(n, leaves[i], ref)
				if err != nil {
					t.Fatal(err)
				}
				ref = append(ref, hs...)
			}
			s := tile.Grow(tree, leaves)
			checkSpan(t, s, ref)
			tree = s.New
		}
	})
}

func checkSpan(t *rapid.T, s *tile.Span, ref store) {
	n := int64(s.New.Size)
	want, err := tlog.TreeHash(n, ref)
	if err != nil {
		t.Fatal(err)
	}
	if s.Root != s.New.Root() {
		t.Fatal("a span's root is not that of its tree")
	}
	if n > 0 && s.Root != want {
		t.Fatalf("root of %d leaves: got %s, want %s", n, s.New.Root(), want)
	}
	for i := s.Old.Size; i < s.New.Size; i++ {
		proof, err := tlog.ProveRecord(n, int64(i), ref)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Path(i); !slices.Equal(got, proof) {
			t.Fatalf("path of %d in %d: got %v, want %v", i, n, got, proof)
		}
	}
	for h := 0; n>>h > 0; h++ {
		first, nodes := s.Level(h)
		for i, got := range nodes {
			if want := ref[tlog.StoredHashIndex(h, int64(first)+int64(i))]; got != want {
				t.Fatalf("node %d at height %d: got %s, want %s", first+uint64(i), h, got, want)
			}
		}
	}
}

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		ref  tile.Ref
		want string
	}{
		{tile.Ref{N: 1234067, W: 256}, "tile/0/x001/x234/067"},
		{tile.Ref{Level: 2, N: 0, W: 1}, "tile/2/000.p/1"},
		{tile.Ref{Entries: true, N: 273, W: 112}, "tile/entries/273.p/112"},
		{tile.Ref{Level: 1, N: 1000, W: 255}, "tile/1/x001/000.p/255"},
	} {
		if got := c.ref.Path(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
		back, err := torchwood.ParseTilePath(c.want)
		if err != nil {
			t.Errorf("torchwood does not read %s: %v", c.want, err)
		}
		if back.N != int64(c.ref.N) || back.W != c.ref.W {
			t.Errorf("torchwood reads %s as %+v", c.want, back)
		}
	}
}

// TestSet holds the tiles of a log of 70,000 entries against the example in C2SP tlog-tiles.
func TestSet(t *testing.T) {
	type row struct{ Full, Partial int }
	count := func(size uint64) map[string]row {
		got := map[string]row{}
		err := tile.Set(size, func(r tile.Ref) error {
			key := fmt.Sprint(r.Level)
			if r.Entries {
				key = "entries"
			}
			have := got[key]
			if r.W == tile.Width {
				have.Full++
			} else {
				have.Partial = r.W
			}
			got[key] = have
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := map[string]row{"entries": {273, 112}, "0": {273, 112}, "1": {1, 17}, "2": {0, 1}}
	if d := cmp.Diff(want, count(70_000)); d != "" {
		t.Errorf("70,000 entries (-want +got):\n%s", d)
	}
	want = map[string]row{"entries": {1, 0}, "0": {1, 0}, "1": {0, 1}}
	if d := cmp.Diff(want, count(256)); d != "" {
		t.Errorf("256 entries (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]row{}, count(0)); d != "" {
		t.Errorf("no entries (-want +got):\n%s", d)
	}
}
