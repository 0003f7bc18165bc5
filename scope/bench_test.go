package scope

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
)

// size is how large the synthetic month is.
type size struct{ events, persons, credentials int }

func month() size {
	if os.Getenv("QUERSCHOTT_LONG") != "" {
		return size{100_000_000, 25_000_000, 50_000}
	}
	return size{2_000_000, 500_000, 5_000}
}

const (
	benchDays     = 30
	benchInsurers = 80
	benchBegin    = int64(1_780_272_000) // a midnight
	panel         = 3000                 // persons whom most credentials see again and again
	wide          = 100                  // credentials that reach anybody
)

// bench is an index without a ledger, of synthetic events.
type bench struct {
	*Scope
	size
	rng  *rand.Rand
	cdf  []float64 // of credentials, by rank
	ends []int     // of the insurers' persons, by insurer: sizes are as unequal as insurers are
}

func newBench(b *testing.B, n size) *bench {
	b.Helper()
	s := &bench{size: n, rng: rand.New(rand.NewPCG(1, 2))}
	s.Scope = &Scope{cfg: Config{FS: disk.OS{}, Dir: b.TempDir(), Key: []byte("k"), Log: slog.New(slog.DiscardHandler)}}
	for _, dir := range []string{s.segments(), s.namesDir()} {
		if err := s.cfg.FS.MkdirAll(dir); err != nil {
			b.Fatal(err)
		}
	}
	b.Cleanup(func() { _ = s.release() })
	s.cdf = zipf(n.credentials, 1.08)
	shares := zipf(benchInsurers, 1)
	for i := range benchInsurers {
		s.ends = append(s.ends, int(shares[i]*float64(n.persons)))
		book := s.makeBook(fmt.Sprintf("x/ledger/%09d/2026", i), querschott.IKFromNumber(uint32(i)+2), 2026)
		from := 0
		if i > 0 {
			from = s.ends[i-1]
		}
		book.persons.keys = make([]ledger.Pseudonym, s.ends[i]-from) // their number decides the size of the sets
	}
	return s
}

// zipf returns the sums of shares that fall with the rank.
func zipf(n int, exponent float64) []float64 {
	out, sum := make([]float64, n), 0.0
	for i := range out {
		sum += math.Pow(float64(i+1), -exponent)
		out[i] = sum
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

// draw returns a credential and a person: most credentials see four times of five somebody of their panel.
func (s *bench) draw() (cred, insurer int, person uint32) {
	cred = sort.SearchFloat64s(s.cdf, s.rng.Float64())
	p := s.rng.IntN(s.persons)
	if cred >= wide && s.rng.IntN(5) > 0 {
		p = int((uint64(cred)*2654435761 + uint64(s.rng.IntN(panel))*40503) % uint64(s.persons))
	}
	insurer, person = s.whose(p)
	return cred, insurer, person
}

func (s *bench) whose(p int) (insurer int, person uint32) {
	insurer = sort.SearchInts(s.ends, p+1)
	if insurer > 0 {
		p -= s.ends[insurer-1]
	}
	return insurer, uint32(p + 1)
}

// day writes one day's segments.
func (s *bench) day(b *testing.B, n int, lists [][]event) {
	b.Helper()
	since := benchBegin + int64(n)*day
	ref := roundRef{N: uint64(n + 1), Since: since, Until: since + day}
	w, err := newSegment(s.cfg.FS, s.segments(), []roundRef{ref})
	for i, book := range s.books {
		if err == nil {
			err = w.log(shelf{Origin: book.origin, Insurer: book.insurer, Year: 2026}, lists[i])
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	g, err := w.finish(s.cfg.Key)
	if err != nil {
		b.Fatal(err)
	}
	s.segs, s.last = append(s.segs, g), ref
}

// fill writes the month.
func (s *bench) fill(b *testing.B) {
	b.Helper()
	lists := make([][]event, benchInsurers)
	for n := range benchDays {
		for i := range lists {
			lists[i] = lists[i][:0]
		}
		for range s.events / benchDays {
			cred, insurer, person := s.draw()
			lists[insurer] = append(lists[insurer], event{
				second: benchBegin + int64(n)*day + int64(s.rng.IntN(day)), cred: uint32(cred + 1), person: person,
				class: uint8(ledger.DataInsured)<<2 | uint8(Reached),
			})
		}
		s.day(b, n, lists)
	}
}

// look answers for one credential, as answer does behind the names.
func (s *bench) look(b *testing.B, cred int, from, to int64) (persons uint64, took time.Duration) {
	b.Helper()
	begin := time.Now()
	var tallies []*tally
	for _, book := range s.books {
		t := &tally{book: book, first: openEnd, from: from, to: to, creds: []uint32{uint32(cred + 1)}}
		tallies = append(tallies, t)
	}
	if err := s.count(tallies); err != nil {
		b.Fatal(err)
	}
	a := &Answer{}
	for _, t := range tallies {
		a.add(t)
	}
	for i := range a.Insurers {
		persons += a.Insurers[i].Reached
	}
	return persons, time.Since(begin)
}

// BenchmarkMonth asks for 54 hours of credentials of all kinds, warm, in a month of events.
func BenchmarkMonth(b *testing.B) {
	s := newBench(b, month())
	begin := time.Now()
	s.fill(b)
	b.ReportMetric(float64(s.events)/time.Since(begin).Seconds(), "built-events/s")
	var blocks, sparse [2]int64
	var files int64
	for _, g := range s.segs {
		files += g.size
		for _, l := range g.table.Logs {
			for o, c := range l.Sections {
				blocks[o], sparse[o] = blocks[o]+c.Len, sparse[o]+c.Index
			}
		}
	}
	n := float64(s.events / benchDays * benchDays)
	b.ReportMetric(float64(blocks[0]+sparse[0])/n, "bytes/event-by-credential")
	b.ReportMetric(float64(blocks[1]+sparse[1])/n, "bytes/event-by-person")
	b.ReportMetric(float64(files)/n, "bytes/event-of-files")
	from := benchBegin + 10*day + 8*3600
	to := from + 54*3600
	var all []time.Duration
	for range b.N {
		all = all[:0]
		for _, cred := range []int{0, 1, 10, 99, 1000, s.credentials * 4 / 5} {
			s.look(b, cred, from, to)
			_, took := s.look(b, cred, from, to)
			all = append(all, took)
		}
	}
	b.ReportMetric(all[0].Seconds()*1e3, "ms/busiest")
	b.ReportMetric(all[4].Seconds()*1e3, "ms/rank-1000")
	b.ReportMetric(all[5].Seconds()*1e3, "ms/rank-last-fifth")
	b.ReportMetric(slices.Max(all).Seconds()*1e3, "ms/slowest")
}

// BenchmarkTheft asks for one credential that reached everybody once in 54 hours. floor only marks the same persons in the same
// sets, from memory.
func BenchmarkTheft(b *testing.B) {
	s := newBench(b, month())
	order := s.rng.Perm(s.persons)
	flat := make([][]uint32, benchInsurers)
	const days = 3
	for n := range days {
		lists := make([][]event, benchInsurers)
		part := order[n*len(order)/days : (n+1)*len(order)/days]
		for i, p := range part {
			insurer, person := s.whose(p)
			flat[insurer] = append(flat[insurer], person)
			lists[insurer] = append(lists[insurer], event{
				second: benchBegin + int64(n)*day + 3*3600 + int64(i)*18*3600/int64(len(part)), cred: 1, person: person,
				class: uint8(ledger.DataInsured)<<2 | uint8(Reached),
			})
		}
		s.day(b, n, lists)
	}
	from, to := benchBegin+3*3600, benchBegin+2*day+21*3600
	b.Run("index", func(b *testing.B) {
		var all []time.Duration
		begun := processor(b)
		for range b.N {
			persons, took := s.look(b, 0, from, to)
			if persons != uint64(s.persons) {
				b.Fatalf("%d persons, want %d", persons, s.persons)
			}
			all = append(all, took)
		}
		b.ReportMetric((processor(b)-begun).Seconds()*1e3/float64(b.N), "cpu-ms/answer")
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2].Seconds()*1e3, "ms/median")
		b.ReportMetric(all[len(all)-1].Seconds()*1e3, "ms/slowest")
		b.ReportMetric(float64(s.persons), "persons")
	})
	b.Run("floor", func(b *testing.B) {
		begun := processor(b)
		for range b.N {
			n := uint64(0)
			for i, book := range s.books {
				set := newBitset(book)
				for _, p := range flat[i] {
					set.set(p)
				}
				n += set.count()
			}
			if n != uint64(s.persons) {
				b.Fatal(n)
			}
		}
		b.ReportMetric((processor(b)-begun).Seconds()*1e3/float64(b.N), "cpu-ms/answer")
		b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms/mean")
	})
}

// processor returns the processor time that the process has used, the kernel's among it.
func processor(tb testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkProof verifies the proof of 54 hours in 54 rounds of 80 insurers, read from its file.
func BenchmarkProof(b *testing.B) {
	now := time.Unix(benchBegin, 0).UTC()
	dir := b.TempDir()
	l, err := ledger.Open(ledger.Config{
		FS: disk.OS{}, Dir: dir + "/ledger", Domain: "x", Seed: make([]byte, 32), Now: func() time.Time { return now },
		Secret: func(in querschott.IK, year int) ([]byte, error) {
			s := sha256.Sum256(fmt.Appendf(nil, "%s %d", in, year))
			return s[:], nil
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	s, err := Open(Config{FS: disk.OS{}, Dir: dir + "/scope", Key: []byte("k"), Ledger: l, Actor: "a", Now: func() time.Time { return now }})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	fillRounds(b, l, s, &now)
	q := Question{Credentials: []querschott.CredentialID{"c-0"}, From: time.Unix(benchBegin, 0), To: now}
	begin := time.Now()
	p, err := s.Prove(context.Background(), q)
	if err != nil {
		b.Fatal(err)
	}
	made := time.Since(begin)
	file, err := p.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	vkey, err := l.VKey(ledger.CommitsOrigin("x", now.Year()))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if v, err := Verify(file, vkey); err != nil || !v.Complete || v.Total.Lower == 0 {
			b.Fatal(v, err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms/verified")
	b.ReportMetric(made.Seconds()*1e3, "ms/made")
	b.ReportMetric(float64(len(file)), "bytes/proof")
	b.ReportMetric(float64(len(p.Rounds)), "rounds")
}

// fillRounds puts 54 hours of accesses into a ledger and cuts a round every hour.
func fillRounds(b *testing.B, l *ledger.Ledger, s *Scope, now *time.Time) {
	b.Helper()
	rng := rand.New(rand.NewPCG(3, 3))
	for range 54 {
		var list []ledger.Entry
		for i := range benchInsurers {
			first := fmt.Sprintf("1095%04d", i)
			ik := querschott.IK(first + string(querschott.IKCheckDigit(first)))
			for range 25 {
				list = append(list, ledger.Entry{
					Kind: ledger.KindAccess, At: now.Add(time.Duration(rng.IntN(3500)) * time.Second), Role: querschott.RoleStaff,
					Compartment: querschott.Compartment{Insurer: ik, Service: querschott.Desk}, Action: ledger.ActionRead, Data: ledger.DataInsured,
					Outcome: ledger.OutcomeSuccess, Records: 1, Person: querschott.KVNR(fmt.Sprintf("A%09d", rng.IntN(100_000))),
					Credential: querschott.CredentialID(fmt.Sprintf("c-%d", rng.IntN(10))),
				})
			}
		}
		*now = now.Add(time.Hour)
		if _, err := l.Append(context.Background(), list...); err != nil {
			b.Fatal(err)
		}
		if err := Cut(context.Background(), s); err != nil {
			b.Fatal(err)
		}
	}
}
