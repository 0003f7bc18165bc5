package seal

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

func TestKeyringKeepsKeys(t *testing.T) {
	k, d, unlock := newTestKeyring(t)
	e := sealEntry(t, NewContexts(k.Public, time.Now), eau, "secret", 1)
	before := unlockOne(t, k, eau)
	again, err := OpenKeyring(d, ringPath, unlock)
	must(t, err)
	if diff := cmp.Diff([]querschott.Compartment{other, eau, letter}, again.Compartments()); diff != "" {
		t.Errorf("compartments (-want +got):\n%s", diff)
	}
	keys, err := again.Unlock(eau, letter, eau)
	must(t, err)
	if len(keys) != 2 || keys[letter].Compartment() != letter {
		t.Errorf("unlocked %d compartments", len(keys))
	}
	if got, err := e.open(keys[eau]); err != nil || string(got) != "secret" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := e.open(keys[letter]); err == nil {
		t.Error("opened with another compartment's keys")
	}
	if person(t, before, anna) != person(t, keys[eau], anna) {
		t.Error("the index key changed")
	}
	before.Forget()
	if _, err := e.open(keys[eau]); err != nil {
		t.Errorf("forgetting one set of keys reached another: %v", err)
	}
}

func TestAddCompartmentsWritesOnceAndOnlyWhenNeeded(t *testing.T) {
	k, d, _ := newTestKeyring(t)
	renames := 0
	d.Fail(func(op, name string) error {
		if op == "rename" && strings.HasPrefix(name, ringPath) {
			renames++
		}
		return nil
	})
	old, err := k.Public(eau)
	must(t, err)
	must(t, k.AddCompartments(append(manyCompartments(), eau)...))
	if renames != 1 {
		t.Errorf("the keyring was written %d times", renames)
	}
	must(t, k.AddCompartment(eau))
	if renames != 1 {
		t.Error("the keyring was written although nothing changed")
	}
	if same, _ := k.Public(eau); !bytes.Equal(old.Bytes(), same.Bytes()) {
		t.Error("adding a compartment again changed its key")
	}
	if n := len(k.Compartments()); n != 163 {
		t.Errorf("%d compartments", n)
	}
}

func TestUnlockLeavesOutWhatCannotBeHad(t *testing.T) {
	k, _, _ := newTestKeyring(t)
	app := querschott.Compartment{Insurer: "109500969", Service: querschott.App}
	must(t, k.Shred(letter))
	keys, err := k.Unlock(eau, letter, app)
	if !errors.Is(err, ErrShredded) || !errors.Is(err, ErrNoCompartment) {
		t.Errorf("got %v", err)
	}
	if len(keys) != 1 || keys[eau] == nil {
		t.Errorf("got keys of %d compartments, want those of eau", len(keys))
	}
}

func TestUnlockOverwritesWhatWasNotAskedFor(t *testing.T) {
	k, _, _ := newTestKeyring(t)
	_, err := k.Secret("outbox", 32)
	must(t, err)
	r, _, err := k.load()
	must(t, err)
	keys, err := r.Compartments[eau].keys(eau)
	must(t, err)
	r.wipe()
	private := [][]byte{r.Signing, r.Secrets["outbox"]}
	for _, rec := range r.Compartments {
		private = append(private, rec.Index, rec.Versions[0].KEM, rec.Versions[0].KEK)
	}
	for i, b := range private {
		if !allZero(b) {
			t.Errorf("private value %d was left in memory", i)
		}
	}
	e := sealEntry(t, NewContexts(k.Public, time.Now), eau, "secret", 1)
	if _, err := e.open(keys); err != nil {
		t.Errorf("the unlocked keys were overwritten too: %v", err)
	}
}

func TestRotateKeepsOldVersions(t *testing.T) {
	k, d, unlock := newTestKeyring(t)
	clk := &clock{t: time.Now()}
	contexts := NewContexts(k.Public, clk.now)
	v1 := sealEntry(t, contexts, eau, "first", 1)
	stale := unlockOne(t, k, eau)
	id := person(t, stale, anna)
	_, wrapped, err := stale.NewDataKey(id)
	must(t, err)
	must(t, k.Rotate(eau))
	clk.move(ContextLife)
	v2 := sealEntry(t, contexts, eau, "second", 2)
	if v1.id[3] != 1 || v2.id[3] != 2 {
		t.Errorf("contexts carry key versions %d and %d", v1.id[3], v2.id[3])
	}
	if _, err := v2.open(stale); !errors.Is(err, ErrNoKeyVersion) {
		t.Errorf("keys from before the rotation: %v", err)
	}
	k, err = OpenKeyring(d, ringPath, unlock)
	must(t, err)
	keys := unlockOne(t, k, eau)
	for _, e := range []entry{v1, v2} {
		if got, err := e.open(keys); err != nil || string(got) != e.plain {
			t.Errorf("got %q, %v; want %q", got, err, e.plain)
		}
	}
	if person(t, keys, anna) != id {
		t.Error("rotation changed the pseudonyms")
	}
	if _, err := keys.DataKey(wrapped, id); err != nil {
		t.Errorf("a data key from before: %v", err)
	}
	_, fresh, err := keys.NewDataKey(id)
	must(t, err)
	if fresh[3] != 2 {
		t.Errorf("a fresh data key was wrapped under version %d", fresh[3])
	}
}

func TestShredIsForGood(t *testing.T) {
	k, d, unlock := newTestKeyring(t)
	r, id, err := k.load()
	must(t, err)
	seed := bytes.Clone(r.Compartments[eau].Versions[0].KEM)
	must(t, k.Shred(eau))
	for _, k := range []*Keyring{k, reopen(t, d, unlock)} {
		if _, err := k.Public(eau); !errors.Is(err, ErrNoCompartment) {
			t.Errorf("Public: %v", err)
		}
		if _, err := k.Unlock(eau); !errors.Is(err, ErrShredded) {
			t.Errorf("Unlock: %v", err)
		}
		if err := k.AddCompartment(eau); !errors.Is(err, ErrShredded) {
			t.Errorf("AddCompartment: %v", err)
		}
		if err := k.Rotate(eau); !errors.Is(err, ErrShredded) {
			t.Errorf("Rotate: %v", err)
		}
		if unlockOne(t, k, letter) == nil {
			t.Error("the neighbour is gone")
		}
	}
	encoded, err := json.Marshal(seed)
	must(t, err)
	if bytes.Contains(plainRing(t, d, id), encoded) {
		t.Error("the private key is still in the file")
	}
}

func TestWithdrawnKeysComeBack(t *testing.T) {
	k, d, unlock := newTestKeyring(t)
	away := keyFile(t)
	awayID, err := away.identity()
	must(t, err)
	recipient := awayID.Recipient().String()

	refused := errors.New("no room")
	if err := k.Withdraw(eau, recipient, func([]byte) error { return refused }); !errors.Is(err, refused) {
		t.Fatalf("got %v", err)
	}
	unlockOne(t, k, eau)

	var kept []byte
	keep := func(b []byte) error { kept = b; return nil }
	must(t, k.Withdraw(eau, recipient, keep))
	k = reopen(t, d, unlock)
	e := sealEntry(t, NewContexts(k.Public, time.Now), eau, "arrived meanwhile", 1)
	if _, err := k.Unlock(eau); !errors.Is(err, ErrWithdrawn) {
		t.Errorf("Unlock: %v", err)
	}
	if err := k.Rotate(eau); !errors.Is(err, ErrWithdrawn) {
		t.Errorf("Rotate: %v", err)
	}
	must(t, k.AddCompartment(eau)) // it is there
	if err := k.Restore(kept, keyFile(t)); err == nil {
		t.Error("restored with a foreign identity")
	}
	forged, err := newCompartmentRecord()
	must(t, err)
	pub, err := k.Public(eau)
	must(t, err)
	forged.Versions[0].Public = pub.Bytes()
	plain, err := json.Marshal(withdrawn{withdrawnFormat, eau, forged})
	must(t, err)
	forgery, err := encryptAge(plain, awayID.Recipient())
	must(t, err)
	if err := k.Restore(forgery, away); !errors.Is(err, ErrTampered) {
		t.Errorf("restored forged keys: %v", err)
	}
	must(t, k.Restore(kept, away))
	if got, err := e.open(unlockOne(t, k, eau)); err != nil || string(got) != "arrived meanwhile" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := k.Restore(kept, away); err == nil {
		t.Error("restored what was not withdrawn")
	}
}

func TestSecrets(t *testing.T) {
	k, d, unlock := newTestKeyring(t)
	a, err := k.Secret("ledger/signing", 32)
	must(t, err)
	want := bytes.Clone(a)
	clear(a)
	k = reopen(t, d, unlock)
	if got, err := k.Secret("ledger/signing", 32); err != nil || !bytes.Equal(got, want) || allZero(got) {
		t.Errorf("the secret changed, or %v", err)
	}
	if b, err := k.Secret("outbox", 32); err != nil || bytes.Equal(b, want) {
		t.Errorf("two names share a secret, or %v", err)
	}
	if _, err := k.Secret("outbox", 64); err == nil {
		t.Error("a secret of another length was returned")
	}
	for _, bad := range []string{"", "a b", "ü", strings.Repeat("x", 129), "a\n"} {
		if _, err := k.Secret(bad, 32); err == nil {
			t.Errorf("name %q was taken", bad)
		}
	}
	must(t, k.ShredSecret("outbox"))
	k = reopen(t, d, unlock)
	if _, err := k.Secret("outbox", 32); !errors.Is(err, ErrShredded) {
		t.Errorf("a shredded secret: %v", err)
	}
	k.Freeze()
	if _, err := k.Secret("door/console/anna", 32); !errors.Is(err, ErrNoSecret) {
		t.Errorf("frozen: %v", err)
	}
	if err := k.AddCompartment(querschott.Compartment{Insurer: "109500969", Service: querschott.App}); !errors.Is(err, ErrFrozen) {
		t.Errorf("frozen: %v", err)
	}
	if _, err := k.Secret("ledger/signing", 32); err != nil {
		t.Errorf("frozen, secret exists: %v", err)
	}
}

func TestCreateRefusesAnExistingKeyring(t *testing.T) {
	_, d, unlock := newTestKeyring(t)
	if _, err := CreateKeyring(d, ringPath, unlock); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if _, err := OpenKeyring(crashdisk.New(), ringPath, unlock); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestKeyFileIsReadEachTimeAndNotKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.txt")
	must(t, NewKeyFile(path))
	if err := NewKeyFile(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwrote a key file: %v", err)
	}
	st, err := os.Stat(path)
	must(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	k, err := CreateKeyring(crashdisk.New(), ringPath, KeyFile(path))
	must(t, err)
	must(t, k.AddCompartment(eau))
	unlockOne(t, k, eau)
	if k.identity != nil {
		t.Error("the identity was kept")
	}
	must(t, os.Rename(path, path+".away"))
	if _, err := k.Unlock(eau); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unlocked without the key file: %v", err)
	}
	if _, err := k.Public(eau); err != nil {
		t.Errorf("sealing needs the key file: %v", err)
	}
	must(t, NewKeyFile(path))
	if _, err := k.Unlock(eau); err == nil {
		t.Error("unlocked with a foreign identity")
	}
}

func TestPassphraseIsAskedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.age")
	must(t, NewPassphraseFile(path, []byte("correct horse"), 4))
	d, asked := crashdisk.New(), 0
	var given []byte
	ask := func() ([]byte, error) { asked++; given = []byte("correct horse"); return given, nil }
	k, err := CreateKeyring(d, ringPath, Passphrase(ask, path))
	must(t, err)
	must(t, k.AddCompartment(eau))
	unlockOne(t, k, eau)
	if asked != 1 || !allZero(given) {
		t.Errorf("asked %d times, passphrase left in memory: %v", asked, !allZero(given))
	}
	k, err = OpenKeyring(d, ringPath, Passphrase(ask, path))
	must(t, err)
	unlockOne(t, k, eau)
	if asked != 2 {
		t.Errorf("asked %d times for two openings", asked)
	}
	wrong := func() ([]byte, error) { return []byte("battery staple"), nil }
	silent := errors.New("nobody there")
	for name, u := range map[string]Unlock{
		"wrong passphrase": Passphrase(wrong, path),
		"none arranged":    KeyFile(path),
		"nobody answers":   Passphrase(func() ([]byte, error) { return nil, silent }, path),
		"empty":            Passphrase(func() ([]byte, error) { return nil, nil }, path),
	} {
		if _, err := OpenKeyring(d, ringPath, u); err == nil || strings.Contains(err.Error(), "battery") {
			t.Errorf("%s: %v", name, err)
		}
	}
	plain := filepath.Join(t.TempDir(), "key.txt")
	must(t, NewKeyFile(plain))
	if _, err := OpenKeyring(d, ringPath, Passphrase(ask, plain)); err == nil {
		t.Error("a plain key file passed as an encrypted one")
	}
}

func TestKeyFileErrorsQuoteNothing(t *testing.T) {
	dir := t.TempDir()
	for i, content := range []string{"AGE-SECRET-KEY-1BROKEN", "hunter2\n", "", strings.Repeat("#", maxKeyFile)} {
		path := filepath.Join(dir, fmt.Sprint(i))
		must(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := OpenKeyring(crashdisk.New(), ringPath, KeyFile(path))
		if err == nil || strings.Contains(err.Error(), "BROKEN") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.20q: %v", content, err)
		}
	}
}

// The files must open with age itself, without this package.
func TestFilesAreAgeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.age")
	must(t, NewPassphraseFile(path, []byte("correct horse"), 4))
	d := crashdisk.New()
	k, err := CreateKeyring(d, ringPath, Passphrase(func() ([]byte, error) { return []byte("correct horse"), nil }, path))
	must(t, err)
	must(t, k.AddCompartment(eau))

	encrypted, err := os.Open(path)
	must(t, err)
	defer encrypted.Close()
	pass, err := age.NewScryptIdentity("correct horse")
	must(t, err)
	text, err := age.Decrypt(encrypted, pass)
	must(t, err)
	ids, err := age.ParseIdentities(text)
	must(t, err)
	data, err := disk.ReadFile(d, ringPath, 1<<20)
	must(t, err)
	r, err := age.Decrypt(bytes.NewReader(data), ids...)
	must(t, err)
	var content struct {
		Keyring struct {
			Format       string
			Compartments map[string]struct{ Versions []struct{ Version int } }
		}
	}
	must(t, json.NewDecoder(r).Decode(&content))
	if content.Keyring.Format != ringFormat || len(content.Keyring.Compartments["109500969/eau"].Versions) != 1 {
		t.Errorf("got %+v", content)
	}
}

func reopen(t testing.TB, d disk.FS, unlock Unlock) *Keyring {
	t.Helper()
	k, err := OpenKeyring(d, ringPath, unlock)
	must(t, err)
	return k
}

func plainRing(t testing.TB, d disk.FS, id *age.X25519Identity) []byte {
	t.Helper()
	data, err := disk.ReadFile(d, ringPath, maxRing)
	must(t, err)
	r, err := age.Decrypt(bytes.NewReader(data), id)
	must(t, err)
	plain, err := io.ReadAll(r)
	must(t, err)
	return plain
}

// manyCompartments are 80 insurers with two services each.
func manyCompartments() []querschott.Compartment {
	var cs []querschott.Compartment
	for i := range 80 {
		first8 := fmt.Sprintf("1020%04d", i)
		ik := querschott.IK(first8 + string(querschott.IKCheckDigit(first8)))
		cs = append(cs, querschott.Compartment{Insurer: ik, Service: querschott.EAU},
			querschott.Compartment{Insurer: ik, Service: querschott.Letter})
	}
	return cs
}

func FuzzParsePublic(f *testing.F) {
	pin, priv, err := ed25519.GenerateKey(nil)
	must(f, err)
	_, pub, err := NewKeys(eau)
	must(f, err)
	p := publicRing{publicFormat, 7, map[querschott.Compartment]publicRecord{eau: {1, pub.Bytes()}}}
	good, err := signPublic(p, priv.Seed())
	must(f, err)
	f.Add(good, []byte{})
	f.Add([]byte(`{"keyring":{},"key":"","signature":""}`), []byte(`{"format":"querschott-keyring-pub/1"}`))
	f.Add([]byte("null"), []byte(`{"format":"querschott-keyring-pub/1","compartments":{"109500969/eau":{"version":1}}}`))
	f.Fuzz(func(t *testing.T, file, inner []byte) {
		if got, err := parsePublic(file, pin); err == nil && !got.equal(p) {
			t.Fatalf("took over what was not signed: %+v", got)
		}
		// The signed part, as its signer could have written it: it must never panic.
		file, err := json.Marshal(publicEnvelope{inner, pin, ed25519.Sign(priv, append([]byte(publicDomain), inner...))})
		if err != nil {
			return
		}
		if got, err := parsePublic(file, pin); err == nil {
			_, _ = got.parsed()
		}
	})
}

func BenchmarkAdd160(b *testing.B) {
	unlock, dir := keyFile(b), b.TempDir()
	for i := 0; b.Loop(); i++ {
		k, err := CreateKeyring(disk.OS{}, filepath.Join(dir, fmt.Sprintf("%d.age", i)), unlock)
		must(b, err)
		must(b, k.AddCompartments(manyCompartments()...))
	}
}

func BenchmarkUnlock160(b *testing.B) {
	k, err := CreateKeyring(disk.OS{}, filepath.Join(b.TempDir(), "keyring.age"), keyFile(b))
	must(b, err)
	must(b, k.AddCompartments(manyCompartments()...))
	for b.Loop() {
		if _, err := k.Unlock(manyCompartments()...); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSecret(b *testing.B) {
	k, err := CreateKeyring(disk.OS{}, filepath.Join(b.TempDir(), "keyring.age"), keyFile(b))
	must(b, err)
	must(b, k.AddCompartments(manyCompartments()...))
	for b.Loop() {
		if _, err := k.Secret("outbox", 32); err != nil {
			b.Fatal(err)
		}
	}
}
