package cell_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
)

func TestKeyOrderIsPartOrder(t *testing.T) {
	part := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0xfe, 0xff}), 0, 4)
	parts := rapid.SliceOfN(part, 0, 4)
	rapid.Check(t, func(r *rapid.T) {
		a, b := parts.Draw(r, "a"), parts.Draw(r, "b")
		ka, kb := cell.Key(1, 'r', a...), cell.Key(1, 'r', b...)
		if got, want := bytes.Compare(ka, kb), slices.CompareFunc(a, b, bytes.Compare); got != want {
			r.Fatalf("keys %x, %x compare %d, their parts %d", ka, kb, got, want)
		}
		s, k, back, err := cell.ParseKey(ka)
		if err != nil || s != 1 || k != 'r' || len(back) != len(a) || slices.CompareFunc(a, back, bytes.Compare) != 0 {
			r.Fatalf("ParseKey(%x) = %d, %c, %x, %v; want the parts %x", ka, s, k, back, err, a)
		}
		extended := cell.Key(1, 'r', append(slices.Clone(a), b...)...)
		if !bytes.HasPrefix(extended, ka) || bytes.Compare(extended, cell.PrefixEnd(ka)) >= 0 {
			r.Fatalf("%x is not in the range of its prefix %x", extended, ka)
		}
	})
}

func TestPrefixEnd(t *testing.T) {
	for _, c := range []struct{ prefix, want []byte }{
		{[]byte("a"), []byte("b")},
		{[]byte("a\xff"), []byte("b")},
		{[]byte("a\xff\x00"), []byte("a\xff\x01")},
		{[]byte("\xff\xff"), nil},
		{nil, nil},
	} {
		if diff := cmp.Diff(c.want, cell.PrefixEnd(c.prefix)); diff != "" {
			t.Errorf("PrefixEnd(%x) (-want +got):\n%s", c.prefix, diff)
		}
	}
}

func TestUint64SortsByNumber(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, b := rapid.Uint64().Draw(r, "a"), rapid.Uint64().Draw(r, "b")
		if (a < b) != (bytes.Compare(cell.Uint64(a), cell.Uint64(b)) < 0) {
			r.Fatalf("%d and %d", a, b)
		}
	})
}

func TestUnknownServiceHasNoSpace(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an unknown service got a space")
		}
	}()
	cell.ServiceSpace(querschott.Service("unknown"))
}

func FuzzParseKey(f *testing.F) {
	f.Add(cell.Key(cell.ServiceSpace(querschott.EAU), cell.KindRecord, []byte("a\x00b"), nil))
	f.Add([]byte{1, 2, 0})
	f.Fuzz(func(t *testing.T, key []byte) {
		s, k, parts, err := cell.ParseKey(key)
		if err == nil && !bytes.Equal(cell.Key(s, k, parts...), key) {
			t.Errorf("%x is not the key of its parts %x", key, parts)
		}
	})
}
