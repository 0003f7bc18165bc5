package crowd

import "math"

// dice are the chances of one day of one actor, or of one request. They hang on nothing but what they were made from, so that
// nobody's luck depends on what others do.
type dice uint64

func throw(parts ...uint64) dice {
	h := uint64(0x9e3779b97f4a7c15)
	for _, p := range parts {
		h = mix(h ^ p)
	}
	return dice(h)
}

// mix is the finalizer of splitmix64.
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	return mix(uint64(*d))
}

// share is from 0 to below 1.
func (d *dice) share() float64 { return float64(d.next()>>11) / (1 << 53) }

func (d *dice) chance(p float64) bool { return d.share() < p }

// n is from 0 to below most.
func (d *dice) n(most int) int { return int(d.next() % uint64(max(most, 1))) }

// normal is standard normal (Box and Muller 1958).
func (d *dice) normal() float64 {
	return math.Sqrt(-2*math.Log(1-d.share())) * math.Cos(2*math.Pi*d.share())
}

// round rounds up or down so that the mean stays.
func (d *dice) round(x float64) int {
	whole, part := math.Modf(max(x, 0))
	if d.share() < part {
		whole++
	}
	return int(whole)
}
