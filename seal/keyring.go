package seal

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"filippo.io/age"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// maxRing bounds what is read as keyring.age or keyring.pub, in bytes: thousands of compartments.
const maxRing = 64 << 20

// Keyring is the file with the keys of all compartments and the named secrets of the platform. In memory it has the
// public halves, checked against the private ones, and in passphrase mode the identity; never a compartment's private
// key. It may be used by many goroutines of one process; of several processes only one may write at a time.
type Keyring struct {
	hidden
	fs     disk.FS
	path   string // keyring.age; the public half lies beside it
	unlock Unlock

	public atomic.Pointer[map[querschott.Compartment]PublicKey] // replaced as a whole; asking needs no lock

	mu         sync.Mutex          // one reader or writer of the files at a time; guards the rest
	identity   *age.X25519Identity // passphrase mode only
	pin        ed25519.PublicKey   // who signs keyring.pub, as keyring.age says
	generation uint64              // newest that was seen; older ones are refused
	settled    bool                // the names in the directory are known to be durable
	frozen     bool
}

// CreateKeyring writes an empty keyring at path (usually ".../keyring.age"), with its public half beside it. The key
// file must exist, see [NewKeyFile] and [NewPassphraseFile]; the keyring must not.
func CreateKeyring(fsys disk.FS, path string, unlock Unlock) (*Keyring, error) {
	k := newKeyring(fsys, path, unlock)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch f, err := fsys.Open(path); {
	case err == nil:
		return nil, errors.Join(fmt.Errorf("couldn't create keyring %s: %w", path, fs.ErrExist), f.Close())
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("couldn't create keyring %s: %w", path, err)
	}
	id, err := k.unlockIdentity()
	if err != nil {
		return nil, err
	}
	r := newRing()
	defer r.wipe()
	k.pin = r.verifyKey()
	if err := k.store(r, id); err != nil {
		return nil, err
	}
	return k, nil
}

// OpenKeyring opens a keyring. It decrypts it once, to check the public half against the private one, and keeps only the
// public half (and, in passphrase mode, the identity).
func OpenKeyring(fsys disk.FS, path string, unlock Unlock) (*Keyring, error) {
	k := newKeyring(fsys, path, unlock)
	k.mu.Lock()
	defer k.mu.Unlock()
	r, _, err := k.load()
	if err != nil {
		return nil, err
	}
	r.wipe()
	return k, nil
}

func newKeyring(fsys disk.FS, path string, unlock Unlock) *Keyring {
	k := &Keyring{fs: fsys, path: path, unlock: unlock}
	k.public.Store(&map[querschott.Compartment]PublicKey{})
	return k
}

// PublicPath returns where the public half of the keyring at path lies: "keyring.pub" beside "keyring.age".
func PublicPath(path string) string { return strings.TrimSuffix(path, filepath.Ext(path)) + ".pub" }

// Freeze makes every later attempt to add a compartment or a secret fail with [ErrFrozen] or [ErrNoSecret]. A command
// that only looks, or a node on a restored copy, must not make fresh keys in place of missing ones.
func (k *Keyring) Freeze() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen = true
}

// AddCompartment makes the keys of one compartment, see [Keyring.AddCompartments].
func (k *Keyring) AddCompartment(c querschott.Compartment) error { return k.AddCompartments(c) }

// AddCompartments makes the keys of those compartments that have none and writes the keyring once, or not at all if
// there is nothing to do. On nil the keys are durable. A shredded compartment is refused with [ErrShredded].
func (k *Keyring) AddCompartments(cs ...querschott.Compartment) error {
	return k.change(func(r *ring) (bool, error) {
		changed := false
		for _, c := range cs {
			switch rec := r.Compartments[c]; {
			case rec != nil && rec.shredded():
				return false, fmt.Errorf("couldn't add compartment %s: %w", c, ErrShredded)
			case rec != nil:
				continue
			case k.frozen:
				return false, fmt.Errorf("couldn't add compartment %s: %w", c, ErrFrozen)
			}
			rec, err := newCompartmentRecord()
			if err != nil {
				return false, fmt.Errorf("couldn't add compartment %s: %w", c, err)
			}
			r.Compartments[c] = rec
			changed = true
		}
		return changed, nil
	})
}

// Compartments returns the compartments that can be sealed to, in order.
func (k *Keyring) Compartments() []querschott.Compartment {
	var cs []querschott.Compartment
	for c := range *k.public.Load() {
		cs = append(cs, c)
	}
	slices.SortFunc(cs, querschott.Compartment.Compare)
	return cs
}

// Public returns the public key to seal to, from memory. It fails with [ErrNoCompartment] only, also when the
// compartment is shredded.
func (k *Keyring) Public(c querschott.Compartment) (PublicKey, error) {
	key, ok := (*k.public.Load())[c]
	if !ok {
		return PublicKey{}, fmt.Errorf("compartment %s: %w", c, ErrNoCompartment)
	}
	return key, nil
}

// Unlock reads the keyring once and returns the private keys of these compartments; the private values of all others are
// overwritten before it returns. It also checks the public half again and takes over what another process changed.
//
// A compartment without private keys ([ErrNoCompartment], [ErrWithdrawn], [ErrShredded]) does not keep the others shut:
// the map then has the others, and the error names those that are missing. When the file itself cannot be read or
// trusted ([ErrTampered]), the map is nil.
func (k *Keyring) Unlock(cs ...querschott.Compartment) (map[querschott.Compartment]*Keys, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, _, err := k.load()
	if err != nil {
		return nil, err
	}
	defer r.wipe()
	out := make(map[querschott.Compartment]*Keys, len(cs))
	var missing []error
	for _, c := range cs {
		if out[c] != nil {
			continue
		}
		keys, err := r.Compartments[c].keys(c)
		if err != nil {
			missing = append(missing, fmt.Errorf("couldn't unlock compartment %s: %w", c, err))
			continue
		}
		out[c] = keys
	}
	return out, errors.Join(missing...)
}

// Rotate adds a key version to a compartment: what is sealed from now on, within [ContextLife], is sealed to the new
// one. Older versions stay, so older entries and data keys still open; the index key for pseudonyms stays too.
func (k *Keyring) Rotate(c querschott.Compartment) error {
	return k.change(func(r *ring) (bool, error) {
		rec := r.Compartments[c]
		err := rec.usable()
		if err == nil {
			err = rec.rotate()
		}
		if err != nil {
			return false, fmt.Errorf("couldn't rotate compartment %s: %w", c, err)
		}
		return true, nil
	})
}

// Shred removes all keys of a compartment for good and spends its name: what was sealed under them can never be opened
// again. The erasure is complete when older copies of keyring.age, backups included, are gone as well.
func (k *Keyring) Shred(c querschott.Compartment) error {
	return k.change(func(r *ring) (bool, error) {
		rec := r.Compartments[c]
		if rec == nil {
			return false, fmt.Errorf("couldn't shred compartment %s: %w", c, ErrNoCompartment)
		}
		rec.wipe()
		r.Compartments[c] = &compartmentRecord{}
		return true, nil
	})
}

// Secret returns a named secret of the platform ("ledger/signing", "outbox", ...), n bytes long and random, and makes it
// at first use unless the keyring is frozen ([ErrNoSecret]). The caller overwrites it after use. Names have up to 128
// letters, digits and the characters "/._@-".
func (k *Keyring) Secret(name string, n int) ([]byte, error) {
	all, err := k.Secrets(n, name)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// Secrets is Secret for many names: the keyring is read once, and written once if any of them is new.
func (k *Keyring) Secrets(n int, names ...string) ([][]byte, error) {
	if n < 16 || n > 1024 {
		return nil, fmt.Errorf("secrets of %d bytes were asked for, between 16 and 1024 are possible", n)
	}
	out := make([][]byte, len(names))
	err := k.change(func(r *ring) (changed bool, err error) {
		for i, name := range names {
			made := false
			if out[i], made, err = k.secret(r, name, n); err != nil {
				return false, fmt.Errorf("secret %s: %w", name, err)
			}
			changed = changed || made
		}
		return changed, nil
	})
	if err != nil {
		for _, value := range out {
			clear(value)
		}
		return nil, err
	}
	return out, nil
}

// secret returns one secret of an open ring, and makes it if there is none.
func (k *Keyring) secret(r *ring, name string, n int) (value []byte, made bool, err error) {
	if err := checkSecretName(name); err != nil {
		return nil, false, err
	}
	value, exists := r.Secrets[name]
	switch {
	case exists && len(value) == 0:
		return nil, false, ErrShredded
	case exists && len(value) != n:
		return nil, false, fmt.Errorf("it has %d bytes, %d were asked for", len(value), n)
	case exists:
		return bytes.Clone(value), false, nil
	case k.frozen:
		return nil, false, ErrNoSecret
	}
	value = randomBytes(n)
	r.Secrets[name] = bytes.Clone(value)
	return value, true, nil
}

// ShredSecret removes a named secret for good and spends its name, see [Keyring.Shred].
func (k *Keyring) ShredSecret(name string) error {
	return k.change(func(r *ring) (bool, error) {
		value, exists := r.Secrets[name]
		if !exists {
			return false, fmt.Errorf("couldn't shred secret: %w", ErrNoSecret)
		}
		clear(value)
		r.Secrets[name] = []byte{}
		return true, nil
	})
}

func checkSecretName(name string) error {
	ok := len(name) > 0 && len(name) <= 128
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("/._@-", c) >= 0)
	}
	if !ok {
		return errors.New("the name of a secret has up to 128 letters, digits and the characters /._@-")
	}
	return nil
}

// change reads the keyring, lets fn change it and writes it if fn says so.
func (k *Keyring) change(fn func(r *ring) (bool, error)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, id, err := k.load()
	if err != nil {
		return err
	}
	defer r.wipe()
	changed, err := fn(r)
	if err != nil || !changed {
		return err
	}
	return k.store(r, id)
}

// unlockIdentity is called with mu held.
func (k *Keyring) unlockIdentity() (*age.X25519Identity, error) {
	if k.identity != nil {
		return k.identity, nil
	}
	id, err := k.unlock.identity()
	if err != nil {
		return nil, err
	}
	if k.unlock.ask != nil {
		k.identity = id
	}
	return id, nil
}

// load reads both halves, checks them against each other and takes over the public one. The caller holds mu and wipes
// the ring.
func (k *Keyring) load() (*ring, *age.X25519Identity, error) {
	id, err := k.unlockIdentity()
	if err != nil {
		return nil, nil, err
	}
	if !k.settled {
		// A rename that was seen and not synced can still be undone by a crash; nobody may seal to such keys.
		if err := k.fs.SyncDir(filepath.Dir(k.path)); err != nil {
			return nil, nil, fmt.Errorf("couldn't make keyring %s durable: %w", k.path, err)
		}
		k.settled = true
	}
	data, err := disk.ReadFile(k.fs, k.path, maxRing)
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't read keyring: %w", err)
	}
	r, err := openRing(data, id)
	if err != nil {
		return nil, nil, fmt.Errorf("keyring %s: %w", k.path, err)
	}
	if err := k.accept(r); err != nil {
		r.wipe()
		return nil, nil, err
	}
	return r, id, nil
}

// accept checks a ring against what this process knows and against keyring.pub.
func (k *Keyring) accept(r *ring) error {
	pin := r.verifyKey()
	if k.pin != nil && !pin.Equal(k.pin) {
		return fmt.Errorf("keyring %s is not the one that was opened: %w", k.path, ErrTampered)
	}
	if r.Generation < k.generation {
		return fmt.Errorf("keyring %s went back from generation %d to %d: %w",
			k.path, k.generation, r.Generation, ErrTampered)
	}
	private := r.public()
	public, err := k.readPublic(pin)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && public.Generation < r.Generation:
		err = k.writePublic(private, r.Signing) // the trace of a crash between the two files
	case err == nil && !public.equal(private):
		err = fmt.Errorf("%s does not agree with %s: %w", PublicPath(k.path), k.path, ErrTampered)
	}
	if err != nil {
		return err
	}
	k.pin = pin
	return k.publish(private)
}

func (k *Keyring) readPublic(pin ed25519.PublicKey) (publicRing, error) {
	data, err := disk.ReadFile(k.fs, PublicPath(k.path), maxRing)
	if err != nil {
		return publicRing{}, fmt.Errorf("couldn't read the public half: %w", err)
	}
	p, err := parsePublic(data, pin)
	if err != nil {
		return publicRing{}, fmt.Errorf("%s: %w", PublicPath(k.path), err)
	}
	return p, nil
}

func (k *Keyring) writePublic(p publicRing, seed []byte) error {
	data, err := signPublic(p, seed)
	if err != nil {
		return err
	}
	if err := disk.WriteFile(k.fs, PublicPath(k.path), data); err != nil {
		return fmt.Errorf("couldn't write the public half: %w", err)
	}
	return nil
}

// publish makes the public keys available to callers of Public.
func (k *Keyring) publish(p publicRing) error {
	if p.Generation == k.generation {
		return nil
	}
	keys, err := p.parsed()
	if err != nil {
		return err
	}
	k.public.Store(&keys)
	k.generation = p.Generation
	return nil
}

// store writes a changed ring as the next generation. The caller holds mu.
func (k *Keyring) store(r *ring, id *age.X25519Identity) error {
	r.Generation++
	data, err := sealRing(r, id)
	if err != nil {
		return err
	}
	k.settled = false
	if err := disk.WriteFile(k.fs, k.path, data); err != nil {
		return fmt.Errorf("couldn't write keyring: %w", err)
	}
	public := r.public()
	if err := k.writePublic(public, r.Signing); err != nil {
		return err
	}
	k.settled = true
	return k.publish(public)
}
