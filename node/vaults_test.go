package node

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/seal"
)

// keyCase unlocks keys and counts; it refuses while it is locked.
type keyCase struct {
	given  atomic.Int64
	locked atomic.Bool
	last   atomic.Pointer[seal.Keys]
	pause  chan struct{} // not nil: an unlocking takes from it when it begins and before it goes on
}

func (k *keyCase) unlock(cs ...querschott.Compartment) (map[querschott.Compartment]*seal.Keys, error) {
	if k.pause != nil {
		<-k.pause
		<-k.pause
	}
	if k.locked.Load() {
		return nil, errors.New("the key file is away")
	}
	out := map[querschott.Compartment]*seal.Keys{}
	for _, c := range cs {
		keys, _, err := seal.NewKeys(c)
		if err != nil {
			return nil, err
		}
		k.given.Add(1)
		k.last.Store(keys)
		out[c] = keys
	}
	return out, nil
}

func newTestVaults(t *testing.T, k *keyCase, cs ...querschott.Compartment) *vaults {
	t.Helper()
	store := celltest.NewMemory()
	return newVaults(cs, nil, k.unlock, func(ik querschott.IK) (cell.Store, error) {
		if ik == "109500970" {
			return nil, errors.New("no cell")
		}
		return store, nil
	})
}

func TestVaultsFollowTheirDoor(t *testing.T) {
	vsdm := querschott.Compartment{Insurer: "109500969", Service: querschott.VSDM}
	eau := querschott.Compartment{Insurer: "109500969", Service: querschott.EAU}
	k := &keyCase{}
	v := newTestVaults(t, k, vsdm, eau)
	obey := func(epoch uint64, to querschott.DoorState) {
		t.Helper()
		for _, c := range []querschott.Compartment{vsdm, eau} {
			if err := v.Obey(t.Context(), door.Order{Compartment: c, Epoch: epoch, To: to}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := v.Vault(vsdm); querschott.CodeOf(err) != querschott.CodeDoorHeld {
		t.Errorf("before any order: %v", err)
	}
	epoch := uint64(0)
	for _, step := range []struct {
		to    querschott.DoorState
		keys  int
		given int64
	}{
		{querschott.Open, 1, 1},
		{querschott.ReadOnly, 1, 1}, // the same keys go on
		{querschott.Hold, 0, 1},
		{querschott.ReadOnly, 1, 2},
		{querschott.Closed, 0, 2},
		{querschott.Open, 1, 3},
	} {
		epoch++
		held := k.last.Load()
		obey(epoch, step.to)
		if len(v.KeysInMemory()) != step.keys || k.given.Load() != step.given {
			t.Errorf("%s: keys of %d compartments in memory, %d unlocked in all", step.to, len(v.KeysInMemory()), k.given.Load())
		}
		if _, err := v.Vault(vsdm); (err == nil) != (step.keys == 1) {
			t.Errorf("%s: %v", step.to, err)
		}
		if step.keys == 0 {
			if _, err := held.Person("A123456780"); !errors.Is(err, seal.ErrForgotten) {
				t.Errorf("%s: the keys still work: %v", step.to, err)
			}
		}
	}
	if _, err := v.Vault(eau); err == nil {
		t.Error("a compartment of mail has a vault beside the pump's")
	}
	v.Close()
	if len(v.KeysInMemory()) != 0 {
		t.Error("closed, and keys are in memory")
	}
}

// A closing that overtakes an unlocking wins.
func TestVaultsClosingOvertakes(t *testing.T) {
	c := querschott.Compartment{Insurer: "109500969", Service: querschott.VSDM}
	k := &keyCase{pause: make(chan struct{})}
	v := newTestVaults(t, k, c)
	done := make(chan error)
	go func() { done <- v.Obey(t.Context(), door.Order{Compartment: c, Epoch: 1, To: querschott.Open}) }()
	k.pause <- struct{}{}
	if err := v.Obey(t.Context(), door.Order{Compartment: c, Epoch: 2, To: querschott.Closed}); err != nil {
		t.Fatal(err)
	}
	k.pause <- struct{}{}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(v.KeysInMemory()) != 0 {
		t.Fatal("the room is open after a closing")
	}
	if _, err := k.last.Load().Person("A123456780"); !errors.Is(err, seal.ErrForgotten) {
		t.Errorf("the keys still work: %v", err)
	}
}

func TestVaultsThatCannotOpen(t *testing.T) {
	c := querschott.Compartment{Insurer: "109500969", Service: querschott.VSDM}
	broken := querschott.Compartment{Insurer: "109500970", Service: querschott.VSDM}
	k := &keyCase{}
	v := newTestVaults(t, k, c, broken)
	k.locked.Store(true)
	if err := v.OpenAll(map[querschott.Compartment]uint64{c: 1}); err == nil || !strings.Contains(err.Error(), "key file is away") {
		t.Errorf("without the key file: %v", err)
	}
	k.locked.Store(false)
	if err := v.OpenAll(map[querschott.Compartment]uint64{c: 1, broken: 1}); err == nil || !strings.Contains(err.Error(), "no cell") {
		t.Errorf("without a cell: %v", err)
	}
	if _, err := v.Vault(c); err != nil {
		t.Errorf("a broken cell keeps another one shut: %v", err)
	}
	if _, err := v.Vault(broken); err == nil {
		t.Error("a vault without a cell")
	}
}
