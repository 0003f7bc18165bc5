package vsdm

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/seal"
	"github.com/querschott/querschott/seal/pruefziffer"
)

// numbersIn returns the keys of a store's issue log.
func numbersIn(t testing.TB, store cell.Store) [][]byte {
	t.Helper()
	var keys [][]byte
	prefix := cell.Key(cell.ServiceSpace(querschott.VSDM), cell.KindIndex, partNumber)
	err := store.Scan(prefix, cell.PrefixEnd(prefix), func(k, _ []byte) error {
		keys = append(keys, bytes.Clone(k))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (w *world) check(p Shown) *Finding {
	w.t.Helper()
	f, err := w.s.Check(p)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// Each kind of bad evidence is recognised the first time it is shown.
func TestCheckNumbers(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	w.insure(private, both)
	issued := w.number(w.ask(w.request(statutory, anna)))
	good := Shown{Number: issued, Person: anna, Actor: doctor}
	forge := func(keys *pruefziffer.Keys, person querschott.KVNR) pruefziffer.Number {
		n, err := keys.Issue(pruefziffer.Card{Person: person}, w.clock())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	changed, err := base64.StdEncoding.DecodeString(issued.Standard())
	if err != nil {
		t.Fatal(err)
	}
	changed[20] ^= 1
	altered, err := pruefziffer.Parse(base64.StdEncoding.EncodeToString(changed))
	if err != nil {
		t.Fatal(err)
	}
	legacy := append([]byte("X1105929831737458687UX1"), make([]byte, 24)...)
	version1, err := pruefziffer.Parse(base64.StdEncoding.EncodeToString(legacy))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what           string
		shown          Shown
		want           Verdict
		good, critical bool
	}{
		{"forged with our key", Shown{forge(w.numbers, anna), anna, doctor}, VerdictUnissued, false, true},
		{"forged with our key, of nobody", Shown{forge(w.numbers, missing), missing, doctor}, VerdictUnissued, false, true},
		{"of another actor", Shown{issued, anna, thief}, VerdictOtherActor, false, true},
		{"of another person", Shown{issued, both, doctor}, VerdictOtherPerson, false, true},
		{"of another operator", Shown{forge(numberKeys(t, 'Y', 3), anna), anna, doctor}, VerdictForeignOperator, false, false},
		{"made up", Shown{forge(numberKeys(t, 'X', 3), anna), anna, doctor}, VerdictUnreadable, false, false},
		{"changed", Shown{altered, anna, doctor}, VerdictUnreadable, false, false},
		{"of version 1, which we do not take", Shown{version1, anna, doctor}, VerdictUnreadable, false, false},
		{"nothing", Shown{pruefziffer.Number{}, anna, doctor}, VerdictMalformed, false, false},
		{"good", good, VerdictIssued, true, false},
		{"good, again", good, VerdictReused, true, false},
		{"of another actor, afterwards", Shown{issued, anna, thief}, VerdictOtherActor, false, true},
	} {
		f := w.check(tc.shown)
		if f.Verdict != tc.want || f.Verdict.Good() != tc.good || f.Verdict.Critical() != tc.critical {
			t.Errorf("%s: %s, good %t, critical %t", tc.what, f.Verdict, f.Verdict.Good(), f.Verdict.Critical())
		}
		if known := f.Issued != nil; known && (f.Issued.Actor != doctor || f.Issued.Insurer != statutory || !f.Issued.At.Equal(spring) ||
			f.Issued.Operator != 'X' || f.Issued.Key != 2 || f.Issued.Presence[0] != 7 || f.Issued.Request != "019aa696-ac5d-779a-8691-5f755f10deeb") {
			t.Errorf("%s: %+v", tc.what, f.Issued)
		}
	}
	w.later(20*time.Minute + 14*time.Second - time.Duration(spring.Unix()%8)*time.Second)
	if f := w.check(good); f.Verdict != VerdictReused || !f.First.Equal(spring) {
		t.Errorf("in the last second: %+v", f)
	}
	w.later(time.Second)
	if f := w.check(good); f.Verdict != VerdictExpired {
		t.Errorf("a second later: %s", f.Verdict)
	}
	if f := w.check(Shown{issued, anna, thief}); f.Verdict != VerdictOtherActor {
		t.Errorf("of another actor, expired: %s", f.Verdict)
	}
}

// A number stays what it was when its key has been replaced, and when the door that it came through is shut.
func TestCheckAfterRotationAndClosing(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	p := Shown{Number: w.number(w.ask(w.request(statutory, anna))), Person: anna, Actor: doctor}
	w.shut(statutory)
	w.later(time.Minute)
	if err := w.numbers.Add(3, bytes.Repeat([]byte{9}, 32), 0, w.clock()); err != nil {
		t.Fatal(err)
	}
	if f := w.check(p); f.Verdict != VerdictIssued {
		t.Errorf("behind a shut door, after a rotation: %s", f.Verdict)
	}
	w.later(time.Hour)
	if f := w.check(p); f.Verdict != VerdictExpired {
		t.Errorf("an hour later: %s", f.Verdict)
	}
	w.numbers.Forget()
	if _, err := w.s.Check(p); !errors.Is(err, pruefziffer.ErrForgotten) {
		t.Errorf("without keys: %v", err)
	}
}

// Every number that left is in the log after a crash, however the commit before it failed; and no number leaves without its
// entry.
func TestIssueLogSurvivesCrashes(t *testing.T) {
	for _, failure := range []celltest.Failure{celltest.None, celltest.Undone, celltest.Done} {
		t.Run(fmt.Sprint(failure), func(t *testing.T) {
			w := newWorld(t)
			w.insure(statutory, anna)
			var left []pruefziffer.Number
			for i := range 20 {
				if i%3 == 1 {
					w.issues.FailNext(failure)
				}
				a := w.ask(w.request(statutory, anna))
				if a.Status == http.StatusOK {
					left = append(left, w.number(a))
					continue
				}
				if a.Status != http.StatusInternalServerError || failure == celltest.None || a.Header.Get("VSDM-Pz") != "" || bytes.Contains(a.Body, []byte("Bundle")) {
					t.Fatalf("answer %d: status %d, %v", i, a.Status, a.Header)
				}
			}
			if failure != celltest.None && len(left) == 20 {
				t.Fatal("no commit failed")
			}
			w.restart()
			for i, n := range left {
				if f := w.check(Shown{n, anna, doctor}); f.Verdict != VerdictIssued {
					t.Errorf("number %d: %s", i, f.Verdict)
				}
			}
			w.restart()
			for i, n := range left {
				if f := w.check(Shown{n, anna, doctor}); f.Verdict != VerdictReused {
					t.Errorf("number %d, after its first presentation and another crash: %s", i, f.Verdict)
				}
			}
		})
	}
}

// A presentation that could not be kept has no verdict.
func TestFirstPresentationIsDurable(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	p := Shown{w.number(w.ask(w.request(statutory, anna))), anna, doctor}
	w.issues.FailNext(celltest.Undone)
	if f, err := w.s.Check(p); err == nil {
		t.Fatalf("%v", f)
	}
	if f := w.check(p); f.Verdict != VerdictIssued {
		t.Errorf("%s", f.Verdict)
	}
}

// meeting is a store in which readers of first presentations wait for each other, as long as they might meet.
type meeting struct {
	*celltest.Memory
	room chan struct{}
}

func (m meeting) Get(key []byte) ([]byte, error) {
	value, err := m.Memory.Get(key)
	if cell.Kind(key[1]) == cell.KindSeen && errors.Is(err, cell.ErrNotFound) {
		select {
		case m.room <- struct{}{}:
		case <-m.room:
		case <-time.After(100 * time.Millisecond):
		}
	}
	return value, err
}

// Of many that show a number at the same time one is the first.
func TestConcurrentPresentations(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	p := Shown{w.number(w.ask(w.request(statutory, anna))), anna, doctor}
	s := w.other(func(c *Config) { c.Issues = meeting{w.issues, make(chan struct{})} })
	verdicts := make(chan Verdict, 16)
	var group sync.WaitGroup
	for range cap(verdicts) {
		group.Go(func() {
			if f, err := s.Check(p); err == nil {
				verdicts <- f.Verdict
			}
		})
	}
	group.Wait()
	close(verdicts)
	count := map[Verdict]int{}
	for v := range verdicts {
		count[v]++
	}
	if count[VerdictIssued] != 1 || count[VerdictReused] != 15 {
		t.Errorf("%v", count)
	}
}

// Who can write the store cannot make an entry: not by moving one, nor by changing one. Damage is an error, not a verdict.
func TestIssueLogCannotBeForged(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	genuine := w.number(w.ask(w.request(statutory, anna)))
	forged, err := w.numbers.Issue(pruefziffer.Card{Person: anna}, w.clock())
	if err != nil {
		t.Fatal(err)
	}
	store := w.issues
	from := numbersIn(t, store)[0]
	value, err := store.Get(from)
	if err != nil {
		t.Fatal(err)
	}
	write := func(key, value []byte) {
		t.Helper()
		var b cell.Batch
		b.Put(key, value)
		if err := store.Commit(&b); err != nil {
			t.Fatal(err)
		}
	}
	h := forged.Hash()
	write(logKey(cell.KindIndex, h), value)
	if f, err := w.s.Check(Shown{forged, anna, doctor}); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("with a moved entry: %v, %v", f, err)
	}
	for i := range value {
		changed := bytes.Clone(value)
		changed[i] ^= 1
		write(from, changed)
		if f, err := w.s.Check(Shown{genuine, anna, doctor}); !errors.Is(err, seal.ErrDamaged) && !errors.Is(err, errLogInsurer) {
			t.Fatalf("octet %d changed: %v, %v", i, f, err)
		}
	}
	for _, n := range []int{0, 7, 8, len(value) - 1} {
		write(from, value[:n])
		if f, err := w.s.Check(Shown{genuine, anna, doctor}); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%d octets: %v, %v", n, f, err)
		}
	}
	write(from, value)
	if f := w.check(Shown{genuine, anna, doctor}); f.Verdict != VerdictIssued {
		t.Errorf("mended: %s", f.Verdict)
	}
}

// The store names neither person nor actor, and no number.
func TestIssueLogIsSealed(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	n := w.number(w.ask(w.request(statutory, anna)))
	w.check(Shown{n, anna, doctor})
	raw, err := base64.StdEncoding.DecodeString(n.Standard())
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	for _, store := range []cell.Store{w.issues, w.stores[statutory]} {
		err = store.Scan(nil, nil, func(k, v []byte) error {
			keys++
			for what, secret := range map[string][]byte{"person": []byte(anna.Reveal()), "actor": []byte(doctor), "number": raw, "text": []byte(n.URL())} {
				if bytes.Contains(k, secret) || bytes.Contains(v, secret) {
					t.Errorf("the store has the %s in clear", what)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if keys != 5 { // data key, record, term; issued, shown
		t.Errorf("%d keys", keys)
	}
}

// broken is a store that cannot be read.
type broken struct{ *celltest.Memory }

var errBroken = errors.New("the disk is gone")

func (broken) Get([]byte) ([]byte, error) { return nil, errBroken }

// Without a log, or without the insurer's secret, there is no verdict; of an insurer that has left, neither.
func TestCheckWithoutLog(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	p := Shown{w.number(w.ask(w.request(statutory, anna))), anna, doctor}
	for what, tc := range map[string]struct {
		spoil func(*Config)
		want  error
	}{
		"no log":    {func(c *Config) { c.Issues = broken{w.issues} }, errBroken},
		"no secret": {func(c *Config) { c.Secret = func(querschott.IK) ([]byte, error) { return nil, errBroken } }, errBroken},
		"another secret": {
			func(c *Config) { c.Secret = func(querschott.IK) ([]byte, error) { return make([]byte, 32), nil } }, seal.ErrDamaged,
		},
		"no insurer": {func(c *Config) { c.Tenants = []Tenant{{Insurer: private}} }, errLogInsurer},
	} {
		if f, err := w.other(tc.spoil).Check(p); !errors.Is(err, tc.want) || f != nil {
			t.Errorf("%s: %v, %v", what, f, err)
		}
	}
	if f := w.check(p); f.Verdict != VerdictIssued {
		t.Errorf("with all of them: %s", f.Verdict)
	}
}

// Each insurer's entries are sealed under its own secret.
func TestInsurersOfTheLogAreSeparate(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	w.insure(private, anna)
	one, two := w.number(w.ask(w.request(statutory, anna))), w.number(w.ask(w.request(private, anna)))
	a, b := w.check(Shown{one, anna, doctor}), w.check(Shown{two, anna, doctor})
	if a.Issued.Insurer != statutory || b.Issued.Insurer != private || a.Issued.Person == b.Issued.Person {
		t.Errorf("%+v, %+v", a.Issued, b.Issued)
	}
	without := w.other(func(c *Config) {
		c.Secret = func(ik querschott.IK) ([]byte, error) {
			if ik == statutory {
				return nil, errBroken
			}
			return w.cfg.Secret(ik)
		}
	})
	if f, err := without.Check(Shown{two, anna, doctor}); err != nil || f.Verdict != VerdictReused {
		t.Errorf("without another insurer's secret: %v, %v", f, err)
	}
}

// What is older than the log is not called forged, what is not older is.
func TestLogBegins(t *testing.T) {
	w := newWorld(t)
	forged, err := w.numbers.Issue(pruefziffer.Card{Person: anna}, w.clock())
	if err != nil {
		t.Fatal(err)
	}
	rounded := spring.Truncate(8 * time.Second) // the format's clock; its zero is a multiple of eight seconds
	for from, want := range map[time.Time]Verdict{
		rounded: VerdictUnissued, rounded.Add(time.Nanosecond): VerdictUnlogged, {}: VerdictUnissued, spring.AddDate(1, 0, 0): VerdictUnlogged,
	} {
		f, err := w.other(func(c *Config) { c.LogFrom = from }).Check(Shown{forged, anna, doctor})
		if err != nil || f.Verdict != want || f.Verdict.Good() || f.Verdict.Critical() != (want == VerdictUnissued) {
			t.Errorf("from %s: %v, %v", from, f, err)
		}
	}
	// Of what is not authentic the age does not count.
	madeUp, err := numberKeys(t, 'X', 3).Issue(pruefziffer.Card{Person: anna}, w.clock())
	if err != nil {
		t.Fatal(err)
	}
	if f, err := w.other(func(c *Config) { c.LogFrom = spring.AddDate(1, 0, 0) }).Check(Shown{madeUp, anna, doctor}); err != nil || f.Verdict != VerdictUnreadable {
		t.Errorf("made up: %v, %v", f, err)
	}
}

func TestAdopt(t *testing.T) {
	w := newWorld(t)
	n, err := w.numbers.Issue(pruefziffer.Card{Person: anna}, w.clock()) // by a service that shares the secret
	if err != nil {
		t.Fatal(err)
	}
	if f := w.check(Shown{n, anna, doctor}); f.Verdict != VerdictUnissued {
		t.Errorf("before: %s", f.Verdict)
	}
	old := Adopted{Number: n, Person: anna, Issued: Issued{Actor: doctor, At: w.clock(), Request: "terminal 7", Key: 2}}
	if err := w.s.Adopt(compartment(statutory), []Adopted{old}); err != nil {
		t.Fatal(err)
	}
	if f := w.check(Shown{n, anna, doctor}); f.Verdict != VerdictIssued || f.Issued.Operator != 'X' {
		t.Errorf("after: %+v", f)
	}
	if err := w.s.Adopt(compartment(nobody), nil); !errors.Is(err, cell.ErrNotFound) {
		t.Errorf("nobody's compartment: %v", err)
	}
	for what, bad := range map[string]Adopted{
		"no number": {Person: anna, Issued: old.Issued},
		"no time":   {Number: n, Person: anna},
		"long":      {Number: n, Person: anna, Issued: Issued{At: spring, Actor: querschott.Actor(bytes.Repeat([]byte{'1'}, 200))}},
	} {
		if err := w.s.Adopt(compartment(statutory), []Adopted{bad}); !errors.Is(err, errAdopted) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestPrune(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	var numbers []pruefziffer.Number
	for range 5 {
		n := w.number(w.ask(w.request(statutory, anna)))
		numbers = append(numbers, n)
		w.check(Shown{n, anna, doctor})
		w.later(time.Second)
	}
	removed, err := w.s.Prune(t.Context(), spring.Add(3*time.Second))
	if err != nil || removed != 3 {
		t.Fatalf("%d, %v", removed, err)
	}
	for i, n := range numbers {
		want := VerdictReused
		if i < 3 {
			want = VerdictUnissued
		}
		if f := w.check(Shown{n, anna, doctor}); f.Verdict != want {
			t.Errorf("number %d: %s", i, f.Verdict)
		}
	}
	if keys := w.issues.Len(); keys != 2*2 {
		t.Errorf("%d keys are left", keys)
	}
	if removed, err := w.s.Prune(t.Context(), w.clock().AddDate(1, 0, 0)); err != nil || removed != 2 {
		t.Errorf("%d, %v", removed, err)
	}
	if a := w.ask(w.request(statutory, anna)); a.Status != http.StatusOK {
		t.Error("the record was pruned too")
	}
}

// The ledger has the hash of the number that left.
func TestLedgerHasTheHash(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	a := w.ask(w.request(statutory, anna))
	raw, err := base64.URLEncoding.DecodeString(a.Header.Get("VSDM-Pz"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(raw)); a.Facts.Detail[0].Value != want {
		t.Errorf("%s, want %s", a.Facts.Detail[0].Value, want)
	}
}
