package celltest_test

import (
	"errors"
	"testing"

	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
)

func TestMemory(t *testing.T) {
	celltest.Run(t, func(*testing.T) cell.Store { return celltest.NewMemory() })
}

func TestInjectedFailures(t *testing.T) {
	m := celltest.NewMemory()
	commit := func(k string) error {
		var b cell.Batch
		b.Put([]byte(k), nil)
		return m.Commit(&b)
	}
	has := func(k string) bool {
		_, err := m.Get([]byte(k))
		return err == nil
	}
	m.FailNext(celltest.Undone)
	if err := commit("undone"); !errors.Is(err, celltest.ErrInjected) || has("undone") {
		t.Errorf("Undone: %v, present %t", err, has("undone"))
	}
	m.FailNext(celltest.Done)
	if err := commit("done"); !errors.Is(err, celltest.ErrInjected) || !has("done") {
		t.Errorf("Done: %v, present %t", err, has("done"))
	}
	if err := commit("acked"); err != nil {
		t.Errorf("the failure was for one commit only: %v", err)
	}
	old := m
	m = m.Crash()
	if !has("done") || !has("acked") || has("undone") {
		t.Error("the crash changed what the store holds")
	}
	if _, err := old.Get(nil); !errors.Is(err, cell.ErrClosed) {
		t.Errorf("the crashed store answers: %v", err)
	}
	if m.Len() != 2 || old.Commits() != 2 {
		t.Errorf("%d keys, %d commits; want 2 and 2", m.Len(), old.Commits())
	}
}
