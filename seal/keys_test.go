package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/querschott/querschott"
)

const (
	anna = querschott.KVNR("A123456780")
	bert = querschott.KVNR("B987654321")
)

func person(t testing.TB, k *Keys, p querschott.KVNR) PersonID {
	t.Helper()
	id, err := k.Person(p)
	must(t, err)
	return id
}

func TestForgottenKeysDoNothing(t *testing.T) {
	keys, contexts, _ := newTestKeys(t, eau)
	e := sealEntry(t, contexts, eau, "secret", 1)
	id := person(t, keys, anna)
	dk, wrapped, err := keys.NewDataKey(id)
	must(t, err)
	sealed := dk.Seal(nil, nil, []byte("secret"))
	_, err = e.open(keys)
	must(t, err)

	own, version := keys.own, keys.own.versions[1]
	seed, err := version.kem.Bytes()
	must(t, err)
	keys.Forget()
	keys.Forget()

	if !allZero(own.index) || !allZero(seed) || version.kem != nil || version.kek != nil || own.cache.ring != nil {
		t.Error("Forget left keys in memory")
	}
	_, openErr := e.open(keys)
	_, personErr := keys.Person(anna)
	_, _, newErr := keys.NewDataKey(id)
	_, unwrapErr := keys.DataKey(wrapped, id)
	_, recordErr := dk.Open(nil, nil, sealed)
	for name, err := range map[string]error{
		"Open": openErr, "Person": personErr, "NewDataKey": newErr, "DataKey": unwrapErr, "DataKey.Open": recordErr,
	} {
		if !errors.Is(err, ErrForgotten) {
			t.Errorf("%s after Forget: %v", name, err)
		}
	}
}

func TestForgetUnderLoad(t *testing.T) {
	keys, contexts, clk := newTestKeys(t, eau)
	id := person(t, keys, anna)
	dk, wrapped, err := keys.NewDataKey(id)
	must(t, err)
	record := dk.Seal(nil, nil, []byte("record"))
	var entries []entry
	for i := range 30 {
		clk.move(ContextLife) // every entry needs a decapsulation
		entries = append(entries, sealEntry(t, contexts, eau, "entry", uint64(i)))
	}
	work := []func(i int) ([]byte, string, error){
		func(i int) ([]byte, string, error) {
			got, err := entries[i%len(entries)].open(keys)
			return got, "entry", err
		},
		func(int) ([]byte, string, error) {
			got, err := dk.Open(nil, nil, record)
			return got, "record", err
		},
		func(int) ([]byte, string, error) {
			fresh, err := keys.DataKey(wrapped, id)
			if err != nil {
				return nil, "", err
			}
			got, err := fresh.Open(nil, nil, record)
			return got, "record", err
		},
		func(int) ([]byte, string, error) {
			got, err := keys.Person(anna)
			return got[:], string(id[:]), err
		},
	}
	var wg sync.WaitGroup
	started := make(chan struct{}, 2*len(work))
	for n := range 2 * len(work) {
		wg.Go(func() {
			for i := n; ; i++ {
				got, want, err := work[n%len(work)](i)
				if i == n+20 {
					started <- struct{}{}
				}
				if errors.Is(err, ErrForgotten) {
					return
				}
				if err != nil || string(got) != want {
					t.Errorf("got %q, %v; want %q", got, err, want)
					return
				}
			}
		})
	}
	for range cap(started) {
		<-started
	}
	keys.Forget()
	wg.Wait()
}

func TestPersonIsAPseudonym(t *testing.T) {
	keys, _, _ := newTestKeys(t, eau)
	foreign, _, _ := newTestKeys(t, other)
	a := person(t, keys, anna)
	if a != person(t, keys, anna) {
		t.Error("the same person has two pseudonyms")
	}
	if a == person(t, keys, bert) {
		t.Error("two persons have the same pseudonym")
	}
	if a == person(t, foreign, anna) {
		t.Error("a person has the same pseudonym in two compartments")
	}
}

func TestBlind(t *testing.T) {
	keys, _, _ := newTestKeys(t, eau)
	foreign, _, _ := newTestKeys(t, other)
	blind := func(k *Keys, label, data string) [32]byte {
		t.Helper()
		name, err := k.Blind(label, []byte(data))
		must(t, err)
		return name
	}
	name := blind(keys, "file", "octets")
	if name != blind(keys, "file", "octets") {
		t.Error("the same data has two names")
	}
	for what, other := range map[string][32]byte{
		"other data":                      blind(keys, "file", "octetz"),
		"another label":                   blind(keys, "content", "octets"),
		"another compartment":             blind(foreign, "file", "octets"),
		"another place of the same bytes": blind(keys, "fileo", "ctets"),
		"no key":                          sha256.Sum256([]byte("octets")),
	} {
		if name == other {
			t.Errorf("%s has the same name", what)
		}
	}
	a, p := blind(keys, "", anna.Reveal()), person(t, keys, anna)
	if bytes.HasPrefix(a[:], p[:]) {
		t.Error("a name is the pseudonym of a person")
	}
	keys.Forget()
	if got, err := keys.Blind("file", []byte("octets")); !errors.Is(err, ErrForgotten) || got != [32]byte{} {
		t.Errorf("after Forget: %x, %v", got, err)
	}
}

func TestDataKeyOpensOnlyForItsPerson(t *testing.T) {
	k, _, _ := newTestKeyring(t)
	keys := unlockOne(t, k, eau)
	a, b := person(t, keys, anna), person(t, keys, bert)
	dk, wrapped, err := keys.NewDataKey(a)
	must(t, err)
	aad := RecordAAD{eau.Insurer, eau.Service, a, "attest/1", 3}
	sealed := dk.Seal(nil, aad.Bytes(), []byte("record"))

	again, err := unlockOne(t, k, eau).DataKey(wrapped, a)
	must(t, err)
	if got, err := again.Open(nil, aad.Bytes(), sealed); err != nil || string(got) != "record" {
		t.Errorf("after unlocking again: %q, %v", got, err)
	}
	if _, err := keys.DataKey(wrapped, b); !errors.Is(err, ErrDamaged) {
		t.Errorf("for another person: %v", err)
	}
	if _, err := unlockOne(t, k, letter).DataKey(wrapped, a); !errors.Is(err, ErrDamaged) {
		t.Errorf("in another compartment: %v", err)
	}
	moved := &Keys{compartment: letter, own: keys.own} // even if two compartments had the same key
	if _, err := moved.DataKey(wrapped, a); !errors.Is(err, ErrDamaged) {
		t.Errorf("moved to another compartment: %v", err)
	}
	keys.own.versions[2] = keys.own.versions[1]
	later := slices.Clone(wrapped)
	later[3] = 2
	if _, err := keys.DataKey(later, a); !errors.Is(err, ErrDamaged) {
		t.Errorf("under another version's number: %v", err)
	}
	for bit := range len(wrapped) * 8 {
		bad := slices.Clone(wrapped)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := keys.DataKey(bad, a); err == nil {
			t.Fatalf("unwrapped with bit %d flipped", bit)
		}
	}
	if _, err := keys.DataKey(wrapped[:20], a); !errors.Is(err, ErrDamaged) {
		t.Errorf("cut off: %v", err)
	}
	for name, change := range map[string]func(*RecordAAD){
		"insurer": func(r *RecordAAD) { r.Insurer = other.Insurer },
		"service": func(r *RecordAAD) { r.Service = querschott.Letter },
		"person":  func(r *RecordAAD) { r.Person = b },
		"record":  func(r *RecordAAD) { r.Record = "attest/2" },
		"version": func(r *RecordAAD) { r.Version = 2 },
	} {
		wrong := aad
		change(&wrong)
		if got, err := dk.Open(nil, wrong.Bytes(), sealed); !errors.Is(err, ErrDamaged) || got != nil {
			t.Errorf("record with another %s: %q, %v", name, got, err)
		}
	}
	if bytes.Equal(sealed, dk.Seal(nil, aad.Bytes(), []byte("record"))) {
		t.Error("sealing twice gave the same bytes")
	}
}

func TestContextCacheIsBounded(t *testing.T) {
	keys, contexts, clk := newTestKeys(t, eau)
	var entries []entry
	for i := range cachedContexts + 50 {
		clk.move(ContextLife)
		entries = append(entries, sealEntry(t, contexts, eau, "entry", uint64(i)))
	}
	for _, e := range entries {
		_, err := e.open(keys)
		must(t, err)
		_, err = entries[0].open(keys) // always in use
		must(t, err)
	}
	cache := keys.own.cache
	if len(cache.ring) != cachedContexts || len(cache.place) != cachedContexts {
		t.Errorf("%d contexts cached, %d places; want %d", len(cache.ring), len(cache.place), cachedContexts)
	}
	for id, i := range cache.place {
		if cache.ring[i].id != id {
			t.Fatal("a place of the cache holds another context")
		}
	}
	last := entries[len(entries)-1]
	if _, ok := cache.get(last.id, last.enc); !ok {
		t.Error("the newest context is not cached")
	}
	if _, ok := cache.get(entries[0].id, entries[0].enc); !ok {
		t.Error("a context in constant use was displaced")
	}
	bad := entries[5]
	bad.id[15] ^= 1
	_, _ = bad.open(keys)
	if _, ok := cache.get(bad.id, bad.enc); ok {
		t.Error("a context that opened nothing was cached")
	}
}

// The vectors of the specification, https://c2sp.org/XAES-256-GCM.
func TestXAESVectors(t *testing.T) {
	nonce, plain := []byte("ABCDEFGHIJKLMNOPQRSTUVWX"), []byte("XAES-256-GCM")
	for _, v := range []struct {
		key       byte
		aad, want string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x, err := newXAES(bytes.Repeat([]byte{v.key}, 32))
		must(t, err)
		g, err := x.aead(nonce)
		must(t, err)
		sealed := g.Seal(bytes.Clone(nonce), nonce[12:], plain, []byte(v.aad))
		if got := hex.EncodeToString(sealed[len(nonce):]); got != v.want {
			t.Errorf("key %d: got %s, want %s", v.key, got, v.want)
		}
		if got, err := x.open(nil, []byte(v.aad), sealed); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("key %d: opened %q, %v", v.key, got, err)
		}
	}
}

// Nonces differ from message to message, and a used up prefix is replaced.
func TestBoxNonces(t *testing.T) {
	x, err := newXAES(randomBytes(32))
	must(t, err)
	seen := map[string]bool{}
	for range 1000 {
		sealed := x.seal(nil, nil, nil)
		if nonce := string(sealed[:xaesNonce]); seen[nonce] {
			t.Fatal("a nonce twice")
		} else {
			seen[nonce] = true
		}
	}
	first := x.prefix.Load()
	first.left.Store(0)
	sealed := x.seal(nil, nil, []byte("mail"))
	if x.prefix.Load() == first || bytes.Equal(sealed[:12], first.half[:]) {
		t.Error("a used up prefix served once more")
	}
	if got, err := x.open(nil, nil, sealed); err != nil || string(got) != "mail" {
		t.Errorf("opened %q, %v", got, err)
	}
}

func TestBox(t *testing.T) {
	key := randomBytes(32)
	box := NewBox(key)
	same, foreign := NewBox(key), NewBox(randomBytes(32))
	clear(key)
	sealed := box.Seal([]byte("head,"), []byte("aad"), []byte("mail"))
	if len(sealed) != 5+4+BoxOverhead {
		t.Errorf("%d bytes", len(sealed))
	}
	sealed = sealed[5:]
	if got, err := same.Open([]byte("to:"), []byte("aad"), sealed); err != nil || string(got) != "to:mail" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := foreign.Open(nil, []byte("aad"), sealed); !errors.Is(err, ErrDamaged) {
		t.Errorf("another key: %v", err)
	}
	if _, err := box.Open(nil, []byte("aab"), sealed); !errors.Is(err, ErrDamaged) {
		t.Errorf("other associated data: %v", err)
	}
	for n := range len(sealed) {
		if _, err := box.Open(nil, []byte("aad"), sealed[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a key of 31 bytes was taken")
		}
	}()
	NewBox(make([]byte, 31))
}

func FuzzOpenRecord(f *testing.F) {
	box := NewBox(randomBytes(32))
	sealed := box.Seal(nil, []byte("aad"), []byte("mail"))
	f.Add([]byte("aad"), sealed)
	f.Add([]byte{}, sealed[:BoxOverhead])
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, aad, b []byte) {
		got, err := box.Open(nil, aad, b)
		if same := bytes.Equal(b, sealed) && string(aad) == "aad"; (err == nil) != same {
			t.Fatalf("opened %q, %v; it is what was sealed: %v", got, err, same)
		}
	})
}

func allZero(b []byte) bool { return len(b) > 0 && bytes.Count(b, []byte{0}) == len(b) }

func BenchmarkUnwrapOpen1KiB(b *testing.B) {
	keys, _, err := NewKeys(eau)
	must(b, err)
	id := person(b, keys, anna)
	dk, wrapped, err := keys.NewDataKey(id)
	must(b, err)
	aad := RecordAAD{eau.Insurer, eau.Service, id, "attest/1", 1}.Bytes()
	sealed := dk.Seal(nil, aad, make([]byte, 1024))
	dst := make([]byte, 0, 2048)
	for b.Loop() {
		dk, err := keys.DataKey(wrapped, id)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := dk.Open(dst, aad, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecordSeal1KiB(b *testing.B) {
	keys, _, err := NewKeys(eau)
	must(b, err)
	dk, _, err := keys.NewDataKey(PersonID{})
	must(b, err)
	dst, plain := make([]byte, 0, 2048), make([]byte, 1024)
	for b.Loop() {
		dk.Seal(dst, nil, plain)
	}
}

func BenchmarkPerson(b *testing.B) {
	keys, _, err := NewKeys(eau)
	must(b, err)
	for b.Loop() {
		if _, err := keys.Person(anna); err != nil {
			b.Fatal(err)
		}
	}
}
