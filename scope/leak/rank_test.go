package leak_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/scope"
	"github.com/querschott/querschott/scope/leak"
)

const insurers = 3

func ik(i int) querschott.IK {
	first := fmt.Sprintf("1095%04d", i)
	return querschott.IK(first + string(querschott.IKCheckDigit(first)))
}

// office is a ledger in which clerks have read for four weeks, and a job reads everybody every night.
type office struct {
	t      *testing.T
	begin  time.Time
	now    time.Time
	ledger *ledger.Ledger
	scope  *scope.Scope
	rng    *rand.Rand
	list   []ledger.Entry // not in the ledger yet
}

const (
	population = 3000
	clerks     = 60
	weeks      = 4
)

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, begin: time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC), rng: rand.New(rand.NewPCG(7, 7))}
	o.now = o.begin.AddDate(0, 0, 7*weeks)
	disk := crashdisk.New()
	now := func() time.Time { return o.now }
	var err error
	o.ledger, err = ledger.Open(ledger.Config{
		FS: disk, Dir: "ledger", Domain: "betreiber.example", Seed: make([]byte, 32), Now: now,
		Secret: func(in querschott.IK, year int) ([]byte, error) {
			s := sha256.Sum256(fmt.Appendf(nil, "%s %d", in, year))
			return s[:], nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	o.scope, err = scope.Open(scope.Config{FS: disk, Dir: "scope", Key: make([]byte, 32), Ledger: o.ledger, Actor: "querschott", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.scope.Close(); err != nil {
			t.Error(err)
		}
		if err := o.ledger.Close(); err != nil {
			t.Error(err)
		}
	})
	for day := range 7 * weeks {
		for c := range clerks {
			for k := range 5 {
				o.read(fmt.Sprintf("clerk-%d", c), o.rng.IntN(population), day, time.Duration(k)*time.Hour)
			}
		}
	}
	for p := range population {
		o.read("nightly", p, p%(7*weeks), 14*time.Hour)
	}
	return o
}

// read records that somebody read a person's data, on a day that begins at eight.
func (o *office) read(who string, person, day int, at time.Duration) {
	o.t.Helper()
	o.list = append(o.list, ledger.Entry{
		Kind: ledger.KindAccess, At: o.begin.AddDate(0, 0, day).Add(at), Compartment: querschott.Compartment{Insurer: ik(person % insurers), Service: querschott.Desk},
		Action: ledger.ActionRead, Data: ledger.DataInsured, Outcome: ledger.OutcomeSuccess, Role: querschott.RoleStaff,
		Actor: querschott.Actor(who), Credential: querschott.CredentialID(who), Person: querschott.KVNR(number(person)), Records: 1,
	})
	if len(o.list) == 500 {
		o.flush()
	}
}

func (o *office) flush() {
	o.t.Helper()
	if _, err := o.ledger.Append(o.t.Context(), o.list...); err != nil {
		o.t.Fatal(err)
	}
	o.list = o.list[:0]
}

// steal has somebody read persons on a day, one a minute.
func (o *office) steal(who string, persons []int, day int) {
	for i, p := range persons {
		o.read(who, p, day, 10*time.Hour+time.Duration(i)*time.Minute)
	}
}

func (o *office) rank(persons []int, windows []leak.Window) *leak.Ranking {
	o.t.Helper()
	return leak.Rank(o.readers(persons), len(persons), windows)
}

func (o *office) readers(persons []int) *scope.Found {
	o.t.Helper()
	if len(o.list) > 0 {
		o.flush()
	}
	var list []querschott.KVNR
	for _, p := range persons {
		list = append(list, querschott.KVNR(number(p)))
	}
	f, err := o.scope.Readers(o.t.Context(), scope.Search{Persons: list, To: o.now})
	if err != nil {
		o.t.Fatal(err)
	}
	return f
}

func some(rng *rand.Rand, n int) []int { return rng.Perm(population)[:n] }

// A planted reader is the first of 62, with ten rows of what it read. The job that reads everybody has all ten too.
func TestPlantedReaderIsFirst(t *testing.T) {
	o := newOffice(t)
	stolen := some(o.rng, 120)
	o.steal("thief", stolen, 12)
	r := o.rank(stolen[40:50], nil)
	first := r.Readers[0]
	if first.Credential != "thief" || first.Rank != 1 || first.Coverage != 1 || first.Precision != 10.0/120 || r.Confidence != leak.Strong {
		t.Errorf("%+v\n%s %q", first, r.Confidence, r.Why)
	}
	if len(r.Cover) != 1 || r.Cover[0].Credential != "thief" || r.Cover[0].Together != 1 {
		t.Errorf("cover: %+v", r.Cover)
	}
	f := o.readers(stolen[40:50])
	at := slices.IndexFunc(f.Readers, func(x scope.Reader) bool { return x.Credential == "nightly" })
	if at < 0 || len(f.Readers[at].Hits) != 10 || f.Readers[at].Persons != population {
		t.Error("the job that reads everybody has not read these ten")
	}
	whole := o.rank(stolen, nil)
	if whole.Readers[0].Credential != "thief" || whole.Readers[0].Precision != 1 {
		t.Errorf("%+v", whole.Readers[0])
	}
}

// Two who share what they stole are the first two, and together they are the combination.
func TestColludingReaders(t *testing.T) {
	o := newOffice(t)
	stolen := some(o.rng, 160)
	o.steal("left", stolen[:80], 3)
	o.steal("right", stolen[80:], 9)
	sample := append(slices.Clone(stolen[10:15]), stolen[100:105]...)
	r := o.rank(sample, nil)
	var cover []string
	for _, m := range r.Cover {
		cover = append(cover, string(m.Credential))
	}
	slices.Sort(cover)
	first := []string{string(r.Readers[0].Credential), string(r.Readers[1].Credential)}
	slices.Sort(first)
	if !slices.Equal(cover, []string{"left", "right"}) || !slices.Equal(first, cover) || r.Cover[1].Together != 1 || r.Confidence != leak.Fair {
		t.Errorf("first %v, cover %v, %s: %q", first, cover, r.Confidence, r.Why)
	}
	if r := o.rank(stolen, nil); len(r.Cover) != 2 || r.Cover[1].Together != 1 || r.Confidence != leak.Strong {
		t.Errorf("all rows: %+v, %s: %q", r.Cover, r.Confidence, r.Why)
	}
}

// A clerk's credential that was stolen for one night is recognised by that night, which is its strongest period.
func TestPeriodOfAStolenCredential(t *testing.T) {
	o := newOffice(t)
	stolen := some(o.rng, 50)
	o.steal("clerk-9", stolen, 20)
	x := o.rank(stolen[:20], nil).Readers[0]
	if x.Credential != "clerk-9" || len(x.Best) == 0 || !x.Best[0].First.Equal(o.begin.AddDate(0, 0, 20).Add(10*time.Hour)) || x.Best[0].Evidence <= x.Evidence || x.Best[0].Persons != 50 {
		t.Errorf("%+v", x)
	}
}

// Who read only when the copy cannot have been made comes behind those who read in the window.
func TestWindowDecides(t *testing.T) {
	o := newOffice(t)
	stolen := some(o.rng, 40)
	o.steal("early", stolen, 2)
	o.steal("late", stolen[:39], 21)
	w := []leak.Window{{From: o.begin.AddDate(0, 0, 20), To: o.begin.AddDate(0, 0, 23)}}
	if r := o.rank(stolen, nil); r.Readers[0].Credential != "early" {
		t.Errorf("without a window: %+v", r.Readers[0])
	}
	if r := o.rank(stolen, w); r.Readers[0].Credential != "late" {
		t.Errorf("with a window: %+v", r.Readers[0])
	}
}

// Nothing is claimed of persons whom nobody took: neither of strangers nor of some taken by chance.
func TestNobodyIsAccused(t *testing.T) {
	o := newOffice(t)
	strangers := make([]int, 50)
	for i := range strangers {
		strangers[i] = 50_000_000 + i
	}
	if r := o.rank(strangers, nil); r.Confidence != leak.None || len(r.Readers) != 0 {
		t.Errorf("strangers: %+v", r)
	}
	for range 30 {
		if r := o.rank(some(o.rng, 10), nil); r.Confidence != leak.Weak || len(r.Cover) != 0 {
			t.Errorf("by chance: %s %+v %v", r.Confidence, r.Cover, r.Why)
		}
	}
}
