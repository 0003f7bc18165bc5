package node

import (
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/seal"
)

// keyring makes a keyring with some compartments.
func keyring(t *testing.T, n int) (*seal.Keyring, []querschott.Compartment) {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "unlock.key")
	if err := seal.NewKeyFile(key); err != nil {
		t.Fatal(err)
	}
	ring, err := seal.CreateKeyring(disk.OS{}, filepath.Join(dir, "keyring.age"), seal.KeyFile(key))
	if err != nil {
		t.Fatal(err)
	}
	var cs []querschott.Compartment
	for _, in := range drill.NewWorld(7, n, 10*n).Insurers() {
		cs = append(cs, querschott.Compartment{Insurer: in.IK, Service: querschott.EAU})
	}
	if err := ring.AddCompartments(cs...); err != nil {
		t.Fatal(err)
	}
	return ring, cs
}

var errDamaged = errors.New("damaged")

// TestUnlockerGivesEveryCallerKeysOfItsOwn has callers ask for any sets at the same time.
func TestUnlockerGivesEveryCallerKeysOfItsOwn(t *testing.T) {
	ring, cs := keyring(t, 6)
	missing := cs[5]
	rapid.Check(t, func(t *rapid.T) {
		wishes := rapid.SliceOfN(rapid.SliceOfNDistinct(rapid.SampledFrom(cs), 0, 4, rapid.ID), 1, 8).Draw(t, "wishes")
		var reads, asked atomic.Int64
		gate := make(chan struct{})
		u := &unlocker{read: func(want ...querschott.Compartment) (map[querschott.Compartment]*seal.Keys, error) {
			reads.Add(1)
			<-gate
			seen := map[querschott.Compartment]bool{}
			var good []querschott.Compartment
			var err error
			for _, c := range want {
				asked.Add(1)
				if seen[c] {
					t.Errorf("%s was asked for twice in one reading", c)
				}
				seen[c] = true
				if c == missing {
					err = errDamaged
					continue
				}
				good = append(good, c)
			}
			keys, rerr := ring.Unlock(good...)
			return keys, errors.Join(err, rerr)
		}}
		results := make([]map[querschott.Compartment]*seal.Keys, len(wishes))
		errs := make([]error, len(wishes))
		var wg sync.WaitGroup
		for i, w := range wishes {
			wg.Go(func() { results[i], errs[i] = u.Unlock(w...) })
		}
		close(gate)
		wg.Wait()
		check(t, wishes, results, errs, missing)
		if reads.Load() > int64(len(wishes)) {
			t.Errorf("%d readings for %d callers", reads.Load(), len(wishes))
		}
		if u.leading || len(u.waiting) > 0 {
			t.Errorf("somebody is still waiting: %v %d", u.leading, len(u.waiting))
		}
	})
}

func check(t *rapid.T, wishes [][]querschott.Compartment, results []map[querschott.Compartment]*seal.Keys, errs []error, missing querschott.Compartment) {
	owner := map[*seal.Keys]int{}
	for i, w := range wishes {
		affected := false
		for _, c := range w {
			keys := results[i][c]
			if c == missing {
				affected = true
				if keys != nil {
					t.Errorf("caller %d got keys that cannot be read", i)
				}
				continue
			}
			if keys == nil {
				t.Errorf("caller %d did not get the keys of %s", i, c)
				continue
			}
			if other, taken := owner[keys]; taken {
				t.Errorf("the callers %d and %d hold the same keys", i, other)
			}
			owner[keys] = i
		}
		if affected != errors.Is(errs[i], errDamaged) || !affected && errs[i] != nil {
			t.Errorf("caller %d, affected %v, was told: %v", i, affected, errs[i])
		}
		if len(results[i]) > len(w) {
			t.Errorf("caller %d got more than it asked for", i)
		}
	}
	for keys := range owner { // who forgets keys takes them from nobody else
		keys.Forget()
	}
}

// TestUnlockerMergesReadings holds one reading until all others are in the line.
func TestUnlockerMergesReadings(t *testing.T) {
	ring, cs := keyring(t, 40)
	first, release := make(chan struct{}), make(chan struct{})
	var reads atomic.Int64
	u := &unlocker{read: func(want ...querschott.Compartment) (map[querschott.Compartment]*seal.Keys, error) {
		if reads.Add(1) == 1 {
			close(first)
			<-release
		}
		return ring.Unlock(want...)
	}}
	var wg sync.WaitGroup
	ask := func(c querschott.Compartment) {
		wg.Go(func() {
			if keys, err := u.Unlock(c); err != nil || keys[c] == nil {
				t.Errorf("%s: %v", c, err)
			}
		})
	}
	ask(cs[0])
	<-first
	for _, c := range cs {
		ask(c) // the first one once more: it must not get the keys of the reading under way
	}
	inLine := func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return len(u.waiting) == len(cs)
	}
	(&house{tb: t, log: &logbook{}}).until("everybody in the line", inLine)
	close(release)
	wg.Wait()
	if got := reads.Load(); got != 2 {
		t.Errorf("the keyring was read %d times, want 2", got)
	}
}

func TestUnlockerWithoutAnError(t *testing.T) {
	_, cs := keyring(t, 1)
	u := &unlocker{read: func(...querschott.Compartment) (map[querschott.Compartment]*seal.Keys, error) { return nil, nil }}
	if keys, err := u.Unlock(cs...); !errors.Is(err, seal.ErrNoCompartment) || len(keys) != 0 {
		t.Errorf("a compartment that is not there: %v, %v", keys, err)
	}
}
