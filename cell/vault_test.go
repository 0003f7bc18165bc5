package cell_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/cell/pebble"
	"github.com/querschott/querschott/seal"
)

var (
	eau    = querschott.Compartment{Insurer: "109500969", Service: querschott.EAU}
	letter = querschott.Compartment{Insurer: "109500969", Service: querschott.Letter}
)

func kvnr(n int) querschott.KVNR {
	first := fmt.Sprintf("X%08d", n)
	return querschott.KVNR(first + string(querschott.KVNRCheckDigit(first)))
}

func newKeys(t *testing.T, c querschott.Compartment) *seal.Keys {
	t.Helper()
	keys, _, err := seal.NewKeys(c)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func commit(t *testing.T, s cell.Store, fill func(b *cell.Batch) error) {
	t.Helper()
	var b cell.Batch
	if err := fill(&b); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
}

type record struct {
	Name    string
	Version uint64
	Value   string
}

func records(t *testing.T, v *cell.Vault, p querschott.KVNR) []record {
	t.Helper()
	var out []record
	err := v.Records(p, func(name string, version uint64, value []byte) error {
		out = append(out, record{name, version, string(value)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestVault(t *testing.T) {
	s := celltest.NewMemory()
	keys := newKeys(t, eau)
	v := cell.NewVault(s, eau, keys)
	commit(t, s, func(b *cell.Batch) error {
		return errors.Join(v.PutRecord(b, kvnr(1), "b", 1, []byte("one")), v.PutRecord(b, kvnr(1), "a", 7, nil),
			v.PutRecord(b, kvnr(2), "a", 1, []byte("another person")))
	})
	commit(t, s, func(b *cell.Batch) error { return v.PutRecord(b, kvnr(1), "b", 2, []byte("two")) })

	v = cell.NewVault(s, eau, keys) // as after a restart
	if diff := cmp.Diff([]record{{"a", 7, ""}, {"b", 2, "two"}}, records(t, v, kvnr(1))); diff != "" {
		t.Errorf("Records (-want +got):\n%s", diff)
	}
	if got, version, err := v.GetRecord(kvnr(1), "b"); err != nil || version != 2 || string(got) != "two" {
		t.Errorf("GetRecord: %q, %d, %v", got, version, err)
	}
	for _, p := range []querschott.KVNR{kvnr(1), kvnr(3)} {
		if _, _, err := v.GetRecord(p, "c"); !errors.Is(err, cell.ErrNotFound) {
			t.Errorf("GetRecord of what is not there: %v", err)
		}
	}
	commit(t, s, func(b *cell.Batch) error { return v.DeleteRecord(b, kvnr(1), "a") })
	if got := records(t, v, kvnr(1)); len(got) != 1 {
		t.Errorf("after DeleteRecord: %v", got)
	}
	calls := 0
	err := v.Records(kvnr(1), func(string, uint64, []byte) error { calls++; return cell.ErrStop })
	if err != nil || calls != 1 {
		t.Errorf("ErrStop: %v after %d calls", err, calls)
	}
	keys.Forget()
	if _, _, err := v.GetRecord(kvnr(1), "b"); !errors.Is(err, seal.ErrForgotten) {
		t.Errorf("with the door shut: %v", err)
	}
}

func TestShred(t *testing.T) {
	s := celltest.NewMemory()
	v := cell.NewVault(s, eau, newKeys(t, eau))
	commit(t, s, func(b *cell.Batch) error {
		return errors.Join(v.PutRecord(b, kvnr(1), "old", 1, []byte("x")), v.PutRecord(b, kvnr(2), "kept", 1, []byte("y")))
	})
	copied := celltest.Dump(t, s, nil, nil)
	commit(t, s, func(b *cell.Batch) error {
		return errors.Join(v.PutRecord(b, kvnr(1), "same batch", 1, []byte("x")), v.Shred(b, kvnr(1)),
			v.PutRecord(b, kvnr(1), "new", 1, []byte("z")))
	})
	if diff := cmp.Diff([]record{{"new", 1, "z"}}, records(t, v, kvnr(1))); diff != "" {
		t.Errorf("after Shred (-want +got):\n%s", diff)
	}
	if got := records(t, v, kvnr(2)); len(got) != 1 {
		t.Errorf("Shred touched another person: %v", got)
	}
	// A copy of the record without its key does not open, whatever key the person has meanwhile.
	commit(t, s, func(b *cell.Batch) error {
		for _, p := range copied {
			if p.Key[1] == byte(cell.KindRecord) {
				b.Put([]byte(p.Key), []byte(p.Value))
			}
		}
		return nil
	})
	if _, _, err := v.GetRecord(kvnr(1), "old"); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("a shredded record came back: %v", err)
	}
	commit(t, s, func(b *cell.Batch) error {
		lo := []byte{eau.Service.Code(), byte(cell.KindDataKey)}
		for _, p := range celltest.Dump(t, s, lo, cell.PrefixEnd(lo)) {
			b.Delete([]byte(p.Key))
		}
		return nil
	})
	if _, _, err := v.GetRecord(kvnr(2), "kept"); !errors.Is(err, cell.ErrShredded) {
		t.Errorf("a record without a data key: %v", err)
	}
}

// TestMovedRecordsDoNotOpen swaps stored values in every way that a writer to the store could.
func TestMovedRecordsDoNotOpen(t *testing.T) {
	s := celltest.NewMemory()
	keys, letters := newKeys(t, eau), newKeys(t, letter)
	v, l := cell.NewVault(s, eau, keys), cell.NewVault(s, letter, letters)
	commit(t, s, func(b *cell.Batch) error {
		return errors.Join(v.PutRecord(b, kvnr(1), "a", 1, []byte("1")), v.PutRecord(b, kvnr(1), "b", 2, []byte("2")),
			v.PutRecord(b, kvnr(2), "a", 1, []byte("3")), l.PutRecord(b, kvnr(1), "a", 1, []byte("4")))
	})
	pristine := celltest.Dump(t, s, nil, nil)
	for i, from := range pristine {
		for j, to := range pristine {
			if i == j {
				continue
			}
			b := new(cell.Batch)
			for _, p := range pristine {
				b.Put([]byte(p.Key), []byte(p.Value))
			}
			b.Put([]byte(to.Key), []byte(from.Value))
			if err := s.Commit(b); err != nil {
				t.Fatal(err)
			}
			good := 0
			for _, w := range []struct {
				v     *cell.Vault
				p     querschott.KVNR
				name  string
				value string
			}{{v, kvnr(1), "a", "1"}, {v, kvnr(1), "b", "2"}, {v, kvnr(2), "a", "3"}, {l, kvnr(1), "a", "4"}} {
				got, _, err := w.v.GetRecord(w.p, w.name)
				if err == nil && string(got) != w.value {
					t.Errorf("value of %x moved to %x opens as %q", from.Key, to.Key, got)
				}
				if err == nil {
					good++
				}
			}
			if good == 4 {
				t.Errorf("nobody noticed that the value of %x stands at %x", from.Key, to.Key)
			}
		}
	}
}

// TestOneDataKeyPerPerson writes a new person's first records in many batches at once, one of which is never committed.
func TestOneDataKeyPerPerson(t *testing.T) {
	s := celltest.NewMemory()
	v := cell.NewVault(s, eau, newKeys(t, eau))
	var abandoned cell.Batch
	if err := v.PutRecord(&abandoned, kvnr(1), "never", 1, nil); err != nil {
		t.Fatal(err)
	}
	s.FailNext(celltest.Undone)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for {
				var b cell.Batch
				if err := v.PutRecord(&b, kvnr(1), fmt.Sprintf("%02d", i), 1, []byte("x")); err != nil {
					t.Error(err)
				}
				if s.Commit(&b) == nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if got := records(t, v, kvnr(1)); len(got) != 16 {
		t.Errorf("%d of 16 records open", len(got))
	}
}

func TestBatchReset(t *testing.T) {
	s := celltest.NewMemory()
	v := cell.NewVault(s, eau, newKeys(t, eau))
	var b cell.Batch
	if err := v.PutRecord(&b, kvnr(1), "dropped", 1, nil); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if b.Len() != 0 || b.Size() != 0 {
		t.Errorf("after Reset: %d operations, %d bytes", b.Len(), b.Size())
	}
	commit(t, s, func(*cell.Batch) error { return v.PutRecord(&b, kvnr(1), "a", 1, nil) })
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	if got := records(t, v, kvnr(1)); len(got) != 1 || got[0].Name != "a" {
		t.Errorf("after Reset and new use: %v", got)
	}
}

// TestNoKVNRInTheStore looks for the numbers in every key and value and in every file.
func TestNoKVNRInTheStore(t *testing.T) {
	dir := t.TempDir()
	s, err := pebble.Open(dir, pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keys := newKeys(t, eau)
	v := cell.NewVault(s, eau, keys)
	const persons = 200
	commit(t, s, func(b *cell.Batch) error {
		for i := range persons {
			p := kvnr(i)
			if err := v.PutRecord(b, p, "eau/1", 1, []byte("Versichertennummer "+p.Reveal())); err != nil {
				return err
			}
		}
		return nil
	})
	pairs := celltest.Dump(t, s, nil, nil)
	if len(pairs) != 2*persons {
		t.Errorf("%d pairs, want %d", len(pairs), 2*persons)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for _, p := range pairs {
		fmt.Fprintln(&all, p.Key, p.Value)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	if !bytes.Contains(all.Bytes(), []byte("eau/1")) {
		t.Fatal("the search does not find what must be there")
	}
	for i := range persons {
		if bytes.Contains(all.Bytes(), []byte(kvnr(i).Reveal())) {
			t.Fatalf("the number of person %d stands in the store in the clear", i)
		}
	}
}
