package zeta

import (
	"testing"
	"time"
	_ "time/tzdata" // the test compares with the database, the code needs none
)

func TestQuarterEnd(t *testing.T) {
	for _, tc := range []struct{ at, want string }{
		{"2026-04-24T12:03:26Z", "2026-07-01T00:00:00Z"},
		{"2026-06-30T21:59:59Z", "2026-07-01T00:00:00Z"},
		{"2026-06-30T22:00:00Z", "2026-09-30T22:00:00Z"}, // in Berlin the third quarter has begun
		{"2026-06-30T23:59:59Z", "2026-09-30T22:00:00Z"},
		{"2026-07-01T00:00:00Z", "2026-10-01T00:00:00Z"},
		{"2026-12-31T22:59:59Z", "2027-01-01T00:00:00Z"},
		{"2026-12-31T23:00:00Z", "2027-03-31T22:00:00Z"},
		{"2027-01-01T00:00:00Z", "2027-04-01T00:00:00Z"},
		{"2027-03-31T21:59:59Z", "2027-04-01T00:00:00Z"},
		{"2027-03-31T22:00:00Z", "2027-06-30T22:00:00Z"},
		{"2027-09-30T22:00:00Z", "2027-12-31T23:00:00Z"},
		{"2024-03-31T22:00:00Z", "2024-06-30T22:00:00Z"}, // summer time began on this very day
	} {
		at, err := time.Parse(time.RFC3339, tc.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := QuarterEnd(at).Format(time.RFC3339); got != tc.want {
			t.Errorf("QuarterEnd(%s) = %s, want %s", tc.at, got, tc.want)
		}
	}
}

// The rule of the doc comment, by the time zone database.
func TestQuarterEndAgreesWithTheDatabase(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	end := func(at time.Time) time.Time {
		return time.Date(at.Year(), time.Month((int(at.Month())-1)/3*3+4), 1, 0, 0, 0, 0, at.Location())
	}
	for at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2036; at = at.Add(30 * time.Minute) {
		want := end(at)
		if other := end(at.In(berlin)); other.After(want) {
			want = other
		}
		if got := QuarterEnd(at); !got.Equal(want) {
			t.Fatalf("QuarterEnd(%s) = %s, want %s", at, got, want)
		}
	}
}
