package insured_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/seal"
	"github.com/querschott/querschott/wire/vsd"
)

var at = querschott.Compartment{Insurer: "109500969", Service: querschott.VSDM}

const further = querschott.IK("103169760")

type house struct {
	t     *testing.T
	store *celltest.Memory
	vault *cell.Vault
}

func newHouse(t *testing.T) *house {
	keys, _, err := seal.NewKeys(at)
	if err != nil {
		t.Fatal(err)
	}
	store := celltest.NewMemory()
	return &house{t, store, cell.NewVault(store, at, keys)}
}

func (h *house) commit(fill func(*cell.Batch) error) {
	h.t.Helper()
	var b cell.Batch
	if err := fill(&b); err != nil {
		h.t.Fatal(err)
	}
	if err := h.store.Commit(&b); err != nil {
		h.t.Fatal(err)
	}
}

func number(n int) querschott.KVNR {
	first := fmt.Sprintf("X%08d", n)
	return querschott.KVNR(first + string(querschott.KVNRCheckDigit(first)))
}

func entry(n int, ik querschott.IK, family string, born vsd.Date) *insured.Entry {
	r := vsd.Generate(rand.New(rand.NewPCG(uint64(n), 1)), vsd.Invented{Payor: ik, PayorName: "Kasse", Number: number(n), On: time.Unix(1.8e9, 0)})
	r.Patient.Name.Family, r.Patient.Name.Own, r.Patient.Born = family, family, born
	return &insured.Entry{Record: r}
}

func (h *house) put(e, old *insured.Entry) {
	h.t.Helper()
	h.commit(func(b *cell.Batch) error { return insured.Put(h.vault, b, e, old, 1) })
}

func (h *house) found(family string, born vsd.Date) (list []string) {
	h.t.Helper()
	got, err := insured.Search(h.vault, family, born, 100)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range got {
		list = append(list, e.Record.Patient.Number.Reveal())
	}
	slices.Sort(list)
	return list
}

func TestSearch(t *testing.T) {
	h := newHouse(t)
	for n, p := range []struct {
		family string
		born   vsd.Date
	}{
		{"Müller-Lüdenscheidt", "1980-03-01"},
		{"Muller", "1980-03-01"},
		{"Mueller", "1980-03-01"},
		{"Müller", "1980-03-01"},
		{"Müller", "1980-03-02"},
		{"Müller", "1980"},
		{"O'Hara", "1990-01-01"},
		{"Søren", "1990-01-01"},
		{"Straß", "1990-01-01"},
	} {
		h.put(entry(n, at.Insurer, p.family, p.born), nil)
	}
	all := func(n ...int) (list []string) {
		for _, k := range n {
			list = append(list, number(k).Reveal())
		}
		slices.Sort(list)
		return list
	}
	for _, tc := range []struct {
		family string
		born   vsd.Date
		want   []string
	}{
		{"mueller luedenscheidt", "1980-03-01", all(0)},
		{"MÜLLER", "1980-03-01", all(2, 3)},
		{"Mu\u0308ller", "1980-03-01", all(2, 3)}, // decomposed
		{"Muller", "1980-03-01", all(1)},
		{"Müller", "1980", all(5)},
		{"Müller", "1980-03", nil},
		{"Müll", "1980-03-01", nil},
		{"M*", "1980-03-01", nil},
		{"%", "1980-03-01", nil},
		{"", "1980-03-01", nil},
		{"Müller", "", nil},
		{"Müller", "1980-03-01\x00", nil},
		{"ohara", "1990-01-01", all(6)},
		{"Soeren", "1990-01-01", all(7)},
		{"STRASS", "1990-01-01", all(8)},
	} {
		if got := h.found(tc.family, tc.born); !slices.Equal(got, tc.want) {
			t.Errorf("%q, %q: found %v, want %v", tc.family, tc.born, got, tc.want)
		}
	}
	if got, err := insured.Search(h.vault, "Müller", "1980-03-01", 1); err != nil || len(got) != 1 {
		t.Errorf("with a limit of one: %d, %v", len(got), err)
	}
}

// A term follows its person: through another name, other IKs of the insurer, until the entry is gone.
func TestTermsFollow(t *testing.T) {
	h := newHouse(t)
	first, second := entry(1, at.Insurer, "Alt", "1980-03-01"), entry(1, further, "Alt", "1980-03-01")
	h.put(first, nil)
	h.put(second, nil)
	if got := h.found("Alt", "1980-03-01"); len(got) != 2 { // two entries of one person
		t.Errorf("found %v", got)
	}
	renamed := entry(1, at.Insurer, "Neu", "1980-03-01")
	h.put(renamed, first)
	if got := h.found("Neu", "1980-03-01"); len(got) != 1 {
		t.Errorf("by the new name: %v", got)
	}
	h.commit(func(b *cell.Batch) error { return insured.Mend(h.vault, b, second) })
	if got := h.found("Alt", "1980-03-01"); len(got) != 1 {
		t.Errorf("by the name at the other IK: %v", got)
	}
	h.put(first, renamed)
	h.commit(func(b *cell.Batch) error { return insured.Delete(h.vault, b, insured.Name(at.Insurer), number(1)) })
	if got := h.found("Alt", "1980-03-01"); len(got) != 1 {
		t.Errorf("after one of two entries was deleted: %v", got)
	}
	h.commit(func(b *cell.Batch) error { return insured.Delete(h.vault, b, insured.Name(further), number(1)) })
	if n := h.store.Len(); n != 0 {
		t.Errorf("%d keys are left of nobody", n)
	}
	var b cell.Batch
	if err := insured.Delete(h.vault, &b, insured.Name(further), number(1)); !errors.Is(err, cell.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestStoreSaysNoName(t *testing.T) {
	h := newHouse(t)
	h.put(entry(1, at.Insurer, "Nebelsteiger", "1980-03-01"), nil)
	err := h.store.Scan(nil, nil, func(k, v []byte) error {
		for _, secret := range []string{"Nebelsteiger", "nebelsteiger", "1980-03-01", number(1).Reveal()} {
			if bytes.Contains(k, []byte(secret)) || bytes.Contains(v, []byte(secret)) {
				t.Errorf("the store has %q in clear", secret)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzFold(f *testing.F) {
	for _, s := range []string{"Müller", "Mu\u0308ller", "O'Hara", "%", "\xff", "Łódź", "李"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := insured.Fold(s)
		if twice := insured.Fold(once); twice != once {
			t.Errorf("%q folds to %q and that to %q", s, once, twice)
		}
		if bytes.ContainsAny([]byte(once), "\x00*% ") {
			t.Errorf("%q folds to %q", s, once)
		}
	})
}
