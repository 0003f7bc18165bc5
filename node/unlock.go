package node

import (
	"sync"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/seal"
)

// unlocker makes one reading of the keyring out of many at the same time. Reading costs the same for one compartment as
// for all of them, and when many doors open at once it must not cost that often.
type unlocker struct {
	read func(...querschott.Compartment) (map[querschott.Compartment]*seal.Keys, error)

	mu      sync.Mutex // guards the fields below
	waiting []*unlocking
	leading bool // somebody is reading
}

type unlocking struct {
	cs   []querschott.Compartment
	keys map[querschott.Compartment]*seal.Keys
	err  error
	done chan struct{}
}

// Unlock returns the keys of the compartments; they belong to this caller alone.
func (u *unlocker) Unlock(cs ...querschott.Compartment) (map[querschott.Compartment]*seal.Keys, error) {
	r := &unlocking{cs: cs, done: make(chan struct{})}
	u.mu.Lock()
	u.waiting = append(u.waiting, r)
	lead := !u.leading
	u.leading = true
	u.mu.Unlock()
	if lead {
		u.lead()
	}
	<-r.done
	return r.keys, r.err
}

// lead reads until nobody waits.
func (u *unlocker) lead() {
	for {
		u.mu.Lock()
		round, wanted := u.round()
		u.leading = len(round) > 0
		u.mu.Unlock()
		if len(round) == 0 {
			return
		}
		all, err := u.read(wanted...)
		for _, r := range round {
			r.take(all, err)
			close(r.done)
		}
	}
}

// round takes those out of the line who want different compartments; who wants one that is already wanted gets keys of its
// own in the next round, because whoever forgets keys forgets them for all who hold them.
func (u *unlocker) round() (round []*unlocking, wanted []querschott.Compartment) {
	taken := map[querschott.Compartment]bool{}
	var later []*unlocking
	for _, r := range u.waiting {
		clash := false
		for _, c := range r.cs {
			clash = clash || taken[c]
		}
		if clash {
			later = append(later, r)
			continue
		}
		for _, c := range r.cs {
			taken[c] = true
		}
		round, wanted = append(round, r), append(wanted, r.cs...)
	}
	u.waiting = later
	return round, wanted
}

// take gives a caller its part. An error is everybody's whose keys are missing.
func (r *unlocking) take(all map[querschott.Compartment]*seal.Keys, err error) {
	r.keys = map[querschott.Compartment]*seal.Keys{}
	for _, c := range r.cs {
		keys, ok := all[c]
		if ok {
			r.keys[c] = keys
			continue
		}
		if r.err = err; err == nil {
			r.err = seal.ErrNoCompartment
		}
	}
}
