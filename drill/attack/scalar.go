package attack

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/querschott/querschott/internal/yaml"
)

// Range is a number that is drawn once per run, uniformly. In a file: 20, or 20..50.
type Range struct{ From, To float64 }

// ScanYAML reads a range.
func (r *Range) ScanYAML(n *yaml.Node) error {
	from, to, both := strings.Cut(n.Text, "..")
	if !both {
		to = from
	}
	a, err1 := strconv.ParseFloat(from, 64)
	b, err2 := strconv.ParseFloat(to, 64)
	if n.Kind != yaml.Number && n.Kind != yaml.String || err1 != nil || err2 != nil || !(a >= 0 && a <= b && b <= 1e9) {
		return yaml.Faultf(n.Line, "a number such as 20, or a range such as 20..50, was expected here")
	}
	*r = Range{a, b}
	return nil
}

func (r Range) draw(rnd *rand.Rand) float64 { return r.From + rnd.Float64()*(r.To-r.From) }

// Span is a length of time that is drawn once per run, uniformly. In a file: 90s, 15m, 2h, 3d, or 2d..6d.
type Span struct{ From, To time.Duration }

// maxSpan is the longest that a file may ask for.
const maxSpan = 1000 * 24 * time.Hour

// ScanYAML reads a span.
func (s *Span) ScanYAML(n *yaml.Node) error {
	from, to, both := strings.Cut(n.Text, "..")
	if !both {
		to = from
	}
	a, ok1 := length(from)
	b, ok2 := length(to)
	if n.Kind != yaml.String || !ok1 || !ok2 || a > b {
		return yaml.Faultf(n.Line, "a time such as 90s, 15m, 2h or 3d, or a range such as 2d..6d, was expected here")
	}
	*s = Span{a, b}
	return nil
}

func (s Span) draw(rnd *rand.Rand) time.Duration {
	return s.From + time.Duration(rnd.Float64()*float64(s.To-s.From))
}

// length reads a duration; days have 24 hours.
func length(s string) (time.Duration, bool) {
	unit := 1.0
	if days, ok := strings.CutSuffix(s, "d"); ok {
		s, unit = days+"h", 24
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || float64(d)*unit > float64(maxSpan) {
		return 0, false
	}
	return time.Duration(float64(d) * unit), true
}

// Hours are those of a day at which somebody is active, in local time; To may lie beyond midnight.
type Hours struct{ From, To int } // minutes of the day; both 0: the whole day

var namedHours = map[string]Hours{
	"office": {7*60 + 30, 16*60 + 30}, "evening": {17 * 60, 22 * 60}, "night": {22 * 60, 29 * 60}, "any": {0, 24 * 60},
}

// ScanYAML reads hours.
func (h *Hours) ScanYAML(n *yaml.Node) error {
	if named, ok := namedHours[n.Text]; ok && n.Kind == yaml.String {
		*h = named
		return nil
	}
	var a, b, c, d int
	if _, err := fmt.Sscanf(n.Text, "%d:%d-%d:%d", &a, &b, &c, &d); n.Kind != yaml.String || err != nil ||
		n.Text != fmt.Sprintf("%02d:%02d-%02d:%02d", a, b, c, d) || !clock(a, b) || !clock(c, d) || a*60+b == c*60+d {
		return yaml.Faultf(n.Line, "office, evening, night, any, or hours such as 08:00-16:30 were expected here")
	}
	if *h = (Hours{a*60 + b, c*60 + d}); h.To < h.From {
		h.To += 24 * 60
	}
	return nil
}

func clock(h, m int) bool { return h >= 0 && h < 24 && m >= 0 && m < 60 }
