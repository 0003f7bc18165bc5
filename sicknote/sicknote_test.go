package sicknote_test

import (
	"errors"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/seal"
	"github.com/querschott/querschott/sicknote"
	"github.com/querschott/querschott/wire/eau"
)

var at = querschott.Compartment{Insurer: "109500969", Service: querschott.EAU}

const (
	anna = querschott.KVNR("X110592983")
	ben  = querschott.KVNR("A123456780")
)

// What is stored is listed with its cancellation; a message without a document is listed too; another person's is not.
func TestListAndGet(t *testing.T) {
	keys, _, err := seal.NewKeys(at)
	if err != nil {
		t.Fatal(err)
	}
	store := celltest.NewMemory()
	vault := cell.NewVault(store, at, keys)
	var b cell.Batch
	tx := &intake.Tx{Compartment: at, Vault: vault, Batch: &b, Keys: keys}
	put := func(seq uint64, who querschott.KVNR, document string, facts any) {
		t.Helper()
		m := &intake.Message{Seq: seq, Arrival: intake.Arrival{Sender: "praxis@kim", Body: []byte("no mail")}}
		if err := tx.Store(m, intake.Note{Result: intake.ResultStored, Document: document, Person: who}, facts); err != nil {
			t.Fatal(err)
		}
	}
	put(1, anna, "one", sicknote.Facts{Kind: eau.KindCertificate, From: "2026-11-01"})
	put(2, anna, "two", sicknote.Facts{Kind: eau.KindCertificate})
	put(3, anna, "", nil)
	put(4, ben, "four", sicknote.Facts{Kind: eau.KindCertificate})
	blind, err := keys.Blind(sicknote.LabelDocument, []byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	b.Put(sicknote.CancelledKey(at, blind), append(cell.Uint64(9), cell.Uint64(2)...))
	if err := store.Commit(&b); err != nil {
		t.Fatal(err)
	}
	list, more, err := sicknote.List(vault, store, at, anna, 10)
	if err != nil || more || len(list) != 3 {
		t.Fatalf("%+v, %v, %v", list, more, err)
	}
	for i, cancelled := range []bool{false, true, false} {
		if list[i].Seq != uint64(i+1) || list[i].Cancelled != cancelled || list[i].Sender != "praxis@kim" {
			t.Errorf("note %d is %+v", i+1, list[i])
		}
	}
	if list[0].Facts.From != "2026-11-01" {
		t.Errorf("facts: %+v", list[0].Facts)
	}
	if list, more, err := sicknote.List(vault, store, at, anna, 2); err != nil || !more || len(list) != 2 {
		t.Errorf("at most two: %d, %v, %v", len(list), more, err)
	}
	if n, document, err := sicknote.Get(vault, store, at, anna, 2); err != nil || !n.Cancelled || document != nil {
		t.Errorf("one note: %+v, %q, %v", n, document, err)
	}
	for who, seq := range map[querschott.KVNR]uint64{anna: 4, ben: 1} { // a number is good for its own person only
		if _, _, err := sicknote.Get(vault, store, at, who, seq); !errors.Is(err, sicknote.ErrNotFound) {
			t.Errorf("another person's note: %v", err)
		}
	}
	keys.Forget()
	if _, _, err := sicknote.List(vault, store, at, anna, 10); !errors.Is(err, seal.ErrForgotten) {
		t.Errorf("with the door shut: %v", err)
	}
}
