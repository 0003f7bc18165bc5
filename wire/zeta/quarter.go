package zeta

import "time"

// Grace is how long a PoPP token outlives its quarter (gemSpec_ZETA 1.4.0: five minutes).
const Grace = 5 * time.Minute

// QuarterEnd returns the first moment after the quarter in which t lies, in UTC or in Europe/Berlin, whichever is later: a
// card used in the first hours of a quarter by the clock on the wall is used in the old quarter by UTC.
//
// No time zone database is asked. On the first days of quarters Germany's clocks are one hour before UTC in January and two
// in April, July and October, since summer time lasts from the last Sunday of March to the last of October (2000/84/EC).
func QuarterEnd(t time.Time) time.Time {
	t = t.UTC()
	year, quarter := t.Year(), (int(t.Month())-1)/3 // 0 to 3
	end := quarterStart(year, quarter+1)
	if !t.Before(end.Add(-ahead(quarter + 1))) {
		// In Berlin the next quarter has begun.
		end = quarterStart(year, quarter+2).Add(-ahead(quarter + 2))
	}
	return end
}

func quarterStart(year, quarter int) time.Time {
	return time.Date(year, time.Month(1+3*quarter), 1, 0, 0, 0, 0, time.UTC)
}

// ahead returns by how much Berlin's clocks are before UTC at the start of a quarter.
func ahead(quarter int) time.Duration {
	if quarter%4 == 0 {
		return time.Hour
	}
	return 2 * time.Hour
}
