package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/seal"
)

// vaults holds the private keys of the compartments that answer reads, each only while its door serves reads.
type vaults struct {
	unlock func(...querschott.Compartment) (map[querschott.Compartment]*seal.Keys, error)
	cell   func(querschott.IK) (cell.Store, error)
	rooms  map[querschott.Compartment]*room // fixed
}

// room is the place of one compartment's vault. Orders change it one after another; readers take no lock.
type room struct {
	mu    sync.Mutex // guards epoch, and is held while open is replaced
	epoch uint64     // of the newest order that was obeyed
	open  atomic.Pointer[openRoom]
}

type openRoom struct {
	keys  *seal.Keys
	vault *cell.Vault
}

// newVaults makes a room for each compartment of a service that answers, and for those whose stored mail is read.
func newVaults(list, read []querschott.Compartment, unlock func(...querschott.Compartment) (map[querschott.Compartment]*seal.Keys, error),
	store func(querschott.IK) (cell.Store, error),
) *vaults {
	v := &vaults{unlock: unlock, cell: store, rooms: map[querschott.Compartment]*room{}}
	for _, c := range list {
		if !c.Service.ByMail() {
			v.rooms[c] = &room{}
		}
	}
	for _, c := range read {
		v.rooms[c] = &room{}
	}
	return v
}

// Obey follows a door. When it returns nil for a door that serves no reads, the compartment's private keys are forgotten:
// what a read under way has not opened yet it cannot open any more.
func (v *vaults) Obey(_ context.Context, o door.Order) error {
	if v.rooms[o.Compartment] == nil {
		return nil
	}
	if o.To.ServesReads() {
		return v.OpenAll(map[querschott.Compartment]uint64{o.Compartment: o.Epoch})
	}
	v.rooms[o.Compartment].set(o.Epoch, nil)
	return nil
}

// OpenAll opens many rooms with one reading of the keyring. Those that cannot be opened keep nobody else shut.
func (v *vaults) OpenAll(epochs map[querschott.Compartment]uint64) error {
	var wanted []querschott.Compartment
	for c, epoch := range epochs {
		if r := v.rooms[c]; r != nil && !r.pass(epoch) {
			wanted = append(wanted, c)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	keys, err := v.unlock(wanted...)
	if err != nil {
		err = fmt.Errorf("couldn't unlock every compartment that serves reads: %w", err)
	}
	for _, c := range wanted {
		if keys[c] == nil {
			continue
		}
		store, serr := v.cell(c.Insurer)
		if serr != nil {
			keys[c].Forget()
			err = errors.Join(err, serr)
			continue
		}
		v.rooms[c].set(epochs[c], &openRoom{keys[c], cell.NewVault(store, c, keys[c])})
	}
	return err
}

// pass reports whether the room is open already, or an order that is not older has been obeyed.
func (r *room) pass(epoch uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open.Load() == nil {
		return epoch < r.epoch
	}
	r.epoch = max(r.epoch, epoch)
	return true
}

// set puts a vault into the room, or none, unless a later order has been obeyed; the keys that are not in use are forgotten.
func (r *room) set(epoch uint64, fresh *openRoom) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if epoch < r.epoch {
		fresh.forget()
		return
	}
	r.epoch = epoch
	r.open.Swap(fresh).forget()
}

func (o *openRoom) forget() {
	if o != nil {
		o.keys.Forget()
	}
}

// Vault returns the vault of a compartment whose door serves reads. Without keys, because the door does not serve them or
// has opened in this moment, it is refused with CodeDoorHeld.
func (v *vaults) Vault(c querschott.Compartment) (*cell.Vault, error) {
	if r := v.rooms[c]; r != nil {
		if o := r.open.Load(); o != nil {
			return o.vault, nil
		}
	}
	return nil, querschott.Refuse(querschott.CodeDoorHeld, "the compartment is not unlocked; try again later")
}

// missing reports whether a door in this state has a room that is not open.
func (v *vaults) missing(c querschott.Compartment, s querschott.DoorState) bool {
	r := v.rooms[c]
	return r != nil && s.ServesReads() && r.open.Load() == nil
}

// mendVaults tries again what could not be unlocked.
func (n *Node) mendVaults() {
	again := map[querschott.Compartment]uint64{}
	for _, c := range n.doors.Compartments() {
		if o, _ := n.doors.Current(c); n.vaults.missing(c, o.To) {
			again[c] = o.Epoch
		}
	}
	if err := n.vaults.OpenAll(again); err != nil {
		n.log.Warn("services cannot answer, though their doors are open", "err", err)
	}
}

// KeysInMemory returns the compartments whose private keys are in memory.
func (v *vaults) KeysInMemory() (list []querschott.Compartment) {
	for c, r := range v.rooms {
		if r.open.Load() != nil {
			list = append(list, c)
		}
	}
	return list
}

// keysInMemory counts the compartments whose private keys are in memory, for delivering or for reading.
func (n *Node) keysInMemory() int {
	count := n.pump.KeysInMemory()
	for _, c := range n.vaults.KeysInMemory() {
		if !n.pump.HasKeys(c) {
			count++
		}
	}
	return count
}

// Close forgets all keys.
func (v *vaults) Close() {
	for _, r := range v.rooms {
		r.mu.Lock()
		r.open.Swap(nil).forget()
		r.mu.Unlock()
	}
}
