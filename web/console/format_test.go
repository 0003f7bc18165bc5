package console

import (
	"testing"
	"time"
)

func TestNumbersAndTimes(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 13, 2, 11, 0, time.UTC)
	de := &locale{Tag: "de", texts: german(), zone: zone, now: func() time.Time { return now }}
	en := &locale{Tag: "en", texts: english(), zone: time.UTC, now: de.now}
	for _, tc := range []struct{ what, got, want string }{
		{"four digits", de.Num(9999), "9999"},
		{"five digits", de.Num(10_000), "10.000"},
		{"many digits", en.Num(1_234_567), "1,234,567"},
		{"negative", de.Num(-1_234_567), "-1.234.567"},
		{"six negative digits", de.Num(-123_456), "-123.456"},
		{"the largest counter", en.Count(1<<64 - 1), "9,223,372,036,854,775,807"},
		{"hours", de.Hours(3.04), "3,0 h"},
		{"many hours", de.Hours(61.9), "61 h"},
		{"hours without end", en.Hours(1e300), "over 744 h"},
		{"no time at all", de.Millis(0), "< 0,1 ms"},
		{"milliseconds", de.Millis(3240 * time.Microsecond), "3,2 ms"},
		{"tens of milliseconds", en.Millis(47_600 * time.Microsecond), "48 ms"},
		{"seconds", en.Millis(5012 * time.Millisecond), "5.0 s"},
		{"age in seconds", de.Age(now.Add(-59 * time.Second)), "59 s"},
		{"age in minutes", de.Age(now.Add(-119 * time.Minute)), "119 min"},
		{"age in hours", de.Age(now.Add(-47 * time.Hour)), "47 h"},
		{"age in days", en.Age(now.Add(-50 * time.Hour)), "2 days"},
		{"age of the future", en.Age(now.Add(time.Hour)), "0 s"},
		{"today", de.Clock(now), "14:02:11"},
		{"yesterday", de.Clock(now.Add(-24 * time.Hour)), "22.11. 14:02"},
		{"late yesterday in UTC is today in Berlin", de.Clock(time.Date(2026, 11, 22, 23, 30, 0, 0, time.UTC)), "00:30:00"},
		{"a year ago", en.Clock(now.AddDate(-1, 0, 0)), "23 Nov 13:02"},
		{"stamp", de.Stamp(now), "23.11.2026 14:02:11 CET"},
		{"machine", de.ISO(now), "2026-11-23T13:02:11Z"},
		{"one", de.N("hidden", 1), "1 Kasse verborgen"},
		{"none", de.N("hidden", 0), "0 Kassen verborgen"},
		{"no text", de.T("nowhere"), "[nowhere]"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %q, want %q", tc.what, tc.got, tc.want)
		}
	}
}
