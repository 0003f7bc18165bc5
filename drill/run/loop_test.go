package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// loop plays so many thefts, one after another, against one platform, each with a credential of its own, beside ordinary work. A pause above
// 0 is what a thief waits after each refusal.
func loop(tb testing.TB, thefts, tries int, pause time.Duration) (list []Theft) {
	tb.Helper()
	ctx := tb.Context()
	p, stop, err := Throwaway(ctx, 1)
	if err != nil {
		tb.Fatal(err)
	}
	const most = time.Minute // a theft ends by itself when its credential is given up
	defer func() {
		if err := stop(); err != nil {
			tb.Error(err)
		}
	}()
	quiet := func(string, ...any) {}
	s, err := open(ctx, p, "loop", volume{mails: 10, checks: 4, insurers: 3, clerks: 4, known: 200, seed: 1}, Options{Progress: quiet})
	if err != nil {
		tb.Fatal(err)
	}
	f, err := Find(January)
	if err != nil {
		tb.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var thieves []*thief
	for seed := range uint64(thefts) {
		f.Rate.Gap.From = time.Duration(rng.IntN(40)) * time.Millisecond // 25 a second and more
		f.Rate.Gap.To = f.Rate.Gap.From
		f.Who.Spares.From, f.Who.Spares.To = 0, 0
		f.Refused.Tries.From, f.Refused.Tries.To = float64(tries), float64(tries)
		if pause > 0 {
			f.Refused.Wait.From, f.Refused.Wait.To = pause, pause
		}
		t, err := newThief(p, newLand(p.world, 200), f, seed, 0)
		if err != nil {
			tb.Fatal(err)
		}
		for _, h := range t.hands {
			h.name = fmt.Sprintf("seed.%d", seed)
		}
		playing, end := context.WithTimeout(ctx, most)
		err = errors.Join(t.prepare(ctx), t.play(playing))
		end()
		if err != nil {
			tb.Fatal(err)
		}
		thieves = append(thieves, t)
	}
	if err := errors.Join(wait(ctx, after), s.close(ctx)); err != nil {
		tb.Fatal(err)
	}
	for _, t := range thieves {
		list = append(list, t.thefts(s.alarms)...)
	}
	if s.report.Staff.Errors > 0 || s.report.Mail.Rejected > 0 || s.report.Mail.Lost > 0 {
		tb.Errorf("ordinary work: %+v, %+v", s.report.Staff, s.report.Mail)
	}
	return list
}

// p95 returns the 95th percentile with its 95 % interval over the thefts (bootstrap).
func p95(values []float64) (at, low, high float64) {
	rng := rand.New(rand.NewPCG(7, 7))
	quantile := func(v []float64) float64 {
		v = slices.Sorted(slices.Values(v))
		return v[min(len(v)-1, len(v)*95/100)]
	}
	var all []float64
	for range 2000 {
		sample := make([]float64, len(values))
		for i := range sample {
			sample[i] = values[rng.IntN(len(values))]
		}
		all = append(all, quantile(sample))
	}
	slices.Sort(all)
	return quantile(values), all[len(all)*25/1000], all[len(all)*975/1000]
}

func report(b testing.TB, name string, list []Theft, value func(Theft) *float64) {
	b.Helper()
	var values []float64
	for _, t := range list {
		if v := value(t); v != nil {
			values = append(values, *v)
		}
	}
	if len(values) == 0 {
		b.Logf("%s: never, in %d thefts", name, len(list))
		return
	}
	at, low, high := p95(values)
	b.Logf("%s: p95 %.3f s (95 %% interval %.3f to %.3f), %d of %d thefts", name, at, low, high, len(values), len(list))
}

// BenchmarkClosedLoop measures how soon a fast theft through the desk is noticed and ended, through the real entrance.
func BenchmarkClosedLoop(b *testing.B) {
	for b.Loop() {
		list := loop(b, 24, 30, 0)
		report(b, "first request to alarm", list, func(t Theft) *float64 { return t.DetectedAfter })
		report(b, "first request to last data", list, func(t Theft) *float64 { return t.StoppedAfter })
		report(b, "first request to credential held", list, func(t Theft) *float64 { return t.ContainedAfter })
		report(b, "first refusal for a cap to credential held", list, func(t Theft) *float64 { return t.AfterCap })
		persons, past := 0, 0
		for _, t := range list {
			persons, past = max(persons, t.Persons), max(past, t.PastCap)
		}
		b.Logf("at most %d persons by one credential, %d past the cap", persons, past)
	}
}

// A theft gets no further than the cap, whatever its speed, and is noticed while it goes on. While the thief waits it is asked on his behalf
// whether the credential is held: the report says when that was, not when he came back.
func TestThievesStopAtTheCap(t *testing.T) {
	if testing.Short() {
		t.Skip("plays thefts against a platform")
	}
	const cap, tries = 20, 2
	for _, th := range loop(t, 2, tries, 10*time.Second) {
		if th.Requests <= th.Persons+tries {
			t.Errorf("%s made %d requests for %d persons: nobody asked while he waited", th.Actor, th.Requests, th.Persons)
		}
		if th.Persons > cap || th.PastCap > 0 {
			t.Errorf("%s reached %d persons, %d past the cap", th.Actor, th.Persons, th.PastCap)
		}
		if th.DetectedAfter == nil {
			t.Errorf("nobody noticed %s", th.Actor)
		}
	}
}

// Only what says that it is not the real thing is attacked.
func TestRefusesARealNode(t *testing.T) {
	_, err := Attach(t.Context(), t.TempDir())
	if err == nil {
		t.Error("an empty directory was attacked")
	}
}

// What waits ends with its context.
func TestWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return wait(ctx, time.Hour) })
	cancel()
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
}
