package watch

import (
	"maps"
	"math"

	"github.com/querschott/querschott"
)

// most is a number of things, as sensitive as the watch is: a half of it at double sensitivity, and at least one.
func (e *Event) most(n int) int {
	if e.sharp <= 1 {
		return n
	}
	return max(1, int(math.Ceil(float64(n)/e.sharp)))
}

// sharpened is a rule for which a deviation so many times smaller is enough.
func (r rule) sharpened(by float64) rule {
	if by <= 1 {
		return r
	}
	r.k, r.h, r.oneFloor, r.oneSD, r.least = r.k/by, r.h/by, r.oneFloor/by, r.oneSD/by, r.least/by
	r.oneTimes = 1 + (r.oneTimes-1)/by
	return r
}

// sharpened is a policy with lower caps.
func (p *Policy) sharpened(by float64) *Policy {
	if by <= 1 {
		return p
	}
	lower := *p
	lower.Caps = map[querschott.Role]Cap{}
	for role := range maps.All(standardCaps) {
		lower.Caps[role] = p.limit(role)
	}
	maps.Copy(lower.Caps, p.Caps)
	for role, c := range lower.Caps {
		part := func(n int) int { return max(1, int(float64(n)/by)) }
		lower.Caps[role] = Cap{Minute: part(c.Minute), Quarter: part(c.Quarter), Day: part(c.Day)}
	}
	return &lower
}
