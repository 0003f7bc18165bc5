package seal

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

// A crash, or a failing disk, at any point leaves the keyring with or without the change, never without the older keys;
// what was acknowledged is there.
func TestKeyringSurvivesCrashes(t *testing.T) {
	unlock := keyFile(t)
	boom := errors.New("disk failed")
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		d := crashdisk.New()
		k, err := CreateKeyring(d, ringPath, unlock)
		must(t, err)
		must(t, k.AddCompartment(eau))
		e := sealEntry(t, NewContexts(k.Public, time.Now), eau, "sealed before", 1)

		countdown := rng.IntN(14)
		d.Fail(func(string, string) error {
			if countdown--; countdown < 0 {
				return boom
			}
			return nil
		})
		added := k.AddCompartment(other) == nil
		rotated := added && k.Rotate(eau) == nil
		d.Fail(nil)
		if rng.IntN(2) == 0 { // the process goes on for a while: what it then seals must survive as well
			if err := k.Rotate(letter); !errors.Is(err, ErrNoCompartment) {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		var later entry
		if _, err := k.Public(other); err == nil {
			later = sealEntry(t, NewContexts(k.Public, time.Now), other, "sealed after", 2)
		}

		k = reopen(t, crash(t, d, rng), unlock)
		keys := unlockOne(t, k, eau)
		if got, err := e.open(keys); err != nil || string(got) != "sealed before" {
			t.Fatalf("seed %d: %q, %v", seed, got, err)
		}
		if pub, _ := k.Public(eau); rotated && pub.Version != 2 {
			t.Fatalf("seed %d: an acknowledged rotation is lost", seed)
		}
		if later.sealed != nil || added {
			foreign := unlockOne(t, k, other)
			if _, err := later.open(foreign); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
}

// A write that failed may have left names that a crash takes back. Nobody may seal to keys under such names.
func TestKeysAreDurableBeforeTheyAreSealedTo(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		k, d, unlock := newTestKeyring(t)
		app := querschott.Compartment{Insurer: "109500969", Service: querschott.App}
		boom := errors.New("disk failed")
		d.Fail(func(op, _ string) error {
			if op == "syncdir" {
				return boom
			}
			return nil
		})
		if err := k.AddCompartment(app); !errors.Is(err, boom) {
			t.Fatalf("got %v", err)
		}
		if _, err := k.Unlock(); !errors.Is(err, boom) {
			t.Fatalf("got %v", err)
		}
		d.Fail(nil)
		if seed%2 == 0 {
			k = reopen(t, d, unlock)
		}
		if _, err := k.Unlock(); err != nil {
			t.Fatal(err)
		}
		e := sealEntry(t, NewContexts(k.Public, time.Now), app, "sealed", 1)
		k = reopen(t, crash(t, d, rng), unlock)
		if got, err := e.open(unlockOne(t, k, app)); err != nil || string(got) != "sealed" {
			t.Fatalf("seed %d: %q, %v", seed, got, err)
		}
	}
}

// crash draws until the keyring has a name: the disk also draws the loss of both names of a rename that replaces, which
// POSIX excludes.
func crash(t testing.TB, d *crashdisk.Disk, rng *rand.Rand) *crashdisk.Disk {
	t.Helper()
	for range 20 {
		after := d.Crash(rng)
		names, err := after.List(filepath.Dir(ringPath))
		must(t, err)
		if slices.Contains(names, filepath.Base(ringPath)) {
			return after
		}
	}
	t.Fatal("every crash lost the keyring")
	return nil
}

func TestTamperedPublicHalfIsRefused(t *testing.T) {
	k, d, unlock := newTestKeyring(t)
	good := readFile(t, d, pubPath)
	var env publicEnvelope
	must(t, json.Unmarshal(good, &env))
	var p publicRing
	must(t, json.Unmarshal(env.Keyring, &p))

	_, attacker, err := ed25519.GenerateKey(nil)
	must(t, err)
	_, attackersKey, err := NewKeys(eau)
	must(t, err)
	redirected := p
	redirected.Compartments = map[querschott.Compartment]publicRecord{eau: {1, attackersKey.Bytes()}}
	byAttacker, err := signPublic(redirected, attacker.Seed())
	must(t, err)
	var forged publicEnvelope
	must(t, json.Unmarshal(byAttacker, &forged))
	forged.Key = env.Key
	claimed, err := json.Marshal(forged)
	must(t, err)
	forged.Signature = env.Signature
	stolen, err := json.Marshal(forged)
	must(t, err)

	forged = env
	forged.Key = attacker.Public().(ed25519.PublicKey)
	renamed, err := json.Marshal(forged)
	must(t, err)

	for name, bad := range map[string][]byte{
		"our signature, another key":     renamed,
		"signed by the attacker":         byAttacker,
		"attacker's signature, our key":  claimed,
		"our signature, other content":   stolen,
		"empty":                          {},
		"cut off":                        good[:len(good)/2],
		"something follows":              append(slices.Clone(good), "{}"...),
		"an unknown field":               bytes.Replace(good, []byte(`{"keyring"`), []byte(`{"x":1,"keyring"`), 1),
		"one digit of an insurer":        bytes.Replace(good, []byte("109500969"), []byte("101575519"), 1),
		"not JSON":                       []byte("keyring"),
		"generation up, old signature":   bytes.Replace(good, []byte(`"generation":2`), []byte(`"generation":3`), 1),
		"generation down, old signature": bytes.Replace(good, []byte(`"generation":2`), []byte(`"generation":1`), 1),
	} {
		if bytes.Equal(bad, good) {
			t.Fatalf("%s: nothing was changed", name)
		}
		must(t, disk.WriteFile(d, pubPath, bad))
		before, err := k.Public(eau)
		must(t, err)
		if keys, err := k.Unlock(eau); !errors.Is(err, ErrTampered) || keys != nil {
			t.Errorf("%s: Unlock gave %v", name, err)
		}
		if err := k.Rotate(eau); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: Rotate gave %v", name, err)
		}
		if after, err := k.Public(eau); err != nil || !bytes.Equal(before.Bytes(), after.Bytes()) {
			t.Errorf("%s: the running node took the key over", name)
		}
		if _, err := OpenKeyring(d, ringPath, unlock); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: OpenKeyring gave %v", name, err)
		}
	}
	must(t, disk.WriteFile(d, pubPath, good))
	unlockOne(t, k, eau)
}

func TestOldOrMissingPublicHalfIsWrittenAgain(t *testing.T) {
	k, d, unlock := newTestKeyring(t)
	old := readFile(t, d, pubPath)
	must(t, k.Rotate(eau))
	current := readFile(t, d, pubPath)
	must(t, disk.WriteFile(d, pubPath, old))
	pub, err := reopen(t, d, unlock).Public(eau)
	must(t, err)
	if pub.Version != 2 || !bytes.Equal(readFile(t, d, pubPath), current) {
		t.Errorf("version %d is sealed to", pub.Version)
	}
	must(t, d.Remove(pubPath))
	reopen(t, d, unlock)
	if !bytes.Equal(readFile(t, d, pubPath), current) {
		t.Error("the public half was not written again")
	}
}

func TestRolledBackOrForeignKeyringIsRefused(t *testing.T) {
	k, d, unlock := newTestKeyring(t)
	id, err := unlock.identity()
	must(t, err)
	old, oldPub := readFile(t, d, ringPath), readFile(t, d, pubPath)
	must(t, k.Rotate(eau))
	current, currentPub := readFile(t, d, ringPath), readFile(t, d, pubPath)

	must(t, disk.WriteFile(d, ringPath, old))
	if _, err := OpenKeyring(d, ringPath, unlock); !errors.Is(err, ErrTampered) {
		t.Errorf("only keyring.age rolled back: %v", err)
	}
	must(t, disk.WriteFile(d, pubPath, oldPub))
	if _, err := k.Unlock(eau); !errors.Is(err, ErrTampered) {
		t.Errorf("both rolled back under a running node: %v", err)
	}

	// Everybody who knows the recipient can encrypt a keyring to it.
	foreign := newRing()
	rec, err := newCompartmentRecord()
	must(t, err)
	foreign.Compartments[eau] = rec
	foreign.Generation = 99
	inner, err := json.Marshal(foreign)
	must(t, err)
	plain, err := json.Marshal(ringEnvelope{randomBytes(32), inner})
	must(t, err)
	forged, err := encryptAge(plain, id.Recipient())
	must(t, err)
	must(t, disk.WriteFile(d, ringPath, forged))
	must(t, d.Remove(pubPath))
	if _, err := OpenKeyring(d, ringPath, unlock); !errors.Is(err, ErrTampered) {
		t.Errorf("a keyring without the MAC of the identity: %v", err)
	}

	// The holder of the identity made another keyring: this process was not started with it.
	authentic, err := sealRing(foreign, id)
	must(t, err)
	must(t, disk.WriteFile(d, ringPath, authentic))
	if _, err := k.Unlock(eau); !errors.Is(err, ErrTampered) {
		t.Errorf("another keyring under a running node: %v", err)
	}
	must(t, disk.WriteFile(d, ringPath, current))
	must(t, disk.WriteFile(d, pubPath, currentPub))
	unlockOne(t, k, eau)

	for off := range int64(len(current)) {
		if off%97 != 0 {
			continue
		}
		must(t, d.Corrupt(ringPath, off, uint(off)))
		if _, err := k.Unlock(eau); err == nil {
			t.Fatalf("byte %d damaged and not noticed", off)
		}
		must(t, d.Corrupt(ringPath, off, uint(off)))
	}
}

func readFile(t testing.TB, d disk.FS, name string) []byte {
	t.Helper()
	data, err := disk.ReadFile(d, name, maxRing)
	must(t, err)
	return data
}
