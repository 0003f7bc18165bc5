//go:build e2e

package e2e

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/pebble"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/outbox"
	"github.com/querschott/querschott/seal"
	"github.com/querschott/querschott/service/eau"
)

// stored is one message in a cell, opened with its compartment's keys.
type stored struct {
	intake.About
	Body []byte
}

// taken reports whether a result is that of a sick note that was taken. Among thousands of invented ones some have the
// same person, doctor, day and diagnosis, and are noted as made again.
func taken(result string) bool { return result == eau.Stored || result == eau.Recreated }

// vaults opens compartments of a node that has stopped, as their insurers would.
type vaults struct {
	stores map[querschott.IK]*pebble.Store
	keys   map[querschott.Compartment]*seal.Keys
}

func openVaults(t testing.TB, cfg *node.Config, cs ...querschott.Compartment) *vaults {
	t.Helper()
	ring, err := seal.OpenKeyring(disk.OS{}, filepath.Join(cfg.Data, "keyring.age"), seal.KeyFile(cfg.Keyring.Key))
	if err != nil {
		t.Fatal(err)
	}
	v := &vaults{stores: map[querschott.IK]*pebble.Store{}}
	if v.keys, err = ring.Unlock(cs...); err != nil {
		t.Fatal(err)
	}
	for _, c := range cs {
		if v.stores[c.Insurer] != nil {
			continue
		}
		s, err := pebble.Open(filepath.Join(cfg.Data, "cells", string(c.Insurer)), pebble.Options{MustExist: true, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		v.stores[c.Insurer] = s
	}
	return v
}

// close gives the cells back.
func (v *vaults) close(t testing.TB) {
	t.Helper()
	for _, s := range v.stores {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// person returns a person's messages in a compartment, in the order of their sequence numbers.
func (v *vaults) person(t testing.TB, c querschott.Compartment, p querschott.KVNR) []stored {
	t.Helper()
	var list []stored
	vault := cell.NewVault(v.stores[c.Insurer], c, v.keys[c])
	err := vault.Records(p, func(name string, _ uint64, value []byte) error {
		about, body, err := intake.ParseStored(value)
		if err == nil && name != intake.RecordName(about.Seq) {
			t.Errorf("record %s says that it is message %d", name, about.Seq)
		}
		list = append(list, stored{about, append([]byte(nil), body...)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// openOutbox opens the outbox of a node that has stopped, with its local mailboxes.
func openOutbox(t testing.TB, cfg *node.Config) (box *outbox.Outbox, done func()) {
	t.Helper()
	ring, err := seal.OpenKeyring(disk.OS{}, filepath.Join(cfg.Data, "keyring.age"), seal.KeyFile(cfg.Keyring.Key))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ring.Secret("outbox", 32)
	if err != nil {
		t.Fatal(err)
	}
	store, err := pebble.Open(filepath.Join(cfg.Data, "outbox"), pebble.Options{MustExist: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if box, err = outbox.Open(store, seal.NewBox(key), outbox.Options{}); err != nil {
		t.Fatal(err)
	}
	return box, func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}
