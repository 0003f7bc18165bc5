package drill

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// arrivals lets a pacer run for a while and returns the gaps in seconds.
func arrivals(p *pacer, from time.Time, length time.Duration, rate func(time.Time) float64) (gaps []float64) {
	last := from
	for now := from; now.Before(from.Add(length)); {
		due, again := p.due(now, rate(now))
		if due {
			gaps = append(gaps, now.Sub(last).Seconds())
			last = now
			continue
		}
		now = again
	}
	return gaps
}

func constant(rate float64) func(time.Time) float64 {
	return func(time.Time) float64 { return rate }
}

func TestArrivalsComeAtTheirRate(t *testing.T) {
	for _, rate := range []float64{0.05, 1, 200} {
		p := &pacer{rng: rand.New(rand.NewPCG(1, 2))}
		const n = 20_000
		gaps := arrivals(p, demoDay, time.Duration(n/rate*float64(time.Second)), constant(rate))
		sum, squares := 0.0, 0.0
		for _, g := range gaps {
			sum += g
			squares += g * g
		}
		mean := sum / float64(len(gaps))
		deviation := math.Sqrt(squares/float64(len(gaps)) - mean*mean)
		// Of exponential gaps the standard deviation equals the mean; both are known to about 1 % after 20,000.
		if math.Abs(mean*rate-1) > 0.04 || math.Abs(deviation*rate-1) > 0.06 {
			t.Errorf("rate %g: %d gaps with mean %g s and deviation %g s", rate, len(gaps), mean, deviation)
		}
	}
}

func TestARateOfZeroIsSilence(t *testing.T) {
	p := &pacer{rng: rand.New(rand.NewPCG(1, 2))}
	if gaps := arrivals(p, demoDay, time.Hour, constant(0)); len(gaps) != 0 {
		t.Errorf("%d arrivals", len(gaps))
	}
	half := func(now time.Time) float64 {
		if now.Before(demoDay.Add(90 * time.Minute)) {
			return 10
		}
		return 0
	}
	gaps := arrivals(p, demoDay.Add(time.Hour), time.Hour, half)
	if n := len(gaps); n < 17_000 || n > 19_000 {
		t.Errorf("%d arrivals in half an hour at 10 per second and half an hour of silence", n)
	}
}

func TestASenderThatFellBehindDoesNotHurry(t *testing.T) {
	p := &pacer{rng: rand.New(rand.NewPCG(1, 2))}
	p.due(demoDay, 10)
	late, n := demoDay.Add(time.Hour), 0
	for due, _ := p.due(late, 10); due; due, _ = p.due(late, 10) {
		n++
	}
	if n > 60 {
		t.Errorf("%d mails at once after an hour without a look; two seconds are worth about 20", n)
	}
}

func TestEveningBurstHasTheMeanOne(t *testing.T) {
	sum, evening := 0.0, 0.0
	for h := range 24 {
		f := EveningBurst(time.Date(2026, 10, 5, h, 30, 0, 0, time.UTC))
		sum, evening = sum+f, math.Max(evening, f)
	}
	if math.Abs(sum/24-1) > 1e-9 || EveningBurst(time.Date(2026, 10, 5, 18, 0, 0, 0, time.UTC)) != evening {
		t.Errorf("mean %g, most %g", sum/24, evening)
	}
}

func TestBackOff(t *testing.T) {
	var j job
	var got []time.Duration
	for range 8 {
		j = j.later(demoDay, 2*time.Second)
		got = append(got, j.due.Sub(demoDay)/time.Second)
	}
	if diff := cmp.Diff([]time.Duration{2, 4, 8, 16, 32, 64, 64, 64}, got); diff != "" {
		t.Errorf("seconds until the next try (-want +got):\n%s", diff)
	}
}

func TestShelf(t *testing.T) {
	var s shelf
	rng := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		s.put(job{due: demoDay.Add(time.Duration(rng.IntN(1000)) * time.Second)})
	}
	if _, ok := s.take(demoDay.Add(-time.Second)); ok {
		t.Error("a job was taken before its time")
	}
	last, n := demoDay, 0
	for j, ok := s.take(demoDay.Add(500 * time.Second)); ok; j, ok = s.take(demoDay.Add(500 * time.Second)) {
		if j.due.Before(last) || j.due.After(demoDay.Add(500*time.Second)) {
			t.Fatalf("due %v after %v", j.due, last)
		}
		last, n = j.due, n+1
	}
	if n+s.Len() != 500 || n == 0 || s.Len() == 0 {
		t.Errorf("%d taken, %d left", n, s.Len())
	}
}

func TestLatencies(t *testing.T) {
	var l latencies
	if got := l.quantile(demoDay, 0.99); got != 0 {
		t.Errorf("nothing measured, and p99 is %v", got)
	}
	for i := 1; i <= 10_000; i++ {
		l.add(demoDay, time.Duration(i)*37*time.Microsecond)
	}
	for _, q := range []float64{0.01, 0.5, 0.99, 1} {
		exact := time.Duration(q*10_000) * 37 * time.Microsecond
		if got := l.quantile(demoDay, q); got < exact || got > exact*9/8+time.Microsecond {
			t.Errorf("quantile %g is %v, exactly %v", q, got, exact)
		}
	}
	if got := l.quantile(demoDay.Add(latencyWindow+time.Second), 0.5); got == 0 {
		t.Error("forgotten too early")
	}
	l.add(demoDay.Add(latencyWindow+2*time.Second), time.Second)
	if got := l.quantile(demoDay.Add(2*latencyWindow+3*time.Second), 0.01); got < time.Second {
		t.Errorf("the durations of the window before the last still count: p1 is %v", got)
	}
	if got := l.quantile(demoDay.Add(9*latencyWindow), 0.5); got != 0 {
		t.Errorf("a minute and a half later p50 is still %v", got)
	}
}

func TestEveryDurationHasABucket(t *testing.T) {
	for _, d := range []time.Duration{-time.Second, 0, time.Microsecond, 7 * time.Microsecond, 8 * time.Microsecond, time.Millisecond, time.Hour, math.MaxInt64} {
		i := bucket(d)
		if i < 0 || i >= len(histogram{}) {
			t.Errorf("%v falls into bucket %d", d, i)
		} else if d < 24*time.Hour && bound(i) < d {
			t.Errorf("%v falls into a bucket that ends at %v", d, bound(i))
		}
	}
}
