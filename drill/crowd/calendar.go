package crowd

import (
	"slices"
	"time"
)

// Holidays that not every Land has.
const (
	epiphany = 1 << iota // BW, BY, ST
	corpus               // BW, BY, HE, NW, RP, SL
	saints               // BW, BY, NW, RP, SL
	reform               // the north and the east
	women                // BE, MV
)

// lands are the Länder by their own holidays, each as often as it has people.
var lands = []uint8{
	corpus | saints, corpus | saints, corpus | saints, corpus | saints, epiphany | corpus | saints, epiphany | corpus | saints, epiphany | corpus | saints,
	epiphany | corpus | saints, epiphany | corpus | saints, corpus, corpus, corpus | saints, reform, reform, reform, reform, epiphany | reform, reform | women, women,
}

// easter returns Easter Sunday of a year (the Gregorian computus as Meeus gives it).
func easter(year int) time.Time {
	a, b, c := year%19, year/100, year%100
	d, e := b/4, b%4
	g := (8*b + 13) / 25
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	m := (a + 11*h + 22*l) / 451
	month, day := (h+l-7*m+114)/31, (h+l-7*m+114)%31+1
	return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
}

// holiday reports whether a day, midnight UTC, is one in a Land.
func holiday(t time.Time, land uint8) bool {
	type md struct {
		m time.Month
		d int
	}
	at := md{t.Month(), t.Day()}
	if slices.Contains([]md{{1, 1}, {5, 1}, {10, 3}, {12, 25}, {12, 26}}, at) {
		return true
	}
	switch at {
	case md{1, 6}:
		return land&epiphany != 0
	case md{3, 8}:
		return land&women != 0
	case md{10, 31}:
		return land&reform != 0
	case md{11, 1}:
		return land&saints != 0
	}
	switch int(t.Sub(easter(t.Year())) / (24 * time.Hour)) {
	case -2, 1, 39, 50:
		return true
	case 60:
		return land&corpus != 0
	}
	return false
}

// date is what everybody's day depends on.
type date struct {
	number    int       // since 1970
	midnight  time.Time // UTC, of the local date
	offset    time.Duration
	weekend   bool
	weekday   float64 // factor of staff
	practices float64 // factor of practices
	closed    [1 << 5]bool
}

var staffWeek = [7]float64{0, 1.25, 1.05, 1, 0.95, 0.75, 0}

var practiceWeek = [7]float64{0.02, 1.5, 1.05, 0.8, 1, 0.7, 0.05}

func newDate(t time.Time) date {
	d := date{number: int(t.Unix() / 86400), midnight: t, offset: Offset(t)}
	d.weekend = t.Weekday() == time.Saturday || t.Weekday() == time.Sunday
	d.weekday, d.practices = staffWeek[t.Weekday()], practiceWeek[t.Weekday()]
	if lastWorking(t) < 3 {
		d.weekday *= 1.35
	}
	if into := quarterDay(t); into < 14 {
		d.practices *= 2.2 - 0.08*float64(into) // every card is read once a quarter
	}
	for land := range d.closed {
		d.closed[land] = holiday(t, uint8(land))
	}
	return d
}

// lastWorking counts the working days of the month behind a day.
func lastWorking(t time.Time) (n int) {
	for u := t.AddDate(0, 0, 1); u.Month() == t.Month(); u = u.AddDate(0, 0, 1) {
		if u.Weekday() != time.Saturday && u.Weekday() != time.Sunday {
			n++
		}
	}
	return n
}

// quarterDay is how many days of the quarter are over.
func quarterDay(t time.Time) int {
	first := time.Date(t.Year(), (t.Month()-1)/3*3+1, 1, 0, 0, 0, 0, time.UTC)
	return int(t.Sub(first) / (24 * time.Hour))
}

// Offset returns how far German noon of a date is ahead of UTC (directive 2000/84/EC).
func Offset(t time.Time) time.Duration {
	change := func(m time.Month) time.Time {
		last := time.Date(t.Year(), m, 31, 0, 0, 0, 0, time.UTC)
		return last.AddDate(0, 0, -int(last.Weekday()))
	}
	if t.Before(change(time.March)) || !t.Before(change(time.October)) {
		return time.Hour
	}
	return 2 * time.Hour
}
