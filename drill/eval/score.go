package eval

import (
	"cmp"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
)

// Interval is a figure with its 95 % interval over the seeds.
type Interval struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// resamples is how often the seeds are drawn anew.
const resamples = 2000

// ratio is what each seed adds above and below a fraction.
type ratio struct{ above, below float64 }

// interval computes sum above / sum below, with the interval from drawing seeds with replacement. Nothing below is 0.
func interval(seeds []ratio) Interval {
	point := func(pick func(i int) ratio) float64 {
		a, b := 0.0, 0.0
		for i := range seeds {
			r := pick(i)
			a, b = a+r.above, b+r.below
		}
		if b == 0 {
			return 0
		}
		return a / b
	}
	rnd := rand.New(rand.NewPCG(uint64(len(seeds)), 95))
	values := make([]float64, resamples)
	for k := range values {
		values[k] = point(func(int) ratio { return seeds[rnd.IntN(len(seeds))] })
	}
	slices.Sort(values)
	return Interval{round(point(func(i int) ratio { return seeds[i] })), round(values[resamples*25/1000]), round(values[resamples*975/1000-1])}
}

func round(x float64) float64 { return math.Round(x*1e4) / 1e4 }

// quantile returns the value below or at which a share q lies; 0 for none.
func quantile(list []float64, q float64) float64 {
	if len(list) == 0 {
		return 0
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return round(list[min(max(int(math.Ceil(q*float64(len(list))))-1, 0), len(list)-1)])
}

// chance is that at least one of n alarms is looked at when each is with probability p.
func chance(n int, p float64) float64 { return 1 - math.Pow(1-p, float64(n)) }

// Largest returns the keys of a map, those of the largest values first.
func Largest(m map[string]float64) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
}
