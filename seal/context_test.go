package seal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"pgregory.net/rapid"
)

func TestEntriesOpenInAnyOrder(t *testing.T) {
	keys, contexts, clk := newTestKeys(t, eau)
	var entries []entry
	for i := range 2500 {
		if i%700 == 0 {
			clk.move(ContextLife)
		}
		entries = append(entries, sealEntry(t, contexts, eau, fmt.Sprintf("entry %d", i), uint64(i)))
	}
	rand.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	for _, e := range entries {
		got, err := e.open(keys)
		if err != nil || string(got) != e.plain {
			t.Fatalf("opened %q, %v; want %q", got, err, e.plain)
		}
	}
}

func TestOpenAppends(t *testing.T) {
	keys, contexts, _ := newTestKeys(t, eau)
	e := sealEntry(t, contexts, eau, "body", 1)
	got, err := keys.Open([]byte("head,"), e.enc, e.id, e.counter, e.aad, e.sealed)
	if err != nil || string(got) != "head,body" {
		t.Errorf("got %q, %v", got, err)
	}
	x, err := contexts.For(eau)
	must(t, err)
	sealed, n, _ := x.Seal([]byte("head,"), nil, []byte("body"))
	if !bytes.HasPrefix(sealed, []byte("head,")) {
		t.Fatal("Seal did not append")
	}
	if got, err = keys.Open(nil, x.Enc, x.ID, n, nil, sealed[5:]); err != nil || string(got) != "body" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestDamagedEntryLeavesItsNeighbours(t *testing.T) {
	keys, contexts, _ := newTestKeys(t, eau)
	var entries []entry
	for i := range 20 {
		entries = append(entries, sealEntry(t, contexts, eau, fmt.Sprintf("entry %d", i), uint64(i)))
	}
	for bit := range len(entries[7].sealed) * 8 {
		bad := entries[7]
		bad.sealed = slices.Clone(bad.sealed)
		bad.sealed[bit/8] ^= 1 << (bit % 8)
		if got, err := bad.open(keys); !errors.Is(err, ErrDamaged) || got != nil {
			t.Fatalf("bit %d flipped: got %q, %v", bit, got, err)
		}
	}
	for i, e := range entries {
		if got, err := e.open(keys); err != nil || string(got) != e.plain {
			t.Errorf("entry %d: got %q, %v", i, got, err)
		}
	}
}

func TestEntryOpensOnlyInItsPlace(t *testing.T) {
	keys, contexts, clk := newTestKeys(t, eau)
	good := sealEntry(t, contexts, eau, "secret", 7)
	neighbour := sealEntry(t, contexts, eau, "secret", 8)
	clk.move(ContextLife)
	later := sealEntry(t, contexts, eau, "secret", 7)
	foreign, foreignContexts, _ := newTestKeys(t, other)
	elsewhere := sealEntry(t, foreignContexts, other, "secret", 7)
	sameKey := sealEntry(t, contexts, letter, "secret", 7) // the key of eau, for another compartment

	for _, cached := range []bool{false, true} {
		for name, change := range map[string]func(e *entry){
			"sender":          func(e *entry) { e.aad = entryAAD(eau, "praxis@example.kin", "<1@example>", 7) },
			"message id":      func(e *entry) { e.aad = entryAAD(eau, "praxis@example.kim", "<2@example>", 7) },
			"sequence number": func(e *entry) { e.aad = neighbour.aad },
			"aad compartment": func(e *entry) { e.aad = entryAAD(letter, "praxis@example.kim", "<1@example>", 7) },
			"no aad":          func(e *entry) { e.aad = nil },
			"counter":         func(e *entry) { e.counter = neighbour.counter },
			"sealed":          func(e *entry) { e.sealed = neighbour.sealed },
			"short":           func(e *entry) { e.sealed = e.sealed[:15] },
			"context":         func(e *entry) { e.enc, e.id = later.enc, later.id },
			"context id only": func(e *entry) { e.id = later.id },
			"enc only":        func(e *entry) { e.enc = later.enc },
			"enc bit":         func(e *entry) { e.enc = slices.Clone(e.enc); e.enc[100] ^= 1 },
			"enc short":       func(e *entry) { e.enc = e.enc[:100] },
			"no enc":          func(e *entry) { e.enc = nil },
			"other insurer":   func(e *entry) { *e = elsewhere },
			"key for another": func(e *entry) { *e = sameKey },
			"id random":       func(e *entry) { e.id[9] ^= 1 },
			"version unknown": func(e *entry) { e.id[3] ^= 2 },
		} {
			bad := good
			change(&bad)
			if got, err := bad.open(keys); err == nil || got != nil {
				t.Errorf("cached %v, wrong %s: opened %q, %v", cached, name, got, err)
			}
		}
		if got, err := good.open(keys); err != nil || string(got) != "secret" {
			t.Fatalf("the entry itself: %q, %v", got, err)
		}
	}
	if _, err := good.open(foreign); err == nil {
		t.Error("opened with the keys of another compartment")
	}
	bad := good
	bad.id[3] ^= 2
	if _, err := bad.open(keys); !errors.Is(err, ErrNoKeyVersion) {
		t.Errorf("unknown version: %v", err)
	}
}

func TestContextServesItsNumberOfEntries(t *testing.T) {
	_, contexts, _ := newTestKeys(t, eau)
	x, err := contexts.For(eau)
	must(t, err)
	for want := range uint32(ContextEntries) {
		if _, n, ok := x.Seal(nil, nil, nil); !ok || n != want {
			t.Fatalf("entry %d: counter %d, %v", want, n, ok)
		}
	}
	dst := []byte("kept")
	if got, _, ok := x.Seal(dst, nil, []byte("more")); ok || string(got) != "kept" {
		t.Errorf("a used up context sealed: %v, %q", ok, got)
	}
	fresh, err := contexts.For(eau)
	must(t, err)
	if fresh == x || fresh.ID == x.ID || bytes.Equal(fresh.Enc, x.Enc) {
		t.Error("For returned the used up context")
	}
	if x.aead.Load() != nil {
		t.Error("the used up context still has its key")
	}
}

func TestContextEndsAfterItsLife(t *testing.T) {
	_, contexts, clk := newTestKeys(t, eau)
	x, err := contexts.For(eau)
	must(t, err)
	clk.move(ContextLife - 1)
	if again, _ := contexts.For(eau); again != x {
		t.Error("a context was replaced before its time")
	}
	if _, _, ok := x.Seal(nil, nil, nil); !ok {
		t.Error("a context ended before its time")
	}
	if n := contexts.Sweep(); n != 0 {
		t.Errorf("swept %d contexts before their time", n)
	}
	clk.move(1)
	if _, _, ok := x.Seal(nil, nil, nil); ok {
		t.Error("a context sealed after its time")
	}
	if n := contexts.Sweep(); n != 1 || x.aead.Load() != nil {
		t.Errorf("swept %d, key forgotten: %v", n, x.aead.Load() == nil)
	}
	if n := contexts.Sweep(); n != 0 {
		t.Errorf("swept %d contexts twice", n)
	}
	y, err := contexts.For(eau)
	must(t, err)
	clk.move(-time.Minute)
	if _, _, ok := y.Seal(nil, nil, nil); ok {
		t.Error("a context sealed although the clock went back before its beginning")
	}
}

func TestSealingIsSafeForManyGoroutines(t *testing.T) {
	keys, contexts, _ := newTestKeys(t, eau)
	const workers, each = 8, 400
	got := make([][]entry, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := 0; i < each; {
				x, err := contexts.For(eau)
				if err != nil {
					t.Error(err)
					return
				}
				plain := fmt.Sprintf("%d/%d", w, i)
				if sealed, n, ok := x.Seal(nil, nil, []byte(plain)); ok {
					got[w] = append(got[w], entry{x.Enc, x.ID, n, nil, sealed, plain})
					i++
				}
			}
		})
	}
	wg.Wait()
	type place struct {
		id [16]byte
		n  uint32
	}
	seen := map[place]bool{}
	for _, e := range slices.Concat(got...) {
		p := place{e.id, e.counter}
		if seen[p] {
			t.Fatal("a nonce was used twice")
		}
		seen[p] = true
		if plain, err := e.open(keys); err != nil || string(plain) != e.plain {
			t.Fatalf("%q, %v", plain, err)
		}
	}
	if len(seen) != workers*each {
		t.Errorf("%d entries, want %d", len(seen), workers*each)
	}
}

func TestOneCompartmentDoesNotBlockAnother(t *testing.T) {
	_, pub, err := NewKeys(eau)
	must(t, err)
	inside, release := make(chan struct{}), make(chan struct{})
	contexts := NewContexts(func(c querschott.Compartment) (PublicKey, error) {
		if c == eau {
			close(inside)
			<-release
		}
		return pub, nil
	}, time.Now)
	done := make(chan error)
	go func() {
		_, err := contexts.For(eau)
		done <- err
	}()
	<-inside
	if _, err := contexts.For(other); err != nil { // would never return
		t.Error(err)
	}
	contexts.Sweep() // neither would this
	close(release)
	must(t, <-done)
}

func TestForReportsWhyThereIsNoKey(t *testing.T) {
	k, _, _ := newTestKeyring(t)
	contexts := NewContexts(k.Public, time.Now)
	if _, err := contexts.For(querschott.Compartment{Insurer: "109500969", Service: querschott.App}); !errors.Is(err, ErrNoCompartment) {
		t.Errorf("got %v", err)
	}
}

func TestAADIsUnambiguous(t *testing.T) {
	field := rapid.StringMatching(`[a\x00]{0,3}`)
	type input struct {
		ik, svc, a, b string
		n             uint64
	}
	draw := func(t *rapid.T, name string) input {
		return input{
			field.Draw(t, name), field.Draw(t, name), field.Draw(t, name), field.Draw(t, name),
			rapid.Uint64Range(0, 300).Draw(t, name),
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		x, y := draw(t, "x"), draw(t, "y")
		entryOf := func(i input) []byte {
			return entryAAD(querschott.Compartment{Insurer: querschott.IK(i.ik), Service: querschott.Service(i.svc)}, i.a, i.b, i.n)
		}
		if got, want := bytes.Equal(entryOf(x), entryOf(y)), x == y; got != want {
			t.Fatalf("entries %v and %v: same bytes %v", x, y, got)
		}
		recordOf := func(i input) []byte {
			var p PersonID
			copy(p[:], i.a)
			return RecordAAD{querschott.IK(i.ik), querschott.Service(i.svc), p, i.b, i.n}.Bytes()
		}
		x.a, y.a = "", ""
		if got, want := bytes.Equal(recordOf(x), recordOf(y)), x == y; got != want {
			t.Fatalf("records %v and %v: same bytes %v", x, y, got)
		}
	})
}

func FuzzOpenEntry(f *testing.F) {
	keys, pub, err := NewKeys(eau)
	must(f, err)
	x, err := newContext(eau, pub, time.Now)
	must(f, err)
	plain := []byte("the plaintext")
	aad := entryAAD(eau, "a", "b", 1)
	sealed, counter, _ := x.Seal(nil, aad, plain)
	good := entry{x.Enc, x.ID, counter, aad, sealed, string(plain)}
	f.Add(x.Enc, x.ID[:], counter, aad, sealed)
	f.Add(x.Enc[:7], x.ID[:], counter, aad, sealed)
	f.Add([]byte{}, []byte{}, uint32(0), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, enc, id []byte, counter uint32, aad, sealed []byte) {
		e := entry{enc: enc, counter: counter, aad: aad, sealed: sealed}
		copy(e.id[:], id)
		got, err := e.open(keys)
		same := bytes.Equal(e.enc, good.enc) && e.id == good.id && e.counter == good.counter &&
			bytes.Equal(e.aad, good.aad) && bytes.Equal(e.sealed, good.sealed)
		if (err == nil) != same {
			t.Fatalf("opened %q, %v; it is the sealed entry: %v", got, err, same)
		}
	})
}

func BenchmarkEncapsulate(b *testing.B) {
	_, pub, err := NewKeys(eau)
	must(b, err)
	for b.Loop() {
		if _, err := newContext(eau, pub, time.Now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeal1KiB(b *testing.B) {
	_, pub, err := NewKeys(eau)
	must(b, err)
	x, err := newContext(eau, pub, time.Now)
	must(b, err)
	aad, plain := entryAAD(eau, "praxis@example.kim", "<1@example>", 1), make([]byte, 1024)
	dst := make([]byte, 0, 2048)
	b.SetBytes(1024)
	for b.Loop() {
		x.taken.Store(0)
		x.made = time.Now()
		if _, _, ok := x.Seal(dst, aad, plain); !ok {
			b.Fatal("not sealed")
		}
	}
}

func BenchmarkOpen1KiB(b *testing.B) {
	keys, contexts, _ := newTestKeys(b, eau)
	e := sealEntry(b, contexts, eau, string(make([]byte, 1024)), 1)
	dst := make([]byte, 0, 2048)
	b.SetBytes(1024)
	for b.Loop() {
		if _, err := keys.Open(dst, e.enc, e.id, e.counter, e.aad, e.sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenFirstOfContext(b *testing.B) {
	keys, contexts, _ := newTestKeys(b, eau)
	e := sealEntry(b, contexts, eau, string(make([]byte, 1024)), 1)
	for b.Loop() {
		keys.own.cache = newContextCache()
		if _, err := e.open(keys); err != nil {
			b.Fatal(err)
		}
	}
}
