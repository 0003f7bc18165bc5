package scope_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
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
	slow   time.Duration // how long the scope takes to look at the clock
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
		SegmentSize: 128 << 10, Secret: func(in querschott.IK, year int) ([]byte, error) {
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
		Now: w.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) clock() time.Time {
	if w.slow > 0 {
		<-time.After(w.slow)
	}
	return w.now
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

func credential(n int) querschott.CredentialID {
	return querschott.CredentialID(fmt.Sprintf("credential-%d", n))
}

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

// bruteReach is what brute force knows of one insurer.
type bruteReach struct {
	scope.Reach
	results map[string]scope.Result    // by pseudonym
	data    map[string]map[string]bool // by pseudonym
	groups  map[string]*scope.Group
}

// brute answers by looking at every entry.
func (w *world) brute(q scope.Question) (list []scope.Reach) {
	out := map[querschott.IK]*bruteReach{}
	for i := range w.all {
		e := &w.all[i]
		ik := e.Compartment.Insurer
		if len(q.Insurers) > 0 && !slices.Contains(q.Insurers, ik) {
			continue
		}
		r := out[ik]
		if r == nil {
			r = &bruteReach{
				scope.Reach{Insurer: ik, Groups: []scope.Group{}},
				map[string]scope.Result{},
				map[string]map[string]bool{},
				map[string]*scope.Group{},
			}
			out[ik] = r
		}
		second := e.At.Unix()
		if second >= q.From.Unix() && second < q.To.Unix() && slices.Contains(q.Credentials, e.Credential) && e.Kind != ledger.KindArrival {
			r.add(w, e)
		}
	}
	for _, r := range out {
		list = append(list, r.finish())
	}
	slices.SortFunc(list, func(x, y scope.Reach) int { return strings.Compare(string(x.Insurer), string(y.Insurer)) })
	return list
}

func (r *bruteReach) add(w *world, e *ledger.Entry) {
	result := map[ledger.Outcome]scope.Result{
		ledger.OutcomeSuccess: scope.Reached, ledger.OutcomeDenied: scope.Refused, ledger.OutcomePartial: scope.Possible,
	}[e.Outcome]
	names, err := w.ledger.Names(ledger.InsurerOrigin(domain, r.Insurer, begin.Year()))
	if err != nil {
		panic(err)
	}
	persons := map[string]bool{}
	for _, p := range append(slices.Clone(e.Persons), e.Person) {
		if p != "" {
			pseudonym := names.Person(p)
			persons[hex.EncodeToString(pseudonym[:])] = true
		}
	}
	at := e.At.Truncate(time.Second)
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
	data := e.Data.String()
	if result != scope.Refused {
		if r.groups[data] == nil {
			r.groups[data] = &scope.Group{Data: data}
		}
		r.groups[data].Events += uint64(max(len(persons), 1))
	}
	for p := range persons {
		if old := r.results[p]; old == 0 || result < old {
			r.results[p] = result
		}
		if result != scope.Refused {
			if r.data[p] == nil {
				r.data[p] = map[string]bool{}
			}
			r.data[p][data] = true
		}
	}
}

func (r *bruteReach) finish() scope.Reach {
	for pseudonym, result := range r.results {
		p := scope.Person{Pseudonym: pseudonym, Result: result, Data: slices.Sorted(maps.Keys(r.data[pseudonym]))}
		for _, d := range p.Data {
			r.groups[d].Persons++
		}
		r.Persons = append(r.Persons, p)
		*map[scope.Result]*uint64{scope.Reached: &r.Reached, scope.Possible: &r.Possible, scope.Refused: &r.Excluded}[result]++
	}
	for _, d := range slices.Sorted(maps.Keys(r.groups)) {
		r.Groups = append(r.Groups, *r.groups[d])
	}
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
	return r.Reach
}

func (w *world) compare(t failer, q scope.Question) {
	t.Helper()
	a := w.ask(t, q)
	var got []scope.Reach
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

// TestMain draws less than rapid would, unless somebody says how much: opening a ledger takes its time.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue && os.Getenv("QUERSCHOTT_LONG") == "" {
		_ = f.Value.Set("20") // a number is one
	}
	os.Exit(m.Run())
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
			var list []ledger.Entry
			for range 1 + rng.IntN(30) {
				w.now = w.now.Add(time.Duration(rng.IntN(90_000)) * time.Millisecond)
				list = append(list, access(rng, iks, w.now))
			}
			w.put(t, list...)
		}
		some(t)
		t.Repeat(map[string]func(*rapid.T){
			"access": func(t *rapid.T) { some(t) },
			"cut": func(t *rapid.T) {
				w.now = w.now.Add(time.Second)
				if err := scope.Cut(t.Context(), w.scope); err != nil {
					t.Fatal(err)
				}
				w.now = w.now.Add(time.Second) // no event has the second of a cut
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

// TestOlderLedger: an index that is ahead of a ledger that was restored from a backup, or is of another one, is made again.
func TestOlderLedger(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	iks := insurers(3)
	for _, entries := range []int{1, 400} {
		w := newWorld(t)
		for range 3 {
			w.some(t, rng, iks, 30)
			w.cut(t)
		}
		w.close(t)
		files, err := w.disk.List("ledger/packs")
		if err != nil {
			t.Fatal(err)
		}
		for dir, list := range map[string][]string{"ledger/packs": files, "ledger": {"state"}} {
			for _, f := range list {
				if err := w.disk.Remove(dir + "/" + f); err != nil {
					t.Fatal(err)
				}
			}
		}
		wal, err := w.disk.List("ledger/wal")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range wal {
			if err := w.disk.Remove("ledger/wal/" + f); err != nil {
				t.Fatal(err)
			}
		}
		w.all = nil
		w.open(t)
		w.some(t, rng, iks, entries)
		w.now = w.now.Add(time.Second)
		for range 20 {
			w.compare(t, w.question(rng, iks))
		}
		w.cut(t)
		w.compare(t, w.question(rng, iks))
		w.close(t)
	}
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
