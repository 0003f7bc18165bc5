package ident

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/querschott/querschott"
)

// Edition returns the list as bytes for another node that follows it, and their epoch. It has no followed list in it.
func (r *Revocations) Edition() (epoch uint64, data []byte, err error) {
	t := r.table.Load()
	file := denyFile{Epoch: t.epoch, Revocations: t.entries}
	if file.Revocations == nil {
		file.Revocations = []Revocation{}
	}
	if data, err = json.Marshal(file); err != nil {
		err = fmt.Errorf("couldn't write an edition of the deny list: %w", err)
	}
	return t.epoch, data, err
}

// Follow takes over the list of another node, which the caller has verified: it acts here besides the list in the file, and
// is in no file. An older edition than the one that acts is refused, and so is one that cannot be understood.
func (r *Revocations) Follow(data []byte) (epoch uint64, err error) {
	file, err := parseRevocations(data)
	if err != nil {
		return 0, fmt.Errorf("couldn't understand an edition of the deny list: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.followed.Load(); old != nil {
		switch {
		case file.Epoch < old.epoch:
			return 0, querschott.Refuse(querschott.CodeConflict, "epoch %d of the deny list is older than epoch %d", file.Epoch, old.epoch)
		case file.Epoch == old.epoch && !slices.EqualFunc(old.entries, file.Revocations, Revocation.equal):
			return 0, querschott.Refuse(querschott.CodeConflict, "it is another deny list of epoch %d", file.Epoch)
		}
	}
	r.followed.Store(newDenyTable(file.Epoch, file.Revocations))
	return file.Epoch, nil
}

// Followed returns the entries of the list that is followed, and its epoch; 0 if there is none.
func (r *Revocations) Followed() (epoch uint64, list []Revocation) {
	t := r.followed.Load()
	if t == nil {
		return 0, nil
	}
	list = slices.Clone(t.entries)
	for i := range list {
		list[i] = list[i].clone()
	}
	return t.epoch, list
}
