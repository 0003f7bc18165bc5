package scope_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/scope"
)

const domain = "betreiber.example"

var begin = time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)

func insurers(n int) (list []querschott.IK) {
	for i := range n {
		first := fmt.Sprintf("1095%04d", i)
		list = append(list, querschott.IK(first+string(querschott.IKCheckDigit(first))))
	}
	return list
}

func person(n int) querschott.KVNR {
	first := fmt.Sprintf("A%08d", n)
	return querschott.KVNR(first + string(querschott.KVNRCheckDigit(first)))
}

// world is a ledger and a scope of it, with a list of what was put into the ledger.
type world struct {
	disk   *crashdisk.Disk
	now    time.Time
	ledger *ledger.Ledger
	scope  *scope.Scope
	all    []ledger.Entry
}

type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func newWorld(t failer) *world {
	t.Helper()
	w := &world{disk: crashdisk.New(), now: begin}
	w.open(t)
	return w
}

func (w *world) open(t failer) {
	t.Helper()
	var err error
	w.ledger, err = ledger.Open(ledger.Config{
		FS: w.disk, Dir: "ledger", Domain: domain, Seed: make([]byte, 32), Now: func() time.Time { return w.now },
		SegmentSize: 1 << 20, Secret: func(in querschott.IK, year int) ([]byte, error) {
			s := sha256.Sum256(fmt.Appendf(nil, "%s %d", in, year))
			return s[:], nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.openScope(t)
}

func (w *world) openScope(t failer) {
	t.Helper()
	var err error
	w.scope, err = scope.Open(scope.Config{
		FS: w.disk, Dir: "scope", Key: []byte("a key of the test, 32 bytes long"), Ledger: w.ledger, Actor: "querschott",
		Now: func() time.Time { return w.now },
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) close(t failer) {
	t.Helper()
	if err := w.scope.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.ledger.Close(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) put(t failer, entries ...ledger.Entry) {
	t.Helper()
	if _, err := w.ledger.Append(context.Background(), entries...); err != nil {
		t.Fatal(err)
	}
	w.all = append(w.all, entries...)
}

func (w *world) ask(t failer, q scope.Question) *scope.Answer {
	t.Helper()
	a, err := w.scope.Ask(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func credential(n int) querschott.CredentialID { return querschott.CredentialID(fmt.Sprintf("credential-%d", n)) }

// access draws an entry.
func access(rng *rand.Rand, iks []querschott.IK, at time.Time) ledger.Entry {
	e := ledger.Entry{
		Kind: ledger.KindAccess, At: at, Compartment: querschott.Compartment{Insurer: iks[rng.IntN(len(iks))], Service: querschott.Desk},
		Action: ledger.ActionRead, Data: ledger.DataClass(1 + rng.IntN(4)), Outcome: ledger.OutcomeSuccess, Role: querschott.RoleStaff,
		Actor: "somebody", Credential: credential(rng.IntN(5)), Records: 1,
	}
	switch rng.IntN(10) {
	case 0:
		e.Kind, e.Outcome, e.Records = ledger.KindAttempt, ledger.OutcomeDenied, 0
		e.Person = person(rng.IntN(40))
	case 1:
		e.Outcome, e.Person = ledger.OutcomePartial, person(rng.IntN(40))
	case 2:
		e.Records = uint32(1 + rng.IntN(300)) // nobody knows whose
	case 3:
		for range 1 + rng.IntN(6) {
			e.Persons = append(e.Persons, person(rng.IntN(40)))
		}
	case 4:
		e.Kind, e.Credential, e.Role, e.Person = ledger.KindDelivery, "", querschott.RoleMachine, person(rng.IntN(40))
	case 5:
		e.Kind = ledger.KindArrival
	default:
		e.Person = person(rng.IntN(40))
	}
	return e
}

// brute answers by looking at every entry.
func (w *world) brute(q scope.Question) []scope.Reach {
	names := func(ik querschott.IK) *ledger.Names {
		n, err := w.ledger.Names(ledger.InsurerOrigin(domain, ik, begin.Year()))
		if err != nil {
			panic(err)
		}
		return n
	}
	out := map[querschott.IK]*scope.Reach{}
	results, data := map[string]scope.Result{}, map[string]map[string]bool{}
	groups := map[querschott.IK]map[string]*scope.Group{}
	for _, e := range w.all {
		ik := e.Compartment.Insurer
		if len(q.Insurers) > 0 && !slices.Contains(q.Insurers, ik) {
			continue
		}
		r := out[ik]
		if r == nil {
			r = &scope.Reach{Insurer: ik, Groups: []scope.Group{}}
			out[ik], groups[ik] = r, map[string]*scope.Group{}
		}
		second := e.At.Unix()
		if second < q.From.Unix() || second >= q.To.Unix() || !slices.Contains(q.Credentials, e.Credential) || e.Kind == ledger.KindArrival {
			continue
		}
		result := scope.Reached
		switch e.Outcome {
		case ledger.OutcomeDenied:
			result = scope.Refused
		case ledger.OutcomePartial:
			result = scope.Possible
		}
		persons := map[querschott.KVNR]bool{}
		for _, p := range e.Persons {
			persons[p] = true
		}
		if e.Person != "" {
			persons[e.Person] = true
		}
		at := time.Unix(second, 0).UTC()
		if r.First.IsZero() || at.Before(r.First) {
			r.First = at
		}
		if at.After(r.Last) {
			r.Last = at
		}
		r.Events += uint64(max(len(persons), 1))
		if len(persons) == 0 {
			r.Unnamed += uint64(e.Records)
		}
		if result != scope.Refused {
			g := groups[ik][e.Data.String()]
			if g == nil {
				g = &scope.Group{Data: e.Data.String()}
				groups[ik][e.Data.String()] = g
			}
			g.Events += uint64(max(len(persons), 1))
		}
		for p := range persons {
			pseudonym := names(ik).Person(p)
			key := string(ik) + " " + hex.EncodeToString(pseudonym[:])
			if old := results[key]; old == 0 || result < old {
				results[key] = result
			}
			if result != scope.Refused {
				if data[key] == nil {
					data[key] = map[string]bool{}
				}
				data[key][e.Data.String()] = true
			}
		}
	}
	for key, result := range results {
		ik, pseudonym, _ := strings.Cut(key, " ")
		r := out[querschott.IK(ik)]
		p := scope.Person{Pseudonym: pseudonym, Result: result}
		for d := range data[key] {
			p.Data = append(p.Data, d)
			groups[querschott.IK(ik)][d].Persons++
		}
		slices.Sort(p.Data)
		r.Persons = append(r.Persons, p)
		switch result {
		case scope.Reached:
			r.Reached++
		case scope.Possible:
			r.Possible++
		default:
			r.Excluded++
		}
	}
	var list []scope.Reach
	for ik, r := range out {
		for _, g := range groups[ik] {
			r.Groups = append(r.Groups, *g)
		}
		slices.SortFunc(r.Groups, func(x, y scope.Group) int { return strings.Compare(x.Data, y.Data) })
		slices.SortFunc(r.Persons, func(x, y scope.Person) int { return strings.Compare(x.Pseudonym, y.Pseudonym) })
		r.Bounds = scope.Bounds{Lower: r.Reached, Best: r.Reached + r.Possible, Upper: r.Reached + r.Possible + r.Unnamed}
		switch {
		case r.Reached > 0:
			r.Grade = scope.GradeReached
		case r.Bounds.Upper > 0:
			r.Grade = scope.GradePossible
		default:
			r.Grade = scope.GradeExcluded
		}
		list = append(list, *r)
	}
	slices.SortFunc(list, func(x, y scope.Reach) int { return strings.Compare(string(x.Insurer), string(y.Insurer)) })
	return list
}

func (w *world) compare(t failer, q scope.Question) {
	t.Helper()
	a := w.ask(t, q)
	got := []scope.Reach{}
	for _, r := range a.Insurers {
		if r.Insurer == "" {
			continue // the platform's own log, in which rounds are
		}
		for i := range r.Persons {
			r.Persons[i].Log, r.Persons[i].Entry = "", 0
		}
		got = append(got, r)
	}
	if d := cmp.Diff(w.brute(q), got, equateEmpty); d != "" {
		t.Fatalf("brute force and index differ (-brute +index):\n%s", d)
	}
	if a.Coverage != 1 {
		t.Fatalf("coverage %v, want 1; gaps %v", a.Coverage, a.Gaps)
	}
}

var equateEmpty = cmp.Options{cmp.Transformer("persons", func(l []scope.Person) string {
	return fmt.Sprintf("%v", l)
}), cmp.Transformer("groups", func(l []scope.Group) string { return fmt.Sprintf("%v", l) })}

// question draws a question whose end has passed.
func (w *world) question(rng *rand.Rand, iks []querschott.IK) scope.Question {
	span := int(w.now.Sub(begin)/time.Second) + 1
	from := rng.IntN(span)
	q := scope.Question{
		Credentials: []querschott.CredentialID{credential(rng.IntN(6))}, Persons: true,
		From: begin.Add(time.Duration(from) * time.Second), To: begin.Add(time.Duration(from+1+rng.IntN(span-from)) * time.Second),
	}
	for rng.IntN(3) == 0 {
		q.Credentials = append(q.Credentials, credential(rng.IntN(6)))
	}
	if rng.IntN(3) == 0 {
		q.Insurers = iks[:1+rng.IntN(len(iks))]
	}
	return q
}

// TestAgainstBruteForce compares with brute force while rounds are cut, days are merged, the index is lost, damaged or made
// again, and ledger and scope start again.
func TestAgainstBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		iks := insurers(3)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		defer func() { w.close(t) }()
		some := func(t failer) {
			for range 1 + rng.IntN(30) {
				w.now = w.now.Add(time.Duration(rng.IntN(90_000)) * time.Millisecond)
				w.put(t, access(rng, iks, w.now))
			}
			w.now = w.now.Add(time.Second) // no event has the second of a cut
		}
		some(t)
		t.Repeat(map[string]func(*rapid.T){
			"access": func(t *rapid.T) { some(t) },
			"cut": func(t *rapid.T) {
				w.now = w.now.Add(time.Second)
				if err := scope.Cut(t.Context(), w.scope); err != nil {
					t.Fatal(err)
				}
			},
			"later": func(*rapid.T) { w.now = w.now.Add(time.Duration(rng.IntN(30)) * time.Hour) },
			"restart": func(t *rapid.T) {
				w.close(t)
				w.open(t)
			},
			"rebuild": func(t *rapid.T) {
				if err := w.scope.Rebuild(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
			"lose": func(t *rapid.T) {
				w.close(t)
				w.harm(t, rng, func(name string) error { return w.disk.Remove(name) })
				w.open(t)
			},
			"forge": func(t *rapid.T) {
				w.close(t)
				w.harm(t, rng, func(name string) error { return w.flip(name, rng) })
				w.open(t)
			},
			"": func(t *rapid.T) { w.compare(t, w.question(rng, iks)) },
		})
	})
}

// harm does something to one file of the index.
func (w *world) harm(t failer, rng *rand.Rand, do func(name string) error) {
	t.Helper()
	var files []string
	for _, dir := range []string{"scope/segments", "scope/names"} {
		list, err := w.disk.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			files = append(files, dir+"/"+f)
		}
	}
	if len(files) == 0 {
		return
	}
	if err := do(files[rng.IntN(len(files))]); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit of a file.
func (w *world) flip(name string, rng *rand.Rand) error {
	f, err := w.disk.Open(name)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil || size == 0 {
		return err
	}
	b := []byte{0}
	at := rng.Int64N(size)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 1 << rng.IntN(8)
	if _, err := f.WriteAt(b, at); err != nil {
		return err
	}
	return f.Sync()
}
