package node

import (
	"fmt"
	"strings"
	"time"
)

// Size is a number of bytes, written as "64MiB", "30MiB", "512KiB" or a plain number.
type Size int64

var units = []struct {
	suffix string
	factor Size
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(b []byte) error {
	text := strings.TrimSpace(string(b))
	for _, u := range units {
		num, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		var n int64
		if _, err := fmt.Sscanf(num+"\n", "%d\n", &n); err != nil || n < 0 || fmt.Sprint(n) != num || n > 1<<40/int64(u.factor) {
			return fmt.Errorf("%q is not a size; write 64MiB, 512KiB or a number of bytes", text)
		}
		*s = Size(n) * u.factor
		return nil
	}
	return nil
}

// MarshalText writes a size with the largest unit that fits.
func (s Size) MarshalText() ([]byte, error) {
	for _, u := range units {
		if s >= u.factor && s%u.factor == 0 {
			return fmt.Appendf(nil, "%d%s", s/u.factor, u.suffix), nil
		}
	}
	return []byte("0"), nil
}

// Duration is a length of time, written as Go writes it: "90s", "5m", "1h30m".
type Duration time.Duration

// UnmarshalText reads a length of time. It is never negative.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(strings.TrimSpace(string(b)))
	if err != nil || v < 0 {
		return fmt.Errorf("%.40q is not a length of time; write 90s, 5m or 1h30m", string(b))
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes a length of time without the units that are zero.
func (d Duration) MarshalText() ([]byte, error) {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return []byte(text), nil
}
