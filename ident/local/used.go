package local

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"path/filepath"
	"sync"
	"time"

	"github.com/querschott/querschott/internal/disk"
)

// deviceLife is how long a browser is known after its last login.
const deviceLife = 90 * 24 * time.Hour

const (
	deviceKeyName  = "device.key"
	deviceKeyBytes = 32
	deviceBytes    = 8 + 16 // time of issue, random
)

// state is what was used of one account's second factor.
type state struct {
	Factor   []byte `json:"factor"`   // ID of the factor that the rest is about
	Step     int64  `json:"step"`     // the last TOTP step that was used
	Recovery uint16 `json:"recovery"` // bit i: recovery code i was used
}

// left returns how many recovery codes are unused.
func (s state) left() int { return recoveryCodes - bits.OnesCount16(s.Recovery) }

// used is the directory of what was used.
//
// mu orders this process's changes; those of others are kept out by a lock on the directory.
type used struct {
	fs  disk.FS
	dir string
	key []byte // of devices

	mu sync.Mutex
}

func openUsed(fsys disk.FS, dir string) (*used, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("couldn't make the directory of used codes: %w", err)
	}
	u := &used{fs: fsys, dir: dir}
	err := u.locked(func() error {
		name := filepath.Join(dir, deviceKeyName)
		key, err := disk.ReadFile(fsys, name, deviceKeyBytes)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			key = make([]byte, deviceKeyBytes)
			_, _ = rand.Read(key) // never fails: crypto/rand ends the program instead
			if err := disk.WriteFile(fsys, name, key); err != nil {
				return fmt.Errorf("couldn't write %s: %w", name, err)
			}
		case err != nil:
			return fmt.Errorf("couldn't read %s: %w", name, err)
		case len(key) != deviceKeyBytes:
			return fmt.Errorf("%s is damaged: %d bytes instead of %d; remove it, and browsers are unknown until the next login", name, len(key), deviceKeyBytes)
		}
		u.key = key
		return nil
	})
	return u, err
}

func (u *used) locked(fn func() error) (err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, real := u.fs.(disk.OS); real { // a disk in memory belongs to one process
		release, locked := disk.Lock(u.dir)
		if locked != nil {
			return fmt.Errorf("couldn't lock %s: %w", u.dir, locked)
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	return fn()
}

// path does not show the account's name to whoever lists the directory.
func (u *used) path(name string) string {
	sum := sha256.Sum256([]byte("querschott/used\x00" + name))
	return filepath.Join(u.dir, hex.EncodeToString(sum[:16])+".json")
}

// read returns what was used of this factor.
func (u *used) read(name string, f *factor) (state, error) {
	fresh := state{Factor: f.ID}
	path := u.path(name)
	data, err := disk.ReadFile(u.fs, path, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return state{}, fmt.Errorf("couldn't read %s: %w", path, err)
	}
	var s state
	if err := strict(data, &s); err != nil {
		return state{}, fmt.Errorf("couldn't understand %s: %w; renew the account it belongs to", path, err)
	}
	if len(s.Factor) != saltBytes || s.Step < 0 || s.Recovery >= 1<<recoveryCodes {
		return state{}, fmt.Errorf("%s is damaged; renew the account it belongs to", path)
	}
	if string(s.Factor) != string(f.ID) {
		return fresh, nil
	}
	return s, nil
}

// shown is a code that was found right: a TOTP step or a recovery code.
type shown struct {
	step     int64 // 0: none
	recovery int   // -1: none
}

func (c shown) right() bool { return c.step > 0 || c.recovery >= 0 }

// unused reports whether the code may still be used. A step before the last used one is used as well.
func (c shown) unused(s state) bool {
	if c.recovery >= 0 {
		return s.Recovery&(1<<c.recovery) == 0
	}
	return c.step > s.Step
}

// use makes durable that the code is used. Of many who show the same code one gets true.
func (u *used) use(name string, f *factor, c shown) (now state, first bool, err error) {
	err = u.locked(func() error {
		s, err := u.read(name, f)
		if err != nil || !c.unused(s) {
			return err
		}
		if c.recovery >= 0 {
			s.Recovery |= 1 << c.recovery
		} else {
			s.Step = c.step
		}
		data, err := json.Marshal(s)
		if err == nil {
			err = disk.WriteFile(u.fs, u.path(name), data)
		}
		if err != nil {
			return fmt.Errorf("couldn't write %s: %w", u.path(name), err)
		}
		now, first = s, true
		return nil
	})
	return now, first && err == nil, err
}

// device makes the token by which a browser is known as one that logged in to this account.
func (u *used) device(a *account, now time.Time) string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, deviceBytes), uint64(now.Unix()))
	b = b[:deviceBytes]
	_, _ = rand.Read(b[8:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(append(b, u.deviceMAC(a, b)...))
}

// knows returns the token's own name if it was made for this account and is not too old.
func (u *used) knows(a *account, token string, now time.Time) (id string, ok bool) {
	b, err := hex.DecodeString(token[:min(len(token), 256)])
	if err != nil || len(b) != deviceBytes+sha256.Size {
		return "", false
	}
	issued := time.Unix(int64(binary.BigEndian.Uint64(b)&(1<<40-1)), 0)
	if !hmac.Equal(b[deviceBytes:], u.deviceMAC(a, b[:deviceBytes])) || now.Sub(issued) >= deviceLife {
		return "", false
	}
	return string(b[:deviceBytes]), true
}

func (u *used) deviceMAC(a *account, b []byte) []byte {
	m := hmac.New(sha256.New, u.key)
	for _, part := range [][]byte{[]byte("querschott/device\x00" + a.Name + "\x00"), a.Factor.ID, b} {
		_, _ = m.Write(part) // a hash takes everything
	}
	return m.Sum(nil)
}
