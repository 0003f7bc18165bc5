package contain

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

//go:embed playbooks/*.json
var shipped embed.FS

// Shipped returns the playbooks that come with the program. Nobody has signed them: they hold credentials, which the platform may
// by itself, and ask for doors. An operator signs a copy and has the insurers sign it, and then it moves their doors.
func Shipped() ([]*Playbook, error) {
	names, err := fs.Glob(shipped, "playbooks/*.json")
	if err != nil {
		return nil, err
	}
	var list []*Playbook
	for _, name := range names {
		data, err := shipped.ReadFile(name)
		if err != nil {
			return nil, err
		}
		p, err := ParsePlaybook(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, p)
	}
	return list, nil
}

// Library is the playbooks of a node: those that were imported, one file <uuid>.json each, and those that are shipped.
type Library struct {
	fs    disk.FS
	dir   string
	trust Trust

	mu      sync.Mutex // guards the fields below, held while a file is written
	list    map[string]*Held
	damaged []string
}

// Held is a playbook of a library.
type Held struct {
	*Playbook
	Signed  Signed `json:"signed"`
	Shipped bool   `json:"shipped,omitempty"`
}

// maxPlaybooks bounds a library.
const maxPlaybooks = 200

// OpenLibrary reads the playbooks. One that is damaged, or that no operator has signed any more, is left out and named by Damaged.
func OpenLibrary(fsys disk.FS, dir string, trust Trust) (*Library, error) {
	l := &Library{fs: fsys, dir: dir, trust: trust, list: map[string]*Held{}}
	own, err := Shipped()
	if err != nil {
		return nil, err
	}
	for _, p := range own {
		l.list[p.ID] = &Held{Playbook: p, Shipped: true}
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("couldn't make the directory of playbooks: %w", err)
	}
	names, err := fsys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("couldn't list the playbooks: %w", err)
	}
	for _, name := range names {
		if filepath.Ext(name) == ".json" {
			l.load(name)
		}
	}
	return l, nil
}

func (l *Library) load(name string) {
	data, err := disk.ReadFile(l.fs, filepath.Join(l.dir, name), MaxPlaybook)
	if err == nil {
		var h *Held
		if h, err = l.held(data); err == nil && fileName(h.ID) == name {
			l.list[h.ID] = h
			return
		}
	}
	l.damaged = append(l.damaged, fmt.Sprintf("%s: %v", name, err))
}

// Damaged names files that were not believed.
func (l *Library) Damaged() []string { return l.damaged }

// held parses a file and refuses what lacks signatures.
func (l *Library) held(data []byte) (*Held, error) {
	p, err := ParsePlaybook(data)
	if err != nil {
		return nil, &querschott.Error{Code: querschott.CodeInvalid, Public: err.Error()}
	}
	h := &Held{Playbook: p, Signed: l.trust.Check(p)}
	if len(h.Signed.Operators) == 0 {
		return nil, querschott.Refuse(querschott.CodeForbidden, "no operator of this node has signed the playbook; see 'querschott playbook sign'")
	}
	for _, ik := range p.Doors() {
		switch {
		case ik == "*" && len(h.Signed.Insurers) == 0:
			return nil, querschott.Refuse(querschott.CodeForbidden, "the playbook moves doors, and no insurer has signed it")
		case ik != "*" && !h.Signed.By(querschott.IK(ik)):
			return nil, querschott.Refuse(querschott.CodeForbidden, "the playbook moves doors of insurer %s, which has not signed it", ik)
		}
	}
	return h, nil
}

// Import checks a playbook and keeps it, durably. An older version than the one that is held, or another one of the same time, is
// refused: what was withdrawn does not come back by being sent again. The same one with more signatures is taken.
func (l *Library) Import(data []byte) (*Held, error) {
	h, err := l.held(data)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old, known := l.list[h.ID]
	switch {
	case known && h.Modified.Before(old.Modified):
		return nil, querschott.Refuse(querschott.CodeConflict, "a newer version of this playbook is held, of %s", old.Modified.Format(time.RFC3339))
	case known && h.Modified.Equal(old.Modified) && h.Digest != old.Digest:
		return nil, querschott.Refuse(querschott.CodeConflict, "another playbook of the same id and time is held; give it a later 'modified'")
	case !known && len(l.list) >= maxPlaybooks:
		return nil, querschott.Refuse(querschott.CodeNoRoom, "there are %d playbooks already", maxPlaybooks)
	}
	if err := l.callable(h, 0); err != nil {
		return nil, err
	}
	if err := disk.WriteFile(l.fs, filepath.Join(l.dir, fileName(h.ID)), h.raw); err != nil {
		return nil, fmt.Errorf("couldn't write the playbook: %w", err)
	}
	l.list[h.ID] = h
	return h, nil
}

// maxCalls is how deep playbooks may run one another.
const maxCalls = 3

// callable refuses a playbook that runs one that is not there, or itself.
func (l *Library) callable(h *Held, depth int) error {
	if depth > maxCalls {
		return querschott.Refuse(querschott.CodeInvalid, "playbooks run one another deeper than %d, or in a circle", maxCalls)
	}
	for _, id := range h.Calls() {
		next, ok := l.list[id]
		if !ok {
			return querschott.Refuse(querschott.CodeInvalid, "the playbook runs %s, which is not here; import that first", id)
		}
		if err := l.callable(next, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func fileName(id string) string { return strings.TrimPrefix(id, "playbook--") + ".json" }

// List returns all playbooks, ordered by name and id.
func (l *Library) List() []*Held {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]*Held, 0, len(l.list))
	for _, h := range l.list {
		list = append(list, h)
	}
	slices.SortFunc(list, func(x, y *Held) int {
		return strings.Compare(x.Name+"\x00"+x.ID, y.Name+"\x00"+y.ID)
	})
	return list
}

// Find returns a playbook by its id, or by the beginning of it.
func (l *Library) Find(id string) (*Held, error) {
	var found []*Held
	for _, h := range l.List() {
		if h.ID == id {
			return h, nil
		}
		if strings.HasPrefix(h.ID, id) || strings.HasPrefix(fileName(h.ID), id) {
			found = append(found, h)
		}
	}
	if len(found) != 1 || id == "" {
		return nil, querschott.Refuse(querschott.CodeNotFound, "%d playbooks have an id that begins with %.60q; see 'querschott playbook list'", len(found), id)
	}
	return found[0], nil
}

// For returns the playbook for an alarm: the one that is meant most exactly, of those one that is signed, of those the newest. A
// signed one never gives way to a shipped one that is meant more exactly: it is what was agreed.
func (l *Library) For(detector, cause string, now time.Time) *Held {
	var best *Held
	rank := func(h *Held) int {
		n := h.fits(detector, cause)
		if n > 0 && !h.Shipped {
			n += 10
		}
		return n
	}
	for _, h := range l.List() {
		n := rank(h)
		if n == 0 || !h.inForce(now) {
			continue
		}
		if best == nil || n > rank(best) || n == rank(best) && h.Modified.After(best.Modified) {
			best = h
		}
	}
	return best
}

// Get returns a playbook by its exact id, nil if it is not here.
func (l *Library) Get(id string) *Held {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list[id]
}

// MarshalJSON shows what is known of a playbook, not its file.
func (h *Held) MarshalJSON() ([]byte, error) {
	type shown Playbook
	var b bytes.Buffer
	err := json.NewEncoder(&b).Encode(struct {
		*shown
		Doors   []string `json:"doors"`
		Calls   []string `json:"calls,omitempty"`
		Signed  Signed   `json:"signed"`
		Shipped bool     `json:"shipped"`
	}{(*shown)(h.Playbook), h.Doors(), h.Calls(), h.Signed, h.Shipped})
	return b.Bytes(), err
}

// errNotHeld says that a run names a playbook that is not there any more.
var errNotHeld = errors.New("its playbook is not held any more")
